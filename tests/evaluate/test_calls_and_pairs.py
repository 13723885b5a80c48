"""Metrics that are about some rows only, those whose reference calls a tool, and those of rows with two answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import toy_evaluation as toy

from setsail.base.tool_calls import Call, write_answer
from setsail.data.row import Message, Row
from setsail.evaluate.prediction import read_predictions
from setsail.evaluate.score import Plan, evaluate, summarise
from setsail.evaluate.system import Answer, System


def row(number: int, answer: str) -> Row:
    turns = (Message(role="user", content=f"Question {number}?"), Message(role="assistant", content=answer))
    return Row(f"{number:016x}", turns, "", "", f"rows.jsonl:{number}")


def call(city: str, name: str = "weather") -> str:
    return write_answer("", [Call(name, {"city": city})])


# Thirty rows end with a call, ten do not.
ROWS = [row(number, call(f"City {number}") if number % 4 else f"Plain answer {number}.") for number in range(40)]
PLAN = Plan(resamples=200, num_samples=2)


def saying(answers: Sequence[str]) -> System:
    return System(answers=lambda prompts: [Answer(text, True, 5) for text in answers])


def test_calls_are_scored_on_the_rows_that_have_some(tmp_path: Path) -> None:
    right = [row.messages[-1]["content"] for row in ROWS]
    wrong_city = [call("Elsewhere")] * len(ROWS)
    found = evaluate({"tuned": saying(right), "base": saying(wrong_city)}, ROWS, tmp_path, plan=PLAN)
    assert found.systems["tuned"].metrics["tool_arguments"].value == 1.0
    assert found.systems["base"].metrics["tool_name"].value == 1.0
    assert found.systems["base"].metrics["tool_arguments"].value == 0.0
    assert found.systems["base"].metrics["tool_name"].num_units == 30
    gap = found.comparisons[0].differences["tool_arguments"]
    assert (gap.gap.value, gap.decision, gap.gap.num_units) == (1.0, "better", 30)
    assert "right call" in found.verdict
    assert summarise(read_predictions(tmp_path / "predictions.jsonl"), plan=PLAN) == found


@pytest.mark.parametrize("answer", ["It is sunny.", "<tool_call> {broken", call("x", "other"), call("City 1") * 2])
def test_what_is_not_the_call_counts_for_nothing(tmp_path: Path, answer: str) -> None:
    found = evaluate({"tuned": saying([answer] * len(ROWS))}, ROWS, tmp_path, plan=PLAN)
    held = found.systems["tuned"].metrics
    assert (held["tool_name"].value, held["tool_arguments"].value) == (0.0, 0.0)


def test_rows_without_calls_have_no_such_metric(tmp_path: Path) -> None:
    rows = toy.rows(20)
    found = evaluate({"tuned": toy.answering(str, rows, nats_per_byte=1.0, stops=True)}, rows, tmp_path, plan=PLAN)
    assert not {"tool_name", "tool_arguments", "preference_accuracy"} & set(found.systems["tuned"].metrics)


def test_preference_goes_by_the_token_and_its_margin_by_the_answer(tmp_path: Path) -> None:
    def system(per_token: float) -> System:
        return System(margins=lambda rows: [(-3.0 if number % 2 else 5.0, per_token) for number, _ in enumerate(rows)])

    found = evaluate({"tuned": system(0.2), "base": system(-0.2)}, ROWS, tmp_path, plan=PLAN)
    tuned = found.systems["tuned"].metrics
    assert (tuned["preference_accuracy"].value, tuned["preference_margin"].value) == (1.0, 1.0)
    assert found.comparisons[0].lead == "preference_accuracy" and found.decision == "better"
    assert found.comparisons[0].differences["preference_margin"].decision == "not_shown"
