"""Surfaces and the paths of gradient descent on them, drawn: parabolas, maps, loss curves, the playground's picture."""

from __future__ import annotations

import functools

import ipywidgets as w
import numpy as np

from clrlib.figures.style import COLOURS, DASHES, GREY, SERIES, axes, blank, styled
from clrlib.page.parts import ROW, WIDE
from clrlib.page.widgets import choice, explore, round_rates
from clrlib.theory import descent
from clrlib.theory.descent import Surface
from clrlib.validate import number

# name -> (conditioning -> surface, window (left, right, bottom, top) in the shape of 3 : 2)
SURFACES = {
    "bowl": (lambda conditioning: descent.bowl(1.0, conditioning), (-6, 6, -4, 4)),
    "ravine": (lambda conditioning: descent.ravine(1.0, conditioning), (-6, 6, -4, 4)),
    "saddle": (lambda conditioning: descent.saddle(1.0, 1 / conditioning), (-3, 3, -2, 2)),
    "Rosenbrock": (lambda conditioning: descent.ROSENBROCK, (-1.8, 1.8, -0.6, 1.8)),
    "Beale": (lambda conditioning: descent.BEALE, (-0.5, 4.5, -1.4, 1.95)),
}
RATES = (5e-5, 40.0)  # the ends of the playground's strip
LOW, HIGH = 1e-7, 1e2  # its losses, as shares of the first


@functools.lru_cache(maxsize=128)
def surface(name: str, conditioning: float = 10.0) -> Surface:
    """A surface of the playground: a bowl, the same turned, a saddle (curvatures 1 and -1 / conditioning), Rosenbrock, Beale.

    `conditioning` is the ratio of its curvatures, 1 or more; Rosenbrock's and Beale's surfaces are what they are.
    """
    if name not in SURFACES:
        raise ValueError(f"surface {name!r} is unknown: {', '.join(SURFACES)}")
    if not 1 <= number(conditioning, "conditioning") <= 1e6:
        raise ValueError(f"conditioning must be finite and at least 1, got {conditioning}; at most 1,000,000 is drawn")
    return SURFACES[name][0](float(conditioning))


@functools.lru_cache(maxsize=128)
def walk(name: str, conditioning: float, rate: float, momentum: float, noise: float, steps: int) -> np.ndarray:
    """The playground's path [steps + 1, 2], read-only."""
    walked = descent.descend(surface(name, conditioning), rate, momentum, steps, noise=noise)
    walked.flags.writeable = False
    return walked


def limit(place: Surface, momentum: float = 0.0) -> float:
    """The highest stable rate at the minimum (on a saddle: across the pass)."""
    return descent.highest_rate(descent.curvatures(place)[-1], momentum)


# --- draw functions ----------------------------------------------------------------------------------


@styled
def parabola(x, curvature: float = 1.0, ax=None, title: str = ""):
    """The points x [steps + 1] of a descent, on the curve curvature * x^2 / 2."""
    ax = ax if ax is not None else axes()
    x = np.asarray(x, dtype=float)
    reach = 1.15 * np.nanmax(np.abs(x))
    line = np.linspace(-reach, reach, 201)
    ax.plot(line, curvature * line**2 / 2, color=GREY)
    ax.plot(x, curvature * x**2 / 2, "o-", color=COLOURS["lr"], linewidth=1, markersize=4)
    side = np.sign(x[0]) or 1
    first = {"textcoords": "offset points", "ha": "left" if side > 0 else "right", "va": "center", "color": COLOURS["lr"]}
    ax.annotate("start", (x[0], curvature * x[0] ** 2 / 2), (8 * side, 0), **first)
    ax.set(xlabel="x", ylabel="loss", title=title, xlim=(-1.25 * reach, 1.25 * reach))
    return ax


@styled
def levels(place: Surface, ax=None, title: str | None = None):
    """A surface from above: its lines of equal height, darker where it is lower, a cross at its minimum."""
    if place.name not in SURFACES:
        raise ValueError(f"no window is known for a surface {place.name!r}: {', '.join(SURFACES)}")
    ax = ax if ax is not None else axes()
    left, right, bottom, top = SURFACES[place.name][1]
    x, y = np.linspace(left, right, 181), np.linspace(bottom, top, 121)
    height = place.value(np.stack(np.meshgrid(x, y), axis=-1))
    power = {"bowl": 2, "ravine": 2, "saddle": 1}.get(place.name, 5)
    steps = height.min() + np.linspace(0, 1, 15) ** power * np.ptp(height)
    ax.contourf(x, y, height, steps, colors=_shades(len(steps) - 1))
    ax.contour(x, y, height, steps, colors="#9DB4C0", linewidths=0.5)
    if place.lowest is not None:
        ax.plot(*place.lowest, "+", color="black", markersize=9, markeredgewidth=1.6)
    ax.set(xlim=(left, right), ylim=(bottom, top), title=place.name if title is None else title)
    ax.set_aspect("equal" if place.name in ("bowl", "ravine", "saddle") else "auto")
    ax.grid(visible=False)
    return ax


def _shades(n: int) -> list:
    """n colours from a pale blue-green, for the lowest ground, to white."""
    low, high = np.array([0.72, 0.85, 0.88]), np.ones(3)
    return [tuple(low + (high - low) * share) for share in np.linspace(0, 1, n)]


@styled
def path(place: Surface, walked, ax=None, title: str | None = None, concept: str = "lr"):
    """A path [steps + 1, 2] on the surface, seen from above; a white circle where it starts."""
    ax = levels(place, ax, title)
    walked = np.asarray(walked, dtype=float)
    ax.plot(*walked.T, "o-", color=COLOURS[concept], linewidth=1, markersize=2.5 if len(walked) <= 1000 else 1)
    ax.plot(*walked[0], "o", color=COLOURS[concept], markersize=6, markerfacecolor="white", markeredgewidth=1.4)
    return ax


@styled
def maps(walks: dict):
    """Title -> (surface, path), or (surface, path, concept whose colour it takes): a row of maps; returns their axes."""
    row = blank((7.2, 4.8 / len(walks) + 0.4), "constrained").subplots(1, len(walks), squeeze=False)[0]
    for ax, (title, (place, walked, *concept)) in zip(row, walks.items()):
        path(place, walked, ax, title, *concept)
        ax.locator_params(nbins=4)
    return row


@styled
def losses(place: Surface, walks: dict, ax=None, title: str = ""):
    """Label -> path, drawn as the surface's height against steps; on a log axis where the surface has a minimum."""
    ax = ax if ax is not None else axes()
    for i, walked in enumerate(walks.values()):
        ax.plot(place.value(np.asarray(walked)), color=SERIES[i % len(SERIES)], linestyle=DASHES[i % len(DASHES)])
    if place.lowest is not None:
        ax.set_yscale("log")
    ax.set(xlabel="step", ylabel="loss", title=title, xlim=(0, max(map(len, walks.values())) - 1))
    _label_ends(ax, list(walks))
    return ax


def _label_ends(ax, labels):
    """Name each line where it ends, pushed apart where they would overlap."""
    ends = [line.get_xydata()[np.isfinite(line.get_ydata())][-1] for line in ax.lines]
    heights = ax.transAxes.inverted().transform(ax.transData.transform(ends))[:, 1]
    lowest = -np.inf
    for height, label, line in sorted(zip(heights, labels, ax.lines), key=lambda end: end[0]):
        lowest = max(np.clip(height, 0, 1), lowest + 0.065)
        ax.text(1.015, lowest, label, transform=ax.transAxes, color=line.get_color(), fontsize=9, va="center")


@styled
def speeds(momenta=(0.0, 0.5, 0.9), curvature: float = 1.0, ax=None):
    """What a step multiplies the distance by in the long run, against the rate; a dot where each momentum stops converging."""
    ax = ax if ax is not None else axes()
    rates = np.linspace(0, 4.4 / curvature, 881)
    for i, momentum in enumerate(momenta):
        highest, colour = descent.highest_rate(curvature, momentum), SERIES[i % len(SERIES)]
        sizes = [np.abs(descent.factors(curvature, rate, momentum)).max() for rate in rates]
        ax.plot(rates, sizes, color=colour, linestyle=DASHES[i % len(DASHES)])
        ax.plot(highest, 1, "o", color=colour)
        ax.annotate(f"μ = {momentum:g}: {highest:.3g}", (highest, 1), (-6, 6), textcoords="offset points", ha="right", color=colour)
    ax.axhline(1, color="black", linewidth=0.8)
    ax.set(xlabel="learning rate", ylabel="factor per step, in size", xlim=(0, rates[-1]), ylim=(0, 1.6))
    return ax


# --- the playground ----------------------------------------------------------------------------------


@styled
def playground(name: str, conditioning: float, rate: float, momentum: float, noise: float, steps: int, figure=None):
    """A descent from above, its loss, and below them where the rate stands against the highest stable one.

    A figure that it returned may be passed in again: the map is drawn anew only for another surface. Raises
    ValueError for what `surface` and `descent.descend` refuse.
    """
    place = surface(name, conditioning)
    walked = walk(name, conditioning, rate, momentum, noise, steps)
    said = verdict(place, rate, momentum, noise)
    figure = figure if figure is not None else _panels()
    above, curve, strip = figure.axes
    if figure.get_gid() != f"{name} {conditioning}":
        _set_out(above, curve, place)
        figure.set_gid(f"{name} {conditioning}")
    colour = COLOURS["momentum" if momentum else "lr"]
    for ax, data in ((above, walked.T), (curve, (np.arange(steps + 1), place.value(walked)))):
        ax.lines[0].set(data=data, color=colour)
    curve.set_xlim(0, steps)
    curve.set_title(outcome(place, walked), color=colour)
    _mark(strip, place, rate, momentum)
    strip.set_title(said, fontsize=10, color=colour)
    return figure


def _panels():
    """The playground's three panels, empty, with fixed margins. Ticks are few: they are what takes time to draw."""
    figure = blank((7.2, 4.3))
    above, curve = figure.add_axes((0.065, 0.365, 0.5, 0.558)), figure.add_axes((0.675, 0.365, 0.29, 0.558))
    strip = figure.add_axes((0.065, 0.085, 0.9, 0.1))
    above.plot([], [], "o-", linewidth=1, markersize=2.5, zorder=3)
    above.plot([], [], "o", color="black", markersize=6, markerfacecolor="white", markeredgewidth=1.4, zorder=4)
    curve.plot([], [])
    curve.set(xlabel="step", ylabel="loss")
    strip.set(xscale="log", xlim=RATES, ylim=(0, 1), yticks=[], facecolor="#F8E3EC")
    strip.set_xticks([0.001, 0.01, 0.1, 1, 10], ["0.001", "0.01", "0.1", "1", "10"])
    strip.set_xticks([], minor=True)
    strip.grid(visible=False)
    strip.bar(RATES[0], 1, width=1, align="edge", color="#DBEBEE")
    for style, height in (("--", (0, 1)), ("-", (0, 1)), ("o", (0.27,))):
        strip.plot([1] * len(height), height, style, color=COLOURS["lr"], linewidth=1.5)
    strip.text(1, 0.68, "", ha="right", va="center", fontsize=9, color=COLOURS["lr"])
    strip.text(1, 0.68, "", ha="left", va="center", fontsize=9)
    return figure


def _set_out(above, curve, place: Surface):
    """Put another surface on the map, and give the losses' axis the scale that suits it."""
    for old in (*above.collections, *above.lines[2:]):
        old.remove()
    levels(place, above)
    above.locator_params(nbins=4)
    above.lines[1].set_data(*zip(place.start))
    first = float(place.value(np.array(place.start)))
    curve.set_yscale("log" if place.lowest else "linear")
    if place.lowest:
        curve.set_yticks([1e-6, 1e-3, 1, 1e3], ["1e-6", "0.001", "1", "1000"])
        curve.set_yticks([], minor=True)
    else:
        curve.locator_params(axis="y", nbins=4)
    curve.set_ylim((first * LOW, first * HIGH) if place.lowest else (-1.1 * first, 1.1 * first))
    curve.locator_params(axis="x", nbins=3)


def _mark(strip, place: Surface, rate: float, momentum: float):
    """Move the strip's lines to the highest stable rates, without momentum and with it, and its dot to the rate."""
    plain, highest = limit(place), limit(place, momentum)
    colour = COLOURS["momentum" if momentum else "lr"]
    strip.patches[0].set_width(highest - RATES[0])
    strip.lines[0].set_xdata([plain, plain])
    strip.lines[1].set(xdata=[highest, highest], color=colour)
    strip.lines[2].set(xdata=[rate], color=colour)
    strip.texts[0].set(x=plain / 1.08, text=f"2/λ = {plain:.3g}" if momentum else "")
    strip.texts[1].set(x=highest * 1.08, text=f"{'2(1+μ)/λ' if momentum else '2/λ'} = {highest:.3g}", color=colour)


def verdict(place: Surface, rate: float, momentum: float = 0.0, noise: float = 0.0) -> str:
    """Where the rate stands against the highest stable one, and what a quadratic of these curvatures does at it."""
    highest, bends = limit(place, momentum), descent.curvatures(place)
    where = {"saddle": " across the pass", "Rosenbrock": " at the minimum", "Beale": " at the minimum"}.get(place.name, "")
    ending = descent.outlook(bends, rate, momentum)
    if place.name in ("Rosenbrock", "Beale"):  # a quadratic only near the minimum: the rest is for the path to show
        ending = "unstable there" if ending == "diverges" else "stable there"
    ending += ", but for the noise" if noise and rate < highest else ""
    return f"rate {rate:.3g} is {100 * rate / highest:.3g} % of the highest stable rate{where}: {ending}"


def outcome(place: Surface, walked) -> str:
    """What the path did, measured: when it arrived (within 1 % of its first distance, for good), left, or blew up."""
    steps, height = len(walked) - 1, place.value(walked)
    if place.lowest is None:
        away = descent.departure(walked)
        thrown = np.nanmax(np.abs(walked[:, 0])) > 2 * abs(walked[0, 0])
        return "thrown off the pass" if thrown else f"left at step {away}" if away is not None else f"on the pass after {steps}"
    if np.isnan(height[-1]):
        return f"blown up at step {np.flatnonzero(np.isnan(height))[0]}"
    if height[-1] > height[0]:
        return "higher than at the start"
    there = descent.arrival(place, walked)
    return f"there at step {there}" if there is not None else f"not there at step {steps}"


SUITS = {"bowl": (0.15, 50), "ravine": (0.15, 50), "saddle": (1.0, 200), "Rosenbrock": (0.001, 500), "Beale": (0.01, 500)}


def playground_explorer() -> w.VBox:
    """Descend five surfaces at any rate, momentum and noise, and see where the rate stands against the highest stable one.

    Another surface brings a rate and a number of steps that suit it; its other values stay.
    """
    controls = {
        "name": w.Dropdown(options=list(SURFACES), value="ravine", description="surface", style=WIDE, layout=ROW),
        "rate": choice("learning rate", 0.15, round_rates(-4, 1)),
        "momentum": choice("momentum", 0, (0, 0.2, 0.4, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99)),
        "conditioning": choice("conditioning", 10, (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)),
        "noise": choice("noise", 0, (0, 0.001, 0.01, 0.03, 0.1, 0.3, 1, 3)),
        "steps": choice("steps", 50, (10, 20, 50, 100, 200, 500, 1000)),
    }

    def suit(change):
        controls["rate"].value, controls["steps"].value = SUITS[change["new"]]
        controls["conditioning"].disabled = change["new"] in ("Rosenbrock", "Beale")

    controls["name"].observe(suit, "value")
    figure = playground(**{name: control.value for name, control in controls.items()})
    return explore(lambda **values: playground(**values, figure=figure), controls, say=describe_descent)


def describe_descent(name, conditioning, rate, momentum, noise, steps) -> str:
    """The playground's picture in a sentence: where the rate stands, what the path did, and its loss."""
    place, path = surface(name, conditioning), walk(name, conditioning, rate, momentum, noise, steps)
    first, last = place.value(path[0]), place.value(path[-1])
    said = f"{name[0].upper()}{name[1:]}: {verdict(place, rate, momentum, noise)}."
    ending = f"to {last:.3g} in {steps} steps" if np.isfinite(last) else "out of sight"
    return f"{said} Measured: {outcome(place, path)}; the loss goes from {first:.3g} {ending}."
