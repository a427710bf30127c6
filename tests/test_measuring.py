import numpy as np
import pytest
from scipy import integrate, stats

from clrlib.measuring import accuracy_error, difference_of, expected_best, seeds_needed, standard_error, verdict_of, welch


def test_the_standard_error_is_scipys():
    values = [81.2, 80.9, 82.3, 81.0]
    assert standard_error(values) == pytest.approx(stats.sem(values))


@pytest.mark.parametrize("accuracy, images", [(0, 10), (50, 1000), (81.7, 10_000), (100, 7)])
def test_an_accuracys_error_is_the_binomials(accuracy, images):
    assert accuracy_error(accuracy, images) == pytest.approx(100 * stats.binom(images, accuracy / 100).std() / images)


@pytest.mark.parametrize("of", [1, 2, 5, 20, 1000])
def test_the_expected_best_is_the_maximums_mean(of):
    exact, _ = integrate.quad(lambda x: x * of * stats.norm.pdf(x) * stats.norm.cdf(x) ** (of - 1), -10, 10, limit=200)
    assert expected_best(of) == pytest.approx(exact, abs=1e-6)


def test_the_expected_best_of_two_is_known():
    assert expected_best(2) == pytest.approx(1 / np.sqrt(np.pi), abs=1e-6)


@pytest.mark.parametrize("spread, difference, found, alpha", [(1, 1, 0.8, 0.05), (0.3, -0.2, 0.9, 0.05), (2, 0.5, 0.8, 0.01)])
def test_as_many_seeds_as_needed_find_the_difference_and_one_fewer_do_not(spread, difference, found, alpha):
    n = seeds_needed(spread, difference, found, alpha)

    def power(n):
        shift = abs(difference) / (spread * np.sqrt(2 / n))
        return stats.norm.sf(stats.norm.isf(alpha / 2) - shift)

    assert power(n) >= found > power(n - 1)


@pytest.mark.parametrize(
    "call, names",
    [
        (lambda: standard_error([80.0]), "got 1"),
        (lambda: accuracy_error(101, 10), "101"),
        (lambda: accuracy_error(float("nan"), 10), "nan"),
        (lambda: accuracy_error(50, 0), "images must be at least 1, got 0"),
        (lambda: seeds_needed(0, 1), "got 0 and 1"),
        (lambda: seeds_needed(1, 0), "got 1 and 0"),
        (lambda: seeds_needed(1, 1, found=1), "found=1"),
        (lambda: expected_best(0), "of must be at least 1, got 0"),
    ],
)
def test_what_makes_no_sense_is_named(call, names):
    with pytest.raises(ValueError, match=names):
        call()


def test_a_difference_has_the_spread_that_simulation_gives_it():
    rng = np.random.default_rng(0)
    first, second = rng.normal(3, 2, (20_000, 5)), rng.normal(1, 1, (20_000, 4))
    gaps = first.mean(axis=1) - second.mean(axis=1)
    errors = [difference_of(a, b)[1] for a, b in zip(first[:2000], second[:2000])]
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(gaps.std(), rel=0.03)


def test_verdicts():
    assert verdict_of([80, 81, 82], [70, 71, 72]) == "better"
    assert verdict_of([70, 71, 72], [80, 81, 82]) == "worse"
    assert verdict_of([80, 82, 84], [79, 81, 83.5]) == verdict_of([1, 1, 1], [1, 1, 1]) == "can't tell"
    assert verdict_of([2, 2, 2], [1, 1, 1]) == "better"


@pytest.mark.parametrize("first, second", [([81.2, 80.7, 81.9], [79.8, 80.9, 80.1]), ([1, 2, 3, 4], [7.5, 7.7])])
def test_welchs_interval_is_scipys(first, second):
    theirs = stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
    assert welch(first, second)[1:] == pytest.approx(tuple(theirs))


def test_an_interval_takes_two_values_a_side():
    with pytest.raises(ValueError, match="got 1 and 2"):
        welch([1.0], [1.0, 2.0])
