"""The article's printed log, and the arithmetic that gives the true counts back. Plain Python.

Source of every number: CLR.ipynb of github.com/nachiket273/One_Cycle_Policy, outputs of its five training cells.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

TRAIN, TEST = 50_000, 10_000  # images it counted in an epoch


class Row(NamedTuple):
    """What the log prints of one run, in percent: (trn_acc, val_acc) of its first and of its last epoch.

    before  val_acc of the last epoch but one
    """

    name: str
    about: str
    epochs: int
    first: tuple[float, float]
    last: tuple[float, float]
    before: float


LOG = (
    Row("1", "95 epochs, momentum 0.95–0.80", 95, (31.38600000, 30.28833333), (91.18145870, 91.17242105), 91.10328014),
    Row("2", "95 epochs, momentum 0.9", 95, (54.36200000, 53.41333333), (91.49191564, 91.48384211), 91.41648936),
    Row("3", "50 epochs, weight decay 1e-4", 50, (49.01400000, 48.58333333), (85.97304348, 85.98013333), 85.73448980),
    Row("4", "50 epochs, weight decay 1e-3", 50, (29.50200000, 28.33500000), (59.66033445, 59.52410000), 59.58863946),
    Row("5", "50 epochs, weight decay 1e-5", 50, (27.63000000, 28.53833333), (87.78581940, 87.77890000), 87.57809524),
)


def true_counts(trn_acc: float, val_acc: float, before: float, epoch: int) -> tuple[float, float]:
    """Right answers in one epoch, (of 50,000 training images, of 10,000 test images), from running means in percent.

    trn_acc, val_acc  as printed after this epoch;  before: val_acc printed after the one before it (any number for epoch 1)

        train = trn_acc (60,000 epoch - 10,000) - before 60,000 (epoch - 1)
        test  = val_acc 60,000 epoch - trn_acc (60,000 epoch - 10,000)

    Eight printed decimals leave an error below 0.001, so true counts come out whole. Raises ValueError for epoch < 1.

    >>> [round(count, 3) for count in true_counts(91.18145870, 91.17242105, 91.10328014, 95)]
    [50000.0, 8603.0]
    """
    if epoch < 1:
        raise ValueError(f"epoch must be 1 or more, got {epoch}: it counts from 1, as the log does")
    seen = (TRAIN + TEST) * epoch
    after_training = trn_acc / 100 * (seen - TEST)
    return after_training - before / 100 * (seen - TRAIN - TEST), val_acc / 100 * seen - after_training


def running_accuracy(epochs: list[dict]) -> np.ndarray:
    """What the article's notebook printed after each epoch: right answers over all batches so far, training and test alike.

    epochs  the rows of a run; 50,000 training and 10,000 test images an epoch, as there. In percent, shape [epochs]
    """
    per_epoch = np.array([50_000 * row["train_accuracy"] + 10_000 * row["accuracy"] for row in epochs])
    return np.cumsum(per_epoch) / (60_000 * np.arange(1, len(epochs) + 1))
