"""From bytes to text: which encoding a file is in, said aloud, and what happens to bytes that do not fit.

The policy: a file is read in ONE encoding, detected or named by the recipe. Bytes that are invalid in it are carried as
lone surrogates (PEP 383) as far as the record they stand in, and that record is dropped and counted; nothing is ever
replaced in silence. Where no encoding fits, reading stops with the line and the byte.
"""

from __future__ import annotations

import codecs
import re
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
_SUGGESTIONS = "write data.encoding: gb18030, latin-1 or cp1252 (whichever the file was saved in)"


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
            f'data.encoding "{encoding}" is not a known text encoding', place=place, hint="write auto, utf-8 or gb18030"
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
    for name, fits in (("utf-8", _is_utf8), ("gb18030", _is_chinese)):
        if sum(map(fits, lines)) >= _AGREEMENT * len(lines):
            return name
    if _is_chinese(data):
        return "gb18030"
    raise DataError(
        f"the file is neither UTF-8 nor GB18030: byte {first.start + 1} "
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


def _is_chinese(line: bytes) -> bool:
    """Whether GB18030 gives common characters: Latin-1 letters decode too, but to characters that nobody writes."""
    try:
        foreign = [c for c in line.decode("gb18030") if not c.isascii()]
    except UnicodeDecodeError:
        return False
    common = sum(bool(c.encode("gb2312", errors="ignore")) for c in foreign)
    return common >= _PLAUSIBLE * len(foreign)
