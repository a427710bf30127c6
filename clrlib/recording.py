"""Run what is declared in `experiments` and keep the outcome as a record."""

from __future__ import annotations

import platform
import time
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch

from clrlib import data as images_of
from clrlib import engine, models, records
from clrlib.experiments import NETS, Run, find
from clrlib.history import History
from clrlib.range_test import range_test
from clrlib.scheduler import DEFAULTS
from clrlib.training import Recipe, fit

# What a run's outcome depends on, hashed when it is imported: files may change under a long recording.
SOURCES = ("schedules", "data", "models", "engine", "fast", "scheduler", "training", "range_test", "validate")
SOURCE_HASH = records.source_hash(Path(__file__).with_name(f"{name}.py") for name in SOURCES)


def perform(run: Run, data, seed: int, progress: bool = True, watch=None) -> History:
    """Train one declared run with one seed; a range test comes back as a History with "lr" and "loss" alone."""
    recipe = replace(run.recipe, seed=seed)
    if run.images:
        data = replace(data, train=images_of.stratified(data.train, run.images)[1])
    if run.sweep is None:
        return fit(_network(run, data, seed), data, run.schedules, run.epochs, recipe, progress, watch)
    fixed = {name: float(run.schedules.get(name, value)) for name, value in DEFAULTS.items()}
    result = range_test(run.model, data, seeds=[seed], recipe=recipe, progress=progress, **fixed, **run.sweep)
    before = np.full(len(result.lrs), result.before[0])
    return History({"lr": result.lrs, "loss": result.losses[0], "before": before}, [], data.source)


def _network(run: Run, data, seed: int):
    """A fresh network; or the one that the run before this one leaves, trained again."""
    model = models.build(run.model, data.train.classes, seed)
    chain, before = [], run
    while before.after:
        before = find(run.experiment, f"{NETS[run.tier]}-{before.after}")
        chain.insert(0, before)
    for before in chain:
        fit(model, data, before.schedules, before.epochs, replace(before.recipe, seed=seed), progress=False)
    return model


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
