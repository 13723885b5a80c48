"""The mix stage: rows of another source among the recipe's own, in training alone.

Validation and test stay the recipe's own, and what is like one of their rows is never mixed in. Training reads the mix
as it reads any rows, so that it packs, resumes and shares out work as without one.
"""

from __future__ import annotations

import json
import shutil
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from setsail.base.artifact import Artifact
from setsail.base.errors import DataError
from setsail.base.files import explained_os_errors, write_atomically
from setsail.base.recipe_data import Data, Split
from setsail.base.recipe_mix import Mix
from setsail.data.duplicates import contaminated
from setsail.data.prepare import prepare
from setsail.data.privacy.options import key_mark
from setsail.data.row import Row, iterate_rows, read_rows, write_rows
from setsail.data.sources import fingerprint
from setsail.evaluate.question import choose_rows
from setsail.stages.stage import StageSpec, Voyage, make
from setsail.tokens.store import Store

KIND = "mix"
MARK = "mixed_in"  # on every row that is not the recipe's own
ACCOUNT = "mix.json"
_SOURCE = "source"


@dataclass(frozen=True)
class MixAccount:
    """How many rows there are of either kind, how many the source had to choose from, and how many of those were out.

    `num_like_held_out` were like a row of validation or test and are not mixed in.
    """

    num_own: int
    num_mixed_in: int
    num_usable: int
    num_like_held_out: int

    @property
    def share(self) -> float:
        """Of the rows that are mixed in, in all training rows."""
        return self.num_mixed_in / (self.num_own + self.num_mixed_in)


def make_mix(voyage: Voyage, data: Artifact) -> Artifact:
    """The rows to train on: the recipe's own, and where it says `mix` those of another source among them.

    Raises:
        DataError: the source has fewer usable rows than the share asks for.
    """
    recipe = voyage.recipe
    mix = recipe.training.mix
    if mix is None:
        return data
    wanted = _as_data(recipe.data, mix)
    task, folder = mix.task or recipe.task, voyage.loaded.folder

    def build(draft: Path) -> Mapping[str, Any]:
        voyage.log.say(f"  rows of {mix.source} to mix in:")
        prepare(
            wanted,
            task=task,
            seed=recipe.seed,
            base_dir=folder,
            out=draft / _SOURCE,
            log=voyage.log,
            language=recipe.language,
        )
        account = _write(voyage, data, draft, mix)
        voyage.log.say(f"  {explain(account, mix.source)}")
        return asdict(account)

    spec = StageSpec(
        kind=KIND,
        recipe={
            "mix": mix.model_dump(mode="json"),
            "task": task,
            "seed": recipe.seed,
            "data": wanted.model_dump(mode="json"),
        },
        parents={"data": data},
        facts={"source": fingerprint(wanted, folder), "keys": key_mark(wanted, folder)},
        resumable=True,
    )
    return make(voyage, spec, build)


def explain(account: MixAccount, source: str) -> str:
    """What was mixed in, in a sentence."""
    total = account.num_own + account.num_mixed_in
    like = f", {account.num_like_held_out:,} are like held-out rows and stay out" if account.num_like_held_out else ""
    return (
        f"{account.num_mixed_in:,} of {total:,} training rows ({account.share:.1%}) are mixed in, of "
        f"{account.num_usable:,} usable ones of {source}{like}; none is validated or tested on"
    )


def count_mixed_in(rows: Artifact, train: Store) -> dict[str, Any]:
    """What share of the tokens, and of the targets, comes from rows that were mixed in; nothing where none were."""
    if rows.manifest.kind != KIND:
        return {}
    number = rows.metrics["num_mixed_in"]
    ids = set(pq.read_table(rows.file("train.parquet"), columns=["id"])["id"][-number:].to_pylist())
    first = bisect_left(range(len(train)), True, key=lambda index: train[index].row_id in ids)  # they stand last
    counts = {"tokens": train.lengths, "targets": train.num_supervised}
    shares = {what: float(each[first:].sum() / max(1, each.sum())) for what, each in counts.items()}
    return {"num_mixed_in": number, **{f"mixed_in_share_of_{what}": share for what, share in shares.items()}}


def explain_counts(counts: Mapping[str, Any]) -> list[str]:
    """The same in a line for the terminal."""
    if not counts:
        return []
    tokens, targets = (f"{counts[f'mixed_in_share_of_{what}']:.1%}" for what in ("tokens", "targets"))
    return [f"{counts['num_mixed_in']:,} rows are mixed in: {tokens} of the tokens, {targets} of the targets to learn"]


def num_to_mix_in(num_own: int, share: float) -> int:
    """How many rows make up this share of all, together with so many of one's own.

    >>> num_to_mix_in(80, 0.2), num_to_mix_in(3, 0.001)
    (20, 1)
    """
    exact = Fraction(str(share))
    return max(1, round(num_own * exact / (1 - exact)))


def _as_data(own: Data, mix: Mix) -> Data:
    """The source under the recipe's own rules; all of it is for training."""
    return Data(
        source=mix.source,
        columns=mix.columns,
        max_rows=mix.max_rows,
        split=Split(validation=0.0, test=0.0),
        clean=own.clean,
        redact=own.redact,
        near_duplicates=own.near_duplicates,
        keep_out=own.keep_out,
        forget=own.forget,
    )


def _write(voyage: Voyage, data: Artifact, draft: Path, mix: Mix) -> MixAccount:
    """Own rows first, then those that are mixed in, marked; held-out rows as they are."""
    seed = voyage.recipe.seed
    own = pq.read_table(data.file("train.parquet"), columns=["id"])["id"].to_pylist()
    pool = read_rows(draft / _SOURCE / "train.parquet")
    held_out = [row for part in ("validation", "test") for row in iterate_rows(data.file(f"{part}.parquet"))]
    like = contaminated(pool, held_out, voyage.recipe.data.near_duplicates)
    there = {*own, *like}
    usable = [row for row in pool if row.id not in there]
    number = num_to_mix_in(len(own), mix.share)
    if len(usable) < number:
        raise _too_few(voyage, mix, len(own), len(usable), number)
    chosen = choose_rows(usable, number, seed=seed)
    write_rows(draft / "train.parquet", chain(iterate_rows(data.file("train.parquet")), _marked(chosen)))
    account = MixAccount(len(own), number, len(usable), len(like))
    with explained_os_errors("mixing rows in"):
        for part in ("validation", "test"):
            shutil.copyfile(data.file(f"{part}.parquet"), draft / f"{part}.parquet")
        write_atomically(draft / ACCOUNT, json.dumps(asdict(account), indent=1) + "\n")
        (draft / _SOURCE / "dropped.parquet").rename(draft / "dropped.parquet")
        shutil.rmtree(draft / _SOURCE)
    return account


def _marked(rows: Sequence[Row]) -> Iterator[Row]:
    return (replace(row, marks=(*row.marks, MARK)) for row in rows)


def _too_few(voyage: Voyage, mix: Mix, num_own: int, num_usable: int, wanted: int) -> DataError:
    key = f"{voyage.recipe.training_key}.mix"
    most = num_usable / (num_own + num_usable)
    return DataError(
        f"a share of {mix.share:g} beside {num_own:,} own rows is {wanted:,} rows; {mix.source} has {num_usable:,}",
        place=voyage.loaded.place(f"{key}.share"),
        hint=f"lower {key}.share to at most {int(most * 1000) / 1000:g}, or name a larger source",
    )
