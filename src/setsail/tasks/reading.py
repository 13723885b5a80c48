"""What a task adds whose model reads a text whole and says something of it: of the text, of its tokens, or where in it.

Data, not a tree of classes: which head, which loss, what a row is to be told, what the head's figures say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from setsail.base.target import Head
from setsail.tasks.task import Dropped, Overlong, Row
from setsail.tokens.pack import Example
from setsail.tokens.read import Encoded
from setsail.tokens.tokenizer import Tokenizer

Loss = Literal["one_label", "labels", "score", "tags", "span"]
Logits = npt.NDArray[np.float64]  # [C] of a document; [T, C] of its tokens


@dataclass(frozen=True)
class Frame:
    """What the training rows say of the head: the names of its figures in their order, and a score's mean and scale."""

    names: tuple[str, ...]
    mean: float = 0.0
    scale: float = 1.0


@dataclass(frozen=True)
class Reading:
    """One way to say something of a text.

    `inputs` are the columns that a question has, `texts` what is read of a row: one text or two. `frame` is learned
    from the training rows alone. `targets` are those of examples, in the shape that `loss` takes. `say` tells in JSON's
    terms what the logits of one text mean; `figures` are what validation shows of logits beside targets.
    """

    head: Head
    loss: Loss
    inputs: tuple[str, ...]
    texts: Callable[[Row], tuple[str, ...]]
    frame: Callable[[Iterable[Row]], Frame]
    targets: Callable[[Sequence[Example], Frame], npt.NDArray[Any]]
    say: Callable[[Logits, Encoded, Frame, tuple[str, ...]], Mapping[str, Any]]
    figures: Callable[[Sequence[Logits], Sequence[Example], Frame], Mapping[str, float]]

    @property
    def num_texts(self) -> int:
        """Two where one text is read in the light of another: a context of a question, an answer of a rubric."""
        return 2 if self.inputs[0] in ("question", "rubric") else 1


def whole(
    texts: tuple[str, ...], row: Row, tokenizer: Tokenizer, context: int, overlong: Overlong
) -> tuple[Encoded, str] | Dropped:
    """The texts as they are read, and how that differs from the row: "" or "cut"; or why they are not."""
    encoded = tokenizer.read(*texts)
    if len(encoded.ids) <= context:
        return encoded, ""
    room = context - sum(not inside for inside in encoded.in_last)
    if overlong == "cut" and room > 0:
        return encoded.cut(context, len(tokenizer.text_end_ids)), "cut"
    return Dropped("overlong", f"{len(encoded.ids):,} tokens, the context has {context:,}")


def in_windows(
    texts: tuple[str, ...], row: Row, tokenizer: Tokenizer, context: int, overlong: Overlong
) -> tuple[tuple[Encoded, str], ...] | Dropped:
    """The texts as they are read, too long ones with `split` in windows, and how that differs from the row."""
    encoded = tokenizer.read(*texts)
    if overlong == "split" and len(encoded.ids) > context and (windows := encoded.windows(context)):
        return tuple((window.encoded, "split") for window in windows)
    read = whole(texts, row, tokenizer, context, overlong)
    return read if isinstance(read, Dropped) else (read,)


def example_of(encoded: Encoded, row: Row, change: str, label: str, *, marks: bool = False) -> Example:
    """The example of a text; `marks` where something is said of its tokens."""
    mask = np.array(encoded.in_last, dtype=np.bool_) if marks else np.zeros(len(encoded.ids), dtype=np.bool_)
    return Example(np.array(encoded.ids, dtype=np.int32), mask, row.id, change, label)


def softmax(logits: Logits) -> Logits:
    """Shares of the last axis."""
    shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shares / shares.sum(axis=-1, keepdims=True)
