"""Checks of chapter 07."""

from __future__ import annotations

import numpy as np

from clrlib.checks.exercise import close, exercise
from clrlib.history import History


@exercise
def half_life_steps(answer):
    """0.003 / 0.2 is 1.5 % a step, and log 2 / 0.015 is about 46 steps."""
    if close(answer, np.log(2) / 0.003):
        return "you left momentum out: at 0.8 a settled velocity carries the decay of five steps."
    return None if close(answer, np.log(2) / 0.015) else "rate per step = lr * wd / (1 - momentum); half-life = log(2) / rate."


@exercise
def decoupled_step(answer):
    """The decay acts on the weight alone; the velocity never sees it."""
    p, v, gradient, lr, momentum, decay = 2.0, 0.5, -0.3, 0.1, 0.9, 0.2
    velocity = momentum * v + gradient
    got = np.array(answer(p, v, gradient, lr, momentum, decay), dtype=float)
    right = [p - lr * velocity - lr * decay * p, velocity]
    if np.allclose(got, [p - lr * (velocity + decay * p), velocity + decay * p]):
        return "this is SGD with L2: the decay went into the velocity. Subtract lr * wd * p from the weight instead."
    return None if np.allclose(got, right) else "return (weight, velocity): v = momentum * v + gradient; p = p - lr * v - lr * wd * p."


@exercise
def same_shrinkage(answer):
    """15 / 8 the effective rate, so 8 / 15 of the weight decay."""
    if close(answer, 1e-4 * 0.8 / 3):
        return "that keeps lr * wd. The momentum changed too: keep lr * wd / (1 - momentum)."
    return None if close(answer, 1e-4 * 8 / 15) else "0.8 / (1 - 0.9) = 8 and 3 / (1 - 0.8) = 15; 8 * 1e-4 = 15 * wd."


@exercise
def own_decays(answer, chosen):
    """Your choice is within a point of the best that you tried. With one seed each, more can't be said."""
    if not isinstance(answer, dict) or not all(isinstance(history, History) for history in answer.values()):
        return "pass a dict: weight decay -> what fit(...) returned."
    if len(answer) < 3 or 0 not in answer or len({len(history) for history in answer.values()}) > 1:
        return "compare runs of one length, of three weight decays or more, 0 among them."
    if chosen is ... or chosen not in answer:
        return f"now choose one of {', '.join(f'{decay:g}' for decay in answer)}."
    best = max(answer, key=lambda decay: answer[decay].accuracy)
    lost = answer[best].accuracy - answer[chosen].accuracy
    return None if lost <= 1 else f"{chosen:g} is {lost:.1f} points behind {best:g} in your runs."
