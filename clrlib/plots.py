"""Draw functions: data and an optional axes in, axes out. No pyplot, no state; one style file for all."""

from __future__ import annotations

import functools
import io
from pathlib import Path

import matplotlib as mpl
import matplotlib.ticker
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from clrlib.history import History, RangeTest, smooth
from clrlib.schedules import as_schedule

STYLE = mpl.rc_params_from_file(Path(__file__).with_name("style.mplstyle"), use_default_template=False)
SIZES = {"wide": (7.2, 3.4), "tall": (7.2, 5.4)}

# One colour per concept in all chapters: safe for the colour-blind, and 4.5:1 or better on white as text.
COLOURS = {
    "lr": "#0066A6", "momentum": "#B34700", "weight_decay": "#00734F", "effective": "#6B4C9A",
    "train": "#767676", "held_out": "#A3195B", "loss": "#333333",
}  # fmt: skip
SERIES = ("#0066A6", "#B34700", "#00734F", "#A3195B", "#6B4C9A", "#6B5B00", "#333333")
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (7, 1.5, 1.5, 1.5)), (0, (3, 1)), (0, (9, 2)), (0, (1, 1)))
LABELS = {"lr": "learning rate", "momentum": "momentum", "weight_decay": "weight decay"}


def styled(draw):
    """Run a draw function under the course's style, whatever the notebook's own settings are."""

    @functools.wraps(draw)
    def under_style(*args, **kwargs):
        with mpl.rc_context(STYLE):
            return draw(*args, **kwargs)

    return under_style


@styled
def axes(rows: int = 1, columns: int = 1, size: str = "wide", **kwargs):
    """Fresh axes on a fresh Figure: one Axes, or an array [rows, columns] of them (squeezed)."""
    figure = Figure(figsize=SIZES[size], layout="constrained")
    FigureCanvasAgg(figure)
    return figure.subplots(rows, columns, **kwargs)


def png(drawn) -> bytes:
    """The picture of a Figure, or of the Figure that an Axes (or an array of them) belongs to."""
    figure = drawn if isinstance(drawn, Figure) else np.ravel(drawn)[0].figure
    buffer = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(buffer, format="png", metadata={"Software": None}, pil_kwargs={"compress_level": 6})
    return buffer.getvalue()


def show(drawn, alt: str):
    """Display a figure in a notebook, with a text for those who can't see it."""
    from IPython.display import Image, display

    if not alt.strip():
        raise ValueError("alt is empty: say in a sentence what the figure shows")
    display(Image(png(drawn), format="png", alt=alt))


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
        ax.legend(loc="upper right")
    if log:
        ax.set_yscale("log")
    ax.set(xlabel="progress through the run" if steps is None else "iteration", ylabel=LABELS.get(name, name), xlim=(0, x[-1]))
    return ax


def effective_rate(lr, momentum) -> np.ndarray:
    """lr / (1 - momentum): the size of the steps that SGD with momentum takes in a steady slope."""
    return np.asarray(lr, dtype=float) / (1 - np.asarray(momentum, dtype=float))


@styled
def policy(schedules: dict, steps: int, figure: Figure | None = None) -> Figure:
    """Learning rate, momentum and effective rate over a run of `steps` iterations, three panels on top of each other.

    Draws into `figure`, cleared, if one is given; fixed margins, so that a slider redraws it quickly.
    """
    if figure is None:
        figure = Figure(figsize=SIZES["tall"])
        FigureCanvasAgg(figure)
    figure.clear()
    progress = np.linspace(0, 1, 401)
    lr, momentum = (as_schedule(schedules[name])(progress) * np.ones_like(progress) for name in ("lr", "momentum"))
    rows = {"learning rate": (lr, "lr"), "momentum": (momentum, "momentum"), "lr / (1 − momentum)": (effective_rate(lr, momentum), "effective")}
    panels = figure.subplots(3, 1, sharex=True)
    for ax, (label, (values, concept)) in zip(panels, rows.items()):
        ax.plot(progress * (steps - 1), values, color=COLOURS[concept])
        ax.set_title(label, color=COLOURS[concept])
        low, high = values.min(), values.max()
        ax.set_ylim(0 if concept != "momentum" else max(0, low - 0.05), (high + 0.03) if concept == "momentum" else 1.12 * high or 1)
        ax.margins(x=0)
    panels[-1].set_xlabel("iteration")
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
        ax.plot(result.lrs, smooth(result.held_out, beta).mean(axis=0), color=COLOURS["held_out"], linestyle=DASHES[1], label="held-out images")
        ax.legend(loc="lower left")
    seen = curves[np.isfinite(curves)]
    top = min(seen.max(), 2.5 * np.nanmedian(result.before)) if seen.size else 1
    bottom = np.nanmin(result.losses) if raw and np.isfinite(result.losses).any() else (seen.min() if seen.size else 0)
    height = top - bottom or 1
    ax.set(xlabel="learning rate", ylabel="training loss", ylim=(bottom - 0.05 * height, top + 0.1 * height))
    if result.lrs[0] > 0 and result.lrs[-1] / result.lrs[0] > 30:
        ax.set_xscale("log")
    _point(ax, result.lrs, mean, suggestions or {})
    _name_source(ax, result.source)
    return ax


@styled
def run(history: History, panels=None):
    """Training and held-out loss beside held-out accuracy, against epochs; returns the two axes."""
    panels = panels if panels is not None else axes(1, 2)
    epochs = history.column("epoch")
    losses, accuracy = panels
    losses.plot(epochs, history.column("train_loss"), ".-", color=COLOURS["train"], label="training")
    losses.plot(epochs, history.column("loss"), ".-", color=COLOURS["held_out"], label="held out")
    losses.legend()
    losses.set(xlabel="epoch", ylabel="loss")
    accuracy.plot(epochs, history.column("accuracy"), ".-", color=COLOURS["held_out"])
    accuracy.set(xlabel="epoch", ylabel="held-out accuracy (%)")
    if len(epochs):
        accuracy.annotate(f"{history.accuracy:.1f} %", (epochs[-1], history.accuracy), (-4, 6), textcoords="offset points", ha="right", color=COLOURS["held_out"])
    for ax in panels:
        ax.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True, min_n_ticks=1))
    _name_source(losses, history.source)
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
    ax.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
    _label_ends(ax, epochs[-1], ends)
    _name_source(ax, next(iter(runs.values()))[0].source)
    return ax


@styled
def bars(values: dict, ax=None, xlabel: str = "test accuracy (%)"):
    """Label -> one value per run: the mean as a bar's end, every run as a dot, sorted as given."""
    ax = ax if ax is not None else axes()
    everything = np.concatenate([np.atleast_1d(v) for v in values.values()])
    margin = 0.15 * (np.ptp(everything) or 1)
    for i, (label, runs) in enumerate(values.items()):
        runs = np.atleast_1d(runs)
        ax.plot(runs, np.full(len(runs), -i), "o", color=SERIES[0], markersize=5, alpha=0.45, markeredgewidth=0)
        ax.plot([runs.mean()] * 2, [-i - 0.3, -i + 0.3], color=SERIES[0])
        ax.annotate(f"{runs.mean():.2f}", (runs.mean(), -i + 0.3), (0, 1), textcoords="offset points", ha="center", va="bottom", fontsize=8, color=SERIES[0])
    ax.set(xlabel=xlabel, xlim=(everything.min() - margin, everything.max() + margin), ylim=(-len(values) + 0.4, 0.75))
    ax.set_yticks([-i for i in range(len(values))], list(values))
    ax.grid(axis="y", visible=False)
    return ax


def live(alt: str = "training so far"):
    """A `watch` for `fit`: redraws `run` in place after each epoch."""
    from IPython.display import Image, display

    handle = display(display_id=True)
    return lambda history: handle.update(Image(png(run(history)), format="png", alt=alt))


def _point(ax, lrs, mean, suggestions):
    """Mark each suggestion on the curve, labels spread over the height so that they don't collide."""
    given = sorted((s for s in suggestions.values() if s), key=lambda s: s.rate)
    low, high = ax.get_ylim()
    for i, suggestion in enumerate(given):
        colour = SERIES[(i + 1) % len(SERIES)]
        ax.axvline(suggestion.rate, color=colour, linewidth=1, linestyle=DASHES[1])
        height = high - (0.06 + 0.085 * i) * (high - low)
        ax.annotate(f"{suggestion.rule} {suggestion.rate:.2g}", (suggestion.rate, height), (4, 0), textcoords="offset points", color=colour, fontsize=9, va="center")
        ax.plot(suggestion.rate, np.interp(suggestion.rate, lrs, mean), "o", color=colour, markersize=5)


def _label_ends(ax, x, ends):
    """Name each line at its right end, pushed apart where they would overlap."""
    low, high = ax.get_ylim()
    gap, placed = 0.062 * (high - low), -np.inf
    for value, label, colour in sorted(ends):
        placed = max(value, placed + gap)
        ax.annotate(f"{label}  {value:.2f}", (x, value), (1.015, placed), xycoords="data", textcoords=("axes fraction", "data"), color=colour, fontsize=9, va="center", annotation_clip=False)
    ax.set_ylim(low, max(high, placed + gap / 2))


def _name_source(ax, source):
    """Say so on the figure when it was not made from CIFAR-10."""
    if source == "digits":
        ax.set_title("digits (stand-in for CIFAR-10)", color=COLOURS["held_out"])
