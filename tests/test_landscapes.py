import io
import itertools

import numpy as np
import pytest
from PIL import Image

from clrlib.chapters import chapter_01 as landscapes
from clrlib.figures import style as figures
from clrlib.theory import descent
from clrlib.theory.descent import BEALE, ROSENBROCK, bowl, descend, saddle

START = {
    "bowl": ("bowl", 10, 0.15, 0, 0, 50),
    "bowl, diverging": ("bowl", 100, 0.021, 0, 0, 500),
    "round": ("bowl", 1, 0.5, 0.5, 0.3, 50),
    "round, highest limit": ("bowl", 1, 10.0, 0.99, 3, 1000),
    "ravine": ("ravine", 1000, 1e-4, 0.99, 0, 50),
    "saddle": ("saddle", 10, 1.0, 0, 0, 200),
    "Rosenbrock": ("Rosenbrock", 10, 0.001, 0.9, 0, 500),
    "Beale, blown up": ("Beale", 10, 10.0, 0.9, 0, 10),
}
LINE = bowl(1, 1)
DRAWN = {
    "parabola": lambda: landscapes.parabola([-4, -3, -2], title="slow"),
    "levels": lambda: landscapes.levels(BEALE),
    "path": lambda: landscapes.path(ROSENBROCK, descend(ROSENBROCK, 0.001)),
    "maps": lambda: landscapes.maps({"a": (LINE, descend(LINE, 0.1)), "b": (saddle(), descend(saddle(), 0.1), "momentum")}),
    "losses": lambda: landscapes.losses(LINE, {f"{rate}": descend(LINE, rate) for rate in (0.1, 1.9, 2.1)}),
    "losses of a saddle": lambda: landscapes.losses(saddle(), {"": descend(saddle(), 0.1)}),
    "speeds": lambda: landscapes.speeds(),
    **{f"playground: {name}": lambda values=values: landscapes.playground(*values) for name, values in START.items()},
}


def figure_of(drawn):
    return drawn if hasattr(drawn, "savefig") else np.ravel(drawn)[0].figure


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
def test_a_picture_has_content_and_is_small(draw):
    data = figures.png(draw())
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).reshape(-1, 3)
    assert len(np.unique(pixels, axis=0)) > 20 and 0.003 < (pixels < 200).any(axis=1).mean() < 0.9
    assert len(data) < 60_000


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
def test_nothing_is_cut_off(draw):
    figure = figure_of(draw())
    figure.canvas.draw()
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width + 0.01 and box.y1 <= height + 0.01


@pytest.mark.parametrize("name", ["parabola", "losses", "losses of a saddle", "speeds"])
def test_axes_are_labelled(name):
    ax = DRAWN[name]()
    assert ax.get_xlabel() and ax.get_ylabel()


@pytest.mark.parametrize("name", landscapes.SURFACES)
def test_start_and_minimum_lie_in_the_window(name):
    place = landscapes.surface(name)
    left, right, bottom, top = landscapes.SURFACES[name][1]
    for x, y in (place.start, place.lowest or (0, 0)):
        assert left < x < right and bottom < y < top


# --- what is drawn is what was walked ------------------------------------------------------------------


def test_a_path_is_drawn_where_it_went():
    walked = descend(BEALE, 0.01)
    ax = landscapes.path(BEALE, walked, concept="momentum")
    _, line, start = ax.lines
    np.testing.assert_array_equal(line.get_xydata(), walked)
    assert line.get_color() == figures.COLOURS["momentum"] and tuple(start.get_xydata()[0]) == BEALE.start


def test_losses_are_the_heights_of_the_path_and_named_apart():
    walks = {f"{rate}": descend(LINE, rate) for rate in (0.1, 1.9, 2.1)}
    ax = landscapes.losses(LINE, walks)
    for line, walked in zip(ax.lines, walks.values()):
        np.testing.assert_allclose(line.get_ydata(), LINE.value(walked))
    places = {text.get_text(): text.get_position()[1] for text in ax.texts}
    assert set(places) == set(walks) and np.diff(sorted(places.values())).min() > 0.06 and ax.get_yscale() == "log"


def test_a_path_that_blew_up_is_named_where_it_was_last_seen():
    ax = landscapes.losses(LINE, {"gone": descend(LINE, 5.0, steps=50)})
    assert np.isfinite(ax.texts[0].get_position()).all()


def test_speeds_cross_one_at_the_highest_rate():
    ax = landscapes.speeds((0, 0.9), curvature=4.0)
    curves = [line for line in ax.lines if len(line.get_xdata()) > 2]
    for line, limit in zip(curves, (0.5, 0.95)):
        rates, sizes = line.get_data()
        assert (sizes[(rates > 0) & (rates < limit * 0.999)] < 1).all() and (sizes[rates > limit * 1.001] > 1).all()


# --- the playground ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("before, after", itertools.permutations(START.values(), 2))
def test_a_figure_can_be_drawn_into_again(before, after):
    figure = landscapes.playground(*before)
    assert landscapes.playground(*after, figure) is figure
    assert figures.png(figure) == figures.png(landscapes.playground(*after))


def test_the_strip_shows_the_rate_and_both_limits():
    strip = landscapes.playground("ravine", 20, 0.05, 0.9, 0, 50).axes[2]
    plain, highest, dot = (line.get_xdata()[0] for line in strip.lines)
    assert (plain, highest, dot) == pytest.approx((0.1, 0.19, 0.05), rel=1e-6)
    stable = strip.patches[0]
    assert stable.get_x() + stable.get_width() == pytest.approx(0.19)
    assert {text.get_text() for text in strip.texts} == {"2/λ = 0.1", "2(1+μ)/λ = 0.19"}


def test_the_panels_show_the_path_and_its_loss():
    above, curve, _ = landscapes.playground("Beale", 10, 0.01, 0.5, 0.1, 30).axes
    walked = descend(BEALE, 0.01, 0.5, 30, noise=0.1)
    np.testing.assert_array_equal(above.lines[0].get_xydata(), walked)
    np.testing.assert_allclose(curve.lines[0].get_ydata(), BEALE.value(walked))


@pytest.mark.parametrize(
    "place, rate, momentum, noise, said",
    [
        (bowl(1, 10), 0.05, 0, 0, "rate 0.05 is 25 % of the highest stable rate: converges"),
        (bowl(1, 10), 0.15, 0, 0, "75 % of the highest stable rate: converges, swinging"),
        (bowl(1, 10), 0.2, 0, 0, "100 % of the highest stable rate: swings for ever"),
        (bowl(1, 10), 0.21, 0, 0, "105 % of the highest stable rate: diverges"),
        (bowl(1, 10), 0.21, 0.9, 0, "55.3 % of the highest stable rate: converges, swinging"),
        (bowl(1, 10), 0.05, 0, 0.1, "converges, but for the noise"),
        (saddle(), 1, 0, 0, "50 % of the highest stable rate across the pass: escapes"),
        (ROSENBROCK, 0.001, 0, 0, "50.1 % of the highest stable rate at the minimum: stable there"),
        (ROSENBROCK, 0.003, 0, 0, "at the minimum: unstable there"),
    ],
)
def test_the_verdict_says_where_the_rate_stands(place, rate, momentum, noise, said):
    assert landscapes.verdict(place, rate, momentum, noise).endswith(said)


@pytest.mark.parametrize(
    "place, rate, steps, said",
    [
        (bowl(1, 10), 0.15, 50, "there at step 28"),
        (bowl(1, 10), 0.01, 50, "not there at step 50"),
        (bowl(1, 10), 0.21, 50, "higher than at the start"),
        (bowl(1, 10), 3.0, 50, "blown up at step 4"),
        (saddle(), 1, 100, "left at step 73"),
        (saddle(), 1, 50, "on the pass after 50"),
        (saddle(), 3, 50, "thrown off the pass"),
    ],
)
def test_the_outcome_is_measured_from_the_path(place, rate, steps, said):
    walked = descend(place, rate, steps=steps)
    assert landscapes.outcome(place, walked) == said
    if said.startswith("there"):
        distance = np.linalg.norm(walked, axis=1) / np.linalg.norm(walked[0])
        assert (distance[28:] <= 0.01).all() and distance[27] > 0.01


def test_a_refused_value_leaves_the_figure_as_it_was():
    figure = landscapes.playground(*START["bowl"])
    before = figures.png(figure)
    with pytest.raises(ValueError, match="rate must be above 0"):
        landscapes.playground("Beale", 10, 0, 0, 0, 50, figure)
    assert figures.png(figure) == before


def test_paths_are_kept_and_can_not_be_changed():
    values = ("bowl", 10, 0.1, 0, 0, 20)
    assert landscapes.walk(*values) is landscapes.walk(*values)
    with pytest.raises(ValueError, match="read-only"):
        landscapes.walk(*values)[0] = 0


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: landscapes.surface("hill"), "surface 'hill' is unknown: bowl, ravine"),
        (lambda: landscapes.surface("bowl", 0.5), "conditioning must be finite and at least 1, got 0.5"),
        (lambda: landscapes.surface("Beale", np.inf), "got inf"),
        (lambda: landscapes.levels(LINE._replace(name="hill")), "no window is known for a surface 'hill'"),
        (lambda: landscapes.playground("bowl", 10, 0.1, 1.0, 0, 50), "momentum=1.0"),
        (lambda: landscapes.playground("bowl", 10, 0.1, 0, -1, 50), "noise=-1"),
        (lambda: landscapes.playground("bowl", 10, 0, 0, 0, 50), "rate must be above 0"),
        (lambda: descent.arrival(saddle(), [[0, 0]]), "the saddle has no minimum"),
    ],
)
def test_bad_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
