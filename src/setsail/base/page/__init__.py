"""A page that a person reads: what it is built from, its words in two languages, HTML and Markdown of the same text.

What does not live here: what any page says. The invariant: every text from outside is escaped where it enters a tag.
"""
