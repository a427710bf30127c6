import io

import numpy as np
import pytest
from PIL import Image

from clrlib.chapters import chapter_09 as dots
from clrlib.figures import plots
from clrlib.stats import Difference

RUNS = {
    "a": {"printed": [90.0, 92.0], "train": [99.0, 100.0], "test": [85.0, 86.0]},
    "b": {"printed": 60.0, "train": 64.0, "test": 20.0},
}
EPOCHS = [{"epoch": i, "train_accuracy": train, "accuracy": 60.0} for i, train in ((1, 30.0), (2, 80.0), (3, 100.0))]
DRAWN = {
    "printed": lambda: dots.printed_and_true(RUNS),
    "effects": lambda: dots.effects(CLAIMS),
    "lag": lambda: dots.lag(EPOCHS, [30, 50, 61]),
}
CLAIMS = [
    ("One is better", [("against b", Difference(5.5, 1.6, 9.4), "holds"), ("against c", Difference(0.1, -0.6, 0.7), "open")]),
    ("It collapses", [("far", Difference(-30.0, -33.0, -27.0), "holds"), ("wide", Difference(-2.0, -15.0, 11.0), "open")]),
    ("It is worse", [("against d", Difference(2.0, 1.0, 3.0), "fails")]),
]


def texts(ax):
    return [text.get_text() for text in ax.texts]


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
def test_a_picture_has_content_is_small_and_clips_nothing(draw):
    ax = draw()
    data = plots.png(ax)
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).reshape(-1, 3)
    assert len(np.unique(pixels, axis=0)) > 20 and len(data) < 60_000 and ax.get_xlabel()
    bottom, top = ax.get_ylim()
    seen = [label for label in ax.get_yticklabels() if bottom <= label.get_position()[1] <= top]
    for text in [*ax.texts, *seen]:
        box, whole = text.get_window_extent(), ax.figure.bbox
        assert whole.x0 <= box.x0 and box.x1 <= whole.x1 and whole.y0 <= box.y0 and box.y1 <= whole.y1, text.get_text()


def test_the_means_are_written_and_each_seed_is_a_dot():
    ax = dots.printed_and_true(RUNS)
    assert texts(ax) == ["99.50", "91.00", "85.50", "64.00", "60.00", "20.00", "true train", "printed", "true test"]
    assert [list(line.get_xdata()) for line in ax.lines[1:4]] == [[99.0, 100.0], [90.0, 92.0], [85.0, 86.0]]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]


def test_a_lagging_line_is_drawn_beside_the_true_ones_and_names_do_not_collide():
    ax = dots.lag(EPOCHS, [30.0, 50.0, 61.0])
    drawn = {line.get_color(): list(line.get_ydata()) for line in ax.lines}
    assert drawn == {dots.SEEN["test"]: [60.0] * 3, dots.SEEN["printed"]: [30.0, 50.0, 61.0], dots.SEEN["train"]: [30.0, 80.0, 100.0]}
    assert texts(ax) == ["true test  60.00", "printed  61.00", "true train  100.00"]
    plots.png(ax)
    heights = [text.get_window_extent() for text in ax.texts]
    assert all(low.y1 <= high.y0 + 1 for low, high in zip(heights, heights[1:]))


def test_effects_are_drawn_where_they_are_and_cut_off_at_the_reach():
    ax = dots.effects(CLAIMS)
    ends = [tuple(line.get_xdata()) for line in ax.lines if len(line.get_xdata()) == 2]
    assert ends[1:] == [(1.6, 9.4), (-0.6, 0.7), (-10, -10), (-10, 10), (1.0, 3.0)]
    assert "+5.50 [+1.60, +9.40]  holds" in texts(ax) and "−30.00 [−33.00, −27.00]  holds" in texts(ax)
    assert [line.get_marker() for line in ax.lines].count("<") == 2 and [line.get_marker() for line in ax.lines].count(">") == 1
    assert {"One is better", "It collapses", "It is worse"} <= set(texts(ax))


def test_more_claims_make_a_taller_picture_of_the_same_row_height():
    one, two = (dots.effects(claims).figure.get_figheight() for claims in (CLAIMS[:1], CLAIMS))
    assert two - one == pytest.approx(5 * 0.235)
