"""What comes next: the probabilities of a text's continuations, by the weights that a run has made.

The text is taken as it stands, without a template, as a model in pretraining reads it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from setsail.base.device import device, move, prepare_device
from setsail.base.errors import UserError
from setsail.base.run import Run
from setsail.models.load import load_model
from setsail.stages.kinds import kind_of_base, tokenizer_of
from setsail.tokens.render import render_text
from setsail.tokens.tokenizer import Tokenizer

WIDTH = 24


@dataclass(frozen=True)
class Continuation:
    """What may come next, with the natural logarithm of its probability and the tokens that it is made of."""

    text: str
    log_probability: float
    tokens: tuple[str, ...]


def say_what_comes_next(
    path: Path, text: str, compare: Sequence[str], *, top: int = 10, base: bool = False, as_json: bool = False
) -> None:
    """Prints continuations of the text with their probabilities, the likeliest first; `base` asks the base's weights.

    Without `compare` they are the `top` likeliest tokens; with it, these words, each whole, with its nats summed over
    its tokens. A word of Latin letters is put behind a space where the text does not end with one.

    Raises:
        UserError: a model that does not go on with texts, an empty text or word, a text that fills the context.
    """
    if not text.strip() or not all(word.strip() for word in compare):
        raise UserError("there is nothing to go on from", hint='setsail next RUN "the quick brown" --compare fox dog')
    run = Run(path)
    if kind_of_base(run.artifact("base")) != "decoder":
        raise UserError("this model does not go on with texts: it fills in, or tells them apart", place=str(path))
    prepare_device(0)  # nothing is drawn
    artifact = run.artifact("base" if base else "merged")
    tokenizer = tokenizer_of(artifact)
    model = load_model(artifact.path, dtype=torch.float32)
    move(model.eval(), device())
    prefix = render_text(tokenizer, text, generation_prompt=True).ids
    words = [word if text[-1:].isspace() or not word[0].isascii() else f" {word.lstrip()}" for word in compare]
    found = [_of_word(model, tokenizer, prefix, word) for word in words] or _likeliest(model, tokenizer, prefix, top)
    found.sort(key=lambda each: -each.log_probability)
    if as_json:
        lines = [{"text": each.text, "logprob": each.log_probability, "tokens": list(each.tokens)} for each in found]
        print(json.dumps({"prompt": text, "continuations": lines}, ensure_ascii=False, indent=1))
        return
    print(f"{'continuation':<{WIDTH}}{'probability':>12}{'nats':>9}  tokens")
    for each in found:
        shown = json.dumps(each.text, ensure_ascii=False)[1:-1]
        tokens = " ".join(json.dumps(token, ensure_ascii=False)[1:-1] for token in each.tokens)
        print(f"{shown:<{WIDTH}}{math.exp(each.log_probability):>12.4%}{-each.log_probability:>9.3f}  {tokens}")


def _of_word(model: PreTrainedModel, tokenizer: Tokenizer, prefix: Sequence[int], word: str) -> Continuation:
    ids = tokenizer.encode(word, continued=True)
    rows = _log_probabilities(model, [*prefix, *ids[:-1]])[-len(ids) :]
    total = sum(float(row[token]) for row, token in zip(rows, ids, strict=True))
    return Continuation(word, total, tuple(tokenizer.decode([token], skip_special=False) for token in ids))


def _likeliest(model: PreTrainedModel, tokenizer: Tokenizer, prefix: Sequence[int], top: int) -> list[Continuation]:
    last = _log_probabilities(model, prefix)[-1]
    values, ids = last.topk(min(top, len(last)))
    texts = [tokenizer.decode([token], skip_special=False) for token in ids.tolist()]
    return [Continuation(text, value, (text,)) for text, value in zip(texts, values.tolist(), strict=True)]


@torch.inference_mode()
def _log_probabilities(model: PreTrainedModel, ids: Sequence[int]) -> Tensor:
    """[T, V] of what stands behind each of the ids."""
    room = model.config.max_position_embeddings
    if len(ids) > room:
        raise UserError(f"{len(ids):,} tokens, the model has room for {room:,}", hint="give a shorter text")
    logits = model(input_ids=torch.tensor([list(ids)], device=model.device)).logits[0]
    return logits.double().log_softmax(dim=-1).cpu()
