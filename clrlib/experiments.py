"""Every recorded experiment, declared as data. `recording` runs them.

A declaration yields a configuration of plain JSON values. A record is stale when its declaration no
longer yields the configuration it carries. Two tiers share the experiments: `cpu` is the tiny net on
two cores in 3 to 9 epochs, `gpu` the article's ResNet-56 at full length.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from clrlib import records
from clrlib import schedules as s
from clrlib.recipe import Recipe
from clrlib.schedules import DEFAULTS

NETS = {"cpu": "tiny", "gpu": "resnet56"}


@dataclass(frozen=True)
class Run:
    """One line of an experiment: what is trained, how, and over how many seeds.

    schedules  what `fit` takes (defaults filled in);  split  "report" or "choose", as `data.load` has it
    sweep      for a range test: low, high, steps and sweep; epochs is then 0
    after      the run, of the same experiment, whose trained network this one goes on with
    images     train on that many images only;  sharpness: measure it after every epoch
    """

    experiment: str
    name: str
    tier: str
    about: str
    model: str = "tiny"
    epochs: int = 5
    schedules: dict = field(default_factory=dict)
    recipe: Recipe = Recipe()
    seeds: int = 3
    split: str = "report"
    sweep: dict | None = None
    after: str | None = None
    images: int = 0
    sharpness: bool = False

    def config(self) -> dict:
        """Everything that determines the outcome but the seed: plain JSON values, schedules as their data."""
        curves = {name: s.as_schedule(value).to_dict() for name, value in {**DEFAULTS, **self.schedules}.items()}
        recipe = self.recipe.to_dict()
        del recipe["seed"]
        rare = {"after": self.after, "images": self.images, "sharpness": self.sharpness, "cutout": recipe.pop("cutout")}
        return {
            "model": self.model, "epochs": self.epochs, "split": self.split, **recipe, "schedules": curves, "sweep": self.sweep,
            **{key: value for key, value in rare.items() if value},
        }  # fmt: skip

    def recorded(self) -> list[records.Record]:
        """Its records that still match this declaration, by seed."""
        return [record for record in records.load_all(self.experiment, self.name) if record.recipe == self.config()]


def _run(tier, experiment, name, about, **kwargs) -> Run:
    """A run of the tier's network, its name told by that network."""
    return Run(experiment, f"{NETS[tier]}-{name}", tier, about, **{"model": NETS[tier], **kwargs})


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


# --- the experiments, one function each: tier -> its runs --------------------------------------------


def range_tests(tier):
    """E1: what a range test shows, and what moves its curve."""
    seeds = {"cpu": 3, "gpu": 5}[tier]

    def sweep(name, about, steps=100, low=1e-5, high=10.0, sweep="exponential", seeds=seeds, recipe=Recipe(), **schedules):
        swept = {"low": low, "high": high, "steps": steps, "sweep": sweep}
        return _run(tier, "E1", name, about, epochs=0, schedules=schedules, sweep=swept, seeds=seeds, split="choose", recipe=recipe)

    yield sweep("100", "range test, 100 steps", seeds=5)
    yield sweep("50", "range test, 50 steps", steps=50, seeds=5)
    yield sweep("400", "range test, 400 steps", steps=400)
    yield sweep("linear", "range test, linear, 0 to 3", low=0.0, high=3.0, sweep="linear")
    for decay in (0.0, 1e-5, 1e-3):
        yield sweep(f"wd-{decay:g}", f"range test, weight decay {decay:g}", weight_decay=decay)
    for momentum in (0.8, 0.85, 0.95):
        yield sweep(f"momentum-{momentum:g}", f"range test, momentum {momentum:g}", momentum=momentum)
    for batch in {"cpu": (128, 256, 1024, 2048), "gpu": (128, 256, 1024, 2048, 4096)}[tier]:
        yield sweep(f"batch-{batch}", f"range test, batch {batch}", recipe=Recipe(batch_size=batch))


def peaks(tier):
    """E2: whole short runs at each peak rate, the ground truth that a range test tries to guess."""
    epochs = {"cpu": 3, "gpu": 30}[tier]
    for peak in (0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8):
        about = f"one cycle to {peak:g} in {epochs} epochs"
        yield _run(tier, "E2", f"peak-{peak:g}", about, epochs=epochs, schedules={"lr": s.one_cycle(peak / 10, peak)}, split="choose")


def momenta(tier):
    """E3: the article's run under several momenta."""
    length = {"cpu": {"epochs": 5}, "gpu": {"epochs": 95, "seeds": 5}}[tier]
    yield _run(tier, "E3", "momentum-0.95-0.80", "one cycle, momentum 0.95-0.80", schedules={"lr": LR, "momentum": MOMENTUM}, **length)
    yield _run(tier, "E3", "momentum-0.95-0.85", "one cycle, momentum 0.95-0.85", schedules={"lr": LR, "momentum": MOMENTUM_85}, **length)
    yield _run(tier, "E3", "momentum-0.9", "one cycle, momentum 0.9", schedules={"lr": LR}, **length)
    yield _run(tier, "E3", "matched", "momentum 0.9, effective rate as 0.95-0.80", schedules={"lr": MATCHED}, **length)
    for constant in (0.8, 0.85, 0.95):
        about = f"one cycle, momentum {constant:g}"
        yield _run(tier, "E3", f"momentum-{constant:g}", about, schedules={"lr": LR, "momentum": constant}, **length)


def policies(tier):
    """E4: the same budget under other schedules."""
    epochs = {"cpu": 5, "gpu": 95}[tier]
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
        yield _run(tier, "E4", name, about, epochs=epochs, schedules={"lr": lr})


def baselines(tier):
    """E5: step decay given several times the iterations of one cycle."""
    if tier == "gpu":
        he = {"schedules": {"lr": s.step_decay(0.1)}, "recipe": Recipe(batch_size=128)}
        yield _run(tier, "E5", "he-64k", "He et al.: batch 128, 64k iterations", epochs=164, seeds=2, **he)
    else:
        yield _run(tier, "E5", "step-10", "step decay from 0.8, 10 epochs", epochs=10, schedules={"lr": s.step_decay(0.8)})


def decays(tier):
    """E6: weight decay at the article's large rates."""
    epochs = {"cpu": 3, "gpu": 50}[tier]
    for low, high in ((0.3, 3.0), (0.15, 3.0)):
        for decay in DECAYS if low == 0.3 or tier == "gpu" else (1e-3, 1e-4, 1e-5):
            curves = {"lr": s.one_cycle(low, high), "momentum": MOMENTUM, "weight_decay": decay}
            yield _run(tier, "E6", f"lr-{low:g}-wd-{decay:g}", f"{low:g}-3, weight decay {decay:g}", epochs=epochs, schedules=curves)


def grid(tier):
    """E7: the search that the article recommends: rate, weight decay and momentum together, in short runs."""
    epochs, rates, momenta = {"cpu": (2, (0.1, 0.4, 1.6), (0.8, 0.95)), "gpu": (15, (0.1, 0.2, 0.4, 0.8, 1.6, 3.2), (0.8, 0.9, 0.95))}[tier]
    for momentum in momenta:
        for decay in (1e-5, 1e-4, 1e-3, 1e-2):
            for peak in rates:
                curves = {"lr": s.one_cycle(peak / 10, peak), "momentum": momentum, "weight_decay": decay}
                name = f"lr-{peak:g}-wd-{decay:g}-momentum-{momentum:g}"
                yield _run(tier, "E7", name, "the grid", epochs=epochs, seeds=1, split="choose", schedules=curves)


def published(tier):
    """E8: the article's runs as its notebook made them: no augmentation, its schedule, rows 2 and 3 on weights already trained."""
    long, short = {"cpu": (5, 3), "gpu": (95, 50)}[tier]
    raw = {"recipe": Recipe(augment=False)}
    first = {"lr": PUBLISHED, "momentum": MOMENTUM}
    yield _run(tier, "E8", "row-1", "0.08-0.8, momentum 0.95-0.80", epochs=long, schedules=first, **raw)
    for name, after in (("row-2-cold", None), ("row-2-warm", "row-1")):
        yield _run(tier, "E8", name, "0.08-0.8, momentum 0.9", epochs=long, schedules={"lr": PUBLISHED}, after=after, **raw)
    for name, decay, after in (
        ("row-3-cold", 1e-4, None),
        ("row-3-warm", 1e-4, "row-2-warm"),
        ("row-4", 1e-3, None),
        ("row-5", 1e-5, None),
    ):
        curves = {"lr": PUBLISHED_FAST, "momentum": MOMENTUM, "weight_decay": decay}
        yield _run(tier, "E8", name, f"0.15-3, weight decay {decay:g}", epochs=short, schedules=curves, after=after, **raw)


def batches(tier):
    """E9: batch size, the rate scaled with it or with its square root from 0.8 at 512."""
    epochs, sizes = {"cpu": (3, (128, 512, 2048)), "gpu": (30, (128, 256, 512, 1024, 2048, 4096, 8192))}[tier]
    for size in sizes:
        for rule, factor in (("linear", size / 512), ("root", (size / 512) ** 0.5)):
            if size == 512 and rule == "root":
                continue  # the same run
            about = f"batch {size}, peak {0.8 * factor:.3g}"
            name = f"batch-{size}" if size == 512 else f"batch-{size}-{rule}"
            yield _run(tier, "E9", name, about, epochs=epochs, schedules={"lr": LR.scaled(factor)}, recipe=Recipe(batch_size=size))


def fewer_images(tier):
    """E10: Smith's claim that one cycle gains more the fewer the training images; the same iterations for all."""
    iterations = {"cpu": 294, "gpu": 9_310}[tier]
    for images in (10_000, 20_000, 30_000, 40_000):
        epochs = round(iterations / -(-images // 512))
        for name, lr in (("one-cycle", LR), ("step", s.step_decay(0.8))):
            about = f"{images:,} images, {name.replace('-', ' ')}"
            yield _run(tier, "E10", f"{name}-{images}", about, epochs=epochs, schedules={"lr": lr}, images=images)


def curvature(tier):
    """E11: the largest Hessian eigenvalue along a run, beside 2 (1 + momentum) / rate."""
    epochs = {"cpu": 3, "gpu": 30}[tier]
    for name, lr in (("one-cycle", LR), ("step", s.step_decay(0.8)), ("constant-0.08", 0.08)):
        yield _run(tier, "E11", name, name.replace("-", " "), epochs=epochs, schedules={"lr": lr}, sharpness=True)


def adamw(tier):
    """E12: AdamW, whose weight decay is decoupled from the gradient, under one cycle."""
    epochs = {"cpu": 3, "gpu": 30}[tier]
    for decay in (0.0, 1e-2, 1e-1, 1.0):
        curves, recipe = {"lr": s.one_cycle(1e-3, 1e-2), "weight_decay": decay}, Recipe(optimizer="adamw")
        yield _run(tier, "E12", f"adamw-wd-{decay:g}", f"AdamW, {decay:g}", epochs=epochs, schedules=curves, recipe=recipe)


def best(tier):
    """E13: our quickest on the CPU; on the GPU the best of 9,310 iterations, and 94 % in seconds."""

    def quick(name, about, lr, split="choose", epochs=8, seeds=1, **schedules):
        schedules, recipe = {"weight_decay": 5e-4, "lr": lr, **schedules}, Recipe(nesterov=True)
        return Run("E13", name, "cpu", about, epochs=epochs, schedules=schedules, recipe=recipe, split=split, seeds=seeds)

    def slow(name, about, lr, seeds=1, split="choose", model="resnet56", epochs=95, **recipe):
        curves, recipe = {"lr": lr, "weight_decay": 5e-4}, Recipe(nesterov=True, **recipe)
        return Run("E13", name, "gpu", about, model=model, epochs=epochs, schedules=curves, recipe=recipe, split=split, seeds=seeds)

    if tier == "cpu":
        yield quick("choose-article", "the article's policy, weight decay 5e-4", LR, momentum=MOMENTUM)
        yield quick("choose-quick-0.8", "up in a quarter, down to 0, from 0.8", QUICK)
        yield quick("choose-quick-0.4", "up in a quarter, down to 0, from 0.4", QUICK.scaled(0.5))
        yield quick("tiny", "the choice above, frozen, on all 50,000", QUICK, split="report", epochs=9, seeds=5)
    else:
        for peak in (0.4, 0.8, 1.6):
            about = f"up in a quarter, down to 0, from {peak:g}, weight decay 5e-4"
            yield slow(f"choose-resnet56-{peak:g}", about, QUICK.scaled(peak / 0.8))
            yield slow(f"choose-resnet56-{peak:g}-smoothed", f"{about}, label smoothing", QUICK.scaled(peak / 0.8), label_smoothing=0.1)
        yield slow("resnet9", "Page's recipe: 24 epochs, cutout", PAGE, seeds=10, split="report", model="resnet9", epochs=24, cutout=8)


def noise(tier):
    """E14: twenty seeds of one short run: how far apart equal runs end."""
    epochs = {"cpu": 2, "gpu": 15}[tier]
    yield _run(tier, "E14", "seeds", f"one cycle, {epochs} epochs, twenty seeds", epochs=epochs, seeds=20, schedules={"lr": LR})


DECLARED = tuple(
    run
    for tier in NETS
    for experiment in (
        range_tests, peaks, momenta, policies, baselines, decays, grid, published, batches, fewer_images, curvature, adamw, best,
        noise,
    )
    for run in experiment(tier)
)  # fmt: skip


def declared(experiment: str | None = None, tier: str | None = None) -> list[Run]:
    """The declared runs, all or those of one experiment or tier. Raises ValueError for a name that isn't one."""
    known = sorted({run.experiment for run in DECLARED}, key=lambda e: int(e[1:]))
    if experiment is not None and experiment not in known:
        raise ValueError(f"experiment {experiment!r} is unknown: choose one of {', '.join(known)}")
    return [run for run in DECLARED if experiment in (None, run.experiment) and tier in (None, run.tier)]


def find(experiment: str, name: str) -> Run:
    """One declared run by its names."""
    for run in declared(experiment):
        if run.name == name:
            return run
    raise ValueError(f"{experiment} has no run {name!r}: it has {', '.join(run.name for run in declared(experiment))}")
