"""The look of every figure: one style file, one colour per concept, described pictures. No pyplot, no state.

matplotlib is imported at the first drawing, not before: it takes half a second.
"""

from __future__ import annotations

import base64
import functools
import io
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SIZES = {"wide": (7.2, 3.4), "tall": (7.2, 5.4)}

# One colour per concept in all chapters: safe for the colour-blind, and 4.5:1 or better on white as text.
COLOURS = {
    "lr": "#0066A6", "momentum": "#B34700", "weight_decay": "#00734F", "effective": "#6B4C9A",
    "train": "#767676", "held_out": "#A3195B", "loss": "#333333",
}  # fmt: skip
GREY = "#8C8C8C"  # what stands behind: earlier runs, the curve under a path; 3:1 on white
SERIES = ("#0066A6", "#B34700", "#00734F", "#A3195B", "#6B4C9A", "#6B5B00", "#333333")
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (7, 1.5, 1.5, 1.5)), (0, (3, 1)), (0, (9, 2)), (0, (1, 1)))


LOCK = threading.RLock()  # matplotlib's settings are global: a live widget's thread and a slider must not swap them at once


@functools.cache
def style():
    """matplotlib's settings for every figure: style.mplstyle, and the rest as matplotlib has it."""
    import matplotlib

    return matplotlib.rc_params_from_file(Path(__file__).with_name("style.mplstyle"))


def styled(draw):
    """Run a draw function under the course's style, whatever the notebook's own settings are."""

    @functools.wraps(draw)
    def under_style(*args, **kwargs):
        import matplotlib

        with LOCK, matplotlib.rc_context(style()):
            return draw(*args, **kwargs)

    return under_style


@styled
def blank(size: tuple[float, float], layout: str | None = None):
    """An empty Figure of `size` inches (width, height), with a canvas that draws without a screen."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    return FigureCanvasAgg(Figure(figsize=size, layout=layout)).figure


@styled
def axes(rows: int = 1, columns: int = 1, size: str = "wide", **kwargs):
    """Fresh axes on a fresh Figure: one Axes, or an array [rows, columns] of them (squeezed)."""
    return blank(SIZES[size], "constrained").subplots(rows, columns, **kwargs)


@styled
def png(drawn) -> bytes:
    """The picture of a Figure, or of the Figure that an Axes (or an array of them) belongs to."""
    from PIL import Image

    figure = drawn if hasattr(drawn, "canvas") else np.ravel(drawn)[0].figure
    figure.canvas.draw()
    buffer = io.BytesIO()
    picture = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3])
    picture.quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(buffer, format="png")
    return buffer.getvalue()


@dataclass(frozen=True)
class Described:
    """A PNG and the words for those who can't see it, as notebooks display it. IPython's own Image has no words before IPython 8."""

    png: bytes
    alt: str

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"image/png": base64.b64encode(self.png).decode(), "text/plain": self.alt}, {"image/png": {"alt": self.alt}}


def show(drawn, alt: str):
    """Display a figure in a notebook, with a text for those who can't see it."""
    from IPython.display import display

    if not alt.strip():
        raise ValueError("alt is empty: say in a sentence what the figure shows")
    display(Described(png(drawn), alt))
