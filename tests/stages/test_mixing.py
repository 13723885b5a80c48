"""Rows that are mixed in: exactly their share, counted, in training alone, the same every time, and resumed exactly."""

from __future__ import annotations

import hashlib
import io
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from setsail.base.artifact import Artifact
from setsail.base.errors import DataError, RecipeError
from setsail.base.log import Log
from setsail.base.recipe_file import load_recipe
from setsail.base.run import Run
from setsail.data.row import Row, read_rows
from setsail.stages.rows.data import make_data
from setsail.stages.rows.mixing import MARK, make_mix, num_to_mix_in
from setsail.stages.stage import Voyage
from setsail.stages.voyage import sail
from setsail.tokens.store import open_store

from .conftest import TOYS, VERBS, write_port

SHARE = 0.25


def write_general(path: Path, number: int = 60) -> Path:
    """Plain texts of a general kind, all of them different."""
    chance = random.Random(11)
    lines = []
    for index in range(number):
        words = [f"{chance.choice(TOYS)} {chance.choice(VERBS)}" for _ in range(6)]
        lines.append(json.dumps({"text": f"Note {index}: {', '.join(words)}."}) + "\n")
    path.write_text("".join(lines), encoding="utf-8")
    return path


@pytest.fixture
def port(tmp_path: Path) -> Path:
    write_port(tmp_path)
    write_general(tmp_path / "general.jsonl")
    return tmp_path


def mixing(*settings: str, share: float = SHARE) -> list[str]:
    own = ["finetune.mix.source=general.jsonl", f"finetune.mix.share={share}", "finetune.mix.task=text"]
    return [*own, "finetune.epochs=1", *settings]


def voyage_of(port: Path, settings: list[str], stream: io.StringIO | None = None) -> Voyage:
    return Voyage(
        load_recipe(port / "toy.yaml", settings), Run(port / "runs" / "toy"), Log(stream=stream or io.StringIO())
    )


def parts(artifact: Artifact) -> dict[str, list[Row]]:
    return {part: read_rows(artifact.file(f"{part}.parquet")) for part in ("train", "validation", "test")}


def test_the_share_is_exact_and_in_training_alone(port: Path) -> None:
    stream = io.StringIO()
    voyage = voyage_of(port, mixing(), stream)
    data = make_data(voyage)
    mixed, own = parts(make_mix(voyage, data)), parts(data)
    added = [row for row in mixed["train"] if MARK in row.marks]
    assert len(added) == num_to_mix_in(len(own["train"]), SHARE) == round(len(own["train"]) / 3)
    assert mixed["train"][: len(own["train"])] == own["train"]
    assert mixed["validation"] == own["validation"] and mixed["test"] == own["test"]
    total = len(own["train"]) + len(added)
    assert f"{len(added)} of {total} training rows ({len(added) / total:.1%}) are mixed in" in stream.getvalue()


def test_which_rows_follows_from_the_seed(port: Path) -> None:
    def chosen(run: str, *settings: str) -> list[str]:
        loaded = load_recipe(port / "toy.yaml", mixing(*settings))
        voyage = Voyage(loaded, Run(port / run / "toy"), Log(quiet=True))
        rows = parts(make_mix(voyage, make_data(voyage)))["train"]
        return [row.id for row in rows if MARK in row.marks]

    assert chosen("a") == chosen("b") != chosen("c", "seed=2")


def test_what_is_like_a_held_out_row_is_not_mixed_in(port: Path) -> None:
    """The source is the recipe's own file under another name: its held-out rows must not come in by this door."""
    (port / "copy.jsonl").write_bytes((port / "rows.jsonl").read_bytes())
    settings = ["finetune.mix.source=copy.jsonl", "finetune.mix.share=0.4"]
    voyage = voyage_of(port, settings)
    data = make_data(voyage)
    mix = make_mix(voyage, data)
    mixed = parts(mix)
    held_out = {json.dumps(row.messages) for part in ("validation", "test") for row in mixed[part]}
    assert held_out and not held_out & {json.dumps(row.messages) for row in mixed["train"]}
    assert mix.metrics["num_like_held_out"] == len(mixed["validation"]) + len(mixed["test"])


def test_too_small_a_source_is_refused_with_the_share_that_works(port: Path) -> None:
    voyage = voyage_of(port, mixing(share=0.9))
    data = make_data(voyage)
    with pytest.raises(DataError, match=r"a share of 0.9 beside \d+ own rows is \d+ rows") as caught:
        make_mix(voyage, data)
    most = (caught.value.hint or "").split("at most ")[1].split(",")[0]
    assert make_mix(voyage_of(port, mixing(share=float(most))), data).metrics["num_mixed_in"] <= 60


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["task=text", "finetune.mix.source=x", "finetune.mix.share=0.1", "finetune.mix.task=chat"], "mix texts"),
        (["task=classify", "finetune.mix.source=x", "finetune.mix.share=0.1"], "leave finetune.mix out"),
        (["finetune.mix.source=x", "finetune.mix.share=1"], "share"),
        (["finetune.prefer.beta=0.1", "finetune.mix.source=x", "finetune.mix.share=0.1"], "leave finetune.mix out"),
        (["task=classify", "evaluate.guard=refuse"], "leave evaluate.guard out"),
    ],
)
def test_a_mix_that_makes_no_sense_is_a_recipe_error(port: Path, settings: list[str], words: str) -> None:
    path = port / "plain.yaml"
    path.write_text("name: plain\ndata: {source: rows.jsonl}\n", encoding="utf-8")
    with pytest.raises(RecipeError, match=words):
        load_recipe(path, settings)


@pytest.mark.slow
def test_texts_are_learned_among_conversations_and_counted(port: Path) -> None:
    stream = io.StringIO()
    sail(port / "toy.yaml", mixing(), port / "runs", until="finetune", log=Log(stream=stream))
    run = Run(port / "runs" / "toy")
    rows, tokens, trained = (run.artifact(stage) for stage in ("mix", "tokens", "finetune"))
    added = {row.id for row in parts(rows)["train"] if MARK in row.marks}
    store = open_store(tokens.path)
    examples = [store[n] for n in range(len(store))]
    learned = [example for example in examples if example.row_id in added]
    assert len(learned) == len(added) and all(example.loss_mask.all() for example in learned)
    share = sum(len(each.ids) for each in learned) / sum(len(each.ids) for each in examples)
    assert tokens.metrics["mixed_in_share_of_tokens"] == pytest.approx(share)
    assert f"{len(added)} rows are mixed in: {share:.1%} of the tokens" in stream.getvalue()
    assert trained.metrics["plan"]["num_rows"] == len(parts(rows)["train"])
    assert trained.manifest.parents["data"] == rows.id


def finetune(port: Path, runs: str) -> subprocess.Popen[bytes]:
    settings = [f"--set={each}" for each in mixing("finetune.epochs=4")]
    command = [sys.executable, "-m", "setsail", "finetune", "toy.yaml", "--runs", runs, *settings]
    return subprocess.Popen(command, cwd=port, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def outcome(run: Run) -> tuple[dict[str, str], list[str]]:
    """The hashes of the rows and of the adapter's weights, and the loss of each step to the last bit."""
    hashes = {name: entry["sha256"] for name, entry in run.artifact("mix").manifest.files.items()}
    trained = run.artifact("finetune")
    for name, weight in load_file(trained.file("adapter_model.safetensors")).items():
        hashes[name] = hashlib.sha256(weight.numpy().tobytes()).hexdigest()
    return hashes, [json.loads(line)["loss_hex"] for line in trained.file("steps.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_killed_amid_training_it_goes_on_bit_for_bit(port: Path) -> None:
    whole = finetune(port, "never-stopped")
    _, errors = whole.communicate()
    assert whole.returncode == 0, errors.decode()
    expected = outcome(Run(port / "never-stopped" / "toy"))
    assert len(expected[1]) > 6

    killed = finetune(port, "killed")
    while not any(path.read_text().count("\n") >= 3 for path in (port / "killed").glob("toy/*.partial/steps.jsonl")):
        assert killed.poll() is None, "it should be killed amid training"
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    again = finetune(port, "killed")
    _, errors = again.communicate()
    assert again.returncode == 0 and b"going on after step" in errors, errors.decode()
    assert outcome(Run(port / "killed" / "toy")) == expected
