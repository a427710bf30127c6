import numpy as np
import pytest

from clrlib import checks
from clrlib.audit import true_counts
from clrlib.history import History, RangeTest
from clrlib.schedules import one_cycle

RATES = np.geomspace(1e-4, 1, 50)
SWEEP = RangeTest(RATES, (np.log10(RATES) + 1)[None] ** 2 + 1, np.array([10.0]))  # its lowest loss is near 0.1, smoothed a little later
TWO = History({"loss": np.ones(4)}, [{"train_accuracy": 40.0, "accuracy": 45.0}, {"train_accuracy": 60.0, "accuracy": 55.0}])
ACCURACIES = [85.0, 86.0, 87.5]


def log(accuracy, steps=10):
    return History({"loss": np.ones(steps)}, [{"accuracy": accuracy}])


def rolling(form):
    """Momentum in one of its forms, as an answer to the third exercise of chapter 01."""

    def walk(gradient, start, rates, momentum):
        p, v, path = np.array(start), np.zeros(2), [start]
        for rate in rates:
            v = momentum * v + (gradient(p) if form == "pytorch" else -rate * gradient(p))
            p = p - rate * v if form == "pytorch" else p + v
            path.append(p)
        return path

    return walk


def training(*order):
    """One training step with its calls in this order, as an answer to the first exercise of chapter 02."""

    def step(model, optimizer, loss_of, images, labels):
        loss = loss_of(model(images), labels)
        for name in order:
            getattr(loss if name == "backward" else optimizer, name)()
        return loss.item()

    return step


def error(accuracy, images):
    return (accuracy * (100 - accuracy) / images) ** 0.5


def undo(running):
    return np.diff(running * np.arange(1, len(running) + 1), prepend=0)


def after_the_step(rates, losses):
    return rates[:-1], losses[1:]


def verdict(low, high, enough):
    if low > 0:
        return "holds"
    return "fails" if high < 0 or (-enough < low and high < enough) else "open"


RIGHT = {
    "total_steps": (9310,),
    "standard_error": (np.std(ACCURACIES, ddof=1) / 3**0.5, ACCURACIES),
    "stable_rate": (lambda bends, momentum: 2 * (1 + momentum) / max(bends),),
    "steps_needed": (lambda curvature, rate, share: np.ceil(np.log(share) / np.log(abs(1 - rate * curvature))),),
    "other_momentum": (rolling("sutskever"),),
    "through_the_ravine": ((0.033, 0.67),),
    "training_step": (training("zero_grad", "backward", "step"),),
    "error_of_accuracy": (error,),
    "number_of_seeds": (36,),
    "undo_running": (undo,),
    "own_comparison": ([80.0, 80.5, 81, 80.2, 80.7], ACCURACIES, "lower"),
    "sweep": (lambda i, low, high, steps: low * (high / low) ** (i / (steps - 1)),),
    "after_the_step": (after_the_step,),
    "smoothing_lag": (10 ** (6 * 9 / 99),),
    "own_range_test": (SWEEP, 0.02),
    "one_cycle_by_hand": (lambda i, steps, low, high: one_cycle(low, high)(i / (steps - 1)),),
    "torch_ends": ((0.8 / 25, 0.8 / 25 / 1e4),),
    "effective_peak": (2.5,),
    "own_schedule": (log(80.0), log(75.0)),
    "counts": (true_counts,),
    "forever": (586 / 6,),
    "verdicts": (verdict,),
    "seeds_needed": (64,),
    "own_log": ((60.0, 55.0), TWO),
}
WRONG = {
    "total_steps": [((9277,), "leaves out"), ((9215,), "ceil")],
    "standard_error": [((np.std(ACCURACIES, ddof=1), ACCURACIES), "single runs"), ((np.std(ACCURACIES), ACCURACIES), "ddof=1")],
    "stable_rate": [
        ((lambda bends, momentum: 2 * (1 + momentum) / min(bends),), "flattest"),
        ((lambda bends, momentum: 2 / max(bends),), "without momentum it is right"),
        ((lambda bends, momentum: 1 / max(bends),), "your function gives 0.1"),
    ],
    "steps_needed": [
        ((lambda curvature, rate, share: np.log(share) / np.log(abs(1 - rate * curvature)),), "Round up"),
        ((lambda curvature, rate, share: np.ceil(np.log(share) / np.log(max(1 - rate * curvature, 1e-9))),), "factor is negative"),
        ((lambda curvature, rate, share: 10,), "takes 44 steps"),
    ],
    "other_momentum": [
        ((rolling("pytorch"),), "PyTorch's form"),
        ((lambda *args: rolling("sutskever")(*args)[1:],), "shape (21, 2)"),
        ((lambda gradient, start, rates, momentum: rolling("sutskever")(gradient, start, rates, 0.5),), "at step 2 of 20"),
    ],
    "through_the_ravine": [
        (((0.05, 0.67),), "not below the highest stable rate"),
        (((0.03, 0.95),), "try less momentum"),
        (((0.0198, 0),), "crawls"),
        (((0.001, 0.5),), "more momentum"),
        ((0.03,), "stopped with"),
    ],
    "training_step": [
        ((training("backward", "step"),), "gradients of all steps so far add up"),
        ((training("zero_grad", "step", "backward"),), "moved before"),
        ((training("backward", "zero_grad", "step"),), "throws the gradients away"),
        ((training("zero_grad", "backward", "backward", "step"),), "backward was called 2 times"),
        ((training("zero_grad", "backward"),), "nothing is learned"),
        ((lambda *given: 1.0,), "gives the logits"),
    ],
    "error_of_accuracy": [
        ((lambda accuracy, images: error(accuracy, images) / 100,), "share"),
        ((lambda accuracy, images: (error(accuracy, images) / 100) ** 2,), "variance"),
        ((lambda accuracy, images: 1.0,), "0.29 points"),
    ],
    "number_of_seeds": [((18,), "Two means"), ((24,), "squared"), ((35.3,), "round up"), ((100,), "1.96 + 0.84")],
    "undo_running": [
        ((lambda running: undo(running)[1:],), "first epoch is missing"),
        ((lambda running: np.diff(running, prepend=0),), "its number of epochs"),
        ((lambda running: running,), "come from"),
    ],
    "own_comparison": [
        (([80.0, 80.5, 81, 80.2, 80.7], ACCURACIES, "higher"), "is 0 inside it"),
        (([80.0, 80.5, 81, 80.2, 80.7], ACCURACIES, ...), "can't tell"),
        (([80.0, 80.5], ACCURACIES, "lower"), "five accuracies"),
        ((ACCURACIES * 2, ACCURACIES, "can't tell"), "Change something"),
    ],
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
    "counts": [
        ((lambda *row: 100 * np.array(true_counts(*row)),), "percentages"),
        ((lambda trn, val, before, e: (600 * e * (trn - before), 600 * e * (val - trn)),), "60,000 e - 10,000"),
        ((lambda *row: true_counts(*row)[1],), "95 epochs"),
    ],
    "forever": [((93,), "50,000 training"), ((100,), "60,000 images")],
    "verdicts": [
        ((lambda low, high, enough: "holds" if low > 0 else "fails",), "is open"),
        ((lambda low, high, enough: "holds" if low > 0 else "fails" if high < 0 else "open",), "such a claim fails"),
    ],
    "seeds_needed": [((17,), "half of it"), ((3,), "raise n")],
    "own_log": [
        (((60.0, 55.0), log(3.0)), "two epochs"),
        (((60.0, 55.0), ...), "my_run = fit"),
        (((30_000.0, 5_500.0), TWO), "gives counts"),
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
