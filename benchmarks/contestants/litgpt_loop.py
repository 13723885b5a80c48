"""LitGPT's model and pretraining loop: blocks of a fixed length without a mask between documents, so no padding."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import lightning
import torch
from litgpt import GPT, Config
from litgpt.utils import chunked_cross_entropy
from meter import read_work
from transformers import AutoConfig


def main() -> None:
    work, setting, meter = read_work()
    torch.set_num_threads(1)
    fabric = lightning.Fabric(accelerator="cpu", devices=1, precision=setting["precision"])
    fabric.launch()
    with fabric.init_module():
        model = GPT(config_of(work.model, setting["block"]))
    tie(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=work.learning_rate, fused=setting["fused"])
    model, optimizer = fabric.setup(model, optimizer)
    if setting["compile"]:
        model = torch.compile(model)
    stream = torch.tensor([token for ids in work.documents for token in ids])
    block, rows = setting["block"], setting["rows"]
    accumulate = max(1, work.tokens_per_step // (block * rows))
    place = 0
    while True:
        for _ in range(accumulate):
            if place + block * rows + 1 > len(stream):
                place = 0
            part = stream[place : place + block * rows + 1]
            place += block * rows
            logits = model(part[:-1].view(rows, block))
            loss = chunked_cross_entropy(logits, part[1:].view(rows, block))
            fabric.backward(loss / accumulate)
        fabric.clip_gradients(model, optimizer, max_norm=1.0)
        optimizer.step()
        optimizer.zero_grad()
        if meter.tick(accumulate * block * rows, loss.item()):
            meter.report(torch=torch.__version__, litgpt=version("litgpt"))


def tie(model: GPT) -> None:
    """One matrix for the embedding and the output layer, as the other sides have it (its `train.tie_embeddings`)."""
    model.transformer.wte.weight = model.lm_head.weight


def config_of(model: str | Path, block: int) -> Config:
    """LitGPT's words for the Llama shape of the work."""
    shape = AutoConfig.from_pretrained(model)
    return Config(
        name="bench",
        block_size=block,
        vocab_size=shape.vocab_size,
        padded_vocab_size=shape.vocab_size,
        n_layer=shape.num_hidden_layers,
        n_head=shape.num_attention_heads,
        n_query_groups=shape.num_key_value_heads,
        n_embd=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        rotary_percentage=1.0,
        parallel_residual=False,
        bias=False,
        norm_class_name="RMSNorm",
        mlp_class_name="LLaMAMLP",
    )


if __name__ == "__main__":
    main()
