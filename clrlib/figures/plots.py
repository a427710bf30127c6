"""Draw functions: data and an optional axes in, axes out. The look is `figures`."""

from __future__ import annotations

import numpy as np

from clrlib.figures.marks import label_ends, mark_rates, name_source
from clrlib.figures.style import COLOURS, DASHES, SERIES, SIZES, Described, axes, blank, png, show, styled
from clrlib.history import History, RangeTest, smooth
from clrlib.schedules import as_schedule
from clrlib.theory.momentum import effective_rate

__all__ = [
    "COLOURS",
    "axes",
    "bars",
    "compare",
    "images",
    "live",
    "png",
    "policy",
    "range_test",
    "run",
    "schedule",
    "show",
]

LABELS = {"lr": "learning rate", "momentum": "momentum", "weight_decay": "weight decay"}


@styled
def schedule(curves, ax=None, name: str = "lr", steps: int | None = None, log: bool = False):
    """Draw one schedule, or a dict label -> schedule, over a run (over `steps` iterations if given)."""
    ax = ax if ax is not None else axes()
    curves = curves if isinstance(curves, dict) else {"": curves}
    progress = np.linspace(0, 1, 1001)
    x = progress if steps is None else progress * (steps - 1)
    colours = SERIES if len(curves) > 1 else (COLOURS.get(name, SERIES[0]),)
    for i, (label, curve) in enumerate(curves.items()):
        ax.plot(x, as_schedule(curve)(progress), color=colours[i % len(colours)], linestyle=DASHES[i % len(DASHES)], label=label)
    if len(curves) > 1:
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(curves), borderaxespad=0, handlelength=2.2, columnspacing=1.2)
    if log:
        ax.set_yscale("log")
    ax.set(xlabel="progress through the run" if steps is None else "iteration", ylabel=LABELS.get(name, name), xlim=(0, x[-1]))
    return ax


@styled
def policy(schedules: dict, steps: int, figure=None):
    """Learning rate, momentum and effective rate over a run of `steps` iterations, three panels on top of each other.

    A figure that it returned may be passed in again: only its lines move then, so that a slider redraws it quickly.
    """
    figure = figure if figure is not None else _policy_panels()
    progress = np.linspace(0, 1, 201)
    lr, momentum = (as_schedule(schedules[name])(progress) * np.ones_like(progress) for name in ("lr", "momentum"))
    for ax, values in zip(figure.axes, (lr, momentum, effective_rate(lr, momentum))):
        ax.lines[0].set_data(progress * (steps - 1), values)
        ax.set_xlim(0, steps - 1)
        ax.set_ylim(0, 1.12 * values.max() or 1)
    figure.axes[1].set_ylim(max(0, momentum.min() - 0.05), momentum.max() + 0.03)
    return figure


def _policy_panels():
    """Three empty panels with fixed margins."""
    figure = blank(SIZES["tall"])
    titles = {"lr": "learning rate", "momentum": "momentum", "effective": "effective rate: lr / (1 − momentum)"}
    for ax, (concept, title) in zip(figure.subplots(3, 1, sharex=True), titles.items()):
        ax.plot([], [], color=COLOURS[concept])
        ax.set_title(title, color=COLOURS[concept])
        ax.locator_params(axis="y", nbins=4)
    ax.set_xlabel("iteration")
    figure.subplots_adjust(left=0.09, right=0.97, top=0.94, bottom=0.1, hspace=0.5)
    return figure


@styled
def range_test(result: RangeTest, suggestions: dict | None = None, ax=None, beta: float = 0.9, raw: bool = True):
    """Loss against learning rate: raw points, the smoothed mean, a band over seeds, and where the rules point.

    The band is one sample standard deviation of the smoothed losses on each side.
    """
    ax = ax if ax is not None else axes()
    curves = smooth(result.losses, beta)
    mean = curves.mean(axis=0)
    if raw:
        for losses in result.losses:
            ax.plot(result.lrs, losses, ".", color=COLOURS["train"], markersize=3, alpha=0.5)
    if len(curves) > 1:
        spread = curves.std(axis=0, ddof=1)
        ax.fill_between(result.lrs, mean - spread, mean + spread, color=COLOURS["lr"], alpha=0.2, linewidth=0)
    ax.plot(result.lrs, mean, color=COLOURS["lr"])
    if result.held_out is not None:
        ax.plot(
            result.lrs, smooth(result.held_out, beta).mean(axis=0), color=COLOURS["held_out"], linestyle=DASHES[1], label="held-out images"
        )
        ax.legend(loc="lower left")
    seen = curves[np.isfinite(curves)]
    top = min(seen.max(), 2.5 * np.nanmedian(result.before)) if seen.size else 1
    bottom = np.nanmin(result.losses) if raw and np.isfinite(result.losses).any() else (seen.min() if seen.size else 0)
    height = top - bottom or 1
    ax.set(xlabel="learning rate", ylabel="training loss", ylim=(bottom - 0.05 * height, top + 0.1 * height))
    if result.lrs[0] > 0 and result.lrs[-1] / result.lrs[0] > 30:
        ax.set_xscale("log")
    mark_rates(ax, result.lrs, mean, suggestions or {})
    name_source(ax, result.source)
    return ax


@styled
def run(history: History, panels=None):
    """Training and held-out loss beside held-out accuracy, against epochs; returns the two axes."""
    panels = panels if panels is not None else axes(1, 2)
    epochs = history.column("epoch")
    losses, accuracy = panels
    losses.plot(epochs, history.column("train_loss"), ".-", color=COLOURS["train"], label="training")
    losses.plot(epochs, history.column("loss"), marker=".", linestyle=DASHES[1], color=COLOURS["held_out"], label="held out")
    losses.legend()
    losses.set(xlabel="epoch", ylabel="loss")
    accuracy.plot(epochs, history.column("accuracy"), ".-", color=COLOURS["held_out"])
    accuracy.set(xlabel="epoch", ylabel="held-out accuracy (%)")
    if len(epochs):
        accuracy.annotate(
            f"{history.accuracy:.1f} %",
            (epochs[-1], history.accuracy),
            (-4, 6),
            textcoords="offset points",
            ha="right",
            color=COLOURS["held_out"],
        )
    for ax in panels:
        ax.locator_params(axis="x", integer=True, min_n_ticks=1)
    name_source(losses, history.source)
    return panels


@styled
def compare(runs: dict, column: str = "accuracy", ax=None):
    """Mean and spread of an epoch column for several experiments: label -> list of History, one per seed."""
    ax = ax if ax is not None else axes()
    ends = []
    for i, (label, histories) in enumerate(runs.items()):
        epochs = histories[0].column("epoch")
        values = np.array([history.column(column) for history in histories])
        mean, colour = values.mean(axis=0), SERIES[i % len(SERIES)]
        ax.plot(epochs, mean, color=colour, linestyle=DASHES[i % len(DASHES)])
        if len(values) > 1:
            spread = values.std(axis=0, ddof=1)
            ax.fill_between(epochs, mean - spread, mean + spread, color=colour, alpha=0.15, linewidth=0)
        ends.append((mean[-1], label, colour))
    ax.set(xlabel="epoch", ylabel={"accuracy": "held-out accuracy (%)"}.get(column, column.replace("_", " ")))
    ax.locator_params(axis="x", integer=True)
    label_ends(ax, epochs[-1], ends)
    name_source(ax, next(iter(runs.values()))[0].source)
    return ax


@styled
def bars(values: dict, ax=None, xlabel: str = "test accuracy (%)"):
    """Label -> one value per run: the mean as a bar's end, every run as a dot, sorted as given."""
    ax = ax if ax is not None else axes()
    everything = np.concatenate([np.atleast_1d(v) for v in values.values()])
    margin = 0.15 * (np.ptp(everything) or 1)
    for i, runs in enumerate(values.values()):
        runs = np.atleast_1d(runs)
        ax.plot(runs, np.full(len(runs), -i), "o", color=SERIES[0], markersize=5, alpha=0.7, markeredgewidth=0)
        ax.plot([runs.mean()] * 2, [-i - 0.3, -i + 0.3], color=SERIES[0])
        ax.annotate(
            f"{runs.mean():.2f}",
            (runs.mean(), -i + 0.3),
            (0, 1),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=8,
            color=SERIES[0],
        )
    ax.set(xlabel=xlabel, xlim=(everything.min() - margin, everything.max() + margin), ylim=(-len(values) + 0.4, 0.75))
    ax.set_yticks([-i for i in range(len(values))], list(values))
    ax.grid(axis="y", visible=False)
    return ax


@styled
def images(pictures, names, columns: int = 10, source: str = "CIFAR-10"):
    """A grid of uint8 images [N, H, W, 3], each under its name."""
    rows = -(-len(pictures) // columns)
    figure = blank((7.2, 0.95 * rows), "constrained")
    panels = np.ravel(figure.subplots(rows, columns, squeeze=False))
    for ax in panels:
        ax.axis("off")
    for ax, picture, name in zip(panels, pictures, names):
        ax.imshow(np.asarray(picture))
        ax.set_title(name, fontsize=8, fontweight="normal", loc="center", pad=2)
    if source != "CIFAR-10":
        figure.suptitle(f"{source} (stand-in for CIFAR-10)", fontsize=9, color=COLOURS["held_out"])
    return panels


def live(alt: str = "Training so far: losses and held-out accuracy by epoch"):
    """A `watch` for `fit`: redraws `run` in place after each epoch."""
    from IPython.display import display

    handle = display(display_id=True)
    return lambda history: handle.update(Described(png(run(history)), alt))
