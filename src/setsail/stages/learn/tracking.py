"""The curves of a run in TensorBoard, for those who watch several runs there; `steps.jsonl` remains the record."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from setsail.base.errors import RecipeError

FOLDER = "tensorboard"
Track = Callable[[int, Mapping[str, float]], None]


@contextmanager
def tracked(folder: Path | None, *, start: int) -> Iterator[Track]:
    """A function that writes figures by name at a step, into event files in `folder`; without one it does nothing.

    What an earlier attempt wrote beyond `start` steps is hidden, as in the journal.

    Raises:
        RecipeError: TensorBoard is asked for and not installed.
    """
    if folder is None:
        yield lambda step, figures: None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise RecipeError(
            "watch.tensorboard is asked for, and TensorBoard is not installed",
            hint="pip install 'setsail[track]', or leave watch.tensorboard out",
        ) from error
    with SummaryWriter(str(folder), purge_step=start + 1) as writer:

        def track(step: int, figures: Mapping[str, float]) -> None:
            for name, value in figures.items():
                writer.add_scalar(name, value, step)

        yield track
