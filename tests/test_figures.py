import base64
import io

import matplotlib as mpl
import numpy as np
import pytest
from IPython import display
from IPython.core.formatters import DisplayFormatter
from PIL import Image

from clrlib.figures import style as figures


def luminance(colour):
    """WCAG 2's relative luminance."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in mpl.colors.to_rgb(colour)]
    return np.dot([0.2126, 0.7152, 0.0722], linear)


@pytest.mark.parametrize("colour", sorted({*figures.COLOURS.values(), *figures.SERIES}))
def test_colours_are_readable_as_text_on_white(colour):
    assert 1.05 / (luminance(colour) + 0.05) >= 4.5


def test_series_differ_without_colour():
    assert len(set(map(str, figures.DASHES))) == len(set(figures.SERIES)) == len(figures.SERIES) == len(figures.DASHES)


def test_a_figure_looks_the_same_whatever_the_notebook_set():
    def drawn():
        ax = figures.axes()
        figures.styled(ax.plot)([1, 2], [3, 4])
        return figures.png(ax)

    before = drawn()
    with mpl.rc_context({"font.size": 30, "lines.linewidth": 9, "figure.dpi": 20, "axes.facecolor": "black", "axes.xmargin": 0.4}):
        assert drawn() == before
    assert mpl.rcParams["font.size"] != 30


@pytest.mark.parametrize("size", figures.SIZES)
def test_sizes_are_inches_at_one_resolution(size):
    picture = Image.open(io.BytesIO(figures.png(figures.axes(size=size))))
    assert picture.size == tuple(round(inches * figures.style()["figure.dpi"]) for inches in figures.SIZES[size])
    assert 90 <= figures.style()["figure.dpi"] <= 130


def test_png_takes_a_figure_an_axes_or_several():
    panels = figures.axes(2, 2)
    assert figures.png(panels) == figures.png(panels[0, 0]) == figures.png(panels[1, 1].figure)


def test_a_picture_is_shown_with_its_text(monkeypatch):
    shown = []
    monkeypatch.setattr(display, "display", shown.append)
    ax = figures.axes()
    figures.show(ax, "an empty frame")
    data, metadata = DisplayFormatter().format(shown[0])  # what IPython sends to a front end
    assert base64.b64decode(data["image/png"]) == figures.png(ax) and data["text/plain"] == "an empty frame"
    assert metadata == {"image/png": {"alt": "an empty frame"}}
    with pytest.raises(ValueError, match="alt is empty"):
        figures.show(ax, " ")
