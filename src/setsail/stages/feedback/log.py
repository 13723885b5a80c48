"""The log of answers of a server: opened under its key, with what the recipes say of personal data done before it.

What does not live here: the log itself (`serve/feedback`), and what becomes of it (`feedback.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from setsail.base.errors import UserError
from setsail.base.log import Log
from setsail.base.recipe import Recipe
from setsail.base.recipe_serve import Answers
from setsail.base.target import Span
from setsail.data.privacy.options import redactor_of
from setsail.data.privacy.redactor import Redactor
from setsail.data.spans import moved
from setsail.serve.feedback.folder import Folder
from setsail.serve.feedback.key import answers_key
from setsail.serve.feedback.log import AnswerLog, Mask
from setsail.serve.feedback.record import Answered, Json, Rated

_MARKED_IN = ("context", "text")  # the column that places are told of, where a question has it


def settings_of(said: Answers | None, folder: Path | None, key_file: Path | None) -> Answers | None:
    """What is said of the log of answers: by the recipe, and over it on the command line."""
    if said is None and folder is None:
        if key_file is not None:
            raise UserError(
                "a key without a log of answers", place="--answers-key", hint="name it too: --answers FOLDER"
            )
        return None
    new = {"folder": str(folder) if folder else None, "key_file": str(key_file) if key_file else None}
    known = said.model_dump() if said else {}
    return Answers.model_validate({**known, **{name: value for name, value in new.items() if value is not None}})


def open_log(settings: Answers, recipes: Sequence[Recipe], log: Log) -> AnswerLog:
    """The log that a server writes.

    Raises:
        UserError: there is no key.
        SystemRefusal: others could read the key, or the folder cannot be written.
    """
    folder = Folder(Path(settings.folder).expanduser(), answers_key(settings.key_file))
    mask = mask_of(recipes) if settings.redact else lambda record: record
    opened = AnswerLog(folder, days=settings.days, mask=mask, log=log.say)
    log.say(f"  answers are kept in {folder.path}, encrypted, for {settings.days} days")
    return opened


def mask_of(recipes: Sequence[Recipe]) -> Mask:
    """What each recipe's `data.redact` makes of its model's records; of ratings, which name no model, the first's."""
    redactors = {recipe.name: redactor_of(recipe.data.redact, Path()) for recipe in recipes}
    first = next((each for each in redactors.values() if each is not None), None)

    def mask(record: Answered | Rated) -> Answered | Rated | None:
        if isinstance(record, Rated):
            return masked(record, first)
        return masked(record, redactors.get(record.model.removesuffix("/base"), first))

    return mask


def masked(record: Answered | Rated, redactor: Redactor | None) -> Answered | Rated | None:
    """The record as a redactor leaves it: its texts treated together, marked places where they stand now.

    None where it is to be dropped, or nothing is left of a marked part.
    """
    if redactor is None:
        return record
    names = ("asked", "said") if isinstance(record, Answered) else ("correction", "comment")
    before = {name: getattr(record, name) for name in names}
    done = redactor(_texts(before))
    if not done.counts:
        return record
    if redactor.mode == "drop":
        return None
    after: dict[str, Any] = _with_texts(before, iter(done.texts))
    if isinstance(record, Answered) and not _move(before["asked"], after["asked"], after["said"]):
        return None
    return replace(record, **after)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each)


def _with_texts(value: Any, texts: Iterator[str]) -> Any:
    """The same value with other texts in their places, in the order of `_texts`."""
    if isinstance(value, str):
        return next(texts)
    if isinstance(value, Mapping):
        return {name: _with_texts(each, texts) for name, each in value.items()}
    return [_with_texts(each, texts) for each in value] if isinstance(value, list | tuple) else value


def _move(before: Json, asked: Json, said: Json) -> bool:
    """Moves places in what was asked and said to where they stand now; whether each is still there.

    Mutates: `asked` and `said`.
    """
    column = next((name for name in _MARKED_IN if isinstance(before.get(name), str)), None)
    if column is None:
        return True
    places = [each for each in (said, *_parts(said.get("spans"))) if {"start", "end"} <= each.keys()]
    offsets = [name for name in ("head", "tail") if isinstance(asked.get(name), list)]
    spans = [Span(each["start"], each["end"], "") for each in places if each["start"] < each["end"]]
    spans += [Span(asked[name][0], asked[name][1], "") for name in offsets]
    now = moved(spans, before[column], asked[column])
    if now is None:
        return False
    found = iter(now)
    for each in places:
        if each["start"] < each["end"]:
            span = next(found)
            each |= {"start": span.start, "end": span.end}
    for name in offsets:
        span = next(found)
        asked[name] = [span.start, span.end]
    return True


def _parts(value: Any) -> list[Json]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
