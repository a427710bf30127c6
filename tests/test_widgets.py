import ast
import html
import re

import ipywidgets as w
import numpy as np
import pytest
import torch

from clrlib import schedules as s
from clrlib.chapters import chapter_01, chapter_03, chapter_04, chapter_05
from clrlib.chapters import chapter_01 as landscapes
from clrlib.figures import plots
from clrlib.history import RangeTest
from clrlib.page import widgets


def parts(box):
    """(controls by description, reset button, picture, caption, what is below) of an explorer."""
    controls = {child.description: child for child in box.children if isinstance(child, w.ValueWidget) and hasattr(child, "description")}
    picture = next(child for child in box.children if isinstance(child, w.Image))
    button = next(child for child in box.children if isinstance(child, w.Button))
    after = list(box.children[list(box.children).index(picture) + 1 :])
    return controls, button, picture, after[0], after[1:]


def sweep():
    rates = np.geomspace(1e-5, 10, 60)
    losses = 2.3 - 1.5 / (1 + np.exp(-(np.log10(rates) + 2) / 0.3)) + 2 * rates**2
    return RangeTest(rates, losses[None], losses[:1])


CHANGES = {
    "lower learning rate": 0.02, "upper learning rate": 3.0, "tail (share of run)": 0.4,
    "final learning rate": 1e-4, "momentum": (0.7, 0.9),
}  # fmt: skip


def test_every_control_of_the_one_cycle_explorer_is_tried():
    controls, *_ = parts(chapter_05.one_cycle_explorer(490))
    assert set(CHANGES) <= set(controls)


@pytest.mark.parametrize("name, value", CHANGES.items(), ids=CHANGES)
def test_moving_a_slider_redraws_everything_and_reset_restores_it(name, value):
    box = chapter_05.one_cycle_explorer(490)
    controls, reset, picture, caption, (code,) = parts(box)
    before = picture.value, code.value, box.values()
    controls[name].value = value
    assert picture.value != before[0] and code.value != before[1]
    assert caption.value == html.escape(chapter_05.describe(box.schedules(), 490))
    reset.click()
    assert (picture.value, code.value, box.values()) == before


def test_what_is_shaped_is_what_fit_gets():
    box = chapter_05.one_cycle_explorer(490)
    parts(box)[0]["upper learning rate"].value = 2.0
    schedules = box.schedules()
    assert schedules["lr"](np.array([0, 41, 82, 95]) / 95) == pytest.approx([0.08, 2.0, 0.08, 0.008])
    assert schedules["momentum"](np.array([0, 41, 95]) / 95) == pytest.approx([0.95, 0.8, 0.95])


def test_bad_values_show_a_message_and_keep_the_picture():
    controls, _, picture, caption, _ = parts(chapter_05.one_cycle_explorer(490))
    controls["upper learning rate"].value = 0.5
    before, said = picture.value, caption.value
    controls["lower learning rate"].value = 0.9
    assert picture.value == before and caption.value.startswith("<b>low must be smaller than high") and "low=0.9" in caption.value
    controls["lower learning rate"].value = 0.08
    assert caption.value == said


def test_equal_ends_hold_the_momentum():
    assert chapter_05.shape(0.1, 1.0, 0.1, 0.01, (0.9, 0.9))["momentum"] == 0.9


def test_the_caption_says_where_the_rate_goes():
    said = chapter_05.describe(chapter_05.shape(0.08, 0.8, 13 / 95, 0.008, (0.8, 0.95)), 9310)
    peak = int(re.search(r"at iteration ([\d,]+)", said)[1].replace(",", ""))
    assert abs(peak - 41 * 98) <= 1 and "0.08 up to 0.8" in said and "ends at 0.008 after 9,310" in said and said.endswith("highest at 4.")


# --- the code to take away ---------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 2, 490, 9310])
@pytest.mark.parametrize("momentum", [(0.8, 0.95), (0.9, 0.9)])
def test_the_copied_code_drives_torchs_sgd_as_the_schedule_says(steps, momentum):
    shaped = chapter_05.shape(0.0314159, 1.7320508, 13 / 95, 0.00071828, momentum)
    namespace = {}
    exec(chapter_05.pytorch_source(shaped | {"weight_decay": 5e-4}, steps), namespace)
    optimizer = torch.optim.SGD([{"params": [torch.nn.Parameter(torch.ones(1))]} for _ in range(2)], lr=0.1, momentum=0.5)
    used = []
    for step in range(steps):
        namespace["set_hyper"](optimizer, step)
        if step % 100 == 0:
            optimizer.step()
        used.append([(group["lr"], group["momentum"], group["weight_decay"]) for group in optimizer.param_groups])
    first, second = np.array(used).transpose(1, 2, 0)
    np.testing.assert_array_equal(first, second)
    for got, curve in zip(first, (*shaped.values(), 5e-4)):
        right = s.as_schedule(curve).table(steps)
        np.testing.assert_allclose(got, right, atol=1e-5 * right.max())
    assert namespace["steps"] == steps


def test_the_copied_code_needs_numpy_alone():
    code = chapter_05.pytorch_source(chapter_05.shape(0.03, 1.7, 0.23, 0.0007, (0.8, 0.9)), 100)
    imports = [node for node in ast.walk(ast.parse(code)) if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert [alias.name for node in imports for alias in node.names] == ["numpy"]


def test_the_code_shown_is_the_code_tested():
    box = chapter_05.one_cycle_explorer(490)
    shown = re.search(r"<pre.*?>(.*)</pre>", parts(box)[4][0].value, re.DOTALL)[1]
    assert html.unescape(shown) == chapter_05.pytorch_source(box.schedules(), 490)


@pytest.mark.parametrize("curve", [s.cosine(0.8), s.one_cycle_fastai(1.0), s.step_decay(0.1), s.exponential(1e-5, 1)])
def test_curved_segments_are_refused(curve):
    with pytest.raises(ValueError, match=f"lr has curved segments .*{curve.eases[0]}"):
        chapter_05.pytorch_source({"lr": curve}, 100)


# --- the playground ------------------------------------------------------------------------------------------

MOVES = {"surface": "saddle", "learning rate": 0.03, "momentum": 0.9, "conditioning": 50, "noise": 0.3, "steps": 20}


def test_every_control_of_the_playground_is_tried():
    controls, *_ = parts(chapter_01.playground_explorer())
    assert set(MOVES) | {""} == set(controls)  # the caption has no description


@pytest.mark.parametrize("name, value", MOVES.items(), ids=MOVES)
def test_moving_a_control_of_the_playground_redraws_and_reset_restores_it(name, value):
    box = chapter_01.playground_explorer()
    controls, reset, picture, caption, _ = parts(box)
    before = picture.value, caption.value, box.values()
    controls[name].value = value
    assert picture.value != before[0] and picture.value == plots.png(landscapes.playground(**box.values()))
    assert caption.value != before[1] and caption.value == html.escape(chapter_01.describe_descent(**box.values()))
    reset.click()
    assert (picture.value, caption.value, box.values()) == before


def test_another_surface_brings_a_rate_that_suits_it():
    box = chapter_01.playground_explorer()
    controls, reset, *_ = parts(box)
    for name in landscapes.SURFACES:
        controls["surface"].value = name
        values = box.values()
        assert values["rate"] < landscapes.limit(landscapes.surface(name, values["conditioning"]))
        assert controls["conditioning"].disabled == (landscapes.surface(name, 2) is landscapes.surface(name, 3) or name[0].isupper())
    reset.click()
    assert not controls["conditioning"].disabled


def test_reset_undoes_a_change_of_surface_and_rate():
    box = chapter_01.playground_explorer()
    controls, reset, picture, *_ = parts(box)
    before = picture.value, box.values()
    controls["surface"].value = "Beale"
    controls["learning rate"].value = 0.03
    reset.click()
    assert (picture.value, box.values()) == before


@pytest.mark.parametrize("name", landscapes.SURFACES)
def test_no_combination_of_the_playground_ends_in_a_message(name):
    box = chapter_01.playground_explorer()
    controls, _, picture, caption, _ = parts(box)
    controls["surface"].value = name
    for end in (0, -1):
        for control in ("learning rate", "momentum", "conditioning", "noise", "steps"):
            controls[control].value = controls[control].options[end][1]
            assert not caption.value.startswith("<b>")
            assert bytes(picture.value) == plots.png(landscapes.playground(**box.values()))


def test_the_caption_says_where_the_rate_stands_and_what_happened():
    said = chapter_01.describe_descent("ravine", 10, 0.15, 0, 0, 50)
    assert "rate 0.15 is 75 % of the highest stable rate: converges, swinging" in said
    assert "Measured: there at step 28; the loss goes from 19.2 to" in said and said.endswith("in 50 steps.")
    assert chapter_01.describe_descent("bowl", 10, 3.0, 0, 0, 50).endswith("blown up at step 4; the loss goes from 19.2 out of sight.")


# --- cyclical rates --------------------------------------------------------------------------------------------

CYCLES = {"mode": "triangular2", "lower bound": 0.02, "upper bound": 3.0, "stepsize (iterations)": 98}


def test_every_control_of_the_cyclic_explorer_is_tried():
    assert {*CYCLES, "gamma (exp_range)", ""} == set(parts(chapter_04.cyclic_explorer())[0])


@pytest.mark.parametrize("name, value", CYCLES.items(), ids=CYCLES)
def test_moving_a_slider_of_the_cyclic_explorer_redraws_everything(name, value):
    box = chapter_04.cyclic_explorer()
    controls, reset, picture, caption, (code,) = parts(box)
    before = picture.value, caption.value, code.value, box.values()
    controls[name].value = value
    assert picture.value != before[0] and code.value != before[2]
    assert caption.value == html.escape(chapter_04.describe_cycles(**box.values()))
    reset.click()
    assert (picture.value, caption.value, code.value, box.values()) == before


def test_gamma_counts_only_in_exp_range():
    box = chapter_04.cyclic_explorer()
    controls, _, picture, *_ = parts(box)
    gamma = controls["gamma (exp_range)"]
    assert gamma.disabled
    before = picture.value
    controls["mode"].value = "exp_range"
    assert not gamma.disabled and picture.value != before
    before = picture.value
    gamma.value = 0.999
    assert picture.value != before


@pytest.mark.parametrize("stepsize, cycles, end", [(490, "4", "0.08, in a valley"), (784, "2.5", "0.8, off a valley")])
def test_the_caption_counts_the_cycles_and_says_where_the_run_ends(stepsize, cycles, end):
    said = chapter_04.describe_cycles("triangular", 0.08, 0.8, stepsize)
    assert f"is {stepsize // 98} epochs, so the run holds {cycles} cycles" in said and f"ends at a rate of {end}" in said


@pytest.mark.parametrize("mode", chapter_04.MODES)
def test_a_faded_peak_is_no_valley(mode):
    said = chapter_04.describe_cycles(mode, 0.08, 0.8, 784, gamma=0.999)
    assert "off a valley" in said


def test_every_value_on_a_slider_reads_differently():
    for control in parts(chapter_04.cyclic_explorer())[0].values():
        if isinstance(control, w.SelectionSlider):
            assert len({label for label, _ in control.options}) == len(control.options)


@pytest.mark.parametrize("mode", chapter_04.MODES)
def test_the_copied_cycles_are_what_fit_gets(mode):
    box = chapter_04.cyclic_explorer(steps=500)
    controls = parts(box)[0]
    controls["mode"].value, controls["stepsize (iterations)"].value = mode, 49
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1, momentum=0.95)
    namespace, used = {"optimizer": optimizer}, []
    exec(html.unescape(re.search(r"<pre.*?>(.*)</pre>", parts(box)[4][0].value, re.DOTALL)[1]), namespace)
    for _ in range(500):
        used.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        namespace["scheduler"].step()
    np.testing.assert_allclose(box.schedules()["lr"].table(500), used)
    assert optimizer.param_groups[0]["momentum"] == 0.95


def test_bounds_the_wrong_way_round_show_a_message():
    controls, _, picture, caption, _ = parts(chapter_04.cyclic_explorer())
    before = picture.value
    controls["lower bound"].value = 0.9
    assert picture.value == before and "low must be smaller than high" in caption.value


# --- smoothing -----------------------------------------------------------------------------------------------


def test_the_smoothing_slider_moves_the_minimum():
    result = sweep()
    controls, reset, picture, caption, _ = parts(chapter_03.smoothing_explorer(result))
    before = picture.value, caption.value
    controls["smoothing beta"].value = 0.0
    lowest = result.lrs[result.loss.argmin()]
    assert f"beta 0.00: the lowest smoothed loss is at {lowest:.3g}, so minimum/10 says {lowest / 10:.3g}" in caption.value
    assert picture.value != before[0]
    reset.click()
    assert (picture.value, caption.value) == before


def test_a_sweep_without_a_minimum_says_why():
    flat = RangeTest(np.geomspace(1e-5, 10, 60), np.full((1, 60), 2.3), np.array([2.3]))
    assert "fell by 0, scatter 0" in parts(chapter_03.smoothing_explorer(flat))[3].value


# --- explore itself ----------------------------------------------------------------------------------------------


def test_the_caption_is_text_and_never_markup():
    box = widgets.explore(lambda n: plots.axes().figure, {"n": w.IntSlider(value=1)}, say=lambda n: f"<script>{n}</script>")
    assert parts(box)[3].value == "&lt;script&gt;1&lt;/script&gt;"


def test_an_error_that_is_no_bad_value_is_not_hidden():
    def draw(n):
        return plots.axes().figure if n == 1 else undefined  # noqa: F821

    control = w.IntSlider(value=1)
    widgets.explore(draw, {"n": control})
    with pytest.raises(NameError):
        control.value = 2
