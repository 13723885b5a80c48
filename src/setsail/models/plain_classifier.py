"""A saved classifier as anybody loads it: transformers' own AutoTokenizer and AutoModel, nothing of our training path.

What is said with it is what others get from the folder; the faithfulness check holds the trainer against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import logging as transformers_logging

from setsail.base.errors import ModelError
from setsail.models.classifier import labels_of, read_encoder_config
from setsail.models.padded import padded_batches
from setsail.models.weights import weight_files


@dataclass(frozen=True)
class PlainClassifier:
    """A classifier in float32; texts longer than `context` tokens lose their end."""

    model: Any
    tokenizer: Any
    labels: tuple[str, ...]
    context: int

    def ids(self, text: str) -> list[int]:
        """A text's token ids, whole."""
        return list(self.tokenizer(text)["input_ids"])

    def logits(self, texts: Sequence[str], *, at_once: int = 1) -> NDArray[np.float64]:
        """Logits [N, C] in the order of the texts, `at_once` of them padded to one length; similar ones together."""
        found = np.zeros((len(texts), len(self.labels)))
        batches = padded_batches(self.tokenizer, texts, context=self.context, at_once=at_once, device=self.model.device)
        with torch.inference_mode():
            for members, batch in batches:
                found[members] = self.model(**batch).logits.double().cpu().numpy()
        return found


def load_plain(folder: Path) -> PlainClassifier:
    """The classifier of a folder.

    Raises: ModelError for a folder that is damaged or holds no classifier.
    """
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    weight_files(folder)
    config = read_encoder_config(folder)
    loaded: Any = AutoModelForSequenceClassification.from_pretrained(
        folder,
        config=config,
        dtype=torch.float32,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        output_loading_info=True,
    )
    model, report = loaded
    if report["missing_keys"]:
        names = sorted(report["missing_keys"])[:3]
        raise ModelError(f"the folder lacks {names} of a {type(model).__name__}", place=str(folder))
    tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    return PlainClassifier(model.eval(), tokenizer, labels_of(config), int(tokenizer.model_max_length))
