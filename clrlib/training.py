"""The training loop: `steps` is a generator with one `for` in it, `fit` drains it, `evaluate` measures."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.lr_scheduler import LRScheduler
from tqdm import tqdm

from clrlib import data as images_of
from clrlib import engine
from clrlib.history import History
from clrlib.schedules import Schedule, as_schedule
from clrlib.validate import count

DEFAULTS = {"momentum": 0.9, "weight_decay": 1e-4}  # the article's; "lr" has no default: finding it is the course


@dataclass(frozen=True)
class Recipe:
    """Everything about a run but its schedules and epochs. Frozen, and part of the run's record.

    precision  "fp32", "bf16", "fp16", or "auto": what this machine does fastest
    """

    batch_size: int = 512
    seed: int = 0
    optimizer: str = "sgd"
    nesterov: bool = False
    label_smoothing: float = 0.0
    augment: bool = True
    channels_last: bool = True
    precision: str = "auto"

    def __post_init__(self):
        count("batch_size", self.batch_size, at_least=2)
        count("seed", self.seed, at_least=0)
        if self.optimizer not in engine.OPTIMIZERS:
            raise ValueError(f"optimizer {self.optimizer!r} is unknown: choose one of {', '.join(engine.OPTIMIZERS)}")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing must lie in [0, 1), got {self.label_smoothing}")
        if self.precision != "auto":
            engine.autocast("cpu", self.precision)

    def resolved(self, device) -> Recipe:
        """The same recipe with "auto" settled for `device`."""
        return replace(self, precision=engine.pick_precision(device)) if self.precision == "auto" else self

    def to_dict(self) -> dict:
        return asdict(self)


class Step(NamedTuple):
    """One step of a run, as `steps` yields it.

    loss, accuracy  0-dim tensors on the device (accuracy in [0, 1]), of the batch, before the update
    row             the epoch's row of `History.epochs` on an epoch's last step, else None
    """

    step: int
    epoch: int
    hyper: dict[str, float]
    loss: torch.Tensor
    accuracy: torch.Tensor
    row: dict | None


def steps(model: nn.Module, data, schedules: dict, epochs: int, recipe: Recipe = Recipe()) -> Iterator[Step]:
    """Train `model` in place on `data.train`, yielding after every step.

    schedules  "lr" (required), "momentum" and "weight_decay": a Schedule, a number, or any function of
               progress in [0, 1], which is asked before each step, so that a slider can be a schedule
    Everything is checked when it is called, before any work. It stops early, after the epoch's row, once the loss is not finite.
    """
    count("epochs", epochs)
    per_epoch = images_of.steps_per_epoch(len(data.train), recipe.batch_size)
    hyper_at = hyper_parameters(schedules, epochs * per_epoch)
    check_model(model, data.train)
    return _steps(model, data, hyper_at, epochs, recipe.resolved(data.train.images.device))


def _steps(model, data, hyper_at, epochs, recipe):
    device = data.train.images.device
    engine.place(model, device, recipe.channels_last)
    optimizer = engine.make_optimizer(model, recipe.optimizer, recipe.nesterov)
    scaler = engine.grad_scaler(device, recipe.precision)
    step = 0
    for epoch in range(epochs):
        model.train()
        start, losses, accuracies, row = time.perf_counter(), [], [], None
        plan = images_of.plan_epoch(len(data.train), recipe.batch_size, recipe.seed, epoch, device)
        for i in range(len(plan)):
            images, labels = images_of.batch(data.train, plan, i, recipe.augment)
            hyper = hyper_at(step)
            engine.set_hyper(optimizer, **hyper)
            loss, accuracy = engine.train_step(model, optimizer, scaler, images, labels, recipe.precision, recipe.label_smoothing)
            losses.append(loss)
            accuracies.append(accuracy)
            step += 1
            if i + 1 == len(plan):
                row = _epoch_row(model, data, recipe, epoch, step, losses, accuracies, start)
            yield Step(step - 1, epoch, hyper, loss, accuracy, row)
        if not math.isfinite(row["train_loss"]):
            print(f"The loss is no longer finite (epoch {epoch + 1}, lr {hyper['lr']:.3g}): stopped. Lower the peak learning rate.")
            return


def fit(model, data, schedules: dict, epochs: int, recipe: Recipe = Recipe(), progress: bool = True, watch=None) -> History:
    """Train `model` in place and return its History: drain `steps`, keep the log, show a progress bar.

    watch  called with the History so far after each epoch, for a live plot
    Interrupting it (the stop button, Ctrl-C) returns the history so far; the model keeps what it learned.

        fit(model, data, {"lr": one_cycle(0.08, 0.8), "momentum": one_cycle_momentum()}, epochs=95)
    """
    history, log = History(source=data.source), []
    run = steps(model, data, schedules, epochs, recipe)
    total = epochs * images_of.steps_per_epoch(len(data.train), recipe.batch_size)
    with tqdm(total=total, unit="step", disable=not progress, leave=False, file=sys.stdout, mininterval=0.2) as bar:
        try:
            for step in run:
                log.append((*step.hyper.values(), step.loss))
                if step.row is not None:
                    history.epochs.append(step.row)
                    bar.set_description(
                        f"epoch {step.epoch + 1}/{epochs}, {data.held_out_name} {step.row['accuracy']:.1f} %", refresh=False
                    )
                    if watch is not None:
                        history.steps = _columns(step.hyper, log)
                        watch(history)
                if progress and step.step % 10 == 0:
                    bar.set_postfix(loss=f"{step.loss.item():.3f}", accuracy=f"{100 * step.accuracy.item():.0f} %", refresh=False)
                bar.update()
        except KeyboardInterrupt:
            print(f"Interrupted after {len(log)} of {total} steps: here is the history so far.")
            run.close()
    if log:
        history.steps = _columns(step.hyper, log)
    return history


@torch.no_grad()
def evaluate(model: nn.Module, split, precision: str = "fp32", batch_size: int = 1000) -> tuple[float, float]:
    """(mean loss, accuracy in percent) over a Split, in eval mode; the model's mode is given back."""
    loss, right = 0.0, 0
    with _evaluating(model):
        for images, labels in zip(split.images.split(batch_size), split.labels.split(batch_size)):
            with engine.autocast(images.device, precision):
                logits = model(images_of.normalise(images)).float()
            loss += F.cross_entropy(logits, labels, reduction="sum")
            right += (logits.argmax(1) == labels).sum()
    return float(loss) / len(split), 100 * int(right) / len(split)


class ScheduledLR(LRScheduler):
    """Schedules for your own loop: a torch LRScheduler that sets lr, momentum and weight decay each step.

    optimizer  any; for the Adam family, "momentum" sets the first beta
    schedules  a Schedule for the rate, or a dict as `fit` takes; all parameter groups get the same values
    steps      how often your loop will call `step()`: optimiser steps, not epochs

    Past its end it keeps the last values: it neither rises again nor raises. Its state dict holds the position only.

    >>> model = torch.nn.Linear(2, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> scheduler = ScheduledLR(optimizer, Schedule((0, 1), (0.5, 0.1), ("linear",)), steps=5)
    >>> for _ in range(2):
    ...     optimizer.step()
    ...     scheduler.step()
    >>> optimizer.param_groups[0]["lr"]
    0.3
    """

    def __init__(self, optimizer, schedules, steps: int, last_epoch: int = -1):
        schedules = schedules if isinstance(schedules, dict) else {"lr": schedules}
        if "momentum" in schedules and not all({"momentum", "betas"} & set(group) for group in optimizer.param_groups):
            raise ValueError(f"{type(optimizer).__name__} has no momentum and no betas: leave momentum out of the schedules")
        self._at = hyper_parameters(schedules, count("steps", steps), defaults={})
        self.steps = steps
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        """The rates of the current position; sets momentum and weight decay on the way, as torch's OneCycleLR does."""
        hyper = self._at(min(max(self.last_epoch, 0), self.steps - 1))
        engine.set_hyper(self.optimizer, **hyper)
        return [hyper["lr"]] * len(self.optimizer.param_groups)

    def state_dict(self):
        return {"last_epoch": self.last_epoch, "steps": self.steps}

    def load_state_dict(self, state_dict):
        """Take up the position of a saved run. Raises ValueError when it was saved with another number of steps."""
        if state_dict["steps"] != self.steps:
            raise ValueError(f"saved with steps={state_dict['steps']}, but this scheduler has steps={self.steps}: make them equal")
        self.last_epoch = state_dict["last_epoch"]
        self._last_lr = self.get_lr()
        engine.set_hyper(self.optimizer, lr=self._last_lr[0])


def hyper_parameters(schedules: dict, total: int, defaults=None):
    """step -> {"lr": ..., ...}, from checked tables; a plain function of progress is asked live.

    Raises ValueError for a name that can't be scheduled and for a value out of its range.
    """
    wanted = {**(DEFAULTS if defaults is None else defaults), **schedules}
    allowed = {"lr": math.inf, "momentum": 1.0, "weight_decay": math.inf}
    if unknown := set(wanted) - set(allowed):
        raise ValueError(f"{sorted(unknown)[0]!r} can't be scheduled: only {', '.join(allowed)}")
    if "lr" not in wanted:
        raise ValueError('schedules needs "lr": a Schedule, or a number for a constant rate')
    sources = {}
    for name in [key for key in allowed if key in wanted]:
        curve = as_schedule(wanted[name])
        if isinstance(curve, Schedule):
            table = curve.table(total)
            if table.min() < 0 or table.max() >= allowed[name]:
                raise ValueError(f"{name} runs from {table.min():.4g} to {table.max():.4g}: it must stay in [0, {allowed[name]:g})")
            sources[name] = table.tolist().__getitem__
        else:
            sources[name] = lambda step, ask=curve, name=name: _asked(ask(step / max(1, total - 1)), name, allowed[name])
    return lambda step: {name: source(step) for name, source in sources.items()}


def _asked(value, name, top) -> float:
    value = float(value)
    if not 0 <= value < top:
        raise ValueError(f"{name} became {value}: it must stay in [0, {top:g})")
    return value


def check_model(model, split):
    """One forward pass of two images, in eval mode: does the output fit the labels? Raises ValueError if not."""
    device = next(model.parameters(), torch.empty(0)).device
    with torch.no_grad(), _evaluating(model):
        out = model(images_of.normalise(split.images[:2].to(device)))
    shape = list(out.shape) if torch.is_tensor(out) else type(out).__name__
    if not torch.is_tensor(out) or out.ndim != 2 or len(out) != 2 or out.shape[1] < split.classes:
        raise ValueError(f"the model's output is {shape} for 2 images: it must have shape [2, {split.classes}], a logit per class")


@contextlib.contextmanager
def _evaluating(model):
    """Eval mode inside; afterwards every module is in its own mode again."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _epoch_row(model, data, recipe, epoch, step, losses, accuracies, start) -> dict:
    """Read the epoch's losses off the device, in one go, and measure on the held-out images."""
    train_loss, train_accuracy = torch.stack([torch.stack(losses), torch.stack(accuracies)]).mean(dim=1).tolist()
    seconds = time.perf_counter() - start
    loss, accuracy = evaluate(model, data.held_out, recipe.precision)
    return {
        "epoch": epoch + 1, "step": step, "train_loss": train_loss, "train_accuracy": 100 * train_accuracy,
        "loss": loss, "accuracy": accuracy, "seconds": seconds,
    }  # fmt: skip


def _columns(names, log) -> dict[str, np.ndarray]:
    """The log's rows as one array per name."""
    *hyper, losses = zip(*log)
    columns = {name: np.array(values, dtype=float) for name, values in zip(names, hyper)}
    return columns | {"loss": torch.stack(losses).float().cpu().numpy().astype(float)}
