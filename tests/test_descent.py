import numpy as np
import pytest
import torch

from clrlib import schedules as s
from clrlib.theory import descent
from clrlib.theory.descent import (
    BEALE,
    ROSENBROCK,
    arrival,
    bowl,
    curvatures,
    departure,
    descend,
    factors,
    highest_rate,
    outlook,
    ravine,
    saddle,
)

SURFACES = [bowl(0.3, 4.0), ravine(0.3, 4.0, 70), saddle(), ROSENBROCK, BEALE]


@pytest.mark.parametrize("surface", SURFACES, ids=lambda surface: surface.name)
def test_gradients_are_the_slopes_of_the_surface(surface):
    points, h = np.random.default_rng(0).uniform(-1.5, 1.5, (20, 2)), 1e-6
    slopes = [(surface.value(points + step) - surface.value(points - step)) / (2 * h) for step in (np.array([h, 0]), np.array([0, h]))]
    np.testing.assert_allclose(surface.gradient(points), np.transpose(slopes), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("surface", [surface for surface in SURFACES if surface.lowest], ids=lambda surface: surface.name)
def test_the_lowest_point_is_flat_and_lower_than_its_surroundings(surface):
    lowest = np.array(surface.lowest)
    around = lowest + 0.1 * np.stack([np.cos(np.arange(12)), np.sin(np.arange(12))], axis=1)
    np.testing.assert_allclose(surface.gradient(lowest), 0, atol=1e-12)
    assert (surface.value(around) > surface.value(lowest)).all()


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("rate", [0.05, s.one_cycle(0.01, 0.1).table(30)], ids=["constant", "one cycle"])
def test_a_path_is_torchs_sgd(rate, momentum):
    surface, curvature = bowl(0.3, 4.0), torch.tensor([0.3, 4.0], dtype=torch.float64)
    point = torch.nn.Parameter(torch.tensor(surface.start, dtype=torch.float64))
    optimizer, expected = torch.optim.SGD([point], lr=1.0, momentum=momentum), [point.tolist()]
    for lr in np.broadcast_to(rate, 30):
        optimizer.param_groups[0]["lr"] = float(lr)
        optimizer.zero_grad()
        ((curvature * point**2).sum() / 2).backward()
        optimizer.step()
        expected.append(point.tolist())
    np.testing.assert_allclose(descend(surface, rate, momentum, steps=30), expected, rtol=1e-9)


def test_both_forms_of_momentum_agree_until_the_rate_changes():
    changing = s.linear(0.1, 0.01).table(20)
    constant, other = (descend(bowl(), 0.1, 0.9, 20, form=form) for form in ("pytorch", "sutskever"))
    np.testing.assert_allclose(constant, other, rtol=1e-12)
    assert np.abs(descend(bowl(), changing, 0.9, 20) - descend(bowl(), changing, 0.9, 20, form="sutskever")).max() > 0.01


@pytest.mark.parametrize("momentum", [0.5, 0.9])
def test_when_the_rate_drops_torchs_sgd_takes_the_first_form_and_not_the_second(momentum):
    rates = np.repeat([0.2, 0.02], 15)
    point, path = torch.nn.Parameter(torch.tensor([2.0, -3.0], dtype=torch.float64)), [[2.0, -3.0]]
    optimizer = torch.optim.SGD([point], lr=1.0, momentum=momentum)
    for lr in rates:
        optimizer.param_groups[0]["lr"] = float(lr)
        optimizer.zero_grad()
        (point.square().sum() / 2).backward()
        optimizer.step()
        path.append(point.tolist())
    first, second = (descend(bowl(), rates, momentum, 30, start=(2, -3), form=form) for form in ("pytorch", "sutskever"))
    np.testing.assert_allclose(first, path, rtol=1e-12)
    np.testing.assert_allclose(second[:16], path[:16], rtol=1e-12)
    assert (np.abs(second[17:] - path[17:]).max(axis=1) > 1e-3).all()


def test_a_turned_bowl_is_walked_like_the_bowl():
    turn = np.array([[np.cos(0.7), -np.sin(0.7)], [np.sin(0.7), np.cos(0.7)]])
    level, turned = bowl(0.5, 8.0), ravine(0.5, 8.0, np.rad2deg(0.7))
    walks = [descend(place, 0.2, 0.5, 40) for place in (level, turned)]
    np.testing.assert_allclose(walks[1], walks[0] @ turn.T, atol=1e-12)
    np.testing.assert_allclose(turned.value(walks[1]), level.value(walks[0]), atol=1e-12)


# --- how large a rate may be ---------------------------------------------------------------------------


def rosenbrock_hessian(x, y):
    return [[2 - 400 * (y - 3 * x**2), -400 * x], [-400 * x, 200]]


@pytest.mark.parametrize("point", [(1.0, 1.0), (-1.2, 1.0), (0.3, -0.7)])
def test_curvatures_are_the_hessians_eigenvalues(point):
    np.testing.assert_allclose(curvatures(ROSENBROCK, point), np.linalg.eigvalsh(rosenbrock_hessian(*point)), rtol=1e-4)


def test_curvatures_of_quadratics_are_exact_anywhere():
    for point in (None, (3.0, -2.0)):
        np.testing.assert_allclose(curvatures(ravine(0.5, 8.0), point), [0.5, 8.0], rtol=1e-9)
        np.testing.assert_allclose(curvatures(saddle(2.0, 0.3), point), [-0.3, 2.0], rtol=1e-9)


@pytest.mark.parametrize("momentum", [0.0, 0.3, 0.9, 0.99])
@pytest.mark.parametrize("curvature", [-0.5, 0.1, 1.0, 30.0])
def test_factors_are_the_eigenvalues_of_the_iteration(curvature, momentum):
    for rate in (0.001, 0.07, 0.4, 2.2):
        matrix = np.array([[1 + momentum - rate * curvature, -momentum], [1, 0]])
        np.testing.assert_allclose(
            np.sort(np.abs(factors(curvature, rate, momentum))), np.sort(np.abs(np.linalg.eigvals(matrix))), atol=1e-6
        )


def iteration(surface, rate, momentum):
    """The matrix that one step of PyTorch's SGD multiplies (p, v) by: built from the gradient alone, no formula of `descent`."""
    columns = []
    for p, v in [(np.eye(2)[i], np.zeros(2)) for i in range(2)] + [(np.zeros(2), np.eye(2)[i]) for i in range(2)]:
        velocity = momentum * v + surface.gradient(p)
        columns.append(np.concatenate([p - rate * velocity, velocity]))
    return np.transpose(columns)


@pytest.mark.parametrize("momentum", [0.0, 0.2, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("surface", [bowl(1, 10), ravine(1, 100), ravine(0.2, 0.2, 10), saddle(1, 0.05)], ids=lambda s: s.name)
def test_the_outlook_is_what_the_iterations_eigenvalues_say(surface, momentum):
    bends = curvatures(surface)
    limit = highest_rate(bends[-1], momentum)
    for share in (1e-4, 0.01, 0.3, 0.49, 0.51, 0.9, 0.999, 1.001, 1.5, 20):
        z = np.linalg.eigvals(iteration(surface, share * limit, momentum))
        expected = "escapes" if bends[0] < 0 else "converges"
        expected = "diverges" if share > 1 else expected
        assert (np.abs(z).max() > 1) == (expected != "converges")
        swings = bool((z.real < -1e-6).any() or (np.abs(z.imag) > 1e-6).any())
        assert outlook(bends, share * limit, momentum) == expected + ", swinging" * (expected == "converges" and swings)
    if bends[0] > 0:
        assert np.abs(np.linalg.eigvals(iteration(surface, limit, momentum))).max() == pytest.approx(1)
        assert outlook(bends, limit, momentum) == "swings for ever"


def test_a_rate_too_small_to_notice_still_converges():
    assert outlook([1, 10], 1e-15) == "converges"


def test_arrival_is_for_good():
    place = bowl()
    assert arrival(place, [(1, 0), (0.001, 0), (0.5, 0), (0.01, 0), (0, 0)]) == 3
    assert arrival(place, [(1, 0), (0.5, 0)]) is None and arrival(place, [(1, 0), (0, 0), (np.nan, np.nan)]) is None
    assert arrival(place, [(1, 0), (0.5, 0)], share=0.5) == 1 and arrival(ROSENBROCK, [(0, 0), (1, 1)]) == 1


@pytest.mark.parametrize("rate, y", [(0.1, 1e-3), (1.0, 1e-3), (1.0, 1e-6)])
def test_departure_from_a_saddle_follows_the_closed_form(rate, y):
    path = descend(saddle(1, 0.1), rate, steps=2000, start=(2, y))
    assert departure(path) == np.ceil(np.log(1 / y) / np.log1p(0.1 * rate))
    assert departure(path[:10]) is None


@pytest.mark.parametrize("curvature, momentum", [(1.0, 0.0), (4.0, 0.0), (4.0, 0.9), (0.5, 0.5)])
def test_descent_converges_below_the_highest_rate_and_not_above(curvature, momentum):
    limit, start = highest_rate(curvature, momentum), (1.0, 1.0)
    below, above = (descend(bowl(curvature, curvature), factor * limit, momentum, 3000, start) for factor in (0.98, 1.02))
    assert np.abs(below[-1]).max() < 1e-3 and (np.isnan(above[-1]).all() or np.abs(above[-1]).max() > 10)


def test_noise_is_fixed_by_its_seed():
    one, again, other = (descend(saddle(), 0.1, noise=0.1, seed=seed) for seed in (1, 1, 2))
    assert (one == again).all() and (one != other).any()


def test_a_path_leaves_a_saddle_downhill():
    path = descend(saddle(), 0.1, steps=200)
    assert abs(path[-1, 0]) < 1e-6 and path[-1, 1] > path[0, 1] * 3


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: bowl(0, 1), "curvatures must be positive, got 0 and 1"),
        (lambda: descend(bowl(), -0.1), "rate=-0.1"),
        (lambda: descend(bowl(), np.nan), "rate=nan"),
        (lambda: descend(bowl(), 0.1, 1.0), "momentum=1.0"),
        (lambda: descend(bowl(), 0.1, steps=0), "steps must be at least 1, got 0"),
        (lambda: descend(bowl(), 0.1, form="adam"), "'adam' is unknown"),
        (lambda: highest_rate(0), "got 0"),
        (lambda: saddle(1, 0), "down must be above 0, got 0"),
        (lambda: saddle(-1), "up must be above 0, got -1"),
        (lambda: ravine(1, -2), "got 1 and -2"),
        (lambda: ravine(degrees=np.nan), "degrees must be finite"),
        (lambda: descend(bowl(), [0.1, 0.2], steps=3), "one for each of 3 steps, got"),
        (lambda: descend(bowl(), 0.1, start=(1, 2, 3)), "start must be two finite numbers"),
        (lambda: descend(bowl(), 0.1, start=(1, np.inf)), "start must be two finite numbers"),
        (lambda: descend(bowl(), 0.1, noise=-1), "noise=-1"),
        (lambda: outlook(1, 0), "rate must be above 0, got 0"),
        (lambda: outlook(1, 0.1, 1.0), "momentum=1.0"),
        (lambda: outlook([0, 0], 0.1), "a curvature other than 0"),
    ],
)
def test_bad_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_every_surface_is_tried():
    public = {value for value in vars(descent).values() if isinstance(value, descent.Surface)}
    assert public <= {ROSENBROCK, BEALE}
