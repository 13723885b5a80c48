"""Parts taken out of a model: whole layers, heads and feed-forward channels, those that do least on given rows.

Modules are told by what they are made of, not by the name of their family. What is left is an ordinary model of the
same class with smaller sizes in its configuration; that plain transformers makes the same of the saved folder is proved
by whoever saves it. All layers have one size in a configuration: each keeps its own best channels.

Sources: a layer's influence is 1 - cosine of its input and output, Men et al. 2024, "ShortGPT" (arXiv 2403.03853); a
channel's weight is the root mean square of its activation times the norm of what reads it, after Sun et al. 2023,
"Wanda" (arXiv 2306.11695).

Legend: T tokens, L layers, F channels, G groups of heads that share a key, C channels of a head.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity
from transformers import PreTrainedModel

from setsail.base.errors import ModelError
from setsail.base.recipe_compress import Prune

BLOCK = 32  # channels that a quantised file rounds together: a share keeps a multiple of it where the model has one


@dataclass(frozen=True)
class Heads:
    """An attention's projections; `num_groups` of heads share a key each, `width` channels a head."""

    query: nn.Linear
    key: nn.Linear
    value: nn.Linear
    output: nn.Linear
    num_groups: int
    width: int

    @property
    def num_heads(self) -> int:
        return self.query.out_features // self.width


@dataclass(frozen=True)
class Channels:
    """A feed-forward part: one or two matrices that write its channels, and the one that reads them."""

    into: tuple[nn.Linear, ...]
    out: nn.Linear


@dataclass(frozen=True)
class Layer:
    """A repeated block. `heads` and `channels` are None where they are not recognised; one may be unlike the others."""

    module: nn.Module
    heads: Heads | None
    channels: Channels | None
    is_like_others: bool


@dataclass(frozen=True)
class Sizes:
    """What is kept: layers, heads of each and channels of each, counted."""

    layers: int
    heads: int | None = None
    feed_forward: int | None = None


@dataclass
class Influence:
    """What each part did on the rows seen so far: sums over tokens."""

    num_tokens: int = 0
    layers: dict[int, float] = field(default_factory=dict)  # of 1 - cosine
    squares: dict[tuple[str, int], Tensor] = field(default_factory=dict)  # of activations, by part and layer


def layers_of(model: PreTrainedModel) -> list[Layer]:
    """The repeated blocks of a model, each with the parts that can be made smaller.

    Raises: ModelError where no list of modules is as long as the configuration says that there are layers.
    """
    number = model.config.get_text_config().num_hidden_layers
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList) and len(module) == number]
    if len(lists) != 1:
        raise _cannot(model, "its layers do not stand in one list")
    parts = [
        tuple(sorted((name, tuple(weight.shape)) for name, weight in block.named_parameters())) for block in lists[0]
    ]
    usual = Counter(parts).most_common(1)[0][0]
    config = model.config.get_text_config()
    return [
        Layer(block, _heads_of(block), _channels_of(block, config), own == usual)
        for block, own in zip(lists[0], parts, strict=True)
    ]


def _heads_of(block: nn.Module) -> Heads | None:
    for module in block.modules():
        parts: dict[str, Any] = dict(module.named_children())
        names = ("q_proj", "k_proj", "v_proj", "o_proj")
        if all(type(parts.get(name)) is nn.Linear for name in names) and hasattr(module, "head_dim"):
            query, key, value, output = (parts[name] for name in names)
            width: Any = module.head_dim
            return Heads(query, key, value, output, key.out_features // width, width)
    return None


def _channels_of(block: nn.Module, config: Any) -> Channels | None:
    """The matrices that write and read as many channels as the configuration says, told by their shapes."""
    hidden, wide = config.hidden_size, _feed_forward_size(config)
    linears = [module for module in block.modules() if type(module) is nn.Linear]
    into = tuple(each for each in linears if (each.in_features, each.out_features) == (hidden, wide))
    out = [each for each in linears if (each.in_features, each.out_features) == (wide, hidden)]
    return Channels(into, out[0]) if wide != hidden and len(into) in (1, 2) and len(out) == 1 else None


def _feed_forward_size(config: Any) -> int:
    return int(getattr(config, _feed_forward_name(config), 0))


def _feed_forward_name(config: Any) -> str:
    return "hidden_dim" if hasattr(config, "hidden_dim") else "intermediate_size"  # DistilBERT's and all others'


def sizes_to_keep(model: PreTrainedModel, layers: list[Layer], wanted: Prune) -> Sizes:
    """What the recipe's shares and counts come to.

    Raises: ModelError for a part that this model's configuration cannot say a smaller size of, or a count that it
    does not have.
    """
    num_layers = _count(wanted.layers, len(layers), "layers", 1)
    fixed = sum(not layer.is_like_others for layer in layers)
    if num_layers < max(1, fixed):
        raise ModelError(f"{fixed} of its layers are unlike the others and stay, so that {num_layers} are too few")
    heads = feed_forward = None
    if wanted.heads is not None:
        heads = _heads_to_keep(model, layers, wanted.heads)
    if wanted.feed_forward is not None:
        if any(layer.channels is None for layer in layers):
            raise _cannot(model, "its feed-forward matrices are not told apart by their shapes")
        whole = _feed_forward_size(model.config.get_text_config())
        feed_forward = _count(wanted.feed_forward, whole, "feed_forward", BLOCK if whole % BLOCK == 0 else 1)
    return Sizes(num_layers, heads, feed_forward)


def _heads_to_keep(model: PreTrainedModel, layers: list[Layer], wanted: float) -> int:
    heads = [layer.heads for layer in layers]
    first = heads[0]
    if first is None or None in heads:
        raise _cannot(
            model,
            "the size of its heads follows from their number in config.json, so that fewer would be larger ones"
            if hasattr(model.config, "num_attention_heads")
            else "its heads are not recognised",
        )
    return _count(wanted, first.num_heads, "heads", first.num_heads // first.num_groups)


def _count(wanted: float | None, whole: int, name: str, step: int) -> int:
    """How many are kept: all, the count, or a share rounded to a multiple of `step`.

    >>> _count(0.75, 9, "heads", 3), _count(6, 9, "heads", 3), _count(None, 9, "heads", 3)
    (6, 6, 9)
    """
    if wanted is None:
        return whole
    if isinstance(wanted, int):
        if wanted > whole:
            raise ModelError(f"{name}: {wanted} cannot be kept, it has {whole}", place=f"base.{name}")
        if name == "heads" and wanted % step:
            raise ModelError(
                f"heads: {wanted} cannot be kept, since {step} heads share a key and go together",
                place="base.heads",
                hint=f"say a multiple of {step}, up to {whole}",
            )
        return wanted
    return min(whole, max(step, round(wanted * whole / step) * step))


@contextmanager
def watched(layers: list[Layer]) -> Iterator[Influence]:
    """What the layers' parts do in every forward pass that is made meanwhile."""
    seen, hooks = Influence(), []
    for number, layer in enumerate(layers):
        hooks.append(layer.module.register_forward_hook(_watch_layer(seen, number), with_kwargs=True))
        readers = {"heads": layer.heads and layer.heads.output, "channels": layer.channels and layer.channels.out}
        for part, reader in readers.items():
            if reader is not None:
                hooks.append(reader.register_forward_pre_hook(_watch_input(seen, (part, number))))
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _watch_layer(seen: Influence, number: int) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        before = args[0] if args else kwargs["hidden_states"]
        after = output[0] if isinstance(output, tuple) else output
        alike = cosine_similarity(before.flatten(0, -2).float(), after.flatten(0, -2).float(), dim=-1)
        seen.layers[number] = seen.layers.get(number, 0.0) + float((1 - alike.double()).sum())
        seen.num_tokens += alike.numel() if number == 0 else 0

    return hook


def _watch_input(seen: Influence, key: tuple[str, int]) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
        squares = args[0].flatten(0, -2).double().square().sum(dim=0).cpu()
        seen.squares[key] = seen.squares[key] + squares if key in seen.squares else squares

    return hook


@dataclass(frozen=True)
class TakenOut:
    """What went, for the record: layers by number, and sizes before and after; `influence` is each layer's mean."""

    layers: tuple[int, ...]
    influence: tuple[float, ...]
    sizes: dict[str, tuple[int, int]]
    num_parameters: tuple[int, int]

    def lines(self) -> list[str]:
        """The record as a person reads it."""
        named = {"layers": "layers", "heads": "heads of a layer", "feed_forward": "channels of a layer"}
        kept = [f"{named[part]} {before:,} → {after:,}" for part, (before, after) in self.sizes.items()]
        least = ", ".join(f"{number} ({self.influence[number]:.3f})" for number in self.layers)
        before, after = self.num_parameters
        return [
            f"kept        {', '.join(kept)}",
            *([f"taken out   layers {least}: how much each changed its input, 1 - cosine"] if self.layers else []),
            f"parameters  {before:,} → {after:,}, {after / before:.0%}",
        ]


@torch.no_grad()
def take_out(model: PreTrainedModel, layers: list[Layer], seen: Influence, sizes: Sizes) -> TakenOut:
    """Takes out of the model what did least, down to these sizes.

    Mutates: the model's modules and its configuration.
    """
    config: Any = model.config.get_text_config()
    before = model.num_parameters()
    record: dict[str, tuple[int, int]] = {"layers": (len(layers), sizes.layers)}
    if sizes.feed_forward is not None:
        record["feed_forward"] = (_feed_forward_size(config), sizes.feed_forward)
        for number, layer in enumerate(layers):
            _narrow_channels(layer.channels, seen.squares["channels", number], sizes.feed_forward)
        setattr(config, _feed_forward_name(config), sizes.feed_forward)
    if sizes.heads is not None:
        first = layers[0].heads
        assert first is not None
        before_heads = record["heads"] = (first.num_heads, sizes.heads)
        for number, layer in enumerate(layers):
            _drop_heads(layer.heads, seen.squares["heads", number], sizes.heads)
        config.head_dim = first.width  # it no longer follows from the number of heads
        config.num_key_value_heads = sizes.heads * first.num_groups // before_heads[0]
        config.num_attention_heads = sizes.heads
    influence = tuple(seen.layers[number] / seen.num_tokens for number in range(len(layers)))
    gone = _least(influence, layers, len(layers) - sizes.layers)
    _drop_layers(model, config, layers, gone)
    return TakenOut(gone, influence, record, (before, model.num_parameters()))


def _narrow_channels(part: Channels | None, squares: Tensor, number: int) -> None:
    assert part is not None
    kept = _most(squares.sqrt() * part.out.weight.double().norm(dim=0).cpu(), number)
    for each in part.into:
        _keep_rows(each, kept)
    _keep_columns(part.out, kept)


def _drop_heads(part: Heads | None, squares: Tensor, number: int) -> None:
    """Groups of heads go with their key and value, those whose output weighs least."""
    assert part is not None
    per_group = part.num_heads // part.num_groups
    weight_G = (squares * part.output.weight.double().square().sum(dim=0).cpu()).view(part.num_groups, -1).sum(dim=1)
    kept_G = _most(weight_G, number // per_group)
    heads = (kept_G[:, None] * per_group + torch.arange(per_group)).flatten()
    for each, blocks in ((part.query, heads), (part.key, kept_G), (part.value, kept_G)):
        _keep_rows(each, _channels_of_blocks(blocks, part.width))
    _keep_columns(part.output, _channels_of_blocks(heads, part.width))


def _channels_of_blocks(blocks: Tensor, width: int) -> Tensor:
    return (blocks[:, None] * width + torch.arange(width)).flatten()


def _most(weights: Tensor, number: int) -> Tensor:
    """The places of the largest, in their order; of equal ones the first."""
    return weights.sort(descending=True, stable=True).indices[:number].sort().values


def _keep_rows(linear: nn.Linear, kept: Tensor) -> None:
    linear.weight = nn.Parameter(linear.weight[kept.to(linear.weight.device)].clone())
    if linear.bias is not None:
        linear.bias = nn.Parameter(linear.bias[kept.to(linear.bias.device)].clone())
    linear.out_features = len(kept)


def _keep_columns(linear: nn.Linear, kept: Tensor) -> None:
    linear.weight = nn.Parameter(linear.weight[:, kept.to(linear.weight.device)].clone())
    linear.in_features = len(kept)


def _least(influence: tuple[float, ...], layers: list[Layer], number: int) -> tuple[int, ...]:
    movable = [place for place, layer in enumerate(layers) if layer.is_like_others]
    return tuple(sorted(sorted(movable, key=lambda place: influence[place])[:number]))


def _drop_layers(model: PreTrainedModel, config: Any, layers: list[Layer], gone: tuple[int, ...]) -> None:
    modules = [layer.module for layer in layers]
    kept = [number for number in range(len(layers)) if number not in gone]
    holder, name = next(
        (module, name)
        for module in model.modules()
        for name, child in module.named_children()
        if isinstance(child, nn.ModuleList) and len(child) == len(modules) and child[0] is modules[0]
    )
    setattr(holder, name, nn.ModuleList(modules[number] for number in kept))
    for place, number in enumerate(kept):
        parts: Iterator[Any] = modules[number].modules()
        for module in parts:
            if hasattr(module, "layer_idx"):
                module.layer_idx = place
    if getattr(config, "layer_types", None) is not None:
        config.layer_types = [config.layer_types[number] for number in kept]
    config.num_hidden_layers = len(kept)


def _cannot(model: PreTrainedModel, why: str) -> ModelError:
    return ModelError(
        f"a {type(model).__name__} cannot be pruned so: {why}",
        place="base.prune",
        hint="layers can be taken out of most families, heads of those like Llama and Qwen, feed_forward of most",
    )
