"""Vectors of texts: the lesson of an encoder that learns to find each query's own text, and what it says at the end.

What does not live here: the loss (`train/contrast.py`), ordering texts by a cross-encoder (`ranking.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedModel

from setsail.base.artifact import Artifact
from setsail.base.device import compute_dtype
from setsail.base.recipe import Recipe
from setsail.base.recipe_search import Search
from setsail.compress.check_values import ValueProbe, ValueReference
from setsail.data.pairs import query_of, text_of
from setsail.data.row import Row
from setsail.evaluate.question import choose_rows
from setsail.evaluate.search_metrics import spearman
from setsail.models.sentence_encoder import load_sentence_encoder, write_pooling
from setsail.stages.lessons.objectives import Lesson
from setsail.tasks.embed import documents_of, make_batch, to_show
from setsail.tokens.pack import Example, pack_lengths
from setsail.tokens.tokenizer import Tokenizer
from setsail.train.contrast import contrast, document_vectors, pair_nats
from setsail.train.loss import evaluating
from setsail.train.plan import Plan

MICRO_BATCH_TOKENS = 65_536  # the pairs of a micro-batch are each other's wrong answers: the more the better
TOKENS_AT_ONCE = 4096  # where nothing is learned
MOST_VALIDATION_ROWS = 512
_DIGITS = 7


def embedding_lesson(recipe: Recipe, base: Artifact, data: Artifact, tokenizer: Tokenizer) -> Lesson:
    """The lesson of pairs; no text is longer than the base has positions."""
    search, context = recipe.search, min(recipe.training.context, int(base.metrics["context"]))
    return Lesson(
        kind="encoder",
        objective=contrast(scale=search.scale, symmetric=search.symmetric),
        measure="nats_per_row",
        reads="embed",
        draw=lambda example, draw: example,
        collate=make_batch,
        num_targets=lambda lengths, _: np.ones_like(lengths),
        load=lambda folder: load_sentence_encoder(folder, dtype=compute_dtype(), seed=recipe.seed),
        validate=partial(_validate, search),
        context=context,
        micro_batch_tokens=MICRO_BATCH_TOKENS,
        most_validation_rows=MOST_VALIDATION_ROWS,
        shown=to_show,
        explain=_negatives,
        write_beside=partial(write_pooling, context=context),
        observe=partial(_observe, tokenizer, context, recipe.seed),
    )


def _negatives(plan: Plan) -> list[str]:
    others = plan.num_supervised / max(1, plan.num_micro_batches) - 1
    said = f"negatives   about {others:,.0f} pairs stand beside each in a micro-batch, whose texts are wrong answers"
    return [said if others >= 1 else f"{said}: raise finetune.batch_tokens, nothing is learned from a pair alone"]


def _validate(search: Search, model: PreTrainedModel, examples: Sequence[Example]) -> dict[str, float]:
    """All validation pairs against one another, whatever the size of a micro-batch."""
    batch = make_batch(examples)
    vectors = vectors_of(model, documents_of(batch))
    nats = pair_nats(torch.from_numpy(vectors), batch, scale=search.scale, symmetric=search.symmetric)
    found = {"nats_per_row": float(nats.mean())}
    cosines = vectors[batch.queries] @ vectors[batch.candidates].T
    own = np.diagonal(cosines)
    if batch.scores is not None:
        return {**found, "spearman": spearman(own, batch.scores)}
    above = ((cosines > own[:, None]) & ~batch.hidden).sum(axis=1)
    return {**found, "mrr_at_10": float(np.where(above < 10, 1 / (above + 1), 0.0).mean())}


def vectors_of(model: PreTrainedModel, documents: Sequence[npt.NDArray[np.integer]]) -> npt.NDArray[np.float32]:
    """Vectors [D, H] of documents of token ids, in their order, from packed rows. No dropout, no gradient."""
    lengths = [len(document) for document in documents]
    found: list[npt.NDArray[np.float32]] = [np.empty(0, np.float32)] * len(documents)
    for members in pack_lengths(lengths, max(TOKENS_AT_ONCE, *lengths), "scoring"):
        ids = np.concatenate([documents[index] for index in members])
        starts = np.cumsum([0, *(lengths[index] for index in members)])
        with torch.no_grad(), evaluating(model):
            vectors = document_vectors(model, ids, starts).cpu().numpy()
        for index, vector in zip(members, vectors, strict=True):
            found[index] = vector
    return np.stack(found)


def _observe(
    tokenizer: Tokenizer, context: int, seed: int, model: PreTrainedModel, rows: Sequence[Row], num_probes: int
) -> ValueReference:
    """The trainer's vectors, in float32, of queries and texts that fit the context whole.

    Mutates: the model's dtype.
    """
    texts = {text: row for row in choose_rows(rows, num_probes, seed=seed) for text in (query_of(row), text_of(row))}
    ids = {text: tokenizer.encode_whole(text) for text in texts}
    chosen = [text for text in texts if len(ids[text]) <= context][:num_probes]
    vectors = vectors_of(model.float(), [np.array(ids[text]) for text in chosen]).astype(np.float64).round(_DIGITS)
    return ValueReference(
        "vectors",
        tuple(
            ValueProbe(texts[text].id, (text,), tuple(ids[text]), tuple(vector))
            for text, vector in zip(chosen, vectors.tolist(), strict=True)
        ),
    )
