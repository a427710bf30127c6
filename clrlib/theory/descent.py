"""Gradient descent on surfaces that can be drawn: where the step size and momentum can be watched at work."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from clrlib.validate import MOST_STEPS, count, floats, number, positive


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


def ravine(flat: float = 1.0, steep: float = 10.0, degrees: float = 30.0) -> Surface:
    """The bowl of curvatures `flat` and `steep`, turned: p H p / 2 with H = R diag(flat, steep) R^T.

    Its start is turned with it, so that plain descent and momentum take the bowl's steps in another direction.
    """
    level, angle = bowl(flat, steep), np.deg2rad(number(degrees, "degrees"))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    start = tuple((turn @ level.start).tolist())
    return Surface("ravine", lambda p: level.value(np.asarray(p) @ turn), lambda p: level.gradient(np.asarray(p) @ turn) @ turn.T, start)


def saddle(up: float = 1.0, down: float = 0.1) -> Surface:
    """(up * x^2 - down * y^2) / 2: a pass between two hills, flat in its middle."""
    curvature = np.array([positive(up, "up"), -positive(down, "down")])
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
    rates = _rates(rate, steps)
    if (rates < 0).any() or not np.isfinite(rates).all() or not 0 <= number(momentum, "momentum") < 1 or number(noise, "noise") < 0:
        raise ValueError(
            f"need finite rates and noise from 0 up, a momentum in [0, 1); got rate={rate}, momentum={momentum}, noise={noise}"
        )
    if form not in ("pytorch", "sutskever"):
        raise ValueError(f"form {form!r} is unknown: 'pytorch' or 'sutskever'")
    shaken = np.random.default_rng(seed).standard_normal((steps, 2))
    point, velocity = _place(surface.start if start is None else start), np.zeros(2)
    path = [point]
    with np.errstate(all="ignore"):
        for lr, shake in zip(rates, shaken):
            gradient = surface.gradient(point) + noise * shake
            if form == "pytorch":
                velocity = momentum * velocity + gradient
                point = point - lr * velocity
            else:
                velocity = momentum * velocity - lr * gradient
                point = point + velocity
            point = point if np.abs(point).max() < 1e6 else np.full(2, np.nan)
            path.append(point)
    return np.array(path)


def _rates(rate, steps) -> np.ndarray:
    """One rate for each of `steps` steps."""
    rates = floats(rate, "rate")
    count("steps", steps, at_most=MOST_STEPS // 10)
    if rates.ndim and rates.shape != (steps,):
        raise ValueError(f"rate must be one number or one for each of {steps} steps, got {rates.shape}")
    return np.broadcast_to(rates, (steps,))


def _place(start) -> np.ndarray:
    """A starting point, as two finite numbers."""
    point = np.array(floats(start, "start"))
    if point.shape != (2,) or not np.isfinite(point).all():
        raise ValueError(f"start must be two finite numbers, got {start}")
    return point


def arrival(surface: Surface, path, share: float = 0.01) -> int | None:
    """The first step from which on the path stays within `share` of its first distance to the minimum; None if it never does.

    Raises ValueError for a surface that has no minimum.
    """
    if surface.lowest is None:
        raise ValueError(f"the {surface.name} has no minimum to arrive at")
    distance = np.linalg.norm(np.asarray(path) - surface.lowest, axis=-1)
    outside = np.flatnonzero(~(distance <= share * distance[0]))  # NaN is outside
    first = int(outside[-1]) + 1 if len(outside) else 0
    return first if first < len(distance) else None


def departure(path, distance: float = 1.0) -> int | None:
    """The first step at which the path is `distance` away from the ridge y = 0 of `saddle`; None if it never is."""
    away = np.flatnonzero(np.abs(np.asarray(path)[:, 1]) >= distance)
    return int(away[0]) if len(away) else None


# --- how large a rate may be -------------------------------------------------------------------------


def highest_rate(curvature: float, momentum: float = 0.0) -> float:
    """The rate at which descent on a quadratic stops converging: 2 (1 + momentum) / curvature (Polyak 1964)."""
    positive(curvature, "curvature")
    if not 0 <= number(momentum, "momentum") < 1:
        raise ValueError(f"momentum must lie in [0, 1), got {momentum}")
    return 2 * (1 + momentum) / curvature


def curvatures(surface: Surface, point=None, h: float = 1e-4) -> np.ndarray:
    """The surface's two curvatures at a point (its minimum, if none is given), in ascending order.

    They are the eigenvalues of the Hessian, which is taken from differences of the gradient over 2 h: exact
    for a quadratic, to about h^2 otherwise.
    """
    point = _place((surface.lowest or (0.0, 0.0)) if point is None else point)
    rows = (surface.gradient(point + h * np.eye(2)) - surface.gradient(point - h * np.eye(2))) / (2 * h)
    return np.linalg.eigvalsh((rows + rows.T) / 2)


def factors(curvature: float, rate: float, momentum: float = 0.0) -> np.ndarray:
    """What a step multiplies the distance by in a direction of this curvature, in the long run: complex, shape [2].

    The roots z of z^2 - (1 + momentum - rate * curvature) z + momentum = 0. Below size 1 the distance shrinks, a negative
    or complex one swings. Without momentum they are 1 - rate * curvature and 0.
    """
    middle = 1 + momentum - rate * curvature
    root = np.emath.sqrt(middle**2 - 4 * momentum)
    return np.array([middle + root, middle - root], dtype=complex) / 2


def outlook(curvature, rate: float, momentum: float = 0.0) -> str:
    """What descent does on a quadratic of these curvatures, at a constant rate and without noise.

    "diverges", "swings for ever" (exactly at the highest rate of the steepest direction), "escapes" (along a negative
    curvature), "converges, swinging" (some factor is negative or complex) or "converges". Raises ValueError for a rate
    of 0 or below, a momentum outside [0, 1), and where all curvatures are 0.
    """
    bends = np.atleast_1d(floats(curvature, "curvature"))
    if not 0 <= number(momentum, "momentum") < 1 or not bends.any() or not (np.abs(bends) < 1e100).all():
        raise ValueError(f"need a momentum in [0, 1) and a curvature other than 0; got momentum={momentum} and curvature={curvature}")
    share = positive(rate, "rate") * max(float(bends.max()), 0.0) / (2 * (1 + momentum))
    if share > 1 + 1e-9:
        return "diverges"
    if (bends < 0).any():
        return "escapes"
    if share > 1 - 1e-9:
        return "swings for ever"
    z = np.array([factors(bend, rate, momentum) for bend in bends[bends > 0]])
    return "converges, swinging" if (z.real < -1e-9).any() or (np.abs(z.imag) > 1e-9).any() else "converges"
