from __future__ import annotations

import pytest

from data.steps.treated import judged, the_step
from setsail.base.errors import RecipeError


def mark_of(text: str, **options: object) -> str:
    step = the_step("toxicity", **options)
    assert step.mark
    return step.mark(text)


@pytest.mark.parametrize(
    "text", ["Go to HELL, all of you", "you’d better… I’ll kill you", "你去死吧", "真是个王八蛋！", "你fuck off吧"]
)
def test_insults_and_threats_are_marked(text: str) -> None:
    assert mark_of(text) == "toxic"


@pytest.mark.parametrize(
    "text", ["", "How do I kill a process?", "Scunthorpe, Essex", "他去死海旅游了", "the bitcoin price"]
)
def test_words_that_only_look_alike_are_not(text: str) -> None:
    assert mark_of(text) == ""


def test_how_many_and_which_words_is_a_matter_of_choice() -> None:
    assert mark_of("go to hell", min_hits=2) == "" and mark_of("go to hell, you idiot", min_hits=2) == "toxic"
    assert mark_of("c++ (bad) 讨厌", words=["(bad)"]) == "toxic" and mark_of("讨厌", words=["讨厌"]) == "toxic"
    with pytest.raises(RecipeError, match="words"):
        mark_of("x", words=[""])


def test_dropping_is_for_those_who_ask() -> None:
    verdict = judged("toxicity", "go to hell", drop=True)
    assert verdict and verdict.reason == "toxic"
    assert judged("toxicity", "go to work", drop=True) is None
