"""An encoder's folder as ONNX files: in float32 by torch's own exporter, and in eight bits by onnxruntime's quantiser.

What goes in are token ids, a mask and, where the encoder has them, types of tokens; what comes out is what the task
needs: logits, or vectors that are pooled and of length one already. Both axes, batch and length, are open. What does
not live here: the graphs of the bag and the LSTM (`onnx_words.py`), running the files (`models/onnx_model.py`), and
whether they say what the trainer said (`check_reader.py`, `check_values.py`).
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from setsail.base.errors import ModelError, SystemRefusal
from setsail.base.target import Head
from setsail.compress.onnx_words import words_graph
from setsail.models.embedder import load_embedder
from setsail.models.onnx_model import Says
from setsail.models.plain_reader import load_plain
from setsail.models.reader import has_token_types, own_logits
from setsail.models.words import WordsConfig

_INSTALL = "pip install 'setsail[onnx]'"
_EXAMPLE = (2, 8)  # rows and tokens of what is traced; the files take any number of either


class _Graph(nn.Module):
    """What the file computes: a model's own forward, and the pooling where its vectors are wanted."""

    def __init__(self, model: Any, inputs: tuple[str, ...], says: Says) -> None:
        super().__init__()
        self.model, self.inputs, self.says = model, inputs, says

    def forward(self, *columns: Tensor) -> Tensor:
        batch = dict(zip(self.inputs, columns, strict=True))
        output = self.model(**batch)
        if self.says == "logits":
            return own_logits(output)
        states_BTH = output.last_hidden_state
        mask_BT1 = batch["attention_mask"][..., None].to(states_BTH.dtype)
        means_BH = (states_BTH * mask_BT1).sum(dim=1) / mask_BT1.sum(dim=1).clamp(min=1)
        return normalize(means_BH, dim=-1)


def refuse_without_packages() -> None:
    """Raises: SystemRefusal where a package that writes ONNX files is not installed; it names the extra."""
    for name in ("onnx", "onnxruntime", "onnxscript"):
        try:
            import_module(name)
        except ModuleNotFoundError as error:
            raise SystemRefusal(f"ONNX files are written with {name}, which is not installed", hint=_INSTALL) from error


def export_f32(folder: Path, out: Path, *, says: Says, head: Head, context: int) -> tuple[str, ...]:
    """Writes a folder's encoder in float32 and returns the names of what goes in, in their order.

    Raises:
        ModelError: the exporter does not take this encoder.
        SystemRefusal: a package of the extra is not installed.
    """
    refuse_without_packages()
    model: Any
    if says == "vectors":
        embedder = load_embedder(folder, context=context)
        model, tokenizer = embedder.model, embedder.tokenizer
    else:
        reader = load_plain(folder, head)
        model, tokenizer = reader.model, reader.tokenizer
    model = model.to("cpu").eval()
    inputs = _inputs(model, tokenizer)
    if isinstance(model.config, WordsConfig):
        import_module("onnx").save_model(words_graph(model, of_tokens=head == "token"), out)
        return inputs
    graph = _Graph(model, inputs, says).eval()
    examples = tuple(_example(name) for name in inputs)
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length", min=2, max=context)}
    with _quietly(), torch.no_grad():
        try:
            torch.onnx.export(
                graph,
                examples,
                str(out),
                input_names=list(inputs),
                output_names=[says],
                dynamic_shapes=(tuple(axes for _ in inputs),),
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
            first = str(error).strip().splitlines()[0]
            hint = "leave export.format out: the folder of the finetune stage is what transformers loads"
            what = f"torch's exporter does not take a {type(model).__name__}: {first}"
            raise ModelError(what, place=str(folder), hint=hint) from error
    return inputs


def quantise(f32: Path, out: Path) -> None:
    """Writes a file's matrices in eight bits, a scale for each column; what they are multiplied with is rounded to
    eight bits as it comes.

    Weights take seven of the eight bits: on processors without VNNI the products of all eight overflow, so that one
    file would answer otherwise from machine to machine.
    """
    quantization: Any = import_module("onnxruntime.quantization")
    with _quietly():
        quantization.quantize_dynamic(
            str(f32), str(out), per_channel=True, reduce_range=True, weight_type=quantization.QuantType.QInt8
        )


def _inputs(model: Any, tokenizer: Any) -> tuple[str, ...]:
    """What the plain reader hands to the model, by the tokenizer's own word."""
    types = "token_type_ids" in tokenizer.model_input_names and has_token_types(model)
    return ("input_ids", "attention_mask", *(("token_type_ids",) if types else ()))


def _example(name: str) -> Tensor:
    return torch.full(_EXAMPLE, 0 if name == "token_type_ids" else 1, dtype=torch.int64)


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the exporters' remarks on their own insides; what counts is judged by the check."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
