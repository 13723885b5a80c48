"""The tokenizer stage: learned from the training rows, or a base's with more tokens, with a report of what it does.

What size to take, where the recipe gives none, is measured on the validation rows. How a base comes to fit a tokenizer
is `base.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from itertools import chain, islice
from pathlib import Path
from typing import Any

from setsail.base.artifact import Artifact
from setsail.base.errors import DataError, ModelError, RecipeError, SetsailError
from setsail.base.files import sha256_of
from setsail.base.recipe import New, Tokenizer
from setsail.data.row import contents, iterate_rows
from setsail.models.load import import_tokenizer, resolve_base
from setsail.models.new import derive
from setsail.models.pre_tokenizers import PRE_TOKENIZERS
from setsail.models.sources import BaseSource
from setsail.stages.rows.tokenizer_report import write_report
from setsail.stages.stage import StageSpec, Voyage, make
from setsail.tokens import size
from setsail.tokens.extend import extend
from setsail.tokens.pieces import UNIGRAM_CHARACTERS, piece_marks, train_unigram, train_wordpiece
from setsail.tokens.shape import with_chosen_template
from setsail.tokens.template import read_template
from setsail.tokens.tokenizer import TOKENIZER_FILE, load
from setsail.tokens.tokenizer import Tokenizer as Loaded
from setsail.tokens.train import bpe_backend, learn_bpe, marks_of, refuse_fewer, write_tokenizer

KIND = "tokenizer"
PIECES_FILE = "pieces.json"  # of an extended tokenizer: which old tokens each new one stands for
NEW_PRE_TOKENIZER = "qwen2"  # digits one by one, words of any script; llama.cpp and GGUF know it by this name
HELD_OUT_CHARACTERS = 500_000
USE_CHARACTERS = 2_000_000  # in which tokens are looked for that do not occur
MODEL_WITHOUT_BASE = "135m"  # whose share of embeddings counts where the recipe makes no model


def make_tokenizer(voyage: Voyage, data: Artifact) -> Artifact:
    """The tokenizer as a folder that AutoTokenizer loads, and a report beside it."""
    recipe = voyage.recipe
    wanted = wanted_tokenizer(voyage)
    source = None if wanted.extend is None else _source(voyage, wanted.extend, "tokenizer.extend")
    template = _template(voyage, wanted)
    compared = {name: _compared(voyage, name) for name in wanted.compare}
    settings = {
        "tokenizer": wanted.model_dump(mode="json"),
        "base": recipe.base.model_dump(mode="json", exclude={"vocabulary"}) if isinstance(recipe.base, New) else None,
        "context": recipe.training.context,
    }
    facts = {
        "extends": source.fingerprint if source else None,
        "template": template,
        "compared": {name: sha256_of(folder / TOKENIZER_FILE) for name, folder in compared.items()},
    }

    def build(draft: Path) -> Mapping[str, Any]:
        held_out = list(_spread(data, "validation", HELD_OUT_CHARACTERS))
        held_out = held_out or list(_spread(data, "train", HELD_OUT_CHARACTERS))
        more: dict[str, Any] = {}
        if source is not None:
            made = _extended(voyage, wanted, source, data, draft)
        else:
            made, more = _trained(voyage, wanted, data, held_out, draft)
        if template is not None:
            made = with_chosen_template(made, template)
            made.save(draft)
        learned = _spread(data, "train", USE_CHARACTERS)
        told = write_report(draft, made, held_out=held_out, learned=learned, compared=compared, more=more)
        for line in told.lines:
            voyage.log.say(f"  {line}")
        return {"kind": wanted.kind, "num_tokens": made.num_tokens, **told.metrics}

    return make(voyage, StageSpec(KIND, settings, {"data": data}, facts), build)


def wanted_tokenizer(voyage: Voyage) -> Tokenizer:
    """What the recipe says of its tokenizer; a new base without a word of it has one of `base.vocabulary`."""
    recipe = voyage.recipe
    if recipe.tokenizer is not None:
        return recipe.tokenizer
    if isinstance(recipe.base, New):
        return Tokenizer(vocabulary=recipe.base.vocabulary)
    raise RecipeError(
        "this recipe makes no tokenizer: its base has one",
        place=voyage.loaded.place("base"),
        hint="add tokenizer: {kind: bpe} to train one, or tokenizer: {extend: BASE} for more tokens",
    )


def _trained(
    voyage: Voyage, wanted: Tokenizer, data: Artifact, held_out: list[str], draft: Path
) -> tuple[Loaded, dict[str, Any]]:
    """A tokenizer learned from the rows; with the measured curve where the size was chosen."""
    texts, context, base = _texts(data, "train"), voyage.recipe.training.context, voyage.recipe.base
    if (
        isinstance(base, New) and not base.is_small and wanted.vocabulary is not None
    ):  # what could be refused, before what takes time
        derive(base.kind, base.new, vocabulary=wanted.vocabulary, context=context)
    vocabulary = wanted.vocabulary or (size.SIZES[-1] if wanted.kind == "bpe" else size.CHOSEN_FOR_PIECES)
    if wanted.kind != "bpe":
        marks = piece_marks(wanted.kind, wanted.special_tokens)
        backend = (
            train_unigram(_spread(data, "train", UNIGRAM_CHARACTERS), marks, vocabulary=vocabulary)
            if wanted.kind == "unigram"
            else train_wordpiece(texts, marks, vocabulary=vocabulary, min_frequency=wanted.min_frequency)
        )
        return write_tokenizer(backend, marks, draft, context=context), {}
    marks = marks_of(base.family if isinstance(base, New) else "decoder", wanted.special_tokens)
    cut = PRE_TOKENIZERS[NEW_PRE_TOKENIZER]()
    learned = learn_bpe(texts, marks, vocabulary=vocabulary, pre_tokenizer=cut, min_frequency=wanted.min_frequency)
    more: dict[str, Any] = {}
    if wanted.vocabulary is not None:
        refuse_fewer(len(learned.tokens), wanted.vocabulary)
    else:
        points = size.measure(learned, marks, cut, held_out, lambda number: _embedding_share(voyage, number))
        chosen = size.choose(points)
        learned = learned.cut(chosen.vocabulary)
        voyage.log.say("\n".join(f"  {line}" for line in size.table(points, chosen)))
        more = {"curve": [asdict(point) for point in points], "chosen": chosen.vocabulary}
    return write_tokenizer(bpe_backend(learned, marks, cut), marks, draft, context=context), more


def _embedding_share(voyage: Voyage, vocabulary: int) -> float:
    """What share of the parameters of the recipe's model the embeddings of so many words are; 1 where no layer fits."""
    base = voyage.recipe.base
    kind, wanted = (base.family, base.new) if isinstance(base, New) else ("decoder", MODEL_WITHOUT_BASE)
    try:
        shape = derive(kind, wanted, vocabulary=vocabulary, context=voyage.recipe.training.context)
    except RecipeError:
        return 1.0
    matrices = 1 if shape.dimensions.tied else 2
    return vocabulary * shape.dimensions.width * matrices / shape.num_parameters


def _extended(voyage: Voyage, wanted: Tokenizer, source: BaseSource, data: Artifact, draft: Path) -> Loaded:
    old = draft / "old"
    import_tokenizer(source, old, voyage.log)
    try:
        made = extend(load(old), _texts(data, "train"), draft, add=wanted.add, min_frequency=wanted.min_frequency)
    except SetsailError as error:
        place = voyage.loaded.place("tokenizer.extend")
        raise type(error)(f"tokenizer.extend {wanted.extend}: {error.message}", place=place, hint=error.hint) from error
    finally:
        for file in old.iterdir():
            file.unlink()
        old.rmdir()
    pieces = {str(new): list(olds) for new, olds in made.pieces.items()}
    (draft / PIECES_FILE).write_text(json.dumps(pieces) + "\n", encoding="utf-8")
    voyage.log.say(
        f"  {len(pieces):,} new tokens behind the {made.tokenizer.num_tokens - len(pieces):,} of {wanted.extend}"
    )
    return made.tokenizer


def read_pieces(tokenizer: Artifact) -> dict[int, list[int]]:
    """Which old tokens each new token of an extended tokenizer stands for."""
    raw = json.loads(tokenizer.file(PIECES_FILE).read_text("utf-8"))
    return {int(new): olds for new, olds in raw.items()}


def _texts(data: Artifact, part: str) -> Iterator[str]:
    """Every piece of text of a part's rows, from the file, a row at a time. Raises: DataError where there is none."""
    found = (text for row in iterate_rows(data.file(f"{part}.parquet")) for text in contents(row) if text)
    first = next(found, None)
    if first is None and part == "train":
        raise DataError("the training rows hold no text", place=str(data.path), hint="look at data.source and columns")
    return chain([] if first is None else [first], found)


def _spread(data: Artifact, part: str, num_characters: int) -> Iterator[str]:
    """About so many characters of a part's texts: every n-th text, so that no beginning stands for the whole."""
    stride = 1 + sum(map(len, _texts(data, part))) // num_characters
    return islice(_texts(data, part), 0, None, stride)


def _template(voyage: Voyage, wanted: Tokenizer) -> str | None:
    """The chat template that goes into the folder: the one asked for, or ChatML for chats."""
    chats = voyage.recipe.task == "chat" and wanted.kind == "bpe" and wanted.extend is None
    choice = wanted.template or ("chatml" if chats else None)
    return None if choice is None else read_template(choice, folder=voyage.loaded.folder)


def _source(voyage: Voyage, name: str, key: str) -> BaseSource:
    beside = voyage.loaded.folder / name
    try:
        return resolve_base(str(beside) if beside.exists() else name)
    except ModelError as error:
        raise ModelError(f"{key} {name}: {error.message}", place=voyage.loaded.place(key), hint=error.hint) from error


def _compared(voyage: Voyage, name: str) -> Path:
    folder = voyage.loaded.folder / name
    if not (folder / TOKENIZER_FILE).is_file():
        raise ModelError(
            f'tokenizer.compare: "{name}" has no tokenizer.json',
            place=voyage.loaded.place("tokenizer.compare"),
            hint="name the folder of a Hugging Face model or tokenizer",
        )
    load(folder)  # a damaged one is told before anything is trained
    return folder
