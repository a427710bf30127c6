"""Pictures of cyclical learning rates: the rate over a run, the saddle it should leave, accuracy along the cycle. No torch."""

from __future__ import annotations

import numpy as np

from clrlib.figures import plots
from clrlib.figures.style import COLOURS, DASHES, SERIES, SIZES, axes, blank, styled
from clrlib.theory.descent import Surface
from clrlib.validate import bounds, count


@styled
def rate(values, stepsize: int, low: float, high: float, per_epoch: int = 98, figure=None):
    """The rate at every iteration of a run, its bounds, and the first cycle measured out in stepsizes.

    values  shape [steps], what `schedules.cyclic(...)` has as its values
    A figure that it returned may be passed in again: only its contents change then, so that a slider redraws it quickly.
    """
    bounds(low, high)
    values, stepsize = np.asarray(values, dtype=float), count("stepsize", stepsize)
    figure = figure if figure is not None else _one_panel()
    ax = figure.axes[0]
    for artist in [*ax.lines, *ax.texts]:
        artist.remove()
    for level, name in ((high, "upper bound"), (low, "lower bound")):
        ax.axhline(level, color=COLOURS["train"], linewidth=1, linestyle=DASHES[2])
        ax.text(1.01, level, f"{name}\n{level:.3g}", transform=ax.get_yaxis_transform(), color=COLOURS["train"], fontsize=9, va="center")
    ax.plot(values, color=COLOURS["lr"], linewidth=1.6)
    ax.set(xlim=(0, len(values) - 1), ylim=(0, 1.3 * high), xlabel=f"iteration ({per_epoch} to an epoch)")
    _measure_out(ax, len(values), stepsize, high)
    return figure


def _one_panel():
    """An empty panel with fixed margins."""
    figure = blank(SIZES["wide"])
    ax = figure.subplots()
    ax.set_ylabel("learning rate")
    figure.subplots_adjust(left=0.09, right=0.87, top=0.96, bottom=0.15)
    return figure


def _measure_out(ax, steps, stepsize, high):
    """Double arrows over the first cycle: one stepsize up, one down; no names where they would not fit."""
    for start, name in ((0, "stepsize"), (stepsize, "stepsize")):
        if start + stepsize >= steps:
            return
        ends = ((start, 1.08 * high), (start + stepsize, 1.08 * high))
        ax.annotate("", *ends, arrowprops={"arrowstyle": "<->", "color": COLOURS["loss"], "shrinkA": 0, "shrinkB": 0, "linewidth": 1})
        if stepsize > 0.1 * steps:
            ax.text(start + stepsize / 2, 1.1 * high, name, color=COLOURS["loss"], fontsize=9, ha="center", va="bottom")


@styled
def saddle(surface: Surface, walks: dict, across: float = 0.4, along: float = 1.4):
    """A surface in three dimensions, beside paths over it seen from above: label -> points of shape [steps + 1, 2]."""
    figure = blank((7.2, 3.9))
    x, y = np.meshgrid(np.linspace(-across, across, 41), np.linspace(-along, along, 57))
    height = surface.value(np.stack([x, y], axis=-1))
    _relief(figure.add_axes((0.03, 0.0, 0.47, 0.9), projection="3d"), x, y, height, surface)
    figure.text(0.03, 0.93, "A saddle between two valleys", fontsize=11, fontweight="bold")
    above = figure.add_axes((0.6, 0.14, 0.37, 0.64))
    above.contour(x, y, height, levels=12, colors=COLOURS["train"], linewidths=0.6, alpha=0.6)
    for i, (label, points) in enumerate(walks.items()):
        above.plot(*np.transpose(points), ".-", color=SERIES[i], linewidth=0.8, markersize=3.5, alpha=0.75, label=label, zorder=4 - i / 10)
    above.plot(0, 0, "o", color="white", markeredgecolor=COLOURS["loss"], markeredgewidth=1.5, zorder=5)
    above.set(xlabel="x: steep", ylabel="y: nearly flat", xlim=(-across, across), ylim=(-along, along))
    above.grid(visible=False)
    above.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), borderaxespad=0.3, handlelength=1.8)
    return figure


def _relief(ax, x, y, height, surface):
    """The surface as a shaded sheet, its saddle marked."""
    ax.plot_surface(x, y, height, cmap="Blues_r", vmax=1.5 * height.max(), rcount=29, ccount=21, linewidth=0.2, edgecolor="#FFFFFF80")
    ax.plot([0], [0], [surface.value(np.zeros(2)) + 0.01 * height.max()], "o", color="white", markeredgecolor=COLOURS["loss"], zorder=9)
    ax.view_init(elev=33, azim=-38)
    ax.set_box_aspect((1, 1.35, 0.75), zoom=0.92)
    ax.set(xlabel="x: steep", ylabel="y: nearly flat", xticks=[-0.4, 0, 0.4], yticks=[-1, 0, 1], zticks=[])
    for axis in (ax.xaxis, ax.yaxis, ax.zaxis):
        axis.set_pane_color((1, 1, 1, 0))


@styled
def still_there(left: dict, steps: int, ax=None, place: str = "the saddle"):
    """How many of the paths have not left yet, step by step: label -> the step at which each path left (infinite: never).

    A curve at height h after step t says that h percent of the paths left after t, or never.
    """
    ax = ax if ax is not None else axes()
    t = np.arange(count("steps", steps) + 1)
    for i, (label, when) in enumerate(left.items()):
        share = 100 * (np.asarray(when, dtype=float)[None, :] > t[:, None]).mean(axis=1)
        ax.plot(t, share, color=SERIES[i], linestyle=DASHES[i], label=label)
    ax.set(xlabel="step", ylabel=f"still on {place} (%)", xlim=(0, steps), ylim=(-2, 102))
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(left), borderaxespad=0, handlelength=2.2, columnspacing=1.2)
    return ax


@styled
def ride(runs: dict, panels=None):
    """The rate of each run above its held-out accuracy, over the same epochs: label -> list of History, one per seed.

    The epochs of a History may be fractions, where accuracy was measured more often. Returns the two axes.
    """
    panels = panels if panels is not None else axes(2, 1, size="tall", sharex=True, height_ratios=(1, 2))
    for i, histories in enumerate(runs.values()):
        first = histories[0]
        at = np.asarray(first.steps.get("step", np.arange(len(first)))) + 1
        per_epoch = first.epochs[-1]["step"] / first.epochs[-1]["epoch"]
        panels[0].plot(at / per_epoch, first.steps["lr"], color=SERIES[i], linestyle=DASHES[i])
    plots.compare(runs, ax=panels[1])
    panels[0].set(ylabel="learning rate")
    panels[0].set_ylim(bottom=0)
    if panels[1].get_title(loc="left"):  # the source, where it is not CIFAR-10, belongs on top
        panels[0].set_title(panels[1].get_title(loc="left"), color=COLOURS["held_out"])
        panels[1].set_title("", loc="left")
    return panels


def valleys(values) -> np.ndarray:
    """The steps at which a rate turns upwards, and the last step if it ends on its way down: where to stop, or to keep a copy.

    >>> valleys([1, 2, 3, 2, 1, 2, 3, 2, 1]).tolist()
    [4, 8]
    """
    slope = np.diff(np.asarray(values, dtype=float))
    moves = np.flatnonzero(slope)  # where it is level, as between two equal lowest rates, nothing turns
    turns = moves[:-1][(slope[moves[:-1]] < 0) & (slope[moves[1:]] > 0)] + 1
    return np.append(turns, len(slope)) if len(moves) and slope[moves[-1]] < 0 else turns
