import numpy as np
import pytest

from clrlib import checks_recipe
from clrlib.checks_recipe import difference_of, verdict_of

NEAR = {"one cycle": [80.0, 82.0, 84.0], "constant": [79.0, 81.0, 83.5]}
FAR = {"one cycle": [80.0, 81.0, 82.0], "constant": [70.0, 71.0, 72.0]}


def plain(first, second):
    return difference_of(first, second)


def added(first, second):
    errors = [np.std(runs, ddof=1) / len(runs) ** 0.5 for runs in (first, second)]
    return difference_of(first, second)[0], sum(errors)


RIGHT = {"scheduler_steps": [(222,)], "difference": [(plain,)], "own_verdict": [(NEAR, "can't tell"), (FAR, "better")]}
WRONG = {
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
        ((FAR, ...), "two standard errors"),
    ],
}  # fmt: skip
CASES = [(name, given) for name, cases in RIGHT.items() for given in cases]


def test_a_difference_has_the_spread_that_simulation_gives_it():
    rng = np.random.default_rng(0)
    first, second = rng.normal(3, 2, (20_000, 5)), rng.normal(1, 1, (20_000, 4))
    gaps = first.mean(axis=1) - second.mean(axis=1)
    errors = [difference_of(a, b)[1] for a, b in zip(first[:2000], second[:2000])]
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(gaps.std(), rel=0.03)


def test_verdicts():
    assert verdict_of(*FAR.values()) == "better"
    assert verdict_of(*reversed(FAR.values())) == "worse"
    assert verdict_of(*NEAR.values()) == verdict_of([1, 1, 1], [1, 1, 1]) == "can't tell"
    assert verdict_of([2, 2, 2], [1, 1, 1]) == "better"


def test_every_exercise_is_tried():
    public = {
        name for name, check in vars(checks_recipe).items() if hasattr(check, "__wrapped__") and check.__module__ == checks_recipe.__name__
    }
    assert public == set(RIGHT) == set(WRONG)


@pytest.mark.parametrize("name, given", CASES)
def test_the_solution_is_right(name, given, capsys):
    assert getattr(checks_recipe, name)(*given) is True
    assert capsys.readouterr().out.startswith("Right: ")


@pytest.mark.parametrize("name, given, hint", [(name, *case) for name, cases in WRONG.items() for case in cases])
def test_a_wrong_answer_gets_the_hint_that_fits(name, given, hint, capsys):
    assert getattr(checks_recipe, name)(*given) is False
    out = capsys.readouterr().out
    assert out.startswith("Not yet: ") and hint in out


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("answer", [..., None, "text", [], np.nan, {}, 1j, lambda *args: 1 / 0])
def test_no_answer_makes_a_check_raise(name, answer, capsys):
    assert getattr(checks_recipe, name)(answer, *RIGHT[name][0][1:]) is False
    assert capsys.readouterr().out.startswith("Not yet: ")
