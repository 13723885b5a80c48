"""An encoder-decoder that writes: texts in, texts out, by transformers' own generation on padded batches.

The same function writes with a model in training and with a saved folder, so that both can be held against each other.
`load_writer` reads a folder by transformers alone, nothing of our training path. The invariant: greedy or by beams,
nothing is drawn, and no answer is longer than it may be; how many texts are written at once changes nothing but time.

Legend: B texts, S tokens read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, GenerationConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from setsail.base.errors import ModelError
from setsail.models.load import read_kind
from setsail.models.weights import weight_files

NUM_FIRST = 64  # tokens of the first distribution that are kept


@dataclass(frozen=True)
class Written:
    """One answer: its ids without the stop token, whether that came, and the first token's log-probabilities."""

    ids: tuple[int, ...]
    stopped: bool
    first: dict[int, float]


@dataclass(frozen=True)
class Writer:
    """A folder's model in float32 and its tokenizer, as anybody loads them."""

    model: Any
    tokenizer: Any

    def ids(self, text: str) -> list[int]:
        """What the encoder reads of a text."""
        return list(self.tokenizer(text)["input_ids"])

    def write(
        self, texts: Sequence[str], *, max_new_tokens: int, at_once: int = 16, num_beams: int = 1
    ) -> list[tuple[str, Written]]:
        """Each text's answer, with its tokens; similar lengths are written together."""
        prompts = [self.ids(text) for text in texts]
        made = write(self.model, prompts, max_new_tokens=max_new_tokens, at_once=at_once, num_beams=num_beams)
        return [(self.tokenizer.decode(list(each.ids), skip_special_tokens=True).strip(), each) for each in made]


def load_writer(folder: Path) -> Writer:
    """The encoder-decoder of a folder.

    Raises: ModelError for a folder that is damaged or holds another kind of model.
    """
    transformers_logging.disable_progress_bar()
    weight_files(folder)
    if read_kind(folder) != "seq2seq":
        raise ModelError("the folder holds no encoder-decoder", place=str(folder))
    settings: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    model = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float32, use_safetensors=True, **settings)
    return Writer(model.eval(), AutoTokenizer.from_pretrained(folder, **settings))


def forget_manners(model: PreTrainedModel) -> PreTrainedModel:
    """The model without its former task's habits of generation (a least length, no repeated words, forced tokens).

    Mutates: the model's generation settings, which are saved with it.
    """
    config = model.config
    ids = {name: getattr(config, name, None) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    model.generation_config = GenerationConfig(
        do_sample=False, num_beams=1, decoder_start_token_id=config.decoder_start_token_id, **ids
    )
    return model


@torch.no_grad()
def write(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    at_once: int = 16,
    num_beams: int = 1,
) -> list[Written]:
    """The model's answer to each prompt, in their order."""
    found: list[Written | None] = [None] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))
    for start in range(0, len(order), at_once):
        members = order[start : start + at_once]
        made = _write_batch(model, [prompts[index] for index in members], max_new_tokens, num_beams)
        for index, written in zip(members, made, strict=True):
            found[index] = written
    return [written for written in found if written is not None]


def _write_batch(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], max_new_tokens: int, num_beams: int
) -> list[Written]:
    longest = max(map(len, prompts))
    ids_BS = torch.tensor([[*prompt, *[0] * (longest - len(prompt))] for prompt in prompts], device=model.device)
    mask_BS = torch.tensor([[1] * len(prompt) + [0] * (longest - len(prompt)) for prompt in prompts])
    generate: Any = model.generate  # its type is lost in transformers' decorators
    out = generate(
        input_ids=ids_BS,
        attention_mask=mask_BS.to(model.device),
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=num_beams,
        output_logits=True,
        return_dict_in_generate=True,
    )
    first = torch.log_softmax(out.logits[0].float()[::num_beams], dim=-1).cpu()
    top = first.topk(min(NUM_FIRST, first.shape[-1]), dim=-1)
    return [
        _written(model, ids, dict(zip(tokens, values, strict=True)))
        for ids, tokens, values in zip(
            out.sequences[:, 1:].tolist(), top.indices.tolist(), top.values.tolist(), strict=True
        )
    ]


def _written(model: PreTrainedModel, ids: list[int], first: dict[int, float]) -> Written:
    """One answer up to its end; what stands behind the end is padding."""
    end: Any = model.generation_config.eos_token_id if model.generation_config else None
    ends = set(end if isinstance(end, list) else [end])
    at = next((place for place, token in enumerate(ids) if token in ends), None)
    return Written(tuple(ids if at is None else ids[:at]), at is not None, first)
