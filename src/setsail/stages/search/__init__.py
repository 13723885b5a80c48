"""`setsail tune`: the search for a better recipe."""
