"""The learning-rate range test (Smith 2015, arXiv:1506.01186, section 3.3): on a fresh model, or in place on yours.

Both train for a few steps while the rate rises, and return raw losses in a `RangeTest`. `suggest`
reads a rate off them and `plots` draws them.
"""

from __future__ import annotations

import copy
import functools
import math
import random
import sys
from dataclasses import replace

import numpy as np
import torch
from tqdm import tqdm

from . import data as images_of
from . import engine, models
from .history import RangeTest
from .recipe import Recipe
from .scheduler import hyper_parameters
from .schedules import DEFAULTS, exponential, linear
from .training import check_model, evaluate
from .validate import count, shown

EXPLODED = 4.0  # a smoothed loss this many times the best one ends the sweep


def range_test(
    make_model="tiny", data=None, low=1e-5, high=10.0, steps=100, sweep="exponential", seeds=(0,), momentum=DEFAULTS["momentum"],
    weight_decay=DEFAULTS["weight_decay"], recipe: Recipe = Recipe(), held_out_images: int = 0, progress: bool = True,
) -> RangeTest:  # fmt: skip
    """Sweep the rate from `low` to `high` over `steps` batches on a fresh model, once per seed.

    make_model       a name from `models.MODELS`, or a function seed -> model
    sweep            "exponential" (equal factors per step) or "linear"
    held_out_images  also measure the loss on that many held-out images after every step (slow; 0: don't)

    It stops early once the loss is not finite, or its smoothed value passes 4 times the best. Raises
    ValueError for bounds, steps or a model that can't work, before any training.
    """
    if data is None:
        raise ValueError("range_test needs data: pass clrlib.data.load()")
    if isinstance(seeds, int) or not (seeds := [count("seeds", seed, at_least=0) for seed in seeds]):
        raise ValueError(f"seeds must be a list of at least one seed, such as [0, 1, 2]; got {shown(seeds)}")
    rates = sweep_rates(low, high, steps, sweep)
    fixed = hyper_parameters({"lr": low, "momentum": momentum, "weight_decay": weight_decay}, 1)(0)
    watching = min(count("held_out_images", held_out_images, at_least=0), len(data.held_out))
    build = make_model if callable(make_model) else lambda seed: models.build(make_model, data.train.classes, seed)
    recipe = engine.resolved(recipe, data.train.images.device)
    watched = data.held_out.subset(torch.arange(watching)) if watching else None
    runs = []
    with tqdm(total=len(rates) * len(seeds), unit="step", disable=not progress, leave=False, file=sys.stdout) as bar:
        for seed in seeds:
            trainer = _Fresh(build(seed), data, replace(recipe, seed=seed), fixed, watched)
            runs.append(_sweep(trainer.step, trainer.loss, rates, bar, trainer.measure if watched else None))
    return _gather(rates, runs, data.source)


def range_test_in_place(
    model, optimizer, loss_fn, batches, low=1e-6, high=10.0, steps=100, sweep="exponential",
    batch_loss=None, scaler=None, progress: bool = True,
) -> RangeTest:  # fmt: skip
    """The range test on your own model and optimiser, as they stand; afterwards everything is as before.

    loss_fn     (model output, targets) -> scalar loss
    batches     any iterable of (inputs, targets), such as a DataLoader; it is started again when it runs out
    batch_loss  (model, batch) -> scalar loss, for batches or forward passes of another kind; loss_fn is then unused
    scaler      your GradScaler, if you train in fp16

    Parameter groups keep the ratio of their rates. Given back exactly, also after an error or an interrupt:
    parameters, gradients, all buffers (BatchNorm's statistics too), train/eval modes, optimiser, scaler,
    the random states of Python, numpy and torch, and a DataLoader's generators. A one-shot iterator's batches can't be.
    """
    rates = sweep_rates(low, high, steps, sweep)
    compute = batch_loss or (lambda model, batch: loss_fn(model(_moved(batch[0], model)), _moved(batch[1], model)))
    feed = _endless(batches)
    shares = _shares(optimizer)

    def step(rate):
        for group, share in zip(optimizer.param_groups, shares):
            group["lr"] = rate * share
        optimizer.zero_grad(set_to_none=True)
        loss = compute(model, next(feed))
        (scaler.scale(loss) if scaler else loss).backward()
        if scaler:
            scaler.step(optimizer)
            scaler.update()
        else:
            optimizer.step()
        return float(loss.detach())

    def loss_only():
        with torch.no_grad():
            return float(compute(model, next(feed)))

    def sweep_once():
        with tqdm(total=len(rates), unit="step", disable=not progress, leave=False, file=sys.stdout) as bar:
            return _gather(rates, [_sweep(step, loss_only, rates, bar)], source="your data")

    return untouched(sweep_once, model, optimizer, scaler, batches)


def sweep_rates(low: float, high: float, steps: int, sweep: str = "exponential") -> np.ndarray:
    """The rates of a range test, shape [steps], both ends included.

    exponential: low * (high / low) ** (i / (steps - 1)); the article's formula, started at i = 0
    """
    if not 0 <= low < high < math.inf:
        raise ValueError(f"need 0 <= low < high, both finite; got low={shown(low)}, high={shown(high)}")
    if sweep not in ("exponential", "linear"):
        raise ValueError(f"sweep {sweep!r} is unknown: choose 'exponential' or 'linear'")
    if sweep == "exponential" and low == 0:
        raise ValueError("an exponential sweep can't start at 0: take low=1e-5, or sweep='linear'")
    return (exponential if sweep == "exponential" else linear)(low, high).table(count("steps", steps, at_least=2))


def untouched(work, model, optimizer, scaler=None, batches=None):
    """What work() returns, in train mode; whatever happens there, everything is the same after it, bit for bit.

    Giving back is begun anew when an interrupt falls into it, and the interrupt goes on afterwards: hence no context
    manager, whose exit an interrupt can skip.
    """
    give_back = [*_snapshot(model), *_snapshot_optimizer(optimizer, scaler), *_snapshot_random(batches)]
    late, left = None, list(give_back)
    try:
        model.train()
        return work()
    finally:
        while left:
            try:
                left[-1]()
                left.pop()
            except KeyboardInterrupt as error:
                late = error
            except Exception as error:  # the others are given back all the same
                late = late or error
                left.pop()
        if late is not None:
            raise late


def _snapshot(model) -> list:
    """Functions that give a model back: its tensors and which of them stand where, gradients, modes."""
    grads = [(p, None if p.grad is None else p.grad.detach().clone()) for p in model.parameters()]
    modules = [(module, module.training, dict(module._buffers)) for module in model.modules()]

    def places():
        for parameter, grad in grads:
            parameter.grad = grad
        for module, training, buffers in modules:
            module.training = training
            module._buffers.update(buffers)  # a forward pass may put new tensors in their place

    tensors = (*model.parameters(), *model.buffers())
    return [*(functools.partial(_write, tensor, tensor.detach().clone()) for tensor in tensors), places]


def _write(tensor, value):
    tensor.detach().copy_(value)


def _snapshot_optimizer(optimizer, scaler) -> list:
    """Functions that give an optimiser and a scaler back."""
    groups = [(group, dict(group)) for group in optimizer.param_groups]
    state = {p: {k: v.clone() if torch.is_tensor(v) else copy.deepcopy(v) for k, v in s.items()} for p, s in optimizer.state.items()}
    scaling = copy.deepcopy(scaler.state_dict()) if scaler else None
    stages = {key: copy.copy(value) for key, value in getattr(scaler, "_per_optimizer_states", {}).items()}

    def optimizing():
        for group, values in groups:
            group.clear()
            group.update(values)
        optimizer.state.clear()
        optimizer.state.update(state)

    def scaled():
        if scaler:
            scaler.load_state_dict(scaling)
        if scaler and scaler.is_enabled():  # an interrupt may fall between the scaler's step and its update
            scaler._per_optimizer_states.clear()
            scaler._per_optimizer_states.update(stages)

    return [optimizing, scaled]


def _snapshot_random(batches) -> list:
    """Functions that give back the random states of Python, numpy, torch and a DataLoader's generators.

    And whether it records gradients: an interrupt at the end of a `no_grad` leaves that switched off.
    """
    kept = [(torch.set_grad_enabled, torch.is_grad_enabled()), *((g.set_state, g.get_state()) for g in _generators(batches))]
    kept += [
        (random.setstate, random.getstate()),
        (np.random.set_state, np.random.get_state()),
        (torch.set_rng_state, torch.get_rng_state()),
    ]
    if torch.cuda.is_available():
        kept.append((torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all()))
    return [functools.partial(give_back, state) for give_back, state in kept]


class _Fresh:
    """A fresh model trained for a sweep: the same batches and step as `fit`."""

    def __init__(self, model, data, recipe, fixed, watched):
        check_model(model, data.train)
        device = data.train.images.device
        self.model = engine.place(model, device, recipe.channels_last).train()
        self.train_step = engine.Eager(self.model, data.train, recipe)
        self.data, self.recipe, self.fixed, self.watched = data, recipe, fixed, watched
        self.plans = _planned(data.train, recipe)

    def step(self, rate):
        return float(self.train_step(*next(self.plans), {**self.fixed, "lr": rate})[0])

    def loss(self):
        images, labels = images_of.batch(self.data.train, *next(self.plans), self.recipe.augment, self.recipe.cutout)
        with torch.no_grad():
            return float(engine.forward(self.model, images, labels, self.recipe.precision, self.recipe.label_smoothing)[0])

    def measure(self):
        return evaluate(self.model, self.watched, self.recipe.precision)[0]


def _sweep(step, loss_only, rates, bar, measure=None):
    """Train once per rate; returns (losses before each step and one more, held-out losses, why it ended)."""
    losses, held_out, average, best, why = [], [], 0.0, math.inf, "reached the highest rate"
    for i, rate in enumerate(rates):
        losses.append(step(float(rate)))
        bar.update()
        if measure:
            held_out.append(measure())
        average = 0.9 * average + 0.1 * losses[-1]
        smoothed = average / (1 - 0.9 ** (i + 1))
        if not math.isfinite(losses[-1]):
            why = f"the loss was not finite at a rate of {rate:.3g}"
            break
        best = min(best, smoothed)
        if i >= 5 and smoothed > best + (EXPLODED - 1) * abs(best):
            why = f"the loss exploded at a rate of {rate:.3g}"
            break
    else:
        losses.append(loss_only())
    bar.set_postfix_str(why, refresh=False)
    return losses, held_out, why


def _gather(rates, runs, source) -> RangeTest:
    """Pair each rate with the loss after its step, over all seeds; NaN after a stop."""
    losses, held_out = np.full((2, len(runs), len(rates)), np.nan)
    for i, (raw, measured, _) in enumerate(runs):
        after = np.array(raw[1:])
        losses[i, : len(after)] = np.where(np.isfinite(after), after, np.nan)
        held_out[i, : len(measured)] = measured
    before = np.array([raw[0] for raw, _, _ in runs])
    return RangeTest(rates, losses, before, held_out if runs[0][1] else None, tuple(why for _, _, why in runs), source)


def _planned(split, recipe):
    """(plan, number of the batch) without end, epoch after epoch."""
    epoch = 0
    while True:
        plan = images_of.plan_epoch(len(split), recipe.batch_size, recipe.seed, epoch, split.images.device)
        for i in range(len(plan)):
            yield plan, i
        epoch += 1


def _endless(batches):
    """The batches of an iterable, again and again. Raises ValueError when there is none (or no more)."""
    while True:
        empty = True
        for batch in batches:
            empty = False
            yield batch
        if empty:
            raise ValueError("batches ran out: pass a DataLoader or a list with at least one batch, not an empty or one-shot iterator")


def _shares(optimizer) -> list[float]:
    """Each parameter group's rate as a share of the highest; all 1 where the rates are 0."""
    rates = [float(group["lr"]) for group in optimizer.param_groups]
    return [rate / max(rates) if max(rates) > 0 else 1.0 for rate in rates]


def _moved(value, model):
    """Tensors go to the model's device; anything else is passed on."""
    device = next((p.device for p in model.parameters()), None)
    return value.to(device, non_blocking=True) if torch.is_tensor(value) and device is not None else value


def _generators(batches) -> list[torch.Generator]:
    """The explicit generators of a DataLoader and its samplers."""
    holders = (batches, getattr(batches, "sampler", None), getattr(getattr(batches, "batch_sampler", None), "sampler", None))
    found = (getattr(holder, "generator", None) for holder in holders)
    return list({id(g): g for g in found if isinstance(g, torch.Generator)}.values())
