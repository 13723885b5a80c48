"""A small fixed examination of what a model could do before it was tuned: texts to read, instructions, sums.

It comes with the package, in English and Chinese, and was written for this purpose, so that nothing is fetched and
nobody's licence is in the way. Not here: asking a model (the stages), comparing two (`guard.py`). The invariant:
whatever changes an item, its check or the number of them changes `items.VERSION`.
"""
