"""Checks of chapter 05."""

from __future__ import annotations

import numpy as np

from clrlib.checks.exercise import close, exercise
from clrlib.history import History
from clrlib.schedules import one_cycle, one_cycle_torch


@exercise
def one_cycle_by_hand(answer):
    """Your three lines meet the library's schedule at every step."""
    steps, low, high = 951, 0.08, 0.8
    got, right = np.array([answer(i, steps, low, high) for i in range(steps)]), one_cycle(low, high).table(steps)
    if np.allclose(got, right):
        return None
    worst = int(np.nanargmax(np.abs(got - right)))
    return f"at step {worst} of {steps} it gives {got[worst]:.4g}, but should give {right[worst]:.4g}: {_part_of(worst, steps)}."


@exercise
def torch_ends(answer):
    """torch starts at max_lr / 25 and ends 10,000 times lower than that."""
    right = one_cycle_torch(0.8, 1000).values
    if close(answer[0], right[0]) and close(answer[1], 0.8 / 1e4):
        return "final_div_factor divides the *initial* rate, not max_lr."
    return (
        None
        if close(answer[0], right[0]) and close(answer[1], right[-1])
        else "initial = max_lr / div_factor; final = initial / final_div_factor."
    )


@exercise
def effective_peak(answer):
    """From 1.6 to 4: the effective rate rises 2.5 times while the rate rises 10 times."""
    if close(answer, 10):
        return "that is how much the learning rate itself rises. Divide each by 1 - momentum first."
    return None if close(answer, 2.5) else "effective rate = lr / (1 - momentum): 0.08 / 0.05 at the ends, 0.8 / 0.2 in the middle."


@exercise
def own_schedule(answer, baseline):
    """Your schedule beats the constant rate with the same number of steps."""
    if not isinstance(answer, History):
        return "pass what fit(...) returned."
    if len(answer) != len(baseline):
        return f"it has {len(answer)} steps and the baseline {len(baseline)}: compare runs of the same length."
    if answer.accuracy > baseline.accuracy:
        return None
    result = f"{answer.accuracy:.1f} % does not beat {baseline.accuracy:.1f} %"
    return f"{result}: does your rate end low? A high last rate leaves noise in the weights."


def _part_of(step, steps) -> str:
    where = step / (steps - 1)
    return "on the way up" if where < 41 / 95 else "on the way down" if where < 82 / 95 else "in the tail"
