"""From a source to train, validation and test rows on disk, with every dropped row and its reason beside them.

The steps: read, recognise, clean, mask, remove copies, sample, split, write. What does not live here: each step's own
rules. The invariants: read == kept + dropped; the same input, recipe and version give the same bytes; no group stands
in two parts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from setsail.base.errors import DataError
from setsail.base.files import explained_os_errors
from setsail.base.log import Log
from setsail.base.recipe import Data
from setsail.data import labels, sources
from setsail.data.clean import clean_text
from setsail.data.duplicates import content_of, exact_copies, near_copies
from setsail.data.privacy.options import redactor_of, vault_key
from setsail.data.privacy.redactor import Hidden, redact
from setsail.data.privacy.vault import create_vault
from setsail.data.reading import Part, read_parts
from setsail.data.row import Drop, Row, contents, with_contents, write_drops, write_rows
from setsail.data.split import Parts, sample, split
from setsail.data.summary import Step, Summary, by_reason, reason_sentence

MIN_ROWS = 20
_MANY_UNUSED = 12


@dataclass
class _Work:
    """The rows still in, the drops so far, and what was counted on the way."""

    rows: list[Row]
    drops: list[Drop]
    steps: list[Step] = field(default_factory=list)
    changed: Counter[str] = field(default_factory=Counter)
    redacted: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)

    def ended(self, step: str) -> None:
        self.steps.append(Step(step, len(self.rows)))


def prepare(data: Data, *, task: str, seed: int, base_dir: Path, out: Path, log: Log) -> Summary:
    """Writes train.parquet, validation.parquet, test.parquet and dropped.parquet into `out`; returns the account.

    Raises:
        DataError: the source cannot be read, or fewer than 20 usable rows are left.
        SystemRefusal: disk full, no permission.
    """
    fingerprint = sources.fingerprint(data, base_dir)
    parts = read_parts(data, base_dir, task=task)
    items = [item for part in parts for item in part.items]
    rows, drops = [i for i in items if isinstance(i, Row)], [i for i in items if isinstance(i, Drop)]
    work = _Work(rows, drops, steps=[Step("read", len(items))])
    work.ended("understood")
    _clean(work, data)
    _mask(work, data, base_dir, out)
    if task == "classify":
        _remove_contradictions(work)
    _remove_copies(work, data, task)
    _require_enough(work, data, num_read=len(items))
    if data.max_rows is not None:
        _limit(work, data.max_rows, seed)
    split_rows = _split(work, data, task, seed)
    assert len(items) == len(work.rows) + len(work.drops), "a row was lost or doubled: read != kept + dropped"
    summary = _summary(data, fingerprint, parts, work, split_rows)
    summary = replace(summary, findings=(*summary.findings, *sources.not_read(data, base_dir)))
    _write(out, split_rows, work.drops)
    for line in report(summary):
        log.say(line)
    return summary


def report(summary: Summary) -> list[str]:
    """The account for a person, a line each."""
    lines = [f"  {summary.source}: {', '.join(summary.read_as[:3])}" + (", …" if len(summary.read_as) > 3 else "")]
    before = summary.num_read
    for step in summary.steps:
        lost = f"  (-{before - step.num_rows:,})" if step.num_rows != before else ""
        lines.append(f"  {step.name:<22}{step.num_rows:>9,}{lost}")
        before = step.num_rows
    lines.append("  " + ", ".join(f"{name} {count:,}" for name, count in summary.sizes.items()))
    return [*lines, *(f"  {finding}" for finding in summary.findings)]


def _clean(work: _Work, data: Data) -> None:
    if data.clean == "none":
        return
    kept: list[Row] = []
    for row in work.rows:
        cleaned = [clean_text(text) for text in contents(row)]
        work.changed.update({change for text in cleaned for change in text.changes})
        if all(text.text.strip() for text in cleaned):
            kept.append(with_contents(row, [text.text for text in cleaned]))
        else:
            work.drops.append(Drop(row.id, row.origin, "empty_after_cleaning"))
    work.rows = kept
    work.ended("cleaned")


def _mask(work: _Work, data: Data, base_dir: Path, out: Path) -> None:
    redactor = redactor_of(data.redact, base_dir)
    if redactor is None:
        return
    kept: list[Row] = []
    hidden: list[tuple[str, Sequence[Hidden]]] = []
    for row in work.rows:
        masked = redactor(contents(row))
        work.redacted.update(masked.counts)
        if masked.counts and data.redact.mode == "drop":
            work.drops.append(Drop(row.id, row.origin, "personal_data", _counted(masked.counts)))
            continue
        hidden += [(row.id, masked.hidden)] if masked.counts else []
        kept.append(with_contents(row, masked.texts) if masked.counts else row)
    work.rows = kept
    work.ended("personal data")
    if data.vault is not None:
        out.mkdir(parents=True, exist_ok=True)
        with create_vault(out / "hidden.vault", vault_key(data.vault, base_dir)) as vault:
            for row_id, values in hidden:
                vault.add(row_id, values)
    if hidden:
        total = sum(work.redacted.values())
        values = "1 value was" if total == 1 else f"{total:,} values were"
        done = "replaced" if data.redact.mode == "pseudonymise" else "masked"
        rows = "1 row" if len(hidden) == 1 else f"{len(hidden):,} rows"
        work.findings.append(f"{values} {done} in {rows}: {_counted(work.redacted)}")


def _remove_contradictions(work: _Work) -> None:
    drops = labels.contradictions(work.rows)
    gone = {drop.id for drop in drops}
    work.rows = [row for row in work.rows if row.id not in gone]
    work.drops += drops
    work.ended("contradictions")


def _split(work: _Work, data: Data, task: str, seed: int) -> Parts:
    if task == "classify":
        work.findings += labels.check_labels(work.rows, f"data.source {data.source}")
        return labels.split_labelled(work.rows, data.split, seed=seed)
    return split(work.rows, validation=data.split.validation, test=data.split.test, seed=seed)


def _remove_copies(work: _Work, data: Data, task: str) -> None:
    # The questions of a package are made by rule, so that they do not make two equal answers different.
    generated = sources.is_package(data)
    key: Callable[[Row], str] = (lambda row: row.messages[-1]["content"]) if generated else content_of
    before = len(work.rows)
    _take_out(work, exact_copies([key(row) for row in work.rows]), "exact_duplicate")
    work.ended("exact copies")
    if before > len(work.rows):
        noun = _noun(work.rows, task, generated)
        copies = before - len(work.rows)
        removed = "1 copy was removed" if copies == 1 else f"{copies:,} copies were removed"
        work.findings.insert(0, f"{before:,} rows hold {len(work.rows):,} distinct {noun}; {removed}")
    if data.near_duplicates >= 1.0:
        return
    near = near_copies([key(row) for row in work.rows], data.near_duplicates)
    alike = {index: first for index, first in near.items() if work.rows[index].label == work.rows[first].label}
    if len(alike) < len(near):
        told_apart = [work.rows[index].origin for index in near if index not in alike]
        count = f"{len(told_apart):,} rows are" if len(told_apart) > 1 else "1 row is"
        work.findings.append(f"{count} nearly the same as one with another label, and kept: {told_apart[0]}")
    _take_out(work, alike, "near_duplicate")
    work.ended("near copies")


def _noun(rows: Sequence[Row], task: str, generated: bool) -> str:
    if task in ("text", "classify"):
        return "texts"
    if generated:
        return "answers"
    pairs = all(sum(m["role"] != "system" for m in row.messages) == 2 for row in rows)
    return "question–answer pairs" if pairs else "conversations"


def _take_out(work: _Work, copies: Mapping[int, int], reason: str) -> None:
    for index, original in copies.items():
        row = work.rows[index]
        work.drops.append(Drop(row.id, row.origin, reason, f"like {work.rows[original].origin}"))
    work.rows = [row for index, row in enumerate(work.rows) if index not in copies]


def _limit(work: _Work, max_rows: int, seed: int) -> None:
    work.rows, over = sample(work.rows, max_rows, seed=seed)
    work.drops.extend(Drop(row.id, row.origin, "over_max_rows") for row in over)
    work.ended("max_rows")


def _require_enough(work: _Work, data: Data, *, num_read: int) -> None:
    if len(work.rows) >= MIN_ROWS:
        return
    counts, origins = by_reason(work.drops)
    said = [f for f in work.findings if "distinct" in f]
    told = [
        reason_sentence(reason, counts[reason], origins[reason]) for reason in counts if reason != "exact_duplicate"
    ]
    usable = f"only {len(work.rows)} usable rows are left of {num_read:,}, and at least {MIN_ROWS} are needed"
    if said:
        usable += " (a test on copies of training rows would prove nothing)"
    raise DataError(
        "; ".join([*said, usable, *told[:3]]),
        place=f"data.source {data.source}",
        hint="add rows that differ from these",
    )


def _summary(data: Data, fingerprint: str, parts: Sequence[Part], work: _Work, split_rows: Parts) -> Summary:
    counts, origins = by_reason(work.drops)
    silent = {"exact_duplicate", "over_max_rows"}
    findings = [*work.findings, *_source_findings(data, parts)]
    findings += [reason_sentence(reason, counts[reason], origins[reason]) for reason in counts if reason not in silent]
    if "over_max_rows" in counts:
        findings.append(f"data.max_rows left {counts['over_max_rows']:,} rows out, chosen by the hash of their ids")
    sizes = {name: len(getattr(split_rows, name)) for name in ("train", "validation", "test")}
    return Summary(
        source=data.source,
        fingerprint=fingerprint,
        read_as=tuple(read_as(part) for part in parts),
        num_read=work.steps[0].num_rows,
        steps=tuple(work.steps),
        dropped=counts,
        first_dropped=origins,
        changed=dict(sorted(work.changed.items())),
        redacted=dict(sorted(work.redacted.items())),
        sizes=sizes,
        findings=tuple(findings),
    )


def read_as(part: Part) -> str:
    """How a part was understood: "tickets.csv as csv, utf-8, prompt_completion (prompt from question)"."""
    renamed = [f"{name} from {column}" for name, column in part.form.columns.items() if name != column]
    inside = f" ({', '.join(renamed)})" if renamed else ""
    kind = ", ".join(word for word in (part.container, part.encoding) if word)
    return f"{part.place} as {kind}, {part.form.name}{inside}"


def _source_findings(data: Data, parts: Sequence[Part]) -> list[str]:
    alike: dict[tuple[str, ...], list[str]] = {}
    for part in parts:
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
        for part in parts
        if part.num_invalid_bytes
    ]
    return found


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items()))


def _write(out: Path, parts: Parts, drops: Sequence[Drop]) -> None:
    with explained_os_errors("making the folder for prepared rows"):
        out.mkdir(parents=True, exist_ok=True)
    write_rows(out / "train.parquet", parts.train)
    write_rows(out / "validation.parquet", parts.validation)
    write_rows(out / "test.parquet", parts.test)
    write_drops(out / "dropped.parquet", [replace(drop, detail=redact([drop.detail]).texts[0]) for drop in drops])
