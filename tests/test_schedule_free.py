"""Schedule-free SGD against its authors' package, and measuring at its average."""

import pytest
import schedulefree
import torch
from torch import nn

from clrlib import schedules as s
from clrlib.lab.engine import Eager
from clrlib.lab.recipe import Recipe
from clrlib.lab.schedule_free import ScheduleFreeSGD, recalibrated
from clrlib.lab.training import evaluate, fit

RATES = [0.0, 0.02, 0.05, 0.1, 0.1, 0.1, 0.3, 0.3, 0.2, 0.1]


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).double()


def loss_of(model, step):
    generator = torch.Generator().manual_seed(step)
    inputs = torch.randn(16, 6, generator=generator, dtype=torch.float64)
    return nn.functional.cross_entropy(model(inputs), inputs.argmax(1) % 3)


@pytest.mark.parametrize("momentum, decay", [(0.9, 0.0), (0.9, 1e-2), (0.5, 1e-3)])
def test_it_goes_where_the_package_goes(momentum, decay):
    ours, theirs = network(), network()
    mine = ScheduleFreeSGD(ours.parameters(), momentum=momentum, weight_decay=decay)
    package = schedulefree.SGDScheduleFree(theirs.parameters(), lr=1.0, momentum=momentum, weight_decay=decay)
    package.train()
    for step, rate in enumerate(RATES):
        for model, optimizer in ((ours, mine), (theirs, package)):
            optimizer.param_groups[0]["lr"] = rate
            optimizer.zero_grad()
            loss_of(model, step).backward()
            optimizer.step()
        for a, b in zip(ours.parameters(), theirs.parameters()):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
    package.eval()
    before = [p.detach().clone() for p in ours.parameters()]
    with mine.averaged():
        for a, b in zip(ours.parameters(), theirs.parameters()):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), before))


def test_the_average_is_given_back_when_measuring_fails():
    model = network()
    optimizer = ScheduleFreeSGD(model.parameters(), lr=0.1)
    for step in range(3):
        loss_of(model, step).backward()
        optimizer.step()
    before = [p.detach().clone() for p in model.parameters()]
    with pytest.raises(RuntimeError, match="no power"), optimizer.averaged():
        assert not torch.equal(next(model.parameters()), before[0])
        raise RuntimeError("no power")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before))


def test_before_the_first_step_the_average_is_the_weights():
    model = network()
    before = [p.detach().clone() for p in model.parameters()]
    with ScheduleFreeSGD(model.parameters()).averaged():
        assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before))


@pytest.mark.parametrize("momentum", [0.0, 1.0, -0.1])
def test_a_momentum_that_averages_nothing_is_refused(momentum):
    with pytest.raises(ValueError, match=f"got {momentum}"):
        ScheduleFreeSGD(network().parameters(), momentum=momentum)


def test_recalibrated_statistics_are_the_mean_over_the_batches_and_are_given_back():
    layer = nn.BatchNorm1d(4)
    model = nn.Sequential(layer, nn.Dropout(0.5)).eval()
    layer.running_mean.fill_(7.0)
    batches = [torch.randn(32, 4) * k + k for k in (1, 2, 3)]
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    with recalibrated(model, batches):
        torch.testing.assert_close(layer.running_mean, torch.stack([b.mean(0) for b in batches]).mean(0))
        torch.testing.assert_close(layer.running_var, torch.stack([b.var(0) for b in batches]).mean(0))
    assert all(torch.equal(value, kept[name]) for name, value in model.state_dict().items())
    assert layer.momentum == 0.1 and not model.training and not layer.training


def test_a_run_is_measured_at_the_average_and_trains_on_from_where_it_was(data, small_model):
    recipe = Recipe(batch_size=16, precision="fp32", optimizer="schedule_free")
    model = small_model()
    history = fit(model, data, {"lr": s.constant(0.2)}, 3, recipe, progress=False)
    again = small_model()
    rarely = fit(again, data, {"lr": s.constant(0.2)}, 3, recipe, progress=False, evaluate_every=0)
    assert rarely.steps["loss"].tolist() == history.steps["loss"].tolist(), "measuring moves nothing"
    assert ["accuracy" in row for row in rarely.epochs] == [False, False, True]
    assert rarely.accuracy == history.accuracy
    assert history.epochs[-1]["loss"] != evaluate(model, data.held_out)[0], "not at the weights that training goes on from"


def test_an_interrupted_run_ends_bit_for_bit_as_an_unbroken_one(data, small_model, tmp_path):
    recipe = Recipe(batch_size=16, precision="fp32", optimizer="schedule_free")

    def stop(history):
        if len(history.epochs) == 1:
            raise KeyboardInterrupt

    whole, again = small_model(), small_model()
    expected = fit(whole, data, {"lr": 0.2}, 3, recipe, progress=False)
    fit(again, data, {"lr": 0.2}, 3, recipe, progress=False, watch=stop, checkpoint=tmp_path / "run.pt")
    found = fit(small_model(seed=5), data, {"lr": 0.2}, 3, recipe, progress=False, checkpoint=tmp_path / "run.pt")
    assert found.steps["loss"].tolist() == expected.steps["loss"].tolist()
    assert [row["loss"] for row in found.epochs] == [row["loss"] for row in expected.epochs]


def test_other_optimisers_are_measured_as_they_are(data, small_model):
    model = small_model()
    step = Eager(model, data.train, Recipe(batch_size=16, precision="fp32"))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with step.measured():
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
