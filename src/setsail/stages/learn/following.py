"""What every process but the leading one does on a voyage: it waits, takes part in training, and leaves no trace.

Everything else (preparing, writing, evaluating, speaking) is the leading process's. Artefacts are read where it wrote
them, so that all processes must see the same folders.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from setsail.base.artifact import open_artifact
from setsail.base.log import Log
from setsail.base.recipe_file import load_recipe
from setsail.base.run import Run
from setsail.stages.learn.training import learn_along
from setsail.stages.stage import Voyage
from setsail.train.parallel import World


def follow_voyage(path: Path, settings: Sequence[str], runs: Path, world: World) -> None:
    """Does what the leading process orders until the voyage ends; the recipe and its settings are the same."""
    orders = world.orders()
    for order in orders:
        if order["do"] == "end":
            return
        assert order["do"] == "learn", order
        loaded = load_recipe(path, settings)
        voyage = Voyage(loaded, Run(runs / loaded.recipe.name), Log(quiet=True), world)
        base, data, tokens = (open_artifact(Path(order[name]), verify=False) for name in ("base", "data", "tokens"))
        learn_along(voyage, base, data, tokens, orders)
