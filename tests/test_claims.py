"""Claims and the page made of them: verdicts against cases whose answer is plain, effects against numpy by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import nct, t

from clrlib import suggest
from clrlib.evidence import claims, experiments, records, results
from clrlib.evidence.claims import Claim, Comparison
from clrlib.history import History
from clrlib.stats import Difference
from clrlib.theory import audit


def keep(experiment, name, accuracies, recipe=None, **columns):
    for seed, accuracy in enumerate(accuracies):
        row = {"epoch": 1, "step": 98, "accuracy": accuracy, "train_accuracy": 50.0, "seconds": 2.0, **columns}
        log = History({"loss": np.ones(3), "lr": np.ones(3)}, [row])
        environment = {"machine": "CPU, X", "threads": 2, "precision": "fp32", "torch": "2"}
        records.save(experiment, name, seed, recipe or {"split": "report"}, log, environment, "abc", 3.0)


@pytest.mark.parametrize(
    "effect, expected, by, verdict",
    [
        ((2.0, 1.0, 3.0), "more", 0, "holds"), ((2.0, -1.0, 5.0), "more", 0, "open"), ((0.1, -0.2, 0.4), "more", 0, "fails"),
        ((-2.0, -3.0, -1.0), "more", 0, "fails"), ((0.3, 0.1, 0.45), "more", 0, "holds"),
        ((-2.0, -3.0, -1.0), "less", 0, "holds"), ((2.0, 1.0, 3.0), "less", 0, "fails"), ((-2.0, -5.0, 1.0), "less", 0, "open"),
        ((-2.0, -3.0, -1.0), "less", 10, "fails"), ((-20.0, -25.0, -15.0), "less", 10, "holds"), ((-12.0, -25.0, -5.0), "less", 10, "open"),
        ((0.1, -0.2, 0.4), "same", 0, "holds"), ((2.0, 1.0, 3.0), "same", 0, "fails"), ((-2.0, -3.0, -1.0), "same", 0, "fails"),
        ((0.1, -0.8, 0.9), "same", 0, "open"), ((0.8, 0.4, 1.2), "same", 0, "open"),
    ],
)  # fmt: skip
def test_a_verdict_follows_from_the_interval(effect, expected, by, verdict):
    assert claims.judge(Difference(*effect), expected, by) == verdict


@given(st.floats(-3, 3), st.floats(0, 3), st.floats(0, 2))
def test_less_is_more_the_other_way_round_and_no_claim_contradicts_its_words(value, reach, margin):
    effect = Difference(value, value - reach, value + reach)
    more, less, same = (claims.judge(effect, word, margin=margin) for word in ("more", "less", "same"))
    assert less == claims.judge(-effect, "more", margin=margin) and same == claims.judge(-effect, "same", margin=margin)
    assert ("holds" in (more, less)) == effect.different and (same == "holds") == effect.same(margin)
    assert (more == less == "fails") == (effect.same(margin) and not effect.different)
    assert (same == "fails") <= effect.different


def test_without_runs_there_is_no_verdict(runs):
    keep("E1", "tiny-a", [80.0])
    keep("E1", "tiny-b", [70.0, 71.0])
    claim = Claim("a beats b", "us", (Comparison("a against b", ("E1", "a"), ("E1", "b")),))
    assert claims.verdict(claim, "tiny") == claims.verdict(claim, "resnet56") == ("not recorded", "")


def test_parts_that_differ_make_it_depend_and_are_named(runs):
    for name, values in {"a": [80.0, 80.1, 80.2], "b": [70.0, 70.1, 70.2], "c": [90.0, 90.1, 90.2], "d": [60.0, 80.0, 99.0]}.items():
        keep("E1", f"tiny-{name}", values)
    parts = {name: Comparison(f"against {name}", ("E1", "a"), ("E1", name)) for name in "bcd"}
    assert claims.verdict(Claim("", "", (parts["b"],)), "tiny") == ("holds", "against b: +10.00 [+9.77, +10.23]")
    word, rests = claims.verdict(Claim("", "", (parts["b"], parts["c"])), "tiny")
    assert word == "depends" and rests == "against b: +10.00 [+9.77, +10.23] holds; against c: −10.00 [−10.23, −9.77] fails"
    assert claims.verdict(Claim("", "", (parts["b"], parts["d"])), "tiny")[0] == "open"


def test_a_rule_loses_what_lies_between_its_rate_and_the_best_peak(runs, monkeypatch):
    for peak, accuracy in ((0.1, 70.0), (0.4, 80.0), (1.6, 60.0)):
        keep("E2", f"tiny-peak-{peak:g}", [accuracy - 1, accuracy, accuracy + 1])
    log = History({"lr": np.geomspace(1e-3, 10, 60), "loss": np.linspace(2, 1, 60), "before": np.full(60, 2.0)})
    records.save("E1", "tiny-100", 0, {}, log, {}, "abc", 3.0)
    answer = suggest.Suggestion("valley", 0.2, "")
    told = {"valley": answer, "slide": suggest.Suggestion("slide", None, "")}
    monkeypatch.setattr(suggest, "suggest_all", lambda *args, **kwargs: told)
    assert set(claims.lost_by_rule("tiny")) == {"valley"} and claims.lost_by_rule("resnet56") == {}
    rate, effect = claims.lost_by_rule("tiny")["valley"]
    assert rate == 0.2 and effect.value == pytest.approx(-5)


def test_decays_are_read_from_the_runs_of_one_start(runs):
    assert claims.decays("tiny") == claims.grid("tiny") == {}
    keep("E6", "tiny-lr-0.3-wd-1e-05", [77, 78])
    keep("E6", "tiny-lr-0.3-wd-0", [76])
    keep("E6", "tiny-lr-0.15-wd-0.001", [74])
    found = claims.decays("tiny")
    assert {wd: [run.accuracy for run in seeds] for wd, seeds in found.items()} == {1e-5: [77, 78], 0.0: [76]}
    assert list(claims.decays("tiny", 0.15)) == [1e-3] and claims.decays("resnet56") == {}


def test_a_grid_is_keyed_by_momentum_decay_and_rate(runs):
    keep("E7", "tiny-lr-1.6-wd-1e-05-momentum-0.95", [44])
    keep("E7", "resnet56-lr-0.1-wd-0.01-momentum-0.8", [80])
    assert claims.grid("tiny") == {(0.95, 1e-5, 1.6): 44} and claims.grid("resnet56") == {(0.8, 1e-2, 0.1): 80}


def test_decays_and_grid_know_every_declared_run(runs):
    for run in experiments.DECLARED:
        if run.experiment in ("E6", "E7"):
            keep(run.experiment, run.name, [50])
    for network in claims.NETWORKS:
        named = {(r.schedules["lr"].values[0], r.schedules["weight_decay"]) for r in experiments.declared("E6", network)}
        assert {(low, wd) for low in (0.3, 0.15) for wd in claims.decays(network, low)} == named
        assert len(claims.grid(network)) == len(experiments.declared("E7", network))


def test_batches_are_read_by_rule_and_size_and_the_shared_run_is_in_both(runs):
    assert claims.batches("tiny") == claims.sweeps_by_batch("tiny") == {}
    for name, values in {"128-linear": [79, 80], "512": [77, 78], "2048-linear": [62], "2048-root": [63], "128-root": [81]}.items():
        keep("E9", f"tiny-batch-{name}", values)
    found = {rule: {n: [run.accuracy for run in seeds] for n, seeds in sizes.items()} for rule, sizes in claims.batches("tiny").items()}
    assert found == {"linear": {128: [79, 80], 512: [77, 78], 2048: [62]}, "root": {128: [81], 512: [77, 78], 2048: [63]}}
    assert [list(sizes) for sizes in claims.batches("tiny").values()] == [[128, 512, 2048]] * 2 and claims.batches("resnet56") == {}


def test_sweeps_by_batch_leave_the_other_range_tests_out(runs):
    for name, steps in (("100", 5), ("batch-2048", 6), ("batch-128", 4), ("50", 3), ("wd-0", 3)):
        log = History({"lr": np.geomspace(1e-3, 10, steps), "loss": np.ones(steps), "before": np.ones(steps)})
        records.save("E1", f"tiny-{name}", 0, {}, log, {}, "abc", 3.0)
    assert {size: len(test.lrs) for size, test in claims.sweeps_by_batch("tiny").items()} == {128: 4, 512: 5, 2048: 6}


def test_every_declared_batch_is_found(runs):
    for run in experiments.declared("E9"):
        keep("E9", run.name, [50])
    for network in claims.NETWORKS:
        declared = {run.recipe.batch_size for run in experiments.declared("E9", network) if run.at["rules"]}
        assert all(set(sizes) == declared for sizes in claims.batches(network).values())
        assert set(claims.batches(network)) == {"linear", "root"}


def test_the_running_accuracy_gives_back_the_articles_own_arithmetic():
    """FACTS of its log: after epoch e it has counted 60,000 e images; test answers follow from two printed figures."""
    random = np.random.default_rng(1)
    train, test = random.integers(20_000, 50_001, 30), random.integers(2_000, 10_001, 30)
    printed = audit.running_accuracy([{"train_accuracy": a / 500, "accuracy": b / 100} for a, b in zip(train, test)])
    before = np.concatenate([[0], printed[:-1] * 60_000 * np.arange(1, 30)])
    recovered = (printed * 60_000 * np.arange(1, 31) - before) / 100 - train
    np.testing.assert_allclose(recovered, test, atol=1e-6)


def test_the_page_names_what_is_not_recorded(runs):
    page = results.page()
    assert page.count("**not recorded**") == 2 * len(claims.CLAIMS) and page.count("not recorded yet") == 8
    assert page == results.page() and max(map(len, page.splitlines())) < 2_000


def test_a_recorded_run_is_in_the_page_with_all_that_makes_it_worth_believing(runs):
    keep("E3", "tiny-momentum-0.9", [81.0, 82.0])
    row = next(line for line in results.page().splitlines() if line.startswith("| E3 | tiny-momentum-0.9 "))
    assert row == "| E3 | tiny-momentum-0.9 | test | 81.50 ± 0.71 | 2 | 98 | 2 | CPU, X, 2 threads, fp32, torch 2 |"


def test_below_the_claims_stands_what_chance_calls_and_what_the_open_ones_could_find(runs, monkeypatch):
    for name, values in {"a": [80.0, 81.0, 82.0], "b": [79.0, 81.0, 82.5], "c": [70.0, 71.0]}.items():
        keep("E1", f"tiny-{name}", values)
    near, far = (Comparison(f"against {name}", ("E1", "a"), ("E1", name)) for name in "bc")
    again = Comparison("once more", ("E1", "a"), ("E1", "b"), "same")
    monkeypatch.setattr(claims, "CLAIMS", (Claim("a wins", "us", (near, far)), Claim("a equals b", "us", (again,))))
    page = results.page()
    assert "tiny net: 2 comparisons, each counted once. If nothing differed, chance alone would call 0.1 of them" in page
    assert "ResNet-56, GPU: " not in page
    found = near.detectable("tiny")
    shift = found / np.sqrt((1.0**2 + 1.75595**2) / 2 * 2 / 3)  # by hand: sample standard deviations 1 and 1.756
    assert nct.sf(t.ppf(0.975, 4), 4, shift) == pytest.approx(0.8, abs=1e-4)
    for claim, about in (("a wins", "against b"), ("a equals b", "once more")):
        assert f"| {claim} | {about} | tiny net | {near.effect('tiny')} | 3 and 3 | {found:.2f} |" in page
    assert page.count("| 3 and") == 2  # against c is decided


def test_without_open_claims_nothing_is_said_of_them(runs, monkeypatch):
    monkeypatch.setattr(claims, "CLAIMS", ())
    assert results.POWER not in results.page() and "chance alone" not in results.page()


def test_the_committed_page_is_what_the_records_give():
    """Outside of the `runs` fixture: the repository's own records."""
    assert (records.root().parent / "RESULTS.md").read_text(encoding="utf-8") == results.page()


def test_every_compared_run_is_declared():
    declared = {(run.experiment, run.name, run.network) for run in experiments.DECLARED}
    for claim in claims.CLAIMS:
        for c in claim.comparisons:
            assert any(all((e, f"{net}-{name}", net) in declared for e, name in (c.a, c.b)) for net in claims.NETWORKS), c.about
    assert set(claims.NETWORKS) <= set(experiments.NETWORKS)
