"""What any engine promises: a request in token ids, a stream of tokens and one end.

Only nouns live here: no torch, no processes, no text. The invariant: for every submitted request an engine emits any
number of `Token` events and then exactly one `Finished`, whatever happens. The token that stops a generation is not
emitted as a `Token`; `Finished("stop")` says that it came.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from setsail.base.errors import UserError
from setsail.base.recipe_data import Server

Reason = Literal["stop", "length", "cancelled", "error"]


@dataclass(frozen=True)
class GenerationRequest:
    """One prompt, already rendered to ids, and how to go on from it.

    `temperature` 0 is greedy. The same `seed` gives the same tokens on one engine at one concurrency; None draws a new
    one. `num_logprobs` asks for that many of the likeliest tokens beside each chosen one (0: none at all). With a
    `grammar` (GBNF, rule `root`) the answer is a text of it, or the beginning of one where `max_tokens` cut it.
    `adapter` is one of those that the engine was opened with, by its number; None is the model as it is.

    Raises: UserError when a value is out of its range.
    """

    prompt_ids: tuple[int, ...]
    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop_ids: tuple[int, ...] = ()
    num_logprobs: int = 0
    grammar: str | None = None
    adapter: int | None = None

    def __post_init__(self) -> None:
        if not self.prompt_ids:
            raise UserError("the prompt is empty", hint="send at least one token")
        if self.max_tokens < 1:
            raise UserError(f"max_tokens is {self.max_tokens}", hint="ask for at least 1 token")
        if not (math.isfinite(self.temperature) and 0.0 <= self.temperature <= 100.0):
            raise UserError(f"temperature is {self.temperature}", hint="use a value from 0 (greedy) to 100")
        if not 0.0 < self.top_p <= 1.0:
            raise UserError(f"top_p is {self.top_p}", hint="use a value above 0, at most 1")
        if self.seed is not None and not 0 <= self.seed < 2**32:
            raise UserError(f"seed is {self.seed}", hint="use a whole number from 0 to 4294967295")
        if self.num_logprobs < 0:
            raise UserError(f"num_logprobs is {self.num_logprobs}", hint="use 0 for none")


@dataclass(frozen=True)
class Special:
    """What only some engines take when they are opened.

    `cache` is how fine they keep what they have read, one of `cache.BYTES` or "auto"; `adapters` are files of which a
    request chooses one, and one that names none gets `adapter`; `server` is whom a far engine asks.
    """

    cache: str = "auto"
    adapters: tuple[Path, ...] = ()
    server: Server | None = None
    adapter: int | None = None


PLAIN = Special()


@dataclass(frozen=True)
class Token:
    """One generated token; the log-probabilities are those of the model itself, before temperature and top_p."""

    token_id: int
    logprob: float | None = None
    top_logprobs: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Finished:
    """The end of one request; `message` says what went wrong when `reason` is "error".

    `num_cached` is how many tokens of the prompt the engine had read before and kept; None where it does not say.
    """

    reason: Reason
    message: str = ""
    num_cached: int | None = field(default=None, compare=False)


Event = tuple[int, Token | Finished]


class Engine(Protocol):
    """A model that generates. One thread at a time calls it; ids are the caller's and never used twice.

    `poll` moves the work on and returns what happened, at latest after `timeout_seconds` or one step of the model.
    """

    name: str
    context: int
    takes_grammars: bool

    def submit(self, request_id: int, request: GenerationRequest) -> None:
        """Queue a request. Raises: UserError when the prompt does not fit into the context, or no grammar is taken."""
        ...

    def cancel(self, request_id: int) -> None:
        """Stop a request; its `Finished("cancelled")` comes with a later poll. An unknown id is ignored."""
        ...

    def poll(self, timeout_seconds: float) -> list[Event]: ...

    def close(self) -> None: ...


@runtime_checkable
class TextEngine(Protocol):
    """An engine that also shows how the model file's own tokenizer and chat template treat text."""

    def tokenize(self, text: str) -> list[int]: ...

    def apply_template(self, messages: list[dict[str, str]]) -> str: ...


def refuse_grammar(engine: str, request: GenerationRequest) -> None:
    """Raises: UserError for a request with a grammar, at an engine that takes none."""
    if request.grammar is not None:
        raise UserError(f"the {engine} engine takes no grammar here", hint='use the "llamacpp" engine')


def fit_to_context(request: GenerationRequest, context: int, num_tokens: int | None = None) -> GenerationRequest:
    """The request with `max_tokens` cut to the room that is left after the prompt.

    Raises: UserError when the prompt leaves no room for one token, or holds an id that a vocabulary of `num_tokens`
    does not have (a model would read past the end of its embedding).
    """
    num_prompt = len(request.prompt_ids)
    if num_prompt >= context:
        raise UserError(
            f"the prompt has {num_prompt} tokens and the context holds {context}, the answer included",
            hint="shorten the prompt, or serve with a larger context",
        )
    strangers = [i for i in request.prompt_ids if i < 0 or (num_tokens is not None and i >= num_tokens)]
    if strangers:
        raise UserError(
            f"the prompt holds the token id {strangers[0]} and the model knows {num_tokens} tokens",
            hint="encode the prompt with the tokenizer of this model",
        )
    return replace(request, max_tokens=min(request.max_tokens, context - num_prompt))
