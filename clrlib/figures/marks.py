"""What stands on pictures of several kinds: names at the ends of lines, rates on a curve, the stand-in's name."""

from __future__ import annotations

import numpy as np

from clrlib.figures.style import COLOURS, DASHES, SERIES


def name_ends(ax, ends):
    """Name each line at its right end, pushed apart where the names would overlap."""
    low, high = ax.get_ylim()
    gap, placed = 0.075 * (high - low), -np.inf
    for value, label, colour in sorted(end for end in ends if np.isfinite(end[0])):
        placed = max(value, placed + gap)
        ax.annotate(
            label, (1, placed), (5, 0), xycoords=("axes fraction", "data"), textcoords="offset points", color=colour, fontsize=9,
            va="center", annotation_clip=False,
        )  # fmt: skip
    ax.set_ylim(low, max(high, placed + gap / 2))


def mark_rates(ax, lrs, mean, suggestions):
    """Mark each suggestion on the curve, labels spread over the height so that they don't collide."""
    given = sorted((s for s in suggestions.values() if s), key=lambda s: s.rate)
    low, high = ax.get_ylim()
    for i, suggestion in enumerate(given):
        colour = SERIES[(i + 1) % len(SERIES)]
        ax.axvline(suggestion.rate, color=colour, linewidth=1, linestyle=DASHES[1])
        height = high - (0.06 + 0.085 * i) * (high - low)
        ax.annotate(
            f"{suggestion.rule} {suggestion.rate:.2g}",
            (suggestion.rate, height),
            (4, 0),
            textcoords="offset points",
            color=colour,
            fontsize=9,
            va="center",
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1},
        )
        ax.plot(suggestion.rate, np.interp(np.log(suggestion.rate), np.log(np.maximum(lrs, 1e-12)), mean), "o", color=colour, markersize=5)


def name_source(ax, source):
    """Say so on the figure when it was not made from CIFAR-10."""
    if source == "digits":
        ax.set_title("digits (stand-in for CIFAR-10)", color=COLOURS["held_out"])


def label_ends(ax, x, ends):
    """Name each line at its right end, pushed apart where they would overlap."""
    low, high = ax.get_ylim()
    gap, placed = 0.062 * (high - low), -np.inf
    for value, label, colour in sorted(ends):
        placed = max(value, placed + gap)
        ax.annotate(
            f"{label}  {value:.2f}",
            (x, value),
            (1.015, placed),
            xycoords="data",
            textcoords=("axes fraction", "data"),
            color=colour,
            fontsize=9,
            va="center",
            annotation_clip=False,
        )
    ax.set_ylim(low, max(high, placed + gap / 2))
