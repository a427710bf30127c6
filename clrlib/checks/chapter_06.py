"""Checks of chapter 06."""

from __future__ import annotations

import numpy as np

from clrlib.checks.exercise import close, exercise
from clrlib.history import History
from clrlib.schedules import one_cycle_momentum


@exercise
def equal_step(answer):
    """0.08 / 0.05 = 0.32 / 0.2 = 1.6: four times the rate, because the memory is four times shorter."""
    if close(answer, 0.02):
        return "the other way round: with less momentum each gradient counts for less, so the rate must be higher."
    if close(answer, 0.08 * 0.95 / 0.8):
        return "it is 1 - momentum that counts, not the momentum itself."
    return None if close(answer, 0.32) else "solve rate / (1 - 0.80) = 0.08 / (1 - 0.95)."


@exercise
def momentum_by_hand(answer):
    """Your momentum meets the library's at every step."""
    steps, high, low = 951, 0.95, 0.80
    got, right = np.array([answer(i, steps, high, low) for i in range(steps)]), one_cycle_momentum(high, low).table(steps)
    if np.allclose(got, right):
        return None
    worst = int(np.nanargmax(np.abs(got - right)))
    part = ("while the rate rises", "while the rate falls", "in the tail, where momentum is held")[_third(worst, steps)]
    return f"at step {worst} of {steps} it gives {got[worst]:.4g}, but should give {right[worst]:.4g}: {part}."


@exercise
def sutskever_step(answer):
    """Each gradient goes into the velocity together with the rate of its own step."""
    point, velocity = answer(1.0, -0.5, 2.0, 0.1, 0.9)
    if close(point, 1 - 0.1 * (0.9 * -0.5 + 2)):
        return "that is PyTorch's. Here the rate goes into the velocity, and the point moves by the velocity alone."
    if close(velocity, -0.65) and close(point, 0.5):
        return "the point moved by the old velocity: use the new one."
    right = close(velocity, -0.65) and close(point, 0.35)
    return None if right else "v = mu v - lr g, then p = p + v. For p=1, v=-0.5, g=2, lr=0.1, mu=0.9 that is v=-0.65 and p=0.35."


@exercise
def own_matched(answer, reference, constant):
    """Your run took steps of the same effective rate all the way, with another momentum."""
    if not isinstance(answer, History):
        return "pass what fit(...) returned."
    if len(answer) != len(reference):
        return f"it has {len(answer)} steps and the cyclical run {len(reference)}: compare runs of the same length."
    if not np.allclose(answer.steps["momentum"], constant):
        return f"its momentum is not {constant:g} all through the run: pass that number as the momentum."
    mine, theirs = (run.steps["lr"] / (1 - run.steps["momentum"]) for run in (answer, reference))
    if np.allclose(mine, theirs, rtol=0.01):
        return None
    worst = int(np.argmax(np.abs(mine / theirs - 1)))
    return f"at step {worst} its effective rate is {mine[worst]:.3g}, and the cyclical run's is {theirs[worst]:.3g}."


def _third(step, steps) -> int:
    """0 on the way up, 1 on the way down, 2 in the tail of the article's run."""
    return sum(step / (steps - 1) >= end for end in (41 / 95, 82 / 95))
