"""What momentum does to the length of a step: effective and matched rates, the two equations of momentum, and their pictures."""

from __future__ import annotations

import ipywidgets as w
import numpy as np

from clrlib.chapters.chapter_05 import shape
from clrlib.figures.style import COLOURS, DASHES, SERIES, SIZES, axes, blank, styled
from clrlib.page.parts import ROW, WIDE
from clrlib.page.widgets import explore
from clrlib.schedules import one_cycle
from clrlib.theory.momentum import FORMS, effective, effective_rate, matched, step_lengths

# --- pictures ---------------------------------------------------------------------------------------------------


@styled
def forms(rates, momentum: float, ax=None):
    """The length of each step down a slope of 1 by both equations, and lr / (1 - momentum), which one of them follows."""
    ax = ax if ax is not None else axes()
    steps = np.arange(len(rates))
    ax.plot(steps, effective_rate(rates, momentum), color=COLOURS["train"], linewidth=1, label="lr / (1 − momentum)")
    for colour, dash, (form, label) in zip((COLOURS["effective"], SERIES[2]), DASHES, FORMS.items()):
        ax.plot(steps, step_lengths(rates, momentum, form), color=colour, linestyle=dash, label=label)
    ax.set(xlabel="iteration", ylabel="length of a step on a slope of 1", xlim=(0, len(rates) - 1), ylim=(0, None))
    _key(ax)
    return ax


@styled
def match(momentum, constant: float, low: float = 0.08, high: float = 0.8, steps: int = 9310):
    """Two panels over a one-cycle run: the effective rate of a cycled momentum and of a constant one, and the rates that make them equal.

    momentum  (lowest, highest) of the cycled one
    """
    given = shape(low, high, 13 / 95, low / 10, momentum)
    progress = np.linspace(0, 1, 401)
    lr, label = one_cycle(low, high)(progress), f"momentum {momentum[1]:.2f}–{momentum[0]:.2f}"
    figure = blank(SIZES["tall"], "constrained")
    top, bottom = figure.subplots(2, 1, sharex=True)
    for ax, title, cycled, flat, other in (
        (top, "effective rate", effective(given)(progress), effective_rate(lr, constant), f"the same rate, momentum {constant:.2f}"),
        (bottom, "learning rate", lr, matched(given, constant)(progress), f"momentum {constant:.2f}, matched"),
    ):
        colour = COLOURS["effective" if ax is top else "lr"]
        ax.plot(progress * (steps - 1), cycled, color=colour, label=label)
        ax.plot(progress * (steps - 1), flat, color=COLOURS["momentum"], linestyle=DASHES[1], label=other)
        ax.set_title(title, color=colour)
        ax.set(xlim=(0, steps - 1), ylim=(0, None))
        _key(ax, "lower right", (1, 1))
    bottom.set_xlabel("iteration")
    return figure


@styled
def effects(found: dict, ax=None, same: float = 0.5, xlabel: str = "difference in test accuracy (points)"):
    """Label -> stats.Difference, one row each: a dot with its 95 % interval, in another colour where it leaves out 0.

    same  a pale band of that many points on each side of 0: as good as no difference
    """
    ax = ax if ax is not None else axes()
    ax.axvspan(-same, same, color=SERIES[0], alpha=0.12, linewidth=0, zorder=0)
    ax.axvline(0, color=COLOURS["train"], linewidth=1)
    for i, effect in enumerate(found.values()):
        colour = COLOURS["held_out"] if effect.different else SERIES[0]
        ax.plot([effect.low, effect.high], [-i, -i], color=colour)
        ax.plot(effect.value, -i, "o", color=colour, markersize=6)
        ax.annotate(
            str(effect), (1.02, -i), xycoords=("axes fraction", "data"), color=colour, fontsize=9, va="center", annotation_clip=False
        )
    ax.set_yticks([-i for i in range(len(found))], list(found))
    ax.set(xlabel=xlabel, ylim=(-len(found) + 0.5, 0.5))
    ax.grid(axis="y", visible=False)
    return ax


def _key(ax, loc="lower left", at=(0, 1)):
    """The names of the lines, above the axes."""
    ax.legend(loc=loc, bbox_to_anchor=at, ncols=3, borderaxespad=0, handlelength=2.2, columnspacing=1.2)


# --- the slider -------------------------------------------------------------------------------------------------


def matching_explorer(steps: int = 9310) -> w.VBox:
    """Which rate gives a constant momentum the effective rate of a cycled one? Sliders around `match`."""
    row = {"style": WIDE, "layout": ROW, "step": 0.01, "readout_format": ".2f"}
    controls = {
        "momentum": w.FloatRangeSlider(value=(0.8, 0.95), min=0.5, max=0.98, description="cycled momentum", **row),
        "constant": w.FloatSlider(value=0.9, min=0.0, max=0.98, description="constant momentum", **row),
    }
    return explore(lambda momentum, constant: match(momentum, constant, steps=steps), controls, say=describe)


def describe(momentum, constant: float) -> str:
    """The picture in two sentences: how far each effective rate rises, and the rates that match."""
    given = shape(0.08, 0.8, 13 / 95, 0.008, momentum)
    start, peak = effective(given)(np.array([0, 41 / 95]))
    rates = matched(given, constant)(np.array([0, 41 / 95]))
    return (
        f"Momentum {momentum[1]:.2f} to {momentum[0]:.2f}: the effective rate goes from {start:.3g} to {peak:.3g}. "
        f"Constant momentum {constant:.2f} does the same with a rate from {rates[0]:.3g} to {rates[1]:.3g}, not 0.08 to 0.8."
    )
