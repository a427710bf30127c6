"""What momentum does to the length of a step: the effective rate, the rate that matches it, the two equations of momentum."""

from __future__ import annotations

import numpy as np

from clrlib.schedules import as_schedule


def effective_rate(lr, momentum) -> np.ndarray:
    """lr / (1 - momentum): the size of the steps that SGD with momentum takes in a steady slope."""
    return np.asarray(lr, dtype=float) / (1 - np.asarray(momentum, dtype=float))


FORMS = {"pytorch": "PyTorch", "sutskever": "Sutskever, Caffe"}


def effective(schedules: dict):
    """progress -> lr / (1 - momentum): how far a step goes, per unit of a steady gradient.

    schedules  "lr" and "momentum": a Schedule, a number or a function of progress each
    """
    lr, momentum = (as_schedule(schedules[name]) for name in ("lr", "momentum"))
    return lambda progress: effective_rate(lr(progress), momentum(progress))


def matched(schedules: dict, constant: float = 0.9):
    """progress -> the rate with which `constant` momentum has the effective rate of `schedules`: (1 - constant) lr / (1 - momentum).

    `fit` takes it as its "lr". Raises ValueError for a momentum outside [0, 1).
    """
    if not 0 <= constant < 1:
        raise ValueError(f"constant must lie in [0, 1), got {constant}")
    rate = effective(schedules)
    return lambda progress: (1 - constant) * rate(progress)


def step_lengths(rates, momentum, form: str = "pytorch") -> np.ndarray:
    """How far each step goes down a slope of 1, from rest; shape [steps].

    momentum  a number, or one per step
    form      "pytorch": v = mu * v + g, step lr * v;  "sutskever": v = mu * v + lr * g, step v.
              The second keeps with each gradient the rate that it was taken at (Sutskever et al. 2013, section 2)
    """
    if form not in FORMS:
        raise ValueError(f"form {form!r} is unknown: choose one of {', '.join(FORMS)}")
    rates = np.asarray(rates, dtype=float)
    velocity, lengths = 0.0, []
    for lr, mu in zip(rates, np.broadcast_to(momentum, rates.shape)):
        velocity = mu * velocity + (1.0 if form == "pytorch" else lr)
        lengths.append(lr * velocity if form == "pytorch" else velocity)
    return np.array(lengths)
