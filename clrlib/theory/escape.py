"""How long does descent stay on a saddle or a plateau? Many noisy paths at once, and the step at which each leaves."""

from __future__ import annotations

import numpy as np

from clrlib.theory.descent import Surface
from clrlib.validate import MOST_STEPS, count, floats, number, positive, shown


def two_valleys(up: float = 4.0, down: float = 0.2) -> Surface:
    """up * x^2 / 2 + down * (y^2 - 1)^2 / 4: a saddle at the origin between two minima, at y = -1 and y = 1.

    Its curvatures are `up` and -down at the saddle, `up` and 2 * down at the minima, where the value is 0.
    """
    up, down = positive(up, "up"), positive(down, "down")

    def value(p):
        x, y = np.moveaxis(np.asarray(p, dtype=float), -1, 0)
        return up * x**2 / 2 + down * (y**2 - 1) ** 2 / 4

    def gradient(p):
        x, y = np.moveaxis(np.asarray(p, dtype=float), -1, 0)
        return np.stack([up * x, down * y * (y**2 - 1)], axis=-1)

    return Surface("two valleys", value, gradient, (1.0, 0.0), (0.0, 1.0))


def plateau(up: float = 4.0, depth: float = 1.0) -> Surface:
    """up * x^2 / 2 + depth * (1 - exp(-y^2 / 2)): almost level along y, but for a basin of that depth at the origin."""
    up, depth = positive(up, "up"), positive(depth, "depth")

    def value(p):
        x, y = np.moveaxis(np.asarray(p, dtype=float), -1, 0)
        return up * x**2 / 2 + depth * (1 - np.exp(-(y**2) / 2))

    def gradient(p):
        x, y = np.moveaxis(np.asarray(p, dtype=float), -1, 0)
        return np.stack([up * x, depth * y * np.exp(-(y**2) / 2)], axis=-1)

    return Surface("plateau", value, gradient, (1.0, -3.5))


def paths(surface: Surface, rate, steps: int, seeds: int = 100, noise: float = 0.1, start=None) -> np.ndarray:
    """Noisy descent from one start under `seeds` seeds, shape [seeds, steps + 1, 2].

    Row i is `descent.descend` without momentum at seed i: p <- p - rate * (gradient + noise * normal).
    rate   a number, or one per step (a schedule's table)
    Points after a blow-up are NaN. Raises ValueError for a negative rate or noise.
    """
    if count("steps", steps) * count("seeds", seeds) > MOST_STEPS // 5:
        raise ValueError(f"steps and seeds must make at most {MOST_STEPS // 5:,} steps together, got {shown(steps)} and {shown(seeds)}")
    rates = np.broadcast_to(floats(rate, "rate"), (steps,))
    if not np.isfinite(rates).all() or (rates < 0).any() or number(noise, "noise") < 0:
        raise ValueError(f"need finite rates and a noise from 0 up; got rate={rate} and noise={noise}")
    kicks = [np.random.default_rng(seed).standard_normal((steps, 2)) for seed in range(seeds)]
    point = np.tile(np.array(start or surface.start, dtype=float), (seeds, 1))
    out = [point]
    with np.errstate(all="ignore"):
        for lr, kick in zip(rates, noise * np.swapaxes(kicks, 0, 1)):
            point = point - lr * (surface.gradient(point) + kick)
            point = np.where(np.abs(point).max(axis=1, keepdims=True) < 1e6, point, np.nan)
            out.append(point)
    return np.stack(out, axis=1)


def first_step(there) -> np.ndarray:
    """The first step at which each path is there, shape [paths]; infinite for a path that never is.

    there  shape [paths, steps + 1], true or false: for example np.abs(walked[..., 1]) > 0.5
    """
    there = np.asarray(there, dtype=bool)
    if there.ndim != 2:
        raise ValueError(f"there must have shape [paths, steps + 1], got {list(there.shape)}")
    return np.where(there.any(axis=1), there.argmax(axis=1), np.inf)


def median_and_quartiles(values, digits: int = 0) -> str:
    """ "41 (35 to 49)": the median, and the bounds of the middle half; "never" for what is not finite."""
    if not np.size(values):
        return "no runs"
    low, middle, high = np.quantile(np.asarray(values, dtype=float), [0.25, 0.5, 0.75], method="nearest")
    low, middle, high = (f"{x:,.{digits}f}" if np.isfinite(x) else "never" for x in (low, middle, high))
    return f"{middle} ({low} to {high})"
