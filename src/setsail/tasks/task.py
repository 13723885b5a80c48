"""What a task is: a few functions from a row to what is learned, asked and compared. Data, not a tree of classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from setsail.tokens.pack import Example
from setsail.tokens.tokenizer import Tokenizer

Overlong = Literal["drop", "split", "cut"]


class Row(Protocol):
    """What a task reads of a row; `data.row.Row` is one."""

    @property
    def id(self) -> str: ...
    @property
    def messages(self) -> Sequence[Mapping[str, str]]: ...
    @property
    def text(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def target(self) -> str: ...


@dataclass(frozen=True)
class Dropped:
    """A row that nothing is learned from: `reason` is a word to count by, `detail` says it of this row."""

    reason: str
    detail: str


ReadRow = Callable[[Row, Tokenizer, int, Overlong], tuple[Example, ...] | Dropped]


@dataclass(frozen=True)
class Task:
    """One kind of work.

    `example(row, tokenizer, context, overlong)` gives what is learned, no example longer than `context` tokens; an
    example that lost or divided something says so in `Example.change`. `prompt` gives the ids to answer, `reference`
    the answer to compare with, `metrics` what `evaluate` computes from them.
    """

    name: str
    example: ReadRow
    prompt: Callable[[Row, Tokenizer], list[int]]
    reference: Callable[[Row], str]
    metrics: tuple[str, ...]
