"""The statistics against scipy, closed forms and simulations with a fixed seed."""

import dataclasses
import sys

import numpy as np
import pytest
import scipy
from faults import hostile, outcome
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import integrate

from clrlib import stats
from clrlib.stats import Difference, detectable_difference, difference, paired_difference, pooled_difference, seeds_needed

A, B, C = [81.2, 82.1, 81.7], [76.0, 77.1, 75.9, 76.4], [79.0, 80.1, 80.4]
MAKERS = {
    "Welch": difference,
    "paired": lambda a, b, **more: paired_difference(a, b[: len(a)], **more),
    "pooled": pooled_difference,
}


# --- one group of runs --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values, text",
    [
        ([], "no runs"),
        ([85.128], "85.13 (n = 1)"),
        ([1, 2, 3], "2.00 ± 1.00 (n = 3)"),
        (np.array([85.0, 86.0]), "85.50 ± 0.71 (n = 2)"),
    ],
)
def test_mean_and_spread_is_the_sample_standard_deviation(values, text):
    assert stats.mean_and_spread(values) == text


def test_the_standard_error_is_scipys():
    values = [81.2, 80.9, 82.3, 81.0]
    assert stats.standard_error(values) == pytest.approx(scipy.stats.sem(values))


@pytest.mark.parametrize("accuracy, images", [(0, 10), (50, 1000), (81.7, 10_000), (100, 7)])
def test_an_accuracys_error_is_the_binomials(accuracy, images):
    theirs = 100 * scipy.stats.binom(images, accuracy / 100).std() / images
    assert stats.accuracy_error(accuracy, images) == pytest.approx(theirs)


@pytest.mark.parametrize("of", [1, 2, 5, 20, 1000])
def test_the_expected_best_is_the_maximums_mean(of):
    density, below = scipy.stats.norm.pdf, scipy.stats.norm.cdf
    exact, _ = integrate.quad(lambda x: x * of * density(x) * below(x) ** (of - 1), -10, 10, limit=200)
    assert stats.expected_best(of) == pytest.approx(exact, abs=1e-6)


def test_the_expected_best_of_two_is_known():
    assert stats.expected_best(2) == pytest.approx(1 / np.sqrt(np.pi), abs=1e-6)


def test_a_pooled_spread_is_that_of_the_residuals():
    residuals = np.concatenate([np.subtract(group, np.mean(group)) for group in (A, B, C)])
    assert stats.pooled_spread(A, B, C) == pytest.approx(np.sqrt((residuals**2).sum() / (len(residuals) - 3)))


# --- intervals ----------------------------------------------------------------------------------------------


def test_welchs_interval_is_the_formula():
    va, vb = np.var(A, ddof=1) / 3, np.var(B, ddof=1) / 4
    df = (va + vb) ** 2 / (va**2 / 2 + vb**2 / 3)
    reach = scipy.special.stdtrit(df, 0.975) * np.sqrt(va + vb)
    value, found = np.mean(A) - np.mean(B), difference(A, B)
    assert (found.value, found.low, found.high) == pytest.approx((value, value - reach, value + reach))
    assert (found.standard_error, found.df) == pytest.approx((np.sqrt(va + vb), df))
    assert found.n == (3, 4) and found.alpha == 0.05


def test_a_paired_interval_is_that_of_the_differences_mean():
    gaps = np.subtract(A, C)
    reach = scipy.special.stdtrit(2, 0.975) * scipy.stats.sem(gaps)
    found = paired_difference(A, C)
    assert (found.low, found.high) == pytest.approx((gaps.mean() - reach, gaps.mean() + reach))
    assert (found.standard_error, found.df, found.n) == (pytest.approx(scipy.stats.sem(gaps)), 2, (3, 3))


def test_a_pooled_interval_of_two_groups_is_students():
    found, theirs = pooled_difference(A, C), scipy.stats.ttest_ind(A, C)
    assert (found.low, found.high) == pytest.approx(tuple(theirs.confidence_interval(0.95)))
    assert found.df == theirs.df == 4 and found.value / found.standard_error == pytest.approx(
        theirs.statistic
    )


def test_pooling_over_more_arms_is_least_squares_with_a_mean_for_each():
    """The same model fitted as a regression: a column for each group, the variance from the residuals."""
    groups = (A, C, B)
    design = scipy.linalg.block_diag(*(np.ones((len(group), 1)) for group in groups))
    means, squares, *_ = np.linalg.lstsq(design, np.concatenate(groups), rcond=None)
    df, contrast = len(design) - 3, np.array([1, -1, 0])
    error = np.sqrt(squares[0] / df * contrast @ np.linalg.inv(design.T @ design) @ contrast)
    reach = scipy.special.stdtrit(df, 0.975) * error
    found = pooled_difference(A, C, B)
    assert (found.value, found.low) == pytest.approx((contrast @ means, contrast @ means - reach))
    assert (found.df, found.standard_error) == pytest.approx((df, error))


@pytest.mark.parametrize("name", MAKERS)
def test_bonferronis_interval_is_that_of_a_share_of_alpha(name):
    assert MAKERS[name](A, B, alpha=0.06, comparisons=6) == MAKERS[name](A, B, alpha=0.01)
    assert MAKERS[name](A, B, comparisons=6).low < MAKERS[name](A, B).low


@pytest.mark.parametrize("name", MAKERS)
def test_the_level_is_the_one_where_the_p_value_is(name):
    """At alpha = p the interval ends at 0: scipy's p-value is another way to it."""
    p = {
        "Welch": scipy.stats.ttest_ind(A, B, equal_var=False).pvalue,
        "paired": scipy.stats.ttest_rel(A, B[:3]).pvalue,
        "pooled": scipy.stats.ttest_ind(A, B).pvalue,
    }[name]
    assert MAKERS[name](A, B, alpha=p).low == pytest.approx(0, abs=1e-9)
    assert not MAKERS[name](A, B, alpha=p * 0.99).different and MAKERS[name](A, B, alpha=p * 1.01).different


def test_one_side_may_have_no_spread_and_nothing_is_warned_of(recwarn):
    """The interval is then that of the other side's mean, moved."""
    found, theirs = (
        difference(A, [10.0, 10.0]),
        scipy.stats.t.interval(0.95, 2, np.mean(A) - 10, scipy.stats.sem(A)),
    )
    assert (found.low, found.high) == pytest.approx(theirs) and found.df == pytest.approx(2)
    assert (-difference([10.0, 10.0], A)).high == pytest.approx(found.high) and not recwarn.list


@pytest.mark.parametrize("spreads", [(1, 1), (1, 3)])
@pytest.mark.parametrize("n, most", [((3, 3), 0.98), ((5, 5), 0.97), ((4, 8), 0.97), ((10, 10), 0.97)])
def test_welchs_interval_covers_the_truth_as_often_as_it_says(n, most, spreads):
    """With three a side and equal spreads it covers a little more: 96.5 % of 200,000 repeats."""
    rng = np.random.default_rng(0)
    draws = zip(rng.normal(1, spreads[0], (2000, n[0])), rng.normal(0, spreads[1], (2000, n[1])))
    found = [difference(a, b) for a, b in draws]
    assert 0.93 <= np.mean([d.low <= 1 <= d.high for d in found]) <= most


@pytest.mark.parametrize("name", ["paired", "pooled"])
def test_the_other_intervals_cover_the_truth_where_their_assumption_holds(name):
    """Pairs that share half of their variance; equal spreads, pooled over four arms."""
    rng = np.random.default_rng(1)
    seeds = rng.normal(0, 1, (1000, 6)) if name == "paired" else np.zeros((1000, 6))
    a, b, *others = (seeds + rng.normal(mean, 1, (1000, 6)) for mean in (1, 0, 5, 9))
    if name == "paired":
        found = [paired_difference(x, y) for x, y in zip(a, b)]
    else:
        found = [outcome(pooled_difference, x, y, *more) for x, y, *more in zip(a, b, *others)]
    hits = [d.low <= 1 <= d.high for d in found if d is not None]
    assert len(hits) > 300 and 0.92 <= np.mean(hits) <= 0.98


def test_bonferronis_intervals_hold_all_at_once_where_single_ones_do_not():
    rng = np.random.default_rng(2)
    runs = rng.normal(0, 1, (300, 5, 2, 6))  # five comparisons of two arms that don't differ
    alone, corrected = (
        np.mean([[difference(*pair, comparisons=k).different for pair in five] for five in runs], axis=1) > 0
        for k in (1, 5)
    )
    assert corrected.mean() <= 0.08 < 0.15 <= alone.mean() <= 0.30  # 1 - 0.95^5 = 0.23
    assert stats.false_alarms(5) == pytest.approx(0.25)


runs = st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=6)


def close_to(found, expected, slack):
    ends = (found.value, found.low, found.high), (expected.value, expected.low, expected.high)
    return np.allclose(*ends, rtol=1e-6, atol=slack)


@pytest.mark.parametrize("name", MAKERS)
@hostile
@given(runs, runs, st.floats(-100, 100), st.floats(0.1, 10))
def test_an_interval_moves_and_grows_with_its_unit_and_turns_with_its_sides(name, a, b, shift, scale):
    a, b = np.array(a), np.array(b)
    n = min(len(a), len(b))
    a, b = (a[:n], b[:n]) if name == "paired" else (a, b)
    assume(min(np.ptp(a), np.ptp(b), np.ptp(a[:n] - b[:n])) > 1e-3)
    found = outcome(MAKERS[name], a, b)
    assume(found is not None)  # spreads too unlike to pool
    slack = 1e-6 * max(1, found.high - found.low)
    assert close_to(MAKERS[name](a + shift, b + shift), found, slack)
    assert close_to(MAKERS[name](a + shift, b), moved(found, shift), slack)
    assert close_to(MAKERS[name](scale * a, scale * b), scaled(found, scale), scale * slack)
    assert close_to(-MAKERS[name](b, a) if name != "paired" else -paired_difference(b, a), found, slack)


def moved(found, shift):
    return dataclasses.replace(
        found, value=found.value + shift, low=found.low + shift, high=found.high + shift
    )


def scaled(found, scale):
    return dataclasses.replace(
        found, value=found.value * scale, low=found.low * scale, high=found.high * scale
    )


# --- verdicts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "low, high, verdict",
    [
        (0.1, 0.4, "different, by less than matters"),
        (-0.4, -0.1, "different, by less than matters"),
        (0.1, 0.9, "different"),
        (1, 3, "different"),
        (-0.4, 0.3, "the same"),
        (-0.4, 0.6, "can't tell"),
        (0, 0.6, "can't tell"),
        (-0.5, 0.5, "can't tell"),
        (-9, 9, "can't tell"),
    ],
)
def test_two_words_make_four_verdicts(low, high, verdict):
    effect = Difference((low + high) / 2, low, high)
    assert effect.verdict() == (-effect).verdict() == verdict
    assert effect.different == verdict.startswith("different")
    assert effect.same() == (verdict in ("the same", "different, by less than matters"))


def test_the_margin_is_the_callers():
    effect = Difference(0.2, -0.4, 0.8)
    assert not effect.same() and effect.same(0.9) and effect.verdict(margin=1) == "the same"
    assert not Difference(0.0, 0.0, 0.0).same(0)


@pytest.mark.parametrize("margin, end", [(0, ""), (5, ", by less than matters")])
def test_which_way_is_better_is_the_callers_to_say(margin, end):
    up, down = Difference(2.0, 1.0, 3.0), Difference(-2.0, -3.0, -1.0)
    for accuracies, losses in ((up, down), (-down, -up)):
        assert accuracies.verdict(margin, lower_is_better=False) == "better" + end
        assert losses.verdict(margin, lower_is_better=True) == "better" + end
        assert losses.verdict(margin, lower_is_better=False) == "worse" + end
        assert accuracies.verdict(margin, lower_is_better=True) == "worse" + end


def test_the_same_is_claimed_wrongly_less_often_than_in_a_test_at_five_percent():
    """A true difference of exactly the margin, where two one-sided tests at 5 % are wrong 5 times in 100."""
    rng = np.random.default_rng(3)
    found = [
        difference(a, b) for a, b in zip(rng.normal(0.5, 0.2, (2000, 10)), rng.normal(0, 0.2, (2000, 10)))
    ]
    assert 0.01 < np.mean([d.same() for d in found]) < 0.04


def test_a_difference_prints_with_real_minus_signs():
    assert str(Difference(0.57, 0.09, 1.06)) == "+0.57 [+0.09, +1.06]"
    assert str(Difference(-0.2, -0.891, 0.48)) == "−0.20 [−0.89, +0.48]"


def test_the_other_way_round_is_the_difference_of_the_swapped_sides():
    assert -difference(A, B) == difference(B, A)


# --- how many runs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n, spreads", [(3, 3.07), (5, 2.02), (10, 1.32)])
def test_the_detectable_difference_of_the_tables(n, spreads):
    assert round(detectable_difference(1.0, n), 2) == spreads
    assert detectable_difference(0.3, n) == pytest.approx(0.3 * detectable_difference(1.0, n))


@pytest.mark.parametrize("n, welch", [(3, 0.70), (5, 0.78), (10, 0.80)])
def test_a_simulation_finds_the_detectable_difference_as_often_as_it_says(n, welch):
    rng = np.random.default_rng(4)
    a, b = rng.normal(detectable_difference(2.0, n), 2.0, (20_000, n)), rng.normal(0, 2.0, (20_000, n))
    pooled, unpooled = (
        scipy.stats.ttest_ind(a, b, axis=1, equal_var=equal).pvalue < 0.05 for equal in (True, False)
    )
    assert pooled.mean() == pytest.approx(0.80, abs=0.012) and unpooled.mean() == pytest.approx(
        welch, abs=0.012
    )


@pytest.mark.parametrize(
    "n, n_b, power, alpha",
    [(2, None, 0.8, 0.05), (3, 8, 0.9, 0.01), (4, None, 0.999, 1e-5), (20, 3, 0.3, 0.2)],
)
def test_the_power_is_the_integral_over_what_the_spread_may_come_out_as(n, n_b, power, alpha):
    """Without the noncentral t: normal once the spread is known, which is chi distributed."""
    m = n if n_b is None else n_b
    shift, df = (
        detectable_difference(1.0, n, n_b, power=power, alpha=alpha) / np.sqrt(1 / n + 1 / m),
        n + m - 2,
    )
    critical, tail = scipy.special.stdtrit(df, 1 - alpha / 2), scipy.stats.norm.sf

    def found(s):
        return (
            scipy.stats.chi.pdf(s * np.sqrt(df), df)
            * np.sqrt(df)
            * (tail(critical * s - shift) + tail(critical * s + shift))
        )

    ends = scipy.stats.chi.ppf([1e-12, 1 - 1e-12], df) / np.sqrt(df)
    assert integrate.quad(found, *ends, limit=500)[0] == pytest.approx(power, abs=1e-6)


@pytest.mark.parametrize(
    "spread, gap, power, alpha", [(1, 1, 0.8, 0.05), (0.3, -0.2, 0.9, 0.05), (2, 0.5, 0.8, 0.01)]
)
def test_as_many_seeds_as_needed_find_the_difference_and_one_fewer_do_not(spread, gap, power, alpha):
    n = seeds_needed(spread, gap, power, alpha)

    def found(n):
        shift = abs(gap) / (spread * np.sqrt(2 / n))
        return scipy.stats.norm.sf(scipy.stats.norm.isf(alpha / 2) - shift)

    assert found(n) >= power > found(n - 1)


@pytest.mark.parametrize("spread", np.geomspace(0.3, 3, 12))
def test_a_t_test_takes_one_or_two_seeds_more(spread):
    n = seeds_needed(spread, 1.0)
    assert detectable_difference(spread, max(2, n)) > 1.0 or n == 1
    assert detectable_difference(spread, n + 2) <= 1.0


# --- what can't be said -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call, names",
    [
        (lambda: stats.standard_error([80.0]), "need at least 2 runs to know a spread, got 1"),
        (lambda: stats.standard_error([80.0, np.nan]), "a run of nan"),
        (lambda: stats.accuracy_error(101, 10), "101"),
        (lambda: stats.accuracy_error(float("nan"), 10), "nan"),
        (lambda: stats.accuracy_error(50, 0), "images must be at least 1, got 0"),
        (lambda: stats.expected_best(0), "of must be at least 1, got 0"),
        (lambda: difference([1.0], [1.0, 2.0]), "a: need at least 2 runs .* got 1"),
        (lambda: difference([1.0, 2.0], []), "b: need at least 2 runs .* got 0"),
        (lambda: difference([1.0, 2.0], [1.0, np.inf]), "b has a run of inf, not finite"),
        (lambda: difference([[1.0, 2.0]], [1.0, 2.0]), r"one number for each run, got shape \(1, 2\)"),
        (
            lambda: difference([3.0, 3.0], [1.0, 1.0]),
            "a came to 3 and every run of b to 1: no interval without a spread",
        ),
        (lambda: difference([1e308, -1e308], [0, 1]), "give the runs in another unit"),
        (lambda: difference(A, B, alpha=0), "alpha must lie between 0 and 1, got 0"),
        (lambda: difference(A, B, comparisons=0), "comparisons must be at least 1, got 0"),
        (lambda: paired_difference(A, B), "same seeds a side, got 3 and 4"),
        (lambda: paired_difference([1.0, 2.0], [2.0, 3.0]), "every pair differs by -1"),
        (lambda: pooled_difference(A, [70.0, 80.0]), "spreads from 0.451 to 7.07 are too unlike to pool"),
        (lambda: pooled_difference(A, C, [1.0, 1.0]), "spreads from 0 to 0.737"),
        (lambda: stats.pooled_spread([1.0], A), "a group: need at least 2 runs"),
        (lambda: stats.false_alarms(-1), "comparisons must be at least 0, got -1"),
        (lambda: detectable_difference(0, 3), "spread must be above 0, got 0"),
        (lambda: detectable_difference(1, 1), "n must be at least 2, got 1"),
        (lambda: detectable_difference(1, 3, 1), "n_b must be at least 2, got 1"),
        (lambda: detectable_difference(1, 3, power=1), "power=1"),
        (lambda: detectable_difference(1, 3, alpha=0.9), "alpha=0.9"),
        (lambda: seeds_needed(0, 1), "got 0 and 1"),
        (lambda: seeds_needed(1, 0), "got 1 and 0"),
        (lambda: seeds_needed(1, np.nan), "difference must be finite, got nan"),
        (lambda: seeds_needed(1, 1, power=1), "power=1"),
        (lambda: seeds_needed(1, 1e-9), r"over 10\^12 runs"),
    ],
)
def test_what_makes_no_sense_is_named(call, names):
    with pytest.raises(ValueError, match=names):
        call()


@pytest.mark.parametrize(
    "call",
    [
        lambda: difference(A, B),
        lambda: paired_difference(A, C),
        lambda: pooled_difference(A, C),
        lambda: detectable_difference(1, 3),
    ],
)
def test_without_scipy_the_remedy_is_named(call, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(ImportError, match="pip install scipy"):
        call()
    assert stats.mean_and_spread(A) and stats.standard_error(A) and seeds_needed(1, 1)


anything = st.one_of(
    st.floats(),
    st.floats(-3, 3),
    st.sampled_from([np.nan, np.inf, 1e308, -1e308, 5e-324, 0.0, 10**400, None, "1", 1j]),
)


@pytest.mark.parametrize("name", MAKERS)
@hostile
@given(
    st.lists(anything, max_size=5),
    st.lists(anything, max_size=5),
    st.one_of(st.just(0.05), anything),
    st.integers(-1, 10**6),
)
def test_any_two_lists_give_a_finite_interval_about_the_difference_or_are_refused(
    name, a, b, alpha, comparisons
):
    found = outcome(MAKERS[name], a, b, alpha=alpha, comparisons=comparisons)
    if found is not None:
        assert np.isfinite([found.value, found.low, found.high, found.standard_error, found.df]).all()
        used = [float(x) for x in (*a, *b[: found.n[1]])]
        slack = 1e-9 * max(1, *map(abs, used))
        assert found.low - slack <= found.value <= found.high + slack and sum(found.n) == len(used)


@hostile
@given(
    anything,
    st.one_of(st.integers(2, 10**6), anything),
    st.one_of(st.floats(0, 1), anything),
    st.one_of(st.floats(1e-6, 1), anything),
)
def test_a_detectable_difference_is_above_nothing_or_refused(spread, n, power, alpha):
    found = outcome(detectable_difference, spread, n, power=power, alpha=alpha)
    assert found is None or found >= 0
