"""Sliders around draw functions: move one and the picture is drawn anew. Plain ipywidgets (7.7 and 8), no torch.

Every widget here is `explore` around a function of plain values that returns a Figure, and that function
is tested by itself. A static picture from the same function stands before the widget in the chapters.
"""

from __future__ import annotations

import html

import ipywidgets as w
import numpy as np

from clrlib.chapters import chapter_01 as landscapes
from clrlib.chapters import chapter_04 as cycles
from clrlib.figures import plots
from clrlib.history import RangeTest
from clrlib.page.parts import ROW, WIDE, Picture, code_box
from clrlib.schedules import Schedule, cyclic, one_cycle, one_cycle_momentum
from clrlib.validate import MOST_STEPS, count, number, shown


def explore(draw, controls: dict, say=None, extra=()) -> w.VBox:
    """Controls above a picture; every change calls draw(**values) and shows the Figure that it returns.

    draw      values -> Figure; a ValueError that it raises is shown in place of the caption, the picture stays
    controls  name -> ipywidgets control
    say       values -> one sentence about the picture, its caption for those who can't see it
    extra     functions values -> HTML, shown below the picture

    The box that it returns has a function `values()`, what the controls say now, and the list `controls`.
    """
    picture, caption, parts = Picture(), w.HTML(), [w.HTML() for _ in extra]
    starts = {name: control.value for name, control in controls.items()}

    def redraw(_=None):
        values = {name: control.value for name, control in controls.items()}
        try:
            picture.value = plots.png(draw(**values))
            picture.tooltip = say(**values) if say else ""  # what a screen reader calls the picture
            caption.value = html.escape(picture.tooltip)
            for part, make in zip(parts, extra):
                part.value = make(**values)
        except ValueError as error:
            caption.value = f"<b>{html.escape(str(error))}</b>"

    def restore(_):
        for name, control in controls.items():
            control.value = starts[name]

    for control in controls.values():
        control.observe(redraw, "value")
    reset = w.Button(description="Reset", icon="undo", tooltip="Back to the values it started with", layout=w.Layout(width="110px"))
    reset.on_click(restore)
    redraw()
    box = w.VBox([*controls.values(), reset, picture, caption, *parts], layout=w.Layout(max_width="820px"))
    box.controls = list(controls.values())
    box.values = lambda: {name: control.value for name, control in controls.items()}
    return box


# --- the one-cycle policy --------------------------------------------------------------------------


def shape(low, high, tail, final, momentum) -> dict[str, Schedule]:
    """Slider values -> the schedules that they mean. `momentum` is (lowest, highest); equal ends hold it constant."""
    bottom, top = (number(x, "momentum") for x in momentum)
    curve = one_cycle_momentum(top, bottom, tail) if bottom < top else top
    return {"lr": one_cycle(low, high, tail, final), "momentum": curve}


def one_cycle_explorer(steps: int = 9310) -> w.VBox:
    """Shape a one-cycle run of `steps` iterations; take it away as plain PyTorch, or train it: `schedules()` is what `fit` takes."""
    count("steps", steps, at_most=MOST_STEPS)
    controls = {
        "low": _choice("lower learning rate", 0.08, _rates(-4, 0)),
        "high": _choice("upper learning rate", 0.8, _rates(-3, 1)),
        "tail": _choice("tail (share of run)", 13 / 95, (0.02, 0.05, 0.1, 13 / 95, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6)),
        "final": _choice("final learning rate", 0.008, _rates(-6, 0)),
        "momentum": w.FloatRangeSlider(
            value=(0.8, 0.95), min=0.5, max=0.99, step=0.01, description="momentum", readout_format=".2f", style=WIDE, layout=ROW
        ),
    }
    figure = plots.policy(shape(0.08, 0.8, 13 / 95, 0.008, (0.8, 0.95)), steps)
    box = explore(
        lambda **values: plots.policy(shape(**values), steps, figure),
        controls,
        say=lambda **values: describe(shape(**values), steps),
        extra=[lambda **values: code_box(pytorch_source(shape(**values), steps))],
    )
    box.schedules = lambda: shape(**box.values())
    return box


def describe(schedules: dict, steps: int) -> str:
    """The picture in a sentence: where the rate goes, and the highest effective rate."""
    lr, momentum = schedules["lr"], schedules["momentum"]
    peak = int(np.argmax(lr.table(steps)))
    moment = momentum.table(steps) if callable(momentum) else np.full(steps, momentum)
    effective = plots.effective_rate(lr.table(steps), moment)
    return (
        f"The rate goes from {lr.values[0]:.3g} up to {lr.values[1]:.3g} at iteration {peak:,}, back to {lr.values[2]:.3g}, "
        f"and ends at {lr.values[-1]:.3g} after {steps:,} iterations. The effective rate is highest at {effective.max():.3g}."
    )


def pytorch_source(schedules: dict, steps: int) -> str:
    """Plain PyTorch that sets these schedules in a loop of yours; needs numpy and nothing of this course.

    Schedules of straight segments only, and numbers. Raises ValueError for any other ease.
    """
    lines = [
        "import numpy as np",
        "",
        f"steps = {steps}  # optimizer steps in your whole run: epochs * len(loader)",
        "",
        "",
        "def set_hyper(optimizer, step):",
    ]
    lines += [
        '    """Call before every optimizer.step(); step counts from 0."""',
        "    progress = step / max(1, steps - 1)",
        "    for group in optimizer.param_groups:",
    ]
    for name, value in schedules.items():
        if isinstance(value, Schedule) and set(value.eases) != {"linear"}:
            raise ValueError(f"{name} has curved segments ({', '.join(value.eases)}): only straight ones can be written out")
        if not isinstance(value, Schedule):
            lines.append(f'        group["{name}"] = {float(value):.6g}')
            continue
        knots, values = (", ".join(f"{x:.6g}" for x in xs) for xs in (value.knots, value.values))
        lines.append(f'        group["{name}"] = float(np.interp(progress, [{knots}], [{values}]))')
    return "\n".join(lines) + "\n"


# --- gradient descent ----------------------------------------------------------------------------------

SUITS = {"bowl": (0.15, 50), "ravine": (0.15, 50), "saddle": (1.0, 200), "Rosenbrock": (0.001, 500), "Beale": (0.01, 500)}


def playground() -> w.VBox:
    """Descend five surfaces at any rate, momentum and noise, and see where the rate stands against the highest stable one.

    Another surface brings a rate and a number of steps that suit it; its other values stay.
    """
    controls = {
        "name": w.Dropdown(options=list(landscapes.SURFACES), value="ravine", description="surface", style=WIDE, layout=ROW),
        "rate": _choice("learning rate", 0.15, _rates(-4, 1)),
        "momentum": _choice("momentum", 0, (0, 0.2, 0.4, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99)),
        "conditioning": _choice("conditioning", 10, (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)),
        "noise": _choice("noise", 0, (0, 0.001, 0.01, 0.03, 0.1, 0.3, 1, 3)),
        "steps": _choice("steps", 50, (10, 20, 50, 100, 200, 500, 1000)),
    }

    def suit(change):
        controls["rate"].value, controls["steps"].value = SUITS[change["new"]]
        controls["conditioning"].disabled = change["new"] in ("Rosenbrock", "Beale")

    controls["name"].observe(suit, "value")
    figure = landscapes.playground(**{name: control.value for name, control in controls.items()})
    return explore(lambda **values: landscapes.playground(**values, figure=figure), controls, say=describe_descent)


def describe_descent(name, conditioning, rate, momentum, noise, steps) -> str:
    """The playground's picture in a sentence: where the rate stands, what the path did, and its loss."""
    place, path = landscapes.surface(name, conditioning), landscapes.walk(name, conditioning, rate, momentum, noise, steps)
    first, last = place.value(path[0]), place.value(path[-1])
    said = f"{name[0].upper()}{name[1:]}: {landscapes.verdict(place, rate, momentum, noise)}."
    ending = f"to {last:.3g} in {steps} steps" if np.isfinite(last) else "out of sight"
    return f"{said} Measured: {landscapes.outcome(place, path)}; the loss goes from {first:.3g} {ending}."


# --- cyclical rates ----------------------------------------------------------------------------------

MODES = ("triangular", "triangular2", "exp_range")


def cyclic_explorer(steps: int = 3921, per_epoch: int = 98) -> w.VBox:
    """Shape a cyclical rate over a run of `steps` iterations, `per_epoch` to an epoch: `schedules()` is what `fit` takes."""
    controls = {
        "mode": w.Dropdown(options=MODES, value="triangular", description="mode", style=WIDE, layout=ROW),
        "low": _choice("lower bound", 0.08, _rates(-4, 0)),
        "high": _choice("upper bound", 0.8, _rates(-3, 1)),
        "stepsize": _choice("stepsize (iterations)", 5 * per_epoch, [round(per_epoch * n) for n in STEPSIZES]),
        "gamma": _choice("gamma (exp_range)", 0.9995, (0.999, 0.9993, 0.9995, 0.9997, 0.9999, 0.99995, 1.0), digits=5),
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
    return cycles.rate(_cycles(mode, low, high, stepsize, gamma, steps).values, stepsize, low, high, per_epoch, figure)


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


# --- the range test ----------------------------------------------------------------------------------


def smoothing_explorer(result: RangeTest) -> w.VBox:
    """How far does smoothing move the minimum? A slider for beta on a recorded range test."""
    beta = w.FloatSlider(
        value=0.9, min=0.0, max=0.98, step=0.01, description="smoothing beta", readout_format=".2f", style=WIDE, layout=ROW
    )
    return explore(lambda beta: draw_smoothing(result, beta), {"beta": beta}, say=lambda beta: describe_smoothing(result, beta))


def draw_smoothing(result: RangeTest, beta: float):
    """The recorded sweep at one smoothing, with the article's rule read off it."""
    return plots.range_test(result, {"minimum/10": _minimum(result, beta)}, beta=beta).figure


def describe_smoothing(result: RangeTest, beta: float) -> str:
    """Where the minimum lies at this beta, in a sentence."""
    found = _minimum(result, beta)
    return (
        f"beta {beta:.2f}: the lowest smoothed loss is at {10 * found.rate:.3g}, so minimum/10 says {found.rate:.3g}."
        if found
        else found.why
    )


def _minimum(result, beta):
    """The article's rule, read off the mean curve smoothed with beta."""
    from clrlib.suggest import suggest_all

    return suggest_all(result.lrs, result.loss, beta=beta)["minimum/10"]


def rate_slider(description: str, value: float, lowest: int, highest: int) -> w.SelectionSlider:
    """A slider over round learning rates from 10 ** lowest to 10 ** highest; `value` must be one of them."""
    return _choice(description, value, _rates(lowest, highest))


def _choice(description, value, options, digits=3):
    """A slider over round values. (A log slider would turn 0.08 into 0.0794, the nearest of its equal steps.)"""
    if value not in options:
        raise ValueError(f"{description} can't be {shown(value)}: it is one of {shown(list(options))}")
    labelled = [(f"{option:.{digits}g}", option) for option in options]
    return w.SelectionSlider(options=labelled, value=value, description=description, style=WIDE, layout=ROW)


def _rates(lowest: int, highest: int) -> list[float]:
    """1, 1.5, 2, 3, ... 9 in each decade from 10 ** lowest up to 10 ** highest."""
    if not -300 <= count("lowest", lowest, -300) < count("highest", highest, -300) <= 300:
        raise ValueError(f"need -300 <= lowest < highest <= 300, got {shown(lowest)} and {shown(highest)}")
    return [float(f"{digit}e{decade}") for decade in range(lowest, highest) for digit in (1, 1.5, *range(2, 10))] + [10.0**highest]
