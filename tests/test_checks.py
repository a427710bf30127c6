import numpy as np
import pytest

from clrlib import checks
from clrlib.history import History, RangeTest
from clrlib.schedules import one_cycle, one_cycle_momentum

RATES = np.geomspace(1e-4, 1, 50)
SWEEP = RangeTest(RATES, (np.log10(RATES) + 1)[None] ** 2 + 1, np.array([10.0]))  # its lowest loss is near 0.1, smoothed a little later
ACCURACIES = [85.0, 86.0, 87.5]


def log(accuracy, steps=10):
    return History({"loss": np.ones(steps)}, [{"accuracy": accuracy}])


def hyper(lr, momentum, steps=10):
    return History({"lr": np.full(steps, lr), "momentum": np.full(steps, momentum)}, [{"accuracy": 80.0}])


def after_the_step(rates, losses):
    return rates[:-1], losses[1:]


RIGHT = {
    "total_steps": (9310,),
    "standard_error": (np.std(ACCURACIES, ddof=1) / 3**0.5, ACCURACIES),
    "sweep": (lambda i, low, high, steps: low * (high / low) ** (i / (steps - 1)),),
    "after_the_step": (after_the_step,),
    "smoothing_lag": (10 ** (6 * 9 / 99),),
    "own_range_test": (SWEEP, 0.02),
    "one_cycle_by_hand": (lambda i, steps, low, high: one_cycle(low, high)(i / (steps - 1)),),
    "torch_ends": ((0.8 / 25, 0.8 / 25 / 1e4),),
    "effective_peak": (2.5,),
    "own_schedule": (log(80.0), log(75.0)),
    "equal_step": (0.32,),
    "momentum_by_hand": (lambda i, steps, high, low: one_cycle_momentum(high, low)(i / (steps - 1)),),
    "sutskever_step": (lambda p, v, g, lr, mu: (p + mu * v - lr * g, mu * v - lr * g),),
    "own_matched": (hyper(0.1, 0.9), hyper(0.05, 0.95), 0.9),
}
WRONG = {
    "total_steps": [((9277,), "leaves out"), ((9215,), "ceil")],
    "standard_error": [((np.std(ACCURACIES, ddof=1), ACCURACIES), "single runs"), ((np.std(ACCURACIES), ACCURACIES), "ddof=1")],
    "sweep": [
        ((lambda i, low, high, steps: low + (high - low) * i / (steps - 1),), "linear"),
        ((lambda i, low, high, steps: low * (high / low) ** ((i + 1) / steps),), "one step late"),
        ((lambda i, low, high, steps: high,), "0.0001, 0.001"),
    ],
    "after_the_step": [
        ((lambda rates, losses: (rates[:-1], losses[:-1]),), "before the step"),
        ((lambda rates, losses: (rates, losses),), "drop"),
    ],
    "smoothing_lag": [((9,), "lag in steps"), ((2,), "beta / (1 - beta)")],
    "own_range_test": [((SWEEP, 0.9), "beyond"), ((SWEEP, 1e-4), "crawl"), ((SWEEP, ...), "now choose"), ((3, 0.1), "range_test(...)")],
    "one_cycle_by_hand": [
        ((lambda i, steps, low, high: one_cycle(low, high)(i / steps),), "at step"),
        ((lambda i, steps, low, high: one_cycle(low, high, final=low / 100)(i / (steps - 1)),), "in the tail"),
    ],
    "torch_ends": [(((0.8 / 25, 0.8 / 1e4),), "*initial*"), (((0.8, 0.1),), "div_factor")],
    "effective_peak": [((10,), "learning rate itself"), ((3,), "lr / (1 - momentum)")],
    "own_schedule": [
        ((log(70.0), log(75.0)), "does not beat"),
        ((log(80.0, 20), log(75.0, 10)), "same length"),
        ((80, log(75)), "fit(...)"),
    ],
    "equal_step": [((0.02,), "other way round"), ((0.095,), "1 - momentum"), ((0.08,), "solve")],
    "momentum_by_hand": [
        ((lambda i, steps, high, low: one_cycle(low, high)(i / (steps - 1)),), "should give"),
        ((lambda i, steps, high, low: one_cycle_momentum(high, low)(i / (steps - 1)) if i < 410 else high,), "while the rate falls"),
        ((lambda i, steps, high, low: low + abs(high - low) * abs(i / (steps - 1) / (41 / 95) - 1),), "in the tail"),
        ((lambda i, steps, high, low: max(0.81, one_cycle_momentum(high, low)(i / (steps - 1))),), "0.8"),
    ],
    "sutskever_step": [
        ((lambda p, v, g, lr, mu: (p - lr * (mu * v + g), mu * v + g),), "PyTorch's"),
        ((lambda p, v, g, lr, mu: (p + v, mu * v - lr * g),), "old velocity"),
        ((lambda p, v, g, lr, mu: (p, v),), "v=-0.65"),
    ],
    "own_matched": [
        ((hyper(0.2, 0.9), hyper(0.05, 0.95), 0.9), "effective rate is 2"),
        ((hyper(0.05, 0.95), hyper(0.05, 0.95), 0.9), "not 0.9"),
        ((hyper(0.1, 0.9, 5), hyper(0.05, 0.95), 0.9), "same length"),
        ((80, hyper(0.05, 0.95), 0.9), "fit(...)"),
    ],
}  # fmt: skip


def failing(*args):
    raise ZeroDivisionError("in a learner's code")


def test_every_exercise_is_tried():
    public = {name for name, check in vars(checks).items() if hasattr(check, "__wrapped__")}
    assert public == set(RIGHT) == set(WRONG)


@pytest.mark.parametrize("name", RIGHT)
def test_the_solution_is_right(name, capsys):
    assert getattr(checks, name)(*RIGHT[name]) is True
    assert capsys.readouterr().out.startswith("Right: ")


@pytest.mark.parametrize("name, answer, hint", [(name, *case) for name, cases in WRONG.items() for case in cases])
def test_a_wrong_answer_gets_the_hint_that_fits(name, answer, hint, capsys):
    assert getattr(checks, name)(*answer) is False
    out = capsys.readouterr().out
    assert out.startswith("Not yet: ") and hint in out


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("stub", [..., lambda *args: ..., lambda *args: (..., ...)], ids=["dots", "function", "function of a pair"])
def test_a_stub_is_not_yet_answered(name, stub, capsys):
    if stub is not ... and not callable(RIGHT[name][0]):
        stub = (..., ...)  # a stub of another kind, for answers that are no functions
    assert getattr(checks, name)(stub, *RIGHT[name][1:]) is False
    assert "replace the ..." in capsys.readouterr().out


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("answer", [failing, None, "text", [], np.nan, {}, 1j], ids=["raises", "None", "text", "list", "nan", "dict", "1j"])
def test_no_answer_makes_a_check_raise(name, answer, capsys):
    assert getattr(checks, name)(answer, *RIGHT[name][1:]) is False
    assert capsys.readouterr().out.startswith("Not yet: ")


def test_an_error_in_the_answer_is_named(capsys):
    checks.sweep(failing)
    assert "it stopped with ZeroDivisionError: in a learner's code" in capsys.readouterr().out
