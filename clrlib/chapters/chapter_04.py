"""Pictures of cyclical learning rates: the rate over a run, the saddle it should leave, accuracy along the cycle. No torch."""

from __future__ import annotations

import ipywidgets as w
import numpy as np

from clrlib.figures import plots
from clrlib.figures.style import COLOURS, DASHES, SERIES, SIZES, axes, blank, styled
from clrlib.page.parts import ROW, WIDE, code_box
from clrlib.page.widgets import choice, explore, round_rates
from clrlib.schedules import Schedule, cyclic
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


MODES = ("triangular", "triangular2", "exp_range")


def cyclic_explorer(steps: int = 3921, per_epoch: int = 98) -> w.VBox:
    """Shape a cyclical rate over a run of `steps` iterations, `per_epoch` to an epoch: `schedules()` is what `fit` takes."""
    controls = {
        "mode": w.Dropdown(options=MODES, value="triangular", description="mode", style=WIDE, layout=ROW),
        "low": choice("lower bound", 0.08, round_rates(-4, 0)),
        "high": choice("upper bound", 0.8, round_rates(-3, 1)),
        "stepsize": choice("stepsize (iterations)", 5 * per_epoch, [round(per_epoch * n) for n in STEPSIZES]),
        "gamma": choice("gamma (exp_range)", 0.9995, (0.999, 0.9993, 0.9995, 0.9997, 0.9999, 0.99995, 1.0), digits=5),
    }

    def enable(_=None):
        controls["gamma"].disabled = controls["mode"].value != "exp_range"

    controls["mode"].observe(enable, "value")
    enable()
    figure = draw_cycles("triangular", 0.08, 0.8, 5 * per_epoch, 1.0, steps, per_epoch)
    box = explore(
        lambda **values: draw_cycles(**values, steps=steps, per_epoch=per_epoch, figure=figure),
        controls,
        say=lambda **values: describe_cycles(**values, steps=steps, per_epoch=per_epoch),
        extra=[lambda **values: code_box(cyclic_source(**values))],
    )
    box.schedules = lambda: {"lr": _cycles(**box.values(), steps=steps)}
    return box


STEPSIZES = (0.5, 1, 2, 3, 4, 5, 6, 8, 10, 15, 20)  # in epochs


def _cycles(mode, low, high, stepsize, gamma, steps) -> Schedule:
    return cyclic(low, high, steps, stepsize, mode=mode, gamma=gamma)


def draw_cycles(mode, low, high, stepsize, gamma=1.0, steps=3921, per_epoch=98, figure=None):
    """A cyclical rate over the run, its first cycle measured out; into `figure`, one that it returned, if given."""
    return rate(_cycles(mode, low, high, stepsize, gamma, steps).values, stepsize, low, high, per_epoch, figure)


def describe_cycles(mode, low, high, stepsize, gamma=1.0, steps=3921, per_epoch=98) -> str:
    """The picture in a sentence or two: how long a stepsize is, how many cycles there are, and where the run ends."""
    values = _cycles(mode, low, high, stepsize, gamma, steps).values
    count("per_epoch", per_epoch)
    whole = (steps - 1) / (2 * stepsize)
    height = 1 - abs(2 * (whole % 1) - 1)  # 0 in a valley, 1 at a peak, however far the cycles have faded
    end = "in a valley" if height <= 0.1 else "off a valley: choose a stepsize that fits the run a whole number of times"
    return (
        f"{mode}: a stepsize of {stepsize:,} iterations is {stepsize / per_epoch:.3g} epochs, so the run holds {whole:.3g} cycles. "
        f"It ends at a rate of {values[-1]:.3g}, {end}."
    )


def cyclic_source(mode, low, high, stepsize, gamma=1.0) -> str:
    """Plain PyTorch that sets this rate: torch's CyclicLR with its momentum left alone."""
    fading = f", gamma={gamma:.6g}" if mode == "exp_range" else ""
    lines = [
        "from torch.optim.lr_scheduler import CyclicLR",
        "",
        "scheduler = CyclicLR(",
        f"    optimizer, base_lr={low:.6g}, max_lr={high:.6g}, step_size_up={stepsize},",
        f'    mode="{mode}"{fading}, cycle_momentum=False,',
        ")  # then scheduler.step() after every batch, not every epoch",
    ]
    return "\n".join(lines) + "\n"
