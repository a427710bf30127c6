"""A run's last complete state, in a file: written atomically, read without unpickling anything but tensors and plain values."""

from __future__ import annotations

import io
import pickle
from dataclasses import asdict
from pathlib import Path

import torch

from clrlib.files import write_atomically
from clrlib.history import History
from clrlib.lab import engine
from clrlib.schedules import Schedule, as_schedule

SCHEMA = 2  # 2: the arithmetic is part of a run's identity
PARTS = {"run", "state", "history"}


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

    Raises CheckpointError for a file that is no checkpoint, and for one of another run, naming what differs.
    """
    path = Path(path)
    if not path.exists():
        return None, History(source=run["data"][0])
    kept = _read(path)
    if complaint := _difference(kept["run"], run):
        raise CheckpointError(f"{path} {complaint}")
    log = kept["history"]
    steps = {name: column.numpy().astype(float) for name, column in log["steps"].items()}
    return kept["state"], History(steps, log["epochs"], log["source"], log["how"])


def _read(path: Path) -> dict:
    """What `save` wrote. Only tensors and plain values are read, so a stranger's file executes nothing."""
    if not path.is_file():  # a pipe may never end
        raise CheckpointError(f"{path} is no plain file: name another one")
    try:
        kept = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, LookupError, EOFError, OSError) as error:
        said = (str(error).splitlines() or ["no message"])[0][:120]
        raise CheckpointError(f"{path}: can't be read as a checkpoint ({said}); delete it to start anew") from None
    if not isinstance(kept, dict) or kept.get("schema") != SCHEMA or not set(kept) >= PARTS:
        raise CheckpointError(f"{path}: not a checkpoint of this version; delete it to start anew")
    return kept


def _difference(there: dict, here: dict) -> str:
    """What makes a kept run another one than this, with the way on; "" where nothing does."""
    if there.get("arithmetic") != here["arithmetic"]:
        return _elsewhere(there.get("arithmetic") or {}, here["arithmetic"])
    for key, value in here.items():
        if there.get(key) != value:
            kept, wanted = f"{there.get(key)!r}"[:80], f"{value!r}"[:80]
            return f"keeps another run: its {key} is {kept}, not {wanted}. Name another file, or delete it"
    return ""


def _elsewhere(there: dict, here: dict) -> str:
    """All that differs between two arithmetics, and the two ways on."""
    parts = [f"{key} {there.get(key)!r:.80}, here {value!r}" for key, value in here.items() if there.get(key) != value]
    return (
        f"keeps a run that was begun with {'; '.join(parts)}. It would not go on bit for bit: "
        "go on where it was begun (OMP_NUM_THREADS sets the threads), or delete the file to start anew"
    )
