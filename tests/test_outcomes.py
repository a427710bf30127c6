import numpy as np
import pytest

from clrlib.chapters import chapter_10 as outcomes
from clrlib.figures import plots

RATES = {"constant": {0.1: [80.0, 82.0], 0.01: [70.0]}, "one cycle": {0.1: [90.0], 0.01: [60.0, 64.0]}}


def test_by_rate_draws_every_run_and_a_line_through_the_means():
    ax = outcomes.by_rate(RATES)
    lines = [line for line in ax.lines if line.get_linestyle() != "None"]
    assert [list(line.get_xdata()) for line in lines] == [[0.01, 0.1]] * 2
    assert [list(line.get_ydata()) for line in lines] == [[70.0, 81.0], [62.0, 90.0]]
    dots = sorted(value for line in ax.lines if line.get_linestyle() == "None" for value in line.get_ydata())
    assert dots == [60, 64, 70, 80, 82, 90]
    assert ax.get_xscale() == "log" and [text.get_text() for text in ax.texts] == ["constant", "one cycle"]


def test_names_of_lines_that_end_together_stand_apart():
    ax = outcomes.by_rate({"a": {1.0: [50.0]}, "b": {1.0: [50.0], 2.0: [50.0]}, "c": {1.0: [40.0], 2.0: [50.0]}})
    heights = sorted(text.xy[1] for text in ax.texts)
    low, high = ax.get_ylim()
    assert np.diff(heights).min() > 0.07 * (high - low)


@pytest.mark.parametrize("nothing", [{}, {"a": {}}])
def test_by_rate_says_when_there_is_nothing(nothing):
    with pytest.raises(ValueError, match="at least one rate"):
        outcomes.by_rate(nothing)


def test_regions_ask_each_classifier_about_the_whole_plane():
    asked, points = [], np.array([[-1.0, 0.5], [2.0, -0.5]])

    def right_half(plane):
        asked.append(plane)
        return plane[:, 0] > 0

    panels = outcomes.regions({"one": right_half, "two": right_half}, points, [0, 1])
    assert [ax.get_title(loc="left") for ax in panels] == ["one", "two"]
    assert len(asked) == 2 and asked[0].min() == pytest.approx(-2.1) and asked[0].max() == pytest.approx(2.1)
    assert len(plots.png(panels)) < 60_000


def test_regions_refuse_points_without_labels():
    with pytest.raises(ValueError, match=r"got \(3, 2\) and \(2,\)"):
        outcomes.regions({}, np.zeros((3, 2)), [0, 1])
