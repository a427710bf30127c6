import json
import os
import pickle

import numpy as np
import pytest

from clrlib.evidence import records
from clrlib.evidence.records import RecordError
from clrlib.history import History

ROW = {"epoch": 1, "step": 50, "train_loss": 1.23456789, "train_accuracy": 51.5, "loss": 1.5, "accuracy": 47.25, "seconds": 3.5}
RECIPE = {"model": "tiny", "schedules": {"lr": {"knots": [0, 1], "values": [0.1, 0.2], "eases": ["linear"]}}}


def history(n=50, source="CIFAR-10"):
    steps = {"lr": np.linspace(0.1, 0.2, n), "loss": np.geomspace(2.3, 0.0123456789, n)}
    return History(steps, [dict(ROW)], source)


def saved(name="one", seed=0, log=None, **kwargs):
    return records.save("E1", name, seed, RECIPE, log or history(), {"torch": "2"}, "abc", 3.456, **kwargs)


def edited(path, change):
    """The file with `change` applied to its content, and its digest made to fit again."""
    content = json.loads(path.read_text())
    change(content)
    content["digest"] = records.digest(content)
    path.write_text(json.dumps(content))
    return path


# --- round trip --------------------------------------------------------------------------------------------


def test_a_run_comes_back_to_six_digits(runs):
    path, log = saved(), history()
    record = records.load(path)
    assert path == runs / "E1" / "one-s0.json" and record.label == "E1/one-s0" and (record.name, record.seed) == ("one", 0)
    assert record.recipe == RECIPE and record.content["seconds"] == 3.5
    np.testing.assert_allclose(record.history.steps["loss"], log.steps["loss"], rtol=5e-6)
    assert record.history.steps["step"].tolist() == list(range(50))
    assert record.history.epochs == [ROW | {"train_loss": 1.23457}] and record.history.source == "CIFAR-10"


def test_steps_that_were_not_finite_come_back_as_nan(runs):
    log = history(4)
    log.steps["loss"][2:] = [np.nan, np.inf]
    assert np.isnan(records.load(saved(log=log)).history.steps["loss"]).tolist() == [False, False, True, True]


def test_long_runs_are_thinned_evenly_and_stay_small(runs):
    path = saved(log=history(9310))
    kept = records.load(path).history.steps["step"]
    assert len(kept) == 200 and kept[0] == 0 and kept[-1] == 9309 and set(np.diff(kept)) <= {46, 47}
    assert path.stat().st_size < 20_000


def test_saving_again_changes_no_byte(runs):
    first = saved().read_bytes()
    assert saved().read_bytes() == first and first.endswith(b"}\n")


def test_records_come_by_name_and_seed(runs):
    for name, seed in (("b", 1), ("a", 10), ("b", 0), ("a", 2)):
        saved(name, seed)
    assert [(r.name, r.seed) for r in records.load_all("E1")] == [("a", 2), ("a", 10), ("b", 0), ("b", 1)]
    assert [r.seed for r in records.load_all("E1", "b")] == [0, 1] and records.load_all("E2") == []


def test_records_lie_beside_the_package_unless_the_environment_says_otherwise(runs, monkeypatch):
    assert records.root() == runs
    monkeypatch.delenv("CLR_RUNS")
    assert records.root().parts[-2:] == ("data", "runs")


# --- what is refused ------------------------------------------------------------------------------------------


def test_the_stand_in_is_never_recorded(runs):
    with pytest.raises(RecordError, match="'digits': only real CIFAR-10"):
        saved(log=history(source="digits"))
    assert not runs.exists()


def test_a_record_over_100_kB_is_refused(runs):
    with pytest.raises(RecordError, match="has [0-9,]+ bytes, over 100,000: keep fewer steps"):
        saved(log=history(9000), most_steps=9000)
    assert not runs.exists()


@pytest.mark.parametrize("name", ["../out", "a/b", "a\\b", "/etc/x", ".hidden", "", "a\n", "x" * 81, "nul\0", None, 3])
def test_a_name_that_could_leave_the_folder_is_refused(name, runs):
    for experiment, run in (("E1", name), (name, "one")):
        with pytest.raises(RecordError, match="can't name a run"):
            records.path_of(experiment, run, 0)


@pytest.mark.parametrize("seed", [-1, "0", 1.5, True, None])
def test_a_seed_is_a_whole_number_from_0(seed, runs):
    with pytest.raises(RecordError, match="seed must be a whole number"):
        records.path_of("E1", "one", seed)


def cut(path):
    path.write_text(path.read_text()[:-40])


def hand_edit(path):
    path.write_text(path.read_text().replace("47.25", "97.25"))


def resaved(change):
    return lambda path: edited(path, change)


class Evil:
    def __reduce__(self):
        return os.mkdir, ("pickle-was-run",)


DAMAGE = {
    "a hand edit": (hand_edit, "digest does not match"),
    "cut off": (cut, "can't be read"),
    "empty": (lambda p: p.write_text(""), "can't be read"),
    "a pickle": (lambda p: p.write_bytes(pickle.dumps(Evil())), "can't be read"),
    "a folder": (lambda p: (p.unlink(), p.mkdir()), "can't be read"),
    "gone": (lambda p: p.unlink(), "no such record"),
    "a NaN": (lambda p: p.write_text(p.read_text().replace("47.25", "NaN")), "NaN is not JSON"),
    "an infinite number": (lambda p: p.write_text(p.read_text().replace("47.25", "1e999")), "restore it"),
    "a number of 5,000 digits": (lambda p: p.write_text(p.read_text().replace("47.25", "9" * 5000)), "restore it"),
    "nested too deep": (lambda p: p.write_text("[" * 40_000 + "]" * 40_000), "can't be read"),
    "too large": (lambda p: p.write_text(" " * 100_001), "larger than 100,000 bytes"),
    "another schema": (resaved(lambda c: c.update(schema=2)), "not a record of schema 1"),
    "a list": (lambda p: p.write_text("[1, 2]"), "not a record of schema 1"),
    "a field missing": (resaved(lambda c: c.pop("recipe")), "field 'recipe'"),
    "a field of a wrong kind": (resaved(lambda c: c.update(seed="0")), "field 'seed'"),
    "uneven columns": (resaved(lambda c: c["steps"]["lr"].pop()), "columns differ in length"),
    "text in a column": (resaved(lambda c: c["steps"]["lr"].__setitem__(0, "0.1")), "not a number"),
    "a column too large for a float": (resaved(lambda c: c["steps"]["lr"].__setitem__(0, 10**400)), "not a number"),
    "epochs that are not rows": (resaved(lambda c: c.update(epochs=[1])), "epochs are not rows"),
    "another run's name": (resaved(lambda c: c.update(name="other")), "does not match what it says"),
    "a path for a name": (resaved(lambda c: c.update(name="../../one")), "can't name a run"),
}


@pytest.mark.parametrize("damage, message", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_record_is_named_and_nothing_in_it_is_run(damage, message, runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = saved()
    damage(path)
    with pytest.raises(RecordError, match=f"(?s)one-s0.json: .*{message}"):
        records.load(path)
    assert not (tmp_path / "pickle-was-run").exists()


@pytest.mark.parametrize("depth", range(100, 1000, 20))
def test_any_depth_of_nesting_is_a_record_or_a_record_error(depth, runs):
    path = saved()
    text = path.read_text().replace('"model": "tiny"', f'"model": {"[" * depth}{"]" * depth}')
    path.write_text(text)
    with pytest.raises(RecordError, match="one-s0.json"):
        records.load(path)


# --- atomic writing -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("broken", ["replace", "fsync"])
def test_a_failed_write_leaves_the_old_file_and_no_part(broken, runs, monkeypatch):
    path = saved()
    before = path.read_bytes()

    def fail(*args):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, broken, fail)
    with pytest.raises(OSError, match="No space left"):
        saved(log=history(20))
    assert path.read_bytes() == before and os.listdir(path.parent) == [path.name]


def test_the_sources_hash_follows_code_but_not_line_ends_or_folders(tmp_path):
    def written(folder, text):
        (tmp_path / folder).mkdir()
        for name in ("a.py", "b.py"):
            (tmp_path / folder / name).write_bytes(name.encode() + text)
        return records.source_hash([tmp_path / folder / "b.py", tmp_path / folder / "a.py"])

    unix, windows, other = written("x", b"\n1\n"), written("y", b"\r\n1\r\n"), written("z", b"\n2\n")
    assert unix == windows != other and len(unix) == 16


def test_a_text_is_read_as_strictly_as_a_file(runs):
    text = saved().read_text()
    assert records.parse(text, "line 3") == records.load(next(runs.glob("*/*.json")))
    for broken, message in (
        (text.replace('"seed": 0', '"seed": 1'), "digest does not match"),
        ("{}", "not a record"),
        (text[:-9], "can't be read"),
    ):
        with pytest.raises(RecordError, match=f"line 3: .*{message}"):
            records.parse(broken, "line 3")


def test_names_that_begin_alike_are_told_apart(runs):
    saved(name="one"), saved(name="one-s"), saved(name="one-s2", seed=1)
    assert [record.label for record in records.load_all("E1", "one")] == ["E1/one-s0"]
    assert [record.label for record in records.load_all("E1", "one-s")] == ["E1/one-s-s0"]


def test_a_record_in_another_experiments_folder_is_named(runs):
    path = saved()
    (runs / "E2").mkdir()
    path.rename(runs / "E2" / path.name)
    with pytest.raises(RecordError, match="E1/one-s0 lies among the runs of E2"):
        records.load_all("E2")
