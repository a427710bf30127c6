"""Rules that read a learning rate off a range-test curve. Numpy only; nothing here trains or draws.

Every rule takes the rates and losses of one sweep, drops the diverged part, smooths, and returns a
`Suggestion`. They disagree, and chapter 03 shows why: treat them as four opinions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .history import smooth
from .validate import floats, number, positive

FEWEST = 10  # points a curve needs before any rule may speak


class Suggestion(NamedTuple):
    """What a rule says: `rate`, or None with the reason in `why`. True when there is a rate."""

    rule: str
    rate: float | None
    why: str

    def __bool__(self):
        return self.rate is not None


def truncate(lrs, losses, beta: float = 0.9, explode: float = 4.0) -> tuple[np.ndarray, np.ndarray]:
    """The part of a sweep that can be trusted: (rates, smoothed losses) before it diverged.

    Each (mean) loss is first replaced by the median of itself and its two neighbours: one wild batch does not count.

    losses   shape [steps], or [seeds, steps], which are averaged: raw, in the order of the rates
    explode  cut where the smoothed loss passes best + (explode - 1) * |best| (4 times the best, for
             a positive loss); a loss that is not finite cuts too

    Raises ValueError when the rates do not rise, are not positive, or do not match the losses.
    """
    lrs, losses = floats(lrs, "rates"), np.atleast_2d(floats(losses, "losses"))
    if lrs.ndim != 1 or losses.ndim != 2 or losses.shape[1] != len(lrs) or not len(losses):
        raise ValueError(f"rates and losses do not match: shapes {lrs.shape} and {losses.shape}")
    if not np.isfinite(lrs).all() or (lrs < 0).any() or (np.diff(lrs) <= 0).any():
        raise ValueError("rates must be finite, not negative and rising: pass them in the order of the sweep")
    if not number(explode, "explode") > 1:
        raise ValueError(f"explode must be above 1, got {explode}")
    bad = ~(np.abs(losses) < 1e100).all(axis=0)  # NaN and infinity too; what is larger would overflow below
    end = int(bad.argmax()) if bad.any() else len(lrs)
    curve = smooth(_despiked(losses[:, :end].mean(axis=0)), beta)
    if end:
        best = np.minimum.accumulate(curve)
        exploded = curve > best + (explode - 1) * np.abs(best)
        end = int(exploded.argmax()) if exploded.any() else end
    return lrs[:end], curve[:end]


def minimum(lrs, losses, divide: float = 10.0, beta: float = 0.9) -> Suggestion:
    """The rate of the lowest smoothed loss, divided by 10: the article's rule (Gugger's before it)."""

    positive(divide, "divide")

    def rule(rates, curve):
        lowest = curve.argmin()
        return rates[lowest] / divide if lowest else "the loss rises from the first rate on: start lower"

    return _read("minimum/10", lrs, losses, beta, rule)


def steep(lrs, losses, beta: float = 0.9) -> Suggestion:
    """The rate at which the smoothed loss falls fastest, per decade of learning rate, before its minimum."""

    def rule(rates, curve):
        slope = _slope(rates, curve)[: curve.argmin() + 1]
        return rates[slope.argmin()] if slope.min() < 0 else "the curve never falls"

    return _read("steep", lrs, losses, beta, rule)


def valley(lrs, losses, beta: float = 0.9) -> Suggestion:
    """Two thirds down the longest falling stretch of the curve: fastai's default rule (ESRI's `valley`).

    A stretch is the longest falling subsequence: points in order, each lower than the one before.
    """

    def rule(rates, curve):
        stretch = _longest_falling(curve)
        if len(stretch) < 3:
            return "no falling stretch of 3 points or more"
        return rates[stretch[(2 * len(stretch)) // 3]]

    return _read("valley", lrs, losses, beta, rule)


def slide(lrs, losses, decades: float = 0.5, threshold: float = 0.5, beta: float = 0.9) -> Suggestion:
    """Slide a window, `decades` wide, down from the end until the slopes at its two ends agree.

    They agree when they differ by less than `threshold` of the curve's steepest slope; the answer is
    the window's lower end (after Novetta's interval slide; slopes per decade, so that the answer does
    not change with the number of steps).
    """

    if positive(decades, "decades") > 100 or positive(threshold, "threshold") > 100:
        raise ValueError(f"decades and threshold must be at most 100, got {decades} and {threshold}")

    def rule(rates, curve):
        slope = _slope(rates, curve)
        allowed = threshold * np.abs(slope).max()
        for right in range(len(rates) - 1, 0, -1):
            left = int(np.searchsorted(rates, rates[right] / 10**decades, side="right")) - 1
            if left < 0:
                break
            if slope[right] <= 0 and abs(slope[right] - slope[left]) < allowed:
                return rates[left]
        return f"the curve never settles over {decades} decades"

    return _read("slide", lrs, losses, beta, rule)


RULES = {"valley": valley, "steep": steep, "slide": slide, "minimum/10": minimum}


def suggest_all(lrs, losses, beta: float = 0.9) -> dict[str, Suggestion]:
    """Every rule's answer, by name."""
    return {name: rule(lrs, losses, beta=beta) for name, rule in RULES.items()}


def _read(name, lrs, losses, beta, rule) -> Suggestion:
    rates, curve = truncate(lrs, losses, beta)
    rates, curve = rates[rates > 0], curve[rates > 0]
    if len(rates) < FEWEST:
        why = f"only {len(rates)} points before the loss diverged: start lower or take more steps"
        return Suggestion(name, None, why)
    if (np.diff(np.log10(rates)) <= 1e-12).any():
        return Suggestion(name, None, "some rates are too close to tell apart: sweep over more decades or take fewer steps")
    if np.ptp(curve) <= 1e-12 * max(1.0, np.abs(curve).max()):
        return Suggestion(name, None, "the curve is flat: sweep to a higher rate")
    answer = rule(rates, curve)
    if isinstance(answer, str):
        return Suggestion(name, None, answer)
    return Suggestion(name, float(answer), f"read from {len(rates)} points up to {rates[-1]:.3g}")


def _despiked(losses):
    """The running median of three; the first loss takes the second's, the last one stays."""
    if len(losses) < 3:
        return losses
    middle = np.median([losses[:-2], losses[1:-1], losses[2:]], axis=0)
    return np.concatenate([middle[:1], middle, losses[-1:]])


def _slope(rates, curve):
    """d loss / d log10(rate), shape [points]."""
    return np.gradient(curve, np.log10(rates))


def _longest_falling(curve) -> list[int]:
    """Indices of the longest strictly falling subsequence (patience sorting, O(n log n))."""
    tops, ends, back = [], [], []
    for i, value in enumerate(-np.asarray(curve)):
        pile = int(np.searchsorted(tops, value))
        tops[pile : pile + 1] = [value]
        ends[pile : pile + 1] = [i]
        back.append(ends[pile - 1] if pile else -1)
    stretch, i = [], ends[-1]
    while i >= 0:
        stretch.append(i)
        i = back[i]
    return stretch[::-1]
