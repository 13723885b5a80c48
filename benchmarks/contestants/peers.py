"""What the contestants other than ours share: transformers' model, PEFT's adapter, rows as lists."""

from __future__ import annotations

import tempfile
from typing import Any

import torch
from meter import Meter, Work
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, TrainerCallback


def load(work: Work, **settings: Any) -> Any:
    kind = AutoModelForCausalLM if work.labels is None else AutoModelForSequenceClassification
    return kind.from_pretrained(work.model, **settings)


def learner(model: Any, work: Work) -> Any:
    """The model with PEFT's LoRA over all linear layers of a block, or as it is."""
    if work.method == "full":
        return model
    from peft import get_peft_model

    return get_peft_model(model, lora_config(work))


def lora_config(work: Work) -> Any:
    from peft import LoraConfig

    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    return LoraConfig(r=work.lora_rank, lora_alpha=2 * work.lora_rank, target_modules=targets, task_type="CAUSAL_LM")


def arguments(work: Work, setting: dict[str, Any]) -> dict[str, Any]:
    """What a Trainer is told besides its setting: stay on the CPU, save and report nothing, train on."""
    return {
        "output_dir": tempfile.mkdtemp(),
        "use_cpu": True,
        "report_to": [],
        "save_strategy": "no",
        "logging_steps": 1,
        "disable_tqdm": True,
        "learning_rate": work.learning_rate,
        "num_train_epochs": 100,
        **setting.get("arguments", {}),
    }


def rows(work: Work) -> list[dict[str, Any]]:
    """Rows with labels: one for the whole row where it is classified; else tokens, -100 where nothing is learned."""
    if work.labels is not None:
        classified = zip(work.documents, work.labels, strict=True)
        return [{"input_ids": ids, "attention_mask": [1] * len(ids), "labels": label} for ids, label in classified]
    pairs = zip(work.documents, work.first_learned, strict=True)
    return [
        {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": [-100] * first + ids[first:]}
        for ids, first in pairs
    ]


class Counted:
    """A data collator that remembers how many tokens of its last batches were no padding."""

    def __init__(self, collate: Any) -> None:
        self.collate = collate
        self.tokens = 0

    def __call__(self, features: list[dict[str, Any]]) -> Any:
        batch = self.collate(features)
        mask = batch.get("attention_mask")
        self.tokens += int(mask.sum()) if mask is not None else int(batch["input_ids"].numel())
        return batch


class Ticking(TrainerCallback):
    """Ticks the meter after each optimizer step of a Trainer, and ends the process when enough was measured."""

    def __init__(self, meter: Meter, counted: Counted, **versions: str) -> None:
        self.meter, self.counted, self.versions = meter, counted, versions

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        loss = state.log_history[-1]["loss"] if state.log_history and "loss" in state.log_history[-1] else float("nan")
        tokens, self.counted.tokens = self.counted.tokens, 0
        if self.meter.tick(tokens, loss):
            self.meter.report(torch=torch.__version__, **self.versions)


def pad(features: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Pads to the longest of the batch."""
    longest = max(len(feature["input_ids"]) for feature in features)
    fill = {"input_ids": 0, "attention_mask": 0, "labels": -100}
    whole = [key for key in fill if isinstance(features[0][key], int)]  # the label of a row
    padded = {
        key: torch.tensor([list(f[key]) + [value] * (longest - len(f[key])) for f in features])
        for key, value in fill.items()
        if key not in whole
    }
    return padded | {key: torch.tensor([f[key] for f in features]) for key in whole}
