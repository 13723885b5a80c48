"""A client's JSON schema, judged and turned into the grammar of what it allows (`json_grammar`).

Every word is either kept to or refused by its place; words that only describe are passed over. The invariant: whatever
the grammar lets through is valid by the schema. It may be less: an object that lists its properties gets no others, and
values are written in one of the ways in which JSON can write them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from setsail.base.errors import did_you_mean
from setsail.serve.errors import ApiError, shown
from setsail.serve.json_grammar import Grammar, one_of, said

LARGEST_SCHEMA_BYTES = 65_536
DEEPEST_SCHEMA = 16
MOST_PARTS = 1000  # schemas within the schema
MOST_VALUES = 1000  # of one enum
LONGEST_STRING = 2000  # minLength and maxLength
MOST_ITEMS = 500  # minItems and maxItems
LARGEST_WHOLE = 10**15 - 1
PLACE = "response_format.json_schema.schema"

_DESCRIBING = {
    *("title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "$comment", "$schema"),
}
_HELD = {"$defs", "definitions"}
_BY_TYPE: dict[str, set[str]] = {
    "object": {"properties", "required", "additionalProperties"},
    "array": {"items", "minItems", "maxItems"},
    "string": {"minLength", "maxLength"},
    "integer": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"},
    "number": set(),
    "boolean": set(),
    "null": set(),
}
_KNOWN = {"type", "anyOf", "const", "enum", "$ref", "allOf", *set().union(*_BY_TYPE.values())}
_HINTS = {
    "oneOf": "use anyOf",
    "pattern": "use enum, or check the text yourself",
    "format": "leave it out, and check the text yourself",
    "uniqueItems": "leave it out, and check the list yourself",
    "prefixItems": "use an object with a name for each item",
}


def grammar_of_any_object() -> str:
    """The grammar of `{"type": "json_object"}`: any object that is not too deep, and not empty.

    A small model that may write `{}` does, since that is the shortest way out.
    """
    grammar = Grammar()
    return grammar.text(grammar.map_of(grammar.value(), least=1))


def grammar_of(schema: Mapping[str, Any]) -> str:
    """The grammar of what a schema allows. Raises: `ApiError` 400 with the place of what cannot be kept to."""
    try:
        size = len(json.dumps(schema, ensure_ascii=False, allow_nan=False).encode())
    except (UnicodeEncodeError, ValueError, RecursionError):
        raise _wrong(PLACE, "must be JSON with texts that UTF-8 can write, and not too deep") from None
    if size > LARGEST_SCHEMA_BYTES:
        raise _wrong(PLACE, f"has {size} bytes; a schema may have {LARGEST_SCHEMA_BYTES}")
    reading = _Reading(schema)
    root = reading.rule(schema, PLACE, 0)
    return reading.grammar.text(root)


def _wrong(place: str, told: str, hint: str | None = None) -> ApiError:
    return ApiError(400, f"{place}: {told}", code="invalid_schema", param=place, hint=hint)


class _Reading:
    """One schema on its way; `rule` gives the text that stands for a part of it."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self.grammar = Grammar()
        self._root = root
        self._named: dict[str, str] = {}  # by reference
        self._open: list[str] = []
        self._num_parts = 0

    def rule(self, schema: Any, place: str, depth: int) -> str:
        self._num_parts += 1
        if self._num_parts > MOST_PARTS:
            raise _wrong(place, f"the schema has more than {MOST_PARTS} parts")
        if depth > DEEPEST_SCHEMA:
            raise _wrong(place[:200], f"is more than {DEEPEST_SCHEMA} levels deep")
        if schema is True or schema == {}:
            return self.grammar.value()
        if not isinstance(schema, dict):
            raise _wrong(place, f"must be a schema (an object), not {shown(schema)}")
        words = {word: value for word, value in schema.items() if word not in _DESCRIBING | _HELD}
        self._refuse_unknown(words, place)
        for word in ("$ref", "allOf", "anyOf", "const", "enum"):
            if word in words:
                return getattr(self, f"_{word.strip('$').lower()}")(words, place, depth)
        return self._typed(words, place, depth)

    def _refuse_unknown(self, words: Mapping[str, Any], place: str) -> None:
        for word, value in words.items():
            if word in _KNOWN or (word == "uniqueItems" and value is False):
                continue
            hint = _HINTS.get(word) or did_you_mean(word, _KNOWN | _DESCRIBING | _HELD)
            raise _wrong(f"{place}.{word[:80]}", "is not supported by this server", hint)

    def _alone(self, words: Mapping[str, Any], word: str, place: str, beside: Iterable[str] = ()) -> None:
        other = next((each for each in words if each != word and each not in beside), None)
        if other is not None:
            raise _wrong(f"{place}.{other[:80]}", f"beside {word} is not supported", f"write it inside {word}")

    def _ref(self, words: Mapping[str, Any], place: str, depth: int) -> str:
        self._alone(words, "$ref", place)
        reference, here = words["$ref"], f"{place}.$ref"
        if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
            raise _wrong(here, f"must point into this schema, got {shown(reference)}", 'write "#/$defs/NAME"')
        if reference in self._open or reference == "#":
            raise _wrong(here, f"{shown(reference)} holds itself; schemas without an end are not supported")
        if reference not in self._named:
            target: Any = self._root
            for step in reference.removeprefix("#/").split("/"):
                step = step.replace("~1", "/").replace("~0", "~")
                if not isinstance(target, dict) or step not in target:
                    raise _wrong(here, f"there is nothing at {shown(reference)}")
                target = target[step]
            self._open.append(reference)
            self._named[reference] = self.grammar.add(
                self.rule(target, f"{PLACE}{reference[1:].replace('/', '.')}"[:300], depth + 1)
            )
            self._open.pop()
        return self._named[reference]

    def _allof(self, words: Mapping[str, Any], place: str, depth: int) -> str:
        """One alone, as some libraries wrap a reference."""
        self._alone(words, "allOf", place)
        parts = words["allOf"]
        if not isinstance(parts, list) or len(parts) != 1:
            raise _wrong(f"{place}.allOf", "is supported with one schema in it", "write one schema that says all")
        return self.rule(parts[0], f"{place}.allOf[0]", depth + 1)

    def _anyof(self, words: Mapping[str, Any], place: str, depth: int) -> str:
        self._alone(words, "anyOf", place)
        parts = words["anyOf"]
        if not isinstance(parts, list) or not parts:
            raise _wrong(f"{place}.anyOf", f"must be a list of schemas, not {shown(parts)}")
        rules = [self.rule(part, f"{place}.anyOf[{number}]", depth + 1) for number, part in enumerate(parts)]
        return self.grammar.add(" | ".join(rules))

    def _const(self, words: Mapping[str, Any], place: str, depth: int) -> str:
        return self._values([words["const"]], words, "const", place)

    def _enum(self, words: Mapping[str, Any], place: str, depth: int) -> str:
        values = words["enum"]
        if not isinstance(values, list) or not 1 <= len(values) <= MOST_VALUES:
            raise _wrong(f"{place}.enum", f"must be a list of 1 to {MOST_VALUES} values, not {shown(values)}")
        return self._values(values, words, "enum", place)

    def _values(self, values: list[Any], words: Mapping[str, Any], word: str, place: str) -> str:
        self._alone(words, word, place, beside=("type",))
        types = _types(words["type"], place) if "type" in words else ()
        strange = next((value for value in values if types and not any(_is(value, name) for name in types)), None)
        if types and strange is not None:
            raise _wrong(f"{place}.{word}", f"{shown(strange)} is not of the type that is asked for")
        return self.grammar.add(" | ".join(dict.fromkeys(map(said, values))))

    def _typed(self, words: Mapping[str, Any], place: str, depth: int) -> str:
        if "type" in words:
            types = _types(words["type"], place)
        else:
            types = tuple(name for name, own in _BY_TYPE.items() if own & set(words))[:1]
        fitting = set().union(*(_BY_TYPE[name] for name in types)) | {"type", "uniqueItems"}
        strange = next((word for word in words if word not in fitting), None)
        if strange is not None:
            told = f"is not supported for {' or '.join(types)}"
            hint = "leave it out, and check the number yourself" if "number" in types else None
            raise _wrong(f"{place}.{strange}", told, hint)
        return one_of([self._of_type(name, words, place, depth) for name in types])

    def _of_type(self, name: str, words: Mapping[str, Any], place: str, depth: int) -> str:
        match name:
            case "object":
                return self._object(words, place, depth)
            case "array":
                return self._array(words, place, depth)
            case "string":
                return self.grammar.string(*_bounds(words, "Length", LONGEST_STRING, place))
            case "integer":
                return self.grammar.whole(*_range(words, place))
        return self.grammar.known(name)

    def _object(self, words: Mapping[str, Any], place: str, depth: int) -> str:
        properties, required = words.get("properties", {}), words.get("required", [])
        others = words.get("additionalProperties", True)
        if not isinstance(properties, dict):
            raise _wrong(f"{place}.properties", f"must be an object of schemas, not {shown(properties)}")
        if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
            raise _wrong(f"{place}.required", f"must be a list of names, not {shown(required)}")
        unlisted = [name for name in dict.fromkeys(required) if name not in properties]
        if unlisted and others is False:
            raise _wrong(f"{place}.required", f"{shown(unlisted[0])} is no property, and no other may be there")
        if not properties and not unlisted and others is not False:
            return self.grammar.map_of(self.rule(others, f"{place}.additionalProperties", depth + 1))
        pairs = [
            (name, self.rule(value, f"{place}.properties.{name[:80]}", depth + 1), name in required)
            for name, value in properties.items()
        ]
        if isinstance(others, dict) or unlisted:
            # Judged even where nothing is made of it.
            rule = self.rule(others, f"{place}.additionalProperties", depth + 1)
            pairs += [(name, rule, True) for name in unlisted]
        elif not isinstance(others, bool):
            raise _wrong(f"{place}.additionalProperties", f"must be true, false or a schema, not {shown(others)}")
        return self.grammar.object(pairs)

    def _array(self, words: Mapping[str, Any], place: str, depth: int) -> str:
        least, most = _bounds(words, "Items", MOST_ITEMS, place)
        item = self.rule(words.get("items", True), f"{place}.items", depth + 1)
        return self.grammar.array(self.grammar.add(item), least, most)


def _types(value: Any, place: str) -> tuple[str, ...]:
    names = value if isinstance(value, list) else [value]
    unknown = next((name for name in names if not isinstance(name, str) or name not in _BY_TYPE), None)
    if unknown is not None or not names:
        hint = did_you_mean(unknown, _BY_TYPE) if isinstance(unknown, str) else f"known: {', '.join(_BY_TYPE)}"
        raise _wrong(f"{place}.type", f"there is no type {shown(unknown)}", hint)
    return tuple(dict.fromkeys(names))


def _is(value: Any, name: str) -> bool:
    kinds: dict[str, Any] = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}
    if name in kinds:
        return isinstance(value, kinds[name])
    return not isinstance(value, bool) and isinstance(value, int if name == "integer" else int | float)


def _bounds(words: Mapping[str, Any], what: str, largest: int, place: str) -> tuple[int, int | None]:
    """How short and how long."""
    for word in (f"min{what}", f"max{what}"):
        value = words.get(word, 0)
        if not _is(value, "integer") or not 0 <= value <= largest:
            raise _wrong(f"{place}.{word}", f"must be a whole number from 0 to {largest}, not {shown(value)}")
    least, most = words.get(f"min{what}", 0), words.get(f"max{what}")
    if most is not None and least > most:
        raise _wrong(f"{place}.min{what}", f"{least} is more than max{what}, {most}")
    return least, most


def _range(words: Mapping[str, Any], place: str) -> tuple[int | None, int | None]:
    """The least and the largest whole number."""
    for word in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
        value = words.get(word, 0)
        if not _is(value, "integer") or abs(value) > LARGEST_WHOLE:
            told = f"must be a whole number of up to 15 digits, not {shown(value)}"
            raise _wrong(f"{place}.{word}", told)
    lows = [words[w] + more for w, more in (("minimum", 0), ("exclusiveMinimum", 1)) if w in words]
    highs = [words[w] - less for w, less in (("maximum", 0), ("exclusiveMaximum", 1)) if w in words]
    low, high = max(lows, default=None), min(highs, default=None)
    if low is not None and high is not None and low > high:
        raise _wrong(place, f"no whole number is from {low} to {high}")
    return low, high
