"""A run whose answers come from elsewhere: another server, or vLLM; and the engine that is chosen by its speed."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from engine import far_server
from engine.test_vllm import called, gone, put_on_path, wait_until
from models import toy_model

from setsail.base.errors import CheckRefused, SystemRefusal, UserError
from setsail.base.log import Log
from setsail.base.recipe import Recipe
from setsail.base.recipe_file import load_recipe
from setsail.base.run import Run
from setsail.engine.batch import Completion
from setsail.engine.contract import Special
from setsail.stages.answering import chatting, engine_trial
from setsail.stages.answering.engine_speeds import FILE, KIND, Speed
from setsail.stages.answering.engine_trial import measure_runs
from setsail.stages.answering.engines import all_answered, file_to_serve, open_process, with_engine
from setsail.stages.answering.first_look import look_first
from setsail.stages.answering.serving import served_apart
from setsail.stages.answering.vllm import command_of_runs
from setsail.stages.kinds import tokenizer_of
from setsail.stages.scores.evaluating import evaluate_run
from setsail.stages.voyage import sail

from .conftest import write_port
from .over_http import over_http

KEY = "sk-far-secret-7"
ASKED = {"model": "toy", "messages": [{"role": "user", "content": "What is it?"}], "max_tokens": 8}


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the toy's voyage has been sailed up to its check."""
    folder = tmp_path_factory.mktemp("far")
    settings = ["export.weights=[q8_0]", "serve.slots=2"]
    sail(write_port(folder), settings, folder / "runs", until="check", log=Log(quiet=True))
    return folder


@pytest.fixture
def run(port: Path) -> Path:
    return port / "runs" / "toy"


def recipe_of(run: Path) -> Any:
    return load_recipe(run / "recipe.yaml").recipe


@contextlib.contextmanager
def serving(*words: str) -> Iterator[tuple[subprocess.Popen[str], str, Path]]:
    """`setsail serve` with these words: its process, its address, and what it says."""
    said = Path(words[0]) / f"said-{time.monotonic_ns()}.txt"
    with said.open("w") as stream:
        command = [sys.executable, "-m", "setsail", "serve", *words, "--port", "0"]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stream, text=True)
        try:
            assert server.stdout is not None
            yield server, server.stdout.readline().strip(), said
        finally:
            server.terminate()
            server.communicate()


def test_the_same_answer_comes_from_another_server(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SETSAIL_API_KEY", KEY)
    headers = {"Authorization": f"Bearer {KEY}"}
    with serving(str(run)) as (_, there, far_words):
        here_words = serving(str(run), "--engine", f"{there}/v1", "--key-env", "SETSAIL_API_KEY")
        with here_words as (_, here, said):
            answers = [httpx.post(f"{url}/v1/chat/completions", json=ASKED, headers=headers) for url in (there, here)]
            assert [answer.status_code for answer in answers] == [200, 200]
            texts = [answer.json()["choices"][0]["message"]["content"] for answer in answers]
            assert texts[0] == texts[1]
            listed = httpx.get(f"{here}/v1/models", headers=headers).text
            assert "127.0.0.1" not in listed and "base" not in listed  # where it is computed is nobody's business
            words = said.read_text()
            assert "it reads our token ids, and gives back its own" in words
            assert "toy: a first look at 4 held-out prompts: first-token KL, mean " in words
            assert "was checked as openvino answers" in words or "was checked as llamacpp answers" in words
            assert KEY not in words + far_words.read_text()


def test_a_server_that_was_given_other_weights_is_told_and_refused_where_it_was_checked(
    run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    toy_model.write_folder(tmp_path / "other", seed=7)
    path = write_port(tmp_path)
    settings = ["base=other", "finetune.learning_rate=1e-9", "export.weights=[q8_0]"]
    sail(path, settings, tmp_path / "runs", until="check", log=Log(quiet=True))
    with served_apart(tmp_path / "runs" / "toy") as another, served_apart(run) as same:
        there = [with_engine(recipe_of(run), url)[0] for url in (another, same)]
        look_first_at(run, there[0])
        assert "! toy: the server answers as another model would: " in capfd.readouterr().err
        look_first_at(run, there[1], known=True)
        assert "toy: a first look at 4 held-out prompts: first-token KL, mean " in capfd.readouterr().err
        with pytest.raises(CheckRefused, match="the server no longer answers as this run was trained: "):
            look_first_at(run, there[0], known=True)


def look_first_at(run: Path, recipe: Recipe, *, known: bool = False) -> None:
    gguf = Run(run).artifact("gguf")
    with open_process(file_to_serve(gguf, recipe), recipe) as process:
        look_first(Run(run), recipe, process, tokenizer_of(gguf), Log(), known=known)


def test_a_server_that_dies_is_told_and_not_ready(run: Path) -> None:
    with serving(str(run)) as (far, there, _), serving(str(run), "--engine", there) as (_, here, _):
        assert httpx.get(f"{here}/ready", timeout=30).status_code == 200
        far.terminate()
        far.wait()
        answer = httpx.post(f"{here}/v1/chat/completions", json=ASKED)
        assert answer.status_code == 502 and "no connection: Connection refused" in answer.json()["error"]["message"]
        assert wait_until(lambda: httpx.get(f"{here}/ready", timeout=30).status_code == 503)


def test_evaluating_and_talking_ask_the_server_and_the_base_here(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with served_apart(run) as url:
        settings = ["serve.engine=remote", f"serve.server.url={url}", "serve.server.model=toy", "evaluate.max_rows=3"]
        evaluated = evaluate_run(run, settings=settings)
        words = capsys.readouterr().err
        assert words.count(f"answers come from {url}") == 1  # not the base's, which that server does not hold
        assert evaluated.manifest.kind == "exam"
        recipe, _ = with_engine(recipe_of(run), url)
        base = file_to_serve(Run(run).artifact("base_gguf"), recipe)
        assert base.engine in ("openvino", "llamacpp") and base.path.name.startswith("model-")
        monkeypatch.setattr(sys, "stdin", io.StringIO("What is it?\n\n"))
        chatting.chat_in_terminal(run, engine=url)
        assert len(capsys.readouterr().out) > 1
    with pytest.raises(SystemRefusal, match="no connection"):
        evaluate_run(run, settings=[*settings, "evaluate.resamples=101"])


def test_answers_that_never_came_are_not_scored_as_empty() -> None:
    done = [Completion((1,), "stop"), Completion((), "error", message="the connection broke off")]
    with pytest.raises(SystemRefusal, match="1 of 2 answers did not come; the first: the connection broke off"):
        all_answered(done)
    assert all_answered(done[:1]) == done[:1]


def test_words_for_another_server(run: Path) -> None:
    recipe = recipe_of(run)
    there, engine = with_engine(recipe, "http://gpu:8000/v1", key_env="K")
    assert engine == there.serve.engine == "remote"
    assert there.serve.server is not None and (there.serve.server.model, there.serve.server.key_env) == ("toy", "K")
    named, _ = with_engine(there, None, model="other")
    assert named.serve.server is not None and (named.serve.server.model, named.serve.server.key_env) == ("other", "K")
    assert with_engine(recipe, "torch") == (recipe, "torch")
    for engine, more in (("remote", {}), ("torch", {"model": "x"}), (None, {"key_env": "K"}), ("http://a:b@c", {})):
        with pytest.raises(UserError):
            with_engine(recipe, engine, **more)


def test_a_prompt_that_does_not_fit_there_is_the_clients_fault(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAR_KEY", far_server.KEY)
    with far_server.FarServer(tokenizer_of(Run(run).artifact("gguf"))).listening() as far:
        far.models = [{"id": "toy", "max_model_len": 60}]
        with serving(str(run), "--engine", far.url, "--key-env", "FAR_KEY") as (_, here, _said):
            asked = {**ASKED, "messages": [{"role": "user", "content": "0123456789" * 9}]}
            answer = httpx.post(f"{here}/v1/chat/completions", json=asked)
            assert answer.status_code == 400 and "the context holds 60" in answer.json()["error"]["message"]
            assert httpx.post(f"{here}/v1/chat/completions", json=ASKED).status_code == 200


def test_vllm_is_started_for_a_run_and_ends_with_it(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = put_on_path(tmp_path, monkeypatch)
    with serving(str(run), "--engine", "vllm") as (server, here, said):
        answer = httpx.post(f"{here}/v1/chat/completions", json=ASKED)
        assert answer.status_code == 200, answer.text
        argv = called(fake)["argv"]
        merged = Run(run).artifact("merged").path
        assert argv[:4] == ["serve", str(merged.resolve()), "--served-model-name", "toy"]
        assert argv[argv.index("--max-model-len") + 1] == "256"
        assert "vLLM loads the model" in said.read_text()
        printed = command_of_runs(run).split()
        assert [word for word in printed if word != "8001"] == [
            "vllm",
            *(word for word in argv if word != port_of(argv)),
        ]
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0
        assert wait_until(lambda: all(map(gone, called(fake)["pids"])))


def port_of(argv: list[str]) -> str:
    return argv[argv.index("--port") + 1]


def test_when_vllm_dies_clients_are_told_until_it_is_back(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = put_on_path(tmp_path, monkeypatch)
    with serving(str(run), "--engine", "vllm") as (_, here, said):
        first = called(fake)["pids"][0]
        os.kill(first, signal.SIGKILL)
        seen: list[int] = []

        def answered() -> bool:
            seen.append(httpx.post(f"{here}/v1/chat/completions", json=ASKED, timeout=30).status_code)
            return seen[-1] == 200 and called(fake)["pids"][0] != first

        assert wait_until(answered, 60)
        assert set(seen) <= {200, 502, 503} and "vLLM ended with status 137" in said.read_text()


def test_vllm_needs_the_folder_that_the_gguf_was_made_of(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "toy"
    shutil.copytree(run, other)
    note = json.loads((other / "run.json").read_text())
    del note["stages"]["merged"]
    (other / "run.json").write_text(json.dumps(note))
    with pytest.raises(UserError, match="is no longer in this run"):
        command_of_runs(other)


def test_the_fastest_engine_is_measured_in_the_run_and_used_after(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gguf, recipe = Run(run).artifact("gguf"), recipe_of(run)
    told = json.loads(Run(run).artifact(KIND).file(FILE).read_text())
    assert [speed["engine"] for speed in told["speeds"]] == ["openvino", "llamacpp"]
    assert all(speed["tokens_per_second"] > 0 for speed in told["speeds"]) and told["slots"] == 2
    chosen = file_to_serve(gguf, recipe)
    assert "tokens/s with 2 answers at once" in chosen.why
    assert file_to_serve(Run(run).artifact("base_gguf"), recipe).engine == chosen.engine
    asked = Run(run).artifact("check").manifest.recipe
    assert asked["by"] == chosen.engine
    capsys.readouterr()
    measure_runs(run)
    assert "✓ speeds     unchanged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fast", "slow", "taken"),
    [(50.0, 200.0, "llamacpp"), (180.0, 200.0, "openvino"), (200.0, 50.0, "openvino")],
)
def test_a_clearly_faster_engine_is_taken(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fast: float, slow: float, taken: str
) -> None:
    other = with_speeds(run, tmp_path, [Speed("openvino", fast, 1.0), Speed("llamacpp", slow, 1.0)])
    chosen = file_to_serve(other.artifact("gguf"), recipe_of(run))
    assert chosen.engine == taken and f"openvino {fast:.0f}" in chosen.why and f"llamacpp {slow:.0f}" in chosen.why


def with_speeds(run: Path, folder: Path, measured: list[Speed], **changed: object) -> Run:
    """A copy of the run in which others were measured; the note's file is replaced, its manifest stands."""
    copied = Run(folder / "toy")
    shutil.copytree(run, copied.path)
    file = copied.artifact(KIND, verify=False).path / FILE
    told = json.loads(file.read_text())
    file.write_text(json.dumps({**told, "speeds": [vars(speed) for speed in measured], **changed}))
    return copied


@pytest.mark.parametrize(
    "changed", [{"machine": "another"}, {"slots": 3}, {"versions": {}}, {"speeds": []}, {"speeds": [{"engine": 1}]}]
)
def test_a_measurement_of_something_else_is_not_used(run: Path, tmp_path: Path, changed: dict[str, object]) -> None:
    other = with_speeds(run, tmp_path, [Speed("llamacpp", 900.0, 1.0)], **changed)
    chosen = file_to_serve(other.artifact("gguf"), recipe_of(run))
    assert (chosen.engine, "measured" in chosen.why, "tokens/s" in chosen.why) == ("openvino", False, False)


def test_a_start_does_not_measure(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = with_speeds(run, tmp_path, [], machine="another")

    def refuse(*args: object) -> None:
        raise AssertionError("a start measures nothing")

    monkeypatch.setattr(engine_trial, "_measure", refuse)
    with over_http(other.path) as post:
        assert post("/v1/chat/completions", ASKED).status_code == 200


def test_serve_probe_measures_first_where_it_was_not(run: Path, tmp_path: Path) -> None:
    other = with_speeds(run, tmp_path, [])
    shutil.rmtree(other.artifact(KIND, verify=False).path)
    with serving(str(other.path), "--engine", "probe") as (_, here, said):
        assert httpx.get(f"{here}/health").status_code == 200
        assert "▸ speeds" in said.read_text() and "tokens/s with 2 answers at once" in said.read_text()
    assert other.artifact(KIND).metrics["num_engines"] == 2


def test_an_engine_that_fails_is_not_chosen(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = with_speeds(run, tmp_path, [])
    shutil.rmtree(other.artifact(KIND, verify=False).path)
    measured = engine_trial._measure

    def half(name: str, file: Path, prompts: list[tuple[int, ...]], special: Special) -> Speed:
        if name == "openvino":
            raise SystemRefusal("no memory left")
        return measured(name, file, prompts, special)

    monkeypatch.setattr(engine_trial, "_measure", half)
    measure_runs(other.path)
    chosen = file_to_serve(other.artifact("gguf"), recipe_of(run))
    assert chosen.engine == "llamacpp" and "openvino" not in chosen.why
