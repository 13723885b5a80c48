"""Only what the check has passed is used."""

from __future__ import annotations

from setsail.base.artifact import Artifact
from setsail.base.errors import CheckRefused
from setsail.base.recipe import Recipe
from setsail.base.run import Run

_FOLDERS = ("merged", "saved", "trained")  # what checks call a run's model folder, the last made first


def finished_model(run: Run) -> Artifact:
    """The model folder that a run came to: merged, or the one that was trained where nothing is merged.

    Raises:
        ArtifactError: the run has none yet.
        CheckRefused: no passed check speaks of it.
    """
    made = run.artifact("merged" if "merged" in run.current() else "finetune")
    spoken_of = run.artifact("check").manifest.parents if "check" in run.current() else {}
    refuse_unchecked(run, made, part=next((part for part in _FOLDERS if part in spoken_of), "trained"))
    return made


def refuse_unchecked(run: Run, made: Artifact, *, part: str = "served") -> None:
    """Raises:
    CheckRefused: when no passed check speaks of exactly these files; it knows them as its `part`.
    """
    again = "setsail run RECIPE checks it"
    if "check" not in run.current():
        raise CheckRefused("this model was never checked against the trainer", place=str(run.path), hint=again)
    if run.artifact("check").manifest.parents.get(part) != made.id:
        raise CheckRefused("the check speaks of another model than the one here", place=str(run.path), hint=again)


def refuse_other_cache(run: Run, recipe: Recipe) -> None:
    """Raises: CheckRefused for a cache that is not the one that was checked."""
    checked = run.artifact("check").manifest.recipe.get("cache", "auto")
    if checked != recipe.serve.cache:
        raise CheckRefused(
            f"the check was made with serve.cache {checked}, and recipe.yaml says {recipe.serve.cache}",
            place=str(run.path / "recipe.yaml"),
            hint="setsail check RECIPE checks it",
        )
