"""Schedules as values: a hyper-parameter as a function of progress through a run.

Progress runs from 0 (first step) to 1 (last step). A `Schedule` never changes, compares by value,
draws without side effects and survives JSON, so the same object drives the plot, the slider and
the training loop. Nothing here knows about torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .validate import MOST_STEPS, bounds, count, floats, fraction, number, positive

DEFAULTS = {"momentum": 0.9, "weight_decay": 1e-4}  # the article's; "lr" has no default: finding it is the course

EASES = {
    "linear": lambda t, a, b: a + (b - a) * t,
    "cosine": lambda t, a, b: b + (a - b) / 2 * (1 + np.cos(np.pi * t)),
    "exponential": lambda t, a, b: a * (b / a) ** t,
    "hold": lambda t, a, b: np.where(t < 1, a, b),
}


@dataclass(frozen=True)
class Schedule:
    """A piecewise curve through `values` at `knots`, each segment shaped by its ease.

    knots   progress of each point: rising from 0 to 1; two equal knots make a jump
    values  the hyper-parameter there, one per knot
    eases   one per segment: "linear", "cosine", "exponential" or "hold" (a step at the end)

    >>> Schedule((0, 1), (0.25, 0.75), ("linear",)).table(3).tolist()
    [0.25, 0.5, 0.75]
    """

    knots: tuple[float, ...]
    values: tuple[float, ...]
    eases: tuple[str, ...]

    def __post_init__(self):
        for field in ("knots", "values"):
            object.__setattr__(self, field, tuple(number(x, field) for x in getattr(self, field)))
        object.__setattr__(self, "eases", tuple(self.eases))
        _check_curve(self.knots, self.values, self.eases)

    def __call__(self, progress):
        """The value at `progress` (a number or an array; clipped to [0, 1], so never past the end)."""
        p = floats(progress, "progress")
        if np.isnan(p).any():
            raise ValueError("progress is NaN: pass a number from 0 to 1, such as step / (steps - 1)")
        p = np.clip(p, 0.0, 1.0)
        knots, values = np.array(self.knots), np.array(self.values)
        segment = np.clip(np.searchsorted(knots, p, side="right") - 1, 0, len(knots) - 2)
        start, width = knots[segment], np.diff(knots)[segment]
        t = np.where(width > 0, (p - start) / np.where(width > 0, width, 1), 1.0)
        out, eases = np.empty_like(p), np.array(self.eases)[segment]
        for ease in set(self.eases):
            here = eases == ease
            out[here] = EASES[ease](t[here], values[segment[here]], values[segment[here] + 1])
        return out if out.ndim else out[()]

    def table(self, steps: int) -> np.ndarray:
        """The values of a whole run, shape [steps]; ten million at most. Step i of n is at progress i / (n - 1)."""
        return self(np.linspace(0.0, 1.0, count("steps", steps, at_most=MOST_STEPS)))

    def scaled(self, factor: float) -> Schedule:
        """The same shape with every value multiplied by `factor`."""
        factor = number(factor, "factor")
        return Schedule(self.knots, tuple(v * factor for v in self.values), self.eases)

    def to_dict(self) -> dict:
        """Plain lists, ready for JSON."""
        return {"knots": list(self.knots), "values": list(self.values), "eases": list(self.eases)}

    @classmethod
    def from_dict(cls, data: dict) -> Schedule:
        """The inverse of `to_dict`. Raises ValueError when a field is missing, extra or of a wrong kind."""
        if not isinstance(data, dict) or set(data) != {"knots", "values", "eases"}:
            raise ValueError(f"not a schedule: {data!r:.80}; it needs exactly knots, values and eases")
        if not all(isinstance(field, (list, tuple)) for field in data.values()):
            raise ValueError("not a schedule: knots, values and eases must be lists")
        return cls(tuple(data["knots"]), tuple(data["values"]), tuple(data["eases"]))


def constant(value: float) -> Schedule:
    """The same value all through the run."""
    return Schedule((0, 1), (value, value), ("linear",))


def linear(start: float, end: float) -> Schedule:
    """A straight line from `start` to `end`."""
    return Schedule((0, 1), (start, end), ("linear",))


def exponential(start: float, end: float) -> Schedule:
    """start * (end / start) ** progress: equal factors per step, a straight line on a log axis.

    The range test's sweep (Smith 2015, section 3.3, made exponential by later practice).
    """
    return Schedule((0, 1), (start, end), ("exponential",))


def cosine(start: float, end: float = 0.0) -> Schedule:
    """Half a cosine from `start` to `end` (Loshchilov and Hutter 2016, equation 5, one period)."""
    return Schedule((0, 1), (start, end), ("cosine",))


def step_decay(start: float, milestones=(0.5, 0.75), factor: float = 0.1) -> Schedule:
    """`start`, multiplied by `factor` at each milestone (a fraction of the run; rising).

    The defaults are He et al. 2015, section 4.2: /10 after 32k and 48k of 64k iterations.
    """
    milestones = tuple(number(m, "milestones") for m in milestones)
    if any(not 0 < m < 1 for m in milestones):
        raise ValueError(f"milestones must lie between 0 and 1, as fractions of the run; got {milestones}")
    if not 0 < number(factor, "factor") <= 1:
        raise ValueError(f"factor must lie above 0 and at most at 1, got {factor}")
    values = [number(start, "start") * factor**i for i in range(len(milestones) + 1)]
    return Schedule((0, *milestones, 1), (*values, values[-1]), ("hold",) * len(values))


def triangular(low: float, high: float, cycles: float = 1.0) -> Schedule:
    """`low` to `high` and back in straight lines, `cycles` times; a cycle is two stepsizes (Smith 2015, arXiv:1506.01186).

    For stepsizes counted in iterations, as torch's CyclicLR does, use `cyclic`.
    """
    return _triangles(low, high, cycles, shrink=1.0)


def triangular2(low: float, high: float, cycles: float = 1.0) -> Schedule:
    """As `triangular`, with the height above `low` halved after each cycle (Smith 2015, section 3.1)."""
    return _triangles(low, high, cycles, shrink=0.5)


def exp_range(low: float, high: float, gamma: float, stepsize: int, steps: int) -> Schedule:
    """As `triangular`, with the height above `low` multiplied by gamma ** iteration (Smith 2015, section 3.1)."""
    return cyclic(low, high, steps, stepsize, mode="exp_range", gamma=gamma)


@np.errstate(over="ignore", invalid="ignore")  # a gamma that is too high ends in values that are refused
def cyclic(low, high, steps, stepsize, stepsize_down=None, mode="triangular", gamma=1.0) -> Schedule:
    """What `torch.optim.lr_scheduler.CyclicLR` gives at each of `steps` iterations; a knot at every step.

    stepsize       iterations from `low` up to `high`
    stepsize_down  iterations back down; as many as up if not given
    mode           "triangular", "triangular2" or "exp_range" (scaled by gamma ** iteration)
    """
    bounds(low, high)
    scales = {
        "triangular": lambda i, cycle: 1.0,
        "triangular2": lambda i, cycle: 0.5 ** (cycle - 1),
        "exp_range": lambda i, cycle: number(gamma, "gamma") ** i,
    }
    if mode not in scales:
        raise ValueError(f"mode {mode!r} is unknown: choose one of {', '.join(scales)}")
    up = count("stepsize", stepsize)
    down = up if stepsize_down is None else count("stepsize_down", stepsize_down)
    i = np.arange(count("steps", steps, at_least=2, at_most=MOST_STEPS // 10), dtype=float)
    cycle = np.floor(1 + i / (up + down))
    x, ratio = 1 + i / (up + down) - cycle, up / (up + down)
    height = np.where(x <= ratio, x / ratio, (x - 1) / (ratio - 1))
    return from_table(low + (high - low) * height * scales[mode](i, cycle))


def one_cycle(low: float, high: float, tail: float = 13 / 95, final: float | None = None) -> Schedule:
    """The one-cycle policy as the paper and the article describe it: up, down, tail, all linear.

    low -> high and high -> low take equal parts of the run; then low -> final over its last `tail`.
    `final` is low / 10 if not given. The defaults are the article's 41 + 41 + 13 of 95 epochs
    (Smith 2018, arXiv:1803.09820, section 4.1).

    >>> lr = one_cycle(0.08, 0.8)
    >>> [round(float(lr(p / 95)), 4) for p in (0, 41, 82, 95)]
    [0.08, 0.8, 0.08, 0.008]
    """
    bounds(low, high)
    final = low / 10 if final is None else final
    down = 1 - fraction(tail, "tail")
    return Schedule((0, down / 2, down, 1), (low, high, low, final), ("linear",) * 3)


def one_cycle_momentum(high: float = 0.95, low: float = 0.80, tail: float = 13 / 95) -> Schedule:
    """Cyclical momentum: down while the learning rate goes up, back up, then held (Smith 2018, section 4.3)."""
    bounds(low, high)
    down = 1 - fraction(tail, "tail")
    return Schedule((0, down / 2, down, 1), (high, low, high, high), ("linear",) * 3)


def one_cycle_smith(low: float, high: float, up: float = 41 / 95, floor: float | None = None) -> Schedule:
    """As in Smith's own log of the ResNet-56 run: up, then down at the same slope past `low`, held at `floor`.

    `floor` is low / 1000 if not given: 0.08 -> 0.8 -> 8e-5 in that log, with momentum 0.95 throughout.
    """
    bounds(low, high)
    floor = low / 1000 if floor is None else number(floor, "floor")
    up = fraction(up, "up")
    landing = up * (1 + (high - floor) / (high - low))
    if landing >= 1:  # the run ends on the way down
        end = high - (high - low) * (1 - up) / up
        return Schedule((0, up, 1), (low, high, end), ("linear",) * 2)
    return Schedule((0, up, landing, 1), (low, high, floor, floor), ("linear",) * 3)


def one_cycle_fastai(high: float, div=25.0, pct_start=0.25, div_final=1e5) -> Schedule:
    """fastai 2's `fit_one_cycle`: half a cosine from high/div to high, another to high/div_final."""
    high, div, div_final = (positive(x, name) for x, name in ((high, "high"), (div, "div"), (div_final, "div_final")))
    return Schedule((0, fraction(pct_start, "pct_start"), 1), (high / div, high, high / div_final), ("cosine",) * 2)


def one_cycle_torch(high, steps, pct_start=0.3, div=25.0, final_div=1e4, anneal="cosine", three_phase=False) -> Schedule:
    """What `torch.optim.lr_scheduler.OneCycleLR` gives at each of `steps` iterations.

    It starts at high/div, peaks at step pct_start * steps - 1 and ends at high/div/final_div.
    `three_phase=True` goes back down to high/div first, which is nearer to the paper.
    """
    start = positive(high, "high") / positive(div, "div")
    final_div = positive(final_div, "final_div")
    values = (start, high, start, start / final_div) if three_phase else (start, high, start / final_div)
    return _torch_phases(values, steps, pct_start, anneal)


def one_cycle_torch_momentum(high=0.95, low=0.85, steps=1000, pct_start=0.3, anneal="cosine", three_phase=False) -> Schedule:
    """The momentum that goes with `one_cycle_torch` (torch's max_momentum and base_momentum)."""
    return _torch_phases((high, low, high, high) if three_phase else (high, low, high), steps, pct_start, anneal)


def join(schedules, shares) -> Schedule:
    """Schedules one after the other; `shares` are their parts of the run (they are scaled to sum to 1).

    >>> warm_up = join([linear(0, 0.4), cosine(0.4)], [1, 3])
    >>> warm_up.knots
    (0.0, 0.25, 1.0)
    """
    schedules, shares = list(schedules), [number(s, "shares") for s in shares]
    if not schedules or len(schedules) != len(shares) or min(shares) <= 0:
        raise ValueError(f"join needs one positive share per schedule; got {len(schedules)} schedules and shares {shares}")
    if wrong := [schedule for schedule in schedules if not isinstance(schedule, Schedule)]:
        raise TypeError(f"join takes Schedules, got {wrong[0]!r}: write constant(value) for a number")
    ends = np.cumsum([0.0, *shares]) / sum(shares)
    ends[-1] = 1.0
    knots, values, eases = [], [], []
    for schedule, start, end in zip(schedules, ends, ends[1:]):
        at = [start + (end - start) * k for k in schedule.knots[:-1]] + [end]
        if values and values[-1] == schedule.values[0]:  # it continues where the last one stopped
            knots, values = knots[:-1], values[:-1]
        elif values:
            eases.append("hold")
        knots, values, eases = knots + at, values + list(schedule.values), eases + list(schedule.eases)
    return Schedule(tuple(knots), tuple(values), tuple(eases))


def from_table(values) -> Schedule:
    """The schedule that meets `values`, one per step, exactly: for any curve the shapes above don't cover."""
    if len(values := tuple(np.atleast_1d(floats(values, "values")).tolist())) < 2:
        raise ValueError(f"a table needs at least 2 values, got {len(values)}: use constant(value) for one")
    return Schedule(tuple(np.linspace(0, 1, len(values)).tolist()), values, ("linear",) * (len(values) - 1))


def as_schedule(value):
    """A number becomes `constant(number)`; a Schedule, or any function of progress, is returned as it is."""
    return value if callable(value) else constant(value)


def _check_curve(knots, values, eases):
    if len(knots) < 2 or len(values) != len(knots) or len(eases) != len(knots) - 1:
        raise ValueError(f"{len(knots)} knots need as many values and one ease fewer; got {len(values)} and {len(eases)}")
    if knots[0] != 0 or knots[-1] != 1 or any(b < a for a, b in zip(knots, knots[1:])):
        raise ValueError(f"knots must rise from 0 to 1, got {knots}")
    for ease, a, b in zip(eases, values, values[1:]):
        if ease not in EASES:
            raise ValueError(f"ease {ease!r} is unknown: choose one of {', '.join(EASES)}")
        if ease == "exponential" and min(a, b) <= 0:
            raise ValueError(f"an exponential segment needs positive ends, got {a} and {b}")
        if not math.isfinite(b - a) or (ease == "exponential" and not 1e-300 < b / a < 1e300):
            raise ValueError(f"a segment from {a} to {b} leaves the range of floats")


def _triangles(low, high, cycles, shrink) -> Schedule:
    bounds(low, high)
    if number(cycles, "cycles") <= 0 or cycles > 1000:
        raise ValueError(f"cycles must be above 0 and at most 1000, got {cycles}")
    whole = max(1, math.ceil(2 * cycles - 1e-9))  # stepsizes begun in the run
    height = [(i % 2) * shrink ** (i // 2) for i in range(whole + 1)]
    knots = [i / (2 * cycles) for i in range(whole + 1)]
    cut = (1 - knots[-2]) / (knots[-1] - knots[-2])  # the run may end inside a stepsize
    height[-1] = height[-2] + (height[-1] - height[-2]) * min(cut, 1.0)
    knots[-1] = 1.0
    return Schedule(tuple(knots), tuple(low + (high - low) * h for h in height), ("linear",) * whole)


def _torch_phases(values, steps, pct_start, anneal) -> Schedule:
    if anneal not in ("cosine", "linear"):
        raise ValueError(f"anneal {anneal!r} is unknown: choose 'cosine' or 'linear'")
    last = count("steps", steps, at_least=2, at_most=MOST_STEPS) - 1
    peak = fraction(pct_start, "pct_start") * steps - 1
    ends = (0, peak, 2 * peak, last) if len(values) == 4 else (0, peak, last)
    if not all(a < b for a, b in zip(ends, ends[1:])):
        raise ValueError(f"steps={steps} with pct_start={pct_start} leaves a phase without a step: take more steps or another pct_start")
    return Schedule(tuple(e / last for e in ends), values, (anneal,) * (len(values) - 1))
