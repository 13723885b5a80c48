"""From a checked body to a request for the engine: prompt ids, room for the answer, what ends it.

The prompt is `tokens.render`'s, the very function of training; control tokens in a client's text are text. The
invariant: no text costs more tokenising than about one context's worth, however long it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

from setsail.base.errors import UserError
from setsail.base.recipe import Serve
from setsail.base.tool_calls import calls_in, write_answer, write_tools
from setsail.engine.contract import GenerationRequest
from setsail.serve.errors import ApiError, shown
from setsail.serve.json_schema import grammar_of, grammar_of_any_object
from setsail.serve.models import ServedModel
from setsail.serve.schema import ChatBody, ChatMessage, CompletionBody
from setsail.tokens.render import Rendered, render, render_text

# Shorter texts are simply rendered, and then counted exactly.
_LONG_CHARACTERS = 65_536
_SLICE_CHARACTERS = 16_384
# Cutting a text may split a few tokens at the cut; so many more are forgiven before a text is called too long.
_SLACK_TOKENS = 16


def chat_request(model: ServedModel, body: ChatBody, settings: Serve) -> GenerationRequest:
    """A conversation as the engine wants it. Raises `ApiError` 400 when it does not fit or the template refuses it."""
    rendered = chat_prompt(model, body)
    stop_ids = {rendered.stop_id, *model.tokenizer.eos_ids}
    return replace(_request(model, body, rendered.ids, stop_ids, settings), grammar=_grammar(body))


def chat_prompt(model: ServedModel, body: ChatBody) -> Rendered:
    """A conversation as the model reads it. Raises `ApiError` 400 where it is too long or the template refuses it."""
    messages = _with_tools(body)
    refuse_overlong(model, [message["content"] for message in messages], param="messages")
    return _rendered(lambda: render(model.tokenizer, messages, generation_prompt=True), param="messages")


def text_prompt(model: ServedModel, text: str, *, param: str = "text") -> Rendered:
    """A text to go on with, as the model reads it. Raises `ApiError` 400 where it is too long."""
    refuse_overlong(model, [text], param=param)
    return _rendered(lambda: render_text(model.tokenizer, text, generation_prompt=True), param=param)


def _grammar(body: ChatBody) -> str | None:
    """What the answer must keep to. Raises `ApiError` 400 for a schema that cannot be kept to."""
    if not body.is_json or body.response_format is None:
        return None
    wanted = body.response_format.json_schema
    return grammar_of_any_object() if wanted is None else grammar_of(wanted.schema_)


def _with_tools(body: ChatBody) -> list[dict[str, str]]:
    """The messages as rows hold them: the list of tools behind the system prompt, calls in the text of answers."""
    messages = [
        {"role": message.role, "content": write_answer(message.content, [each.call for each in message.tool_calls])}
        for message in body.messages
    ]
    for number, (before, message) in enumerate(pairwise([None, *messages])):
        answers = before is not None and (before["role"] == "tool" or bool(calls_in(before["content"])))
        if message is not None and message["role"] == "tool" and not answers:
            text = "a tool's message must follow the call that it answers"
            raise ApiError(400, text, code="invalid_value", param=f"messages[{number}]")
    if body.offered_tools:
        listed = write_tools([tool.function.model_dump(exclude_none=True) for tool in body.offered_tools])
        at = 1 if messages[0]["role"] == "system" else 0
        messages.insert(at, {"role": "tools", "content": listed})
    return messages


def completion_request(model: ServedModel, body: CompletionBody, settings: Serve) -> GenerationRequest:
    """A plain prompt as the engine wants it: text as the task "text" trains it, ids as they are.

    Raises `ApiError` 400 when it does not fit or an id does not exist.
    """
    text = body.prompt
    if isinstance(text, str):
        rendered = text_prompt(model, text, param="prompt")
        return _request(model, body, rendered.ids, {rendered.stop_id, *model.tokenizer.eos_ids}, settings)
    num_known = model.tokenizer.num_tokens
    unknown = next((token_id for token_id in text if token_id >= num_known), None)
    if unknown is not None:
        message = f"prompt: there is no token {shown(unknown)}"
        hint = f"token ids run from 0 to {num_known - 1}"
        raise ApiError(400, message, code="invalid_value", param="prompt", hint=hint)
    return _request(model, body, list(text), set(model.tokenizer.eos_ids), settings)


def asked_request(model: ServedModel, text: str, settings: Serve) -> GenerationRequest:
    """A text as `/predict` asks it: what the task has trained. Raises `ApiError` 400 when it does not fit."""
    if model.task == "text":
        return completion_request(model, CompletionBody(model=model.name, prompt=text), settings)
    messages = [ChatMessage(role="system", content=model.system)] if model.system else []
    messages.append(ChatMessage(role="user", content=text))
    return chat_request(model, ChatBody(model=model.name, messages=messages), settings)


def refuse_overlong(model: ServedModel, texts: Sequence[str], *, param: str) -> None:
    """Raises `ApiError` 400 as soon as long texts are surely over the context, without reading on."""
    if sum(map(len, texts)) <= _LONG_CHARACTERS:
        return
    num_tokens = 0
    for text in texts:
        for start in range(0, len(text), _SLICE_CHARACTERS):
            num_tokens += max(0, len(model.tokenizer.encode(text[start : start + _SLICE_CHARACTERS])) - _SLACK_TOKENS)
            if num_tokens > model.context:
                raise _overlong(f"more than {num_tokens}", model.context, param)


def _rendered(render_it: Callable[[], Rendered], *, param: str) -> Rendered:
    try:
        return render_it()
    except UserError as error:
        raise ApiError(400, error.message, code="invalid_value", param=param, hint=error.hint) from None


def _request(
    model: ServedModel, body: ChatBody | CompletionBody, ids: list[int], stop_ids: set[int], settings: Serve
) -> GenerationRequest:
    """A huge `max_tokens` is cut to what fits and to the server's own limit; the answer then ends with "length"."""
    room = model.context - len(ids)
    if room < 1:
        raise _overlong(str(len(ids)), model.context, "messages" if isinstance(body, ChatBody) else "prompt")
    return GenerationRequest(
        prompt_ids=tuple(ids),
        max_tokens=min(room, settings.max_tokens, body.wanted_tokens or settings.max_tokens),
        temperature=body.temperature,
        top_p=body.top_p,
        seed=None if body.seed is None else body.seed % 2**32,
        stop_ids=tuple(sorted(stop_ids)),
        num_logprobs=body.num_logprobs,
    )


def _overlong(num_prompt: str, context: int, param: str) -> ApiError:
    message = f"the prompt has {num_prompt} tokens and the context holds {context}, the answer included"
    return ApiError(400, message, code="context_length_exceeded", param=param, hint="shorten it")
