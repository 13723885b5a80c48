"""Whether a text says the same over and over: repeated lines, paragraphs and runs of words.

Source: Rae et al. 2021 (arXiv 2112.11446), table A1, with its thresholds. A repeat is any but the first of equal lines,
paragraphs or n-grams, and no character counts twice. In a Chinese text two characters stand for a word, so that the
same thresholds are for runs of twice the length; that is ours.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from setsail.base.recipe_part import Part
from setsail.data.steps.script import is_chinese, words_of
from setsail.data.steps.step import Step, Verdict

_LINES, _LINE_CHARACTERS, _PARAGRAPHS, _PARAGRAPH_CHARACTERS = 0.30, 0.20, 0.30, 0.20
_TOP = {2: 0.20, 3: 0.18, 4: 0.16}
_REPEATED = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}


class Options(Part):
    """Nothing to set: the thresholds are the paper's."""


def step(options: Options) -> Step:
    """The step `gopher_repetition`."""

    def judge(text: str) -> Verdict | None:
        found = next(_findings(text), "")
        return Verdict("repetitive", found) if found else None

    return Step("gopher_repetition", judge=judge)


def _findings(text: str) -> Iterator[str]:
    lines = [line for line in text.split("\n") if line and not line.isspace()]
    paragraphs = [part for part in text.split("\n\n") if part and not part.isspace()]
    yield from _repeats(lines, "lines", _LINES, _LINE_CHARACTERS)
    yield from _repeats(paragraphs, "paragraphs", _PARAGRAPHS, _PARAGRAPH_CHARACTERS)
    words = words_of(text)
    if len(words) > 1:
        yield from _runs(words, 2 if is_chinese(text) else 1)


def _repeats(parts: list[str], noun: str, most: float, most_characters: float) -> Iterator[str]:
    """What repeated lines or paragraphs take up."""
    first = set(parts)
    if len(first) == len(parts):
        return
    share = 1 - len(first) / len(parts)
    if share > most:
        yield f"repeated {noun} {share:.2f} > {most}"
    characters = 1 - sum(map(len, first)) / sum(map(len, parts))
    if characters > most_characters:
        yield f"characters in repeated {noun} {characters:.2f} > {most_characters}"


def _runs(words: list[str], words_each: int) -> Iterator[str]:
    """What the most frequent run of words, and all repeated runs, take up."""
    names: dict[str, int] = {}
    ids_T = np.fromiter((names.setdefault(word, len(names)) for word in words), np.int64, len(words))
    lengths_T = np.fromiter(map(len, words), np.int64, len(words))
    each_T = ids_T if words_each == 1 else _joined(ids_T, ids_T, 1)
    runs_T = each_T  # for each place, the number of the run that begins there; equal runs have equal numbers
    for size in range(2, 11):
        n = size * words_each
        if n > len(words):
            return
        runs_T = _joined(runs_T, each_T, n - words_each)
        if size in _TOP and (share := _share_of_top(runs_T, lengths_T, n)) > _TOP[size]:
            yield f"characters in the most frequent {n}-gram {share:.2f} > {_TOP[size]}"
        if size in _REPEATED:
            share = _share_of_repeats(runs_T, lengths_T, n)
            if share > _REPEATED[size]:
                yield f"characters in repeated {n}-grams {share:.2f} > {_REPEATED[size]}"
            # A repeated longer run lies inside repeated shorter ones: none of them can take up more.
            if share <= min(_REPEATED.values()):
                return


def _joined(first_T: np.ndarray, then_T: np.ndarray, gap: int) -> np.ndarray:
    """Numbers for the runs that are one of `first` and, so many words after its beginning, one of `then`."""
    second_T = then_T[gap:]
    pairs_T = first_T[: len(second_T)] * (int(then_T.max()) + 1) + second_T
    return np.unique(pairs_T, return_inverse=True)[1]


def _share_of_top(runs_T: np.ndarray, lengths_T: np.ndarray, n: int) -> float:
    counts = np.bincount(runs_T)
    top = int(counts.argmax())
    if counts[top] < 2:
        return 0.0
    place = int((runs_T == top).argmax())
    return float(min(1.0, counts[top] * lengths_T[place : place + n].sum() / lengths_T.sum()))


def _share_of_repeats(runs_T: np.ndarray, lengths_T: np.ndarray, n: int) -> float:
    """The share of characters inside any but the first of equal runs."""
    again_T = np.ones(len(runs_T), np.bool_)
    again_T[np.unique(runs_T, return_index=True)[1]] = False
    edges = np.zeros(len(lengths_T) + 1, np.int64)
    edges[:-n] += again_T
    edges[n:] -= again_T
    return float(lengths_T[np.cumsum(edges[:-1]) > 0].sum() / lengths_T.sum())
