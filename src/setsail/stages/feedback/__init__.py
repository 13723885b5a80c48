"""Answers that were given become training rows after review."""
