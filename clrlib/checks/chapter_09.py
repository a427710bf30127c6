"""Checks of chapter 09."""

from __future__ import annotations

import numpy as np

from clrlib import stats
from clrlib.checks.exercise import close, exercise
from clrlib.history import History
from clrlib.stats import Difference, judge
from clrlib.theory.audit import LOG, true_counts


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
    if close(answer, 93, 0.001):
        return "that is the mean of the two accuracies. But an epoch counts 50,000 training and 10,000 test images."
    return None if close(answer, 586 / 6, 0.001) else "in one epoch, how many of the 60,000 images counted are right?"


JUDGED = ((1.0, 3.0), (0.1, 0.4), (-0.2, 0.4), (-0.1, 0.9), (-3.0, 4.0), (-2.0, -0.1), (-0.4, -0.2), (-0.9, 0.1))


@exercise
def verdicts(answer):
    """Eight intervals, eight verdicts as the library gives them."""
    for low, high in JUDGED:
        right = judge(Difference((low + high) / 2, low, high), "more")
        if (got := answer(low, high, 0.5)) != right:
            return f"for the interval from {low:g} to {high:g} it says {got!r}, but such a claim {'is ' if right == 'open' else ''}{right}."
    return None


@exercise
def seeds_needed(answer):
    """A difference of half a spread takes some 64 seeds a side; half the difference, four times as many."""
    if close(answer, stats.seeds_needed(0.2, 0.2), 0.2):
        return "that is for a difference as large as the spread. Here it is half of it: 0.1 at 0.2."
    right = stats.seeds_needed(0.2, 0.1)  # the reader's comes from a simulation
    return None if close(answer, right, 0.2) else "raise n in seen(0.1, 0.2, n) until it says 0.8."


@exercise
def own_log(answer, history):
    """The running means of your own run gave back what it really reached."""
    if not isinstance(history, History) or len(history.epochs) < 2:
        return "train a run of two epochs or more first: my_run = fit(...)."
    row = history.epochs[-1]
    train, test = (float(part) for part in answer)
    if close(train, row["train_accuracy"], 1e-4) and close(test, row["accuracy"], 1e-4):
        return None
    return f"{train:.2f} and {test:.2f} are not the last epoch's accuracies. true_counts gives counts: of 50,000 and of 10,000."
