"""The page that a person reads before training: data.html, data.md, and data.json with every figure on them.

`gather` takes the figures from the books of a preparation and from the finished parts, `build` sets them in English or
Chinese. What does not live here: how a page is set (`base/page`). The invariants: the same rows give the same bytes;
text from the data comes in through `shown.py` alone; each file stays under a megabyte.
"""
