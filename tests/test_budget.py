import pytest

from clrlib.lab import cifar as images_of
from clrlib.lab import speed as budget
from clrlib.lab.profiles import PROFILES


@pytest.fixture(scope="module")
def data():
    return images_of.load("report", stand_in=True).limited(1000)


def test_speed_is_the_median_step_after_the_first(data, monkeypatch):
    ticks = iter([0.0, 100.0, 100.5, 101.5, 103.5])  # the start of the epoch; a slow first step; 0.5, 1 and 2 s
    monkeypatch.setattr(budget.time, "perf_counter", lambda: next(ticks, 200.0))
    assert budget.images_per_second("tiny", data, batch_size=100, timed=3) == pytest.approx(100 / 1.0)


def test_too_little_data_is_named(data):
    with pytest.raises(ValueError, match="5 batches of 512 need 2,560 images; there are 1,000"):
        budget.images_per_second("tiny", data, batch_size=512)


def test_a_run_trains_on_no_more_images_than_there_are():
    assert budget.seconds(PROFILES["laptop"], speed=5000, images=50_000) == 50
    assert budget.seconds(PROFILES["smoke"], speed=1000, images=50_000) == 6
    assert budget.seconds(PROFILES["smoke"], speed=1000, images=500) == 1.5


@pytest.mark.parametrize(
    "length, words", [(0.4, "0 s"), (99, "99 s"), (150, "2 min"), (5999, "100 min"), (9000, "2.5 hours"), (40_000, "11 hours")]
)
def test_lengths_are_told_in_words(length, words):
    assert budget.told(length) == words


def test_the_table_has_a_row_for_each_profile(data):
    text = budget.table(data)
    assert text.count("<tr>") == len(PROFILES) and all(f"<td>{name}&emsp;" in text for name in PROFILES)


def test_the_button_measures_when_pressed_and_survives_an_error(data):
    box = budget.meter(data, measure=lambda given: f"{len(given.train)} images")
    button, said = box.children
    assert said.value == ""
    button.click()
    assert said.value == "1000 images" and not button.disabled

    def fail(given):
        raise RuntimeError("out of <memory>")

    box = budget.meter(data, measure=fail)
    box.children[0].click()
    assert box.children[1].value == "<b>out of &lt;memory&gt;</b>" and not box.children[0].disabled
