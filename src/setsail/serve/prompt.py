"""From a checked body to a request for the engine: prompt ids, room for the answer, what ends it.

The prompt is `tokens.render`'s, the very function of training. The invariant: no text costs more tokenising than about
one context's worth, however long it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from setsail.base.errors import UserError
from setsail.base.recipe import Serve
from setsail.engine.contract import GenerationRequest
from setsail.serve.errors import ApiError
from setsail.serve.models import ServedModel
from setsail.serve.schema import ChatBody, CompletionBody, Sampling
from setsail.tokens.render import render

_SLICE_CHARACTERS = 16_384
# Cutting a text may split a few tokens at the cut; so many more are forgiven before a text is called too long.
_SLACK_TOKENS = 16


@dataclass(frozen=True)
class Prompt:
    """Ids ready for generation, and the ids that end the answer."""

    ids: tuple[int, ...]
    stop_ids: tuple[int, ...]


def chat_request(model: ServedModel, body: ChatBody, settings: Serve) -> GenerationRequest:
    """A conversation as the engine wants it. Raises `ApiError` 400 when it does not fit or the template refuses it."""
    refuse_overlong(model, (message.content for message in body.messages), param="messages")
    try:
        messages = [{"role": message.role, "content": message.content} for message in body.messages]
        rendered = render(model.tokenizer, messages, generation_prompt=True)
    except UserError as error:
        raise ApiError(400, error.message, code="invalid_value", param="messages", hint=error.hint) from None
    stop_ids = {rendered.stop_id, *model.tokenizer.eos_ids}
    prompt = Prompt(tuple(rendered.ids), tuple(sorted(stop_ids)))
    return _request(model, body, prompt, body.wanted_tokens, body.num_logprobs, settings)


def completion_request(model: ServedModel, body: CompletionBody, settings: Serve) -> GenerationRequest:
    """A plain prompt as the engine wants it. Raises `ApiError` 400 when it does not fit."""
    if isinstance(body.prompt, str):
        refuse_overlong(model, (body.prompt,), param="prompt")
        ids = tuple(model.tokenizer.encode(body.prompt))
    else:
        ids = body.prompt
        unknown = next((item for item in ids if item >= model.tokenizer.num_tokens), None)
        if unknown is not None:
            hint = f"token ids run from 0 to {model.tokenizer.num_tokens - 1}"
            raise ApiError(400, f"there is no token {unknown}"[:100], code="invalid_value", param="prompt", hint=hint)
    prompt = Prompt(ids, tuple(sorted(model.tokenizer.eos_ids)))
    return _request(model, body, prompt, body.wanted_tokens, body.num_logprobs, settings)


def refuse_overlong(model: ServedModel, texts: Iterable[str], *, param: str) -> None:
    """Raises `ApiError` 400 as soon as the texts are surely longer than the context, without reading on."""
    num_tokens = 0
    for text in texts:
        for start in range(0, len(text), _SLICE_CHARACTERS):
            num_tokens += max(0, len(model.tokenizer.encode(text[start : start + _SLICE_CHARACTERS])) - _SLACK_TOKENS)
            if num_tokens > model.context:
                raise _overlong(f"more than {num_tokens}", model.context, param)


def _request(
    model: ServedModel, body: Sampling, prompt: Prompt, wanted: int | None, num_logprobs: int, settings: Serve
) -> GenerationRequest:
    room = model.context - len(prompt.ids)
    if room < 1:
        raise _overlong(str(len(prompt.ids)), model.context, "messages" if isinstance(body, ChatBody) else "prompt")
    return GenerationRequest(
        prompt_ids=prompt.ids,
        max_tokens=min(room, settings.max_tokens, wanted or settings.max_tokens),
        temperature=body.temperature,
        top_p=body.top_p,
        seed=None if body.seed is None else body.seed % 2**32,
        stop_ids=prompt.stop_ids,
        num_logprobs=num_logprobs,
    )


def _overlong(num_prompt: str, context: int, param: str) -> ApiError:
    message = f"the prompt has {num_prompt} tokens and the context holds {context}, the answer included"
    return ApiError(400, message, code="context_length_exceeded", param=param, hint="shorten the conversation")
