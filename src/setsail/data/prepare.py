"""From a source to train, validation and test rows on disk, with every dropped row and its reason beside them.

Pieces of the source are worked on one by one, in several processes; what concerns all rows is decided over an index;
then each row is written to its part. What does not live here: the work on a piece (`shard.py`), the decisions
(`choose.py`). The invariants: read == kept + dropped; the same input, recipe and version give the same bytes, whatever
the number of processes and however often the work was killed and begun again.
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from setsail.base.errors import DataError, RecipeError
from setsail.base.files import explained_os_errors
from setsail.base.log import Log
from setsail.base.machine import num_cores
from setsail.base.page.words import Language
from setsail.base.recipe_data import Augment, Data
from setsail.base.recipe_pairs import WRITING_TASKS
from setsail.data import sources
from setsail.data.account import Account, total
from setsail.data.augment import Augmenter
from setsail.data.choose import FATES, Choice, limit, remove_repeats, share_out
from setsail.data.formats import recognise
from setsail.data.index import PARTS, Index, load_index, load_sketches
from setsail.data.lexicon import read_lexicon
from setsail.data.page.build import build
from setsail.data.page.figures import Figures, write_figures
from setsail.data.page.gather import gather
from setsail.data.parallel import each
from setsail.data.pieces import plan, read_piece
from setsail.data.privacy.redactor import redact
from setsail.data.reading import columns_of
from setsail.data.rewrite import Ask, Rewriter
from setsail.data.row import (
    DROP_SCHEMA,
    GROUP_CHARACTERS,
    GROUP_ROWS,
    ROW_SCHEMA,
    Drop,
    Row,
    contents,
    drops_table,
    rows_of,
    rows_table,
)
from setsail.data.shard import Job, Task, make_shard, read_account, take_back
from setsail.data.steps.registry import steps_of
from setsail.data.summarise import refuse_mostly_broken, summarise, usable_sentence
from setsail.data.summary import Summary
from setsail.data.text_pairs import pair_findings

MIN_ROWS = 20
WORK = "work"
ANSWERS = "answers.jsonl"  # of a model that writes texts anew, in WORK
Choose = Callable[[Index, Data, str, int, Path, Account], tuple[Choice, list[str]]]
_SWAPPED = "are texts and labels in each other's columns? data.columns: {text: …, label: …} names them"
_CANNOT_DIFFER = {"csv", "tsv", "parquet"}  # all of such a file has the same columns


def prepare(
    data: Data,
    *,
    task: str,
    seed: int,
    base_dir: Path,
    out: Path,
    log: Log,
    language: Language = "en",
    processes: int | None = None,
    ask: Ask | None = None,
    all_to_test: bool = False,
) -> Summary:
    """Writes train.parquet, validation.parquet, test.parquet and dropped.parquet into `out`; returns the account.

    Beside them stands the page to read before training, data.html and data.md in `language`, with its figures in
    data.json.

    What stands finished in `out` from an earlier attempt is taken as it is. `processes` are at most the cores. `ask`
    reaches the model that `data.augment.server` names. `all_to_test` is for rows that a finished model is asked: every
    usable one is a row of the test, copies and contradictions too.

    Raises:
        DataError: the source cannot be read, or too few usable rows are left: 20, or none of those that are asked.
        SystemRefusal: disk full, no permission.
    """
    work = out / WORK
    try:
        augmenter = _augmenter(data, seed, base_dir, work, ask)
        choose = _all_to_test if all_to_test else _choose
        job = (data, task, seed, base_dir, out, log, processes or num_cores())
        summary, figures = _prepare(*job, augmenter, choose)
    except (DataError, RecipeError):
        shutil.rmtree(work, ignore_errors=True)
        if out.is_dir() and not any(out.iterdir()):
            out.rmdir()
        raise
    write_figures(out, figures)
    build(out, figures, language=language)
    shutil.rmtree(work)
    for line in summary.lines():
        log.say(line)
    return summary


def _prepare(
    data: Data,
    task: str,
    seed: int,
    base_dir: Path,
    out: Path,
    log: Log,
    processes: int,
    augmenter: Augmenter | None,
    choose: Choose,
) -> tuple[Summary, Figures]:
    steps_of(data.clean)  # a step that does not exist is told before anything is read
    fingerprint = sources.fingerprint(data, base_dir)
    scratch = out / WORK
    with explained_os_errors("making the folder for prepared rows"):
        scratch.mkdir(parents=True, exist_ok=True)
    shards = _make_shards(data, task, seed, base_dir, scratch, log, processes)
    account = total([read_account(shard) for shard in shards])
    refuse_mostly_broken(account)
    index = load_index(shards)
    choice, findings = choose(index, data, task, seed, scratch, account)
    findings += sources.not_read(data, base_dir)
    num_made = _write(out, index, choice, augmenter, log)
    if task in WRITING_TASKS:
        findings += pair_findings([out / f"{part}.parquet" for part in PARTS], data, task)
    for shard in shards if data.vault is not None else ():
        with explained_os_errors("keeping what was masked"):
            shutil.copy(shard / "hidden.vault", out / f"hidden-{shard.name}.vault")
    summary = summarise(data, task, fingerprint, account, index, choice, findings)
    if augmenter is not None:
        summary = summary.with_made(num_made, augmenter.refused)
    return summary, gather(data, base_dir, summary, account=account, index=index, choice=choice, out=out)


def _choose(
    index: Index, data: Data, task: str, seed: int, scratch: Path, account: Account
) -> tuple[Choice, list[str]]:
    """What becomes of each row that a model may learn from or be tested on, and what is worth telling."""
    choice = remove_repeats(index, functools.partial(load_sketches, index, scratch), data, task=task)
    if len(choice.left) < MIN_ROWS:
        raise _too_few(data, task, account, index, choice, needed=MIN_ROWS)
    if data.max_rows is not None:
        limit(choice, index, data.max_rows, seed=seed)
    return choice, share_out(choice, index, data, task=task)


def _all_to_test(
    index: Index, data: Data, task: str, seed: int, scratch: Path, account: Account
) -> tuple[Choice, list[str]]:
    choice = Choice(np.full(len(index), PARTS.index("test"), np.int8), np.arange(len(index)))
    if not len(index):
        raise _too_few(data, task, account, index, choice, needed=1)
    return choice, []


def _augmenter(data: Data, seed: int, base_dir: Path, work: Path, ask: Ask | None) -> Augmenter | None:
    """What makes more training rows; a lexicon that cannot be read is told before anything else is."""
    wanted = data.augment
    if wanted == Augment():
        return None
    lexicon = read_lexicon(base_dir / Path(wanted.lexicon).expanduser()) if wanted.lexicon else None
    if (wanted.server is None) != (ask is None):
        raise ValueError("a server to ask is named, and `ask`, which reaches it, is not given; or the other way round")
    return Augmenter(wanted, seed=seed, lexicon=lexicon, rewriter=Rewriter(ask, work / ANSWERS) if ask else None)


def _make_shards(
    data: Data, task: str, seed: int, base_dir: Path, scratch: Path, log: Log, processes: int
) -> list[Path]:
    """A shard for every task of the source; files whose pieces differ in what they hold are read again."""
    tasks = _tasks(data, base_dir, scratch)
    job = Job(data, task, seed, base_dir, scratch / "shards", _first_columns(tasks))
    while True:
        done = _work_through(job, tasks, log, processes)
        columns = _columns_after_all(data, job, done)
        if columns == job.columns:
            return done
        changed = {place for place in columns if columns[place] != job.columns.get(place)}
        for shard in done:
            if changed & {part.place for part in read_account(shard).parts}:
                take_back(shard)
        job = replace(job, columns=columns)


def _tasks(data: Data, base_dir: Path, scratch: Path) -> list[Task]:
    files = sources.files_of(data, base_dir, scratch / "fetched")
    if files is None:
        return [Task(0)]
    planned = plan(files, encoding=data.encoding, scratch=scratch / "unpacked")
    return [Task(number, pieces) for number, pieces in enumerate(planned)]


def _work_through(job: Job, tasks: Sequence[Task], log: Log, processes: int) -> list[Path]:
    small = len(tasks) < 4  # of less than a few pieces the start of a process would cost more than it gives
    done = []
    with log.progress("prepare: pieces", len(tasks)) as progress:
        for shard in each(functools.partial(make_shard, job), tasks, processes=1 if small else processes):
            done.append(shard)
            progress.advance()
    return done


def _first_columns(tasks: Sequence[Task]) -> dict[str, tuple[str, ...]]:
    """For each file in several pieces whose lines may differ, the columns in its first piece."""
    firsts = [piece for task in tasks for piece in task.pieces if not piece.is_whole and piece.number == 0]
    return {
        piece.file.place: columns_of(item for _, read in read_piece(piece) for item in read.items)
        for piece in firsts
        if piece.container not in _CANNOT_DIFFER
    }


def _columns_after_all(data: Data, job: Job, shards: Sequence[Path]) -> dict[str, tuple[str, ...]]:
    """The same columns, unless a later piece holds some that change how the file is understood."""
    after = dict(job.columns)
    if not after:
        return after
    for part in total([read_account(shard) for shard in shards]).parts:
        known = after.get(part.place)
        if known is None or set(part.columns) <= set(known):
            continue
        forms = [
            recognise(
                columns,
                name=data.format,
                columns=data.columns,
                place=part.place,
                task=job.task,
                languages=data.languages,
            )
            for columns in (known, part.columns)
        ]
        if forms[0] != forms[1]:
            after[part.place] = tuple(part.columns)
    return after


def _too_few(data: Data, task: str, account: Account, index: Index, choice: Choice, *, needed: int) -> DataError:
    contradictory = int((choice.fate == FATES.index("contradictory_label")).sum())
    return DataError(
        usable_sentence(data, task, account, index, choice, needed=needed),
        place=f"data.source {data.source}",
        hint=_SWAPPED if 2 * contradictory > len(index) else "add rows that differ from these",
    )


def _write(out: Path, index: Index, choice: Choice, augmenter: Augmenter | None, log: Log) -> int:
    """Each row to its part, shard by shard, and every drop to dropped.parquet; how many rows were made on the way."""
    num_made = 0
    options = {"compression": "zstd", "write_statistics": False, "store_schema": False}
    with explained_os_errors("writing prepared rows"), ExitStack() as files:
        parts = [
            _PartWriter(files.enter_context(pq.ParquetWriter(out / f"{part}.parquet", ROW_SCHEMA, **options)))
            for part in PARTS
        ]
        dropped = files.enter_context(pq.ParquetWriter(out / "dropped.parquet", DROP_SCHEMA, **options))
        for number, shard in enumerate(index.shards):
            start, end = index.starts[number : number + 2]
            rows = pq.read_table(shard / "rows.parquet", schema=ROW_SCHEMA)
            for part, writer in enumerate(parts):
                taken = choice.fate[start:end] == part
                kept = rows.filter(pa.array(taken))
                writer.write(kept, index.characters[start:end][taken])
                if part == PARTS.index("train") and augmenter is not None:
                    made = _made(augmenter, rows_of(kept), log)
                    writer.write(rows_table(made), np.array([sum(map(len, contents(row))) for row in made], np.int64))
                    num_made += len(made)
            drops = pq.read_table(shard / "drops.parquet", schema=DROP_SCHEMA)
            whole = pa.concat_tables([drops, drops_table(list(_drops(index, choice, rows, start, end)))])
            if len(whole):
                dropped.write_table(whole)
        for writer in parts:
            writer.finish()
    return num_made


def _made(augmenter: Augmenter, rows: Sequence[Row], log: Log) -> list[Row]:
    if not augmenter.asks:
        return [new for row in rows for new in augmenter.made_from(row)]
    made = []
    with log.progress("prepare: rows written anew", len(rows)) as progress:
        for row in rows:
            made += augmenter.made_from(row)
            progress.advance()
    return made


class _PartWriter:
    """Writes rows in groups that end at GROUP_ROWS or GROUP_CHARACTERS, whatever the shards that they come from."""

    def __init__(self, file: pq.ParquetWriter) -> None:
        self._file = file
        self._waiting: list[pa.Table] = []
        self._rows = self._characters = 0

    def write(self, rows: pa.Table, characters: np.ndarray) -> None:
        start = 0
        for place, count in enumerate(characters.tolist()):
            self._rows, self._characters = self._rows + 1, self._characters + count
            if self._rows >= GROUP_ROWS or self._characters >= GROUP_CHARACTERS:
                self._waiting.append(rows.slice(start, place + 1 - start))
                self.finish()
                start = place + 1
        if start < len(rows):
            self._waiting.append(rows.slice(start))

    def finish(self) -> None:
        """Writes the rows that wait as one group."""
        if self._waiting:
            group = pa.concat_tables(self._waiting).combine_chunks()
            self._file.write_table(group, row_group_size=max(1, len(group)))
        self._waiting, self._rows, self._characters = [], 0, 0


def _drops(index: Index, choice: Choice, rows: pa.Table, start: int, end: int) -> Iterator[Drop]:
    """The rows of a shard that are dropped for the sake of others, each with the other's place."""
    out = np.flatnonzero(choice.fate[start:end] >= len(PARTS))
    ids, origins = (rows.column(name).take(pa.array(out)).to_pylist() for name in ("id", "origin"))
    for at, id, origin in zip(out.tolist(), ids, origins, strict=True):
        row = int(start) + at
        other, reason = int(choice.because[row]), FATES[choice.fate[row]]
        detail = "" if other == row else f"like {index.origin(other)}"
        if reason == "contradictory_label":
            named = f'"{index.label_of(row)}" here, "{index.label_of(other)}" at {index.origin(other)}'
            detail = redact([named]).texts[0]
        if reason == "in_another_part":
            detail = f"its group stands at {index.origin(other)}"
        yield Drop(id, origin, reason, detail)
