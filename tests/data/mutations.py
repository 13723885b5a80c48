"""Damaging files at random, the same way each time, and reading what comes of it: rows, drops or an error of ours."""

from __future__ import annotations

import random
from collections.abc import Mapping

from setsail.base.errors import SetsailError
from setsail.data.containers import content_of
from setsail.data.row import Drop, Record
from setsail.data.unpack import unpacked

ROWS = [{"prompt": f"Question {n}, 第{n}问？", "completion": f'Answer "{n}"\n第{n}答。'} for n in range(3)]
# Kinds that are read in a process of their own cost a hundred times as much as the others.
APART = frozenset({"a.xlsx", "a.xls", "a.ods", "a.pdf", "a.docx"})
_SPICES = (
    *(b"\0", b'"', b"'", b"[", b"]", b"{", b"}", b"<", b">", b"(", b"\\", b"\r", b"\n\n", b"\xff\xfe", b"\xef\xbb\xbf"),
    *(
        b"\xed\xa0\x80",
        b"\\ud800",
        b"\x00\xd8",
        b"&#xD800;",
        b"=?gb2312?B?",
        b"From ",
        b"--",
        b"\x1f\x8b",
        b"PK\x05\x06",
    ),
    *(
        b"9" * 400,
        b"[" * 2000,
        b"<div>" * 500,
        b"\xff" * 8,
        b"\x7f\xff\xff\xff",
        b"1e999",
        b"NaN",
        b"%PDF",
        b"stream\n",
    ),
)


def mutated(data: bytes, chance: random.Random) -> bytes:
    """The bytes after one to six damages: flipped bits, a cut, a slice doubled, moved or lost, something put in."""
    content = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        at, length = chance.randrange(len(content) + 1), chance.randint(1, 1 + min(400, len(content)))
        piece = bytes(content[at : at + length])
        match chance.randrange(7):
            case 0 | 1 if piece:
                content[at] ^= 1 << chance.randrange(8)
            case 2:
                content[at:at] = chance.choice(_SPICES)
            case 3:
                content[at:at] = piece * chance.choice((1, 1, 2, 30))
            case 4:
                del content[at : at + length]
            case 5:
                content[at : at + 4] = chance.randbytes(4)
            case _ if chance.random() < 0.2:
                del content[at:]
    return bytes(content)


def outcome(name: str, data: bytes) -> str:
    """What reading a file of this name and these bytes comes to: "rows", "drops" or "refused".

    Raises:
        AssertionError: an item is neither, or two have one origin; and whatever a reader lets through.
    """
    try:
        items = content_of(unpacked(data, name, name), name, name).items
    except SetsailError as error:
        assert error.message and error.place is not None
        return "refused"
    assert items and all(isinstance(item, Record | Drop) for item in items)
    assert len({item.origin for item in items}) == len(items), "two items with one origin"
    return "rows" if any(isinstance(item, Record) for item in items) else "drops"


def case(seed: int, seeds: Mapping[str, bytes]) -> tuple[str, bytes]:
    """The file that a seed stands for. Three in a hundred are of the kinds that are read apart."""
    chance = random.Random(seed)
    apart = chance.random() < 0.03
    names = sorted(name for name in seeds if (name in APART) == apart)
    name = chance.choice(names or sorted(seeds))
    return name, mutated(seeds[name], chance)
