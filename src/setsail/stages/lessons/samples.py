"""What a model in training writes at each validation, alike each time.

A text goes on, a question is answered, or what `[MASK]` hides in a text is filled in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from setsail.base.errors import RecipeError
from setsail.tokens.render import Rendered, render, render_text
from setsail.tokens.tokenizer import Tokenizer

NEW_TOKENS = 60
TEMPERATURE, TOP_P = 0.8, 0.95


HIDDEN = "[MASK]"  # in a sample, whatever the tokenizer's own token is


@torch.no_grad()
def written(
    model: PreTrainedModel, beginnings: Sequence[str], *, tokenizer: Tokenizer, task: str, seed: int
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
        between = "" if task == "text" else " → "
        texts.append(beginning + between + tokenizer.decode(output[0, ids.shape[1] :].tolist()))
    return texts


def _rendered(tokenizer: Tokenizer, beginning: str, task: str) -> Rendered:
    """As training renders it: a question to the assistant, or the beginning of a text."""
    if task != "text":
        return render(tokenizer, [{"role": "user", "content": beginning}], generation_prompt=True)
    return render_text(tokenizer, beginning, generation_prompt=True)


def refuse_samples_without_mask(texts: Sequence[str]) -> None:
    """Raises: RecipeError for a sample in which nothing is to be filled in."""
    for text in texts:
        if HIDDEN not in text:
            raise RecipeError(
                f'in the sample "{text}" nothing is hidden',
                place="pretrain.watch.samples",
                hint=f"write {HIDDEN} where the model shall fill in",
            )


@torch.no_grad()
def filled(model: PreTrainedModel, texts: Sequence[str], *, tokenizer: Tokenizer) -> list[str]:
    """Each text with the most likely token for each [MASK], in brackets."""
    model.eval()
    assert tokenizer.mask_id is not None, "an encoder's tokenizer has a mask"
    name = tokenizer.token(tokenizer.mask_id) or ""
    shown = []
    for text in texts:
        inside = tokenizer.encode(text.replace(HIDDEN, name))
        ids = torch.tensor([*tokenizer.text_start_ids, *inside, *tokenizer.text_end_ids], device=model.device)
        best = model(input_ids=ids[None]).logits[0].argmax(dim=-1)
        fillers = [tokenizer.decode([int(token)]) for token in best[ids == tokenizer.mask_id]]
        shown.append(_with_fillers(text, fillers))
    return shown


@torch.no_grad()
def rewritten(model: PreTrainedModel, texts: Sequence[str], *, tokenizer: Tokenizer) -> list[str]:
    """Each text with the span that the model writes for each [MASK], greedily, in brackets."""
    model.eval()
    shown = []
    for text in texts:
        marked = _with_sentinels(text, tokenizer)
        ids = torch.tensor([[*tokenizer.text_start_ids, *tokenizer.encode(marked), *tokenizer.text_end_ids]])
        generate: Any = model.generate
        ids = ids.to(model.device)
        output = generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW_TOKENS, do_sample=False)
        shown.append(_with_fillers(text, _spans_of(output[0].tolist(), text.count(HIDDEN), tokenizer)))
    return shown


def _with_sentinels(text: str, tokenizer: Tokenizer) -> str:
    """The text with the sentinels in order in place of each [MASK] and the space before it, as training cuts spans."""
    first, *others = text.split(HIDDEN)
    names = [tokenizer.token(index) or "" for index in tokenizer.sentinel_ids]
    parts = [first, *(name + other for name, other in zip(names, others, strict=False))]
    return "".join([part.removesuffix(" ") for part in parts[:-1]] + parts[-1:])


def _spans_of(ids: Sequence[int], num_spans: int, tokenizer: Tokenizer) -> list[str]:
    """What stands behind each of the first sentinels, up to the next special token; nothing where one is missing."""
    special = set(tokenizer.special_tokens.values())
    spans = []
    for sentinel in tokenizer.sentinel_ids[:num_spans]:
        at = ids.index(sentinel) + 1 if sentinel in ids else len(ids)
        end = next((index for index in range(at, len(ids)) if ids[index] in special), len(ids))
        spans.append(tokenizer.decode(ids[at:end]))
    return spans


def _with_fillers(text: str, fillers: Sequence[str]) -> str:
    first, *others = text.split(HIDDEN)
    return first + "".join(f"[{filler.strip()}]{other}" for filler, other in zip(fillers, others, strict=True))
