"""Strict YAML 1.2: plain values, and the line on which each key stands.

No tags, no anchors, no duplicate keys: a recipe is data. Nodes are read, never constructed, so nothing in it can run.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from setsail.base.errors import RecipeError

MAX_BYTES = 1 << 20
_CORE = "tag:yaml.org,2002:"

Lines = dict[tuple[str | int, ...], int]


def read_yaml(path: Path) -> tuple[Any, Lines]:
    """A file's values, and for each key's path the line it stands on.

    Raises:
        RecipeError: missing, too large, not UTF-8, not YAML, or using tags, anchors or a key twice.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RecipeError(
                f"a recipe of {path.stat().st_size:,} bytes", place=str(path), hint="recipes are small files"
            )
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        near = ", ".join(sorted(found.name for found in path.parent.glob("*.yaml"))) if path.parent.is_dir() else ""
        hint = f"there is {near}" if near else "setsail init --data FILE writes one"
        raise RecipeError(f'no recipe "{path}"', hint=hint) from None
    except UnicodeDecodeError as error:
        raise RecipeError(
            f"byte {error.start} is not UTF-8", place=str(path), hint="save the recipe as UTF-8"
        ) from error
    except OSError as error:
        raise RecipeError(f"it cannot be read: {error.strerror}", place=str(path)) from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, place: str) -> tuple[Any, Lines]:
    """As `read_yaml`, from text; `place` names it in messages."""
    try:
        node = YAML(typ="safe", pure=True).compose(io.StringIO(text))
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise RecipeError(f"not YAML: {error.problem}", place=f"{place}:{line}") from error
    except (YAMLError, ValueError) as error:
        raise RecipeError(f"not YAML: {str(error).splitlines()[0]}", place=place) from error
    if node is None:
        return {}, {}
    lines: Lines = {}
    return _plain(node, (), lines, place, seen=set()), lines


def dump_yaml(values: Mapping[str, Any]) -> str:
    """Values as block-style YAML, keys in their given order."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.allow_unicode = True
    yaml.representer.sort_base_mapping_type_on_output = False
    out = io.StringIO()
    yaml.dump(dict(values), out)
    return out.getvalue()


def _plain(node: Node, path: tuple[str | int, ...], lines: Lines, place: str, seen: set[int]) -> Any:
    at = f"{place}:{node.start_mark.line + 1}"
    if id(node) in seen:
        raise RecipeError("anchors and aliases (& and *) are not read", place=at, hint="write the value out")
    seen.add(id(node))
    if isinstance(node, ScalarNode):
        return _scalar(node, at)
    if isinstance(node, SequenceNode):
        _refuse_tag(node, "seq", at)
        return [_plain(item, (*path, index), lines, place, seen) for index, item in enumerate(node.value)]
    assert isinstance(node, MappingNode)
    _refuse_tag(node, "map", at)
    values: dict[str, Any] = {}
    for key_node, value_node in node.value:
        here = f"{place}:{key_node.start_mark.line + 1}"
        if not isinstance(key_node, ScalarNode):
            raise RecipeError("a key must be a word", place=here)
        key = str(key_node.value)
        if key in values:
            raise RecipeError(f'the key "{key}" stands here twice', place=here, hint="keep one of them")
        lines[(*path, key)] = key_node.start_mark.line + 1
        values[key] = _plain(value_node, (*path, key), lines, place, seen)
    return values


def _refuse_tag(node: Node, core: str, at: str) -> None:
    if node.tag != _CORE + core:
        raise RecipeError(f"the tag {node.tag} is not read", place=at, hint="a recipe holds plain values only")


def _scalar(node: ScalarNode, at: str) -> Any:
    kind = node.tag.removeprefix(_CORE)
    if kind == "null":
        return None
    if kind == "bool":
        return node.value.lower() == "true"
    if kind == "int":
        return int(node.value.replace("_", ""), 0) if not node.value.lstrip("+-").isdigit() else int(node.value)
    if kind == "float":
        return float(node.value.replace("_", "").replace(".inf", "inf").replace(".nan", "nan").replace(".NaN", "nan"))
    if kind in ("str", "timestamp"):
        return node.value
    raise RecipeError(f"the tag {node.tag} is not read", place=at, hint="a recipe holds plain values only")
