"""The pictures of batch size: accuracy, steps and time against it, the noise of its gradient, what larger ones cost; and their sliders."""

from __future__ import annotations

import html

import ipywidgets as w
import numpy as np

from clrlib.figures import style as figures
from clrlib.figures.marks import name_ends
from clrlib.figures.style import COLOURS, DASHES, SERIES, axes, styled
from clrlib.history import smooth
from clrlib.page import widgets
from clrlib.page.parts import Picture
from clrlib.theory.batch_size import images_needed, scaled_rate, steps_needed

RULES = {"linear": "in proportion", "root": "by the root"}
MOST_NAMES = 4  # lines that are named at their ends; of more, every second one or a list
SIZES = (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)


@styled
def headline(runs: dict, title: str = ""):
    """Rule -> batch size -> histories, one per seed: final accuracy against batch size, beside accuracy against steps taken.

    Equal epochs. On the left both rules; on the right the first rule only, every epoch of every seed a dot.
    """
    panels = axes(1, 2)
    against_batch({rule: {size: [h.accuracy for h in seeds] for size, seeds in sizes.items()} for rule, sizes in runs.items()}, panels[0])
    by_step(next(iter(runs.values())), panels[1])
    panels[0].set_title(title)
    panels[1].set_title("the same epochs, in steps")
    return panels


@styled
def against_batch(outcomes: dict, ax=None):
    """Rule -> batch size -> accuracies, one per seed: a dot each, a line through the means, named where its last size lies."""
    ax = ax if ax is not None else axes()
    sizes = sorted({size for by_size in outcomes.values() for size in by_size})
    for i, (rule, by_size) in enumerate(outcomes.items()):
        colour, shift = SERIES[i % len(SERIES)], 1.06 ** (2 * i - 1)
        for size, values in by_size.items():
            ax.plot([size * shift] * len(values), values, "o", color=colour, markersize=4, alpha=0.5, markeredgewidth=0)
        ax.plot([size * shift for size in by_size], [np.mean(v) for v in by_size.values()], color=colour, linestyle=DASHES[i % len(DASHES)])
        ax.annotate(
            RULES.get(rule, rule), (0.04, 0.05 + 0.09 * i), xycoords="axes fraction", color=colour, fontsize=9, va="bottom"
        )  # fmt: skip
    ax.annotate(
        "rate scaled", (0.04, 0.05 + 0.09 * len(outcomes)), xycoords="axes fraction", color=COLOURS["loss"], fontsize=9, va="bottom"
    )
    _sizes(ax, sizes)
    ax.set(ylabel="test accuracy (%)")
    return ax


@styled
def by_step(runs: dict, ax=None):
    """Batch size -> histories, one per seed: accuracy after each epoch against the steps taken so far."""
    ax = ax if ax is not None else axes()
    for i, (size, histories) in enumerate(runs.items()):
        colour = _shade(i, len(runs))
        at, values = histories[0].column("step"), np.array([history.column("accuracy") for history in histories])
        for seed in values:
            ax.plot(at, seed, "o", color=colour, markersize=3, alpha=0.5, markeredgewidth=0)
        ax.plot(at, values.mean(axis=0), color=colour, linestyle=DASHES[i % len(DASHES)])
        if len(runs) <= MOST_NAMES or i % 2 == 0:
            ax.annotate(
                f"{size}", (at[-1], values[:, -1].mean()), (5, 5), textcoords="offset points", color=colour, fontsize=9, ha="center"
            )
    ax.set_xscale("log")
    ax.margins(x=0.1, y=0.1)
    ax.set(xlabel="steps taken", ylabel="test accuracy (%)")
    return ax


@styled
def noise(measured: dict, ax=None):
    """Label -> (errors, length), as `gradient_noise.errors` returns them: relative distances, and the law through them.

    Every batch is a dot at its squared distance from the true gradient over that one's squared length; the line falls as 1 / size.
    """
    ax = ax if ax is not None else axes()
    ends = []
    for i, (label, (found, length)) in enumerate(measured.items()):
        colour, sizes = SERIES[i % len(SERIES)], np.array(sorted(found))
        scale = np.mean([size * np.mean(found[size]) for size in sizes]) / length
        for size in sizes:
            at = [size * 1.05 ** (i - (len(measured) - 1) / 2)] * len(found[size])
            ax.plot(at, found[size] / length, "o", color=colour, markersize=3, alpha=0.4, markeredgewidth=0)
        ax.plot(sizes, scale / sizes, color=colour, linestyle=DASHES[i % len(DASHES)])
        ends.append((np.log10(scale / sizes[-1]), label, colour))
    ax.axhline(1, color="#777777", linewidth=0.8)
    ax.annotate(
        "noise as long as the gradient", (0.5, 1), xycoords=("axes fraction", "data"), fontsize=8, ha="center", va="center",
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1},
    )  # fmt: skip
    _sizes(ax, sizes)
    ax.set(yscale="log", ylabel="squared noise / squared gradient")
    for value, label, colour in ends:
        ax.annotate(
            label, (1.01, 10**value), xycoords=("axes fraction", "data"), color=colour, fontsize=9, va="center", annotation_clip=False
        )  # fmt: skip
    return ax


@styled
def gaps(curves: dict, rates, ax=None):
    """Label -> one relative distance per rate: how far many small steps end from the one large step that should replace them."""
    ax = ax if ax is not None else axes()
    for i, (label, values) in enumerate(curves.items()):
        ax.plot(rates, values, marker=".", color=SERIES[i % len(SERIES)], linestyle=DASHES[i % len(DASHES)], label=label)
    ax.axhline(1, color="#777777", linewidth=0.8)
    ax.set(xscale="log", xlabel="learning rate of the small steps", ylabel="distance / length of the step", ylim=(0, 1.5))
    ax.legend(loc="upper left")
    return ax


@styled
def sweeps(tests: dict):
    """Batch size -> RangeTest: smoothed curves with a band of one standard deviation, beside what the rules make of them.

    Every seed's answer is a dot, their median a line. Thin grey: in proportion, and by the root.
    """
    panels = axes(1, 2)
    for i, (size, test) in enumerate(tests.items()):
        curves, colour = smooth(test.losses), _shade(i, len(tests))
        mean, spread = curves.mean(axis=0), curves.std(axis=0, ddof=1) if len(curves) > 1 else 0
        panels[0].plot(test.lrs, mean, color=colour, linestyle=DASHES[i % len(DASHES)], linewidth=1.5, label=f"{size}")
        panels[0].fill_between(test.lrs, mean - spread, mean + spread, color=colour, alpha=0.12, linewidth=0)
    panels[0].set(xscale="log", xlabel="learning rate", ylabel="training loss, smoothed")
    panels[0].legend(loc="lower left", title="batch", fontsize=8, title_fontsize=8)
    _answers(panels[1], tests)
    return panels


def answers(tests: dict) -> dict[str, dict[int, tuple[float, list[float]]]]:
    """Rule -> batch size -> (the median over seeds, its rates for the single seeds); sizes without a rate are left out."""
    found = {}
    for size, test in tests.items():
        told = test.suggest()
        for rule, answer in told.items():
            if answer:
                found.setdefault(rule, {})[size] = (answer.rate, [seed[rule].rate for seed in told.seeds if seed[rule]])
    return found


def _answers(ax, tests):
    ends = []
    for i, (rule, by_size) in enumerate(answers(tests).items()):
        colour = SERIES[i % len(SERIES)]
        for size, (_, seeds) in by_size.items():
            ax.plot([size] * len(seeds), seeds, "o", color=colour, markersize=3, alpha=0.5, markeredgewidth=0)
        rates = [rate for rate, _ in by_size.values()]
        ax.plot(list(by_size), rates, color=colour, linestyle=DASHES[i % len(DASHES)], linewidth=1.5)
        ends.append((rates[-1], rule, colour))
    sizes = list(tests)
    for rule, text in RULES.items():
        line = [scaled_rate(0.05, sizes[0], size, rule) for size in sizes]
        ax.plot(sizes, line, color="#777777", linewidth=0.8)
        ends.append((line[-1], text, "#666666"))
    _sizes(ax, sizes)
    ax.set(yscale="log", ylabel="suggested rate")
    _name_ends_log(ax, ends)


def _name_ends_log(ax, ends):
    """Name lines at their right ends on a logarithmic axis, pushed apart."""
    low, high = np.log10(ax.get_ylim())
    gap, placed = 0.07 * (high - low), -np.inf
    for value, label, colour in sorted(ends):
        placed = max(np.log10(value), placed + gap)
        ax.annotate(
            label, (1, 10**placed), (5, 0), xycoords=("axes fraction", "data"), textcoords="offset points", color=colour, fontsize=8,
            va="center", annotation_clip=False,
        )  # fmt: skip


@styled
def race(runs: dict, ax=None, title: str = ""):
    """Batch size -> histories, one per seed: accuracy against seconds of training; the quickest seed bold, the others pale."""
    ax = ax if ax is not None else axes()
    ends = []
    for i, (size, histories) in enumerate(runs.items()):
        colour, quickest = _shade(i, len(runs)), min(histories, key=lambda history: history.seconds)
        for history in histories:
            seconds, alpha = np.cumsum(history.column("seconds")), 1.0 if history is quickest else 0.25
            ax.plot(seconds, history.column("accuracy"), ".-", color=colour, alpha=alpha, linewidth=2 if alpha == 1 else 1)
        ends.append((np.mean([history.accuracy for history in histories]), f"batch {size}", colour))
    ax.set(xlabel="seconds of training", ylabel="test accuracy (%)", title=title)
    ax.set_xlim(left=0)
    if len(ends) <= MOST_NAMES:
        name_ends(ax, ends)
    else:
        _name_in_a_column(ax, ends)
    return ax


@styled
def speed(rates: dict, ax=None, title: str = ""):
    """Batch size -> images per second: a line, and each value written above its dot."""
    ax = ax if ax is not None else axes()
    ax.plot(list(rates), list(rates.values()), "o-", color=SERIES[0])
    for size, value in rates.items():
        ax.annotate(f"{value:,.0f}", (size, value), (0, 7), textcoords="offset points", ha="center", fontsize=9, color=SERIES[0])
    _sizes(ax, list(rates))
    ax.set(ylabel="images per second", ylim=(0, 1.2 * max(rates.values())), title=title)
    ax.margins(x=0.1)
    return ax


@styled
def tradeoff(batch: int, scale: float, ax=None):
    """Steps and images to a target against batch size, each over its minimum; a dot at `batch`, a line at the noise scale."""
    ax = ax if ax is not None else axes()
    sizes = np.geomspace(SIZES[0], SIZES[-1], 200)
    ends = []
    for needed, text, colour, dashes in ((steps_needed, "steps", SERIES[0], "-"), (images_needed, "images", SERIES[1], DASHES[1])):
        ax.plot(sizes, needed(sizes, scale), color=colour, linestyle=dashes)
        ax.plot(batch, needed(batch, scale), "o", color=colour)
        ends.append((float(needed(sizes[-1], scale)), text, colour))
    ax.axvline(scale, color="#777777", linewidth=0.8, linestyle=DASHES[2])
    ax.annotate(
        f"noise scale {scale:,.0f}", (scale, 0.96), (4, 0), xycoords=("data", "axes fraction"), textcoords="offset points", fontsize=8
    )
    _sizes(ax, SIZES)
    ax.set(yscale="log", ylabel="times the fewest", ylim=(0.9, 300))
    _name_ends_log(ax, ends)
    return ax


def describe_tradeoff(batch: int, scale: float) -> str:
    """The picture of `tradeoff` in a sentence."""
    return (
        f"Batches of {batch:,} at a noise scale of {scale:,.0f}: {float(steps_needed(batch, scale)):.3g} times the fewest steps, "
        f"{float(images_needed(batch, scale)):.3g} times the fewest images."
    )


def tradeoff_explorer() -> w.VBox:
    """Sliders for batch size and noise scale on `tradeoff`."""
    controls = {
        "batch": widgets.choice("batch size", 512, SIZES),
        "scale": widgets.choice("noise scale", 100, (10, 30, 100, 300, 1000, 3000)),
    }
    return widgets.explore(lambda **values: tradeoff(**values).figure, controls, say=describe_tradeoff)


def meter(measure, sizes, label: str = "Measure this machine") -> w.VBox:
    """A button that measures images per second at each of `sizes` with measure(size), and draws `speed`."""
    button = w.Button(description=label, tooltip="Takes some seconds", layout=w.Layout(width="220px"))
    picture, said = Picture(display="none"), w.HTML()

    def go(_):
        button.disabled, said.value = True, "measuring ..."
        try:
            found = {size: measure(size) for size in sizes}
            picture.value, picture.layout.display = figures.png(speed(found)), ""
            best = max(found, key=found.get)
            said.value = f"Most images per second at a batch of {best:,}: {found[best]:,.0f}."
        except RuntimeError as error:  # such as a GPU's memory that is full
            said.value = f"<b>{html.escape(str(error))}</b>"
        finally:
            button.disabled = False

    button.on_click(go)
    return w.VBox([button, picture, said], layout=w.Layout(max_width="820px"))


def _name_in_a_column(ax, ends):
    """The names of many lines, in the order given, in the lower right corner."""
    for i, (_, label, colour) in enumerate(ends[::-1]):
        ax.annotate(label, (0.99, 0.03 + 0.075 * i), xycoords="axes fraction", color=colour, fontsize=8, ha="right", va="bottom")


def _shade(i: int, of: int):
    """The colour of the i-th of several batch sizes: they have an order, so small ones are light and large ones dark."""
    import matplotlib

    return matplotlib.colormaps["inferno"](0.58 - 0.43 * i / max(1, of - 1))


def _sizes(ax, sizes):
    """A logarithmic axis of batch sizes, every size named (every second, where there are many)."""
    sizes = list(sizes)
    shown = sizes if len(sizes) < 7 else sizes[::2]
    ax.set_xscale("log", base=2)
    ax.set_xticks(shown, [f"{size}" for size in shown])
    ax.set_xticks([], minor=True)
    ax.set(xlabel="batch size")
