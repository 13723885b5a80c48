"""A gettext catalogue (.po) as records of `msgid` and `msgstr`, as Django and most free software keep translations.

An entry with plural forms becomes a record for each form of the original, with the translation of that number; both
stay on one side of a split. Entries that a translator has not confirmed (fuzzy) or that are no longer used are dropped
and counted. The invariant: each entry but the header comes out once, as records or as one drop.

Source: the GNU gettext manual, "The Format of PO Files".
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from setsail.base.errors import DataError
from setsail.data import encoding as encodings
from setsail.data.row import Drop, Record, drop_at, row_id
from setsail.data.sketch import normalised

_KEYWORD = re.compile(r'(msgctxt|msgid_plural|msgid|msgstr)(?:\[(\d{1,3})\])?\s*(".*")$')
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"$')
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{1,2}|[0-7]{1,3}|.)")
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_HEADER_CHARSET = re.compile(rb'"Content-Type:[^"\n]*charset=([\w-]{2,40})', re.IGNORECASE)


@dataclass
class _Entry:
    """One entry as far as it has been read; `parts` by keyword, of plural forms by "msgstr[0]" and so on."""

    line: int = 0
    is_fuzzy: bool = False
    is_obsolete: bool = False
    parts: dict[str, str] = field(default_factory=dict)
    last: str = ""


def read(data: bytes, place: str, *, encoding: str = "auto") -> Iterator[Record | Drop]:
    """The entries of a catalogue, with the lines on which they begin as origins.

    Raises:
        DataError: it is in no encoding that can be told, or a line is no part of an entry.
    """
    stated = _HEADER_CHARSET.search(data)
    if encoding == "auto" and stated and stated[1].upper() != b"CHARSET":  # the word of a template not filled in
        encoding = stated[1].decode("ascii")
    text = encodings.decode(data, encoding=encoding, place=place).text
    for entry in _entries(text, place):
        yield from _records(entry, place)


def _entries(text: str, place: str) -> Iterator[_Entry]:
    """The entries, each with the line on which its original begins."""
    entry = _Entry()
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), start=1):
        line = line.strip()
        is_obsolete = line.startswith("#~")
        line = line.removeprefix("#~").strip()
        goes_on = line.startswith(('"', "msgid_plural", "msgstr"))
        if not goes_on and (entry.last.startswith("msgstr") or ("msgid" in entry.parts and line.startswith("msg"))):
            yield entry
            entry = _Entry()
        if line.startswith("#,"):
            entry.is_fuzzy |= "fuzzy" in line[2:].replace(" ", "").split(",")
        elif line and not line.startswith(("#", "|")):
            entry.line = entry.line or number
            entry.is_obsolete |= is_obsolete
            _read_line(entry, line, f"{place}:{number}")
    if entry.parts:
        yield entry


def _read_line(entry: _Entry, line: str, place: str) -> None:
    """Mutates: `entry`. Raises: DataError for what is neither a keyword with a string nor more of the last string."""
    found = _KEYWORD.match(line)
    quoted = _STRING.match(found[3] if found else line)
    if quoted is None or (found is None and not entry.last):
        raise DataError(
            f"not a line of a gettext catalogue: {line[:60]!r}",
            place=place,
            hint='an entry is msgid "…" and msgstr "…", each string between quotes on lines of its own',
        )
    if found:
        entry.last = found[1] + (f"[{found[2]}]" if found[2] else "")
        entry.parts[entry.last] = ""
    entry.parts[entry.last] += _ESCAPE.sub(_unescaped, quoted[1])


def _unescaped(found: re.Match[str]) -> str:
    code = found[1]
    if code[0] == "x" and len(code) > 1:
        return chr(int(code[1:], 16))
    return chr(int(code, 8)) if code[0] in "01234567" else _ESCAPED.get(code, code)


def _records(entry: _Entry, place: str) -> Iterator[Record | Drop]:
    parts, origin = entry.parts, f"{place}:{entry.line}"
    if not parts.get("msgid"):
        if "msgid" not in parts:
            yield drop_at(origin, "no_question", "an entry without msgid")
        return  # the header
    if entry.is_obsolete or entry.is_fuzzy:
        reason = "obsolete" if entry.is_obsolete else "fuzzy"
        yield Drop(row_id(parts, origin), origin, reason)
        return
    context = {"msgctxt": parts["msgctxt"]} if "msgctxt" in parts else {}
    if "msgid_plural" not in parts:
        yield Record(origin, {"msgid": parts["msgid"], "msgstr": parts.get("msgstr", ""), **context})
        return
    forms = [text for name, text in parts.items() if name.startswith("msgstr[")] or [""]
    group = hashlib.sha256(normalised(parts["msgid"]).encode()).hexdigest()[:16]
    for msgid, msgstr in ((parts["msgid"], forms[0]), (parts["msgid_plural"], forms[-1])):
        yield Record(origin, {"msgid": msgid, "msgstr": msgstr, **context}, group=group)
