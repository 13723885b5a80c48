"""Schemas: what is refused names its place, what is bounded stays so, and an engine without grammars says so."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from setsail.serve.errors import ApiError
from setsail.serve.json_grammar import Grammar, literal
from setsail.serve.json_schema import DEEPEST_SCHEMA, PLACE, grammar_of

from .conftest import Running


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "null"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


LOOP = {
    "$ref": "#/$defs/a",
    "$defs": {"a": {"type": "array", "items": {"$ref": "#/$defs/b"}}, "b": {"$ref": "#/$defs/a"}},
}
WRONG: list[tuple[Any, str, str]] = [
    ({"type": "nonsense"}, ".type", "there is no type"),
    ({"type": "strin"}, ".type", 'did you mean "string"'),
    ({"type": []}, ".type", "there is no type"),
    ({"type": 5}, ".type", "there is no type 5"),
    ({"properties": []}, ".properties", "must be an object"),
    ({"properties": {"a": 5}}, ".properties.a", "must be a schema"),
    ({"properties": {"a": False}}, ".properties.a", "must be a schema"),
    (
        {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "str"}}}},
        ".properties.a.items.type",
        "",
    ),
    ({"properties": {}, "required": "a"}, ".required", "list of names"),
    ({"properties": {}, "required": ["a"], "additionalProperties": False}, ".required", "is no property"),
    ({"properties": {"a": True}, "additionalProperties": 5}, ".additionalProperties", "must be true, false"),
    ({"type": "string", "pattern": "a+"}, ".pattern", "not supported"),
    ({"type": "string", "format": "date"}, ".format", "check the text yourself"),
    ({"oneOf": [{"type": "null"}]}, ".oneOf", "use anyOf"),
    ({"anyOf": []}, ".anyOf", "list of schemas"),
    ({"anyOf": [{"type": "null"}, {"type": "x"}]}, ".anyOf[1].type", ""),
    ({"anyOf": [{"type": "null"}], "type": "null"}, ".type", "beside anyOf"),
    ({"allOf": [{"type": "null"}, {}]}, ".allOf", "one schema"),
    ({"enum": []}, ".enum", "list of 1 to"),
    ({"enum": list(range(1001))}, ".enum", "list of 1 to"),
    ({"enum": ["a", 1], "type": "string"}, ".enum", "1 is not of the type"),
    ({"const": True, "type": "integer"}, ".const", "true is not of the type"),
    ({"type": "number", "minimum": 0}, ".minimum", "not supported for number"),
    ({"type": "integer", "minimum": 5, "maximum": 4}, "", "no whole number is from 5 to 4"),
    ({"type": "integer", "minimum": 0.5}, ".minimum", "whole number"),
    ({"type": "integer", "maximum": 10**30}, ".maximum", "15 digits"),
    ({"type": "integer", "multipleOf": 2}, ".multipleOf", "not supported"),
    ({"type": "string", "minimum": 5}, ".minimum", "not supported for string"),
    ({"type": "string", "maxLength": 2001}, ".maxLength", "from 0 to 2000"),
    ({"type": "string", "minLength": -1}, ".minLength", "from 0 to 2000"),
    ({"type": "string", "minLength": True}, ".minLength", "whole number"),
    ({"type": "string", "minLength": 3, "maxLength": 2}, ".minLength", "more than maxLength"),
    ({"type": "array", "maxItems": 10**9}, ".maxItems", "from 0 to 500"),
    ({"type": "array", "uniqueItems": True}, ".uniqueItems", "not supported"),
    ({"type": "array", "prefixItems": [{}]}, ".prefixItems", "not supported"),
    ({"typ": "array"}, ".typ", 'did you mean "type"'),
    ({"$ref": "#"}, ".$ref", "holds itself"),
    (LOOP, ".$defs.b.$ref", "holds itself"),
    ({"type": "object", "properties": {"child": {"$ref": "#"}}}, ".properties.child.$ref", "holds itself"),
    ({"$ref": "#/$defs/x"}, ".$ref", "there is nothing at"),
    ({"$ref": "https://example.com/schema.json"}, ".$ref", "point into this schema"),
    ({"$ref": 5}, ".$ref", "point into this schema"),
    ({"$ref": "#/$defs/x", "type": "null", "$defs": {"x": {}}}, ".type", "beside $ref"),
    (nested(DEEPEST_SCHEMA + 1), "", "levels deep"),
    ({"properties": {f"p{n}": {"type": "null"} for n in range(1000)}}, "", "more than 1000 parts"),
    ({"enum": ["x" * 70_000]}, "", "a schema may have 65536"),
    ({"const": "\ud800"}, "", "UTF-8"),
    ({"const": float("inf")}, "", "must be JSON"),
]


@pytest.mark.parametrize(("schema", "place", "told"), WRONG)
def test_a_schema_that_cannot_be_kept_to_is_refused_by_its_place(schema: Any, place: str, told: str) -> None:
    with pytest.raises(ApiError) as caught:
        grammar_of(schema)
    assert (caught.value.status, caught.value.code) == (400, "invalid_schema")
    said = f"{caught.value.message} {caught.value.hint}"
    assert told in said and caught.value.param is not None
    assert caught.value.param.startswith(PLACE) and caught.value.param.endswith(place or caught.value.param)
    assert len(said) < 700


def test_what_grows_with_a_schema_is_bounded() -> None:
    """References are rules, not copies: what doubles seven times over stays small."""
    doubling: dict[str, Any] = {"d0": {"type": "null"}}
    for level in range(1, 8):
        one = {"$ref": f"#/$defs/d{level - 1}"}
        doubling[f"d{level}"] = {"type": "object", "properties": {"a": one, "b": one}, "required": ["a"]}
    started = time.monotonic()
    assert len(grammar_of({"$ref": "#/$defs/d7", "$defs": doubling})) < 10_000
    wide = {"type": "object", "properties": {f"p{n}": {"type": "integer", "minimum": n} for n in range(900)}}
    assert len(grammar_of(wide)) < 2_000_000
    assert time.monotonic() - started < 20.0


@given(st.integers(-(10**6), 10**6), st.integers(0, 10**6), st.integers(-2 * 10**6, 2 * 10**6))
def test_whole_numbers_within_bounds_are_those_and_no_others(low: int, span: int, number: int) -> None:
    pattern = Grammar().whole(low, low + span).replace('"', "").replace(" ", "")
    for each in {low, low + span, low - 1, low + span + 1, number}:
        assert bool(re.fullmatch(f"(?:{pattern})", str(each))) == (low <= each <= low + span), pattern


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_literal_says_its_text(text: str) -> None:
    written = literal(text)
    unescaped = re.sub(r"\\x([0-9A-F]{2})|\\(.)", lambda m: chr(int(m[1], 16)) if m[1] else m[2], written[1:-1])
    assert written[0] == written[-1] == '"' and unescaped == text and "\n" not in written


@pytest.mark.parametrize(
    ("wanted", "status", "told"),
    [
        ({"type": "text"}, 200, ""),
        (None, 200, ""),
        ({"type": "json_object"}, 400, "the engine echo of support cannot hold answers to it"),
        ({"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "null"}}}, 400, "--engine llamacpp"),
        ({"type": "json_schema", "json_schema": {"schema": {"type": "nul"}}}, 400, "json_schema.schema.type"),
        ({"type": "json_schema"}, 400, "needs json_schema"),
        ({"type": "json_object", "json_schema": {"schema": {}}}, 400, "takes no json_schema"),
        ({"type": "json_schema", "json_schema": {"name": "a"}}, 400, "schema is missing"),
        ({"type": "json_schema", "json_schema": {"schema": 5}}, 400, "response_format.json_schema.schema"),
        ({"type": "json_schema", "json_schema": {"schema": {}, "scheme": {}}}, 422, "unknown field"),
        ({"type": "grammar"}, 400, "response_format.type"),
        ("json_object", 400, "response_format"),
    ],
)
def test_response_format_in_a_request(server: Running, wanted: Any, status: int, told: str) -> None:
    for stream in (False, True):
        response = server.chat(response_format=wanted, stream=stream)
        assert response.status_code == status and (status == 200 or told in response.json()["error"]["message"])


def test_what_cannot_stand_beside_a_response_format(server: Running) -> None:
    tool = {"type": "function", "function": {"name": "f"}}
    wanted = {"type": "json_object"}
    for more in ({"stop": ["x"]}, {"tools": [tool]}):
        refused = server.chat(response_format=wanted, **more)
        assert refused.status_code == 400 and "beside" in refused.json()["error"]["message"]
    body = {"model": "support", "prompt": "x", "response_format": wanted}
    assert server.post("/v1/completions", body).status_code == 400


def test_a_schema_of_a_megabyte_is_refused_quickly(server: Running) -> None:
    schema = {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(40_000)}}
    assert 1_000_000 < len(json.dumps(schema)) < 2_000_000
    started = time.monotonic()
    refused = server.chat(response_format={"type": "json_schema", "json_schema": {"schema": schema}})
    assert refused.status_code == 400 and "a schema may have 65536" in refused.json()["error"]["message"]
    assert time.monotonic() - started < 10.0
