"""Hostile values: whatever comes in, a result within its bounds comes out, or a ValueError or TypeError."""

import json
import warnings

import numpy as np
import pytest
from faults import hostile
from hypothesis import given
from hypothesis import strategies as st

from clrlib import schedules as s
from clrlib.evidence.records import RecordError, load
from clrlib.history import smooth
from clrlib.range_test import sweep_rates
from clrlib.schedules import EASES, Schedule
from clrlib.suggest import RULES, suggest_all

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

usual = st.floats(1e-6, 10)
weird = st.one_of(
    st.floats(), st.integers(), st.integers(10**300, 10**400), st.sampled_from([0, -0.0, 1e308, -1e308, 5e-324]),
    st.none(), st.booleans(), st.text(max_size=3), st.just([0.1]), st.just(1j),
)  # fmt: skip


def mostly(good, bad=weird):
    """`good` three times out of four: enough of both in a constructor of several arguments."""
    return st.integers(0, 3).flatmap(lambda i: good if i else bad)


odd, low, high, parts = mostly(usual), mostly(st.floats(1e-6, 1)), mostly(st.floats(1, 10)), mostly(st.floats(0, 1))
counts = mostly(st.integers(2, 400), st.sampled_from([-3, 0, 1, 2.5, None, True]))

CONSTRUCTORS = {
    "constant": (s.constant, [odd]),
    "linear": (s.linear, [odd, odd]),
    "exponential": (s.exponential, [odd, odd]),
    "cosine": (s.cosine, [odd, odd]),
    "step_decay": (s.step_decay, [odd, st.lists(parts, max_size=4).map(lambda at: sorted(at, key=repr)), parts]),
    "triangular": (s.triangular, [low, high, odd]),
    "triangular2": (s.triangular2, [low, high, odd]),
    "exp_range": (s.exp_range, [low, high, odd, counts, counts]),
    "cyclic": (s.cyclic, [low, high, counts, counts, counts, st.sampled_from(["triangular", "triangular2", "exp_range", "saw"]), odd]),
    "one_cycle": (s.one_cycle, [low, high, parts, odd]),
    "one_cycle_momentum": (s.one_cycle_momentum, [high, low, parts]),
    "one_cycle_smith": (s.one_cycle_smith, [low, high, parts, odd]),
    "one_cycle_fastai": (s.one_cycle_fastai, [odd, odd, parts, odd]),
    "one_cycle_torch": (s.one_cycle_torch, [odd, counts, parts, odd, odd, st.sampled_from(["cosine", "linear", None]), st.booleans()]),
    "from_table": (s.from_table, [st.lists(st.floats(), max_size=9)]),
    "join": (s.join, [st.lists(st.builds(s.linear, usual, usual), max_size=3), st.lists(parts, max_size=3)]),
}


def outcome(call, *args):
    """The result, or None where it was refused in the agreed way."""
    try:
        return call(*args)
    except (ValueError, TypeError):
        return None


def assert_within_its_values(schedule):
    table, values = schedule.table(37), np.array(schedule.values)
    slack = 1e-9 * np.abs(values).max()
    assert np.isfinite(table).all() and table.min() >= values.min() - slack and table.max() <= values.max() + slack


@pytest.mark.parametrize("name", CONSTRUCTORS)
@hostile
@given(st.data())
def test_a_constructor_gives_a_curve_within_its_values_or_says_why_not(name, data):
    make, strategies = CONSTRUCTORS[name]
    schedule = outcome(make, *data.draw(st.tuples(*strategies)))
    if schedule is not None:
        assert_within_its_values(schedule)
        assert Schedule.from_dict(json.loads(json.dumps(schedule.to_dict()))) == schedule


plain = st.recursive(odd, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3), max_leaves=5)


@st.composite
def nearly(draw):
    """A schedule's fields that fit each other, but for one thing now and then."""
    inside = sorted(draw(st.lists(st.floats(0, 1), max_size=4)))
    fields = {
        "knots": [0, *inside, 1],
        "values": draw(st.lists(usual, min_size=len(inside) + 2, max_size=len(inside) + 2)),
        "eases": draw(st.lists(st.sampled_from(list(EASES)), min_size=len(inside) + 1, max_size=len(inside) + 1)),
    }
    if draw(st.booleans()):
        field = draw(st.sampled_from(list(fields)))
        fields[field][draw(st.integers(0, len(fields[field]) - 1))] = draw(weird)
    return fields


@hostile
@given(st.one_of(plain, nearly(), nearly()))
def test_from_dict_gives_a_schedule_or_says_why_not(content):
    schedule = outcome(Schedule.from_dict, content)
    assert schedule is None or assert_within_its_values(schedule) is None


@hostile
@given(usual, usual, st.lists(st.sampled_from(list(EASES)), min_size=1, max_size=4), st.one_of(st.floats(), st.integers(-5, 5)))
def test_any_progress_gives_a_value_or_is_refused(a, b, eases, progress):
    curve = Schedule(tuple(np.linspace(0, 1, len(eases) + 1)), (a, b, a, b, a)[: len(eases) + 1], tuple(eases))
    value = outcome(curve, progress)
    assert (value is None) == (progress != progress)
    assert value is None or min(a, b) * (1 - 1e-9) <= value <= max(a, b) * (1 + 1e-9)


@hostile
@given(low, high, counts, st.sampled_from(["exponential", "linear", "cubic", None]))
def test_a_sweep_stays_between_its_bounds_and_never_falls(low, high, steps, sweep):
    rates = outcome(sweep_rates, low, high, steps, sweep)
    if rates is not None:
        assert len(rates) == steps and (np.diff(rates) >= 0).all()
        assert rates[0] == low and low <= rates.min() and rates.max() <= high * (1 + 1e-9)


anything = st.one_of(st.floats(), st.floats(-3, 3), st.sampled_from([np.nan, np.inf, -np.inf, 1e308, -1e308, 0.0]))


@hostile
@given(st.lists(st.floats(0, 100, exclude_min=True), unique=True, max_size=60), st.data())
def test_a_suggestion_lies_in_the_finite_part_or_there_is_a_reason(rates, data):
    rates = sorted(rates)
    losses = data.draw(st.lists(st.one_of(anything, st.floats(0.5, 3)), min_size=len(rates), max_size=len(rates)))
    beta = data.draw(st.sampled_from([0.0, 0.5, 0.9, 0.99]))
    finite = np.isfinite(losses)
    last = rates[len(rates) if finite.all() else finite.argmin() - 1 :][:1] if finite[:1].all() else []
    top = rates[-1] if finite.all() and rates else (last[0] if last else 0)
    for suggestion in [*suggest_all(rates, losses, beta).values(), *(rule(rates, losses, beta) for rule in RULES.values())]:
        assert suggestion.why
        assert suggestion.rate is None or 0 < suggestion.rate <= top


@hostile
@given(st.lists(anything, max_size=12), st.lists(anything, max_size=12), odd)
def test_arrays_that_are_no_sweep_are_refused(rates, losses, beta):
    found = outcome(suggest_all, rates, losses, beta)
    assert found is None or all(suggestion.why for suggestion in found.values())


@hostile
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), st.floats(0, 0.999))
def test_smoothing_stays_between_the_extremes(values, beta):
    out = smooth(values, beta)
    assert out.min() >= min(values) - 1e-6 and out.max() <= max(values) + 1e-6


@hostile
@given(st.one_of(st.binary(max_size=200), plain.map(lambda x: json.dumps(x, default=str).encode())))
def test_any_bytes_are_no_record(tmp_path, content):
    path = tmp_path / "x-s0.json"
    path.write_bytes(content)
    with pytest.raises(RecordError, match="x-s0.json"), warnings.catch_warnings():
        load(path)
