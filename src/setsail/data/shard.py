"""The work on one piece of a source that needs no other piece: read, understand, clean, mask, sketch.

The result is a folder that appears whole, so that a killed preparation goes on behind the last one. What does not live
here: what is decided over all rows (`choose.py`). The invariant: as many rows and drops leave as records came in.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from setsail.base.files import explained_os_errors, publish_folder
from setsail.base.recipe_data import Data
from setsail.data import sources
from setsail.data.account import Account, PartAccount
from setsail.data.clean import clean_row
from setsail.data.containers import Contents
from setsail.data.duplicates import content_of
from setsail.data.keep_out import forgotten_ids, read_lists
from setsail.data.pieces import Piece, read_piece
from setsail.data.privacy.options import redactor_of, vault_key
from setsail.data.privacy.redactor import Hidden, Redacted, Redactor, redact
from setsail.data.privacy.vault import create_vault
from setsail.data.read_formats import SPAN_TASKS
from setsail.data.reading import Known, Part, understand
from setsail.data.row import BEFORE_SPEAKING, Drop, Row, contents, with_contents, write_drops, write_rows
from setsail.data.sketch import sketch
from setsail.data.spans import follow
from setsail.data.split import rank
from setsail.data.steps.registry import steps_of
from setsail.data.steps.step import Step

ACCOUNT = "account.json"
_SHOWN_CHARACTERS = 600


@dataclass(frozen=True)
class Job:
    """What is wanted of every piece. `columns` are those of a file that is read in several pieces, by its place."""

    data: Data
    task: str
    seed: int
    base_dir: Path
    folder: Path
    columns: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """A number and the pieces behind it; without pieces, all of a source that is no file."""

    number: int
    pieces: tuple[Piece, ...] = ()


@dataclass
class _Work:
    rows: list[Row]
    drops: list[Drop]
    account: Account
    hidden: list[tuple[str, tuple[Hidden, ...]]] = field(default_factory=list)

    def keep(self, step: str, decided: Iterable[Row | Drop]) -> None:
        """Ends a step: what stays and what goes."""
        items = list(decided)
        self.rows = [item for item in items if isinstance(item, Row)]
        self.drops += [item for item in items if isinstance(item, Drop)]
        self.account.rows_after[step] = len(self.rows)


def shard_at(folder: Path, number: int) -> Path:
    """Where the shard of a task stands."""
    return folder / f"{number:06d}"


def take_back(shard: Path) -> None:
    """Removes a shard, in one step as far as a reader can see."""
    draft = shard.with_suffix(".partial")
    shutil.rmtree(draft, ignore_errors=True)
    shard.rename(draft)
    shutil.rmtree(draft)


def read_account(shard: Path) -> Account:
    """The books of a shard."""
    return Account.from_json(json.loads((shard / ACCOUNT).read_text("utf-8")))


def make_shard(job: Job, task: Task) -> Path:
    """The shard of a task, unless it stands already.

    Raises:
        DataError: a file cannot be read or understood.
        SystemRefusal: disk full, no permission.
    """
    final = shard_at(job.folder, task.number)
    if final.exists():
        return final
    parts = [
        understand(job.data, place, read, task=job.task, columns=job.columns.get(place))
        for place, read in _read(job, task)
    ]
    items = [item for part in parts for item in part.items]
    known = [item for item in items if isinstance(item, Known)]
    work = _Work([item.row for item in known], [item for item in items if isinstance(item, Drop)], Account())
    work.account.parts = [_account_of(part) for part in parts]
    work.account.rows_after = {"read": len(items), "understood": len(known)}
    work.account.num_longer = sum(_is_longer(item.row) for item in known)
    redactor = redactor_of(job.data.redact, job.base_dir)
    clean(work, steps_of(job.data.clean), redactor or redact)
    leave_out(work, job)  # what is to be forgotten must not come into a vault
    mask(work, redactor)
    if job.task in SPAN_TASKS:
        follow_spans(work, {item.row.id: item.row for item in known})
    assert len(items) == len(work.rows) + len(work.drops), "a row was lost or doubled: read != kept + dropped"
    work.account.drop(work.drops)
    _write(final, work, job, {item.row.id: item for item in known})
    return final


def _is_longer(row: Row) -> bool:
    return (
        bool(row.messages)
        and sum(message["role"] not in (*BEFORE_SPEAKING, "rejected") for message in row.messages) != 2
    )


def _read(job: Job, task: Task) -> Iterator[tuple[str, Contents]]:
    if not task.pieces:
        yield from sources.read(job.data, job.base_dir)
    for piece in task.pieces:
        yield from read_piece(piece)


def _account_of(part: Part) -> PartAccount:
    broken = [item for item in part.items if isinstance(item, Drop) and item.reason in sources.BROKEN]
    return PartAccount(
        place=part.place,
        container=part.container,
        encoding=part.encoding,
        form=part.form.name,
        columns_used=dict(part.form.columns),
        columns=list(part.columns),
        unused=list(part.unused),
        num_items=len(part.items),
        num_invalid_bytes=part.num_invalid_bytes,
        num_broken=len(broken),
        first_broken=[broken[0].origin, broken[0].reason, broken[0].detail] if broken else [],
    )


def clean(work: _Work, steps: Sequence[Step], redactor: Callable[[Iterable[str]], Redacted]) -> None:
    """Applies the steps to every row, with their changes, marks and drops in the books.

    Examples are shown, and so pass the `redactor`, the recipe's own where it has one: it may hide more kinds.
    """
    if not steps:
        return
    dropped_by: Counter[str] = Counter()
    decided: list[Row | Drop] = []
    for row in work.rows:
        cleaned = clean_row(row, steps)
        work.account.changed.update(cleaned.changes)
        if any(work.account.wants_example(name) for name in cleaned.changes):
            _show(work.account, row, steps, redactor)
        if isinstance(cleaned.row, Drop):
            dropped_by[cleaned.dropped_by or steps[0].name] += 1
        decided.append(cleaned.row)
    left = len(work.rows)
    for step in steps:
        left -= dropped_by[step.name]
        work.account.rows_after[step.name] = left
    work.keep("cleaned", decided)


def _show(account: Account, row: Row, steps: Sequence[Step], redactor: Callable[[Iterable[str]], Redacted]) -> None:
    """Enters what each step changes in a row as an example."""
    texts = contents(row)
    for step in steps:
        after = tuple(map(step.change, texts)) if step.change else texts
        if after != texts and account.wants_example(step.name):
            account.examples.setdefault(step.name, []).append([row.origin, *redactor(_shown(texts, after)).texts])
        texts = after


def leave_out(work: _Work, job: Job) -> None:
    """Takes out rows that somebody asked to forget, and those that hold texts that are kept out."""
    if job.data.forget is not None:
        ids = forgotten_ids(job.data.forget, job.base_dir)
        decided = [Drop(row.id, row.origin, "forgotten") if row.id in ids else row for row in work.rows]
        work.keep("forgotten", decided)
    if job.data.keep_out:
        held = read_lists(job.data.keep_out, job.base_dir).held_by([content_of(row) for row in work.rows])
        decided = [Drop(r.id, r.origin, "kept_out") if out else r for r, out in zip(work.rows, held, strict=True)]
        work.keep("kept out", decided)


def _shown(before: tuple[str, ...], after: tuple[str, ...]) -> list[str]:
    """The first piece that differs, from just before the difference on."""
    left, right = next((b, a) for b, a in zip(before, after, strict=True) if b != a)
    place = next((at for at, (b, a) in enumerate(zip(left, right, strict=False)) if b != a), min(len(left), len(right)))
    start = max(0, place - _SHOWN_CHARACTERS // 4)
    return [text[start : start + _SHOWN_CHARACTERS] for text in (left, right)]


def mask(work: _Work, redactor: Redactor | None) -> None:
    """Takes personal data out of every row, or the rows that hold some."""
    if redactor is not None:
        work.keep("personal data", [_masked(work, row, redactor) for row in work.rows])


def follow_spans(work: _Work, before: dict[str, Row]) -> None:
    """Moves what is marked in a text to where it stands after cleaning and masking."""
    work.keep("marked parts", [follow(row, before[row.id]) for row in work.rows])


def _masked(work: _Work, row: Row, redactor: Redactor) -> Row | Drop:
    masked = redactor(contents(row))
    if not masked.counts:
        return row
    work.account.redacted.update(masked.counts)
    if redactor.mode == "drop":
        counts = ", ".join(f"{name} {count:,}" for name, count in sorted(masked.counts.items()))
        return Drop(row.id, row.origin, "personal_data", counts)
    work.account.num_masked_rows += 1
    work.hidden.append((row.id, masked.hidden))
    return with_contents(row, masked.texts)


def _write(final: Path, work: _Work, job: Job, known: dict[str, Known]) -> None:
    draft = final.with_suffix(".partial")
    shutil.rmtree(draft, ignore_errors=True)
    with explained_os_errors("writing prepared rows"):
        draft.mkdir(parents=True)
        write_rows(draft / "rows.parquet", work.rows)
        write_drops(
            draft / "drops.parquet", [replace(drop, detail=redact([drop.detail]).texts[0]) for drop in work.drops]
        )
        _write_index(draft, work.rows, job, known)
        if job.data.vault is not None:
            with create_vault(draft / "hidden.vault", vault_key(job.data.vault, job.base_dir)) as vault:
                for row_id, hidden in work.hidden:
                    vault.add(row_id, hidden)
        (draft / ACCOUNT).write_text(json.dumps(work.account.as_json(), ensure_ascii=False), encoding="utf-8")
        publish_folder(draft, final)


def _write_index(draft: Path, rows: list[Row], job: Job, known: dict[str, Known]) -> None:
    # The questions of a package are made by rule, so that they do not make two equal answers different.
    generated = sources.is_package(job.data)
    texts = [row.messages[-1]["content"] if generated else content_of(row) for row in rows]
    sketches = sketch(texts, near=job.data.near_duplicates < 1.0)
    labels = sorted({row.label for row in rows})
    code = {label: number for number, label in enumerate(labels)}
    beside = [known[row.id] for row in rows]
    np.savez(
        draft / "index.npz",
        id=np.array([int(row.id, 16) for row in rows], np.uint64),
        group=np.array([rank(row.group, 0) for row in rows], np.uint64),
        rank=np.array([rank(row.group or f"\0{row.id}", job.seed) for row in rows], np.uint64),
        grouped=np.array([bool(row.group) for row in rows], bool),
        label=np.array([code[row.label] for row in rows], np.int32),
        labels=np.array(labels, dtype=np.str_),
        part=np.array([each.part for each in beside], dtype="U10"),
        time=np.array([each.time for each in beside], np.float64),
        stratum=np.array([int(each.stratum or "0", 16) for each in beside], np.uint64),
        characters=np.array([sum(map(len, contents(row))) for row in rows], np.int64),
        exact=sketches.exact,
    )
    for name in ("minhash", "grams", "starts"):
        np.save(draft / f"{name}.npy", getattr(sketches, name))
