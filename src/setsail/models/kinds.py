"""Kinds of language models: what transformers loads each with, and which kind a configuration is of.

The invariant: a kind is told by the class that the configuration names, since one family may have several (BERT can
be loaded to generate, although it was made to fill in).
"""

from __future__ import annotations

from typing import Any

from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM, PreTrainedConfig
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
)

from setsail.base.recipe import Kind

AUTO_CLASSES: dict[Kind, Any] = {
    "decoder": AutoModelForCausalLM,
    "encoder": AutoModelForMaskedLM,
    "seq2seq": AutoModelForSeq2SeqLM,
}
MODEL_CLASSES: dict[Kind, Any] = {
    "decoder": MODEL_FOR_CAUSAL_LM_MAPPING,
    "encoder": MODEL_FOR_MASKED_LM_MAPPING,
    "seq2seq": MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
}


def kind_of(config: PreTrainedConfig) -> Kind | None:
    """The kind of model that a configuration describes; None where it is no language model that transformers knows.

    A configuration that names no class of these, as that of a bare body, is of the only kind that its family has.
    """
    having: list[Kind] = [kind for kind, classes in MODEL_CLASSES.items() if type(config) in classes]
    named = (config.architectures or [""])[0]
    for kind in having:
        if MODEL_CLASSES[kind][type(config)].__name__ == named:
            return kind
    return having[0] if len(having) == 1 else None
