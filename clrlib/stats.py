"""How far a measured number can be trusted: spreads, intervals of differences, how many seeds it takes.

Two questions have two words. Two settings are *different* when 0 lies outside the interval of their
difference, and *the same* when the whole interval lies inside a margin, half a point of accuracy unless said
otherwise. Both can be true: then they differ by less than matters. Neither can be true: then these runs can't
tell.

The verdict is Welch's interval (`difference`) and nothing else, since a rule that is chosen after seeing the
numbers finds what it looks for. Beside it may stand, and never decide: the interval paired by seed
(`paired_difference`), the one that pools the spreads (`pooled_difference`), Bonferroni's for several
comparisons (`comparisons=`), and what chance alone would call (`false_alarms`).

Needs numpy; intervals and power take Student's distribution from scipy.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import warnings
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from .validate import count, floats, number, positive, shown

MARGIN = 0.5  # points of accuracy: what lies within it doesn't matter
RAREST = 1e-6  # of alpha and 1 - power: further out the noncentral t's series stop converging


# --- one group of runs --------------------------------------------------------------------------------------


def mean_and_spread(values) -> str:
    """ "85.13 ± 0.21 (n = 3)": the mean and the sample standard deviation; no spread for a single run."""
    values = np.asarray(values, dtype=float)
    if values.size == 0:
        return "no runs"
    if values.size == 1:
        return f"{values[0]:.2f} (n = 1)"
    return f"{values.mean():.2f} ± {values.std(ddof=1):.2f} (n = {values.size})"


def standard_error(values) -> float:
    """How far the mean of n runs typically lies from that of very many: sample standard deviation / sqrt(n).

    In the unit of the values. Raises ValueError for fewer than two of them (one run says nothing about its
    spread), and for one that is not finite.
    """
    values = _runs(values, "values")
    return float(values.std(ddof=1) / math.sqrt(values.size))


def accuracy_error(accuracy: float, images: int) -> float:
    """Standard error of an accuracy in percent, from the finite number of test images alone.

    100 sqrt(p (1 - p) / images) with p = accuracy / 100; each image is right or wrong by itself (binomial).

    >>> round(accuracy_error(90, 10_000), 2)
    0.3
    """
    if not 0 <= accuracy <= 100:
        raise ValueError(f"accuracy must lie in [0, 100] percent, got {accuracy}")
    share = accuracy / 100
    return 100 * math.sqrt(share * (1 - share) / count("images", images))


def expected_best(of: int) -> float:
    """How far the best of `of` equal runs lies above their mean, on average, in standard deviations.

    1.16 for 5, 1.87 for 20: the mean of the maximum of `of` standard normal draws, the integral of x
    d(Phi(x)^of), by trapezoids.
    """
    x = np.linspace(-10, 10, 20_001)
    below = np.array([0.5 * (1 + math.erf(value / math.sqrt(2))) for value in x]) ** count("of", of)
    return float(((x[1:] + x[:-1]) / 2 * np.diff(below)).sum())


# --- two groups: a difference and its interval --------------------------------------------------------------


@dataclass(frozen=True)
class Difference:
    """A difference of two means, a less b, with its interval, in the unit of the runs.

    value           mean(a) - mean(b)
    low, high       the interval: it covers the true difference in a share 1 - alpha of all experiments
    standard_error  of `value`
    df              degrees of freedom of Student's distribution behind the interval
    n               (runs of a, runs of b)

    For an interval read in a paper the last four may be left out.
    """

    value: float
    low: float
    high: float
    standard_error: float = math.nan
    df: float = math.nan
    n: tuple[int, int] | None = None
    alpha: float = 0.05

    @property
    def different(self) -> bool:
        """0 lies outside the interval."""
        return self.low > 0 or self.high < 0

    def same(self, margin: float = MARGIN) -> bool:
        """The whole interval lies inside (-margin, margin): equivalence.

        Schuirmann (1987) tests it at 5 % by two one-sided tests (TOST), which asks this of the 90 % interval.
        Of the 95 % interval it is the stricter claim: made wrongly at most 2.5 times in 100.
        """
        return -margin < self.low and self.high < margin

    def verdict(self, margin: float = MARGIN, *, lower_is_better: bool | None = None) -> str:
        """ "different", "the same", "different, by less than matters" or "can't tell".

        margin           of `same`; at 0 no difference is too small to matter
        lower_is_better  True for losses, False for accuracies: a is then called "better" or "worse" than b in
                         place of "different". Left out, neither word is used

        >>> Difference(0.3, 0.1, 0.45).verdict()
        'different, by less than matters'
        >>> Difference(0.3, 0.1, 0.45).verdict(margin=0, lower_is_better=True)
        'worse'
        """
        if not self.different:
            return "the same" if self.same(margin) else "can't tell"
        return self._direction(lower_is_better) + ", by less than matters" * self.same(margin)

    def _direction(self, lower_is_better: bool | None) -> str:
        if lower_is_better is None:
            return "different"
        return "better" if (self.high < 0) == lower_is_better else "worse"

    def __neg__(self) -> Difference:
        """b less a."""
        n = self.n and self.n[::-1]
        return dataclasses.replace(self, value=-self.value, low=-self.high, high=-self.low, n=n)

    def __str__(self) -> str:
        return f"{self.value:+.2f} [{self.low:+.2f}, {self.high:+.2f}]".replace("-", "−")


def difference(a, b, *, alpha: float = 0.05, comparisons: int = 1) -> Difference:
    """Mean of a less mean of b with Welch's interval, which lets the two spreads differ (Welch 1947).

    standard_error = sqrt(s_a^2 / n_a + s_b^2 / n_b), s the sample standard deviations. The interval reaches
    t(1 - alpha / 2, df) of them to each side, about three with three seeds a side;
    df = standard_error^4 / sum of (s^2 / n)^2 / (n - 1) over the sides.

    a, b         what independent runs came to, shape [runs], two or more a side, in one unit
    comparisons  differences that are looked at together: alpha / comparisons in place of alpha, and all their
                 intervals cover the truth at once in a share 1 - alpha of all experiments
                 (Bonferroni's inequality; Dunn 1961)

    Raises ValueError for fewer than two runs, one that is not finite, and where neither side has a spread.

    >>> effect = difference([82, 81, 83], [80, 78, 79])
    >>> str(effect), effect.different, effect.same()
    ('+3.00 [+0.73, +5.27]', True, False)
    """
    a, b = _two_sides(a, b)
    level = _level(alpha, comparisons)
    with _quiet():
        found = _scipy_stats().ttest_ind(a, b, equal_var=False)
        low, high = found.confidence_interval(1 - level)
        error = np.hypot(a.std(ddof=1) / math.sqrt(a.size), b.std(ddof=1) / math.sqrt(b.size))
        return _difference(a.mean() - b.mean(), low, high, error, found.df, (a.size, b.size), level)


def paired_difference(a, b, *, alpha: float = 0.05, comparisons: int = 1) -> Difference:
    """The difference of runs that share their seeds, a[i] with b[i]: Student's interval of the n differences.

    standard_error = s / sqrt(n), s the sample standard deviation of a - b; df = n - 1. Where a seed moves
    both runs alike it is shorter than Welch's, elsewhere longer, having fewer degrees of freedom. Arguments
    and errors as of `difference`; also raises ValueError for sides of different length and pairs that all
    differ alike.
    """
    a, b = _two_sides(a, b)
    if a.size != b.size:
        raise ValueError(f"pairs take the same seeds a side, got {a.size} and {b.size}: leave the others out")
    level = _level(alpha, comparisons)
    with _quiet():
        gaps = a - b
        if gaps.min() == gaps.max():
            raise ValueError(f"every pair differs by {gaps[0]:g}: no interval without a spread")
        found = _scipy_stats().ttest_rel(a, b)
        low, high = found.confidence_interval(1 - level)
        error = gaps.std(ddof=1) / math.sqrt(gaps.size)
        return _difference(gaps.mean(), low, high, error, found.df, (a.size, b.size), level)


def pooled_difference(a, b, *others, alpha: float = 0.05, comparisons: int = 1) -> Difference:
    """The difference with one spread s for a, b and `others` (`pooled_spread`): Student's interval.

    standard_error = s sqrt(1 / n_a + 1 / n_b), df = runs in all - groups: 4 for two groups of three seeds, 12
    for six. So much shorter an interval holds if all scatter alike. Arguments and errors as of `difference`;
    also raises ValueError where the largest spread is more than twice the smallest.
    """
    a, b = _two_sides(a, b)
    groups = [a, b, *(_runs(group, "others") for group in others)]
    level, df = _level(alpha, comparisons), sum(group.size - 1 for group in groups)
    with _quiet():
        _refuse_unlike([float(group.std(ddof=1)) for group in groups])
        value, error = a.mean() - b.mean(), pooled_spread(*groups) * math.sqrt(1 / a.size + 1 / b.size)
        reach = _scipy_stats().t.ppf(1 - level / 2, df) * error
        return _difference(value, value - reach, value + reach, error, df, (a.size, b.size), level)


def pooled_spread(*groups) -> float:
    """One spread of single runs for groups with a mean each: sqrt(sum of (n - 1) s^2 / sum of (n - 1)).

    >>> pooled_spread([1, 3], [11, 13])
    1.4142135623730951
    """
    groups = [_runs(group, "a group") for group in groups]
    squares = sum(group.var(ddof=1) * (group.size - 1) for group in groups)
    return math.sqrt(squares / sum(group.size - 1 for group in groups))


def false_alarms(comparisons: int, alpha: float = 0.05) -> float:
    """How many of so many comparisons chance alone calls different, on average, where nothing differs.

    >>> false_alarms(20)
    1.0
    """
    return count("comparisons", comparisons, at_least=0) * _share(alpha, "alpha")


# --- how many runs ------------------------------------------------------------------------------------------


def detectable_difference(
    spread: float,
    n: int,
    n_b: int | None = None,
    *,
    power: float = 0.8,
    alpha: float = 0.05,
) -> float:
    """The smallest true difference that n runs a side find in a share `power` of all repeats.

    Found means that the two-sided t-test of two groups, of one true spread, says "different" at level alpha.
    At a true difference d its statistic follows the noncentral t distribution of df = n + n_b - 2, displaced
    by d / (spread sqrt(1 / n + 1 / n_b)). In spreads: 3.07 at n = 3, 2.02 at 5, 1.32 at 10 (Cohen 1988).
    Welch's test, which is not told that the spreads are one, finds these in a share of 0.70, 0.78 and 0.80.

    spread  of single runs, known or pooled over many; the answer is in its unit
    n_b     runs of the other side, where they are not as many

    It takes no observed difference: power at that one is its p-value in other words (Hoenig and Heisey 2001).

    >>> round(detectable_difference(spread=0.3, n=5), 2)
    0.61
    """
    n, n_b = count("n", n, at_least=2), count("n_b", n if n_b is None else n_b, at_least=2)
    _check_power(power, alpha)
    error = positive(spread, "spread") * math.sqrt(1 / n + 1 / n_b)
    return error * _displacement(n + n_b - 2, power, alpha)


def seeds_needed(spread: float, difference: float, power: float = 0.8, alpha: float = 0.05) -> int:
    """Runs a side that find a true `difference` of two means in a share `power` of all experiments.

    n = 2 (z(1 - alpha / 2) + z(power))^2 (spread / difference)^2, rounded up, z the normal quantile. That
    takes the spread of single runs as known, and as one for both sides. With the spread estimated from these
    very runs, a t-test takes one or two more: the first n whose `detectable_difference(spread, n)` is at most
    `difference`. spread and difference in one unit.

    >>> seeds_needed(spread=1.0, difference=1.0)
    16
    >>> [round(detectable_difference(1.0, n), 3) for n in (16, 17)]
    [1.024, 0.991]
    """
    if not number(spread, "spread") > 0 or not number(difference, "difference"):
        raise ValueError(f"spread must be above 0 and difference not 0, got {spread} and {difference}")
    _check_power(power, alpha)
    ratio, z = float(spread) / abs(float(difference)), NormalDist().inv_cdf
    if ratio > 1e6:
        raise ValueError(f"{difference} at a spread of {spread} takes over 10^12 runs: are they in one unit?")
    return math.ceil(2 * (z(1 - alpha / 2) + z(power)) ** 2 * ratio**2)


# --- behind them --------------------------------------------------------------------------------------------


def _runs(values, name: str) -> np.ndarray:
    """What two runs or more came to, as floats of shape [runs]; or an error that says what is missing."""
    values = floats(values, name)
    if values.ndim != 1:
        raise ValueError(f"{name} must be a list, one number for each run, got shape {values.shape}")
    if values.size < 2:
        raise ValueError(f"{name}: need at least 2 runs to know a spread, got {values.size}")
    if not np.isfinite(values).all():
        bad = values[~np.isfinite(values)][0]
        raise ValueError(f"{name} has a run of {bad}, not finite: say that it failed, and compare the rest")
    return values


def _two_sides(a, b) -> tuple[np.ndarray, np.ndarray]:
    a, b = _runs(a, "a"), _runs(b, "b")
    if a.min() == a.max() and b.min() == b.max():
        told = f"every run of a came to {a[0]:g} and every run of b to {b[0]:g}"
        raise ValueError(f"{told}: no interval without a spread. Do the seeds differ? Did all fail?")
    return a, b


def _refuse_unlike(spreads: list[float]):
    low, high = min(spreads), max(spreads)
    if high > 2 * low:
        raise ValueError(f"spreads from {low:.3g} to {high:.3g} are too unlike to pool; use difference(a, b)")


def _difference(value, low, high, error, df, n, alpha) -> Difference:
    numbers = [float(x) for x in (value, low, high, error, df)]
    if not np.isfinite(numbers).all():
        raise ValueError(f"no finite interval about {shown(numbers[0])}: give the runs in another unit")
    return Difference(*numbers, n=n, alpha=alpha)


@contextlib.contextmanager
def _quiet():
    """No warning of one side without a spread, which is allowed, nor of what `_difference` refuses."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)
        yield


def _share(value, name: str) -> float:
    if not 0 < number(value, name) < 1:
        raise ValueError(f"{name} must lie between 0 and 1, got {value}: 0.05 is usual")
    return float(value)


def _level(alpha, comparisons) -> float:
    return _share(alpha, "alpha") / count("comparisons", comparisons)


def _check_power(power, alpha):
    if not RAREST <= number(alpha, "alpha") < number(power, "power") <= 1 - RAREST:
        raise ValueError(f"need {RAREST:g} <= alpha < power < 1, got alpha={alpha} and power={power}")


def _displacement(df: int, power: float, alpha: float) -> float:
    """How many standard errors from 0 a t-test of that df finds in a share `power` of all repeats."""
    scipy = _scipy_stats()
    from scipy.optimize import brentq

    critical = scipy.t.isf(alpha / 2, df)

    def missing(shift):  # the lower tail as an upper one: nct's own is NaN far out
        return power - scipy.nct.sf(critical, df, shift) - scipy.nct.sf(critical, df, -shift)

    top = 1.0
    while missing(top) > 0:
        top *= 2
    return float(brentq(missing, 0, top, xtol=1e-9))


def _scipy_stats():
    try:
        from scipy import stats
    except ImportError as error:
        raise ImportError("intervals and power take scipy's distributions: pip install scipy") from error
    return stats


def judge(effect: Difference | None, expected: str, by: float = 0.0, margin: float = MARGIN) -> str:
    """ "holds", "fails", "open" where the interval does not decide, or "not recorded".

    same        holds when the two are the same; fails when the whole interval lies outside the margin
    more, less  holds when the two are different, on that side; fails when they are different on the other side, or
                else the same. With `by`, different from that much: then being the same decides nothing
    """
    if effect is None:
        return "not recorded"
    if expected == "same":
        return "holds" if effect.same(margin) else "fails" if _apart(effect, margin) else "open"
    gain = -effect if expected == "less" else effect
    if gain.low > by or gain.high < by:
        return "holds" if gain.low > by else "fails"
    return "fails" if not by and gain.same(margin) else "open"


def _apart(effect: Difference, margin: float) -> bool:
    return effect.low > margin or effect.high < -margin
