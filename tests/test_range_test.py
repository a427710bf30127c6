import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from clrlib.history import smooth
from clrlib.lab import cifar as images_of
from clrlib.lab.cifar import batch, plan_epoch
from clrlib.lab.fresh import range_test
from clrlib.lab.training import Recipe, evaluate
from clrlib.range_test import range_test_in_place, run_sweep, sweep_rates
from clrlib.scheduler import ScheduledLR
from clrlib.schedules import one_cycle

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

    monkeypatch.setattr("clrlib.lab.engine.train_step", never)
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


def test_the_same_crops_as_fit_are_trained_on(data, small_model, monkeypatch):
    drawn = []
    monkeypatch.setattr(images_of, "plan_epoch", lambda *args: drawn.append(args[:4]) or plan_epoch(*args))
    range_test(small_model, data, 1e-4, 0.1, 5, recipe=PLAIN, progress=False)
    assert drawn == [(50, 16, 0, 0), (50, 16, 0, 1)]


# --- in place, on the user's terms --------------------------------------------------------------------------


def net(seed=0, norm=False):
    torch.manual_seed(seed)
    layers = [nn.Linear(4, 8), nn.BatchNorm1d(8) if norm else nn.Tanh(), nn.Linear(8, 3)]
    return nn.Sequential(*layers)


def batches_of(n, size=6, seed=1):
    made, batches = torch.Generator().manual_seed(seed), []
    for _ in range(n):
        batches.append((torch.randn(size, 4, generator=made), torch.randint(3, (size,), generator=made)))
    return batches


def adamw(model, lr=0.1, **kwargs):
    return torch.optim.AdamW(model.parameters(), lr=lr, **kwargs)


def swept(model, batches, optimizer=None, loss_fn=F.cross_entropy, **kwargs):
    optimizer = adamw(model) if optimizer is None else optimizer
    kwargs = {"low": 1e-3, "high": 0.5, "steps": 6, "progress": False} | kwargs
    return range_test_in_place(model, optimizer, loss_fn, batches, **kwargs)


def clip(model):
    nn.utils.clip_grad_norm_(model.parameters(), 0.1)


def accumulated_by_hand(model, batches, rates, accumulate):
    """Losses of a loop with accumulated, clipped gradients, as a practitioner writes it."""
    optimizer, feed, losses = adamw(model), iter(batches), []
    for rate in [*rates, None]:
        parts = []
        optimizer.zero_grad()
        for _ in range(accumulate):
            inputs, targets = next(feed)
            loss = F.cross_entropy(model(inputs), targets)
            (loss / accumulate).backward()
            parts.append(loss.item())
        losses.append(sum(parts) / accumulate)
        if rate is not None:
            clip(model)
            optimizer.param_groups[0]["lr"] = rate
            optimizer.step()
    return losses


@pytest.mark.parametrize("scaled", [False, True], ids=["fp32", "scaler"])
def test_accumulation_and_clipping_equal_a_loop_by_hand(scaled):
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0) if scaled else None
    found = swept(net(), batches_of(30), accumulate=3, before_step=clip, scaler=scaler)
    losses = accumulated_by_hand(net(), batches_of(30), found.lrs.tolist(), 3)
    assert [*found.before, *found.losses[0]] == losses
    unclipped = swept(net(), batches_of(30), accumulate=3)
    assert abs(unclipped.losses - found.losses).max() > 1e-3, "clipping did nothing, so this proves nothing"


def test_accumulated_batches_are_one_large_batch():
    small = batches_of(14)
    large = [tuple(map(torch.cat, zip(*small[i : i + 2]))) for i in range(0, 14, 2)]
    np.testing.assert_allclose(swept(net(), small, accumulate=2).loss, swept(net(), large).loss, rtol=1e-4)


def test_a_validation_loader_is_measured_in_eval_mode_after_every_step():
    model, held_out, by_hand = net(norm=True), batches_of(4, 5, seed=2), []

    def measure(model):
        assert not model.training and not model[1].training and not torch.is_grad_enabled()
        losses = [F.cross_entropy(model(inputs), targets) for inputs, targets in held_out]
        by_hand.append(float(torch.stack(losses).mean()))
        return losses[0]

    found = swept(model, batches_of(7), validate=held_out)
    asked = swept(model, batches_of(7), validate=measure)
    np.testing.assert_allclose(found.held_out[0], by_hand, rtol=1e-6)
    assert found.held_out.shape == (1, 6) and len(set(by_hand)) == 6 and model[1].training
    assert (found.losses == asked.losses).all() and (found.losses == swept(model, batches_of(7)).losses).all()


def test_repeats_start_from_the_same_place_on_the_next_batches():
    model, batches = net(norm=True), batches_of(21)
    optimizer = adamw(model)
    F.cross_entropy(model(batches[0][0]), batches[0][1]).backward()
    optimizer.step()
    found = swept(model, batches, optimizer, repeats=3)
    assert found.losses.shape == (3, 6) and found.stopped == ("reached the highest rate",) * 3
    for row, before, at in zip(found.losses, found.before, (0, 7, 14)):
        alone = swept(model, batches[at : at + 7], optimizer)
        assert (row == alone.losses[0]).all() and before == alone.before[0]


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("scaled", [False, True], ids=["fp32", "scaler"])
@pytest.mark.parametrize("breaks_at", [None, 3, 40, 47])
def test_everything_is_given_back_with_every_option_on(breaks_at, scaled, optimizer, dropout_model):
    own, calls = Own(dropout_model, optimizer, scaled), []
    before = own.everything()

    def loss(model, batch):
        calls.append(random.random() + np.random.rand())
        if len(calls) == breaks_at:
            raise KeyboardInterrupt
        return F.cross_entropy(model(batch[0]), batch[1])

    options = {"accumulate": 2, "repeats": 2, "before_step": clip, "validate": own.loader, "batch_loss": loss}
    if breaks_at is None:
        assert np.isfinite(own.test(**options).losses).all()
    else:
        with pytest.raises(KeyboardInterrupt):
            own.test(**options)
    assert own.everything() == before and len(calls) >= (breaks_at or 2 * 9 * 4)


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
def test_training_on_under_a_scheduler_is_bit_identical_to_never_having_swept(kind):
    def trained(sweep):
        model = net(norm=True)
        groups = [{"params": model[:2].parameters(), "lr": 0.01}, {"params": model[2].parameters()}]
        optimizer = kind(groups, lr=0.1)
        scheduler = ScheduledLR(optimizer, {"lr": one_cycle(0.01, 0.1), "momentum": 0.8}, 12)
        for i, (inputs, targets) in enumerate(batches_of(12)):
            if i == 5 and sweep:
                swept(model, batches_of(7), optimizer)
            optimizer.zero_grad()
            F.cross_entropy(model(inputs), targets).backward()
            optimizer.step()
            scheduler.step()
        values = [value.tolist() for value in model.state_dict().values()]
        return values, optimizer.state_dict()["param_groups"]

    assert trained(sweep=True) == trained(sweep=False)


def test_tensors_stay_the_same_objects_and_a_tensor_rate_is_filled():
    model, rate = net(), torch.tensor(0.25)
    optimizer = adamw(model, rate, foreach=False)
    F.cross_entropy(model(batches_of(1)[0][0]), batches_of(1)[0][1]).backward()
    optimizer.step()

    def objects():
        states = [id(value) for state in optimizer.state.values() for value in state.values()]
        return states + [id(value) for p in model.parameters() for value in (p, p.grad)]

    before, seen = objects(), []
    found = swept(model, batches_of(7), optimizer, before_step=lambda _: seen.append(float(rate)))
    assert objects() == before and optimizer.param_groups[0]["lr"] is rate and rate == 0.25
    np.testing.assert_allclose(seen, found.lrs, rtol=1e-6)


def test_what_only_the_optimizer_holds_is_given_back_too():
    model, temperature = net(), nn.Parameter(torch.tensor(2.0))
    optimizer = torch.optim.SGD([*model.parameters(), temperature], lr=0.1)
    seen = []

    def loss(outputs, targets):
        seen.append(temperature.item())
        return F.cross_entropy(outputs * temperature, targets)

    swept(model, batches_of(7), optimizer, loss)
    assert len(set(seen)) == 7 and temperature == 2.0 and temperature.grad is None


def test_layers_that_were_frozen_stay_frozen_and_an_eval_model_is_put_in_train_mode():
    model, modes = net(norm=True), []
    model[1].eval()
    statistics = model[1].running_mean.clone()

    def loss(outputs, targets):
        modes.append((model.training, model[1].training))
        assert torch.equal(model[1].running_mean, statistics) or model[1].training
        return F.cross_entropy(outputs, targets)

    swept(model, batches_of(7), loss_fn=loss)
    swept(model.eval(), batches_of(7), loss_fn=loss)
    assert set(modes[:7]) == {(True, False)} and set(modes[7:]) == {(True, True)} and not model.training


def test_a_model_on_the_cpu_starts_no_gpu(monkeypatch):
    def never(*_):
        raise AssertionError("CUDA was started")

    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_rng_state_all", never)
    model = net()
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)  # torch's own AdamW asks for the GPU's stream
    assert np.isfinite(swept(model, batches_of(7), sgd).losses).all()


def test_without_tqdm_there_is_no_bar(monkeypatch, capsys):
    monkeypatch.setattr("clrlib.range_test.tqdm", None)
    assert np.isfinite(swept(net(), batches_of(7), progress=True).losses).all()
    assert capsys.readouterr().out == ""


# --- in place: batches that a loader, a wrapper or an iterator gives ---------------------------------------


class Noisy(TensorDataset):
    """A data set that draws its own noise."""

    def __init__(self, *tensors):
        super().__init__(*tensors)
        self.noise, self.other = np.random.default_rng(3), random.Random(4)

    def __getitem__(self, i):
        inputs, targets = super().__getitem__(i)
        return inputs + self.noise.normal() + self.other.random(), targets


def shuffled(kind=DataLoader):
    inputs, targets = map(torch.cat, zip(*batches_of(4)))
    return kind(Noisy(inputs, targets), 6, shuffle=True, generator=torch.Generator().manual_seed(2))


class Accelerated(DataLoader):
    """A subclass that wraps another loader's batches, as accelerate has it."""

    def __iter__(self):
        yield from super().__iter__()


class Wrapper:
    def __init__(self, loader):
        self.inner = {"train": [loader]}

    def __iter__(self):
        yield from self.inner["train"][0]


def chained(loader):
    for _ in range(2):
        yield from loader


def hidden(loader):
    return Hidden(lambda: iter(loader))


class Hidden:
    def __init__(self, start):
        self.start = start

    def __iter__(self):
        return self.start()


def order_of(loader):
    return [inputs.sum().item() for inputs, _ in loader]


WRAPPED = {
    "a loader": (lambda loader: loader, DataLoader),
    "a subclass": (lambda loader: loader, Accelerated),
    "a wrapper": (Wrapper, DataLoader),
    "a wrapper of a wrapper": (lambda loader: Wrapper(Wrapper(loader)), DataLoader),
    "a generator": (chained, DataLoader),
}


@pytest.mark.parametrize("wrap, kind", WRAPPED.values(), ids=WRAPPED)
def test_the_generators_of_a_wrapped_loader_are_given_back(wrap, kind):
    loader, untouched = shuffled(kind), shuffled(kind)
    assert np.isfinite(swept(net(), wrap(loader)).losses).all()
    assert order_of(loader) == order_of(untouched)


def test_generators_that_cannot_be_found_are_given_back_when_named():
    loader, untouched = shuffled(), shuffled()
    swept(net(), hidden(loader))
    assert order_of(loader) != order_of(untouched)
    loader, untouched = shuffled(), shuffled()
    held = [loader.generator, loader.dataset.noise, loader.dataset.other]
    swept(net(), hidden(loader), generators=held)
    assert order_of(loader) == order_of(untouched)


def test_the_generators_of_a_validation_loader_are_given_back():
    loader, untouched = shuffled(), shuffled()
    swept(net(), batches_of(7), validate=loader)
    assert order_of(loader) == order_of(untouched)


@pytest.mark.parametrize("given, steps", [(4, 4), (2, 2), (6, 6)])
def test_what_was_swept_is_kept_when_an_iterator_runs_out(given, steps):
    model = net()
    before, whole = model[0].weight.tolist(), swept(model, batches_of(7))
    found = swept(model, iter(batches_of(given)))
    assert found.losses[0, : steps - 1].tolist() == whole.losses[0, : steps - 1].tolist()
    assert np.isnan(found.losses[0, steps - 1 :]).all() and found.lrs.tolist() == whole.lrs.tolist()
    assert found.stopped == (f"batches ran out after {steps} of 6 steps",)
    assert model[0].weight.tolist() == before


def test_an_accumulation_that_runs_out_makes_no_step():
    found = swept(net(), iter(batches_of(5)), accumulate=2)
    assert np.isfinite(found.losses[0]).tolist() == [True] + [False] * 5
    assert found.stopped == ("batches ran out after 2 of 6 steps",)


# --- in place: what can't work ------------------------------------------------------------------------------


def frozen():
    model = net()
    model.requires_grad_(False)
    return model


def outside(model, batch):
    with torch.no_grad():
        return model(batch[0]).mean()


TOKENS = [torch.ones(2, 4)] * 9
REFUSED = {
    "another model's": ({"optimizer": adamw(net(seed=5))}, "holds no trainable parameter of the model"),
    "all frozen": ({"model": frozen(), "optimizer": adamw(net())}, "no trainable parameters: set"),
    "LBFGS": ({"optimizer": lambda model: torch.optim.LBFGS(model.parameters())}, "LBFGS needs a closure"),
    "one tensor": ({"batches": TOKENS}, r"a Tensor, not \(inputs, targets\): pass batch_loss"),
    "a list of one": ({"batches": [[TOKENS[0]]]}, r"a list of 1, not \(inputs, targets\)"),
    "three": ({"batches": [(1, 2, 3)]}, "a tuple of 3, not"),
    "a dict": ({"batches": [{"inputs": 1, "targets": 2}]}, "a dict, not"),
    "no loss": ({"loss_fn": None}, "pass loss_fn, or batch_loss"),
    "no batches": ({"batches": None}, "pass batches"),
    "none in it": ({"batches": []}, "batches ran out before the first"),
    "a loss a row": ({"loss_fn": nn.CrossEntropyLoss(reduction="none")}, r"loss_fn returned shape \[6\]"),
    "a float": ({"batch_loss": lambda *_: 0.5}, "batch_loss returned 0.5: return a tensor"),
    "detached": ({"loss_fn": lambda outputs, _: outputs.detach().mean()}, "the loss has no gradient"),
    "no_grad": ({"batch_loss": outside}, "the loss has no gradient"),
    "validate is empty": ({"validate": []}, "validate yields no batch"),
    "repeats of an iterator": ({"batches": iter(batches_of(9)), "repeats": 2}, "batches that start again"),
    "accumulate": ({"accumulate": 0}, "accumulate must be at least 1, got 0"),
    "repeats": ({"repeats": 0}, "repeats must be at least 1, got 0"),
}


@pytest.mark.parametrize("change, message", REFUSED.values(), ids=REFUSED)
def test_what_cannot_work_in_place_is_named_and_nothing_changes(change, message):
    given = {"model": net(), "batches": batches_of(9)} | change
    model, optimizer = given["model"], given.pop("optimizer", adamw)
    optimizer = optimizer if isinstance(optimizer, torch.optim.Optimizer) else optimizer(model)
    before, steps = [p.tolist() for p in model.parameters()], []
    optimizer.register_step_pre_hook(lambda *_: steps.append(1))
    with pytest.raises(ValueError, match=message):
        swept(optimizer=optimizer, **given)
    assert [p.tolist() for p in model.parameters()] == before and not optimizer.state
    assert not steps or "validate" in change


def test_generators_must_be_generators():
    with pytest.raises(TypeError, match="generators holds 3"):
        swept(net(), batches_of(7), generators=[3])


# --- the loop alone -----------------------------------------------------------------------------------------


def test_the_loop_asks_for_a_step_a_rate_and_one_loss_more():
    asked, ticks = [], []
    step, tick = lambda rate: asked.append(rate) or 2.0, lambda: ticks.append(1)
    found = run_sweep(step, lambda: 1.0, [0.1, 0.2], lambda: 5.0, tick)
    assert asked == [0.1, 0.2] and len(ticks) == 2
    assert found == ([2.0, 2.0, 1.0], [5.0, 5.0], "reached the highest rate")


def test_the_loop_ends_where_the_smoothed_loss_passes_four_times_the_best():
    raw = np.array([1.0] * 10 + [20.0] * 10)
    smoothed = smooth(raw, 0.9)
    expected = int(np.argmax(smoothed > 4 * np.minimum.accumulate(smoothed))) + 1
    left = iter(raw)
    found = run_sweep(lambda rate: next(left), lambda: 0.0, np.arange(1, 21))
    assert len(found.losses) == expected and found.stopped == f"the loss exploded at a rate of {expected}"
