"""The page of results, data/RESULTS.md, made from the records alone: ours beside the published, claims, rules, every run."""

from __future__ import annotations

import numpy as np

from clrlib import stats
from clrlib.evidence import claims, records
from clrlib.stats import mean_and_spread
from clrlib.theory.audit import running_accuracy

NETWORKS = {"tiny": "tiny net", "resnet56": "ResNet-56"}  # as the tables name them

PUBLISHED = (  # source, setting, accuracy in percent, iterations
    ("He et al. 2015, section 4.2", "batch 128, step decay 0.1", "93.03", "64,000"),
    ("article, as it states it", "batch 512, 0.08–0.8, momentum 0.9", "“about 91.30”", "9,310"),
    ("article, as it states it", "batch 512, 0.08–0.8, momentum 0.95–0.80", "91.54", "9,310"),
    ("the same, recovered from its log (chapter 09)", "batch 512, 0.08–0.8, momentum 0.95–0.80, no augmentation", "86.03", "9,310"),
    ("Smith 2018, paper", "batch 512, 0.08–0.8", "92.0 ± 0.2", "about 9,300"),
    ("Smith 2018, log", "batch 512, 0.08–0.8, momentum 0.95, Nesterov; 6,400 test images", "91.91", "9,277"),
    ("Smith and Topin 2017, log", "batch 1000, 0.1–3", "92.44", "10,000"),
    ("Smith and Topin 2017, log", "batch 1000, step decay 0.35", "90.32", "80,000"),
    ("S. Gugger 2018", "batch 512, 0.08–0.8, momentum 0.95–0.85, one seed", "93.53", "9,310"),
)
OURS = (
    ("momentum 0.9", "E3", "momentum-0.9"), ("momentum 0.95–0.80", "E3", "momentum-0.95-0.80"),
    ("momentum 0.95–0.85", "E3", "momentum-0.95-0.85"),
    ("momentum 0.9, matched effective rate", "E3", "matched"),
)  # fmt: skip


def page() -> str:
    """The whole page, in Markdown. The same records give the same text."""
    judged = (CLAIMS_HEAD, claim_table(), by_chance(), open_table())
    measured = (RULES_HEAD, rule_table(), PRINTED_HEAD, printed_table(), RUNS_HEAD, run_table())
    parts = (HEAD, beside(), *filter(None, judged), *measured)
    return "\n\n".join(part.strip() for part in parts) + "\n"


def table(head, rows) -> str:
    """A Markdown table; | in a cell is escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def beside() -> str:
    rows = [(source, "ResNet-56, " + setting, accuracy, "", iterations, "", "") for source, setting, accuracy, iterations in PUBLISHED]
    for network, net in NETWORKS.items():
        for about, experiment, name in OURS:
            found = records.load_all(experiment, f"{network}-{name}")
            setting = f"{net}, batch 512, 0.08–0.8, {about}"
            rows.append(("ours", setting, *(summary(found) if found else ("not recorded yet", "", "", "", ""))))
    return table(("source", "setting", "test accuracy (%)", "n", "iterations", "training (s)", "machine"), rows)


def summary(found) -> tuple:
    """(accuracy, n, iterations, seconds of training, machine) of the records of one run."""
    first = found[0].content
    accuracies = [record.history.accuracy for record in found]
    accuracy = mean_and_spread(accuracies).rsplit(" (n", 1)[0]
    seconds = f"{np.mean([record.history.seconds for record in found]):.0f}"
    environment = first["environment"]
    machine, threads = str(environment.get("machine", "machine not named")), environment.get("threads")
    machine += f", {threads} thread{'s' * (threads != 1)}" if "CPU" in machine and threads else ""
    steps = first["epochs"][-1].get("step") if first["epochs"] else None
    versions = "".join(f", {word}{environment[key]}" for key, word in (("precision", ""), ("torch", "torch ")) if key in environment)
    return accuracy, len(found), "not named" if steps is None else f"{steps:,}", seconds, machine + versions


def claim_table() -> str:
    rows = []
    for claim in claims.CLAIMS:
        where = ", ".join(sorted({experiment for c in claim.comparisons for experiment, _ in (c.a, c.b)}))
        judged = [claims.verdict(claim, network) for network in NETWORKS]
        rows.append((claim.text, claim.source, where, *(f"**{word}**" + (f": {rests}" if rests else "") for word, rests in judged)))
    return table(("claim", "source", "experiments", *NETWORKS.values()), rows)


def by_chance() -> str:
    """Below the claims: how many comparisons each network has, and how many chance alone would call."""
    said = []
    for network, net in NETWORKS.items():
        judged = [line for claim in claims.CLAIMS for line in claims.judged(claim, network)]
        k = len({(comparison.a, comparison.b, comparison.column) for comparison, *_ in judged})
        if k:
            said.append(f"{net}: {k} comparisons, each counted once. {CHANCE.format(stats.false_alarms(k))}")
    return "\n\n".join(said)


def open_table() -> str:
    rows = []
    for network, net in NETWORKS.items():
        for claim in claims.CLAIMS:
            for comparison, effect, word in claims.judged(claim, network):
                if word == "open":
                    n, found = " and ".join(map(str, effect.n)), comparison.detectable(network)
                    rows.append((claim.text, comparison.about, net, effect, n, f"{found:.2f}"))
    head = ("open claim", "comparison", "network", "difference", "n", "found in 80 of 100")
    return f"{POWER}\n\n{table(head, rows)}" if rows else ""


def rule_table() -> str:
    rows = []
    for network, net in NETWORKS.items():
        for rule, (rate, lost) in sorted(claims.lost_by_rule(network).items(), key=lambda item: -item[1][1].value):
            rows.append((net, rule, f"{rate:.2g}", lost))
    return table(("network", "rule", "its rate", "accuracy against the best peak, in points"), rows) if rows else "Not recorded yet."


def printed_table() -> str:
    rows = []
    for network, net in NETWORKS.items():
        for row in ("row-1", "row-2-cold", "row-2-warm", "row-3-cold", "row-3-warm", "row-4", "row-5"):
            found = records.load_all("E8", f"{network}-{row}")
            if found:
                printed = [running_accuracy(record.content["epochs"])[-1] for record in found]
                train, test = ([record.content["epochs"][-1][column] for record in found] for column in ("train_accuracy", "accuracy"))
                rows.append((net, row.replace("-", " "), *map(mean_and_spread, (printed, train, test))))
    head = ("network", "run", "as its notebook counts", "training, last epoch", "test, last epoch")
    return table(head, rows) if rows else "Not recorded yet."


def run_table() -> str:
    rows = []
    folders = [path for path in records.root().glob("E*") if path.name[1:].isdecimal() and path.is_dir()]
    for folder in sorted(folders, key=lambda path: int(path.name[1:])):
        names = {}
        for record in records.load_all(folder.name):
            names.setdefault(record.name, []).append(record)
        for name, found in sorted(names.items()):
            if found[0].content["epochs"]:
                accuracy, n, steps, seconds, machine = summary(found)
                split = "validation" if found[0].recipe.get("split") == "choose" else "test"
                rows.append((folder.name, name, split, accuracy, n, steps, seconds, machine))
    return table(("", "run", "measured on", "accuracy (%)", "n", "iterations", "training (s)", "machine"), rows)


HEAD = """# Results

Made by `python -m clrlib build` from the [recorded runs](README.md); a test makes it anew and compares.

Accuracy is that of the last epoch, never of the best one: mean ± sample standard deviation over n seeds. The tiny net is
four convolutions, trained for 3 to 9 epochs on a CPU. What it says about a claim made for ResNet-56 it says about schedules,
not about that network. "Not recorded" means that no run of it is here yet.

## Ours beside the published

Published figures are their authors' own, from other machines and other code; Smith's networks ran in Caffe. Our seconds of
training are wall time on the machine named, other work at times beside them."""
CLAIMS_HEAD = f"""## The claims

A difference is the first run's mean less the second's, in points of accuracy, with Welch's 95 % interval. A claim that one
does better *holds* when the whole interval is above 0. It *fails* when the interval is below 0, or within {stats.MARGIN} points of it.
A claim that two do the same holds when the whole interval is within {stats.MARGIN} points of 0. A claim *depends* when some of its parts
hold and others fail, and is *open* when an interval does not decide; with three seeds a side it often does not."""
CHANCE = "If nothing differed, chance alone would call {:.1f} of them different: 5 % of intervals leave out the truth."
POWER = """Where a comparison is open, the last column says what so many runs could find: the smallest true difference that a
two-sample t-test calls different in 80 of 100 repeats, at the pooled spread of the two sides. Welch's interval, which is not
told that the two spreads are one, finds it in 70 at n = 3."""
RULES_HEAD = """## What the range test's rules lose

Each rule reads a peak from the range test of 100 steps (E1). Whole runs at ten peaks (E2) say what that peak is worth, on
the validation split."""
PRINTED_HEAD = """## The article's runs as its notebook made them

No augmentation, its schedule with the jump at its end; rows 2 and 3 once on fresh weights, and once on weights already
trained, as its notebook did. What that notebook prints counts right answers over all batches since the first, training and
test alike. Beside it stand the accuracies of the last epoch."""
RUNS_HEAD = """## Every recorded run

Range tests (E1) have no accuracy and are left out."""
