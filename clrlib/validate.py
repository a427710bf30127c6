"""Checks of plain numbers: a value that can be used, or an error that names it and says what would do."""

from __future__ import annotations

import math
from numbers import Integral, Real

import numpy as np

MOST_STEPS = 10_000_000  # values of a table: 80 MB, and a thousand times the article's run


def count(name: str, value, at_least: int = 1, at_most: int = 2**63 - 1) -> int:
    """`value` as an int, or an error that names it."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be a whole number, got {shown(value)}")
    if value < at_least:
        raise ValueError(f"{name} must be at least {at_least}, got {shown(value)}")
    if value > at_most:
        raise ValueError(f"{name} must be at most {at_most:,}, got {shown(value)}")
    return int(value)


def number(value, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {shown(value)}")
    try:
        found = float(value)
    except OverflowError:  # a whole number too large for a float
        found = math.inf
    if not math.isfinite(found):
        raise ValueError(f"{name} must be finite, got {shown(value)}")
    return found


def floats(values, name: str) -> np.ndarray:
    """`values` as an array of floats; NaN and infinity may stand in it. Raises ValueError or TypeError for what is none."""
    try:
        if np.iscomplexobj(values):
            raise TypeError(f"{name} must be real numbers, got {shown(values)}")
        return np.asarray(values, dtype=float)
    except OverflowError:
        raise ValueError(f"{name} must be finite, got {shown(values)}") from None


def shown(value) -> str:
    """A value as an error names it: at most 100 characters, also of a number that Python refuses to write out."""
    try:
        return f"{value!r:.100}"
    except ValueError:
        return "a number of thousands of digits"


def fraction(value, name: str) -> float:
    if not 0 < number(value, name) < 1:
        raise ValueError(f"{name} must lie between 0 and 1, as a fraction of the run; got {value}")
    return float(value)


def positive(value, name: str) -> float:
    if number(value, name) <= 0:
        raise ValueError(f"{name} must be above 0, got {value}")
    return float(value)


def bounds(low, high):
    if number(low, "low") >= number(high, "high"):
        raise ValueError(f"low must be smaller than high; got low={low}, high={high}: swap them?")
