"""A recipe as another folder would have to say it: what it names by a path beside it is named from there.

What a recipe names that is no path (a package, a hub's model) stays. The invariant: the recipe reads the same files.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from setsail.base.recipe import Recipe

# The keys under which a path may stand, alone or in a list.
_PATHS = (
    *("base", "template", "data.source", "data.keep_out", "data.forget", "data.augment.lexicon"),
    *("data.redact.key_file", "data.vault.key_file", "tokenizer.template", "tokenizer.extend", "tokenizer.compare"),
)


def moved(recipe: Recipe, old: Path, new: Path) -> Recipe:
    """The recipe that says in the folder `new` what this one says in the folder `old`."""
    values = recipe.resolved()

    def there(text: Any) -> Any:
        is_path = isinstance(text, str) and not Path(text).is_absolute() and _stands(old, text)
        return os.path.relpath(old.resolve() / text, new.resolve()) if is_path else text

    for key in _PATHS:
        _change(values, key.split("."), there)
    space = (values.get("tune") or {}).get("space", {})
    if isinstance(space.get("base"), list):
        space["base"] = [there(each) for each in space["base"]]
    return Recipe.model_validate(values)


def _stands(folder: Path, text: str) -> bool:
    """Whether something of that name lies there, be it packed (`rows.csv.gz` for `rows.csv`) or one of many."""
    try:
        return bool(text.strip()) and ((folder / text).exists() or any(folder.glob(f"{text}*")))
    except (ValueError, NotImplementedError):  # no pattern of file names
        return False


def _change(values: dict[str, Any], key: list[str], change: Callable[[Any], Any]) -> None:
    here: Any = values
    for part in key[:-1]:
        here = here.get(part)
        if not isinstance(here, dict):
            return
    value = here.get(key[-1])
    if value is not None:
        here[key[-1]] = [change(each) for each in value] if isinstance(value, list) else change(value)
