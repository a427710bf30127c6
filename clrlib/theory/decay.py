"""What weight decay does to a weight, and the search for a good one. Numpy only."""

from __future__ import annotations

import math

import numpy as np

from clrlib.schedules import as_schedule
from clrlib.validate import MOST_STEPS, count, number


def decay_rate(lr: float, weight_decay: float, momentum: float = 0.0) -> float:
    """lr * weight_decay / (1 - momentum): the share of itself that an idle weight loses per step of SGD.

    Idle means that its gradient is 0. With momentum it holds once the velocity has settled, and while the
    weight does not swing (see `swings`). Raises ValueError outside lr >= 0, weight_decay >= 0, 0 <= momentum < 1.

    >>> round(decay_rate(3.0, 1e-4, 0.8), 6)
    0.0015
    """
    lr, weight_decay, momentum = (number(x, name) for x, name in ((lr, "lr"), (weight_decay, "weight_decay"), (momentum, "momentum")))
    if lr < 0 or weight_decay < 0 or not 0 <= momentum < 1:
        raise ValueError(f"need lr and weight_decay from 0 up and momentum in [0, 1); got {lr}, {weight_decay} and {momentum}")
    return lr * weight_decay / (1 - momentum)


def half_life(lr: float, weight_decay: float, momentum: float = 0.0) -> float:
    """Steps after which an idle weight has half its size: log 2 / -log(1 - decay_rate); infinite without decay.

    Raises ValueError where the rate is 1 or more: there nothing is left to halve.
    """
    rate = decay_rate(lr, weight_decay, momentum)
    if rate >= 1:
        raise ValueError(f"lr {lr:g}, weight decay {weight_decay:g} and momentum {momentum:g} take the whole weight in one step")
    return math.log(2) / -math.log1p(-rate) if rate else math.inf


def swings(lr: float, weight_decay: float, momentum: float) -> bool:
    """Whether an idle weight overshoots 0 and comes out on the other side: lr * weight_decay > (1 - sqrt(momentum))^2.

    There the two roots of z^2 - (1 + momentum - lr * weight_decay) z + momentum become complex (Polyak 1964), and
    `decay_rate` no longer describes the weight.
    """
    return decay_rate(lr, weight_decay, momentum) * (1 - momentum) > (1 - math.sqrt(momentum)) ** 2


def idle_weight(schedules: dict, steps: int) -> np.ndarray:
    """What torch.optim.SGD leaves of a weight of 1 whose gradient is 0, shape [steps + 1]; the first entry is 1.

    schedules  "lr" and "weight_decay", and "momentum" (0 if not given): numbers or Schedules, as `fit` takes them
    v = momentum * v + weight_decay * p;  p = p - lr * v
    """
    progress = np.linspace(0, 1, count("steps", steps, at_most=MOST_STEPS // 10))
    curves = [({"momentum": 0.0} | schedules)[name] for name in ("lr", "weight_decay", "momentum")]
    tables = [as_schedule(curve)(progress) * np.ones(steps) for curve in curves]
    weight, velocity, path = 1.0, 0.0, [1.0]
    for lr, decay, momentum in zip(*(table.tolist() for table in tables)):  # plain floats overflow without a warning
        velocity = momentum * velocity + decay * weight
        weight -= lr * velocity
        path.append(weight)
    if not np.isfinite(path).all():
        raise ValueError("the weight leaves the range of floats: lower lr, weight_decay or momentum")
    return np.array(path)


def bisect_exponent(accuracy_of, start=(-3.0, -4.0, -5.0), rounds: int = 1) -> dict[float, float]:
    """Try weight decays 10^e for e in `start`; then, `rounds` times, go half the spacing to both sides of the best.

    accuracy_of  exponent -> accuracy. It is asked once for each exponent.
    Returns exponent -> accuracy in the order tried (Smith 2018, arXiv:1803.09820, section 4.4).

    >>> list(bisect_exponent(lambda e: -((e + 4) ** 2)))
    [-3.0, -4.0, -5.0, -3.5, -4.5]
    """
    start = [number(e, "start") for e in start]
    if len(set(start)) < 2:
        raise ValueError(f"start needs two different exponents or more, got {start}")
    tried = {e: accuracy_of(e) for e in start}
    spacing = abs(start[1] - start[0])
    for _ in range(count("rounds", rounds, at_least=0)):
        spacing, best = spacing / 2, max(tried, key=tried.get)
        tried |= {e: accuracy_of(e) for e in (best + spacing, best - spacing) if e not in tried}
    return tried
