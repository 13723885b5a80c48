"""Which layers of a model may have four bits, so that the file is small and costs no more than it may.

The harm of each layer is measured by rounding it alone, exactly as the export does; then layers become coarser one
after the other, the least harm for the bytes saved first. The invariant: what is chosen was measured whole, with every
matrix rounded, and not added up from parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from setsail.base.errors import CheckRefused
from setsail.compress.export import Weights, as_stored, layer_of

COARSE: Weights = "q4_0"
FINE: Weights = "q8_0"


@dataclass(frozen=True)
class Mixed:
    """What was chosen: the layers at four bits, by number. All nats are of the same rows.

    `harm` is what each layer alone adds to the nats, `saved_bytes` what it makes the file smaller.
    """

    coarser: tuple[int, ...]
    num_layers: int
    nats: float
    nats_fine: float
    nats_mixed: float
    max_loss: float
    harm: tuple[float, ...]
    saved_bytes: tuple[int, ...]

    @property
    def loss(self) -> float:
        """The share by which the nats rise."""
        return self.nats_mixed / self.nats - 1


@torch.no_grad()
def choose_layers(model: nn.Module, nats: Callable[[], float], max_loss: float, said: Callable[[], Any]) -> Mixed:
    """The layers that may be coarser, in float32 for exactness; `said` is called after every measurement.

    Mutates: the model's matrices, which are put back.

    Raises: CheckRefused where eight bits alone cost more than is allowed.
    """
    rounding = _Rounding(model)
    whole = nats()

    def measured() -> float:
        said()
        return nats()

    harm, saved = [], []
    for layer in rounding.layers:
        saved.append(rounding.set([layer], COARSE, FINE))
        harm.append(measured() - whole)
        rounding.put_back()
    most = whole * (1 + max_loss)

    def with_coarser(number: int) -> float:
        rounding.set(order[:number], COARSE)
        rounding.set([None, *order[number:]], FINE)
        found = measured()
        rounding.put_back()
        return found

    order = sorted(rounding.layers, key=lambda layer: harm[layer] / max(1, saved[layer]))
    fine = with_coarser(0)
    if not fine <= most:
        raise CheckRefused(
            f"eight bits alone raise the nats by {fine / whole - 1:.2%}, allowed are {max_loss:.2%}",
            place="compress.max_loss",
            hint="export f16 or bf16, or allow more",
        )
    number, found = _farthest(with_coarser, _fitting(order, harm, most - fine), len(order), most, fine)
    chosen = tuple(sorted(order[:number]))
    return Mixed(chosen, len(order), whole, fine, found, max_loss, tuple(harm), tuple(saved))


def _fitting(order: list[int], harm: list[float], room: float) -> int:
    """How many of the layers fit by the sum of their harms, which is only where to begin."""
    total = np.cumsum([max(0.0, harm[layer]) for layer in order])
    return int((total <= room).sum())


def _farthest(measure: Callable[[int], float], start: int, end: int, most: float, fine: float) -> tuple[int, float]:
    """From where to begin, forward while it fits, or back until it does; 0 is known to fit."""
    number = start
    found = measure(number) if number else fine
    while found > most:
        number -= 1
        found = measure(number) if number else fine
    if number < start:
        return number, found
    while number < end and (more := measure(number + 1)) <= most:
        number, found = number + 1, more
    return number, found


class _Rounding:
    """A model's matrices by layer, which may be rounded and put back."""

    def __init__(self, model: nn.Module) -> None:
        self._matrices: dict[int | None, list[Tensor]] = {}
        for name, weight in model.named_parameters():
            if weight.dim() == 2:
                self._matrices.setdefault(layer_of(name), []).append(weight)
        self._whole: list[tuple[Tensor, Tensor]] = []

    @property
    def layers(self) -> list[int]:
        """The numbers of the layers, from 0."""
        return sorted(layer for layer in self._matrices if layer is not None)

    def set(self, layers: Iterable[int | None], weights: Weights, instead_of: Weights | None = None) -> int:
        """Rounds the matrices of these layers; returns by how many bytes less than another precision they take."""
        saved = 0
        for matrix in (matrix for layer in layers for matrix in self._matrices.get(layer, [])):
            self._whole.append((matrix, matrix.clone()))
            plain = matrix.float().cpu().numpy()
            rounded, num_bytes = as_stored(plain, weights)
            matrix.copy_(torch.from_numpy(rounded.reshape(plain.shape)))
            saved += 0 if instead_of is None else as_stored(plain, instead_of)[1] - num_bytes
        return saved

    def put_back(self) -> None:
        """Every matrix as it was."""
        for matrix, whole in reversed(self._whole):
            matrix.copy_(whole)
        self._whole.clear()
