"""Chat: conversations, of which the assistant's answers are learned.

A conversation longer than the context is dropped; or, with `split`, becomes several: whole exchanges (a user's
message and what follows it up to the next), as many in a row as fit, each part with the system prompt; or, with
`cut`, loses its end. Where a template writes an earlier answer otherwise than when it was given (it strips
reasoning), that answer is learned in an example of its own that ends with it, so that every answer is learned in the
text in which it is served.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from setsail.base.errors import DataError
from setsail.tasks import text
from setsail.tasks.task import Dropped, Overlong, Row, Task
from setsail.tokens.pack import Example
from setsail.tokens.render import Rendered, as_taken, render
from setsail.tokens.tokenizer import Tokenizer
from setsail.tokens.tools import TOOLS, continues_an_exchange

Messages = Sequence[Mapping[str, str]]


def example(row: Row, tokenizer: Tokenizer, context: int, overlong: Overlong) -> tuple[Example, ...] | Dropped:
    """The examples of one conversation, or why there is none; a plain text among them is learned as task text does.

    Raises: ModelError where the template is at fault.
    """
    if not row.messages and row.text:
        return text.example(row, tokenizer, context, overlong)
    try:
        messages = as_taken(tokenizer, row.messages)
        examples = _examples(messages, tokenizer, row.id)
    except DataError as error:
        return Dropped("unusable", error.message)
    longest = max(len(each.ids) for each in examples)
    if longest <= context:
        return examples
    if overlong == "split":
        return _split(messages, row.id, tokenizer, context)
    if overlong == "cut":
        return _cut(examples, context)
    return Dropped("overlong", f"{longest:,} tokens, the context has {context:,}")


def prompt(row: Row, tokenizer: Tokenizer) -> list[int]:
    """The conversation up to its last answer, ready to be answered."""
    return render(tokenizer, row.messages[: _last_answer(row.messages)], generation_prompt=True).ids


def reference(row: Row) -> str:
    """The last answer."""
    return row.messages[_last_answer(row.messages)]["content"]


def _last_answer(messages: Messages) -> int:
    answers = [index for index, message in enumerate(messages) if message["role"] == "assistant"]
    if not answers:
        raise DataError("the conversation has no assistant message")
    return answers[-1]


def _examples(messages: Messages, tokenizer: Tokenizer, row_id: str) -> tuple[Example, ...]:
    """Each answer supervised once. What stands behind the last answer teaches nothing and is left out."""
    messages = messages[: _last_answer(messages) + 1]
    rendered = render(tokenizer, messages)
    examples = []
    for index in rendered.rewritten:
        alone = render(tokenizer, messages[: index + 1])
        examples.append(_to_example(alone, row_id, start=alone.turns[-1].start))
    return (*examples, _to_example(rendered, row_id))


def _to_example(rendered: Rendered, row_id: str, *, start: int = 0) -> Example:
    end = rendered.turns[-1].end
    mask = np.array(rendered.loss_mask[:end], dtype=np.bool_)
    mask[:start] = False
    return Example(np.array(rendered.ids[:end], dtype=np.int32), mask, row_id)


def _cut(examples: tuple[Example, ...], context: int) -> tuple[Example, ...] | Dropped:
    """The beginning of each; an answer that is cut has no stop token, so that stopping there is not learned."""
    kept = []
    for each in examples:
        change = "cut" if len(each.ids) > context else each.change
        short = Example(each.ids[:context], each.loss_mask[:context], each.row_id, change)
        if short.num_supervised:
            kept.append(short)
    return tuple(kept) or Dropped("overlong", f"the first {context:,} tokens hold nothing of an answer")


def _split(messages: Messages, row_id: str, tokenizer: Tokenizer, context: int) -> tuple[Example, ...] | Dropped:
    system, exchanges = _exchanges(messages[: _last_answer(messages) + 1])
    done: list[Example] = []
    first = 0
    while first < len(exchanges):
        found: tuple[Example, ...] = ()
        last = first
        while last < len(exchanges):
            part = [*system, *(message for exchange in exchanges[first : last + 1] for message in exchange)]
            longer = _examples(part, tokenizer, row_id)
            if max(len(each.ids) for each in longer) > context:
                break
            found, last = longer, last + 1
        if not found:
            return Dropped("overlong", f"exchange {first + 1} alone does not fit the context of {context:,} tokens")
        done += [Example(each.ids, each.loss_mask, each.row_id, "split") for each in found]
        first = last
    return tuple(done)


def _exchanges(messages: Messages) -> tuple[Messages, list[Messages]]:
    """The system prompt, and the rest as exchanges: each begins with a user's message and holds at least one answer."""
    said = (index for index, message in enumerate(messages) if message["role"] not in ("system", TOOLS))
    num_system = next(said, len(messages))
    exchanges: list[list[Mapping[str, str]]] = []
    for message in messages[num_system:]:
        answered = exchanges and any(earlier["role"] == "assistant" for earlier in exchanges[-1])
        if not exchanges or (message["role"] == "user" and answered and not continues_an_exchange(message)):
            exchanges.append([])
        exchanges[-1].append(message)
    return messages[:num_system], [*exchanges]


TASK = Task("chat", example, prompt, reference, ("bits_per_byte", "chrf", "rouge_l", "stop_rate", "num_tokens"))
