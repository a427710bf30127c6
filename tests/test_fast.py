"""The fast step against torch's own optimiser and against the eager step; the capture against a stand-in that runs anywhere."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from clrlib import schedules as s
from clrlib.lab import engine, fast, models
from clrlib.lab.cifar import Data, plan_epoch
from clrlib.lab.training import Recipe, fit, steps

PLAIN = Recipe(batch_size=16, precision="fp32", channels_last=False)
CURVES = {"lr": s.one_cycle(0.02, 0.2), "momentum": s.one_cycle_momentum(), "weight_decay": s.linear(1e-2, 1e-4)}


@pytest.mark.parametrize("nesterov", [False, True])
def test_the_update_is_torchs_sgd_as_all_three_hyper_parameters_change(nesterov):
    generator = torch.Generator().manual_seed(0)
    start = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((3, 4), (5,), (2, 2, 2))]
    ours, theirs = ([nn.Parameter(p.clone()) for p in start] for _ in range(2))
    velocities = [torch.zeros_like(p) for p in start]
    optimizer = torch.optim.SGD(theirs, lr=1.0, momentum=0.5, nesterov=nesterov)
    for i in range(20):
        gradients = [torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in start]
        hyper = {"lr": 0.1 + 0.03 * i, "momentum": 0.95 - 0.02 * i, "weight_decay": 0.01 * i}
        tensors = {name: torch.tensor(value, dtype=torch.float64) for name, value in hyper.items()}
        fast.sgd_update(ours, gradients, velocities, tensors, nesterov)
        for p, gradient in zip(theirs, gradients):
            p.grad = gradient.clone()
        engine.set_hyper(optimizer, **hyper)
        optimizer.step()
    for a, b in zip(ours, theirs):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=0)


@pytest.mark.parametrize("change", [{}, {"nesterov": True}, {"augment": False}, {"label_smoothing": 0.1}])
def test_fast_and_eager_agree_in_float64_over_twenty_steps(change, data, small_model):
    recipe = replace(PLAIN, **change)
    runs = [[float(step.loss) for step in steps(small_model().double(), data, CURVES, 5, recipe, fast=fast)] for fast in (True, False)]
    assert len(runs[0]) == 20 and runs[0] != [runs[0][0]] * 20
    torch.testing.assert_close(*map(torch.tensor, runs), rtol=1e-10, atol=0)


def test_fast_and_eager_end_with_the_same_weights_and_statistics(data, small_model):
    ours, theirs = small_model().double(), small_model().double()
    for model, quick in ((ours, True), (theirs, False)):
        fit(model, data, CURVES, 5, PLAIN, progress=False, fast=quick)
    for (name, a), b in zip(ours.state_dict().items(), theirs.state_dict().values()):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12, msg=name)


def test_a_parameter_that_the_loss_does_not_reach_stays_as_torch_leaves_it(data, small_model):
    model = small_model()
    model.register_parameter("spare", nn.Parameter(torch.ones(3)))
    fit(model, data, {"lr": 0.1, "weight_decay": 0.1}, 1, PLAIN, progress=False, fast=True)
    assert model.spare.tolist() == [1, 1, 1]


def test_a_frozen_parameter_stays(data, small_model):
    model = small_model()
    model[0].weight.requires_grad_(False)
    before = model[0].weight.clone()
    fit(model, data, {"lr": 0.1}, 1, PLAIN, progress=False, fast=True)
    assert torch.equal(model[0].weight, before)


@pytest.mark.parametrize(
    "change, why",
    [({"optimizer": "adamw"}, "only sgd's update is captured, not adamw's"), ({"precision": "fp16"}, "fp16 needs a loss scaler")],
)
def test_what_cannot_be_fast_runs_eagerly_and_says_so_in_one_line(change, why, data, small_model, capsys):
    made = fast.make_step(small_model(), data.train, replace(PLAIN, **change), fast=True)
    said = capsys.readouterr().out
    assert isinstance(made, engine.Eager) and why in said and said.count("\n") == 1


def test_a_cpu_runs_eagerly_unless_asked(data, small_model, capsys):
    assert isinstance(fast.make_step(small_model(), data.train, PLAIN), engine.Eager)
    assert isinstance(fast.make_step(small_model(), data.train, PLAIN, fast=True), fast.Fast)
    history = fit(small_model(), data, {"lr": 0.1}, 1, PLAIN, progress=False)
    assert history.how == "eager" and capsys.readouterr().out == ""


# --- the capture, by a stand-in for the CUDA graph -----------------------------------------------------------


def replaying(work):
    """What `fast.captured` promises, without a GPU: warm-ups, a recording, and replays that fill the same tensors."""
    for _ in range(fast.WARM_UPS):
        work()
    outputs = work()

    def replay():
        for kept, new in zip(outputs, work()):
            kept.copy_(new)

    return replay, outputs


@pytest.fixture
def graphs(monkeypatch):
    """Fast steps that prepare themselves as on a GPU; returns the list of how they were asked to."""
    asked, make = [], fast.Fast.__init__

    def prepared(self, *args):
        make(self, *args)
        self._prepare()

    def compiled():
        asked.append("compiled")
        return engine.forward

    monkeypatch.setattr(fast.Fast, "__init__", prepared)
    monkeypatch.setattr(fast, "captured", lambda work: asked.append("captured") or replaying(work))
    monkeypatch.setattr(fast, "compiled_forward", compiled)
    return asked


def test_warming_up_and_capturing_leave_no_trace(graphs, data, small_model):
    model, other = small_model().double(), small_model().double()
    torch.manual_seed(5)
    state = torch.get_rng_state()
    prepared = fit(model, data, CURVES, 3, PLAIN, progress=False, fast=True)
    assert graphs == ["compiled", "captured"] and prepared.how == "compiled and captured"
    assert torch.equal(torch.get_rng_state(), state)
    plain = fit(other, data, CURVES, 3, PLAIN, progress=False, fast=False)
    torch.testing.assert_close(torch.tensor(prepared.steps["loss"]), torch.tensor(plain.steps["loss"]), rtol=1e-10, atol=0)
    torch.testing.assert_close(torch.tensor(prepared.column("loss")), torch.tensor(plain.column("loss")), rtol=1e-9, atol=0)


def test_each_step_keeps_its_own_loss_though_the_graph_writes_into_one_tensor(graphs, data, small_model):
    losses = [step.loss for step in steps(small_model(), data, {"lr": 0.3}, 2, PLAIN, fast=True)]
    assert len({float(loss) for loss in losses}) == 8


@pytest.mark.parametrize("broken, how", [(1, "captured"), (2, "uncaptured")])
def test_what_fails_falls_back_with_a_line_each_and_trains_the_same(broken, how, graphs, data, small_model, monkeypatch, capsys):
    left, works = [broken], fast.captured

    def failing(work):
        if left[0]:
            left[0] -= 1
            work()  # it may fail after the warm-ups have changed the weights
            raise RuntimeError("no graphs here\nand a long explanation")
        return works(work)

    monkeypatch.setattr(fast, "captured", failing)
    history = fit(small_model().double(), data, CURVES, 2, PLAIN, progress=False, fast=True)
    said = capsys.readouterr().out.splitlines()
    assert history.how == how and len(said) == broken and all("RuntimeError: no graphs here)" in line for line in said)
    plain = fit(small_model().double(), data, CURVES, 2, PLAIN, progress=False, fast=False)
    torch.testing.assert_close(torch.tensor(history.steps["loss"]), torch.tensor(plain.steps["loss"]), rtol=1e-10, atol=0)


@pytest.mark.parametrize("name", sorted(models.MODELS))
def test_every_network_is_traced_in_one_piece_and_seeds_share_the_trace(name):
    """The compiler's front end alone, which is what decides whether a network can be compiled whole."""
    torch._dynamo.reset()
    traced = []

    def backend(graph, inputs):
        traced.append(graph)
        return graph.forward

    forward = torch.compile(engine.forward, fullgraph=True, dynamic=False, backend=backend)
    images, labels = torch.randn(4, 3, 32, 32), torch.arange(4)
    for seed in (0, 1):
        model = models.build(name, seed=seed).train()
        with torch.no_grad():
            loss, answer = forward(model, images, labels, "fp32", 0.1)
            expected, _ = engine.forward(models.build(name, seed=seed).train(), images, labels, "fp32", 0.1)
        torch.testing.assert_close(loss, expected)
    assert len(traced) == 1


def test_the_whole_step_has_one_batch_shape(data, small_model):
    seen = set()
    model = small_model()
    model.register_forward_pre_hook(lambda module, args: seen.add(tuple(args[0].shape)) if module.training else None)
    fit(model, data, {"lr": 0.1}, 2, PLAIN, progress=False, fast=True)
    assert seen == {(16, 3, 32, 32)}


def test_the_static_plan_takes_every_row_of_an_epochs_plan(data, small_model):
    step = fast.Fast(small_model(), data.train, PLAIN)
    plan = plan_epoch(50, 16, 3, 1)
    for i in range(len(plan)):
        step(plan, i, {"lr": 0.0})
        assert all(torch.equal(mine[0], theirs[i]) for mine, theirs in zip(step.plan, plan))


def test_it_trains_on_real_images():
    from clrlib.lab.cifar import digits

    train, test = digits()
    data = Data(train.subset(torch.arange(512)), test.subset(torch.arange(100)), source="digits")
    recipe = replace(PLAIN, batch_size=32, augment=False)
    history = fit(models.build("tiny"), data, {"lr": s.one_cycle(0.01, 0.1)}, 3, recipe, progress=False, fast=True)
    assert history.accuracy > 80
