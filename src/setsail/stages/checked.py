"""Only what the check has passed is used."""

from __future__ import annotations

from setsail.base.artifact import Artifact
from setsail.base.errors import CheckRefused
from setsail.base.run import Run


def finished_model(run: Run) -> Artifact:
    """The model folder that a run came to: merged, or the one that was trained where nothing is merged.

    Raises:
        ArtifactError: the run has none yet.
        CheckRefused: no passed check speaks of it.
    """
    kind, part = ("merged", "merged") if "merged" in run.current() else ("finetune", "trained")
    made = run.artifact(kind)
    refuse_unchecked(run, made, part=part)
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
