"""What fits into a GPU's memory: the largest batch."""

from __future__ import annotations

import copy
import gc
from dataclasses import replace

import torch

from clrlib.lab import cifar as images_of
from clrlib.lab import engine
from clrlib.validate import count


def largest_batch(model, split, recipe, most: int | None = None) -> int:
    """The largest batch (of 8, 16, 24, ... images, at most `most`) whose training step fits into memory; 0 if none does.

    It is tried on a copy of the model with an optimiser of its own; nothing else changes. Without a GPU the system
    would end the process rather than refuse memory, so there it raises RuntimeError.
    """
    if split.images.device.type != "cuda":
        raise RuntimeError("largest_batch needs a GPU: on a CPU the system ends a process that takes too much memory")
    most = min(most or len(split), len(split))
    return largest_that_fits(lambda size: fits(model, split, recipe, size), most)


def largest_that_fits(try_size, most: int, step: int = 8) -> int:
    """The largest multiple of `step` up to `most` for which try_size(size) is true, if it is so for all smaller ones; 0 if none.

    Doubles until it fails, then halves the gap: about 2 log2(most / step) tries.
    """
    good, bad = 0, count("most", most, at_least=1) // step + 1  # in units of `step`
    size = 1
    while size < bad:
        if not try_size(size * step):
            bad = size
            break
        good, size = size, size * 2
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if try_size(middle * step) else (good, middle)
    return good * step


def fits(model, split, recipe, batch_size: int) -> bool:
    """Whether two training steps with `batch_size` images fit into memory; what they took is given back."""
    try:
        _two_steps(copy.deepcopy(model), split, replace(recipe, batch_size=batch_size))
        return True
    except torch.OutOfMemoryError:
        return False
    finally:
        give_back()


def give_back():
    """Return the memory that nothing uses any more to the GPU."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _two_steps(model, split, recipe):
    device = split.images.device
    recipe = engine.resolved(recipe, device)
    train_step = engine.Eager(engine.place(model, device, recipe.channels_last).train(), split, recipe)
    plan = images_of.plan_epoch(len(split), recipe.batch_size, 0, 0, device)
    for _ in range(2):
        train_step(plan, 0, {"lr": 0.0, "momentum": 0.9, "weight_decay": 0.0})
