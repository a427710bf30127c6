"""Pictures have words, colours have contrast, and no two lines are told apart by a colour that not everyone sees.

Contrast: WCAG 2.2, 4.5:1 for text (1.4.3) and 3:1 for lines and marks (1.4.11). Colour vision: the matrices of Machado, Oliveira
and Fernandes 2009 (A physiologically-based model for simulation of color vision deficiency), at full severity, on linear RGB.
"""

import itertools
import re
from pathlib import Path

import matplotlib as mpl
import nbformat
import numpy as np
import pytest

from clrlib.chapters import chapter_01 as landscapes
from clrlib.chapters import chapter_09 as dots
from clrlib.figures import live as live_plots
from clrlib.figures import plots
from clrlib.figures import style as figures
from clrlib.history import History
from clrlib.schedules import one_cycle
from clrlib.theory.descent import bowl, descend

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted(ROOT.glob("notebooks/**/*.ipynb"))
PAGES = [ROOT / "README.md", ROOT / "data" / "README.md", ROOT / "data" / "RESULTS.md", *sorted(ROOT.glob("clrlib/*.md"))]

SIGHTS = {
    "all three cones": np.eye(3),
    "protanopia": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
    "deuteranopia": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]),
    "tritanopia": np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]),
}
TO_XYZ = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]])
APART = 15  # CIE Lab units (CIE76) that two colours must lie apart if nothing else tells them apart; about 2.3 can just be seen


def linear(colour):
    """A colour's linear RGB, as it looks on white."""
    *rgb, alpha = mpl.colors.to_rgba(colour)
    rgb = alpha * np.array(rgb) + 1 - alpha
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def contrast(colour) -> float:
    """With white."""
    return 1.05 / (TO_XYZ[1] @ linear(colour) + 0.05)


def lab(rgb):
    """CIE Lab of a linear RGB, under its own white."""
    t = TO_XYZ @ rgb / TO_XYZ.sum(axis=1)
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def distance(a, b) -> float:
    """Between two colours, for the eyes that see them least apart."""
    return min(np.linalg.norm(lab(np.clip(m @ linear(a), 0, 1)) - lab(np.clip(m @ linear(b), 0, 1))) for m in SIGHTS.values())


# --- the measures themselves -----------------------------------------------------------------------------


def test_contrast_and_distance_against_known_values():
    assert contrast("#000000") == pytest.approx(21) and contrast("#767676") == pytest.approx(4.54, abs=0.01)
    assert lab(linear("#FF0000")) == pytest.approx([53.24, 80.09, 67.20], abs=0.02)  # sRGB red, as colour tables have it
    for matrix in SIGHTS.values():
        assert matrix.sum(axis=1) == pytest.approx(1, abs=1e-5)  # greys stay grey
    assert distance("#FF0000", "#00FF00") > APART > distance("#D55E00", "#A57700")  # a red and a brown that deuteranopes confuse


# --- pictures have words ---------------------------------------------------------------------------------


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_stored_picture_says_what_it_shows(path):
    for cell in nbformat.read(path, as_version=4).cells:
        pictures = [output for output in cell.get("outputs", []) if any(kind.startswith("image/") for kind in output.get("data", {}))]
        for output in pictures:
            words = output.metadata.get("image/png", {}).get("alt", "").split()
            assert len(words) >= 4, f"{path.name}: {cell.source[-200:]}"
        if cell.cell_type == "markdown":
            check_pictures_in(cell.source, path.name)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_pictures_in_a_page_have_words(path):
    check_pictures_in(path.read_text(encoding="utf-8"), path.name)


def check_pictures_in(text, where):
    for words in re.findall(r"!\[(.*?)\]\(", text):
        assert words.strip(), where
    for tag in re.findall(r"<img\b[^>]*>", text):
        assert re.search(r'\balt="[^"]+"', tag), f"{where}: {tag}"


# --- colours have contrast -------------------------------------------------------------------------------


TEXTS = ("text.color", "axes.labelcolor", "axes.titlecolor", "xtick.labelcolor", "ytick.labelcolor", "legend.labelcolor")
MARKS = ("axes.edgecolor", "xtick.color", "ytick.color")


@pytest.mark.parametrize("setting", TEXTS)
def test_the_style_writes_in_colours_that_can_be_read(setting):
    colour = figures.style()[setting]
    assert contrast(figures.style()["text.color"] if colour in ("auto", "None", None) else colour) >= 4.5


@pytest.mark.parametrize("setting", MARKS)
def test_the_style_draws_axes_that_can_be_seen(setting):
    assert contrast(figures.style()[setting]) >= 3


@pytest.mark.parametrize("colour", sorted({*figures.COLOURS.values(), *figures.SERIES, *(word[0] for word in dots.WORDS.values())}))
def test_a_colour_can_be_read_as_text(colour):
    assert contrast(colour) >= 4.5


def grown(seed):
    """A run of 20 steps and two epochs."""
    steps = {"lr": np.linspace(0.1, 1, 20), "loss": np.linspace(2, 1, 20) + 0.1 * seed}
    rows = [
        {"epoch": e, "step": 10 * e, "accuracy": 40.0 + 10 * e + seed, "loss": 2.0 - 0.3 * e, "train_loss": 1.9 - 0.4 * e} for e in (1, 2)
    ]
    return History(steps, rows)


MANY = [f"run {i}" for i in range(len(figures.SERIES))]
DRAWN = {
    "compare": lambda: plots.compare({name: [grown(i), grown(i + 0.5)] for i, name in enumerate(MANY)}),
    "schedule": lambda: plots.schedule({name: one_cycle(0.01 * (i + 1), 0.5 + 0.1 * i) for i, name in enumerate(MANY)}, steps=100),
    "run": lambda: plots.run(grown(0)),
    "losses": lambda: landscapes.losses(bowl(1, 10), {name: descend(bowl(1, 10), 0.01 * (i + 1), steps=20) for i, name in enumerate(MANY)}),
    "bars": lambda: plots.bars({name: [80.0 + i, 81.0 + i] for i, name in enumerate(MANY)}),
    "parabola": lambda: landscapes.parabola([-4.0, -3.0, -2.0]),
    "live": lambda: live_plots.draw({name: grown(i) for i, name in enumerate(MANY[:5])}, 20, one_cycle(0.1, 1), 60),
}


@pytest.fixture(params=DRAWN)
def axes(request):
    drawn = DRAWN[request.param]()
    figure = drawn if hasattr(drawn, "canvas") else np.ravel(drawn)[0].figure
    figure.canvas.draw()
    return figure.axes


def lines(ax):
    return [line for line in ax.lines if len(line.get_xdata()) and line.get_visible()]


def test_lines_and_words_stand_out_from_white(axes):
    for ax in axes:
        colours = [mpl.colors.to_rgba(line.get_color(), line.get_alpha()) for line in lines(ax)]
        assert [colour for colour in colours if contrast(colour) < 3] == []
        assert [text.get_text() for text in ax.texts if text.get_text() and contrast(text.get_color()) < 4.5] == []


def test_lines_that_look_alike_to_some_differ_in_more_than_colour(axes):
    def form(line):
        return line._unscaled_dash_pattern, str(line.get_marker())

    for ax in axes:
        for a, b in itertools.combinations(lines(ax), 2):
            same = mpl.colors.same_color(a.get_color(), b.get_color())
            assert same or form(a) != form(b) or distance(a.get_color(), b.get_color()) >= APART


def test_what_has_no_dash_to_tell_it_apart_lies_apart_in_colour():
    """Concepts that a picture shows in one panel without a dash, and the verdicts of the audit, which have marks of their own too."""
    for a, b in (("train", "loss"), ("lr", "momentum"), ("lr", "held_out"), ("lr", "loss"), ("momentum", "weight_decay")):
        assert distance(figures.COLOURS[a], figures.COLOURS[b]) >= APART
    assert len({(mark, filled) for _, mark, filled in dots.WORDS.values()}) == len(dots.WORDS)
