"""The predictor of a run's exported encoder: the same lines as torch's, from onnxruntime and tokenizers alone.

The invariant: nothing here, nor what it imports, needs torch.
"""

from __future__ import annotations

from setsail.base.artifact import Artifact
from setsail.base.errors import ArtifactError
from setsail.base.recipe import Recipe
from setsail.base.run import Run
from setsail.models.onnx_model import OnnxEmbedder, OnnxModel, OnnxRanker, load_onnx
from setsail.stages.answering.predictor import TEXTS_AT_ONCE, ReadingPredictor
from setsail.stages.answering.search_predictors import EmbeddingPredictor, RankingPredictor
from setsail.tasks.prediction import Predictor
from setsail.tasks.registry import find_reading

KIND = "onnx"


def exported_of(run: Run) -> Artifact:
    """The ONNX files of a run. Raises: ArtifactError where its recipe exports none."""
    if KIND not in run.current():
        hint = "write export: {format: onnx} into the recipe, then setsail run RECIPE"
        raise ArtifactError("this run exported no ONNX files", place=str(run.path), hint=hint)
    return run.artifact(KIND)


def load_predictor(run: Run, recipe: Recipe) -> Predictor:
    """The first precision that a run exported."""
    return predictor_of(load_onnx(exported_of(run).path))


def predictor_of(model: OnnxModel) -> Predictor:
    """An exported encoder as what answers the questions of its task."""
    at_once = 1 if model.alone else TEXTS_AT_ONCE
    task = model.settings.task
    if task == "embed":
        return EmbeddingPredictor(OnnxEmbedder(model), at_once=at_once)
    if task == "rank":
        return RankingPredictor(OnnxRanker(model), at_once=at_once)
    return ReadingPredictor(model, task, find_reading(task), num_end=model.settings.num_end, at_once=at_once)
