"""The evaluation stage of translate, summarize and rewrite: the model and every rung below it on one frozen test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from setsail.base.artifact import Artifact
from setsail.base.device import compute_dtype, device, move, prepare_device
from setsail.base.log import Log
from setsail.base.recipe import New, Recipe
from setsail.data.row import Message, Row
from setsail.evaluate.baseline import fit_nearest
from setsail.evaluate.contamination import take_out
from setsail.evaluate.evaluation import Evaluation
from setsail.evaluate.pair_baselines import copied, extracted, leading, word_by_word, writing
from setsail.evaluate.pair_scores import COMPARISONS, core_seconds, evaluate_pairs
from setsail.evaluate.question import choose_rows, question_text
from setsail.evaluate.score import Plan
from setsail.evaluate.system import Answer, System
from setsail.models.load import load_model
from setsail.models.writer import load_writer
from setsail.stages.answering.engines import how_served
from setsail.stages.kinds import kind_of_base, tokenizer_of
from setsail.stages.lessons.examples import examples_of, row_nats
from setsail.stages.lessons.pairing import pairs_lesson
from setsail.stages.rows.data import Parts
from setsail.stages.scores.exam import OTHER, Exam, make_exam
from setsail.stages.scores.guard import is_guarded
from setsail.stages.scores.writer import Forms, batteries, examine_both, guarded, other_forms, system_of, that_fit
from setsail.stages.spent import core_seconds_of
from setsail.stages.stage import Voyage
from setsail.tasks.registry import find_task
from setsail.tokens.tokenizer import Tokenizer

TEXTS_AT_ONCE = 16
MOST_VALIDATION_ROWS = 256
Chooser = Callable[[Sequence[Row], Tokenizer, Recipe, Log], list[Row]]
Maker = Callable[[Forms, Recipe, Log, str], System]


def make_pair_evaluation(voyage: Voyage, exam: Exam, *, base: Forms, tuned: Forms, trained: Artifact) -> Artifact:
    """Scores with intervals, a verdict in words, what each rung of the ladder costs, and every answer kept."""
    recipe = voyage.recipe
    is_guarded_here = is_guarded(recipe) and exam.is_own and kind_of_base(base.weights) == "decoder"
    examined = examine_both(voyage, base, tuned) if is_guarded_here else None
    other = _other(exam)
    return make_exam(
        voyage,
        exam,
        lambda draft: guarded(
            voyage, draft, _evaluate(voyage, exam, draft, base=base, tuned=tuned, trained=trained), examined
        ),
        settings={
            "task": recipe.task,
            "evaluate": recipe.evaluate.model_dump(mode="json", exclude={"guard"}),
            "context": recipe.training.context,
            "near": recipe.data.near_duplicates,
            **how_served(recipe),
            "seed": recipe.seed,
        },
        models={
            **base.as_parents("base"),
            **tuned.as_parents("tuned"),
            "trained": trained,
            **(other.as_parents(OTHER) if other else {}),
            **batteries(examined),
        },
        version=2,
    )


def _other(exam: Exam) -> Forms | None:
    """The model of the other run: an encoder-decoder answers from its folder, a decoder from its served file."""
    if exam.other is None:
        return None
    is_decoder = kind_of_base(exam.other.artifact("base")) == "decoder"
    return other_forms(exam, "gguf" if is_decoder else "merged")


def _evaluate(voyage: Voyage, exam: Exam, draft: Path, *, base: Forms, tuned: Forms, trained: Artifact) -> Evaluation:
    recipe = voyage.recipe
    prepare_device(recipe.seed)
    parts = exam.parts()
    clean, contamination = take_out(parts.test, parts.train, threshold=recipe.data.near_duplicates)
    rows = choose_rows(clean, recipe.evaluate.max_rows, seed=recipe.seed)
    that_suit, system = _manner(base.weights)
    rows = that_suit(rows, tokenizer_of(tuned.weights), recipe, voyage.log)
    systems = {"tuned": system(tuned, recipe, voyage.log, "tuned")}
    making = {"tuned": core_seconds_of(trained)}
    if not isinstance(recipe.base, New):  # random weights write noise
        systems["base"], making["base"] = system(base, recipe, voyage.log, "base"), 0.0
    other = _other(exam)
    if other is not None and exam.other is not None:
        that_suit, system = _manner(exam.other.artifact("base"))
        rows = that_suit(rows, tokenizer_of(other.weights), exam.other_recipe, voyage.log)
        systems[OTHER] = system(other, exam.other_recipe, voyage.log, OTHER)
        making[OTHER] = core_seconds_of(exam.other.artifact("finetune"))
    below = _below(recipe, parts)
    with voyage.log.progress("ladder", len(below)) as progress:
        for name, make_rung in below.items():
            before = core_seconds()
            systems[name] = make_rung()
            making[name] = core_seconds() - before
            progress.advance()
    settings = recipe.evaluate
    return evaluate_pairs(
        systems,
        rows,
        draft,
        metrics=find_task(recipe.task).metrics,
        plan=Plan(exam.compared(COMPARISONS[recipe.task]), settings.samples, settings.resamples, recipe.seed),
        making=making,
        core_hour=settings.core_hour,
        contamination=contamination,
    )


def _manner(base: Artifact) -> tuple[Chooser, Maker]:
    """Which rows a model of this base can be asked, and how it is."""
    return (that_fit, system_of) if kind_of_base(base) == "decoder" else (_that_pair, _written_by)


def _below(recipe: Recipe, parts: Parts) -> dict[str, Callable[[], System]]:
    """What makes each rung of the task's ladder below a model."""
    validation = choose_rows(parts.validation, MOST_VALIDATION_ROWS, seed=recipe.seed)
    rungs: dict[str, Callable[[], System]] = {
        "copy": lambda: writing(copied),
        "nearest": lambda: fit_nearest(parts.train).system(),
        "words": lambda: writing(word_by_word(parts.train)),
        "lead": lambda: writing(leading(validation)),
        "extract": lambda: writing(extracted(validation)),
    }
    wanted = {against for _, against in COMPARISONS[recipe.task]}
    return {name: make_rung for name, make_rung in rungs.items() if name in wanted}


def _that_pair(rows: Sequence[Row], tokenizer: Tokenizer, recipe: Recipe, log: Log) -> list[Row]:
    """The rows whose two sides fit the context; the others cannot be scored and are counted."""
    made = examples_of(rows, tokenizer, recipe, pairs_lesson(recipe, tokenizer))
    for line in made.account.explain("test"):
        log.say(f"  {line}")
    fitting = {example.row_id for example in made.examples}
    return [row for row in rows if row.id in fitting]


def _written_by(forms: Forms, recipe: Recipe, log: Log, name: str) -> System:
    """An encoder-decoder to be scored: its folder as anybody loads it writes greedily, its weights pay."""

    def answers(prompts: Sequence[tuple[Message, ...]]) -> list[Answer]:
        writer = load_writer(forms.served.path)
        move(writer.model, device())
        texts = [question_text(prompt) for prompt in prompts]
        made: list[Answer] = []
        with log.progress(f"answers of {name}", len(texts)) as progress:
            for start in range(0, len(texts), 4 * TEXTS_AT_ONCE):
                some = texts[start : start + 4 * TEXTS_AT_ONCE]
                limit = recipe.evaluate.max_new_tokens
                written = writer.write(some, max_new_tokens=limit, at_once=TEXTS_AT_ONCE)
                made += [Answer(text, each.stopped, len(each.ids)) for text, each in written]
                progress.advance(len(some))
        return made

    def nats(rows: Sequence[Row]) -> list[float]:
        model = load_model(forms.weights.path, dtype=compute_dtype())
        move(model, device())
        tokenizer = tokenizer_of(forms.weights)
        lesson = pairs_lesson(recipe, tokenizer)
        with torch.inference_mode():
            return row_nats(model, rows, tokenizer, recipe, lesson)

    return System(answers=answers, nats=nats)
