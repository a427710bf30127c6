"""Checkpoints: a run that was killed ends as if it had never been; a stranger's file executes nothing."""

import os
import pickle
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from clrlib import schedules as s
from clrlib.lab.checkpoints import CheckpointError
from clrlib.lab.training import Recipe, fit, steps

PLAIN = Recipe(batch_size=16, precision="fp32")
CURVES = {"lr": s.one_cycle(0.02, 0.2), "momentum": s.one_cycle_momentum()}


def quiet(model, data, checkpoint=None, epochs=4, recipe=PLAIN, curves=CURVES, **kwargs):
    return fit(model, data, curves, epochs, recipe, progress=False, checkpoint=checkpoint, **kwargs)


def outcome(model, history):
    """All that a run leaves, but its seconds."""
    rows = [{key: value for key, value in row.items() if key != "seconds"} for row in history.epochs]
    return [v.tolist() for v in model.state_dict().values()], rows, {name: column.tolist() for name, column in history.steps.items()}


def stopping(after):
    """A watch that interrupts after so many epochs."""

    def watch(history):
        if len(history.epochs) == after:
            raise KeyboardInterrupt

    return watch


@pytest.mark.parametrize("change", [{}, {"optimizer": "adamw"}, {"nesterov": True}, {"precision": "bf16"}, {"channels_last": False}])
@pytest.mark.parametrize("fast", [False, True])
def test_an_interrupted_run_ends_bit_for_bit_as_an_unbroken_one(change, fast, data, small_model, tmp_path):
    recipe, path = replace(PLAIN, **change), tmp_path / "run.pt"
    whole = small_model()
    expected = outcome(whole, quiet(whole, data, recipe=recipe, fast=fast))
    for after in (1, 3):
        assert len(quiet(small_model(), data, path, recipe=recipe, fast=fast, watch=stopping(after)).epochs) == after
    again = small_model(seed=9)  # whatever the weights: the checkpoint brings its own
    assert outcome(again, quiet(again, data, path, recipe=recipe, fast=fast)) == expected


def test_a_run_begun_with_other_threads_is_refused_with_the_way_on(data, small_model, tmp_path):
    path, threads = tmp_path / "run.pt", torch.get_num_threads()
    quiet(small_model(), data, path, watch=stopping(1))
    before = path.read_bytes()
    torch.set_num_threads(threads + 1)
    try:
        with pytest.raises(CheckpointError, match=rf"threads {threads}, here {threads + 1}.*OMP_NUM_THREADS"):
            quiet(small_model(), data, path)
    finally:
        torch.set_num_threads(threads)
    assert path.read_bytes() == before
    assert len(quiet(small_model(), data, path).epochs) == 4


def test_auto_precision_is_kept_as_what_it_came_to(data, small_model, tmp_path, monkeypatch):
    path, auto = tmp_path / "run.pt", replace(PLAIN, precision="auto")
    monkeypatch.setattr("clrlib.lab.engine.pick_precision", lambda device: "fp32")
    quiet(small_model(), data, path, recipe=auto, watch=stopping(1))
    monkeypatch.setattr("clrlib.lab.engine.pick_precision", lambda device: "bf16")
    with pytest.raises(CheckpointError, match="precision 'fp32', here 'bf16'"):
        quiet(small_model(), data, path, recipe=auto)


def test_another_processor_is_refused_by_name(data, small_model, tmp_path, monkeypatch):
    path = tmp_path / "run.pt"
    quiet(small_model(), data, path, watch=stopping(1))
    monkeypatch.setattr("clrlib.lab.engine._processor", lambda: {"model name": "Abacus 3", "cpu family": "1", "model": "2"})
    with pytest.raises(CheckpointError, match="here 'CPU, Abacus 3"):
        quiet(small_model(), data, path)


def test_random_numbers_drawn_in_training_go_on_where_they_were(data, small_model, tmp_path):
    def model():
        return torch.nn.Sequential(torch.nn.Dropout(0.3), small_model())

    torch.manual_seed(1)
    whole = model()
    expected = outcome(whole, quiet(whole, data))
    torch.manual_seed(1)
    quiet(model(), data, tmp_path / "run.pt", watch=stopping(2))
    torch.manual_seed(77)
    again = model()
    assert outcome(again, quiet(again, data, tmp_path / "run.pt")) == expected


def test_a_finished_run_comes_back_without_training(data, small_model, tmp_path, monkeypatch):
    first, again = small_model(), small_model(seed=3)
    expected = outcome(first, quiet(first, data, tmp_path / "run.pt"))
    monkeypatch.setattr("clrlib.lab.engine.train_step", None)
    assert outcome(again, quiet(again, data, tmp_path / "run.pt")) == expected


def test_a_run_that_diverged_is_not_trained_further(data, small_model, tmp_path):
    curves = {"lr": s.join([s.constant(0.1), s.constant(1e30)], [1, 3])}
    first = quiet(small_model(), data, tmp_path / "run.pt", epochs=6, curves=curves)
    again = quiet(small_model(), data, tmp_path / "run.pt", epochs=6, curves=curves)
    assert 0 < len(first.epochs) == len(again.epochs) < 6 and not np.isfinite(again.steps["loss"]).all()


TRAIN = """
import sys, torch
torch.set_num_threads(1)
from clrlib import schedules as s
from clrlib.lab.cifar import Data, Split
from clrlib.lab.models import tiny
from clrlib.lab.training import Recipe, fit
g = torch.Generator().manual_seed(0)
data = Data(*(Split(torch.randint(0, 256, (n, 32, 32, 3), generator=g, dtype=torch.uint8), torch.arange(n) % 10) for n in (50, 20)))
torch.manual_seed(0)
model = tiny(width=4)
print("ready", flush=True)
def slow(history):
    print(len(history.epochs), flush=True)
history = fit(model, data, {"lr": s.one_cycle(0.02, 0.2), "momentum": s.one_cycle_momentum()}, 60,
              Recipe(batch_size=16, precision="fp32"), progress=False, checkpoint=sys.argv[1], watch=slow)
rows = [{k: v for k, v in row.items() if k != "seconds"} for row in history.epochs]
torch.save([model.state_dict(), rows, history.steps["loss"].tolist()], sys.argv[2])
"""


def start(*paths):
    return subprocess.Popen([sys.executable, "-c", TRAIN, *map(str, paths)], stdout=subprocess.PIPE, text=True)


def test_a_run_killed_at_random_moments_ends_bit_for_bit_as_an_unbroken_one(tmp_path):
    whole = start(tmp_path / "whole.pt", tmp_path / "expected.pt")
    assert whole.stdout.readline() == "ready\n"
    began = time.monotonic()
    assert whole.communicate()[0].split()[-1] == "60" and whole.returncode == 0
    length, chance, kills = time.monotonic() - began, random.Random(0), 0
    for _ in range(6):
        child = start(tmp_path / "run.pt", tmp_path / "got.pt")
        child.stdout.readline()
        time.sleep(chance.uniform(0, length / 4))
        child.send_signal(signal.SIGKILL)
        said = child.communicate()[0].split()
        kills += child.returncode == -signal.SIGKILL
        assert not said or 0 < int(said[0]) <= 60
    last = start(tmp_path / "run.pt", tmp_path / "got.pt")
    said = last.communicate()[0].split()
    assert kills >= 4 and len(said) <= 61
    (model, rows, losses), (a, b, c) = (torch.load(tmp_path / name) for name in ("expected.pt", "got.pt"))
    assert rows == b and losses == c and all(torch.equal(model[key], a[key]) for key in model)
    left = {name for name in os.listdir(tmp_path) if not name.endswith(".part")}  # a kill may leave a part, never under the file's name
    assert left == {"expected.pt", "got.pt", "run.pt", "whole.pt"}


@pytest.mark.parametrize(
    "change, key",
    [
        (lambda data, model: {"epochs": 5}, "epochs"),
        (lambda data, model: {"recipe": replace(PLAIN, seed=1)}, "recipe"),
        (lambda data, model: {"curves": {"lr": 0.1}}, "schedules"),
        (lambda data, model: {"data": replace(data, source="digits")}, "data"),
        (lambda data, model: {"model": torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 10))}, "model"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused_and_kept(change, key, data, small_model, tmp_path):
    path = tmp_path / "run.pt"
    quiet(small_model(), data, path, watch=stopping(1))
    kept, other = path.read_bytes(), {"model": small_model(), "data": data} | change(data, small_model)
    with pytest.raises(CheckpointError, match=f"run.pt keeps another run: its {key} is .* Name another file"):
        quiet(checkpoint=path, **other)
    assert path.read_bytes() == kept


class Bomb:
    def __reduce__(self):
        return os.mkdir, (os.environ["BOMB"],)


@pytest.mark.parametrize("kind", ["empty", "text", "cut", "pickle", "torch pickle", "other tensors", "zip"])
def test_a_strangers_file_is_refused_and_executes_nothing(kind, data, small_model, tmp_path, monkeypatch):
    path, bomb = tmp_path / "run.pt", tmp_path / "executed"
    monkeypatch.setenv("BOMB", str(bomb))
    quiet(small_model(), data, path, watch=stopping(1))
    whole = path.read_bytes()
    if kind == "torch pickle":
        torch.save({"schema": 1, "state": Bomb()}, path)
    elif kind == "other tensors":
        torch.save({"weights": torch.zeros(3)}, path)
    else:
        contents = {"empty": b"", "text": b"hello", "cut": whole[: len(whole) // 2], "zip": b"PK\x03\x04" + bytes(99)}
        path.write_bytes(contents.get(kind, pickle.dumps(Bomb(), protocol=2)))
    said = "not a checkpoint of this version" if kind == "other tensors" else "can't be read as a checkpoint .*"
    with pytest.raises(CheckpointError, match=f"{said}; delete it to start anew"):
        quiet(small_model(), data, path)
    assert not bomb.exists()


def test_a_full_disk_keeps_the_last_checkpoint(data, small_model, tmp_path, monkeypatch):
    path = tmp_path / "run.pt"
    quiet(small_model(), data, path, watch=stopping(1))
    kept = path.read_bytes()

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        quiet(small_model(), data, path)
    assert path.read_bytes() == kept and os.listdir(tmp_path) == ["run.pt"]


def test_steps_can_be_resumed_by_hand(data, small_model):
    run, model = steps(small_model(), data, CURVES, 3, PLAIN), small_model()
    taken = [next(run) for _ in range(8)]
    state = taken[-1].state()
    assert taken[3].state is not None and taken[4].state is None
    rest, expected = list(steps(model, data, CURVES, 3, PLAIN, resume=state)), list(run)
    assert [step.step for step in rest] == [8, 9, 10, 11]
    assert [float(step.loss) for step in rest] == [float(step.loss) for step in expected]
