"""One request through llama.cpp's server, token by token and complete.

The server streams text, and says nothing of a token after which the text ends within a character: of the three tokens
of one Chinese character only the last one arrives. Here the lost ones are found again, from the character's own
tokenization when that fits, else by asking for them once more. The invariant: the ids that are handed on, appended to
the prompt, are what the model has seen. A grammar cannot be taken up in the middle of an answer, and an answer that is
drawn once more beside other requests need not be the same: there the stream goes on, and the lost tokens are those by
which the model spells the text that arrived, as many and with the same last one (where several spellings fit, one of
them: the text is exact). A part of a character at the very end is left out. llama.cpp's grammars let some bytes
through that are no text (a character of two bytes written with three): these end the answer as an error. The server
also ends at the file's end-of-generation tokens, whatever `stop_ids` says.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from setsail.engine.contract import Finished, GenerationRequest, Token
from setsail.engine.llamacpp_server import LlamaServer

_SEEDS = 2**32 - 1  # the server takes this very number for "any"
_CERTAIN = 1e9
_DAMAGED = "\ufffd"  # what the server writes for bytes that are no text
_NO_TEXT = "the model wrote bytes that are no text, which llama.cpp let through the grammar"
_NOT_SPELLED = "llama.cpp does not say by which tokens it wrote a part of the answer"
_MOST_SPELLINGS = 16  # how often a text is spelled to find by which tokens it was


@dataclass
class Generation:
    """A request under way; `run` blocks until it has ended, and calls `emit` with each token and the end."""

    server: LlamaServer
    request: GenerationRequest
    num_tokens: int
    emit: Callable[[Token | Finished], None]
    cancelled: threading.Event = field(default_factory=threading.Event)
    _seed: int = 0
    _ids: list[int] = field(default_factory=list)
    _held: Token | None = None
    _end: Finished | None = None
    _num_counted: int = 0
    _num_lost: int = 0
    _num_cached: int | None = None  # of the prompt, when it was read first

    def run(self) -> None:
        self._seed = secrets.randbits(32) if self.request.seed is None else self.request.seed
        while self._end is None:
            self._num_counted = self._num_lost = 0
            self.server.complete(self._body(self._num_left, stream=True, **self._grammar), self._on_chunk)
            if self._num_lost and not self.request.grammar:
                self._ask_again(self._num_lost)
        if self._end.reason != "stop":
            self._release()
        self.emit(replace(self._end, num_cached=self._num_cached))

    @property
    def _grammar(self) -> dict[str, str]:
        return {"grammar": self.request.grammar} if self.request.grammar else {}

    @property
    def _num_left(self) -> int:
        return self.request.max_tokens - len(self._ids)

    @property
    def _adapters(self) -> dict[str, Any]:
        """How much each adapter counts: all or nothing."""
        numbers = range(self.server.num_adapters)
        chosen = [{"id": number, "scale": float(number == self.request.adapter)} for number in numbers]
        return {"lora": chosen} if chosen else {}

    def _body(self, num_tokens: int, **more: Any) -> dict[str, Any]:
        request = self.request
        return {
            "prompt": [*request.prompt_ids, *self._ids],
            "n_predict": num_tokens,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "top_k": 0,
            "min_p": 0.0,
            "samplers": ["temperature", "top_p"],
            # A continued generation must not draw the same numbers again.
            "seed": (self._seed + len(self._ids)) % _SEEDS,
            # At least one, since the id of a token only comes with its probability.
            "n_probs": max(request.num_logprobs, 1),
            "post_sampling_probs": False,
            # The rest of a cached prompt is computed in another batch, which moves log-probabilities in the third
            # decimal: what is measured must not depend on what was asked before.
            "cache_prompt": request.num_logprobs == 0,
            "timings_per_token": True,
            "return_progress": True,
            **self._adapters,
            **more,
        }

    def _on_chunk(self, chunk: dict[str, Any]) -> bool:
        if self.cancelled.is_set():
            self._end = Finished("cancelled")
        elif "error" in chunk:
            self._end = Finished("error", chunk["error"]["message"])
        elif chunk.get("choices"):
            timings = chunk.get("timings", {})
            if self._num_cached is None:
                self._num_cached = timings.get("cache_n")
            self._on_choice(chunk["choices"][0], timings.get("predicted_n", 0))
        return self._end is not None or self._num_lost > 0

    def _on_choice(self, choice: dict[str, Any], num_predicted: int) -> None:
        for content in (choice.get("logprobs") or {}).get("content", ()):
            num_lost = num_predicted - self._num_counted - 1
            found = self._find_lost(choice["text"], num_lost, content["id"])
            if found is None and self.request.grammar:
                self._end = self._why_lost(choice["text"])
                return
            if found is None:
                self._num_lost = num_lost + 1
                return
            for token_id in found:
                self._take(self._look_up(token_id))
            # Text that is empty may be an end-of-generation token's; the next chunk tells.
            self._take(_read_token(content, self.request.num_logprobs), hold=not content["bytes"])
            self._num_counted = num_predicted
        if self._end is None and choice.get("finish_reason"):
            self._num_lost = num_predicted - self._num_counted
            # Under a grammar what is lost at the end is a part of a character, which is no text.
            if not self._num_lost or self.request.grammar:
                self._end = Finished("stop" if choice["finish_reason"] == "stop" else "length")

    def _find_lost(self, text: str, num_lost: int, last_id: int) -> list[int] | None:
        if num_lost == 0:
            return []
        ids = self.server.tokenize_plain(text)
        if len(ids) == num_lost + 1 and ids[-1] == last_id:
            return ids[:-1]
        return self._spell(text, num_lost, last_id) if self.request.grammar and _DAMAGED not in text else None

    def _why_lost(self, text: str) -> Finished:
        if self.cancelled.is_set():
            return Finished("cancelled")
        return Finished("error", _NO_TEXT if _DAMAGED in text else _NOT_SPELLED)

    def _spell(self, text: str, num_lost: int, last_id: int) -> list[int] | None:
        """Tokens before the last one by which the model writes a text where it may write nothing else."""
        characters = "".join(f"\\U{ord(character):08X}" for character in text)
        options = {"stream": False, "verbose": True, "return_tokens": True, "grammar": f'root ::= "{characters}"'}
        for seed in range(_MOST_SPELLINGS):
            if self.cancelled.is_set():
                break
            body = self._body(num_lost + 1, **options, n_probs=0, temperature=1.0, top_p=1.0, seed=seed)
            answer = self._chunks(body)[-1]
            ids = [] if "error" in answer else answer["__verbose"]["tokens"]
            if len(ids) == num_lost + 1 and ids[-1] == last_id:
                return ids[:-1]
        return None

    def _ask_again(self, num_tokens: int) -> None:
        body = self._body(num_tokens, stream=False, verbose=True, return_tokens=True)
        answer = self._chunks(body)[-1]
        if self._end is not None and self._end.reason != "length":
            return
        self._end = None
        if "error" in answer:
            self._end = Finished("error", answer["error"]["message"])
            return
        at_end = answer["choices"][0]["finish_reason"] == "stop"
        token_ids = answer["__verbose"]["tokens"]
        for token_id in token_ids[:-1] if at_end else token_ids:
            self._take(self._look_up(token_id))
        if self._end is None and at_end:
            self._end = Finished("stop")

    def _chunks(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """All that is said to a question beside the stream."""
        chunks: list[dict[str, Any]] = []
        self.server.complete(body, lambda chunk: chunks.append(chunk) or False)
        return chunks

    def _take(self, token: Token, *, hold: bool = False) -> None:
        self._release()
        if self._end is not None:
            return
        if token.token_id in self.request.stop_ids:
            self._end = Finished("stop")
            return
        self._held = token
        self._ids.append(token.token_id)
        if not hold:
            self._release()
        if self._num_left == 0 and not hold:
            self._end = Finished("length")

    def _release(self) -> None:
        if self._held is not None:
            self.emit(self._held)
            self._held = None

    def _look_up(self, token_id: int) -> Token:
        """The token with what the model thought of it, which the server did not say."""
        if not self.request.num_logprobs:
            return Token(token_id)
        num_probs = self.request.num_logprobs if self.request.temperature == 0.0 else self.num_tokens
        # Another token is forced, one that is sure to be reported; the probabilities are those before that.
        forced = [[self.server.tokenize_plain("a")[-1], _CERTAIN]]
        body = self._body(1, stream=True, n_probs=num_probs, logit_bias=forced)
        contents = [each["choices"][0]["logprobs"]["content"] for each in self._chunks(body) if _has_logprobs(each)]
        if not contents:
            return Token(token_id)
        pairs = _read_token(contents[0][0], num_probs).top_logprobs
        return Token(token_id, dict(pairs).get(token_id), pairs[: self.request.num_logprobs])


def _has_logprobs(chunk: dict[str, Any]) -> bool:
    return bool(chunk.get("choices") and chunk["choices"][0].get("logprobs"))


def _read_token(content: dict[str, Any], num_logprobs: int) -> Token:
    if not num_logprobs:
        return Token(content["id"])
    pairs = tuple((top["id"], top["logprob"]) for top in content["top_logprobs"])
    return Token(content["id"], content["logprob"], pairs[:num_logprobs])
