"""Encoders that make vectors of texts: loaded to be trained, computed on packed rows, and told to other tools.

A vector is the mean of a text's last hidden states, of length one. The folder is transformers' own, with small files
beside it by which sentence-transformers knows the pooling. What does not live here: reading such a folder plainly
(`embedder.py`).

Source: Reimers and Gurevych 2019, Sentence-BERT (arXiv 1908.10084).
Legend: T tokens of a packed row, D documents, H hidden size.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize
from transformers import PreTrainedModel

from setsail.base.errors import ModelError
from setsail.models.reader import config_to_train, document_means, load_encoder, packed_states, read_encoder_config
from setsail.models.weights import read_json

MODULES, POOLING, LENGTH = "modules.json", "1_Pooling/config.json", "sentence_bert_config.json"
_PACKAGE = "sentence_transformers.models"


def load_sentence_encoder(folder: Path, *, dtype: torch.dtype, seed: int) -> PreTrainedModel:
    """The encoder of a folder, ready to be trained on packed rows.

    Raises: ModelError for a folder that is damaged, incomplete or holds no encoder.
    """
    return load_encoder(folder, config_to_train(folder), dtype=dtype, seed=seed)


def packed_vectors(model: PreTrainedModel, input_ids: Tensor, document_starts: Tensor) -> Tensor:
    """Vectors [D, H] of length one in float32: `input_ids` [T], `document_starts` [D+1] on the CPU."""
    hidden_TH = packed_states(model, input_ids, document_starts)
    return normalize(document_means(hidden_TH, document_starts.to(input_ids.device)).float(), dim=-1)


def write_pooling(folder: Path, *, context: int) -> None:
    """Says beside a saved encoder how its vectors are made, in the files of sentence-transformers."""
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": f"{_PACKAGE}.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": f"{_PACKAGE}.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": f"{_PACKAGE}.Normalize"},
    ]
    pooling = {
        "word_embedding_dimension": read_encoder_config(folder).hidden_size,
        "pooling_mode_cls_token": False,
        "pooling_mode_mean_tokens": True,
    }
    for name, settings in (
        (MODULES, modules),
        (POOLING, pooling),
        (LENGTH, {"max_seq_length": context, "do_lower_case": False}),
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def refuse_other_pooling(folder: Path) -> None:
    """Raises: ModelError for a folder whose files say that its vectors are made otherwise than as the mean."""
    if not (folder / POOLING).is_file():
        return
    modes: Any = {name: value for name, value in read_json(folder / POOLING).items() if name.startswith("pooling_mode")}
    others = [name for name, value in modes.items() if value and name != "pooling_mode_mean_tokens"]
    if others:
        raise ModelError(
            f"this encoder's vectors are made by {others[0].removeprefix('pooling_mode_')}, not as the mean",
            place=str(folder / POOLING),
            hint="take an encoder with mean pooling: all-MiniLM, multilingual-e5, gte …",
        )
