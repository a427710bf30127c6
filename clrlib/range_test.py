"""The learning-rate range test (Smith 2015, arXiv:1506.01186, section 3.3) on your own model, in place.

It trains for a few steps while the rate rises, returns raw losses in a `RangeTest`, and gives everything
back. `suggest` reads a rate off the losses. `run_sweep` is the loop alone; `fresh` runs it on a new model.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
import math
import random
import sys
from collections.abc import Iterator
from types import GeneratorType, ModuleType
from typing import NamedTuple

import numpy as np
import torch

from .history import RangeTest
from .scheduler import group_shares, set_hyper
from .schedules import exponential, linear
from .validate import count, shown

try:
    from tqdm import tqdm
except ImportError:  # a bar is a comfort
    tqdm = None

EXPLODED = 4.0  # a smoothed loss this many times the best one ends the sweep
DEPTH = 8  # how deep in batches a generator may lie: wrapper, list, loader, batch sampler, sampler, generator
LONG = 100  # entries above which a collection is data, and not searched
# These are not searched either.
LEAVES = (torch.Tensor, torch.nn.Module, np.ndarray, ModuleType, type, str, bytes)
GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)


def range_test_in_place(
    model, optimizer, loss_fn=None, batches=None, low=1e-6, high=10.0, steps=100, sweep="exponential", *,
    batch_loss=None, accumulate=1, before_step=None, scaler=None, validate=None, repeats=1, generators=(),
    progress=True,
) -> RangeTest:  # fmt: skip
    """The range test on your own model and optimiser, as they stand; afterwards everything is as before.

    loss_fn      (model output, targets) -> scalar loss
    batches      any iterable of (inputs, targets), such as a DataLoader; started again when it runs out
    low, high    the first rate and the last, in `steps` optimiser steps, spread "exponential" or "linear".
                 Take 14 steps a decade, as here, or more: smoothing lags 9 steps behind, so with fewer than 9
                 every reading off a smoothed curve comes out more than a decade too high
    batch_loss   (model, batch) -> scalar loss, instead of loss_fn: for batches or models of another kind
    accumulate   batches per optimiser step; the step's loss is their mean
    before_step  called with the model before the optimiser's step, gradients unscaled: to clip them
    scaler       your GradScaler, if you train in fp16
    validate     for `held_out`, after every step, in eval mode: a loader of held-out batches, or a function
                 model -> loss
    repeats      sweeps from the same start on different batches, for a band: losses are [repeats, steps]
    generators   random generators that `batches` draws from and that can't be found in it

    Parameter groups keep the ratio of their rates. The model is put in train mode unless it is there already:
    layers that you froze stay frozen. A sweep ends early when the loss explodes or is not finite, or when
    batches run out that can't be started again; `stopped` says why.

    Given back exactly, also after an error or an interrupt: parameters (also those that only the optimiser
    has), gradients, all buffers (BatchNorm's statistics too), train/eval modes, optimiser, scaler, the random
    states of Python, numpy and torch, and the generators of a DataLoader, also of one inside your own class.
    What can't be: batches taken from an iterator; a DataLoader's persistent workers, which start anew.

    Raises ValueError for what can't work, before the first step.
    """
    rates = sweep_rates(low, high, steps, sweep)
    count("accumulate", accumulate)
    _check_batches(batches, count("repeats", repeats))
    _check_optimizer(model, optimizer)
    compute = _loss_of(loss_fn, batch_loss)
    training = _Training(model, optimizer, compute, _endless(batches), accumulate, before_step, scaler)
    measure = functools.partial(_held_out, model, validate, compute) if validate is not None else None
    start = [*_model_keepers(model, optimizer), *_optimizer_keepers(optimizer, scaler)]

    def sweeps():
        runs = []
        with progress_bar(len(rates) * repeats, progress) as tick:
            while len(runs) < repeats:
                for give_back in start if runs else ():
                    give_back()
                if not model.training:
                    model.train()
                runs.append(run_sweep(training.step, training.loss, rates, measure, tick))
        return gathered(rates, runs, source="your data")

    return untouched(sweeps, [*start, *_random_keepers([batches, validate], generators)])


# --- the sweep, whatever it trains ------------------------------------------------------------------------


class Sweep(NamedTuple):
    """What a sweep measured.

    losses    on each step's batch before the step, and one more after the last
    held_out  after each step, if asked for
    stopped   why it ended
    """

    losses: list[float]
    held_out: list[float]
    stopped: str


class OutOfBatches(ValueError):
    """Batches that could not start again have run out."""


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
    curve = exponential if sweep == "exponential" else linear
    return curve(low, high).table(count("steps", steps, at_least=2))


def run_sweep(step, loss_only, rates, measure=None, tick=None) -> Sweep:
    """The loop of a range test: one step at each rate.

    step       rate -> the loss on the next batch, before the step that it makes there
    loss_only  () -> the loss on the next batch, without a step; asked once, after the last rate
    measure    () -> a held-out loss, asked after every step
    tick       called after every step

    It ends early when a loss is not finite, when the smoothed loss (beta 0.9) passes best + 3 |best|, which
    is 4 times the best for a positive loss, or with OutOfBatches; what was measured until then is kept.
    """
    losses, held_out, watch = [], [], _Watch()
    try:
        for rate in rates:
            losses.append(step(float(rate)))
            if tick is not None:
                tick()
            if measure is not None:
                held_out.append(measure())
            if over := watch.over(losses[-1]):
                return Sweep(losses, held_out, f"the loss {over} at a rate of {rate:.3g}")
        losses.append(loss_only())
    except OutOfBatches:
        return Sweep(losses, held_out, f"batches ran out after {len(losses)} of {len(rates)} steps")
    return Sweep(losses, held_out, "reached the highest rate")


def gathered(rates, sweeps, source: str) -> RangeTest:
    """Sweeps over the same rates as a RangeTest: each rate with the loss after its step; NaN after a stop."""
    losses, held_out = np.full((2, len(sweeps), len(rates)), np.nan)
    for i, sweep in enumerate(sweeps):
        after = np.array(sweep.losses[1:], dtype=float)
        losses[i, : len(after)] = np.where(np.isfinite(after), after, np.nan)
        held_out[i, : len(sweep.held_out)] = sweep.held_out
    before = np.array([(sweep.losses or [math.nan])[0] for sweep in sweeps])
    stopped = tuple(sweep.stopped for sweep in sweeps)
    return RangeTest(rates, losses, before, held_out if sweeps[0].held_out else None, stopped, source)


@contextlib.contextmanager
def progress_bar(total: int, show: bool):
    """A bar where tqdm is installed, nothing elsewhere; gives a function to call after each step."""
    if tqdm is None:
        yield None
        return
    with tqdm(total=total, unit="step", disable=not show, leave=False, file=sys.stdout) as bar:
        yield bar.update


class _Watch:
    """Tells when a sweep is over, from its losses one after the other."""

    def __init__(self):
        self.average, self.best, self.seen = 0.0, math.inf, 0

    def over(self, loss: float) -> str:
        """What the loss did that ends the sweep; "" while it goes on. The first five losses can't explode."""
        self.average, self.seen = 0.9 * self.average + 0.1 * loss, self.seen + 1
        smoothed = self.average / (1 - 0.9**self.seen)
        if not math.isfinite(loss):
            return "was not finite"
        self.best = min(self.best, smoothed)
        exploded = smoothed > self.best + (EXPLODED - 1) * abs(self.best)
        return "exploded" if self.seen > 5 and exploded else ""


# --- training on the user's terms ---------------------------------------------------------------------------


class _Training:
    """Your training, one step at a time."""

    def __init__(self, model, optimizer, compute, feed, accumulate, before_step, scaler):
        self.model, self.optimizer, self.compute, self.feed = model, optimizer, compute, feed
        self.accumulate, self.before_step, self.scaler = accumulate, before_step, scaler
        self.shares = group_shares(optimizer, "lr", "initial_lr")
        self.parameters = _parameters(model, optimizer)

    def step(self, rate: float) -> float:
        """One optimiser step at `rate`; returns the mean loss of its batches before it."""
        set_hyper(self.optimizer, lr=[rate * share for share in self.shares])
        for parameter in self.parameters:
            parameter.grad = None
        loss = sum(self._backward(next(self.feed)) for _ in range(self.accumulate))
        self._update()
        return loss / self.accumulate

    def loss(self) -> float:
        """The mean loss of as many batches as a step has, without a step."""
        with torch.no_grad():
            losses = [float(self.compute(self.model, next(self.feed))) for _ in range(self.accumulate)]
        return sum(losses) / self.accumulate

    def _backward(self, batch) -> float:
        loss = self.compute(self.model, batch)
        if not loss.requires_grad:
            raise ValueError(
                "the loss has no gradient: no detach(), item() or no_grad() may stand on its way"
            )
        part = loss / self.accumulate
        (part if self.scaler is None else self.scaler.scale(part)).backward()
        return float(loss.detach())

    def _update(self):
        if self.before_step is not None:
            if self.scaler is not None:
                self.scaler.unscale_(self.optimizer)
            self.before_step(self.model)
        if self.scaler is None:
            self.optimizer.step()
        else:
            self.scaler.step(self.optimizer)
            self.scaler.update()


def _loss_of(loss_fn, batch_loss):
    """(model, batch) -> the loss, a tensor of one number."""
    if loss_fn is None and batch_loss is None:
        raise ValueError("pass loss_fn, or batch_loss for batches that are not (inputs, targets)")

    def compute(model, batch):
        if batch_loss is not None:
            return _scalar(batch_loss(model, batch), "batch_loss")
        inputs, targets = _pair(batch)
        return _scalar(loss_fn(model(_moved(inputs, model)), _moved(targets, model)), "loss_fn")

    return compute


def _pair(batch):
    listed = isinstance(batch, (list, tuple))
    if not listed or len(batch) != 2:
        kind = type(batch).__name__ + (f" of {len(batch)}" if listed else "")
        raise ValueError(f"batches yields a {kind}, not (inputs, targets): pass batch_loss(model, batch)")
    return batch


def _scalar(loss, name):
    if not torch.is_tensor(loss):
        raise ValueError(f"{name} returned {shown(loss)}: return a tensor, so that the loss has a gradient")
    if loss.numel() != 1:
        raise ValueError(f"{name} returned shape {list(loss.shape)}: make it one number, such as its .mean()")
    return loss


def _held_out(model, validate, compute) -> float:
    """The held-out loss in eval mode: what a function returns, or the mean over a loader's batches."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            found = [validate(model)] if callable(validate) else (compute(model, one) for one in validate)
            losses = [float(loss) for loss in found]
    finally:
        for module, training in modes:
            module.training = training
    if not losses:
        raise ValueError("validate yields no batch, or not again: pass a loader, a list, or model -> loss")
    return sum(losses) / len(losses)


def _check_batches(batches, repeats):
    if batches is None:
        raise ValueError("pass batches: a DataLoader, or any iterable of batches")
    if repeats > 1 and isinstance(batches, Iterator):
        raise ValueError("repeats needs batches that start again: a DataLoader or a list, not an iterator")


def _check_optimizer(model, optimizer):
    """Raises ValueError where no step of the optimiser could train the model."""
    trainable = {parameter for parameter in model.parameters() if parameter.requires_grad}
    if not trainable:
        raise ValueError("the model has no trainable parameters: set requires_grad on those to train")
    held = {parameter for group in optimizer.param_groups for parameter in group["params"]}
    if not held & trainable:
        raise ValueError("the optimizer holds no trainable parameter of the model: was it made for another?")
    closure = inspect.signature(type(optimizer).step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        kind = type(optimizer).__name__
        raise ValueError(f"{kind} needs a closure, and a range test has none: take another optimizer")


def _endless(batches):
    """An iterable's batches, again and again. Raises ValueError where there are none, OutOfBatches later."""
    started = False
    while True:
        more = False
        for batch in batches:
            started = more = True
            yield batch
        if not more and started:
            raise OutOfBatches
        if not more:
            raise ValueError(
                "batches ran out before the first: pass a DataLoader or a list that is not empty"
            )


def _moved(value, model):
    """Tensors go to the model's device; anything else is passed on."""
    device = next((p.device for p in model.parameters()), None)
    return value.to(device, non_blocking=True) if torch.is_tensor(value) and device is not None else value


# --- giving everything back ---------------------------------------------------------------------------------


def untouched(work, keepers):
    """What work() returns; whatever happens there, every keeper is called after it, the last one first.

    Giving back is begun anew when an interrupt falls into it, and the interrupt goes on afterwards: hence no
    context manager, whose exit an interrupt can skip.
    """
    late, left = None, list(keepers)
    try:
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


def _parameters(model, optimizer) -> list:
    """The model's parameters, and those that only the optimiser holds, such as a loss's own."""
    others = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return list(dict.fromkeys([*model.parameters(), *others]))


def _model_keepers(model, optimizer) -> list:
    """Functions that give a model back, as often as they are called: tensors, their places, gradients, modes.

    The gradients are not copied: a sweep makes its own and leaves these alone.
    """
    parameters = _parameters(model, optimizer)
    grads = [(parameter, parameter.grad) for parameter in parameters]
    modules = [(module, module.training, dict(module._buffers)) for module in model.modules()]

    def places():
        for parameter, grad in grads:
            parameter.grad = grad
        for module, training, buffers in modules:
            module.training = training
            module._buffers.update(buffers)  # a forward pass may put new tensors in their place

    return [*(_keeper(tensor) for tensor in (*parameters, *model.buffers())), places]


def _optimizer_keepers(optimizer, scaler) -> list:
    """Functions that give an optimiser and a scaler back, as often as they are called."""
    groups = [(group, dict(group), _tensor_keepers(group)) for group in optimizer.param_groups]
    states = []
    for key, state in optimizer.state.items():
        states.append((key, state, {name: _keeper(value) for name, value in state.items()}))

    def optimizing():
        for group, values, tensors in groups:
            group.clear()
            group.update(values)
            for give_back in tensors:
                give_back()
        optimizer.state.clear()
        for key, state, kept in states:
            values = {name: give_back() for name, give_back in kept.items()}
            state.clear()
            state.update(values)
            optimizer.state[key] = state

    return [optimizing] if scaler is None else [optimizing, _scaler_keeper(scaler)]


def _scaler_keeper(scaler):
    scaling, stages = copy.deepcopy(scaler.state_dict()), getattr(scaler, "_per_optimizer_states", {})
    stages = {key: copy.copy(value) for key, value in stages.items()}

    def give_back():
        scaler.load_state_dict(scaling)
        if scaler.is_enabled():
            # An interrupt may have fallen between its step and its update.
            scaler._per_optimizer_states.clear()
            scaler._per_optimizer_states.update({key: copy.copy(value) for key, value in stages.items()})

    return give_back


def _keeper(value):
    """A function that returns `value` as it is now; a tensor is written in place and stays the same."""
    if not torch.is_tensor(value):
        kept = copy.deepcopy(value)
        return lambda: copy.deepcopy(kept)
    kept = value.detach().clone()

    def give_back():
        value.detach().copy_(kept)
        return value

    return give_back


def _tensor_keepers(values: dict) -> list:
    return [_keeper(value) for value in values.values() if torch.is_tensor(value)]


def _random_keepers(holders, generators) -> list:
    """Functions that give back the random states of Python, numpy, torch, and all generators in `holders`.

    And whether torch records gradients: an interrupt at the end of a `no_grad` leaves that switched off.
    """
    if wrong := [shown(one) for one in generators if not isinstance(one, GENERATORS)]:
        raise TypeError(f"generators holds {wrong[0]}: pass generators of torch, numpy or random")
    kept = [
        functools.partial(torch.set_grad_enabled, torch.is_grad_enabled()),
        functools.partial(random.setstate, random.getstate()),
        functools.partial(np.random.set_state, np.random.get_state()),
        functools.partial(torch.set_rng_state, torch.get_rng_state()),
    ]
    if torch.cuda.is_initialized():  # asking it for its states would start it
        kept.append(functools.partial(torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all()))
    return kept + [_generator_keeper(one) for one in _generators([*holders, *generators])]


def _generator_keeper(generator):
    if isinstance(generator, torch.Generator):
        return functools.partial(generator.set_state, generator.get_state())
    if isinstance(generator, random.Random):
        return functools.partial(generator.setstate, generator.getstate())
    if isinstance(generator, np.random.RandomState):
        return functools.partial(generator.set_state, generator.get_state())
    return functools.partial(setattr, generator.bit_generator, "state", generator.bit_generator.state)


def _generators(holders) -> list:
    """The random generators in what loads batches and in its parts: a DataLoader, samplers, a data set."""
    found, seen, level = [], set(), holders
    for _ in range(DEPTH + 1):
        level = {id(one): one for one in level if id(one) not in seen and not isinstance(one, LEAVES)}
        level = list(level.values())
        seen.update(map(id, level))
        found += [one for one in level if isinstance(one, GENERATORS)]
        level = [held for one in level for held in _parts(one)]
    return found


def _parts(thing) -> list:
    """What an object holds: attributes, the elements of a short collection, a generator's variables."""
    if isinstance(thing, GENERATORS):
        return []
    if isinstance(thing, (list, tuple, dict)):
        held = thing.values() if isinstance(thing, dict) else thing
        return list(held) if len(held) <= LONG else []
    if isinstance(thing, GeneratorType):
        return list(thing.gi_frame.f_locals.values()) if thing.gi_frame else []
    return list(getattr(thing, "__dict__", {}).values())
