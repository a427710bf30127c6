import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR

from clrlib import schedules as s
from clrlib.schedules import Schedule


def walked(scheduler_of, steps, momentum=0.9, keys=("lr", "momentum")):
    """What a torch scheduler sets at each of `steps` iterations: one array per key."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1, momentum=momentum)
    scheduler, rows = scheduler_of(optimizer), []
    for i in range(steps):
        rows.append([optimizer.param_groups[0][key] for key in keys])
        optimizer.step()
        if i < steps - 1:
            scheduler.step()
    return np.array(rows).T


def assert_same(ours, theirs):
    """Equal to 1e-12 of the highest value, at every step."""
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= 1e-12 * np.abs(theirs).max()


# --- torch as the oracle ----------------------------------------------------------------------------


@pytest.mark.parametrize("anneal", ["cos", "linear"])
@pytest.mark.parametrize("three_phase, pct_start", [(False, 0.3), (False, 0.05), (False, 0.9), (True, 0.3), (True, 0.45)])
@pytest.mark.parametrize("steps", [31, 100, 951])
def test_one_cycle_torch_meets_OneCycleLR_at_every_step(steps, three_phase, pct_start, anneal):
    lr, momentum = walked(
        lambda opt: OneCycleLR(opt, 0.8, steps, pct_start=pct_start, anneal_strategy=anneal, three_phase=three_phase), steps
    )
    ease = {"cos": "cosine", "linear": "linear"}[anneal]
    assert_same(s.one_cycle_torch(0.8, steps, pct_start, anneal=ease, three_phase=three_phase).table(steps), lr)
    assert_same(s.one_cycle_torch_momentum(0.95, 0.85, steps, pct_start, ease, three_phase).table(steps), momentum)


def test_one_cycle_torch_takes_torchs_division_factors():
    lr, _ = walked(lambda opt: OneCycleLR(opt, 3.0, 200, div_factor=10, final_div_factor=50), 200)
    assert_same(s.one_cycle_torch(3.0, 200, div=10, final_div=50).table(200), lr)


@pytest.mark.parametrize("mode, gamma", [("triangular", 1.0), ("triangular2", 1.0), ("exp_range", 0.99)])
@pytest.mark.parametrize("up, down", [(7, None), (10, 10), (3, 11), (20, 5), (400, 1)])
def test_cyclic_meets_CyclicLR_at_every_step(mode, gamma, up, down):
    lr, _ = walked(lambda opt: CyclicLR(opt, 0.01, 0.3, up, down, mode=mode, gamma=gamma, cycle_momentum=False), 150)
    assert_same(s.cyclic(0.01, 0.3, 150, up, down, mode, gamma).table(150), lr)


def test_exp_range_meets_CyclicLR():
    lr, _ = walked(lambda opt: CyclicLR(opt, 0.01, 0.3, 8, mode="exp_range", gamma=0.97, cycle_momentum=False), 90)
    assert_same(s.exp_range(0.01, 0.3, 0.97, 8, 90).table(90), lr)


@pytest.mark.parametrize("shape, mode", [(s.triangular, "triangular"), (s.triangular2, "triangular2")])
@pytest.mark.parametrize("cycles", [0.5, 1, 2.5, 3])
def test_triangles_by_cycles_meet_CyclicLR_where_stepsizes_are_whole(shape, mode, cycles):
    stepsize, steps = 12, int(cycles * 24) + 1
    lr, _ = walked(lambda opt: CyclicLR(opt, 0.01, 0.3, stepsize, mode=mode, cycle_momentum=False), steps)
    assert_same(shape(0.01, 0.3, cycles).table(steps), lr)


@pytest.mark.parametrize("shape", [s.triangular, s.triangular2])
def test_triangles_cut_inside_a_stepsize_stop_on_the_way(shape):
    whole, cut = shape(0.1, 0.5, 2), shape(0.1, 0.5, 1.7)
    progress = np.linspace(0, 1, 301)
    np.testing.assert_allclose(cut(progress), whole(progress * 1.7 / 2), rtol=1e-12)


# --- numpy and closed forms -----------------------------------------------------------------------


def test_straight_segments_are_numpys_interp():
    rng = np.random.default_rng(0)
    knots, values = np.array([0, *np.sort(rng.random(8)), 1]), rng.random(10)
    progress = rng.random(1000)
    curve = Schedule(tuple(knots), tuple(values), ("linear",) * 9)
    np.testing.assert_allclose(curve(progress), np.interp(progress, knots, values), rtol=1e-12)


@pytest.mark.parametrize(
    "curve, formula",
    [
        (s.constant(0.9), lambda p: 0.9 + 0 * p),
        (s.linear(0.1, 0.7), lambda p: 0.1 + 0.6 * p),
        (s.exponential(1e-5, 10), lambda p: np.exp(np.log(1e-5) + p * np.log(1e6))),
        (s.cosine(0.8, 0.2), lambda p: 0.2 + 0.3 * (1 + np.cos(np.pi * p))),
        (s.cosine(0.8), lambda p: 0.8 * np.cos(np.pi * p / 2) ** 2),
    ],
    ids=["constant", "linear", "exponential", "cosine", "cosine to 0"],
)
def test_simple_shapes_follow_their_formula(curve, formula):
    progress = np.linspace(0, 1, 57)
    np.testing.assert_allclose(curve(progress), formula(progress), rtol=1e-10, atol=1e-15)


def test_step_decay_divides_at_each_milestone_and_not_before():
    curve = s.step_decay(0.1, (0.5, 0.75))
    got = [curve(p) for p in (0, 0.4999, 0.5, 0.7499, 0.75, 1)]
    np.testing.assert_allclose(got, [0.1, 0.1, 0.01, 0.01, 0.001, 0.001], rtol=1e-12)


# --- the one-cycle policy --------------------------------------------------------------------------


def test_one_cycle_has_the_articles_numbers():
    lr, momentum = s.one_cycle(0.08, 0.8), s.one_cycle_momentum(0.95, 0.80)
    epochs = np.array([0, 41, 82, 95]) / 95
    np.testing.assert_allclose(lr(epochs), [0.08, 0.8, 0.08, 0.008], rtol=1e-12)
    np.testing.assert_allclose(momentum(epochs), [0.95, 0.80, 0.95, 0.95], rtol=1e-12)
    table = lr.table(9310)
    assert len(table) == 9310 and abs(int(table.argmax()) - 41 * 98) <= 1
    np.testing.assert_allclose(table[[0, -1]], [0.08, 0.008], rtol=1e-12)


def test_one_cycle_is_three_straight_lines():
    progress = np.linspace(0, 1, 999)
    expected = np.interp(progress, [0, 0.4, 0.8, 1], [0.1, 1, 0.1, 0.03])
    np.testing.assert_allclose(s.one_cycle(0.1, 1.0, tail=0.2, final=0.03)(progress), expected, rtol=1e-12)


def test_smiths_log_passes_the_lower_bound_at_the_same_slope_and_holds():
    lr, up = s.one_cycle_smith(0.08, 0.8), 41 / 95
    slope = 0.72 / up
    for epoch in (0, 20, 41, 60, 82, 85, 90, 95):
        progress = epoch / 95
        expected = 0.08 + slope * progress if progress <= up else max(8e-5, 0.8 - slope * (progress - up))
        assert lr(progress) == pytest.approx(expected, rel=1e-12)
    assert lr(82 / 95) == pytest.approx(0.08) and lr(1.0) == 8e-5


def test_smiths_run_may_end_on_the_way_down():
    assert s.one_cycle_smith(0.1, 0.5, up=0.8)(1.0) == pytest.approx(0.5 - 0.4 * 0.2 / 0.8)


def test_fastais_is_two_half_cosines():
    lr = s.one_cycle_fastai(1.0)
    np.testing.assert_allclose(lr([0, 0.125, 0.25, 0.625, 1]), [0.04, 0.52, 1, 0.500005, 1e-5], rtol=1e-12)


# --- composition, tables, JSON -----------------------------------------------------------------------


def test_join_puts_schedules_one_after_the_other():
    rise, fall = s.linear(0.1, 0.5), s.cosine(0.5, 0.0)
    both, progress = s.join([rise, fall], [1, 3]), np.linspace(0, 1, 101)
    expected = np.where(progress < 0.25, rise(progress * 4), fall((progress - 0.25) / 0.75))
    np.testing.assert_allclose(both(progress), expected, atol=1e-14)


def test_join_jumps_where_the_next_schedule_starts_elsewhere():
    both = s.join([s.constant(0.1), s.linear(0.5, 0.7)], [1, 1])
    np.testing.assert_allclose(both([0.4999999, 0.5, 1]), [0.1, 0.5, 0.7], rtol=1e-6)


@pytest.mark.parametrize("n", [2, 3, 98, 9310])
def test_from_table_meets_every_value_exactly(n):
    values = np.random.default_rng(n).random(n)
    assert (s.from_table(values).table(n) == values).all()


def test_scaled_multiplies_every_value():
    curve = s.one_cycle(0.08, 0.8)
    np.testing.assert_allclose(curve.scaled(0.5).table(50), 0.5 * curve.table(50), rtol=1e-12)


SHAPES = {
    "constant": s.constant(0.1), "exponential": s.exponential(1e-5, 10), "cosine": s.cosine(0.3), "step_decay": s.step_decay(0.1),
    "one_cycle": s.one_cycle(0.08, 0.8), "smith": s.one_cycle_smith(0.08, 0.8), "fastai": s.one_cycle_fastai(1.0),
    "torch": s.one_cycle_torch(0.8, 490),
    "triangular2": s.triangular2(0.1, 0.3, 2.3), "joined": s.join([s.constant(1), s.linear(2, 3)], [1, 2]),
}  # fmt: skip


@pytest.mark.parametrize("curve", SHAPES.values(), ids=SHAPES)
def test_a_schedule_survives_json_exactly(curve):
    again = Schedule.from_dict(json.loads(json.dumps(curve.to_dict())))
    assert again == curve and hash(again) == hash(curve)
    assert (again.table(77) == curve.table(77)).all()


@pytest.mark.parametrize("curve", SHAPES.values(), ids=SHAPES)
def test_a_schedule_stays_where_it_ends_and_starts(curve):
    assert curve(1.5) == curve(1.0) == curve.table(10)[-1] and curve(-3) == curve(0.0)


def test_step_i_of_n_is_at_progress_i_over_n_minus_1():
    assert s.linear(0, 1).table(5).tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert s.linear(2, 3).table(1).tolist() == [2]


def test_a_schedule_is_a_value():
    curve = s.linear(0.1, 0.5)
    assert curve == Schedule((0, 1), (0.1, 0.5), ("linear",)) and curve != s.linear(0.1, 0.6)
    assert curve == Schedule([0, 1], np.array([0.1, 0.5]), ["linear"])
    with pytest.raises(dataclasses.FrozenInstanceError):
        curve.values = (1, 2)


@pytest.mark.parametrize("shape", [(), (3,), (2, 5)])
def test_a_call_keeps_the_shape_of_progress(shape):
    assert np.shape(s.one_cycle(0.1, 1)(np.full(shape, 0.3))) == shape


def test_as_schedule_takes_numbers_and_leaves_functions_alone():
    def ask(progress):
        return progress

    assert s.as_schedule(0.3) == s.constant(0.3) and s.as_schedule(ask) is ask


# --- errors name the value -------------------------------------------------------------------------------


BAD = {
    "nan progress": (lambda: s.constant(1)(math.nan), ValueError, "progress is NaN"),
    "nan in an array": (lambda: s.constant(1)([0, math.nan]), ValueError, "progress is NaN"),
    "swapped bounds": (lambda: s.one_cycle(0.8, 0.08), ValueError, "low=0.8, high=0.08"),
    "equal bounds": (lambda: s.triangular(0.5, 0.5), ValueError, "low=0.5, high=0.5"),
    "nan value": (lambda: s.constant(math.nan), ValueError, "values must be finite, got nan"),
    "infinite value": (lambda: s.linear(0, math.inf), ValueError, "got inf"),
    "huge whole number": (lambda: s.constant(10**400), ValueError, "values must be finite"),
    "text": (lambda: s.constant("0.1"), TypeError, "'0.1'"),
    "boolean": (lambda: s.constant(True), TypeError, "True"),
    "tail": (lambda: s.one_cycle(0.1, 1, tail=1.5), ValueError, "tail must lie between 0 and 1.*1.5"),
    "tail of 0": (lambda: s.one_cycle_momentum(tail=0), ValueError, "tail .* got 0"),
    "up": (lambda: s.one_cycle_smith(0.1, 1, up=-1), ValueError, "up .* got -1"),
    "zero steps": (lambda: s.constant(1).table(0), ValueError, "steps must be at least 1, got 0"),
    "half a step": (lambda: s.constant(1).table(2.5), TypeError, "steps must be a whole number, got 2.5"),
    "zero stepsize": (lambda: s.cyclic(0.1, 1, 100, 0), ValueError, "stepsize must be at least 1, got 0"),
    "mode": (lambda: s.cyclic(0.1, 1, 100, 5, mode="saw"), ValueError, "'saw' is unknown: choose one of triangular"),
    "cycles": (lambda: s.triangular(0.1, 1, 0), ValueError, "cycles .* got 0"),
    "milestone": (lambda: s.step_decay(0.1, (0.5, 1.2)), ValueError, "1.2"),
    "milestones fall": (lambda: s.step_decay(0.1, (0.7, 0.2)), ValueError, "rise"),
    "anneal": (lambda: s.one_cycle_torch(1, 100, anneal="cos"), ValueError, "'cos' is unknown"),
    "no step for a phase": (lambda: s.one_cycle_torch(1, 10, pct_start=0.05), ValueError, "steps=10 with pct_start=0.05"),
    "three phases too long": (lambda: s.one_cycle_torch(1, 100, pct_start=0.6, three_phase=True), ValueError, "pct_start=0.6"),
    "div of 0": (lambda: s.one_cycle_torch(1, 100, div=0), ValueError, "div .* got 0"),
    "final_div of 0": (lambda: s.one_cycle_torch(1, 100, final_div=0), ValueError, "final_div .* got 0"),
    "fastai's div of 0": (lambda: s.one_cycle_fastai(1, div=0), ValueError, "div .* got 0"),
    "fastai's div_final of 0": (lambda: s.one_cycle_fastai(1, div_final=0), ValueError, "div_final .* got 0"),
    "exponential from 0": (lambda: s.exponential(0, 1), ValueError, "0.0 and 1.0"),
    "out of floats": (lambda: s.linear(-1e308, 1e308), ValueError, "-1e[+]308.* 1e[+]308"),
    "ease": (lambda: Schedule((0, 1), (1, 2), ("bounce",)), ValueError, "'bounce' is unknown"),
    "knots fall": (lambda: Schedule((0, 0.7, 0.5, 1), (1, 2, 3, 4), ("linear",) * 3), ValueError, "knots must rise.*0.7, 0.5"),
    "knots end early": (lambda: Schedule((0, 0.5), (1, 2), ("linear",)), ValueError, "knots must rise from 0 to 1"),
    "too few values": (lambda: Schedule((0, 1), (1,), ("linear",)), ValueError, "2 knots need as many values"),
    "one knot": (lambda: Schedule((0,), (1,), ()), ValueError, "1 knots"),
    "short table": (lambda: s.from_table([1]), ValueError, "at least 2 values, got 1"),
    "join of nothing": (lambda: s.join([], []), ValueError, "got 0 schedules"),
    "join without a share": (lambda: s.join([s.constant(1)], [0]), ValueError, r"shares \[0.0\]"),
    "join of a number": (lambda: s.join([0.1, s.constant(1)], [1, 1]), TypeError, "0.1"),
    "not a dict": (lambda: Schedule.from_dict([1, 2]), ValueError, r"not a schedule: \[1, 2\]"),
    "extra field": (lambda: Schedule.from_dict(s.constant(1).to_dict() | {"x": 1}), ValueError, "exactly knots, values and eases"),
    "text for a list": (lambda: Schedule.from_dict(s.constant(1).to_dict() | {"eases": "linear"}), ValueError, "must be lists"),
    "factor": (lambda: s.constant(1).scaled(math.inf), ValueError, "factor must be finite, got inf"),
}


@pytest.mark.parametrize("call, kind, message", BAD.values(), ids=BAD)
def test_a_bad_argument_is_named(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
