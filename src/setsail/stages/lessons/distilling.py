"""A student's lesson: the ordinary one of its recipe, with what a larger model says of the same rows in the loss.

What does not live here: the loss (`train/distil.py`). The invariants: a teacher is a run that was checked, or a model
folder; it reads the same tokens and speaks of the same labels in the same order; it is no part of a checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import torch

from setsail.base.artifact import Artifact
from setsail.base.device import compute_dtype, device, move
from setsail.base.errors import ModelError, RecipeError
from setsail.base.log import size
from setsail.base.recipe_compress import Distil
from setsail.base.run import RUN_FILE, Run
from setsail.data.pairs import PAIR_TASKS
from setsail.data.row import contents, iterate_rows
from setsail.models import words
from setsail.models.fused import fuse
from setsail.models.load import load_model, read_any_config, read_kind
from setsail.models.reader import labels_of, load_reader, read_encoder_config
from setsail.models.sentence_encoder import load_sentence_encoder, refuse_other_pooling
from setsail.models.sources import resolve_base
from setsail.stages.checked import finished_model
from setsail.stages.lessons.objectives import Lesson
from setsail.stages.lessons.reading import reading_name
from setsail.stages.rows.base import local_path
from setsail.stages.stage import Voyage
from setsail.tasks.reading import Frame, Reading
from setsail.tasks.registry import find_reading
from setsail.tokens.tokenizer import Tokenizer, load
from setsail.train.distil import Mix, Teacher, distilled_grades, distilled_reading, distilled_vectors, distilled_words
from setsail.train.plan import Plan

NUM_COMPARED = 100  # rows whose text both tokenizers cut


@dataclass(frozen=True)
class Source:
    """Where a teacher is, and what its identity rests on."""

    name: str
    folder: Path
    identity: str


def teacher_facts(voyage: Voyage) -> dict[str, str]:
    """What the identity of a student holds of its teacher; nothing where there is none."""
    distil = voyage.recipe.training.distil
    return {} if distil is None else {"teacher": find_teacher(voyage, distil).identity}


def find_teacher(voyage: Voyage, distil: Distil) -> Source:
    """The model that a recipe names as the teacher.

    Raises:
        RecipeError: there is none of this name.
        ArtifactError, CheckRefused: a run that is not finished, or whose model was never checked.
        ModelError: a folder that holds no model.
    """
    name = local_path(distil.teacher, voyage.loaded.folder)
    path = Path(name)
    if (path / RUN_FILE).is_file():
        made = finished_model(Run(path))
        return Source(distil.teacher, made.path, made.id)
    if not path.is_dir():
        raise RecipeError(
            f'the teacher "{distil.teacher}" is neither a run nor a model folder',
            place=_place(voyage),
            hint="teacher: runs/NAME, of a voyage that came to its end, or the folder of a model",
        )
    return Source(distil.teacher, path, resolve_base(str(path)).fingerprint)


def check_teacher(voyage: Voyage, lesson: Lesson, base: Artifact, data: Artifact, tokenizer: Tokenizer) -> None:
    """Holds the recipe's teacher, where there is one, against what its student reads and says; loads no weights.

    Raises:
        RecipeError: one of them is no decoder, in a task that goes on with text.
        ModelError: the teacher reads other tokens, speaks of other labels, or has hidden states of another width.
    """
    distil = voyage.recipe.training.distil
    if distil is None:
        return
    source = find_teacher(voyage, distil)
    reading, frame = _told(voyage, data)
    if voyage.recipe.task in PAIR_TASKS:
        _refuse_other_answers(voyage, source)
    elif reading is None and (lesson.kind != "decoder" or read_kind(source.folder) != "decoder"):
        raise RecipeError("a student that goes on with text is a decoder, as its teacher is", place=_place(voyage))
    _refuse_other_tokens(voyage, source, data, tokenizer)
    if distil.hidden:
        _refuse_other_width(voyage, source, base)
    if reading is not None:
        _refuse_other_labels(voyage, source, reading, frame)


def with_teacher(voyage: Voyage, lesson: Lesson, data: Artifact) -> Lesson:
    """The lesson with the recipe's teacher in its loss, held in memory from now on; without one the lesson itself."""
    distil = voyage.recipe.training.distil
    if distil is None:
        return lesson
    source = find_teacher(voyage, distil)
    mix = Mix(distil.weight, distil.temperature, distil.hidden)
    reading, frame = _told(voyage, data)
    task, search = voyage.recipe.task, voyage.recipe.search
    if task == "embed":
        teacher = Teacher(load_sentence_encoder(source.folder, dtype=compute_dtype(), seed=voyage.recipe.seed))
        ways = {"scale": search.scale, "symmetric": search.symmetric}
        objective = distilled_vectors(lesson.objective, teacher, mix, **ways)
    elif task == "rank":
        teacher = Teacher(load_reader(source.folder, dtype=compute_dtype()))
        objective = distilled_grades(lesson.objective, teacher, mix)
    elif reading is None:
        teacher = Teacher(load_model(source.folder, dtype=compute_dtype()))
        objective = distilled_words(lesson.objective, teacher, mix)
    else:
        # A score is told in float32: fewer digits would round a large mean.
        dtype = torch.float32 if reading.loss == "score" else compute_dtype()
        model = load_reader(source.folder, dtype=dtype, head=reading.head)
        teacher = Teacher(model, mean=frame.mean, scale=frame.scale)
        objective = distilled_reading(lesson.objective, teacher, mix)
    move(teacher.model, device())
    lesson.objective.check(teacher.model)
    fuse(teacher.model)

    def explain(plan: Plan) -> list[str]:
        return [*lesson.explain(plan), _cost(source, teacher, plan, voyage.world.size)]

    return replace(lesson, objective=objective, explain=explain)


def _told(voyage: Voyage, data: Artifact) -> tuple[Reading | None, Frame]:
    """What is said of a text and of what, as the training rows have it; None where a model goes on with texts."""
    name = reading_name(voyage.recipe, data)
    if not name:
        return None, Frame(())
    reading = find_reading(name)
    return reading, reading.frame(iterate_rows(data.file("train.parquet")))


def _cost(source: Source, teacher: Teacher, plan: Plan, num_processes: int) -> str:
    weights = list(teacher.model.parameters())
    held = sum(weight.numel() * weight.element_size() for weight in weights)
    whole = plan.predicted_seconds / max(1, plan.num_tokens)
    share = min(1.0, teacher.seconds_per_token / num_processes / whole) if whole else 0.0
    return (
        f"teacher     {source.name}: {sum(weight.numel() for weight in weights):,} weights, frozen; "
        f"{size(held)} of the memory and about {share:.0%} of the time are its own"
    )


def _refuse_other_labels(voyage: Voyage, source: Source, reading: Reading, frame: Frame) -> None:
    labels = labels_of(read_encoder_config(source.folder))
    # Other tools call a score, and where an answer starts and ends, as they like.
    is_nameless = reading.loss in ("score", "span")
    if len(labels) != len(frame.names) or (labels != frame.names and not is_nameless):
        raise ModelError(
            f"the teacher {source.name} tells {_few(labels)}, the rows {_few(frame.names)}",
            place=_place(voyage),
            hint="a teacher learned the same labels, in the same order: one that was trained on the same rows",
        )


def _refuse_other_answers(voyage: Voyage, source: Source) -> None:
    """Raises: ModelError for a teacher that gives no grade, or whose vectors are made otherwise."""
    if voyage.recipe.task == "embed":
        read_encoder_config(source.folder)
        refuse_other_pooling(source.folder)
    elif (number := len(labels_of(read_encoder_config(source.folder)))) != 1:
        told = f"the teacher {source.name} tells {number} labels, and no grade of how well a text answers a query"
        raise ModelError(told, place=_place(voyage), hint="teacher: runs/NAME of a run with task: rank")


def _refuse_other_width(voyage: Voyage, source: Source, base: Artifact) -> None:
    words.register()
    theirs, ours = (read_any_config(each).get_text_config().hidden_size for each in (source.folder, base.path))
    if theirs != ours:
        raise ModelError(
            f"the hidden states of the teacher {source.name} have {theirs} numbers, the student's {ours}",
            place=voyage.loaded.place(f"{voyage.recipe.training_key}.distil.hidden"),
            hint="leave hidden out, or make the student of the teacher: base: {prune: …} keeps its width",
        )


def _few(names: tuple[str, ...]) -> str:
    return f"{len(names)} labels ({', '.join(names[:5])}{' …' if len(names) > 5 else ''})"


def _refuse_other_tokens(voyage: Voyage, source: Source, data: Artifact, tokenizer: Tokenizer) -> None:
    """Raises:
    ModelError: where a token's number means another token to the teacher, or it would cut these texts otherwise.
    """
    others = load(source.folder)
    hint = "take a teacher and a base of the same family, or pretrain the student with the teacher's tokenizer"
    what = f"the teacher {source.name} has another tokenizer than the student"
    ours, theirs = (each.backend.get_vocab(with_added_tokens=True) for each in (tokenizer, others))
    if ours != theirs:
        apart = next(iter(sorted(dict(ours.items() ^ theirs.items()))))
        told = f"of {len(theirs):,} tokens instead of {len(ours):,}; they differ first in {apart!r}"
        raise ModelError(f"{what}: {told}", place=_place(voyage), hint=hint)
    for text in _texts(data):
        if tokenizer.encode_whole(text) != others.encode_whole(text):
            raise ModelError(f"{what}: it cuts otherwise {text[:60]!r}", place=_place(voyage), hint=hint)


def _texts(data: Artifact) -> Iterator[str]:
    rows = islice(iterate_rows(data.file("train.parquet")), NUM_COMPARED)
    return (text for row in rows for text in contents(row))


def _place(voyage: Voyage) -> str:
    return voyage.loaded.place(f"{voyage.recipe.training_key}.distil.teacher")
