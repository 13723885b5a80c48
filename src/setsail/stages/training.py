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

from torch import nn
from transformers import PreTrainedModel

from setsail.base.artifact import Artifact
from setsail.base.device import compute_dtype, device, move, prepare_device
from setsail.base.errors import DataError
from setsail.base.files import write_atomically
from setsail.base.recipe import Finetune, New, Pretrain
from setsail.models.fused import fuse, unfuse
from setsail.models.kernels.library import why_not
from setsail.models.load import load_model, save_model
from setsail.models.lora import add_lora, save_adapter
from setsail.models.weights import weights_sha256
from setsail.stages.base import LEARNING_RATES, tokenizer_of
from setsail.stages.data import Parts, read_parts
from setsail.stages.examples import Examples, examples_of, nats_of
from setsail.stages.probes import observe_trainer
from setsail.stages.samples import written
from setsail.stages.stage import StageSpec, Voyage, make
from setsail.tokens.pack import Batch, epoch_bins, make_batch
from setsail.tokens.render import describe as describe_runs
from setsail.tokens.shares import shared_bins
from setsail.tokens.tokenizer import Tokenizer
from setsail.train.allocator import keep_freed_memory
from setsail.train.best import best_of, is_out_of_patience, keep_best, take_best
from setsail.train.divergence import LossWatch
from setsail.train.journal import open_journal, read_journal
from setsail.train.learner import Learner, make_learner
from setsail.train.loop import Step, TrainingDiverged
from setsail.train.loss import NEXT_TOKEN
from setsail.train.optimizer import MasterWeights, build_optimizer
from setsail.train.parallel import Order
from setsail.train.plan import Plan, describe, make_plan, peak_bytes, probe
from setsail.train.resume import CHECKPOINTS, STEPS, Course, follow, restore, train_resumably
from setsail.train.schedule import default_learning_rate, schedule

PLAN, VALIDATION, TRAINING, REFERENCE = "plan.json", "validation.jsonl", "training.json", "reference.json"
SAMPLES = "samples.jsonl"
MICRO_BATCH_TOKENS = 1024  # a packed row; larger ones took more memory and were hardly faster (docs/log.md)
NUM_SHOWN = 3
NUM_VALIDATIONS = 3  # where the recipe does not say how often, besides the one before the first step
MOST_VALIDATION_ROWS = 32  # enough for a curve; the evaluation at the end takes the whole test


@dataclass(frozen=True)
class _Task:
    """What is trained on what: everything that the steps below share."""

    voyage: Voyage
    base: Artifact
    tokenizer: Tokenizer
    parts: Parts
    train: Examples
    validation: Examples

    @property
    def recipe(self) -> Finetune | Pretrain:
        return self.voyage.recipe.training


def make_training(voyage: Voyage, base: Artifact, data: Artifact) -> Artifact:
    """The trained weights: an adapter in PEFT's format, or where all of them are trained a whole model folder."""
    recipe = voyage.recipe

    def build(draft: Path) -> Mapping[str, Any]:
        if not (draft / REFERENCE).exists():
            voyage.world.order("learn", base=str(base.path), data=str(data.path))
            _learn(_load_task(voyage, base, data), draft)
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
        facts={},
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


def _load_task(voyage: Voyage, base: Artifact, data: Artifact) -> _Task:
    recipe, tokenizer, parts = voyage.recipe, tokenizer_of(base), read_parts(data)
    key = recipe.training_key
    train = examples_of(parts.train, tokenizer, recipe)
    validation = examples_of(parts.validation[:MOST_VALIDATION_ROWS], tokenizer, recipe)
    if not train.examples:
        raise DataError(
            f"all {len(parts.train)} training rows are longer than {key}.context ({recipe.training.context} tokens)",
            place=voyage.loaded.place(f"{key}.context"),
            hint=f"raise {key}.context, or set data.overlong to split or cut",
        )
    return _Task(voyage, base, tokenizer, parts, train, validation)


def learn_along(voyage: Voyage, base: Artifact, data: Artifact, orders: Iterator[Order]) -> None:
    """Takes part in the training that another process leads; writes nothing."""
    task = _load_task(voyage, base, data)
    model = _load_to_train(task)
    steps = plan_steps(task.train, task.recipe, voyage.recipe.seed, voyage.world.size)
    learner = _learner(task, model, steps)
    follow(learner, steps, _course(task, learner, len(steps)), orders)


def _learn(task: _Task, draft: Path) -> None:
    recipe, log, world = task.recipe, task.voyage.log, task.voyage.world
    model = _load_to_train(task)
    steps = plan_steps(task.train, recipe, task.voyage.recipe.seed, world.size)
    plan = _plan(task, model, steps, draft)
    _show_rows(task)
    learner = _learner(task, model, steps)
    course = _course(task, learner, len(steps))
    start = restore(learner.optimizer, course, folder=draft, say=log.say)
    if start:
        log.say(f"  going on after step {start} of {len(steps)}, which an earlier attempt had saved")
    began = time.monotonic()
    _train(task, steps, _Attempt(draft, course, learner, start))
    model = learner.look()
    world.order("learned")
    _save_weights(task, model, draft)
    write_atomically(draft / TRAINING, json.dumps(_metrics(plan, draft, time.monotonic() - began), indent=1) + "\n")
    log.say(
        f"  the trainer itself answers {task.voyage.recipe.check.prompts} held-out prompts, to be held against later"
    )
    reference = observe_trainer(task.voyage.recipe, model, task.tokenizer, task.parts.test)
    write_atomically(draft / REFERENCE, json.dumps(reference.as_json(), ensure_ascii=False) + "\n")


def _load_to_train(task: _Task) -> PreTrainedModel:
    """The base on the device where it computes, ready to be taught."""
    recipe, log, world = task.recipe, task.voyage.log, task.voyage.world
    prepare_device(task.voyage.recipe.seed)
    keep_freed_memory()
    model = load_model(task.base.path, dtype=compute_dtype())
    move(model, device())
    if isinstance(recipe, Finetune) and recipe.method == "lora":
        add_lora(model, recipe.lora, task.voyage.recipe.seed)
    else:
        model.requires_grad_(True)
    log.say(f"  {_no_kernels() if _is_sharded(task) else _fuse(model)}")
    if world.size > 1:
        holds = "a part of every weight" if _is_sharded(task) else "the whole model"
        log.say(f"  processes   {world.size}, each with {holds} and its share of every step")
    return model


def _what_is_learned(recipe: Finetune | Pretrain) -> dict[str, Any]:
    """The recipe without how processes share the work: that may change on the way, and makes nothing else."""
    return recipe.model_dump(mode="json", exclude={"parallel"})


def _is_sharded(task: _Task) -> bool:
    return task.recipe.parallel == "sharded" and task.voyage.world.size > 1


def _learner(task: _Task, model: PreTrainedModel, steps: Sequence[Sequence[Batch]]) -> Learner:
    recipe, world = task.recipe, task.voyage.world
    world.check_alike("the steps", [batch.num_tokens for step in steps for batch in step])

    def build(model: nn.Module) -> MasterWeights:
        return build_optimizer(model, recipe.optimizer, weight_decay=recipe.weight_decay)

    return make_learner(model, build, objective=NEXT_TOKEN, world=world, sharded=_is_sharded(task))


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
    """The recipe's rate; else what a new model's size asks for; else the method's default."""
    recipe = task.recipe
    weights = "new" if isinstance(task.voyage.recipe.base, New) else recipe.method
    derived = task.base.metrics.get(LEARNING_RATES, {}).get(recipe.optimizer)
    return recipe.learning_rate or derived or default_learning_rate(weights, recipe.optimizer)


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


def _metrics(plan: Plan, draft: Path, seconds: float) -> dict[str, Any]:
    """What the manifest and the report say of the run; predictions stand beside what came."""
    steps, curve = read_journal(draft / STEPS), read_journal(draft / VALIDATION)
    return {
        "plan": asdict(plan),
        "actual_seconds": round(sum(step["seconds"] for step in steps), 2),
        "seconds_with_validation": round(seconds, 2),
        "actual_memory_bytes": peak_bytes(device()),
        "validation": curve,
        "first_loss_nats": steps[0]["loss_nats"],
        "last_loss_nats": steps[-1]["loss_nats"],
    }


def plan_steps(train: Examples, recipe: Finetune | Pretrain, seed: int, num_processes: int = 1) -> list[list[Batch]]:
    """Every step of the run, each a list of packed micro-batches; a function of the rows, the recipe and the seed.

    Which rows are in a step does not depend on the number of processes; where there are too few micro-batches for them,
    or some would get more than others, they are cut (`shared_bins`).
    """
    longest = max(len(example.ids) for example in train.examples)
    capacity = max(longest, min(recipe.batch_tokens, MICRO_BATCH_TOKENS))
    per_step = max(1, recipe.batch_tokens // capacity)
    lengths = [len(example.ids) for example in train.examples]
    steps: list[list[Batch]] = []
    for epoch in range(math.ceil(recipe.epochs)):
        bins = epoch_bins(train.examples, capacity, seed, epoch)
        share = min(1.0, recipe.epochs - epoch)
        bins = bins[: max(1, round(len(bins) * share))]
        for start in range(0, len(bins), per_step):
            shared = shared_bins(bins[start : start + per_step], lengths, num_processes)
            steps.append([make_batch([train.examples[index] for index in members]) for members in shared])
    return steps


def _plan(task: _Task, model: PreTrainedModel, steps: Sequence[Sequence[Batch]], draft: Path) -> Plan:
    timed = probe(model, steps[0])
    timed = replace(timed, seconds_per_token=timed.seconds_per_token / task.voyage.world.size)
    plan = make_plan(model, steps, num_rows=len(task.train.examples), truncated=task.train.cut, probe=timed)
    log = task.voyage.log
    log.say("\n".join(f"  {line}" for line in describe(plan).splitlines()))
    for line in task.train.explain("train"):
        log.say(f"  {line}")
    write_atomically(draft / PLAN, json.dumps(asdict(plan) | {"left_out": dict(task.train.left_out)}, indent=1) + "\n")
    return plan


def _show_rows(task: _Task) -> None:
    """Three rendered rows, the supervised tokens between ⟦ and ⟧."""
    for example in task.train.examples[:NUM_SHOWN]:
        runs = describe_runs(example, task.tokenizer)
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
    with open_journal(draft / VALIDATION, start=start) as journal, log.progress("step", len(steps)) as progress:
        if task.validation.examples and not read_journal(draft / VALIDATION):
            journal.append(_validate(task, learner.look(), 0))
        progress.start_at(start)
        for step in _until_stopped(task, steps, attempt):
            progress.advance(loss=f"{step.loss_nats:.3f} nats", speed=f"{step.num_tokens / step.seconds:.0f} tokens/s")
            losses = losses.after(step.loss_nats)
            if losses.diverged:
                raise _diverged(task, losses, step.index)
            if task.validation.examples and (step.index % every == 0 or step.index == len(steps)):
                model = learner.look()
                record = _validate(task, model, step.index)
                journal.append(record)
                progress.advance(0, validation=f"{record['bits_per_byte']:.3f} bits/byte")
                if watch.patience and best_of(read_journal(draft / VALIDATION)) == record:
                    keep_best(draft / CHECKPOINTS, step.index, learner.optimizer.weights())
                _write_samples(task, model, step.index, draft)
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
        if watch.patience and is_out_of_patience(read_journal(draft / VALIDATION), watch.patience):
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
    log.say(f"  validation {curve[0]['bits_per_byte']:.3f} → {curve[-1]['bits_per_byte']:.3f} bits per byte")
    best = best_of(curve)
    if task.recipe.watch.patience is None or best["step"] in (0, curve[-1]["step"]):
        return
    weights = take_best(attempt.draft / CHECKPOINTS, best["step"])
    if weights is None:
        log.say(f"  step {best['step']} was better, but its weights were not kept; the last ones are taken")
        return
    attempt.learner.optimizer.restore(weights, {})  # nothing is left to do for its memory
    log.say(f"  back to the weights of step {best['step']}: {best['bits_per_byte']:.3f} bits per byte")


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
    recipe = task.voyage.recipe
    texts = written(model, task.tokenizer, beginnings, task=recipe.task, seed=recipe.seed)
    with open_journal(draft / SAMPLES, start=step - 1) as journal:
        journal.append({"step": step, "texts": texts})
    for text in texts:
        task.voyage.log.say(f"  » {' '.join(text.split())}")


def _validate(task: _Task, model: PreTrainedModel, step: int) -> dict[str, Any]:
    """Bits per byte of the validation rows' answers at a step."""
    nats = sum(nats_of(model, task.validation.examples))
    return {"step": step, "bits_per_byte": nats / math.log(2) / task.validation.num_bytes}
