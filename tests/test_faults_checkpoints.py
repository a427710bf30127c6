"""Checkpoints from strangers: refused with a clear error, nothing executed, the model and the file as they were."""

import os
import pickle
import zipfile

import pytest
import torch
from faults import Bomb, survived, unharmed

from clrlib.lab import models
from clrlib.lab.checkpoints import CheckpointError
from clrlib.lab.training import Recipe, fit

PLAIN = Recipe(batch_size=16, precision="fp32")


@pytest.fixture(autouse=True)
def nothing_outside(tmp_path, monkeypatch):
    yield from unharmed(tmp_path, monkeypatch)


# --- checkpoints --------------------------------------------------------------------------------------------------

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


@pytest.mark.parametrize("part", ["schema", "run", "state", "history"])
def test_a_checkpoint_that_lacks_a_part_or_has_a_bomb_in_its_place(part, kept, data, small_model, tmp_path):
    without = {key: value for key, value in kept.items() if key != part}
    for content in (without, kept | {part: Bomb()}):
        torch.save(content, tmp_path / "run.pt")
        refused_checkpoint(tmp_path / "run.pt", data, small_model())


def test_a_checkpoint_that_was_cut_off(kept, data, small_model, tmp_path):
    path = tmp_path / "run.pt"
    torch.save(kept, path)
    whole = path.read_bytes()
    for length in range(0, len(whole), max(1, len(whole) // 60)):
        path.write_bytes(whole[:length])
        refused_checkpoint(path, data, small_model())


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
