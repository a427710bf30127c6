"""Every recorded experiment, declared as data. `recording` runs them.

A declaration yields a configuration of plain JSON values. A record is stale when its declaration no longer yields the
configuration it carries. The experiments are functions of a network: "tiny" trains for 2 to 20 epochs on two CPU cores,
"resnet20" for 15, and "resnet56" is the article's network at its full length, which asks for a GPU. Which machine a
record was made on is in the record, not here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from clrlib import schedules as s
from clrlib.evidence import records
from clrlib.lab.recipe import Recipe
from clrlib.schedules import DEFAULTS

TINY, RESNET20, RESNET56 = NETWORKS = ("tiny", "resnet20", "resnet56")


@dataclass(frozen=True)
class Run:
    """One line of an experiment: what is trained, how, and over which seeds.

    schedules    what `fit` takes (defaults filled in);  split  "report" or "choose", as `data.load` has it
    seeds, first its seeds are first, first + 1, ..., `seeds` of them
    at           where it stands in its experiment's grid, such as {"peak": 0.8}: for tables and figures, no part of `config()`
    sweep        for a range test: low, high, steps and sweep; epochs is then 0
    after        the run, of the same experiment, whose trained network this one goes on with
    images       train on that many images only
    sharpness    measure it after every epoch: "hessian", or "relative" to the weights' size; "" for not at all
    last_only    measure on the held-out images after the last epoch alone, which changes no number that is measured
    """

    experiment: str
    name: str
    about: str
    network: str = TINY
    epochs: int = 5
    schedules: dict = field(default_factory=dict)
    recipe: Recipe = Recipe()
    seeds: int = 3
    first: int = 0
    at: dict = field(default_factory=dict)
    split: str = "report"
    sweep: dict | None = None
    after: str | None = None
    images: int = 0
    sharpness: str = ""
    last_only: bool = False

    @property
    def every_seed(self) -> range:
        return range(self.first, self.first + self.seeds)

    def config(self) -> dict:
        """Everything that determines the outcome but the seed: plain JSON values, schedules as their data."""
        curves = {name: s.as_schedule(value).to_dict() for name, value in {**DEFAULTS, **self.schedules}.items()}
        recipe = self.recipe.to_dict()
        del recipe["seed"]
        measured = True if self.sharpness == "hessian" else self.sharpness
        rare = {"after": self.after, "images": self.images, "sharpness": measured, "cutout": recipe.pop("cutout")}
        return {
            "model": self.network,
            "epochs": self.epochs,
            "split": self.split,
            **recipe,
            "schedules": curves,
            "sweep": self.sweep,
            **{key: value for key, value in rare.items() if value},
        }

    def recorded(self) -> list[records.Record]:
        """Its records that still match this declaration, by seed."""
        return [record for record in records.load_all(self.experiment, self.name) if record.recipe == self.config()]


def _run(network, experiment, name, about, **kwargs) -> Run:
    """A run of the network, its name told by it; a GPU's seeds start at 1, since seed 0 of ResNet-56 is for a CPU."""
    first = {"first": 1} if network == RESNET56 else {}
    return Run(experiment, f"{network}-{name}", about, network, **{**first, **kwargs})


# --- the curves that several experiments share ------------------------------------------------------

LR, MOMENTUM = s.one_cycle(0.08, 0.8), s.one_cycle_momentum(0.95, 0.80)  # the article's run
MOMENTUM_85 = s.one_cycle_momentum(0.95, 0.85)
# Constant momentum 0.9 with the rate that makes lr / (1 - momentum) what the article's run has at every step.
MATCHED = s.from_table(0.1 * LR.table(96) / (1 - MOMENTUM.table(96)))
# As its notebook ran: a tail to low / 100, and a plan 34 steps short of the 9,310, so that the rate jumps back to its start.
PUBLISHED, PUBLISHED_FAST = (
    s.join([s.one_cycle(low, high, final=low / 100), s.constant(low)], [9_276, 34]) for low, high in ((0.08, 0.8), (0.15, 3.0))
)
QUICK = s.join([s.linear(0.08, 0.8), s.linear(0.8, 0.0)], [1, 3])
PAGE = s.join([s.linear(0.0, 0.4), s.linear(0.4, 0.0)], [5, 19])  # D. Page 2018, cifar10-fast
DECAYS = (1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 0.0)
PEAKS = (0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8)


def warmed_up(lr: s.Schedule, share: float = 0.1) -> s.Schedule:
    """The schedule after a warm-up: a straight line from 0 to its first value over `share` of the run."""
    return s.join([s.linear(0.0, lr.values[0]), lr], [share, 1 - share])


def stable_decay(peak: float, stable: float = 0.7) -> s.Schedule:
    """The peak held for the `stable` share of the run, then a straight line to 0: warmup-stable-decay without its warm-up."""
    return s.join([s.constant(peak), s.linear(peak, 0.0)], [stable, 1 - stable])


# --- the experiments, one function each: network -> its runs --------------------------------------------


def range_tests(network):
    """E1: what a range test shows, and what moves its curve."""
    seeds = {TINY: 3, RESNET56: 5}[network]

    def sweep(name, about, steps=100, low=1e-5, high=10.0, sweep="exponential", seeds=seeds, recipe=Recipe(), **schedules):
        swept = {"low": low, "high": high, "steps": steps, "sweep": sweep}
        at = {"steps": steps, "batch": recipe.batch_size, **schedules}
        return _run(
            network, "E1", name, about, epochs=0, schedules=schedules, sweep=swept, seeds=seeds, split="choose", recipe=recipe, at=at
        )

    yield sweep("100", "range test, 100 steps", seeds=5)
    yield sweep("50", "range test, 50 steps", steps=50, seeds=5)
    yield sweep("400", "range test, 400 steps", steps=400)
    yield sweep("linear", "range test, linear, 0 to 3", low=0.0, high=3.0, sweep="linear")
    for decay in (0.0, 1e-5, 1e-3):
        yield sweep(f"wd-{decay:g}", f"range test, weight decay {decay:g}", weight_decay=decay)
    for momentum in (0.8, 0.85, 0.95):
        yield sweep(f"momentum-{momentum:g}", f"range test, momentum {momentum:g}", momentum=momentum)
    for batch in {TINY: (128, 256, 1024, 2048), RESNET56: (128, 256, 1024, 2048, 4096)}[network]:
        yield sweep(f"batch-{batch}", f"range test, batch {batch}", recipe=Recipe(batch_size=batch))


def peaks(network):
    """E2: whole short runs at each rate, as the peak of one cycle and held constant: what a range test tries to guess."""
    short = {"epochs": {TINY: 3, RESNET56: 30}[network], "split": "choose"}
    for rate in PEAKS:
        about = f"one cycle to {rate:g} in {short['epochs']} epochs"
        lr = s.one_cycle(rate / 10, rate)
        yield _run(network, "E2", f"peak-{rate:g}", about, schedules={"lr": lr}, at={"peak": rate}, **short)
    for rate in PEAKS if network == TINY else ():
        about = f"constant {rate:g}, {short['epochs']} epochs"
        yield _run(network, "E2", f"constant-{rate:g}", about, schedules={"lr": rate}, at={"constant": rate}, **short)


def momenta(network):
    """E3: the article's run under several momenta. Seed 0 of ResNet-56's first run is trained on a CPU."""
    length = {TINY: {"epochs": 5, "seeds": 10}, RESNET56: {"epochs": 95, "seeds": 5}}[network]
    longer = length | ({"first": 0, "seeds": 6} if network == RESNET56 else {})
    for name, about, curves, size in (
        ("momentum-0.95-0.80", "one cycle, momentum 0.95-0.80", {"lr": LR, "momentum": MOMENTUM}, longer),
        ("momentum-0.95-0.85", "one cycle, momentum 0.95-0.85", {"lr": LR, "momentum": MOMENTUM_85}, length),
        ("momentum-0.9", "one cycle, momentum 0.9", {"lr": LR}, length),
        ("matched", "momentum 0.9, effective rate as 0.95-0.80", {"lr": MATCHED}, length),
        ("momentum-0.8", "one cycle, momentum 0.8", {"lr": LR, "momentum": 0.8}, length),
        ("momentum-0.85", "one cycle, momentum 0.85", {"lr": LR, "momentum": 0.85}, length),
        ("momentum-0.95", "one cycle, momentum 0.95", {"lr": LR, "momentum": 0.95}, length),
    ):
        yield _run(network, "E3", name, about, schedules=curves, **size)


def policies(network):
    """E4: the same budget under other schedules; constants between the cycle's bounds on seeds that chose nothing."""
    epochs = {TINY: 5, RESNET56: 95}[network]
    many = {"seeds": 10} if network == TINY else {}
    for name, about, lr in (
        ("constant-0.08", "constant 0.08", 0.08),
        ("constant-0.8", "constant 0.8", 0.8),
        ("triangular", "one cycle without its tail", s.triangular(0.08, 0.8)),
        ("triangular2", "triangular2, two cycles", s.triangular2(0.08, 0.8, cycles=2)),
        ("step-0.8", "step decay from 0.8", s.step_decay(0.8)),
        ("cosine-0.8", "cosine from 0.8", s.cosine(0.8)),
        ("smith", "Smith's own log", s.one_cycle_smith(0.08, 0.8)),
        ("torch", "torch's OneCycleLR", s.one_cycle_torch(0.8, epochs * 98)),
    ):
        yield _run(network, "E4", name, about, epochs=epochs, schedules={"lr": lr}, **many)
    if network == TINY:
        for rate in (0.02, 0.05, 0.1, 0.2, 0.4):
            about = f"constant {rate:g}"
            yield _run(network, "E4", f"constant-{rate:g}", about, schedules={"lr": rate}, seeds=5, first=5, at={"constant": rate})
        two = s.triangular(0.08, 0.8, cycles=2)
        down = s.join([s.linear(0.8, 0.08), s.constant(0.08)], [1, 1])  # Smith 2015, section 4.1.1: his "decay" policy
        yield _run(network, "E4", "two-triangles", "two cycles of full height", schedules={"lr": two}, seeds=5)
        yield _run(network, "E4", "down-only", "down from 0.8 in half of the run, then 0.08", schedules={"lr": down}, seeds=5)


def baselines(network):
    """E5: step decay given several times the iterations of one cycle."""
    if network == RESNET56:
        he = {"schedules": {"lr": s.step_decay(0.1)}, "recipe": Recipe(batch_size=128)}
        yield _run(network, "E5", "he-64k", "He et al.: batch 128, 64k iterations", epochs=164, seeds=2, **he)
    else:
        yield _run(network, "E5", "step-10", "step decay from 0.8, 10 epochs", epochs=10, schedules={"lr": s.step_decay(0.8)})


def decays(network):
    """E6: weight decay at the article's large rates."""
    epochs = {TINY: 3, RESNET56: 50}[network]
    for low, high in ((0.3, 3.0), (0.15, 3.0)):
        for decay in DECAYS if low == 0.3 or network == RESNET56 else (1e-3, 1e-4, 1e-5):
            curves = {"lr": s.one_cycle(low, high), "momentum": MOMENTUM, "weight_decay": decay}
            name, about = f"lr-{low:g}-wd-{decay:g}", f"{low:g}-3, weight decay {decay:g}"
            seeds = 10 if network == TINY and low == 0.3 and decay in (1e-3, 1e-4, 1e-5) else 3
            at = {"low": low, "weight_decay": decay}
            yield _run(network, "E6", name, about, epochs=epochs, schedules=curves, seeds=seeds, at=at)


def grid(network):
    """E7: the search that the article recommends: rate, weight decay and momentum together, in short runs."""
    rates = {TINY: (0.1, 0.4, 1.6), RESNET56: (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)}[network]
    momenta = {TINY: (0.8, 0.95), RESNET56: (0.8, 0.9, 0.95)}[network]
    short = {"epochs": {TINY: 2, RESNET56: 15}[network], "seeds": 1, "split": "choose"}
    for momentum in momenta:
        for decay in (1e-5, 1e-4, 1e-3, 1e-2):
            for peak in rates:
                curves = {"lr": s.one_cycle(peak / 10, peak), "momentum": momentum, "weight_decay": decay}
                name = f"lr-{peak:g}-wd-{decay:g}-momentum-{momentum:g}"
                at = {"momentum": momentum, "weight_decay": decay, "peak": peak}
                yield _run(network, "E7", name, "the grid", schedules=curves, at=at, **short)


def published(network):
    """E8: the article's runs as its notebook made them: no augmentation, its schedule, rows 2 and 3 on weights already trained."""
    long, short = {TINY: (5, 3), RESNET56: (95, 50)}[network]
    raw = {"recipe": Recipe(augment=False)}
    first = {"lr": PUBLISHED, "momentum": MOMENTUM}
    yield _run(network, "E8", "row-1", "0.08-0.8, momentum 0.95-0.80", epochs=long, schedules=first, **raw)
    for name, after in (("row-2-cold", None), ("row-2-warm", "row-1")):
        yield _run(network, "E8", name, "0.08-0.8, momentum 0.9", epochs=long, schedules={"lr": PUBLISHED}, after=after, **raw)
    for name, decay, after in (
        ("row-3-cold", 1e-4, None),
        ("row-3-warm", 1e-4, "row-2-warm"),
        ("row-4", 1e-3, None),
        ("row-5", 1e-5, None),
    ):
        curves = {"lr": PUBLISHED_FAST, "momentum": MOMENTUM, "weight_decay": decay}
        yield _run(network, "E8", name, f"0.15-3, weight decay {decay:g}", epochs=short, schedules=curves, after=after, **raw)


def batches(network):
    """E9: batch size, the rate scaled with it or with its square root from 0.8 at 512; then the controls: equal steps at one
    rate, and a rate searched for each batch."""
    epochs, sizes = {TINY: (3, (128, 512, 2048)), RESNET56: (30, (128, 256, 512, 1024, 2048, 4096, 8192))}[network]

    def run(name, size, peak, epochs=epochs, rules=(), **kwargs):
        about, at = f"batch {size}, peak {peak:.3g}", {"batch": size, "peak": peak, "rules": rules}
        curves, recipe = {"lr": LR.scaled(peak / 0.8)}, Recipe(batch_size=size)
        return _run(network, "E9", name, about, epochs=epochs, schedules=curves, recipe=recipe, at=at, **kwargs)

    yield run("batch-512", 512, 0.8, rules=("linear", "root"))
    for size in (size for size in sizes if size != 512):
        many = {"seeds": 10} if network == TINY and size == 2048 else {}
        yield run(f"batch-{size}-linear", size, 0.8 * size / 512, rules=("linear",), **many)
        yield run(f"batch-{size}-root", size, 0.8 * (size / 512) ** 0.5, rules=("root",), **many)
    if network == TINY:  # 2,048 makes 75 steps in its 3 epochs; a smaller batch makes them in one pass over fewer images
        for size, images in ((128, 9_600), (512, 38_400)):
            yield run(f"batch-{size}-75-steps", size, 0.8, epochs=1, images=images, seeds=5)
            yield run(f"batch-{size}-75-steps-peak-3.2", size, 3.2, epochs=1, images=images, seeds=5)
        yield run("batch-2048-75-steps", 2048, 0.8, seeds=5)
        yield run("batch-128-294-steps", 128, 0.8, epochs=1, images=37_632, seeds=5)
        yield run("batch-2048-300-steps", 2048, 0.8, epochs=12, last_only=True)
        for size, peaks in ((128, (0.1, 0.2, 0.4, 0.8)), (2048, (0.8, 1.6, 3.2, 6.4))):
            for peak in peaks:  # at 512 the search is E2's
                yield run(f"choose-batch-{size}-{peak:g}", size, peak, split="choose")


def fewer_images(network):
    """E10: Smith's claim that one cycle gains more the fewer the training images; the same iterations for all."""
    iterations = {TINY: 294, RESNET56: 9_310}[network]
    for images in (10_000, 20_000, 30_000, 40_000):
        epochs = round(iterations / -(-images // 512))
        for name, lr in (("one-cycle", LR), ("step", s.step_decay(0.8))):
            about = f"{images:,} images, {name.replace('-', ' ')}"
            at = {"policy": name, "images": images}
            yield _run(network, "E10", f"{name}-{images}", about, epochs=epochs, schedules={"lr": lr}, images=images, at=at)


def curvature(network):
    """E11: the largest Hessian eigenvalue along a run, beside 2 (1 + momentum) / rate; and once relative to the weights' size."""
    epochs = {TINY: 3, RESNET56: 30}[network]
    for name, lr in (("one-cycle", LR), ("step", s.step_decay(0.8)), ("constant-0.08", 0.08)):
        about = name.replace("-", " ")
        yield _run(network, "E11", name, about, epochs=epochs, schedules={"lr": lr}, sharpness="hessian")
        about += ", sharpness relative to the weights' size"
        yield _run(network, "E11", f"relative-{name}", about, epochs=epochs, schedules={"lr": lr}, sharpness="relative", seeds=5)


def adamw(network):
    """E12: AdamW: its weight decay, which is decoupled from the gradient, under one cycle; then whether it needs a warm-up."""
    epochs, recipe = {TINY: 3, RESNET56: 30}[network], Recipe(optimizer="adamw")
    for decay in (0.0, 1e-2, 1e-1, 1.0):
        curves = {"lr": s.one_cycle(1e-3, 1e-2), "weight_decay": decay}
        at = {"weight_decay": decay}
        yield _run(network, "E12", f"adamw-wd-{decay:g}", f"AdamW, {decay:g}", epochs=epochs, schedules=curves, recipe=recipe, at=at)
    for share in (0.0, 0.05, 0.2) if network == TINY else ():
        for peak in (1e-3, 3e-3, 1e-2, 3e-2):
            lr = warmed_up(s.cosine(peak), share) if share else s.cosine(peak)
            name, about = f"adamw-warm-up-{share:g}-{peak:g}", f"AdamW, cosine from {peak:g}, warm-up {share:.0%}"
            at = {"warm_up": share, "peak": peak}
            curves = {"lr": lr, "weight_decay": 1e-2}
            yield _run(network, "E12", name, about, epochs=epochs, schedules=curves, recipe=recipe, at=at)


def best(network):
    """E13: our quickest on the CPU; on the GPU the best of 9,310 iterations, and 94 % in seconds."""

    def quick(name, about, lr, split="choose", epochs=8, seeds=1, **schedules):
        curves, recipe = {"weight_decay": 5e-4, "lr": lr, **schedules}, Recipe(nesterov=True)
        return Run("E13", name, about, epochs=epochs, schedules=curves, recipe=recipe, split=split, seeds=seeds)

    def slow(name, about, lr, seeds=1, split="choose", network=RESNET56, epochs=95, **recipe):
        curves, recipe = {"lr": lr, "weight_decay": 5e-4}, Recipe(nesterov=True, **recipe)
        return Run("E13", name, about, network, epochs, curves, recipe, seeds=seeds, first=1, split=split)

    if network == TINY:
        yield quick("choose-article", "the article's policy, weight decay 5e-4", LR, momentum=MOMENTUM)
        yield quick("choose-quick-0.8", "up in a quarter, down to 0, from 0.8", QUICK)
        yield quick("choose-quick-0.4", "up in a quarter, down to 0, from 0.4", QUICK.scaled(0.5))
        yield quick("tiny", "the choice above, frozen, on all 50,000", QUICK, split="report", epochs=9, seeds=5)
    else:
        for peak in (0.4, 0.8, 1.6):
            about = f"up in a quarter, down to 0, from {peak:g}, weight decay 5e-4"
            yield slow(f"choose-resnet56-{peak:g}", about, QUICK.scaled(peak / 0.8))
            yield slow(f"choose-resnet56-{peak:g}-smoothed", f"{about}, label smoothing", QUICK.scaled(peak / 0.8), label_smoothing=0.1)
        yield slow("resnet9", "Page's recipe: 24 epochs, cutout", PAGE, seeds=10, split="report", network="resnet9", epochs=24, cutout=8)


def noise(network):
    """E14: twenty seeds of one short run: how far apart equal runs end."""
    epochs = {TINY: 2, RESNET56: 15}[network]
    yield _run(network, "E14", "seeds", f"one cycle, {epochs} epochs, twenty seeds", epochs=epochs, seeds=20, schedules={"lr": LR})


# What five epochs of the tiny net say of each policy's peak: the one search behind E15 and E16, on the validation split.
SEARCHED = {
    "one-cycle": (lambda peak: s.one_cycle(peak / 10, peak), (0.2, 0.4, 0.8, 1.6, 3.2)),
    "cosine": (s.cosine, (0.1, 0.2, 0.4, 0.8, 1.6)),
    "step": (s.step_decay, (0.05, 0.1, 0.2, 0.4, 0.8)),
    "constant": (s.constant, (0.01, 0.02, 0.05, 0.1, 0.2)),
    "linear": (lambda peak: s.linear(peak, 0.0), (0.1, 0.2, 0.4, 0.8, 1.6)),
    "warm-linear": (lambda peak: warmed_up(s.linear(peak, 0.0)), (0.2, 0.4, 0.8, 1.6, 3.2)),
    "stable-decay": (stable_decay, (0.05, 0.1, 0.2, 0.4, 0.8)),
    "schedule-free": (lambda peak: warmed_up(s.constant(peak), 0.05), (0.5, 1.0, 2.0, 4.0, 8.0)),
}


def search(network):
    """E15: each policy's own peak, tried at five epochs on the validation split."""
    for policy, (shape, peaks) in SEARCHED.items():
        recipe = Recipe(optimizer="schedule_free") if policy == "schedule-free" else Recipe()
        for peak in peaks:
            name, about, at = f"{policy}-{peak:g}", f"{policy} from {peak:g}", {"policy": policy, "peak": peak}
            lr = shape(peak)
            yield _run(network, "E15", name, about, schedules={"lr": lr}, recipe=recipe, split="choose", seeds=2, at=at)


def decay_that_pays(network):
    """E17: few images and many epochs, where weight decay has something to do: 5,000 images, 60 epochs."""
    for decay in (0.0, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2):
        about, curves = f"5,000 images, weight decay {decay:g}", {"lr": LR, "weight_decay": decay}
        at, few = {"weight_decay": decay}, {"epochs": 60, "images": 5_000, "last_only": True}
        yield _run(network, "E17", f"wd-{decay:g}", about, schedules=curves, at=at, **few)


def a_deeper_network(network):
    """E18: one cycle beside cosine and step decay on ResNet-20, each searched over three peaks of its own at five epochs."""
    for policy, peaks in (("one-cycle", (0.4, 0.8, 1.6)), ("cosine", (0.2, 0.4, 0.8)), ("step", (0.1, 0.2, 0.4))):
        shape = SEARCHED[policy][0]
        for peak in peaks:
            name, about, at = f"choose-{policy}-{peak:g}", f"{policy} from {peak:g}, 5 epochs", {"policy": policy, "peak": peak}
            yield _run(network, "E18", name, about, schedules={"lr": shape(peak)}, split="choose", seeds=1, at=at)


EXPERIMENTS = {
    TINY: (
        range_tests, peaks, momenta, policies, baselines, decays, grid, published, batches, fewer_images, curvature, adamw,
        best, noise, search, decay_that_pays,
    ),
    RESNET20: (a_deeper_network,),
    RESNET56: (
        range_tests, peaks, momenta, policies, baselines, decays, grid, published, batches, fewer_images, curvature, adamw,
        best, noise,
    ),
}  # fmt: skip
DECLARED = tuple(run for network, experiments in EXPERIMENTS.items() for experiment in experiments for run in experiment(network))


def declared(experiment: str | None = None, network: str | None = None) -> list[Run]:
    """The declared runs, all or those of one experiment or network. Raises ValueError for a name that isn't one."""
    known = sorted({run.experiment for run in DECLARED}, key=lambda e: int(e[1:]))
    if experiment is not None and experiment not in known:
        raise ValueError(f"experiment {experiment!r} is unknown: choose one of {', '.join(known)}")
    networks = sorted({run.network for run in DECLARED})
    if network is not None and network not in networks:
        raise ValueError(f"network {network!r} is unknown: choose one of {', '.join(networks)}")
    return [run for run in DECLARED if experiment in (None, run.experiment) and network in (None, run.network)]


def find(experiment: str, name: str) -> Run:
    """One declared run by its names."""
    for run in declared(experiment):
        if run.name == name:
            return run
    raise ValueError(f"{experiment} has no run {name!r}: it has {', '.join(run.name for run in declared(experiment))}")
