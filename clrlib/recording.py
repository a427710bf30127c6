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

from clrlib import data as images_of
from clrlib import engine, models, records
from clrlib.experiments import DECLARED, NETS, Run, find
from clrlib.fresh import range_test
from clrlib.history import History
from clrlib.recipe import Recipe
from clrlib.schedules import DEFAULTS
from clrlib.sharpness import sharpness
from clrlib.training import fit

# What a run's outcome depends on, hashed when it is imported: files may change under a long recording.
SOURCES = ("schedules", "data", "models", "engine", "fast", "scheduler", "training", "range_test", "fresh", "validate")
SOURCE_HASH = records.source_hash(Path(__file__).with_name(f"{name}.py") for name in SOURCES)


def perform(run: Run, data, seed: int, progress: bool = True, watch=None, checkpoint=None) -> History:
    """Train one declared run with one seed; a range test comes back as a History with "lr" and "loss" alone."""
    recipe = replace(run.recipe, seed=seed)
    if run.images:
        data = replace(data, train=images_of.stratified(data.train, run.images)[1])
    if run.sweep is not None:
        return _swept(run, data, recipe, progress)
    model = _network(run, data, seed)
    if run.sharpness:
        watch, checkpoint = _measuring(model, data, watch), None  # a checkpoint would not hold what is measured after it
    history = fit(model, data, run.schedules, run.epochs, recipe, progress, watch, checkpoint=checkpoint)
    if len(history.epochs) == run.epochs and any(run.name == _name_before(other) for other in DECLARED):
        _trained[run.name, seed] = {name: value.clone() for name, value in model.state_dict().items()}
    return history


def _swept(run, data, recipe, progress) -> History:
    fixed = {name: float(run.schedules.get(name, value)) for name, value in DEFAULTS.items()}
    result = range_test(run.model, data, seeds=[recipe.seed], recipe=recipe, progress=progress, **fixed, **run.sweep)
    before = np.full(len(result.lrs), result.before[0])
    return History({"lr": result.lrs, "loss": result.losses[0], "before": before}, [], data.source)


_trained: dict = {}  # (name, seed) -> what a run left that another goes on with, as long as the process lasts


def _name_before(run: Run) -> str | None:
    return f"{NETS[run.tier]}-{run.after}" if run.after else None


def _network(run: Run, data, seed: int):
    """A fresh network; or the one that the run before this one leaves, trained again unless this process just did."""
    model = models.build(run.model, data.train.classes, seed)
    if not run.after:
        return model
    before = find(run.experiment, _name_before(run))
    if (before.name, seed) in _trained:
        model.load_state_dict(_trained[before.name, seed])
        return model
    model = _network(before, data, seed)
    fit(model, data, before.schedules, before.epochs, replace(before.recipe, seed=seed), progress=False)
    return model


def _measuring(model, data, watch):
    """A `watch` that adds the sharpness to each epoch's row."""

    def measure(history):
        history.epochs[-1]["sharpness"] = sharpness(model, data.train, images=2_000 if data.train.images.is_cuda else 256)
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
        run.experiment, run.name, seed, run.tier, run.config(), history,
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

    Raises RecordError, before anything is written, for a line that is no whole, unedited record.
    """
    results, found = Path(results), []
    with open(results, "rb") as file:
        while line := file.readline(records.MOST_BYTES + 2):  # no line of a record is longer
            if len(line) <= records.MOST_BYTES and not line.endswith(b"\n"):
                print(f"{results.name}: the last line was cut off, and is left out")
            else:
                found.append(records.parse(line, f"line {len(found) + 1} of {results.name}"))
    return [records.write(record) for record in found]


def missing(runs) -> list[tuple[Run, int]]:
    """(run, seed) of every run that is not recorded, or recorded under another configuration."""
    todo = []
    for run in runs:
        there = {record.seed for record in run.recorded()}
        todo += [(run, seed) for seed in range(run.seeds) if seed not in there]
    return todo


def work(run: Run) -> float:
    """The images that a run trains on, those of the runs before it and of its measurements included: what its time goes with."""
    if run.sweep is not None:
        return run.sweep["steps"] * run.recipe.batch_size
    before = work(find(run.experiment, _name_before(run))) if run.after else 0
    return before + run.epochs * (run.images or (50_000 if run.split == "report" else 45_000)) * (1.5 if run.sharpness else 1)


def seconds_per_image(run: Run, device) -> float | None:
    """What this machine took for an image of this run's network, by the median of its records; None if it has none."""
    here = environment(device, run.recipe)["machine"]
    there = [(other, record.content) for other in DECLARED if other.model == run.model for record in other.recorded()]
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
