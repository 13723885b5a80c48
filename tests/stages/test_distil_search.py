"""Students of encoders that find and order texts: whose teacher they follow, and who may not teach them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from models import toy_encoder
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoTokenizer

from setsail.base.errors import ModelError, RecipeError
from setsail.base.log import Log
from setsail.base.recipe_file import load_recipe
from setsail.base.run import Run
from setsail.data.pairs import query_of, text_of
from setsail.data.row import iterate_rows
from setsail.models.plain_ranker import load_ranker
from setsail.stages.voyage import sail

from .test_search import write_port

pytestmark = pytest.mark.slow

MODULES = '[{"idx": 0, "path": ""}, {"idx": 1, "path": "1_Pooling"}]'


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished judge, one that says the contrary, and a small encoder whose vectors are its own."""
    folder = tmp_path_factory.mktemp("teachers")
    write_port(folder)
    toy_encoder.write_folder(folder / "small", seed=9, hidden_size=16, num_attention_heads=2, intermediate_size=32)
    made = Path(sail(folder / "order.yaml", [], folder / "runs", log=Log(quiet=True))["folder"])
    contrary = shutil.copytree(Run(made).artifact("finetune").path, folder / "contrary")
    weights = load_file(contrary / "model.safetensors")
    turned = {name: -weight if name.startswith("classifier.") else weight for name, weight in weights.items()}
    save_file(turned, contrary / "model.safetensors", metadata={"format": "pt"})
    return folder


def taught(port: Path, recipe: str, name: str, *settings: str) -> Run:
    given = [f"name={name}", *settings]
    made = sail(port / f"{recipe}.yaml", given, port / "runs", until="finetune", log=Log(quiet=True))
    return Run(Path(made["folder"]))


@torch.no_grad()
def cosines(folder: Path, pairs: list[tuple[str, str]]) -> np.ndarray:
    """By plain transformers: each query with each text."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()

    def vector(text: str) -> np.ndarray:
        mean = model(**tokenizer(text, return_tensors="pt", truncation=True)).last_hidden_state[0].mean(dim=0).numpy()
        return mean / np.linalg.norm(mean)

    queries, texts = (np.stack([vector(text) for text in each]) for each in zip(*pairs, strict=True))
    return queries @ texts.T


def test_vectors_follow_the_teachers_though_they_are_longer(port: Path) -> None:
    student = taught(port, "find", "pupil", "finetune.distil={teacher: small, weight: 0.9}")
    alone = taught(port, "find", "alone")
    rows = list(iterate_rows(alone.artifact("data").file("test.parquet")))[:12]
    pairs = [(query_of(row), text_of(row)) for row in rows]
    told = cosines(port / "small", pairs)
    apart = [np.abs(cosines(run.artifact("finetune").path, pairs) - told).mean() for run in (student, alone)]
    assert apart[0] < 0.8 * apart[1], apart
    assert student.artifact("finetune").id != alone.artifact("finetune").id


def test_grades_follow_the_teachers_against_the_rows(port: Path) -> None:
    student = taught(port, "order", "judge", "finetune.distil={teacher: contrary, weight: 0.9}")
    rows = list(iterate_rows(student.artifact("data").file("test.parquet")))[:24]
    pairs = [(query_of(row), text_of(row)) for row in rows]
    told, said, other = (
        np.array(load_ranker(folder).logits(pairs))
        for folder in (
            port / "contrary",
            student.artifact("finetune").path,
            Run(port / "runs" / "order").artifact("finetune").path,
        )
    )
    assert np.corrcoef(said, told)[0, 1] > 0.5 and np.corrcoef(said, other)[0, 1] < -0.5


def test_who_may_not_teach_them(port: Path) -> None:
    with pytest.raises(ModelError, match="tells 2 labels, and no grade of how well a text answers a query"):
        taught(port, "order", "no", "finetune.distil={teacher: encoder}")
    first = shutil.copytree(port / "small", port / "first")
    (first / "1_Pooling").mkdir()
    (first / "modules.json").write_text(MODULES)
    (first / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    with pytest.raises(ModelError, match="pool"):
        taught(port, "find", "no", "finetune.distil={teacher: first}")
    with pytest.raises(RecipeError, match="distil is for the tasks"):
        load_recipe(port / "find.yaml", ["task=translate", "finetune.distil={teacher: encoder}"])
