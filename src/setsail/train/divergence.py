"""A loss that goes up and stays up: training that has diverged although every number is finite.

The invariant: a watch is a function of the losses it was fed, in order, and of nothing else. A resumed run feeds it the
losses of its journal and has the watch it had.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

SPAN = 20  # steps that the smoothed loss looks back
MARGIN_NATS = 1.0  # a loss this much above the best is nothing yet
STANDARD_ERRORS = 3.0  # how far the best may have been luck
ENOUGH_NATS = 100.0  # beyond all that, added up: five steps of 20, or fifty of two


@dataclass(frozen=True)
class LossWatch:
    """The losses so far, as far as they tell whether training diverges; `after` gives the watch one loss later.

    The best that the smoothed loss has reached, what of it may have been luck, and a margin make a limit. What losses
    exceed it by is added up, what they stay below it by is taken off, never under zero; enough of it is divergence. So
    a spike that recovers, noise and hard batches are taken off again. Two things it cannot tell: a run that was never
    better than what it diverged to, and rows that turn harder for good because they are sorted.

    Units: nats per token.

    Source: Page 1954, "Continuous Inspection Schemes" (Biometrika 41), for the sum.

    >>> watch = LossWatch()
    >>> for loss in [3.0, 2.5, 2.2, 2.1, 2.0, 2.1, *[9.5] * 30]:
    ...     watch = watch.after(loss)
    >>> watch.diverged
    True
    >>> print(watch)
    the loss was 9.50 on average over the last 30 steps, after a best of 2.32 (smoothed)
    """

    num_losses: int = 0
    last_nats: float = 0.0
    smoothed_nats: float = 0.0
    jump_nats: float = 0.0  # between one loss and the next, on average: how noisy they are
    best_nats: float = math.inf
    best_span: int = 1  # over how many losses that is a mean
    excess_nats: float = 0.0
    num_above: int = 0  # steps since the excess was last zero
    above_nats: float = 0.0  # their losses added up

    @property
    def diverged(self) -> bool:
        return self.excess_nats >= ENOUGH_NATS

    def after(self, loss_nats: float) -> LossWatch:
        assert math.isfinite(loss_nats), "the loop stops before it takes such a step"
        count = self.num_losses + 1
        span = min(count, SPAN)
        share = max(1 / count, 2 / (SPAN + 1))  # the plain mean, until there is enough to look back on
        smoothed = self.smoothed_nats + share * (loss_nats - self.smoothed_nats)
        jump = self.jump_nats
        if self.num_losses:
            jump += (abs(loss_nats - self.last_nats) - jump) / self.num_losses
        best, best_span = min((self.best_nats, self.best_span), (smoothed, span))
        luck = STANDARD_ERRORS * jump / math.sqrt(best_span)
        excess = max(0.0, self.excess_nats + loss_nats - (best + luck + MARGIN_NATS))
        return LossWatch(
            num_losses=count,
            last_nats=loss_nats,
            smoothed_nats=smoothed,
            jump_nats=jump,
            best_nats=best,
            best_span=best_span,
            excess_nats=excess,
            num_above=self.num_above + 1 if excess else 0,
            above_nats=self.above_nats + loss_nats if excess else 0.0,
        )

    def __str__(self) -> str:
        best = f"a best of {self.best_nats:.2f} (smoothed)"
        if not self.num_above:
            return best
        mean = self.above_nats / self.num_above
        return f"the loss was {mean:.2f} on average over the last {self.num_above} steps, after {best}"
