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
    num_rows = model.get_input_embeddings().weight.shape[0]
    assert isinstance(num_rows, int)
    unknown = next((old for olds in pieces.values() for old in olds if old >= num_rows), None)
    if unknown is not None:
        raise ModelError(f"a new token is made of token {unknown}, the model has {num_rows:,}")
    needed = max(pieces, default=0) + 1
    if needed > num_rows:
        model.resize_token_embeddings(needed, mean_resizing=False)
    matrices = [model.get_input_embeddings().weight]
    head = model.get_output_embeddings()
    if head is not None and head.weight is not matrices[0]:
        matrices.append(head.weight)
    for matrix in matrices:
        assert isinstance(matrix, torch.Tensor)
        for new, olds in pieces.items():
            matrix[new] = matrix[list(olds)].float().mean(0).to(matrix.dtype)
