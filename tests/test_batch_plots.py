import html

import numpy as np
import pytest
from test_widgets import parts

from clrlib import suggest
from clrlib.chapters import chapter_08 as batch_plots
from clrlib.figures import style as figures
from clrlib.history import History, RangeTest


def run(size, last=60.0, seconds=1.0):
    rows = [{"epoch": i + 1, "step": (i + 1) * 6400 // size, "accuracy": a, "seconds": seconds} for i, a in enumerate((30, 50, last))]
    return History({}, rows)


RUNS = {rule: {size: [run(size), run(size, 62.0, 2.0)] for size in (128, 512, 2048)} for rule in ("linear", "root")}
RATES = np.geomspace(1e-4, 1, 50)
LOSSES = (np.log10(RATES) + 1)[None] ** 2 + np.array([[1.0], [1.1]])
TESTS = {size: RangeTest(RATES, LOSSES / size**0.05, np.array([10.0, 10.0])) for size in (128, 512)}
NOISE = {f"epoch {n}": ({size: n * 100 * np.ones(3) / size for size in (16, 64)}, 2.0) for n in (1, 2)}
DRAWN = {
    "headline": lambda: batch_plots.headline(RUNS, "tiny"),
    "one seed": lambda: batch_plots.headline({"linear": {128: [run(128)]}}),
    "seven sizes": lambda: batch_plots.headline({"linear": {2**n: [run(2**n)] for n in range(5, 12)}}),
    "race of seven": lambda: batch_plots.race({2**n: [run(2**n)] for n in range(5, 12)}),
    "noise": lambda: batch_plots.noise(NOISE),
    "gaps": lambda: batch_plots.gaps({"4 steps": [0.1, 0.2, np.nan]}, (0.1, 1, 10)),
    "sweeps": lambda: batch_plots.sweeps(TESTS),
    "sweeps of one seed": lambda: batch_plots.sweeps({128: RangeTest(RATES, LOSSES[:1], np.ones(1))}),
    "race": lambda: batch_plots.race(RUNS["linear"], title="tiny"),
    "speed": lambda: batch_plots.speed({128: 900.0, 512: 1000.0}),
    "tradeoff": lambda: batch_plots.tradeoff(512, 100),
}


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
def test_a_picture_is_labelled_and_small(draw):
    panels = np.ravel(draw())
    assert len(figures.png(panels)) < 60_000
    assert all(ax.get_xlabel() and ax.get_ylabel() for ax in panels)


def test_the_headline_draws_means_over_sizes_and_accuracy_over_steps():
    left, right = DRAWN["headline"]()
    means = [line for line in left.lines if len(line.get_ydata()) == 3]
    assert all(line.get_ydata() == pytest.approx([61, 61, 61]) for line in means) and len(means) == 2
    assert [label.get_text() for label in left.get_xticklabels()] == ["128", "512", "2048"]
    assert [text.get_text() for text in right.texts] == ["128", "512", "2048"]
    assert right.lines[2].get_xdata() == pytest.approx([50, 100, 150]) and right.lines[2].get_ydata() == pytest.approx([30, 50, 61])


def test_a_noise_line_falls_as_one_over_the_size():
    ax = DRAWN["noise"]()
    lines = [line.get_ydata() for line in ax.lines if list(line.get_xdata()) == [16, 64]]
    assert [list(line) for line in lines] == [pytest.approx([n * 50 / 16, n * 50 / 64]) for n in (1, 2)]


def test_the_answers_are_those_of_the_rules_for_each_seed_and_their_median():
    found = batch_plots.answers(TESTS)
    rate, seeds = found["minimum/10"][512]
    test = TESTS[512]
    assert seeds == [suggest.minimum(test.lrs, losses).rate for losses in test.losses_before_step]
    assert rate == pytest.approx(np.sqrt(np.prod(seeds)))


def test_of_many_sizes_every_second_is_named_at_its_end_and_all_are_in_a_list():
    assert [text.get_text() for text in DRAWN["seven sizes"]()[1].texts] == ["32", "128", "512", "2048"]
    ax = DRAWN["race of seven"]()
    assert len(ax.texts) == 7 and ax.get_ylim()[1] < 70


def test_the_quickest_seed_is_bold():
    bold = [line for line in DRAWN["race"]().lines if line.get_alpha() == 1]
    assert [list(line.get_xdata()) for line in bold] == [[1, 2, 3]] * 3


def test_the_explorer_redraws_says_and_resets():
    box = batch_plots.tradeoff_explorer()
    controls, reset, picture, caption, _ = parts(box)
    before = picture.value
    for name, value in {"batch size": 8192, "noise scale": 3000}.items():
        controls[name].value = value
        assert picture.value != before and caption.value == html.escape(batch_plots.describe_tradeoff(**box.values()))
        reset.click()
        assert picture.value == before
    assert batch_plots.describe_tradeoff(100, 100).endswith("2 times the fewest steps, 2 times the fewest images.")


def test_the_meter_measures_at_a_click_and_can_be_pressed_again():
    asked = []
    box = batch_plots.meter(lambda size: asked.append(size) or 1000.0 + size, (8, 32))
    button, picture, said = box.children
    assert not asked and not picture.value
    button.click()
    assert asked == [8, 32] and bytes(picture.value).startswith(b"\x89PNG") and "batch of 32: 1,032" in said.value and not button.disabled
    button.click()
    assert len(asked) == 4


def test_a_measurement_that_fails_leaves_the_button_usable():
    def fail(size):
        raise RuntimeError("out of memory")

    box = batch_plots.meter(fail, (8,))
    box.children[0].click()
    assert not box.children[0].disabled and box.children[2].value == "<b>out of memory</b>"
