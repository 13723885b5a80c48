"""Rows for tests of tasks."""

from __future__ import annotations

from dataclasses import dataclass

from setsail.tokens.pack import Example
from setsail.tokens.render import describe
from setsail.tokens.tokenizer import Tokenizer


@dataclass(frozen=True)
class ToyRow:
    id: str
    messages: tuple[dict[str, str], ...] = ()
    text: str = ""
    label: str = ""
    target: str = ""


def chat_row(*contents: str, system: str | None = None) -> ToyRow:
    roles = ["user", "assistant"] * len(contents)
    turns = [{"role": role, "content": content} for role, content in zip(roles, contents, strict=False)]
    return ToyRow("r1", (*([{"role": "system", "content": system}] if system else []), *turns))


def shown(example: Example, tokenizer: Tokenizer) -> str:
    return "".join(f"⟦{text}⟧" if on else text for text, on in describe(example, tokenizer))
