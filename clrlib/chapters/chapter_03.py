"""Chapter 03: range tests side by side, what whole runs say, and a slider for the smoothing."""

from __future__ import annotations

import ipywidgets as w
import numpy as np

from clrlib.figures import plots
from clrlib.figures.marks import mark_rates, name_source
from clrlib.figures.style import COLOURS, DASHES, SERIES, axes, styled
from clrlib.history import RangeTest, smooth
from clrlib.page.parts import ROW, WIDE
from clrlib.page.widgets import explore
from clrlib.suggest import suggest_all


@styled
def sweeps(results: dict, ax=None, beta: float = 0.9):
    """Several range tests on one axes: label -> RangeTest, each as its smoothed mean, its lowest point marked."""
    ax = ax if ax is not None else axes()
    for i, (label, result) in enumerate(results.items()):
        curve, colour = smooth(result.loss, beta), SERIES[i % len(SERIES)]
        ax.plot(result.lrs, curve, color=colour, linestyle=DASHES[i % len(DASHES)], label=label)
        lowest = int(np.nanargmin(curve))
        ax.plot(result.lrs[lowest], curve[lowest], "o", color=colour)
    ax.set_xscale("log")
    ax.set(xlabel="learning rate", ylabel="training loss, smoothed")
    ax.legend(loc="lower left")
    name_source(ax, result.source)
    return ax


@styled
def truth(outcomes: dict, suggestions: dict | None = None, ax=None):
    """What each peak rate was worth: rate -> final accuracies, with the rules' suggestions as vertical lines."""
    ax = ax if ax is not None else axes()
    rates = sorted(outcomes)
    means = [np.mean(outcomes[rate]) for rate in rates]
    for rate in rates:
        ax.plot([rate] * len(outcomes[rate]), outcomes[rate], "o", color=COLOURS["train"], markersize=4, alpha=0.6)
    ax.plot(rates, means, color=COLOURS["held_out"])
    ax.set_xscale("log")
    ax.set(xlabel="peak learning rate", ylabel="validation accuracy (%)")
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.5 * (high - low))
    mark_rates(ax, rates, means, suggestions or {})
    return ax


def smoothing_explorer(result: RangeTest) -> w.VBox:
    """How far does smoothing move the minimum? A slider for beta on a recorded range test."""
    beta = w.FloatSlider(
        value=0.9, min=0.0, max=0.98, step=0.01, description="smoothing beta", readout_format=".2f", style=WIDE, layout=ROW
    )
    return explore(lambda beta: draw_smoothing(result, beta), {"beta": beta}, say=lambda beta: describe_smoothing(result, beta))


def draw_smoothing(result: RangeTest, beta: float):
    """The recorded sweep at one smoothing, with the article's rule read off it."""
    return plots.range_test(result, {"minimum/10": _minimum(result, beta)}, beta=beta).figure


def describe_smoothing(result: RangeTest, beta: float) -> str:
    """Where the minimum lies at this beta, in a sentence."""
    found = _minimum(result, beta)
    return (
        f"beta {beta:.2f}: the lowest smoothed loss is at {10 * found.rate:.3g}, so minimum/10 says {found.rate:.3g}."
        if found
        else found.why
    )


def _minimum(result, beta):
    """The article's rule, read off the mean curve smoothed with beta."""

    return suggest_all(result.lrs, result.loss, beta=beta)["minimum/10"]
