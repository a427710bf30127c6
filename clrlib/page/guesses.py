"""Predict first: a guess is set with a slider, the result is drawn with the guess on it, and a tally goes along. No torch."""

from __future__ import annotations

import contextlib
import html
import json

import ipywidgets as w

from clrlib.evidence import records
from clrlib.figures import style as figures
from clrlib.figures.style import COLOURS
from clrlib.files import write_atomically
from clrlib.page.parts import ROW, WIDE, Picture
from clrlib.validate import number

NEAR = 0.1  # of the slider's range: what counts as a good guess
_unwritten: dict[str, list[float]] = {}  # what could not be written, where the folder is read-only


def ask(key: str, question: str, truth: float, low: float, high: float, step: float, unit: str = "points") -> w.VBox:
    """A question with a slider and a button; the button draws the result beside the guess and counts it.

    key    which question it is, such as "05: the tail"; the first guess of each counts in the tally
    truth  what was recorded or measured; it may lie outside of the slider's range
    Raises ValueError where the range can't hold a slider.
    """
    if not number(low, "low") < number(high, "high") or not 0 < number(step, "step") <= high - low <= 1e6 * step:
        raise ValueError(f"need low < high and a step that fits between them, a million times at most; got {low}, {high} and {step}")
    number(truth, "truth")
    start = low + round((high - low) / 2 / step) * step
    slider = w.FloatSlider(
        value=start, min=low, max=high, step=step, description=f"your guess ({unit})", readout_format=".4g",
        continuous_update=False, style=WIDE, layout=ROW,
    )  # fmt: skip
    button = w.Button(description="Show the result", tooltip="Draws the result beside your guess", layout=w.Layout(width="150px"))
    picture, said = Picture(display="none"), w.HTML()

    def show(_):
        guess = slider.value
        picture.value = figures.png(line(guess, truth, low, high, unit))
        picture.layout.display = ""
        picture.tooltip = f"You said {plain(guess, 6)}, it is {plain(truth)} {unit}: off by {plain(abs(guess - truth), 2)}."
        said.value = html.escape(f"{picture.tooltip} {tally(count(key, guess, truth, high - low))}")

    button.on_click(show)
    return w.VBox([w.HTML(f"<b>Predict.</b> {html.escape(question)}"), slider, button, picture, said], layout=w.Layout(max_width="820px"))


@figures.styled
def line(guess: float, truth: float, low: float, high: float, unit: str = "points"):
    """A number line with the guess and the result on it; returns the Figure."""
    figure = figures.blank((7.2, 1.3), "constrained")
    ax = figure.subplots()
    ends = min(low, truth), max(high, truth)
    room = 0.03 * (ends[1] - ends[0])
    ax.plot([guess, truth], [0, 0], color=COLOURS["train"], linewidth=1)
    for value, label, colour, marker, above in (
        (guess, "you", COLOURS["lr"], "D", True),
        (truth, "it is", COLOURS["held_out"], "o", False),
    ):
        ax.plot(value, 0, marker, color=colour, markersize=8)
        ax.annotate(
            f"{label} {plain(value)}", (value, 0), (0, 9 if above else -9), textcoords="offset points", color=colour,
            ha="left" if value < sum(ends) / 2 else "right", va="bottom" if above else "top",
        )  # fmt: skip
    ax.set(xlim=(ends[0] - room, ends[1] + room), ylim=(-1, 1), yticks=[], xlabel=unit)
    ax.spines["left"].set_visible(False)
    return figure


def plain(value: float, digits: int = 3) -> str:
    """A number to so many digits, and no power of ten.

    >>> plain(1000), plain(854.2, 2), plain(0.2034)
    ('1,000', '850', '0.203')
    """
    return f"{float(f'{value:.{digits}g}'):,.10g}"


def count(key: str, guess: float, truth: float, span: float) -> dict[str, list[float]]:
    """Add a guess, unless that question has one; returns all guesses so far: key -> [guess, truth, range of the slider]."""
    kept = kept_guesses()
    if key not in kept:
        kept[key] = _unwritten[key] = [float(guess), float(truth), float(span)]
        with contextlib.suppress(OSError):  # in a read-only folder the tally lasts as long as the kernel
            write_atomically(_file(), json.dumps(kept, indent=1) + "\n")
    return kept


def kept_guesses() -> dict[str, list[float]]:
    """The guesses so far; what can't be read as such is left out."""
    try:
        found = json.loads(_file().read_text(encoding="utf-8"))
        found = {key: [float(x) for x in values] for key, values in found.items() if len(values) == 3 and float(values[2]) > 0}
    except (OSError, ValueError, TypeError, AttributeError):  # not there yet, or not ours
        found = {}
    return {**found, **_unwritten}


def tally(kept: dict[str, list[float]]) -> str:
    """ "Guesses so far: 3; within a tenth of the scale: 2." """
    near = sum(abs(guess - truth) <= NEAR * span for guess, truth, span in kept.values())
    return f"Guesses so far: {len(kept)}; within a tenth of the scale: {near}."


def _file():
    return records.root().with_name("guesses.json")
