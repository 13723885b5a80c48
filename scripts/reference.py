"""Writes docs/reference/recipe.md from the recipe's own models; `--check` only says whether it is up to date."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from setsail.base.recipe import Recipe

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "recipe.md"


def main() -> int:
    text = page()
    if "--check" in sys.argv:
        return int(not PAGE.exists() or PAGE.read_text("utf-8") != text)
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(text, encoding="utf-8")
    print(PAGE)
    return 0


def page() -> str:
    """The reference of every key, with its type and its default."""
    lines = ["# Recipe reference", "", "Made by `make docs` from `src/setsail/base/recipe.py`.", ""]
    for name, model in parts(Recipe, ""):
        lines += [
            f"## {name or 'recipe'}",
            "",
            cleandoc(model.__doc__ or ""),
            "",
            "| key | kind | default |",
            "|---|---|---|",
        ]
        for key, field in model.model_fields.items():
            lines.append(f"| `{name + '.' if name else ''}{key}` | {kind(field.annotation)} | {default(field)} |")
        lines.append("")
    return "\n".join(lines)


def parts(model: type[BaseModel], name: str) -> Iterator[tuple[str, type[BaseModel]]]:
    """The model and those inside it, those that may be left out too, by their path."""
    yield name, model
    for key, field in model.model_fields.items():
        for inner in (field.annotation, *get_args(field.annotation)):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                yield from parts(inner, f"{name}.{key}".lstrip("."))


def kind(annotation: Any) -> str:
    """A type in words, without the conditions on it."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return kind(inner[0])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin in (Union, UnionType):
        return " or ".join("none" if part is NoneType else kind(part) for part in inner)
    if origin is tuple:
        return f"list of {kind(inner[0])}"
    if origin is dict:
        return "map"
    return {"str": "text", "int": "whole number", "float": "number"}.get(annotation.__name__, "see below")


def default(field: Any) -> str:
    if field.default is PydanticUndefined:
        return "needed"
    return "see below" if isinstance(field.default, BaseModel) else f"`{field.default}`"


if __name__ == "__main__":
    sys.exit(main())
