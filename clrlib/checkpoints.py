"""A run's last complete state, in a file: written atomically, read without unpickling anything but tensors and plain values."""

from __future__ import annotations

import io
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from clrlib.history import History
from clrlib.records import write_atomically
from clrlib.schedules import Schedule, as_schedule

SCHEMA = 1


class CheckpointError(ValueError):
    """A checkpoint that is damaged, or of another run."""


def identity(model, data, schedules: dict, epochs: int, recipe) -> dict:
    """What makes a run this run and no other, as plain values. A function as a schedule is known as a function only."""
    curves = {name: as_schedule(value) for name, value in schedules.items()}
    return {
        "epochs": epochs,
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
        kept = torch.load(path, map_location="cpu", weights_only=True)
        found, state, log = kept["run"], kept["state"], kept["history"]
        if kept["schema"] != SCHEMA or not {"epoch", "model", "step", "random"} <= set(state):
            raise CheckpointError("not a checkpoint of this version")
        steps = {name: np.asarray(column, dtype=float) for name, column in log["steps"].items()}
        history = History(steps, list(log["epochs"]), log["source"], log["how"])
    except Exception as error:  # whatever a stranger's file sets off in the reader
        raise CheckpointError(f"{path}: can't be read as a checkpoint ({_brief(error)}); delete it to start anew") from None
    if differing := [key for key in run if found.get(key) != run[key]]:
        key = differing[0]
        there, here = f"{found.get(key)!r}"[:80], f"{run[key]!r}"[:80]
        raise CheckpointError(f"{path} keeps another run: its {key} is {there}, not {here}. Name another file, or delete it")
    return state, history


def _brief(error) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or ['no message'])[0][:120]}"
