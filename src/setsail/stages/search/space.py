"""What `setsail tune` tries: the space that a task and a base suggest, or the one that the recipe says.

A space holds only what leaves the validation rows and their measure as they are, so that all scores can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import ValidationError

from setsail.base.artifact import Artifact
from setsail.base.errors import RecipeError, did_you_mean
from setsail.base.recipe import Lora, Recipe
from setsail.base.recipe_file import LoadedRecipe
from setsail.base.recipe_tune import Between
from setsail.stages.learn.training import peak_rate
from setsail.stages.search.linear import LINEAR
from setsail.tune.space import Choices, Range, Setting, Space, label_of

BASE, PENALTY = "base", "linear.inverse_penalty"
_PENALTIES = Range(0.1, 1000.0, log=True)
_LARGE = 1e9  # weights from which on a learning rate is searched more closely
_TRIED = ("epochs", "optimizer", "learning_rate", "schedule", "warmup", "batch_tokens", "clip_norm", "weight_decay")


def space_of(loaded: LoadedRecipe, base: Artifact) -> Space:
    """What is searched for this recipe.

    Raises:
        RecipeError: the recipe's own space names a setting or a value that there is not.
    """
    said = loaded.recipe.tune.space if loaded.recipe.tune else {}
    return _said_space(loaded, said) if said else _suggested(loaded.recipe, base)


def recipe_with(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """The recipe with other settings, and without its search.

    Raises:
        ValidationError: they do not fit the recipe.
    """
    values = recipe.resolved()
    del values["tune"]
    for key, value in settings.items():
        here, *parents = values, *key.split(".")[:-1]
        for part in parents:
            here = here[part]
        here[key.split(".")[-1]] = value
    return Recipe.model_validate(values)


def own_settings(recipe: Recipe, base: Artifact, space: Space) -> dict[str, Any]:
    """What the recipe itself says of the settings in a space."""
    values: dict[str, Any] = {}
    for name, setting in space.settings.items():
        if space.applies(name, label_of(_value_at(recipe, BASE))):
            values[name] = _value_at(recipe, name)
            if values[name] is None and name.endswith(".learning_rate"):
                values[name] = peak_rate(recipe, base)
            if isinstance(setting.values, Range) and not setting.values.whole:
                values[name] = float(values[name])
    return values


def _value_at(recipe: Recipe, key: str) -> Any:
    here: Any = recipe.resolved()
    for part in key.split("."):
        here = here[part]
    return here


def _suggested(recipe: Recipe, base: Artifact) -> Space:
    """The space that a task and the size of its base suggest, around what the recipe says."""
    training, key = recipe.training, recipe.training_key
    rates = _rates(recipe, base)
    tokens = training.batch_tokens
    settings: dict[str, Range | Choices] = {"learning_rate": rates}
    if recipe.pretrain is not None:
        settings["batch_tokens"] = Choices((tokens // 4 or 1, tokens // 2 or 1, tokens))
        settings["optimizer"] = _with(("muon", "adamw"), training.optimizer)
        settings["weight_decay"] = _with((0.0, 0.01, 0.1), training.weight_decay)
    else:
        settings["epochs"] = Choices((training.epochs / 2, training.epochs, training.epochs * 2))
        if training.method == "lora":
            rank = recipe.finetune.lora.rank
            settings["lora.rank"] = Choices(tuple(sorted({max(1, rank // 2), rank, rank * 2})))
        else:
            settings["batch_tokens"] = Choices((tokens // 2 or 1, tokens, tokens * 2))
            settings["weight_decay"] = _with((0.0, 0.01, 0.1), training.weight_decay)
    if recipe.task == "classify":
        settings["warmup"] = _with((0.0, 0.05, 0.2), training.warmup)
    named = {f"{key}.{name}": values for name, values in settings.items()}
    own_base = _value_at(recipe, BASE)
    bases = (LINEAR, own_base) if recipe.task == "classify" else (own_base,)
    return _conditional({BASE: Choices(bases), **named} if len(bases) > 1 else named)


def _rates(recipe: Recipe, base: Artifact) -> Range:
    """Learning rates around the one that would be taken; closer to it for a large base."""
    rate = peak_rate(recipe, base)
    factor = 4.0 if float(base.metrics.get("num_parameters", 0)) >= _LARGE else 8.0
    rates = [rate]
    if recipe.pretrain is not None:
        others = (recipe_with(recipe, {"pretrain.optimizer": name}) for name in ("muon", "adamw"))
        rates += [peak_rate(other, base) for other in others]
    return Range(min(rates) / factor, max(rates) * factor, log=True)


def _with(values: tuple[Any, ...], own: Any) -> Choices:
    return Choices(values if own in values else (*values, own))


def _conditional(values: Mapping[str, Range | Choices]) -> Space:
    """Which settings belong to which base: the linear model has its penalty, and nothing that trains a network."""
    kinds = values.get(BASE)
    if not isinstance(kinds, Choices):
        return Space({name: Setting(each) for name, each in values.items()})
    others = tuple(label for label in kinds.labels if label != LINEAR)
    settings = {BASE: Setting(kinds)}
    settings |= {name: Setting(each, others) for name, each in values.items() if name not in (BASE, PENALTY)}
    if LINEAR in kinds.labels:
        settings[PENALTY] = Setting(values.get(PENALTY, _PENALTIES), (LINEAR,))
    return Space(settings, BASE)


def known_settings(recipe: Recipe) -> list[str]:
    """The names that a recipe's space may have."""
    names = [f"{recipe.training_key}.{name}" for name in _TRIED]
    if recipe.pretrain is None and recipe.task != "classify":
        names += ["finetune.method", "finetune.lora.rank", "finetune.lora.alpha"]
    return [BASE, *names, *([PENALTY] if recipe.task == "classify" else [])]


def _said_space(loaded: LoadedRecipe, said: Mapping[str, Any]) -> Space:
    recipe, known = loaded.recipe, known_settings(loaded.recipe)
    values: dict[str, Range | Choices] = {}
    for name, wanted in said.items():
        place = _place(loaded, name)
        if name not in known:
            hint = did_you_mean(name, known)
            raise RecipeError(f'tune.space: there is no setting "{name}" to try', place=place, hint=hint)
        _refuse_unfit(recipe, name, wanted, place)
        values[name] = _as_values(recipe, name, wanted)
    if PENALTY in values and LINEAR not in getattr(values.get(BASE), "values", ()):
        hint = "tune: {space: {base: [linear, …]}}"
        raise RecipeError(
            f"{PENALTY} is of the linear model, which is not tried", place=_place(loaded, PENALTY), hint=hint
        )
    return _conditional(values)


def _place(loaded: LoadedRecipe, name: str) -> str:
    line = loaded.lines.get(("tune", "space", name)) or loaded.lines.get(("tune",))
    return f"{loaded.path.name}:{line}" if line else loaded.path.name


def _refuse_unfit(recipe: Recipe, name: str, wanted: Any, place: str) -> None:
    """Raises: RecipeError for a value that the recipe would not take."""
    if name == BASE and isinstance(wanted, Between):
        raise RecipeError(
            "tune.space.base: a base is chosen from a list", place=place, hint="base: [linear, minilm-l6]"
        )
    tried: tuple[Any, ...] = () if isinstance(wanted, Between) else wanted
    if isinstance(wanted, Between):
        tried = tuple(round(end) if _is_whole(recipe, name) else end for end in (wanted.low, wanted.high))
    for value in tried:
        if name == PENALTY or (name == BASE and value == LINEAR and recipe.task == "classify"):
            if name == PENALTY and not (isinstance(value, int | float) and value > 0):
                raise RecipeError(f"tune.space.{name}: {value!r} should be a number above 0", place=place)
            continue
        try:
            recipe_with(recipe, {name: value})
        except ValidationError as error:
            words = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise RecipeError(f"tune.space.{name}: {value!r} cannot be tried: {words}", place=place) from error


def _as_values(recipe: Recipe, name: str, wanted: Any) -> Range | Choices:
    if isinstance(wanted, Between):
        return Range(wanted.low, wanted.high, log=wanted.log, whole=_is_whole(recipe, name))
    return Choices(tuple(wanted))


def _is_whole(recipe: Recipe, name: str) -> bool:
    """Whether the recipe takes only whole numbers for this setting."""
    field = name.split(".")[-1]
    model = Lora if ".lora." in name else type(recipe.training)
    annotation = model.model_fields[field].annotation if field in model.model_fields else None
    return int in (annotation, *get_args(annotation))
