"""The fine-tuning stage: rows to packed steps, a plan said first, the loop, and what the trainer itself answers.

At its end the weights still in memory answer the held-out probes; that record is what the faithfulness check later
holds every saved, merged, exported and served form against.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from setsail.base.artifact import Artifact
from setsail.base.device import compute_dtype, device, move, prepare_device
from setsail.base.errors import DataError
from setsail.base.files import write_atomically
from setsail.base.recipe import Finetune
from setsail.models.fused import fuse, unfuse
from setsail.models.kernels.library import why_not
from setsail.models.load import load_model
from setsail.models.lora import add_lora, save_adapter
from setsail.models.weights import weights_sha256
from setsail.stages.base import tokenizer_of
from setsail.stages.data import Parts, read_parts
from setsail.stages.examples import Examples, examples_of, nats_of
from setsail.stages.probes import observe_trainer
from setsail.stages.stage import StageSpec, Voyage, make
from setsail.tokens.pack import Batch, epoch_bins, make_batch
from setsail.tokens.render import describe as describe_runs
from setsail.tokens.tokenizer import Tokenizer
from setsail.train.allocator import keep_freed_memory
from setsail.train.journal import open_journal, read_journal
from setsail.train.optimizer import MasterWeights, adamw
from setsail.train.plan import Plan, describe, make_plan, peak_bytes, probe
from setsail.train.resume import CHECKPOINTS, STEPS, Course, restore, train_resumably
from setsail.train.schedule import default_learning_rate, schedule

PLAN, VALIDATION, TRAINING, REFERENCE = "plan.json", "validation.jsonl", "training.json", "reference.json"
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
    def recipe(self) -> Finetune:
        return self.voyage.recipe.finetune


def make_finetune(voyage: Voyage, base: Artifact, data: Artifact) -> Artifact:
    """The tuned weights: an adapter in PEFT's format, or for `method: full` a whole model folder."""
    recipe = voyage.recipe

    def build(draft: Path) -> Mapping[str, Any]:
        if not (draft / REFERENCE).exists():
            _finetune(_load_task(voyage, base, data), draft)
        shutil.rmtree(draft / CHECKPOINTS, ignore_errors=True)
        return json.loads((draft / TRAINING).read_text("utf-8"))

    spec = StageSpec(
        kind="finetune",
        recipe={
            "task": recipe.task,
            "seed": recipe.seed,
            "overlong": recipe.data.overlong,
            "finetune": recipe.finetune.model_dump(mode="json"),
            "check": recipe.check.model_dump(mode="json"),
        },
        parents={"base": base, "data": data},
        facts={},
        resumable=True,
    )
    return make(voyage, spec, build)


def _load_task(voyage: Voyage, base: Artifact, data: Artifact) -> _Task:
    recipe, tokenizer, parts = voyage.recipe, tokenizer_of(base), read_parts(data)
    train = examples_of(parts.train, tokenizer, recipe)
    validation = examples_of(parts.validation[:MOST_VALIDATION_ROWS], tokenizer, recipe)
    if not train.examples:
        raise DataError(
            f"all {len(parts.train)} training rows are longer than finetune.context ({recipe.finetune.context} tokens)",
            place=voyage.loaded.place("finetune.context"),
            hint="raise finetune.context, or set data.overlong to split or cut",
        )
    return _Task(voyage, base, tokenizer, parts, train, validation)


def _finetune(task: _Task, draft: Path) -> None:
    recipe, log = task.recipe, task.voyage.log
    prepare_device(task.voyage.recipe.seed)
    keep_freed_memory()
    model = load_model(task.base.path, dtype=compute_dtype())
    move(model, device())
    if recipe.method == "lora":
        add_lora(model, recipe.lora, task.voyage.recipe.seed)
    else:
        model.requires_grad_(True)
    log.say(f"  {_fuse(model)}")
    steps = plan_steps(task.train, recipe, task.voyage.recipe.seed)
    plan = _plan(task, model, steps, draft)
    _show_rows(task)
    optimizer = adamw(model, weight_decay=recipe.weight_decay)
    peak = recipe.learning_rate or default_learning_rate(recipe.method)
    course = Course(
        learning_rate=schedule(recipe.schedule, peak=peak, num_steps=len(steps), warmup=recipe.warmup),
        clip_norm=recipe.clip_norm,
        seed=task.voyage.recipe.seed,
        save_every=recipe.save_every,
        fingerprint={"recipe": recipe.model_dump(mode="json"), "seed": task.voyage.recipe.seed, "steps": len(steps)},
    )
    start = restore(optimizer, course, folder=draft, say=log.say)
    if start:
        log.say(f"  going on after step {start} of {len(steps)}, which an earlier attempt had saved")
    began = time.monotonic()
    _train(task, model, steps, course, start=start, draft=draft, optimizer=optimizer)
    _save_weights(task, model, draft)
    write_atomically(draft / TRAINING, json.dumps(_metrics(plan, draft, time.monotonic() - began), indent=1) + "\n")
    log.say(
        f"  the trainer itself answers {task.voyage.recipe.check.prompts} held-out prompts, to be held against later"
    )
    reference = observe_trainer(task.voyage.recipe, model, task.tokenizer, task.parts.test)
    write_atomically(draft / REFERENCE, json.dumps(reference.as_json(), ensure_ascii=False) + "\n")


def _fuse(model: PreTrainedModel) -> str:
    """Faster forwards where this machine and this family allow it, and a sentence on what came of it."""
    fused = fuse(model)
    if fused:
        return f"kernels     {len(fused)} modules compute with compiled kernels, each checked against its original"
    return f"kernels     none, plain torch computes: {why_not() or 'none fits this model or device'}"


def _save_weights(task: _Task, model: PreTrainedModel, draft: Path) -> None:
    if task.recipe.method == "lora":
        save_adapter(model, draft, base_name=task.voyage.recipe.base, base_sha256=weights_sha256(task.base.path))
        return
    unfuse(model)
    model.save_pretrained(draft)
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


def plan_steps(train: Examples, recipe: Finetune, seed: int) -> list[list[Batch]]:
    """Every step of the run, each a list of packed micro-batches; a function of the rows, the recipe and the seed."""
    longest = max(len(example.ids) for example in train.examples)
    capacity = max(longest, min(recipe.batch_tokens, MICRO_BATCH_TOKENS))
    per_step = max(1, recipe.batch_tokens // capacity)
    steps: list[list[Batch]] = []
    for epoch in range(math.ceil(recipe.epochs)):
        bins = epoch_bins(train.examples, capacity, seed, epoch)
        share = min(1.0, recipe.epochs - epoch)
        bins = bins[: max(1, round(len(bins) * share))]
        batches = [make_batch([train.examples[index] for index in members]) for members in bins]
        steps += [batches[start : start + per_step] for start in range(0, len(batches), per_step)]
    return steps


def _plan(task: _Task, model: PreTrainedModel, steps: Sequence[Sequence[Batch]], draft: Path) -> Plan:
    timed = probe(model, steps[0])
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


def _train(
    task: _Task,
    model: PreTrainedModel,
    steps: Sequence[Sequence[Batch]],
    course: Course,
    *,
    start: int,
    draft: Path,
    optimizer: MasterWeights,
) -> None:
    """Trains from step `start` on, and validates on the way."""
    every = task.recipe.validate_every or max(1, math.ceil(len(steps) / NUM_VALIDATIONS))
    log = task.voyage.log
    known = {record["step"] for record in read_journal(draft / VALIDATION)}
    with open_journal(draft / VALIDATION, start=start) as journal, log.progress("step", len(steps)) as progress:
        if task.validation.examples and 0 not in known:
            journal.append(_validate(task, model, 0))
        progress.start_at(start)
        for step in train_resumably(model, optimizer, steps[start:], course, folder=draft, start=start):
            progress.advance(loss=f"{step.loss_nats:.3f} nats", speed=f"{step.num_tokens / step.seconds:.0f} tokens/s")
            if task.validation.examples and (step.index % every == 0 or step.index == len(steps)):
                record = _validate(task, model, step.index)
                journal.append(record)
                progress.advance(0, validation=f"{record['bits_per_byte']:.3f} bits/byte")
        journal.flush()
    curve = read_journal(draft / VALIDATION)
    if curve:
        log.say(f"  validation {curve[0]['bits_per_byte']:.3f} → {curve[-1]['bits_per_byte']:.3f} bits per byte")


def _validate(task: _Task, model: PreTrainedModel, step: int) -> dict[str, Any]:
    """Bits per byte of the validation rows' answers at a step."""
    nats = sum(nats_of(model, task.validation.examples))
    return {"step": step, "bits_per_byte": nats / math.log(2) / task.validation.num_bytes}
