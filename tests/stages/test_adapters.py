"""Adapters that leave as files of their own, and runs of one base behind one engine."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from setsail.base.artifact import Artifact
from setsail.base.errors import ArtifactError, CheckRefused, ModelError, RecipeError, UserError
from setsail.base.log import Log
from setsail.base.recipe_file import load_recipe
from setsail.base.run import Run
from setsail.compress.adapter_file import changed_tensors, export_adapter
from setsail.serve.client import Client
from setsail.stages.answering.engines import file_to_serve
from setsail.stages.answering.serving import served_apart
from setsail.stages.export.bundle import bundle_run
from setsail.stages.kinds import ADAPTER
from setsail.stages.voyage import sail

from .conftest import write_port

pytestmark = pytest.mark.slow

ADAPTED = ["export.adapter=true", "export.weights=[q8_0]"]
QUESTION = [{"role": "user", "content": "What is it that the cat sees today?"}]


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs on one base, whose adapters differ."""
    folder = tmp_path_factory.mktemp("adapters")
    path = write_port(folder)
    for name, rate in (("toy", "0.01"), ("other", "0.03")):
        settings = [*ADAPTED, f"name={name}", f"finetune.learning_rate={rate}"]
        sail(path, settings, folder / "runs", log=Log(quiet=True))
    return folder


def exported(port: Path, name: str) -> Artifact:
    return Run(port / "runs" / name).artifact("gguf")


def test_a_small_file_lies_beside_the_bases_own(port: Path) -> None:
    run, made = Run(port / "runs" / "toy"), exported(port, "toy")
    base = run.artifact("base_gguf").file("model-q8_0.gguf")
    assert base.samefile(made.file("base-q8_0.gguf"))
    assert made.file(ADAPTER).stat().st_size < base.stat().st_size
    assert "FROM ./base-q8_0.gguf\nADAPTER ./adapter.gguf\n" in made.file("Modelfile").read_text()
    assert run.artifact("check").metrics["passed"]
    stages = run.artifact("check").file("faithfulness.json").read_text()
    assert '"gguf in llama.cpp"' in stages and '"served, 8 at once"' in stages


def test_what_was_trained_stands_in_the_file_bit_for_bit(port: Path, tmp_path: Path) -> None:
    run = Run(port / "runs" / "toy")
    base, trained = run.artifact("base").path, run.artifact("finetune").path
    other = Run(port / "runs" / "other").artifact("finetune").path
    file = export_adapter(base, trained, tmp_path / ADAPTER, name="toy")
    assert file.read_bytes() == exported(port, "toy").file(ADAPTER).read_bytes()
    assert changed_tensors(base, trained, file) == []
    assert len(changed_tensors(base, other, file)) > 4
    damaged = bytearray(file.read_bytes())
    damaged[-5] ^= 1
    file.write_bytes(bytes(damaged))
    assert len(changed_tensors(base, trained, file)) == 1
    stranger = tmp_path / "stranger"
    shutil.copytree(base, stranger)
    weights = bytearray((stranger / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (stranger / "model.safetensors").write_bytes(bytes(weights))
    with pytest.raises(ModelError, match="another base"):
        export_adapter(stranger, trained, tmp_path / "no.gguf", name="toy")
    assert not (tmp_path / "no.gguf").exists()


def alone(port: Path, name: str) -> dict[str, str]:
    with served_apart(port / "runs" / name) as address, Client(address) as client:
        client.wait_until_ready()
        return {each: client.chat(QUESTION, model=each, temperature=0, max_tokens=40).text for each in (name, "base")}


def test_runs_of_one_base_share_an_engine_and_answer_as_they_do_alone(port: Path) -> None:
    expected = {name: alone(port, name) for name in ("toy", "other")}
    said = {name: answers[name] for name, answers in expected.items()}
    assert expected["toy"]["base"] == expected["other"]["base"]
    assert len({*said.values(), expected["toy"]["base"]}) == 3
    runs = [str(port / "runs" / name) for name in ("toy", "other")]
    command = [sys.executable, "-m", "setsail", "serve", *runs, "--port", "0", "--ourselves", "checked"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        with Client(server.stdout.readline().strip()) as client:
            client.wait_until_ready()
            names = {model["id"] for model in client.models()}
            assert names == {"toy", "toy/base", "other", "other/base"}
            for name in ("toy", "other", "toy/base", "other", "toy", "other/base"):
                answer = client.chat(QUESTION, model=name, temperature=0, max_tokens=40).text
                assert answer == said.get(name, expected["toy"]["base"]), name
            workers = [one for one in psutil.Process(server.pid).children() if "setsail.engine.worker" in one.cmdline()]
            assert len(workers) == 1
    finally:
        server.terminate()
        _, log = server.communicate()
    assert server.returncode == 0, log


def test_a_damaged_adapter_is_not_served(port: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(port / "runs", runs)
    file = Run(runs / "toy").artifact("gguf").file(ADAPTER)
    damaged = bytearray(file.read_bytes())
    damaged[-5] ^= 1
    file.write_bytes(bytes(damaged))
    with pytest.raises(Exception, match=r"adapter\.gguf"), served_apart(runs / "toy"):
        pass


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["finetune.method=full"], "export.adapter is for finetune"),
        (["export.weights=[q8_0, q4_0]"], "name one precision"),
        (["export.weights=[mixed]"], "name one precision"),
        (["serve.engine=openvino"], "takes no adapter file"),
        (["export.format=safetensors"], "of format gguf"),
    ],
)
def test_recipes_that_cannot_have_one_are_refused(port: Path, settings: list[str], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        load_recipe(port / "toy.yaml", [*ADAPTED, *settings])


def test_what_needs_a_whole_model_says_so(port: Path) -> None:
    recipe = load_recipe(port / "runs" / "toy" / "recipe.yaml").recipe
    with pytest.raises(UserError, match="the engine openvino takes no adapter file"):
        file_to_serve(exported(port, "toy"), recipe, "openvino")
    with pytest.raises(ArtifactError, match="no whole GGUF file"):
        bundle_run(port / "runs" / "toy", out=port / "edge")


def test_an_export_that_lost_something_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("setsail.stages.export.weights.changed_tensors", lambda *_: ["blk.0.attn_q.weight.lora_a"])
    with pytest.raises(CheckRefused, match=r"1 tensors of adapter.gguf are not what was trained, first blk\.0"):
        sail(write_port(tmp_path), ADAPTED, tmp_path / "runs", until="export", log=Log(quiet=True))
