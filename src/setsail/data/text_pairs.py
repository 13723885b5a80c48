"""What is wrong with pairs of source and target: one by one, and over all rows that are kept.

What does not live here: which columns hold them (`pair_formats.py`). The invariant: what makes a pair useless drops it
with a reason; what only looks wrong is told with a row, and stays.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from setsail.base.recipe_data import Data
from setsail.base.recipe_pairs import LANGUAGES
from setsail.data.pair_formats import language_of
from setsail.data.row import Drop, Row, iterate_rows
from setsail.data.steps.language import language_guess
from setsail.data.steps.script import is_chinese, num_words

LOOKED_AT = 500  # rows of which the languages are told
_LEAST_SURE = 0.6
_FAR_OFF = 4.0  # times longer or shorter than the usual target of a source so long
_LEAST_WORDS = 4  # of a side, below which its length says nothing


def why_no_pair(row: Row, task: str) -> Drop | None:
    """Why a row is no pair for this task, or None: more than two turns, or nothing to do."""
    turns = [message["content"] for message in row.messages if message["role"] != "system"]
    if len(turns) != 2:
        return Drop(row.id, row.origin, "not_a_pair", f"{len(turns)} turns")
    if task != "rewrite" and turns[0].strip() == turns[1].strip():
        return Drop(row.id, row.origin, "same_text")
    return None


def pair_findings(files: Iterable[Path], data: Data, task: str) -> list[str]:
    """What the kept pairs look like as a whole: swapped sides, targets far from the usual length."""
    rows = [row for file in files for row in iterate_rows(file)]
    found = [] if task == "summarize" else [_of_lengths(rows)]  # a summary is as long as it needs to be
    languages = languages_of(data)
    if task == "translate" and languages is not None:
        found.append(_of_languages(rows, *languages))
    return [sentence for sentence in found if sentence]


def languages_of(data: Data) -> tuple[str, str] | None:
    """The languages of source and target, where the recipe says them."""
    if data.languages is not None:
        return data.languages
    named = [language_of(data.columns.get(part, "")) for part in ("source", "target")]
    named = named if named[0] else [language_of(data.columns.get(part, "")) for part in ("prompt", "completion")]
    return (named[0], named[1]) if named[0] and named[1] else None


def sides(row: Row) -> tuple[str, str]:
    """The source and the target of a row."""
    turns = [message["content"] for message in row.messages if message["role"] != "system"]
    return turns[0], turns[-1]


def _of_languages(rows: Sequence[Row], source: str, target: str) -> str:
    told = list(islice(_told(rows), LOOKED_AT))
    swapped = [row for row, guess in told if guess == target != source]
    if 2 * len(swapped) <= len(told):
        return ""
    names = [LANGUAGES.get(code, (code, code))[0] for code in (source, target)]
    return (
        f"{len(swapped):,} of {len(told):,} sources read like {names[1]}, which should be the target's language: "
        f"{swapped[0].origin}; are the columns swapped? data.languages: [{target}, {source}], or swap data.columns"
    )


def _told(rows: Sequence[Row]) -> Iterator[tuple[Row, str]]:
    """Rows with the language of their source, where it can be told."""
    for row in rows:
        source = sides(row)[0]
        if is_chinese(source):
            yield row, "zh"
            continue
        guess, share = language_guess(source)
        if share >= _LEAST_SURE:
            yield row, guess


def _of_lengths(rows: Sequence[Row]) -> str:
    """Pairs of which one side is far longer than its like: often two columns that slipped against each other."""
    counted = [(row, *map(num_words, sides(row))) for row in rows]
    long = [(row, source, target) for row, source, target in counted if max(source, target) >= _LEAST_WORDS]
    if not long:
        return ""
    logs = [math.log(max(1, target) / max(1, source)) for _, source, target in long]
    usual = float(np.median(logs))
    off = [each for each, value in zip(long, logs, strict=True) if abs(value - usual) > math.log(_FAR_OFF)]
    if not off:
        return ""
    row, source, target = off[0]
    pairs = "1 pair has" if len(off) == 1 else f"{len(off):,} pairs have"
    return (
        f"{pairs} a target more than {_FAR_OFF:g} times longer or shorter than usual, and stayed: {row.origin} "
        f"({source:,} words to {target:,}); read them, sides that do not belong together teach nothing"
    )
