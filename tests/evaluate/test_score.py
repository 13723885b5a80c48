from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import toy_evaluation as toy

from setsail.base.errors import ArtifactError, DataError
from setsail.data.row import Row
from setsail.evaluate import metrics
from setsail.evaluate.baseline import fit_nearest
from setsail.evaluate.contamination import take_out
from setsail.evaluate.evaluation import Evaluation, read_evaluation
from setsail.evaluate.prediction import read_predictions
from setsail.evaluate.score import Plan, evaluate, summarise
from setsail.evaluate.system import System

ROWS = toy.rows(120, per_group=3)
TEST, TRAIN = ROWS[:60], ROWS[60:]


def half(reference: str) -> str:
    return reference[: len(reference) // 2]


def chatter(reference: str) -> str:
    return "Sure, I can help with that. " + reference[:12] + " and so on" * 4


def run(
    out: Path, base: Callable[[str], str], tuned: Callable[[str], str], *, bits: tuple[float, float] = (1.0, 0.6)
) -> Evaluation:
    systems = {
        "base": toy.answering(base, TEST, nats_per_byte=bits[0], stops=False),
        "tuned": toy.answering(tuned, TEST, nats_per_byte=bits[1], stops=True),
    }
    return evaluate(systems, TEST, out, plan=Plan(resamples=300))


def test_a_better_model_is_called_better(tmp_path: Path) -> None:
    found = run(tmp_path, chatter, half)
    assert found.decision == "better"
    assert found.verdict.startswith("The tuned model is better than the base model: chrF ")
    assert "Also better on bits per byte and ROUGE-L." in found.verdict


def test_a_worse_model_is_called_worse(tmp_path: Path) -> None:
    found = run(tmp_path, half, chatter, bits=(0.6, 1.0))
    assert found.decision == "worse"
    assert found.verdict.startswith("The tuned model is worse than the base model: chrF ")
    assert "Also worse on bits per byte and ROUGE-L." in found.verdict


def test_an_equal_model_is_not_called_better(tmp_path: Path) -> None:
    found = run(tmp_path, half, half, bits=(0.6, 0.6))
    assert found.decision == "not_shown"
    assert found.verdict.startswith("The tuned model is not shown to be better than the base model: chrF ")
    assert "the interval includes zero" in found.verdict


def test_better_answers_with_worse_bits_are_not_called_better(tmp_path: Path) -> None:
    found = run(tmp_path, chatter, half, bits=(0.6, 1.0))
    assert found.decision == "not_shown"
    assert "but bits per byte got worse" in found.verdict


def test_too_few_groups_cannot_tell(tmp_path: Path) -> None:
    few = TEST[:27]  # nine groups
    systems = {
        "base": toy.answering(chatter, few, nats_per_byte=1.0, stops=False),
        "tuned": toy.answering(half, few, nats_per_byte=0.6, stops=True),
    }
    found = evaluate(systems, few, tmp_path)
    assert (found.decision, found.num_rows, found.num_groups) == ("not_shown", 27, 9)
    assert "only 9 independent test rows, and fewer than 10 cannot tell" in found.verdict


def test_the_figures_are_those_of_the_texts(tmp_path: Path) -> None:
    found = run(tmp_path, chatter, half)
    references = [row.messages[-1]["content"] for row in TEST]
    answers = [half(reference) for reference in references]
    tuned = found.systems["tuned"].metrics
    assert tuned["chrf"].value == pytest.approx(sum(metrics.chrf(answers, references)) / 60)
    assert tuned["rouge_l"].value == pytest.approx(sum(metrics.rouge_l(answers, references)) / 60)
    assert found.systems["tuned"].corpus_chrf == pytest.approx(metrics.corpus_chrf(answers, references))
    assert (tuned["exact_stop"].value, found.systems["base"].metrics["exact_stop"].value) == (1.0, 0.0)
    assert tuned["num_characters"].value == pytest.approx(sum(map(len, answers)) / 60)
    assert tuned["chrf"].num_units == found.num_groups == 20
    nats = tuned_nats(TEST)
    num_bytes = sum(len(reference.encode()) for reference in references)
    assert tuned["bits_per_byte"].value == pytest.approx(sum(nats) / math.log(2) / num_bytes)
    gap = found.comparisons[0].differences["chrf"]
    assert gap.gap.value == pytest.approx(gap.system_value - gap.against_value)
    assert gap.gap.low <= gap.gap.value <= gap.gap.high


def tuned_nats(rows: Sequence[Row]) -> Sequence[float]:
    system = toy.answering(half, rows, nats_per_byte=0.6, stops=True)
    assert system.nats is not None
    return system.nats(rows)


def test_the_files_hold_it_all_and_give_it_again(tmp_path: Path) -> None:
    kept, account = take_out([*TEST, TRAIN[0]], TRAIN, threshold=0.85)
    systems = {
        "base": toy.answering(chatter, kept, nats_per_byte=1.0, stops=False),
        "tuned": toy.answering(half, kept, nats_per_byte=0.6, stops=True),
        "nearest": fit_nearest(TRAIN).system(),
    }
    plan = Plan(resamples=200, seed=5)
    found = evaluate(systems, kept, tmp_path, plan=plan, contamination=account)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evaluation.json", "predictions.jsonl"]
    assert read_evaluation(tmp_path / "evaluation.json") == found
    again = read_predictions(tmp_path / "predictions.jsonl")
    assert summarise(again, plan=plan, contamination=account) == found
    assert [line.row_id for line in again] == [row.id for row in kept]
    nearest = again[0].systems["nearest"]
    assert (nearest.stopped, "nats" in nearest.values) == (None, False)
    assert set(found.systems["nearest"].metrics) == {"chrf", "rouge_l", "num_characters"}
    assert [(pair.system, pair.against) for pair in found.comparisons] == [("tuned", "base"), ("tuned", "nearest")]
    stored = json.loads((tmp_path / "evaluation.json").read_text("utf-8"))
    assert stored["contamination"]["exact"] == {TRAIN[0].id: TRAIN[0].id}
    assert stored["systems"]["tuned"]["metrics"]["chrf"].keys() == {"value", "low", "high", "num_units"}


def test_samples_are_spread_over_the_scores_and_the_same_each_time(tmp_path: Path) -> None:
    def uneven(reference: str) -> str:
        return reference[: 10 + sum(map(ord, reference)) % 50]

    found, again = (run(tmp_path, chatter, uneven) for _ in range(2))
    assert found.samples == again.samples
    scores = [sample.answers["tuned"].chrf for sample in found.samples]
    assert len({sample.row_id for sample in found.samples}) == 10
    assert scores == sorted(scores)
    every = sorted(line.systems["tuned"].values["chrf"] for line in read_predictions(tmp_path / "predictions.jsonl"))
    assert scores == [every[6 * part + 3] for part in range(10)]
    assert "60 test rows were sorted by the chrF of the tuned model" in found.samples_how
    assert found.samples[0].answers.keys() == {"base", "tuned"}


def test_fewer_rows_than_samples_show_each_once(tmp_path: Path) -> None:
    found = evaluate({"tuned": toy.answering(half, TEST[:3], nats_per_byte=1.0, stops=True)}, TEST[:3], tmp_path)
    assert sorted(sample.row_id for sample in found.samples) == sorted(row.id for row in TEST[:3])
    assert (found.comparisons, found.verdict) == ((), "Nothing was compared.")


def test_plain_text_is_judged_by_bits_per_byte_alone(tmp_path: Path) -> None:
    rows = [Row(f"{index:016x}", (), f"line {index} of a text", "", f"t.txt:{index}") for index in range(20)]

    def nats(per_byte: float) -> System:
        return System(nats=lambda scored: [per_byte * len(row.text) for row in scored])

    found = evaluate({"base": nats(1.0), "tuned": nats(0.8)}, rows, tmp_path)
    assert found.comparisons[0].lead == "bits_per_byte"
    assert found.verdict.startswith("The tuned model is better than the base model: bits per byte 1.154 against 1.443")
    assert found.samples == () and found.samples_how == ""
    assert found.systems["tuned"].corpus_chrf is None


def test_no_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no test row"):
        evaluate({}, [], tmp_path)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    run(tmp_path, chatter, half)
    lines = (tmp_path / "predictions.jsonl").read_text("utf-8").splitlines()
    (tmp_path / "predictions.jsonl").write_text("\n".join([lines[0], lines[1][:50]]), "utf-8")
    with pytest.raises(ArtifactError, match=r"predictions\.jsonl:2"):
        read_predictions(tmp_path / "predictions.jsonl")
    whole = (tmp_path / "evaluation.json").read_text("utf-8")
    (tmp_path / "evaluation.json").write_text(whole.replace('"format": 1', '"format": 2'), "utf-8")
    with pytest.raises(ArtifactError, match="format 2"):
        read_evaluation(tmp_path / "evaluation.json")
    (tmp_path / "evaluation.json").write_text(whole[:100], "utf-8")
    with pytest.raises(ArtifactError, match="cannot be read"):
        read_evaluation(tmp_path / "evaluation.json")


def test_a_system_that_loses_a_row_is_our_bug(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="one value per row"):
        evaluate({"tuned": System(nats=lambda rows: [1.0])}, TEST, tmp_path)
