"""What a run leaves behind: one value per step, one row per epoch. Numpy only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from .validate import floats, number

if TYPE_CHECKING:
    from .suggest import Candidates, Suggestions


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


@dataclass(frozen=True, repr=False)
class RangeTest:
    """What a range test measured: raw losses, nothing smoothed, nothing decided.

    `suggest`, `candidates` and `plot` read it; they leave it as it is.

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

    def __repr__(self):
        seeds = len(self.losses)
        parts = [f"{len(self.lrs)} rates from {self.lrs[0]:.3g} to {self.lrs[-1]:.3g}", f"{seeds} seed{'s' * (seeds != 1)}"]
        curve = smooth(self.loss, 0.8)
        if np.isfinite(curve).any():
            lowest = int(np.nanargmin(np.where(np.isfinite(curve), curve, np.nan)))
            parts.append(f"lowest loss {curve[lowest]:.3g} near {self.lrs[lowest]:.2g}")
        early = dict.fromkeys(why for why in self.stopped if why != "reached the highest rate")
        return "RangeTest: " + ", ".join(parts + [f"stopped: {why}" for why in early])

    def suggest(self, beta: float | None = None) -> Suggestions:
        """What each rule of `clrlib.suggest` says, as a table: rule -> Suggestion. None where the losses did not fall.

        Every seed is read alone, as if it were your only one, and with each rate beside the loss before its step, as
        the rules' packages have it. Several seeds give the median, and the range over seeds says how sure a rule is;
        `suggest().seeds` has them one by one. A mean curve would hide that: it is smoother than any that one can measure.

        beta  smooth all with it; None: each rule as its source does
        """
        from . import suggest

        each = []
        for losses in self.losses_before_step:
            measured = np.flatnonzero(~np.isnan(losses)).max(initial=-1) + 1  # NaN after it: the sweep had stopped
            each.append(suggest.suggest_all(self.lrs[:measured], losses[:measured], beta, steps=len(self.lrs)))
        return suggest.over_seeds(each)

    def candidates(self) -> Candidates:
        """(lowest, middle, highest): three rates for short runs, spanning what the rules say, a decade at least.

        If the best of the three is at an edge, try the one beyond it too: `candidates().above` or `.below`. Raises
        ValueError where the losses did not fall.
        """
        from . import suggest

        return suggest.candidates(self.suggest())

    def plot(self, ax=None, beta: float = 0.8):
        """Loss against rate on a logarithmic axis: raw losses faint, their smoothed mean, the rules' rates. Returns the axes.

        What exploded is cut off. ax: matplotlib axes to draw on; None: new ones. Raises ImportError without matplotlib.
        """
        if ax is None:
            ax = _new_axes()
        curve = smooth(self.loss, beta)
        for losses in self.losses:
            ax.plot(self.lrs, losses, ".", color="0.6", markersize=3)
        ax.plot(self.lrs, curve, color="0.2")
        ax.set(xscale="log", xlabel="learning rate", ylabel="training loss", title=_title(self.source))
        _cut_explosion(ax, self.losses, self.before)
        _mark(ax, self.lrs, curve, self.suggest())
        return ax

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


def _new_axes():
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        raise ImportError("RangeTest.plot needs matplotlib: pip install matplotlib") from None
    return plt.subplots()[1]


def _title(source) -> str:
    """A stand-in for CIFAR-10 is named on every figure."""
    return f"{source} (stand-in for CIFAR-10)" if source == "digits" else ""


def _cut_explosion(ax, losses, before):
    """Limit the losses shown to those between the lowest and a little above the start."""
    seen = losses[np.isfinite(losses)]
    if seen.size:
        low, start = seen.min(), np.nanmedian(np.append(before, losses[:, 0]))
        height = (start - low) or 1
        ax.set_ylim(low - 0.1 * height, start + 0.3 * height)


def _mark(ax, lrs, curve, suggestions):
    """A mark on the curve for every rule that has a rate, named in the legend; else the reason why there is none."""
    given = [found for found in suggestions.values() if found]
    for i, found in enumerate(sorted(given, key=lambda found: found.rate)):
        at = np.interp(found.rate, lrs, curve)
        ax.plot(found.rate, at, "osD^v<>P*"[i % 9], color=f"C{i}", label=f"{found.rule} {found.rate:.2g}")
    if given:
        ax.legend(fontsize="small")
    else:
        ax.text(0.5, 0.97, repr(suggestions).replace(": ", "\n"), transform=ax.transAxes, ha="center", va="top", fontsize="small")


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
