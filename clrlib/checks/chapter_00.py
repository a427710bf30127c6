"""Checks of chapter 00."""

from __future__ import annotations

import numpy as np

from clrlib import stats
from clrlib.checks.exercise import close, exercise


@exercise
def total_steps(answer):
    """98 batches an epoch, 95 times: 9,310 updates of the weights."""
    if answer == 9277:
        return "50,000 * 95 / 512 leaves out the last, partly filled batch of each epoch. The article's code did the same."
    return None if answer == 9310 else "an epoch has ceil(50,000 / 512) batches, and there are 95 epochs."


@exercise
def standard_error(answer, values):
    """The mean of n runs is known sqrt(n) times better than one run."""
    if close(answer, np.std(values, ddof=1)):
        return "that is the spread of single runs; divide it by the square root of n."
    right = stats.standard_error(values)
    return None if close(answer, right) else "take the sample standard deviation (ddof=1) and divide by the square root of n."
