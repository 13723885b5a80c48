"""The programs that a bundle carries as its `run.py`, one for each kind of model: plain, short, and without setsail.

They are copied, not imported. The invariant: each imports only what its bundle's requirements.txt names.
"""
