"""The grammar of the JSON texts that a schema allows, as GBNF, which all engines of ours read.

Pure text, no schema is judged here (see `json_schema`). What is written is a part of what JSON allows: on one line with
", " and ": " as Python writes it, numbers of up to 15 digits without an exponent, no \\u escapes, and any value at most
`DEEPEST_VALUE` deep. So an answer is never lost in spaces, every string is text, and whatever is complete can be read.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

DEEPEST_VALUE = 5
_DIGITS = 15
# Cut where UTF-8 begins with another byte or gets longer: within a longer range xgrammar lets damaged bytes through.
_LETTERS = (
    "\u00a1-\u07ff\u0800-\u0fff\u1000-\ucfff\ud000-\ud7ff\ue000-\uefff\uf000-\ufffc"
    "\U00010000-\U0003ffff\U00040000-\U000effff"
)
_RULES = {
    # Any character but quotes, backslashes, controls, surrogates and the sign of damaged text; each end of a range as
    # itself, since engines differ in how they read escapes.
    "char": r"[ !#-\[\]-~" + _LETTERS + r'] | "\\" ["\\/bfnrt]',
    "string": r'"\"" char* "\""',
    "whole": r'"-"? ("0" | [1-9] [0-9]{0,14})',
    "number": r'whole ("." [0-9]{1,15})?',
    "boolean": r'"true" | "false"',
    "null": r'"null"',
}


def literal(text: str) -> str:
    """A text that stands as it is.

    >>> print(literal('"a\\\\b"'))
    "\\"a\\\\b\\""
    """
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() or ord(c) > 0x9F else f"\\x{ord(c):02X}" for c in escaped) + '"'


def said(value: Any) -> str:
    """One value, written."""
    return literal(json.dumps(value, ensure_ascii=False, allow_nan=False))


def one_of(parts: Sequence[str]) -> str:
    """Any of several."""
    return parts[0] if len(parts) == 1 else "(" + " | ".join(parts) + ")"


def repeated(part: str, least: int, most: int | None) -> str:
    """Between `least` and `most` times."""
    if most is None:
        return f"{part}*" if least == 0 else f"{part}{{{least},}}"
    return f"{part}{{{least},{most}}}"


class Grammar:
    """Rules as they come; each is made once."""

    def __init__(self) -> None:
        self._rules: dict[str, str] = {}

    def text(self, root: str) -> str:
        """The whole grammar."""
        return "".join(f"{name} ::= {body}\n" for name, body in {"root": root, **self._rules}.items())

    def add(self, body: str) -> str:
        """A new rule's name."""
        name = f"r{len(self._rules)}"
        self._rules[name] = body
        return name

    def known(self, name: str) -> str:
        """One of the rules that every grammar may need: char, string, whole, number, boolean, null."""
        if name not in self._rules:
            self._rules[name] = _RULES[name]
            for needed in ("char", "whole"):
                if needed != name and needed in _RULES[name]:
                    self.known(needed)
        return name

    def value(self, depth: int = DEEPEST_VALUE) -> str:
        """Any value that is at most so deep."""
        name = f"value{depth}"
        if name not in self._rules:
            self._rules[name] = ""  # keeps its place before those inside it
            parts = [self.known(each) for each in ("string", "number", "boolean", "null")]
            if depth:
                parts += [self.map_of(self.value(depth - 1)), self.array(self.value(depth - 1), 0, None)]
            self._rules[name] = " | ".join(parts)
        return name

    def string(self, least: int, most: int | None) -> str:
        """A string of so many characters."""
        if (least, most) == (0, None):
            return self.known("string")
        return f'"\\"" {repeated(self.known("char"), least, most)} "\\""'

    def whole(self, least: int | None, most: int | None) -> str:
        """A whole number within bounds, both included; where one is missing it has up to 15 digits."""
        if least is None and most is None:
            return self.known("whole")
        largest = 10**_DIGITS - 1
        low, high = (-largest if least is None else least), (largest if most is None else most)
        parts = [f'"-" {body}' for body in _between(max(1, -high), -low)] if low < 0 else []
        parts += _between(max(low, 0), high) if high >= 0 else []
        return one_of(parts)

    def array(self, item: str, least: int, most: int | None) -> str:
        """A list of so many items."""
        if most == 0:
            return literal("[]")
        more = repeated(f'(", " {item})', max(least - 1, 0), None if most is None else most - 1)
        items = f"{item} {more}" if most != 1 else item
        return f'"[" {items} "]"' if least else f'"[" ({items})? "]"'

    def map_of(self, value: str, *, least: int = 0) -> str:
        """An object with any names; with none of them, unless `least` is 1."""
        pair = f'{self.known("string")} ": " {value}'
        pairs = f'{pair} (", " {pair})*'
        return f'"{{" {pairs} "}}"' if least else f'"{{" ({pairs})? "}}"'

    def object(self, pairs: Sequence[tuple[str, str, bool]]) -> str:
        """An object with these names in this order, each with its value and whether it must be there."""
        rest: str | None = None  # what may follow once a pair was written
        start: str | None = None  # what may stand at the beginning
        for name, value, is_needed in reversed(pairs):
            pair = f"{literal(json.dumps(name, ensure_ascii=False) + ': ')} {value}"
            begun = f"{pair} {rest}" if rest else pair
            later = f"{begun} | {start}" if start else f"({begun})?"
            rest_body = f'", " {pair}' if is_needed else f'(", " {pair})?'
            rest = self.add(f"{rest_body} {rest}" if rest else rest_body)
            start = self.add(begun if is_needed else later)
        return f'"{{" {start} "}}"' if start else literal("{}")


def _between(low: int, high: int) -> list[str]:
    """Alternatives for the numbers from `low` to `high`, neither negative, without leading zeros."""
    parts: list[str] = []
    while low <= high:
        same = min(high, 10 ** len(str(low)) - 1)
        parts += _same_length(str(low), str(same))
        low = same + 1
    return parts


def _same_length(low: str, high: str) -> list[str]:
    """Numbers between two of the same length, by their first digit."""
    if low == high:
        return [literal(low)]
    rest = len(low) - 1
    if not rest:
        return [f"[{low}-{high}]"]
    if low[0] == high[0]:
        return [f"{literal(low[0])} {one_of(_same_length(low[1:], high[1:]))}"]
    parts: list[str] = []
    first, last = int(low[0]), int(high[0])
    if low[1:] != "0" * rest:
        parts.append(f"{literal(low[0])} {one_of(_same_length(low[1:], '9' * rest))}")
        first += 1
    if high[1:] != "9" * rest:
        last -= 1
    if first <= last:
        parts.append(f"[{first}-{last}] {repeated('[0-9]', rest, rest)}")
    if high[1:] != "9" * rest:
        parts.append(f"{literal(high[0])} {one_of(_same_length('0' * rest, high[1:]))}")
    return parts
