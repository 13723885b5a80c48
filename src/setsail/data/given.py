"""The split that a source itself gives: files side by side that are named train, validation and test.

What does not live here: making a split where none is given (`split.py`). The invariant: names alone decide, and only
where training rows and others to be kept from them are both named.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from setsail.data.row import Drop, Record

# The words that data sets on the hub use, and their Chinese ones.
_WORDS = {
    "train": ("train", "training", "训练", "训练集", "訓練", "訓練集"),
    "validation": ("validation", "valid", "val", "dev", "验证", "验证集", "驗證", "驗證集", "开发集"),
    "test": ("test", "testing", "eval", "evaluation", "测试", "测试集", "測試", "測試集"),
}
_PARTS = {word: part for part, words in _WORDS.items() for word in words}
_SHARD = re.compile(r"-\d{3,}-of-\d{3,}$")


def given_split(place: str) -> str | None:
    """train, validation or test, where a file's name or a folder over it says so; else None.

    >>> given_split("data/train-00000-of-00003.parquet"), given_split("dev.csv.gz"), given_split("latest.csv")
    ('train', 'validation', None)
    """
    *folders, name = place.casefold().split("/")
    stem = _SHARD.sub("", name.split(".", 1)[0])
    words = re.split(r"[-_ \d]+", stem.strip("-_ 0123456789"))
    for word in (stem, words[0], words[-1], *reversed(folders)):
        if word in _PARTS:
            return _PARTS[word]
    return None


def given_parts(places: Iterable[str]) -> Mapping[str, str]:
    """The part of each of the places that lie together; "" for all where they are not split.

    A test.csv alone is a file like any other: a split is given where a part is named train and another is not.
    """
    parts = {place: given_split(place) or "" for place in places}
    named = set(parts.values()) - {""}
    return parts if "train" in named and len(named) > 1 else dict.fromkeys(parts, "")


def in_part(items: Iterable[Record | Drop], part: str) -> tuple[Record | Drop, ...]:
    """The same items, each record given to a part."""
    return tuple(replace(item, part=part) if part and isinstance(item, Record) else item for item in items)
