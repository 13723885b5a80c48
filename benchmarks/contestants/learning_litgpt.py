"""LitGPT's model and pretraining loop on blocks of the joined text."""

from __future__ import annotations

from importlib.metadata import version

import lightning
import torch
from learning import BLOCK, examine, read_text, report
from litgpt import GPT
from litgpt.pretrain import initialize_weights
from litgpt.utils import chunked_cross_entropy
from litgpt_loop import config_of, tie


def main() -> None:
    text, setting, budget, seed = read_text()
    fabric = lightning.Fabric(accelerator="cpu", devices=1, precision=setting["precision"])
    fabric.launch()
    fabric.seed_everything(seed)
    with fabric.init_module():
        model = GPT(config_of(text.model, BLOCK))
    initialize_weights(fabric, model, model.config.n_layer, model.config.n_embd)
    tie(model)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=setting["peak"], betas=(0.9, setting["beta2"]), weight_decay=setting["decay"], fused=True
    )
    learner = torch.compile(model) if setting["compile"] else model
    learner, optimizer = fabric.setup(learner, optimizer)
    for batch in text.blocks(BLOCK + 1, setting["rows"], seed):
        for group in optimizer.param_groups:
            group["lr"] = setting["peak"] * budget.rate(setting["shape"])
        loss = chunked_cross_entropy(learner(batch[:, :-1].contiguous()), batch[:, 1:].contiguous())
        fabric.backward(loss)
        fabric.clip_gradients(learner, optimizer, max_norm=1.0)
        optimizer.step()
        optimizer.zero_grad()
        if budget.tick():
            break
    plain = model.float().eval()
    nats = examine(plain, text.exam)
    report(budget, nats, budget.steps * setting["rows"] * BLOCK, litgpt=version("litgpt"), torch=torch.__version__)


if __name__ == "__main__":
    main()
