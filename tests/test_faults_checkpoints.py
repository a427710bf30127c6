"""Checkpoints and guesses from strangers: refused with a clear error, nothing executed, the model and the file as they were."""

import copy
import os
import pickle
import sys
import zipfile

import pytest
import torch
from faults import Bomb, survived, unharmed

from clrlib import guesses, models
from clrlib.checkpoints import CheckpointError
from clrlib.training import Recipe, fit

PLAIN = Recipe(batch_size=16, precision="fp32")


@pytest.fixture(autouse=True)
def nothing_outside(tmp_path, monkeypatch):
    yield from unharmed(tmp_path, monkeypatch)


# --- checkpoints --------------------------------------------------------------------------------------------------

ALL = [
    {}, [], None, 1, "x", torch.zeros(2), {"epoch": 1}, float("nan"), -1, 10**30, True, [1, 2], {"a": {"b": 1}},
]  # fmt: skip
PLACES = [
    ("schema",), ("run",), ("state",), ("history",), ("state", "epoch"), ("state", "model"), ("state", "step"), ("state", "random"),
    ("state", "step", "optimizer"), ("state", "step", "optimizer", "param_groups"), ("history", "steps"), ("history", "steps", "loss"),
    ("history", "epochs"), ("run", "epochs"), ("run", "recipe"), ("run", "data"), ("run", "model"), ("state", "model", "head.weight"),
]  # fmt: skip


@pytest.fixture(scope="module")
def kept(tmp_path_factory, data):
    """A whole checkpoint after its first epoch, as an object."""
    path = tmp_path_factory.mktemp("kept") / "run.pt"

    def stop(history):
        raise KeyboardInterrupt

    fit(models.tiny(width=4), data, {"lr": 0.1}, 3, PLAIN, progress=False, checkpoint=path, watch=stop)
    return torch.load(path, weights_only=True)


def refused_checkpoint(path, data, model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    whole, random = path.read_bytes() if path.stat().st_size < 10**7 and path.is_file() else None, torch.get_rng_state()
    with pytest.raises(CheckpointError):
        fit(model, data, {"lr": 0.1}, 3, PLAIN, progress=False, checkpoint=path)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items()) and torch.equal(
        random, torch.get_rng_state()
    )
    assert whole is None or path.read_bytes() == whole, "what can't be read is kept"
    survived(__name__)


@pytest.mark.parametrize("place", PLACES, ids="/".join)
def test_a_checkpoint_with_something_else_in_a_place(place, kept, data, small_model, tmp_path):
    for value in [*ALL, Bomb()]:
        content = copy.deepcopy(kept)
        inner = content
        for key in place[:-1]:
            inner = inner[key]
        last = place[-1] if place[-1] in inner else next(iter(inner))
        if type(inner[last]) is type(value) and not torch.is_tensor(value) and inner[last] == value:
            continue
        inner[last] = value
        torch.save(content, tmp_path / "run.pt")
        refused_checkpoint(tmp_path / "run.pt", data, small_model())


def test_a_checkpoint_that_claims_more_than_it_holds(kept, data, small_model, tmp_path):
    whole = tmp_path / "run.pt"
    for claim in (
        torch.zeros(1).expand(10**12),
        torch.zeros(1).expand(10**6, 10**6),
        torch.zeros(0),
        torch.zeros(4, dtype=torch.complex64),
    ):
        torch.save(kept | {"history": kept["history"] | {"steps": {"loss": claim}}}, whole)
        refused_checkpoint(whole, data, small_model())
    torch.save(kept, whole)
    with zipfile.ZipFile(whole) as archive:
        names = archive.namelist()
        parts = {name: archive.read(name) for name in names}
    for part in names:  # each part cut off, or inflated to 30 MB of zeros
        for changed in (parts[part][: len(parts[part]) // 2], bytes(30_000_000)):
            if part.endswith("data.pkl") or part.endswith("data/0") and len(changed) < len(parts[part]):
                with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
                    for name in names:
                        archive.writestr(name, changed if name == part else parts[name])
                refused_checkpoint(whole, data, small_model())


@pytest.mark.parametrize("kind", ["300 MB", "a pipe", "a folder", "a pickle", "a zip"])
def test_a_file_that_is_no_checkpoint(kind, data, small_model, tmp_path):
    path = tmp_path / "run.pt"
    make = {"a pipe": lambda: os.mkfifo(path), "a folder": path.mkdir, "a pickle": lambda: path.write_bytes(pickle.dumps(Bomb()))}
    make.get(kind, path.touch)()
    if kind == "300 MB":
        os.truncate(path, 300_000_000)
    if kind == "a zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("../../evil.py", "x")
            archive.writestr("archive/data.pkl", pickle.dumps(Bomb(), protocol=2))
    refused_checkpoint(path, data, small_model())


# --- guesses ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{", "1", "null", '{"a": 1}', '{"a": [1, 2]}',
        '{"a": {"0": 1, "1": 2, "2": 3}}',
        '{"a": {"x": 1, "y": 2, "z": 3}}', '{"a": "123"}',
        '{"a": [1, 2, 1' + "0" * 400 + "]}", '{"a": [1' + "0" * 5000 + ", 1, 1]}", "[" * 50_000 + "]" * 50_000, '{"a": [NaN, 1, 1]}',
        '{"a": [1, Infinity, 1]}', "\0",
    ],
    ids=range(16),
)  # fmt: skip
def test_guesses_that_cannot_be_read_are_left_out(text, runs):
    (runs.parent / "guesses.json").write_text(text)
    kept = guesses.kept_guesses()
    assert all(len(values) == 3 for values in kept.values()) and guesses.tally(kept).startswith("Guesses so far")
    survived(__name__)


def test_this_python_limits_the_digits_of_a_number():
    assert getattr(sys, "get_int_max_str_digits", lambda: 4300)() > 0
