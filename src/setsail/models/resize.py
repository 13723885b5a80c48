"""More words for a model that exists: new rows of its embeddings, each the mean of the rows of what it stands for.

Source: Hewitt 2021, "Initializing new word embeddings for pretrained language models", takes the mean of all rows; the
mean of a token's own pieces is nearer to what the model read in its place. The invariant: rows that were there stay as
they were, so that a text without new tokens has the logits that it had, of old tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from transformers import PreTrainedModel

from setsail.base.errors import ModelError


@torch.no_grad()
def extend_embeddings(model: PreTrainedModel, pieces: Mapping[int, Sequence[int]]) -> None:
    """Gives the model a row for each new token, in the input and, where it is another matrix, in the output.

    Mutates: `model`, its configuration's vocab_size too where rows are added.

    Raises:
        ModelError: a new token stands for one that the model does not have.
    """
    num_rows = len(_matrices(model)[0])
    unknown = next((old for olds in pieces.values() for old in olds if old >= num_rows), None)
    if unknown is not None:
        raise ModelError(f"a new token is made of token {unknown}, the model has {num_rows:,}")
    needed = max(pieces, default=0) + 1
    if needed > num_rows:
        model.resize_token_embeddings(needed, mean_resizing=False)
    for matrix in _matrices(model):
        for new, olds in pieces.items():
            matrix[new] = matrix[list(olds)].float().mean(0).to(matrix.dtype)


def _matrices(model: PreTrainedModel) -> list[torch.Tensor]:
    """The embeddings of the input, and those of the output where they are not the same."""
    modules = (model.get_input_embeddings(), model.get_output_embeddings())
    weights = [module.weight for module in modules if module is not None]
    assert all(isinstance(weight, torch.Tensor) for weight in weights)
    return weights[:1] if len(weights) == 2 and weights[0] is weights[1] else weights  # pyright: ignore[reportReturnType]
