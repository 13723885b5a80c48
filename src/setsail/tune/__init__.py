"""The search for the recipe with the best score: a space, a study that remembers, processes that try, what came out.

What a recipe is, how it is trained and what its score means is not known here: a function from settings to a score is
received. The invariant: a trial that has ended is never tried again, and one that was stopped goes on under its number.
"""
