"""SIGKILL at random moments of a recording and of a write: nothing half-written, and a resumed run ends as an unbroken one."""

import json
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch
from faults import processes, survived

from clrlib import files
from clrlib import schedules as s
from clrlib.evidence import recording, records
from clrlib.evidence.experiments import Run
from clrlib.lab import checkpoints
from clrlib.lab import cifar as images_of
from clrlib.lab.cifar import Data, Split
from clrlib.lab.training import Recipe

LR = {"lr": s.one_cycle(0.01, 0.1), "momentum": s.one_cycle_momentum()}
TRAINED = Run("E9", "trained", "", epochs=30, schedules=LR, recipe=Recipe(batch_size=16, precision="fp32"))
SWEPT = Run(
    "E9", "swept", "", epochs=0, recipe=TRAINED.recipe, sweep={"low": 1e-4, "high": 0.1, "steps": 60, "sweep": "exponential"}
)


def noise(images, seed):
    drawn = torch.randint(0, 256, (images, 8, 8, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return Split(drawn, torch.arange(images) % 10)


def record(run, folder: Path, began):
    """In a process of its own: record the run on noise that passes for CIFAR-10."""
    torch.set_num_threads(1)
    os.environ["CLR_RUNS"] = str(folder / "runs")
    images_of.load = lambda *args, **kwargs: Data(noise(40, 0), noise(20, 1))
    began.set()
    recording.record(run, 0, "cpu", progress=False, results=folder / "results.jsonl")


def carried_out(work, *args, seconds=None):
    """Do the work in a process of its own, and kill it after `seconds`; returns whether it was killed, and how long it took."""
    forks = processes()
    began = forks.Event()
    child = forks.Process(target=work, args=(*args, began))
    child.start()
    assert began.wait(60)
    start = time.monotonic()
    child.join(seconds)
    child.kill()  # where it has ended meanwhile, nothing happens
    child.join(60)
    assert child.exitcode in ((0,) if seconds is None else (0, -signal.SIGKILL))
    return child.exitcode != 0, time.monotonic() - start


def timeless(content):
    """A record's content but its times."""
    epochs = [{key: value for key, value in row.items() if key != "seconds"} for row in content["epochs"]]
    return content | {"seconds": 0, "digest": 0, "epochs": epochs}


def left_whole(folder: Path, run, expected):
    """What lies in the folder is whole, or a part that goes by no name: records, checkpoint, results file."""
    found = list((folder / "runs").rglob("*.json"))
    assert all(timeless(records.load(path).content) == expected for path in found)
    for path in (folder / "unfinished").glob("*.pt"):
        kept = torch.load(path, weights_only=True)
        assert checkpoints.load(path, kept["run"])[0]["epoch"] == len(kept["history"]["epochs"])
    lines = (folder / "results.jsonl").read_text().split("\n")[:-1] if (folder / "results.jsonl").exists() else []
    assert all(timeless(records.parse(line, "line").content) == expected for line in lines)
    others = {path.name for path in folder.rglob("*") if path.is_file() and path.suffix != ".part"}
    assert others <= {f"{run.name}-s0.json", f"E9-{run.name}-s0.pt", "results.jsonl"}
    return bool(found)


def killed_until_recorded(run, folder, expected, length, chance, monkeypatch):
    """Kill the recording at random moments until a record lies there; returns how often it was killed."""
    monkeypatch.setenv("CLR_RUNS", str(folder / "runs"))
    for kills in range(200):
        killed, _ = carried_out(record, run, folder, seconds=chance.uniform(0, length) ** 2 / length)
        recorded = left_whole(folder, run, expected)
        assert recorded or killed
        if recorded:
            carried_out(record, run, folder)  # once more, where a kill came between the record and the end of its checkpoint
            assert left_whole(folder, run, expected) and not list((folder / "unfinished").glob("*.pt"))
            assert len((folder / "results.jsonl").read_text().splitlines()) >= 1
            return kills + killed
    raise AssertionError("never recorded")


def rounds(run, least, tmp_path, monkeypatch):
    """Kill as often as wanted, over as many recordings as it takes."""
    (tmp_path / "whole").mkdir()
    _, length = carried_out(record, run, tmp_path / "whole")
    (path,) = (tmp_path / "whole").rglob("*.json")
    expected, kills, chance = timeless(json.loads(path.read_text())), 0, random.Random(0)
    for i in range(least):
        if kills < least:
            (tmp_path / str(i)).mkdir()
            kills += killed_until_recorded(run, tmp_path / str(i), expected, length, chance, monkeypatch)
    assert kills >= least
    survived(__name__, kills)


@pytest.mark.parametrize("run, kills", [(TRAINED, 20), (SWEPT, 12)], ids=["trained", "swept"])
def test_a_recording_killed_again_and_again_ends_as_an_unbroken_one(run, kills, tmp_path, monkeypatch):
    rounds(run, kills, tmp_path, monkeypatch)


@pytest.mark.full
@pytest.mark.parametrize("run, kills", [(TRAINED, 300), (SWEPT, 150)], ids=["trained", "swept"])
def test_a_recording_killed_hundreds_of_times(run, kills, tmp_path, monkeypatch):
    rounds(run, kills, tmp_path, monkeypatch)


# --- a write ------------------------------------------------------------------------------------------------------


def written(i):
    """A notebook of about 1 MB, another one for each i."""
    cell = {"cell_type": "markdown", "id": f"cell-{i:03d}", "metadata": {}, "source": f"{i} " * 300_000}
    return json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


def write_on(path, began):
    """Write one notebook after the other in the same place, without end."""
    texts = [written(i) for i in range(10)]
    began.set()
    for i in range(10_000_000):
        files.write_atomically(path, texts[i % 10])


def killed_writes(kills, tmp_path):
    path, chance = tmp_path / "notebooks" / "00.ipynb", random.Random(1)
    files.write_atomically(path, written(0))
    whole, seen = {written(i) for i in range(10)}, set()
    for _ in range(kills):
        assert carried_out(write_on, path, seconds=chance.uniform(0, 0.05))[0]
        assert (text := path.read_text()) in whole
        seen.add(text)
    parts = set(os.listdir(path.parent)) - {path.name}
    assert len(seen) > 2 and parts and all(part.startswith(".00.ipynb.") and part.endswith(".part") for part in parts)
    for part in parts:
        os.utime(path.with_name(part), (0, 0))
    (path.with_name(".00.ipynb.young.part")).touch()
    files.write_atomically(path, written(1))
    assert set(os.listdir(path.parent)) == {path.name, ".00.ipynb.young.part"}, "what kills left is deleted, what is at work is not"
    survived(__name__, kills)


def test_a_notebook_killed_while_it_is_written_is_the_old_one_or_the_new_one(tmp_path):
    killed_writes(30, tmp_path)


@pytest.mark.full
def test_a_notebook_killed_hundreds_of_times_while_it_is_written(tmp_path):
    killed_writes(400, tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.9, 0.999])
def test_a_line_that_a_kill_cut_off_gives_way_to_the_next(share, tmp_path, monkeypatch):
    monkeypatch.setenv("CLR_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(images_of, "load", lambda *args, **kwargs: Data(noise(40, 0), noise(20, 1)))
    recording._data.cache_clear()
    file = tmp_path / "results.jsonl"
    paths = [recording.record(SWEPT, seed, "cpu", progress=False, results=file) for seed in (0, 1)]
    first, second = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(first + second[: int(share * len(second))])
    recording.append(file, records.load(paths[1]))
    monkeypatch.setenv("CLR_RUNS", str(tmp_path / "elsewhere"))
    assert file.read_bytes() == first + second and [path.name for path in recording.collect(file)] == ["swept-s0.json", "swept-s1.json"]
    recording._data.cache_clear()
    survived(__name__)


def test_processes_come_from_a_server_without_threads():
    assert isinstance(processes(), multiprocessing.context.ForkServerContext)
