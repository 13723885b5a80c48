"""A saved reader as anybody loads it: transformers' own AutoTokenizer and AutoModel, nothing of our training path.

What is said with it is what others get from the folder; the faithfulness check holds the trainer against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from tokenizers import Encoding
from transformers import AutoTokenizer
from transformers.utils import logging as transformers_logging

from setsail.base.errors import ModelError
from setsail.base.target import Head
from setsail.models.padded import padded_batches
from setsail.models.reader import AUTO_CLASSES, labels_of, own_logits, read_encoder_config
from setsail.models.weights import weight_files

Texts = str | tuple[str, ...]  # one, or two of which the last is the one that something is said of


@dataclass(frozen=True)
class PlainReader:
    """A reader in float32; texts longer than `context` tokens lose their end. `labels` name its figures."""

    model: Any
    tokenizer: Any
    labels: tuple[str, ...]
    context: int
    head: Head

    def encoding(self, texts: Texts) -> Encoding:
        """A text's tokens, whole."""
        return self.tokenizer(*((texts,) if isinstance(texts, str) else texts)).encodings[0]

    def logits(self, texts: Sequence[Texts], *, at_once: int = 1) -> list[NDArray[Any]]:
        """Logits in the order of the texts, [C] each or [its tokens, C]; `at_once` are padded to one length."""
        found: dict[int, NDArray[Any]] = {}
        batches = padded_batches(self.tokenizer, texts, context=self.context, at_once=at_once, device=self.model.device)
        with torch.inference_mode():
            for members, batch in batches:
                said = own_logits(self.model(**batch)).double().cpu()
                masks = batch["attention_mask"].bool().cpu()
                for index, logits, mask in zip(members, said, masks, strict=True):
                    found[index] = (logits if self.head == "document" else logits[mask]).numpy()
        return [found[index] for index in range(len(texts))]

    def logits_of(self, ids: Sequence[int], types: Sequence[int]) -> NDArray[Any]:
        """Logits [C] or [T, C] of tokens as they are."""
        columns = {"input_ids": ids, "attention_mask": [1] * len(ids), "token_type_ids": types}
        named = set(self.tokenizer.model_input_names) | {"input_ids"}
        batch = {
            name: torch.tensor([list(column)], device=self.model.device)
            for name, column in columns.items()
            if name in named
        }
        with torch.inference_mode():
            return own_logits(self.model(**batch))[0].double().cpu().numpy()


def load_plain(folder: Path, head: Head = "document") -> PlainReader:
    """The reader of a folder.

    Raises: ModelError for a folder that is damaged or holds no such reader.
    """
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    weight_files(folder)
    config = read_encoder_config(folder)
    loaded: Any = AUTO_CLASSES[head].from_pretrained(
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
    tokenizer = load_tokenizer(folder)
    return PlainReader(model.eval(), tokenizer, labels_of(config), int(tokenizer.model_max_length), head)


def load_tokenizer(folder: Path) -> Any:
    """transformers' own tokenizer of a folder."""
    return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
