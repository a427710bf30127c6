"""Recorded runs: the evidence behind the numbers in the chapters. JSON only, written whole or not at all.

data/runs/<experiment>/<name>-s<seed>.json; `data/README.md` describes the fields. Nothing here needs torch.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clrlib.files import ROOT, write_atomically
from clrlib.history import History, thin
from clrlib.validate import shown

SCHEMA = 1
MOST_BYTES = 100_000
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,79}")
FIELDS = {
    "schema": int, "experiment": str, "name": str, "seed": int, "recipe": dict, "data": str,
    "environment": dict, "sources": str, "seconds": (int, float), "epochs": list, "steps": dict,
}  # fmt: skip


REMEDY = "restore it with git checkout, or record the run anew"


class RecordError(ValueError):
    """A record that is damaged, edited, too large, or not a record at all."""


@dataclass(frozen=True)
class Record:
    """One recorded run. `content` is the file's JSON; the rest reads from it."""

    content: dict

    @property
    def label(self) -> str:
        return f"{self.content['experiment']}/{self.content['name']}-s{self.content['seed']}"

    @property
    def name(self) -> str:
        return self.content["name"]

    @property
    def seed(self) -> int:
        return self.content["seed"]

    @property
    def recipe(self) -> dict:
        return self.content["recipe"]

    @property
    def history(self) -> History:
        """The run's log; steps that were null (not finite) come back as NaN."""
        steps = {name: np.array(column, dtype=float) for name, column in self.content["steps"].items()}
        return History(steps, self.content["epochs"], self.content["data"])


def root() -> Path:
    """The folder of recorded runs: CLR_RUNS, else data/runs beside the package."""
    return Path(os.environ.get("CLR_RUNS") or ROOT / "data" / "runs")


def path_of(experiment: str, name: str, seed: int) -> Path:
    """Where a run is kept. Raises RecordError for a name that could leave the folder."""
    for part in (experiment, name):
        if not isinstance(part, str) or not SAFE_NAME.fullmatch(part):
            raise RecordError(f"{part!r:.100} can't name a run: use letters, digits, _ . + and -")
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise RecordError(f"seed must be a whole number from 0 up to 2**63, got {shown(seed)}")
    return root() / experiment / f"{name}-s{seed}.json"


def save(*args, **kwargs) -> Path:
    """Make a record (see `made`) and put it where it belongs, atomically; returns its path."""
    return write(made(*args, **kwargs))


def made(experiment, name, seed, recipe, history, environment, sources, seconds, most_steps=200) -> Record:
    """The record of one run. Refuses runs on the stand-in images, and a record that is too large.

    recipe       everything that determines the run, the schedules' data included (plain JSON values)
    environment  versions and machine;  sources: a hash of the training code;  seconds: wall time
    """
    if history.source != "CIFAR-10":
        raise RecordError(f"this run trained on {history.source!r}: only real CIFAR-10 is recorded (python -m clrlib data)")
    kept = thin(history, most_steps)
    steps = {key: [_rounded(x) for x in np.asarray(column).tolist()] for key, column in kept.steps.items()}
    content = {
        "schema": SCHEMA, "experiment": experiment, "name": name, "seed": seed, "recipe": recipe,
        "data": history.source, "environment": environment, "sources": sources, "seconds": round(seconds, 1),
        "epochs": [{key: _rounded(x) for key, x in row.items()} for row in kept.epochs], "steps": steps,
    }  # fmt: skip
    record = Record(content | {"digest": digest(content)})
    if (size := len(_text(record.content))) > MOST_BYTES:
        raise RecordError(f"{record.label} has {size:,} bytes, over {MOST_BYTES:,}: keep fewer steps")
    return record


def write(record: Record) -> Path:
    """Put a record where it belongs, atomically; returns its path."""
    target = path_of(record.content["experiment"], record.name, record.seed)
    write_atomically(target, _text(record.content))
    return target


def load(path) -> Record:
    """Read one record. Raises RecordError, naming the file and what is wrong, and executes nothing."""
    path = Path(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe or a device may never end
            raise RecordError(f"{path.name}: can't be read as a record (no plain file); {REMEDY}")
        with open(path, "rb") as file:
            text = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise RecordError(f"{path.name}: no such record; `python -m clrlib record --list` shows what there is") from None
    except (OSError, ValueError) as error:
        raise RecordError(f"{path.name}: can't be read as a record ({error}); {REMEDY}") from None
    record = parse(text, path.name)
    if path_of(record.content["experiment"], record.name, record.seed).name != path.name:
        raise RecordError(f"{path.name}: its name does not match what it says it is; {REMEDY}")
    return record


def parse(text: str | bytes, where: str) -> Record:
    """The record that a text holds. Raises RecordError, beginning with `where`, for anything else."""
    try:
        if len(text) > MOST_BYTES:
            raise RecordError(f"larger than {MOST_BYTES:,} bytes, so not a record")
        text = text.decode() if isinstance(text, bytes) else text
        content = json.loads(text, parse_constant=_refuse_constant)
        _check(content)
        path_of(content["experiment"], content["name"], content["seed"])
    except (ValueError, ArithmeticError, RecursionError) as error:
        problem = f"{error}" if isinstance(error, RecordError) else f"can't be read as a record ({error})"
        raise RecordError(f"{where}: {problem}; {REMEDY}") from None
    return Record(content)


def load_all(experiment: str, name: str | None = None) -> list[Record]:
    """The records of an experiment (of one named run if given), ordered by name and seed; [] if none."""
    folder = path_of(experiment, name or "any", 0).parent
    found = [load(path) for path in sorted(folder.glob("*.json" if name is None else f"{name}-s*.json"))]
    if strangers := [record.label for record in found if record.content["experiment"] != experiment]:
        raise RecordError(f"{strangers[0]} lies among the runs of {experiment}: move it where it belongs")
    found = [record for record in found if name is None or record.name == name]
    return sorted(found, key=lambda record: (record.name, record.seed))


def digest(content: dict) -> str:
    """SHA-256 over everything but the digest itself: a hand edit shows."""
    bare = {key: value for key, value in content.items() if key != "digest"}
    return hashlib.sha256(json.dumps(bare, sort_keys=True, allow_nan=False).encode()).hexdigest()


def same_outcome(one: Record, other: Record) -> bool:
    """Whether two records are of one run that came out the same; when, where and how fast it ran is left out."""
    return _outcome(one) == _outcome(other)


def _outcome(record: Record) -> dict:
    rows = [{key: value for key, value in row.items() if key != "seconds"} for row in record.content["epochs"]]
    left_out = ("seconds", "environment", "sources", "digest", "tier")
    return {key: value for key, value in record.content.items() if key not in left_out} | {"epochs": rows}


def source_hash(files) -> str:
    """A short hash over the given source files: which code made this run."""
    together = hashlib.sha256()
    for file in sorted(map(Path, files), key=lambda f: f.name):
        together.update(file.name.encode() + b"\0" + file.read_bytes().replace(b"\r\n", b"\n"))
    return together.hexdigest()[:16]


def _check(content):
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise RecordError(f"not a record of schema {SCHEMA}")
    for key, kind in FIELDS.items():
        if not isinstance(content.get(key), kind) or isinstance(content[key], bool):
            raise RecordError(f"field {key!r} is missing or of a wrong kind")
    columns = content["steps"].values()
    if not all(isinstance(column, list) for column in columns) or len({len(column) for column in columns}) > 1:
        raise RecordError("its step columns differ in length")
    if not all(_is_number(x) for column in columns for x in column):
        raise RecordError("its step columns hold something that is not a number")
    if not all(isinstance(row, dict) for row in content["epochs"]):
        raise RecordError("its epochs are not rows")
    if not all(_is_number(x) for row in content["epochs"] for x in row.values()) or not 0 <= content["seconds"] < 1e12:
        raise RecordError("its epochs or its seconds hold something that is not a number")
    if content.get("digest") != digest(content):
        raise RecordError("its digest does not match: it was edited or damaged")


def _is_number(x) -> bool:
    """Whether a column may hold it: a number that a float can hold, or None for what was not finite."""
    return x is None or (isinstance(x, (int, float)) and not isinstance(x, bool) and abs(x) < 1e308)


def _text(content: dict) -> str:
    """JSON with one line per field, so that a diff shows which field changed."""
    lines = [f"{json.dumps(key)}: {json.dumps(value, allow_nan=False)}" for key, value in content.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _rounded(x):
    """Six significant digits; None for what is not finite (JSON has no NaN)."""
    if isinstance(x, (bool, str, int)) or x is None:
        return x
    return float(f"{x:.6g}") if math.isfinite(x) else None


def _refuse_constant(text):
    raise ValueError(f"{text} is not JSON")
