"""Preferring one answer to another: the lesson of pairs, and what the base thinks of them before it learns.

What does not live here: the loss (`train/preference.py`) and how a row becomes a pair (`tasks/preference.py`). The
invariant: the base is asked once, before training, with the weights that training begins from; no second model is held
while the first one learns.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedModel

from setsail.base.artifact import Artifact
from setsail.base.device import compute_dtype, device, move, prepare_device
from setsail.base.files import write_atomically
from setsail.base.recipe import Recipe
from setsail.base.recipe_prefer import PREFERENCE, Prefer
from setsail.data.row import Row
from setsail.models.fused import fuse
from setsail.models.load import load_model
from setsail.stages.kinds import tokenizer_of
from setsail.stages.lessons.examples import SCORING, Examples, examples_of, validation_rows
from setsail.stages.lessons.objectives import MICRO_BATCH_TOKENS, Lesson, lesson_of
from setsail.stages.rows.tokenise import write_account
from setsail.stages.rows.tokens import account_of
from setsail.stages.stage import StageSpec, Voyage, make
from setsail.tasks.preference import make_batch, with_reference
from setsail.tokens.pack import Example, pack
from setsail.tokens.store import FORMAT_VERSION, Store, open_store, write_store
from setsail.train.allocator import keep_freed_memory
from setsail.train.preference import margins, preference, preference_nats

VALIDATION = "validation_margins.json"  # by row id
MOST_VALIDATION_ROWS = 128  # a share of pairs needs more of them than a mean of nats
_PAIRS_AT_ONCE = 1024


def preference_lesson(lesson: Lesson, prefer: Prefer) -> Lesson:
    """The lesson of a decoder that is to prefer chosen answers, from that of answering."""

    def validate(model: PreTrainedModel, examples: Sequence[Example]) -> dict[str, float]:
        found = margins_of(model, examples)[:, 0]
        reference = make_batch(examples).reference_P
        gained = found - reference
        return {
            "nats_per_pair": float(preference_nats(found, reference, beta=prefer.beta).mean()),
            # How often the chosen answer has gained on the rejected one; no change is half a guess.
            "accuracy": float((np.sign(gained) + 1).mean() / 2),
            "margin_nats": float(gained.mean()),
        }

    return replace(
        lesson,
        objective=preference(beta=prefer.beta, sft=prefer.sft),
        measure="nats_per_pair",
        reads=PREFERENCE,
        collate=make_batch,
        num_targets=lambda lengths, _: np.ones_like(lengths),
        validate=validate,
        most_validation_rows=MOST_VALIDATION_ROWS,
    )


def margins_of(model: PreTrainedModel, pairs: Sequence[Example]) -> npt.NDArray[np.float64]:
    """By how many nats the model prefers each pair's chosen answer, in all and per token [P, 2]; from packed rows."""
    longest = max((len(pair.ids) for pair in pairs), default=0)
    found = np.zeros((len(pairs), 2))
    for members in pack(pairs, max(longest, MICRO_BATCH_TOKENS), SCORING):
        found[members] = margins(model, make_batch([pairs[index] for index in members]))
    return found


def make_reference(voyage: Voyage, base: Artifact, data: Artifact, tokens: Artifact, lesson: Lesson) -> Artifact:
    """The store of pairs, each with by how much the base prefers its chosen answer; the same of validation beside it.

    A killed attempt goes on with the pairs that it has asked about.
    """

    def build(draft: Path) -> Mapping[str, Any]:
        prepare_device(voyage.recipe.seed)
        keep_freed_memory()
        model = lesson.load(base.path).requires_grad_(False)
        move(model, device())
        fuse(model)
        store = open_store(tokens.path)
        rows = validation_rows(data, lesson, voyage.recipe)
        held_out = examples_of(rows, tokenizer_of(base), voyage.recipe, lesson).examples
        found = margins_of(model, held_out)[:, 0].tolist()
        known = {pair.row_id: margin for pair, margin in zip(held_out, found, strict=True)}
        write_atomically(draft / VALIDATION, json.dumps(known) + "\n")
        asked = list(_asked(voyage, model, store, draft))
        write_store(draft, _joined(store, asked), vocabulary=store.vocabulary)
        write_account(draft, account_of(tokens))
        for path in asked:
            path.unlink()
        return {"num_examples": len(store), "num_tokens": store.num_tokens}

    parents = {"base": base, "data": data, "tokens": tokens}
    spec = StageSpec("reference", {}, parents, {"store_format": FORMAT_VERSION}, resumable=True)
    return make(voyage, spec, build)


def _asked(voyage: Voyage, model: PreTrainedModel, store: Store, draft: Path) -> Iterator[Path]:
    """A file of margins for every so many pairs of the store; those that stand are not asked about again."""
    with voyage.log.progress("pairs the base is asked about", len(store)) as progress:
        for start in range(0, len(store), _PAIRS_AT_ONCE):
            path = draft / f"margins-{start:010d}.json"
            pairs = store[start : start + _PAIRS_AT_ONCE]
            if not path.exists():
                write_atomically(path, json.dumps(margins_of(model, pairs)[:, 0].tolist()))
            progress.advance(len(pairs))
            yield path


def _joined(store: Store, asked: Sequence[Path]) -> Iterator[Example]:
    found = (margin for path in asked for margin in json.loads(path.read_text("utf-8")))
    return (with_reference(pair, margin) for pair, margin in zip(store, found, strict=True))


def with_known_margins(validation: Examples, reference: Path) -> Examples:
    """Validation pairs with what the base made of them; other examples as they are."""
    if validation.lesson.reads != PREFERENCE:
        return validation
    known = json.loads((reference / VALIDATION).read_text("utf-8"))
    pairs = [with_reference(pair, known[pair.row_id]) for pair in validation.examples]
    return replace(validation, examples=pairs)


def preferring(weights: Artifact, recipe: Recipe) -> Callable[[Sequence[Row]], list[tuple[float, float]]] | None:
    """By how many nats a model prefers chosen answers, in all and per token; None where the recipe compares none."""
    prefer = recipe.finetune.prefer
    if prefer is None:
        return None
    tokenizer = tokenizer_of(weights)

    def margins_of_rows(rows: Sequence[Row]) -> list[tuple[float, float]]:
        model = load_model(weights.path, dtype=compute_dtype()).requires_grad_(False)
        move(model, device())
        lesson = preference_lesson(lesson_of(recipe, "decoder", tokenizer), prefer)
        pairs = examples_of(rows, tokenizer, recipe, lesson).examples
        assert [pair.row_id for pair in pairs] == [row.id for row in rows], "only rows that fit are asked for"
        return [(whole, per_token) for whole, per_token in margins_of(model, pairs).tolist()]

    return margins_of_rows
