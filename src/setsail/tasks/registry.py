"""The tasks by name."""

from __future__ import annotations

from importlib import import_module

from setsail.base.errors import RecipeError, did_you_mean
from setsail.tasks import passage
from setsail.tasks.task import ReadRow, Task

PASSAGE = "passage"
TASKS = {
    "chat": "setsail.tasks.chat:TASK",
    "text": "setsail.tasks.text:TASK",
    "classify": "setsail.tasks.classify:TASK",
}


def find_task(name: str) -> Task:
    """The task of that name. Raises: RecipeError for an unknown one."""
    if name not in TASKS:
        raise RecipeError(f'there is no task "{name}"', place="task", hint=did_you_mean(name, TASKS))
    module, _, attribute = TASKS[name].partition(":")
    return getattr(import_module(module), attribute)


def find_example(reads: str) -> ReadRow:
    """How rows are read for a task of that name, or as a "passage" by models that see a text whole."""
    return passage.example if reads == PASSAGE else find_task(reads).example
