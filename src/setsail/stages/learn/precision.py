"""Which layers of a mixed file have four bits: measured on validation rows, kept as precision.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from setsail.base.artifact import Artifact
from setsail.base.device import device, move, prepare_device
from setsail.base.errors import DataError
from setsail.base.files import write_atomically
from setsail.base.log import size
from setsail.compress.export import Weights
from setsail.compress.mixed import choose_layers
from setsail.data.row import iterate_rows
from setsail.evaluate.question import choose_rows
from setsail.models.load import load_model
from setsail.stages.kinds import tokenizer_of
from setsail.stages.lessons.examples import examples_of, nats_of
from setsail.stages.lessons.objectives import lesson_of
from setsail.stages.stage import StageSpec, Voyage, make

FILE = "precision.json"
MIXED: Weights = "mixed"
PLAIN: Weights = "q8_0"  # where a precision of its own would have to be measured, as of a base


def make_precision(voyage: Voyage, merged: Artifact, data: Artifact) -> Artifact:
    """The layers that may be coarser, within the recipe's `compress.max_loss`.

    Raises:
        DataError: no validation row fits the context.
        CheckRefused: eight bits alone cost more than is allowed.
    """
    recipe, wanted = voyage.recipe, voyage.recipe.compress

    def build(draft: Path) -> Mapping[str, Any]:
        prepare_device(recipe.seed)
        tokenizer = tokenizer_of(merged)
        lesson = lesson_of(recipe, "decoder", tokenizer)
        rows = choose_rows(iterate_rows(data.file("validation.parquet")), wanted.rows, seed=recipe.seed)
        examples = examples_of(rows, tokenizer, recipe, lesson).examples
        if not examples:
            raise DataError("no validation row fits the context, so that no precision can be measured")
        model = load_model(merged.path, dtype=torch.float32).requires_grad_(False)
        move(model, device())
        num_layers = model.config.get_text_config().num_hidden_layers
        with voyage.log.progress("roundings measured", num_layers + 2) as progress:
            found = choose_layers(
                model, lambda: sum(nats_of(model, examples, lesson)), wanted.max_loss, lambda: progress.advance()
            )
        write_atomically(draft / FILE, json.dumps({"rows": len(examples), **asdict(found)}, indent=1) + "\n")
        saved = sum(found.saved_bytes[layer] for layer in found.coarser)
        voyage.log.say(
            f"  {len(found.coarser)} of {found.num_layers} layers at four bits, the others at eight: {size(saved)} "
            f"less; nats on {len(examples)} validation rows rise by {found.loss:.2%}, {wanted.max_loss:.2%} are allowed"
        )
        return {"coarser": list(found.coarser), "loss": found.loss}

    settings = {"compress": wanted.model_dump(mode="json"), "seed": recipe.seed, "context": recipe.training.context}
    return make(voyage, StageSpec("precision", settings, {"merged": merged, "data": data}, {}), build)


def coarser_layers(precision: Artifact) -> frozenset[int]:
    """The numbers of the layers that have four bits."""
    return frozenset(json.loads(precision.file(FILE).read_text("utf-8"))["coarser"])
