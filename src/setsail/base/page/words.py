"""A page's own words in English and Chinese; what comes from the data or the recipe is never translated.

The phrases themselves live with the page that says them. A figure enters a phrase only as finished text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Language = Literal["en", "zh"]
Phrases = Mapping[str, tuple[str, str]]  # each key's English and Chinese


@dataclass(frozen=True)
class Words:
    """The phrases of one language: `words("key", name=…)`; `known` translates a stage's or step's name if it can."""

    language: Language
    phrases: Phrases
    names: Phrases

    def __call__(self, key: str, **values: object) -> str:
        return self.phrases[key][self.language == "zh"].format(**values)

    def known(self, name: str) -> str:
        """The name in this language if it is one of ours, else as it stands."""
        pair = self.names.get(name)
        return pair[self.language == "zh"] if pair else name

    def joined(self, parts: list[str]) -> str:
        """A list inside a sentence or a table cell."""
        return ("；" if self.language == "zh" else "; ").join(parts)
