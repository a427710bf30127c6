"""What the tests of faults share: a count of the faults that were tried, and Hypothesis' settings."""

import functools
import multiprocessing
import os
from collections import Counter
from multiprocessing import forkserver
from pathlib import Path

from hypothesis import HealthCheck, settings

EXAMPLES = int(os.environ.get("CLR_EXAMPLES", 320))  # of each property; `make test-full` asks for many more
TRIED = Counter()  # test file -> faults that were tried, and survived

hostile = settings(
    max_examples=EXAMPLES, deadline=None, database=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@functools.cache
def processes():
    """Where processes come from: a server that has imported what they need, has no threads, and forks them in milliseconds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["clrlib.evidence.recording", "torchvision.datasets", "pooch", "requests", "faults_server"])
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parent), before]))
    forkserver.ensure_running()
    os.environ.pop("PYTHONPATH") if before is None else os.environ.__setitem__("PYTHONPATH", before)
    return context


def survived(module: str, faults: int = 1):
    """Count faults after which everything was as it should be; call it behind the assertions."""
    TRIED[module] += faults


def outcome(call, *args, **kwargs):
    """The result, or None where it was refused in the agreed way: by a ValueError or a TypeError that says something."""
    try:
        return call(*args, **kwargs)
    except (ValueError, TypeError) as error:
        assert str(error)
        return None


class Bomb:
    """A pickle that leaves a folder behind where it is executed."""

    def __reduce__(self):
        return os.mkdir, (os.environ["BOMB"],)


def unharmed(tmp_path, monkeypatch):
    """For a fixture: nothing is executed, and nothing is written where it does not belong."""
    monkeypatch.setenv("BOMB", str(tmp_path / "executed"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    yield
    assert not (tmp_path / "executed").exists() and os.listdir(tmp_path / "here") == []
    assert set(os.listdir(tmp_path)) <= {"here", "runs", "stranger.jsonl", "run.pt", "guesses.json"}
