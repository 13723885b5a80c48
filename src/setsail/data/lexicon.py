"""Words that mean the same, from a file of the user's: a line each group, its words apart by commas or tabs.

Lines that begin with # are remarks. What does not live here: which words of a row are changed (`augment.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from setsail.base.errors import DataError
from setsail.base.files import explained_os_errors
from setsail.data.encoding import decode

_APART = re.compile(r"[,，、;；\t]")
_MOST_CHARACTERS = 40

Lexicon = Mapping[str, tuple[str, ...]]  # a word in small letters → the others of its groups


def read_lexicon(path: Path) -> Lexicon:
    """The groups of a file.

    Raises:
        DataError: no file, or no line with two words.
    """
    if not path.is_file():
        raise DataError(f"no lexicon {path.name}", place="data.augment.lexicon", hint=f"looked for {path}")
    with explained_os_errors(f"reading {path.name}"):
        text = decode(path.read_bytes(), place=path.name).text
    groups: list[Sequence[str]] = []
    for line in text.splitlines():
        if not line.lstrip().startswith("#"):
            words = [word.strip() for word in _APART.split(line)]
            groups.append([word for word in dict.fromkeys(words) if word and len(word) <= _MOST_CHARACTERS])
    lexicon: dict[str, tuple[str, ...]] = {}
    for group in groups:
        for word in group if len(group) > 1 else ():
            others = tuple(other for other in group if other != word)
            lexicon[word.casefold()] = tuple(dict.fromkeys([*lexicon.get(word.casefold(), ()), *others]))
    if not lexicon:
        raise DataError(
            f"{path.name} holds no two words that mean the same",
            place="data.augment.lexicon",
            hint="a line each group: big, large, huge",
        )
    return lexicon


def pattern_of(lexicon: Lexicon) -> re.Pattern[str]:
    """Finds the words of a lexicon, the longest first; those of letters only as whole words.

    >>> pattern_of({"run": ("jog",), "快递": ("包裹",)}).findall("Runners run; 快递在哪")
    ['run', '快递']
    """
    words = sorted(lexicon, key=lambda word: (-len(word), word))
    whole = [rf"(?<![^\W_]){re.escape(word)}(?![^\W_])" if word.isascii() else re.escape(word) for word in words]
    return re.compile("|".join(whole), re.IGNORECASE)
