import subprocess
import sys

import pytest
import torch

from clrlib.__main__ import main
from clrlib.evidence import recording
from clrlib.evidence.experiments import DECLARED
from clrlib.lab import download as cifar10
from clrlib.lab import engine


@pytest.fixture
def recorded(monkeypatch, runs):
    """What `record` was asked to train; nothing is."""
    done = []

    def pretend(run, seed, progress, results=None):
        done.append((run.name, seed))
        return runs / run.experiment / f"{run.name}-s{seed}.json"

    monkeypatch.setattr(recording, "record", pretend)
    return done


def test_the_list_has_a_line_per_declared_run_and_trains_nothing(recorded, capsys):
    assert main(["record", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + len(DECLARED) and recorded == []
    assert all(run.name in line and f"0 /{run.seeds:>2}" in line for run, line in zip(DECLARED, lines[1:]))


@pytest.mark.parametrize(
    "args, expected",
    [
        (["E3", "--name", "tiny-momentum-0.9"], [("tiny-momentum-0.9", seed) for seed in range(10)]),
        (["E3", "--name", "tiny-momentum-0.9", "--seeds", "1"], [("tiny-momentum-0.9", 0)]),
        (["E3", "--name", "nothing-of-this-name"], []),
    ],
)
def test_record_runs_what_is_missing(args, expected, recorded, capsys):
    assert main(["record", *args]) == 0
    assert recorded == expected and f"{len(expected)} of {len(expected)} runs to do" in capsys.readouterr().out


def test_a_shard_records_its_part_and_the_parts_make_the_whole(recorded, capsys):
    for part in ("1/3", "2/3", "3/3"):
        assert main(["record", "E8", "--network", "tiny", "--shard", part]) == 0
    wanted = [(run.name, seed) for run in DECLARED if run.experiment == "E8" and run.network == "tiny" for seed in run.every_seed]
    assert sorted(recorded) == sorted(wanted)


@pytest.mark.parametrize("part", ["3", "1/2/3", "a/b", "0/2", "3/2"])
def test_a_shard_that_is_none_is_an_error(part, recorded, capsys):
    assert main(["record", "E8", "--shard", part]) == 1
    assert "error: " in capsys.readouterr().err and recorded == []


def test_a_results_file_is_collected(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(recording, "collect", lambda file: [tmp_path / "E1" / "a.json"] * 3)
    assert main(["collect", "results.jsonl"]) == 0
    assert f"3 records written below {tmp_path}" in capsys.readouterr().out


def test_an_unknown_experiment_is_one_line_and_a_status(capsys):
    assert main(["record", "E99"]) == 1
    out, err = capsys.readouterr()
    assert err.startswith("error: experiment 'E99' is unknown") and err.count("\n") == 1 and out == ""


def test_an_interrupt_says_that_the_finished_runs_are_kept(recorded, monkeypatch, capsys):
    def stop(run, seed, progress, results):
        raise KeyboardInterrupt("x was stopped early.")

    monkeypatch.setattr(recording, "record", stop)
    assert main(["record", "E3"]) == 130
    assert "x was stopped early. What was finished is kept" in capsys.readouterr().err


def test_data_that_is_there_is_not_fetched(monkeypatch, capsys):
    monkeypatch.setattr(cifar10, "find", lambda: "here")
    monkeypatch.setattr(cifar10, "download", None)
    assert main(["data"]) == 0 and "complete and verified in here" in capsys.readouterr().out


@pytest.mark.parametrize("damaged", [True, False])
def test_data_that_is_missing_or_damaged_is_fetched(damaged, monkeypatch, capsys):
    def find():
        if damaged:
            raise cifar10.DataError("test_batch is damaged")

    monkeypatch.setattr(cifar10, "find", find)
    monkeypatch.setattr(cifar10, "download", lambda: "fetched")
    assert main(["data"]) == 0
    out = capsys.readouterr().out
    assert "verified in fetched" in out and ("test_batch is damaged" in out) == damaged


def test_data_that_cannot_be_had_is_an_error(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(cifar10, "folders", lambda: [tmp_path])
    assert main(["data"]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: CIFAR-10 could not be downloaded")


@pytest.mark.parametrize("images", ["found", None, cifar10.DataError("test_batch is damaged")], ids=["found", "absent", "damaged"])
def test_doctor_reports_whatever_it_finds(images, runs, monkeypatch, capsys):
    def find():
        if isinstance(images, Exception):
            raise images
        return images

    monkeypatch.setattr(cifar10, "find", find)
    monkeypatch.setattr(engine, "pick_precision", lambda device: "fp32")
    monkeypatch.setenv("CLR_PROFILE", "smoke")
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert torch.__version__ in out and "Profile    smoke" in out and "Precision  fp32" in out and "Records    0 in" in out
    assert {"found": "CIFAR-10   found", None: "not here yet"}.get(images, "test_batch is damaged") in out


def test_doctor_names_an_unknown_profile(runs, monkeypatch, capsys):
    monkeypatch.setattr(cifar10, "find", lambda: None)
    monkeypatch.setattr(engine, "pick_precision", lambda device: "fp32")
    monkeypatch.setenv("CLR_PROFILE", "huge")
    assert main(["doctor"]) == 1 and "error: CLR_PROFILE='huge' is unknown" in capsys.readouterr().err


def test_an_unknown_notebook_is_an_error(capsys):
    assert main(["build", "99_none.ipynb"]) == 1
    assert "error: 99_none.ipynb: no such notebook" in capsys.readouterr().err


@pytest.mark.parametrize("args", [[], ["train"], ["record", "--seeds", "many"]])
def test_a_command_that_does_not_exist_shows_how_to_use_it(args, capsys):
    with pytest.raises(SystemExit) as stop:
        main(args)
    assert stop.value.code == 2 and "usage: python -m clrlib" in capsys.readouterr().err


def test_it_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "clrlib", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and all(command in done.stdout for command in ("doctor", "data", "record", "build"))
