"""How a remote server is asked: found by asking it, never guessed from its name.

Servers that speak OpenAI's API differ in what they do with a prompt: vLLM, SGLang, llama.cpp and setsail read token
ids; Ollama reads text and puts a template of its own around it, unless it is asked at its own address. Each way is
tried with a short prompt of ours, and the server's count of the tokens that it read must be ours: else it does not read
what was trained, and is not asked that way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from setsail.base.errors import ModelError, SystemRefusal, UserError, did_you_mean
from setsail.engine.contract import GenerationRequest
from setsail.engine.event_stream import BrokenAnswer
from setsail.engine.remote_web import Refusal, Web
from setsail.tokens.render import render, render_text
from setsail.tokens.tokenizer import Tokenizer

COMPLETIONS, GENERATE, MODELS = "/v1/completions", "/api/generate", "/v1/models"
_SEEDS = 2**31  # some servers read a seed as a signed number of 32 bits
_TRIAL_TOKENS = 4
_MOST_STOPS = 4
_MOST_SHOWN = 20
_GRAMMAR = 'root ::= "xyz"'
_REFUSED = (400, 404, 405, 415, 422, 500, 501)  # what says that this way is not one of the server's

Extras = Literal["all", "ids", "none"]


@dataclass(frozen=True)
class Manner:
    """One way to ask: the address, the prompt as ids or text, which fields beyond OpenAI's, and what comes back."""

    path: str
    sends_ids: bool
    extras: Extras
    gives_ids: bool = False
    counts: bool = False
    takes_grammars: bool = False

    @property
    def plain(self) -> bool:
        """Whether its stream is bare JSON lines."""
        return self.path == GENERATE

    @property
    def note(self) -> str:
        """What a person should know of it."""
        if self.sends_ids:
            reads = "it reads our token ids"
        else:
            reads = "it refuses token ids and reads our rendered text" + ("" if self.plain else " as a completion")
            reads += ", as many tokens as ours" if self.counts else "; it does not count the tokens that it reads"
        gives = "gives back its own" if self.gives_ids else "its text is read back into ids by our tokenizer"
        return f"{reads}, and {gives}"


# The first that the server understands is used.
MANNERS = (
    Manner(COMPLETIONS, sends_ids=True, extras="all"),
    Manner(COMPLETIONS, sends_ids=True, extras="ids"),
    Manner(COMPLETIONS, sends_ids=True, extras="none"),
    Manner(GENERATE, sends_ids=False, extras="all"),
    Manner(COMPLETIONS, sends_ids=False, extras="all"),
    Manner(COMPLETIONS, sends_ids=False, extras="none"),
)


@dataclass(frozen=True)
class Asking:
    """What turns a request of the contract into a body for one server."""

    model: str
    manner: Manner
    tokenizer: Tokenizer
    context: int

    def body(self, request: GenerationRequest) -> dict[str, Any]:
        """What is posted. Raises: UserError for a prompt that would be another one as text."""
        if self.manner.plain:
            return self._of_ollama(request)
        prompt = list(request.prompt_ids) if self.manner.sends_ids else self._text(request)
        body: dict[str, Any] = {
            "model": self.model,
            "prompt": prompt,
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "stream": True,
        }
        if request.seed is not None:
            body["seed"] = request.seed % _SEEDS
        if request.num_logprobs:
            body["logprobs"] = request.num_logprobs
        if not self.manner.sends_ids and (stops := self._stops(request)):
            body["stop"] = stops
        return body | self._extras(request)

    def _extras(self, request: GenerationRequest) -> dict[str, Any]:
        ids = {"return_token_ids": True}
        if self.manner.extras != "all":
            return ids if self.manner.extras == "ids" else {}
        # A model's own defaults for sampling must not enter: the request says all.
        more: dict[str, Any] = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0, "repeat_penalty": 1.0}
        more["stop_token_ids"] = list(request.stop_ids)
        if request.num_logprobs:
            more["return_tokens_as_token_ids"] = True
        if not self.manner.sends_ids:
            more["add_special_tokens"] = False
        if request.grammar is not None:  # by the names of llama.cpp, vLLM and SGLang
            grammar = request.grammar
            more |= {"grammar": grammar, "structured_outputs": {"grammar": grammar}, "ebnf": grammar}
        return ids | more

    def _of_ollama(self, request: GenerationRequest) -> dict[str, Any]:
        options: dict[str, Any] = {
            "num_ctx": self.context,  # its default is shorter, and what does not fit is cut in silence
            "num_predict": request.max_tokens,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "top_k": 0,
            "min_p": 0.0,
            "repeat_penalty": 1.0,
            "stop": self._stops(request),
        }
        if request.seed is not None:
            options["seed"] = request.seed % _SEEDS
        return {"model": self.model, "prompt": self._text(request), "raw": True, "stream": True, "options": options}

    def _text(self, request: GenerationRequest) -> str:
        text = self.tokenizer.decode(request.prompt_ids, skip_special=False)
        if self.tokenizer.encode(text) != list(request.prompt_ids):
            raise UserError(
                "this prompt would be another one as text: it holds the name of a special token, or half a character",
                hint="use a server that reads token ids (vLLM, SGLang, llama.cpp)",
            )
        return text

    def _stops(self, request: GenerationRequest) -> list[str]:
        names = (self.tokenizer.token(token_id) for token_id in request.stop_ids)
        return [name for name in names if name][:_MOST_STOPS]


@dataclass
class Trial:
    """What came of a short request."""

    text: str = ""
    gives_ids: bool = False
    num_read: int | None = None
    events: list[dict[str, Any]] = field(default_factory=list)


async def find_manner(web: Web, tokenizer: Tokenizer, *, context: int, grammars: bool) -> tuple[Manner, int]:
    """The first manner that the server understands, and the context that holds for both.

    Raises: ModelError when it reads our prompt otherwise in every way; UserError for an unknown model or a refused key;
    SystemRefusal when it cannot be reached; httpx.HTTPError.
    """
    context = min(context, await _context_there(web) or context)
    prompt = _trial_prompt(tokenizer)
    told: list[str] = []
    for manner in MANNERS:
        asking = Asking(web.model, manner, tokenizer, context)
        way = f"{manner.path} with {'token ids' if manner.sends_ids else 'text'}"
        try:
            trial = await _try(web, asking, GenerationRequest(prompt, _TRIAL_TOKENS))
        except Refusal as refusal:
            if refusal.status not in _REFUSED:
                raise
            told.append(f"{way}: {refusal}")
            continue
        except BrokenAnswer as broken:
            told.append(f"{way}: {web.clean(str(broken))}")
            continue
        if trial.num_read not in (None, len(prompt)):
            told.append(f"{way}: it reads {trial.num_read} tokens where we send {len(prompt)}")
            continue
        found = replace(manner, gives_ids=trial.gives_ids, counts=trial.num_read is not None)
        takes = grammars and manner.extras == "all" and await _takes_grammars(web, replace(asking, manner=found))
        return replace(found, takes_grammars=takes), context
    raise ModelError(
        f"the server cannot be asked for what was trained: {'; '.join(dict.fromkeys(told))}",
        place=web.url,
        hint="it must hold this very model, and read token ids at /v1/completions (vLLM, SGLang, llama.cpp)",
    )


def _trial_prompt(tokenizer: Tokenizer) -> tuple[int, ...]:
    """A short prompt with whatever special tokens the template has: they too must be read as one token each."""
    text = "Say one word."
    if tokenizer.template is None:
        return tuple(render_text(tokenizer, text, generation_prompt=True).ids)
    return tuple(render(tokenizer, [{"role": "user", "content": text}], generation_prompt=True).ids)


async def _context_there(web: Web) -> int | None:
    """The context that the server says its model has; None where it does not say."""
    try:
        answer = await web.look(MODELS)
    except Refusal as refusal:
        if refusal.status in (404, 405, 501):
            return None  # it lists no models, and may serve one all the same
        raise
    except BrokenAnswer:
        return None
    entries = [entry for entry in _list(answer.get("data")) if isinstance(entry, dict)]
    names = [str(entry.get("id")) for entry in entries]
    wanted = next((name for name in (web.model, f"{web.model}:latest") if name in names), None)
    if wanted is None and names:
        hint = did_you_mean(web.model, [web.clean(name)[:100] for name in names[:_MOST_SHOWN]])
        raise UserError(f"the server has no model {web.model}", place=web.url, hint=hint)
    entry: dict[str, Any] = next((entry for entry in entries if entry.get("id") == wanted), {})
    meta = entry.get("meta")
    said = [entry.get("max_model_len"), entry.get("context"), meta.get("n_ctx") if isinstance(meta, dict) else None]
    return next((value for value in said if isinstance(value, int) and value > 1), None)


async def _takes_grammars(web: Web, asking: Asking) -> bool:
    request = GenerationRequest(_trial_prompt(asking.tokenizer), 2 * _TRIAL_TOKENS, grammar=_GRAMMAR)
    try:
        return (await _try(web, asking, request)).text == "xyz"
    except (Refusal, BrokenAnswer):
        return False


async def _try(web: Web, asking: Asking, request: GenerationRequest) -> Trial:
    trial, body = Trial(), asking.body(request)
    if not asking.manner.plain:
        body["stream_options"] = {"include_usage": True}
    async with web.events(asking.manner.path, body, plain=asking.manner.plain) as events:
        async for event in events:
            for choice in choices_of(event):
                text = choice.get("text")
                trial.text += text if isinstance(text, str) else ""
                trial.gives_ids |= isinstance(choice.get("token_ids"), list)
            usage = event.get("usage")
            counted = event.get("prompt_eval_count") or (
                usage.get("prompt_tokens") if isinstance(usage, dict) else None
            )
            trial.num_read = counted if isinstance(counted, int) else trial.num_read
    return trial


def choices_of(event: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The choices of an event of either kind, as those of a completion. Raises: BrokenAnswer for another shape."""
    if "response" in event or "done" in event:  # Ollama's own
        reason = (event.get("done_reason") or "stop") if event.get("done") else None
        yield {"text": event.get("response"), "finish_reason": reason}
        return
    for choice in _list(event.get("choices")):
        if not isinstance(choice, dict) or choice.get("index", 0) != 0:
            raise BrokenAnswer("it sent an answer of another shape than OpenAI's")
        yield choice


def _list(value: object) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise BrokenAnswer("it sent an answer of another shape than OpenAI's")
    return value


def explained(web: Web, error: Exception) -> UserError:
    """Why a server cannot be used, as an error for a person."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, Refusal) and error.status in (401, 403):
        hint = "name the variable that holds its key: key_env in the recipe, or --key-env"
        return UserError(web.explained(error), hint=hint)
    hint = "is it running there, and is the address right?"
    return SystemRefusal(web.explained(error), hint=hint)
