"""Predicting with a classifier's run: texts in, a JSON line with label and probability out."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from setsail.base.artifact import Artifact
from setsail.base.device import device, move, prepare_device
from setsail.base.errors import CheckRefused, DataError, UserError
from setsail.base.files import explained_os_errors
from setsail.base.log import Log
from setsail.base.recipe_file import load_recipe
from setsail.base.run import Run
from setsail.models.plain_classifier import PlainClassifier, load_plain
from setsail.tasks.classify import predict

TEXTS_AT_ONCE = 32


def predict_with_run(path: Path, text: str | None = None, *, file: Path | None = None, every: bool = False) -> None:
    """Prints a line for each text: `text`, `label`, `probability`; `cut` where its end did not fit the context.

    `file` has a text on each line, "-" is stdin. `every` adds the probability of each label.

    Raises:
        UserError: neither a text nor a file, or both; a run that classifies nothing.
        CheckRefused: the model was not checked, or the check found a breach.
    """
    if (text is None) == (file is None):
        raise UserError("give a text or a file of them", hint='setsail predict RUN "text", or --file texts.txt')
    run = Run(path)
    trained = run.artifact("finetune")
    recipe = load_recipe(path / "recipe.yaml").recipe
    if recipe.task != "classify":
        hint = f"setsail chat {path}, or setsail serve {path}"
        raise UserError(f"this run has no labels to predict: its task is {recipe.task}", place=str(path), hint=hint)
    _refuse_unchecked(run, trained)
    texts = [text] if text is not None else list(_lines(file or Path("-")))
    prepare_device(recipe.seed)
    classifier = load_plain(trained.path)
    move(classifier.model, device())
    num_cut = 0
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        for line in _predicted(classifier, texts[start : start + TEXTS_AT_ONCE], every):
            num_cut += line.get("cut", False) is True
            print(json.dumps(line, ensure_ascii=False), flush=True)
    if num_cut:
        Log().say(
            f"! {num_cut} of {len(texts)} texts are longer than {classifier.context} tokens; their end was not read"
        )


def _predicted(classifier: PlainClassifier, texts: list[str], every: bool) -> Iterator[dict[str, object]]:
    for text, logits in zip(texts, classifier.logits(texts, at_once=TEXTS_AT_ONCE), strict=True):
        found = predict(logits, classifier.labels)
        line: dict[str, object] = {"text": text, "label": found.label, "probability": round(found.probability, 6)}
        if every:
            line["probabilities"] = {label: round(value, 6) for label, value in found.probabilities.items()}
        if len(classifier.ids(text)) > classifier.context:
            line["cut"] = True
        yield line


def _lines(file: Path) -> Iterator[str]:
    """Each line of a file that holds anything."""
    with explained_os_errors(f'reading "{file}"'):
        try:
            whole = sys.stdin.read() if str(file) == "-" else file.read_text("utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataError(f'"{file}" is not UTF-8: {error}', hint="iconv -f GB18030 -t UTF-8 FILE") from error
    return (line for line in whole.splitlines() if line.strip())


def _refuse_unchecked(run: Run, trained: Artifact) -> None:
    again = "setsail run RECIPE checks it"
    if "check" not in run.current():
        raise CheckRefused("this model was never checked against the trainer", place=str(run.path), hint=again)
    if run.artifact("check").manifest.parents.get("trained") != trained.id:
        raise CheckRefused("the check speaks of another model than the one here", place=str(run.path), hint=again)
