"""The texts of one row with personal data and secrets taken out: masked, or replaced by pseudonyms.

What does not live here: what a value looks like (the detectors, by `registry.py`), what a pseudonym looks like, what
happens to a row that holds some (`prepare.py`). The invariants: text outside what was found does not change; the same
value has the same placeholder in all texts of a row; masking what was masked changes nothing.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

from setsail.base.errors import DataError
from setsail.data.privacy.detector import Span, glance
from setsail.data.privacy.pseudonyms import pseudonym
from setsail.data.privacy.registry import KINDS, STANDARD, detectors_of

Mode = Literal["mask", "pseudonymise", "drop"]

_PLACEHOLDER = re.compile(rf"\[({'|'.join(KINDS)})_(\d{{1,9}})\]")
_DIGITS_COUNT = frozenset({"PHONE", "BANK_CARD", "SSN", "QQ"})
_SIGNS_COUNT_NOT = frozenset({"IBAN", "PLATE", "MAC", "ADDRESS"})
# Masking can uncover what an overlapping value hid; each round takes something out, and two have always been enough.
_MOST_ROUNDS = 8


@dataclass(frozen=True)
class Hidden:
    """One value that was found: in which text of the row, where it began there, and what stands in its place."""

    text: int
    start: int
    kind: str
    value: str
    replacement: str


@dataclass(frozen=True)
class Redacted:
    """Texts without personal data, how many values of each kind were found, and each of them, in order."""

    texts: tuple[str, ...]
    counts: dict[str, int]
    hidden: tuple[Hidden, ...] = ()


@dataclass(frozen=True)
class Redactor:
    """Texts of one row in, `Redacted` out; the same in every process.

    `keep` are values that stay, or patterns with `*`. `key` is needed to pseudonymise and is never shown. Under `drop`
    the row goes if anything is found; its texts are masked all the same, so that nobody sees them by mistake.
    """

    mode: Mode = "mask"
    kinds: tuple[str, ...] = STANDARD
    keep: tuple[str, ...] = ()
    key: bytes = field(default=b"", repr=False)

    def __call__(self, texts: Iterable[str]) -> Redacted:
        """The texts of one row, treated together."""
        originals = tuple(texts)
        found = self._find(originals)
        if not any(found):
            return Redacted(originals, {})
        names = _Names(self, originals)
        hidden = [
            Hidden(number, start, kind, text[start:end], names.of(kind, text[start:end]))
            for number, text in enumerate(originals)
            for start, end, kind in found[number]
        ]
        counts = Counter(value.kind for value in hidden)
        return Redacted(_replaced(originals, hidden), dict(sorted(counts.items())), tuple(hidden))

    def _find(self, texts: Sequence[str]) -> list[list[_Found]]:
        """What stands in each text, in its order; rounds go on until masking uncovers nothing."""
        found: list[list[_Found]] = [[] for _ in texts]
        for _ in range(_MOST_ROUNDS):
            views = [_View(text, spans) for text, spans in zip(texts, found, strict=True)]
            new = [self._in_view(view) for view in views]
            if not any(new):
                break
            found = [sorted(old + more) for old, more in zip(found, new, strict=True)]
            found = _also_elsewhere(texts, found)
        return found

    def _in_view(self, view: _View) -> list[_Found]:
        seen = glance(view.text)
        taken: list[_Found] = []
        for detector in detectors_of(self.kinds):
            if not detector.possible(seen):
                continue
            for start, end in detector.find(view.text):
                if view.is_free(start, end) and not self._is_kept(detector.kind, view.text[start:end]):
                    taken.append((start, end, detector.kind))
        return [(*view.original(start, end), kind) for start, end, kind in _without_overlaps(taken)]

    def _is_kept(self, kind: str, value: str) -> bool:
        folded = value.casefold()
        return any(fnmatchcase(folded, pattern.casefold()) for pattern in self.keep)


_Found = tuple[int, int, str]


class _View:
    """A text as it reads with what was found masked, and the way back to the places of the original."""

    def __init__(self, text: str, found: Sequence[_Found]) -> None:
        pieces, self._starts, self._shifts = [], [0], [0]
        at = length = 0
        for start, end, kind in found:
            mark = f"[{kind}_0]"
            pieces += [text[at:start], mark]
            length += start - at + len(mark)
            at = end
            self._starts.append(length)
            self._shifts.append(at - length)
        self.text = "".join([*pieces, text[at:]]) if pieces else text
        self._marks = [match.span() for match in _PLACEHOLDER.finditer(self.text)] if "[" in self.text else []

    def is_free(self, start: int, end: int) -> bool:
        """Whether no placeholder, ours or the text's own, is touched."""
        return start < end and all(end <= first or last <= start for first, last in self._marks)

    def original(self, start: int, end: int) -> Span:
        shift = self._shifts[bisect_right(self._starts, start) - 1]
        return start + shift, end + shift


def _without_overlaps(found: Sequence[_Found]) -> list[_Found]:
    """In the order of precedence, each that touches none before it."""
    kept: list[_Found] = []
    for start, end, kind in found:
        if all(end <= first or last <= start for first, last, _ in kept):
            kept.append((start, end, kind))
    return kept


def _also_elsewhere(texts: Sequence[str], found: list[list[_Found]]) -> list[list[_Found]]:
    """Whole names that were found once stand in the row's other places too."""
    names = {text[a:b] for text, spans in zip(texts, found, strict=True) for a, b, kind in spans if kind == "NAME"}
    names = {name for name in names if " " in name or (len(name) > 1 and not name.isascii())}
    if not names:
        return found
    longest_first = "|".join(re.escape(name) for name in sorted(names, key=lambda name: (-len(name), name)))
    pattern = re.compile(rf"(?<![A-Za-z])(?:{longest_first})(?![A-Za-z])")
    return [
        sorted(_without_overlaps([*spans, *((*m.span(), "NAME") for m in pattern.finditer(text) if _apart(text, m))]))
        for text, spans in zip(texts, found, strict=True)
    ]


def _apart(text: str, match: re.Match[str]) -> bool:
    return all(match.end() <= p.start() or p.end() <= match.start() for p in _PLACEHOLDER.finditer(text))


class _Names:
    """What each value of a row is called; numbers begin above those of placeholders that the row has already."""

    def __init__(self, redactor: Redactor, texts: Sequence[str]) -> None:
        self._redactor = redactor
        self._names: dict[tuple[str, str], str] = {}
        self._last: Counter[str] = Counter()
        for match in _PLACEHOLDER.finditer("\n".join(texts)):
            self._last[match[1]] = max(self._last[match[1]], int(match[2]))

    def of(self, kind: str, value: str) -> str:
        key = kind, _canonical(kind, value)
        if key not in self._names:
            self._names[key] = self._new(kind, value, key[1])
        return self._names[key]

    def _new(self, kind: str, value: str, canonical: str) -> str:
        if self._redactor.mode == "pseudonymise":
            return pseudonym(self._redactor.key, kind, value, canonical)
        self._last[kind] += 1
        return f"[{kind}_{self._last[kind]}]"


def _canonical(kind: str, value: str) -> str:
    """What is the same in all ways of writing a value."""
    if kind == "PHONE":
        digits = re.sub(r"\D", "", value)
        return re.sub(r"^(?:00)?86(?=1\d{10}$)|^(?:00)?1(?=[2-9]\d{9}$)", "", digits)
    if kind in _DIGITS_COUNT:
        return re.sub(r"\D", "", value)
    if kind in _SIGNS_COUNT_NOT:
        return re.sub(r"[\W_]", "", value).casefold()
    return value if kind in ("KEY", "LOGIN", "WALLET") else value.casefold()


def _replaced(texts: Sequence[str], hidden: Sequence[Hidden]) -> tuple[str, ...]:
    pieces: list[list[str]] = [[] for _ in texts]
    at = [0] * len(texts)
    for value in hidden:
        pieces[value.text] += [texts[value.text][at[value.text] : value.start], value.replacement]
        at[value.text] = value.start + len(value.value)
    return tuple("".join([*before, text[end:]]) for before, text, end in zip(pieces, texts, at, strict=True))


def restore(texts: Sequence[str], hidden: Sequence[Hidden]) -> tuple[str, ...]:
    """The original texts of a row, from those that a redactor gave and what it hid.

    Raises:
        DataError: the texts were changed since; what was hidden stands elsewhere or not at all.
    """
    pieces: list[list[str]] = [[] for _ in texts]
    at, shift = [0] * len(texts), [0] * len(texts)
    for value in hidden:
        start = value.start + shift[value.text] if value.text < len(texts) else 0
        if value.text >= len(texts) or not texts[value.text].startswith(value.replacement, start):
            raise DataError(
                f"{value.replacement} does not stand at character {start:,} of text {value.text + 1}",
                hint="restore the texts as the redactor gave them, or look the value up in what was hidden",
            )
        end = start + len(value.replacement)
        pieces[value.text] += [texts[value.text][at[value.text] : start], value.value]
        at[value.text], shift[value.text] = end, shift[value.text] + len(value.replacement) - len(value.value)
    return tuple("".join([*before, text[end:]]) for before, text, end in zip(pieces, texts, at, strict=True))


_MASK = Redactor()


def redact(texts: Iterable[str]) -> Redacted:
    """The texts of one row with every kind of the standard set masked.

    >>> redact(["Write to ann@example.org", "ann@example.org? Yes."]).texts
    ('Write to [EMAIL_1]', '[EMAIL_1]? Yes.')
    """
    return _MASK(texts)
