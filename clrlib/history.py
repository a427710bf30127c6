"""What a run leaves behind: one value per step, one row per epoch. Numpy only."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .validate import floats, number


@dataclass
class History:
    """The log of one run.

    steps   name -> array of shape [steps]: "lr", "momentum", "weight_decay", "loss" (raw, on the batch, before the step)
    epochs  one dict per finished epoch: epoch, step, train_loss, train_accuracy (running means over
            the epoch), loss, accuracy (on held-out images, after it), seconds. Accuracies are in percent
    source  the images it was trained on: "CIFAR-10", or "digits" for the stand-in
    how     how its steps were run: "eager", "compiled and captured", ...; "" when unknown
    """

    steps: dict[str, np.ndarray] = field(default_factory=dict)
    epochs: list[dict] = field(default_factory=list)
    source: str = "CIFAR-10"
    how: str = ""

    def __len__(self):
        return len(next(iter(self.steps.values()), ()))

    def column(self, name: str) -> np.ndarray:
        """One column of the epoch rows, shape [epochs]; NaN where a row lacks it."""
        return np.array([row.get(name, np.nan) for row in self.epochs], dtype=float)

    @property
    def accuracy(self) -> float:
        """Held-out accuracy after the last epoch, in percent: never the best epoch. NaN before the first."""
        return float(self.column("accuracy")[-1]) if self.epochs else float("nan")

    @property
    def seconds(self) -> float:
        """Training time, evaluation not counted."""
        return float(self.column("seconds").sum())


@dataclass(frozen=True)
class RangeTest:
    """What a range test measured: raw losses, nothing smoothed, nothing decided.

    lrs      shape [steps]: the rates, rising
    losses   shape [seeds, steps]: losses[:, i] is the loss on the next batch after the step at lrs[i];
             NaN after a stop
    before   shape [seeds]: the loss before the first step, so losses shifted by one give the other pairing
    held_out shape [seeds, steps] or None: loss on held-out images after the step
    stopped  one line per seed: why it ended
    """

    lrs: np.ndarray
    losses: np.ndarray
    before: np.ndarray
    held_out: np.ndarray | None = None
    stopped: tuple[str, ...] = ()
    source: str = "CIFAR-10"

    @property
    def loss(self) -> np.ndarray:
        """The mean over seeds, shape [steps]; NaN from the first step that any seed lacks."""
        return self.losses.mean(axis=0)

    @property
    def losses_before_step(self) -> np.ndarray:
        """The pairing most code uses, shape [seeds, steps]: each rate with the loss before its own step."""
        return np.column_stack([self.before, self.losses[:, :-1]])

    @classmethod
    def of(cls, histories) -> RangeTest:
        """One range test from recorded sweeps, a History each; seeds that stopped early are padded with NaN."""
        histories = list(histories)
        longest = max(histories, key=len)
        losses = np.full((len(histories), len(longest)), np.nan)
        for row, history in zip(losses, histories):
            row[: len(history)] = history.steps["loss"]
        before = np.array([history.steps["before"][0] for history in histories])
        return cls(longest.steps["lr"], losses, before, source=longest.source)


def smooth(values, beta: float = 0.9) -> np.ndarray:
    """Exponential moving average with its start-up bias corrected, along the last axis.

    a_i = beta * a_(i-1) + (1 - beta) * x_i,  divided by 1 - beta ** (i + 1)  (Kingma and Ba 2015,
    section 3). It lags by about beta / (1 - beta) steps: 9 at 0.9, 49 at 0.98. Values that are not
    finite stay so, and so does everything after them: smoothing never hides a divergence.
    """
    if not 0 <= number(beta, "beta") < 1:
        raise ValueError(f"beta must lie in [0, 1), got {beta}: 0 smooths nothing, 0.9 is usual")
    values = np.atleast_1d(floats(values, "values"))
    out, average = np.empty_like(values), np.zeros(values.shape[:-1])
    for i in range(values.shape[-1]):
        average = beta * average + (1 - beta) * values[..., i]
        out[..., i] = average / (1 - beta ** (i + 1))
    return out


def thin(history: History, most: int = 200) -> History:
    """The same history with at most `most` steps kept, evenly spread, first and last among them; adds "step"."""
    n = len(history)
    keep = np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int)) if n else np.array([], int)
    steps = {"step": keep} | {name: np.asarray(column)[keep] for name, column in history.steps.items() if name != "step"}
    return History(steps, history.epochs, history.source)
