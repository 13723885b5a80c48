"""Rows become examples: one after the other, nothing left out in silence, and a row group of a file into a store.

Run as a program (`python -m setsail.stages.rows.tokenise ROWS TOKENIZER SHARDS …`) it makes every n-th shard; it ends
when its input closes, which is when its parent dies. It imports no torch. Invariant: a shard has its name only when it
is whole, and what is in it does not depend on which process made it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from setsail.base import errors
from setsail.base.errors import DamagedArtifact, SetsailError, UserError
from setsail.base.files import explained_os_errors
from setsail.base.recipe import Recipe
from setsail.data.row import Row, iterate_rows, num_row_groups
from setsail.tasks.registry import find_example
from setsail.tasks.task import Dropped, Overlong
from setsail.tokens.pack import Example
from setsail.tokens.store import write_store
from setsail.tokens.tokenizer import Tokenizer, load

MOST_NAMED = 1000  # rows that an account names; all are counted
ACCOUNT = "account.json"


@dataclass(frozen=True)
class Rendering:
    """What decides how a row becomes examples; `reads` is a task, or "passage"."""

    reads: str
    context: int
    overlong: Overlong

    @classmethod
    def of(cls, recipe: Recipe, reads: str, context: int | None = None) -> Rendering:
        """As the recipe says, in its context or in another."""
        return cls(reads, context or recipe.training.context, recipe.data.overlong)


@dataclass
class Account:
    """What became of rows on their way to examples; of each kind the first ones are named."""

    num_rows: int = 0
    num_cut: int = 0
    cut: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    first_left_out: list[str] = field(default_factory=list)

    def __add__(self, later: Account) -> Account:
        return Account(
            self.num_rows + later.num_rows,
            self.num_cut + later.num_cut,
            [*self.cut, *later.cut][:MOST_NAMED],
            self.left_out + later.left_out,
            [*self.first_left_out, *later.first_left_out][:MOST_NAMED],
        )

    def explain(self, part: str) -> list[str]:
        """A sentence for each reason for which rows were left out."""
        names = ", ".join(self.first_left_out[:3])
        return [
            f"{count:,} {part} rows left out: {reason}; for instance {names}" for reason, count in self.left_out.items()
        ]

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "left_out": dict(self.left_out)}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Account:
        return cls(**{**raw, "left_out": Counter(raw["left_out"])})


def examples_from(
    rows: Iterable[Row], tokenizer: Tokenizer, rendering: Rendering, account: Account
) -> Iterator[Example]:
    """Every row as it is read, in order; a row at a time is in memory.

    Mutates: `account`, in which each row is counted.

    Raises:
        SetsailError: whatever went wrong, with the row's id and origin in its place.
    """
    example_of = find_example(rendering.reads)
    for row in rows:
        try:
            made = example_of(row, tokenizer, rendering.context, rendering.overlong)
        except UserError as error:
            place = f"row {row.id} of {row.origin}" + (f"; {error.place}" if error.place else "")
            raise type(error)(error.message, place=place, hint=error.hint) from error
        except Exception as error:  # whatever a tokenizer or a template raises, the row is named
            place = f"row {row.id} of {row.origin}"
            raise SetsailError(f"tokenising failed: {type(error).__name__}: {error}", place=place) from error
        account.num_rows += 1
        if isinstance(made, Dropped):
            account.left_out[made.reason] += 1
            if len(account.first_left_out) < MOST_NAMED:
                account.first_left_out.append(row.origin)
            continue
        if any(example.change for example in made):
            account.num_cut += 1
            if len(account.cut) < MOST_NAMED:
                account.cut.append(row.id)
        yield from made


def shard_at(shards: Path, number: int) -> Path:
    """Where the shard of a row group stands."""
    return shards / f"{number:06d}"


def make_shard(
    rows: Path, number: int, tokenizer: Tokenizer, rendering: Rendering, shards: Path, *, vocabulary: int
) -> None:
    """The shard of a row group of `rows`, unless it stands already: a store, and an account beside it."""
    final = shard_at(shards, number)
    if final.exists():
        return
    draft = final.with_suffix(".partial")
    account = Account()
    write_store(draft, examples_from(iterate_rows(rows, number), tokenizer, rendering, account), vocabulary=vocabulary)
    with explained_os_errors("writing tokens"):
        write_account(draft, account)
        draft.rename(final)


def write_account(folder: Path, account: Account) -> None:
    """Puts an account beside a store."""
    (folder / ACCOUNT).write_text(json.dumps(account.as_json(), indent=1) + "\n", encoding="utf-8")


def read_account(folder: Path) -> Account:
    """The account beside a store.

    Raises:
        DamagedArtifact: it cannot be read.
    """
    try:
        return Account.from_json(json.loads((folder / ACCOUNT).read_text("utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedArtifact(f"its {ACCOUNT} cannot be read: {error}", place=str(folder)) from error


def worker_command(
    rows: Path, tokenizer: Path, rendering: Rendering, shards: Path, *, vocabulary: int, first: int, stride: int
) -> list[str]:
    """What starts a process that makes the shards `first`, `first + stride` and so on."""
    # -P: a file called json.py in the user's folder must not stand in for the library.
    program = [sys.executable, "-P", "-m", "setsail.stages.rows.tokenise", str(rows), str(tokenizer), str(shards)]
    settings = {**asdict(rendering), "vocabulary": vocabulary, "first": first, "stride": stride}
    return [*program, json.dumps(settings)]


def error_of(line: str) -> SetsailError:
    """The error that a worker wrote before it ended."""
    told = json.loads(line)
    kind = getattr(errors, told["kind"], SetsailError)
    return kind(told["message"], place=told["place"], hint=told["hint"])


def main(arguments: list[str]) -> int:
    """Makes this process's shards; the one line that it may write is an error as JSON."""
    rows, tokenizer, shards = (Path(argument) for argument in arguments[:3])
    settings = json.loads(arguments[3])
    vocabulary, first, stride = (settings.pop(name) for name in ("vocabulary", "first", "stride"))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    try:
        loaded, _ = load(tokenizer).quickened()
        for number in range(first, num_row_groups(rows), stride):
            make_shard(rows, number, loaded, Rendering(**settings), shards, vocabulary=vocabulary)
    except Exception as error:  # the process's edge: whatever went wrong is told to the parent
        print(json.dumps(_described(error)), flush=True)
        return 1
    return 0


def _described(error: Exception) -> dict[str, str | None]:
    if not isinstance(error, UserError):
        traceback.print_exception(error)
    if not isinstance(error, SetsailError):
        error = SetsailError(f"{type(error).__name__}: {error}")
    kinds = (kind.__name__ for kind in type(error).__mro__ if hasattr(errors, kind.__name__))
    return {"kind": next(kinds), "message": error.message, "place": error.place, "hint": error.hint}


def _end_with_the_parent() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
