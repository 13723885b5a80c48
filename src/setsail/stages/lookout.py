"""Who looks on while a recipe is trained, and may end it: told the plan before the first step, and each validation.

What looks on does not change what is learned: a training that it ends goes on, when started again, as if never ended.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from setsail.train.plan import Plan


@dataclass(frozen=True)
class Lookout:
    """What is called by a training; either may end it by raising.

    `planned` is given the folder that is being written, the plan, and how many steps an earlier attempt has done;
    `validated` the step after which a validation was written into that folder, and how many steps there are.
    """

    planned: Callable[[Path, Plan, int], None] = lambda draft, plan, start: None
    validated: Callable[[int, int], None] = lambda step, num_steps: None


NOBODY = Lookout()
