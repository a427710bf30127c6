import html
import io

import ipywidgets as w
import numpy as np
import pytest
import torch
from PIL import Image

from clrlib.chapters import chapter_06 as m
from clrlib.evidence.experiments import MATCHED
from clrlib.figures import plots
from clrlib.schedules import linear, one_cycle, one_cycle_momentum
from clrlib.stats import Difference
from clrlib.theory import momentum as theory

ARTICLE = {"lr": one_cycle(0.08, 0.8), "momentum": one_cycle_momentum(0.95, 0.80)}


def torch_lengths(rates, momenta):
    """The steps of torch's SGD on the line loss = point."""
    point = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer, path = torch.optim.SGD([point], lr=1.0, momentum=0.5), [0.0]
    for lr, momentum in zip(rates, momenta):
        optimizer.param_groups[0].update(lr=float(lr), momentum=float(momentum))
        optimizer.zero_grad()
        point.sum().backward()
        optimizer.step()
        path.append(point.item())
    return -np.diff(path)


@pytest.mark.parametrize("momentum", [0.9, one_cycle_momentum(0.95, 0.80).table(60)], ids=["constant", "cycled"])
def test_pytorchs_step_lengths_are_torchs(momentum):
    rates = one_cycle(0.08, 0.8).table(60)
    np.testing.assert_allclose(theory.step_lengths(rates, momentum), torch_lengths(rates, np.broadcast_to(momentum, 60)), rtol=1e-9)


def test_sutskevers_step_lengths_are_a_weighted_sum_of_past_rates():
    rates = one_cycle(0.08, 0.8).table(60)
    weighted = np.convolve(rates, 0.9 ** np.arange(60))[:60]
    np.testing.assert_allclose(theory.step_lengths(rates, 0.9, "sutskever"), weighted)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_a_steady_slope_gives_steps_of_the_effective_rate_in_both_forms(momentum):
    for form in theory.FORMS:
        assert theory.step_lengths(np.full(400, 0.3), momentum, form)[-1] == pytest.approx(theory.effective_rate(0.3, momentum))


def test_on_a_rising_rate_sutskevers_form_lags_by_momentum_over_one_minus_momentum_steps():
    rates = linear(0.0, 1.0).table(1001)
    late, early = theory.step_lengths(rates, 0.9, "sutskever")[900], theory.step_lengths(rates, 0.9)[900 - 9]
    assert late == pytest.approx(early)


def test_the_effective_rate_of_the_article():
    assert theory.effective(ARTICLE)(np.array([0, 41, 82, 95]) / 95) == pytest.approx([1.6, 4.0, 1.6, 0.16])


@pytest.mark.parametrize("constant", [0.0, 0.8, 0.9, 0.98])
def test_matched_has_the_same_effective_rate(constant):
    progress = np.linspace(0, 1, 77)
    rate = theory.matched(ARTICLE, constant)
    np.testing.assert_allclose(theory.effective({"lr": rate, "momentum": constant})(progress), theory.effective(ARTICLE)(progress))


def test_the_recorded_experiment_used_it():
    progress = np.linspace(0, 1, 9310)
    np.testing.assert_allclose(MATCHED(progress), theory.matched(ARTICLE, 0.9)(progress), rtol=3e-3)


FOUND = {"a": Difference(0.1, -0.4, 0.6), "b": Difference(1.2, 0.5, 2.0)}
DRAWN = {
    "forms": lambda: m.forms(one_cycle(0.08, 0.8).table(100), 0.9),
    "match": lambda: m.match((0.8, 0.95), 0.9),
    "match of a constant": lambda: m.match((0.9, 0.9), 0.5),
    "effects": lambda: m.effects(FOUND),
}


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
def test_a_picture_has_content_and_is_small(draw):
    data = plots.png(draw())
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).reshape(-1, 3)
    assert len(np.unique(pixels, axis=0)) > 20 and len(data) < 60_000


def test_match_draws_what_it_says():
    top, bottom = m.match((0.8, 0.95), 0.9).axes
    peak = np.argmax(bottom.lines[0].get_ydata())
    assert [ax.lines[i].get_ydata()[peak] for ax in (top, bottom) for i in (0, 1)] == pytest.approx([4, 8, 0.8, 0.4], rel=0.01)


def test_forms_draws_both_step_lengths():
    rates = one_cycle(0.08, 0.8).table(50)
    _, first, second = (line.get_ydata() for line in m.forms(rates, 0.9).lines)
    assert (first == theory.step_lengths(rates, 0.9)).all() and (second == theory.step_lengths(rates, 0.9, "sutskever")).all()


def test_effects_names_its_rows_and_colours_those_without_zero():
    ax = m.effects(FOUND)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    assert [text.get_text() for text in ax.texts] == [str(effect) for effect in FOUND.values()]
    assert [text.get_color() for text in ax.texts] == [m.SERIES[0], m.COLOURS["held_out"]]


def test_the_sliders_redraw_and_reset():
    box = m.matching_explorer()
    controls = {child.description: child for child in box.children if isinstance(child, w.ValueWidget) and hasattr(child, "description")}
    picture, caption = next((box.children[i], box.children[i + 1]) for i, child in enumerate(box.children) if isinstance(child, w.Image))
    before = picture.value, caption.value
    for name, value in {"cycled momentum": (0.85, 0.95), "constant momentum": 0.5}.items():
        controls[name].value = value
        assert picture.value != before[0] and caption.value == html.escape(m.describe(**box.values()))
        next(child for child in box.children if isinstance(child, w.Button)).click()
        assert (picture.value, caption.value) == before


def test_the_caption_says_how_far_the_effective_rate_rises():
    said = m.describe((0.8, 0.95), 0.9)
    assert "goes from 1.6 to 4." in said and "a rate from 0.16 to 0.4," in said


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: theory.matched(ARTICLE, 1.0), "got 1.0"),
        (lambda: theory.matched(ARTICLE, -0.1), "got -0.1"),
        (lambda: theory.step_lengths([0.1], 0.9, "adam"), "'adam' is unknown"),
    ],
)
def test_bad_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
