import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clrlib.schedules import one_cycle, one_cycle_momentum
from clrlib.theory import decay


def torchs(schedules, steps):
    """torch.optim.SGD on a weight of 1 whose gradient is 0, driven step by step."""
    weight = torch.ones(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=1.0, momentum=0.5, weight_decay=0.5)
    progress, path = np.linspace(0, 1, steps), [1.0]
    for p in progress:
        optimizer.param_groups[0].update({name: float(curve(p) if callable(curve) else curve) for name, curve in schedules.items()})
        weight.grad = torch.zeros_like(weight)
        optimizer.step()
        path.append(weight.item())
    return path


@pytest.mark.parametrize(
    "schedules",
    [
        {"lr": 3.0, "weight_decay": 1e-3, "momentum": 0.8},
        {"lr": 3.0, "weight_decay": 1e-3, "momentum": 0.95},
        {"lr": 0.5, "weight_decay": 0.1, "momentum": 0.0},
        {"lr": one_cycle(0.3, 3), "weight_decay": 1e-3, "momentum": one_cycle_momentum()},
    ],
)
def test_an_idle_weight_goes_as_torchs_sgd_takes_it(schedules):
    assert decay.idle_weight(schedules, 60) == pytest.approx(torchs(schedules, 60), rel=1e-9, abs=1e-12)


def test_without_momentum_the_rule_is_exact():
    assert decay.idle_weight({"lr": 0.5, "weight_decay": 0.1}, 20) == pytest.approx(0.95 ** np.arange(21))


def test_with_momentum_the_rule_holds_once_the_velocity_has_settled():
    path = decay.idle_weight({"lr": 0.3, "weight_decay": 1e-4, "momentum": 0.9}, 400)
    assert 1 - path[-1] / path[-2] == pytest.approx(decay.decay_rate(0.3, 1e-4, 0.9), rel=0.01)


def test_half_life_is_when_half_is_left():
    steps = decay.half_life(0.5, 0.01)
    path = decay.idle_weight({"lr": 0.5, "weight_decay": 0.01}, 300)
    assert np.interp(steps, np.arange(301), path) == pytest.approx(0.5, abs=1e-3)
    assert decay.half_life(0.5, 0) == np.inf


@given(lr=st.floats(1e-3, 10), wd=st.floats(1e-6, 0.1), momentum=st.floats(0.01, 0.99))
def test_a_weight_swings_where_the_roots_are_complex(lr, wd, momentum):
    roots = np.roots([1, -(1 + momentum - lr * wd), momentum])
    border = abs(lr * wd - (1 - np.sqrt(momentum)) ** 2) < 1e-6
    if not border and lr * wd < (1 + np.sqrt(momentum)) ** 2:
        assert decay.swings(lr, wd, momentum) == (abs(roots.imag).max() > 0)


def test_a_weight_that_swings_goes_below_zero_and_one_that_does_not_stays_above():
    assert decay.swings(3, 1e-3, 0.95) and decay.idle_weight({"lr": 3, "weight_decay": 1e-3, "momentum": 0.95}, 300).min() < -0.1
    assert not decay.swings(3, 1e-3, 0.8) and decay.idle_weight({"lr": 3, "weight_decay": 1e-3, "momentum": 0.8}, 300).min() > 0


@pytest.mark.parametrize("wrong", [{"lr": -1}, {"weight_decay": -1e-4}, {"momentum": 1.0}, {"momentum": -0.1}, {"lr": np.nan}])
def test_bad_values_are_named(wrong):
    values = {"lr": 0.1, "weight_decay": 1e-4, "momentum": 0.9} | wrong
    with pytest.raises(ValueError, match=str(next(iter(wrong.values())))):
        decay.decay_rate(**values)


def test_a_rate_of_one_has_no_half_life():
    with pytest.raises(ValueError, match="whole weight in one step"):
        decay.half_life(10, 0.1)


@given(peak=st.floats(-5, -3))
def test_bisecting_comes_to_the_peak(peak):
    asked = []

    def accuracy(exponent):
        asked.append(exponent)
        return -abs(exponent - peak)

    tried = decay.bisect_exponent(accuracy, rounds=5)
    assert abs(max(tried, key=tried.get) - peak) <= 1 / 2**5 + 1e-9
    assert len(asked) == len(set(asked)) == len(tried)


def test_bisecting_gives_the_papers_three_values():
    tried = decay.bisect_exponent(lambda e: -((e + 4) ** 2))
    assert [f"{10**e:.0e}" for e in tried] == ["1e-03", "1e-04", "1e-05", "3e-04", "3e-05"]
    assert list(decay.bisect_exponent(abs, rounds=0)) == [-3, -4, -5]
    with pytest.raises(ValueError, match="two different"):
        decay.bisect_exponent(abs, start=(-3.0, -3))
