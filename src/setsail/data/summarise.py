"""From the books of a preparation to its summary: what is told of the source, the copies and the drops.

What does not live here: the summary itself and its words (`summary.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from setsail.base.recipe_data import Data
from setsail.base.recipe_pairs import WRITING_TASKS
from setsail.base.recipe_prefer import PREFERENCE
from setsail.data import sources
from setsail.data.account import Account, PartAccount
from setsail.data.choose import FATES, Choice
from setsail.data.index import PARTS, Index
from setsail.data.pairs import PAIR_TASKS
from setsail.data.steps.registry import steps_of
from setsail.data.summary import REASONS_TOLD_ELSEWHERE, Step, Summary, reason_sentence

_MANY_UNUSED = 12
_FIRST_ORIGINS = 3


def refuse_mostly_broken(account: Account) -> None:
    """Refuses a file of which more than a tenth is broken.

    Raises:
        DataError: with the first broken row.
    """
    for part in account.parts:
        if part.num_broken > sources.MAX_BROKEN_FRACTION * part.num_items:
            origin, reason, detail = part.first_broken
            raise sources.mostly_broken(part.num_broken, part.num_items, part.place, origin, f"{reason} ({detail})")


def summarise(
    data: Data, task: str, fingerprint: str, account: Account, index: Index, choice: Choice, findings: Sequence[str]
) -> Summary:
    """The account of a preparation."""
    dropped, first = _drops(account, index, choice)
    told = [
        *_of_copies(data, task, account, index, choice),
        *_of_masking(data, account),
        *_of_labels_apart(index, choice),
    ]
    told += [*findings, *_of_source(account)]
    told += [
        reason_sentence(reason, dropped[reason], first[reason])
        for reason in dropped
        if reason not in REASONS_TOLD_ELSEWHERE
    ]
    if "over_max_rows" in dropped:
        told.append(f"data.max_rows left {dropped['over_max_rows']:,} rows out, chosen by the hash of their ids")
    fates = np.bincount(choice.fate, minlength=len(FATES))
    return Summary(
        source=data.source,
        fingerprint=fingerprint,
        read_as=tuple(map(_read_as, account.parts)),
        num_read=account.rows_after["read"],
        steps=tuple(_steps(data, {**account.rows_after, **choice.rows_after})),
        dropped=dropped,
        first_dropped=first,
        changed=dict(sorted(account.changed.items())),
        redacted=dict(sorted(account.redacted.items())),
        examples={step: tuple(map(tuple, examples)) for step, examples in account.examples.items()},
        num_made=0,
        sizes={part: int(fates[code]) for code, part in enumerate(PARTS)},
        findings=tuple(told),
    )


def _steps(data: Data, rows_after: Mapping[str, int]) -> Iterator[Step]:
    """The steps with the rows left after each; of the cleaning steps those that dropped some."""
    cleaning = {step.name for step in steps_of(data.clean)}
    before = rows_after["read"]
    for name, count in rows_after.items():
        if name not in cleaning or count != before:
            yield Step(name, count)
        before = count


def usable_sentence(data: Data, task: str, account: Account, index: Index, choice: Choice, *, needed: int) -> str:
    """Why too few rows are left."""
    dropped, first = _drops(account, index, choice)
    said = _of_copies(data, task, account, index, choice)
    num_read = account.rows_after["read"]
    usable = f"only {len(choice.left)} usable rows are left of {num_read:,}, and at least {needed} are needed"
    if said:
        usable += " (a test on copies of training rows would prove nothing)"
    told = [
        reason_sentence(reason, dropped[reason], first[reason]) for reason in dropped if reason != "exact_duplicate"
    ]
    return "; ".join([*said, usable, *told[:3]])


def _drops(account: Account, index: Index, choice: Choice) -> tuple[dict[str, int], dict[str, tuple[str, ...]]]:
    """How many rows each reason took, most first, and where the first of them stood."""
    counts = Counter(account.dropped)
    first = {reason: tuple(origins) for reason, origins in account.first_dropped.items()}
    for code, reason in enumerate(FATES[len(PARTS) :], start=len(PARTS)):
        rows = np.flatnonzero(choice.fate == code)
        if len(rows):
            counts[reason] += len(rows)
            first[reason] = tuple(index.origin(row) for row in rows[:_FIRST_ORIGINS].tolist())
    ordered = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
    return ordered, {reason: first[reason] for reason in ordered}


def _of_copies(data: Data, task: str, account: Account, index: Index, choice: Choice) -> list[str]:
    copies = int((choice.fate == FATES.index("exact_duplicate")).sum())
    if not copies:
        return []
    before = choice.rows_after["exact copies"] + copies
    removed = "1 copy was removed" if copies == 1 else f"{copies:,} copies were removed"
    noun = _noun(data, task, account)
    return [f"{before:,} rows hold {before - copies:,} distinct {noun}; {removed}"]


def _noun(data: Data, task: str, account: Account) -> str:
    if task == "answer":
        return "questions on a text"
    if task in (*WRITING_TASKS, *PAIR_TASKS):
        return "pairs"
    if task == PREFERENCE:
        return "pairs of answers"
    if task != "chat":
        return "texts"
    if sources.is_package(data):
        return "answers"
    return "conversations" if account.num_longer else "question–answer pairs"


def _of_masking(data: Data, account: Account) -> list[str]:
    if not account.num_masked_rows:
        return []
    count = sum(account.redacted.values())
    values = "1 value was" if count == 1 else f"{count:,} values were"
    rows = "1 row" if account.num_masked_rows == 1 else f"{account.num_masked_rows:,} rows"
    done = "replaced" if data.redact.mode == "pseudonymise" else "masked"
    return [f"{values} {done} in {rows}: {_counted(account.redacted)}"]


def _of_labels_apart(index: Index, choice: Choice) -> list[str]:
    if not choice.told_apart:
        return []
    count = f"{len(choice.told_apart):,} rows are" if len(choice.told_apart) > 1 else "1 row is"
    return [f"{count} nearly the same as one with another label, and kept: {index.origin(choice.told_apart[0])}"]


def _read_as(part: PartAccount) -> str:
    """How a part was understood: "tickets.csv as csv, utf-8, prompt_completion (prompt from question)"."""
    renamed = [f"{name} from {column}" for name, column in part.columns_used.items() if name != column]
    inside = f" ({', '.join(renamed)})" if renamed else ""
    kind = ", ".join(word for word in (part.container, part.encoding) if word)
    return f"{part.place} as {kind}, {part.form}{inside}"


def _of_source(account: Account) -> list[str]:
    alike: dict[tuple[str, ...], list[str]] = {}
    for part in account.parts:
        alike.setdefault(tuple(sorted(part.unused)), []).append(part.place)
    found = []
    for unused, places in alike.items():
        where = places[0] + (f" and {len(places) - 1} more" if len(places) > 1 else "")
        if unused and len(unused) <= _MANY_UNUSED:
            found.append(f"{where}: not used: {', '.join(unused)}")
        elif unused:
            found.append(f"{where}: {len(unused)} columns are not used")
    found += [
        f"{part.place}: {part.num_invalid_bytes:,} bytes are invalid in {part.encoding}"
        for part in account.parts
        if part.num_invalid_bytes
    ]
    return found


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items()))
