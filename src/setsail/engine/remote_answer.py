"""One answer of a remote server, from its events to tokens of the contract.

Where the server gives token ids they are handed on as they are. Where it gives text alone, each piece is encoded by our
tokenizer: the text is exact, and the ids are a reading of it that the model may have written in other tokens. The
invariant: an answer that breaks off is never taken for a whole one.
"""

from __future__ import annotations

import math
from typing import Any, TypeGuard

from setsail.engine.contract import Finished, GenerationRequest, Token
from setsail.engine.event_stream import BrokenAnswer
from setsail.engine.remote_manner import Manner, choices_of
from setsail.tokens.tokenizer import Tokenizer

_TOKEN_ID = "token_id:"
_SLACK = 16
_PADDING = 1024  # ids that a model has and its tokenizer does not: embeddings are rounded up

Chance = tuple[float | None, tuple[tuple[int, float], ...]]


class AnswerReader:
    """Takes events; gives tokens, and `end` once the answer has one."""

    def __init__(self, request: GenerationRequest, manner: Manner, tokenizer: Tokenizer) -> None:
        self.end: Finished | None = None
        self.end_was_told = False  # else it is ours, and the server would go on
        self._request = request
        self._manner = manner
        self._tokenizer = tokenizer
        self._special = frozenset(tokenizer.special_tokens.values())
        self._num_tokens = 0
        # Of text alone we cannot count the server's tokens: ours may be some more.
        self._most = request.max_tokens if manner.gives_ids else 2 * request.max_tokens + _SLACK

    def take(self, event: dict[str, Any]) -> list[Token]:
        """The tokens of one event. Raises BrokenAnswer."""
        tokens: list[Token] = []
        for choice in choices_of(event):
            reason = choice.get("finish_reason")
            for token in self._tokens(choice, is_last=reason == "stop"):
                if self.end is None:
                    self._count(token, tokens)
            if self.end is None and reason is not None:
                self.end = _end(reason)
            self.end_was_told |= reason is not None
        return tokens

    def _count(self, token: Token, tokens: list[Token]) -> None:
        if token.token_id in self._request.stop_ids:
            self.end = Finished("stop")
            return
        tokens.append(token)
        self._num_tokens += 1
        if self._num_tokens >= self._most:
            self.end = Finished("length")

    def _tokens(self, choice: dict[str, Any], *, is_last: bool) -> list[Token]:
        text = choice.get("text")
        if text is None:
            text = ""
        if not isinstance(text, str):
            raise BrokenAnswer("it sent an answer whose text is no text")
        chances = self._chances(choice.get("logprobs")) if self._request.num_logprobs else []
        ids = self._ids_given(choice, text) if self._manner.gives_ids else self._ids_read(text, choice)
        if is_last and self._manner.gives_ids and ids and ids[-1] in self._special:
            ids, chances = ids[:-1], chances[: len(ids) - 1]  # what ended the answer is not part of it
        if len(chances) != len(ids):
            return [Token(token_id) for token_id in ids]
        return [Token(token_id, *chance) for token_id, chance in zip(ids, chances, strict=True)]

    def _ids_given(self, choice: dict[str, Any], text: str) -> list[int]:
        ids = choice.get("token_ids")
        if ids is None and not text:
            return []
        if not isinstance(ids, list) or not all(self._is_known(token_id) for token_id in ids):
            raise BrokenAnswer("it sent an answer whose token ids are not this model's")
        return ids

    def _ids_read(self, text: str, choice: dict[str, Any]) -> list[int]:
        """The ids of a piece of text; llama.cpp's own where it tells them beside log-probabilities, and they fit."""
        if not text:
            return []
        logprobs = choice.get("logprobs")
        content = logprobs.get("content") if isinstance(logprobs, dict) else None
        told = [each.get("id") if isinstance(each, dict) else None for each in content or ()]
        known = [token_id for token_id in told if self._is_known(token_id)]
        if known and len(known) == len(told) and self._tokenizer.decode(known, skip_special=False) == text:
            return known
        return self._tokenizer.encode(text, continued=True)

    def _is_known(self, token_id: object) -> TypeGuard[int]:
        return type(token_id) is int and 0 <= token_id < self._tokenizer.num_ids + _PADDING

    def _chances(self, logprobs: object) -> list[Chance]:
        """What the model thought of each token, in OpenAI's shape or llama.cpp's; nothing where it does not say."""
        if not isinstance(logprobs, dict):
            return []
        try:
            if "content" in logprobs:
                entries = logprobs["content"] or ()
                tops = [[(each.get("id"), each.get("logprob")) for each in entry["top_logprobs"]] for entry in entries]
                return [(_finite(e.get("logprob")), self._top(t)) for e, t in zip(entries, tops, strict=True)]
            own = logprobs.get("token_logprobs") or ()
            tops = [list((top or {}).items()) for top in logprobs.get("top_logprobs") or [{}] * len(own)]
            return [(_finite(value), self._top(top)) for value, top in zip(own, tops, strict=True)]
        except (TypeError, KeyError, AttributeError, ValueError):
            raise BrokenAnswer("it sent log-probabilities of another shape than OpenAI's") from None

    def _top(self, pairs: list[tuple[Any, Any]]) -> tuple[tuple[int, float], ...]:
        found: dict[int, float] = {}
        for token, value in pairs:
            token_id, logprob = self._id_of(token), _finite(value)
            if token_id is not None and logprob is not None:
                found.setdefault(token_id, logprob)
        ranked = sorted(found.items(), key=lambda pair: -pair[1])
        return tuple(ranked[: self._request.num_logprobs])

    def _id_of(self, token: object) -> int | None:
        """A token by its id or its text; None where several tokens, or none, have that text."""
        if isinstance(token, str) and token.startswith(_TOKEN_ID):
            number = token.removeprefix(_TOKEN_ID)
            token = int(number) if number.isascii() and number.isdecimal() and len(number) < 10 else None
        if isinstance(token, str):
            ids = self._tokenizer.encode(token, continued=True)
            token = ids[0] if len(ids) == 1 else None
        return token if isinstance(token, int) and self._is_known(token) else None


def _finite(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _end(reason: object) -> Finished:
    if reason in ("stop", "eos", "length", "max_tokens"):
        return Finished("length" if reason in ("length", "max_tokens") else "stop")
    words = reason[:40] if isinstance(reason, str) else type(reason).__name__
    raise BrokenAnswer(f"it ended the answer for another reason: {words!r}")
