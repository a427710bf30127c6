"""Every recorded experiment, declared as data; and the one function that runs what is missing.

A declaration yields a configuration of plain JSON values. A record is stale when its declaration no
longer yields the configuration it carries. Two tiers share the names: `cpu` is the tiny net on two
cores, `gpu` the article's ResNet-56.
"""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch

from clrlib import data as images_of
from clrlib import engine, models, records
from clrlib import schedules as s
from clrlib.history import History
from clrlib.range_test import range_test
from clrlib.training import DEFAULTS, Recipe, fit

# What a run's outcome depends on, hashed when it is imported: files may change under a long recording.
SOURCES = ("schedules", "data", "models", "engine", "training", "range_test", "validate")
SOURCE_HASH = records.source_hash(Path(__file__).with_name(f"{name}.py") for name in SOURCES)
LR, MOMENTUM = s.one_cycle(0.08, 0.8), s.one_cycle_momentum(0.95, 0.80)  # the article's run
MOMENTUM_85 = s.one_cycle_momentum(0.95, 0.85)


@dataclass(frozen=True)
class Run:
    """One line of an experiment: what is trained, how, and over how many seeds.

    schedules  what `fit` takes (defaults filled in);  split  "report" or "choose", as `data.load` has it
    sweep      for a range test: low, high, steps and sweep; epochs is then 0
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

    def config(self) -> dict:
        """Everything that determines the outcome but the seed: plain JSON values, schedules as their data."""
        curves = {name: s.as_schedule(value).to_dict() for name, value in {**DEFAULTS, **self.schedules}.items()}
        recipe = {key: value for key, value in self.recipe.to_dict().items() if key != "seed"}
        return {"model": self.model, "epochs": self.epochs, "split": self.split, **recipe, "schedules": curves, "sweep": self.sweep}

    def recorded(self) -> list[records.Record]:
        """Its records that still match this declaration, by seed."""
        return [record for record in records.load_all(self.experiment, self.name) if record.recipe == self.config()]


def _cpu(experiment, name, about, **kwargs) -> Run:
    return Run(experiment, name, "cpu", about, **kwargs)


def _sweep(name, about, steps=100, low=1e-5, high=10.0, sweep="exponential", seeds=5, **schedules) -> Run:
    swept = {"low": low, "high": high, "steps": steps, "sweep": sweep}
    return _cpu("E1", name, about, epochs=0, schedules=schedules, sweep=swept, seeds=seeds, split="choose")


def _peak(peak: float) -> Run:
    """A whole short run at one peak rate: the ground truth that a range test tries to guess."""
    return _cpu(
        "E2",
        f"tiny-peak-{peak:g}",
        f"one cycle to {peak:g} in 3 epochs",
        epochs=3,
        schedules={"lr": s.one_cycle(peak / 10, peak)},
        split="choose",
    )


def _quick(name, about, split="report", epochs=8, seeds=1, **schedules) -> Run:
    """The CPU's best: chosen with three candidates on the validation split, then frozen."""
    schedules = {"weight_decay": 5e-4, **schedules}
    return _cpu("E13", name, about, epochs=epochs, schedules=schedules, recipe=Recipe(nesterov=True), split=split, seeds=seeds)


PEAKS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
QUICK = s.join([s.linear(0.08, 0.8), s.linear(0.8, 0.0)], [1, 3])
TORCH_STEPS = 5 * 98

DECLARED = (
    _sweep("tiny-100", "range test, 100 steps"),
    _sweep("tiny-50", "range test, 50 steps", steps=50),
    _sweep("tiny-400", "range test, 400 steps", steps=400, seeds=3),
    _sweep("tiny-linear", "range test, linear, 0 to 3", low=0.0, high=3.0, sweep="linear", seeds=3),
    *map(_peak, PEAKS),
    _cpu("E3", "tiny-momentum-0.95-0.80", "one cycle, momentum 0.95-0.80", schedules={"lr": LR, "momentum": MOMENTUM}),
    _cpu("E3", "tiny-momentum-0.95-0.85", "one cycle, momentum 0.95-0.85", schedules={"lr": LR, "momentum": MOMENTUM_85}),
    _cpu("E3", "tiny-momentum-0.9", "one cycle, momentum 0.9", schedules={"lr": LR}),
    _cpu("E4", "tiny-constant-0.08", "constant 0.08", schedules={"lr": 0.08}),
    _cpu("E4", "tiny-constant-0.8", "constant 0.8", schedules={"lr": 0.8}),
    _cpu("E4", "tiny-triangular", "one cycle without its tail", schedules={"lr": s.triangular(0.08, 0.8)}),
    _cpu("E4", "tiny-step-0.8", "step decay from 0.8", schedules={"lr": s.step_decay(0.8)}),
    _cpu("E4", "tiny-cosine-0.8", "cosine from 0.8", schedules={"lr": s.cosine(0.8)}),
    _cpu("E4", "tiny-smith", "Smith's own log", schedules={"lr": s.one_cycle_smith(0.08, 0.8)}),
    _cpu("E4", "tiny-torch", "torch's OneCycleLR", schedules={"lr": s.one_cycle_torch(0.8, TORCH_STEPS)}),
    _quick("choose-article", "the article's policy, weight decay 5e-4", split="choose", lr=LR, momentum=MOMENTUM),
    _quick("choose-quick-0.8", "up in a quarter, down to 0, from 0.8", split="choose", lr=QUICK),
    _quick("choose-quick-0.4", "up in a quarter, down to 0, from 0.4", split="choose", lr=QUICK.scaled(0.5)),
    _quick("tiny", "the choice above, frozen, on all 50,000", epochs=9, seeds=5, lr=QUICK),
)


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


def perform(run: Run, data, seed: int, progress: bool = True, watch=None) -> History:
    """Train one declared run with one seed; a range test comes back as a History with "lr" and "loss" alone."""
    recipe = replace(run.recipe, seed=seed)
    if run.sweep is None:
        return fit(models.build(run.model, data.train.classes, seed), data, run.schedules, run.epochs, recipe, progress, watch)
    fixed = {name: float(run.schedules.get(name, value)) for name, value in DEFAULTS.items()}
    result = range_test(run.model, data, seeds=[seed], recipe=recipe, progress=progress, **fixed, **run.sweep)
    before = np.full(len(result.lrs), result.before[0])
    return History({"lr": result.lrs, "loss": result.losses[0], "before": before}, [], data.source)


def record(run: Run, seed: int, device=None, progress: bool = True) -> Path:
    """Perform one declared run on real CIFAR-10 and save it; nothing is written until it is finished."""
    data = images_of.load(run.split, device or engine.pick_device(), stand_in=False)
    start = time.perf_counter()
    history = perform(run, data, seed, progress)
    if run.sweep is None and len(history.epochs) < run.epochs and np.isfinite(history.steps["loss"]).all():
        raise KeyboardInterrupt(f"{run.name} was stopped early: not recorded")
    return records.save(
        run.experiment, run.name, seed, run.tier, run.config(), history, environment(data.train.images.device, run.recipe), SOURCE_HASH,
        time.perf_counter() - start, most_steps=400 if run.sweep else 200,
    )  # fmt: skip


def missing(runs) -> list[tuple[Run, int]]:
    """(run, seed) of every run that is not recorded, or recorded under another configuration."""
    todo = []
    for run in runs:
        there = {record.seed for record in run.recorded()}
        todo += [(run, seed) for seed in range(run.seeds) if seed not in there]
    return todo


def environment(device, recipe: Recipe) -> dict:
    """Versions and machine, as a record carries them."""
    packages = {}
    for name in ("torch", "torchvision", "numpy"):
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = "unknown"
    gpu = torch.device(device).type == "cuda"
    machine = torch.cuda.get_device_name(device) if gpu else f"CPU, {_cpu_name()}"
    return packages | {
        "python": platform.python_version(), "cuda": torch.version.cuda if gpu else None, "machine": machine,
        "threads": torch.get_num_threads(), "precision": recipe.resolved(device).precision,
    }  # fmt: skip


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
