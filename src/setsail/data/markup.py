"""The markup of docstrings (reStructuredText, or Markdown already) as plain Markdown blocks.

Roles become their text, doctests and literal blocks become code fences, directives that are not prose are dropped.
What does not live here: the sections of a docstring (`docstrings.py`). The invariant: a block is never cut inside.
"""

from __future__ import annotations

import re
import textwrap

_DIRECTIVE = re.compile(r"^(\s*)\.\. ([\w-]+(?::[\w-]+)?)::\s*(.*)$")
_FOOTNOTE = re.compile(r"^\s*\.\.(\s|$)")
_PROSE_DIRECTIVES = {"note", "warning", "tip", "important", "caution", "attention", "hint", "admonition"}
_MARKDOWN_ADMONITION = re.compile(r'^\s*(?:!!!|\?\?\?\+?|===)(?: (\w+))?(?: "([^"]*)")?\s*$')
_CODE_DIRECTIVES = {"code", "code-block", "sourcecode", "parsed-literal"}
_CODE_SIGNS = re.compile(r"\w\(|\w = |^\s*(import|from|with|for|def|class|assert) |>>>")
_REFERENCE = re.compile(r"\[(`[^`\]]+`)\]\[[^\]]*\]")
_BULLET = re.compile(r"^\s*([-*+•]|\d+[.)]|\(?[a-z0-9]{1,2}\))\s+")
_ROLE = re.compile(r":[a-zA-Z][\w:+-]*:`([^`]*)`")
_TITLED = re.compile(r"^(.*?)\s*<[^<>]*>$", re.DOTALL)
_LINK = re.compile(r"`([^`<]+?)\s*<([^`>]+)>`__?")
_NAMED_LINK = re.compile(r"`([^`]+)`__?(?!\w)")
_CITATION = re.compile(r"\s*\[(?:\d+|[A-Z][A-Za-z]*\d*)\]_(?!\w)")
_DOUBLE = re.compile(r"``([^`]+)``")
_SUBSTITUTION = re.compile(r"(?<!\w)\|(\w[\w ]*)\|(?!\w)")
_FIELD = re.compile(r"^:([A-Z][\w ]*): (?=\S)")
_SHORTENED = re.compile(r"`~([\w.]*\.)?(\w+)`")
_ESCAPE = re.compile(r"\\([*_|`\\ ])")
_TABLE_RULE = re.compile(r"^\s*(=+\s+=[=\s]*|\+[-=+]{3,})$")
_DOCTEST_NOTE = re.compile(r"\s*#\s*doctest:.*$", re.MULTILINE)


def to_blocks(text: str) -> list[str]:
    """The paragraphs, lists and code of a text, each one a Markdown block.

    >>> to_blocks("See :func:`dot` for\\nmore.\\n\\n>>> 1 + 1\\n2")
    ['See `dot` for more.', '```python\\n>>> 1 + 1\\n2\\n```']
    """
    lines = textwrap.dedent(text.expandtabs()).split("\n")
    blocks: list[str] = []
    place = 0
    while place < len(lines):
        if not lines[place].strip():
            place += 1
            continue
        place, block = _next_block(lines, place)
        blocks.extend(part for part in block if part.strip())
    return _joined_code(blocks)


def inline(text: str) -> str:
    """One paragraph on one line, with roles, links and escapes of reStructuredText turned into Markdown."""
    text = _reflow(text)
    text = _ROLE.sub(_role_text, text)
    text = _LINK.sub(r"\1 (\2)", _FIELD.sub(r"\1: ", text))
    text = _REFERENCE.sub(r"\1", _CITATION.sub("", text))
    pieces = _DOUBLE.split(text)
    for index in range(0, len(pieces), 2):
        plain = _NAMED_LINK.sub(lambda m: m.group(1) if m.group(0).endswith("_") else m.group(0), pieces[index])
        plain = _SHORTENED.sub(r"`\2`", _SUBSTITUTION.sub(r"\1", plain))
        pieces[index] = _ESCAPE.sub(r"\1", plain)
    for index in range(1, len(pieces), 2):
        pieces[index] = f"`{pieces[index]}`"
    return "".join(pieces).strip()


def _role_text(match: re.Match[str]) -> str:
    """The shown text of a role: `~a.b.c` is `c`, `text <target>` is text, mathematics stays between dollars."""
    role, text = match.group(0).split("`", 1)[0].strip(":"), match.group(1).strip()
    titled = _TITLED.match(text)
    if titled and titled.group(1):
        return titled.group(1)
    if role == "math":
        return f"${text}$"
    if role in ("ref", "doc", "term", "emphasis", "strong", "rfc", "pep", "abbr"):
        return text
    return f"`{text.rsplit('.', 1)[-1] if text.startswith('~') else text.lstrip('!')}`"


def _next_block(lines: list[str], place: int) -> tuple[int, list[str]]:
    """Where the next block ends, and its Markdown (nothing when it is dropped)."""
    line = lines[place]
    if line.lstrip().startswith("```"):
        end = next((i + 1 for i in range(place + 1, len(lines)) if lines[i].strip() == "```"), len(lines))
        return end, [_markdown_fence(lines[place:end])]
    admonition = _MARKDOWN_ADMONITION.match(line)
    if admonition:
        end = _indented_end(lines, place + 1, _indent(line))
        return end, _admonition(admonition.group(1) or "", admonition.group(2) or "", lines[place + 1 : end])
    if _indent(line) >= 4 and _announced(lines, place) and _CODE_SIGNS.search(line):
        end = _indented_end(lines, place, 3)
        return end, [_fence(textwrap.dedent("\n".join(lines[place:end])), "")]
    directive = _DIRECTIVE.match(line)
    if directive:
        end = _indented_end(lines, place + 1, _indent(line))
        return end, _directive(directive.group(2), directive.group(3), lines[place + 1 : end])
    if _FOOTNOTE.match(line):
        return _indented_end(lines, place + 1, _indent(line)), []
    if line.lstrip().startswith(">>>"):
        end = _blank_after(lines, place)
        return end, [_fence(_DOCTEST_NOTE.sub("", textwrap.dedent("\n".join(lines[place:end]))), "python")]
    end = _blank_after(lines, place)
    # A doctest may follow its sentence without a blank line between.
    end = next((i for i in range(place + 1, end) if lines[i].lstrip().startswith(">>>")), end)
    end = next((i for i in range(place + 1, end) if _starts_other_block(lines[i])), end)
    paragraph = lines[place:end]
    if any(_TABLE_RULE.match(row) for row in paragraph):
        return end, [_fence(textwrap.dedent("\n".join(paragraph)), "")]
    if paragraph[-1].rstrip().endswith("::"):
        return _literal(lines, place, end)
    if _BULLET.match(line):
        end = _list_end(lines, place)
        return end, [_list(lines[place:end])]
    return end, [inline(" ".join(paragraph))]


def _starts_other_block(line: str) -> bool:
    return bool(_DIRECTIVE.match(line) or _MARKDOWN_ADMONITION.match(line)) or line.lstrip().startswith("```")


def _announced(lines: list[str], place: int) -> bool:
    """Whether the words before a block end in a colon, so that the block is what they speak of."""
    before = next((line.rstrip() for line in reversed(lines[:place]) if line.strip()), "")
    return before.endswith(":") and not _BULLET.match(lines[place])


def _markdown_fence(lines: list[str]) -> str:
    """A fence of Markdown as it is, with the bare name of its language."""
    language = re.match(r"\s*```(\w*)", lines[0])
    body = lines[1:-1] if lines[-1].strip() == "```" else lines[1:]
    return _fence(textwrap.dedent("\n".join(body)), language.group(1) if language else "")


def _admonition(kind: str, title: str, body: list[str]) -> list[str]:
    """A note or a tab of Markdown: its words under its title; an "abstract" only points to another page."""
    inner = to_blocks("\n".join(body))
    if kind == "abstract" or not inner:
        return []
    title = (title or kind.capitalize()).rstrip(":")
    return [f"{title}:", *inner] if inner[0].startswith("```") else [f"{title}: {inner[0]}", *inner[1:]]


def _literal(lines: list[str], place: int, end: int) -> tuple[int, list[str]]:
    """A paragraph that ends in `::` and the indented code after it."""
    code_end = _indented_end(lines, end, _indent(lines[end - 1]))
    said = inline(" ".join(lines[place:end])).removesuffix("::").rstrip()
    said = f"{said}:" if said and said[-1] not in ":.;" else said
    return code_end, [said, _fence(textwrap.dedent("\n".join(lines[end:code_end])), "")]


def _directive(name: str, argument: str, body: list[str]) -> list[str]:
    options_end = next((i for i, line in enumerate(body) if not re.match(r"^\s*:[\w-]+:", line)), len(body))
    text = textwrap.dedent("\n".join(body[options_end:])).strip("\n")
    if name == "math":
        formula = " ".join(f"{argument}\n{text}".split())
        return [f"$${formula}$$"] if formula else []
    if name in _CODE_DIRECTIVES:
        return [_fence(text, argument if argument.isalpha() else "")]
    if name in _PROSE_DIRECTIVES:
        inner = to_blocks(f"{argument}\n{text}" if name != "admonition" else text)
        return [f"{name.capitalize()}: {inner[0]}", *inner[1:]] if inner else []
    return []


def _list(lines: list[str]) -> str:
    """A list with one item a line, whatever the width it was wrapped to."""
    base = _indent(lines[0])
    items: list[list[str]] = []
    for line in lines:
        if _BULLET.match(line) and line.strip():
            items.append([line])
        elif line.strip():
            items[-1].append(line)
    shown = []
    for item in items:
        depth = max(0, _indent(item[0]) - base)
        mark, rest = _BULLET.match(item[0]), _BULLET.sub("", item[0], count=1)
        label = mark.group(1) if mark else "-"
        label = "-" if label in "*+•-" else label
        shown.append(f"{' ' * (2 * (depth // 2))}{label} {inline(' '.join([rest, *item[1:]])).removesuffix('::')}")
    return "\n".join(shown)


def _list_end(lines: list[str], place: int) -> int:
    """A list goes on over blank lines as long as another item, or an indented line, follows."""
    base, end = _indent(lines[place]), place
    while end < len(lines):
        if not lines[end].strip():
            following = next((i for i in range(end, len(lines)) if lines[i].strip()), None)
            if following is None or _DIRECTIVE.match(lines[following]) or ">>>" in lines[following]:
                break
            if lines[end - 1].rstrip().endswith("::"):
                break
            if not (_indent(lines[following]) == base and _BULLET.match(lines[following])):
                break
            end = following
        elif end > place and _indent(lines[end]) <= base and not _BULLET.match(lines[end]):
            break
        end += 1
    return end


def _joined_code(blocks: list[str]) -> list[str]:
    """Neighbouring doctests as one fence: a blank line between two of them is not a new example."""
    joined: list[str] = []
    for block in blocks:
        if joined and block.startswith("```python\n") and joined[-1].startswith("```python\n"):
            joined[-1] = joined[-1].removesuffix("\n```") + "\n\n" + block.removeprefix("```python\n")
        else:
            joined.append(block)
    return joined


def _fence(code: str, language: str) -> str:
    code = code.replace("<BLANKLINE>", "").strip("\n").rstrip()
    return f"```{language}\n{code}\n```" if code.strip() and "```" not in code else ""


def _reflow(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _indented_end(lines: list[str], place: int, base: int) -> int:
    """The first line at or after `place` that is not blank and not deeper than `base`."""
    while place < len(lines) and (not lines[place].strip() or _indent(lines[place]) > base):
        place += 1
    return place


def _blank_after(lines: list[str], place: int) -> int:
    return next((i for i in range(place, len(lines)) if not lines[i].strip()), len(lines))
