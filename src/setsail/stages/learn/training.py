"""The training stage, of fine-tuning and of pretraining: a plan first, then the loop, then what the trainer answers.

At its end the weights still in memory answer the held-out probes; that record is what the faithfulness check later
holds every saved, merged, exported and served form against.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from setsail.base.artifact import Artifact
from setsail.base.device import device, move, prepare_device
from setsail.base.errors import DataError
from setsail.base.files import write_atomically
from setsail.base.recipe import ENCODER_TASKS, Finetune, New, Pretrain, Recipe
from setsail.base.recipe_prefer import PREFERENCE
from setsail.compress.reference import FILE as REFERENCE
from setsail.data.row import Row, iterate_rows
from setsail.evaluate.question import choose_rows
from setsail.models.fused import fuse, unfuse
from setsail.models.kernels.library import must_compile, why_not
from setsail.models.load import save_model
from setsail.models.lora import add_lora, save_adapter
from setsail.models.reader import limit_length
from setsail.models.weights import weights_sha256
from setsail.stages.kinds import tokenizer_of
from setsail.stages.learn.tracking import FOLDER, tracked
from setsail.stages.lessons.distilling import check_teacher, teacher_facts, with_teacher
from setsail.stages.lessons.examples import Examples, examples_of, nats_of, runs_of, validation_rows
from setsail.stages.lessons.objectives import Lesson
from setsail.stages.lessons.pairing import observe_pairing_trainer
from setsail.stages.lessons.preferring import make_reference, with_known_margins
from setsail.stages.lessons.probes import can_be_scored, observe_trainer
from setsail.stages.lessons.reading import lesson_on, observe_reader, tell_limits
from setsail.stages.lessons.samples import refuse_samples_without_mask
from setsail.stages.rows.base import LEARNING_RATES
from setsail.stages.rows.tokenise import Account
from setsail.stages.rows.tokens import account_of, make_tokens
from setsail.stages.scores.restoration import observe_restoring_trainer
from setsail.stages.spent import VALIDATION, in_words, what_was_spent
from setsail.stages.stage import StageSpec, Voyage, make
from setsail.tasks.registry import PAIRS, PASSAGE, READINGS
from setsail.tokens.shares import shared_bins
from setsail.tokens.steps import Packing, Steps, steps_of
from setsail.tokens.store import Store, open_store
from setsail.tokens.tokenizer import Tokenizer
from setsail.train.allocator import give_back_freed_memory, keep_freed_memory
from setsail.train.best import best_of, is_out_of_patience, keep_best, take_best
from setsail.train.divergence import LossWatch
from setsail.train.journal import open_journal, read_journal
from setsail.train.learner import Learner, make_learner
from setsail.train.loop import Step, TrainingDiverged
from setsail.train.objective import Batch
from setsail.train.optimizer import MasterWeights, build_optimizer
from setsail.train.parallel import Order
from setsail.train.plan import Plan, describe, make_plan, probe
from setsail.train.resume import CHECKPOINTS, STEPS, Course, follow, restore, train_resumably
from setsail.train.schedule import default_learning_rate, schedule

PLAN, TRAINING = "plan.json", "training.json"
SAMPLES = "samples.jsonl"
NUM_SHOWN = 3
NUM_VALIDATIONS = 3  # where the recipe does not say how often, besides the one before the first step
MOST_TEST_ROWS = 4096  # of which the probes of the faithfulness check are taken


@dataclass(frozen=True)
class _Task:
    """What is trained on what: everything that the steps below share."""

    voyage: Voyage
    base: Artifact
    tokenizer: Tokenizer
    lesson: Lesson
    train: Store
    account: Account  # of the rows that `train` was made of
    validation: Examples
    test: list[Row]

    @property
    def recipe(self) -> Finetune | Pretrain:
        return self.voyage.recipe.training


def make_training(voyage: Voyage, base: Artifact, data: Artifact) -> Artifact:
    """The trained weights: an adapter in PEFT's format, or where all of them are trained a whole model folder."""
    recipe = voyage.recipe

    def build(draft: Path) -> Mapping[str, Any]:
        if not (draft / REFERENCE).exists():
            tokens = prepare_tokens(voyage, base, data)
            voyage.world.order("learn", base=str(base.path), data=str(data.path), tokens=str(tokens.path))
            _learn(_load_task(voyage, base, data, tokens), draft)
        shutil.rmtree(draft / CHECKPOINTS, ignore_errors=True)
        return json.loads((draft / TRAINING).read_text("utf-8"))

    spec = StageSpec(
        kind=recipe.training_key,
        recipe={
            "task": recipe.task,
            "seed": recipe.seed,
            "overlong": recipe.data.overlong,
            recipe.training_key: _what_is_learned(recipe.training),
            "check": recipe.check.model_dump(mode="json"),
        },
        parents={"base": base, "data": data},
        facts=teacher_facts(voyage),
        version=2,  # validated on a sample of the validation rows, not on the first of them
        resumable=True,
    )
    return make(voyage, spec, build)


@dataclass(frozen=True)
class _Attempt:
    """One go at a run: where its files are, and how many of its steps an earlier go has done."""

    draft: Path
    course: Course
    learner: Learner
    start: int


def prepare_tokens(voyage: Voyage, base: Artifact, data: Artifact) -> Artifact:
    """The store that is trained on; what the recipe asks in vain is refused before anything is tokenised."""
    tokenizer = tokenizer_of(base)
    lesson = lesson_on(voyage.recipe, base, data, tokenizer)
    if voyage.recipe.task in ENCODER_TASKS:
        tell_limits(voyage, lesson, data, tokenizer)
    check_teacher(voyage, lesson, base, data, tokenizer)
    if lesson.reads == PASSAGE:
        refuse_samples_without_mask(voyage.recipe.training.watch.samples)
    tokens = make_tokens(voyage, base, data, tokenizer, lesson.reads, context=lesson.context)
    return make_reference(voyage, base, data, tokens, lesson) if lesson.reads == PREFERENCE else tokens


def _load_task(voyage: Voyage, base: Artifact, data: Artifact, tokens: Artifact) -> _Task:
    recipe, tokenizer = voyage.recipe, tokenizer_of(base)
    key = recipe.training_key
    lesson = lesson_on(recipe, base, data, tokenizer)
    train, account = open_store(tokens.path), account_of(tokens)
    held_out = examples_of(validation_rows(data, lesson, recipe), tokenizer, recipe, lesson)
    validation = with_known_margins(held_out, tokens.path)
    test = choose_rows(iterate_rows(data.file("test.parquet")), MOST_TEST_ROWS, seed=recipe.seed)
    if not train:
        raise DataError(
            f"all {account.num_rows} training rows are longer than {key}.context ({recipe.training.context} tokens)",
            place=voyage.loaded.place(f"{key}.context"),
            hint=f"raise {key}.context, or set data.overlong to split or cut",
        )
    if lesson.kind == "decoder" and test and not any(can_be_scored(row, tokenizer, recipe) for row in test):
        raise DataError(
            f"no test row fits into {key}.context ({recipe.training.context} tokens): there is nothing to score",
            place=voyage.loaded.place(f"{key}.context"),
            hint=f"raise {key}.context; data.overlong says what is done with training rows only",
        )
    lesson = with_teacher(voyage, lesson, data)
    return _Task(voyage, base, tokenizer, lesson, train, account, validation, test)


def learn_along(voyage: Voyage, base: Artifact, data: Artifact, tokens: Artifact, orders: Iterator[Order]) -> None:
    """Takes part in the training that another process leads; writes nothing."""
    task = _load_task(voyage, base, data, tokens)
    model = _load_to_train(task)
    steps = plan_steps(task.train, task.recipe, voyage.recipe.seed, task.lesson, voyage.world.size)
    learner = _learner(task, model, steps)
    follow(learner, steps, _course(task, learner, len(steps)), orders)


def _learn(task: _Task, draft: Path) -> None:
    recipe, log, world = task.recipe, task.voyage.log, task.voyage.world
    model = _load_to_train(task)
    steps = plan_steps(task.train, recipe, task.voyage.recipe.seed, task.lesson, world.size)
    plan = _plan(task, model, steps, draft)
    _show_rows(task)
    learner = _learner(task, model, steps)
    course = _course(task, learner, len(steps))
    start = restore(learner.optimizer, course, folder=draft, say=log.say)
    if start:
        log.say(f"  going on after step {start} of {len(steps)}, which an earlier attempt had saved")
    task.voyage.lookout.planned(draft, plan, start)
    began = time.monotonic()
    _train(task, steps, _Attempt(draft, course, learner, start))
    model = learner.look()
    world.order("learned")
    task.lesson.finish(model)
    _save_weights(task, model, draft)
    metrics = what_was_spent(plan, draft, time.monotonic() - began, cores=torch.get_num_threads() * world.size)
    log.say(f"  took        {in_words(metrics)}")
    write_atomically(draft / TRAINING, json.dumps(metrics, indent=1) + "\n")
    _observe(task, model, draft)


def _observe(task: _Task, model: PreTrainedModel, draft: Path) -> None:
    """What the trainer itself makes of held-out rows: what every later form of the model is held against."""
    recipe = task.voyage.recipe
    answers = "fills in" if task.lesson.reads == PASSAGE else "answers"
    task.voyage.log.say(
        f"  the trainer itself {answers} {recipe.check.prompts} held-out rows, to be held against later"
    )
    if task.lesson.observe is not None:
        reference = task.lesson.observe(model, task.test, recipe.check.prompts)
    elif task.lesson.reads in READINGS:
        reference = observe_reader(recipe, model, task.tokenizer, task.test, task.lesson)
    elif task.lesson.kind == "decoder":
        reference = observe_trainer(recipe, model, task.tokenizer, task.test)
    else:
        observe = observe_pairing_trainer if task.lesson.reads == PAIRS else observe_restoring_trainer
        reference = observe(recipe, model, task.tokenizer, task.test, task.lesson)
    write_atomically(draft / REFERENCE, json.dumps(reference.as_json(), ensure_ascii=False) + "\n")


def _load_to_train(task: _Task) -> PreTrainedModel:
    """The base on the device where it computes, ready to be taught."""
    recipe, log, world = task.recipe, task.voyage.log, task.voyage.world
    prepare_device(task.voyage.recipe.seed)
    keep_freed_memory()
    model = task.lesson.load(task.base.path)
    move(model, device())
    if isinstance(recipe, Finetune) and recipe.method == "lora":
        add_lora(model, recipe.lora, task.voyage.recipe.seed)
    else:
        model.requires_grad_(True)
    if must_compile():
        log.say("  kernels     compiled for this processor, once: some ten seconds")
    log.say(f"  {_no_kernels() if _is_sharded(task) else _fuse(model)}")
    if world.size > 1:
        holds = "a part of every weight" if _is_sharded(task) else "the whole model"
        log.say(f"  processes   {world.size}, each with {holds} and its share of every step")
    return model


def _what_is_learned(recipe: Finetune | Pretrain) -> dict[str, Any]:
    """The recipe without how processes share the work, which may change, and without what is mixed in: that is data.

    A recipe without a teacher is what it was before there were any.
    """
    unsaid = {"parallel", "mix"} | (set() if recipe.distil else {"distil"})
    return recipe.model_dump(mode="json", exclude=unsaid)


def _is_sharded(task: _Task) -> bool:
    return task.recipe.parallel == "sharded" and task.voyage.world.size > 1


def _learner(task: _Task, model: PreTrainedModel, steps: Steps[Batch]) -> Learner:
    recipe, world = task.recipe, task.voyage.world
    world.check_alike("the steps", [len(steps), steps.num_tokens, *(batch.num_tokens for batch in steps[-1])])

    def build(model: nn.Module) -> MasterWeights:
        return build_optimizer(model, recipe.optimizer, weight_decay=recipe.weight_decay)

    return make_learner(model, build, objective=task.lesson.objective, world=world, sharded=_is_sharded(task))


def _course(task: _Task, learner: Learner, num_steps: int) -> Course:
    recipe, seed = task.recipe, task.voyage.recipe.seed
    return Course(
        learning_rate=schedule(recipe.schedule, peak=_peak_rate(task), num_steps=num_steps, warmup=recipe.warmup),
        clip_norm=recipe.clip_norm,
        seed=seed,
        save_every=recipe.watch.save_every,
        fingerprint={"recipe": _what_is_learned(recipe), "seed": seed, "steps": num_steps},
        objective=learner.objective,
        world=learner.world,
    )


def _peak_rate(task: _Task) -> float:
    return peak_rate(task.voyage.recipe, task.base)


def peak_rate(whole: Recipe, base: Artifact) -> float:
    """The recipe's rate; else what a new model's size asks for; else the method's default."""
    recipe = whole.training
    weights = "new" if isinstance(whole.base, New) else recipe.method
    derived = base.metrics.get(LEARNING_RATES, {}).get(recipe.optimizer)
    compares = whole.reads == PREFERENCE
    return recipe.learning_rate or derived or default_learning_rate(weights, recipe.optimizer, compares=compares)


def _fuse(model: PreTrainedModel) -> str:
    """Faster forwards where this machine and this family allow it, and a sentence on what came of it."""
    fused = fuse(model)
    if fused:
        return f"kernels     {len(fused)} modules compute with compiled kernels, each checked against its original"
    return f"kernels     none, plain torch computes: {why_not() or 'none fits this model or device'}"


def _no_kernels() -> str:
    return "kernels     those that join weights are off: weights that are shared out are gathered anew for every pass"


def _save_weights(task: _Task, model: PreTrainedModel, draft: Path) -> None:
    if task.recipe.method == "lora":
        save_adapter(model, draft, base_name=task.voyage.recipe.base_name, base_sha256=weights_sha256(task.base.path))
        return
    unfuse(model)
    save_model(model, draft)
    task.tokenizer.save(draft)
    if task.lesson.context is not None:
        limit_length(draft, task.lesson.context)
    task.lesson.write_beside(draft)


def plan_steps(
    train: Store, recipe: Finetune | Pretrain, seed: int, lesson: Lesson, num_processes: int = 1
) -> Steps[Batch]:
    """Every step of the run, each a list of micro-batches; a function of the rows, the recipe and the seed.

    Each is made when it is asked for. Which rows are in a step, and what is hidden of them, does not depend on the
    number of processes; where there are too few micro-batches for them, or some would get more than others, they are
    cut (`shared_bins`). Each epoch has its own draw: where tokens are hidden, they are others each time.
    """
    sizes = lesson.sizes(train.lengths)
    capacity = max(int(sizes.max()), min(recipe.batch_tokens, lesson.micro_batch_tokens))
    packing = Packing(
        lengths=sizes,
        num_supervised=lesson.num_targets(train.lengths, train.num_supervised),
        capacity=capacity,
        bins_per_step=max(1, recipe.batch_tokens // capacity),
        epochs=recipe.epochs,
        seed=seed,
        arrange=lesson.arrange,
    )

    def micro_batches(bins: list[list[int]], epoch: int) -> list[Batch]:
        return [lesson.batch(train, members, f"{seed}:{epoch}") for members in shared_bins(bins, sizes, num_processes)]

    return steps_of(packing, micro_batches)


def _plan(task: _Task, model: PreTrainedModel, steps: Steps[Batch], draft: Path) -> Plan:
    account, timed = task.account, probe(model, steps[0], task.lesson.objective)
    plan = make_plan(
        model,
        steps,
        num_rows=len(task.train),
        num_truncated=account.num_cut,
        truncated=account.cut,
        probe=replace(timed, seconds_per_token=timed.seconds_per_token / task.voyage.world.size),
    )
    log = task.voyage.log
    log.say("\n".join(f"  {line}" for line in describe(plan).splitlines()))
    for line in [*task.lesson.explain(plan), *account.explain("train")]:
        log.say(f"  {line}")
    write_atomically(draft / PLAN, json.dumps(asdict(plan) | {"left_out": dict(account.left_out)}, indent=1) + "\n")
    return plan


def _show_rows(task: _Task) -> None:
    """Three rendered rows, what is learned between ⟦ and ⟧."""
    for index, example in enumerate(task.train[:NUM_SHOWN]):
        drawn = task.lesson.shown(task.lesson.draw(example, f"{task.voyage.recipe.seed}:0:{index}"))
        runs = runs_of(drawn, task.tokenizer, task.lesson)
        text = "".join(f"⟦{part}⟧" if supervised else part for part, supervised in runs)
        task.voyage.log.say(f"  row {example.row_id}, what is learned stands in ⟦ ⟧:")
        task.voyage.log.say("    " + text[:600].replace("\n", "\n    ") + ("…" if len(text) > 600 else ""))


def _train(task: _Task, steps: Sequence[Sequence[Batch]], attempt: _Attempt) -> None:
    """Trains from the step that is restored on; validates, keeps the best and stops early on the way."""
    draft, start, log, watch = attempt.draft, attempt.start, task.voyage.log, task.recipe.watch
    learner = attempt.learner
    every = watch.validate_every or max(1, math.ceil(len(steps) / NUM_VALIDATIONS))
    losses = LossWatch()
    for record in read_journal(draft / STEPS)[:start]:
        losses = losses.after(record["loss_nats"])
    curves = task.voyage.run.path / FOLDER / draft.name if watch.tensorboard else None
    with (
        open_journal(draft / VALIDATION, start=start) as journal,
        tracked(curves, start=start) as track,
        log.progress("step", len(steps)) as progress,
    ):
        if task.validation.examples and not read_journal(draft / VALIDATION):
            journal.append(_validate(task, learner.look(), 0))
        progress.start_at(start)
        for step in _until_stopped(task, steps, attempt):
            progress.advance(loss=f"{step.loss_nats:.3f} nats", speed=f"{step.num_tokens / step.seconds:.0f} tokens/s")
            track(step.index, _figures(step))
            losses = losses.after(step.loss_nats)
            if losses.diverged:
                raise _diverged(task, losses, step.index)
            if task.validation.examples and (step.index % every == 0 or step.index == len(steps)):
                model = learner.look()
                record = _validate(task, model, step.index)
                journal.append(record)
                track(step.index, {f"validation_{task.lesson.measure}": record[task.lesson.measure]})
                progress.advance(0, validation=_measured(task, record))
                if watch.patience and best_of(read_journal(draft / VALIDATION), task.lesson.measure) == record:
                    keep_best(draft / CHECKPOINTS, step.index, learner.optimizer.weights())
                _write_samples(task, model, step.index, draft)
                task.voyage.lookout.validated(step.index, len(steps))
        journal.flush()
    _end_with_the_best(task, attempt)


def _until_stopped(task: _Task, steps: Sequence[Sequence[Batch]], attempt: _Attempt) -> Iterator[Step]:
    """The steps, until one of the recipe's reasons to stop early holds.

    The reasons are told from the journals alone, so that a resumed run stops where one never killed would.
    """
    draft, start, watch, learner = attempt.draft, attempt.start, task.recipe.watch, attempt.learner
    spent = sum(record["seconds"] for record in read_journal(draft / STEPS)[:start])

    def reason_to_stop() -> str | None:
        if watch.max_minutes is not None and spent >= 60 * watch.max_minutes:
            return f"{watch.max_minutes:g} minutes of training are over"
        curve = read_journal(draft / VALIDATION)
        if watch.patience and is_out_of_patience(curve, watch.patience, task.lesson.measure):
            return f"{watch.patience} validations in a row were no better"
        return None

    if reason_to_stop():
        return
    ahead = steps[start:]
    for step in train_resumably(learner.model, learner.optimizer, ahead, attempt.course, folder=draft, start=start):
        yield step
        spent += step.seconds
        if reason := reason_to_stop():
            task.voyage.log.say(f"  stopped after step {step.index} of {len(steps)}: {reason}")
            return


def _end_with_the_best(task: _Task, attempt: _Attempt) -> None:
    """Says how validation went; with patience, goes back to the weights that were best."""
    curve, log = read_journal(attempt.draft / VALIDATION), task.voyage.log
    if not curve:
        return
    log.say(f"  validation {curve[0][task.lesson.measure]:.3f} → {_measured(task, curve[-1])}")
    best = best_of(curve, task.lesson.measure)
    if task.recipe.watch.patience is None or best["step"] in (0, curve[-1]["step"]):
        return
    weights = take_best(attempt.draft / CHECKPOINTS, best["step"])
    if weights is None:
        log.say(f"  step {best['step']} was better, but its weights were not kept; the last ones are taken")
        return
    attempt.learner.optimizer.restore(weights, {})  # nothing is left to do for its memory
    log.say(f"  back to the weights of step {best['step']}: {_measured(task, best)}")


def _measured(task: _Task, record: Mapping[str, Any]) -> str:
    """What a validation is judged by, with its unit."""
    told = f", accuracy {record['accuracy']:.0%}" if "accuracy" in record else ""
    return f"{record[task.lesson.measure]:.3f} {task.lesson.measure.replace('_', ' ')}{told}"


def _figures(step: Step) -> dict[str, float]:
    return {
        "loss_nats": step.loss_nats,
        "grad_norm": step.grad_norm,
        "learning_rate": step.learning_rate,
        "tokens_per_second": step.num_tokens / step.seconds,
    }


def _diverged(task: _Task, losses: LossWatch, step: int) -> TrainingDiverged:
    key = task.voyage.recipe.training_key
    return TrainingDiverged(
        f"{losses}, at step {step}: it does not come back",
        place=task.voyage.loaded.place(f"{key}.learning_rate"),
        hint=f"lower {key}.learning_rate, or look at the rows from step {step - losses.num_above} on",
    )


def _write_samples(task: _Task, model: PreTrainedModel, step: int, draft: Path) -> None:
    beginnings = task.recipe.watch.samples
    if not beginnings:
        return
    give_back_freed_memory()
    texts = task.lesson.samples(model, beginnings)
    with open_journal(draft / SAMPLES, start=step - 1) as journal:
        journal.append({"step": step, "texts": texts})
    for text in texts:
        task.voyage.log.say(f"  » {' '.join(text.split())}")


def _validate(task: _Task, model: PreTrainedModel, step: int) -> dict[str, Any]:
    """What the validation rows say at a step: the lesson's own figures, or the bits per byte of what is learned."""
    validation, lesson = task.validation, task.lesson
    give_back_freed_memory()
    if lesson.validate is not None:
        return {"step": step, **lesson.validate(model, validation.examples)}
    nats = sum(nats_of(model, validation.examples, lesson))
    return {"step": step, lesson.measure: nats / math.log(2) / sum(validation.num_bytes)}
