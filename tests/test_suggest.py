import itertools

import numpy as np
import pytest

from clrlib.suggest import RULES, Suggestion, _longest_falling, minimum, slide, steep, suggest_all, truncate, valley


def loss_at(rates):
    """A smooth curve with known answers: it falls fastest at 1e-2 and rises as the square of the rate."""
    return 2.3 - 1.5 / (1 + np.exp(-(np.log10(rates) + 2) / 0.3)) + 2 * np.asarray(rates) ** 2


def curve(steps=100, low=1e-5, high=10.0):
    rates = np.geomspace(low, high, steps)
    return rates, loss_at(rates)


# --- known answers ------------------------------------------------------------------------------------


def test_steep_finds_the_inflection():
    assert steep(*curve(600), beta=0).rate == pytest.approx(1e-2, rel=0.06)


def test_steep_looks_before_the_minimum_only():
    rates = np.geomspace(1e-4, 1, 41)
    losses = np.interp(np.arange(41), [0, 10, 20, 30, 32, 40], [2.0, 1.9, 1.0, 1.8, 1.2, 1.2])
    assert 10 <= np.flatnonzero(rates == steep(rates, losses, beta=0).rate)[0] <= 20


def test_minimum_is_a_tenth_of_the_lowest_point():
    fine = np.geomspace(1e-3, 1, 100_000)
    assert minimum(*curve(600), beta=0).rate == pytest.approx(fine[loss_at(fine).argmin()] / 10, rel=0.03)
    assert minimum(*curve(600), beta=0, divide=2).rate == pytest.approx(fine[loss_at(fine).argmin()] / 2, rel=0.03)


def test_slide_stops_where_the_slope_is_even_over_its_window():
    rates = np.geomspace(1e-5, 1, 501)
    straight = np.interp(np.log10(rates), [-5, -3, -1, 0], [2.3, 2.3, 1.0, 1.2])
    assert slide(rates, straight, beta=0).rate == pytest.approx(10**-1.5, rel=0.06)
    assert slide(rates, straight, beta=0, decades=1.0).rate == pytest.approx(10**-2, rel=0.06)


def test_valley_is_two_thirds_down_the_only_fall():
    rates = np.geomspace(1e-5, 1, 31)
    losses = np.concatenate([np.full(10, 2.0), np.linspace(2.0, 1.0, 13)[1:], np.linspace(1.1, 3, 9)])
    fall = np.r_[9, np.arange(10, 22)]  # 13 points, the last of the flat part among them
    assert valley(rates, losses, beta=0).rate in rates[fall[[8, 9]]]


def brute_force(values):
    """Length of the longest strictly falling subsequence, by trying all of them."""
    longest = 0
    for size in range(1, len(values) + 1):
        if any(all(a > b for a, b in itertools.pairwise(chosen)) for chosen in itertools.combinations(values, size)):
            longest = size
    return longest


@pytest.mark.parametrize("seed", range(40))
def test_the_longest_fall_is_as_long_as_brute_force_finds(seed):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 6, rng.integers(1, 10)).astype(float)
    stretch = _longest_falling(values)
    assert len(stretch) == brute_force(values)
    assert stretch == sorted(set(stretch)) and (np.diff(values[stretch]) < 0).all()


# --- robust against steps, seeds and noise ------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
def test_the_number_of_steps_hardly_matters_without_smoothing(rule):
    rates = [RULES[rule](*curve(steps), beta=0).rate for steps in (50, 100, 400)]
    assert max(rates) / min(rates) < 1.5


@pytest.mark.parametrize("rule", RULES)
def test_smoothing_moves_a_suggestion_right_by_its_lag_at_most(rule):
    """beta = 0.9 lags 9 steps, and one step is a factor of (high / low) ** (1 / (steps - 1))."""
    for steps in (50, 100, 400):
        sharp, smooth = (RULES[rule](*curve(steps), beta=beta).rate for beta in (0, 0.9))
        assert 0.99 <= smooth / sharp <= 1e6 ** (9 / (steps - 1)) * 1.5


@pytest.mark.parametrize("rule", RULES)
def test_seeds_are_averaged(rule):
    rates, losses = curve()
    noise = np.random.default_rng(0).normal(0, 0.2, losses.shape)
    assert RULES[rule](rates, [losses + noise, losses - noise]).rate == pytest.approx(RULES[rule](rates, losses).rate)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("at, times", [(0, 20), (1, 5), (3, 3), (3, 50)])
def test_an_early_spike_hardly_moves_a_rule(rule, at, times):
    rates, losses = curve()
    spiked = losses.copy()
    spiked[at] *= times
    assert RULES[rule](rates, spiked).rate == pytest.approx(RULES[rule](rates, losses).rate, rel=0.35)


# --- the diverged part ----------------------------------------------------------------------------------------


def test_truncate_cuts_where_the_loss_passes_four_times_its_best():
    rates, losses = np.geomspace(1e-3, 1, 20), np.r_[np.linspace(2, 1, 13), 1, 1, 3.9, 3.99, 4.01, 5, 6]
    kept, smoothed = truncate(rates, losses, beta=0)
    assert kept.tolist() == rates[:17].tolist() and smoothed[1:].tolist() == losses[1:17].tolist()
    assert len(truncate(rates, losses, beta=0, explode=2)[0]) == 15


def test_truncate_handles_losses_below_zero():
    rates, losses = np.geomspace(1e-3, 1, 20), np.r_[np.linspace(1, -2, 13), -2, -2, 3.9, 4.1, 9, 9, 9]
    assert len(truncate(rates, losses, beta=0)[0]) == 16


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("rule", RULES)
def test_no_rate_comes_from_after_a_loss_that_is_not_finite(rule, value):
    rates, losses = curve(200)
    broken = losses.copy()
    broken[120:] = np.linspace(0.01, 0, 80)  # a fall that only a diverged run shows
    broken[119] = value
    assert RULES[rule](rates, broken) == RULES[rule](rates[:119], losses[:119])


@pytest.mark.parametrize("seed", range(30))
def test_no_rule_points_past_the_truncation(seed):
    rng = np.random.default_rng(seed)
    rates = np.geomspace(1e-5, 10, rng.integers(10, 150))
    losses = loss_at(rates * 10 ** rng.uniform(-1, 2)) * np.exp(rng.normal(0, 0.3, len(rates)))
    losses[rng.integers(len(rates)) :] *= rng.choice([1, 10, np.nan])
    kept, _ = truncate(rates, losses)
    for suggestion in suggest_all(rates, losses).values():
        assert suggestion.rate is None or 0 < suggestion.rate <= kept[-1]
        assert suggestion.why and bool(suggestion) == (suggestion.rate is not None)


# --- no rate, and the reason ---------------------------------------------------------------------------------------


RATES = np.geomspace(1e-4, 1, 30)
NONE = {
    "flat": (RATES, np.full(30, 2.3), RULES, "flat"),
    "too short": (RATES[:9], np.linspace(2, 1, 9), RULES, "only 9 points"),
    "nothing": ([], [], RULES, "only 0 points"),
    "all NaN": (RATES, np.full(30, np.nan), RULES, "only 0 points"),
    "diverged at once": (RATES, np.r_[2.0, 2.0, np.full(28, 1e9)], RULES, "only 2 points before the loss diverged"),
    "it only rises": (RATES, np.linspace(1, 2, 30), ["minimum/10"], "rises from the first rate"),
    "it never falls": (RATES, np.linspace(1, 2, 30), ["steep"], "never falls"),
    "no stretch": (RATES, np.linspace(1, 2, 30), ["valley"], "no falling stretch"),
    "it never settles": (RATES, np.linspace(1, 2, 30), ["slide"], "never settles"),
}  # fmt: skip


@pytest.mark.parametrize("rates, losses, rules, reason", NONE.values(), ids=NONE)
def test_without_a_rate_there_is_a_reason(rates, losses, rules, reason):
    for rule in rules:
        suggestion = RULES[rule](rates, losses)
        assert suggestion.rate is None and not suggestion and reason in suggestion.why and suggestion.rule == rule


def test_a_linear_sweep_from_zero_has_a_suggestion():
    rates = np.linspace(0, 1, 100)
    for suggestion in suggest_all(rates, loss_at(np.maximum(rates, 1e-9))).values():
        assert isinstance(suggestion, Suggestion) and 0 < suggestion.rate < 1


@pytest.mark.parametrize(
    "rates, losses, kwargs, message",
    [
        ([1, 2, 3], [1, 2], {}, r"\(3,\) and \(1, 2\)"),
        ([1, 2, 3], np.empty((0, 3)), {}, r"\(3,\) and \(0, 3\)"),
        ([3, 2, 1], [1, 2, 3], {}, "rising"),
        ([1, 1, 2], [1, 2, 3], {}, "rising"),
        ([-1, 1, 2], [1, 2, 3], {}, "not negative"),
        ([1, np.nan, 2], [1, 2, 3], {}, "finite"),
        ([1, 2, 3], [1, 2, 3], {"beta": 1.0}, "beta must lie in .* got 1.0"),
        ([1, 2, 3], [1, 2, 3], {"beta": np.nan}, "got nan"),
        ([1, 2, 3], [1, 2, 3], {"explode": 1}, "explode must be above 1, got 1"),
    ],
)
def test_what_cannot_be_a_sweep_is_named(rates, losses, kwargs, message):
    with pytest.raises(ValueError, match=message):
        truncate(rates, losses, **kwargs)
