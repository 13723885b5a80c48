"""Recipes of translate, summarize and rewrite: their defaults, their instruction, and what they refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from setsail.base.errors import RecipeError
from setsail.base.recipe import New, Recipe
from setsail.base.recipe_file import load_recipe
from setsail.base.recipe_pairs import WRITING_TASKS, instruction_of

NEW = {"new": "3m", "kind": "seq2seq"}


def recipe(task: str = "translate", **values: Any) -> Recipe:
    return Recipe.model_validate({"name": "r", "task": task, "data": {"source": "x.csv"}, **values})


@pytest.mark.parametrize("task", WRITING_TASKS)
def test_a_new_base_learns_from_pairs_at_once_and_with_all_its_weights(task: str) -> None:
    made = recipe(task, base=NEW)
    assert isinstance(made.base, New) and made.training_key == "finetune"
    assert made.finetune.method == "full" and made.finetune.optimizer == "muon" and made.finetune.epochs >= 10
    assert made.data.system is None and made.writes_answers
    assert recipe(task, base=NEW, finetune={"epochs": 2}).finetune.epochs == 2
    assert Recipe.model_validate(made.resolved()) == made


@pytest.mark.parametrize("task", WRITING_TASKS)
def test_a_chat_model_is_given_an_instruction(task: str) -> None:
    made = recipe(task)
    assert made.base == "smollm2-135m-instruct" and made.finetune.method == "lora"
    assert made.data.system == instruction_of(task, "en")
    assert recipe(task, language="zh").data.system == instruction_of(task, "zh")
    own = recipe(task, data={"source": "x.csv", "system": "Translate into formal Chinese."})
    assert own.data.system == "Translate into formal Chinese."
    assert Recipe.model_validate(made.resolved()) == made


def test_the_instruction_names_the_languages() -> None:
    made = recipe(data={"source": "x.csv", "languages": ["en", "zh"]})
    assert made.data.system == "Translate the text from English into Chinese. Answer with the translation alone."
    assert "from xx into Chinese" in instruction_of("translate", "en", ("xx", "zh"))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"base": {"new": "3m"}}, "a new base of task translate is of kind seq2seq"),
        ({"base": NEW, "finetune": {"method": "lora"}}, "a new base learns with all its weights"),
        ({"base": NEW, "template": "chatml"}, "leave template out"),
        ({"data": {"source": "x", "overlong": "split"}}, "a pair in pieces would not say the same"),
        ({"data": {"source": "x", "languages": ["en"]}}, "languages"),
        ({"data": {"source": "x", "languages": ["english", "zh"]}}, "languages"),
        ({"data": {"source": "x", "damage": ["case"]}}, r"data\.damage makes pairs for task rewrite"),
        ({"finetune": {"mix": {"source": "y", "share": 0.2}}}, "rows cannot be mixed into task translate yet"),
        ({"pretrain": {}}, "pretraining learns plain text"),
    ],
)
def test_what_cannot_be_is_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        recipe(**values)


def test_a_slip_in_a_recipe_file_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text("task: translate\nbase: {new: 3m}\ndata: {source: x.csv}\n")
    with pytest.raises(RecipeError, match="of kind seq2seq"):
        load_recipe(path)
