import numpy as np
import pytest

from clrlib import checks
from clrlib.history import History, RangeTest
from clrlib.schedules import cyclic, one_cycle, one_cycle_momentum, triangular
from clrlib.theory.audit import true_counts

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


def accumulated(gradients, sizes):
    return sum(size * gradient for size, gradient in zip(sizes, gradients)) / sum(sizes)


def timed(seconds, *accuracies):
    return History({"loss": np.ones(4)}, [{"accuracy": accuracy, "seconds": seconds} for accuracy in accuracies])


RACE = {32: timed(4.0, 30, 50), 128: timed(2.0, 20, 40), 512: timed(1.0, 10, 20)}
DECAYS = {0: log(50.0), 1e-3: log(50.4), 1e-1: log(20.0)}


def hyper(lr, momentum, steps=10):
    return History({"lr": np.full(steps, lr), "momentum": np.full(steps, momentum)}, [{"accuracy": 80.0}])


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


NEAR = {"one cycle": [80.0, 82.0, 84.0], "constant": [79.0, 81.0, 83.5]}
FAR = {"one cycle": [80.0, 81.0, 82.0], "constant": [70.0, 71.0, 72.0]}


def plain(first, second):
    variances = [np.var(runs, ddof=1) / len(runs) for runs in (first, second)]
    return np.mean(first) - np.mean(second), sum(variances) ** 0.5


def added(first, second):
    errors = [np.std(runs, ddof=1) / len(runs) ** 0.5 for runs in (first, second)]
    return np.mean(first) - np.mean(second), sum(errors)


def after_the_step(rates, losses):
    return rates[:-1], losses[1:]


def verdict(low, high, enough):
    if low > 0:
        return "holds"
    return "fails" if high < 0 or (-enough < low and high < enough) else "open"


def cycled(accuracy, rates):
    return History({"lr": np.asarray(rates)}, [{"accuracy": accuracy}])


def triangular2(i, low, high, stepsize):
    return cyclic(low, high, 200, stepsize, mode="triangular2").values[i]


WAVES = triangular(0.1, 1, 2).table(10)
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
    "cyclic_by_hand": (triangular2,),
    "stepsize_and_cycles": ((1564, 5),),
    "same_sum": (0.22, 0.04, 0.4),
    "own_cycles": (cycled(80.0, WAVES), log(75.0)),
    "one_cycle_by_hand": (lambda i, steps, low, high: one_cycle(low, high)(i / (steps - 1)),),
    "torch_ends": ((0.8 / 25, 0.8 / 25 / 1e4),),
    "effective_peak": (2.5,),
    "own_schedule": (log(80.0), log(75.0)),
    "counts": (true_counts,),
    "forever": (586 / 6,),
    "verdicts": (verdict,),
    "seeds_needed": (64,),
    "own_log": ((60.0, 55.0), TWO),
    "half_life_steps": (46,),
    "decoupled_step": (lambda p, v, g, lr, mu, wd: (p - lr * (mu * v + g) - lr * wd * p, mu * v + g),),
    "same_shrinkage": (5.33e-5,),
    "own_decays": (DECAYS, 1e-3),
    "equal_step": (0.32,),
    "momentum_by_hand": (lambda i, steps, high, low: one_cycle_momentum(high, low)(i / (steps - 1)),),
    "sutskever_step": (lambda p, v, g, lr, mu: (p + mu * v - lr * g, mu * v - lr * g),),
    "own_matched": (hyper(0.1, 0.9), hyper(0.05, 0.95), 0.9),
    "scheduler_steps": (222,),
    "difference": (plain,),
    "own_verdict": (NEAR, "can't tell"),
    "steps_of_a_run": (75,),
    "scaling_rules": (lambda rate, batch, to, rule: rate * (to / batch) ** {"linear": 1, "root": 0.5}[rule],),
    "accumulated": (accumulated,),
    "own_race": (RACE, 40, 128),
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
    "cyclic_by_hand": [
        ((lambda i, low, high, stepsize: cyclic(low, high, 200, stepsize).values[i],), "that is triangular"),
        ((lambda i, low, high, stepsize: low,), "at iteration 20 it gives 0.1"),
    ],
    "stepsize_and_cycles": [(((4, 5),), "in epochs"), (((1562, 5),), "not whole"), (((98, 5),), "4 epochs"), (((1564, 10),), "two")],
    "same_sum": [((0.126, 0.04, 0.4), "geometric"), ((0.4, 0.04, 0.4), "what is its mean")],
    "own_cycles": [
        ((80, log(75.0)), "watched(...)"),
        ((cycled(80.0, WAVES[:9]), log(75.0)), "same length"),
        ((cycled(80.0, triangular(0.1, 1, 1).table(10)), log(75.0)), "only 1 of the peaks"),
        ((cycled(80.0, triangular(0.1, 1, 2.4).table(10)), log(75.0)), "off a valley"),
        ((cycled(70.0, WAVES), log(75.0)), "does not beat"),
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
    "half_life_steps": [((231,), "left momentum out"), ((300,), "log(2) / rate")],
    "decoupled_step": [
        ((lambda p, v, g, lr, mu, wd: (p - lr * (mu * v + g + wd * p), mu * v + g + wd * p),), "into the velocity"),
        ((lambda p, v, g, lr, mu, wd: (p - lr * (mu * v + g), mu * v + g),), "return (weight, velocity)"),
    ],
    "same_shrinkage": [((1e-4 * 0.8 / 3,), "momentum changed too"), ((1e-4,), "8 * 1e-4")],
    "own_decays": [
        ((DECAYS, 0.1), "30.4 points behind"), ((DECAYS, ...), "now choose"), ((DECAYS, 3e-3), "now choose"),
        ((DECAYS | {0.2: log(60.0, 4)}, 0.2), "one length"), (({1e-3: log(50.0)}, 1e-3), "three"), ((log(50.0), 0), "a dict"),
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
    "scheduler_steps": [((444,), "two of them"), ((432,), "partly filled"), ((216,), "36 batches"), ((12,), "epoch"), ((7,), "ceil")],
    "difference": [
        ((lambda a, b: np.mean(a) - np.mean(b),), "return two numbers"),
        ((lambda a, b: plain(b, a),), "first minus the second"),
        ((lambda a, b: (3.0, 1.0),), "means differ by 0.83"),
        ((added,), "squares do"),
        ((lambda a, b: (plain(a, b)[0], np.std(a)),), "standard error is 0.394"),
    ],
    "own_verdict": [
        (([1, 2], "better"), "by name"),
        (({"a": [1.0], "b": [1.0, 2.0, 3.0]}, "better"), "3 seeds"),
        (({"a": [1.0, 2.0, np.nan], "b": [1.0, 2.0, 3.0]}, "better"), "not finite"),
        ((NEAR, "better"), "can't tell"),
        ((FAR, "worse"), "one cycle - constant = 10.00"),
        ((FAR, ...), "leaves out 0"),
    ],
    "steps_of_a_run": [((72,), "incomplete last batch"), ((74,), "rounds up by itself"), ((294,), "steps = epochs")],
    "scaling_rules": [
        ((lambda rate, batch, to, rule: rate * batch / to,), "upside down"),
        ((lambda rate, batch, to, rule: rate * to / batch,), "from batch 512 at 0.8 to batch 2048, root: 1.6, yours gives 3.2"),
    ],
    "accumulated": [
        ((lambda gradients, sizes: sum(gradients),), "that is the sum"),
        ((lambda gradients, sizes: sum(gradients) / len(gradients),), "The last part may be smaller"),
        ((lambda gradients, sizes: gradients[0],), "divide by all images"),
    ],
    "own_race": [
        ((RACE, 40, 32), "2.0 times as long as batch 128"), ((RACE, 40, 512), "never reaches 40 %"), ((RACE, 40, ...), "now choose"),
        ((RACE, 40, 64), "now choose"), ((RACE, 90, 128), "none of your runs"),
        (({32: RACE[32]}, 40, 32), "three"), ((log(3.0), 40, 32), "a dict"),
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
