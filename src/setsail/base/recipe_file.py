"""Reading a recipe: strict keys with the nearest name and the line, words of other tools, and `--set`.

What a recipe may say is in `recipe.py`; this file only gets there from text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from setsail.base.errors import RecipeError, did_you_mean
from setsail.base.recipe import Recipe
from setsail.base.yaml_file import Lines, parse_yaml, read_yaml

# The words of LLaMA-Factory, Axolotl and TRL, and where they live here.
_ALIASES: dict[str, str] = {
    "model_name_or_path": "base",
    "base_model": "base",
    "dataset": "data.source",
    "dataset_name": "data.source",
    "train_file": "data.source",
    "max_samples": "data.max_rows",
    "val_size": "data.split.validation",
    "val_set_size": "data.split.validation",
    "cutoff_len": "finetune.context",
    "sequence_len": "finetune.context",
    "max_length": "finetune.context",
    "max_seq_length": "finetune.context",
    "finetuning_type": "finetune.method",
    "adapter": "finetune.method",
    "num_train_epochs": "finetune.epochs",
    "num_epochs": "finetune.epochs",
    "learning_rate": "finetune.learning_rate",
    "lr_scheduler_type": "finetune.schedule",
    "lr_scheduler": "finetune.schedule",
    "warmup_ratio": "finetune.warmup",
    "optim": "finetune.optimizer",
    "early_stopping_patience": "finetune.watch.patience",
    "weight_decay": "finetune.weight_decay",
    "max_grad_norm": "finetune.clip_norm",
    "save_steps": "finetune.watch.save_every",
    "eval_steps": "finetune.watch.validate_every",
    "lora_rank": "finetune.lora.rank",
    "lora_r": "finetune.lora.rank",
    "lora_alpha": "finetune.lora.alpha",
    "lora_target": "finetune.lora.targets",
    "lora_target_modules": "finetune.lora.targets",
    "pref_beta": "finetune.prefer.beta",
    "dpo_beta": "finetune.prefer.beta",
    "pref_ftx": "finetune.prefer.sft",
    "rpo_alpha": "finetune.prefer.sft",
    "chat_template": "template",
    "output_dir": "name",
}
_ROWS_PER_STEP = ("per_device_train_batch_size", "micro_batch_size")
_ACCUMULATION = "gradient_accumulation_steps"
_SET_BY_HAND = 0  # stands for a line number where a value came from --set
_NEEDLESS = {
    "resume_from_checkpoint": "work is always resumed",
    "sample_packing": "rows are always packed",
    "packing": "rows are always packed",
}


@dataclass(frozen=True)
class LoadedRecipe:
    """A recipe, where it came from, and what was read as something else."""

    recipe: Recipe
    path: Path
    lines: Lines
    notes: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Relative paths of the recipe start here."""
        return self.path.resolve().parent

    def place(self, key: str) -> str:
        """Where a key stands: "support.yaml:5"."""
        line = self.lines.get(tuple(key.split(".")))
        return f"{self.path.name}:{line}" if line else self.path.name


def load_recipe(path: Path, settings: Sequence[str] = ()) -> LoadedRecipe:
    """Reads a recipe and the `a.b=c` settings that override it.

    Raises:
        RecipeError: with the value, the file and line, and the nearest known key.
    """
    values, lines = read_yaml(path)
    return _load(values, lines, path, settings)


def _load(values: Any, lines: Lines, path: Path, settings: Sequence[str]) -> LoadedRecipe:
    if not isinstance(values, dict):
        raise RecipeError(
            "a recipe is a list of `key: value` lines", place=str(path), hint="name: …, data: {source: …}"
        )
    values, lines, notes = _normalise(values, lines, path)
    for setting in settings:
        _apply_setting(values, lines, setting)
    values.setdefault("name", re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("-.") or "run")
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        raise _explain(error, lines, path) from error
    return LoadedRecipe(recipe, path, lines, tuple(notes))


def _normalise(values: dict[str, Any], lines: Lines, path: Path) -> tuple[dict[str, Any], Lines, list[str]]:
    """Moves the words of other tools to where ours live."""
    plain: dict[str, Any] = {}
    notes: list[str] = []
    lines = dict(lines)
    for key, value in values.items():
        if key == "data" and isinstance(value, str):
            value = {"source": value}
        if key == "datasets" and isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
            _move(plain, lines, key, "data.source", value[0].get("path"), notes, path)
        elif key == "template" or key not in (*_ALIASES, *_ROWS_PER_STEP, _ACCUMULATION, *_NEEDLESS):
            plain[key] = _merged(plain.get(key), value)
        elif key in _NEEDLESS:
            notes.append(f"{key} is not needed: {_NEEDLESS[key]}")
        elif key in _ALIASES:
            _move(plain, lines, key, _home(key, values), _converted(key, value), notes, path)
    _rows_to_tokens(values, plain, lines, notes, path)
    return plain, lines, notes


def _home(key: str, values: dict[str, Any]) -> str:
    """Where a word of another tool lives in this recipe: what it says of training belongs to the way that trains."""
    home = _ALIASES[key]
    return home.replace("finetune.", "pretrain.", 1) if "pretrain" in values else home


def _merged(old: Any, new: Any) -> Any:
    return {**old, **new} if isinstance(old, dict) and isinstance(new, dict) else new


def _converted(key: str, value: Any) -> Any:
    if key == "output_dir" and isinstance(value, str):
        return Path(value).name
    if key in ("lora_target", "lora_target_modules") and isinstance(value, str):
        return None if value == "all" else [part.strip() for part in value.split(",")]
    if key in ("finetuning_type", "adapter") and isinstance(value, str):
        return value.lower()
    if key == "optim" and isinstance(value, str):
        return re.sub(r"^adamw_torch(_fused)?$", "adamw", value)  # what the others call torch's own
    return value


def _rows_to_tokens(values: dict[str, Any], plain: dict[str, Any], lines: Lines, notes: list[str], path: Path) -> None:
    rows = next((values[key] for key in _ROWS_PER_STEP if key in values), None)
    if rows is None and _ACCUMULATION not in values:
        return
    key = next((key for key in (*_ROWS_PER_STEP, _ACCUMULATION) if key in values), _ACCUMULATION)
    way = "pretrain" if "pretrain" in values else "finetune"
    factors = (rows or 1, values.get(_ACCUMULATION, 1), _get(plain, f"{way}.context") or 1024)
    if not all(isinstance(factor, int) and not isinstance(factor, bool) and factor > 0 for factor in factors):
        raise RecipeError(f"{key} must be a whole number above 0", place=f"{path.name}:{lines.get((key,), 1)}")
    _move(plain, lines, key, f"{way}.batch_tokens", factors[0] * factors[1] * factors[2], notes, path)


def _move(plain: dict[str, Any], lines: Lines, old: str, new: str, value: Any, notes: list[str], path: Path) -> None:
    line = lines.get((old,), 0)
    if _get(plain, new) is not None:
        raise RecipeError(f"{old} and {new} say the same thing", place=f"{path.name}:{line}", hint="keep one of them")
    if value is None:
        return
    _put(plain, new, value, f"{path.name}:{line}")
    lines[tuple(new.split("."))] = line
    notes.append(f"{old} is read as {new}: {value}")


def _get(values: dict[str, Any], key: str) -> Any:
    here: Any = values
    for part in key.split("."):
        here = here.get(part) if isinstance(here, dict) else None
    return here


def _put(values: dict[str, Any], key: str, value: Any, place: str) -> None:
    *parents, last = key.split(".")
    here = values
    for part in parents:
        if here.get(part) is None:
            here[part] = {}
        below = here[part]
        if not isinstance(below, dict):
            raise RecipeError(f'"{part}" holds a value, so "{key}" cannot be set', place=place)
        here = below
    here[last] = value


def _apply_setting(values: dict[str, Any], lines: Lines, setting: str) -> None:
    key, equals, text = setting.partition("=")
    key = key.strip()
    if not equals or not key:
        raise RecipeError(f'--set "{setting}" is not key=value', hint="--set finetune.epochs=1")
    value, _ = parse_yaml(text, f"--set {key}")
    if key == "data" and isinstance(value, str):
        key = "data.source"
    key = _home(key, values) if key in _ALIASES and key != "template" else key
    _put(values, key, None if value == {} else value, f"--set {key}")
    lines[tuple(key.split("."))] = _SET_BY_HAND


def _explain(error: ValidationError, lines: Lines, path: Path) -> RecipeError:
    """The first problem that pydantic found, in our words, with its line."""
    problem = _plainest(error)
    where = tuple(part for part in problem["loc"] if part not in _NOT_KEYS and not str(part).startswith("function-"))
    key = ".".join(str(part) for part in where)
    line = next((lines[where[:n]] for n in range(len(where), 0, -1) if where[:n] in lines), None)
    place = f"{path.name}:{line}" if line else f"--set {key}" if line == _SET_BY_HAND else path.name
    if problem["type"] == "missing":
        return RecipeError(f'"{key}" is missing', place=path.name, hint=_EXAMPLES.get(key, f"add a line for {key}"))
    if problem["type"] == "extra_forbidden":
        known = _fields_at(where[:-1])
        return RecipeError(f'unknown key "{key}"', place=place, hint=did_you_mean(str(where[-1]), known))
    words = problem["msg"].removeprefix("Value error, ").replace("valid tuple", "list")
    if not key:
        return RecipeError(words, place=path.name)
    value = problem["input"]
    shown = f"it is {value!r}" if isinstance(value, str | int | float) else f"it is a {type(value).__name__}"
    return RecipeError(f"{key}: {words[0].lower()}{words[1:]}; {shown}", place=place)


# What pydantic puts into a place for each side of "a name or a mapping".
_NOT_KEYS = ("str", "New", "Prune")


def _plainest(error: ValidationError) -> Any:
    """The first problem; where a value may be a name or a mapping, the one of what was written."""
    problems = error.errors()
    first = problems[0]
    if first["loc"][-1:] != ("str",) or not isinstance(first["input"], dict):
        return first
    meant = "Prune" if "prune" in first["input"] else "New"
    return next((other for other in problems if any(meant in str(part) for part in other["loc"])), first)


_EXAMPLES = {
    "data": "data: {source: tickets.csv}",
    "data.source": "data: {source: tickets.csv}",
    "name": "name: support",
}


def _fields_at(path: tuple[str | int, ...]) -> list[str]:
    models: list[Any] = [Recipe]
    for part in path:
        annotation = next(
            model.model_fields[str(part)].annotation for model in models if str(part) in model.model_fields
        )
        candidates = (annotation, *get_args(annotation))
        models = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
    return [name for model in models for name in model.model_fields]
