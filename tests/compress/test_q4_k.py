"""Q4_K: what is written is what the reference reader finds, and lies nearer to the weights than Q4_0."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFReader
from gguf.quants import dequantize, quantize
from models import toy_model

from setsail.base.errors import ModelError
from setsail.base.log import Log
from setsail.compress.export import export_gguf, verify_single_rounding, weight_error
from setsail.compress.q4_k import CHUNK, SUPER_BLOCK, SUPER_BLOCK_BYTES, quantise_q4_k
from setsail.engine import EngineProcess, GenerationRequest, generate_all
from setsail.engine.registry import choose, open_engine

Q4_K, Q4_0 = GGMLQuantizationType.Q4_K, GGMLQuantizationType.Q4_0
QUIET = Log(quiet=True)
WIDE = {"hidden_size": 256, "intermediate_size": 512}


def drawn(shape: str, rows: int = 64, columns: int = 1024) -> np.ndarray:
    """Weights as models have them: bell-shaped, with heavy tails, or of rows and columns of unlike sizes."""
    chance = np.random.default_rng(3)
    weights = chance.standard_normal((rows, columns))
    if shape == "heavy tails":
        weights = chance.standard_t(5, (rows, columns))
    elif shape == "unlike sizes":
        weights *= np.exp(chance.standard_normal((rows, 1))) * np.exp(0.3 * chance.standard_normal(columns))
    elif shape == "off centre":
        weights += 0.5
    return (0.02 * weights).astype(np.float32)


def off(weights: np.ndarray, kind: GGMLQuantizationType) -> float:
    """Root mean square of what is lost, as a share of the weights."""
    stored = quantise_q4_k(weights) if kind == Q4_K else quantize(weights, kind)
    lost = dequantize(stored, kind) - weights
    return math.sqrt(np.square(lost).sum() / np.square(weights).sum())


def by_hand(block: np.ndarray) -> np.ndarray:
    """The 256 weights of 144 bytes, one after the other, as the format says."""
    d, floor = (float(value) for value in block[:4].view("<f2"))
    packed, halves = block[4:16].tolist(), block[16:].tolist()
    weights = []
    for number in range(8):
        if number < 4:
            s, m = packed[number] & 63, packed[number + 4] & 63
        else:
            s = packed[number + 4] & 15 | packed[number - 4] >> 6 << 4
            m = packed[number + 4] >> 4 | packed[number] >> 6 << 4
        some = halves[number // 2 * 32 : number // 2 * 32 + 32]
        weights += [d * s * (byte >> 4 if number % 2 else byte & 15) - floor * m for byte in some]
    return np.array(weights)


@pytest.mark.parametrize("shape", ["bell", "heavy tails", "unlike sizes", "off centre"])
def test_it_lies_nearer_than_q4_0_at_as_many_bits(shape: str) -> None:
    assert GGML_QUANT_SIZES[Q4_K] == (SUPER_BLOCK, SUPER_BLOCK_BYTES) and SUPER_BLOCK_BYTES / SUPER_BLOCK == 18 / 32
    weights = drawn(shape)
    assert off(weights, Q4_K) < 0.88 * off(weights, Q4_0)
    assert shape != "bell" or off(weights, Q4_K) == pytest.approx(0.0712, abs=0.0005)


def test_the_bytes_say_by_hand_what_the_reference_reader_says() -> None:
    stored = quantise_q4_k(drawn("unlike sizes", 4, 512))
    assert stored.shape == (4, 2 * SUPER_BLOCK_BYTES) and stored.dtype == np.uint8
    expected = dequantize(stored, Q4_K).reshape(-1, SUPER_BLOCK)
    for block, values in zip(stored.reshape(-1, SUPER_BLOCK_BYTES), expected, strict=True):
        np.testing.assert_allclose(by_hand(block), values, rtol=1e-5, atol=1e-7)


def test_each_integer_is_the_nearest_under_what_is_stored() -> None:
    weights = drawn("bell", 8, 256)
    stored = quantise_q4_k(weights)
    for place in range(16, SUPER_BLOCK_BYTES, 7):
        for step in (1, -1, 16, -16):  # either half of the byte, one up or down
            half = stored[:, place] >> 4 if abs(step) == 16 else stored[:, place] & 15
            can = (half < 15) if step > 0 else (half > 0)
            other = stored.copy()
            other[:, place] = np.where(can, stored[:, place].astype(int) + step, stored[:, place]).astype(np.uint8)
            lost = [np.square(dequantize(each, Q4_K) - weights).sum(axis=-1) for each in (stored, other)]
            assert (lost[0] <= lost[1] + 1e-9).all()


@pytest.mark.parametrize("value", [0.0, 0.3, -0.3, 1e-9])
def test_weights_that_are_all_alike(value: float) -> None:
    weights = np.full((2, 256), value, np.float32)
    read = dequantize(quantise_q4_k(weights), Q4_K)
    assert np.isfinite(read).all() and np.abs(read - weights).max() <= abs(value) * 2e-3 + 1e-8


def test_chunks_leave_no_trace_and_other_rows_are_refused() -> None:
    weights = drawn("bell", CHUNK + 3, 256)
    together = quantise_q4_k(weights)
    np.testing.assert_array_equal(
        together, np.concatenate([quantise_q4_k(weights[n : n + 1]) for n in range(len(weights))])
    )
    with pytest.raises(ValueError, match="rows of 320 weights are no multiple of 256"):
        quantise_q4_k(np.zeros((2, 320), np.float32))


class Said(Log):
    """A log whose lines are kept."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def export(folder: Path, out: Path, weights: str = "q4_k", log: Log = QUIET) -> Path:
    return export_gguf(folder, out, weights, name="Toy", licence="none", log=log)  # pyright: ignore[reportArgumentType]


def test_a_file_of_rows_that_fit_is_q4_k_and_nearer_than_q4_0(tmp_path: Path) -> None:
    folder = toy_model.write_folder(tmp_path / "hf", **WIDE)
    log = Said()
    file, other = export(folder, tmp_path / "k.gguf", log=log), export(folder, tmp_path / "0.gguf", "q4_0")
    kinds = {tensor.name: tensor.tensor_type.name for tensor in GGUFReader(file).tensors}
    layers = {kind for name, kind in kinds.items() if name.startswith("blk") and "norm" not in name}
    assert layers == {"Q4_K"} and kinds["token_embd.weight"] == "Q8_0" and log.lines == []
    assert GGUFReader(file).fields["general.file_type"].contents() == 14  # MOSTLY_Q4_K_S
    assert verify_single_rounding(folder, file) == [] and abs(file.stat().st_size - other.stat().st_size) < 1000
    assert weight_error(folder, file) < 0.9 * weight_error(folder, other)


def test_rows_that_do_not_fit_become_q5_0_and_are_counted(tmp_path: Path) -> None:
    folder = toy_model.write_folder(tmp_path / "hf", hidden_size=64, intermediate_size=256)
    log = Said()
    file = export(folder, tmp_path / "toy.gguf", log=log)
    kinds = {tensor.name: tensor.tensor_type.name for tensor in GGUFReader(file).tensors}
    assert (
        kinds["blk.0.ffn_down.weight"] == "Q4_K"
        and kinds["blk.0.ffn_up.weight"] == kinds["blk.1.attn_q.weight"] == "Q5_0"
    )
    said = "  12 of 14 matrices are q5_0: q4_k has blocks of 256 weights, which do not divide their rows of 64"
    assert log.lines == [said] and verify_single_rounding(folder, file) == []
    assert GGUFReader(file).fields["general.file_type"].contents() == 8  # most of its weights are Q5_0, and it says so


def test_a_model_without_any_such_row_is_refused(tmp_path: Path) -> None:
    folder = toy_model.write_folder(tmp_path / "hf")
    with pytest.raises(ModelError, match="rows of 64 and 96 weights") as caught:
        export(folder, tmp_path / "toy.gguf")
    assert "q4_0 or q8_0" in str(caught.value.hint) and not (tmp_path / "toy.gguf").exists()


def test_llama_cpp_is_chosen_and_generates_and_openvino_is_refused(tmp_path: Path) -> None:
    folder = toy_model.write_folder(tmp_path / "hf", **WIDE)
    file = export(folder, tmp_path / "toy.gguf")
    choice = choose(file)
    assert choice.name == "llamacpp" and "Q4_K as the file says" in choice.reason
    with pytest.raises(ModelError, match="OpenVINO does not compute weights of Q4_K"):
        open_engine("openvino", file, context=64, slots=1)
    requests = [GenerationRequest(tuple(range(3 + n, 23 + n)), 1, num_logprobs=300) for n in range(8)]
    found = []
    for name in ("torch", "llamacpp"):
        with EngineProcess(name, file, 64, 2, threads=1) as engine:
            found.append([dict(each.top_logprobs[0]) for each in generate_all(engine, requests)])
    for ours, theirs in zip(*found, strict=True):
        divergence = sum(math.exp(ours[token]) * (ours[token] - theirs[token]) for token in ours.keys() & theirs.keys())
        assert abs(divergence) < 0.05
