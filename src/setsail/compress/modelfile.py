"""An Ollama Modelfile whose template says what the chat template of training says.

Ollama renders Go templates, training rendered Jinja. The pieces of text that stand around each role's content are found
by rendering the Jinja template on probe conversations, and put together as a Go template; the result is kept only if it
gives the same text on every probe. The invariant: a template is either shown to be equal on the probes or left out,
with a comment that says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from setsail.base.errors import ModelError
from setsail.base.files import write_atomically
from setsail.tokens.template import run_template
from setsail.tokens.tokenizer import Tokenizer

Message = dict[str, str]
SYSTEM, USER, ASSISTANT = "system", "user", "assistant"
ROLES = (SYSTEM, USER, ASSISTANT)
# Contents that no template writes by itself.
MARKS = ("\u2460S\u2460", "\u2461U\u2461", "\u2462A\u2462", "\u2463V\u2463")


@dataclass(frozen=True)
class Pieces:
    """A chat template as fixed text: a beginning, text around each role's content, and the prompt to answer."""

    begin: str
    before: dict[str, str]
    after: dict[str, str]
    prompt: str
    default_system: str | None

    def render(self, messages: list[Message]) -> str:
        """The text of a conversation, as Ollama writes it with `go_template` and `default_system`."""
        if self.default_system is not None and messages[0]["role"] != SYSTEM:
            messages = [{"role": SYSTEM, "content": self.default_system}, *messages]
        turns = [self.before[m["role"]] + m["content"] + self.after[m["role"]] for m in messages]
        return self.begin + "".join(turns) + self.prompt

    def go_template(self) -> str:
        """The same as a Go template over `.Messages`."""
        conditions = ("if", "else if", "else if")
        turns = [
            f'{{{{ {condition} eq .Role "{role}" }}}}{self.before[role]}{{{{ .Content }}}}{self.after[role]}'
            for condition, role in zip(conditions, ROLES, strict=True)
        ]
        return f"{self.begin}{{{{ range .Messages }}}}{''.join(turns)}{{{{ end }}}}{{{{ end }}}}{self.prompt}"


def write_modelfile(
    path: Path, *, gguf: str, tokenizer: Tokenizer, licence: str | None = None, adapter: str | None = None
) -> None:
    """Write a Modelfile for the GGUF file of that name in the same folder, and an adapter beside it."""
    write_atomically(path, modelfile(gguf=gguf, tokenizer=tokenizer, licence=licence, adapter=adapter))


def modelfile(*, gguf: str, tokenizer: Tokenizer, licence: str | None = None, adapter: str | None = None) -> str:
    """The text of a Modelfile: try it with `ollama create NAME -f Modelfile`."""
    lines = [f"FROM ./{gguf}", *([f"ADAPTER ./{adapter}"] if adapter else [])]
    pieces = find_pieces(tokenizer)
    if pieces is None:
        lines.append("# No TEMPLATE: the chat template of this model could not be said exactly in Ollama's language.")
        lines.append("# The GGUF file carries it; llama.cpp and LM Studio use it from there.")
    else:
        if not trims_nothing(tokenizer, pieces):
            lines.append("# In training, spaces around a message were removed; Ollama keeps them.")
        lines.append(f'TEMPLATE """{pieces.go_template()}"""')
        if pieces.default_system is not None:
            lines.append(f'SYSTEM """{pieces.default_system}"""')
    lines += [f'PARAMETER stop "{stop}"' for stop in _stops(tokenizer)]
    lines.append("PARAMETER temperature 0")
    if licence:
        lines.append(f'LICENSE """{licence}"""')
    return "\n".join(lines) + "\n"


def find_pieces(tokenizer: Tokenizer) -> Pieces | None:
    """The pieces of a tokenizer's chat template; None when it has none, or is not made of fixed pieces."""
    if tokenizer.template is None:
        return None
    try:
        pieces = _cut(tokenizer)
        equal = pieces is not None and all(_jinja(tokenizer, probe) == pieces.render(probe) for probe in probes())
    except ModelError:
        return None  # a template that refuses a system prompt, say, is not made of fixed pieces
    return pieces if equal and pieces is not None and _can_be_quoted(pieces) else None


def probes() -> list[list[Message]]:
    """Conversations that tell templates apart: with and without system prompt, one turn and many, awkward contents."""
    contents = ["What is 2 + 2?", "4", "多行\n\n文本 with `code` and {braces}", "Ünïcode 🙂", "x", "y"]
    turns = [_message((USER, ASSISTANT)[number % 2], content) for number, content in enumerate(contents)]
    system = _message(SYSTEM, "Be brief.\nAnswer in English.")
    return [conversation for length in (1, 3, 5) for conversation in (turns[:length], [system, *turns[:length]])]


def trims_nothing(tokenizer: Tokenizer, pieces: Pieces) -> bool:
    """Whether contents with spaces around them come out the same too."""
    probe = [_message(USER, " a \n"), _message(ASSISTANT, "\n b "), _message(USER, "c ")]
    return _jinja(tokenizer, probe) == pieces.render(probe)


def _cut(tokenizer: Tokenizer) -> Pieces | None:
    """Cut the rendering of marked contents into pieces: x0 S x1 U x2 A x3 V x4, and y0 U without a system prompt."""
    system, user, answer, again = (_message(role, mark) for role, mark in zip((*ROLES, USER), MARKS, strict=True))
    texts = _between(_jinja(tokenizer, [system, user, answer, again]), MARKS)
    alone = _between(_jinja(tokenizer, [user]), MARKS[1:2])
    if texts is None or alone is None or texts[4] != alone[1]:
        return None
    x0, x1, x2, x3, x4 = texts
    begin_token = tokenizer.named.get("bos_token", "")
    # A token that stands between turns too is no beginning of the whole text.
    begin = begin_token if x0.startswith(begin_token) and begin_token not in x1 else ""
    before_system = x0[len(begin) :]
    default = _default_system(alone[0], x0, x1)
    next_turn = x1[_meeting_point(x1, before_system) :]
    before_user = alone[0][len(begin) :] if default is None else next_turn
    after_answer = x3.removesuffix(before_user)
    after_user = after_answer if x2.startswith(after_answer) and x4.startswith(after_answer) else _common_start(x2, x4)
    return Pieces(
        begin=begin,
        before={SYSTEM: before_system, USER: before_user, ASSISTANT: x2[len(after_user) :]},
        after={SYSTEM: x1.removesuffix(before_user), USER: after_user, ASSISTANT: after_answer},
        prompt=x4[len(after_user) :],
        default_system=default,
    )


def _default_system(alone: str, x0: str, x1: str) -> str | None:
    """The system prompt that the template puts in where there is none."""
    if len(alone) <= len(x0) + len(x1) or not alone.startswith(x0) or not alone.endswith(x1):
        return None
    return alone[len(x0) : len(alone) - len(x1)]


def _meeting_point(text: str, head: str) -> int:
    """Where in `text` the next turn begins: at the longest beginning of `head` that is found there."""
    for length in range(len(head), 0, -1):
        place = text.rfind(head[:length])
        if place >= 0:
            return place
    return 0


def _common_start(one: str, other: str) -> str:
    """The longest text that both begin with."""
    return "".join(a for a, _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _between(text: str, marks: tuple[str, ...]) -> list[str] | None:
    """The texts before, between and after the marks; None unless each stands there once, in order."""
    parts = []
    for mark in marks:
        head, found, text = text.partition(mark)
        if not found or mark in text:
            return None
        parts.append(head)
    return [*parts, text]


def _can_be_quoted(pieces: Pieces) -> bool:
    """Whether no piece would end a quotation or begin an action of Go's."""
    texts = [pieces.begin, pieces.prompt, pieces.default_system or "", *pieces.before.values(), *pieces.after.values()]
    return not any('"""' in text or "{{" in text or "}}" in text or text.endswith("{") for text in texts)


def _stops(tokenizer: Tokenizer) -> list[str]:
    """The texts of the tokens that end an answer."""
    return [text for text in (tokenizer.token(number) for number in sorted(tokenizer.eos_ids)) if text]


def _jinja(tokenizer: Tokenizer, messages: list[Message]) -> str:
    assert tokenizer.template is not None
    return run_template(tokenizer.template, messages, tokenizer.named, add_generation_prompt=True)


def _message(role: str, content: str) -> Message:
    return {"role": role, "content": content}
