"""What a chat template does with a conversation, found out by rendering a probe.

How it closes an answer, whether it keeps a system prompt, and whether a tokenizer has the tokens that a chosen template
needs. Nothing here looks at a model's name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from setsail.base.errors import ModelError
from setsail.base.tool_calls import CLOSE, Call, calls_in, read_tools, write_answer, write_tools
from setsail.tokens.template import TemplateRefusal, packaged, run_template
from setsail.tokens.tokenizer import Tokenizer
from setsail.tokens.tools import as_data

_QUESTION = {"role": "user", "content": "Zq4question"}
_ANSWER = {"role": "assistant", "content": "Zq7answer"}
_SYSTEM = {"role": "system", "content": "Zq9system"}
_WITH_TOOLS = (
    {"role": "tools", "content": write_tools([{"name": "zq1tool", "parameters": {"type": "object"}}])},
    _QUESTION,
    {"role": "assistant", "content": write_answer("", [Call("zq1tool", {"zq2": ["zq3", 4]})])},
    {"role": "tool", "content": "Zq5result"},
    _ANSWER,
)


# What control tokens look like in the templates of the field; a text such as <b> is not meant.
_LOOKS_LIKE_CONTROL = re.compile(r"<\|[^|<>\s]+\|>|<(?:start|end)_of_turn>|\[/?INST\]|</?s>")


@dataclass(frozen=True)
class Shape:
    """How answers end under one template: `closing` is the text from the end of an answer through its stop token."""

    stop_id: int
    stop_text: str
    closing: str
    appends_eos: bool  # the template never closes an answer, so that we put eos behind it
    control_tokens: tuple[str, ...]  # added tokens that no content may bring in
    system: str  # "kept", "lost" or "refused"
    knows_tools: bool = False  # it lists tools and writes calls in the form of `base/tool_calls.py`


@lru_cache(maxsize=8)
def shape_of(tokenizer: Tokenizer) -> Shape:
    """How the tokenizer's chat template treats a conversation.

    Raises: ModelError where there is no template, or it makes answers that cannot be told apart from their prompt.
    """
    source = template_of(tokenizer)
    prompt = run_template(source, [_QUESTION], tokenizer.named, add_generation_prompt=True)
    whole = run_template(source, [_QUESTION, _ANSWER], tokenizer.named, add_generation_prompt=False)
    if not whole.startswith(prompt):
        raise _unfit("the prompt that it writes for an answer is not how it begins the conversation with that answer")
    lead, answer, rest = whole[len(prompt) :].partition(_ANSWER["content"])
    if not answer:
        raise _unfit("it loses the assistant's text")
    if any(token in lead for token in tokenizer.special_tokens):
        raise _unfit("it ignores add_generation_prompt: the answer would begin with the header of its own turn")
    control = _control_tokens(tokenizer, source)
    system, knows_tools = _system_treatment(tokenizer, source), _knows_tools(tokenizer, source)
    found = [(rest.find(token), -len(token), token) for token in control if token in rest]
    if found:
        at, _, stop = min(found)
        return Shape(tokenizer.added_tokens[stop], stop, rest[:at] + stop, False, control, system, knows_tools)
    if tokenizer.eos_id is None:
        raise _unfit("it does not close an answer with a special token, and the tokenizer has no eos token either")
    return Shape(tokenizer.eos_id, tokenizer.token(tokenizer.eos_id) or "", rest, True, control, system, knows_tools)


def template_of(tokenizer: Tokenizer) -> str:
    """The chat template. Raises: ModelError where the tokenizer has none."""
    if tokenizer.template is None:
        raise ModelError(
            "the base model has no chat template",
            place=str(tokenizer.folder),
            hint=f"add `template: plain` to the recipe (packaged: {', '.join(packaged())}), or use `task: text`",
        )
    return tokenizer.template


def with_chosen_template(tokenizer: Tokenizer, source: str) -> Tokenizer:
    """The tokenizer with a template that somebody chose for it, checked to fit.

    Raises: ModelError where the template needs tokens that the tokenizer does not have as single ones, or does not fit.
    """
    text = run_template(source, [_QUESTION, _ANSWER], tokenizer.named, add_generation_prompt=False)
    missing = [token for token in _LOOKS_LIKE_CONTROL.findall(text) if token not in tokenizer.added_tokens]
    missing += [name for name in ("bos_token", "eos_token") if name in source and name not in tokenizer.named]
    if missing:
        raise ModelError(
            f"the chosen template needs tokens that the tokenizer does not have: {', '.join(dict.fromkeys(missing))}",
            place="template",
            hint="leave `template` out to take the model's own, or take `template: plain`, which needs only eos",
        )
    chosen = tokenizer.with_template(source)
    shape_of(chosen)
    return chosen


def _control_tokens(tokenizer: Tokenizer, source: str) -> tuple[str, ...]:
    """Special tokens, and ordinary added tokens that the template itself writes; longest first.

    Some tokenizers do not flag the tokens that part their turns as special.
    """
    named = {token for token in tokenizer.added_tokens if not token.isspace() and len(token) > 1 and token in source}
    return tuple(sorted(named | set(tokenizer.special_tokens), key=lambda token: (-len(token), token)))


def _system_treatment(tokenizer: Tokenizer, source: str) -> str:
    messages = [_SYSTEM, _QUESTION, _ANSWER]
    try:
        text = run_template(source, messages, tokenizer.named, add_generation_prompt=False)
    except TemplateRefusal:
        return "refused"
    return "kept" if _SYSTEM["content"] in text else "lost"


def _knows_tools(tokenizer: Tokenizer, source: str) -> bool:
    """Whether tools, a call and its result come out of the template so that a reader of our form reads them."""
    messages, tools = as_data(_WITH_TOOLS)
    texts = []
    for num_messages, prompt in ((2, True), (3, False), (len(messages), False)):
        try:
            taken = [message for message in messages[:num_messages] if message]
            texts.append(run_template(source, taken, tokenizer.named, tools=tools, add_generation_prompt=prompt))
        except ModelError:
            return False
    asked, called, answered = texts
    tool, call, result = (message["content"] for message in (_WITH_TOOLS[0], *_WITH_TOOLS[2:4]))
    if not called.startswith(asked) or read_tools(tool)[0]["function"]["name"] not in asked:
        return False
    written = called[len(asked) :].partition(CLOSE)
    return calls_in(written[0] + written[1]) == calls_in(call) and result in answered


def _unfit(reason: str) -> ModelError:
    return ModelError(
        f"the chat template does not fit training: {reason}",
        place="chat template",
        hint=f"choose another with `template:` ({', '.join(packaged())}, or the path of a .jinja file)",
    )
