"""A text after one step, and what a judge says of it, as short to write as a test wants it."""

from __future__ import annotations

from setsail.data.steps.registry import steps_of
from setsail.data.steps.step import Step, Verdict


def the_step(name: str, **options: object) -> Step:
    """The one step of that name."""
    (step,) = steps_of([{name: options}])
    return step


def changed(name: str, text: str, **options: object) -> str:
    """The text after a step that changes texts."""
    step = the_step(name, **options)
    assert step.change
    return step.change(text)


def judged(name: str, text: str, **options: object) -> Verdict | None:
    """What a step that judges texts says of one."""
    step = the_step(name, **options)
    assert step.judge
    return step.judge(text)
