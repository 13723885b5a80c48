"""Hugging Face's Trainer."""

from __future__ import annotations

import tempfile
from importlib.metadata import version
from typing import Any

import torch
from datasets import Dataset
from meter import read_work
from peers import Counted, Ticking, learner, load, pad, rows
from transformers import Trainer, TrainingArguments


def main() -> None:
    work, setting, meter = read_work()
    torch.set_num_threads(1)
    loading: dict[str, Any] = {"dtype": getattr(torch, setting["dtype"])} if "dtype" in setting else {}
    arguments = TrainingArguments(
        output_dir=tempfile.mkdtemp(),
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        logging_steps=1,
        disable_tqdm=True,
        learning_rate=work.learning_rate,
        num_train_epochs=100,
        **setting.get("arguments", {}),
    )
    counted = Counted(pad)
    trainer = Trainer(
        model=learner(load(work, **loading), work),
        args=arguments,
        train_dataset=Dataset.from_list(rows(work)),
        data_collator=counted,
        callbacks=[Ticking(meter, counted, transformers=version("transformers"))],
    )
    trainer.train()


if __name__ == "__main__":
    main()
