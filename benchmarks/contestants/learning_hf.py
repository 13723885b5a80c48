"""Hugging Face's Trainer on blocks of the joined text, as its own pretraining example cuts it."""

from __future__ import annotations

import tempfile
from importlib.metadata import version
from typing import Any

import torch
from learning import BLOCK, examine, read_text, report
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import IterableDataset
from transformers import AutoConfig, AutoModelForCausalLM, Trainer, TrainerCallback, TrainingArguments


class Blocks(IterableDataset):
    """Rows without end."""

    def __init__(self, batches: Any) -> None:
        self.batches = batches

    def __iter__(self) -> Any:
        for batch in self.batches:
            for row in batch:
                yield {"input_ids": row, "labels": row}


class Stop(TrainerCallback):
    """Ends the training when the budget is spent."""

    def __init__(self, budget: Any) -> None:
        self.budget = budget

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        control.should_training_stop = self.budget.tick()
        return control


def main() -> None:
    text, setting, budget, seed = read_text()
    torch.manual_seed(seed)
    dtype = torch.bfloat16 if setting["precision"] == "bf16" else torch.float32
    model = AutoModelForCausalLM.from_config(
        AutoConfig.from_pretrained(text.model, initializer_range=0.02), dtype=dtype
    )
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=setting["peak"], betas=(0.9, setting["beta2"]), weight_decay=setting["decay"], fused=True
    )
    arguments = TrainingArguments(
        output_dir=tempfile.mkdtemp(),
        use_cpu=True,
        bf16=setting["precision"] == "autocast",
        per_device_train_batch_size=setting["rows"],
        max_steps=10**6,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        seed=seed,
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=Blocks(text.blocks(BLOCK, setting["rows"], seed)),
        callbacks=[Stop(budget)],
        optimizers=(optimizer, LambdaLR(optimizer, lambda _: budget.rate(setting["shape"]))),
    )
    trainer.train()
    tokens = budget.steps * setting["rows"] * BLOCK
    model = model.float().eval()
    nats = examine(lambda ids: model(input_ids=ids).logits, text.exam)
    report(budget, nats, tokens, transformers=version("transformers"), torch=torch.__version__)


if __name__ == "__main__":
    main()
