"""TRL's SFTTrainer."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import torch
from datasets import Dataset
from meter import read_work
from peers import Counted, Ticking, arguments, load, lora_config
from transformers import AutoTokenizer
from trl import SFTConfig, SFTTrainer


def main() -> None:
    work, setting, meter = read_work()
    torch.set_num_threads(1)
    loading: dict[str, Any] = {"dtype": getattr(torch, setting["dtype"])} if "dtype" in setting else {}
    pairs = zip(work.documents, work.first_learned, strict=True)
    dataset = Dataset.from_list(
        [{"input_ids": ids, "completion_mask": [int(at >= first) for at in range(len(ids))]} for ids, first in pairs]
    )
    trainer = SFTTrainer(
        model=load(work, **loading),
        args=SFTConfig(**arguments(work, setting)),
        train_dataset=dataset,
        processing_class=AutoTokenizer.from_pretrained(work.model),
        peft_config=lora_config(work) if work.method == "lora" else None,
    )
    counted = Counted(trainer.data_collator)
    trainer.data_collator = counted
    trainer.add_callback(Ticking(meter, counted, trl=version("trl")))
    trainer.train()


if __name__ == "__main__":
    main()
