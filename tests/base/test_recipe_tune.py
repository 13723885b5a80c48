"""The search's part of a recipe: what is taken, and what is refused with the line and a hint."""

from __future__ import annotations

from pathlib import Path

import pytest

from setsail.base.errors import RecipeError
from setsail.base.recipe import Recipe
from setsail.base.recipe_file import load_recipe
from setsail.base.recipe_tune import Between

HEAD = "name: desk\ntask: classify\ndata: tickets.csv\ntune:\n"


def loaded(folder: Path, lines: str) -> Recipe:
    (folder / "desk.yaml").write_text(HEAD + lines, encoding="utf-8")
    return load_recipe(folder / "desk.yaml").recipe


def test_a_space_is_read_and_written_back(tmp_path: Path) -> None:
    recipe = loaded(
        tmp_path,
        "  budget_minutes: 1.5\n  space:\n    finetune.learning_rate: {low: 1e-5, high: 1e-3, log: true}\n"
        "    finetune.epochs: [2, 4]\n    base: [linear, {new: 1m, kind: lstm}]\n",
    )
    assert recipe.tune is not None and recipe.tune.parallel == 1 and recipe.tune.trials is None
    assert recipe.tune.space == {
        "finetune.learning_rate": Between(low=1e-5, high=1e-3, log=True),
        "finetune.epochs": (2, 4),
        "base": ("linear", {"new": "1m", "kind": "lstm"}),
    }
    assert Recipe.model_validate(recipe.resolved()) == recipe


@pytest.mark.parametrize(
    ("lines", "words", "line"),
    [
        ("  budget: 3\n", 'unknown key "tune.budget"', 5),
        ("  budget_minutes: 0\n", "tune.budget_minutes", 5),
        ("  budget_minutes: soon\n", "tune.budget_minutes", 5),
        ("  trials: 0\n", "tune.trials", 5),
        ("  parallel: 0\n", "tune.parallel", 5),
        ("  memory: -1\n", "tune.memory", 5),
        ("  space:\n    finetune.epochs: []\n", "nothing to choose from", 6),
        ("  space:\n    finetune.epochs: [2, 2]\n", "stands in the list twice", 6),
        ("  space:\n    finetune.epochs: 2\n", "a list of values, or a range", 6),
        ("  space:\n    finetune.learning_rate: {low: 1e-3, high: 1e-5}\n", r"low \(0.001\) should be below", 6),
        ("  space:\n    finetune.learning_rate: {low: 1, high: 1}\n", r"low \(1\) should be below high \(1\)", 6),
        ("  space:\n    finetune.learning_rate: {low: 0, high: 1, log: true}\n", "begins above 0", 6),
        ("  space:\n    finetune.learning_rate: {low: 1}\n", "two numbers, low and high", 6),
        ("  space:\n    finetune.learning_rate: {low: a, high: b}\n", "two numbers, low and high", 6),
        ("  space:\n    finetune.learning_rate: {low: 1, hihg: 2}\n", 'no "hihg": did you mean "high"', 6),
        ("  space:\n    finetune.learning_rate: {low: 1, high: 2, log: 3}\n", "log should be true or false", 6),
        ("  space:\n    finetune.learning_rate: {low: .nan, high: .inf}\n", "two numbers, low and high", 6),
    ],
)
def test_what_cannot_be_searched_is_refused_at_its_line(lines: str, words: str, line: int, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=words) as raised:
        loaded(tmp_path, lines)
    assert raised.value.place == f"desk.yaml:{line}"


def test_a_slip_has_its_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as raised:
        loaded(tmp_path, "  budget_minuts: 3\n")
    assert raised.value.hint == 'did you mean "budget_minutes"?'
