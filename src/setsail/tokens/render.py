"""The one place that turns a conversation or a text into ids and a loss mask, for training and for serving alike.

How a conversation is cut into segments, each encoded apart:

- A cut stands at the beginning and at the end of every assistant turn. So the ids of the prompt for any turn are
  exactly the beginning of the ids that training saw, whatever the contents are.
- A cut stands inside every text in a content that would read as a control token: `<|im_end|>` typed by a user is
  encoded as `<` and `|im_end|>`, ordinary text. Contents cannot open or close a turn. Control tokens are the special
  ones and the added ones that the template itself names; in assistant turns, where reasoning marks belong, only the
  special ones and the stop token.

A cut is a mark in the text: a noncharacter of Unicode that no content holds. Nothing is lost: the text without marks is
what the template wrote.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from setsail.base.errors import DataError, ModelError, did_you_mean
from setsail.tokens.shape import Shape, shape_of, template_of
from setsail.tokens.template import TemplateRefusal, run_template
from setsail.tokens.tokenizer import Tokenizer
from setsail.tokens.tools import RESULT, TOOLS, as_data, as_text

ROLES = ("system", "tools", "user", "assistant", "tool")
_NONCHARACTERS = [chr(code) for code in range(0xFDD0, 0xFDF0)]
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Turn:
    """A supervised answer: the index of its message and its tokens `start:end`, the stop token included."""

    message: int
    start: int
    end: int


@dataclass(frozen=True)
class Rendered:
    """Token ids with the mask of what is learned, the text they stand for, and the token that ends an answer.

    `rewritten` lists the assistant messages that stand otherwise in this conversation than when they were answered (a
    template that strips earlier reasoning): they are not supervised here.
    """

    ids: list[int]
    loss_mask: list[bool]
    text: str
    stop_id: int
    turns: tuple[Turn, ...] = ()
    rewritten: tuple[int, ...] = ()


class Masked(Protocol):
    """Anything with ids and a mask: `Rendered`, `Example`."""

    @property
    def ids(self) -> Iterable[int]: ...
    @property
    def loss_mask(self) -> Iterable[bool]: ...


def render(tokenizer: Tokenizer, messages: Sequence[Mapping[str, str]], *, generation_prompt: bool = False) -> Rendered:
    """The conversation as ids; with `generation_prompt`, ready for the next answer and nothing supervised.

    Raises: ModelError where the template is at fault, DataError where the messages are.
    """
    shape = shape_of(tokenizer)
    messages = as_taken(tokenizer, messages)
    _refuse_bad_messages(messages, shape)
    marked = _Marked(tokenizer, shape, messages)
    text = marked.run(len(messages), prompt=generation_prompt)
    pieces = _Pieces(tokenizer, shape, marked.mark)
    turns: list[Turn] = []
    rewritten: list[int] = []
    done = 0
    for index, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        prompt = marked.run(index, prompt=True)
        end = marked.end_of_answer(text, index, prompt) if len(prompt) >= done else None
        if end is None:
            rewritten.append(index)
            continue
        pieces.add(text[done : len(prompt)])
        start = len(pieces.ids)
        pieces.add(text[len(prompt) : end], closes=True)
        done = end
        if generation_prompt or marked.answer(index, prompt) == text[len(prompt) : end]:
            turns.append(Turn(index, start, len(pieces.ids)))
        else:
            rewritten.append(index)
    pieces.add(text[done:])
    if generation_prompt:
        return Rendered(pieces.ids, [False] * len(pieces.ids), pieces.text, shape.stop_id)
    _refuse_empty_mask(messages, turns)
    supervised = {at for turn in turns for at in range(turn.start, turn.end)}
    mask = [at in supervised for at in range(len(pieces.ids))]
    return Rendered(pieces.ids, mask, pieces.text, shape.stop_id, tuple(turns), tuple(rewritten))


def as_taken(tokenizer: Tokenizer, messages: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """The messages as they are rendered: where the template does not know of tools, those have become text.

    Doing it again changes nothing.

    Raises: DataError for a list of tools that is none.
    """
    return list(messages) if shape_of(tokenizer).knows_tools else as_plain(tokenizer, messages)


def as_plain(tokenizer: Tokenizer, messages: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """The messages with tools and what they returned as text, whatever the template knows.

    Raises: DataError for a list of tools that is none.
    """
    if not any(message.get("role") in (TOOLS, RESULT) for message in messages):
        return list(messages)
    try:
        return [*as_text(messages, in_system=shape_of(tokenizer).system == "kept")]
    except ValueError as error:
        raise DataError(f"the tools cannot be listed: {error}") from error


def render_text(tokenizer: Tokenizer, text: str, *, generation_prompt: bool = False) -> Rendered:
    """A plain text as ids, every token and the eos behind it supervised; with `generation_prompt`, without eos.

    What the tokenizer itself puts before a text (a bos token) stands there, unsupervised. Special tokens in the text
    are cut apart, as in a conversation.

    Raises: ModelError where the tokenizer has no eos token, DataError where the text is empty.
    """
    if tokenizer.eos_id is None:
        raise ModelError("the tokenizer has no eos token, so that the model could not learn to stop")
    inside, before = text_ids(tokenizer, text), tokenizer.text_start_ids
    if generation_prompt:
        return Rendered(before + inside, [False] * (len(before) + len(inside)), text, tokenizer.eos_id)
    ids = [*before, *inside, tokenizer.eos_id]
    mask = [False] * len(before) + [True] * (len(inside) + 1)
    return Rendered(ids, mask, text + (tokenizer.token(tokenizer.eos_id) or ""), tokenizer.eos_id)


def text_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """The ids of a plain text alone; special tokens in it are cut apart, so that they are ordinary text.

    Raises: DataError where the text is empty or holds half a character.
    """
    _refuse_bad_text(text, "the text")
    if not text:
        raise DataError("the text is empty")
    mark = _free_mark([text])
    pieces = _Pieces(tokenizer, None, mark)
    pieces.add(_cut_controls(text, tuple(tokenizer.special_tokens), mark))
    return pieces.ids


def describe(item: Masked, tokenizer: Tokenizer) -> list[tuple[str, bool]]:
    """The runs of text of an example, each with whether it is supervised; special tokens are shown."""
    runs: list[tuple[list[int], bool]] = []
    for token_id, supervised in zip(item.ids, item.loss_mask, strict=True):
        if not runs or runs[-1][1] != bool(supervised):
            runs.append(([], bool(supervised)))
        runs[-1][0].append(int(token_id))
    return [(tokenizer.decode(ids, skip_special=False), supervised) for ids, supervised in runs]


class _Marked:
    """The template run over contents in which control tokens are cut apart by a mark."""

    def __init__(self, tokenizer: Tokenizer, shape: Shape, messages: Sequence[Mapping[str, str]]) -> None:
        self._tokenizer = tokenizer
        self._shape = shape
        self._written: dict[tuple[int, bool], str] = {}
        self.mark = _free_mark([message["content"] for message in messages])
        in_answers = (*tokenizer.special_tokens, shape.stop_text)
        marked = [
            {
                "role": message["role"],
                "content": _cut_controls(
                    message["content"],
                    in_answers if message["role"] == "assistant" else shape.control_tokens,
                    self.mark,
                ),
            }
            for message in messages
        ]
        try:
            self._messages, self._tools = as_data(marked) if shape.knows_tools else (marked, None)
        except ValueError as error:
            raise DataError(f"the tools cannot be listed: {error}") from error

    def run(self, num_messages: int, *, prompt: bool) -> str:
        """What the template writes for the first messages, with marks."""
        key = (num_messages, prompt)
        if key not in self._written:
            source, messages = template_of(self._tokenizer), [each for each in self._messages[:num_messages] if each]
            named, tools = self._tokenizer.named, self._tools
            try:
                text = run_template(source, messages, named, tools=tools, add_generation_prompt=prompt)
            except TemplateRefusal as error:
                raise DataError(error.message, hint="see which turns the template allows, or choose another") from error
            self._written[key] = text
        return self._written[key]

    def end_of_answer(self, text: str, index: int, prompt: str) -> int | None:
        """Where the answer `index` ends in the text, its stop token included; None where its prompt is not there."""
        if not text.startswith(prompt):
            return None
        if not self._shape.appends_eos:
            at = text.find(self._shape.stop_text, len(prompt))
            return None if at < 0 else at + len(self._shape.stop_text)
        whole = self.run(index + 1, prompt=False)
        end = len(whole) - len(self._shape.closing)
        return end if whole.endswith(self._shape.closing) and text.startswith(whole[:end]) else None

    def answer(self, index: int, prompt: str) -> str | None:
        """The assistant's message as it stood when it was answered, its closing included."""
        text = self.run(index + 1, prompt=False)
        end = self.end_of_answer(text, index, prompt)
        return None if end is None else text[len(prompt) : end]


class _Pieces:
    """Ids and text, growing by segments that are encoded apart."""

    def __init__(self, tokenizer: Tokenizer, shape: Shape | None, mark: str) -> None:
        self._tokenizer = tokenizer
        self._shape = shape
        self._mark = mark
        self.ids: list[int] = []
        self.text = ""

    def add(self, marked: str, *, closes: bool = False) -> None:
        for segment in marked.split(self._mark):
            self.ids += self._tokenizer.encode(segment, continued=bool(self.text))
            self.text += segment
        if closes and self._shape is not None and self._shape.appends_eos:
            self.ids.append(self._shape.stop_id)
            self.text += self._shape.stop_text


def _free_mark(texts: Sequence[str]) -> str:
    for mark in _NONCHARACTERS:
        if not any(mark in text for text in texts):
            return mark
    raise DataError(
        "the contents hold every noncharacter of Unicode from U+FDD0 to U+FDEF, so that none is left as a mark"
    )


def _cut_controls(text: str, tokens: tuple[str, ...], mark: str) -> str:
    """The text with a mark behind the first character of whatever would read as one of the tokens."""
    pattern = _pattern_of(tokens)
    while pattern is not None and pattern.search(text):  # again, because tokens may overlap
        text = pattern.sub(lambda found: found[0][0] + mark + found[0][1:], text)
    return text


@lru_cache(maxsize=32)
def _pattern_of(tokens: tuple[str, ...]) -> re.Pattern[str] | None:
    longest_first = sorted({token for token in tokens if len(token) > 1}, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first))) if longest_first else None


def _refuse_bad_messages(messages: Sequence[Mapping[str, str]], shape: Shape) -> None:
    if not messages:
        raise DataError("the conversation has no messages")
    for number, message in enumerate(messages, start=1):
        role, content = message.get("role"), message.get("content")
        if role not in ROLES:
            raise DataError(f"message {number} has the role {role!r}", hint=did_you_mean(str(role), ROLES))
        if not isinstance(content, str):
            raise DataError(f"message {number} has no text: its content is {type(content).__name__}")
        _refuse_bad_text(content, f"message {number}")
        if role == "system" and shape.system != "kept":
            raise ModelError(
                f"the chat template {'loses' if shape.system == 'lost' else 'refuses'} a system prompt",
                place="chat template",
                hint="put the instructions into the first user message, or choose another `template:`, such as chatml",
            )


def _refuse_bad_text(text: str, what: str) -> None:
    if found := _SURROGATE.search(text):
        raise DataError(f"{what} holds half a character (surrogate U+{ord(found[0]):04X}) at position {found.start()}")


def _refuse_empty_mask(messages: Sequence[Mapping[str, str]], turns: Sequence[Turn]) -> None:
    answers = [number for number, message in enumerate(messages, start=1) if message["role"] == "assistant"]
    if not answers:
        raise DataError("the conversation has no assistant message, so that there is nothing to learn")
    empty = [number for number in answers if not messages[number - 1]["content"].strip()]
    if empty:
        raise DataError(f"message {empty[0]}, an assistant's, is empty")
    if not turns:
        raise ModelError(
            "the chat template rewrites every answer of this conversation, so that nothing would be supervised",
            place="chat template",
            hint="end the conversation with an assistant message, or choose another `template:`",
        )
