"""WordNet's nouns (data.noun) as sentences with two marked names and how they have to do with one another.

A noun with its definition is the text, `Peru: a republic in western South America`; head is the noun, tail a word of
the definition to which WordNet itself points, and relation what that pointer means. Pointers to words that do not stand
in the definition say nothing of the text and give no record. The invariant: rows of one noun have one text.

Source: the manual page wndb(5) of WordNet 3.1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from setsail.base.errors import DataError
from setsail.data import encoding as encodings
from setsail.data.row import Record

# Those pointers between nouns that definitions say often; their opposites (has part) and lexical ones are left out.
RELATIONS = {
    "@": "kind of",
    "@i": "instance of",
    "#m": "member of",
    "#p": "part of",
    ";c": "of the field",
}
_NOUN = "n"
_SHORTEST = 3  # characters of a tail: "a", "in" and the like are chemical symbols and states too
_EXAMPLES = '; "'  # from here on a gloss quotes


@dataclass(frozen=True)
class _Synset:
    """Words that mean the same, where they point (symbol, offset), and their definition; the line they stand on."""

    line: int
    words: tuple[str, ...]
    pointers: tuple[tuple[str, str], ...]
    definition: str


def read(data: bytes, place: str, *, encoding: str = "auto") -> Iterator[Record]:
    """A record for each pointer that a definition says: text, head, tail, relation.

    Raises:
        DataError: a line is none of WordNet's.
    """
    text = encodings.decode(data, encoding=encoding, place=place).text
    synsets = dict(_synsets(text, place))
    for synset in synsets.values():
        head = synset.words[0]
        sentence = f"{head}: {synset.definition}"
        said: set[str] = set()
        for symbol, offset in synset.pointers:
            target = synsets.get(offset)
            tail = _named(target, synset, sentence, after=len(head) + 1) if target else None
            if tail is None or tail[2] in said:
                continue
            said.add(tail[2])
            fields = {"text": sentence, "head": [0, len(head)], "tail": list(tail[:2]), "relation": RELATIONS[symbol]}
            yield Record(f"{place}:{synset.line}", fields)


def _named(target: _Synset, own: _Synset, sentence: str, *, after: int) -> tuple[int, int, str] | None:
    """Where the definition names the target, and by which word; None where it does not."""
    for word in target.words:
        if len(word) < _SHORTEST or word in own.words:
            continue
        found = re.compile(rf"(?<!\w){re.escape(word)}(?!\w)").search(sentence, after)
        if found:
            return found.start(), found.end(), word
    return None


def _synsets(text: str, place: str) -> Iterator[tuple[str, _Synset]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip() or line.startswith("  "):  # the licence, on indented lines
            continue
        try:
            yield _synset(line, number)
        except (ValueError, IndexError) as error:
            raise DataError(
                f"not a line of WordNet's nouns: {line[:60]!r}",
                place=f"{place}:{number}",
                hint="name WordNet's own data.noun; for a table of yours, the columns text, head, tail, relation",
            ) from error


def _synset(line: str, number: int) -> tuple[str, _Synset]:
    """Raises: ValueError, IndexError where the line has another form."""
    fields, bar, gloss = line.partition(" | ")
    cells = fields.split(" ")
    num_words = int(cells[3], 16)
    words = tuple(cell.replace("_", " ") for cell in cells[4 : 4 + 2 * num_words : 2])
    first = 5 + 2 * num_words
    num_pointers = int(cells[first - 1])
    pointers = [cells[at : at + 4] for at in range(first, first + 4 * num_pointers, 4)]
    definition = gloss.split(_EXAMPLES)[0].strip()
    if not (bar and words and definition and cells[0].isdigit()):
        raise ValueError(line)
    kept = tuple((symbol, offset) for symbol, offset, kind, _ in pointers if kind == _NOUN and symbol in RELATIONS)
    return cells[0], _Synset(number, words, kept, definition)
