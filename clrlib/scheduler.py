"""Schedules put to work on an optimiser: each step's values, and a torch LRScheduler for your own loop."""

from __future__ import annotations

import math
import warnings

import torch
from torch.optim.lr_scheduler import LRScheduler

from .schedules import DEFAULTS, Schedule, as_schedule
from .validate import count, shown

# What can be scheduled; each stays below its bound.
HIGHEST = {"lr": math.inf, "momentum": 1.0, "weight_decay": math.inf}
FUNCTION = "a function"  # what a saved state knows of a schedule that is no Schedule


class ScheduledLR(LRScheduler):
    """Schedules for your own loop: a torch LRScheduler that sets lr, momentum and weight decay each step.

    optimizer   any; "momentum" sets the first beta in the Adam family
    schedules   for the rate: a Schedule, a number, or any function of progress in [0, 1]; or a dict of these,
                under "lr" and, if you like, "momentum" and "weight_decay". A list holds one for each group
    steps       how often your loop calls `step()`: optimiser steps, not epochs, not batches. Where several
                batches make a step, also across the end of an epoch: epochs * len(loader) // accumulate
    last_epoch  to go on with a run: the last step that was made, so that `last_epoch + 1` is the next

    One schedule for all groups gives the rate of the group with the highest; the others keep their ratio to
    it (that of "initial_lr", which torch leaves in the groups: so it holds in mid-run too). One decay for all
    leaves alone the groups whose own was 0 when another's was not, such as norms and biases. A list is taken
    as it is.

    A rate that is a tensor is filled in place: compiled and captured optimisers go on using it. Past its end
    it keeps the last values, and warns once; `remaining` above 0 tells of a run that ended before it.

    Raises ValueError for a value out of range, a list of the wrong length, what the optimiser doesn't have.

    >>> model = torch.nn.Linear(2, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> scheduler = ScheduledLR(optimizer, Schedule((0, 1), (0.5, 0.1), ("linear",)), steps=5)
    >>> for _ in range(2):
    ...     optimizer.step()
    ...     scheduler.step()
    >>> optimizer.param_groups[0]["lr"], scheduler.remaining
    (0.3, 3)
    """

    def __init__(self, optimizer, schedules, steps: int, last_epoch: int = -1):
        schedules = schedules if isinstance(schedules, dict) else {"lr": schedules}
        self.steps, self._late = count("steps", steps), False
        self._schedules, groups = _checked(schedules), len(optimizer.param_groups)
        self._at = {name: _of_groups(name, value, steps, groups) for name, value in self._schedules.items()}
        _check_has(optimizer, schedules)
        self._factors = {name: _factors(optimizer, name, value) for name, value in self._schedules.items()}
        super().__init__(optimizer, count("last_epoch", last_epoch, at_least=-1))

    @property
    def remaining(self) -> int:
        """Steps until the schedule ends; 0 at the end of a run that was planned right."""
        return max(0, self.steps - self.last_epoch)

    def get_lr(self):
        """Each group's rate now; sets momentum and decay on the way, as torch's OneCycleLR does."""
        position = min(max(self.last_epoch, 0), self.steps - 1)
        values = {}
        for name, at in self._at.items():
            values[name] = [value * factor for value, factor in zip(at(position), self._factors[name])]
        set_hyper(self.optimizer, **values)
        return values["lr"]

    def step(self, epoch=None):
        """Call it after every `optimizer.step()`. Warns once when it is called more often than `steps`."""
        super().step(epoch)
        if self.last_epoch > self.steps and not self._late:
            self._late = True
            warnings.warn(
                f"the schedule was made for {self.steps} steps and is over: it keeps its last values. "
                "Count optimizer steps: epochs * len(loader) // accumulate",
                stacklevel=2,
            )

    def state_dict(self) -> dict:
        """Position, steps and the schedules as data, plain JSON; a function is just "a function" there."""
        schedules = {name: _as_data(value) for name, value in self._schedules.items()}
        return {"last_epoch": self.last_epoch, "steps": self.steps, "schedules": schedules}

    def load_state_dict(self, state_dict: dict):
        """Take up the position of a saved run, before or after the optimiser's own state.

        Raises ValueError when it had other steps or schedules, saying what differs and how to go on. Two
        functions can't be told apart.
        """
        if not {"last_epoch", "steps", "schedules"} <= set(state_dict):
            raise ValueError(f"not the state of a ScheduledLR: {shown(state_dict)}")
        last, own = state_dict["last_epoch"], self.state_dict()
        saved = {name: state_dict[name] for name in own}
        if differs := _difference(saved, {**own, "last_epoch": last}):
            raise ValueError(
                f"saved with another schedule: {differs}. Make them equal; or, to go on with this one, "
                f"don't load: ScheduledLR(optimizer, schedules, steps, last_epoch={last - 1})"
            )
        self.last_epoch = last
        self._last_lr = self.get_lr()


def set_hyper(optimizer, lr=None, momentum=None, weight_decay=None):
    """Set every parameter group's hyper-parameters for the coming step: a number, or a list of one per group.

    `momentum` is the first beta for optimisers of the Adam family. A tensor is filled, never replaced.
    """
    for i, group in enumerate(optimizer.param_groups):
        at = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        at = {name: value[i] if _is_list(value) else value for name, value in at.items() if value is not None}
        if "momentum" in at and "betas" in group:
            first, *others = group["betas"]
            group["betas"] = (_filled(first, at.pop("momentum")), *others)
        for name, value in at.items():
            group[name] = _filled(group.get(name), value)


def group_shares(optimizer, *keys: str) -> list[float]:
    """Each parameter group's rate as a share of the highest.

    keys  where rates stand, "lr" or "initial_lr": the first under which any is above 0 counts; without one,
          all shares are 1
    """
    for key in keys:
        rates = [float(group.get(key, group["lr"])) for group in optimizer.param_groups]
        if max(rates) > 0:
            return [rate / max(rates) for rate in rates]
    return [1.0] * len(optimizer.param_groups)


def hyper_parameters(schedules: dict, total: int, defaults=None):
    """step -> {"lr": ..., ...}, from checked tables; a plain function of progress is asked live.

    Raises ValueError for a name that can't be scheduled and for a value out of its range.
    """
    wanted = _checked({**(DEFAULTS if defaults is None else defaults), **schedules})
    sources = {name: _source(name, value, total) for name, value in wanted.items()}
    return lambda step: {name: source(step) for name, source in sources.items()}


def _checked(schedules: dict) -> dict:
    """The same schedules in the usual order, if they can be scheduled and the rate is among them."""
    if unknown := set(schedules) - set(HIGHEST):
        raise ValueError(f"{sorted(unknown, key=str)[0]!r} can't be scheduled: only {', '.join(HIGHEST)}")
    if "lr" not in schedules:
        raise ValueError('schedules needs "lr": a Schedule, or a number for a constant rate')
    return {name: schedules[name] for name in HIGHEST if name in schedules}


def _source(name, value, total):
    """step -> value, checked: read from a table, or a function that is asked."""
    curve, highest = as_schedule(value), HIGHEST[name]
    if not isinstance(curve, Schedule):
        return lambda step: _asked(curve(step / max(1, total - 1)), name, highest)
    table = curve.table(total)
    if table.min() < 0 or table.max() >= highest:
        spread = f"{name} runs from {table.min():.4g} to {table.max():.4g}"
        raise ValueError(f"{spread}: it must stay in [0, {highest:g})")
    return table.tolist().__getitem__


def _asked(value, name, highest) -> float:
    value = float(value)
    if not 0 <= value < highest:
        raise ValueError(f"{name} became {value}: it must stay in [0, {highest:g})")
    return value


def _of_groups(name, value, steps, groups):
    """step -> one value per group; a function for all groups is asked once a step."""
    if not _is_list(value):
        source = _source(name, value, steps)
        return lambda step: [source(step)] * groups
    if len(value) != groups:
        raise ValueError(
            f"{name} has {len(value)} schedules, but the optimizer has {groups} parameter groups"
        )
    sources = [_source(name, one, steps) for one in value]
    return lambda step: [source(step) for source in sources]


def _check_has(optimizer, schedules):
    """Raises ValueError where a schedule would set what the optimiser does not have."""
    kind, groups = type(optimizer).__name__, optimizer.param_groups
    if "momentum" in schedules and not all({"momentum", "betas"} & set(group) for group in groups):
        raise ValueError(f"{kind} has no momentum and no betas: leave momentum out of the schedules")
    if "weight_decay" in schedules and not all("weight_decay" in group for group in groups):
        raise ValueError(f"{kind} has no weight_decay: leave it out of the schedules")


def _factors(optimizer, name, value) -> list[float]:
    """What a schedule for all groups is multiplied by in each: shares of the rate, 0 where nothing decays."""
    if name == "lr" and not _is_list(value):
        return group_shares(optimizer, "initial_lr", "lr")
    if name == "weight_decay" and not _is_list(value):
        return _decays(optimizer)
    return [1.0] * len(optimizer.param_groups)


def _decays(optimizer) -> list[float]:
    """1 for the groups that decay, 0 for the others; all 1 where none does.

    Kept in the groups as "initial_weight_decay", as torch keeps "initial_lr": a schedule may end at 0.
    """
    for group in optimizer.param_groups:
        group.setdefault("initial_weight_decay", float(group["weight_decay"]))
    decays = [float(group["initial_weight_decay"] != 0) for group in optimizer.param_groups]
    return decays if any(decays) else [1.0] * len(decays)


def _filled(old, value):
    """`value` in the place of `old`: a tensor keeps being the same one."""
    return old.fill_(value) if torch.is_tensor(old) else value


def _is_list(value) -> bool:
    return isinstance(value, (list, tuple))


def _as_data(value):
    """A schedule, or a list of one per group, as plain data."""
    if _is_list(value):
        return [_as_data(one) for one in value]
    curve = as_schedule(value)
    return curve.to_dict() if isinstance(curve, Schedule) else FUNCTION


def _difference(saved, own, place: str = "") -> str | None:
    """Where two pieces of plain data differ first, in words; None where they are equal."""
    if isinstance(saved, dict) and isinstance(own, dict) and saved.keys() == own.keys():
        pairs = [(saved[key], own[key], f"{place}.{key}".lstrip(".")) for key in own]
    elif _is_list(saved) and _is_list(own) and len(saved) == len(own):
        pairs = [(a, b, f"{place}[{i}]") for i, (a, b) in enumerate(zip(saved, own))]
    elif isinstance(saved, dict) and isinstance(own, dict):
        return f"{place} had {', '.join(saved)}, here {', '.join(own)}"
    else:
        return None if saved == own else f"{place} was {shown(saved)}, here it is {shown(own)}"
    return next(filter(None, (_difference(*pair) for pair in pairs)), None)
