import io

import numpy as np
import pytest
from IPython import display
from PIL import Image

from clrlib import schedules as s
from clrlib.chapters import chapter_03
from clrlib.figures import plots
from clrlib.history import History, RangeTest, smooth
from clrlib.theory.momentum import effective_rate


def sweep(seeds=2, source="CIFAR-10", held_out=False, stop=None):
    rates = np.geomspace(1e-5, 10, 80)
    losses = 2.3 - 1.5 / (1 + np.exp(-(np.log10(rates) + 2) / 0.3)) + 2 * rates**2
    losses = losses + np.random.default_rng(0).normal(0, 0.05, (seeds, 80))
    losses[:, stop or 80 :] = np.nan
    return RangeTest(rates, losses, losses[:, 0], losses + 0.1 if held_out else None, source=source)


def log(accuracies=(40, 60, 70), source="CIFAR-10"):
    rows = [
        {"epoch": i + 1, "train_loss": 2 / (i + 1), "loss": 2.1 / (i + 1), "accuracy": a, "seconds": 1.0} for i, a in enumerate(accuracies)
    ]
    return History({}, rows, source)


LR, MOMENTUM = s.one_cycle(0.08, 0.8), s.one_cycle_momentum()
DRAWN = {
    "schedule": lambda: plots.schedule(LR),
    "schedules": lambda: plots.schedule({"article": LR, "torch": s.one_cycle_torch(0.8, 100)}, steps=100, log=True),
    "policy": lambda: plots.policy({"lr": LR, "momentum": MOMENTUM}, 9310),
    "policy with a number": lambda: plots.policy({"lr": LR, "momentum": 0.9}, 100),
    "range test": lambda: plots.range_test(sweep()),
    "range test with all": lambda: plots.range_test(sweep(held_out=True), sweep().suggest()),
    "range test of one seed, stopped": lambda: plots.range_test(sweep(1, stop=60), raw=False),
    "run": lambda: plots.run(log()),
    "compare": lambda: plots.compare({"a": [log((40, 60)), log((42, 58))], "b": [log((30, 61))]}),
    "bars": lambda: plots.bars({"a": [85.1, 85.3], "b": [84.0]}),
    "sweeps": lambda: chapter_03.sweeps({"50 steps": sweep(), "100 steps": sweep(1)}),
    "truth": lambda: chapter_03.truth({0.1: [80, 81], 0.2: [82], 0.4: [79, 78]}, sweep().suggest()),
    "images": lambda: plots.images(np.random.default_rng(0).integers(0, 256, (13, 8, 8, 3), dtype=np.uint8), list("abcdefghijklm")),
}


def figure_of(drawn):
    return np.ravel(drawn)[0].figure if not hasattr(drawn, "savefig") else drawn


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
def test_a_picture_has_content_and_is_small(draw):
    data = plots.png(draw())
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).reshape(-1, 3)
    assert len(np.unique(pixels, axis=0)) > 20 and 0.003 < (pixels < 200).any(axis=1).mean() < 0.9
    assert len(data) < 60_000


@pytest.mark.parametrize("name", [name for name in DRAWN if not name.startswith(("policy", "bars", "images"))])
def test_axes_are_labelled(name):
    for ax in figure_of(DRAWN[name]()).axes:
        assert ax.get_xlabel() and ax.get_ylabel()


def test_the_policys_panels_are_titled():
    first, second, third = plots.policy({"lr": LR, "momentum": MOMENTUM}, 9310).axes
    assert first.get_title(loc="left") + first.get_title() == "learning rate" and third.get_xlabel() == "iteration"
    assert "momentum" in second.get_title(loc="left") + second.get_title()


def test_bars_name_their_rows():
    ax = plots.bars({"a": [85.1, 85.3], "b": [84.0]}, xlabel="accuracy")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"] and ax.get_xlabel() == "accuracy"
    assert [text.get_text() for text in ax.texts] == ["85.20", "84.00"]


# --- what is drawn is what was measured ---------------------------------------------------------------


def test_a_schedule_is_drawn_where_it_is():
    line = plots.schedule(LR, steps=9310).lines[0]
    np.testing.assert_allclose(line.get_ydata(), LR(line.get_xdata() / 9309))
    assert line.get_color() == plots.COLOURS["lr"] and line.get_xdata()[-1] == 9309


def test_the_policy_draws_the_effective_rate():
    axes = plots.policy({"lr": s.linear(0.1, 0.2), "momentum": s.linear(0.9, 0.8)}, 101).axes
    x, effective = axes[2].lines[0].get_data()
    np.testing.assert_allclose(effective, (0.1 + 0.001 * x) / (0.1 + 0.001 * x))
    assert effective_rate([0.08, 0.8], [0.95, 0.8]) == pytest.approx([1.6, 4])


def test_a_policys_figure_can_be_drawn_into_again():
    figure = plots.policy({"lr": LR, "momentum": MOMENTUM}, 9310)
    again = plots.policy({"lr": s.one_cycle(0.3, 3), "momentum": 0.9}, 4900, figure)
    assert again is figure and plots.png(figure) == plots.png(plots.policy({"lr": s.one_cycle(0.3, 3), "momentum": 0.9}, 4900))


def test_a_range_test_shows_its_smoothed_mean_band_and_suggestions():
    result = sweep(3)
    found = result.suggest()
    ax = plots.range_test(result, found)
    curves = smooth(result.losses, 0.9)
    assert any(np.array_equal(line.get_ydata(), curves.mean(axis=0)) for line in ax.lines)
    assert len(ax.collections) == 1 and ax.get_xscale() == "log"
    lines = {float(line.get_xdata()[0]) for line in ax.lines}
    assert {suggestion.rate for suggestion in found.values()} <= lines
    assert {text.get_text().split()[0] for text in ax.texts} == set(found)


def test_an_explosion_does_not_squash_the_curve():
    result = sweep(1)
    result.losses[0, -1] = 1e9
    assert plots.range_test(result).get_ylim()[1] < 10


def test_compare_labels_each_line_with_its_last_mean():
    ax = plots.compare({"a": [log((40, 60)), log((42, 58))], "b": [log((30, 61))]})
    assert sorted(text.get_text() for text in ax.texts) == ["a  59.00", "b  61.00"]


# --- where it came from -------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["CIFAR-10", "digits"])
@pytest.mark.parametrize(
    "draw",
    [
        lambda source: plots.range_test(sweep(source=source)),
        lambda source: plots.run(log(source=source)),
        lambda source: plots.compare({"a": [log(source=source)]}),
        lambda source: chapter_03.sweeps({"a": sweep(source=source)}),
        lambda source: plots.images(np.zeros((2, 8, 8, 3), dtype=np.uint8), ["a", "b"], source=source),
    ],
    ids=["range test", "run", "compare", "sweeps", "images"],
)
def test_figures_made_from_the_stand_in_say_digits(draw, source):
    figure = figure_of(draw(source))
    titles = [ax.get_title(loc=loc) for ax in figure.axes for loc in ("left", "center")] + [figure.get_suptitle()]
    assert any("digits" in title for title in titles) == (source == "digits")


# --- live ---------------------------------------------------------------------------------------------------------


def test_the_live_plot_redraws_one_picture_after_each_epoch(monkeypatch):
    updates = []

    class Handle:
        def update(self, picture):
            updates.append(picture)

    monkeypatch.setattr(display, "display", lambda *args, display_id=None: Handle())
    watch = plots.live()
    for n in (1, 2):
        watch(log(range(40, 40 + n)))
    assert len(updates) == 2 and updates[0].png != updates[1].png == plots.png(plots.run(log((40, 41)))) and updates[0].alt
