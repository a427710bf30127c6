import numpy as np
import pytest

from clrlib import checks
from clrlib.history import History, RangeTest
from clrlib.schedules import cyclic, one_cycle, triangular

RATES = np.geomspace(1e-4, 1, 50)
SWEEP = RangeTest(RATES, (np.log10(RATES) + 1)[None] ** 2 + 1, np.array([10.0]))  # its lowest loss is near 0.1, smoothed a little later
ACCURACIES = [85.0, 86.0, 87.5]


def log(accuracy, steps=10):
    return History({"loss": np.ones(steps)}, [{"accuracy": accuracy}])


def after_the_step(rates, losses):
    return rates[:-1], losses[1:]


def cycled(accuracy, rates):
    return History({"lr": np.asarray(rates)}, [{"accuracy": accuracy}])


def triangular2(i, low, high, stepsize):
    return cyclic(low, high, 200, stepsize, mode="triangular2").values[i]


TWO = triangular(0.1, 1, 2).table(10)
RIGHT = {
    "total_steps": (9310,),
    "standard_error": (np.std(ACCURACIES, ddof=1) / 3**0.5, ACCURACIES),
    "sweep": (lambda i, low, high, steps: low * (high / low) ** (i / (steps - 1)),),
    "after_the_step": (after_the_step,),
    "smoothing_lag": (10 ** (6 * 9 / 99),),
    "own_range_test": (SWEEP, 0.02),
    "cyclic_by_hand": (triangular2,),
    "stepsize_and_cycles": ((1564, 5),),
    "same_sum": (0.22, 0.04, 0.4),
    "own_cycles": (cycled(80.0, TWO), log(75.0)),
    "one_cycle_by_hand": (lambda i, steps, low, high: one_cycle(low, high)(i / (steps - 1)),),
    "torch_ends": ((0.8 / 25, 0.8 / 25 / 1e4),),
    "effective_peak": (2.5,),
    "own_schedule": (log(80.0), log(75.0)),
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
    "cyclic_by_hand": [
        ((lambda i, low, high, stepsize: cyclic(low, high, 200, stepsize).values[i],), "that is triangular"),
        ((lambda i, low, high, stepsize: low,), "at iteration 20 it gives 0.1"),
    ],
    "stepsize_and_cycles": [(((4, 5),), "in epochs"), (((1562, 5),), "not whole"), (((98, 5),), "4 epochs"), (((1564, 10),), "two")],
    "same_sum": [((0.126, 0.04, 0.4), "geometric"), ((0.4, 0.04, 0.4), "what is its mean")],
    "own_cycles": [
        ((80, log(75.0)), "watched(...)"),
        ((cycled(80.0, TWO[:9]), log(75.0)), "same length"),
        ((cycled(80.0, triangular(0.1, 1, 1).table(10)), log(75.0)), "only 1 of the peaks"),
        ((cycled(80.0, triangular(0.1, 1, 2.4).table(10)), log(75.0)), "off a valley"),
        ((cycled(70.0, TWO), log(75.0)), "does not beat"),
    ],
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
