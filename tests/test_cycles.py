import io

import numpy as np
import pytest
from PIL import Image

from clrlib import schedules as s
from clrlib.chapters import chapter_04 as cycles
from clrlib.figures import plots
from clrlib.history import History
from clrlib.theory.cycles import valleys
from clrlib.theory.escape import paths, two_valleys


def curve(stepsize=50, steps=401):
    return s.cyclic(0.1, 1.0, steps, stepsize).values


def log(accuracies=(40, 60, 70), source="CIFAR-10"):
    rows = [{"epoch": (i + 1) / 2, "step": 5 * (i + 1), "accuracy": a} for i, a in enumerate(accuracies)]
    return History({"lr": np.linspace(0.1, 1, 5 * len(accuracies))}, rows, source)


DRAWN = {
    "rate": lambda: cycles.rate(curve(), 50, 0.1, 1.0),
    "rate, cycles too short to name": lambda: cycles.rate(curve(5), 5, 0.1, 1.0),
    "rate, cycle longer than the run": lambda: cycles.rate(curve(900), 900, 0.1, 1.0),
    "saddle": lambda: cycles.saddle(two_valleys(), {"a": paths(two_valleys(), 0.4, 60, 1)[0], "b": paths(two_valleys(), 0.04, 60, 1)[0]}),
    "still there": lambda: cycles.still_there({"a": [3, 5, np.inf], "b": [9, 9, 9]}, 10),
    "ride": lambda: cycles.ride({"a": [log(), log((44, 55, 66))], "b": [log((10, 20, 30))]}),
}


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
def test_a_picture_has_content_and_is_small(draw):
    data = plots.png(draw())
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).reshape(-1, 3)
    assert len(np.unique(pixels, axis=0)) > 20 and 0.003 < (pixels < 200).any(axis=1).mean() < 0.9
    assert len(data) < 60_000


def test_the_rate_is_drawn_where_it_is():
    ax = cycles.rate(curve(), 50, 0.1, 1.0).axes[0]
    drawn = next(line for line in ax.lines if line.get_color() == plots.COLOURS["lr"])
    np.testing.assert_array_equal(drawn.get_ydata(), curve())
    assert [text.get_text() for text in ax.texts if text.get_text()] == ["upper bound\n1", "lower bound\n0.1", "stepsize", "stepsize"]
    assert "98" in ax.get_xlabel() and ax.get_ylabel() == "learning rate"


def test_a_figure_can_be_drawn_into_again():
    figure = cycles.rate(curve(), 50, 0.1, 1.0)
    again = cycles.rate(curve(80), 80, 0.1, 1.0, figure=figure)
    assert again is figure and plots.png(figure) == plots.png(cycles.rate(curve(80), 80, 0.1, 1.0))


def test_the_share_still_there_counts_those_that_leave_later_or_never():
    line = cycles.still_there({"a": [0, 2, 2, np.inf]}, 4).lines[0]
    assert line.get_xdata().tolist() == [0, 1, 2, 3, 4] and line.get_ydata().tolist() == [75, 75, 25, 25, 25]


def test_a_ride_puts_rate_and_accuracy_over_the_same_epochs():
    rate, accuracy = cycles.ride({"a": [log()]})
    np.testing.assert_allclose(rate.lines[0].get_xdata(), np.arange(1, 16) / 10)
    np.testing.assert_allclose(accuracy.lines[0].get_xdata(), [0.5, 1.0, 1.5])
    assert accuracy.get_xlabel() == "epoch" and rate.get_ylabel() == "learning rate"


def test_a_recorded_run_is_thinned_and_still_lies_right():
    history = log()
    history.steps = {"step": np.array([0, 7, 14]), "lr": np.array([0.1, 0.5, 1.0])}
    np.testing.assert_allclose(cycles.ride({"a": [history]})[0].lines[0].get_xdata(), [0.1, 0.8, 1.5])


@pytest.mark.parametrize("source", ["CIFAR-10", "digits"])
def test_a_ride_on_the_stand_in_says_digits(source):
    rate, accuracy = cycles.ride({"a": [log(source=source)]})
    assert ("digits" in rate.get_title(loc="left")) == (source == "digits") and not accuracy.get_title(loc="left")


@pytest.mark.parametrize(
    "values, found",
    [
        (s.cyclic(0.1, 1, 81, 10).values, [20, 40, 60, 80]),
        (s.cyclic(0.1, 1, 71, 10).values, [20, 40, 60]),
        (s.triangular(0.1, 1, 1).table(11), [10]),
        (s.triangular(0.1, 1, 2).table(12), [5, 11]),
        ([3, 2, 1, 1, 2, 2], [2]),
        ([1, 2, 3], []),
        ([0.5, 0.5, 0.5], []),
        ([1.0], []),
    ],
)
def test_valleys_are_where_a_rate_turns_up_and_where_it_ends_low(values, found):
    assert valleys(values).tolist() == found


def test_bad_values_are_named():
    with pytest.raises(ValueError, match="low=1.0"):
        cycles.rate(curve(), 50, 1.0, 0.1)
    with pytest.raises(ValueError, match="stepsize must be at least 1, got 0"):
        cycles.rate(curve(), 0, 0.1, 1.0)
