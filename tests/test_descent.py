import numpy as np
import pytest
import torch

from clrlib import descent
from clrlib import schedules as s
from clrlib.descent import BEALE, ROSENBROCK, bowl, descend, highest_rate, saddle

SURFACES = [bowl(0.3, 4.0), saddle(), ROSENBROCK, BEALE]


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
    ],
)
def test_bad_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_every_surface_is_tried():
    public = {value for value in vars(descent).values() if isinstance(value, descent.Surface)}
    assert public <= {ROSENBROCK, BEALE}
