"""Schedules put to work on an optimiser: the values of every step, and a torch LRScheduler for your own loop."""

from __future__ import annotations

import math

from torch.optim.lr_scheduler import LRScheduler

from . import engine
from .schedules import DEFAULTS, Schedule, as_schedule
from .validate import count


class ScheduledLR(LRScheduler):
    """Schedules for your own loop: a torch LRScheduler that sets lr, momentum and weight decay each step.

    optimizer  any; for the Adam family, "momentum" sets the first beta
    schedules  a Schedule for the rate, or a dict as `fit` takes; all parameter groups get the same values
    steps      how often your loop will call `step()`: optimiser steps, not epochs

    Past its end it keeps the last values: it neither rises again nor raises. Its state dict holds the position only.

    >>> import torch
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
