"""What the tests share: small data, small models, and an environment that no setting of the machine leaks into."""

import os

import pytest
import torch
from faults import TRIED
from torch import nn

from clrlib.lab import models
from clrlib.lab.cifar import Data, Split

torch.set_num_threads(1)


def pytest_terminal_summary(terminalreporter):
    """How many faults were tried and survived, by test file."""
    for module, faults in sorted(TRIED.items()):
        terminalreporter.write_line(f"{module}: {faults} faults tried and survived")


@pytest.fixture(autouse=True)
def own_environment(monkeypatch):
    """No CLR_* setting from outside, and no test that reaches the network by accident."""
    for name in [name for name in os.environ if name.startswith("CLR_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CLR_MIRRORS", "http://127.0.0.1:9/nothing-here")


@pytest.fixture
def runs(monkeypatch, tmp_path):
    """An empty folder of recorded runs."""
    monkeypatch.setenv("CLR_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture(scope="session")
def make_split():
    """(images, seed) -> a Split of noise, every class in turn."""

    def make(images=64, seed=0, size=32, classes=10):
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randint(0, 256, (images, size, size, 3), generator=generator, dtype=torch.uint8)
        return Split(noise, torch.arange(images) % classes, classes)

    return make


@pytest.fixture(scope="session")
def data(make_split):
    """CIFAR-10's shape in small: 50 training images (not a whole number of batches of 16) and 20 held out."""
    return Data(make_split(50), make_split(20, seed=1))


@pytest.fixture
def small_model():
    """seed -> a fresh convolutional net with batch norm."""

    def make(seed=0):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return models.tiny(width=4)

    return make


@pytest.fixture
def dropout_model():
    """seed -> a fresh net whose training draws random numbers and keeps running statistics."""

    def make(seed=0):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 3))

    return make
