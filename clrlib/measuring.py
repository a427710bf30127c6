"""How far a measured number can be trusted: standard errors, how many seeds, what the best of several is worth. No torch."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from clrlib.validate import count


def standard_error(values) -> float:
    """How far the mean of n runs typically lies from the mean of very many: sample standard deviation / sqrt(n).

    Raises ValueError for fewer than two values: one run says nothing about its spread.
    """
    values = np.asarray(values, dtype=float)
    if values.size < 2:
        raise ValueError(f"need at least 2 runs to know a spread, got {values.size}")
    return float(values.std(ddof=1) / math.sqrt(values.size))


def accuracy_error(accuracy: float, images: int) -> float:
    """Standard error of an accuracy in percent, from the finite number of test images alone: 100 sqrt(p (1 - p) / images).

    p = accuracy / 100; each image is right or wrong by itself (binomial).

    >>> round(accuracy_error(90, 10_000), 2)
    0.3
    """
    if not 0 <= accuracy <= 100:
        raise ValueError(f"accuracy must lie in [0, 100] percent, got {accuracy}")
    share = accuracy / 100
    return 100 * math.sqrt(share * (1 - share) / count("images", images))


def seeds_needed(spread: float, difference: float, found: float = 0.8, alpha: float = 0.05) -> int:
    """Runs a side that find a true `difference` of two means in a share `found` of all experiments.

    n = 2 (z(1 - alpha / 2) + z(found))^2 (spread / difference)^2, rounded up; z is the normal quantile. Found means
    that the two-sided test at level alpha says "different", with the spread of single runs known and the same on both sides.
    With the spread estimated from few runs it takes one or two more. spread and difference in the same unit.

    >>> seeds_needed(spread=1.0, difference=1.0)
    16
    """
    if not spread > 0 or not difference:
        raise ValueError(f"spread must be above 0 and difference not 0, got {spread} and {difference}")
    if not 0 < alpha < found < 1:
        raise ValueError(f"need 0 < alpha < found < 1, got alpha={alpha} and found={found}")
    z = NormalDist().inv_cdf
    return math.ceil(2 * (z(1 - alpha / 2) + z(found)) ** 2 * (spread / difference) ** 2)


def expected_best(of: int) -> float:
    """How far the best of `of` equal runs lies above their mean, on average, in standard deviations: 1.16 for 5, 1.87 for 20.

    The mean of the maximum of `of` standard normal draws, the integral of x d(Phi(x)^of), by trapezoids.
    """
    x = np.linspace(-10, 10, 20_001)
    below = np.array([0.5 * (1 + math.erf(value / math.sqrt(2))) for value in x]) ** count("of", of)
    return float(((x[1:] + x[:-1]) / 2 * np.diff(below)).sum())


def difference_of(first, second) -> tuple[float, float]:
    """(mean(first) - mean(second), its standard error): sqrt(s1^2 / n1 + s2^2 / n2), s the sample standard deviations.

    >>> difference_of([82.0, 81.0, 83.0], [80.0, 80.0, 80.0])
    (2.0, 0.5773502691896257)
    """
    first, second = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    error = np.sqrt(first.var(ddof=1) / len(first) + second.var(ddof=1) / len(second))
    return float(first.mean() - second.mean()), float(error)


def welch(first, second) -> tuple[float, float, float]:
    """(difference of the means, low, high): Welch's 95 % interval, which lets the two spreads differ (Welch 1947).

    With three seeds a side it reaches about three standard errors to each side. Two samples without any spread give an
    interval of no width. Raises ValueError for fewer than two values a side.
    """
    from scipy.stats import t

    first, second = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if min(first.size, second.size) < 2:
        raise ValueError(f"an interval takes two values a side at least; got {first.size} and {second.size}")
    gap, error = difference_of(first, second)
    if error == 0:
        return gap, gap, gap
    parts = np.array([first.var(ddof=1) / first.size, second.var(ddof=1) / second.size])
    freedom = parts.sum() ** 2 / (parts**2 / [first.size - 1, second.size - 1]).sum()
    reach = float(t.ppf(0.975, freedom)) * error
    return gap, gap - reach, gap + reach


def verdict_of(first, second) -> str:
    """ "better", "worse" or "can't tell": `first` against `second`, decided where Welch's interval leaves out 0."""
    _, low, high = welch(first, second)
    return "better" if low > 0 else "worse" if high < 0 else "can't tell"
