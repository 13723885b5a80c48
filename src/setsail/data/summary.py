"""What preparing did, in numbers and in sentences: the waterfall, the reasons, the changes, the sizes.

What does not live here: doing it (`prepare.py`). The invariant: read == kept + dropped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

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
    "no_rejected": "no rejected answer",
    "same_answers": "the chosen and the rejected answer are the same",
    "long_pair": "chosen and rejected differ in more than their last answer",
    "empty_turn": "an empty turn",
    "empty_text": "no text",
    "no_label": "no label",
    "no_score": "no number for a score",
    "bad_span": "a marked part that is none of the text's",
    "span_lost": "a marked part that cleaning took away",
    "unknown_entity": "a name that does not stand in the text",
    "answer_not_in_context": "an answer that does not stand in its context",
    "no_query": "no query",
    "no_number": "a grade or score that is no number",
    "positive_is_negative": "the positive stands among the negatives",
    "contradictory_label": "the same text stands under another label too",
    "nothing_to_sum_up": "too short to be summed up, or without a first sentence",
    "same_text": "source and target are the same text",
    "not_a_pair": "more than a source and a target",
    "no_language": "a language that the recipe names is not there",
    "fuzzy": "a translation that its translator marked as fuzzy",
    "obsolete": "a translation that is no longer in use",
    "no_time": "no date to split by",
    "late_system": "a system turn in the middle",
    "unknown_role": "a turn of an unknown role",
    "wrong_type": "another type where text was expected",
    "broken_call": "a call of a tool that cannot be read",
    "broken_tools": "a list of tools that cannot be read",
    "unknown_tool": "a call of a tool that is not listed",
    "result_without_call": "a result of a tool that nothing called",
    "not_text": "images or sound",
    "answer_too_short": "an answer of under 20 characters",
    "answer_too_long": "an answer of over 1,200 characters that cannot be cut between blocks",
    "answer_is_elsewhere": "only refers to another place",
    "empty_after_cleaning": "empty after cleaning",
    "too_short": "shorter than data.clean asks for",
    "too_long": "longer than data.clean asks for",
    "other_language": "in another language than data.clean asks for",
    "not_prose": "does not read like prose",
    "repetitive": "says the same over and over",
    "not_a_page": "has too few whole sentences, or placeholder text",
    "toxic": "insults or threatens",
    "personal_data": "holds personal data",
    "exact_duplicate": "a copy of another row",
    "near_duplicate": "nearly the same as another row",
    "forgotten": "on the list of rows to forget",
    "kept_out": "holds a text of data.keep_out",
    "in_another_part": "of a group that stands in validation or test",
    "over_max_rows": "over data.max_rows",
    "overlong": "longer than the context",
}
# Whoever counts them says so in words of its own.
REASONS_TOLD_ELSEWHERE = {"exact_duplicate", "over_max_rows"}


# What may be wrong with a text that a model wrote anew.
ANSWER_FAULTS = {
    "empty": "nothing came",
    "same words": "the words stayed the same",
    "long": "too long to be sent",
    "length": "far shorter or longer",
    "numbers": "a number or placeholder was lost or added",
    "language": "in another language",
}


@dataclass(frozen=True)
class Step:
    """How many rows were left after a step of preparing."""

    name: str
    num_rows: int


@dataclass(frozen=True)
class Summary:
    """The account of one preparation. `changed` counts rows, `redacted` counts values.

    `num_made` counts rows made from training rows, which
    `sizes` holds too. `examples` are (origin, before, after) by step, without personal data.
    """

    source: str
    fingerprint: str
    read_as: tuple[str, ...]
    num_read: int
    steps: tuple[Step, ...]
    dropped: Mapping[str, int]
    first_dropped: Mapping[str, tuple[str, ...]]
    changed: Mapping[str, int]
    redacted: Mapping[str, int]
    examples: Mapping[str, tuple[tuple[str, ...], ...]]
    sizes: Mapping[str, int]
    num_made: int
    findings: tuple[str, ...]

    def as_dict(self) -> dict[str, object]:
        """The summary for a manifest."""
        return asdict(self)

    def with_made(self, count: int, refused: Mapping[str, int]) -> Summary:
        """The summary with `count` rows made from training rows; `refused` are a model's answers that were not used."""
        sizes = {**self.sizes, "train": self.sizes["train"] + count}
        told = [f"{count:,} rows were made from training rows and are marked so"] if count else []
        if refused:
            reasons = ", ".join(f"{ANSWER_FAULTS[fault]} {refused[fault]:,}" for fault in sorted(refused))
            told.append(f"texts that a model wrote anew and that were not used: {reasons}")
        return replace(self, num_made=count, sizes=sizes, findings=(*self.findings, *told))

    def lines(self) -> list[str]:
        """The account for a person, a line each."""
        lines = [f"  {self.source}: {', '.join(self.read_as[:3])}" + (", …" if len(self.read_as) > 3 else "")]
        before = self.num_read
        for step in self.steps:
            lost = f"  (-{before - step.num_rows:,})" if step.num_rows != before else ""
            lines.append(f"  {step.name:<22}{step.num_rows:>9,}{lost}")
            before = step.num_rows
        lines.append("  " + ", ".join(f"{name} {count:,}" for name, count in self.sizes.items()))
        return [*lines, *(f"  {finding}" for finding in self.findings)]


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
