"""From token ids to text while they arrive. Invariant: what has been given out is never taken back.

Nothing is given out that may still change: half a UTF-8 character, or the beginning of a stop string.
"""

from __future__ import annotations

import codecs
import re

from setsail.tokens.tokenizer import Tokenizer

_BYTE_TOKEN = re.compile(r"<0x[0-9A-Fa-f]{2}>\Z")


class Detokenizer:
    """Decodes one answer token by token and ends it at the first stop string, which is not part of the text.

    Without stop strings, everything that `push` and `finish` gave, joined, is `tokenizer.decode` of all the ids.
    """

    def __init__(self, tokenizer: Tokenizer, stop: tuple[str, ...] = ()) -> None:
        assert all(stop), "an empty stop string would stop everything"
        self.stopped = False
        self._stop = stop
        self._held = ""
        self._decoder = _ByteDecoder(tokenizer) if tokenizer.is_byte_level else _WholeDecoder(tokenizer)

    def push(self, token_id: int) -> str:
        """The text that is certain after this token; often empty."""
        if self.stopped:
            return ""
        return self._release(self._decoder.push(token_id), last=False)

    def finish(self) -> str:
        """The rest of the text, after the last token."""
        if self.stopped:
            return ""
        return self._release(self._decoder.finish(), last=True)

    def _release(self, text: str, *, last: bool) -> str:
        self._held += text
        found = [(at + len(stop), at) for stop in self._stop if (at := self._held.find(stop)) >= 0]
        if found:  # the one that is complete first ends the text, however the text was divided into tokens
            self.stopped = True
            end = min(found)[1]
        else:
            end = len(self._held) - (0 if last else self._num_doubtful())
        out, self._held = self._held[:end], self._held[end:]
        return out

    def _num_doubtful(self) -> int:
        """How many characters at the end may be the beginning of a stop string."""
        longest = max((len(stop) for stop in self._stop), default=1) - 1
        for length in range(min(longest, len(self._held)), 0, -1):
            if any(stop.startswith(self._held[-length:]) for stop in self._stop):
                return length
        return 0


class _ByteDecoder:
    """Byte-level tokenizers: each token is bytes, and the text is their UTF-8 with errors replaced."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token_id: int) -> str:
        return self._utf8.decode(self._tokenizer.token_bytes(token_id))

    def finish(self) -> str:
        return self._utf8.decode(b"", final=True)


class _WholeDecoder:
    """Other tokenizers: decode everything again each time and give what is new (quadratic, but exact).

    A run of byte tokens (`<0xE4>`) is held until it ends, because one bad byte changes how the whole run is written.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._num_given = 0

    def push(self, token_id: int) -> str:
        self._ids.append(token_id)
        token = self._tokenizer.token(token_id)
        # A token that is left out of the text (special, unknown) does not end a run of bytes.
        if token is None or token in self._tokenizer.special_tokens or _BYTE_TOKEN.match(token):
            return ""
        return self.finish()

    def finish(self) -> str:
        text = self._tokenizer.decode(self._ids)
        out, self._num_given = text[self._num_given :], max(self._num_given, len(text))
        return out
