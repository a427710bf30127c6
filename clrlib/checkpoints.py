"""A run's last complete state, in a file: written atomically, read without unpickling anything but tensors and plain values."""

from __future__ import annotations

import io
import zipfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from clrlib import engine
from clrlib.files import write_atomically
from clrlib.history import History
from clrlib.schedules import Schedule, as_schedule

SCHEMA = 2  # 2: the arithmetic is part of a run's identity


class CheckpointError(ValueError):
    """A checkpoint that is damaged, or of another run."""


def identity(model, data, schedules: dict, epochs: int, recipe) -> dict:
    """What makes a run this run and no other, as plain values. A function as a schedule is known as a function only.

    The arithmetic belongs to it: in another precision, with more threads or on another processor a run would go on,
    but not as it had begun.
    """
    curves = {name: as_schedule(value) for name, value in schedules.items()}
    return {
        "epochs": epochs,
        "arithmetic": engine.arithmetic(recipe, data.train.images.device),
        "recipe": recipe.to_dict(),
        "schedules": {name: curve.to_dict() if isinstance(curve, Schedule) else "a function" for name, curve in curves.items()},
        "data": [data.source, len(data.train), len(data.held_out), data.held_out_name],
        "model": {name: list(value.shape) for name, value in model.state_dict().items()},
    }


def save(path, run: dict, state: dict, history: History):
    """Write a run's state and history whole, or leave the file as it was."""
    log = asdict(history) | {"steps": {name: torch.from_numpy(column) for name, column in history.steps.items()}}
    file = io.BytesIO()
    torch.save({"schema": SCHEMA, "run": run, "state": state, "history": log}, file)
    write_atomically(Path(path), file.getvalue())


def load(path, run: dict) -> tuple[dict | None, History]:
    """(state, history) of the run kept at `path`; (None, an empty history) where there is no file yet.

    Raises CheckpointError for a file that is damaged, and for one of another run, naming what differs.
    """
    path = Path(path)
    if not path.exists():
        return None, History(source=run["data"][0])
    try:
        if not path.is_file():  # a pipe may never end
            raise CheckpointError("no plain file")
        kept = torch.load(path, map_location="cpu", weights_only=True)
        with zipfile.ZipFile(path) as archive:
            held = sorted(part.file_size for part in archive.infolist() if "/data/" in part.filename and part.file_size)
        if held != sorted({tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in _tensors(kept)}.values()):
            raise CheckpointError("its tensors are not as large as what it holds")
        found, state, log = dict(kept["run"]), kept["state"], kept["history"]
        if type(kept["schema"]) is not int or kept["schema"] != SCHEMA or set(state) != {"epoch", "model", "step", "random"}:
            raise CheckpointError("not a checkpoint of this version")
        differing = [key for key in run if found.get(key) != run[key]]
        history = None if differing else _history(log, state, run)
    except Exception as error:  # whatever a stranger's file sets off in the reader
        raise CheckpointError(f"{path}: can't be read as a checkpoint ({_brief(error)}); delete it to start anew") from None
    if differing:
        key = differing[0]
        if key == "arithmetic":
            raise CheckpointError(_elsewhere(path, found.get(key), run[key]))
        there, here = f"{found.get(key)!r}"[:80], f"{run[key]!r}"[:80]
        raise CheckpointError(f"{path} keeps another run: its {key} is {there}, not {here}. Name another file, or delete it")
    return state, history


def _elsewhere(path, there, here: dict) -> str:
    """What to say of a run that was begun in another arithmetic: all that differs, and the two ways on."""
    there = there if isinstance(there, dict) else {}
    parts = [f"{key} {there.get(key)!r:.80}, here {value!r}" for key, value in here.items() if there.get(key) != value]
    return (
        f"{path}: this run was begun with {'; '.join(parts)}. It would not go on bit for bit: "
        "go on where it was begun (OMP_NUM_THREADS sets the threads), or delete the file to start anew"
    )


def _history(log, state, run) -> History:
    """The log as a History, once it fits the run and its state: as many rows and steps, and weights of its shapes."""
    per_epoch = -(-run["data"][1] // run["recipe"]["batch_size"])
    rows, shapes = list(log["epochs"]), {name: list(value.shape) for name, value in state["model"].items()}
    if not (type(state["epoch"]) is int and len(rows) <= state["epoch"] <= run["epochs"]) or shapes != run["model"]:
        raise CheckpointError("its epochs or its weights do not fit its run")
    whole = [c.is_floating_point() and c.shape == (len(rows) * per_epoch,) for c in log["steps"].values()]
    if not all(isinstance(row, dict) for row in rows) or "loss" not in log["steps"] or not all(whole):
        raise CheckpointError("its rows and steps do not fit each other")
    if state["random"].dtype != torch.uint8 or state["random"].shape != torch.get_rng_state().shape:
        raise CheckpointError("its random state is none")
    steps = {name: np.asarray(column, dtype=float) for name, column in log["steps"].items()}
    return History(steps, rows, str(log["source"]), str(log["how"]))


def _tensors(content):
    """All tensors, but for empty ones, in dicts and lists within each other."""
    if torch.is_tensor(content):
        yield from [content] if content.untyped_storage().nbytes() else []
    elif isinstance(content, (dict, list, tuple)):
        for inner in content.values() if isinstance(content, dict) else content:
            yield from _tensors(inner)


def _brief(error) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or ['no message'])[0][:120]}"
