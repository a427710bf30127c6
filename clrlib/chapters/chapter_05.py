"""Chapter 05: shape a one-cycle policy with sliders, and take its PyTorch code away."""

from __future__ import annotations

import ipywidgets as w
import numpy as np

from clrlib.figures import plots
from clrlib.page.parts import ROW, WIDE, code_box
from clrlib.page.widgets import choice, explore, round_rates
from clrlib.schedules import Schedule, one_cycle, one_cycle_momentum
from clrlib.theory.momentum import effective_rate
from clrlib.validate import MOST_STEPS, count, number


def shape(low, high, tail, final, momentum) -> dict[str, Schedule]:
    """Slider values -> the schedules that they mean. `momentum` is (lowest, highest); equal ends hold it constant."""
    bottom, top = (number(x, "momentum") for x in momentum)
    curve = one_cycle_momentum(top, bottom, tail) if bottom < top else top
    return {"lr": one_cycle(low, high, tail, final), "momentum": curve}


def one_cycle_explorer(steps: int = 9310) -> w.VBox:
    """Shape a one-cycle run of `steps` iterations; take it away as plain PyTorch, or train it: `schedules()` is what `fit` takes."""
    count("steps", steps, at_most=MOST_STEPS)
    controls = {
        "low": choice("lower learning rate", 0.08, round_rates(-4, 0)),
        "high": choice("upper learning rate", 0.8, round_rates(-3, 1)),
        "tail": choice("tail (share of run)", 13 / 95, (0.02, 0.05, 0.1, 13 / 95, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6)),
        "final": choice("final learning rate", 0.008, round_rates(-6, 0)),
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
    effective = effective_rate(lr.table(steps), moment)
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
