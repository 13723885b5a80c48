from __future__ import annotations

import random
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter, dequantize
from gguf.quants import quantize

from setsail.base.errors import ModelError
from setsail.models import gguf_file

QUANTISED = [
    *("Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "BF16", "F16"),
]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small GGUF file with values of every kind and tensors of several."""
    path = tmp_path_factory.mktemp("gguf") / "sound.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_name("ünï")
    writer.add_uint8("k.u8", 7)
    writer.add_int16("k.i16", -7)
    writer.add_uint64("k.u64", 2**40)
    writer.add_float64("k.f64", 1.5)
    writer.add_bool("k.bool", True)
    writer.add_array("k.ints", [3, -1, 4])
    writer.add_array("k.texts", ["a", "", "你好"])
    generator = np.random.default_rng(1)
    writer.add_tensor("vector", generator.normal(size=5).astype(np.float32))
    for name in QUANTISED:
        kind = GGMLQuantizationType[name]
        writer.add_tensor(name, quantize(generator.normal(size=(6, 64)).astype(np.float32), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_it_reads_what_the_reference_reader_reads(sound: Path) -> None:
    ours, theirs = gguf_file.read(sound), GGUFReader(sound)
    fields = {name: field.contents() for name, field in theirs.fields.items() if not name.startswith("GGUF.")}
    assert ours.metadata == fields
    assert list(ours.tensors) == [tensor.name for tensor in theirs.tensors]
    for tensor in theirs.tensors:
        expected = dequantize(tensor.data, tensor.tensor_type)
        np.testing.assert_array_equal(ours.dequantised(tensor.name), expected)
        assert ours.dequantised(tensor.name).dtype == np.float32


def test_a_file_cut_anywhere_is_refused(sound: Path, tmp_path: Path) -> None:
    whole = sound.read_bytes()
    for length in [*range(0, len(whole) - 64, 17), len(whole) - 33]:
        cut = tmp_path / "cut.gguf"
        cut.write_bytes(whole[:length])
        with pytest.raises(ModelError, match="damaged or cut short"):
            gguf_file.read(cut)


def test_flipped_bytes_never_do_worse_than_a_refusal(sound: Path, tmp_path: Path) -> None:
    whole, draw = sound.read_bytes(), random.Random(1)
    header = gguf_file.read(sound).tensors["vector"].offset
    refused = 0
    for _ in range(600):
        damaged = bytearray(whole)
        for _ in range(draw.randint(1, 3)):
            damaged[draw.randrange(header)] = draw.randrange(256)
        path = tmp_path / "flipped.gguf"
        path.write_bytes(damaged)
        try:
            model = gguf_file.read(path)
        except ModelError:
            refused += 1
            continue
        for tensor in model.tensors.values():
            assert tensor.offset + tensor.num_bytes <= len(whole)
    assert refused > 100


def header(num_tensors: int = 0, num_pairs: int = 0, *, version: int = 3, magic: bytes = b"GGUF") -> bytes:
    return magic + struct.pack("<IQQ", version, num_tensors, num_pairs)


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def tensor(name: str, shape: tuple[int, ...], kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


LIES = {
    "nothing": (b"", "too short"),
    "another format": (header(magic=b"PK\x03\x04"), "begins with"),
    "version 1": (header(version=1), "version is 1"),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "version is"),
    "2^63 pairs": (header(num_pairs=2**63), "the header needs"),
    "2^62 tensors": (header(num_tensors=2**62), "the header needs"),
    "a key of 2^60 bytes": (header(num_pairs=1) + struct.pack("<Q", 2**60) + bytes(64), "needs"),
    "an array of 2^61 texts": (header(num_pairs=1) + text("a") + struct.pack("<IIQ", 9, 8, 2**61), "needs"),
    "an array of 2^61 numbers": (header(num_pairs=1) + text("a") + struct.pack("<IIQ", 9, 4, 2**61), "needs"),
    "arrays of arrays": (header(num_pairs=1) + text("a") + struct.pack("<IIQ", 9, 9, 1) + bytes(16), "unknown kind 9"),
    "an unknown kind": (header(num_pairs=1) + text("a") + struct.pack("<I", 77) + bytes(16), "unknown kind 77"),
    "a key twice": (header(num_pairs=2) + 2 * (text("a") + struct.pack("<II", 4, 1)), "stands twice"),
    "99 dimensions": (header(num_tensors=1) + text("t") + struct.pack("<I", 99) + bytes(64), "99 dimensions"),
    "no rows": (header(num_tensors=1) + tensor("t", (0, 4)) + bytes(64), "impossible"),
    "half a block": (header(num_tensors=1) + tensor("t", (33,), 8) + bytes(64), "impossible"),
    "kind 250": (header(num_tensors=1) + tensor("t", (32,), 250) + bytes(64), "unknown kind 250"),
    "beyond the end": (header(num_tensors=1) + tensor("t", (4096,)) + bytes(64), "says bytes"),
    "a product beyond 2^64": (header(num_tensors=1) + tensor("t", (2**40, 2**40)) + bytes(64), "says bytes"),
    "off the grid": (header(num_tensors=1) + tensor("t", (2,), 0, 7) + bytes(128), "says bytes"),
    "overlap": (header(num_tensors=2) + tensor("a", (16,)) + tensor("b", (16,), 0, 32) + bytes(256), "overlap"),
    "a name twice": (header(num_tensors=2) + tensor("a", (8,)) + tensor("a", (8,), 0, 32) + bytes(256), "stands twice"),
    "alignment 3": (
        header(num_pairs=1) + text("general.alignment") + struct.pack("<II", 4, 3),
        "power of two",
    ),
}


@pytest.mark.parametrize(("content", "reason"), LIES.values(), ids=LIES)
def test_a_header_that_lies_is_refused_at_once(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "lie.gguf"
    path.write_bytes(content)
    started = time.perf_counter()
    with pytest.raises(ModelError, match=reason):
        gguf_file.read(path)
    assert time.perf_counter() - started < 1


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        gguf_file.read(tmp_path / "none.gguf")
