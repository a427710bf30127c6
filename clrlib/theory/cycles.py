"""Where a cyclical rate has its valleys."""

from __future__ import annotations

import numpy as np


def valleys(values) -> np.ndarray:
    """The steps at which a rate turns upwards, and the last step if it ends on its way down: where to stop, or to keep a copy.

    >>> valleys([1, 2, 3, 2, 1, 2, 3, 2, 1]).tolist()
    [4, 8]
    """
    slope = np.diff(np.asarray(values, dtype=float))
    moves = np.flatnonzero(slope)  # where it is level, as between two equal lowest rates, nothing turns
    turns = moves[:-1][(slope[moves[:-1]] < 0) & (slope[moves[1:]] > 0)] + 1
    return np.append(turns, len(slope)) if len(moves) and slope[moves[-1]] < 0 else turns
