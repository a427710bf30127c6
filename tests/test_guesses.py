import json
import os

import numpy as np
import pytest

from clrlib.figures import style as figures
from clrlib.page import guesses


@pytest.fixture(autouse=True)
def new_reader(runs, monkeypatch):
    monkeypatch.setattr(guesses, "_unwritten", {})
    return runs.with_name("guesses.json")


def asked(truth=5.5, key="00: lead"):
    box = guesses.ask(key, "By how many points?", truth, -5, 15, 0.5)
    question, slider, button, picture, said = box.children
    return slider, button, picture, said


def test_nothing_is_told_before_the_button():
    slider, button, picture, said = asked()
    assert picture.layout.display == "none" and picture.value == b"" and said.value == "" and guesses.kept_guesses() == {}
    slider.value = 3
    assert picture.layout.display == "none" and said.value == "" and guesses.kept_guesses() == {}


def test_the_button_shows_the_guess_against_the_result_and_keeps_the_first(new_reader):
    slider, button, picture, said = asked()
    slider.value = 5
    button.click()
    assert picture.layout.display == "" and bytes(picture.value).startswith(b"\x89PNG")
    assert said.value == "You said 5, it is 5.5 points: off by 0.5. Guesses so far: 1; within a tenth of the scale: 1."
    first = picture.value
    slider.value = -4
    button.click()
    assert (
        picture.value != first
        and said.value.startswith("You said -4")
        and said.value.endswith("so far: 1; within a tenth of the scale: 1.")
    )
    assert json.loads(new_reader.read_text()) == {"00: lead": [5.0, 5.5, 20.0]}


def test_the_tally_goes_along_to_other_chapters(monkeypatch):
    for key, guess in (("00: lead", 5.0), ("05: tail", 14.0), ("06: momentum", 7.5)):
        monkeypatch.setattr(guesses, "_unwritten", {})  # another kernel
        slider, button, _, said = asked(key=key)
        slider.value = guess
        button.click()
    assert said.value.endswith("Guesses so far: 3; within a tenth of the scale: 2.")


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"a": 1}', '{"a": ["x", 1, 2]}', '{"a": [1, 2]}', "null", '{"a": [1, 2, 0]}']
)
def test_a_broken_tally_is_begun_anew(content, new_reader):
    new_reader.write_text(content)
    slider, button, _, said = asked()
    button.click()
    assert "Guesses so far: 1;" in said.value


def test_a_read_only_folder_keeps_the_tally_in_the_kernel(monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "replace", refuse)
    monkeypatch.setattr(os, "makedirs", refuse)
    for i in range(2):
        slider, button, _, said = asked(key=f"{i}")
        button.click()
    assert "Guesses so far: 2;" in said.value


@pytest.mark.parametrize("low, high, step", [(1, 1, 0.1), (2, 1, 0.1), (0, 1, 0), (0, 1, 2), (0, float("nan"), 0.1)])
def test_a_range_that_holds_no_slider_is_refused(low, high, step):
    with pytest.raises(ValueError):
        guesses.ask("k", "?", 0.5, low, high, step)


def test_a_question_is_text_not_markup():
    box = guesses.ask("k", "<img src=x onerror=alert(1)>", 0.5, 0, 1, 0.1)
    assert "<img" not in box.children[0].value


@pytest.mark.parametrize("guess, truth", [(0, 10), (10, 0), (5, 5), (5, 30), (5, -30)])
def test_both_labels_lie_inside_the_picture(guess, truth):
    figure = guesses.line(guess, truth, 0, 10)
    picture = np.asarray(figures.png(figure))
    assert picture.size
    box = figure.bbox
    for text in figure.axes[0].texts:
        extent = text.get_window_extent()
        assert box.x0 <= extent.x0 and extent.x1 <= box.x1 and box.y0 <= extent.y0 and extent.y1 <= box.y1
