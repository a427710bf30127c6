"""Checks of plain numbers: a value that can be used, or an error that names it and says what would do."""

from __future__ import annotations

import sys
from numbers import Integral, Real

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
    if not -sys.float_info.max <= value <= sys.float_info.max:  # also of a whole number too large for a float
        raise ValueError(f"{name} must be finite, got {shown(value)}")
    return float(value)


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
