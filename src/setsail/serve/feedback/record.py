"""What stands in the log: an answer, a client's rating of it, a reviewer's decision.

The invariant: `as_json` and `from_json` are each other's inverse, and a record of a kind that a newer version writes is
no record here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any, Literal

Json = dict[str, Any]
Rating = Literal["up", "down"]
Verdict = Literal["approved", "corrected", "rejected"]


@dataclass(frozen=True)
class Answered:
    """One finished answer.

    `asked` holds `messages` and `tools`, a `prompt`, or the columns of a prediction; `said` the `content` with
    `tool_calls` of what was written, or what a predictor says. `key` is "" where the server asks for none.
    """

    id: str
    time: str
    key: str
    model: str
    lineage: str
    task: str
    path: str
    asked: Json
    said: Json
    finish_reason: str


@dataclass(frozen=True)
class Rated:
    """What a client says of an answer; what it does not say is ""."""

    id: str
    time: str
    rating: Rating
    correction: str = ""
    comment: str = ""


@dataclass(frozen=True)
class Decided:
    """What a reviewer made of an answer; `correction` is what it should have been, where it was corrected."""

    id: str
    time: str
    verdict: Verdict
    correction: str = ""


Record = Answered | Rated | Decided
_KINDS: dict[str, type[Answered] | type[Rated] | type[Decided]] = {
    "answer": Answered,
    "rating": Rated,
    "decision": Decided,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}


def now() -> str:
    """The time in UTC, as records have it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def as_json(record: Record) -> Json:
    """A record as it is sealed."""
    return {"kind": _NAMES[type(record)], **asdict(record)}


def from_json(value: Mapping[str, Any]) -> Record | None:
    """The record that was sealed; None for one of an unknown kind."""
    kind = _KINDS.get(value.get("kind", ""))
    names = {each.name for each in fields(kind)} if kind else set()
    return kind(**{name: each for name, each in value.items() if name in names}) if kind else None
