"""Setsail (启航): from your own data to a large model that works for you, and proof at every step."""

__version__ = "0.1.0"
