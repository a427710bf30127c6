import io

import numpy as np
import pytest
from PIL import Image

from clrlib.chapters import chapter_02 as noise
from clrlib.figures import plots
from clrlib.history import History, smooth
from clrlib.stats import standard_error
from clrlib.theory.audit import running_accuracy

RNG = np.random.default_rng(0)
SCORES = RNG.normal(42, 1.5, 20)
ROWS = [{"epoch": i + 1, "train_accuracy": 30.0 + 15 * i, "accuracy": 40.0 + 12 * i} for i in range(4)]
RUN = History({"loss": 2.3 - 0.01 * np.arange(60) + RNG.normal(0, 0.1, 60)}, ROWS)
MEASURED = RNG.binomial(1000, 0.8, (500, 20)) / 10
POWER = {"spread 1": ([2, 5, 20, 100], [0.1, 0.3, 0.8, 1.0])}
DRAWN = {
    "seeds": lambda: noise.seeds({"": SCORES}),
    "seeds of two groups": lambda: noise.seeds({"yours": SCORES, "recorded": SCORES[:5]}),
    "loss curve": lambda: noise.loss_curve(RUN),
    "found": lambda: noise.found(POWER, {"spread 1": 16}),
    "best of many": lambda: noise.best_of_many(MEASURED[:, 0], MEASURED.max(axis=1), 80),
    "running": lambda: noise.running({"": RUN}),
    "running of two": lambda: noise.running({"a": RUN, "b": RUN}),
}


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
def test_a_picture_has_content_labels_and_is_small(draw):
    drawn = draw()
    raw = plots.png(drawn)
    pixels = np.asarray(Image.open(io.BytesIO(raw)).convert("RGB")).reshape(-1, 3)
    assert len(np.unique(pixels, axis=0)) > 20 and len(raw) < 60_000
    assert all(ax.get_xlabel() and ax.get_ylabel() for ax in np.ravel(drawn))


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
def test_nothing_sticks_out_of_the_picture(draw):
    figure = np.ravel(draw())[0].figure
    figure.canvas.draw()
    width, height = figure.canvas.get_width_height()
    for text in [text for ax in figure.axes for text in ax.texts if text.get_text()]:
        box = text.get_window_extent()
        assert box.x0 >= -1 and box.x1 <= width + 1 and box.y0 >= -1 and box.y1 <= height + 1


def test_seeds_are_drawn_where_they_are_with_both_errors():
    (ax,) = noise.seeds({"": SCORES})
    assert np.array_equal(ax.lines[0].get_xdata(), SCORES)
    assert [np.ptp(line.get_xdata()) / 2 for line in ax.lines[1:3]] == pytest.approx([SCORES.std(ddof=1), standard_error(SCORES)])
    assert sum(patch.get_height() for patch in ax.patches) == len(SCORES)
    assert {f"one run: ±{SCORES.std(ddof=1):.2f}", f"mean {SCORES.mean():.2f}"} <= {text.get_text() for text in ax.texts}


def test_a_loss_curve_has_the_raw_losses_and_their_average():
    raw, average = noise.loss_curve(RUN, beta=0.8).lines
    assert np.array_equal(raw.get_ydata(), RUN.steps["loss"]) and np.array_equal(average.get_ydata(), smooth(RUN.steps["loss"], 0.8))


def test_the_running_mean_stands_beside_the_truth():
    true, running = noise.running({"": RUN}).lines
    assert true.get_ydata().tolist() == [40, 52, 64, 76] and np.array_equal(running.get_ydata(), running_accuracy(ROWS))


def test_the_best_of_many_names_both_means_and_the_truth():
    said = " ".join(text.get_text() for text in DRAWN["best of many"]().texts)
    assert f"{MEASURED[:, 0].mean():.1f} on average" in said and f"{MEASURED.max(axis=1).mean():.1f} on average" in said and "80" in said


def test_figures_of_the_stand_in_say_digits():
    assert "digits" in noise.seeds({"": SCORES}, source="digits")[0].get_xlabel()
    assert "digits" in noise.loss_curve(History(RUN.steps, ROWS, "digits")).get_title(loc="left")
