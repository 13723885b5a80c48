"""Observing a torch model for the faithfulness check: first-token distribution, greedy text and cost of the answer.

Everything is computed in float32, so that what is seen is the weights and not the rounding of the arithmetic.
Legend: B probes, S prompt tokens padded on the left, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from setsail.compress.check import NUM_FIRST, Answer, Observation, Probe

_AT_ONCE = 16


def observe_model(
    model: PreTrainedModel,
    probes: Sequence[Probe],
    *,
    stage: str,
    precision: str,
    max_new_tokens: int,
    render_ids: Callable[[Probe], tuple[int, ...]],
    decode: Callable[[Sequence[int]], str],
    nats_of: Callable[[PreTrainedModel, Probe], float],
) -> Observation:
    """What `model` does with the probes.

    `render_ids` is the stage's own rendering of a probe's messages, so that a stage with a changed template or
    tokenizer is seen as it is; generation runs on the ids that it returns.
    """
    prompts = [render_ids(probe) for probe in probes]
    answers: list[Answer] = []
    for start in range(0, len(probes), _AT_ONCE):
        some = range(start, min(start + _AT_ONCE, len(probes)))
        generated = _greedy(model, [prompts[n] for n in some], [probes[n].stop_id for n in some], max_new_tokens)
        for n, (ids, first) in zip(some, generated, strict=True):
            stopped = bool(ids) and ids[-1] == probes[n].stop_id
            text_ids = ids[:-1] if stopped else ids
            nats = nats_of(model, probes[n])
            answers.append(Answer(prompts[n], tuple(ids), decode(text_ids), stopped, first, nats))
    return Observation(stage, precision, tuple(answers))


@torch.no_grad()
def _greedy(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], stops: Sequence[int], max_new_tokens: int
) -> list[tuple[list[int], dict[int, float]]]:
    """Greedy ids (stop token included) and the first token's distribution, for each prompt."""
    longest = max(len(prompt) for prompt in prompts)
    ids_BS = torch.tensor([[stops[0]] * (longest - len(prompt)) + list(prompt) for prompt in prompts])
    mask_BS = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    generate: Any = model.generate  # its type is lost in transformers' decorators
    out = generate(
        input_ids=ids_BS.to(model.device),
        attention_mask=mask_BS.to(model.device),
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        repetition_penalty=1.0,
        eos_token_id=sorted(set(stops)),
        pad_token_id=stops[0],
        output_logits=True,
        return_dict_in_generate=True,
    )
    first_BV = torch.log_softmax(out.logits[0].float(), dim=-1)
    results = []
    for row, stop in enumerate(stops):
        ids = out.sequences[row, longest:].tolist()
        ids = ids[: ids.index(stop) + 1] if stop in ids else ids
        top = first_BV[row].topk(min(NUM_FIRST, first_BV.shape[-1]))
        results.append((ids, dict(zip(top.indices.tolist(), top.values.tolist(), strict=True))))
    return results
