"""The tasks by name."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from setsail.base.errors import RecipeError, did_you_mean
from setsail.base.recipe_prefer import PREFERENCE
from setsail.tasks import pairs, passage, preference
from setsail.tasks.reading import Reading
from setsail.tasks.task import ReadRow, Task

PASSAGE = "passage"
PAIRS = "pairs"
TASKS = {
    "chat": "setsail.tasks.chat:TASK",
    "text": "setsail.tasks.text:TASK",
    "classify": "setsail.tasks.classify:TASK",
    "translate": "setsail.tasks.pairs:TRANSLATE",
    "summarize": "setsail.tasks.pairs:SUMMARIZE",
    "rewrite": "setsail.tasks.pairs:REWRITE",
    "regress": "setsail.tasks.regress:TASK",
    "grade": "setsail.tasks.grade:TASK",
    "tag": "setsail.tasks.tag:TASK",
    "relate": "setsail.tasks.relate:TASK",
    "answer": "setsail.tasks.answer:TASK",
    "embed": "setsail.tasks.embed:TASK",
    "rank": "setsail.tasks.rank:TASK",
}
# What `classify` becomes where rows have several labels: the rows choose it, not the recipe.
VARIANTS = {"labels": "setsail.tasks.labels:TASK"}
READINGS = {
    name: f"setsail.tasks.{name}:READING"
    for name in ("classify", "labels", "regress", "grade", "tag", "relate", "answer")
}


def find_task(name: str) -> Task:
    """The task of that name. Raises: RecipeError for an unknown one."""
    return _find(name, {**TASKS, **VARIANTS} if name in VARIANTS else TASKS)


def find_reading(name: str) -> Reading:
    """How a task says something of a text. Raises: RecipeError for one that does not."""
    return _find(name, READINGS)


def _find(name: str, registry: Mapping[str, str]) -> Any:
    if name not in registry:
        raise RecipeError(f'there is no task "{name}"', place="task", hint=did_you_mean(name, registry))
    module, _, attribute = registry[name].partition(":")
    return getattr(import_module(module), attribute)


def find_example(reads: str) -> ReadRow:
    """How rows are read for a task of that name, or in one of the other ways.

    As a "passage" a text is seen whole, as "pairs" one is read and another written, as a "preference" two are compared.
    """
    ways: dict[str, ReadRow] = {PASSAGE: passage.example, PAIRS: pairs.example, PREFERENCE: preference.example}
    return ways[reads] if reads in ways else find_task(reads).example
