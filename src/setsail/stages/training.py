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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from setsail.base.artifact import Artifact
from setsail.base.device import device, move, prepare_device
from setsail.base.errors import DataError
from setsail.base.files import write_atomically
from setsail.base.recipe import Finetune, New, Pretrain
from setsail.models.fused import fuse, unfuse
from setsail.models.kernels.library import why_not
from setsail.models.load import save_model
from setsail.models.lora import add_lora, save_adapter
from setsail.models.weights import weights_sha256
from setsail.stages.base import LEARNING_RATES, tokenizer_of
from setsail.stages.classifying import classifier_subject
from setsail.stages.data import read_parts
from setsail.stages.examples import Examples
from setsail.stages.language import language_subject
from setsail.stages.samples import written
from setsail.stages.stage import StageSpec, Voyage, make
from setsail.stages.subject import Subject
from setsail.tokens.pack import epoch_bins
from setsail.tokens.tokenizer import Tokenizer
from setsail.train.allocator import keep_freed_memory
from setsail.train.best import best_of, is_out_of_patience, keep_best, take_best
from setsail.train.divergence import LossWatch
from setsail.train.journal import open_journal, read_journal
from setsail.train.loop import Step, TrainingDiverged
from setsail.train.objective import Batch
from setsail.train.optimizer import MasterWeights, build_optimizer
from setsail.train.plan import Plan, describe, make_plan, peak_bytes, probe
from setsail.train.resume import CHECKPOINTS, STEPS, Course, restore, train_resumably
from setsail.train.schedule import default_learning_rate, schedule

PLAN, VALIDATION, TRAINING, REFERENCE = "plan.json", "validation.jsonl", "training.json", "reference.json"
SAMPLES = "samples.jsonl"
NUM_SHOWN = 3
NUM_VALIDATIONS = 3  # where the recipe does not say how often, besides the one before the first step


@dataclass(frozen=True)
class _Task:
    """What is trained on what: everything that the steps below share."""

    voyage: Voyage
    base: Artifact
    tokenizer: Tokenizer
    subject: Subject
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
            _learn(_load_task(voyage, base, data), draft)
        shutil.rmtree(draft / CHECKPOINTS, ignore_errors=True)
        return json.loads((draft / TRAINING).read_text("utf-8"))

    spec = StageSpec(
        kind=recipe.training_key,
        recipe={
            "task": recipe.task,
            "seed": recipe.seed,
            "overlong": recipe.data.overlong,
            recipe.training_key: recipe.training.model_dump(mode="json"),
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
    optimizer: MasterWeights
    start: int


def _load_task(voyage: Voyage, base: Artifact, data: Artifact) -> _Task:
    recipe, tokenizer, parts = voyage.recipe, tokenizer_of(base), read_parts(data)
    key = recipe.training_key
    if recipe.task == "classify":
        subject = classifier_subject(voyage, base, tokenizer, parts)
    else:
        subject = language_subject(recipe, tokenizer, parts)
    train = subject.examples(parts.train)
    validation = subject.examples(parts.validation[: subject.most_validation_rows])
    if not train.examples:
        raise DataError(
            f"all {len(parts.train)} training rows are longer than {key}.context ({recipe.training.context} tokens)",
            place=voyage.loaded.place(f"{key}.context"),
            hint=f"raise {key}.context, or set data.overlong to split or cut",
        )
    return _Task(voyage, base, tokenizer, subject, train, validation)


def _learn(task: _Task, draft: Path) -> None:
    recipe, log = task.recipe, task.voyage.log
    prepare_device(task.voyage.recipe.seed)
    keep_freed_memory()
    model = task.subject.load(task.base.path)
    move(model, device())
    if isinstance(recipe, Finetune) and recipe.method == "lora":
        add_lora(model, recipe.lora, task.voyage.recipe.seed)
    else:
        model.requires_grad_(True)
    log.say(f"  {_fuse(model)}")
    steps = plan_steps(task.train, recipe, task.voyage.recipe.seed, subject=task.subject)
    plan = _plan(task, model, steps, draft)
    _show_rows(task)
    optimizer = build_optimizer(model, recipe.optimizer, weight_decay=recipe.weight_decay)
    peak = _peak_rate(task)
    course = Course(
        learning_rate=schedule(recipe.schedule, peak=peak, num_steps=len(steps), warmup=recipe.warmup),
        clip_norm=recipe.clip_norm,
        seed=task.voyage.recipe.seed,
        save_every=recipe.watch.save_every,
        fingerprint={"recipe": recipe.model_dump(mode="json"), "seed": task.voyage.recipe.seed, "steps": len(steps)},
        objective=task.subject.objective,
    )
    start = restore(optimizer, course, folder=draft, say=log.say)
    if start:
        log.say(f"  going on after step {start} of {len(steps)}, which an earlier attempt had saved")
    began = time.monotonic()
    _train(task, model, steps, _Attempt(draft, course, optimizer, start))
    _save_weights(task, model, draft)
    write_atomically(draft / TRAINING, json.dumps(_metrics(plan, draft, time.monotonic() - began), indent=1) + "\n")
    log.say(
        f"  the trainer itself answers {task.voyage.recipe.check.prompts} held-out prompts, to be held against later"
    )
    reference = task.subject.observe(model)
    write_atomically(draft / REFERENCE, json.dumps(reference, ensure_ascii=False) + "\n")


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


def _save_weights(task: _Task, model: PreTrainedModel, draft: Path) -> None:
    if task.recipe.method == "lora":
        save_adapter(model, draft, base_name=task.voyage.recipe.base_name, base_sha256=weights_sha256(task.base.path))
        return
    unfuse(model)
    save_model(model, draft)
    task.tokenizer.save(draft)
    task.subject.finish(draft)


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


def plan_steps(train: Examples, recipe: Finetune | Pretrain, seed: int, *, subject: Subject) -> list[list[Batch]]:
    """Every step of the run, each a list of packed micro-batches; a function of the rows, the recipe and the seed."""
    longest = max(len(example.ids) for example in train.examples)
    capacity = max(longest, min(recipe.batch_tokens, subject.micro_batch_tokens))
    per_step = max(1, recipe.batch_tokens // capacity)
    steps: list[list[Batch]] = []
    for epoch in range(math.ceil(recipe.epochs)):
        bins = epoch_bins(train.examples, capacity, seed, epoch)
        share = min(1.0, recipe.epochs - epoch)
        bins = bins[: max(1, round(len(bins) * share))]
        batches = [subject.batch([train.examples[index] for index in members]) for members in bins]
        steps += [batches[start : start + per_step] for start in range(0, len(batches), per_step)]
    return steps


def _plan(task: _Task, model: PreTrainedModel, steps: Sequence[Sequence[Batch]], draft: Path) -> Plan:
    timed = probe(model, steps[0], task.subject.objective)
    plan = make_plan(model, steps, num_rows=len(task.train.examples), truncated=task.train.cut, probe=timed)
    log = task.voyage.log
    log.say("\n".join(f"  {line}" for line in describe(plan).splitlines()))
    for line in task.train.explain("train"):
        log.say(f"  {line}")
    write_atomically(draft / PLAN, json.dumps(asdict(plan) | {"left_out": dict(task.train.left_out)}, indent=1) + "\n")
    return plan


def _show_rows(task: _Task) -> None:
    """Three rendered rows, what is learned between ⟦ and ⟧."""
    for example in task.train.examples[:NUM_SHOWN]:
        text = task.subject.show(example)
        task.voyage.log.say(f"  row {example.row_id}, what is learned stands in ⟦ ⟧:")
        task.voyage.log.say("    " + text[:600].replace("\n", "\n    ") + ("…" if len(text) > 600 else ""))


def _train(task: _Task, model: PreTrainedModel, steps: Sequence[Sequence[Batch]], attempt: _Attempt) -> None:
    """Trains from the step that is restored on; validates, keeps the best and stops early on the way."""
    draft, start, log, watch = attempt.draft, attempt.start, task.voyage.log, task.recipe.watch
    measure = task.subject.measure
    every = watch.validate_every or max(1, math.ceil(len(steps) / NUM_VALIDATIONS))
    losses = LossWatch()
    for record in read_journal(draft / STEPS)[:start]:
        losses = losses.after(record["loss_nats"])
    with open_journal(draft / VALIDATION, start=start) as journal, log.progress("step", len(steps)) as progress:
        if task.validation.examples and not read_journal(draft / VALIDATION):
            journal.append(_validate(task, model, 0))
        progress.start_at(start)
        for step in _until_stopped(task, model, steps, attempt):
            progress.advance(loss=f"{step.loss_nats:.3f} nats", speed=f"{step.num_tokens / step.seconds:.0f} tokens/s")
            losses = losses.after(step.loss_nats)
            if losses.diverged:
                raise _diverged(task, losses, step.index)
            if task.validation.examples and (step.index % every == 0 or step.index == len(steps)):
                record = _validate(task, model, step.index)
                journal.append(record)
                progress.advance(0, validation=f"{record[measure.key]:.3f} {measure.unit}")
                if watch.patience and best_of(read_journal(draft / VALIDATION), measure.key) == record:
                    keep_best(draft / CHECKPOINTS, step.index, attempt.optimizer.weights())
                _write_samples(task, model, step.index, draft)
        journal.flush()
    _end_with_the_best(task, attempt)


def _until_stopped(
    task: _Task, model: PreTrainedModel, steps: Sequence[Sequence[Batch]], attempt: _Attempt
) -> Iterator[Step]:
    """The steps, until one of the recipe's reasons to stop early holds.

    The reasons are told from the journals alone, so that a resumed run stops where one never killed would.
    """
    draft, start, watch = attempt.draft, attempt.start, task.recipe.watch
    spent = sum(record["seconds"] for record in read_journal(draft / STEPS)[:start])

    def reason_to_stop() -> str | None:
        if watch.max_minutes is not None and spent >= 60 * watch.max_minutes:
            return f"{watch.max_minutes:g} minutes of training are over"
        if watch.patience and is_out_of_patience(
            read_journal(draft / VALIDATION), watch.patience, task.subject.measure.key
        ):
            return f"{watch.patience} validations in a row were no better"
        return None

    if reason_to_stop():
        return
    for step in train_resumably(model, attempt.optimizer, steps[start:], attempt.course, folder=draft, start=start):
        yield step
        spent += step.seconds
        if reason := reason_to_stop():
            task.voyage.log.say(f"  stopped after step {step.index} of {len(steps)}: {reason}")
            return


def _end_with_the_best(task: _Task, attempt: _Attempt) -> None:
    """Says how validation went; with patience, goes back to the weights that were best."""
    curve, log, measure = read_journal(attempt.draft / VALIDATION), task.voyage.log, task.subject.measure
    if not curve:
        return
    log.say(f"  validation {curve[0][measure.key]:.3f} → {curve[-1][measure.key]:.3f} {measure.unit}")
    best = best_of(curve, measure.key)
    if task.recipe.watch.patience is None or best["step"] in (0, curve[-1]["step"]):
        return
    weights = take_best(attempt.draft / CHECKPOINTS, best["step"])
    if weights is None:
        log.say(f"  step {best['step']} was better, but its weights were not kept; the last ones are taken")
        return
    attempt.optimizer.restore(weights, attempt.optimizer.state())
    log.say(f"  back to the weights of step {best['step']}: {best[measure.key]:.3f} {measure.unit}")


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
    """What validation measures at a step."""
    return {"step": step, **task.subject.validate(model, task.validation)}
