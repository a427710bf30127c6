"""Checks of chapter 04."""

from __future__ import annotations

import numpy as np

from clrlib.checks.exercise import close, exercise
from clrlib.history import History
from clrlib.schedules import cyclic, triangular
from clrlib.theory.cycles import valleys


@exercise
def cyclic_by_hand(answer):
    """Your lines meet CyclicLR's at every iteration, also in the third cycle."""
    low, high, stepsize = 0.1, 0.6, 20
    right = cyclic(low, high, 121, stepsize, mode="triangular2").table(121)
    got = np.array([answer(i, low, high, stepsize) for i in range(121)], dtype=float)
    if np.allclose(got, right):
        return None
    if np.allclose(got, triangular(low, high, 3).table(121)):
        return "that is triangular. In triangular2 the height above `low` halves after each cycle."
    worst = int(np.nanargmax(np.abs(got - right)))
    return f"at iteration {worst} it gives {got[worst]:.4g}, but should give {right[worst]:.4g} (low 0.1, high 0.6, stepsize 20)."


@exercise
def stepsize_and_cycles(answer):
    """391 batches an epoch, so 1,564 iterations up and as many down: 5 whole cycles, and the run ends in a valley."""
    stepsize, whole = answer
    if stepsize == 4:
        return "4 is the stepsize in epochs. Schedulers count iterations: multiply by the batches of an epoch."
    if stepsize == 1562:
        return "50,000 / 128 is not whole: an epoch has one more batch, partly filled."
    if stepsize != 4 * 391:
        return "the stepsize is 4 epochs, of ceil(50,000 / 128) batches each."
    return None if whole == 5 else "a cycle is two stepsizes: 8 of the 40 epochs."


@exercise
def same_sum(answer, low, high):
    """The middle of the bounds: the constant rate whose sum over a whole cycle is the cycle's."""
    if close(answer, np.sqrt(low * high)):
        return "that is the geometric mean. Rates add up step by step, so take the ordinary one."
    return None if close(answer, (low + high) / 2) else "a straight line from low to high and back: what is its mean?"


@exercise
def own_cycles(answer, baseline):
    """Your cycles beat the constant rate, and the run stops in a valley."""
    if not isinstance(answer, History):
        return "pass what watched(...) returned."
    if len(answer) != len(baseline):
        return f"it has {len(answer)} steps and the baseline {len(baseline)}: compare runs of the same length."
    rates = np.asarray(answer.steps["lr"])
    if (peaks := len(valleys(-rates))) < 2:
        return f"it has only {peaks} of the peaks that two cycles have: make it two cycles or more."
    if rates[-1] > rates.min() + 0.1 * np.ptp(rates):
        return f"it stops at a rate of {rates[-1]:.3g}, off a valley: fit a whole number of cycles into the run."
    if answer.accuracy > baseline.accuracy:
        return None
    return f"{answer.accuracy:.1f} % does not beat {baseline.accuracy:.1f} %: try other bounds, or fewer and longer cycles."
