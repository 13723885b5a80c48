"""Low-rank adapters as a function over modules, kept on disk in PEFT's format.

`add_lora` wraps linear layers of any transformers model and freezes the rest; nothing here knows an architecture.
Training settings live in recipes, merging of folders in compress/merge.py. The invariant: base weights never change
before `merge_lora`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn.functional import linear
from transformers import PreTrainedModel

from setsail.base.errors import ModelError, did_you_mean
from setsail.base.recipe import Lora
from setsail.models.tensor_file import write_tensors
from setsail.models.weights import PICKLE_SUFFIXES, read_header, read_json

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
PEFT_PREFIX = "base_model.model."

# Settings of PEFT that change what an adapter computes: anything but these values is refused rather than half
# understood.
PLAIN_SETTINGS: dict[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",),
    "bias": ("none", None),
    "use_dora": (False, None),
    "use_rslora": (False, None),
    "fan_in_fan_out": (False, None),
    "lora_bias": (False, None),
    "rank_pattern": ({}, None),
    "alpha_pattern": ({}, None),
    "modules_to_save": ([], None),
    "trainable_token_indices": ([], {}, None),
    "target_parameters": ([], None),
    "alora_invocation_tokens": ([], None),
}


class LoraLinear(nn.Module):
    """A frozen linear layer plus `scale`·B·A, with A and B kept in float32 and computed in the layer's own dtype."""

    def __init__(self, base: nn.Linear, *, rank: int, scale: float) -> None:
        super().__init__()
        self.base = base
        self.scale = scale
        device = base.weight.device
        self.lora_a = nn.Parameter(torch.zeros(rank, base.in_features, dtype=torch.float32, device=device))
        self.lora_b = nn.Parameter(torch.zeros(base.out_features, rank, dtype=torch.float32, device=device))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        frozen = self.base(inputs)
        low = linear(inputs, self.lora_a.to(inputs.dtype)).flatten(0, -2)
        up = self.lora_b.to(inputs.dtype)
        # addmm reads the frozen output once and keeps no scaled copy of the product.
        return torch.addmm(frozen.flatten(0, -2), low, up.t(), alpha=self.scale).view_as(frozen)

    def delta(self) -> Delta:
        """What merging adds to the weight."""
        return Delta(self.lora_a.detach(), self.lora_b.detach(), self.scale)


@dataclass(frozen=True)
class Delta:
    """What an adapter adds to one weight, kept as its two factors until it is needed."""

    down: torch.Tensor  # A, [rank, in]
    up: torch.Tensor  # B, [out, rank]
    scale: float

    @property
    def shape(self) -> tuple[int, int]:
        return self.up.shape[0], self.down.shape[1]

    def value(self) -> torch.Tensor:
        """scale·B·A in float32."""
        return (self.up.float() @ self.down.float()) * self.scale


def add_lora(model: nn.Module, lora: Lora, seed: int) -> None:
    """Wrap every linear layer whose name ends in one of `lora.targets`; the rest is frozen.

    A is drawn kaiming-uniform from a generator of its own, B is zero: the model computes what it did before.
    Raises: ModelError for a target that no linear layer bears.
    """
    names = _matching(model, lora.targets)
    generator = torch.Generator().manual_seed(seed)
    model.requires_grad_(False)
    for name in names:
        wrapped = _wrap(model, name, rank=lora.rank, scale=lora.alpha / lora.rank)
        bound = 1 / math.sqrt(wrapped.base.in_features)  # kaiming-uniform with a = √5, as PEFT draws it
        drawn = torch.empty(wrapped.lora_a.shape).uniform_(-bound, bound, generator=generator)
        wrapped.lora_a.data.copy_(drawn)


def lora_modules(model: nn.Module) -> Iterator[tuple[str, LoraLinear]]:
    """Every adapted layer with its name."""
    return ((name, module) for name, module in model.named_modules() if isinstance(module, LoraLinear))


def lora_parameters(model: nn.Module) -> list[nn.Parameter]:
    """What an optimiser should see: A and B of every adapted layer, in a fixed order."""
    return [parameter for _, module in lora_modules(model) for parameter in (module.lora_a, module.lora_b)]


def save_adapter(model: nn.Module, folder: Path, *, base_name: str, base_sha256: str) -> None:
    """Write `folder` as PEFT would; the base's sha256 stands in the weights' header, where PEFT does not mind it."""
    adapted = dict(lora_modules(model))
    if not adapted:
        raise ValueError("the model has no adapter to save")
    first = next(iter(adapted.values()))
    rank = first.lora_a.shape[0]
    tensors = {}
    for name, module in adapted.items():
        tensors[f"{PEFT_PREFIX}{name}.lora_A.weight"] = module.lora_a.detach().cpu().contiguous()
        tensors[f"{PEFT_PREFIX}{name}.lora_B.weight"] = module.lora_b.detach().cpu().contiguous()
    config = {
        "base_model_name_or_path": base_name,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": first.scale * rank,
        "lora_dropout": 0.0,
        "peft_type": "LORA",
        "r": rank,
        "target_modules": sorted({name.rsplit(".", 1)[-1] for name in adapted}),
        "task_type": "CAUSAL_LM",
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    write_tensors(folder / WEIGHTS_FILE, tensors, metadata={"format": "pt", "base_sha256": base_sha256})


def load_adapter(model: nn.Module, folder: Path, *, base_sha256: str | None = None) -> None:
    """Add the adapter of `folder`, ours or PEFT's, to a model that has none; the rest is frozen.

    Raises: ModelError for an adapter of another base (by sha256 when both are known, else by names and shapes), for
    settings other than plain LoRA, and for damaged files.
    """
    if base_sha256:
        check_base(folder, base_sha256)
    deltas = read_deltas(folder)
    layers = dict(model.named_modules())
    for name, delta in deltas.items():
        _check_fits(layers.get(name), name, delta, folder=folder)
    model.requires_grad_(False)
    for name, delta in deltas.items():
        wrapped = _wrap(model, name, rank=delta.down.shape[0], scale=delta.scale)
        wrapped.lora_a.data.copy_(delta.down)
        wrapped.lora_b.data.copy_(delta.up)


def read_deltas(folder: Path) -> dict[str, Delta]:
    """What an adapter adds to each layer, by the layer's name.

    Raises: ModelError for anything but a whole adapter of plain LoRA.
    """
    config = read_adapter_config(folder)
    adapter_base_sha256(folder)  # its header is sound
    weights = folder / WEIGHTS_FILE
    rank, scale = int(config["r"]), config["lora_alpha"] / config["r"]
    deltas = {name: Delta(down, up, scale) for name, (down, up) in _pairs(load_file(weights), weights).items()}
    for name, delta in deltas.items():
        if delta.down.ndim != 2 or delta.up.ndim != 2 or delta.down.shape[0] != rank or delta.up.shape[1] != rank:
            raise ModelError(f'layer "{name}" is not of rank {rank}, as {CONFIG_FILE} says', place=str(weights))
    return deltas


def merge_lora(model: nn.Module) -> None:
    """Add every adapter into its weight (in float32, rounded once to the weight's dtype) and unwrap the layers.

    Mutates: the model; afterwards it has no adapter.
    """
    for name, module in list(lora_modules(model)):
        weight = module.base.weight
        weight.data = (weight.data.float() + module.delta().value()).to(weight.dtype)
        _replace(model, name, module.base)


def read_adapter_config(folder: Path) -> dict[str, Any]:
    """The verified adapter_config.json of a plain LoRA adapter."""
    config = read_json(folder / CONFIG_FILE)
    for key, allowed in PLAIN_SETTINGS.items():
        if config.get(key, allowed[0]) not in allowed:
            raise ModelError(
                f"the adapter has {key} = {config[key]!r}, only plain LoRA can be read",
                place=str(folder / CONFIG_FILE),
                hint="merge it with PEFT (merge_and_unload) and use the merged folder as the base",
            )
    for key in ("r", "lora_alpha"):
        value = config.get(key)
        if not isinstance(value, int | float) or isinstance(value, bool) or not value > 0:
            raise ModelError(f"{key} is {value!r}, not a positive number", place=str(folder / CONFIG_FILE))
    return config


def check_base(folder: Path, base_sha256: str) -> None:
    """Refuse an adapter that remembers other base weights; one that remembers none passes.

    Raises: ModelError for an adapter of another base.
    """
    known = adapter_base_sha256(folder)
    if known and known != base_sha256:
        raise other_base(folder, f"it was trained on weights {known[:12]}…, these are {base_sha256[:12]}…")


def other_base(folder: Path, why: str) -> ModelError:
    """The error for an adapter that does not belong here, with the base that it names."""
    base = read_json(folder / CONFIG_FILE).get("base_model_name_or_path")
    hint = f'use the base it was trained on: "{base}"'
    return ModelError(f"this adapter belongs to another base model: {why}", place=str(folder), hint=hint)


def adapter_base_sha256(folder: Path) -> str | None:
    """The sha256 of the base's weights that an adapter of ours remembers; None for other people's adapters."""
    weights = folder / WEIGHTS_FILE
    pickles = [file.name for file in sorted(folder.iterdir()) if file.suffix in PICKLE_SUFFIXES]
    if pickles and not weights.is_file():
        raise ModelError(
            f'"{pickles[0]}" is a pickle: loading it can run any program',
            place=str(folder),
            hint="save the adapter again with a recent PEFT: it writes adapter_model.safetensors",
        )
    metadata = read_header(weights).get("__metadata__") or {}
    return metadata.get("base_sha256")


def _matching(model: nn.Module, targets: tuple[str, ...]) -> list[str]:
    """Names of the linear layers that the targets mean, in the model's order."""
    output = model.get_output_embeddings() if isinstance(model, PreTrainedModel) else None
    linears = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and module is not output]
    for target in targets:
        if not any(_ends_with(name, target) for name in linears):
            endings = {name.rsplit(".", 1)[-1] for name in linears}
            raise ModelError(
                f'no linear layer is called "{target}"; this model has {", ".join(sorted(endings))}',
                place="finetune.lora.targets",
                hint=did_you_mean(target, endings),
            )
    return [name for name in linears if any(_ends_with(name, target) for target in targets)]


def _ends_with(name: str, target: str) -> bool:
    return name == target or name.endswith("." + target)


def _wrap(model: nn.Module, name: str, *, rank: int, scale: float) -> LoraLinear:
    layer = model.get_submodule(name)
    assert isinstance(layer, nn.Linear), name
    wrapped = LoraLinear(layer, rank=rank, scale=scale)
    _replace(model, name, wrapped)
    return wrapped


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, module)


def _pairs(tensors: dict[str, torch.Tensor], weights: Path) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Layer name → (A, B)."""
    found: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        name, _, which = key.removeprefix(PEFT_PREFIX).rpartition(".lora_")
        if which not in ("A.weight", "B.weight") or not key.startswith(PEFT_PREFIX):
            raise ModelError(f'tensor "{key}" is not part of a plain LoRA adapter', place=str(weights))
        found.setdefault(name, {})[which[0]] = tensor
    incomplete = [name for name, pair in found.items() if len(pair) != 2]
    if incomplete or not found:
        raise ModelError(f"the adapter lacks tensors: {incomplete or 'it is empty'}", place=str(weights))
    return {name: (pair["A"], pair["B"]) for name, pair in found.items()}


def _check_fits(layer: nn.Module | None, name: str, delta: Delta, *, folder: Path) -> None:
    if isinstance(layer, LoraLinear):
        raise ModelError(f'the model has an adapter already (layer "{name}")', place=str(folder))
    if not isinstance(layer, nn.Linear):
        raise other_base(folder, f'the model has no linear layer "{name}"')
    if delta.shape != (layer.out_features, layer.in_features):
        sizes = f"{delta.shape} where the model has {(layer.out_features, layer.in_features)}"
        raise other_base(folder, f'layer "{name}" has shape {sizes}')
