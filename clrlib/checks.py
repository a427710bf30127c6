"""Checks for the exercises: each prints a verdict and a hint, returns whether the answer is right, and never raises.

An answer that is still `...` is told "not yet". Solutions are in notebooks/solutions/.
"""

from __future__ import annotations

import functools

import numpy as np

from clrlib.audit import LOG, true_counts
from clrlib.claims import Effect, judge
from clrlib.history import History, RangeTest, smooth
from clrlib.schedules import one_cycle, one_cycle_torch


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


def _part_of(step, steps) -> str:
    where = step / (steps - 1)
    return "on the way up" if where < 41 / 95 else "on the way down" if where < 82 / 95 else "in the tail"


# --- 09 -------------------------------------------------------------------------------------------------


@exercise
def counts(answer):
    """Ten counts, all whole: that is what the five runs really got right in their last epoch."""
    for row in LOG:
        right = true_counts(*row.last, row.before, row.epochs)
        got = np.asarray(answer(*row.last, row.before, row.epochs), dtype=float)
        if got.shape == (2,) and np.allclose(got, 100 * np.array(right), atol=1):
            return "a hundred times too much: the printed figures are percentages."
        if got.shape != (2,) or not np.allclose(got, right, atol=0.01):
            return f"for the run of {row.about} it gives {got.tolist()}: seen after training epoch e are 60,000 e - 10,000 images."
    return None


@exercise
def forever(answer):
    """Five training images are counted for every test image, so the printed figure lies near the training accuracy."""
    if _close(answer, 93, 0.001):
        return "that is the mean of the two accuracies. But an epoch counts 50,000 training and 10,000 test images."
    return None if _close(answer, 586 / 6, 0.001) else "in one epoch, how many of the 60,000 images counted are right?"


JUDGED = ((1.0, 3.0), (0.1, 0.4), (-0.2, 0.4), (-0.1, 0.9), (-3.0, 4.0), (-2.0, -0.1), (-0.4, -0.2), (-0.9, 0.1))


@exercise
def verdicts(answer):
    """Eight intervals, eight verdicts as the library gives them."""
    for low, high in JUDGED:
        right = judge(Effect((low + high) / 2, low, high), "more")
        if (got := answer(low, high, 0.5)) != right:
            return f"for the interval from {low:g} to {high:g} it says {got!r}, but such a claim {'is ' if right == 'open' else ''}{right}."
    return None


@exercise
def seeds_needed(answer):
    """A difference of half a spread takes some 64 seeds a side; half the difference, four times as many."""
    if 15 <= float(answer) <= 19:
        return "that is for a difference as large as the spread. Here it is half of it: 0.1 at 0.2."
    return None if 55 <= float(answer) <= 75 else "raise n in seen(0.1, 0.2, n) until it says 0.8."


@exercise
def own_log(answer, history):
    """The running means of your own run gave back what it really reached."""
    if not isinstance(history, History) or len(history.epochs) < 2:
        return "train a run of two epochs or more first: my_run = fit(...)."
    row = history.epochs[-1]
    train, test = (float(part) for part in answer)
    if _close(train, row["train_accuracy"], 1e-4) and _close(test, row["accuracy"], 1e-4):
        return None
    return f"{train:.2f} and {test:.2f} are not the last epoch's accuracies. true_counts gives counts: of 50,000 and of 10,000."
