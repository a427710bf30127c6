"""Checks for the exercises: each prints a verdict and a hint, returns whether the answer is right, and never raises.

An answer that is still `...` is told "not yet". Solutions are in notebooks/solutions/.
"""

from __future__ import annotations

import functools

import numpy as np

from clrlib.history import History, RangeTest, smooth
from clrlib.schedules import one_cycle, one_cycle_momentum, one_cycle_torch


def exercise(check):
    """Turn a function answer -> hint (None when it is right) into a check that prints and never raises."""

    @functools.wraps(check)
    def told(answer, *given) -> bool:
        try:
            hint = check(_filled(answer), *given)
        except Unanswered:
            hint = "replace the ... with your answer, then run the cell again."
        except Exception as error:  # whatever a learner's code does, the page goes on
            hint = f"it stopped with {type(error).__name__}: {error}"
        return _say(hint is None, hint or check.__doc__.strip())

    return told


class Unanswered(Exception):
    """The answer is still `...`, or a function that returns it."""


def _filled(answer):
    """The answer, or an error where it is still a stub; a function is asked the same of what it returns."""
    if answer is ... or (isinstance(answer, tuple) and any(part is ... for part in answer)):
        raise Unanswered
    return (lambda *args, **kwargs: _filled(answer(*args, **kwargs))) if callable(answer) else answer


def _say(right: bool, text: str) -> bool:
    print(f"{'Right' if right else 'Not yet'}: {text}")
    return right


def _close(a, b, tolerance=0.02) -> bool:
    return abs(float(a) - b) <= tolerance * abs(b)


# --- 00 -------------------------------------------------------------------------------------------------


@exercise
def total_steps(answer):
    """98 batches an epoch, 95 times: 9,310 updates of the weights."""
    if answer == 9277:
        return "50,000 * 95 / 512 leaves out the last, partly filled batch of each epoch. The article's code did the same."
    return None if answer == 9310 else "an epoch has ceil(50,000 / 512) batches, and there are 95 epochs."


@exercise
def standard_error(answer, values):
    """The mean of n runs is known sqrt(n) times better than one run."""
    right = np.std(values, ddof=1) / np.sqrt(len(values))
    if _close(answer, np.std(values, ddof=1)):
        return "that is the spread of single runs; divide it by the square root of n."
    return None if _close(answer, right) else "take the sample standard deviation (ddof=1) and divide by the square root of n."


# --- 03 -------------------------------------------------------------------------------------------------


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
    if _close(answer, 9):
        return "9 steps is the lag in steps. Over 99 steps from 1e-5 to 10, each step multiplies the rate by 1e6 ** (1 / 99)."
    return (
        None if _close(answer, right, 0.05) else "the lag is beta / (1 - beta) = 9 steps; one step multiplies the rate by 1e6 ** (1 / 99)."
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


# --- 05 -------------------------------------------------------------------------------------------------


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
    if _close(answer[0], right[0]) and _close(answer[1], 0.8 / 1e4):
        return "final_div_factor divides the *initial* rate, not max_lr."
    return (
        None
        if _close(answer[0], right[0]) and _close(answer[1], right[-1])
        else "initial = max_lr / div_factor; final = initial / final_div_factor."
    )


@exercise
def effective_peak(answer):
    """From 1.6 to 4: the effective rate rises 2.5 times while the rate rises 10 times."""
    if _close(answer, 10):
        return "that is how much the learning rate itself rises. Divide each by 1 - momentum first."
    return None if _close(answer, 2.5) else "effective rate = lr / (1 - momentum): 0.08 / 0.05 at the ends, 0.8 / 0.2 in the middle."


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


# --- 06 -------------------------------------------------------------------------------------------------


@exercise
def equal_step(answer):
    """0.08 / 0.05 = 0.32 / 0.2 = 1.6: four times the rate, because the memory is four times shorter."""
    if _close(answer, 0.02):
        return "the other way round: with less momentum each gradient counts for less, so the rate must be higher."
    if _close(answer, 0.08 * 0.95 / 0.8):
        return "it is 1 - momentum that counts, not the momentum itself."
    return None if _close(answer, 0.32) else "solve rate / (1 - 0.80) = 0.08 / (1 - 0.95)."


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
    if _close(point, 1 - 0.1 * (0.9 * -0.5 + 2)):
        return "that is PyTorch's. Here the rate goes into the velocity, and the point moves by the velocity alone."
    if _close(velocity, -0.65) and _close(point, 0.5):
        return "the point moved by the old velocity: use the new one."
    right = _close(velocity, -0.65) and _close(point, 0.35)
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


def _part_of(step, steps) -> str:
    return ("on the way up", "on the way down", "in the tail")[_third(step, steps)]
