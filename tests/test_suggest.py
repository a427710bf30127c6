"""The rules against the packages they come from, the guard against noise and falls made for it."""

import json

import numpy as np
import package_rules
import pytest
from record_suggestions import FILE, fall, losses_of, rates_of

from clrlib import suggest
from clrlib.evidence import records
from clrlib.history import smooth
from clrlib.suggest import RULES, Fall, Suggestion, Suggestions, candidates, fell, over_seeds, suggest_all

PAIRS = json.loads(FILE.read_text())
OF_PACKAGES = {
    "valley": "valley",
    "slide": "slide",
    "minimum": "minimum/10",
    "steep": "steep",
    "lightning": "lightning",
    "lr-finder": "lr-finder",
}
RATES = np.geomspace(1e-5, 10, 100)


def same_rate(ours, theirs):
    """The packages work in single precision."""
    return (ours is None) == (theirs is None) and (theirs is None or ours == pytest.approx(theirs, rel=1e-5))


def differences(curve, says):
    """Rule -> (ours, the package's), where they differ. torch-lr-finder takes NaN for the lowest slope; that one is not followed."""
    found = {}
    for name, theirs in says.items():
        ours = RULES[OF_PACKAGES[name]](rates_of(curve), losses_of(curve)).rate
        if not same_rate(ours, theirs) and not (name == "lr-finder" and np.isnan(losses_of(curve)).any()):
            found[name] = (ours, theirs)
    return found


# --- against the packages -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("curve", PAIRS["curves"], ids=lambda curve: curve["about"])
def test_every_rule_says_what_its_package_said(curve):
    assert differences(curve, curve["says"]) == {}


def test_the_recorded_pairs_are_many_and_tell_rules_apart():
    assert len(PAIRS["curves"]) >= 40 and FILE.stat().st_size < 150_000
    for name in OF_PACKAGES:
        rates = [curve["says"][name] for curve in PAIRS["curves"]]
        assert len(set(rates)) > 15 and sum(rate is not None for rate in rates) > 40


def fresh():
    """Curves that were never recorded, on sweeps of all widths."""
    rng = np.random.default_rng(0)
    for seed in range(30):
        steps = int(rng.choice([25, 60, 100, 140]))
        losses = fall(1000 + seed, steps, depth=rng.uniform(0, 2))
        losses[rng.integers(steps // 2, steps) :] *= rng.choice([1, 3, 1e5])
        low, high = 10 ** rng.uniform(-8, -4), 10 ** rng.uniform(-1, 2)
        yield {"low": low, "high": high, "steps": steps, "losses": losses.tolist()}


@pytest.mark.full
def test_the_packages_themselves_say_so():
    curves = [*PAIRS["curves"], *fresh()]
    try:
        told = package_rules.asked(curves)
    except package_rules.Offline as error:
        pytest.skip(f"{error} (on a network: python tests/record_suggestions.py)")
    assert told["versions"] == PAIRS["versions"] == package_rules.PINNED
    for curve, says in zip(curves, told["says"]):
        assert differences(curve, says) == {}
        for name, rate in curve.get("says", {}).items():
            assert same_rate(rate, says[name])


def test_the_versions_in_the_docstrings_are_those_that_were_asked():
    for package, version in PAIRS["versions"].items():
        assert any(
            f"{package} {version}" in source.name.lower()
            for source in (suggest.FASTAI, suggest.LIGHTNING, suggest.LR_FINDER)
        )
        assert f"{package} {version}" in " ".join(rule.__doc__ for rule in RULES.values()).lower()


@pytest.mark.parametrize("rule", ["valley", "slide", "minimum/10", "steep"])
def test_a_sweep_that_stopped_is_read_as_if_it_had_gone_on(rule):
    """fastai's own sweep ends at 4 times its best smoothed loss, so what is measured after that can't matter."""
    losses = fall(3)
    losses[80:] *= np.geomspace(1, 1e6, 20)
    curve = smooth(losses, 0.98)
    end = int((curve > 4 * np.minimum.accumulate(curve)).argmax()) + 1
    assert 80 < end < 100
    assert RULES[rule](RATES[:end], losses[:end], steps=100) == RULES[rule](RATES, losses)
    assert (
        RULES[rule](RATES[:end], losses[:end]).why != RULES[rule](RATES, losses).why
    )  # one point fewer is dropped


# --- known answers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [50, 100, 400])
def test_rules_per_logarithm_find_the_inflection_however_many_steps(steps):
    rates = np.geomspace(1e-5, 10, steps)
    losses = 2.3 - 1 / (1 + np.exp(-(np.log10(rates) + 2) / 0.3))
    for rule in ("steep", "lr-finder"):
        assert np.log10(RULES[rule](rates, losses, beta=0).rate) == pytest.approx(-2, abs=6 / (steps - 1))


def test_lightning_finds_where_the_loss_falls_fastest_per_rate():
    losses = 1 / (1 + (RATES / 0.01) ** 2)  # steepest, per unit of rate, at 0.01 / sqrt(3)
    assert suggest.lightning(RATES, losses, beta=0).rate == pytest.approx(0.01 / np.sqrt(3), rel=0.08)


@pytest.mark.parametrize("at", [-3, -1, 0])
def test_bottom_is_the_middle_of_the_lowest_stretch_and_one_spike_does_not_move_it(at):
    """To a quarter of a block of 14: moved by less, a block on a parabola keeps its median."""
    losses = 1 + (np.log10(RATES) - at) ** 2
    assert np.log10(suggest.bottom(RATES, losses).rate) == pytest.approx(at, abs=6 / 99 * (14 / 4 + 0.5))
    losses[30] = 0
    assert np.log10(suggest.bottom(RATES, losses).rate) == pytest.approx(at, abs=6 / 99 * (14 / 4 + 1.5))


def test_bottom_does_not_look_past_an_explosion():
    losses = np.r_[np.linspace(2.3, 1.5, 60), np.geomspace(1.5, 1e4, 20), np.zeros(20)]
    assert RATES[40] < suggest.bottom(RATES, losses).rate < RATES[65]


@pytest.mark.parametrize("name", RULES)
def test_more_smoothing_moves_a_rule_but_never_off_the_sweep(name):
    for beta in (0, 0.5, 0.9, 0.98):
        rate = RULES[name](RATES, fall(7), beta=beta).rate
        assert RATES[0] / 10 <= rate <= RATES[-1]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e39])
@pytest.mark.parametrize("name", RULES)
def test_no_rate_comes_from_after_a_loss_that_is_not_finite(name, value):
    """1e39 is infinite in the packages' single precision. The fall after it would draw every rule."""
    losses = np.r_[fall(5)[:60], value, np.linspace(-5, -50, 39)]
    rate = RULES[name](RATES, losses).rate
    assert rate is None or rate <= RATES[59]


NEEDS = {
    "valley": 6,
    "slide": 23,
    "minimum/10": 6,
    "steep": 7,
    "lightning": 13,
    "lr-finder": 17,
    "bottom": 10,
}


@pytest.mark.parametrize("name, needs", NEEDS.items())
def test_a_sweep_too_short_for_a_rule_gives_the_reason(name, needs):
    """slide compares points 15 apart, of those left when a tenth and 5 are dropped: 23 - 2 - 5 = 16."""
    for steps in (0, 1, 5, needs - 1):
        found = RULES[name](RATES[:steps], fall(0)[:steps])
        assert found.rate is None and "take more steps" in found.why and found.rule == name
    assert RULES[name](RATES[:needs], fall(0)[:needs]).rate


def test_a_linear_sweep_from_zero_has_a_suggestion():
    rates = np.linspace(0, 1, 100)
    for found in suggest_all(rates, 2.3 - 1.5 * np.minimum(rates * 3, 1)).values():
        assert isinstance(found, Suggestion) and 0 < found.rate < 1


def test_a_rate_of_zero_is_no_suggestion():
    rates = np.linspace(0, 1, 30)
    found = suggest.bottom(rates, np.r_[np.full(3, 1.0), np.linspace(5, 9, 27)])
    assert found.rate is None or found.rate > 0
    pointed = suggest.steep(np.r_[0, RATES[:8]], np.r_[5.0, np.full(8, 1.0)], steps=9)
    assert pointed.rate is None or pointed.rate > 0


@pytest.mark.parametrize("read", [*RULES.values(), suggest_all, fell])
@pytest.mark.parametrize(
    "rates, losses, message",
    [
        ([1, 2, 3], [1, 2], r"\(3,\) and \(2,\)"),
        ([1, 2, 3], [[1, 2, 3], [1, 2, 3]], r"\(2, 3\): a rule reads one sweep"),
        ([3, 2, 1], [1, 2, 3], "rising"),
        ([1, 1, 2], [1, 2, 3], "rising"),
        ([-1, 1, 2], [1, 2, 3], "not negative"),
        ([1, np.nan, 2], [1, 2, 3], "finite"),
    ],
)
def test_what_can_not_be_a_sweep_is_named(read, rates, losses, message):
    with pytest.raises(ValueError, match=message):
        read(rates, losses)


def test_a_setting_that_can_not_be_is_named():
    with pytest.raises(ValueError, match="beta must lie in .* got 1.0"):
        suggest.valley(RATES, fall(0), beta=1.0)
    with pytest.raises(ValueError, match="steps must be at least 100, got 99"):
        suggest.valley(RATES, fall(0), steps=99)


def test_a_rule_is_called_with_a_sweep_and_shows_it():
    import inspect

    for rule in RULES.values():
        assert list(inspect.signature(rule).parameters) == ["lrs", "losses", "beta", "steps"]
        assert rule.__doc__ and rule.__name__ in (
            "valley",
            "slide",
            "minimum",
            "steep",
            "lightning",
            "lr_finder",
            "bottom",
        )


# --- the guard ---------------------------------------------------------------------------------------------------------

NOISE = {
    "normal": lambda rng, n: rng.normal(size=n),
    "heavy tails": lambda rng, n: rng.standard_t(3, n),
    "double exponential": lambda rng, n: rng.laplace(size=n),
    "skewed": lambda rng, n: rng.lognormal(0, 0.7, n),
}


def speaks(make, tries=1000):
    """The share of tries in which the guard takes make(rng) for a fall."""
    rng = np.random.default_rng(0)
    sweeps = [make(rng) for _ in range(tries)]
    return np.mean([bool(fell(np.geomspace(1e-5, 10, len(losses)), losses)) for losses in sweeps])


@pytest.mark.parametrize("steps", [15, 30, 100, 400])
@pytest.mark.parametrize("kind", NOISE)
def test_the_guard_is_silent_on_noise(kind, steps):
    assert speaks(lambda rng: 2.3 + 0.02 * NOISE[kind](rng, steps)) < 0.03


@pytest.mark.parametrize("kind", NOISE)
def test_the_guard_is_silent_on_noise_that_explodes(kind):
    def make(rng):
        losses = 2.3 + 0.02 * NOISE[kind](rng, 100)
        start = rng.integers(20, 95)
        losses[start:] *= np.geomspace(1, 10 ** rng.uniform(0.5, 6), 100 - start)
        if rng.random() < 0.3:  # it comes back, lower than it began
            losses[-3:] = 1.0
        return losses

    assert speaks(make) < 0.03


def logistic(rng, steps, depth):
    """A fall of `depth` scatters, somewhere between 0.03 and 0.3 of the top rate, half of them with an explosion after it."""
    at = np.linspace(-5, 1, steps)
    centre, width = rng.uniform(-3.5, -0.5), rng.uniform(0.1, 0.4)
    losses = 2.3 - 0.02 * depth / (1 + np.exp(-(at - centre) / width)) + rng.normal(0, 0.02, steps)
    if rng.random() < 0.5:
        end = np.searchsorted(at, centre + 3 * width + 0.5)
        losses[end:] *= np.geomspace(1, 50, steps - end)
    return losses


@pytest.mark.parametrize(
    "steps, depth, least", [(100, 5, 0.99), (200, 5, 0.99), (400, 3, 0.99), (50, 5, 0.98), (30, 5, 0.9)]
)
def test_the_guard_speaks_on_a_fall(steps, depth, least):
    assert speaks(lambda rng: logistic(rng, steps, depth)) >= least


def test_the_guard_speaks_on_every_recorded_sweep():
    swept = records.load_all("E1")
    assert len(swept) > 40
    for record in swept:
        log = record.history.steps
        assert fell(log["lr"], log["loss"]), record.label


@pytest.mark.parametrize("at", [0, 1, 2, 5, 40])
def test_one_spike_neither_makes_a_fall_nor_hides_one(at):
    noise, real = np.random.default_rng(0).normal(2.3, 0.02, 100), fall(0)
    noise[at] = real[at] = 50
    assert not fell(RATES, noise) and fell(RATES, real)


def test_the_scatter_is_the_noise_and_not_the_trend():
    rng = np.random.default_rng(0)
    for trend in (np.zeros(400), np.linspace(0, -8, 400)):
        found = fell(np.geomspace(1e-5, 10, 400), 9 + trend + rng.normal(0, 0.05, 400))
        assert found.scatter == pytest.approx(0.05, rel=0.15)


SILENT = {
    "constant": (np.full(100, 2.3), "fell by 0, scatter 0: sweep to a higher rate, take more steps or a larger batch"),
    "rising": (np.linspace(1, 3, 100), "fell by 0,"),
    "short": (np.linspace(2, 1, 9), "only 9 losses"),
    "nothing": (np.array([]), "only 0 losses"),
    "all NaN": (np.full(100, np.nan), "only 0 losses"),
    "infinite from the fourth on": (np.r_[2.3, 2.3, 2.3, np.full(97, np.inf)], "only 3 losses before it exploded or ended: start lower"),
    "exploded at once": (np.r_[np.full(4, 2.3), np.full(96, 1e9)], "only"),
}  # fmt: skip


@pytest.mark.parametrize("losses, reason", SILENT.values(), ids=SILENT)
def test_without_a_fall_no_rule_speaks_and_all_say_why(losses, reason):
    found = suggest_all(RATES[: len(losses)], losses)
    assert set(found) == set(RULES) and not any(found.values())
    assert all(answer.why.startswith(reason) for answer in found.values())


def test_a_fall_says_what_it_found():
    assert isinstance(fell(RATES, fall(0)), Fall)
    noise = fell(RATES, np.random.default_rng(0).normal(2.3, 0.02, 100))
    assert (
        noise.why
        == f"fell by {noise.fall:.2g}, scatter {noise.scatter:.2g}: sweep to a higher rate, take more steps or a larger batch"
    )
    assert fell(RATES, fall(0)).why.count(":") == 0


# --- all of them, seeds, candidates ------------------------------------------------------------------------------------


def test_all_rules_are_those_one_by_one():
    found = suggest_all(RATES, fall(0))
    assert found == {name: rule(RATES, fall(0)) for name, rule in RULES.items()}
    assert suggest_all(RATES, fall(0), beta=0.5)["steep"] == suggest.steep(RATES, fall(0), beta=0.5)


def told(*rates):
    return [{"steep": Suggestion("steep", rate, "read" if rate else "no fall")} for rate in rates]


@pytest.mark.parametrize(
    "rates, rate, why",
    [
        ((0.1, 0.2, 0.8), 0.2, "0.1 to 0.8 over 3 seeds"),
        ((0.1, 0.4), 0.2, "0.1 to 0.4 over 2 seeds"),
        ((0.1, None, 0.4), 0.2, "0.1 to 0.4 over 2 seeds, none from 1"),
        ((0.1, None), None, "no rate from 1 of 2 seeds: no fall"),
        ((None, None, 1.0), None, "no rate from 2 of 3 seeds: no fall"),
        ((0.3,), 0.3, "read"),
        ((None,), None, "no fall"),
    ],
)
def test_seeds_give_their_median_and_their_range(rates, rate, why):
    found = over_seeds(told(*rates))
    assert found["steep"].why == why and found["steep"].rule == "steep" and found.seeds == told(*rates)
    assert found["steep"].rate == (None if rate is None else pytest.approx(rate))


def test_suggestions_print_as_a_table():
    found = Suggestions(
        {"a": Suggestion("a", 0.01234, "one"), "longer": Suggestion("longer", None, "two")}, []
    )
    assert repr(found) == str(found) == "a       0.012  one\nlonger  none   two"
    silent = Suggestions({name: Suggestion(name, None, "fell by 0") for name in "ab"}, [])
    assert repr(silent) == "no rule has a rate: fell by 0"


@pytest.mark.parametrize(
    "rates, expected",
    [
        ((0.01, 1.0, 0.3), (0.01, 0.1, 1.0)),
        ((0.1, 0.1, None), (0.1 / 10**0.5, 0.1, 0.1 * 10**0.5)),
        ((0.1, 0.4, None), (0.2 / 10**0.5, 0.2, 0.2 * 10**0.5)),
    ],
)
def test_candidates_span_what_the_rules_say_and_a_decade_at_least(rates, expected):
    found = candidates({str(i): Suggestion("", rate, "") for i, rate in enumerate(rates)})
    assert tuple(found) == pytest.approx(expected)
    factor = found.middle / found.lowest
    assert found.above == pytest.approx(found.highest * factor) and found.below == pytest.approx(
        found.lowest / factor
    )


def test_without_a_rate_there_are_no_candidates():
    with pytest.raises(ValueError, match="no rates to try: fell by 0, scatter 0: sweep to a higher rate"):
        candidates(suggest_all(RATES, np.full(100, 2.3)))
