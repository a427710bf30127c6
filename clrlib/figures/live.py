"""Runs as they grow: rate, loss and accuracy of the newest in colour, those before it in grey. No torch.

The figure is made anew for each redraw, with fixed margins: a constrained layout would take four times as long.
"""

from __future__ import annotations

import numpy as np

from clrlib.figures import style as figures
from clrlib.figures.marks import label_ends
from clrlib.history import History, smooth

TITLES = {"lr": "learning rate", "loss": "training loss, smoothed", "accuracy": "held-out accuracy (%)"}
COLOURS = {"lr": figures.COLOURS["lr"], "loss": figures.COLOURS["loss"], "accuracy": figures.COLOURS["held_out"]}
GREY, GREY_TEXT = figures.GREY, figures.COLOURS["train"]  # earlier runs, and their names


@figures.styled
def draw(histories: dict, steps: int, plan=None, guess: float | None = None):
    """Runs of up to `steps` steps: rate, training loss (smoothed) and held-out accuracy. Returns the Figure.

    histories  label -> History, the last one in colour and those before it in grey
    plan       a schedule of the rate, drawn dashed;  guess  an accuracy in percent, drawn dotted
    """
    figure = figures.blank((7.2, 4.0))
    panels = figure.subplot_mosaic([["lr", "accuracy"], ["loss", "accuracy"]])
    figure.subplots_adjust(left=0.06, right=0.79, top=0.92, bottom=0.11, wspace=0.16, hspace=0.35)
    for name, title in TITLES.items():
        panels[name].set_title(title, color=COLOURS[name])
        panels[name].set(xlim=(0, 1.03 * steps), xlabel="" if name == "lr" else "step")
    panels["lr"].tick_params(labelbottom=False)
    if plan is not None:
        _draw_plan(panels["lr"], plan, steps)
    if guess is not None:
        _draw_guess(panels["accuracy"], guess, steps)
    for i, history in enumerate(histories.values()):
        _draw_run(panels, history, newest=i == len(histories) - 1)
    _finish(panels, histories, steps)
    return figure


def _draw_plan(ax, plan, steps):
    values = [float(plan(progress)) for progress in np.linspace(0, 1, 201)]
    ax.plot(np.linspace(0, steps, 201), values, color=figures.COLOURS["lr"], linewidth=1, linestyle=figures.DASHES[1])


def _draw_guess(ax, guess, steps):
    ax.axhline(guess, color=figures.COLOURS["effective"], linewidth=1.2, linestyle=figures.DASHES[2])
    ax.annotate("your guess", (0, guess), (4, 3), textcoords="offset points", fontsize=9, color=figures.COLOURS["effective"])


def _draw_run(panels, history, newest: bool):
    """One run in the three panels."""
    for name, (x, y) in curves(history).items():
        colour = COLOURS[name] if newest else GREY
        marker = "o" if name == "accuracy" else ""
        panels[name].plot(x, y, color=colour, linewidth=2 if newest else 1.2, marker=marker, markersize=4, clip_on=name != "accuracy")


def curves(history: History) -> dict:
    """What is drawn of a run: panel -> (steps done, values)."""
    steps = history.steps.get("step", np.arange(len(history))) + 1
    return {
        "lr": (steps, history.steps.get("lr", [])),
        "loss": (steps, smooth(history.steps.get("loss", []), 0.9)),
        "accuracy": (history.column("step"), history.column("accuracy")),
    }


def _finish(panels, histories, steps):
    """Limits that no explosion of the loss can squash."""
    first = [history.steps["loss"][0] for history in histories.values() if len(history)]
    low, high = panels["loss"].get_ylim()
    panels["loss"].set_ylim(max(0, low), min(high, 1.5 * np.nanmax(first)) if np.isfinite(first).any() else 2.5)
    panels["lr"].set_ylim(bottom=0)
    if not any(history.epochs for history in histories.values()):
        panels["accuracy"].set_ylim(0, 100)
    if any(history.source == "digits" for history in histories.values()):
        panels["accuracy"].set_title("accuracy (%): digits, the stand-in", color=COLOURS["accuracy"])
    _name_runs(panels, histories, steps)


def _name_runs(panels, histories, steps):
    """Each run's name: with its accuracy at the right edge, or where its loss ends if it had no whole epoch."""
    ends = []
    for label, history in histories.items():
        newest = label == list(histories)[-1]
        if history.epochs:
            ends.append((history.accuracy, label, COLOURS["accuracy"] if newest else GREY_TEXT))
        elif len(history):
            x, y = (values[-1] for values in curves(history)["loss"])
            at, colour = (x, y if np.isfinite(y) else 0), COLOURS["loss"] if newest else GREY_TEXT
            panels["loss"].annotate(label, at, (6, 2), textcoords="offset points", va="top", fontsize=9, color=colour)
    if ends:
        label_ends(panels["accuracy"], steps, ends)
