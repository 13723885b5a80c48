"""What a route tells the access log and the figures about a request; never its text."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

NOTE = "setsail.note"  # where it stands in a request's scope


@dataclass
class Note:
    """Counts, the name of the key, the model that was asked, and when the first token of the answer was there."""

    num_prompt: int | None = None
    num_tokens: int = 0
    num_cached: int | None = None  # of the prompt, where the engine says
    key: str = ""
    model: str = ""
    lineage: str = ""
    first_token_seconds: float | None = None
    _began: float = field(default_factory=time.monotonic)

    def asks(self, model: str, lineage: str) -> None:
        """Names the model that is asked."""
        self.model, self.lineage = model, lineage

    def has_written(self, num_tokens: int) -> None:
        """So many tokens of the answer are there."""
        if num_tokens and self.first_token_seconds is None:
            self.first_token_seconds = time.monotonic() - self._began
        self.num_tokens = num_tokens
