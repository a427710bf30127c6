"""Noise, drawn: equal runs as dots, a raw loss and its average, power, the best of many, a running mean beside the truth."""

from __future__ import annotations

import numpy as np

from clrlib.figures.marks import name_source
from clrlib.figures.style import COLOURS, DASHES, SERIES, axes, blank, styled
from clrlib.history import History, smooth
from clrlib.stats import standard_error
from clrlib.theory.audit import running_accuracy


@styled
def seeds(groups: dict, xlabel: str = "accuracy (%)", source: str = "CIFAR-10"):
    """Label -> one accuracy per seed: a panel each, every run a dot over a histogram, with mean, spread and standard error.

    Returns the panels. Each needs two runs or more; the panels have axes of their own.
    """
    xlabel += "" if source == "CIFAR-10" else f", {source} (stand-in for CIFAR-10)"
    row = blank((7.2, 3.1), "constrained").subplots(1, len(groups), squeeze=False)[0]
    for ax, (label, values) in zip(row, groups.items()):
        _dots(ax, np.asarray(values, dtype=float))
        ax.set(xlabel=xlabel, ylabel="runs", title=f"{label} (n = {len(values)})" if label else f"n = {len(values)}")
    return row


def _dots(ax, values):
    """One panel of `seeds`: the histogram above 0, the dots, the spread and the standard error below."""
    mean, spread, error = values.mean(), values.std(ddof=1), standard_error(values)
    counts, *_ = ax.hist(values, bins=min(10, 2 + len(values) // 2), color=COLOURS["held_out"], alpha=0.18)
    top = counts.max()
    unit = top / 9
    ax.plot(values, np.full(len(values), -unit), "o", color=COLOURS["held_out"], markersize=6, alpha=0.55, markeredgewidth=0)
    for height, reach, width, text in ((-2.4, spread, 2, "one run: ±"), (-3.8, error, 5, "the mean: ±")):
        ax.plot([mean - reach, mean + reach], [height * unit] * 2, color=COLOURS["loss"], linewidth=width, solid_capstyle="butt")
        place = (max(mean + reach, mean + 0.3 * spread), height * unit)
        ax.annotate(f"{text}{reach:.2f}", place, (6, 0), textcoords="offset points", va="center", fontsize=9)
    ax.plot([mean, mean], [-4.6 * unit, top * 1.06], color=COLOURS["loss"], linewidth=1)
    ax.annotate(f"mean {mean:.2f}", (mean, top * 1.06), (0, 2), textcoords="offset points", ha="center", va="bottom", fontsize=9)
    ax.set(ylim=(-4.9 * unit, top * 1.2), xlim=(mean - 3.4 * spread, mean + 3.4 * spread))
    ax.set_yticks([tick for tick in ax.get_yticks() if 0 <= tick <= top and tick == int(tick)])


@styled
def loss_curve(history: History, beta: float = 0.9, ax=None):
    """A run's loss per step: raw dots and their smoothed average."""
    ax = ax if ax is not None else axes()
    losses = np.asarray(history.steps["loss"])
    ax.plot(losses, ".", color=COLOURS["train"], markersize=4, alpha=0.7)
    ax.plot(smooth(losses, beta), color=COLOURS["lr"])
    ax.annotate("dots: each batch", (1, 1), (-4, -4), "axes fraction", "offset points", color=COLOURS["train"], ha="right", va="top")
    last = smooth(losses, beta)[-1]
    ax.annotate(
        f"smoothed, β = {beta:g}",
        (len(losses) - 1, last),
        (6, 0),
        textcoords="offset points",
        va="center",
        color=COLOURS["lr"],
        annotation_clip=False,
    )
    ax.set(xlabel="step", ylabel="training loss", xlim=(0, len(losses) - 1))
    name_source(ax, history.source)
    return ax


@styled
def found(power: dict, needed: dict, ax=None):
    """Label -> (seeds a side, share of experiments that found the difference), a line each; a dot where `needed` puts 80 %."""
    ax = ax if ax is not None else axes()
    for i, (label, (runs, shares)) in enumerate(power.items()):
        colour = SERIES[i % len(SERIES)]
        ax.plot(runs, 100 * np.asarray(shares), color=colour, linestyle=DASHES[i % len(DASHES)])
        ax.plot(needed[label], 80, "o", color=colour)
        ax.annotate(
            f"{label}: {needed[label]} seeds", (needed[label], 80), (7, -9), textcoords="offset points", color=colour, va="top", fontsize=9
        )
    ax.set_xscale("log")
    ax.set(xlabel="seeds a side", ylabel="experiments that find it (%)", ylim=(0, 104), xlim=(0.85 * runs[0], 1.4 * runs[-1]))
    ax.set_xticks([n for n in (2, 5, 10, 20, 50, 100, 200) if n <= runs[-1]], minor=False)
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter("")
    return ax


@styled
def best_of_many(single, best, truth: float, ax=None):
    """How a single measurement scatters about the truth, and how the best of many does: two histograms of percentages."""
    ax = ax if ax is not None else axes()
    edges = np.arange(single.min() - 0.05, max(single.max(), best.max()) + 0.2, 0.2)
    for values, colour, label, side in ((single, COLOURS["train"], "one candidate", -1), (best, COLOURS["held_out"], "the best one", 1)):
        heights, _, _ = ax.hist(values, bins=edges, density=True, color=colour, alpha=0.45)
        ax.annotate(
            f"{label}:\n{values.mean():.1f} on average", (values.mean() + side * values.std(), 0.9 * heights.max()), (12 * side, 0),
            textcoords="offset points", ha="left" if side > 0 else "right", va="center", color=colour, fontsize=9,
        )  # fmt: skip
    ax.axvline(truth, color=COLOURS["loss"], linewidth=1)
    low, high = ax.get_ylim()
    ax.set(xlabel="measured accuracy (%)", ylabel="how often", ylim=(low, 1.15 * high))
    ax.set_yticks([])
    ax.annotate(f"the truth: {truth:g}", (truth, 1.12 * high), (-5, 0), textcoords="offset points", ha="right", va="top", fontsize=9)
    return ax


@styled
def running(histories: dict, ax=None):
    """Label -> History: test accuracy by epoch, and the running mean over everything seen so far, dashed, labelled at the ends."""
    ax = ax if ax is not None else axes()
    for i, (label, history) in enumerate(histories.items()):
        epochs, colour = history.column("epoch"), SERIES[i % len(SERIES)] if len(histories) > 1 else COLOURS["held_out"]
        for values, line, name in (
            (history.column("accuracy"), "-", "test accuracy"),
            (running_accuracy(history.epochs), DASHES[1], "running mean"),
        ):
            ax.plot(epochs, values, color=colour, linestyle=line, marker=".")
            said = f"{label + ', ' if label else ''}{name} {values[-1]:.1f}"
            ax.annotate(
                said,
                (epochs[-1], values[-1]),
                (7, 0),
                textcoords="offset points",
                color=colour,
                va="center",
                fontsize=9,
                annotation_clip=False,
            )
    ax.set(xlabel="epoch", ylabel="accuracy (%)")
    ax.locator_params(axis="x", integer=True)
    return ax
