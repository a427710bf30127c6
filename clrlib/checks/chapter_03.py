"""Checks of chapter 03."""

from __future__ import annotations

import numpy as np

from clrlib.checks.exercise import close, exercise
from clrlib.history import RangeTest, smooth


@exercise
def sweep(answer):
    """Equal factors from step to step, both ends included."""
    rates = [answer(i, 1e-4, 1.0, 5) for i in range(5)]
    if np.allclose(rates, np.linspace(1e-4, 1.0, 5)):
        return "equal differences make a linear sweep. An exponential one has equal factors."
    if np.allclose(rates, 1e-4 * 1e4 ** (np.arange(1, 6) / 5)):
        return "this starts one step late, at low * q: the rate `low` itself is never tried (fault 4 of the article's code)."
    return (
        None
        if np.allclose(rates, np.logspace(-4, 0, 5))
        else f"for low=1e-4, high=1, steps=5 it should give 0.0001, 0.001, ..., 1; it gives {np.round(rates, 6).tolist()}."
    )


@exercise
def after_the_step(answer):
    """Each rate now stands beside the loss that it led to."""
    rates, losses = answer([0.1, 0.2, 0.3], [2.3, 2.2, 2.0])
    if list(losses) == [2.3, 2.2]:
        return "you kept the first losses: those were measured before the step. Drop the first one instead."
    return (
        None
        if (list(rates), list(losses)) == ([0.1, 0.2], [2.2, 2.0])
        else "rates [0.1, 0.2] belong to losses [2.2, 2.0]: drop the last rate and the first loss."
    )


@exercise
def smoothing_lag(answer):
    """That is how far to the right the smoothed curve sits, as a factor of the learning rate."""
    right = (1e6) ** (9 / 99)
    if close(answer, 9):
        return "9 steps is the lag in steps. Over 99 steps from 1e-5 to 10, each step multiplies the rate by 1e6 ** (1 / 99)."
    return (
        None if close(answer, right, 0.05) else "the lag is beta / (1 - beta) = 9 steps; one step multiplies the rate by 1e6 ** (1 / 99)."
    )


@exercise
def own_range_test(answer, chosen):
    """Your rate lies where your own curve still falls."""
    if not isinstance(answer, RangeTest):
        return "pass what range_test(...) returned."
    curve = smooth(answer.loss, 0.9)
    best = answer.lrs[np.nanargmin(curve)]
    if chosen is ...:
        return "now choose a rate from your curve."
    if chosen > best:
        return f"{chosen:g} is beyond the lowest point of your curve ({best:.2g}): there the loss already rises."
    return (
        None if chosen >= best / 100 else f"{chosen:g} is more than two decades below the lowest point ({best:.2g}): training would crawl."
    )
