"""Base models made into ordinary Hugging Face folders, and folders into models.

Where a base comes from is settled in sources.py and hub.py, GGUF in gguf_*.py. The invariant: nothing here runs code
from a model folder or unpickles; what `import_base` wrote, transformers, PEFT, vLLM and `load_model` read.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from setsail.base.errors import ModelError
from setsail.base.log import Log
from setsail.base.recipe import Kind
from setsail.models import attention, gguf_file, gguf_model, hub, packaged
from setsail.models.kinds import AUTO_CLASSES, MODEL_CLASSES, kind_of
from setsail.models.safetensors_file import layout_of, target_dtype, write_safetensors
from setsail.models.sources import NOT_STATED, BaseSource, folder_licence, resolve_base
from setsail.models.weights import SIDE_FILES, read_json, weight_files

__all__ = ["BaseInfo", "BaseSource", "import_base", "load_gguf_model", "load_model", "resolve_base", "save_model"]

SPECIAL_TOKENS = ("bos_token", "eos_token", "pad_token", "unk_token")


@dataclass(frozen=True)
class BaseInfo:
    """What was imported; `licence` is "not stated" where the source says nothing."""

    source: BaseSource
    kind: Kind
    architecture: str
    num_parameters: int
    context: int
    licence: str


def import_base(name: str | BaseSource, out: Path, log: Log) -> BaseInfo:
    """Make a base an HF folder at `out`: bf16 weights, configuration, tokenizer, chat template, generation settings.

    Raises: ModelError for anything unknown, damaged, or that would need code from the model's author.
    """
    source = name if isinstance(name, BaseSource) else resolve_base(name)
    out.mkdir(parents=True, exist_ok=True)
    licence = source.licence
    if source.kind == "packaged":
        packaged.verify(source.name, Path(source.location))
    if source.kind == "gguf" or source.location.endswith(".gguf"):
        _import_gguf(Path(source.location), out, log)
    else:
        folder = folder_of(source, log)
        licence = folder_licence(folder) if licence == NOT_STATED else licence
        _import_folder(folder, out, log)
    config, kind = read_config(out), read_kind(out)
    sizes = [torch.Size(shape).numel() for _, shape, _ in layout_of(out).values()]
    context = int(getattr(config, "max_position_embeddings", 0))
    return BaseInfo(source, kind, str((config.architectures or [""])[0]), sum(sizes), context, licence)


def import_tokenizer(source: BaseSource, out: Path, log: Log) -> None:
    """Writes a base's tokenizer alone, with its chat template, into a folder.

    Raises: ModelError where the base has none that can be read.
    """
    out.mkdir(parents=True, exist_ok=True)
    if source.kind == "packaged":
        packaged.verify(source.name, Path(source.location))
    if source.kind == "gguf" or source.location.endswith(".gguf"):
        gguf = gguf_file.read(Path(source.location))
        _write_gguf_tokenizer(gguf, int(gguf_model.gguf_config(gguf).max_position_embeddings), out)
        return
    folder = folder_of(source, log)
    for name in (*SIDE_FILES, "special_tokens_map.json"):
        if name != "config.json" and (folder / name).is_file():
            shutil.copyfile(folder / name, out / name)


def folder_of(source: BaseSource, log: Log) -> Path:
    """The model folder that a source stands for, fetched from the hub where it lives there."""
    if source.kind == "hub":
        return hub.fetch(source.name, hub.resolve_commit(source.name), log)
    location = Path(source.location)
    return location.parent if source.kind == "packaged" else location


def load_model(folder: Path, *, dtype: torch.dtype) -> PreTrainedModel:
    """The model of an HF folder, of whichever kind it is, in evaluation mode, with our attention for packed rows.

    Raises: ModelError for a folder that is damaged, incomplete, or needs code of its author.
    """
    attention.register()
    config = read_config(folder)
    weight_files(folder)
    transformers_logging.disable_progress_bar()
    loaded: Any = AUTO_CLASSES[_kind(config, folder)].from_pretrained(
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
    model, report = loaded
    _check_complete(model, report, folder)
    return model.eval()


def save_model(model: PreTrainedModel, folder: Path) -> None:
    """Writes the model as a Hugging Face folder: configuration, generation settings, safetensors."""
    transformers_logging.disable_progress_bar()
    model.save_pretrained(folder)


def load_gguf_model(path: Path, dtype: torch.dtype) -> PreTrainedModel:
    """The model of a GGUF file with the weights as the file rounds them: what an engine that reads it computes with.

    Raises: ModelError for a damaged file or an architecture that cannot be read.
    """
    attention.register()
    gguf = gguf_file.read(path)
    config = gguf_model.gguf_config(gguf)
    names = gguf_model.gguf_shapes(gguf, config)
    weights = {name: gguf_model.gguf_tensor(gguf, config, name).to(dtype) for name in names}
    transformers_logging.disable_progress_bar()
    model_class: Any = MODEL_CLASSES["decoder"][type(config)]
    model = model_class.from_pretrained(
        None, config=config, state_dict=weights, dtype=dtype, attn_implementation=attention.NAME
    )
    return model.eval()


def read_config(folder: Path) -> PreTrainedConfig:
    """The configuration of a model folder.

    Raises: ModelError when it needs code from the folder, is quantised, or is no language model that transformers
    knows.
    """
    config = read_any_config(folder)
    _kind(config, folder)
    return config


def read_any_config(folder: Path) -> PreTrainedConfig:
    """The configuration of a model folder, whatever it is for.

    Raises: ModelError when it needs code from the folder, is quantised, or is unknown to transformers.
    """
    raw = read_json(folder / "config.json")
    place = str(folder / "config.json")
    if raw.get("auto_map"):
        hint = "choose a model whose architecture transformers has itself"
        raise ModelError("this model needs code from its folder, which is never run", place=place, hint=hint)
    if raw.get("quantization_config"):
        hint = "use the original model in bf16 or float32 as the base"
        raise ModelError("its weights are quantised already", place=place, hint=hint)
    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f'transformers cannot read it (model_type "{raw.get("model_type")}")', place=place) from error


def read_kind(folder: Path) -> Kind:
    """Which kind of language model a folder holds. Raises: ModelError as `read_config` does."""
    return _kind(read_config(folder), folder)


def _kind(config: PreTrainedConfig, folder: Path) -> Kind:
    kind = kind_of(config)
    if kind is None:
        named = f" ({config.architectures[0]})" if config.architectures else ""
        what = f'a "{config.model_type}" model{named} does not generate text, nor fill it in'
        raise ModelError(what, place=str(folder / "config.json"))
    return kind


def _check_complete(model: PreTrainedModel, report: dict[str, Any], folder: Path) -> None:
    missing, mismatched = sorted(report["missing_keys"]), sorted(report["mismatched_keys"])
    if missing or mismatched:
        what = f"lacks {missing[:3]}" if missing else f"has tensors of another size: {mismatched[:3]}"
        raise ModelError(
            f"the folder {what} of a {type(model).__name__}",
            place=str(folder),
            hint="copy or download the whole model folder again",
        )


def _import_gguf(path: Path, out: Path, log: Log) -> None:
    gguf = gguf_file.read(path)
    config = gguf_model.gguf_config(gguf)
    layout = {name: (list(shape), torch.bfloat16) for name, shape in gguf_model.gguf_shapes(gguf, config).items()}
    write_safetensors(
        out / "model.safetensors", layout, lambda name: gguf_model.gguf_tensor(gguf, config, name), log=log
    )
    _write_json(out / "config.json", _portable(config.to_dict()))
    _write_gguf_tokenizer(gguf, int(config.max_position_embeddings), out)
    _write_json(out / "generation_config.json", _generation_settings(config))


def _write_gguf_tokenizer(gguf: gguf_file.GgufModel, context: int, out: Path) -> None:
    gguf_model.gguf_tokenizer(gguf).save(str(out / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": context,
        "clean_up_tokenization_spaces": False,
        "add_bos_token": False,
        **gguf_model.special_tokens(gguf),
    }
    _write_json(out / "tokenizer_config.json", settings)
    template = gguf.metadata.get("tokenizer.chat_template")
    if isinstance(template, str):
        (out / "chat_template.jinja").write_text(template, encoding="utf-8")


def copy_folder(folder: Path, out: Path, log: Log) -> None:
    """Weights in bf16, configuration and tokenizer of a model folder, as other tools read them.

    Raises: ModelError where a file is missing or damaged.
    """
    _copy_weights(folder, out, log)
    _write_json(out / "config.json", _portable(read_json(folder / "config.json")))
    if not (folder / "tokenizer.json").is_file():
        hint = "make one: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
        raise ModelError("tokenizer.json is missing", place=str(folder), hint=hint)
    read_json(folder / "tokenizer.json")
    shutil.copyfile(folder / "tokenizer.json", out / "tokenizer.json")
    _import_tokenizer_settings(folder, out)


def _import_folder(folder: Path, out: Path, log: Log) -> None:
    config = read_config(folder)
    copy_folder(folder, out, log)
    if (folder / "generation_config.json").is_file():
        shutil.copyfile(folder / "generation_config.json", out / "generation_config.json")
    elif kind_of(config) != "encoder":
        _write_json(out / "generation_config.json", _generation_settings(config))


def _copy_weights(folder: Path, out: Path, log: Log) -> None:
    sources = layout_of(folder)
    layout = {name: (shape, target_dtype(code)) for name, (_, shape, code) in sources.items()}

    def tensor(name: str) -> torch.Tensor:
        with safe_open(sources[name][0], framework="pt") as file:
            return file.get_tensor(name)

    write_safetensors(out / "model.safetensors", layout, tensor, log=log)


def _import_tokenizer_settings(folder: Path, out: Path) -> None:
    """tokenizer_config.json with special tokens as plain text and the template in a file of its own."""
    path = folder / "tokenizer_config.json"
    settings: dict[str, Any] = read_json(path) if path.is_file() else {"tokenizer_class": "PreTrainedTokenizerFast"}
    settings.pop("auto_map", None)
    template = settings.pop("chat_template", None)
    if isinstance(template, list):
        named = {item.get("name"): item.get("template") for item in template if isinstance(item, dict)}
        template = named.get("default")
    for token in SPECIAL_TOKENS:
        value = settings.get(token)
        if isinstance(value, dict):
            settings[token] = value.get("content")
    _write_json(out / "tokenizer_config.json", settings)
    if (folder / "chat_template.jinja").is_file():
        shutil.copyfile(folder / "chat_template.jinja", out / "chat_template.jinja")
    elif isinstance(template, str):
        (out / "chat_template.jinja").write_text(template, encoding="utf-8")


def _portable(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration for older readers too: they look for rope_theta at the top, newer ones in rope_parameters."""
    rope = config.get("rope_parameters")
    theta = {"rope_theta": rope["rope_theta"]} if isinstance(rope, dict) and "rope_theta" in rope else {}
    kept = {key: value for key, value in config.items() if key not in ("torch_dtype", "_name_or_path")}
    return {**kept, **theta, "dtype": "bfloat16"}


def _generation_settings(config: PreTrainedConfig) -> dict[str, Any]:
    names = ("bos_token_id", "eos_token_id", "pad_token_id")
    ids = {name: getattr(config, name, None) for name in names}
    return {"do_sample": False, **{name: value for name, value in ids.items() if value is not None}}


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
