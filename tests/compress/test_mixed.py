"""Layers at four bits within a budget: cheapest harm first, measured whole, and written as what was measured."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from models import toy_model

from setsail.base.errors import CheckRefused
from setsail.base.log import Log
from setsail.compress.export import as_stored, export_gguf, layer_of, verify_single_rounding
from setsail.compress.mixed import Mixed, choose_layers
from setsail.models.gguf_file import read
from setsail.models.load import load_gguf_model, load_model
from setsail.train.loss import row_nats

IDS = np.arange(3, 163) % 300


class Row:
    """A packed row of one document."""

    input_ids = IDS
    positions = np.arange(len(IDS))
    document_starts = np.array([0, len(IDS)], dtype=np.int32)
    targets = np.append(IDS[1:], -100)


def nats(model: Any) -> float:
    return row_nats(model, Row())[0][0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 5}
    return toy_model.write_folder(tmp_path_factory.mktemp("model"), **sizes)


def chosen(folder: Path, max_loss: float) -> tuple[Mixed, Any]:
    model = load_model(folder, dtype=torch.float32).requires_grad_(False)
    return choose_layers(model, lambda: nats(model), max_loss, lambda: None), model


def test_what_was_measured_is_what_the_file_costs(folder: Path, tmp_path: Path) -> None:
    generous, model = chosen(folder, 1.0)
    assert generous.coarser == (0, 1, 2, 3, 4) and generous.nats == pytest.approx(nats(model), rel=1e-12)
    room = max(generous.nats_fine, generous.nats_mixed) / generous.nats - 1
    found, _ = chosen(folder, max(1e-9, room / 2))
    assert found.loss <= found.max_loss
    file = tmp_path / "model-mixed.gguf"
    layers = frozenset(found.coarser)
    export_gguf(folder, file, "mixed", name="x", licence="x", log=Log(quiet=True), coarser=layers)
    assert verify_single_rounding(folder, file) == []
    assert nats(load_gguf_model(file, torch.float32)) == pytest.approx(found.nats_mixed, rel=1e-5)
    kinds = {name: tensor.kind.name for name, tensor in read(file).tensors.items() if len(tensor.shape) == 2}
    for name, kind in kinds.items():
        assert kind == ("Q4_0" if layer_of(name) in layers else "Q8_0"), name
    plain = tmp_path / "plain.gguf"
    export_gguf(folder, plain, "q8_0", name="x", licence="x", log=Log(quiet=True))
    saved = sum(found.saved_bytes[layer] for layer in found.coarser)
    assert abs(plain.stat().st_size - file.stat().st_size - saved) < 256  # but for the header and the alignment


def stub(harm: list[float]) -> tuple[torch.nn.Module, Callable[[], float]]:
    """A model of as many layers, and nats to which each coarse layer adds its harm; two next to each other add more."""
    model = torch.nn.Module()
    model.layers = torch.nn.ModuleList(torch.nn.Linear(32, 32, bias=False) for _ in harm)
    holder = torch.nn.Module()
    holder.model = model
    whole = [layer.weight.detach().clone() for layer in model.layers]
    coarse = [torch.from_numpy(as_stored(weight.numpy(), "q4_0")[0]) for weight in whole]

    def cost() -> float:
        is_coarse = [torch.equal(layer.weight, each) for layer, each in zip(model.layers, coarse, strict=True)]
        fine = any(
            not each and not torch.equal(layer.weight, weight)
            for each, layer, weight in zip(is_coarse, model.layers, whole, strict=True)
        )
        both = sum(one and other for one, other in pairwise(is_coarse))
        return 100.0 + sum(h for h, each in zip(harm, is_coarse, strict=True) if each) + 0.5 * both + 0.1 * fine

    return holder, cost


def test_the_least_harm_goes_first_and_the_whole_decides() -> None:
    model, cost = stub([3.0, 0.2, 0.3, 5.0, 0.4])
    found = choose_layers(model, cost, 0.02, lambda: None)
    # Alone 0.2 + 0.3 + 0.4 fit into 2; together two neighbours add a half, and 1.4 + 0.1 still fits.
    assert found.coarser == (1, 2, 4) and found.nats_mixed == pytest.approx(101.5)
    assert found.harm == pytest.approx((3.0, 0.2, 0.3, 5.0, 0.4))
    tight = choose_layers(model, cost, 0.009, lambda: None)
    assert tight.coarser == (1,), "the sum of parts fits 0.9 with two layers, the whole does not"
    assert tight.nats_mixed <= 100.9
    assert cost() == 100.0, "every matrix is put back"


def test_eight_bits_that_cost_too_much_are_refused() -> None:
    model, cost = stub([1.0, 1.0])
    with pytest.raises(CheckRefused, match=r"eight bits alone raise the nats by 0\.10%, allowed are 0\.05%"):
        choose_layers(model, cost, 0.0005, lambda: None)


def test_rows_that_no_block_divides_stay_in_sixteen_bits() -> None:
    weight = np.random.default_rng(0).normal(size=(4, 33)).astype(np.float32)
    rounded, num_bytes = as_stored(weight, "q4_0")
    assert num_bytes == weight.size * 2 and np.array_equal(rounded, weight.astype(np.float16).astype(np.float32))


def test_the_record_is_json(folder: Path) -> None:
    found, _ = chosen(folder, 1.0)
    assert json.loads(json.dumps(vars(found)))["num_layers"] == 5
