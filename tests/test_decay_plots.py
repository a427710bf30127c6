import html

import numpy as np
import pytest
from test_plots import log
from test_widgets import parts

from clrlib.chapters import chapter_07 as decay_plots
from clrlib.figures import style as figures

RESULTS = {(m, d, r): 50 + 10 * m - 100 * d * r for m in (0.8, 0.95) for d in (1e-4, 1e-3, 1e-2) for r in (0.2, 1.6)}
DRAWN = {
    "lines": lambda: decay_plots.lines({"a": np.linspace(1, 0, 50), "b": np.arange(5)}, ylabel="left", top=2),
    "against decay": lambda: decay_plots.against_decay({0.0: [76, 77], 1e-5: [77], 1e-4: [76.5, 77], 1e-3: [74]}),
    "against decay without 0": lambda: decay_plots.against_decay({1e-5: [77], 1e-4: [76.5, 77]}),
    "beside": lambda: decay_plots.beside({"1e-3": [log(), log((30, 50))], "1e-5": [log((41, 60, 70))]}),
    "grid": lambda: decay_plots.grid(RESULTS),
    "idle": lambda: decay_plots.idle(3, 1e-3, 0.8),
    "idle, never halved": lambda: decay_plots.idle(3, 0.0, 0.8),
}


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
def test_a_picture_is_labelled_and_small(draw):
    panels = np.ravel(draw())
    assert len(figures.png(panels)) < 60_000
    assert all(ax.get_xlabel() for ax in panels) and panels[0].get_ylabel()


@pytest.mark.parametrize("decay, name", [(1e-3, "1e-3"), (3e-5, "3e-5"), (0.0, "0"), (1e-10, "1e-10")])
def test_a_decay_is_named_as_the_chapter_writes_it(decay, name):
    assert decay_plots.named(decay) == name


def test_zero_stands_left_of_the_logarithmic_axis():
    ax = DRAWN["against decay"]()
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "1e-5", "1e-4", "1e-3"]
    assert [text.get_text() for text in ax.texts] == ["76.50", "77.00", "76.75", "74.00"]
    assert sorted(ax.get_xticks()) == list(ax.get_xticks())


def test_the_grid_writes_every_value_where_it_belongs_and_frames_the_best():
    panels = decay_plots.grid(RESULTS)
    for ax, momentum in zip(panels, (0.8, 0.95)):
        written = {text.get_position(): text.get_text() for text in ax.texts}
        assert written[(1, 2)] == f"{RESULTS[momentum, 1e-2, 1.6]:.1f}"
        assert ax.patches[0].get_xy() == pytest.approx((0 - 0.48, 0 - 0.46))


def test_a_seed_that_stopped_early_does_not_stop_the_picture():
    lines = decay_plots.beside({"1e-3": [log((10,)), log((30, 50))], "1e-5": [log()]})[0].lines
    assert lines[0].get_ydata() == pytest.approx([20, 50])


def test_the_explorer_redraws_says_and_resets():
    box = decay_plots.decay_explorer(100)
    controls, reset, picture, caption, _ = parts(box)
    before = picture.value
    for name, value in {"learning rate": 0.5, "weight decay": 0.0, "momentum": 0.95}.items():
        controls[name].value = value
        assert picture.value != before and caption.value == html.escape(decay_plots.describe_idle(**box.values(), steps=100))
        reset.click()
        assert picture.value == before


def test_the_sentence_says_when_the_rule_fails():
    assert "half of it in 46 steps" in decay_plots.describe_idle(3, 1e-3, 0.8)
    assert "the rule fails" in decay_plots.describe_idle(3, 1e-3, 0.95)
    assert "100.0% is left" in decay_plots.describe_idle(3, 0, 0.95)
    assert "the rule fails" in decay_plots.describe_idle(10, 0.1, 0.99)
