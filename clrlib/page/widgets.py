"""Sliders around draw functions: move one and the picture is drawn anew. Plain ipywidgets (7.7 and 8), no torch.

Every widget here is `explore` around a function of plain values that returns a Figure, and that function
is tested by itself. A static picture from the same function stands before the widget in the chapters.
"""

from __future__ import annotations

import html

import ipywidgets as w

from clrlib.figures import plots
from clrlib.page.parts import ROW, WIDE, Picture
from clrlib.validate import count, shown


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


def rate_slider(description: str, value: float, lowest: int, highest: int) -> w.SelectionSlider:
    """A slider over round learning rates from 10 ** lowest to 10 ** highest; `value` must be one of them."""
    return choice(description, value, round_rates(lowest, highest))


def choice(description, value, options, digits=3):
    """A slider over round values. (A log slider would turn 0.08 into 0.0794, the nearest of its equal steps.)"""
    if value not in options:
        raise ValueError(f"{description} can't be {shown(value)}: it is one of {shown(list(options))}")
    labelled = [(f"{option:.{digits}g}", option) for option in options]
    return w.SelectionSlider(options=labelled, value=value, description=description, style=WIDE, layout=ROW)


def round_rates(lowest: int, highest: int) -> list[float]:
    """1, 1.5, 2, 3, ... 9 in each decade from 10 ** lowest up to 10 ** highest."""
    if not -300 <= count("lowest", lowest, -300) < count("highest", highest, -300) <= 300:
        raise ValueError(f"need -300 <= lowest < highest <= 300, got {shown(lowest)} and {shown(highest)}")
    return [float(f"{digit}e{decade}") for decade in range(lowest, highest) for digit in (1, 1.5, *range(2, 10))] + [10.0**highest]
