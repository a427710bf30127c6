import json
from dataclasses import replace

import numpy as np
import pytest

from clrlib import schedules as s
from clrlib.evidence import experiments, recording, records
from clrlib.evidence.experiments import DECLARED, Run
from clrlib.history import History
from clrlib.lab import cifar as images_of
from clrlib.lab import models, training
from clrlib.lab.cifar import steps_per_epoch
from clrlib.lab.download import DataError
from clrlib.lab.fresh import range_test
from clrlib.lab.training import Recipe, fit
from clrlib.range_test import sweep_rates

PLAIN = Recipe(batch_size=16, precision="fp32")
SHORT = Run(
    "E9", "short", "two epochs", epochs=2, schedules={"lr": s.one_cycle(0.01, 0.1), "weight_decay": 5e-4}, recipe=PLAIN, seeds=2
)
SWEPT = Run("E9", "swept", "a sweep", epochs=0, recipe=PLAIN, sweep={"low": 1e-4, "high": 0.1, "steps": 6, "sweep": "exponential"})


# --- declarations -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", DECLARED, ids=lambda run: f"{run.experiment}/{run.name}")
def test_a_declaration_is_plain_json_that_determines_the_run(run):
    config = run.config()
    assert json.loads(json.dumps(config)) == config and "seed" not in config
    assert run.name == records.path_of(run.experiment, run.name, 0).stem.removesuffix("-s0") and run.about and run.seeds >= 1
    assert run.network in models.MODELS and run.split in ("report", "choose") and (run.epochs == 0) == (run.sweep is not None)
    total = (
        run.sweep["steps"]
        if run.sweep
        else run.epochs * steps_per_epoch(45_000 if run.split == "choose" else 50_000, run.recipe.batch_size)
    )
    tables = {name: s.Schedule.from_dict(curve).table(total) for name, curve in config["schedules"].items()}
    assert set(tables) == {"lr", "momentum", "weight_decay"} - ({"lr"} if run.sweep else set())
    assert all((table >= 0).all() for table in tables.values()) and tables["momentum"].max() < 1


def test_no_two_declarations_share_a_name_or_a_configuration():
    assert len({(run.experiment, run.name) for run in DECLARED}) == len(DECLARED)
    assert len({json.dumps([run.experiment, run.config()], sort_keys=True) for run in DECLARED}) == len(DECLARED)


def test_the_articles_run_is_declared_as_the_article_has_it():
    config = experiments.find("E3", "tiny-momentum-0.95-0.80").config()
    lr, momentum = (s.Schedule.from_dict(config["schedules"][name]) for name in ("lr", "momentum"))
    np.testing.assert_allclose(lr(np.array([0, 41, 82, 95]) / 95), [0.08, 0.8, 0.08, 0.008], rtol=1e-12)
    np.testing.assert_allclose(momentum(np.array([0, 41, 82]) / 95), [0.95, 0.8, 0.95], rtol=1e-12)
    assert config["batch_size"] == 512 and config["schedules"]["weight_decay"]["values"] == [1e-4, 1e-4]


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: experiments.declared("E99"), "'E99' is unknown: choose one of E1"),
        (lambda: experiments.declared(network="huge"), "network 'huge' is unknown: choose one of resnet20"),
        (lambda: experiments.find("E1", "nope"), "E1 has no run 'nope': it has tiny-100"),
    ],
)
def test_an_unknown_name_is_named_with_the_choices(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_declarations_are_filtered_by_experiment_and_network():
    assert {run.experiment for run in experiments.declared("E3")} == {"E3"}
    assert {run.network for run in experiments.declared(network="tiny")} == {"tiny"}
    assert len(experiments.declared()) == len(DECLARED)


# --- running and recording -------------------------------------------------------------------------------------


def test_a_run_is_what_fit_gives_for_its_seed(data):
    history = recording.perform(SHORT, data, 3, progress=False)
    by_hand = fit(models.build("tiny", 10, 3), data, SHORT.schedules, 2, replace(PLAIN, seed=3), progress=False)
    assert history.steps["loss"].tolist() == by_hand.steps["loss"].tolist()


def test_a_sweep_is_what_range_test_gives_for_its_seed(data):
    history = recording.perform(SWEPT, data, 3, progress=False)
    by_hand = range_test("tiny", data, 1e-4, 0.1, 6, seeds=[3], recipe=PLAIN, progress=False)
    assert history.steps["loss"].tolist() == by_hand.losses[0].tolist() and history.steps["before"].tolist() == [by_hand.before[0]] * 6
    assert history.steps["lr"].tolist() == by_hand.lrs.tolist() and history.epochs == []


@pytest.fixture(autouse=True)
def nothing_loaded():
    """No images kept from another test."""
    recording._data.cache_clear()
    yield
    recording._data.cache_clear()


@pytest.fixture
def real(monkeypatch, data):
    monkeypatch.setattr(images_of, "load", lambda split, device, stand_in: data)


def test_what_is_recorded_is_no_longer_missing_until_its_declaration_changes(runs, real):
    assert recording.missing([SHORT, SWEPT]) == [(SHORT, 0), (SHORT, 1), (SWEPT, 0), (SWEPT, 1), (SWEPT, 2)]
    for run in (SHORT, SWEPT):
        record = records.load(recording.record(run, 1, "cpu", progress=False))
        assert record.recipe == run.config() and record.seed == 1 and record.content["sources"] == recording.SOURCE_HASH
        assert {"torch", "numpy", "machine", "threads"} <= set(record.content["environment"])
    assert recording.missing([SHORT, SWEPT]) == [(SHORT, 0), (SWEPT, 0), (SWEPT, 2)]
    changed = replace(SHORT, schedules={"lr": s.one_cycle(0.01, 0.2)})
    assert recording.missing([changed]) == [(changed, 0), (changed, 1)] and changed.recorded() == []


def test_without_cifar10_nothing_is_trained_or_recorded(runs, monkeypatch):
    monkeypatch.setenv("CLR_DATA", "digits")
    monkeypatch.setattr(recording, "perform", None)
    with pytest.raises(DataError):
        recording.record(SHORT, 0, "cpu", progress=False)
    assert not runs.exists()


def test_an_interrupted_run_is_not_recorded(runs, real, monkeypatch):
    monkeypatch.setattr(recording, "perform", lambda *args, **kwargs: History({"loss": np.ones(3)}, [{"epoch": 1}]))
    with pytest.raises(KeyboardInterrupt, match="short was stopped early"):
        recording.record(SHORT, 0, "cpu", progress=False)
    assert not runs.exists()


def test_a_run_that_diverged_is_recorded_as_it_is(runs, real):
    diverging = replace(SHORT, schedules={"lr": 1e30})
    history = records.load(recording.record(diverging, 0, "cpu", progress=False)).history
    assert len(history.epochs) == 1 and history.epochs[0]["train_loss"] is None and np.isnan(history.steps["loss"]).any()


def test_the_sources_hash_covers_the_code_that_trains():
    assert {"schedules", "lab/cifar", "lab/models", "lab/engine", "lab/training", "range_test"} <= set(recording.SOURCES)


# --- the records that are kept -------------------------------------------------------------------------------------


KEPT = sorted(records.root().glob("*/*.json"))


def test_records_are_kept():
    assert KEPT and sum(path.stat().st_size for path in KEPT) < 10_000_000


@pytest.mark.parametrize("path", KEPT, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_kept_record_is_whole_and_as_declared(path):
    record = records.load(path)
    assert record.content["experiment"] == path.parent.name and record.content["data"] == "CIFAR-10"
    run = experiments.find(path.parent.name, record.name)
    assert record.recipe == run.config() and record.seed in run.every_seed, "stale: record it anew, or delete it"


@pytest.mark.parametrize("path", KEPT, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_kept_records_columns_are_its_schedules(path):
    record = records.load(path)
    config, columns, epochs = record.recipe, record.history.steps, record.history.epochs
    per_epoch = steps_per_epoch(45_000 if config["split"] == "choose" else 50_000, config["batch_size"])
    tables = {name: s.Schedule.from_dict(curve).table(max(1, config["epochs"] * per_epoch)) for name, curve in config["schedules"].items()}
    if config["sweep"]:
        tables = {"lr": sweep_rates(**config["sweep"])}
    kept = columns["step"].astype(int)
    for name, table in tables.items():
        np.testing.assert_allclose(columns[name], table[kept], rtol=1e-5)
    assert kept[0] == 0 and kept[-1] == len(tables["lr"]) - 1
    assert [row["step"] for row in epochs] == [(i + 1) * per_epoch for i in range(config["epochs"])]
    assert all(0 <= row["accuracy"] <= 100 and 0 <= row["train_accuracy"] <= 100 for row in epochs)


# --- chains, fewer images, measurements ------------------------------------------------------------------------


def declare(monkeypatch, *runs):
    monkeypatch.setattr(experiments, "DECLARED", runs)
    monkeypatch.setattr(recording, "DECLARED", runs)


def test_a_run_after_another_goes_on_with_its_network(data, monkeypatch):
    first = replace(SHORT, name="tiny-first", epochs=1)
    second = replace(SHORT, name="tiny-second", epochs=1, schedules={"lr": 0.02}, after="first")
    third = replace(SHORT, name="tiny-third", after="second")
    declare(monkeypatch, first, second, third)
    history = recording.perform(third, data, 2, progress=False)
    model = models.build("tiny", 10, 2)
    for run in (first, second):
        fit(model, data, run.schedules, 1, replace(PLAIN, seed=2), progress=False)
    by_hand = fit(model, data, third.schedules, 2, replace(PLAIN, seed=2), progress=False)
    assert history.steps["loss"].tolist() == by_hand.steps["loss"].tolist()
    assert recording.work(third) == pytest.approx((1 + 1 + 2) * (50_000 + 10_000 / 3))
    assert third.config()["after"] == "second" and "after" not in first.config()


def test_fewer_images_are_fewer_and_of_every_class_alike(data, monkeypatch):
    seen = {}
    monkeypatch.setattr(recording, "fit", lambda model, data, *args, **kwargs: seen.update(data=data) or History())
    recording.perform(replace(SHORT, images=20), data, 0, progress=False)
    assert np.bincount(seen["data"].train.labels).tolist() == [2] * 10 and len(seen["data"].held_out) == 20


def test_sharpness_is_measured_after_every_epoch_and_changes_no_number(data):
    plain, measured = (recording.perform(replace(SHORT, sharpness=sharp), data, 0, progress=False) for sharp in ("", "hessian"))
    assert measured.steps["loss"].tolist() == plain.steps["loss"].tolist()
    assert all(row["sharpness"] > 0 for row in measured.epochs) and "sharpness" not in plain.epochs[0]


# --- what a kill leaves -------------------------------------------------------------------------------------------


def test_a_recording_that_was_stopped_goes_on_after_its_last_epoch(runs, real, monkeypatch):
    unbroken = records.load(recording.record(SHORT, 0, "cpu", progress=False)).content
    evaluated, evaluate = [], training.evaluate

    def interrupted(*args):
        evaluated.append(1)
        if len(evaluated) == 2:
            raise RuntimeError("pulled the plug")
        return evaluate(*args)

    monkeypatch.setenv("CLR_RUNS", str(runs.with_name("others")))
    monkeypatch.setattr(training, "evaluate", interrupted)
    with pytest.raises(RuntimeError, match="pulled the plug"):
        recording.record(SHORT, 0, "cpu", progress=False)
    assert recording.unfinished(SHORT, 0).is_file() and recording.missing([SHORT]) == [(SHORT, 0), (SHORT, 1)]
    again = records.load(recording.record(SHORT, 0, "cpu", progress=False)).content
    assert len(evaluated) == 3 and not recording.unfinished(SHORT, 0).exists()
    for content in (unbroken, again):
        content["seconds"] = content["digest"] = 0
        for row in content["epochs"]:
            row["seconds"] = 0
    assert again == unbroken


def test_a_results_file_gives_the_same_records_again(runs, real, tmp_path, monkeypatch):
    file = tmp_path / "results.jsonl"
    paths = [recording.record(run, 0, "cpu", progress=False, results=file) for run in (SHORT, SWEPT)]
    texts = [path.read_text() for path in paths]
    monkeypatch.setenv("CLR_RUNS", str(tmp_path / "elsewhere"))
    with open(file, "a") as end:
        end.write(file.read_text()[:200].split("\n")[0])  # the machine went away while it wrote
    collected = recording.collect(file)
    assert [path.read_text() for path in collected] == texts
    assert [path.parent.parent for path in collected] == [tmp_path / "elsewhere"] * 2


def test_a_result_that_is_there_passes_if_it_came_out_the_same(runs, real, tmp_path):
    file = tmp_path / "results.jsonl"
    path = recording.record(SHORT, 0, "cpu", progress=False, results=file)
    before = path.read_bytes()
    content = json.loads(file.read_text())
    elsewhere = content | {"seconds": 7.0, "environment": {"machine": "another"}, "sources": "f" * 16}
    elsewhere["epochs"] = [row | {"seconds": 1.0} for row in content["epochs"]]
    elsewhere["digest"] = records.digest(elsewhere)
    file.write_text(f"{json.dumps(content)}\n{json.dumps(elsewhere)}\n")
    assert recording.collect(file) == [] and path.read_bytes() == before
    path.unlink()
    assert recording.collect(file) == [path] and path.read_bytes() == before, "the first of the two"


@pytest.mark.parametrize("where", ["beside the record", "twice in the file"])
def test_a_result_that_came_out_otherwise_is_refused_before_anything_is_written(where, runs, real, tmp_path):
    file = tmp_path / "results.jsonl"
    path = recording.record(SHORT, 0, "cpu", progress=False, results=file)
    content = json.loads(file.read_text())
    other = content | {"epochs": [row | {"accuracy": 1.0} for row in content["epochs"]]}
    other["digest"] = records.digest(other)
    fresh = recording.record(SHORT, 1, "cpu", progress=False)
    lines = [fresh.read_text().replace("\n", ""), json.dumps(other)]
    if where == "twice in the file":
        path.unlink()
        lines.insert(0, json.dumps(content))
    fresh.unlink()
    file.write_text("\n".join(lines) + "\n")
    with pytest.raises(records.RecordError, match="short-s0 of results.jsonl differs"):
        recording.collect(file)
    assert not fresh.exists()


# --- shards -----------------------------------------------------------------------------------------------------


def test_shards_part_what_is_declared_and_are_about_equal():
    runs = experiments.declared(network="resnet56")
    everything = sorted((run.experiment, run.name, seed) for run in runs for seed in run.every_seed)
    parts = [recording.shard(runs, i, 8) for i in range(1, 9)]
    assert sorted((run.experiment, run.name, seed) for part in parts for run, seed in part) == everything
    loads = [sum(recording.work(run) for run, _ in part) for part in parts]
    assert max(loads) - min(loads) < 0.05 * max(loads)
    where = {(run.name, seed): i for i, part in enumerate(parts) for run, seed in part}
    for run in runs:
        for seed in run.every_seed:
            assert not run.after or where[run.name, seed] == where[f"resnet56-{run.after}", seed]


def test_a_shard_does_not_depend_on_what_is_recorded(runs, real, monkeypatch):
    declare(monkeypatch, SHORT, SWEPT)
    before = recording.shard([SHORT, SWEPT], 1, 2)
    recording.record(SHORT, 0, "cpu", progress=False)
    assert recording.shard([SHORT, SWEPT], 1, 2) == before


@pytest.mark.parametrize("i, n", [(0, 2), (3, 2), (1, 0)])
def test_a_shard_that_is_none_is_refused(i, n):
    with pytest.raises(ValueError, match=f"shard {i}/{n} is none"):
        recording.shard([SHORT], i, n)


def test_an_edited_results_file_is_refused_whole(runs, real, tmp_path, monkeypatch):
    file = tmp_path / "results.jsonl"
    for seed in (0, 1):
        recording.record(SWEPT, seed, "cpu", progress=False, results=file)
    first, second = file.read_text().splitlines()
    file.write_text(f"{first}\n" + second.replace('"seed": 1', '"seed": 2') + "\n")
    monkeypatch.setenv("CLR_RUNS", str(tmp_path / "elsewhere"))
    with pytest.raises(records.RecordError, match="line 2 of results.jsonl: .*digest"):
        recording.collect(file)
    assert not (tmp_path / "elsewhere").exists()


def test_the_time_a_run_takes_here_comes_from_this_machines_records(runs, real, monkeypatch):
    declare(monkeypatch, SHORT, SWEPT)
    assert recording.seconds_per_image(SHORT, "cpu") is None
    path = recording.record(SHORT, 0, "cpu", progress=False)
    record = records.load(path)
    assert recording.seconds_per_image(SHORT, "cpu") == pytest.approx(record.content["seconds"] / (2 * (50_000 + 10_000 / 3)))
    monkeypatch.setattr(recording.engine, "machine_name", lambda device: "another")
    assert recording.seconds_per_image(SHORT, "cpu") is None


def test_what_this_process_trained_is_not_trained_again_for_the_run_after_it(data, monkeypatch):
    first = replace(SHORT, name="tiny-first", epochs=1)
    second = replace(SHORT, name="tiny-second", epochs=1, after="first")
    declare(monkeypatch, first, second)
    alone = recording.perform(second, data, 5, progress=False)
    monkeypatch.setattr(recording, "_trained", {})
    recording.perform(first, data, 5, progress=False)
    calls, fit_it = [], recording.fit
    monkeypatch.setattr(recording, "fit", lambda *args, **kwargs: calls.append(1) or fit_it(*args, **kwargs))
    after = recording.perform(second, data, 5, progress=False)
    assert len(calls) == 1 and after.steps["loss"].tolist() == alone.steps["loss"].tolist()
