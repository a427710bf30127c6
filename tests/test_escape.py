import numpy as np
import pytest

from clrlib import schedules as s
from clrlib.theory.descent import bowl, descend
from clrlib.theory.descent import saddle as hyperbolic
from clrlib.theory.escape import first_step, median_and_quartiles, paths, plateau, two_valleys

SURFACES = [two_valleys(3.0, 0.5), plateau(3.0, 2.0)]


@pytest.mark.parametrize("surface", SURFACES, ids=lambda surface: surface.name)
def test_gradients_are_the_slopes_of_the_surface(surface):
    points, h = np.random.default_rng(0).uniform(-2, 2, (20, 2)), 1e-6
    slopes = [(surface.value(points + step) - surface.value(points - step)) / (2 * h) for step in (np.array([h, 0]), np.array([0, h]))]
    np.testing.assert_allclose(surface.gradient(points), np.transpose(slopes), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("surface", SURFACES, ids=lambda surface: surface.name)
def test_the_lowest_point_has_the_value_0_and_is_flat(surface):
    lowest = np.array(surface.lowest)
    around = lowest + 0.1 * np.stack([np.cos(np.arange(12)), np.sin(np.arange(12))], axis=1)
    np.testing.assert_allclose([surface.value(lowest), *surface.gradient(lowest)], 0, atol=1e-12)
    assert (surface.value(around) > 0).all()


def test_the_pass_of_two_valleys_is_a_saddle_of_the_curvatures_it_says():
    h, surface = 1e-4, two_valleys(3.0, 0.5)
    at = surface.gradient(np.array([[h, 0], [0, h], [0, 0], [0, 1 + h]]))
    np.testing.assert_allclose([at[0, 0] / h, at[1, 1] / h, *at[2], at[3, 1] / h], [3.0, -0.5, 0, 0, 1.0], rtol=1e-3)


@pytest.mark.parametrize("rate", [0.05, s.triangular(0.01, 0.4, 2).table(80)], ids=["constant", "cycles"])
@pytest.mark.parametrize("surface", [*SURFACES, bowl(0.3, 4.0)], ids=lambda surface: surface.name)
def test_each_row_is_descend_with_that_seed(surface, rate):
    many = paths(surface, rate, 80, seeds=3, noise=0.2)
    for seed, row in enumerate(many):
        np.testing.assert_allclose(row, descend(surface, rate, steps=80, noise=0.2, seed=seed), rtol=1e-9, atol=1e-12)


def test_without_noise_the_way_off_a_saddle_is_the_product_of_the_rates():
    rates = s.triangular(0.01, 0.3, 2).table(50)
    walked = paths(hyperbolic(1.0, 0.1), rates, 50, seeds=1, noise=0.0, start=(1.0, 0.01))[0]
    np.testing.assert_allclose(walked[-1, 1], 0.01 * np.prod(1 + 0.1 * rates))


def test_a_path_that_blows_up_is_nan_from_there_on_and_the_others_go_on():
    walked = paths(bowl(1.0, 1.0), 2.5, 100, seeds=2, noise=1.0)
    assert np.isnan(walked[:, -1]).all() and np.isfinite(walked[:, 0]).all()


def test_first_step_is_the_first_one_or_infinite():
    there = [[False, False, True, False, True], [True] * 5, [False] * 5]
    assert first_step(there).tolist() == [2, 0, np.inf]


@pytest.mark.parametrize(
    "values, said",
    [
        (range(1, 102), "51 (26 to 76)"),
        ([1, 2, 3, np.inf, np.inf], "3 (2 to never)"),
        ([np.inf] * 3, "never (never to never)"),
        ([], "no runs"),
    ],
)
def test_a_median_is_told_with_the_middle_half(values, said):
    assert median_and_quartiles(list(values)) == said


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: two_valleys(0), "up must be above 0, got 0"),
        (lambda: plateau(depth=-1), "depth must be above 0, got -1"),
        (lambda: paths(plateau(), -0.1, 5), "rate=-0.1"),
        (lambda: paths(plateau(), 0.1, 5, noise=-1), "noise=-1"),
        (lambda: paths(plateau(), 0.1, 0), "steps must be at least 1, got 0"),
        (lambda: paths(plateau(), 0.1, 5, seeds=0), "seeds must be at least 1, got 0"),
        (lambda: first_step([True, False]), r"shape \[paths, steps \+ 1\], got \[2\]"),
    ],
)
def test_bad_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
