"""The harness's figures by our model are those of its own Hugging Face backend on the same folder."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from models import toy_model

from setsail.base.artifact import publish
from setsail.base.errors import UserError
from setsail.base.run import Run
from setsail.stages.harness import run_harness, table

pytestmark = [
    pytest.mark.slow,
    # What the harness and its libraries warn of is theirs.
    pytest.mark.filterwarnings("default"),
]

TASKS = {
    "toy_choice": """\
task: toy_choice
dataset_path: json
dataset_kwargs: {data_files: {test: FOLDER/choice.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: answer
metric_list: [{metric: acc}, {metric: acc_norm}]
""",
    "toy_writing": """\
task: toy_writing
dataset_path: json
dataset_kwargs: {data_files: {test: FOLDER/writing.jsonl}}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["e", "。"], max_gen_toks: 24, do_sample: false}
metric_list: [{metric: exact_match}]
""",
    "toy_rolling": """\
task: toy_rolling
dataset_path: json
dataset_kwargs: {data_files: {test: FOLDER/rolling.jsonl}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list: [{metric: word_perplexity}, {metric: byte_perplexity}, {metric: bits_per_byte}]
""",
}


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run whose merged model is a toy, and local task files over local rows."""
    folder = tmp_path_factory.mktemp("harness")
    run = Run(folder / "runs" / "toy")
    run.path.mkdir(parents=True)
    for stage, seed in (("base", 1), ("merged", 0)):
        draft = toy_model.write_folder(run.path / f"{stage}.partial", seed=seed)
        run.note(stage, publish(draft, kind=stage, id=stage * 8, parents={}, recipe={}, metrics={"kind": "decoder"}))
    animals = ["the cat", "a dog", " the mat", "1 2 3", "你好"]
    choices = [
        {"question": f"the {n} and {word} ", "choices": animals, "answer": n % 5} for n, word in enumerate(animals * 4)
    ]
    choices.append({"question": "the dog " * 120, "choices": animals, "answer": 1})  # longer than the context
    rows = {
        "choice": choices,
        "writing": [{"question": f"the {word} {n}: ", "answer": "x"} for n, word in enumerate(animals * 2)],
        "rolling": [{"text": "the cat sat on the mat. " * n} for n in (1, 4, 30)],  # the last in several windows
    }
    for name, lines in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    (folder / "tasks").mkdir()
    for name, text in TASKS.items():
        (folder / "tasks" / f"{name}.yaml").write_text(text.replace("FOLDER", str(folder)), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_DATASETS_CACHE", str(folder / "cache"))
        yield folder


def by_hf(port: Path, model: Path) -> dict[str, Any]:
    from lm_eval.evaluator import simple_evaluate
    from lm_eval.tasks import TaskManager

    found = simple_evaluate(
        "hf",
        model_args={"pretrained": str(model), "dtype": "float32"},
        tasks=list(TASKS),
        device="cpu",
        batch_size=1,
        task_manager=TaskManager(include_path=str(port / "tasks"), include_defaults=False),
    )
    assert found is not None
    texts = [sample["resps"][0][0] for sample in found["samples"]["toy_writing"]]
    return {**found["results"], "texts": texts}


@pytest.mark.parametrize("base", [False, True])
def test_the_figures_are_those_of_its_own_backend(port: Path, base: bool, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(port / "runs" / "toy")
    run_harness(run.path, [f"{port}/tasks/{task}" for task in TASKS], base=base, as_json=True)
    ours = json.loads(capsys.readouterr().out)["tasks"]
    theirs = by_hf(port, run.artifact("base" if base else "merged").path)
    compared = 0
    for task, metrics in ours.items():
        for name, value in metrics.items():
            if isinstance(value, float):
                assert value == pytest.approx(theirs[task][name], rel=1e-5), (task, name)
                compared += 1
    assert compared >= 7
    assert 0 < ours["toy_choice"]["acc,none"] < 1, "a figure that could be otherwise"


def test_what_is_written_is_the_same_and_ends_at_a_stop(port: Path) -> None:
    import torch
    from lm_eval.api.instance import Instance

    from setsail.models.load import load_model
    from setsail.stages.harness_model import HarnessModel
    from setsail.tokens.tokenizer import load

    folder = Run(port / "runs" / "toy").artifact("merged").path
    model = HarnessModel(load_model(folder, dtype=torch.float32), load(folder))
    rows = [json.loads(line) for line in (port / "writing.jsonl").read_text("utf-8").splitlines()]
    asked = {"until": ["e", "。"], "max_gen_toks": 24, "do_sample": False}
    requests = [Instance("generate_until", row, (row["question"], dict(asked)), 0) for row in rows]
    texts = model.generate_until(requests)
    assert texts == by_hf(port, folder)["texts"]
    assert any(texts) and not any("e" in text for text in texts)
    strange = Instance("generate_until", rows[0], ("a", {**asked, "num_beams": 3}), 0)
    with pytest.raises(UserError, match="num_beams"):
        model.generate_until([strange])


def test_an_unknown_task_and_a_wrong_folder_are_told(port: Path, tmp_path: Path) -> None:
    run = port / "runs" / "toy"
    with pytest.raises(UserError, match='no task "toy_choise"') as caught:
        run_harness(run, [f"{port}/tasks/toy_choise"])
    with pytest.raises(UserError, match="tasks of one folder at a time"):
        run_harness(run, [f"{port}/tasks/toy_choice", f"{tmp_path}/other"])
    assert "toy_choice" in (caught.value.hint or "")
    with pytest.raises(UserError, match="neither a run's folder nor a recipe"):
        run_harness(tmp_path / "nowhere", [f"{port}/tasks/toy_choice"])


def test_without_the_harness_the_extra_is_named(port: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name == "lm_eval" or name.startswith("lm_eval.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(UserError, match="lm-evaluation-harness") as caught:
        run_harness(port / "runs" / "toy", ["toy_choice"])
    assert caught.value.hint == "pip install 'setsail[harness]'"


def test_the_table_has_a_line_for_each_metric() -> None:
    lines = table({"t": {"acc,none": 0.5, "acc_stderr,none": 0.1, "exact_match,strict": 0.25}})
    assert [line.split() for line in lines[1:]] == [
        ["t", "acc", "0.5000", "0.1000"],
        ["t", "exact_match,", "strict", "0.2500", "–"],
    ]
