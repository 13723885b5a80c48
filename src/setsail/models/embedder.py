"""Vectors of texts from an encoder as it is: the mean of its last hidden states, of length one.

Loaded by transformers' own AutoModel, so that the vectors are what anybody gets from the folder.
Source: Reimers and Gurevych 2019, Sentence-BERT (arXiv 1908.10084), mean pooling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging as transformers_logging

from setsail.base.device import device, move
from setsail.models.padded import padded_batches
from setsail.models.reader import read_encoder_config
from setsail.models.weights import weight_files

TEXTS_AT_ONCE = 32


@dataclass(frozen=True)
class Embedder:
    """An encoder in float32; texts longer than `context` tokens lose their end."""

    model: Any
    tokenizer: Any
    context: int

    def ids(self, text: str) -> list[int]:
        """A text's token ids, whole."""
        return list(self.tokenizer(text)["input_ids"])

    @torch.inference_mode()
    def vectors(self, texts: Sequence[str], *, at_once: int = TEXTS_AT_ONCE) -> NDArray[np.float32]:
        """Vectors [N, D] of length one in the order of the texts; similar lengths are computed together."""
        found = np.zeros((len(texts), self.model.config.hidden_size), np.float32)
        batches = padded_batches(self.tokenizer, texts, context=self.context, at_once=at_once, device=self.model.device)
        for members, batch in batches:
            states_NTD = self.model(**batch).last_hidden_state
            mask_NT1 = batch["attention_mask"][..., None].to(states_NTD.dtype)
            means_ND = (states_NTD * mask_NT1).sum(dim=1) / mask_NT1.sum(dim=1).clamp(min=1)
            found[members] = torch.nn.functional.normalize(means_ND, dim=-1).cpu().numpy()
        return found


def load_embedder(folder: Path, *, context: int) -> Embedder:
    """The encoder of a folder, its head left out.

    Raises: ModelError for a folder that is damaged or holds no encoder.
    """
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    weight_files(folder)
    model: Any = AutoModel.from_pretrained(
        folder,
        config=read_encoder_config(folder),
        dtype=torch.float32,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
    )
    move(model.eval(), device())
    tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    return Embedder(model, tokenizer, context)
