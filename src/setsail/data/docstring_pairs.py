"""Questions and answers made from docstrings by stated rules.

The rules: one question for what a thing does, one for each parameter, one for all parameters, and one each for what it
returns, what it raises, its examples and its notes. Answers are the authors' own words, cut only between blocks. "See
also" is left out on purpose: it describes other functions, which may stand in the test. Question wordings vary by the
hash of the name, so that the same package always gives the same rows. All functions with the same last name share a
split group. What does not live here: parsing (`docstrings.py`, `markup.py`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence

from setsail.data.docstrings import Docstring, Field, parse
from setsail.data.introspect import Documented
from setsail.data.markup import inline, to_blocks
from setsail.data.row import Drop, Record, row_id

MIN_ANSWER_CHARACTERS = 20
MAX_ANSWER_CHARACTERS = 1200
# Blocks are added while the answer stays under this; the first block may be longer, up to the maximum.
_ENOUGH_CHARACTERS = 700
_ELSEWHERE = re.compile(
    r"^(please )?(refer to|see|same as|this is an alias|alias for|scalar (method|attribute) identical)\b",
    re.I,
)
_ELSEWHERE_CHARACTERS = 160
_CODE = "```"
_IMPORT = re.compile(r"^>>> (import|from) ")

_QUESTIONS = {
    "summary": (
        "What does `{name}` do?",
        "What is `{name}` for?",
        "Can you explain `{name}`?",
        "When would I use `{name}`?",
        "Tell me about `{name}`.",
    ),
    "parameter": (
        "What is the parameter `{part}` of `{name}`?",
        "In `{name}`, what does `{part}` mean?",
        "What should I pass as `{part}` to `{name}`?",
        "How does the argument `{part}` of `{name}` work?",
        "Explain `{part}` in `{name}`.",
    ),
    "parameters": (
        "Which parameters does `{name}` take?",
        "What arguments can I pass to `{name}`?",
        "How do I call `{name}`?",
        "List the parameters of `{name}`.",
    ),
    "returns": (
        "What does `{name}` return?",
        "What do I get back from `{name}`?",
        "What is the return value of `{name}`?",
        "What comes out of `{name}`?",
    ),
    "raises": (
        "Which errors can `{name}` raise?",
        "When does `{name}` raise an error?",
        "What exceptions does `{name}` raise?",
        "Why might `{name}` fail?",
    ),
    "examples": (
        "Show me an example of `{name}`.",
        "How do I use `{name}`?",
        "Can you give an example with `{name}`?",
        "What does using `{name}` look like?",
    ),
    "notes": (
        "What should I know about `{name}`?",
        "Are there any notes on `{name}`?",
        "What are the details behind `{name}`?",
        "Anything to watch out for with `{name}`?",
    ),
}


def pairs(entries: Iterable[Documented], package: str) -> Iterator[Record | Drop]:
    """A record with prompt and completion for each part of each docstring, or a drop with the reason."""
    for entry in entries:
        for part, kind, answer in _answers(entry, parse(entry["doc"])):
            anchor = f"{kind}.{part}" if part else kind
            origin = f"docstrings:{package}:{entry['name']}#{anchor}"
            question = _question(entry["name"], kind, part)
            fields = {"prompt": question, "completion": answer, "kind": kind, "function": entry["name"]}
            reason = _unusable(answer)
            if reason:
                yield Drop(row_id(fields, origin), origin, reason, f"{len(answer)} characters")
            else:
                yield Record(origin, fields, group=entry["name"].rsplit(".", 1)[-1])


def _question(name: str, kind: str, part: str) -> str:
    wordings = _QUESTIONS[kind]
    digest = hashlib.sha256(f"{name}#{kind}.{part}".encode()).digest()
    return wordings[digest[0] % len(wordings)].format(name=name, part=part)


def _answers(entry: Documented, doc: Docstring) -> Iterator[tuple[str, str, str]]:
    """(part, kind, answer) for everything that the docstring says."""
    if doc.summary:
        yield "", "summary", _enough(to_blocks(f"{doc.summary}\n\n{doc.extended}"))
    called = [field for field in doc.parameters if field.name]
    if called:
        yield "", "parameters", _parameters(entry, doc, called)
    for field in called:
        if field.text.strip():
            yield field.name.replace(" ", ""), "parameter", _described(field)
    if doc.returns:
        yield "", "returns", _returned(doc.returns)
    if any(field.text.strip() for field in doc.raises):
        yield "", "raises", "\n".join(_raised(field) for field in doc.raises if field.text.strip())
    if doc.examples.strip():
        yield "", "examples", _enough(_imports_inside(to_blocks(doc.examples)), needs_code=True)
    if doc.notes.strip():
        yield "", "notes", _enough(to_blocks(doc.notes))


def _enough(blocks: Sequence[str], *, needs_code: bool = False) -> str:
    """Whole blocks while there is room; a sentence that announces a block which no longer fits is left out too."""
    kept: list[str] = []
    size = 0
    for block in blocks:
        has_code = not needs_code or any("```" in part for part in kept)
        if kept and has_code and size + len(block) > _ENOUGH_CHARACTERS:
            if block.startswith(_CODE) and len(kept) > 1 and not kept[-1].startswith(_CODE):
                kept.pop()
            break
        kept.append(block)
        size += len(block) + 2
    while kept and kept[-1].endswith((":", ",")):
        kept.pop()
    if needs_code and not any("```" in part for part in kept):
        return ""
    return "\n\n".join(kept)


def _imports_inside(blocks: list[str]) -> list[str]:
    """A first fence that only imports is put on top of the fence that uses it."""
    lines = blocks[0].split("\n")[1:-1] if blocks and blocks[0].startswith(_CODE) else []
    following = next((i for i, block in enumerate(blocks) if i and block.startswith(_CODE)), None)
    if following is None or not lines or not all(_IMPORT.match(line) for line in lines):
        return blocks
    opening, rest = blocks[following].split("\n", 1)
    return [*blocks[1:following], "\n".join([opening, *lines, rest]), *blocks[following + 1 :]]


def _parameters(entry: Documented, doc: Docstring, fields: Sequence[Field]) -> str:
    short = entry["name"].rsplit(".", 1)[-1]
    call = f"{short}{entry['signature']}" if entry["signature"] else doc.signature
    opening = f"The call is `{call}`.\n\n" if call and "`" not in call and len(call) < 300 else ""
    noun = "parameter" if len(fields) == 1 else "parameters"
    listed = "\n".join(f"- `{f.name}`" + (f": {inline(f.kind)}" if f.kind else "") for f in fields)
    return f"{opening}It takes {len(fields)} {noun}:\n\n{listed}"


def _described(field: Field) -> str:
    """The words on a parameter, led by its name and type so that a short remark is still an answer."""
    said = _enough(to_blocks(field.text))
    if not said:
        return ""
    kind = f" ({inline(field.kind)})" if field.kind else ""
    return f"`{field.name}`{kind}: {said}" if not said.startswith("```") else f"`{field.name}`{kind}:\n\n{said}"


def _returned(fields: Sequence[Field]) -> str:
    if len(fields) == 1 and not fields[0].name and not fields[0].kind:
        return _enough(to_blocks(fields[0].text))
    shown = []
    for field in fields:
        said = _enough(to_blocks(field.text))
        kind = inline(field.kind)
        name = f"`{field.name}`" + (f" ({kind})" if kind else "") if field.name else kind
        if not said and not field.name and " " not in kind:
            kind = f"`{kind}`"
        shown.append(f"{name or kind}: {said}" if said else (name or kind))
    text = "\n\n".join(shown) if len(shown) == 1 else "\n".join(f"- {line}" for line in _one_line_each(shown))
    return text


def _one_line_each(texts: Sequence[str]) -> list[str]:
    return [text.replace("\n", "\n  ") for text in texts]


def _raised(field: Field) -> str:
    said = _enough(to_blocks(field.text)).replace("\n", "\n  ")
    return f"- `{field.name}`: {said}" if field.name else f"- {said}"


def _unusable(answer: str) -> str | None:
    if len(answer) < MIN_ANSWER_CHARACTERS:
        return "answer_too_short"
    if len(answer) > MAX_ANSWER_CHARACTERS:
        return "answer_too_long"
    if len(answer) < _ELSEWHERE_CHARACTERS and _ELSEWHERE.match(answer):
        return "answer_is_elsewhere"
    return None
