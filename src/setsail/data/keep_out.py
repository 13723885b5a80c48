"""Texts that must not be trained on: the questions of benchmarks, and rows that somebody asked to forget.

A row is kept out of the data when it shares a run of thirteen words with a text on the list, or all words of a shorter
one. Source: Brown et al. 2020 (arXiv 2005.14165), appendix C, runs of 13 words. What does not live here: copies between
the parts of the user's own data (`choose.py`).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from setsail.base.errors import DataError
from setsail.base.files import explained_os_errors
from setsail.data.containers import read_file
from setsail.data.row import Record
from setsail.data.sketch import runs_of_words, word_hashes

RUN_WORDS = 13
_SHORTEST = 5  # words; a shorter text on the list says too little
_ROW_ID = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class KeepOut:
    """The runs of words on some lists: their hashes, sorted, and how many words they have."""

    runs: npt.NDArray[np.uint64]
    lengths: tuple[int, ...]

    def held_by(self, texts: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Which of the texts hold one of the runs. Shape: (len(texts),)."""
        words, starts = word_hashes(texts)
        found = np.zeros(len(texts), bool)
        for length in self.lengths:
            runs, bounds = runs_of_words(words, starts, length)
            hits = np.concatenate([[0], np.cumsum(np.isin(runs, self.runs))])
            found |= (hits[bounds[1:]] > hits[bounds[:-1]]) & (np.diff(starts) >= length)
        return found


@functools.lru_cache(maxsize=1)
def read_lists(names: tuple[str, ...], base_dir: Path) -> KeepOut:
    """What is to be kept out by these lists: files in any form that rows can be read from.

    Raises:
        DataError: a list that is missing or holds no text.
    """
    runs = [np.empty(0, np.uint64)]
    lengths: set[int] = set()
    for name in names:
        for text in _texts(base_dir / Path(name).expanduser(), name):
            words, starts = word_hashes([text])
            if len(words) >= _SHORTEST:
                lengths.add(min(RUN_WORDS, len(words)))
                runs.append(runs_of_words(words, starts, min(RUN_WORDS, len(words)))[0])
    return KeepOut(np.unique(np.concatenate(runs)), tuple(sorted(lengths)))


def forgotten_ids(name: str, base_dir: Path) -> frozenset[str]:
    """The ids of rows in a list of those to forget, one a line; what follows an id on its line is a remark.

    Raises:
        DataError: a line that begins with no id.
    """
    path = base_dir / Path(name).expanduser()
    if not path.exists():
        raise DataError(f'data.forget "{name}" does not exist', place=str(path.parent), hint="setsail forget writes it")
    with explained_os_errors(f'reading "{name}"'):
        lines = path.read_text("utf-8").splitlines()
    ids = set()
    for number, line in enumerate(lines, start=1):
        words = line.split("#", 1)[0].split()
        if words and not _ROW_ID.fullmatch(words[0]):
            raise DataError(
                f'"{words[0][:40]}" is no row id', place=f"{name}:{number}", hint="16 hex digits, one a line"
            )
        ids.update(words[:1])
    return frozenset(ids)


def _texts(path: Path, name: str) -> list[str]:
    if not path.exists():
        raise DataError(f'data.keep_out names "{name}", which does not exist', place=str(path.parent))
    items = read_file(path, name).items
    values = [value for item in items if isinstance(item, Record) for value in item.fields.values()]
    texts = [value for value in values if isinstance(value, str) and value.strip()]
    if not texts:
        raise DataError("the list of texts to keep out holds no text", place=name)
    return texts
