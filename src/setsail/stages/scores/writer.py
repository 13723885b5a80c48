"""The evaluation stage: base, tuned and nearest neighbour on rows that nothing was trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from setsail.base.artifact import Artifact
from setsail.base.device import compute_dtype, device, move, prepare_device
from setsail.base.log import Log
from setsail.base.recipe import Recipe
from setsail.data.row import Message, Row
from setsail.evaluate.baseline import fit_nearest
from setsail.evaluate.contamination import take_out
from setsail.evaluate.evaluation import FILE as EVALUATION
from setsail.evaluate.evaluation import Evaluation, write_evaluation
from setsail.evaluate.question import choose_rows
from setsail.evaluate.score import Plan, evaluate
from setsail.evaluate.system import Answer, System
from setsail.models.load import load_model
from setsail.stages.answering.engines import answer_all, how_served
from setsail.stages.kinds import tokenizer_of
from setsail.stages.lessons.examples import row_nats
from setsail.stages.lessons.objectives import lesson_of
from setsail.stages.lessons.preferring import preferring
from setsail.stages.lessons.probes import can_be_scored
from setsail.stages.scores.exam import OTHER, Exam, make_exam
from setsail.stages.scores.guard import Examined, examine, is_guarded
from setsail.stages.stage import Voyage
from setsail.tokens.render import render
from setsail.tokens.tokenizer import Tokenizer


@dataclass(frozen=True)
class Forms:
    """The forms of one model that an evaluation needs: weights for the bits, a file for the answers."""

    weights: Artifact
    served: Artifact

    def as_parents(self, name: str) -> dict[str, Artifact]:
        """Both, as an artefact names what it was made from."""
        return {name: self.weights, f"{name}_served": self.served}


def make_evaluation(voyage: Voyage, exam: Exam, *, base: Forms, tuned: Forms) -> Artifact:
    """Scores with intervals, paired differences, a verdict in words, samples, and every answer kept."""
    recipe = voyage.recipe
    examined = examine_both(voyage, base, tuned) if is_guarded(recipe) and exam.is_own else None
    return make_exam(
        voyage,
        exam,
        lambda draft: guarded(voyage, draft, _evaluate(voyage, exam, draft, base=base, tuned=tuned), examined),
        settings={
            "evaluate": recipe.evaluate.model_dump(mode="json", exclude={"guard"}),
            "context": recipe.training.context,
            "near": recipe.data.near_duplicates,
            **how_served(recipe),
            "seed": recipe.seed,
            "reads": recipe.reads,
        },
        models={**base.as_parents("base"), **tuned.as_parents("tuned"), **_others(exam), **batteries(examined)},
        version=3,
    )


def guarded(voyage: Voyage, draft: Path, evaluation: Evaluation, examined: Examined | None) -> Evaluation:
    """The evaluation with what the model has forgotten, in the file too."""
    if examined is None:
        return evaluation
    whole = replace(evaluation, guard=examined.compare(voyage.recipe))
    write_evaluation(draft / EVALUATION, whole)
    return whole


def batteries(examined: Examined | None) -> dict[str, Artifact]:
    """The parents of an evaluation that a guard adds."""
    return {} if examined is None else {"base_battery": examined.base, "tuned_battery": examined.tuned}


def _others(exam: Exam) -> dict[str, Artifact]:
    forms = other_forms(exam, "gguf")
    return {} if forms is None else forms.as_parents(OTHER)


def other_forms(exam: Exam, served: str) -> Forms | None:
    """The model of the other run, where one is asked too; `served` is the kind of its form that answers."""
    return None if exam.other is None else Forms(exam.other.artifact("merged"), exam.other.artifact(served))


def examine_both(voyage: Voyage, base: Forms, tuned: Forms) -> Examined:
    """The battery of what a model may forget, asked of both."""
    return Examined(
        base=examine(voyage, "base_battery", weights=base.weights, served=base.served),
        tuned=examine(voyage, "tuned_battery", weights=tuned.weights, served=tuned.served),
    )


def _evaluate(voyage: Voyage, exam: Exam, draft: Path, *, base: Forms, tuned: Forms) -> Evaluation:
    recipe = voyage.recipe
    prepare_device(recipe.seed)
    parts = exam.parts()
    clean, contamination = take_out(parts.test, parts.train, threshold=recipe.data.near_duplicates)
    rows = choose_rows(clean, recipe.evaluate.max_rows, seed=recipe.seed)
    rows = that_fit(rows, tokenizer_of(tuned.weights), recipe, voyage.log)
    systems = {
        "tuned": system_of(tuned, recipe, voyage.log, "tuned"),
        "base": system_of(base, recipe, voyage.log, "base"),
    }
    other = other_forms(exam, "gguf")
    if other is not None:
        rows = that_fit(rows, tokenizer_of(other.weights), exam.other_recipe, voyage.log)
        systems[OTHER] = system_of(other, exam.other_recipe, voyage.log, OTHER)
    if recipe.task == "chat":
        systems["nearest"] = fit_nearest(parts.train).system()
    pairs = exam.compared(Plan().comparisons)
    plan = Plan(pairs, num_samples=recipe.evaluate.samples, resamples=recipe.evaluate.resamples, seed=recipe.seed)
    return evaluate(systems, rows, draft, plan=plan, contamination=contamination)


def that_fit(rows: Sequence[Row], tokenizer: Tokenizer, recipe: Recipe, log: Log) -> list[Row]:
    """The rows that can be scored; the others are counted."""
    fit = [row for row in rows if can_be_scored(row, tokenizer, recipe)]
    if len(fit) < len(rows):
        log.say(f"  {len(rows) - len(fit)} test rows are longer than the context and are not scored")
    return fit


def system_of(forms: Forms, recipe: Recipe, log: Log, name: str) -> System:
    """A decoder to be scored: what its weights pay and, where rows are answered, what its served file says."""
    answers = _answers(forms, recipe, log, name) if recipe.writes_answers else None
    return System(answers=answers, nats=_nats(forms, recipe), margins=preferring(forms.weights, recipe))


def _answers(
    forms: Forms, recipe: Recipe, log: Log, name: str
) -> Callable[[Sequence[tuple[Message, ...]]], list[Answer]]:
    """Greedy answers by the engine that will serve the file, many at once."""
    tokenizer = tokenizer_of(forms.served)

    def answers(prompts: Sequence[tuple[Message, ...]]) -> list[Answer]:
        rendered = [render(tokenizer, prompt, generation_prompt=True) for prompt in prompts]
        most = [recipe.evaluate.max_new_tokens] * len(rendered)
        completions = answer_all(forms.served, recipe, rendered, max_tokens=most, progress=(log, f"answers of {name}"))
        return [
            Answer(tokenizer.decode(done.token_ids), done.reason == "stop", len(done.token_ids), done.seconds)
            for done in completions
        ]

    return answers


def _nats(forms: Forms, recipe: Recipe) -> Callable[[Sequence[Row]], list[float]]:
    """What the weights pay for the held-out answers."""
    tokenizer = tokenizer_of(forms.weights)

    def nats(rows: Sequence[Row]) -> list[float]:
        model = load_model(forms.weights.path, dtype=compute_dtype())
        move(model, device())
        lesson = lesson_of(recipe, "decoder", tokenizer)
        with torch.inference_mode():
            return row_nats(model, rows, tokenizer, recipe, lesson)

    return nats
