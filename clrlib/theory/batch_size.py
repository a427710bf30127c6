"""What a batch's size changes: the rate that goes with it, the noise that is left, the steps and images a run takes. Numpy only."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from clrlib.validate import count, number

RULES = {"linear": 1.0, "root": 0.5}  # the power of the batch's ratio


class Noise(NamedTuple):
    """How far the gradients of random batches lie from the true one.

    spread  the sum of the variances of one image's gradient, over all weights: tr(covariance)
    length  the squared length of the true gradient
    """

    spread: float
    length: float

    @property
    def scale(self) -> float:
        """The batch size at which noise and gradient are equally long: spread / length (McCandlish et al. 2018, section 2.2)."""
        return self.spread / self.length


def scaled_rate(rate: float, batch: int, to: int, rule: str = "linear") -> float:
    """The rate for batches of `to` images, from one that suits batches of `batch`.

    linear  rate * (to / batch)          Goyal et al. 2017, arXiv:1706.02677
    root    rate * (to / batch) ** 0.5   which Krizhevsky 2014, arXiv:1404.5997, derives (and finds linear the better in practice)
    Raises ValueError for another rule.
    """
    if rule not in RULES:
        raise ValueError(f"rule {rule!r} is unknown: choose one of {', '.join(RULES)}")
    return number(rate, "rate") * (count("to", to) / count("batch", batch)) ** RULES[rule]


def noise_of(errors: dict, length: float) -> Noise:
    """The noise behind squared distances from the true gradient: batch size -> one distance per batch drawn.

    Independent images make the mean distance spread / size; each size's estimate, size * mean, counts alike.
    """
    if not errors:
        raise ValueError("errors is empty: pass {batch size: squared distances}")
    return Noise(float(np.mean([size * np.mean(distances) for size, distances in errors.items()])), float(length))


def noise_from_two(small: tuple[int, float], large: tuple[int, float]) -> Noise:
    """The same from mean squared gradient *lengths* at two batch sizes, (size, length) each, where the true gradient is unknown.

    A batch's gradient has the expected squared length `length + spread / size`: two equations, two unknowns
    (McCandlish et al. 2018, appendix A.1). With few batches the answer can be far off, even negative.
    """
    (b, short), (c, long) = small, large
    if not count("small", b) < count("large", c):
        raise ValueError(f"the second batch must be the larger one, got {b} and {c}")
    return Noise((short - long) / (1 / b - 1 / c), (c * long - b * short) / (c - b))


def steps_needed(batch, scale: float):
    """Steps to a target, in multiples of the fewest, which endless batches need: 1 + scale / batch (McCandlish et al. 2018)."""
    return 1 + scale / np.asarray(batch, dtype=float)


def images_needed(batch, scale: float):
    """Images to that target, in multiples of the fewest, which the smallest batches need: 1 + batch / scale."""
    return 1 + np.asarray(batch, dtype=float) / scale
