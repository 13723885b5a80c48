"""Plain texts that are longer than the context: learned, scored and probed all the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from setsail.base.log import Log
from setsail.base.recipe_file import load_recipe
from setsail.base.run import Run
from setsail.evaluate.evaluation import read_evaluation
from setsail.models.load import load_model
from setsail.stages.lessons.examples import row_nats
from setsail.stages.lessons.objectives import lesson_of
from setsail.stages.rows.data import read_rows
from setsail.stages.voyage import sail
from setsail.tokens.tokenizer import load

from .conftest import write_stories

CONTEXT = 32
SETTINGS = ["data.overlong=split", f"pretrain.context={CONTEXT}", "pretrain.epochs=1"]


def test_where_no_document_fits_each_is_scored_in_windows_and_probed_at_its_beginning(tmp_path: Path) -> None:
    sail(write_stories(tmp_path), SETTINGS, tmp_path / "runs", log=Log(quiet=True))
    run = Run(tmp_path / "runs" / "new")
    assert read_evaluation(run.artifact("evaluate").file("evaluation.json")).num_rows == 6
    merged = run.artifact("merged").path
    tokenizer, recipe = load(merged), load_recipe(run.path / "recipe.yaml").recipe
    rows = read_rows(run.artifact("data").file("test.parquet"))
    lesson = lesson_of(recipe, "decoder", tokenizer)
    model = load_model(merged, dtype=torch.float32)
    with torch.inference_mode():
        paid = row_nats(model, rows, tokenizer, recipe, lesson)
        expected = [_nats(model, [*tokenizer.encode(row.text), tokenizer.eos_id]) for row in rows]
    assert paid == pytest.approx(expected, rel=1e-4)
    raw = json.loads(run.artifact("pretrain").file("reference.json").read_text("utf-8"))
    asked = [(probe["text"] + probe["answer"], probe["prompt_ids"] + probe["answer_ids"]) for probe in raw["probes"]]
    assert all(CONTEXT - 2 <= len(ids) <= CONTEXT for _, ids in asked)
    assert all(any(row.text.startswith(text) for row in rows) for text, _ in asked)


def _nats(model: PreTrainedModel, ids: list[int | None]) -> float:
    """What the windows of a document cost, by hand: each begins with the last token of the one before it."""
    assert len(ids) > CONTEXT
    paid = 0.0
    for start in range(0, len(ids) - 1, CONTEXT - 1):
        window = torch.tensor([ids[start : start + CONTEXT]])
        logits = model(window).logits[0, :-1].log_softmax(-1)
        paid -= float(logits.gather(1, window[0, 1:, None]).sum())
    return paid
