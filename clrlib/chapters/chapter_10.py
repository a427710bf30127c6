"""What runs came to, drawn: accuracy against rate for several shapes, and what a classifier made of a plane."""

from __future__ import annotations

import numpy as np

from clrlib.figures.style import DASHES, SERIES, axes, styled


@styled
def by_rate(outcomes: dict, ax=None, ylabel: str = "validation accuracy (%)"):
    """Accuracy against learning rate: label -> {rate: accuracies of its runs}, every run a dot, a line through the means.

    The rate's axis is logarithmic. Each line carries its label at its right end. Raises ValueError where there is nothing to draw.
    """
    if not outcomes or not all(outcomes.values()):
        raise ValueError("outcomes must hold at least one rate per label: label -> {rate: accuracies}")
    ax = ax if ax is not None else axes()
    ends = []
    for i, (label, found) in enumerate(outcomes.items()):
        rates, colour = sorted(found), SERIES[i % len(SERIES)]
        means = [np.mean(found[rate]) for rate in rates]
        for rate in rates:
            runs = np.atleast_1d(found[rate])
            ax.plot(np.full(len(runs), rate), runs, "o", color=colour, markersize=5, alpha=0.5, markeredgewidth=0)
        ax.plot(rates, means, color=colour, linestyle=DASHES[i % len(DASHES)])
        ends.append((means[-1], label, colour))
    ax.set_xscale("log")
    every = sorted({rate for found in outcomes.values() for rate in found})
    ax.set_xticks(every, [f"{rate:.2g}" for rate in every])
    ax.minorticks_off()
    ax.set(xlabel="learning rate: constant, or the cycle's peak", ylabel=ylabel)
    _name_ends(ax, ends)
    return ax


@styled
def regions(answers: dict, points, labels):
    """Two classes in a plane and what classifiers made of it: title -> a function of points [N, 2] that gives 0 or 1 for each.

    One square panel per classifier, over the square that holds all `points` [N, 2]; `labels` [N] are 0 or 1. Returns the panels.
    """
    points, labels = np.asarray(points, dtype=float), np.asarray(labels)
    if points.ndim != 2 or points.shape[1] != 2 or labels.shape != points.shape[:1]:
        raise ValueError(f"points must be [N, 2] and labels [N], got {points.shape} and {labels.shape}")
    reach = 1.05 * np.abs(points).max()
    side = np.linspace(-reach, reach, 160)
    plane = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    panels = np.atleast_1d(axes(1, len(answers)))
    for ax, (title, answer) in zip(panels, answers.items()):
        region = np.asarray(answer(plane), dtype=float).reshape(len(side), len(side))
        ax.contourf(side, side, region, levels=[-0.5, 0.5, 1.5], colors=["#CFE3F0", "#F4D9C6"])
        for kind in (0, 1):
            mine = points[labels == kind]
            ax.plot(mine[:, 0], mine[:, 1], ".", color=SERIES[kind], markersize=3, markeredgewidth=0)
        ax.set(title=title, xlim=(-reach, reach), ylim=(-reach, reach), xticks=[], yticks=[], aspect="equal")
        ax.grid(visible=False)
    return panels


def _name_ends(ax, ends):
    """Name each line to the right of the axes, pushed apart where the names would overlap."""
    low, high = ax.get_ylim()
    placed = -np.inf
    for value, label, colour in sorted(ends):
        placed = max(value, placed + 0.075 * (high - low))
        ax.annotate(label, (1.01, placed), xycoords=("axes fraction", "data"), color=colour, fontsize=9, va="center", annotation_clip=False)
