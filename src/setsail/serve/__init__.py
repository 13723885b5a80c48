"""The HTTP face: an OpenAI-compatible API, streaming, keys, limits and the chat page; and a small client of it.

Nothing here computes a token: prompts come from `tokens.render`, tokens from an engine in its own process, predictions
from a predictor that a thread of its own holds. The invariant: whatever a client sends, it gets an answer with a
reason, and what it no longer wants is no longer computed.
"""
