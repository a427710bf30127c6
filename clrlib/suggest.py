"""Rules that read a learning rate off a range test, each as its source has it. Numpy only; nothing here trains or draws.

A rule takes the rates and the raw losses of one sweep, smooths and skips as its source does, and returns a `Suggestion`.
A rule asks no questions: it finds a rate on pure noise too. `fell` asks, and `suggest_all` lets no rule speak before
`fell` has said yes. Every source pairs a rate with the loss on the batch of its own step, so *before* that step:
`RangeTest.losses_before_step` has them so.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .history import smooth
from .validate import count, floats

FEWEST = 10  # losses that `fell` needs to judge a sweep
MARGIN = 4.5  # standard errors of a block's median by which a fall stands out of the scatter


class Suggestion(NamedTuple):
    """What a rule says: `rate`, or None with the reason in `why`. True when there is a rate."""

    rule: str
    rate: float | None
    why: str

    def __bool__(self):
        return self.rate is not None


# --- has the loss fallen at all? ------------------------------------------------------------------------------------


class Fall(NamedTuple):
    """How far a sweep fell, and what its scatter alone may do, in units of the loss. True when it fell by more.

    fall     from the median of the first block of losses down to the lowest median of a block
    scatter  the standard deviation of one loss about its trend
    least    the smallest fall that counts
    points   how many losses were judged: those before the explosion
    """

    fall: float
    scatter: float
    least: float
    points: int

    def __bool__(self):
        return bool(self.fall > self.least)

    @property
    def why(self) -> str:
        """What was found, and what to do when it was no fall."""
        if self.points < FEWEST:
            return f"only {self.points} losses before it exploded or ended: start lower or take more steps"
        found = f"fell by {self.fall:.2g}, scatter {self.scatter:.2g}"
        return found if self else f"{found}: sweep to a higher rate, take more steps or a larger batch"


def fell(lrs, losses) -> Fall:
    """Whether the losses of a sweep fell by more than their scatter: if not, a rule would read noise.

    The curve is seen through the medians of all blocks of b neighbours, b a seventh of the sweep, but at least 5:

        fall     median of the first block less the lowest median
        scatter  1.4826 median|d| / sqrt(6), d_i = x_(i-1) - 2 x_i + x_(i+1): no trend and no single spike moves it
        least    MARGIN * scatter * sqrt(pi / (2 b)), the second factor and the root being the median's standard error

    Judged is what came before the explosion: before a loss that is not finite, or a median of 5 neighbours above 4 times
    the lowest one so far. Of sweeps of pure noise, 15 to 400 steps long, 2 % at most count as falls; of falls by 5 times
    their scatter all do in 100 steps, and 96 % in 30.
    """
    _, losses = _checked(lrs, losses)
    losses = losses[: _explosion(losses)]
    points = len(losses)
    if points < FEWEST:
        return Fall(0.0, np.nan, np.nan, points)
    block = _block(points)
    medians = _medians(losses, block)
    scatter = 1.4826 * np.median(np.abs(np.diff(losses, 2))) / np.sqrt(6)
    least = max(MARGIN * scatter * np.sqrt(np.pi / (2 * block)), 1e-6 * np.abs(medians[0]))  # rounding
    return Fall(float(medians[0] - medians.min()), float(scatter), float(least), points)


def _explosion(losses) -> int:
    """The number of losses before the sweep exploded."""
    end = _finite(losses)
    if end < 5:
        return end
    medians = _medians(losses[:end], 5)
    best = np.minimum.accumulate(medians)
    exploded = medians > best + 3 * np.abs(best)  # 4 times the best, also where losses are below 0
    return int(exploded.argmax()) + 2 if exploded.any() else end


def _block(points) -> int:
    """Neighbours that go into one median: a seventh of the sweep."""
    return max(5, points // 7)


def _medians(values, block):
    """The medians of all blocks of neighbours, shape [points - block + 1]."""
    return np.median(np.lib.stride_tricks.sliding_window_view(values, block), axis=-1)


# --- what a source shows its rules ------------------------------------------------------------------------------------


class Source(NamedTuple):
    """How a source prepares a sweep for its rules.

    name     the package and its version
    beta     how much it smooths, `average(losses, beta)`
    explode  its sweep ends with the first smoothed loss above `explode` times the best one; None: it ends
             before what `fell` takes for the explosion
    late     True: the best one before that loss; False: that loss included (it matters for losses below 0)
    first    the number of steps of the sweep -> points dropped at its start
    last     points dropped at its end
    """

    name: str
    beta: float
    average: Callable
    explode: float | None
    late: bool
    first: Callable[[int], int]
    last: int


def _lightning_average(losses, beta):
    """`smooth` with its bias corrected one step late: a_i / (1 - beta ** (i + 2)), so the first loss appears halved."""
    curve, left = smooth(losses, beta), beta ** np.arange(1, len(losses) + 1)
    return curve * (1 - left) / (1 - beta * left)


def _lr_finder_average(losses, beta):
    """a_i = beta a_(i-1) + (1 - beta) x_i from a_0 = x_0: `smooth` less its correction, and what is left of x_0."""
    curve, left = smooth(losses, beta), beta ** np.arange(1, len(losses) + 1)
    return curve * (1 - left) + left * losses[:1]


FASTAI = Source("fastai 2.8.12", 0.98, smooth, 4, False, lambda steps: steps // 10, 5)
LIGHTNING = Source("Lightning 2.6.6", 0.98, _lightning_average, 4, True, lambda steps: 10, 1)
LR_FINDER = Source("torch-lr-finder 0.2.2", 0.95, _lr_finder_average, 5, False, lambda steps: 10, 5)
OURS = Source("ours", 0.0, smooth, None, False, lambda steps: 0, 0)


def _seen(source, lrs, losses, beta, steps):
    """(rates, smoothed losses) as the source's rules see them, up to the first that is not finite."""
    rates, losses = _checked(lrs, losses)
    steps = count("steps", len(rates) if steps is None else steps, at_least=len(rates))
    curve = _averaged(source, losses, source.beta if beta is None else beta)
    kept = slice(source.first(steps), max(_stop(source, curve) - source.last, 0))
    rates, curve = rates[kept], curve[kept]
    end = _finite(curve)
    return rates[:end], curve[:end]


def _averaged(source, losses, beta):
    """The smoothed losses; the first that is not finite stays as it is, and after it there is no average."""
    end, curve = _finite(losses), np.full(len(losses), np.nan)
    curve[:end] = source.average(losses[:end], beta)
    curve[end : end + 1] = losses[end : end + 1]
    return curve


def _stop(source, curve) -> int:
    """How many losses the source's sweep would have measured, the one that stopped it among them."""
    if source.explode is None:
        return _explosion(curve)
    best = np.minimum.accumulate(curve)
    if source.late:
        best = np.concatenate([[np.inf], best])[: len(curve)]
    stopped = curve > source.explode * best
    return int(stopped.argmax()) + 1 if stopped.any() else len(curve)


def _finite(values) -> int:
    """How many values come before the first that is not finite."""
    bad = ~np.isfinite(values)
    return int(bad.argmax()) if bad.any() else len(values)


def _checked(lrs, losses):
    """(rates, losses) as arrays of floats; a loss beyond single precision is infinite, as it is in the packages.

    Raises ValueError when the rates do not rise, are negative, or do not match the losses.
    """
    rates, losses = floats(lrs, "rates"), floats(losses, "losses")
    if losses.ndim == 2:
        raise ValueError(
            f"losses has shape {losses.shape}: a rule reads one sweep. Pass one row, or use RangeTest.suggest"
        )
    if rates.ndim != 1 or losses.shape != rates.shape:
        raise ValueError(f"rates and losses do not match: shapes {rates.shape} and {losses.shape}")
    if not np.isfinite(rates).all() or (rates < 0).any() or (np.diff(rates) <= 0).any():
        raise ValueError("rates must be finite, not negative and rising: pass them in the order of the sweep")
    return rates, np.where(np.abs(losses) > np.finfo(np.float32).max, np.copysign(np.inf, losses), losses)


def _rule(name, source, fewest):
    """Turn (rates, curve) -> rate into a rule: (lrs, losses, beta, steps) -> Suggestion."""

    def decorate(read):
        @functools.wraps(read)
        def rule(lrs, losses, beta: float | None = None, steps: int | None = None) -> Suggestion:
            rates, curve = _seen(source, lrs, losses, beta, steps)
            if len(rates) < fewest:
                return Suggestion(
                    name, None, f"only {len(rates)} points left, it needs {fewest}: take more steps"
                )
            if (np.diff(np.log(rates[rates > 0])) <= 1e-12).any():
                return Suggestion(name, None, "some rates are too close to tell apart: take fewer steps")
            rate = float(read(rates, curve))
            if not rate > 0:
                return Suggestion(
                    name, None, "it points at a rate of 0: start higher, or sweep exponentially"
                )
            return Suggestion(name, rate, f"{source.name}, {len(rates)} points up to {rates[-1]:.2g}")

        rule.__signature__ = inspect.signature(rule, follow_wrapped=False)
        return rule

    return decorate


# --- fastai -------------------------------------------------------------------------------------------------------------


@_rule("valley", FASTAI, fewest=1)
def valley(rates, curve):
    """Half-way along the longest fall: fastai's default.

    The longest strictly falling subsequence has L points and ends at point e (the first such e). The rate is that of
    point e - L + int(L / 3) + int(L / 6): the middle of a stretch as long as the subsequence, though the subsequence,
    which skips points, may have begun long before.

    Source: fastai 2.8.12, `callback.schedule.valley` (ESRI's). Made for 100 steps from 1e-7 to 10, of which most are
    flat. A flat stretch of noise counts towards L, so a lower start gives a lower rate.
    """
    length = np.ones(len(curve), int)
    for i in range(1, len(curve)):
        length[i] += length[:i][curve[:i] > curve[i]].max(initial=0)
    end, longest = length.argmax(), length.max()
    start = end - longest if longest > 1 else 0
    return rates[start + int(longest / 3) + int(longest / 3 / 2)] if longest > 1 else rates[0]


@_rule("slide", FASTAI, fewest=16)
def slide(rates, curve):
    """Slide two points, 15 steps apart, down from the end until the slopes there are the same within 0.005.

    The slope is np.gradient(curve), the loss per step; the rate is that of the lower point, one step before the slide
    ended. If it never ends, that is the first rate; if it ends at once, the 16th from the end, whatever the curve.

    Source: fastai 2.8.12, `callback.schedule.slide` (Novetta's). Both constants are per step: made for 100 steps from
    1e-7 to 10, where 15 steps are 1.2 decades. More steps make all slopes flatter, so that it ends sooner, higher up.
    """
    slope = np.gradient(curve)
    upper, rate = len(curve) - 1, rates[-16]
    while upper >= 15 and abs(slope[upper] - slope[upper - 15]) > 0.005:
        rate = rates[upper - 15]
        upper -= 1
    return rate


@_rule("minimum/10", FASTAI, fewest=1)
def minimum(rates, curve):
    """A tenth of the rate with the lowest loss: the article's rule, read off the curve as fastai does.

    Source: fastai 2.8.12, `callback.schedule.minimum`; Gugger 2018 before it. The smoothing's lag is part of it: with
    beta 0.98 the lowest point lies far to the right, and on a sweep of 100 steps it is often the last one kept: the answer
    is then a twentieth of where the sweep ended, whatever the curve.
    """
    return rates[curve.argmin()] / 10


@_rule("steep", FASTAI, fewest=2)
def steep(rates, curve):
    """The rate from which the loss falls fastest to the next point, per logarithm of the rate.

    Source: fastai 2.8.12, `callback.schedule.steep`. It does not depend on the number of steps but for noise and lag.
    """
    with np.errstate(divide="ignore"):
        return rates[_lowest(np.diff(curve) / np.diff(np.log(rates)))]


# --- others -------------------------------------------------------------------------------------------------------------


@_rule("lightning", LIGHTNING, fewest=2)
def lightning(rates, curve):
    """The rate at which the loss falls fastest per unit of the rate, dL/d(rate), by central differences.

    Source: Lightning 2.6.6, `lr_finder.suggestion` (until 2.5.2 it was per step). Made for 100 steps from 1e-8 to 1. The
    same fall counts ten times as much a decade lower, so it points to the beginning of the fall, or at noise before it.
    """
    return rates[_lowest(np.gradient(curve, rates))]


@_rule("lr-finder", LR_FINDER, fewest=2)
def lr_finder(rates, curve):
    """The rate at which the loss falls fastest per step, by central differences.

    Source: torch-lr-finder 0.2.2, `LRFinder.plot`. On an exponential sweep a step is a constant factor: `steep`, smoothed
    less. It differs in one thing: the package takes the first NaN for the lowest slope, here the curve ends before it.
    """
    return rates[_lowest(np.gradient(curve))]


@_rule("bottom", OURS, fewest=FEWEST)
def bottom(rates, losses):
    """The middle of the lowest stretch: the rate in the middle of the block of losses with the lowest median.

    Blocks are those of `fell`, a seventh of the sweep wide. A median about its middle does not lag, so nothing need be
    divided away. A sweep that ends before the loss turns gives the middle of its last block: sweep to a higher rate.
    Ours, not a package's. It was chosen by the runs that it is judged by (one-cycle peaks of one small net, where it
    loses least), so trust that figure less than the others'.
    """
    block = _block(len(losses))
    return rates[_medians(losses, block).argmin() + block // 2]


def _lowest(values) -> int:
    """Where the lowest value stands; NaN is none."""
    return int(np.where(np.isnan(values), np.inf, values).argmin())


RULES = {
    "valley": valley,
    "slide": slide,
    "minimum/10": minimum,
    "steep": steep,
    "lightning": lightning,
    "lr-finder": lr_finder,
    "bottom": bottom,
}


# --- all of them ----------------------------------------------------------------------------------------------------------


class Suggestions(dict):
    """Rule -> Suggestion, printed as a table. `seeds` holds the same for each seed alone, as dicts."""

    def __init__(self, found, seeds):
        super().__init__(found)
        self.seeds = list(seeds)

    def __repr__(self):
        if not any(self.values()) and len({found.why for found in self.values()}) == 1:
            return f"no rule has a rate: {next(iter(self.values())).why}"
        rates = {name: f"{found.rate:.2g}" if found else "none" for name, found in self.items()}
        widths = [max(map(len, column), default=0) for column in (rates, rates.values())]
        return "\n".join(f"{n:<{widths[0]}}  {rate:<{widths[1]}}  {self[n].why}" for n, rate in rates.items())


def suggest_all(lrs, losses, beta: float | None = None, steps: int | None = None) -> dict[str, Suggestion]:
    """Every rule's answer to one sweep, by name; where the losses did not fall, every answer is None and says so.

    lrs, losses  shape [points]: raw losses, in the order of the rates
    beta         smooth all with it; None: each as its source does
    steps        how many steps the sweep was meant to have, if it stopped early; fastai drops the first tenth of them

    Raises ValueError when the rates do not rise, are negative, or do not match the losses.
    """
    if not (fall := fell(lrs, losses)):
        return {name: Suggestion(name, None, fall.why) for name in RULES}
    return {name: rule(lrs, losses, beta=beta, steps=steps) for name, rule in RULES.items()}


def over_seeds(each: list[dict[str, Suggestion]]) -> Suggestions:
    """One answer a rule from those of several seeds: the median (of logarithms), with the lowest and highest in `why`.

    A rule that has no rate for half of the seeds or more has none. One seed's answers stay as they are.
    """
    return Suggestions(
        each[0] if len(each) == 1 else {name: _middle([seed[name] for seed in each]) for name in each[0]},
        each,
    )


def _middle(answers) -> Suggestion:
    rates, n = [answer.rate for answer in answers if answer], len(answers)
    if 2 * len(rates) <= n:
        silent = next(answer for answer in answers if not answer)
        return Suggestion(silent.rule, None, f"no rate from {n - len(rates)} of {n} seeds: {silent.why}")
    rate = float(np.exp(np.median(np.log(rates))))
    spread = f"{min(rates):.2g} to {max(rates):.2g} over {len(rates)} seeds"
    return Suggestion(
        answers[0].rule, rate, spread if len(rates) == n else f"{spread}, none from {n - len(rates)}"
    )


class Candidates(NamedTuple):
    """Three rates to try in short runs, equal factors apart, and the one to try next when the best is at an edge."""

    lowest: float
    middle: float
    highest: float

    @property
    def below(self) -> float:
        """One factor below the lowest."""
        return self.lowest**2 / self.middle

    @property
    def above(self) -> float:
        """One factor above the highest."""
        return self.highest**2 / self.middle


def candidates(suggestions: dict[str, Suggestion]) -> Candidates:
    """The lowest and highest rate that any rule says, and their geometric mean between them.

    Where they are less than a decade apart, both give way until they are a decade apart. Raises ValueError, with the
    rules' reason, when no rule has a rate.
    """
    rates = [found.rate for found in suggestions.values() if found]
    if not rates:
        reasons = dict.fromkeys(found.why for found in suggestions.values())
        raise ValueError(f"there are no rates to try: {'; '.join(reasons)}")
    low, high = np.log10([min(rates), max(rates)])
    middle, reach = (low + high) / 2, max((high - low) / 2, 0.5)
    return Candidates(*(float(10**at) for at in (middle - reach, middle, middle + reach)))
