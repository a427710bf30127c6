"""Gradient descent on surfaces that can be drawn: where the step size and momentum can be watched at work."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from clrlib.validate import count


class Surface(NamedTuple):
    """A function of two variables and its gradient; both take arrays [..., 2].

    start  a point that shows its character;  lowest  a minimum, or None (a saddle has none)
    """

    name: str
    value: callable
    gradient: callable
    start: tuple[float, float]
    lowest: tuple[float, float] | None = (0.0, 0.0)


def bowl(flat: float = 1.0, steep: float = 1.0) -> Surface:
    """(flat * x^2 + steep * y^2) / 2, of curvatures `flat` and `steep`: a ravine when they differ.

    Plain descent is stable along each axis for a rate below 2 / curvature.
    """
    curvature = np.array([flat, steep], dtype=float)
    if not (np.isfinite(curvature).all() and (curvature > 0).all()):
        raise ValueError(f"curvatures must be positive, got {flat} and {steep}: for a saddle use saddle()")
    return Surface("bowl", lambda p: (curvature * np.square(p)).sum(-1) / 2, lambda p: curvature * p, (-4.0, 1.5))


def saddle(up: float = 1.0, down: float = 0.1) -> Surface:
    """(up * x^2 - down * y^2) / 2: a pass between two hills, flat in its middle."""
    curvature = np.array([up, -down], dtype=float)
    return Surface("saddle", lambda p: (curvature * np.square(p)).sum(-1) / 2, lambda p: curvature * p, (2.0, 1e-3), None)


def _rosenbrock(p):
    x, y = np.moveaxis(np.asarray(p, dtype=float), -1, 0)
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


def _rosenbrock_gradient(p):
    x, y = np.moveaxis(np.asarray(p, dtype=float), -1, 0)
    return np.stack([-2 * (1 - x) - 400 * x * (y - x**2), 200 * (y - x**2)], axis=-1)


def _beale_terms(p):
    x, y = np.moveaxis(np.asarray(p, dtype=float), -1, 0)
    return x, y, [c - x + x * y**k for k, c in ((1, 1.5), (2, 2.25), (3, 2.625))]


def _beale(p):
    return sum(term**2 for term in _beale_terms(p)[2])


def _beale_gradient(p):
    x, y, terms = _beale_terms(p)
    along_x = sum(2 * term * (y**k - 1) for k, term in enumerate(terms, start=1))
    along_y = sum(2 * term * k * x * y ** (k - 1) for k, term in enumerate(terms, start=1))
    return np.stack([along_x, along_y], axis=-1)


ROSENBROCK = Surface("Rosenbrock", _rosenbrock, _rosenbrock_gradient, (-1.2, 1.0), (1.0, 1.0))
BEALE = Surface("Beale", _beale, _beale_gradient, (1.0, 1.5), (3.0, 0.5))


def descend(
    surface: Surface, rate, momentum: float = 0.0, steps: int = 100, start=None, form: str = "pytorch", noise: float = 0.0, seed: int = 0
):
    """The path of gradient descent, shape [steps + 1, 2]; points after a blow-up are NaN.

    rate   a number, or one per step (a schedule's table)
    form   "pytorch": v = mu * v + g, p = p - lr * v;  "sutskever": v = mu * v - lr * g, p = p + v.
           They are one and the same until the rate changes (Sutskever et al. 2013, section 2)
    noise  standard deviation of Gaussian noise added to each gradient
    """
    rates = np.broadcast_to(np.asarray(rate, dtype=float), (count("steps", steps),))
    if (rates < 0).any() or not np.isfinite(rates).all() or not 0 <= momentum < 1:
        raise ValueError(f"need finite rates from 0 up and a momentum in [0, 1); got rate={rate} and momentum={momentum}")
    if form not in ("pytorch", "sutskever"):
        raise ValueError(f"form {form!r} is unknown: 'pytorch' or 'sutskever'")
    random, point, velocity = np.random.default_rng(seed), np.array(start or surface.start, dtype=float), np.zeros(2)
    path = [point]
    with np.errstate(all="ignore"):
        for lr in rates:
            gradient = surface.gradient(point) + noise * random.standard_normal(2)
            if form == "pytorch":
                velocity = momentum * velocity + gradient
                point = point - lr * velocity
            else:
                velocity = momentum * velocity - lr * gradient
                point = point + velocity
            point = point if np.abs(point).max() < 1e6 else np.full(2, np.nan)
            path.append(point)
    return np.array(path)


def highest_rate(curvature: float, momentum: float = 0.0) -> float:
    """The rate at which descent on a quadratic stops converging: 2 (1 + momentum) / curvature (Polyak 1964)."""
    if not curvature > 0:
        raise ValueError(f"curvature must be positive, got {curvature}")
    return 2 * (1 + momentum) / curvature
