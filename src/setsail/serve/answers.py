"""OpenAI's shapes for answers: whole or in chunks, for chats and for plain completions.

Pure functions of what was generated; nothing here waits or sends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from setsail.engine.contract import Token
from setsail.tokens.tokenizer import Tokenizer

Json = dict[str, Any]


@dataclass(frozen=True)
class Heading:
    """What every chunk and answer to one request repeats."""

    id: str
    created: int
    model: str
    lineage: str
    tokenizer: Tokenizer
    logprobs: bool = False
    num_top_logprobs: int = 0
    include_usage: bool = False
    return_token_ids: bool = False

    def wrap(self, kind: str, choices: list[Json]) -> Json:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.lineage,
            "choices": choices,
        }

    def chunk(self, kind: str, choice: Json) -> Json:
        """A chunk; with `include_usage` each carries a null usage but the last, as OpenAI does it."""
        whole = self.wrap(kind, [{"index": 0, **choice}])
        return {**whole, "usage": None} if self.include_usage else whole

    def ids(self, tokens: Sequence[Token]) -> Json:
        """What a choice adds where token ids were asked for, as vLLM does it."""
        return {"token_ids": [token.token_id for token in tokens]} if self.return_token_ids else {}


@dataclass(frozen=True)
class ChatShape:
    """`chat.completion` and its chunks."""

    heading: Heading

    def first(self) -> Json | None:
        return self._chunk({"role": "assistant", "content": ""}, (), None)

    def delta(self, text: str, tokens: Sequence[Token]) -> Json:
        return self._chunk({"content": text}, tokens, None)

    def calls(self, calls: Sequence[Json]) -> Json:
        return self._chunk({"tool_calls": [{"index": index, **call} for index, call in enumerate(calls)]}, (), None)

    def last(self, reason: str) -> Json:
        return self._chunk({}, (), reason)

    def usage(self, usage: Json) -> Json:
        return {**self.heading.wrap("chat.completion.chunk", []), "usage": usage}

    def whole(self, text: str, tokens: Sequence[Token], reason: str, usage: Json, calls: Sequence[Json] = ()) -> Json:
        message: Json = {"role": "assistant", "content": text, "refusal": None}
        if calls:
            message |= {"content": text or None, "tool_calls": list(calls)}
        choice = {"index": 0, "message": message, "logprobs": self._logprobs(tokens), "finish_reason": reason}
        choice |= self.heading.ids(tokens)
        return {**self.heading.wrap("chat.completion", [choice]), "usage": usage}

    def _chunk(self, delta: Json, tokens: Sequence[Token], reason: str | None) -> Json:
        choice = {"delta": delta, "logprobs": self._logprobs(tokens) if tokens else None, "finish_reason": reason}
        return self.heading.chunk("chat.completion.chunk", choice | self.heading.ids(tokens))

    def _logprobs(self, tokens: Sequence[Token]) -> Json | None:
        if not self.heading.logprobs:
            return None
        return {"content": [self._token_logprobs(token) for token in tokens], "refusal": None}

    def _token_logprobs(self, token: Token) -> Json:
        top = token.top_logprobs[: self.heading.num_top_logprobs]
        own = self._logprob(token.token_id, token.logprob)
        return {**own, "top_logprobs": [self._logprob(token_id, logprob) for token_id, logprob in top]}

    def _logprob(self, token_id: int, logprob: float | None) -> Json:
        text = token_text(self.heading.tokenizer, token_id)
        return {"token": text, "logprob": logprob, "bytes": token_bytes(self.heading.tokenizer, token_id)}


@dataclass(frozen=True)
class TextShape:
    """`text_completion`, whole and in chunks (which have the same name)."""

    heading: Heading

    def first(self) -> Json | None:
        return None

    def delta(self, text: str, tokens: Sequence[Token]) -> Json:
        return self.heading.chunk("text_completion", self._choice(text, tokens, None))

    def calls(self, calls: Sequence[Json]) -> Json:
        raise AssertionError("a plain completion offers no tools")

    def last(self, reason: str) -> Json:
        return self.heading.chunk("text_completion", self._choice("", (), reason))

    def usage(self, usage: Json) -> Json:
        return {**self.heading.wrap("text_completion", []), "usage": usage}

    def whole(self, text: str, tokens: Sequence[Token], reason: str, usage: Json, calls: Sequence[Json] = ()) -> Json:
        assert not calls, "a plain completion offers no tools"
        choice = {"index": 0, **self._choice(text, tokens, reason)}
        return {**self.heading.wrap("text_completion", [choice]), "usage": usage}

    def _choice(self, text: str, tokens: Sequence[Token], reason: str | None) -> Json:
        return {"text": text, "logprobs": self._logprobs(tokens), "finish_reason": reason, **self.heading.ids(tokens)}

    def _logprobs(self, tokens: Sequence[Token]) -> Json | None:
        if not self.heading.logprobs:
            return None
        texts = [token_text(self.heading.tokenizer, token.token_id) for token in tokens]
        return {
            "tokens": texts,
            "token_logprobs": [token.logprob for token in tokens],
            "top_logprobs": [self._top(token) for token in tokens],
        }

    def _top(self, token: Token) -> Json:
        top = token.top_logprobs[: self.heading.num_top_logprobs]
        return {token_text(self.heading.tokenizer, token_id): logprob for token_id, logprob in top}


def token_text(tokenizer: Tokenizer, token_id: int) -> str:
    """One token as text, special tokens included."""
    return tokenizer.decode([token_id], skip_special=False)


def token_bytes(tokenizer: Tokenizer, token_id: int) -> list[int] | None:
    """One token's bytes, from which clients join characters that several tokens share; None where it has none."""
    if tokenizer.is_byte_level:
        return list(tokenizer.token_bytes(token_id, skip_special=False))
    text = token_text(tokenizer, token_id)
    return None if "\ufffd" in text else list(text.encode())


def usage(num_prompt: int, num_tokens: int, num_cached: int | None = None) -> Json:
    """OpenAI's token counts."""
    counts: Json = {
        "prompt_tokens": num_prompt,
        "completion_tokens": num_tokens,
        "total_tokens": num_prompt + num_tokens,
    }
    return counts if num_cached is None else {**counts, "prompt_tokens_details": {"cached_tokens": num_cached}}
