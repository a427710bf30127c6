"""Files from strangers: records, results files, names. Refused clearly, nothing executed, nothing written outside."""

import json
import os
import pickle

import numpy as np
import pytest
import torch
from faults import Bomb, survived, unharmed

from clrlib.evidence import recording, records, results
from clrlib.evidence.records import RecordError
from clrlib.history import History
from clrlib.page import build as notebooks

ROW = {"epoch": 1, "step": 4, "train_loss": 1.5, "train_accuracy": 40.0, "loss": 1.4, "accuracy": 45.0, "seconds": 1.0}


@pytest.fixture(autouse=True)
def nothing_outside(tmp_path, monkeypatch):
    yield from unharmed(tmp_path, monkeypatch)


def content(**changes):
    """A record's content with these changes, its digest made to fit: it is no signature, a stranger can compute it."""
    history = History({"lr": np.linspace(0.1, 0.2, 4), "loss": np.ones(4)}, [dict(ROW)])
    made = records.made("E9", "one", 0, {"split": "report"}, history, {"torch": "2"}, "abc", 1.0).content | changes
    try:
        return made | {"digest": records.digest(made)}
    except (ValueError, RecursionError):
        return made


def deep(levels, inside="1"):
    return "[" * levels + inside + "]" * levels


TEXTS = {
    "nothing": "", "a space": " ", "null": "null", "a number": "1", "a string": '"x"',
    "an unclosed brace": "{", "a comma": '{"a": 1,}', "two": "{} {}",
    "single quotes": "{'schema': 1}", "a comment": "{} // no", "a NUL": "\0",
    "a byte order mark": "\ufeff{}", "half a surrogate": '{"a": "\\ud800"}',
    "deep lists": deep(50_000, ""), "deep objects": '{"a":' * 19_000 + "1" + "}" * 19_000,
    "a deep value": json.dumps(content()).replace('"abc"', deep(40_000)),
    "deep enough for the digest": json.dumps(content()).replace('{"split"', '{"x": ' + deep(990) + ', "split"'),
    "a number of 4,000 digits": json.dumps(content()).replace('"seed": 0', '"seed": ' + "9" * 4000),
    "a number of 90,000 digits": json.dumps(content()).replace('"seed": 0', '"seed": ' + "9" * 90_000),
    "NaN": json.dumps(content()).replace("1.4", "NaN"), "Infinity": json.dumps(content()).replace("1.4", "-Infinity"),
    "1e999": json.dumps(content()).replace("1.4", "1e999"),
    "too large": json.dumps(content(sources="x" * 100_000)), "large with spaces": json.dumps(content()) + " " * 100_000,
}  # fmt: skip
CONTENTS = {
    "schema 0": {"schema": 0}, "schema 2": {"schema": 2},
    "schema true": {"schema": True}, "schema 1.0": {"schema": 1.0}, "schema text": {"schema": "1"},
    "seed true": {"seed": True}, "seed -1": {"seed": -1},
    "seed 0.5": {"seed": 0.5}, "seed text": {"seed": "0"}, "a huge seed": {"seed": 10**400},
    "seconds text": {"seconds": "1"}, "seconds true": {"seconds": True}, "seconds huge": {"seconds": 10**400},
    "seconds -1": {"seconds": -1},
    "epochs object": {"epochs": {}}, "epochs numbers": {"epochs": [1]}, "epochs nested": {"epochs": [[ROW]]},
    "accuracy text": {"epochs": [ROW | {"accuracy": "99"}]}, "accuracy huge": {"epochs": [ROW | {"accuracy": 10**400}]},
    "accuracy list": {"epochs": [ROW | {"accuracy": [99]}]}, "accuracy true": {"epochs": [ROW | {"accuracy": True}]},
    "steps list": {"steps": []}, "a column a number": {"steps": {"lr": 1}},
    "a column a string": {"steps": {"lr": "12"}},
    "columns uneven": {"steps": {"lr": [1, 2], "loss": [1]}}, "a column of text": {"steps": {"lr": ["1"]}},
    "a column of lists": {"steps": {"lr": [[1]]}},
    "a column of truth": {"steps": {"lr": [True]}}, "a column of huge numbers": {"steps": {"lr": [10**400]}},
    "a column of 1e308": {"steps": {"lr": [1.7e308]}},
    "recipe list": {"recipe": []}, "environment null": {"environment": None}, "data number": {"data": 1}, "sources null": {"sources": None},
}  # fmt: skip
NAMES = [
    "../x", "..", ".", "/etc/passwd", "~/x", "a/b", "a\\b", "C:\\x", "a\0b", "a\nb", "a\n", "", " ",
    "-rf", ".hidden", "x" * 81, "x" * 5000, "é", "а",
    "a*", "a?", "[a]", "$(id)", "`id`", "a;b", "a|b", "%2e%2e%2f", "\u202ea", "\ud800", 0, None, True, ["E1"], {"a": 1},
]  # fmt: skip


def refused(text, name="one-s0.json"):
    folder = records.root() / "E9"
    folder.mkdir(parents=True, exist_ok=True)
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    (folder / name).write_bytes(raw)
    for read in (lambda: records.load(folder / name), lambda: records.load_all("E9"), lambda: records.parse(raw, name)):
        with pytest.raises(RecordError, match=f"(?s){name}: .*{records.REMEDY}") as error:
            read()
        assert len(str(error.value)) < 600
    (records.root().parent / "stranger.jsonl").write_bytes(raw.replace(b"\n", b" ") + b"\n")
    with pytest.raises(RecordError, match="line 1 of stranger.jsonl"):
        recording.collect(records.root().parent / "stranger.jsonl")
    assert os.listdir(folder) == [name]
    survived(__name__, 2)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_text_that_is_no_record(text, runs):
    refused(text)


@pytest.mark.parametrize("changes", CONTENTS.values(), ids=CONTENTS)
def test_a_record_with_a_wrong_value(changes, runs):
    refused(json.dumps(content(**changes)))


@pytest.mark.parametrize("field", sorted(set(records.FIELDS) | {"digest"}))
def test_a_record_with_a_field_missing(field, runs):
    made = content()
    del made[field]
    refused(json.dumps(made | ({} if field == "digest" else {"digest": records.digest(made)})))


@pytest.mark.parametrize("name", NAMES, ids=lambda name: f"{name!r:.20}")
@pytest.mark.parametrize("field", ["experiment", "name"])
def test_a_name_that_leads_elsewhere(field, name, runs):
    refused(json.dumps(content(**{field: name})))
    with pytest.raises(RecordError, match="can't name a run"):
        records.write(records.Record(content(**{field: name})))
    with pytest.raises(ValueError):
        records.path_of(**{"experiment": "E9", "name": "one", "seed": 0} | {field: name})
    survived(__name__, 2)


@pytest.mark.parametrize("kind", ["pickle", "torch", "latin", "utf-16", "binary"])
def test_bytes_that_are_no_text(kind, runs, tmp_path):
    torch.save({"a": Bomb()}, tmp_path / "run.pt")
    bodies = {
        "pickle": pickle.dumps(Bomb()), "torch": (tmp_path / "run.pt").read_bytes(), "latin": b'{"a": "\xe9"}',
        "utf-16": json.dumps(content()).encode("utf-16"), "binary": bytes(range(256)) * 9,
    }  # fmt: skip
    refused(bodies[kind])


@pytest.mark.parametrize("kind", ["300 MB", "a pipe", "an endless device", "a link in a circle", "a folder"])
def test_a_file_that_is_none(kind, runs, tmp_path):
    path = runs / "E9" / "one-s0.json"
    path.parent.mkdir(parents=True)
    if kind == "300 MB":
        with open(path, "wb") as file:
            file.truncate(300_000_000)
    elif kind == "a folder":
        path.mkdir()
    else:
        os.mkfifo(path) if kind == "a pipe" else path.symlink_to("/dev/zero" if kind == "an endless device" else path)
    with pytest.raises(RecordError, match="one-s0.json: "):
        records.load(path)
    survived(__name__)


def test_a_results_file_of_300_MB_is_refused_at_its_first_line(runs, tmp_path):
    with open(tmp_path / "stranger.jsonl", "wb") as file:
        file.truncate(300_000_000)
    with pytest.raises(RecordError, match="line 1 of stranger.jsonl: larger than 100,000 bytes"):
        recording.collect(tmp_path / "stranger.jsonl")
    assert not runs.exists()
    survived(__name__)


def test_what_a_whole_record_need_not_have_breaks_no_page(runs, monkeypatch):
    for i, changes in enumerate(
        ({"epochs": [{}]}, {"environment": {"machine": ["CPU"]}}, {"recipe": {}}, {"epochs": [{"accuracy": None}]}, {"steps": {}})
    ):
        records.write(records.Record(content(name=f"n{i}", **changes)))
    (runs / "Enough").mkdir(), (runs / "E10").touch()
    assert all(f"| n{i} |" in results.run_table() for i in range(5))
    for what in ("nothing", "step", "seconds/2", "__class__"):
        with pytest.raises(notebooks.BuildError, match=f"E9/n0 has no {what}"):
            notebooks.stamped(f"<!--=E9/n0:{what}--><!--/-->")
    for name in ("../../x", "..", "x" * 500):
        with pytest.raises((RecordError, notebooks.BuildError)):
            notebooks.stamped(f"<!--=E9/{name}:accuracy--><!--/-->")
    survived(__name__, 14)
