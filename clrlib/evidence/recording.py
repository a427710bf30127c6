"""Run what is declared in `experiments` and keep the outcome as a record."""

from __future__ import annotations

import json
import platform
import time
from dataclasses import replace
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch

from clrlib.evidence import records
from clrlib.evidence.experiments import DECLARED, Run, find
from clrlib.files import ROOT
from clrlib.history import History
from clrlib.lab import cifar as images_of
from clrlib.lab import engine, models
from clrlib.lab.fresh import range_test
from clrlib.lab.probes import sharpness
from clrlib.lab.recipe import Recipe
from clrlib.lab.training import fit
from clrlib.schedules import DEFAULTS

# What a run's outcome depends on, hashed when it is imported: files may change under a long recording.
SOURCES = (
    "validate", "schedules", "scheduler", "range_test", "lab/cifar", "lab/models", "lab/engine", "lab/fast", "lab/schedule_free",
    "lab/training", "lab/fresh",
)  # fmt: skip
SOURCE_HASH = records.source_hash(ROOT / "clrlib" / f"{name}.py" for name in SOURCES)


def perform(run: Run, data, seed: int, progress: bool = True, watch=None, checkpoint=None) -> History:
    """Train one declared run with one seed; a range test comes back as a History with "lr" and "loss" alone."""
    recipe = replace(run.recipe, seed=seed)
    if run.images:
        data = replace(data, train=images_of.stratified(data.train, run.images)[1])
    if run.sweep is not None:
        return _swept(run, data, recipe, progress)
    model = _network(run, data, seed)
    if run.sharpness:
        watch = _measuring(model, data, watch, run.sharpness == "relative")
        checkpoint = None  # it would not hold what is measured after it
    often = 0 if run.last_only else 1
    history = fit(model, data, run.schedules, run.epochs, recipe, progress, watch, checkpoint=checkpoint, evaluate_every=often)
    if len(history.epochs) == run.epochs and any(run.name == _name_before(other) for other in DECLARED):
        _trained[run.name, seed] = {name: value.clone() for name, value in model.state_dict().items()}
    return history


def _swept(run, data, recipe, progress) -> History:
    fixed = {name: float(run.schedules.get(name, value)) for name, value in DEFAULTS.items()}
    result = range_test(run.network, data, seeds=[recipe.seed], recipe=recipe, progress=progress, **fixed, **run.sweep)
    before = np.full(len(result.lrs), result.before[0])
    return History({"lr": result.lrs, "loss": result.losses[0], "before": before}, [], data.source)


_trained: dict = {}  # (name, seed) -> what a run left that another goes on with, as long as the process lasts


def _name_before(run: Run) -> str | None:
    return f"{run.network}-{run.after}" if run.after else None


def _network(run: Run, data, seed: int):
    """A fresh network; or the one that the run before this one leaves, trained again unless this process just did."""
    model = models.build(run.network, data.train.classes, seed)
    if not run.after:
        return model
    before = find(run.experiment, _name_before(run))
    if (before.name, seed) in _trained:
        model.load_state_dict(_trained[before.name, seed])
        return model
    model = _network(before, data, seed)
    fit(model, data, before.schedules, before.epochs, replace(before.recipe, seed=seed), progress=False)
    return model


def _measuring(model, data, watch, relative: bool):
    """A `watch` that adds the sharpness to each epoch's row."""

    def measure(history):
        images = 2_000 if data.train.images.is_cuda else 256
        history.epochs[-1]["sharpness"] = sharpness(model, data.train, images, relative=relative)
        if watch:
            watch(history)

    return measure


def record(run: Run, seed: int, device=None, progress: bool = True, results=None) -> Path:
    """Perform one declared run on real CIFAR-10 and save it; a run that was killed goes on after its last whole epoch.

    results  a file to append the record to as well, one line of JSON: what `collect` takes apart
    """
    data = _data(run.split, torch.device(device or engine.pick_device()))
    checkpoint, start = unfinished(run, seed), time.perf_counter()
    history = perform(run, data, seed, progress, checkpoint=checkpoint)
    if run.sweep is None and len(history.epochs) < run.epochs and np.isfinite(history.steps["loss"]).all():
        raise KeyboardInterrupt(f"{run.name} was stopped early: not recorded.")
    made = records.made(
        run.experiment, run.name, seed, run.config(), history,
        environment(data.train.images.device, run.recipe) | {"step": history.how or "eager"}, SOURCE_HASH,
        time.perf_counter() - start, most_steps=400 if run.sweep else 200,
    )  # fmt: skip
    if results:
        append(results, made)
    path = records.write(made)  # last: what has a record is not run again, so that nothing may be left to do
    checkpoint.unlink(missing_ok=True)
    return path


def append(results, record: records.Record):
    """Add a record to a results file, as one line of JSON; a last line that a kill cut off gives way to it."""
    with open(results, "a+b") as file:
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
        file.write(json.dumps(record.content).encode() + b"\n")


def unfinished(run: Run, seed: int) -> Path:
    """Where a run is kept until it is recorded."""
    folder = records.root().with_name("unfinished")
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{run.experiment}-{run.name}-s{seed}.pt"


def collect(results) -> list[Path]:
    """Take a results file apart into records, each checked; a last line that was cut off is left out.

    A run that is there already, or stands in the file twice, passes if it came out the same, and the first one stays.
    Raises RecordError, before anything is written, for a line that is no whole, unedited record, or that came out otherwise.
    """
    results, found = Path(results), []
    with open(results, "rb") as file:
        while line := file.readline(records.MOST_BYTES + 2):  # no line of a record is longer
            if len(line) <= records.MOST_BYTES and not line.endswith(b"\n"):
                print(f"{results.name}: the last line was cut off, and is left out")
            else:
                found.append(records.parse(line, f"line {len(found) + 1} of {results.name}"))
    fresh = {}
    for record in found:
        path = records.path_of(record.content["experiment"], record.name, record.seed)
        before = fresh.get(path) or (records.load(path) if path.exists() else None)
        if before and not records.same_outcome(before, record):
            raise records.RecordError(f"{record.label} of {results.name} differs from the one that is there: which one is right?")
        if not before:
            fresh[path] = record
    return [records.write(record) for record in fresh.values()]


def missing(runs) -> list[tuple[Run, int]]:
    """(run, seed) of every run that is not recorded, or recorded under another configuration."""
    todo = []
    for run in runs:
        there = {record.seed for record in run.recorded()}
        todo += [(run, seed) for seed in run.every_seed if seed not in there]
    return todo


def work(run: Run) -> float:
    """The images that a run trains on, and what else its time goes with, in images trained on.

    An image that is only measured costs a third of one; a sharpness half an epoch; the runs before it count with it.
    """
    if run.sweep is not None:
        return run.sweep["steps"] * run.recipe.batch_size
    before = work(find(run.experiment, _name_before(run))) if run.after else 0
    trained, held_out = (50_000, 10_000) if run.split == "report" else (45_000, 5_000)
    trained = run.images or trained
    measured = (1 if run.last_only else run.epochs) * held_out / 3
    return before + run.epochs * trained * (1.5 if run.sharpness else 1) + measured


def shard(runs, i: int, n: int) -> list[tuple[Run, int]]:
    """The (run, seed) pairs of part i of n, counted from 1: a fixed partition of what is declared, whatever is recorded.

    Parts are about equal in `work`. Runs of one seed that go on from each other stay together. Raises ValueError.
    """
    if not 1 <= i <= n:
        raise ValueError(f"shard {i}/{n} is none: they run from 1/{n} to {n}/{n}")
    chains = {}
    for run in runs:
        for seed in run.every_seed:
            chains.setdefault((run.experiment, _chain(run), seed), []).append((run, seed))
    weight = {key: sum(work(run) for run, _ in pairs) for key, pairs in chains.items()}
    parts, loads = [[] for _ in range(n)], [0.0] * n
    for key in sorted(chains, key=lambda key: (-weight[key], key)):
        lightest = loads.index(min(loads))
        parts[lightest] += chains[key]
        loads[lightest] += weight[key]
    return parts[i - 1]


def _chain(run: Run) -> str:
    """The name of the first run of the chain that a run belongs to; a run that starts afresh begins one."""
    while run.after:
        run = find(run.experiment, _name_before(run))
    return run.name


def seconds_per_image(run: Run, device) -> float | None:
    """What this machine took for an image of this run's network, by the median of its records; None if it has none."""
    here = environment(device, run.recipe)["machine"]
    there = [(other, record.content) for other in DECLARED if other.network == run.network for record in other.recorded()]
    seconds = [content["seconds"] / work(other) for other, content in there if content["environment"].get("machine") == here]
    return float(np.median(seconds)) if seconds else None


@lru_cache(maxsize=2)
def _data(split: str, device):
    """The images, loaded once for all runs of a process."""
    return images_of.load(split, device, stand_in=False)


def environment(device, recipe: Recipe) -> dict:
    """Versions and machine, as a record carries them."""
    packages = {}
    for name in ("torch", "torchvision", "numpy"):
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = "unknown"
    gpu = torch.device(device).type == "cuda"
    return packages | {
        "python": platform.python_version(), "cuda": torch.version.cuda if gpu else None, "machine": engine.machine_name(device),
        "threads": torch.get_num_threads(), "precision": engine.resolved(recipe, device).precision,
    }  # fmt: skip
