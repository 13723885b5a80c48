"""A store gives back what was written, is the same bytes however it was made, and is not read when it is damaged."""

from __future__ import annotations

import tempfile
from dataclasses import fields
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from setsail.base.errors import DamagedArtifact
from setsail.tokens import store as store_file
from setsail.tokens.pack import Example
from setsail.tokens.store import CHANGES, FILES, HEADER, IDS, Store, join_stores, open_store, write_store

VOCABULARY = 500


def an_example(mask: list[bool], number: int = 0, row_id: str = "row", label: str = "kind") -> Example:
    ids = (np.arange(len(mask), dtype=np.int32) + 31 * number) % VOCABULARY
    return Example(ids, np.array(mask, dtype=np.bool_), row_id, CHANGES[number % len(CHANGES)], label)


NAMES = st.text(st.characters(exclude_categories=["Cs"]))
EXAMPLES = st.lists(
    st.tuples(st.lists(st.booleans(), min_size=1, max_size=30), NAMES, NAMES),
    max_size=30,
).map(lambda drawn: [an_example(mask, number, *names) for number, (mask, *names) in enumerate(drawn)])


def content(example: Example) -> tuple[object, ...]:
    assert example.ids.dtype == np.int32 and example.loss_mask.dtype == np.bool_
    return (example.ids.tolist(), example.loss_mask.tolist(), example.row_id, example.change, example.label)


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in (*FILES, HEADER)}


@given(EXAMPLES, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_examples_come_back_in_any_order(examples: list[Example], random) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_store(Path(folder), examples, vocabulary=VOCABULARY)
        store = open_store(Path(folder), verify=True)
        assert len(store) == len(examples)
        assert store.num_tokens == sum(len(example.ids) for example in examples)
        assert store.lengths.tolist() == [len(example.ids) for example in examples]
        assert store.num_supervised.tolist() == [example.num_supervised for example in examples]
        numbers = list(range(len(examples)))
        random.shuffle(numbers)
        assert [content(store[number]) for number in numbers] == [content(examples[number]) for number in numbers]


@given(EXAMPLES, st.lists(st.integers(0, 30), max_size=4), st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_parts_that_are_joined_are_the_bytes_of_one(examples: list[Example], cuts: list[int], at_once: int) -> None:
    edges = [0, *sorted(cuts), len(examples)]
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        write_store(folder / "whole", examples, vocabulary=VOCABULARY)
        patch.setattr(store_file, "_TOKENS_AT_ONCE", at_once)
        parts = []
        for number, (start, stop) in enumerate(pairwise(edges)):
            parts.append(folder / str(number))
            write_store(parts[-1], examples[start:stop], vocabulary=VOCABULARY)
        join_stores(folder / "joined", parts, vocabulary=VOCABULARY)
        assert bytes_of(folder / "joined") == bytes_of(folder / "whole")


def test_nothing_of_an_example_is_forgotten() -> None:
    """A field that `Example` gains must be written to `documents.bin` too."""
    assert {field.name for field in fields(Example)} == {"ids", "loss_mask", "row_id", "change", "label"}
    assert store_file.DOCUMENT.names == ("end", "row_id_end", "label_end", "num_supervised", "change")


def test_ids_take_two_bytes_where_they_can(tmp_path: Path) -> None:
    for vocabulary, size in ((1 << 16, 2), ((1 << 16) + 1, 4)):
        last = Example(np.array([0, vocabulary - 1], np.int32), np.array([True, True]), "r")
        write_store(tmp_path, [last], vocabulary=vocabulary)
        assert (tmp_path / IDS).stat().st_size == 2 * size
        assert open_store(tmp_path)[0].ids.tolist() == [0, vocabulary - 1]
    with pytest.raises(AssertionError, match="vocabulary"):
        write_store(tmp_path, [last], vocabulary=vocabulary - 1)
    with pytest.raises(DamagedArtifact):
        open_store(tmp_path)


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    write_store(tmp_path, [an_example([True] * 9, number) for number in range(5)], vocabulary=VOCABULARY)
    return tmp_path


def test_it_is_a_sequence(stored: Path) -> None:
    store = open_store(stored)
    whole = list(map(content, store))
    assert [content(example) for example in store[1:4]] == whole[1:4]
    assert [content(example) for example in store[::-2]] == whole[::-2]
    assert content(store[-1]) == whole[-1]
    with pytest.raises(IndexError):
        store[5]


@pytest.mark.parametrize("name", [*FILES, HEADER])
def test_a_file_that_is_cut_short_or_missing_is_named(stored: Path, name: str) -> None:
    (stored / name).write_bytes((stored / name).read_bytes()[:-1])
    if name == HEADER:
        (stored / name).write_bytes(b'{"format_version": 2, "fi')
    with pytest.raises(DamagedArtifact, match=name):
        open_store(stored)
    (stored / name).unlink()
    with pytest.raises(DamagedArtifact, match=name):
        open_store(stored)


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_is_found_by_verifying(stored: Path, name: str) -> None:
    data = bytearray((stored / name).read_bytes())
    data[len(data) // 2] ^= 4
    (stored / name).write_bytes(data)
    assert isinstance(open_store(stored), Store)
    with pytest.raises(DamagedArtifact, match=f'"{name}" was changed'):
        open_store(stored, verify=True)


def test_another_format_is_not_read(stored: Path) -> None:
    text = (stored / HEADER).read_text()
    (stored / HEADER).write_text(text.replace('"format_version": 2', '"format_version": 1'))
    with pytest.raises(DamagedArtifact, match="format 1"):
        open_store(stored)


def test_a_store_that_failed_while_it_was_written_over_is_none(stored: Path) -> None:
    def failing():
        yield an_example([True] * 9)
        raise OSError("the source is gone")

    with pytest.raises(OSError, match="the source is gone"):
        write_store(stored, failing(), vocabulary=VOCABULARY)
    with pytest.raises(DamagedArtifact):
        open_store(stored)
