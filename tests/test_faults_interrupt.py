"""Interrupts at any moment: `fit` keeps its history, and the range test in place gives back model, optimiser and random states."""

import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from faults import survived
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from clrlib import schedules as s
from clrlib.lab.checkpoints import identity, load
from clrlib.lab.training import Recipe, fit
from clrlib.range_test import range_test_in_place

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # an interrupt in a generator's end
PLAIN = Recipe(batch_size=16, precision="fp32")
CURVES = {"lr": s.one_cycle(0.02, 0.2), "momentum": s.one_cycle_momentum()}


def interrupted(work, moments):
    """Call work() with a real SIGINT at each of these moments, counted in calls of any function; returns how many calls there were.

    A call is where Python looks for signals, so that is where an interrupt falls.
    """
    calls, waiting = 0, sorted(moments, reverse=True)

    def trace(frame, event, argument):
        nonlocal calls
        calls += 1
        if waiting and calls >= waiting[-1]:
            waiting.pop()
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)

    def handler(number, frame):
        if waiting:
            sys.settrace(trace)  # it would be off after the exception
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, handler)
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(None)
        signal.signal(signal.SIGINT, before)
    return calls


# --- the range test in place --------------------------------------------------------------------------------------


class Counting(nn.Module):
    """A layer with a buffer that its forward pass puts anew, as many layers of one's own do."""

    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(8), persistent=False)

    def forward(self, x):
        if self.training:
            self.seen = self.seen + 1
            self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(dim=0)
        return x - self.mean


class Own:
    """A user's training, half-way: dropout, batch norm, a buffer of its own, an optimiser with state, a scaler, a shuffling loader."""

    def __init__(self, kind):
        torch.manual_seed(1), random.seed(1), np.random.seed(1)
        self.model = nn.Sequential(nn.Linear(12, 8), nn.BatchNorm1d(8), Counting(), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 3))
        self.model[1].eval()
        groups = [{"params": self.model[:5].parameters(), "lr": 0.01}, {"params": self.model[5].parameters(), "lr": 0.1}]
        self.optimizer = torch.optim.SGD(groups, momentum=0.9) if kind == "sgd" else torch.optim.AdamW(groups)
        self.scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2) if kind == "scaled" else None
        data = TensorDataset(torch.randn(20, 12), torch.arange(20) % 3)
        self.loader = DataLoader(data, 5, shuffle=True, generator=torch.Generator().manual_seed(2))
        self.train()

    def train(self):
        """An epoch; returns its losses."""
        losses = []
        for inputs, targets in self.loader:
            loss = F.cross_entropy(self.model(inputs), targets)
            self.optimizer.zero_grad()
            loss.backward() if self.scaler is None else self.scaler.scale(loss).backward()
            self.optimizer.step() if self.scaler is None else (self.scaler.step(self.optimizer), self.scaler.update())
            losses.append(loss.item())
        return losses

    def sweep(self):
        range_test_in_place(
            self.model, self.optimizer, F.cross_entropy, self.loader, 1e-4, 1.0, 6, scaler=self.scaler, progress=False
        )  # fmt: skip

    def everything(self):
        """All that a sweep may change, as plain values."""
        optimizer = self.optimizer.state_dict()
        return [
            {name: value.tolist() for name, value in (*self.model.state_dict().items(), *self.model.named_buffers())},
            [id(buffer) for buffer in self.model.buffers()],
            [None if p.grad is None else p.grad.tolist() for p in self.model.parameters()],
            [module.training for module in self.model.modules()],
            optimizer["param_groups"],
            {i: {k: v.tolist() if torch.is_tensor(v) else v for k, v in state.items()} for i, state in optimizer["state"].items()},
            torch.is_grad_enabled(),
            self.scaler and (self.scaler.state_dict(), {k: v["stage"] for k, v in self.scaler._per_optimizer_states.items()}),
            random.getstate(),
            [part.tolist() if isinstance(part, np.ndarray) else part for part in np.random.get_state()],
            torch.get_rng_state().tolist(),
            self.loader.generator.get_state().tolist(),
        ]  # fmt: skip


def given_back_at(kind, moments):
    """A training whose sweep was interrupted at these moments, and whether it was: Python drops an interrupt in a generator's end."""
    own, raised = Own(kind), False
    before = own.everything()
    try:
        interrupted(own.sweep, moments)
    except KeyboardInterrupt:
        raised = True
    assert own.everything() == before, moments
    return own, raised


def random_moments(kind, trials):
    Own(kind).sweep()  # what the first sweep of a process does once
    own, chance, raised = Own(kind), random.Random(kind), 0
    calls, expected = interrupted(own.sweep, []), own.train()
    for _ in range(trials):
        own, stopped = given_back_at(kind, [chance.randint(1, calls)])
        assert own.train() == expected
        raised += stopped
    for back in range(1, 31):  # in what gives it all back, and once more just after that
        raised += given_back_at(kind, [calls - back, calls - back + chance.randint(1, 9)])[1]
    assert raised >= 0.9 * (trials + 30)
    survived(__name__, raised)


@pytest.mark.parametrize("kind", ["sgd", "adamw", "scaled"])
def test_an_interrupt_at_any_moment_of_a_sweep_in_place_leaves_everything_as_before(kind):
    random_moments(kind, 30)


@pytest.mark.full
@pytest.mark.parametrize("kind", ["sgd", "adamw", "scaled"])
def test_hundreds_of_interrupts_of_a_sweep_in_place(kind):
    random_moments(kind, 500)


def test_a_failure_in_giving_back_stops_nothing_else():
    own = Own("sgd")
    before, loader = own.everything(), own.loader
    own.loader = [(inputs, targets) for inputs, targets in loader]
    own.loader[2] = (torch.zeros(5, 12), None)
    grown = own.model[2].mean

    def broken(inputs):
        grown.resize_(9)
        raise RuntimeError("a forward pass that broke off")

    with pytest.raises(RuntimeError):
        range_test_in_place(own.model, own.optimizer, None, [None], batch_loss=lambda *_: broken(None), progress=False)
    own.loader = loader
    after = own.everything()
    assert after[2:10] == before[2:10] and {**after[0], "2.mean": 0} == {**before[0], "2.mean": 0}
    survived(__name__)


# --- fit ----------------------------------------------------------------------------------------------------------


def outcome(model, history):
    rows = [{key: value for key, value in row.items() if key != "seconds"} for row in history.epochs]
    return [v.tolist() for v in model.state_dict().values()], rows, {name: column.tolist() for name, column in history.steps.items()}


def interrupted_fits(trials, data, small_model, tmp_path):
    def run(model, checkpoint=None):
        return fit(model, data, CURVES, 3, PLAIN, progress=False, checkpoint=checkpoint)

    whole, kept = small_model(), []
    history = run(whole)
    calls, chance, cut = interrupted(lambda: run(small_model(), tmp_path / "count.pt"), []), random.Random(0), 0
    expected = outcome(whole, history)
    for i in range(trials):
        path, model = tmp_path / f"{i}.pt", small_model()
        try:
            interrupted(lambda model=model, path=path: kept.append(run(model, path)), [chance.randint(1, calls)])
        except KeyboardInterrupt:  # before the first step, or after the last: nothing is lost then either
            assert not path.exists() or len(load(path, identity(model, data, CURVES, 3, PLAIN))[1].epochs) in (0, 3)
        else:
            cut += len(kept[-1]) < 12
            assert len(kept[-1].epochs) in (len(kept[-1]) // 4, (len(kept[-1]) + 3) // 4)
            for name, column in kept[-1].steps.items():
                assert column.tolist() == history.steps[name][: len(column)].tolist(), "the finished steps, each as it was"
        assert torch.is_grad_enabled()
        again = small_model(seed=5) if path.exists() else small_model()
        assert outcome(again, run(again, path)) == expected, "and the same call goes on to the same end"
    assert cut > trials / 2
    survived(__name__, trials)


def test_an_interrupt_at_any_moment_keeps_the_history(data, small_model, tmp_path, capsys):
    interrupted_fits(25, data, small_model, tmp_path)


@pytest.mark.full
def test_hundreds_of_interrupts_keep_the_history(data, small_model, tmp_path, capsys):
    interrupted_fits(400, data, small_model, tmp_path)


ALONE = """
import signal, sys, torch
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs start with it ignored
torch.set_num_threads(1)
from torch import nn
from clrlib.range_test import range_test_in_place
from clrlib.lab.cifar import Data, Split
from clrlib.lab.models import tiny
from clrlib.lab.training import Recipe, fit
if sys.argv[1] == "fit":
    images = torch.randint(0, 256, (64, 32, 32, 3), dtype=torch.uint8)
    data = Data(Split(images, torch.arange(64) % 10), Split(images[:20], torch.arange(20) % 10))
    print("ready", flush=True)
    def first(history):
        if len(history.epochs) == 1:
            print("\\nbegan", flush=True)
    for _ in range(3):
        history = fit(tiny(width=4), data, {"lr": 0.01}, 20_000, Recipe(batch_size=16, precision="fp32"), watch=first)
        columns = {len(column) for column in history.steps.values()}
        print("\\nkept", len(history) > 0 and columns == {len(history)} and len(history) // 4 - len(history.epochs) in (0, 1), flush=True)
else:
    model = nn.Sequential(nn.Linear(9, 9), nn.BatchNorm1d(9), nn.Dropout())
    optimizer = torch.optim.Adam(model.parameters())
    batches = [(torch.randn(4, 9), torch.randn(4, 9))]
    def everything():
        return [v.tolist() for v in model.state_dict().values()] + [optimizer.state_dict(), torch.get_rng_state().tolist()]
    before = everything()
    print("ready", flush=True)
    for _ in range(3):
        try:
            print("\\nbegan", flush=True)
            range_test_in_place(model, optimizer, nn.functional.mse_loss, batches, 1e-7, 1e-6, 100_000)
        except KeyboardInterrupt:
            print("\\nkept", everything() == before, flush=True)
"""


@pytest.mark.parametrize("what", ["fit", "range test"])
def test_ctrl_c_in_a_terminal(what):
    child = subprocess.Popen([sys.executable, "-c", ALONE, what], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "ready\n"
    chance = random.Random(what)
    for _ in range(3):
        assert "began\n" in child.stdout
        time.sleep(0.1 + chance.random() / 2)
        child.send_signal(signal.SIGINT)
        said = next(line for line in child.stdout if line.startswith("kept"))
        assert said == "kept True\n"
    assert child.wait(30) == 0
    survived(__name__, 3)
