"""The tokens stage: the training rows rendered and tokenised once, into a store that training maps into memory.

Each row group of the prepared rows becomes a shard, in processes of their own where there are several, and the shards
are joined in order: the store's bytes are the same whatever the number of processes. A killed attempt goes on with the
shards that it finished. What is made here follows from the data and the base alone: losing it costs time and nothing
else.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from setsail.base.artifact import Artifact
from setsail.base.environment import without_key
from setsail.base.errors import DamagedArtifact, SetsailError, SystemRefusal
from setsail.base.log import size
from setsail.base.machine import num_cores
from setsail.data.row import num_row_groups
from setsail.stages.rows.mixing import count_mixed_in, explain_counts
from setsail.stages.rows.tokenise import (
    Account,
    Rendering,
    error_of,
    make_shard,
    read_account,
    shard_at,
    worker_command,
    write_account,
)
from setsail.stages.stage import StageSpec, Voyage, make
from setsail.tokens.store import FILES, FORMAT_VERSION, join_stores, open_store
from setsail.tokens.tokenizer import Tokenizer

KIND = "tokens"
_LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class _Work:
    """What is tokenised with what, and where the shards go."""

    rows: Path
    tokenizer: Tokenizer
    rendering: Rendering
    shards: Path
    vocabulary: int
    num_shards: int


def make_tokens(
    voyage: Voyage,
    base: Artifact,
    data: Artifact,
    tokenizer: Tokenizer,
    reads: str,
    *,
    context: int | None = None,
    num_processes: int | None = None,
) -> Artifact:
    """The store of the training rows' examples, by the base's tokenizer; an account of the rows lies beside it.

    `context` is by default the recipe's. `num_processes` is by default the number of cores; the store does not depend
    on it.
    """
    rendering = Rendering.of(voyage.recipe, reads, context)

    def build(draft: Path) -> Mapping[str, Any]:
        if not _is_whole(draft):
            make_store(draft)
        for folder in draft.glob("shards-*"):
            shutil.rmtree(folder)
        store = open_store(draft)
        voyage.log.say(f"  {len(store):,} examples of {store.num_tokens:,} tokens, {size(_num_bytes(draft))}")
        mixed_in = count_mixed_in(data, store)
        for line in explain_counts(mixed_in):
            voyage.log.say(f"  {line}")
        return {"num_examples": len(store), "num_tokens": store.num_tokens, **mixed_in}

    def make_store(draft: Path) -> None:
        rows = data.file("train.parquet")
        # Shards of rows that were cut into other groups are no use, though the rows be the same.
        shards = draft / f"shards-{data.manifest.files[rows.name]['sha256'][:12]}"
        shards.mkdir(exist_ok=True)
        quick, reason = tokenizer.quickened()
        if reason:
            voyage.log.say(f"  tokenising takes the slower way: {reason}")
        work = _Work(rows, quick, rendering, shards, tokenizer.num_ids, num_row_groups(rows))
        _tokenise(voyage, work, num_processes or num_cores())
        made = [shard_at(shards, number) for number in range(work.num_shards)]
        write_account(draft, sum(map(read_account, made), Account()))
        join_stores(draft, made, vocabulary=work.vocabulary)

    spec = StageSpec(
        kind=KIND,
        recipe=asdict(rendering),
        parents={"base": base, "data": data},
        facts={"store_format": FORMAT_VERSION},
        resumable=True,
    )
    return make(voyage, spec, build)


def account_of(tokens: Artifact) -> Account:
    """What became of the rows that a tokens artefact was made of."""
    return read_account(tokens.path)


def _is_whole(folder: Path) -> bool:
    """Whether a store and its account are there, as after an attempt that was killed while it was published."""
    try:
        open_store(folder, verify=True)
        read_account(folder)
    except DamagedArtifact:
        return False
    return True


def _num_bytes(folder: Path) -> int:
    return sum((folder / name).stat().st_size for name in FILES)


def _tokenise(voyage: Voyage, work: _Work, num_processes: int) -> None:
    """Makes every shard that does not stand."""
    for draft in work.shards.glob("*.partial"):
        shutil.rmtree(draft)
    standing = _standing(voyage, work)
    if standing:
        voyage.log.say(f"  {standing} of {work.num_shards} shards were tokenised by an earlier attempt")
    num_processes = min(num_processes, work.num_shards - standing)
    with voyage.log.progress("shard", work.num_shards) as progress:
        progress.start_at(standing)
        # Starting a process takes longer than tokenising what one small shard holds.
        made = _here(work) if num_processes < 2 else _in_processes(work, num_processes)
        for done in made:
            progress.advance(done - progress.done)


def _standing(voyage: Voyage, work: _Work) -> int:
    """How many shards stand; a damaged one is named and removed."""
    standing = 0
    for number in range(work.num_shards):
        shard = shard_at(work.shards, number)
        if not shard.exists():
            continue
        try:
            open_store(shard, verify=True)
            read_account(shard)
            standing += 1
        except DamagedArtifact as error:
            voyage.log.say(f"! {KIND}: {error.message} ({shard}); it is made again")
            shutil.rmtree(shard)
    return standing


def _here(work: _Work) -> Iterator[int]:
    """Makes the shards in this process; yields how many stand."""
    missing = [number for number in range(work.num_shards) if not shard_at(work.shards, number).exists()]
    for done, number in enumerate(missing, work.num_shards - len(missing) + 1):
        make_shard(work.rows, number, work.tokenizer, work.rendering, work.shards, vocabulary=work.vocabulary)
        yield done


def _in_processes(work: _Work, num_processes: int) -> Iterator[int]:
    """Makes the shards in several processes, and yields now and then how many stand.

    Raises:
        SetsailError: what the first process to fail says; the others are ended.
    """
    with ExitStack() as stack:
        workers = [stack.enter_context(_worker(work, first, num_processes)) for first in range(num_processes)]
        running = True
        while running:
            running = any(worker.poll() is None for worker in workers)
            for worker in workers:
                if worker.returncode:
                    raise _failure(worker)
            yield sum(1 for shard in work.shards.iterdir() if not shard.suffix)
            time.sleep(_LOOK_SECONDS if running else 0)


@contextmanager
def _worker(work: _Work, first: int, stride: int) -> Iterator[subprocess.Popen[str]]:
    command = worker_command(
        work.rows,
        work.tokenizer.folder,
        work.rendering,
        work.shards,
        vocabulary=work.vocabulary,
        first=first,
        stride=stride,
    )
    # It ends when its input closes, so that no worker outlives this process, however that ends.
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=without_key()
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _failure(worker: subprocess.Popen[str]) -> SetsailError:
    assert worker.stdout is not None
    line = worker.stdout.readline()
    if line:
        return error_of(line)
    status = worker.returncode
    if status > 0:
        return SetsailError(f"a process that tokenised ended with status {status} and said nothing")
    return SystemRefusal(
        f"a process that tokenised was killed by {signal.Signals(-status).name}; too little memory is the usual reason",
        hint="type the same command again: the shards that were finished are kept",
    )
