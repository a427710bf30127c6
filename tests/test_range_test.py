import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from clrlib import data as images_of
from clrlib.data import batch, plan_epoch
from clrlib.fresh import range_test
from clrlib.range_test import range_test_in_place, sweep_rates
from clrlib.training import Recipe, evaluate

PLAIN = Recipe(batch_size=16, precision="fp32", channels_last=False)


def losses_by_hand(model, data, rates, seed=0):
    """The range test in full: one loss before each step, and one more after the last."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.9, weight_decay=1e-4)
    batches = [
        batch(data.train, plan, i) for plan in (plan_epoch(len(data.train), 16, seed, e) for e in range(9)) for i in range(len(plan))
    ]
    losses = []
    model.train()
    for rate, (images, labels) in zip(rates, batches):
        optimizer.param_groups[0]["lr"] = rate
        loss = F.cross_entropy(model(images), labels)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    images, labels = batches[len(rates)]
    return [*losses, F.cross_entropy(model(images), labels).item()]


# --- the sweep ------------------------------------------------------------------------------------------


def test_an_exponential_sweep_is_the_articles_formula():
    rates, q = sweep_rates(1e-4, 10, 12), (10 / 1e-4) ** (1 / 11)
    np.testing.assert_allclose(rates, [1e-4 * q**i for i in range(12)], rtol=1e-12)


def test_a_linear_sweep_may_start_at_zero():
    np.testing.assert_allclose(sweep_rates(0, 3, 7, "linear"), [0, 0.5, 1, 1.5, 2, 2.5, 3], rtol=1e-12)


@pytest.mark.parametrize(
    "bounds, message",
    [
        ((1, 0.1, 10), "low=1, high=0.1"),
        ((0.1, 0.1, 10), "low=0.1, high=0.1"),
        ((-1, 1, 10), "low=-1"),
        ((float("nan"), 1, 10), "low=nan"),
        ((0.1, float("inf"), 10), "high=inf"),
        ((0.1, 10**400, 10), "finite"),
        ((0, 1, 10), "can't start at 0"),
        ((0.1, 1, 1), "steps must be at least 2, got 1"),
        ((0.1, 1, 0), "steps must be at least 2, got 0"),
        ((0.1, 1, 10, "cubic"), "'cubic' is unknown"),
    ],
)
def test_bad_bounds_are_named_before_anything_is_touched(bounds, message, data):
    def never(seed):
        raise AssertionError("a model was made")

    sweep = dict(zip(("low", "high", "steps", "sweep"), bounds))
    with pytest.raises(ValueError, match=message):
        sweep_rates(*bounds)
    with pytest.raises(ValueError, match=message):
        range_test(never, data, recipe=PLAIN, progress=False, **sweep)


# --- on a fresh model ----------------------------------------------------------------------------------


@pytest.mark.parametrize("sweep, low", [("exponential", 1e-4), ("linear", 0.0)])
def test_it_equals_a_loop_by_hand_bit_for_bit(sweep, low, data, small_model):
    result = range_test(small_model, data, low, 0.1, 6, sweep, recipe=PLAIN, progress=False)
    by_hand = losses_by_hand(small_model(), data, result.lrs.tolist())
    assert result.before.tolist() == by_hand[:1] and result.losses[0].tolist() == by_hand[1:]
    assert result.losses_before_step[0].tolist() == by_hand[:-1]
    assert result.stopped == ("reached the highest rate",)


def test_every_seed_has_its_own_row_model_and_batches(data, small_model):
    result = range_test(small_model, data, 1e-4, 0.1, 4, seeds=[3, 5], recipe=PLAIN, progress=False)
    for row, seed in zip(result.losses, (3, 5)):
        assert row.tolist() == losses_by_hand(small_model(seed), data, result.lrs.tolist(), seed)[1:]
    np.testing.assert_allclose(result.loss, result.losses.mean(axis=0))


def test_it_names_the_data_it_was_made_from(data, small_model):
    from dataclasses import replace

    stand_in = replace(data, source="digits")
    assert range_test(small_model, stand_in, 1e-4, 0.1, 2, recipe=PLAIN, progress=False).source == "digits"


def test_held_out_losses_are_measured_after_each_step(data):
    kept = []

    def build(seed):
        kept.append(nn.Sequential(nn.Flatten(), nn.Linear(3072, 10)))
        return kept[-1]

    result = range_test(build, data, 1e-4, 0.1, 5, recipe=PLAIN, held_out_images=8, progress=False)
    assert result.held_out.shape == (1, 5)
    assert result.held_out[0, -1] == pytest.approx(evaluate(kept[0], data.held_out.subset(torch.arange(8)))[0])
    assert len(set(result.held_out[0])) == 5


def test_an_exploding_loss_ends_the_sweep_early(data, small_model):
    result = range_test(small_model, data, 1e-3, 1e4, 60, recipe=PLAIN, progress=False)
    measured = int(np.isfinite(result.losses[0]).sum())
    assert 5 <= measured < 55 and np.isnan(result.losses[0, measured:]).all()
    assert "exploded" in result.stopped[0] or "not finite" in result.stopped[0]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_ends_the_sweep_at_once(value):
    model, seen = nn.Linear(2, 1), []

    def loss(model, batch):
        seen.append(len(seen))
        return model(batch).sum() * (value if len(seen) == 4 else 1.0)

    result = range_test_in_place(model, torch.optim.SGD(model.parameters(), 0.1), None, [torch.ones(1, 2)], batch_loss=loss, progress=False)
    assert len(seen) == 4 and np.isfinite(result.losses[0, :2]).all() and np.isnan(result.losses[0, 2:]).all()
    assert "not finite" in result.stopped[0]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"momentum": 1.0}, "momentum"),
        ({"momentum": -0.1}, "momentum"),
        ({"weight_decay": float("nan")}, "finite"),
        ({"seeds": []}, "at least one seed"),
        ({"seeds": 3}, "got 3"),
        ({"data": None}, "needs data"),
        ({"recipe": Recipe(batch_size=51)}, "batch_size=51 is more than the 50"),
        ({"make_model": lambda seed: nn.Sequential(nn.Flatten(), nn.Linear(3072, 7))}, r"\[2, 7\]"),
        ({"held_out_images": -1}, "held_out_images"),
    ],
)
def test_what_cannot_work_is_named_before_training(change, message, data, monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("a step was trained")

    monkeypatch.setattr("clrlib.engine.train_step", never)
    with pytest.raises(ValueError, match=message):
        range_test(**{"data": data, "recipe": PLAIN, "steps": 4, "progress": False} | change)


# --- in place ---------------------------------------------------------------------------------------------


class Own:
    """A user's training, half-way: model with dropout and batch norm, optimiser with state, shuffling loader."""

    def __init__(self, make_model, optimizer="sgd", scaled=False):
        torch.manual_seed(1), random.seed(1), np.random.seed(1)
        self.model = make_model()
        self.model[2].eval()  # a batch norm that its owner froze
        self.model[1].weight.requires_grad_(False)
        body, head = self.model[:5].parameters(), self.model[5].parameters()
        groups = [{"params": body, "lr": 0.01}, {"params": head, "lr": 0.1}]
        kinds = {"sgd": lambda: torch.optim.SGD(groups, momentum=0.9), "adam": lambda: torch.optim.Adam(groups, amsgrad=True)}
        self.optimizer = kinds[optimizer]()
        self.scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2) if scaled else None
        inputs = torch.randn(20, 3, 2, 2)
        self.loader = DataLoader(TensorDataset(inputs, torch.arange(20) % 3), 5, shuffle=True, generator=torch.Generator().manual_seed(2))
        self.train(1)

    def train(self, epochs):
        losses = []
        for _ in range(epochs):
            for inputs, targets in self.loader:
                loss = F.cross_entropy(self.model(inputs), targets)
                self.optimizer.zero_grad()
                loss.backward() if self.scaler is None else self.scaler.scale(loss).backward()
                self.optimizer.step() if self.scaler is None else (self.scaler.step(self.optimizer), self.scaler.update())
                losses.append(loss.item() + random.random() + np.random.rand())
        return losses

    def test(self, loss_fn=F.cross_entropy, **kwargs):
        args = {"low": 1e-4, "high": 1.0, "steps": 9, "scaler": self.scaler, "progress": False} | kwargs
        return range_test_in_place(self.model, self.optimizer, loss_fn, self.loader, **args)

    def everything(self):
        """All that may change, as plain values."""
        optimizer = self.optimizer.state_dict()
        return [
            {name: value.tolist() for name, value in self.model.state_dict().items()},
            [None if p.grad is None else p.grad.tolist() for p in self.model.parameters()],
            [module.training for module in self.model.modules()],
            optimizer["param_groups"],
            {i: {k: v.tolist() for k, v in state.items() if v is not None} for i, state in optimizer["state"].items()},
            self.scaler and self.scaler.state_dict(),
            random.getstate(),
            [part.tolist() if isinstance(part, np.ndarray) else part for part in np.random.get_state()],
            torch.get_rng_state().tolist(),
            self.loader.generator.get_state().tolist(),
        ]  # fmt: skip


def interrupted(error):
    """A loss function that works twice and then raises."""
    calls = []

    def loss_fn(output, targets):
        calls.append(1)
        if len(calls) > 2:
            raise error
        random.random(), np.random.rand()
        return F.cross_entropy(output, targets)

    return loss_fn


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("scaled", [False, True], ids=["fp32", "scaler"])
@pytest.mark.parametrize("error", [None, RuntimeError("broken"), KeyboardInterrupt()], ids=["normal end", "exception", "interrupt"])
def test_everything_is_given_back_on_any_exit(error, scaled, optimizer, dropout_model):
    own = Own(dropout_model, optimizer, scaled)
    before, seen = own.everything(), []
    if error is None:
        own.test(lambda output, targets: seen.append(own.everything()) or F.cross_entropy(output, targets))
    else:
        with pytest.raises(type(error)):
            own.test(interrupted(error))
    assert own.everything() == before
    changed = [a != b for a, b in zip(seen[-1], before)] if seen else []
    assert not seen or sum(changed) >= 6, "the sweep itself changed nothing, so this proves nothing"


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("scaled", [False, True], ids=["fp32", "scaler"])
def test_training_on_is_bit_identical_to_never_having_run_it(optimizer, scaled, dropout_model):
    never, tested = Own(dropout_model, optimizer, scaled), None
    expected = never.train(2)
    tested = Own(dropout_model, optimizer, scaled)
    tested.test()
    assert tested.train(2) == expected and tested.everything() == never.everything()


def test_an_unstarted_optimizer_keeps_its_empty_state(dropout_model):
    model = dropout_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
    range_test_in_place(model, optimizer, F.cross_entropy, [(torch.randn(4, 12), torch.arange(4) % 3)], steps=4, progress=False)
    assert not optimizer.state and optimizer.param_groups[0]["lr"] == 0.3 and all(p.grad is None for p in model.parameters())


def test_a_disabled_scaler_changes_nothing(dropout_model):
    own = Own(dropout_model)
    own.scaler = torch.amp.GradScaler("cpu", enabled=False)
    scaled, before = own.test(), own.everything()
    own.scaler = None
    assert (scaled.losses == own.test().losses).all() and own.everything()[:5] == before[:5]


def test_in_place_losses_equal_a_loop_by_hand():
    model, batches = nn.Linear(4, 3), [(torch.randn(6, 4), torch.arange(6) % 3), (torch.randn(6, 4), torch.arange(6) % 3)]
    weight, bias = (p.detach().clone().requires_grad_() for p in model.parameters())
    result = range_test_in_place(model, torch.optim.SGD(model.parameters(), 1.0), F.cross_entropy, batches, 1e-3, 0.5, 5, progress=False)
    losses = []
    for i, rate in enumerate([*result.lrs.tolist(), 0.0]):
        loss = F.cross_entropy(F.linear(batches[i % 2][0], weight, bias), batches[i % 2][1])
        losses.append(loss.item())
        for p, grad in zip((weight, bias), torch.autograd.grad(loss, (weight, bias))):
            p.data -= rate * grad
    np.testing.assert_allclose(result.losses[0], losses[1:], rtol=1e-6)
    assert result.source == "your data"


def test_parameter_groups_keep_the_ratio_of_their_rates(dropout_model):
    own, seen = Own(dropout_model), []
    result = own.test(lambda out, targets: seen.append([g["lr"] for g in own.optimizer.param_groups]) or F.cross_entropy(out, targets))
    np.testing.assert_allclose(seen[-1], [result.lrs[-1] / 10, result.lrs[-1]], rtol=1e-12)
    np.testing.assert_allclose([small / large for small, large in seen], 0.1, rtol=1e-12)


@pytest.mark.parametrize("batches", [[], iter([(torch.ones(2, 4), torch.tensor([0, 1]))] * 3)], ids=["empty", "one-shot iterator"])
def test_batches_that_run_out_are_explained_and_the_model_given_back(batches):
    model = nn.Linear(4, 3)
    before = model.weight.tolist()
    with pytest.raises(ValueError, match="batches ran out"):
        range_test_in_place(model, torch.optim.SGD(model.parameters(), 0.1), F.cross_entropy, batches, steps=8, progress=False)
    assert model.weight.tolist() == before


def test_the_same_crops_as_fit_are_trained_on(data, small_model, monkeypatch):
    drawn = []
    monkeypatch.setattr(images_of, "plan_epoch", lambda *args: drawn.append(args[:4]) or plan_epoch(*args))
    range_test(small_model, data, 1e-4, 0.1, 5, recipe=PLAIN, progress=False)
    assert drawn == [(50, 16, 0, 0), (50, 16, 0, 1)]
