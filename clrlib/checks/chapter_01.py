"""Checks of chapter 01."""

from __future__ import annotations

import numpy as np

from clrlib.checks.exercise import exercise
from clrlib.theory import descent


@exercise
def stable_rate(answer):
    """The steepest direction and the momentum decide; the flat ones have no say."""
    cases = ([1, 10], 0.0), ([0.5, 4, 2], 0.9)
    got, right = [answer(*case) for case in cases], [descent.highest_rate(max(bends), momentum) for bends, momentum in cases]
    if np.allclose(got, right):
        return None
    if np.allclose(got, [descent.highest_rate(min(bends), momentum) for bends, momentum in cases]):
        return "that is stable in the flattest direction only. Which direction is the first to diverge?"
    if np.allclose(got, [descent.highest_rate(max(bends)) for bends, _ in cases]):
        return "without momentum it is right. Momentum 0.9 raises it 1.9 times."
    return f"curvatures 1 and 10 without momentum make it {right[0]:g}; your function gives {got[0]:g}."


@exercise
def steps_needed(answer):
    """Every step multiplies the distance by |1 - rate * curvature|, so their number is a ratio of logarithms."""
    cases = {(1.0, 0.1, 0.01): 44, (1.0, 1.9, 0.01): 44, (0.5, 0.2, 0.001): 66}
    got = [float(answer(*case)) for case in cases]
    if np.allclose(got, list(cases.values())):
        return None
    if np.allclose(np.ceil(got), list(cases.values())):
        return f"nearly: {got[0]:.1f} steps can't be made. Round up."
    if got[0] == 44:
        return "it fails where the factor is negative: at rate 1.9 and curvature 1 the distance shrinks all the same. Take its size."
    return f"at curvature 1 and rate 0.1, a hundredth of the distance takes 44 steps; your function gives {got[0]:g}."


@exercise
def other_momentum(answer):
    """Sutskever's form: the rate goes into the velocity, and what is in the velocity keeps the rate it came with."""
    bowl, rates = descent.bowl(1.0, 10.0), np.repeat([0.1, 0.01], 10)
    got = np.array(answer(bowl.gradient, bowl.start, rates, 0.9), dtype=float)
    pytorch, right = (descent.descend(bowl, rates, 0.9, 20, form=form) for form in ("pytorch", "sutskever"))
    if got.shape != right.shape:
        return f"return the start and the {len(rates)} points after it, shape {right.shape}; yours is {got.shape}."
    if np.allclose(got, pytorch):
        return "that is PyTorch's form: there a falling rate slows down the old velocity too."
    if np.allclose(got, right):
        return None
    return f"it leaves the right path at step {int(np.argmax(~np.isclose(got, right).all(axis=1)))} of {len(rates)}."


@exercise
def through_the_ravine(answer):
    """There in 50 steps or fewer, where the best constant rate without momentum takes more than 200."""
    rate, momentum = map(float, answer)
    ravine, limit = descent.ravine(1.0, 100.0), descent.highest_rate(100.0, momentum)
    there = descent.arrival(ravine, descent.descend(ravine, rate, momentum, steps=2000))
    if there is not None and there <= 50:
        return None
    if rate >= limit:
        return f"{rate:g} is not below the highest stable rate, 2 (1 + momentum) / 100 = {limit:.3g}."
    slow = np.abs(descent.factors(1.0, rate, momentum)).max()
    late = f"there at step {there}" if there is not None else "not there after 2,000 steps"
    if momentum and np.isclose(slow, momentum**0.5):
        return f"{late}. It swings, and the swing shrinks by sqrt(momentum) = {slow:.3f} a step: try less momentum."
    return f"{late}. It crawls along the flat direction, by a factor of {slow:.3f} a step: try a higher rate or more momentum."
