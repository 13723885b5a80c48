"""Texts that are read whole: their tokens with where each stands in the text, and several of them in one packed row.

Invariant: a token's offsets are characters of the last text, and `in_last` is true of exactly the tokens that stand for
characters of it.

Legend: T tokens, D documents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tokenizers

from setsail.tokens.pack import Example

LEAST_ROOM = 8  # tokens of the last text in a window


@dataclass(frozen=True)
class Encoded:
    """One or two texts as a tokenizer writes them, its own marks around and between them.

    Shapes: all [T]; `offsets` are pairs, `types` the segment that a token is said to be of.
    """

    ids: tuple[int, ...]
    offsets: tuple[tuple[int, int], ...]
    in_last: tuple[bool, ...]
    types: tuple[int, ...]

    @classmethod
    def of(cls, encoding: tokenizers.Encoding) -> Encoded:
        """What a tokenizer of the tokenizers library gave, for one text or for two."""
        last = max((number for number in encoding.sequence_ids if number is not None), default=0)
        in_last = tuple(number == last for number in encoding.sequence_ids)
        return cls(tuple(encoding.ids), tuple(encoding.offsets), in_last, tuple(encoding.type_ids))

    def cut(self, context: int, num_end: int) -> Encoded:
        """At most `context` tokens: the last text loses its end, the `num_end` marks behind it stay."""
        if len(self.ids) <= context:
            return self
        return self._of_places([*range(context - num_end), *range(len(self.ids) - num_end, len(self.ids))])

    def windows(self, context: int) -> tuple[Window, ...]:
        """All of the last text in windows of at most `context` tokens, each with everything that stands around it.

        A quarter of a window stands in the next one too. None where what stands around the last text leaves no room.
        """
        inside = [place for place, is_inside in enumerate(self.in_last) if is_inside]
        room = context - (len(self.ids) - len(inside))
        if room < LEAST_ROOM:
            return ()
        before, behind = range(inside[0]), range(inside[-1] + 1, len(self.ids))
        stride = room - room // 4
        starts = range(0, max(1, len(inside) - room + stride), stride)
        kept = ([*before, *inside[start : start + room], *behind] for start in starts)
        return tuple(Window(tuple(places), self._of_places(places)) for places in kept)

    def _of_places(self, places: Sequence[int]) -> Encoded:
        columns: list[Any] = [self.ids, self.offsets, self.in_last, self.types]
        return Encoded(*(tuple(column[index] for index in places) for column in columns))


@dataclass(frozen=True)
class Window:
    """A part of a text that is too long, and the places in the whole at which its tokens stand."""

    places: tuple[int, ...]
    encoded: Encoded

    def depths(self) -> tuple[int, ...]:
        """How far each token is from where the window begins or ends: the deeper, the more was read around it."""
        inside = [place for place, is_inside in enumerate(self.encoded.in_last) if is_inside]
        first, last = inside[0], inside[-1]
        return tuple(min(place - first, last - place) for place in range(len(self.places)))


@dataclass(frozen=True, eq=False)
class ReadBatch:
    """Documents in one row of T tokens, with what is to be said of each, or of each of its tokens.

    `in_last` marks the tokens of which something may be said. `types` is None where no text has a second part.

    Shapes: input_ids, in_last, types [T]; document_starts [D+1], the first 0 and the last T; targets [D, …] or [T].
    """

    input_ids: npt.NDArray[np.int64]
    document_starts: npt.NDArray[np.int32]
    targets: npt.NDArray[Any]
    in_last: npt.NDArray[np.bool_]
    types: npt.NDArray[np.int64] | None
    num_supervised: int
    row_ids: tuple[str, ...] = ()

    @property
    def num_tokens(self) -> int:
        """T, all of them real: there is no padding."""
        return len(self.input_ids)


def read_side_by_side(
    examples: Sequence[Example], targets: npt.NDArray[Any], *, num_supervised: int, second_type: int | None = None
) -> ReadBatch:
    """The examples as one packed row; `second_type` is the segment of the last text where there are two."""
    assert examples, "a batch needs an example"
    types = None
    if second_type is not None:
        types = np.concatenate([np.maximum.accumulate(each.loss_mask) * second_type for each in examples])
    return ReadBatch(
        input_ids=np.concatenate([each.ids for each in examples]).astype(np.int64),
        document_starts=np.concatenate([[0], np.cumsum([len(each.ids) for each in examples])]).astype(np.int32),
        targets=targets,
        in_last=np.concatenate([each.loss_mask for each in examples]),
        types=None if types is None else types.astype(np.int64),
        num_supervised=num_supervised,
        row_ids=tuple(each.row_id for each in examples),
    )
