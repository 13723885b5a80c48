"""Encoders that say something of a text: imported, given a new head, and computed on packed rows.

The classes are transformers' own `…ForSequenceClassification`, `…ForTokenClassification` and `…ForQuestionAnswering`,
so that what is saved loads anywhere. The invariant: the logits of a packed row are those of the model's own forward on
each document alone; `train/reading.py` proves it before the first step.

Legend: T tokens of a packed row, D documents, H hidden size, C figures of the head.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import relu
from transformers import (
    AutoModel,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_MASKED_LM_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
)
from transformers.utils import logging as transformers_logging

from setsail.base.errors import ModelError
from setsail.base.log import Log
from setsail.base.target import Head
from setsail.models import attention, packaged, words
from setsail.models.load import BaseInfo, copy_folder, folder_of, read_any_config
from setsail.models.safetensors_file import layout_of
from setsail.models.sources import NOT_STATED, BaseSource, folder_licence
from setsail.models.weights import read_json, weight_files

FAMILIES = "BERT, RoBERTa, XLM-RoBERTa, ELECTRA, DistilBERT, ModernBERT"
Problem = Literal["regression", "single_label_classification", "multi_label_classification"]
AUTO_CLASSES: dict[Head, Any] = {
    "document": AutoModelForSequenceClassification,
    "token": AutoModelForTokenClassification,
    "span": AutoModelForQuestionAnswering,
}
# Dropout inside attention, by the names that families give it: the kernels have none, nor has ModernBERT.
_ATTENTION_DROPOUTS = ("attention_probs_dropout_prob", "attention_dropout")


def import_encoder(source: BaseSource, out: Path, log: Log) -> BaseInfo:
    """Makes an encoder's folder ours at `out`: bf16 weights, configuration, tokenizer. `context` leaves out positions
    that the family keeps for padding.

    Raises: ModelError for anything that is damaged, needs code of its author, or is no encoder that we can train.
    """
    if source.location.endswith(".gguf"):
        hint = 'take an encoder: "minilm-l6", or a folder or hub name of BERT, XLM-RoBERTa, ModernBERT …'
        raise ModelError("a GGUF file holds a model that writes; this task needs an encoder, which reads", hint=hint)
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
    words.register()
    config = read_any_config(folder)
    if isinstance(config, words.WordsConfig):
        return config
    known = (MODEL_FOR_MASKED_LM_MAPPING, MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING)
    if any(type(config) not in mapping for mapping in known) or getattr(config, "is_decoder", False):
        hint = f"take an encoder as the base: {FAMILIES}"
        raise ModelError(
            f'a "{config.model_type}" model is no encoder, which this task needs',
            place=str(folder / "config.json"),
            hint=hint,
        )
    return config


def config_to_train(folder: Path) -> PreTrainedConfig:
    """The configuration of an encoder's folder, without dropout inside attention, which the kernels do not have."""
    config = read_encoder_config(folder)
    for name in _ATTENTION_DROPOUTS:
        if hasattr(config, name):
            setattr(config, name, 0.0)
    return config


def load_encoder(folder: Path, config: PreTrainedConfig, *, dtype: torch.dtype, seed: int) -> PreTrainedModel:
    """The encoder of a folder without its head; it attends in packed rows. A pooler that is not there is drawn anew.

    Raises: ModelError where weights are missing.
    """
    attention.register()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()  # what is missing or left over is judged here
    weight_files(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        loaded: Any = AutoModel.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            attn_implementation=attention.NAME,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # told below, with the names
        )
    encoder, report = loaded
    _refuse_missing(encoder, report, folder)
    return encoder.eval()


def new_reader(
    folder: Path,
    names: Sequence[str],
    *,
    dtype: torch.dtype,
    seed: int,
    head: Head = "document",
    problem: Problem | None = "single_label_classification",
) -> PreTrainedModel:
    """The encoder of a folder with a new head for figures of these names, drawn from the seed; it attends in packed
    rows. `problem` is what transformers calls the kind of figures that a text has.

    Attention dropout is zero from here on, and says so in the configuration that is saved; other dropout is as it was.
    Raises: ModelError where weights of the encoder are missing.
    """
    config: Any = config_to_train(folder)
    encoder = load_encoder(folder, config, dtype=dtype, seed=seed)
    with torch.random.fork_rng(devices=[]):
        config.id2label = dict(enumerate(names))  # and with it the number of figures
        config.label2id = {name: index for index, name in enumerate(names)}
        config.problem_type = problem
        torch.manual_seed(seed)  # whatever the folder had
        model = AUTO_CLASSES[head].from_config(
            config, dtype=dtype, attn_implementation=attention.NAME, trust_remote_code=False
        )
    lacking = model.base_model.load_state_dict(encoder.state_dict(), strict=False).missing_keys
    assert not lacking, f"the encoder under the head has weights that the encoder alone has not: {lacking}"
    return model.eval()


def load_reader(folder: Path, *, dtype: torch.dtype, head: Head = "document") -> PreTrainedModel:
    """The reader that a folder holds, with its own head; it attends in packed rows.

    Raises: ModelError where weights are missing, as those of a head are in the folder of an encoder alone.
    """
    attention.register()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()  # what is missing is judged here
    weight_files(folder)
    loaded: Any = AUTO_CLASSES[head].from_pretrained(
        folder,
        config=config_to_train(folder),
        dtype=dtype,
        attn_implementation=attention.NAME,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        output_loading_info=True,
    )
    model, report = loaded
    if report["missing_keys"]:
        names = sorted(report["missing_keys"])[:3]
        raise ModelError(f"the folder lacks {names} of a {type(model).__name__}", place=str(folder))
    return model.eval()


def limit_length(folder: Path, context: int) -> None:
    """Says in a saved folder how many tokens a text may have, so that other tools cut where training would."""
    path = folder / "tokenizer_config.json"
    settings = {**read_json(path), "model_max_length": context}
    path.write_text(json.dumps(settings, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def labels_of(config: Any) -> tuple[str, ...]:
    """The names in a reader's configuration, in the order of its logits."""
    return tuple(str(config.id2label[index]) for index in range(config.num_labels))


def own_logits(output: Any) -> Tensor:
    """What a model's own forward says, whatever its head calls it: [B, C], or [B, T, C] of tokens."""
    if hasattr(output, "start_logits"):
        return torch.stack([output.start_logits, output.end_logits], dim=-1)
    return output.logits


def has_token_types(model: PreTrainedModel) -> bool:
    """Whether the encoder tells the first text of a pair from the second by the type of each token."""
    return getattr(model.config, "type_vocab_size", 0) > 1


def packed_states(
    model: PreTrainedModel, input_ids: Tensor, document_starts: Tensor, token_types: Tensor | None = None
) -> Tensor:
    """The last hidden states [T, H] of a packed row, whose documents attend to themselves alone.

    `token_types` [T] count where the encoder tells them apart.
    """
    starts = document_starts.to(input_ids.device)
    typed = {"token_type_ids": token_types[None]} if token_types is not None and has_token_types(model) else {}
    return model.base_model(
        input_ids=input_ids[None],
        position_ids=_positions(model, input_ids, starts)[None],
        document_starts=document_starts,
        **typed,
    ).last_hidden_state[0]


def says_of_tokens(model: Any) -> bool:
    """Whether the head says something of each token, rather than of the text."""
    parts = {name for name, _ in model.named_children()}
    return "qa_outputs" in parts or type(model) in (_class_of(model, "token"), _class_of(model, "span"))


def _class_of(model: Any, head: Head) -> type | None:
    return AUTO_CLASSES[head]._model_mapping.get(type(model.config), None)


def fold_scale(model: Any, *, mean: float, scale: float) -> None:
    """Makes a head that says x say mean + scale · x, in float32: fewer digits would round a large mean.

    Mutates: the weights and the dtype of the last layer.
    """
    last = model.classifier.out_proj if hasattr(model.classifier, "out_proj") else model.classifier
    last.float()
    with torch.no_grad():
        last.weight.mul_(scale)
        last.bias.mul_(scale).add_(mean)


def packed_logits(
    model: PreTrainedModel, input_ids: Tensor, document_starts: Tensor, types: Tensor | None = None
) -> Tensor:
    """Logits in float32 of a packed row: [D, C] of its documents, or [T, C] where the head says something of tokens.

    Shapes: `input_ids` and `types` [T], `document_starts` [D+1] on the CPU.
    Raises: ModelError for a family whose head is not known.
    """
    return logits_of_states(model, packed_states(model, input_ids, document_starts, types), document_starts)


def logits_of_states(model: PreTrainedModel, hidden_TH: Tensor, document_starts: Tensor) -> Tensor:
    """What the head makes of a packed row's last hidden states: see `packed_logits`."""
    of_tokens, pool = says_of_tokens(model), _pooling(model)
    if pool is None and not of_tokens:
        raise _unknown(model, None)
    if of_tokens:
        return _token_head(model, hidden_TH).float()
    starts = document_starts.to(hidden_TH.device)
    pooled_DH = document_means(hidden_TH, starts) if pool == "mean" else hidden_TH.index_select(0, starts[:-1])
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


def _token_head(model: Any, hidden_TH: Tensor) -> Tensor:
    """The model's own head on the states of each token."""
    parts = {name for name, _ in model.named_children()}
    if {"head", "drop"} <= parts:  # ModernBERT
        hidden_TH = model.drop(model.head(hidden_TH))
    elif "dropout" in parts:
        hidden_TH = model.dropout(hidden_TH)
    return (model.qa_outputs if "qa_outputs" in parts else model.classifier)(hidden_TH)


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


def document_means(hidden_TH: Tensor, starts: Tensor) -> Tensor:
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
