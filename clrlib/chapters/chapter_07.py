"""The pictures of weight decay: accuracy against it, the grid of a search, what is left of a weight; and its slider."""

from __future__ import annotations

import ipywidgets as w
import numpy as np

from clrlib.figures.marks import name_ends
from clrlib.figures.style import COLOURS, DASHES, SERIES, axes, blank, styled
from clrlib.page import widgets
from clrlib.theory.decay import decay_rate, half_life, idle_weight, swings


def named(decay: float) -> str:
    """A weight decay as the chapters write it: 1e-3, 3e-4, 0."""
    return f"{decay:.0e}".replace("e-0", "e-") if decay else "0"


@styled
def lines(curves: dict, ax=None, ylabel: str = "", title: str = "", top: float | None = None):
    """Label -> one value per step: one line each, named at its right end; the axis stops at `top` if given."""
    ax = ax if ax is not None else axes()
    ends = []
    for i, (label, curve) in enumerate(curves.items()):
        ax.plot(curve, color=SERIES[i % len(SERIES)], linestyle=DASHES[i % len(DASHES)])
        ends.append((float(curve[-1]), label, SERIES[i % len(SERIES)]))
    ax.set(xlabel="step", ylabel=ylabel, xlim=(0, max(map(len, curves.values())) - 1), title=title)
    if top is not None:
        ax.set_ylim(0, top)
    name_ends(ax, ends)
    return ax


@styled
def against_decay(outcomes: dict, ax=None, title: str = ""):
    """Weight decay -> accuracies, one per seed: dots, and a line through their means; a logarithmic axis with 0 at its left."""
    ax = ax if ax is not None else axes()
    decays = sorted(outcomes)
    smallest = min(d for d in decays if d)
    at = {d: np.log10(d) if d else np.log10(smallest) - 0.75 for d in decays}
    for d in decays:
        ax.plot([at[d]] * len(outcomes[d]), outcomes[d], "o", color=COLOURS["train"], markersize=5, alpha=0.6, markeredgewidth=0)
    means = [np.mean(outcomes[d]) for d in decays]
    first = 1 if decays[0] == 0 else 0
    ax.plot([at[d] for d in decays[first:]], means[first:], ".-", color=COLOURS["weight_decay"])
    ax.plot([at[d] for d in decays[: first + 1]], means[: first + 1], ".:", color=COLOURS["weight_decay"])
    for d, mean in zip(decays, means):
        above = (at[d], max(outcomes[d]))
        ax.annotate(f"{mean:.2f}", above, (0, 6), textcoords="offset points", ha="center", fontsize=9, color=COLOURS["weight_decay"])
    ax.set_xticks([at[d] for d in decays], [named(d) for d in decays])
    ax.set(xlabel="weight decay", ylabel="test accuracy (%)", title=title, xlim=(at[decays[0]] - 0.2, at[decays[-1]] + 0.2))
    ax.margins(y=0.12)
    return ax


@styled
def beside(runs: dict):
    """Label -> histories, one per seed: accuracy of all in one panel, then training and test loss, a panel each."""
    panels = axes(1, 1 + len(runs), gridspec_kw={"width_ratios": [1.3] + [1] * len(runs)})
    ends = []
    for i, (label, histories) in enumerate(runs.items()):
        colour, dashes = SERIES[i % len(SERIES)], DASHES[i % len(DASHES)]
        ends.append((_band(panels[0], histories, "accuracy", colour, dashes)[-1], label, colour))
        for column, about in {"train_loss": "train", "loss": "held_out"}.items():
            _band(panels[1 + i], histories, column, COLOURS[about], "-")
        panels[1 + i].set_title(label, color=colour)
    panels[0].set(ylabel="test accuracy (%)")
    panels[1].set(ylabel="loss")
    top = min(3.0, max(ax.get_ylim()[1] for ax in panels[1:]))
    for ax in panels:
        ax.set(xlabel="epoch", **({} if ax is panels[0] else {"ylim": (0, top)}))
        ax.locator_params(axis="x", integer=True, nbins=4)
    for i, (about, text) in enumerate({"train": "training", "held_out": "test"}.items()):
        panels[-1].annotate(text, (0.95, 0.93 - 0.1 * i), xycoords="axes fraction", ha="right", va="top", color=COLOURS[about], fontsize=9)
    name_ends(panels[0], ends)
    return panels


@styled
def grid(results: dict, shown: str = "accuracy (%)"):
    """(momentum, weight decay, rate) -> accuracy, as small multiples: a panel per momentum, weight decay over rate.

    All panels share one scale of greens; the best cell of each has a frame. A cell that is missing stays empty.
    """
    momenta, decays, rates = (sorted({key[i] for key in results}) for i in range(3))
    figure = blank((7.2, 0.5 * len(decays) + 1.7), "constrained")
    panels = np.ravel(figure.subplots(1, len(momenta), sharey=True, squeeze=False))
    low, high = min(results.values()), max(results.values())
    for ax, momentum in zip(panels, momenta):
        table = np.array([[results.get((momentum, decay, rate), np.nan) for rate in rates] for decay in decays])
        ax.imshow(table, cmap="Greens", vmin=low - 0.15 * (high - low), vmax=high + 0.5 * (high - low), origin="lower", aspect="auto")
        for (row, column), value in np.ndenumerate(table):
            if np.isfinite(value):
                ax.text(column, row, f"{value:.1f}", ha="center", va="center", fontsize=9 if len(rates) < 5 else 7)
        row, column = np.unravel_index(np.nanargmax(table), table.shape)
        ax.add_patch(_frame(column, row))
        ax.set_title(f"momentum {momentum:g}", color=COLOURS["momentum"])
        ax.set_xticks(range(len(rates)), [f"{rate:g}" for rate in rates])
        ax.set_yticks(range(len(decays)), [named(decay) for decay in decays])
        ax.set_xlabel("peak learning rate")
        ax.grid(visible=False)
    panels[0].set_ylabel("weight decay")
    figure.suptitle(shown, x=0.99, ha="right", fontsize=9, color=COLOURS["loss"])
    return panels


@styled
def idle(lr: float, weight_decay: float, momentum: float, steps: int = 300, ax=None):
    """What SGD leaves of an idle weight, beside the rule (1 - lr wd / (1 - momentum))^step, and its half-life."""
    ax = ax if ax is not None else axes()
    path, rate = idle_weight({"lr": lr, "weight_decay": weight_decay, "momentum": momentum}, steps), decay_rate(lr, weight_decay, momentum)
    over = np.arange(steps + 1)
    ax.axhline(0, color="#777777", linewidth=0.8)
    ax.plot(over, path, color=COLOURS["weight_decay"], label="SGD, step by step")
    ax.plot(over, np.maximum(0, 1 - rate) ** over, color=COLOURS["effective"], linestyle=DASHES[1], label="the rule")
    if 0 < rate < 1 and half_life(lr, weight_decay, momentum) < steps:
        ax.plot(half_life(lr, weight_decay, momentum), 0.5, "o", color=COLOURS["effective"])
    ax.legend(loc="upper right")
    ax.set(xlabel="step", ylabel="what is left of the weight", xlim=(0, steps), ylim=(min(-0.25, 1.15 * path.min()), 1.05))
    return ax


def describe_idle(lr: float, weight_decay: float, momentum: float, steps: int = 300) -> str:
    """The picture of `idle` in a sentence."""
    rate = decay_rate(lr, weight_decay, momentum)
    left = idle_weight({"lr": lr, "weight_decay": weight_decay, "momentum": momentum}, steps)[-1]
    said = f"The rule takes {rate:.2%} of an idle weight per step"
    if 0 < rate < 1:
        said += f", half of it in {half_life(lr, weight_decay, momentum):,.0f} steps"
    if swings(lr, weight_decay, momentum):
        return f"{said}. But here the weight swings through 0, and the rule fails."
    return f"{said}. After {steps} steps {left:.1%} is left."


def decay_explorer(steps: int = 300) -> w.VBox:
    """Sliders for rate, weight decay and momentum on one idle weight."""
    controls = {
        "lr": widgets.choice("learning rate", 3.0, widgets.round_rates(-2, 1)),
        "weight_decay": widgets.choice("weight decay", 1e-3, [0.0, *(float(f"{d}e{e}") for e in range(-5, -1) for d in (1, 3)), 0.1]),
        "momentum": widgets.choice("momentum", 0.8, (0.0, 0.5, 0.8, 0.85, 0.9, 0.95, 0.99)),
    }
    return widgets.explore(
        lambda **values: idle(**values, steps=steps).figure,
        controls,
        say=lambda **values: describe_idle(**values, steps=steps),
    )


def _band(ax, histories, column, colour, dashes) -> np.ndarray:
    """Mean and one standard deviation over seeds, which may have stopped after different epochs; returns the mean."""
    longest = max(len(history.epochs) for history in histories)
    values = np.full((len(histories), longest), np.nan)
    for row, history in zip(values, histories):
        row[: len(history.epochs)] = history.column(column)
    there = np.isfinite(values)
    number = there.sum(axis=0)
    mean = np.where(number, np.nansum(values, axis=0) / np.maximum(number, 1), np.nan)
    spread = np.sqrt(np.nansum((values - mean) ** 2, axis=0) / np.maximum(number - 1, 1))
    epochs = 1 + np.arange(longest)
    ax.plot(epochs, mean, color=colour, linestyle=dashes)
    ax.fill_between(epochs, mean - spread, mean + spread, color=colour, alpha=0.15, linewidth=0)
    return mean


def _frame(column, row):
    from matplotlib.patches import Rectangle

    return Rectangle((column - 0.48, row - 0.46), 0.96, 0.92, fill=False, edgecolor=COLOURS["loss"], linewidth=1.8)
