"""A recipe names steps; a name or an option that is wrong is met with the nearest one."""

from __future__ import annotations

import pytest

from setsail.base.errors import RecipeError
from setsail.data.steps.registry import steps_of


def test_a_preset_in_a_list_stands_for_its_steps() -> None:
    names = [step.name for step in steps_of(["html", "minimal", {"length": {"min_words": 3}}])]
    assert names == ["html", "line_ends", "control_characters", "unicode_form", "length"]


@pytest.mark.parametrize(
    ("clean", "says"),
    [
        ("standart", "standard"),
        ("html", r"\[html\]"),
        (["htm"], "html"),
        ([{"urls": {"action": "burn"}}], "data.clean.urls.action"),
        ([{"urls": {"actoin": "mask"}}], "action"),
        ([{"length": {"min_words": 9, "max_words": 3}}], "9"),
        (["html", {"html": {"pages": True}}], "twice"),
        (["standard", "line_ends"], "line_ends"),
    ],
)
def test_what_is_wrong_is_named(clean: str | list[str], says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        steps_of(clean)
