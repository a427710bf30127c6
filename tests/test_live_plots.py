import io

import numpy as np
import pytest
from PIL import Image

from clrlib.figures import live as live_plots
from clrlib.figures import style as figures
from clrlib.history import History, smooth
from clrlib.schedules import one_cycle


def log(steps=40, per_epoch=10, source="CIFAR-10", loss=2.3, accuracy=30.0):
    rows = [{"epoch": e + 1, "step": (e + 1) * per_epoch, "accuracy": accuracy + 5 * e} for e in range(steps // per_epoch)]
    return History({"lr": np.linspace(0.1, 0.5, steps), "loss": loss - 0.01 * np.arange(steps)}, rows, source)


def panels(figure):
    return dict(zip(("lr", "accuracy", "loss"), figure.axes))


DRAWN = {
    "nothing yet": ({}, None, None),
    "a plan": ({}, one_cycle(0.1, 1), None),
    "a guess": ({"drawn 1": log()}, one_cycle(0.1, 1), 44),
    "one step": ({"drawn 1": log(1)}, None, None),
    "five": ({f"drawn {i}": log(40 - 7 * i, accuracy=30 + i) for i in range(5)}, one_cycle(0.1, 1), 30),
    "exploded": ({"a 1": log(), "b 2": log(8, loss=1e9), "c 3": log(5, loss=np.inf), "d 4": log(5, loss=np.nan)}, None, None),
}


@pytest.mark.parametrize("histories, plan, guess", DRAWN.values(), ids=DRAWN)
def test_it_draws_a_small_picture_with_content(histories, plan, guess):
    picture = figures.png(live_plots.draw(histories, 40, plan, guess))
    assert len(np.unique(np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).reshape(-1, 3), axis=0)) > 20
    assert len(picture) < 60_000


def test_the_newest_run_is_coloured_and_drawn_as_it_was_measured():
    old, new = log(30), log(40, loss=2.0)
    lines = {name: ax.lines for name, ax in panels(live_plots.draw({"a 1": old, "a 2": new}, 40)).items()}
    for name, (first, second) in lines.items():
        assert first.get_color() == live_plots.GREY and second.get_color() == live_plots.COLOURS[name]
    np.testing.assert_array_equal(lines["lr"][1].get_xydata(), np.column_stack([np.arange(1, 41), new.steps["lr"]]))
    np.testing.assert_array_equal(lines["loss"][0].get_ydata(), smooth(old.steps["loss"], 0.9))
    np.testing.assert_array_equal(lines["accuracy"][1].get_xydata(), [[10, 30], [20, 35], [30, 40], [40, 45]])


def test_thinned_records_stand_at_their_own_steps():
    thinned = log(4)
    thinned.steps["step"] = np.array([0, 10, 20, 39])
    assert panels(live_plots.draw({"a": thinned}, 40))["lr"].lines[0].get_xdata().tolist() == [1, 11, 21, 40]


def test_every_run_has_its_name():
    axes = panels(live_plots.draw({"a 1": log(), "b 2": log(5), "c 3": log()}, 40))
    assert sorted(text.get_text() for text in axes["accuracy"].texts) == ["a 1  45.00", "c 3  45.00"]
    assert [text.get_text() for text in axes["loss"].texts] == ["b 2"]


def test_the_plan_is_dashed_and_the_guess_has_its_height():
    axes = panels(live_plots.draw({}, 400, one_cycle(0.08, 0.8), 61))
    plan = axes["lr"].lines[0]
    np.testing.assert_allclose(plan.get_ydata(), one_cycle(0.08, 0.8)(plan.get_xdata() / 400))
    assert plan.is_dashed() and set(axes["accuracy"].lines[0].get_ydata()) == {61}


def test_an_explosion_squashes_nothing():
    exploding = log(8)
    exploding.steps["loss"][-1] = 1e9
    assert panels(live_plots.draw({"a 1": log(), "b 2": exploding}, 40))["loss"].get_ylim()[1] < 5


def test_the_stand_in_is_named():
    assert "digits" in panels(live_plots.draw({"a": log(source="digits")}, 40))["accuracy"].get_title(loc="left")
