import re
import sys
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure

from clrlib import suggest
from clrlib.history import History, RangeTest, smooth, thin


def row(epoch, accuracy, seconds=2.0):
    return {"epoch": epoch, "accuracy": accuracy, "seconds": seconds}


# --- smoothing ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9, 0.98])
def test_smooth_is_the_weighted_mean_of_everything_so_far(beta):
    values = np.random.default_rng(0).random(40)
    expected = [np.average(values[: i + 1], weights=beta ** np.arange(i, -1, -1.0)) for i in range(40)]
    np.testing.assert_allclose(smooth(values, beta), expected, rtol=1e-12)


def test_smooth_lags_a_ramp_by_beta_over_1_minus_beta():
    ramp = np.arange(500.0)
    assert (ramp - smooth(ramp, 0.9))[-1] == pytest.approx(9) and (ramp - smooth(ramp, 0.98))[-1] == pytest.approx(49, rel=1e-2)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_smoothing_never_hides_a_divergence(value):
    out = smooth([1, 2, value, 1, 1])
    assert np.isfinite(out).tolist() == [True, True, False, False, False]


def test_smooth_goes_along_the_last_axis():
    values = np.random.default_rng(1).random((3, 20))
    np.testing.assert_array_equal(smooth(values), [smooth(line) for line in values])


@pytest.mark.parametrize("beta", [1.0, -0.1, 2, np.nan])
def test_a_beta_out_of_range_is_named(beta):
    with pytest.raises(ValueError, match=f"got {beta}"):
        smooth([1, 2], beta)


# --- histories ------------------------------------------------------------------------------------------------------


def test_accuracy_is_the_last_epochs_and_never_the_best():
    history = History(epochs=[row(1, 50), row(2, 90), row(3, 80)])
    assert history.accuracy == 80 and history.seconds == 6
    assert history.column("accuracy").tolist() == [50, 90, 80] and np.isnan(history.column("loss")).all()


def test_an_empty_history_has_no_accuracy():
    assert np.isnan(History().accuracy) and len(History()) == 0 and History().seconds == 0 and len(History().column("epoch")) == 0


def test_histories_do_not_share_their_logs():
    one, other = History(), History()
    one.epochs.append(row(1, 50))
    assert other.epochs == []


@pytest.mark.parametrize("n, most", [(1000, 100), (9310, 200), (50, 200), (1, 10), (0, 10), (201, 200)])
def test_thin_keeps_first_and_last_and_spreads_the_rest(n, most):
    loss = np.random.default_rng(0).random(n)
    kept = thin(History({"loss": loss}), most)
    index = kept.steps["step"]
    assert len(kept) == min(n, most) and (kept.steps["loss"] == loss[index]).all()
    if n:
        assert index[0] == 0 and index[-1] == n - 1
    if n > 1:
        assert np.ptp(np.diff(index)) <= 1


# --- range tests ------------------------------------------------------------------------------------------------------


def test_a_range_tests_mean_ends_with_the_first_seed_that_ended():
    result = RangeTest(np.array([1, 2, 3.0]), np.array([[3, 2, 1.0], [5, 4, np.nan]]), np.array([9.0, 8.0]))
    np.testing.assert_array_equal(result.loss, [4, 3, np.nan])
    np.testing.assert_array_equal(result.losses_before_step, [[9, 3, 2], [8, 5, 4]])


def test_a_range_test_is_put_together_from_recorded_sweeps():
    rates = np.array([0.1, 0.2, 0.4])
    long = History({"lr": rates, "loss": np.array([3, 2, 1.0]), "before": np.full(3, 5.0)}, source="digits")
    short = History({"lr": rates[:2], "loss": np.array([3, 9.0]), "before": np.full(2, 6.0)}, source="digits")
    result = RangeTest.of([short, long])
    np.testing.assert_array_equal(result.losses, [[3, 9, np.nan], [3, 2, 1]])
    assert result.lrs.tolist() == rates.tolist() and result.before.tolist() == [6, 5] and result.source == "digits"


def noisy_fall(seeds=3, steps=100, depth=0.8):
    rates = np.geomspace(1e-5, 10, steps)
    curve = 2.3 - depth / (1 + np.exp(-(np.log10(rates) + 1.5) / 0.3))
    losses = curve + np.random.default_rng(0).normal(0, 0.02, (seeds, steps))
    return RangeTest(rates, losses, np.full(seeds, 2.3))


def test_a_range_test_reads_every_seed_alone_with_the_loss_before_each_step():
    result = noisy_fall()
    found = result.suggest()
    alone = [suggest.suggest_all(result.lrs, losses) for losses in result.losses_before_step]
    assert found.seeds == alone and list(found) == list(suggest.RULES)
    for name, answer in found.items():
        assert answer.rate == pytest.approx(np.median([seed[name].rate for seed in alone])) and "over 3 seeds" in answer.why
    assert result.suggest(beta=0.5)["steep"] != found["steep"]


def test_one_seeds_suggestions_are_the_rules_own():
    result = noisy_fall(seeds=1)
    assert dict(result.suggest()) == suggest.suggest_all(result.lrs, result.losses_before_step[0])


def test_a_sweep_that_stopped_is_read_up_to_there_as_part_of_the_planned_one():
    result = noisy_fall(seeds=1)
    result.losses[:, 79:] = np.nan
    found = suggest.suggest_all(result.lrs[:80], result.losses_before_step[0, :80], steps=100)
    assert dict(result.suggest()) == found and found["valley"].rate < result.lrs[79]


def test_candidates_are_those_of_the_suggestions_and_noise_has_none():
    result = noisy_fall()
    rates = [found.rate for found in result.suggest().values()]
    assert result.candidates() == suggest.candidates(result.suggest())
    assert result.candidates().lowest <= min(rates) * (1 + 1e-9) and result.candidates().highest >= max(rates) * (1 - 1e-9)
    with pytest.raises(ValueError, match="fell by .*, scatter .*: sweep to a higher rate"):
        noisy_fall(depth=0).candidates()


def test_a_range_test_prints_in_one_line():
    result = noisy_fall(seeds=1, depth=1.0)
    assert re.fullmatch(r"RangeTest: 100 rates from 1e-05 to 10, 1 seed, lowest loss 1\.[23]\d* near [\d.]+", repr(result))
    stopped = replace(noisy_fall(2), stopped=("reached the highest rate", "the loss exploded at a rate of 2"))
    assert str(stopped).endswith(", stopped: the loss exploded at a rate of 2") and ", 2 seeds, " in str(stopped)
    nothing = RangeTest(np.array([0.1, 0.2]), np.full((1, 2), np.nan), np.array([np.nan]))
    assert repr(nothing) == "RangeTest: 2 rates from 0.1 to 0.2, 1 seed"


def test_a_plot_shows_the_losses_and_a_mark_for_every_rule_and_cuts_the_explosion():
    result = noisy_fall()
    result.losses[:, -5:] = 1e6
    ax = Figure().subplots()
    assert result.plot(ax) is ax and ax.get_xscale() == "log"
    points = [line for line in ax.lines if len(line.get_xdata()) == 100]
    assert [np.array_equal(line.get_ydata(), losses) for line, losses in zip(points, result.losses)] == [True] * 3
    np.testing.assert_array_equal(points[3].get_ydata(), smooth(result.loss, 0.8))
    marks = {float(line.get_xdata()[0]) for line in ax.lines if len(line.get_xdata()) == 1}
    assert marks == {found.rate for found in result.suggest().values()}
    named = {text.get_text().rsplit(" ", 1)[0] for text in ax.get_legend().get_texts()}
    assert named == set(suggest.RULES)
    low, high = ax.get_ylim()
    assert low < result.losses[:, :-5].min() and 2.3 < high < 3


def test_a_plot_of_noise_says_why_there_is_no_rate():
    ax = noisy_fall(depth=0).plot(Figure().subplots())
    assert ax.get_legend() is None and "scatter" in ax.texts[0].get_text()


@pytest.mark.parametrize("losses", [np.full((1, 20), np.nan), np.full((1, 20), 2.3), np.full((1, 3), 2.3)])
def test_what_can_not_be_read_is_drawn_all_the_same(losses):
    rates = np.geomspace(1e-3, 1, losses.shape[1])
    assert RangeTest(rates, losses, losses[:, 0]).plot(Figure().subplots()).texts


def test_a_plot_makes_its_own_axes_and_names_the_stand_in():
    ax = replace(noisy_fall(), source="digits").plot()
    assert ax.get_title() == "digits (stand-in for CIFAR-10)"
    plt.close(ax.figure)


def test_without_matplotlib_a_plot_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match="pip install matplotlib"):
        noisy_fall().plot()
