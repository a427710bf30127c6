"""What the article and the papers claim, held against the recorded runs: verdict, effect and its interval. No torch.

A claim compares final accuracies of recorded runs. Its verdict follows from one rule (`judge`), never from taste.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clrlib import stats
from clrlib.evidence import records
from clrlib.evidence.experiments import declared
from clrlib.history import RangeTest
from clrlib.stats import MARGIN, Difference, judge

NETWORKS = ("tiny", "resnet56")  # those that the claims are judged on


@dataclass(frozen=True)
class Comparison:
    """Run a against run b, each (experiment, name without the network).

    expected  "more", "less" or "same";  by: how much more or less it takes, in the column's unit
    margin    within which two settings are the same, in that unit
    """

    about: str
    a: tuple[str, str]
    b: tuple[str, str]
    expected: str = "more"
    by: float = 0.0
    column: str = "accuracy"
    margin: float = MARGIN

    def runs(self, network: str) -> tuple[np.ndarray, np.ndarray]:
        """The column's last value of every recorded seed, of a and of b."""
        a, b = (last_values(experiment, f"{network}-{name}", self.column) for experiment, name in (self.a, self.b))
        return a, b

    def effect(self, network: str) -> Difference | None:
        """Mean of a minus mean of b; None unless both have two seeds or more."""
        a, b = self.runs(network)
        return stats.difference(a, b) if min(len(a), len(b)) > 1 else None

    def detectable(self, network: str) -> float:
        """The smallest true difference that these numbers of runs find in 80 of 100 repeats, at their pooled spread."""
        a, b = self.runs(network)
        return stats.detectable_difference(stats.pooled_spread(a, b), len(a), len(b))


@dataclass(frozen=True)
class Claim:
    """One sentence, where it stands, and the comparisons that decide it."""

    text: str
    source: str
    comparisons: tuple[Comparison, ...]


def last_values(experiment: str, name: str, column: str = "accuracy") -> np.ndarray:
    """A column of the last epoch, of every recorded seed; a run that diverged counts with what it had."""
    rows = [record.content["epochs"][-1] for record in records.load_all(experiment, name) if record.content["epochs"]]
    return np.array([row[column] for row in rows if row.get(column) is not None], dtype=float)


def judged(claim: Claim, network: str) -> list[tuple[Comparison, Difference, str]]:
    """Each comparison whose runs are recorded, with its effect and what `judge` says of it."""
    there = [(comparison, effect) for comparison in claim.comparisons if (effect := comparison.effect(network))]
    return [(c, effect, judge(effect, c.expected, c.by, c.margin)) for c, effect in there]


def verdict(claim: Claim, network: str) -> tuple[str, str]:
    """(verdict, what it rests on). Comparisons that come out differently make it "depends", named one by one."""
    there = judged(claim, network)
    words = [word for *_, word in there]
    if not there:
        return "not recorded", ""
    overall = words[0] if len(set(words)) == 1 else "depends" if {"holds", "fails"} <= set(words) else "open"
    said = [f"{c.about}: {effect}" + (f" {word}" if len(set(words)) > 1 else "") for c, effect, word in there]
    return overall, "; ".join(said)


# --- the claims -------------------------------------------------------------------------------------------------

CYCLICAL = ("E3", "momentum-0.95-0.80")
CONSTANT = ("E3", "momentum-0.9")

CLAIMS = (
    Claim(
        "One cycle ends above a constant rate in the same epochs", "article; Smith 2018",
        tuple(Comparison(f"against constant {rate}", CONSTANT, ("E4", f"constant-{rate}")) for rate in ("0.08", "0.8")),
    ),
    Claim(
        "One cycle ends above step decay in the same epochs", "Smith and Topin 2017",
        (Comparison("against step decay from 0.8", CONSTANT, ("E4", "step-0.8")),),
    ),
    Claim(
        "One cycle reaches step decay's accuracy in a fraction of the iterations (1/7 in the article)", "article; Smith and Topin 2017",
        (
            Comparison("against step decay of twice its length", CONSTANT, ("E5", "step-10")),
            Comparison("against He et al.'s 64k iterations", CYCLICAL, ("E5", "he-64k")),
        ),
    ),
    Claim(
        "The tail, down to a tenth of the lower bound, is worth having", "Smith 2018; article",
        (Comparison("with against without", CONSTANT, ("E4", "triangular")),),
    ),
    Claim(
        "Cyclical momentum does better than constant 0.9", "article (91.54 against 91.30)",
        tuple(Comparison(f"0.95–{low} against 0.9", ("E3", f"momentum-0.95-{low}"), CONSTANT) for low in ("0.80", "0.85")),
    ),
    Claim(
        "Cyclical momentum gives the same as the best constant one, without the search for it", "article; Smith 2018",
        tuple(Comparison(f"against {m}", CYCLICAL, ("E3", f"momentum-{m}"), expected="same") for m in ("0.8", "0.85", "0.9", "0.95")),
    ),
    Claim(
        "It is the effective rate that cyclical momentum changes: constant momentum matched to it does the same", "our question",
        (Comparison("cyclical against matched", CYCLICAL, ("E3", "matched"), expected="same"),),
    ),
    Claim(
        "Weight decay 1e-3 does worse than 1e-4 at rates up to 3", "article; Smith and Topin 2017",
        (
            Comparison("at 0.15–3", ("E6", "lr-0.15-wd-0.001"), ("E6", "lr-0.15-wd-0.0001"), "less"),
            Comparison("at 0.3–3", ("E6", "lr-0.3-wd-0.001"), ("E6", "lr-0.3-wd-0.0001"), "less"),
        ),
    ),
    Claim(
        "It collapses there, by more than ten points", "article (“barely 60 %” against 85.97)",
        (
            Comparison("at 0.15–3", ("E6", "lr-0.15-wd-0.001"), ("E6", "lr-0.15-wd-0.0001"), "less", by=10),
            Comparison("as its notebook ran it", ("E8", "row-4"), ("E8", "row-3-cold"), "less", by=10),
        ),
    ),
    Claim(
        "Weight decay 1e-5 does better than 1e-4 at rates of 3", "article (87.78 against 85.97)",
        (
            Comparison("at 0.15–3", ("E6", "lr-0.15-wd-1e-05"), ("E6", "lr-0.15-wd-0.0001")),
            Comparison("at 0.3–3", ("E6", "lr-0.3-wd-1e-05"), ("E6", "lr-0.3-wd-0.0001")),
        ),
    ),
    Claim(
        "The largest batch is the best one", "article; Smith 2018",
        tuple(
            Comparison(f"{size} against 512, rate in proportion", ("E9", f"batch-{size}-linear"), ("E9", "batch-512"), expected)
            for size, expected in ((128, "less"), (256, "less"), (1024, "more"), (2048, "more"), (4096, "more"), (8192, "more"))
        ),
    ),
    Claim(
        "At a batch of 2048 scaling the rate in proportion beats scaling it by the square root", "Goyal et al. 2017; Krizhevsky 2014",
        (Comparison("2048, linear against root", ("E9", "batch-2048-linear"), ("E9", "batch-2048-root")),),
    ),
    Claim(
        "The high rate in the middle leads to flatter minima", "article; Smith 2018",
        tuple(
            Comparison(f"final sharpness against {about}", ("E11", "one-cycle"), ("E11", name), "less", column="sharpness", margin=0.0)
            for about, name in (("step decay", "step"), ("constant 0.08", "constant-0.08"))
        ),
    ),
)  # fmt: skip


# --- the range test's rules, against whole runs at each peak ---------------------------------------------------------


def lost_by_rule(network: str, sweep: str = "100") -> dict[str, tuple[float, Difference]]:
    """Rule -> (its rate, its accuracy less the best recorded peak's, in points). {} where nothing is recorded.

    The rate is the median over the recorded sweeps, each read alone (`RangeTest.suggest`). A rate outside the recorded
    peaks has the accuracy of the nearest one: what it loses is at least that.

    Between two recorded peaks the accuracy of each seed is read off a straight line in the logarithm of the rate.
    """
    tests = [record.history for record in records.load_all("E1", f"{network}-{sweep}")]
    rates, outcomes = ground_truth(network)
    if not tests or not len(rates):
        return {}
    swept, best = RangeTest.of(tests), outcomes[:, outcomes.mean(axis=0).argmax()]
    answers = {rule: answer.rate for rule, answer in swept.suggest().items() if answer}
    read = {rule: np.array([np.interp(np.log(rate), np.log(rates), seed) for seed in outcomes]) for rule, rate in answers.items()}
    return {rule: (rate, stats.difference(read[rule], best)) for rule, rate in answers.items()}


def ground_truth(network: str) -> tuple[np.ndarray, np.ndarray]:
    """E2's (peak rates, rising; final validation accuracies [seeds, peaks]), of the seeds that every peak has."""
    peaks = {run.at["peak"]: records.load_all("E2", run.name) for run in declared("E2", network) if "peak" in run.at}
    found = {peak: {record.seed: record.history.accuracy for record in there} for peak, there in peaks.items() if there}
    rates = np.array(sorted(found))
    seeds = sorted(set.intersection(*map(set, found.values()))) if found else []
    return rates, np.array([[found[rate][seed] for rate in rates] for seed in seeds])


def decays(network: str, low: float = 0.3) -> dict[float, list]:
    """E6's weight decay -> Histories, one per seed, of the runs whose rate starts at `low`. {} where nothing is recorded."""
    runs = {run.at["weight_decay"]: histories(run) for run in declared("E6", network) if run.at["low"] == low}
    return {decay: found for decay, found in sorted(runs.items(), reverse=True) if found}


def grid(network: str) -> dict[tuple[float, float, float], float]:
    """E7's (momentum, weight decay, peak rate) -> final validation accuracy, one seed each. {} where nothing is recorded."""
    runs = {(run.at["momentum"], run.at["weight_decay"], run.at["peak"]): histories(run) for run in declared("E7", network)}
    return {point: found[0].accuracy for point, found in runs.items() if found}


def batches(network: str) -> dict[str, dict[int, list]]:
    """E9's rule -> batch size -> Histories, one per seed; batch 512, where both start, is in both. {} where nothing is recorded."""
    found = {}
    for run in declared("E9", network):
        for rule in run.at.get("rules", ()):
            if there := histories(run):
                found.setdefault(rule, {})[run.at["batch"]] = there
    return {rule: dict(sorted(sizes.items())) for rule, sizes in sorted(found.items())}


def sweeps_by_batch(network: str) -> dict[int, RangeTest]:
    """E1's batch size -> range test of 100 steps, its seeds together. {} where nothing is recorded."""
    plain = [run for run in declared("E1", network) if run.at["steps"] == 100 and set(run.at) == {"steps", "batch"}]
    found = {run.at["batch"]: histories(run) for run in plain if run.sweep["sweep"] == "exponential"}
    return {size: RangeTest.of(found[size]) for size in sorted(found) if found[size]}


def histories(run) -> list:
    """The Histories of a declared run's records, by seed."""
    return [record.history for record in records.load_all(run.experiment, run.name)]
