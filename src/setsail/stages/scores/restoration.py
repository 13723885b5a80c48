"""The stages after pretraining for models that restore hidden text: what it is worth on held-out rows, and the check.

Such a model answers nobody, so nothing is exported to GGUF or served. It is scored by what it pays for hidden text that
it has not seen, and its saved folder must restore held-out rows as the trainer did, for us and for plain transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, PreTrainedModel

from setsail.base.artifact import Artifact
from setsail.base.device import compute_dtype, device, move, prepare_device
from setsail.base.recipe import Kind, Recipe
from setsail.compress.check import NUM_FIRST, Answer, Observation, Probe, Verdict, compare_restoration
from setsail.compress.reference import FILE as REFERENCE
from setsail.compress.reference import Reference
from setsail.data.row import Row
from setsail.evaluate.contamination import take_out
from setsail.evaluate.evaluation import Evaluation
from setsail.evaluate.question import choose_rows
from setsail.evaluate.score import Plan, evaluate
from setsail.evaluate.system import System
from setsail.evaluate.unigram import unigram_nats
from setsail.models.kinds import AUTO_CLASSES
from setsail.models.load import load_model
from setsail.stages.checks.writer import refuse_or_write
from setsail.stages.kinds import kind_of_base, tokenizer_of
from setsail.stages.lessons.examples import SCORING, Examples, examples_of, nats_of
from setsail.stages.lessons.objectives import Lesson, lesson_of
from setsail.stages.scores.exam import Exam, make_exam
from setsail.stages.stage import StageSpec, Voyage, make
from setsail.tasks.registry import find_example
from setsail.tasks.task import Dropped
from setsail.tokens.pack import NOT_SUPERVISED, Example
from setsail.tokens.tokenizer import Tokenizer

COMPARISONS = (("tuned", "unigram"), ("tuned", "base"))
TOKENIZER_FILE = "tokenizer.json"


@dataclass(frozen=True)
class _Passage:
    """A text as a lesson reads it."""

    id: str
    text: str
    messages: tuple[Mapping[str, str], ...] = ()
    label: str = ""
    target: str = ""


def make_restoration_evaluation(voyage: Voyage, exam: Exam, base: Artifact, saved: Artifact) -> Artifact:
    """Bits per masked byte on held-out rows: the model's, its base's and word frequency's, with a verdict in words."""
    recipe = voyage.recipe
    return make_exam(
        voyage,
        exam,
        lambda draft: _evaluate(voyage, exam, draft, base=base, saved=saved),
        settings={
            "evaluate": recipe.evaluate.model_dump(mode="json"),
            "pretrain": recipe.training.model_dump(mode="json", include={"context", "mask", "spans"}),
            "near": recipe.data.near_duplicates,
            "seed": recipe.seed,
        },
        models={"base": base, "tuned": saved, **exam.others("merged")},
        version=2,
    )


def _evaluate(voyage: Voyage, exam: Exam, draft: Path, *, base: Artifact, saved: Artifact) -> Evaluation:
    recipe, parts = voyage.recipe, exam.parts()
    prepare_device(recipe.seed)
    tokenizer = tokenizer_of(saved)
    lesson = lesson_of(recipe, kind_of_base(base), tokenizer)
    clean, contamination = take_out(parts.test, parts.train, threshold=recipe.data.near_duplicates)
    asked = choose_rows(clean, recipe.evaluate.max_rows, seed=recipe.seed)
    test = examples_of(asked, tokenizer, recipe, lesson)
    for line in test.account.explain("test"):
        voyage.log.say(f"  {line}")
    scored = {example.row_id for example in test.examples}
    rows = [row for row in asked if row.id in scored]
    train = examples_of(parts.train, tokenizer, recipe, lesson)
    systems = {
        "tuned": System(masked_nats=_paid_by(saved, test, lesson)),
        "base": System(masked_nats=_paid_by(base, test, lesson)),
        "unigram": System(masked_nats=_paid_by_frequency(train, test, tokenizer, lesson)),
    }
    for name, other in exam.others("merged").items():
        if other.file(TOKENIZER_FILE).read_bytes() != saved.file(TOKENIZER_FILE).read_bytes():
            raise exam.unlike("another tokenizer", "hides other pieces of a text")
        systems[name] = System(masked_nats=_paid_by(other, test, lesson))
    plan = Plan(exam.compared(COMPARISONS), recipe.evaluate.samples, recipe.evaluate.resamples, recipe.seed)
    masked_bytes = [round(num_bytes) for num_bytes in _by_row(test, test.num_bytes, rows)]
    return evaluate(systems, rows, draft, plan=plan, contamination=contamination, masked_bytes=masked_bytes)


def _by_row(test: Examples, values: Sequence[float], rows: Sequence[Row]) -> list[float]:
    """Values of examples, of which a long row has several, added up for each row."""
    sums = dict.fromkeys((row.id for row in rows), 0.0)
    for example, value in zip(test.examples, values, strict=True):
        sums[example.row_id] += value
    return [sums[row.id] for row in rows]


def _paid_by(model: Artifact, test: Examples, lesson: Lesson) -> Callable[[Sequence[Row]], list[float]]:
    """What the weights pay for the hidden text, and T5 for the sentinels and the end as well."""

    def masked_nats(rows: Sequence[Row]) -> list[float]:
        loaded = load_model(model.path, dtype=compute_dtype())
        move(loaded, device())
        with torch.inference_mode():
            return _by_row(test, nats_of(loaded, test.examples, lesson), rows)

    return masked_nats


def _paid_by_frequency(
    train: Examples, test: Examples, tokenizer: Tokenizer, lesson: Lesson
) -> Callable[[Sequence[Row]], list[float]]:
    """What word frequency pays for the hidden text; sentinels and the end are given to it for nothing."""
    prices = unigram_nats([each.ids[each.loss_mask] for each in train.examples], tokenizer.num_ids)

    def masked_nats(rows: Sequence[Row]) -> list[float]:
        drawn = lesson.drawn(test.examples, SCORING)
        return _by_row(test, [float(prices[each.ids[each.loss_mask]].sum()) for each in drawn], rows)

    return masked_nats


def observe_restoring_trainer(
    recipe: Recipe, model: PreTrainedModel, tokenizer: Tokenizer, rows: Sequence[Row], lesson: Lesson
) -> Reference:
    """What the trainer restores of held-out rows, in float32, and what the loss that was trained says of them.

    Mutates: the model's dtype.
    """
    # A special token written out in a text is text for us, and a special token for other readers.
    plain = [row for row in rows if not any(token in row.text for token in tokenizer.special_tokens)]
    chosen = choose_rows(plain, recipe.check.prompts, seed=recipe.seed)
    passages = [_beginning(row, tokenizer, recipe, lesson) for row in chosen]
    hidden = _hidden(passages, tokenizer, recipe, lesson)
    probes = tuple(_probe(each, example, lesson, tokenizer) for each, example in zip(passages, hidden, strict=True))
    return Reference(probes, _observe(model, hidden, lesson, tokenizer, stage="trainer"))


def _beginning(row: Row, tokenizer: Tokenizer, recipe: Recipe, lesson: Lesson) -> _Passage:
    """The row, or of one that is longer than the context its first half, quarter and so on, whatever fits."""
    passage = _Passage(row.id, row.text)
    while (made := _example(passage, tokenizer, recipe, lesson)) and isinstance(made, Dropped):
        assert made.reason == "overlong", f"{row.id} came through the preparation of the data: {made}"
        passage = _Passage(row.id, passage.text[: len(passage.text) // 2])
    return passage


def _hidden(passages: Sequence[_Passage], tokenizer: Tokenizer, recipe: Recipe, lesson: Lesson) -> list[Example]:
    """The passages with what the check hides of them."""
    made = [_example(each, tokenizer, recipe, lesson) for each in passages]
    return lesson.drawn([examples[0] for examples in made if not isinstance(examples, Dropped)], "check")


def _example(passage: _Passage, tokenizer: Tokenizer, recipe: Recipe, lesson: Lesson) -> tuple[Example, ...] | Dropped:
    return find_example(lesson.reads)(passage, tokenizer, recipe.training.context, "drop")


def _probe(row: _Passage, hidden: Example, lesson: Lesson, tokenizer: Tokenizer) -> Probe:
    inputs, targets = _sides(hidden, lesson)
    answer = tokenizer.decode(hidden.ids[hidden.loss_mask].tolist())
    return Probe(row.id, (), row.text, tuple(inputs), tuple(targets), answer, stop_id=targets[-1])


def _sides(hidden: Example, lesson: Lesson) -> tuple[list[int], list[int]]:
    """What is read and what is to be restored of one example."""
    batch: Any = lesson.collate([hidden])
    return batch.input_ids.ravel().tolist(), batch.targets[batch.targets != NOT_SUPERVISED].tolist()


def _observe(
    model: PreTrainedModel, hidden: Sequence[Example], lesson: Lesson, tokenizer: Tokenizer, *, stage: str
) -> Observation:
    """What a model restores by its own forward, and what it pays by the loss that was trained."""
    model = model.float().eval()
    answers = []
    for example in hidden:
        batch = lesson.collate([example])
        (nats, _), *_ = lesson.objective.row_nats(model, batch)
        answers.append(_answer(model, example, lesson, tokenizer, nats))
    return Observation(stage, "same", tuple(answers))


@torch.no_grad()
def _answer(
    model: PreTrainedModel, hidden: Example, lesson: Lesson, tokenizer: Tokenizer, nats: float | None = None
) -> Answer:
    """What a model restores of one example by its own forward; what it pays by its own logits, unless that is given."""
    assert lesson.logits is not None, "only lessons that hide something are checked here"
    inputs, targets = _sides(hidden, lesson)
    logprobs = torch.log_softmax(lesson.logits(model, lesson.collate([hidden])), dim=-1).cpu()
    best = logprobs.argmax(dim=-1).tolist()
    top = logprobs[0].topk(min(NUM_FIRST, logprobs.shape[-1]))
    first = dict(zip(top.indices.tolist(), top.values.tolist(), strict=True))
    own = -float(logprobs.double()[range(len(targets)), targets].sum())
    return Answer(tuple(inputs), tuple(best), tokenizer.decode(best), True, first, own if nats is None else nats)


def make_restoration_check(voyage: Voyage, base: Artifact, trained: Artifact, saved: Artifact) -> Artifact:
    """The verdict over the saved folder: it restores what the trainer restored, read by us and by plain transformers.

    Raises:
        CheckRefused: naming the first reader for whom it does not.
    """

    def build(draft: Path) -> Mapping[str, Any]:
        return refuse_or_write(voyage, _check(voyage, kind_of_base(base), trained, saved), draft)

    settings = {"check": voyage.recipe.check.model_dump(mode="json")}
    return make(voyage, StageSpec("check", settings, {"trained": trained, "saved": saved}, {}), build)


def _check(voyage: Voyage, kind: Kind, trained: Artifact, saved: Artifact) -> Verdict:
    recipe, tokenizer = voyage.recipe, tokenizer_of(saved)
    prepare_device(recipe.seed)
    reference = Reference.read(trained.file(REFERENCE))
    lesson = lesson_of(recipe, kind, tokenizer)
    hidden = _hidden([_Passage(probe.row_id, probe.text) for probe in reference.probes], tokenizer, recipe, lesson)
    ours = _observe(load_model(saved.path, dtype=torch.float32), hidden, lesson, tokenizer, stage="saved")
    plain = AUTO_CLASSES[kind].from_pretrained(saved.path, dtype=torch.float32, local_files_only=True)
    theirs = AutoTokenizer.from_pretrained(saved.path, local_files_only=True)
    answers = [_answer(plain.eval(), example, lesson, tokenizer) for example in hidden]
    read = [tuple(theirs(probe.text)["input_ids"]) for probe in reference.probes]
    stages = [ours, Observation("transformers", "same", tuple(map(_as_read, answers, hidden, read)))]
    return Verdict(
        tuple(found for stage in stages for found in compare_restoration(reference.probes, reference.trainer, stage))
    )


def _as_read(answer: Answer, hidden: Example, read: tuple[int, ...]) -> Answer:
    """The answer, with what another tokenizer read of the same text in place of the ids where that differs."""
    return answer if read == tuple(hidden.ids.tolist()) else replace(answer, prompt_ids=read)
