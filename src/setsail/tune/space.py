"""What is searched: settings by name, each a range of numbers or a list of values, and which belong to which kind.

What does not live here: where a space comes from. The invariant: what is drawn from a space reads back as the value
that was written into it, mappings and lists as well.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both among them; whole ones where `whole` says so."""

    low: float
    high: float
    log: bool = False
    whole: bool = False


@dataclass(frozen=True)
class Choices:
    """One of these values."""

    values: tuple[Any, ...]

    @property
    def labels(self) -> tuple[str | float | int | bool | None, ...]:
        """The values as a database keeps them: what is no plain value stands as JSON."""
        return tuple(label_of(value) for value in self.values)

    def value(self, label: Any) -> Any:
        """The value with that label."""
        return self.values[self.labels.index(label)]


@dataclass(frozen=True)
class Setting:
    """One thing that is tried. `only_for` are labels of the space's kind with which it has a meaning; none: all."""

    values: Range | Choices
    only_for: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Space:
    """All settings by name. `kind` names the one that is drawn first, on which others may depend; "" where none is."""

    settings: Mapping[str, Setting] = field(default_factory=dict)
    kind: str = ""

    def order(self) -> list[str]:
        """The names in the order in which they are drawn."""
        return sorted(self.settings, key=lambda name: (name != self.kind, list(self.settings).index(name)))

    def applies(self, name: str, kind: Any) -> bool:
        """Whether a setting has a meaning with the kind of this label."""
        only_for = self.settings[name].only_for
        return not only_for or kind in only_for

    def holds(self, settings: Mapping[str, Any]) -> bool:
        """Whether these settings, as values, can be drawn from this space."""
        kind = label_of(settings.get(self.kind))
        wanted = {name for name in self.settings if self.applies(name, kind)}
        return set(settings) == wanted and all(_holds(self.settings[name].values, settings[name]) for name in wanted)

    def described(self) -> dict[str, Any]:
        """The space as JSON says it."""
        return {name: _described(setting.values) for name, setting in self.settings.items()}


def label_of(value: Any) -> Any:
    """A value as a database keeps it.

    >>> label_of("linear"), label_of({"new": "1m", "kind": "lstm"})
    ('linear', '{"new": "1m", "kind": "lstm"}')
    """
    return value if value is None or isinstance(value, str | int | float) else json.dumps(value, ensure_ascii=False)


def _holds(values: Range | Choices, value: Any) -> bool:
    if isinstance(values, Choices):
        return value in values.values
    return isinstance(value, int | float) and values.low <= value <= values.high


def _described(values: Range | Choices) -> Any:
    if isinstance(values, Choices):
        return list(values.values)
    return {"low": values.low, "high": values.high, "log": values.log}
