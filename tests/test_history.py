import numpy as np
import pytest

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
