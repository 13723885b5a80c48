"""From bytes to text: which encoding a file is in, said aloud, and what happens to bytes that do not fit.

The policy: a file is read in ONE encoding, detected or named by the recipe. Bytes that are invalid in it are carried as
lone surrogates (PEP 383) as far as the record they stand in, and that record is dropped and counted; nothing is ever
replaced in silence. Where no encoding fits, reading stops with the line and the byte.
"""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from setsail.base.errors import DataError

_MARKS = (
    (codecs.BOM_UTF32_LE, ""),
    (codecs.BOM_UTF32_BE, ""),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_ESCAPED_BYTES = re.compile("[\udc80-\udcff]")
_SURROGATES = re.compile("[\ud800-\udfff]")
_AGREEMENT = 0.9
_PLAUSIBLE = 0.8
_MANY_NULS = 0.2
_MANY_KANA = 0.2
_SAMPLE_LINES = 1000
_SUGGESTIONS = "write data.encoding: gb18030, big5, latin-1 or cp1252 (whichever the file was saved in)"
# Encodings by the name of the widest one of their family, of which writers use the whole under the older names.
_WIDEST = {"gb2312": "gb18030", "gbk": "gb18030", "big5": "big5hkscs", "cp950": "big5hkscs"}
_SAMPLE_BYTES = 1 << 18
# The characters that Chinese writes most, in both scripts: near half of any text is these and its punctuation.
# Source: the head of Jun Da's Modern Chinese Character Frequency List (2004), and its traditional twins.
_COMMON = frozenset(
    "的一是不了在人有我他这中大来上个国到说们为子和你地出道也时年得就那要下以生会自着去之过家学对可她里后小么心多天而能好都然没日于起还发成事只作当想看文"
    "无开手十用主行方又如前所本见经头面公同三已老从动两长知民样现分将外但身些与高意进把法此实回二理美点月明其种声全工己话儿者向情部正名定女问力机给等几"
    "這來個國說們為時會著過學對裡後麼沒於還發當無開見經頭從動兩長樣現將與進實點種聲話問機給幾請您吗嗎，。、：；？！「」『』“”《》（）"
)
# What is commonly written counts once, what is written most counts more; a sound text has over 0.8 of the first,
# or, as traditional text in GB18030 has, less of it and much of the second. Measured on the texts of the tests.
_COMMON_WEIGHT = 2.0
_SOME, _MUCH = 0.4, 0.15


@dataclass(frozen=True)
class Decoded:
    """A file's text, the encoding it was read in, and how many of its bytes are invalid there."""

    text: str
    encoding: str
    num_invalid_bytes: int


def decode(data: bytes, *, encoding: str = "auto", place: str = "") -> Decoded:
    """The text of a file's bytes.

    Raises:
        DataError: the encoding is unknown, or none fits; with the line and byte of the first bad one.
    """
    name = _detect(data, place) if encoding == "auto" else _known(encoding, place)
    if name == "utf-8" and data.startswith(codecs.BOM_UTF8):
        name = "utf-8-sig"
    try:
        text = data.decode(name, errors="surrogateescape")
    except UnicodeError as error:
        offset = error.start if isinstance(error, UnicodeDecodeError) else 0
        raise DataError(
            f"the file is not valid {name}: byte {offset + 1} (line {_line(data, offset)})",
            place=place,
            hint=_SUGGESTIONS,
        ) from error
    invalid = len(_ESCAPED_BYTES.findall(text)) if not text.isascii() else 0
    return Decoded(text, name, invalid)


def marked(data: bytes) -> str:
    """The encoding that a byte order mark names, "" where there is none."""
    return next((name for mark, name in _MARKS if data.startswith(mark)), "")


def widest(encoding: str) -> str:
    """The encoding to read a text in that says it is in this one: writers say gb2312 and mean all of GB18030.

    >>> widest("GB2312"), widest("Big5"), widest("utf-8")
    ('gb18030', 'big5hkscs', 'utf-8')
    """
    try:
        name = codecs.lookup(encoding).name
    except (LookupError, ValueError):
        return encoding
    return _WIDEST.get(name, encoding)


def bad_text(value: object) -> str | None:
    """Why a value cannot be used as text: the reason `invalid_bytes` or `lone_surrogate`, or None.

    >>> bad_text({"a": ["fine"]}) is None
    True
    """
    if isinstance(value, str):
        found = None if value.isascii() else _SURROGATES.search(value)
        if not found:
            return None
        return "invalid_bytes" if _ESCAPED_BYTES.match(found.group()) else "lone_surrogate"
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list | tuple):
        return next((reason for item in value if (reason := bad_text(item))), None)
    return None


def first_invalid(data: bytes, encoding: str) -> str:
    """Where the first byte stands that is invalid in the encoding: "line 3, byte 120"."""
    try:
        data.decode(encoding)
    except UnicodeDecodeError as error:
        return f"line {_line(data, error.start)}, byte {error.start + 1}"
    return ""


def _line(data: bytes, offset: int) -> int:
    return data.count(b"\n", 0, offset) + 1


def _known(encoding: str, place: str) -> str:
    try:
        info = codecs.lookup(encoding)
        "".encode(info.name)
    except (LookupError, ValueError) as error:
        raise DataError(
            f'data.encoding "{encoding}" is not a known text encoding',
            place=place,
            hint="write auto, utf-8, gb18030 or big5",
        ) from error
    return info.name


def _detect(data: bytes, place: str) -> str:
    for mark, name in _MARKS:
        if data.startswith(mark):
            if not name:
                raise DataError("the file is in UTF-32", place=place, hint="save it as UTF-8")
            return name
    if data.count(0) > _MANY_NULS * max(1, len(data)):
        raise DataError(
            "the file is full of NUL bytes: UTF-16 without a mark, or not a text",
            place=place,
            hint="save it as UTF-8, or write data.encoding: utf-16-le",
        )
    try:
        data.decode("utf-8")
        return "utf-8"
    except UnicodeDecodeError as error:
        first = error
    lines = [line for line in data.split(b"\n") if not line.isascii()]
    if sum(map(_is_utf8, lines)) >= _AGREEMENT * len(lines):
        return "utf-8"
    if _is_japanese(lines):
        raise DataError("the file looks like Japanese in EUC-JP", place=place, hint="write data.encoding: euc-jp")
    scores = {name: _chinese_score(lines, name) for name in ("gb18030", "big5hkscs")}
    best = max(scores, key=lambda name: scores[name])
    if scores[best] > 0:
        return best
    raise DataError(
        f"the file is neither UTF-8 nor GB18030 nor Big5: byte {first.start + 1} "
        f"(line {_line(data, first.start)}) is 0x{data[first.start]:02x}",
        place=place,
        hint=_SUGGESTIONS,
    )


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _is_japanese(lines: Sequence[bytes]) -> bool:
    """Whether EUC-JP fits and gives many kana: its kanji are valid, and common enough, in GB18030 and in Big5."""
    texts = [_decoded(line, "euc_jp") for line in lines[:_SAMPLE_LINES]]
    foreign = [c for text in texts for c in text or "" if not c.isascii()]
    return None not in texts and sum("\u3040" <= c <= "\u30ff" for c in foreign) > _MANY_KANA * len(foreign)


def _chinese_score(lines: Sequence[bytes], name: str) -> float:
    """How much the lines look like Chinese in an encoding, or 0 where they do not.

    GB18030 and Big5 give characters for nearly all bytes of each other, and both for many of Latin-1: what tells them
    apart is whether those are characters that people write.
    """
    texts = [text for line in lines if (text := _decoded(line, name)) is not None]
    num_bytes = sum(map(len, lines))
    if sum(len(text.encode(name)) for text in texts) < _AGREEMENT * num_bytes and len(texts) < _AGREEMENT * len(lines):
        return 0.0
    counts = Counter(c for c in "".join(texts)[:_SAMPLE_BYTES] if not c.isascii())
    total = sum(counts.values())
    usual = sum(count for c, count in counts.items() if _is_usual(c, name)) / max(1, total)
    common = sum(counts[c] for c in _COMMON) / max(1, total)
    return usual + _COMMON_WEIGHT * common if usual >= _PLAUSIBLE or (usual >= _SOME and common >= _MUCH) else 0.0


def _decoded(line: bytes, name: str) -> str | None:
    try:
        return line.decode(name)
    except UnicodeDecodeError:
        return None


def _is_usual(character: str, name: str) -> bool:
    """Whether a character is of the part of a standard that holds what is commonly written.

    For GB18030 that is GB 2312; for Big5 its symbols and its first level of hanzi, 0xA440 to 0xC67E.
    """
    if name == "gb18030":
        return bool(character.encode("gb2312", errors="ignore"))
    return b"\xa1\x40" <= character.encode("big5", errors="ignore") <= b"\xc6\x7e"
