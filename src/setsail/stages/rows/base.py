"""The base stage: whatever the recipe calls a base becomes a folder that every later stage reads."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from setsail.base.artifact import Artifact
from setsail.base.errors import ModelError, RecipeError
from setsail.base.recipe import ENCODER_TASKS, Kind, New
from setsail.base.run import RUN_FILE, Run
from setsail.models.load import folder_of, import_base, load_model, resolve_base, save_model
from setsail.models.new import SpecialIds, derive, describe
from setsail.models.new import build as build_model
from setsail.models.reader import import_encoder
from setsail.models.resize import extend_embeddings
from setsail.models.sentence_encoder import refuse_other_pooling
from setsail.models.shapes import parse_size
from setsail.models.sources import BaseSource
from setsail.models.weights import read_json
from setsail.models.words import build_words
from setsail.stages.checked import finished_model
from setsail.stages.rows.tokenizer import read_pieces
from setsail.stages.stage import StageSpec, Voyage, make
from setsail.tokens.shape import with_chosen_template
from setsail.tokens.template import read_template
from setsail.tokens.tokenizer import TOKENIZER_FILE, Tokenizer, load
from setsail.train.schedule import default_encoder_rate

SMALL_READER_RATE = 2e-3  # of what begins at random and is small; docs/log.md
LEARNING_RATES = "learning_rates"  # of a new model, by optimizer


def make_base(voyage: Voyage, tokenizer: Artifact | None) -> Artifact:
    """The base model as a Hugging Face folder: one that exists, or a new one for the tokenizer of the recipe's rows.

    One that is to be pruned is still whole.
    """
    base = voyage.recipe.base
    if isinstance(base, New):
        assert tokenizer is not None, "a new base has a tokenizer of its own"
        return _make_small(voyage, base, tokenizer) if base.is_small else _make_new(voyage, base, tokenizer)
    existing = _take_existing(voyage, base if isinstance(base, str) else base.prune)
    return existing if tokenizer is None else _extend(voyage, existing, tokenizer)


def needs_tokenizer(voyage: Voyage) -> bool:
    """Whether the recipe's base takes a tokenizer that is made here.

    Raises:
        RecipeError: the recipe asks for one that its base cannot take.
    """
    base, wanted, name = voyage.recipe.base, voyage.recipe.tokenizer, voyage.recipe.base_name
    if isinstance(base, New) or wanted is None:
        return isinstance(base, New)
    if wanted.extend != base or voyage.recipe.task in ENCODER_TASKS:
        raise RecipeError(
            f"the weights of {name} know their own tokenizer, not another one",
            place=voyage.loaded.place("tokenizer"),
            hint=f"tokenizer: {{extend: {name}}} adds tokens to it; base: {{new: 17m}} makes a model for yours",
        )
    return True


def _extend(voyage: Voyage, existing: Artifact, tokenizer: Artifact) -> Artifact:
    """A base with more tokens: its embeddings have a row for each, the mean of what it stands for."""

    def build(draft: Path) -> Mapping[str, Any]:
        model = load_model(existing.path, dtype=torch.bfloat16)
        extend_embeddings(model, read_pieces(tokenizer))
        save_model(model, draft)
        load(existing.path).save(draft)
        shutil.copyfile(tokenizer.file(TOKENIZER_FILE), draft / TOKENIZER_FILE)
        return {**existing.metrics, "num_parameters": model.num_parameters()}

    parents = {"existing": existing, "tokenizer": tokenizer}
    return make(voyage, StageSpec("base", {"base": voyage.recipe.base_name}, parents, {}), build)


def _take_existing(voyage: Voyage, base: str) -> Artifact:
    """An existing model, its chat template replaced where the recipe names one; that of a run, where it is checked."""
    recipe = voyage.recipe
    name = local_path(base, voyage.loaded.folder)
    stated: dict[str, Any] = {}
    if (Path(name) / RUN_FILE).is_file():
        run = Run(Path(name))
        name, stated = str(finished_model(run).path), {"licence": run.artifact("base", verify=False).metrics["licence"]}
    try:
        source = resolve_base(name)
    except ModelError as error:
        place = voyage.loaded.place("base")
        raise ModelError(f"base {base}: {error.message}", place=place, hint=error.hint) from error
    if recipe.task in ENCODER_TASKS:
        return _take_encoder(voyage, base, source, stated)
    template = None if recipe.template is None else read_template(recipe.template, folder=voyage.loaded.folder)

    def build(draft: Path) -> Mapping[str, Any]:
        info = import_base(name, draft, voyage.log)
        if template is not None:
            with_chosen_template(load(draft), template).save(draft)
        return {**asdict(info), **stated}

    spec = StageSpec(
        kind="base",
        recipe={"base": base, "template": recipe.template},
        parents={},
        facts={"fingerprint": source.fingerprint, "template": template},
    )
    return make(voyage, spec, build)


def _take_encoder(voyage: Voyage, base: str, source: BaseSource, stated: Mapping[str, Any]) -> Artifact:
    """An encoder, with the learning rate that its width asks for."""

    def build(draft: Path) -> Mapping[str, Any]:
        if voyage.recipe.task == "embed":
            refuse_other_pooling(folder_of(source, voyage.log))
        info = import_encoder(source, draft, voyage.log)
        rate = default_encoder_rate(int(read_json(draft / "config.json").get("hidden_size", 768)))
        return {**asdict(info), **stated, LEARNING_RATES: dict.fromkeys(("adamw", "adam", "muon"), rate)}

    facts = {"fingerprint": source.fingerprint}
    return make(voyage, StageSpec("base", {"base": base, "task": voyage.recipe.task}, {}, facts), build)


def _make_new(voyage: Voyage, base: New, made: Artifact) -> Artifact:
    """A model of the asked size with random weights, for the tokenizer that was made."""
    recipe, log = voyage.recipe, voyage.log

    def build(draft: Path) -> Mapping[str, Any]:
        tokenizer = load(made.path)
        tokenizer.save(draft)
        shape = derive(base.kind, base.new, vocabulary=tokenizer.num_tokens, context=recipe.training.context)
        log.say("\n".join(f"  {line}" for line in describe(shape).splitlines()))
        ids = _special_ids(tokenizer, base.family)
        model = build_model(shape, seed=recipe.seed, dtype=torch.bfloat16, tokens=ids)
        save_model(model, draft)
        origin = {"kind": "new", "name": recipe.base_name, "origin": "made here from the recipe's data"}
        return {
            "source": origin,
            "kind": base.kind,
            "architecture": type(model).__name__,
            "num_parameters": model.num_parameters(),
            "context": recipe.training.context,
            "licence": "your own",
            "derivation": [asdict(row) for row in shape.derivation],
            LEARNING_RATES: {"adamw": shape.training.learning_rate, "muon": shape.training.muon_learning_rate},
        }

    settings = {"base": base.model_dump(mode="json"), "context": recipe.training.context, "seed": recipe.seed}
    return make(voyage, StageSpec("base", settings, {"tokenizer": made}, {}), build)


def _make_small(voyage: Voyage, base: New, made: Artifact) -> Artifact:
    """A bag of words or an LSTM with random weights, for the tokenizer that was made."""
    recipe = voyage.recipe

    def build(draft: Path) -> Mapping[str, Any]:
        tokenizer = load(made.path)
        tokenizer.save(draft)
        model = build_words(
            base.kind,
            parse_size(base.new),
            vocabulary=tokenizer.num_tokens,
            context=recipe.training.context,
            pad=_special_ids(tokenizer, "encoder").pad,
            seed=recipe.seed,
        )
        voyage.log.say(f"  {base.kind} of {model.num_parameters():,} weights, {model.config.hidden_size} wide")
        save_model(model, draft)
        return {
            "source": {"kind": "new", "name": recipe.base_name, "origin": "made here from the recipe's data"},
            "kind": "encoder",
            "architecture": type(model).__name__,
            "num_parameters": model.num_parameters(),
            "context": recipe.training.context,
            "licence": "your own",
            LEARNING_RATES: dict.fromkeys(("adamw", "adam"), SMALL_READER_RATE),
        }

    settings = {"base": base.model_dump(mode="json"), "context": recipe.training.context, "seed": recipe.seed}
    return make(voyage, StageSpec("base", settings, {"tokenizer": made}, {}), build)


def _special_ids(tokenizer: Tokenizer, kind: Kind) -> SpecialIds:
    """Which tokens of a tokenizer made here begin, end and pad a text of this kind of model."""
    named = {role: tokenizer.token_id(token) for role, token in tokenizer.named.items()}
    begin, end = ("cls_token", "sep_token") if kind == "encoder" else ("bos_token", "eos_token")
    last = named[end]
    assert last is not None, "a tokenizer made here has a token that ends a text"
    # A decoder's texts are parted by one token, which begins, ends and pads them.
    return SpecialIds(bos=last if kind == "decoder" else named.get(begin), eos=last, pad=named["pad_token"])


def local_path(base: str, folder: Path) -> str:
    """A path of the recipe is relative to the recipe."""
    beside = folder / base
    return str(beside) if beside.exists() else base
