"""Mail: each message of an .mbox, or the one of an .eml, as one record; a thread is one group of the split.

Fields: `subject`, `from`, `to`, `date`, `text`, `num_attachments`. Quoted replies stay in the text. What does not live
here: what attachments hold; they are counted. The invariant: every message is one record or one drop.
"""

from __future__ import annotations

import email
import email.errors
import email.header
import email.utils
import hashlib
import re
from collections.abc import Iterator
from email.message import Message as Mail

from setsail.base.errors import DataError
from setsail.data import encoding as encodings
from setsail.data.readers.html import title_and_text
from setsail.data.row import Drop, Record, drop_at

_MAX_PARTS = 1000
_MAX_HEADER = 100_000
_ID = re.compile(r"<[^<>\s]{1,998}>")
_ESCAPED_FROM = re.compile(rb"^>(>*From )", re.MULTILINE)
# What the standard library raises on mails that nobody should have written.
_BROKEN = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    RecursionError,
    AssertionError,
    email.errors.MessageError,
)


def read_eml(data: bytes, place: str, *, encoding: str = "auto") -> Iterator[Record | Drop]:
    """The one message of a file."""
    yield _item(data, f"{place}:1", {}, encoding)


def read_mbox(data: bytes, place: str, *, encoding: str = "auto") -> Iterator[Record | Drop]:
    """The messages of a mailbox, by the line on which each begins.

    Raises:
        DataError: the file does not begin as a mailbox does.
    """
    if not data.lstrip(b"\r\n").startswith(b"From "):
        hint = "a mailbox begins with a line “From …”; name a single message .eml"
        raise DataError("the file is not a mailbox", place=place, hint=hint)
    threads: dict[str, str] = {}
    for number, message in _messages(data):
        yield _item(_ESCAPED_FROM.sub(rb"\1", message), f"{place}:{number}", threads, encoding)


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Each message without its "From " line, and the number of that line. Source: RFC 4155, appendix A."""
    first, begins, blank = 0, -1, True
    number = 0
    position = 0
    for number, line in enumerate(data.splitlines(keepends=True), start=1):
        if blank and line.startswith(b"From "):
            if begins >= 0:
                yield first, data[begins:position]
            first, begins = number, position + len(line)
        blank = not line.strip()
        position += len(line)
    if begins >= 0:
        yield first, data[begins:]


def _item(data: bytes, origin: str, threads: dict[str, str], encoding: str) -> Record | Drop:
    try:
        mail = email.message_from_bytes(data)
        text, num_attachments = _body(mail, encoding)
        fields = {name: _header(mail, name) for name in ("subject", "from", "to", "date")}
        group = _thread(mail, threads)
    except _BROKEN as error:
        return drop_at(origin, "broken_mail", str(error).split("\n", 1)[0][:200] or type(error).__name__)
    fields["date"] = _date(fields["date"])
    return Record(origin, {**fields, "text": text, "num_attachments": num_attachments}, group)


def _raw(mail: Mail, name: str) -> str:
    """A header as it is written. Bytes that should have been encoded, as older programs leave them, are decoded."""
    raw = next((str(value) for key, value in mail.raw_items() if key.lower() == name), "")
    if len(raw) > _MAX_HEADER:
        raise ValueError(f"a header of more than {_MAX_HEADER:,} characters")
    return raw if raw.isascii() else _decoded(raw.encode("utf-8", "surrogateescape"), "auto")


def _header(mail: Mail, name: str) -> str:
    """A header as text, its encoded words decoded and its folded lines joined."""
    pieces: list[str] = []
    for piece, charset in email.header.decode_header(_raw(mail, name)):
        pieces.append(piece if isinstance(piece, str) else _decoded(piece, charset or "auto"))
    return " ".join("".join(pieces).split())


def _date(written: str) -> str:
    """2026-01-31T09:05:00+08:00 where the date can be understood, else what is written."""
    try:
        return email.utils.parsedate_to_datetime(written).isoformat()
    except (ValueError, TypeError, IndexError, OverflowError):
        return written


def _thread(mail: Mail, threads: dict[str, str]) -> str:
    """16 hex digits that all messages of a thread share: the hash of the first message's id, which may be a name."""
    named = [_ID.findall(_raw(mail, name)) for name in ("references", "in-reply-to", "message-id")]
    earlier, own = [*named[0], *named[1]], named[2]
    if not earlier and not own:
        return ""
    root = next((threads[one] for one in earlier if one in threads), (earlier or own)[0])
    threads.update(dict.fromkeys([*earlier, *own], root))
    return hashlib.sha256(root.encode("utf-8", "replace")).hexdigest()[:16]


def _body(mail: Mail, encoding: str) -> tuple[str, int]:
    """The text of a message, from its plain parts or, where it has none, its pages; and how many attachments it has."""
    plain: list[str] = []
    pages: list[str] = []
    num_attachments = 0
    for count, part in enumerate(mail.walk()):
        if count > _MAX_PARTS:
            raise ValueError(f"more than {_MAX_PARTS} parts")
        if part.is_multipart():
            continue
        kind = part.get_content_type()
        if part.get_content_disposition() == "attachment" or kind not in ("text/plain", "text/html"):
            num_attachments += 1
        else:
            (plain if kind == "text/plain" else pages).append(_part_text(part, encoding))
    texts = plain if any(text.strip() for text in plain) else [title_and_text(page)[1] for page in pages]
    return "\n\n".join(text.strip() for text in texts if text.strip()), num_attachments


def _part_text(part: Mail, encoding: str) -> str:
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    charset = part.get_content_charset() if encoding == "auto" else encoding
    return _decoded(payload, charset or "auto").replace("\r\n", "\n")


def _decoded(data: bytes, charset: str) -> str:
    """Bytes in the encoding that a mail states, else in the one that they seem to be in.

    What fits nowhere is carried as half pairs, so that the message becomes a drop.
    """
    for name in (charset, "auto"):
        try:
            decoded = encodings.decode(data, encoding=encodings.widest(name))
        except DataError:
            continue
        if not decoded.num_invalid_bytes:
            return decoded.text
    return data.decode("utf-8", "surrogateescape")
