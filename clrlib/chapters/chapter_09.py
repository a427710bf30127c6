"""Dot-and-line pictures: what was printed beside what was true, and effects with their intervals."""

from __future__ import annotations

import numpy as np

from clrlib.figures.style import COLOURS, SERIES, axes, blank, styled

SEEN = {"train": COLOURS["train"], "printed": SERIES[5], "test": COLOURS["held_out"]}
MARKERS, COLUMNS = {"train": "s", "printed": "D", "test": "o"}, (0.8, 0.887, 0.975)  # of the three; columns in widths of the figure
WORDS = {"holds": (SERIES[2], "o", True), "fails": (SERIES[3], "s", True), "open": ("#555555", "o", False)}
REACH = 10.0  # points of accuracy on each side of zero


@styled
def printed_and_true(runs: dict):
    """Label -> {"printed", "train", "test"} -> accuracies in percent, one per seed: dots on a line, their means in columns."""
    figure = blank((7.2, 0.36 * len(runs) + 1.1))
    ax = figure.subplots()
    left = 0.06 + 0.0095 * max(map(len, runs))  # room for the longest label
    figure.subplots_adjust(left=left, right=0.71, bottom=0.55 / figure.get_figheight(), top=1 - 0.35 / figure.get_figheight())
    for i, values in enumerate(runs.values()):
        means = [float(np.mean(values[name])) for name in SEEN]
        ax.plot([min(means), max(means)], [-i, -i], color="#CCCCCC", linewidth=2, zorder=1)
        for (name, colour), mean, column in zip(SEEN.items(), means, COLUMNS):
            each = np.atleast_1d(values[name])
            ax.plot(each, np.full(len(each), -i), MARKERS[name], color=colour, markersize=6, alpha=0.75, markeredgewidth=0)
            _beside(ax, f"{mean:.2f}", column, -i, colour)
    for (name, colour), column in zip(SEEN.items(), COLUMNS):
        _beside(ax, name if name == "printed" else f"true {name}", column, 0.72, colour)
    ax.set_yticks([-i for i in range(len(runs))], list(runs))
    ax.set(xlabel="accuracy after the last epoch (%)", ylim=(-len(runs) + 0.4, 0.6))
    ax.margins(x=0.06)
    ax.grid(axis="y", visible=False)
    return ax


@styled
def lag(epochs: list[dict], printed, ax=None):
    """A run's true accuracies by epoch, and what a running metric printed, each named at its end."""
    ax = ax if ax is not None else axes()
    number = [row["epoch"] for row in epochs]
    lines = {"train": [row["train_accuracy"] for row in epochs], "printed": list(printed), "test": [row["accuracy"] for row in epochs]}
    height, gap = -np.inf, 0.06 * np.ptp(sum(lines.values(), []))
    for name, values in sorted(lines.items(), key=lambda item: item[1][-1]):
        height = max(values[-1], height + gap)
        ax.plot(number, values, color=SEEN[name], linestyle="--" if name == "printed" else "-")
        text = f"{name if name == 'printed' else f'true {name}'}  {values[-1]:.2f}"
        ax.annotate(text, (1.015, height), xycoords=("axes fraction", "data"), color=SEEN[name], fontsize=9, va="center")
    ax.set(xlabel="epoch", ylabel="accuracy (%)", xlim=(number[0], number[-1]))
    return ax


@styled
def effects(claims: list, reach: float = REACH, enough: float = 0.5):
    """Each claim's comparisons as a dot (the effect) on a line (its 95 % interval): [(claim, [(about, Difference, verdict), ...]), ...].

    What lies beyond `reach` points is cut off there, with an arrow head; its numbers are written in any case. The grey
    band is what counts as the same.
    """
    lines = [line for text, rows in claims for line in [(text, None, None), *rows]]
    height = 0.235 * len(lines) + 0.75
    figure = blank((7.2, height))
    ax = figure.subplots()
    figure.subplots_adjust(left=0.31, right=0.735, bottom=0.5 / height, top=1 - 0.1 / height)
    ax.axvspan(-enough, enough, color="#EEEEEE", zorder=0)
    ax.axvline(0, color="#777777", linewidth=0.8, zorder=1)
    for i, (text, effect, word) in enumerate(lines):
        _effect(ax, -i, text, effect, word, reach) if effect else _heading(ax, -i, text)
    ticks = np.linspace(-reach, reach, 5)
    ax.set(xlim=(-reach, reach), ylim=(-len(lines) + 0.4, 0.6), xlabel="difference in points of accuracy", xticks=ticks, yticks=[])
    ax.grid(axis="y", visible=False)
    ax.spines["left"].set_visible(False)
    return ax


def _effect(ax, y, about, effect, word, reach):
    """One comparison: its name on the left, the interval, its numbers and verdict on the right."""
    colour, marker, filled = WORDS[word]
    low, value, high = np.clip([effect.low, effect.value, effect.high], -reach, reach)
    ax.plot([low, high], [y, y], color=colour, linewidth=1.6)
    for beyond, head in ((effect.low < -reach, "<"), (effect.high > reach, ">")):
        if beyond:
            ax.plot(-reach if head == "<" else reach, y, head, color=colour, markersize=6, clip_on=False)
    if abs(effect.value) <= reach:
        ax.plot(value, y, marker, color=colour, markersize=5.5, markerfacecolor=colour if filled else "white")
    side = {"xycoords": ("axes fraction", "data"), "va": "center", "fontsize": 7.8, "annotation_clip": False}
    ax.annotate(about, (-0.03, y), ha="right", color="#333333", **side)
    ax.annotate(f"{effect}  {word}", (1.02, y), color=colour, **side)


def _heading(ax, y, text):
    """A claim's sentence, over the whole width, on white so that the grid does not cross it."""
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
    where = {"xycoords": ("figure fraction", "data"), "va": "center", "annotation_clip": False}
    ax.annotate(text, (0.012, y - 0.08), fontsize=8, fontweight="bold", color="#333333", bbox=box, zorder=3, **where)


def _beside(ax, text, x, y, colour):
    """A word or number in a column on the right, at the height of a row."""
    where = {"xycoords": ("figure fraction", "data"), "ha": "right", "va": "center", "annotation_clip": False}
    ax.annotate(text, (x, y), color=colour, fontsize=9, **where)
