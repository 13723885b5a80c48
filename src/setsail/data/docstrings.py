"""A docstring cut into its parts: numpydoc, Google's style, and plain Sphinx fields, by rules of our own.

What does not live here: importing packages (`introspect.py`), turning parts into questions (`docstring_pairs.py`).
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass

_SECTIONS = {
    "parameters": "parameters",
    "other parameters": "parameters",
    "args": "parameters",
    "arguments": "parameters",
    "keyword args": "parameters",
    "keyword arguments": "parameters",
    "returns": "returns",
    "return": "returns",
    "yields": "returns",
    "raises": "raises",
    "examples": "examples",
    "example": "examples",
    "notes": "notes",
    "note": "notes",
}
_OTHER_SECTIONS = {"attributes", "see also", "references"}
_UNDERLINE = re.compile(r"^\s*(-{3,}|={3,}|~{3,})\s*$")
_COLON_HEADER = re.compile(r"^([A-Z][A-Za-z ]{2,24}):\s*$")
_SIGNATURE = re.compile(r"^[A-Za-z_][\w.]*\(")
_SPHINX = re.compile(
    r"^:(param|parameter|arg|argument|keyword|key|returns?|raises?|except|type|rtype)\b([^:]*):\s*(.*)$"
)
_GOOGLE_FIELD = re.compile(r"^(\*{0,2}[A-Za-z_][\w.]*(?:, \*{0,2}\w+)*)\s*(?:\(([^)]*)\))?\s*:\s*(.*)$")
_NAMED_TYPE = re.compile(r"^([a-z_]\w*): (\S.*)$")
_NAMES = re.compile(r"^(?:\*{0,2}[A-Za-z_]\w*|\.\.\.)(?:\s*,\s*(?:\*{0,2}[A-Za-z_]\w*|\.\.\.))*$")


@dataclass(frozen=True)
class Field:
    """A parameter, a returned value or an exception: its names, its type as written, and what is said of it."""

    name: str
    kind: str
    text: str


@dataclass(frozen=True)
class Docstring:
    """The parts of a docstring, each still in its own markup."""

    signature: str
    summary: str
    extended: str
    parameters: tuple[Field, ...] = ()
    returns: tuple[Field, ...] = ()
    raises: tuple[Field, ...] = ()
    notes: str = ""
    examples: str = ""


def parse(doc: str) -> Docstring:
    """The parts of a docstring in whichever of the three styles it is written.

    >>> parse("Add two.\\n\\nArgs:\\n    a (int): The first.").parameters
    (Field(name='a', kind='int', text='The first.'),)
    """
    lines = inspect.cleandoc(doc.expandtabs()).split("\n")
    signature, lines = _without_signature(lines)
    opening, sections = _cut(lines)
    opening, fields = _without_sphinx_fields(opening)
    paragraphs = re.split(r"\n\s*\n", "\n".join(opening).strip(), maxsplit=1)
    numpy_style = {name: text for name, (style, text) in sections.items() if style == "numpydoc"}
    google_style = {name: text for name, (style, text) in sections.items() if style == "google"}
    parts = {name: [*_numpydoc_fields(numpy_style.get(name, ""), name)] for name in ("parameters", "returns", "raises")}
    for name, found in parts.items():
        found.extend(_google_fields(google_style.get(name, ""), name))
        found.extend(fields.get(name, []))
    return Docstring(
        signature=signature,
        summary=paragraphs[0].strip(),
        extended=paragraphs[1].rstrip() if len(paragraphs) > 1 else "",
        parameters=tuple(parts["parameters"]),
        returns=tuple(parts["returns"]),
        raises=tuple(parts["raises"]),
        notes=sections.get("notes", ("", ""))[1],
        examples=sections.get("examples", ("", ""))[1],
    )


def _without_signature(lines: list[str]) -> tuple[str, list[str]]:
    """C functions write their own call on the first lines; it is taken off, over continuation lines too."""
    end = next((i for i, line in enumerate(lines) if not line.strip()), len(lines))
    block = " ".join(line.strip() for line in lines[:end])
    if not _SIGNATURE.match(block):
        return "", lines
    calls = 0
    while calls < end and _SIGNATURE.match(lines[calls]):
        depth = 0
        while calls < end:
            depth += (
                lines[calls].count("(") + lines[calls].count("[") - lines[calls].count(")") - lines[calls].count("]")
            )
            calls += 1
            if depth <= 0:
                break
    after = " ".join(lines[:calls]).strip()
    if not re.search(r"\)\s*(->.*)?$|\]\)$", after):
        return "", lines
    # Argument Clinic parts the call from the words by a line of two dashes.
    rest = lines[calls + 1 :] if calls < len(lines) and lines[calls].strip() == "--" else lines[calls:]
    return after, rest


def _cut(lines: list[str]) -> tuple[list[str], Mapping[str, tuple[str, str]]]:
    """The lines before the first section, and each section's style and text."""
    heads: list[tuple[int, int, str, str]] = []
    for index, line in enumerate(lines):
        following = lines[index + 1] if index + 1 < len(lines) else ""
        if line.strip() and not line.startswith(" ") and _UNDERLINE.match(following):
            heads.append((index, index + 2, line.strip().rstrip(":").lower(), "numpydoc"))
        elif (match := _COLON_HEADER.match(line)) and following.startswith("  ") and following.strip():
            title = match.group(1).lower()
            heads += [(index, index + 1, title, "google")] * (title in _SECTIONS or title in _OTHER_SECTIONS)
    sections: dict[str, tuple[str, str]] = {}
    ends = [head[0] for head in heads[1:]] + [len(lines)]
    for (_, start, title, style), end in zip(heads, ends, strict=False):
        name = _SECTIONS.get(title)
        text = "\n".join(lines[start:end]).strip("\n")
        if name and name in sections:
            text = sections[name][1] + "\n" + text
        if name:
            sections[name] = (style, text)
    return lines[: heads[0][0]] if heads else lines, sections


def _numpydoc_fields(text: str, part: str) -> list[Field]:
    """Unindented lines name fields, the indented lines below say what they are."""
    fields: list[Field] = []
    for head, body in _headed(textwrap.dedent(text)):
        if head.startswith(".. "):
            continue
        name, colon, kind = (piece.strip() for piece in head.partition(" :"))
        if part == "parameters" and not _NAMES.match(name):
            continue
        if part == "returns" and not colon and (near := _NAMED_TYPE.match(head)):
            name, colon, kind = near.group(1), ":", near.group(2)
        if part != "parameters" and not colon:
            name, kind = ("", head) if part == "returns" else (head, "")
        fields.append(Field(name, kind, body))
    return fields


def _google_fields(text: str, part: str) -> list[Field]:
    dedented = textwrap.dedent(text)
    fields: list[Field] = []
    for head, body in _headed(dedented):
        match = _GOOGLE_FIELD.match(head)
        if part == "returns":
            # "type: what" or free text; a type holds no blank-separated words of prose.
            kind, colon, said = head.partition(": ")
            typed = bool(colon) and len(kind.split()) <= 3
            fields.append(Field("", kind if typed else "", f"{said if typed else head}\n{body}".strip()))
        elif match:
            fields.append(Field(match.group(1), match.group(2) or "", f"{match.group(3)}\n{body}".strip()))
    if part == "returns" and len(fields) > 1 and not any(field.kind for field in fields):
        return [Field("", "", dedented)]
    return fields


def _headed(text: str) -> list[tuple[str, str]]:
    """Each unindented line with the dedented block under it."""
    found: list[tuple[str, list[str]]] = []
    for line in text.split("\n"):
        if line.strip() and not line.startswith(" "):
            found.append((line.strip(), []))
        elif found:
            found[-1][1].append(line)
    return [(head, textwrap.dedent("\n".join(body)).strip("\n")) for head, body in found]


def _without_sphinx_fields(lines: list[str]) -> tuple[list[str], dict[str, list[Field]]]:
    kept: list[str] = []
    entries: list[tuple[str, str, list[str]]] = []
    inside = False
    for line in lines:
        match = _SPHINX.match(line.strip()) if line.lstrip().startswith(":") else None
        if match:
            entries.append((match.group(1), match.group(2).strip().replace("\\", ""), [match.group(3)]))
            inside = True
        elif inside and line.strip() and (line.startswith(" ") or entries[-1][2][-1]):
            entries[-1][2].append(line.strip())
        else:
            # A blank line, and then a line that is not indented: ordinary text again.
            inside = inside and not line.strip()
            if inside:
                entries[-1][2].append("")
            else:
                kept.append(line)
    kinds = {name: " ".join(text) for word, name, text in entries if word == "type"}
    returned = next((" ".join(text) for word, _, text in entries if word == "rtype"), "")
    fields: dict[str, list[Field]] = {"parameters": [], "returns": [], "raises": []}
    for word, name, text in entries:
        said = " ".join(text).strip()
        if word.startswith("return"):
            fields["returns"].append(Field("", returned, said))
        elif word.startswith(("raise", "except")):
            fields["raises"].append(Field(name, "", said))
        elif "type" not in word:
            *typed, bare = name.split() or [""]
            fields["parameters"].append(Field(bare, kinds.get(bare, " ".join(typed)), said))
    return kept, fields
