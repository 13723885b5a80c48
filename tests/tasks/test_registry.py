from __future__ import annotations

from typing import get_args

import pytest

from setsail.base.errors import RecipeError
from setsail.base.recipe import Recipe
from setsail.tasks.registry import TASKS, find_task


@pytest.mark.parametrize("name", TASKS)
def test_every_task_is_there(name: str) -> None:
    assert find_task(name).name == name
    assert find_task(name).metrics


def test_the_tasks_are_those_that_a_recipe_may_name() -> None:
    assert set(get_args(Recipe.model_fields["task"].annotation)) == set(TASKS)


def test_an_unknown_task_gets_the_nearest() -> None:
    with pytest.raises(RecipeError, match='did you mean "chat"'):
        find_task("chatt")
