"""A student's voyage: who may teach it, what its identity holds, that it comes closer, that a kill changes nothing."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from models import toy_encoder, toy_model
from safetensors.torch import load_file, save_file

from setsail.base.errors import CheckRefused, ModelError, RecipeError
from setsail.base.log import Log
from setsail.base.recipe_file import load_recipe
from setsail.base.run import Run
from setsail.data.row import iterate_rows
from setsail.models.plain_reader import load_plain
from setsail.stages.voyage import sail

from .conftest import write_port, write_tickets
from .test_processes import compare, settings_of, torchrun

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checked classifier, its recipe, and a smaller encoder beside its own."""
    folder = tmp_path_factory.mktemp("desk")
    sail(write_tickets(folder), [], folder / "runs", log=Log(quiet=True))
    toy_encoder.write_folder(folder / "small", seed=5, num_hidden_layers=1)
    return folder


SMALL = ["base=small"]


def taught(desk: Path, name: str, *settings: str, log: Log | None = None) -> Run:
    sail(
        desk / "desk.yaml",
        [f"name={name}", *SMALL, *settings],
        desk / "runs",
        until="finetune",
        log=log or Log(quiet=True),
    )
    return Run(desk / "runs" / name)


def contrary(desk: Path) -> Path:
    """The classifier with its labels' figures in another order: a teacher who says what no row says."""
    made, folder = Run(desk / "runs" / "desk").artifact("finetune"), desk / "contrary"
    shutil.copytree(made.path, folder)
    weights = load_file(folder / "model.safetensors")
    turned = {name: weight.roll(1, 0) if name.startswith("classifier.") else weight for name, weight in weights.items()}
    save_file(turned, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def divergence(teacher: Path, run: Run) -> float:
    """The mean of KL(teacher ‖ student) over the test, by plain transformers."""
    texts = [row.text for row in iterate_rows(run.artifact("data").file("test.parquet"))]
    folders = (run.artifact("finetune").path, teacher)
    said, told = (np.array(load_plain(folder).logits(texts, at_once=8)) for folder in folders)
    said, told = (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True) for logits in (said, told))
    return float((np.exp(told) * (told - said)).sum(axis=1).mean())


def test_a_student_comes_closer_to_its_teacher_than_one_without(desk: Path, tmp_path: Path) -> None:
    teacher = contrary(desk)
    with (tmp_path / "log").open("w") as file:
        student = taught(desk, "student", "finetune.distil={teacher: contrary, weight: 0.9}", log=Log(stream=file))
    alone = taught(desk, "alone")
    closer, farther = (divergence(teacher, run) for run in (student, alone))
    assert closer < 0.3 * farther, (closer, farther)
    told = (tmp_path / "log").read_text()
    assert "teacher     contrary: " in told and "of the time are its own" in told
    # What validation says is the student's own loss: it begins where the other one begins.
    ours, others = (run.artifact("finetune").metrics["validation"] for run in (student, alone))
    assert ours[0] == others[0] and ours[-1]["nats_per_row"] > others[-1]["nats_per_row"]


def test_the_teachers_identity_is_in_the_students(desk: Path) -> None:
    first = taught(desk, "known", "finetune.epochs=1", "finetune.distil={teacher: runs/desk}").artifact("finetune")
    again = taught(desk, "known", "finetune.epochs=1", "finetune.distil={teacher: runs/desk}").artifact("finetune")
    assert first.id == again.id
    sail(desk / "desk.yaml", ["name=other", "seed=2", "finetune.epochs=2"], desk / "runs", log=Log(quiet=True))
    other = taught(desk, "known", "finetune.epochs=1", "finetune.distil={teacher: runs/other}").artifact("finetune")
    folder = Run(desk / "runs" / "desk").artifact("finetune").path
    by_path = taught(desk, "known", "finetune.epochs=1", f"finetune.distil={{teacher: {folder}}}").artifact("finetune")
    assert len({first.id, other.id, by_path.id}) == 3
    assert not {"optimizer.safetensors", "teacher"} & set(first.manifest.files)


def test_without_a_teacher_a_run_has_the_identity_that_it_had(desk: Path) -> None:
    assert "distil" not in Run(desk / "runs" / "desk").artifact("finetune").manifest.recipe["finetune"]


def test_who_may_not_teach(desk: Path) -> None:
    taught(desk, "unchecked", "finetune.epochs=1")
    with pytest.raises(CheckRefused, match="never checked"):
        taught(desk, "student", "finetune.distil={teacher: runs/unchecked}")
    with pytest.raises(RecipeError, match='the teacher "runs/nobody" is neither a run nor a model folder'):
        taught(desk, "student", "finetune.distil={teacher: runs/nobody}")
    words = toy_encoder.tokenizer(["the", "parcel", "came", "later"])
    toy_encoder.write_folder(desk / "stranger")
    words.save(str(desk / "stranger" / "tokenizer.json"))
    with pytest.raises(ModelError, match="another tokenizer than the student: of 9 tokens instead of") as caught:
        taught(desk, "student", "finetune.distil={teacher: stranger}")
    assert "desk.yaml" in str(caught.value) and "same family" in str(caught.value.hint)
    toy_encoder.write_folder(desk / "headless")
    with pytest.raises(ModelError, match=r"headless tells 2 labels \(LABEL_0, LABEL_1\), the rows 3 labels"):
        taught(desk, "student", "finetune.distil={teacher: headless}")
    toy_encoder.write_folder(desk / "wide", hidden_size=48)
    with pytest.raises(ModelError, match="the teacher wide have 48 numbers, the student's 32") as caught:
        taught(desk, "student", "finetune.distil={teacher: wide, hidden: 1}")
    assert "desk.yaml" in str(caught.value) and "prune" in str(caught.value.hint)
    for settings, words in (
        (["task=translate", "finetune.distil={teacher: x}"], "distil is for the tasks"),
        (["finetune.distil={teacher: x, hidden: -1}"], "hidden"),
        (["task=rank", "finetune.distil={teacher: x, hidden: 1}"], "only what is said of the texts is compared"),
        (["finetune.distil={teacher: x, weight: 0}"], "weight"),
        (["finetune.distil={teacher: x, temperature: 0}"], "temperature"),
        (["finetune.distil={teacher: x, wieght: 1}"], "unknown key"),
    ):
        with pytest.raises(RecipeError, match=words):
            load_recipe(desk / "desk.yaml", settings)


def port_with_teacher(folder: Path) -> Path:
    path = write_port(folder)
    toy_model.write_folder(folder / "big", seed=4, num_hidden_layers=3)
    return path


TAUGHT = ["finetune.distil={teacher: big}", "export.weights=[q8_0]"]


def test_a_decoder_and_its_adapter_learn_from_a_folder(tmp_path: Path) -> None:
    path = port_with_teacher(tmp_path)
    outcome = sail(path, TAUGHT, tmp_path / "runs", log=Log(quiet=True))
    run = Run(Path(outcome["folder"]))
    assert run.artifact("check").metrics["passed"]
    curve = run.artifact("finetune").metrics["validation"]
    assert curve[-1]["bits_per_byte"] != curve[0]["bits_per_byte"]


def test_pretraining_has_teachers_too(tmp_path: Path) -> None:
    path = port_with_teacher(tmp_path)
    text = path.read_text().replace("finetune:", "pretrain:").replace(", lora: {rank: 4}", "")
    (tmp_path / "texts.yaml").write_text(text.replace("rows.jsonl", "texts.jsonl") + "task: text\n")
    rows = [json.loads(line)["messages"][1]["content"] for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    settings = ["pretrain.distil={teacher: big, weight: 1.0}"]
    outcome = sail(tmp_path / "texts.yaml", settings, tmp_path / "runs", until="pretrain", log=Log(quiet=True))
    assert Run(Path(outcome["folder"])).artifact("pretrain").manifest.recipe["pretrain"]["distil"]["teacher"] == "big"


def finetuning(folder: Path, runs: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "setsail", "finetune", "toy.yaml", "--runs", runs, *settings_of(*TAUGHT)]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def trained(folder: Path, runs: str) -> tuple[str, list[str]]:
    made = Run(folder / runs / "toy").artifact("finetune")
    lines = made.file("steps.jsonl").read_text().splitlines()
    return made.manifest.files["adapter_model.safetensors"]["sha256"], [json.loads(line)["loss_hex"] for line in lines]


def test_killed_and_resumed_is_never_stopped(tmp_path: Path) -> None:
    port_with_teacher(tmp_path)
    whole = finetuning(tmp_path, "whole")
    _, errors = whole.communicate()
    assert whole.returncode == 0, errors.decode()
    running = finetuning(tmp_path, "killed")
    checkpoints = tmp_path / "killed" / "toy"
    while running.poll() is None and len(list(checkpoints.glob("finetune-*.partial/checkpoints/[!.]*"))) < 2:
        time.sleep(0.002)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    assert list(checkpoints.glob("finetune-*.partial")), "it came home before it was killed"
    again = finetuning(tmp_path, "killed")
    _, errors = again.communicate()
    assert again.returncode == 0 and b"going on after step" in errors, errors.decode()
    (weights, losses), (expected, expected_losses) = trained(tmp_path, "killed"), trained(tmp_path, "whole")
    assert losses == expected_losses and len(expected_losses) > 4
    assert weights == expected


def test_under_torchrun_with_shared_weights(tmp_path: Path) -> None:
    port_with_teacher(tmp_path)
    settings = [*TAUGHT, "finetune.method=full", "finetune.learning_rate=1e-5", "finetune.parallel=sharded"]
    done = torchrun(tmp_path, "finetune", "toy.yaml", *settings_of(*settings))
    compare(tmp_path, "finetune", "toy.yaml", settings, done)
