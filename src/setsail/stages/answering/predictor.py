"""A saved model that says something of texts, with what its task makes of the figures.

No torch here: the reader is torch's (`predictors.py`) or onnxruntime's (`onnx_predictors.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from tokenizers import Encoding

from setsail.base.errors import UserError
from setsail.base.recipe import WINDOWED_TASKS
from setsail.base.target import Head
from setsail.data.read_formats import asked_row
from setsail.data.row import Row, Unfit
from setsail.tasks.prediction import Answer, Fields, Question
from setsail.tasks.reading import Frame, Logits, Reading
from setsail.tokens.read import Encoded, Window

TEXTS_AT_ONCE = 32
Texts = str | tuple[str, ...]


class Reader(Protocol):
    """What gives figures of texts; `PlainReader` and `OnnxModel` do."""

    @property
    def labels(self) -> tuple[str, ...]: ...
    @property
    def context(self) -> int: ...
    @property
    def head(self) -> Head: ...
    def encoding(self, texts: Texts) -> Encoding: ...
    def logits(self, texts: Sequence[Texts], *, at_once: int = 1) -> Sequence[Logits]: ...
    def logits_of(self, ids: Sequence[int], types: Sequence[int]) -> Logits: ...


@dataclass(frozen=True)
class ReadingPredictor:
    """A reader, and the task that the trainer's record names; `num_end` marks end a text."""

    reader: Reader
    task: str
    reading: Reading
    num_end: int
    at_once: int = TEXTS_AT_ONCE
    orders: bool = False

    @property
    def inputs(self) -> tuple[str, ...]:
        return self.reading.inputs

    @property
    def context(self) -> int:
        return self.reader.context

    def question(self, fields: Fields) -> Question:
        try:
            return Question(fields, asked_row(self.task, fields))
        except Unfit as unfit:
            reason = unfit.reason.replace("_", " ")
            raise UserError(f"{reason}: {unfit.detail}" if unfit.detail else reason) from unfit

    def answers(self, questions: Sequence[Question]) -> Sequence[Answer]:
        rows = [question.read for question in questions]
        encodings = self._encoded(rows)
        for encoded in encodings if self.reading.num_texts > 1 else ():
            if encoded.in_last.count(False) >= self.context:
                raise UserError(f"{self.inputs[0]} alone fills the context of {self.context} tokens")
        return [
            Answer(question.fields, said, num_tokens)
            for question, (said, num_tokens) in zip(questions, self._read(rows, encodings), strict=True)
        ]

    def said(self, rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
        """What is said of each row; `cut` is true where its end fitted neither the context nor windows of it."""
        return (said for said, _ in self._read(rows, self._encoded(rows)))

    def _encoded(self, rows: Sequence[Row]) -> list[Encoded]:
        return [Encoded.of(self.reader.encoding(self.reading.texts(row))) for row in rows]

    def _read(self, rows: Sequence[Row], encodings: Sequence[Encoded]) -> Iterator[tuple[dict[str, Any], int]]:
        """What is said of each row, and how many tokens were read for it."""
        texts = [self.reading.texts(row) for row in rows]
        frame = Frame(self.reader.labels)  # a saved head gives a score in its own unit
        found = self.reader.logits(texts, at_once=self.at_once)
        for each, encoded, logits in zip(texts, encodings, found, strict=True):
            num_tokens = len(encoded.ids)
            is_long = num_tokens > self.context
            if is_long and self.task in WINDOWED_TASKS and (windows := encoded.windows(self.context)):
                yield dict(self.reading.say(self._joined(windows, num_tokens), encoded, frame, each)), num_tokens
                continue
            said = self.reading.say(logits, encoded.cut(self.context, self.num_end), frame, each)
            yield {**said, **({"cut": True} if is_long else {})}, min(num_tokens, self.context)

    def _joined(self, windows: Sequence[Window], num_tokens: int) -> Logits:
        """Logits of a whole text from those of its windows, each token's from where most stands around it.

        Of a span, they are counted from the window's own "there is no answer", which has 0: the answer is that of the
        window that is surest of it, as Devlin et al. have it.
        """
        joined = np.zeros((num_tokens, len(self.reader.labels)))
        deepest = np.full(num_tokens, -1)
        for window in windows:
            logits = self.reader.logits_of(window.encoded.ids, window.encoded.types)
            logits = logits - logits[0] if self.reading.head == "span" else logits
            places, depths = np.array(window.places), np.array(window.depths())
            better = depths > deepest[places]
            joined[places[better]], deepest[places[better]] = logits[better], depths[better]
        return joined
