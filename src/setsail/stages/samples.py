"""What a model in training writes at each validation, alike each time: a text goes on, a question is answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from setsail.tokens.render import Rendered, render, render_text
from setsail.tokens.tokenizer import Tokenizer

NEW_TOKENS = 60
TEMPERATURE, TOP_P = 0.8, 0.95


@torch.no_grad()
def written(
    model: PreTrainedModel, tokenizer: Tokenizer, beginnings: Sequence[str], *, task: str, seed: int
) -> list[str]:
    """Each beginning with what the model writes after it, drawn at temperature 0.8 from the seed.

    Mutates: torch's global random state, which the training loop sets anew before each micro-batch.
    """
    model.eval()
    texts = []
    for beginning in beginnings:
        torch.manual_seed(seed)
        prompt = _rendered(tokenizer, beginning, task)
        ids = torch.tensor([prompt.ids], device=model.device)
        settings: dict[str, Any] = {"temperature": TEMPERATURE, "top_p": TOP_P, "do_sample": True}
        generate: Any = model.generate
        output = generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=NEW_TOKENS,
            eos_token_id=prompt.stop_id,
            pad_token_id=prompt.stop_id,
            **settings,
        )
        between = " → " if task == "chat" else ""
        texts.append(beginning + between + tokenizer.decode(output[0, ids.shape[1] :].tolist()))
    return texts


def _rendered(tokenizer: Tokenizer, beginning: str, task: str) -> Rendered:
    """As training renders it: a question to the assistant, or the beginning of a text."""
    if task == "chat":
        return render(tokenizer, [{"role": "user", "content": beginning}], generation_prompt=True)
    return render_text(tokenizer, beginning, generation_prompt=True)
