"""An exported encoder run by onnxruntime and tokenizers alone: no torch, no transformers.

It says what the plain reader, embedder and ranker say of the folder, under their names, so that whatever predicts takes
either. The invariant: nothing here, nor what it imports, needs torch. What does not live here: writing the files
(`compress/onnx_export.py`).

Legend: N texts, T tokens, C figures of the head, D width of a vector.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from setsail.base.errors import ModelError, SystemRefusal
from setsail.base.machine import num_cores
from setsail.base.target import Head

SETTINGS = "onnx.json"
FORMAT = 1
INSTALL = "pip install 'setsail[onnx]'"
Says = Literal["logits", "vectors"]
Texts = str | tuple[str, ...]


@dataclass(frozen=True)
class OnnxSettings:
    """What prediction needs beside the file and the tokenizer.

    `says` is what comes out, `inputs` what goes in; `labels` name the figures. `pooling` tells how vectors are made.
    `num_end` marks of the tokenizer stand behind a text. `weights` are the precisions that there are.
    """

    task: str
    says: Says
    head: Head
    labels: tuple[str, ...]
    context: int
    inputs: tuple[str, ...]
    pad_id: int
    num_end: int
    weights: tuple[str, ...]
    pooling: str = ""
    format: int = FORMAT

    def write(self, folder: Path) -> None:
        """Puts them beside the files."""
        text = json.dumps(asdict(self), ensure_ascii=False, indent=1)
        (folder / SETTINGS).write_text(text + "\n", encoding="utf-8")


def read_settings(folder: Path) -> OnnxSettings:
    """The settings of an exported folder. Raises: ModelError where they are missing or damaged."""
    path = folder / SETTINGS
    try:
        raw = json.loads(path.read_text("utf-8"))
        if raw["format"] > FORMAT:
            hint = "update setsail, or export again"
            raise ModelError(f"written by a newer setsail (format {raw['format']})", place=str(path), hint=hint)
        lists = {name: tuple(raw[name]) for name in ("labels", "inputs", "weights")}
        return OnnxSettings(**{**raw, **lists})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"no settings of an exported encoder: {error}", place=str(path)) from error


def file_of(weights: str) -> str:
    """The file name of one precision."""
    return f"model-{weights}.onnx"


@dataclass(frozen=True)
class OnnxModel:
    """One file, its tokenizer, and the same tokenizer again to cut with.

    Where the numbers of a batch are rounded together (int8), texts are read one by one (`alone`), so that none is
    answered otherwise for the texts beside it.
    """

    session: Any
    tokenizer: Tokenizer
    cutter: Tokenizer
    settings: OnnxSettings
    alone: bool

    @property
    def labels(self) -> tuple[str, ...]:
        return self.settings.labels

    @property
    def context(self) -> int:
        return self.settings.context

    @property
    def head(self) -> Head:
        return self.settings.head

    def encoding(self, texts: Texts) -> Encoding:
        """A text's tokens, whole."""
        return _encoded(self.tokenizer, texts)

    def said(self, texts: Sequence[Texts], *, at_once: int, cut: str = "only_second") -> list[NDArray[np.float32]]:
        """What the file says of each text, [C], [its tokens, C] or [D]; what is longer than the context loses its end.

        Of two texts the second does, or with `cut` longest_first the longer one.
        """
        found: dict[int, NDArray[np.float32]] = {}
        encodings = [self._cut(self.encoding(each), each, cut) for each in texts]
        order = sorted(range(len(texts)), key=lambda index: len(encodings[index].ids))
        step = 1 if self.alone else at_once
        for start in range(0, len(order), step):
            members = order[start : start + step]
            batch = self._batch([(encodings[index].ids, encodings[index].type_ids) for index in members])
            for index, values in zip(members, self.session.run(None, batch)[0], strict=True):
                is_of_tokens = self.settings.says == "logits" and self.head != "document"
                found[index] = values[: len(encodings[index].ids)] if is_of_tokens else values
        return [found[index] for index in range(len(texts))]

    def logits(self, texts: Sequence[Texts], *, at_once: int = 1) -> list[NDArray[np.float64]]:
        """Logits in the order of the texts."""
        return [values.astype(np.float64) for values in self.said(texts, at_once=at_once)]

    def logits_of(self, ids: Sequence[int], types: Sequence[int]) -> NDArray[np.float64]:
        """Logits [C] or [T, C] of tokens as they are."""
        return self.session.run(None, self._batch([(ids, types)]))[0][0].astype(np.float64)

    def _cut(self, encoding: Encoding, texts: Texts, cut: str) -> Encoding:
        if len(encoding.ids) <= self.context:
            return encoding
        one = isinstance(texts, str) or len(texts) == 1
        self.cutter.enable_truncation(self.context, strategy="longest_first" if one else cut)
        return _encoded(self.cutter, texts)

    def _batch(self, columns: Sequence[tuple[Sequence[int], Sequence[int]]]) -> dict[str, NDArray[np.int64]]:
        """Ids, mask and types [N, T], padded behind the text."""
        longest = max(len(ids) for ids, _ in columns)
        shape = (len(columns), longest)
        batch = {name: np.zeros(shape, np.int64) for name in ("input_ids", "attention_mask", "token_type_ids")}
        batch["input_ids"][:] = self.settings.pad_id
        for row, (ids, types) in enumerate(columns):
            batch["input_ids"][row, : len(ids)] = ids
            batch["attention_mask"][row, : len(ids)] = 1
            batch["token_type_ids"][row, : len(ids)] = types
        return {name: batch[name] for name in self.settings.inputs}


@dataclass(frozen=True)
class OnnxEmbedder:
    """As `Embedder`: vectors of length one."""

    model: OnnxModel

    @property
    def context(self) -> int:
        return self.model.context

    def ids(self, text: str) -> list[int]:
        """A text's token ids, whole."""
        return list(self.model.encoding(text).ids)

    def vectors(self, texts: Sequence[str], *, at_once: int = 32) -> NDArray[np.float32]:
        """Vectors [N, D] in the order of the texts."""
        return np.stack(self.model.said(texts, at_once=at_once)).astype(np.float32)


@dataclass(frozen=True)
class OnnxRanker:
    """As `PlainRanker`: a logit for a query and a text."""

    model: OnnxModel

    @property
    def context(self) -> int:
        return self.model.context

    def ids(self, pair: tuple[str, str]) -> list[int]:
        """A pair's token ids, whole."""
        return list(self.model.encoding(pair).ids)

    def logits(self, pairs: Sequence[tuple[str, str]], *, at_once: int = 32) -> NDArray[np.float64]:
        """Logits [N] in the order of the pairs."""
        said = self.model.said(pairs, at_once=at_once, cut="longest_first")
        return np.array([values[0] for values in said], np.float64)


def load_onnx(folder: Path, weights: str | None = None) -> OnnxModel:
    """The exported encoder of a folder, in one of its precisions; without a word the first.

    Raises:
        ModelError: the folder is damaged, or has no such precision.
        SystemRefusal: onnxruntime is not installed.
    """
    settings = read_settings(folder)
    chosen = weights or settings.weights[0]
    if chosen not in settings.weights:
        known = ", ".join(settings.weights)
        raise ModelError(f"nothing was exported as {chosen}", place=str(folder), hint=f"there are {known}")
    runtime = onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = num_cores()
    options.log_severity_level = 3
    try:
        path = str(folder / file_of(chosen))
        session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no base of their own
        raise ModelError(f"onnxruntime cannot load it: {error}", place=str(folder / file_of(chosen))) from error
    return OnnxModel(session, _tokenizer(folder), _tokenizer(folder), settings, alone=chosen == "int8")


def _encoded(tokenizer: Tokenizer, texts: Texts) -> Encoding:
    if isinstance(texts, str):
        return tokenizer.encode(texts)
    return tokenizer.encode(texts[0], texts[1] if len(texts) > 1 else None)


def _tokenizer(folder: Path) -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def onnxruntime() -> Any:
    """The package. Raises: SystemRefusal where it is not installed."""
    try:
        return import_module("onnxruntime")
    except ModuleNotFoundError as error:
        raise SystemRefusal("the engine onnx needs onnxruntime, which is not installed", hint=INSTALL) from error
