"""Hugging Face's Trainer."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import torch
from datasets import Dataset
from meter import read_work
from peers import Counted, Ticking, arguments, learner, load, pad, rows
from transformers import Trainer, TrainingArguments


def main() -> None:
    work, setting, meter = read_work()
    torch.set_num_threads(1)
    loading: dict[str, Any] = {"dtype": getattr(torch, setting["dtype"])} if "dtype" in setting else {}
    counted = Counted(pad)
    trainer = Trainer(
        model=learner(load(work, **loading), work),
        args=TrainingArguments(**arguments(work, setting)),
        train_dataset=Dataset.from_list(rows(work)),
        data_collator=counted,
        callbacks=[Ticking(meter, counted, transformers=version("transformers"))],
    )
    trainer.train()


if __name__ == "__main__":
    main()
