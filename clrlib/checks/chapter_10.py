"""Checks of chapter 10."""

from __future__ import annotations

import numpy as np

from clrlib import stats
from clrlib.checks.exercise import exercise

FEWEST = 3  # runs of each kind


@exercise
def scheduler_steps(answer):
    """37 batches an epoch, 12 epochs, and one optimiser step for every two batches."""
    hints = {
        444: "that is the number of batches. The optimiser steps once for every two of them, and the scheduler with it.",
        432: "an epoch's last, partly filled batch counts; and the optimiser steps once for every two batches.",
        216: "an epoch's last, partly filled batch counts too: 2,345 images in batches of 64 are not 36 batches.",
        12: "the scheduler steps with the optimiser, not with the epoch.",
    }
    if answer in hints:
        return hints[answer]
    return None if answer == 222 else "ceil(2,345 / 64) batches an epoch, times the epochs, divided by the batches per optimiser step."


@exercise
def difference(answer):
    """A difference carries the uncertainty of both means."""
    cases = ([84.1, 83.7, 84.4], [83.0, 83.9, 82.8]), ([70.0, 72.0, 71.0, 73.0], [75.0, 74.0])
    for first, second in cases:
        got, effect = np.array(answer(first, second), dtype=float), stats.difference(first, second)
        right = effect.value, effect.standard_error
        if got.shape != (2,):
            return "return two numbers: the difference of the means, and its standard error."
        if np.isclose(got[0], -right[0]):
            return "it is the first minus the second."
        if not np.isclose(got[0], right[0]):
            return f"the means differ by {right[0]:.2f}; your function gives {got[0]:.2f}."
        errors = [np.std(runs, ddof=1) / len(runs) ** 0.5 for runs in (first, second)]
        if np.isclose(got[1], sum(errors)):
            return "the two errors don't add: their squares do. Take the root of the sum."
        if not np.isclose(got[1], right[1]):
            return f"the standard error is {right[1]:.3f}, your function gives {got[1]:.3f}: sqrt(s1² / n1 + s2² / n2), with ddof=1."
    return None


@exercise
def own_verdict(answer, verdict):
    """That is what your numbers say, no more and no less."""
    if not isinstance(answer, dict) or len(answer) != 2:
        return 'pass two lists of accuracies by name, such as {"one cycle": [...], "constant": [...]}.'
    (name, first), (other, second) = answer.items()
    if min(len(first), len(second)) < FEWEST:
        return f"{min(len(first), len(second))} runs of one kind: a spread takes {FEWEST} seeds of each at least."
    if not np.isfinite([*first, *second]).all():
        return "there is a number that is not finite: that run failed. Say so in the report, and find out why."
    effect = stats.difference(first, second)
    if verdict in (effect.verdict(margin, lower_is_better=False) for margin in (0, stats.MARGIN)):
        return None
    said = f"{name} - {other} = {effect.value:.2f}, with an interval from {effect.low:.2f} to {effect.high:.2f}"
    return f"{said}. Say better or worse when it leaves out 0; else you can't tell."
