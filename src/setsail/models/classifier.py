"""Encoders that tell documents apart: imported, given a new head, computed on packed rows, and loaded plainly.

The classes are transformers' own `…ForSequenceClassification`, so that what is saved loads anywhere. The invariant: the
logits of a packed row are those of the model's own forward on each document alone; `train/classification.py` proves it
before the first step.

Legend: T tokens of a packed row, D documents, H hidden size, C classes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import relu
from transformers import AutoModel, AutoModelForSequenceClassification, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_MASKED_LM_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
)
from transformers.utils import logging as transformers_logging

from setsail.base.errors import ModelError
from setsail.base.log import Log
from setsail.models import attention, packaged
from setsail.models.load import BaseInfo, copy_folder, folder_of, read_any_config
from setsail.models.safetensors_file import layout_of
from setsail.models.sources import NOT_STATED, BaseSource, folder_licence
from setsail.models.weights import read_json, weight_files

FAMILIES = "BERT, RoBERTa, XLM-RoBERTa, ELECTRA, DistilBERT, ModernBERT"
# Dropout inside attention, by the names that families give it: the kernels have none, nor has ModernBERT.
_ATTENTION_DROPOUTS = ("attention_probs_dropout_prob", "attention_dropout")


def import_encoder(source: BaseSource, out: Path, log: Log) -> BaseInfo:
    """Makes an encoder's folder ours at `out`: bf16 weights, configuration, tokenizer. `context` leaves out positions
    that the family keeps for padding.

    Raises: ModelError for anything that is damaged, needs code of its author, or is no encoder that we can train.
    """
    if source.location.endswith(".gguf"):
        hint = 'take an encoder: "minilm-l6", or a folder or hub name of BERT, XLM-RoBERTa, ModernBERT …'
        raise ModelError("a GGUF file holds a model that writes; classifying needs an encoder", hint=hint)
    out.mkdir(parents=True, exist_ok=True)
    if source.kind == "packaged":
        packaged.verify(source.name, Path(source.location))
    folder = folder_of(source, log)
    config = read_encoder_config(folder)
    with torch.device("meta"):
        shape = AutoModelForSequenceClassification.from_config(config)
    if not shape._supports_attention_backend or _pooling(shape) is None:
        raise _unknown(shape, str(folder))
    copy_folder(folder, out, log)
    _without_truncation(out / "tokenizer.json")
    sizes = [torch.Size(size).numel() for _, size, _ in layout_of(out).values()]
    padding = _padding_position(shape)
    context = int(config.max_position_embeddings) - (0 if padding is None else padding + 1)
    licence = folder_licence(folder) if source.licence == NOT_STATED else source.licence
    architecture = str((config.architectures or [type(shape).__name__])[0])
    return BaseInfo(source, "encoder", architecture, sum(sizes), context, licence)


def read_encoder_config(folder: Path) -> PreTrainedConfig:
    """The configuration of an encoder's folder.

    Raises: ModelError when it needs code from the folder, is quantised, or is of no encoder family of transformers.
    """
    config = read_any_config(folder)
    known = (MODEL_FOR_MASKED_LM_MAPPING, MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING)
    if any(type(config) not in mapping for mapping in known) or getattr(config, "is_decoder", False):
        hint = f"take an encoder as the base: {FAMILIES}"
        raise ModelError(
            f'a "{config.model_type}" model is no encoder, which classifying needs',
            place=str(folder / "config.json"),
            hint=hint,
        )
    return config


def new_classifier(folder: Path, labels: Sequence[str], *, dtype: torch.dtype, seed: int) -> PreTrainedModel:
    """The encoder of a folder with a new head for these labels, drawn from the seed; it attends in packed rows.

    Attention dropout is zero from here on, and says so in the configuration that is saved; other dropout is as it was.
    Raises: ModelError where weights of the encoder are missing.
    """
    attention.register()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()  # what is missing or left over is judged here
    weight_files(folder)
    config = read_encoder_config(folder)
    for name in _ATTENTION_DROPOUTS:
        if hasattr(config, name):
            setattr(config, name, 0.0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # a folder without a pooler gets a new one too
        loaded: Any = AutoModel.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # told below, with the names
        )
        encoder, report = loaded
        _refuse_missing(encoder, report, folder)
        config.id2label = dict(enumerate(labels))  # and with it the number of classes
        config.label2id = {label: index for index, label in enumerate(labels)}
        config.problem_type = "single_label_classification"
        torch.manual_seed(seed)  # whatever the folder had
        model = AutoModelForSequenceClassification.from_config(
            config, dtype=dtype, attn_implementation=attention.NAME, trust_remote_code=False
        )
    lacking = model.base_model.load_state_dict(encoder.state_dict(), strict=False).missing_keys
    assert not lacking, f"the classifier's encoder has weights that the encoder alone has not: {lacking}"
    return model.eval()


def limit_length(folder: Path, context: int) -> None:
    """Says in a saved folder how many tokens a text may have, so that other tools cut where training would."""
    path = folder / "tokenizer_config.json"
    settings = {**read_json(path), "model_max_length": context}
    path.write_text(json.dumps(settings, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def labels_of(config: Any) -> tuple[str, ...]:
    """The labels of a classifier's configuration, in the order of its logits."""
    return tuple(str(config.id2label[index]) for index in range(config.num_labels))


def packed_logits(model: PreTrainedModel, input_ids: Tensor, document_starts: Tensor) -> Tensor:
    """Logits [D, C] in float32 of a packed row's documents: `input_ids` [T], `document_starts` [D+1] on the CPU.

    Raises: ModelError for a family whose head is not known.
    """
    pool = _pooling(model)
    if pool is None:
        raise _unknown(model, None)
    starts = document_starts.to(input_ids.device)
    hidden_TH = model.base_model(
        input_ids=input_ids[None],
        position_ids=_positions(model, input_ids, starts)[None],
        document_starts=document_starts,
    ).last_hidden_state[0]
    pooled_DH = _means(hidden_TH, starts) if pool == "mean" else hidden_TH.index_select(0, starts[:-1])
    return _head(model, pooled_DH).float()


def _pooling(model: Any) -> str | None:
    """How a document becomes one vector, "first" or "mean"; None where the head's parts are not recognised."""
    parts = {name for name, _ in model.named_children()}
    if {"head", "drop", "classifier"} <= parts:
        pooling = getattr(model.config, "classifier_pooling", "cls")
        return {"cls": "first", "mean": "mean"}.get(pooling)
    has_pooler = hasattr(getattr(model.base_model, "pooler", None), "dense")
    is_known = ({"dropout", "classifier"} <= parts and (has_pooler or "pre_classifier" in parts)) or (
        "classifier" in parts and hasattr(model.classifier, "out_proj")
    )
    return "first" if is_known else None


def _head(model: Any, pooled_DH: Tensor) -> Tensor:
    """The model's own head on one vector for each document."""
    parts = {name for name, _ in model.named_children()}
    if {"head", "drop"} <= parts:  # ModernBERT
        return model.classifier(model.drop(model.head(pooled_DH)))
    if "pre_classifier" in parts:  # DistilBERT
        return model.classifier(model.dropout(relu(model.pre_classifier(pooled_DH))))
    alone = pooled_DH[:, None]  # as a batch of documents of one token: what follows takes the first
    if hasattr(model.classifier, "out_proj"):  # RoBERTa, XLM-RoBERTa, ELECTRA
        return model.classifier(alone)
    return model.classifier(model.dropout(model.base_model.pooler(alone)))  # BERT


def _positions(model: Any, ids_T: Tensor, starts: Tensor) -> Tensor:
    """Positions that begin anew with each document; RoBERTa's begin behind the padding's and pass over padding."""
    first_T = starts[:-1].repeat_interleave(starts.diff()).long()
    padding = _padding_position(model)
    if padding is None:
        return torch.arange(len(ids_T), device=ids_T.device) - first_T
    is_token = (ids_T != padding).long()
    counted = is_token.cumsum(0)
    before = counted[first_T] - is_token[first_T]
    return (counted - before) * is_token + padding


def _padding_position(model: Any) -> int | None:
    """The position that RoBERTa's families keep for padding; None for all others."""
    embeddings: Any = getattr(model.base_model, "embeddings", None)
    if hasattr(embeddings, "create_position_ids_from_input_ids"):
        return int(embeddings.padding_idx)
    return None


def _means(hidden_TH: Tensor, starts: Tensor) -> Tensor:
    """The mean of each document's states, [D, H]."""
    lengths = starts.diff()
    document_T = torch.arange(len(lengths), device=hidden_TH.device).repeat_interleave(lengths)
    sums = hidden_TH.new_zeros(len(lengths), hidden_TH.shape[1]).index_add(0, document_T, hidden_TH)
    return sums / lengths[:, None]


def _refuse_missing(encoder: PreTrainedModel, report: dict[str, Any], folder: Path) -> None:
    # A masked language model has no pooler: it is new then, as the head is.
    missing = sorted(name for name in report["missing_keys"] if not name.startswith("pooler."))
    mismatched = sorted(report["mismatched_keys"])
    if missing or mismatched:
        what = f"lacks {missing[:3]}" if missing else f"has tensors of another size: {mismatched[:3]}"
        raise ModelError(
            f"the folder {what} of a {type(encoder).__name__}",
            place=str(folder),
            hint="copy or download the whole model folder again",
        )


def _unknown(model: Any, place: str | None) -> ModelError:
    return ModelError(
        f"the head of a {type(model).__name__} is not known here: it cannot be trained on packed rows",
        place=place,
        hint=f"take a base of another family: {FAMILIES}",
    )


def _without_truncation(tokenizer_file: Path) -> None:
    """Takes out what would cut or pad texts in silence wherever the file is read."""
    settings = read_json(tokenizer_file)
    if settings.get("truncation") or settings.get("padding"):
        text = json.dumps({**settings, "truncation": None, "padding": None}, ensure_ascii=False)
        tokenizer_file.write_text(text, encoding="utf-8")
