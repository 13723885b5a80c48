"""Ids of answers that tell, without a list of them, whose key an answer was given under and how long ago.

`chatcmpl-` and 48 hex digits: time, number of lines, chance, and a tag over all of it and the name of the key, made
with a key that is derived from the log's. So a client can rate answers of its own alone, also after a restart and at
another process that writes into the same folder. Of an id that is not its own it learns nothing else.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import struct
import time
from dataclasses import dataclass, field

from setsail.serve.errors import ApiError, shown
from setsail.serve.feedback.key import AnswersKey

LINES = "predict"  # the prefix of ids whose answers are lines, each rated by itself
_BODY = struct.Struct(">IH8s")
_TAG_BYTES = 10
_DAY_SECONDS = 86_400
_ID = re.compile(rf"([a-z]+)-([0-9a-f]{{{2 * (_BODY.size + _TAG_BYTES)}}})(?:-(\d{{1,5}}))?")


@dataclass(frozen=True)
class AnswerIds:
    """Makes ids, and knows its own."""

    secret: bytes = field(repr=False)
    days: int

    @classmethod
    def under(cls, key: AnswersKey, *, days: int) -> AnswerIds:
        return cls(key.derived("ids of answers"), days)

    def new(self, prefix: str, key_name: str, *, num_lines: int = 0) -> str:
        """An id for an answer that a key is given; `num_lines` where it has lines."""
        body = _BODY.pack(int(time.time()), num_lines, secrets.token_bytes(8))
        return f"{prefix}-{(body + self._tag(prefix, body, key_name)).hex()}"

    def check(self, answer_id: str, key_name: str) -> None:
        """Raises `ApiError` 404 for an id that this key was not given, of a line that is not there, or too old."""
        found = _ID.fullmatch(answer_id)
        raw = bytes.fromhex(found[2]) if found else b""
        body, tag = raw[: _BODY.size], raw[_BODY.size :]
        if not found or not hmac.compare_digest(tag, self._tag(found[1], body, key_name)):
            told = f"there is no answer {shown(answer_id)} that this key was given"
            raise ApiError(404, told, code="unknown_answer", param="id", hint="send the id of the answer")
        seconds, num_lines, _ = _BODY.unpack(body)
        if (found[3] is None) != (num_lines == 0) or (found[3] is not None and int(found[3]) >= num_lines):
            lines = f"its lines are {found[1]}-…-0 to -{num_lines - 1}" if num_lines else "it has no lines"
            told = f"{shown(answer_id)} names no line of the answer"
            raise ApiError(404, told, code="unknown_answer", param="id", hint=lines)
        if time.time() - seconds > (self.days + 1) * _DAY_SECONDS:
            told = f"the answer is older than {self.days} days, and is not kept any more"
            raise ApiError(404, told, code="answer_expired", param="id")

    def _tag(self, prefix: str, body: bytes, key_name: str) -> bytes:
        told = b"\0".join((prefix.encode(), key_name.encode(), body))
        return hmac.digest(self.secret, told, hashlib.sha256)[:_TAG_BYTES]
