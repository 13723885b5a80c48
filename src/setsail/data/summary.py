"""What preparing did, in numbers and in sentences: the waterfall, the reasons, the changes, the sizes.

What does not live here: doing it (`prepare.py`). The invariant: read == kept + dropped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from setsail.data.row import Drop

_FIRST_ORIGINS = 3

REASONS = {
    "broken_json": "not valid JSON",
    "broken_csv": "not valid csv",
    "ragged_row": "more or fewer cells than the header",
    "not_an_object": "not a JSON object",
    "invalid_bytes": "bytes that are invalid in the file's encoding",
    "hidden_sheet": "a hidden sheet of a workbook",
    "broken_mail": "a mail that cannot be taken apart",
    "page_without_text": "a page without text",
    "not_a_data_file": "a file in an archive that is not read",
    "not_a_file": "a link or device in an archive",
    "lone_surrogate": "half a surrogate pair, which is no character",
    "no_answer": "no answer",
    "no_question": "does not begin with a question",
    "empty_turn": "an empty turn",
    "empty_text": "no text",
    "no_label": "no label",
    "contradictory_label": "the same text stands under another label too",
    "late_system": "a system turn in the middle",
    "unknown_role": "a turn of an unknown role",
    "wrong_type": "another type where text was expected",
    "tool_call": "calls of tools, which cannot be trained on yet",
    "not_text": "images or sound",
    "answer_too_short": "an answer of under 20 characters",
    "answer_too_long": "an answer of over 1,200 characters that cannot be cut between blocks",
    "answer_is_elsewhere": "only refers to another place",
    "empty_after_cleaning": "empty once control characters and white space are gone",
    "personal_data": "holds personal data",
    "exact_duplicate": "a copy of another row",
    "near_duplicate": "nearly the same as another row",
    "over_max_rows": "over data.max_rows",
    "overlong": "longer than the context",
}


@dataclass(frozen=True)
class Step:
    """How many rows were left after a step of preparing."""

    name: str
    num_rows: int


@dataclass(frozen=True)
class Summary:
    """The account of one preparation. `changed` counts rows, `redacted` counts values."""

    source: str
    fingerprint: str
    read_as: tuple[str, ...]
    num_read: int
    steps: tuple[Step, ...]
    dropped: Mapping[str, int]
    first_dropped: Mapping[str, tuple[str, ...]]
    changed: Mapping[str, int]
    redacted: Mapping[str, int]
    sizes: Mapping[str, int]
    findings: tuple[str, ...]

    def as_dict(self) -> dict[str, object]:
        """The summary for a manifest."""
        return asdict(self)


def by_reason(drops: Sequence[Drop]) -> tuple[dict[str, int], dict[str, tuple[str, ...]]]:
    """How many rows each reason took, most first, and where the first of them stood."""
    counts = Counter(drop.reason for drop in drops)
    origins: dict[str, list[str]] = {}
    for drop in drops:
        shown = origins.setdefault(drop.reason, [])
        if len(shown) < _FIRST_ORIGINS:
            shown.append(drop.origin)
    ordered = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
    return ordered, {reason: tuple(origins[reason]) for reason in ordered}


def reason_sentence(reason: str, count: int, origins: Sequence[str]) -> str:
    """One sentence on the rows that a reason took.

    >>> reason_sentence("no_answer", 2, ["a.csv:3", "a.csv:9"])
    '2 rows were dropped (no answer): a.csv:3, a.csv:9'
    """
    rows = "1 row was dropped" if count == 1 else f"{count:,} rows were dropped"
    more = ", …" if count > len(origins) else ""
    return f"{rows} ({REASONS.get(reason, reason)}): {', '.join(origins)}{more}"
