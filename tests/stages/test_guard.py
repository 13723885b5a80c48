"""The forgetting guard on a toy: a damaged model is caught and refused, an unchanged one is not."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from setsail.base.artifact import Artifact, publish
from setsail.base.errors import EXIT_CHECK_REFUSED, CheckRefused
from setsail.base.log import Log
from setsail.base.recipe_file import load_recipe
from setsail.base.run import Run
from setsail.cli import guarded
from setsail.evaluate.battery.items import SKILLS
from setsail.evaluate.evaluation import read_evaluation
from setsail.stages.export.weights import make_gguf
from setsail.stages.rows.base import make_base
from setsail.stages.rows.data import make_data
from setsail.stages.scores.exam import Exam
from setsail.stages.scores.guard import refuse_forgetting
from setsail.stages.scores.writer import Forms, make_evaluation
from setsail.stages.stage import Voyage
from setsail.stages.voyage import sail

from .conftest import write_port

pytestmark = pytest.mark.slow


SETTINGS = ["export.weights=[q8_0]", "evaluate.max_rows=2", "evaluate.guard=tell"]


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("guard")
    write_port(folder)
    return folder


def voyage_of(port: Path, *settings: str, stream: io.StringIO | None = None) -> Voyage:
    loaded = load_recipe(port / "toy.yaml", [*SETTINGS, *settings])
    return Voyage(loaded, Run(port / "runs" / "toy"), Log(stream=stream or io.StringIO()))


def damaged(voyage: Voyage, base: Artifact) -> Artifact:
    """The base with each of its matrices five times as large."""
    draft = voyage.run.path / "damaged.partial"
    shutil.copytree(base.path, draft)
    weights = load_file(draft / "model.safetensors")
    larger = {name: weight * 5 if weight.ndim == 2 else weight for name, weight in weights.items()}
    save_file(larger, draft / "model.safetensors", metadata={"format": "pt"})
    return publish(draft, kind="merged", id="da" * 16, parents={}, recipe={}, metrics={})


def evaluated(voyage: Voyage, *, damage: bool = False) -> Artifact:
    data, base = make_data(voyage), make_base(voyage, None)
    model = damaged(voyage, base) if damage else base
    forms = [Forms(each, make_gguf(voyage, each, kind="gguf", licence="")) for each in (base, model)]
    return make_evaluation(voyage, Exam(data), base=forms[0], tuned=forms[1])


@pytest.fixture(scope="module")
def unchanged(port: Path) -> Artifact:
    return evaluated(voyage_of(port))


def test_an_unchanged_model_has_forgotten_nothing(port: Path, unchanged: Artifact) -> None:
    guard = read_evaluation(unchanged.file("evaluation.json")).guard
    assert guard is not None and set(guard.skills) == set(SKILLS)
    assert all(skill.gap.low == skill.gap.value == skill.gap.high == 0 for skill in guard.skills.values())
    refuse_forgetting(voyage_of(port, "evaluate.guard=refuse"), unchanged)


def test_a_damaged_model_is_caught_and_refused_and_the_base_is_not_examined_again(
    port: Path, unchanged: Artifact
) -> None:
    stream = io.StringIO()
    voyage = voyage_of(port, "evaluate.guard=refuse", stream=stream)
    before = voyage.run.current()["base_battery"], voyage.run.artifact("base_battery").manifest.created
    artifact = evaluated(voyage, damage=True)
    assert (voyage.run.current()["base_battery"], voyage.run.artifact("base_battery").manifest.created) == before
    with pytest.raises(CheckRefused, match=r"English text, bits per byte .* → ") as caught:
        refuse_forgetting(voyage, artifact)
    assert "finetune.mix" in (caught.value.hint or "")
    assert "base_battery unchanged" in stream.getvalue() and "✗ English text" in stream.getvalue()
    refuse_forgetting(voyage_of(port), artifact)  # `tell` says it and goes on


def test_without_the_guard_nothing_is_asked(port: Path, unchanged: Artifact) -> None:
    voyage = voyage_of(port, "evaluate.guard=off")
    artifact = evaluated(voyage)
    assert not [name for name in artifact.manifest.parents if "battery" in name]
    assert read_evaluation(artifact.file("evaluation.json")).guard is None


def test_an_evaluation_from_before_the_guard_is_still_read(unchanged: Artifact, tmp_path: Path) -> None:
    raw: dict[str, Any] = json.loads(unchanged.file("evaluation.json").read_text("utf-8"))
    del raw["guard"]
    (tmp_path / "evaluation.json").write_text(json.dumps(raw), encoding="utf-8")
    assert read_evaluation(tmp_path / "evaluation.json").guard is None


def test_a_voyage_that_forgets_ends_with_code_3(port: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows that hold no Chinese teach the toy that none ever comes."""
    settings = [*SETTINGS, "evaluate.guard=refuse", "finetune.learning_rate=0.03"]
    code = guarded(lambda: sail(port / "toy.yaml", settings, port / "sailed", log=Log(quiet=True)))
    assert code == EXIT_CHECK_REFUSED
    assert "check refused: Tuning cost the model something" in capsys.readouterr().err
    current = Run(port / "sailed" / "toy").current()
    assert "evaluate" in current and not {"check", "report"} & set(current)
