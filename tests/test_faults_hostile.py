"""Hostile values, generated: a result within bounds or a ValueError or TypeError. No other error, no hang, no warning, no NaN.

`test_hostile.py` has the constructors' and the rules' own properties; here stand calls, tables, widgets, and everything around them.
"""

import json
import warnings

import numpy as np
import pytest
from faults import hostile, outcome, survived
from hypothesis import given
from hypothesis import strategies as st

from clrlib import schedules as s
from clrlib import suggest, validate
from clrlib.chapters import chapter_01, chapter_04, chapter_05
from clrlib.chapters import chapter_01 as landscapes
from clrlib.chapters import chapter_07 as decay_plots
from clrlib.evidence import records
from clrlib.history import History, smooth, thin
from clrlib.lab.fresh import range_test
from clrlib.lab.training import Recipe
from clrlib.page import guesses, widgets
from clrlib.range_test import sweep_rates
from clrlib.scheduler import hyper_parameters
from clrlib.stats import mean_and_spread
from clrlib.theory import decay, descent, escape

usual = st.floats(1e-6, 10)
hard = st.one_of(
    st.floats(), st.integers(), st.integers(10**300, 10**400),
    st.sampled_from([0, -0.0, 1e308, -1e308, 1.7e308, 5e-324, 10**12, 10**4000, -(10**4000)]),
    st.sampled_from([None, True, "", "0.1", b"1", [0.1], (), {}, 1j, np.nan, np.float32(0.1), np.int8(3),
                     np.array(0.1), np.array([1j]), object()]),
)  # fmt: skip
sizes = st.one_of(st.integers(2, 300), hard, st.sampled_from([10**7 + 1, 10**9, 10**12, 2**63, 10**30]))


def mostly(good):
    return st.integers(0, 3).flatmap(lambda i: good if i else hard)


rate, share, low, high = mostly(usual), mostly(st.floats(0.01, 0.99)), mostly(st.floats(1e-4, 1)), mostly(st.floats(1, 10))


@pytest.fixture(autouse=True)
def no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DeprecationWarning)  # between the packages of others, where one is old
        yield


def finite(x):
    return np.isfinite(np.asarray(x, dtype=float)).all()


CURVES = [
    s.one_cycle(0.08, 0.8),
    s.cosine(0.1),
    s.exponential(1e-5, 10),
    s.step_decay(0.1),
    s.triangular2(0.1, 1, 4),
    s.one_cycle_torch(0.8, 100),
]


@hostile
@given(st.sampled_from(CURVES), sizes)
def test_a_table_has_its_steps_or_is_refused_with_the_limit(curve, steps):
    table = outcome(curve.table, steps)
    assert (table is not None) == (
        isinstance(steps, (int, np.integer)) and not isinstance(steps, bool) and 1 <= steps <= validate.MOST_STEPS
    )
    assert table is None or (table.shape == (steps,) and finite(table) and table.min() >= min(curve.values) * (1 - 1e-9))
    survived(__name__)


@pytest.mark.parametrize("steps", [10**7 + 1, 10**9, 10**12, 10**30, 10**5000], ids=["7", "9", "12", "30", "5000"])
def test_the_limit_is_named(steps):
    for call in (CURVES[0].table, lambda n: s.one_cycle_torch(0.8, n).table(n), lambda n: hyper_parameters({"lr": 0.1}, n)):
        with pytest.raises(ValueError, match="steps must be at most 10,000,000, got"):
            call(steps)
    for call in (
        lambda n: s.cyclic(0.1, 1, n, 5),
        lambda n: descent.descend(descent.BEALE, 0.1, steps=n),
        lambda n: sweep_rates(0.1, 1, n),
    ):
        with pytest.raises(ValueError, match="steps must be at most [0-9,]+, got"):
            call(steps)
    survived(__name__, 6)


progress = st.one_of(hard, st.lists(st.one_of(st.floats(), hard), max_size=4), st.floats(-2, 2))


@hostile
@given(st.sampled_from(CURVES), progress)
def test_any_progress_gives_a_value_or_is_refused(curve, at):
    value = outcome(curve, at)
    slack = 1e-9 * max(curve.values)
    assert value is None or (finite(value) and (np.asarray(value) >= min(curve.values) - slack).all())
    assert value is None or (np.asarray(value) <= max(curve.values) + slack).all()
    survived(__name__)


MORE = {
    "scaled": (lambda *a: CURVES[0].scaled(*a), [rate]),
    "one_cycle_torch_momentum": (s.one_cycle_torch_momentum, [high, low, sizes, share, st.sampled_from(["cosine", "linear", None, []])]),
    "one_cycle_torch": (s.one_cycle_torch, [rate, sizes, share, rate, rate]),
    "cyclic": (s.cyclic, [low, high, sizes, sizes, sizes, st.sampled_from(["triangular", "triangular2", "exp_range", None, {}]), rate]),
    "triangular": (s.triangular, [low, high, rate]),
    "from_table": (s.from_table, [st.one_of(hard, st.lists(hard, max_size=4))]),
    "as_schedule": (s.as_schedule, [rate]),
    "step_decay": (s.step_decay, [rate, st.one_of(hard, st.lists(share, max_size=3)), share]),
    "join": (s.join, [st.lists(st.one_of(st.sampled_from(CURVES), hard), max_size=3), st.one_of(hard, st.lists(rate, max_size=3))]),
    "Schedule": (
        s.Schedule,
        [st.one_of(hard, st.just((0, 1))), st.one_of(hard, st.tuples(rate, rate)), st.one_of(hard, st.just(("cosine",)))],
    ),
}


@pytest.mark.parametrize("name", MORE)
@hostile
@given(st.data())
def test_more_constructors(name, data):
    make, strategies = MORE[name]
    curve = outcome(make, *data.draw(st.tuples(*strategies)))
    assert not isinstance(curve, s.Schedule) or finite(curve.table(33))
    survived(__name__)


losses = st.lists(st.one_of(st.floats(0.1, 5), st.floats(), st.sampled_from([1e99, 1e101, 1e308, -1e308])), min_size=0, max_size=40)


@hostile
@given(st.one_of(losses, hard, st.lists(hard, max_size=3)), mostly(st.floats(0, 0.999)))
def test_smoothing_is_between_the_extremes_or_refused(values, beta):
    out = outcome(smooth, values, beta)
    if out is not None and np.size(values) and finite(values) and np.abs(np.asarray(values, float)).max() < 1e300:
        values = np.asarray(values, dtype=float)
        slack = 1e-6 * np.abs(values).max() + 1e-300  # the smallest floats have no digits to be exact in
        assert out.min() >= values.min() - slack and out.max() <= values.max() + slack
    survived(__name__)


@hostile
@given(losses, st.data())
def test_a_rule_gives_a_rate_of_the_sweep_or_a_reason(measured, data):
    close = data.draw(st.booleans())
    rates = 5.0 + np.arange(len(measured)) * 1e-15 if close else np.geomspace(1e-5, 10, len(measured)) if measured else []
    rates = np.unique(rates) if close else rates
    measured = measured[: len(rates)]
    rule = data.draw(st.sampled_from(list(suggest.RULES.values())))
    options = {"beta": data.draw(mostly(st.floats(0, 0.999)))} if data.draw(st.booleans()) else {}
    options |= {"steps": data.draw(mostly(st.integers(len(rates), 500)))} if data.draw(st.booleans()) else {}
    found = outcome(rule, rates, measured, **options)
    assert found is None or (found.why and (found.rate is None or (0 < found.rate < np.inf)))
    survived(__name__)


@hostile
@given(st.one_of(hard, st.lists(hard, max_size=3)), st.one_of(hard, st.lists(hard, max_size=3)), rate, rate)
def test_what_is_no_sweep_is_refused(rates, measured, beta, steps):
    outcome(suggest.fell, rates, measured)
    outcome(suggest.valley, rates, measured, beta, steps)
    found = outcome(suggest.suggest_all, rates, measured, beta)
    assert found is None or all(not suggestion and suggestion.why for suggestion in found.values())
    survived(__name__, 3)


def never(seed):
    raise AssertionError("a model was made")


@hostile
@given(
    low,
    high,
    sizes,
    st.sampled_from(["exponential", "linear", "cubic", None, []]),
    st.one_of(hard, st.lists(hard, max_size=3)),
    share,
    rate,
)
def test_a_range_test_checks_what_it_is_given_before_it_makes_a_model(data, lowest, highest, steps, sweep, seeds, momentum, held_out):
    def call():
        try:
            range_test(
                never, data, lowest, highest, steps, sweep, seeds, momentum, held_out_images=held_out, progress=False, recipe=Recipe(16)
            )
        except AssertionError:  # it was all in order
            assert finite([lowest, highest, momentum]) and lowest < highest and seeds and all(type(seed) is not bool for seed in seeds)

    outcome(call)
    survived(__name__)


@hostile
@given(
    sizes, sizes, st.sampled_from(["sgd", "adamw", None, []]), mostly(st.booleans()), share, mostly(st.sampled_from(["fp32", "fp8"])), sizes
)
def test_a_recipe_is_one_or_is_refused(batch_size, seed, optimizer, nesterov, smoothing, precision, cutout):
    recipe = outcome(Recipe, batch_size, seed, optimizer, nesterov, smoothing, precision=precision, cutout=cutout)
    assert recipe is None or (recipe.batch_size >= 2 and 0 <= recipe.seed < 2**63 and 0 <= recipe.label_smoothing < 1)
    survived(__name__)


# --- what sliders say ---------------------------------------------------------------------------------------------

pair = st.one_of(hard, st.tuples(share, share))
SAID = {
    "one cycle": (lambda *a, steps: chapter_05.describe(chapter_05.shape(*a), steps), [low, high, share, rate, pair]),
    "its code": (lambda *a, steps: chapter_05.pytorch_source(chapter_05.shape(*a), steps), [low, high, share, rate, pair]),
    "cycles": (
        lambda *a, steps: chapter_04.describe_cycles(*a, steps=steps),
        [st.sampled_from([*chapter_04.MODES, None]), low, high, sizes, share],
    ),
    "cycles, epochs": (lambda *a, steps: chapter_04.describe_cycles("triangular", 0.1, 1, 9, 1.0, steps, *a), [sizes]),
    "descent": (
        lambda *a, steps: chapter_01.describe_descent(*a, steps),
        [st.sampled_from([*landscapes.SURFACES, None, []]), mostly(st.floats(1, 1000)), rate, share, share],
    ),
    "idle weight": (lambda *a, steps: decay_plots.describe_idle(*a, steps), [rate, share, share]),
    "a bowl": (lambda *a, steps: descent.outlook(*a), [st.one_of(hard, st.lists(rate, max_size=2)), rate, share]),
    "saddle": (
        lambda *a, steps: str(escape.paths(escape.two_valleys(*a[:2]), *a[2:4], seeds=a[4]).shape),
        [rate, rate, rate, sizes, sizes],
    ),
    "half-life": (lambda *a, steps: f"{decay.half_life(*a):.3g}", [rate, share, share]),
    "highest rate": (lambda *a, steps: f"{descent.highest_rate(*a):.3g}", [rate, share]),
    "spread": (lambda a, steps: mean_and_spread(a), [st.lists(usual, max_size=4)]),
}


@pytest.mark.parametrize("name", SAID)
@hostile
@given(st.data())
def test_what_a_slider_says_has_no_nan_in_it(name, data):
    say, strategies = SAID[name]
    said = outcome(say, *data.draw(st.tuples(*strategies)), steps=data.draw(mostly(st.integers(2, 300))))
    assert said is None or (said and "nan" not in said)
    survived(__name__)


ASKED = {
    "a guess": (lambda *a: guesses.ask("key", "question", *a), [rate, low, high, mostly(st.floats(0.01, 0.1))]),
    "a rate slider": (lambda *a: widgets.rate_slider("rate", *a), [rate, mostly(st.integers(-5, 0)), mostly(st.integers(1, 3))]),
    "the one-cycle explorer": (chapter_05.one_cycle_explorer, [st.one_of(hard, st.sampled_from([10**9, 10**12]))]),
}


@pytest.mark.parametrize("name", ASKED)
@hostile
@given(st.data())
def test_a_widget_is_made_or_refused(name, data):
    make, strategies = ASKED[name]
    values = data.draw(st.tuples(*strategies))
    if name != "the one-cycle explorer" or not (
        type(values[0]) in (int, np.int8) and 0 < values[0] <= 10**7
    ):  # those are drawn: slow, and tested
        outcome(make, *values)
    survived(__name__)


# --- records ------------------------------------------------------------------------------------------------------

leaf = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.just(10**400),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5),
)
plain = st.recursive(
    leaf, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)), max_leaves=6
)
rows = st.lists(st.dictionaries(st.sampled_from(["epoch", "step", "accuracy", "seconds", "x"]), plain, max_size=4), max_size=3)
columns = st.dictionaries(st.sampled_from(["lr", "loss", "before"]), st.lists(leaf, max_size=3), max_size=3)


@hostile
@given(st.sampled_from([*records.FIELDS, "more"]), st.one_of(plain, rows, columns))
def test_a_record_of_a_stranger_is_read_whole_or_refused(field, value):
    history = History({"lr": np.array([0.1, 0.2]), "loss": np.ones(2)}, [{"epoch": 1, "accuracy": 50.0, "seconds": 1.0}])
    content = records.made("E9", "one", 0, {}, history, {}, "abc", 1.0).content | {field: value}
    record = outcome(records.parse, json.dumps(content | {"digest": records.digest(content)}), "there")
    if record is not None:
        kept = thin(record.history)
        assert (
            isinstance(kept.accuracy, float)
            and isinstance(kept.seconds, float)
            and all(c.dtype == float for c in record.history.steps.values())
        )
        assert records.path_of(record.content["experiment"], record.name, record.seed).resolve().is_relative_to(records.root().resolve())
    survived(__name__)
