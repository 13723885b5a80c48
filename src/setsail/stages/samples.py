"""What a model in training writes: given beginnings, continued at each validation, the same way at every step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from setsail.tokens.render import render_text
from setsail.tokens.tokenizer import Tokenizer

NEW_TOKENS = 60
TEMPERATURE, TOP_P = 0.8, 0.95


@torch.no_grad()
def continued(model: PreTrainedModel, tokenizer: Tokenizer, beginnings: Sequence[str], *, seed: int) -> list[str]:
    """Each beginning with what the model goes on with, drawn at temperature 0.8 from the seed.

    Mutates: torch's global random state, which the training loop sets anew before each micro-batch.
    """
    model.eval()
    texts = []
    for beginning in beginnings:
        torch.manual_seed(seed)
        ids = torch.tensor([render_text(tokenizer, beginning, generation_prompt=True).ids], device=model.device)
        settings: dict[str, Any] = {"temperature": TEMPERATURE, "top_p": TOP_P, "do_sample": True}
        generate: Any = model.generate
        written = generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=NEW_TOKENS,
            eos_token_id=tokenizer.eos_id,
            pad_token_id=tokenizer.eos_id,
            **settings,
        )
        texts.append(beginning + tokenizer.decode(written[0, ids.shape[1] :].tolist()))
    return texts
