"""Training that can be killed: the loop with a journal, checkpoints and stopping on request around it.

The invariant: a run that was killed anywhere and started again yields the same steps, bit for bit on the same CPU with
the same number of threads, as one never stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from setsail.train import checkpoint
from setsail.train.journal import open_journal, record_of
from setsail.train.learner import Learner, SharedWeights
from setsail.train.loop import Step, train
from setsail.train.loss import NEXT_TOKEN
from setsail.train.objective import Batch, Objective
from setsail.train.optimizer import MasterWeights
from setsail.train.parallel import ALONE, Order, World, announced
from setsail.train.watch import Interrupted, stop_requests

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CHECKPOINTS, STEPS = "checkpoints", "steps.jsonl"


@dataclass(frozen=True)
class Course:
    """How to train. `fingerprint` holds everything that must not change between a kill and the next start.

    The number of processes may: checkpoints are the same for any.
    """

    learning_rate: Callable[[int], float]
    clip_norm: float
    seed: int
    save_every: int
    fingerprint: Mapping[str, Any]
    objective: Objective = NEXT_TOKEN
    world: World = ALONE

    @property
    def settings(self) -> dict[str, Any]:
        """What the loop is told."""
        names = ("learning_rate", "clip_norm", "seed", "objective", "world")
        return {name: getattr(self, name) for name in names}


def restore(
    optimizer: MasterWeights | SharedWeights, course: Course, *, folder: Path, say: Callable[[str], None]
) -> int:
    """Takes the model and its optimizer to the newest whole checkpoint in `folder`; returns how many steps are done.

    Raises:
        ArtifactError: all checkpoints are damaged, or they were made under another fingerprint.
    """
    checkpoint.remove_drafts(folder / CHECKPOINTS)
    found = checkpoint.latest(folder / CHECKPOINTS, course.fingerprint, say=say)
    if found is None:
        return 0
    optimizer.restore(found.weights, found.optimizer)
    return found.step


def train_resumably(
    model: PreTrainedModel,
    optimizer: MasterWeights | SharedWeights,
    steps: Iterable[Sequence[Batch]],
    course: Course,
    *,
    folder: Path,
    start: int,
) -> Iterator[Step]:
    """Trains as `train` does, with `steps.jsonl` and `checkpoints/` in `folder`; `start` is what `restore` returned.

    Checkpoints are saved every `save_every` steps, after the last, and when SIGINT or SIGTERM asks to stop. Of several
    processes the leading one trains so, and the others `follow` it.

    Raises:
        Interrupted: somebody asked to stop; everything is saved.
        TrainingDiverged: something was not finite; the checkpoint before it is kept.
    """
    done = saved = start
    ordered = announced(course.world, steps, start)
    with open_journal(folder / STEPS, start=start) as journal, stop_requests() as stop:

        def save() -> int:
            journal.flush()
            _save(optimizer, course, done, folder)
            return done

        for step in train(model, ordered, optimizer=optimizer, start=start, **course.settings):
            done = step.index
            journal.append(record_of(step))
            yield step
            stop.signal_number = stop.signal_number or course.world.asked_to_stop()
            if stop or done % course.save_every == 0:
                saved = save()
            if stop.signal_number is not None:
                raise Interrupted(
                    f"stopped after step {done}, which is saved",
                    signal_number=stop.signal_number,
                    hint="type the same command to go on from there",
                )
        if saved < done:
            save()


def follow(learner: Learner, steps: Sequence[Sequence[Batch]], course: Course, orders: Iterator[Order]) -> None:
    """Does what the leading process orders, until training is over; a signal to stop is passed on to it.

    `steps` are all steps of the run, in every process.
    """
    course = replace(course, objective=replace(course.objective, check=lambda model: None))  # the leader has checked
    with stop_requests() as stop:
        for order in orders:
            if stop.signal_number is not None:
                course.world.ask_to_stop(stop.signal_number)
            if order["do"] == "learned":
                return
            if order["do"] == "step":
                done = order["number"] - 1
                list(
                    train(
                        learner.model,
                        steps[done : done + 1],
                        optimizer=learner.optimizer,
                        start=done,
                        **course.settings,
                    )
                )
            else:
                assert isinstance(learner.optimizer, SharedWeights)
                learner.optimizer.follow(order)


def _save(optimizer: MasterWeights | SharedWeights, course: Course, done: int, folder: Path) -> None:
    whole = checkpoint.Checkpoint(
        step=done,
        weights=optimizer.weights(),
        optimizer=optimizer.state(),
        position={"steps": done},
        fingerprint=course.fingerprint,
    )
    checkpoint.save(folder / CHECKPOINTS, whole)
