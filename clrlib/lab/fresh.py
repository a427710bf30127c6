"""The range test on a fresh model, once per seed, with the batches and steps of `fit`."""

from __future__ import annotations

from dataclasses import replace

import torch

from clrlib.history import RangeTest
from clrlib.lab import cifar as images_of
from clrlib.lab import engine, models
from clrlib.lab.recipe import Recipe
from clrlib.lab.training import check_model, evaluate
from clrlib.range_test import gathered, progress_bar, run_sweep, sweep_rates
from clrlib.scheduler import hyper_parameters
from clrlib.schedules import DEFAULTS
from clrlib.validate import count, shown


def range_test(
    make_model="tiny", data=None, low=1e-5, high=10.0, steps=100, sweep="exponential", seeds=(0,),
    momentum=DEFAULTS["momentum"], weight_decay=DEFAULTS["weight_decay"], recipe: Recipe = Recipe(),
    held_out_images: int = 0, progress: bool = True,
) -> RangeTest:  # fmt: skip
    """Sweep the rate from `low` to `high` over `steps` batches on a fresh model, once per seed.

    make_model       a name from `models.MODELS`, or a function seed -> model
    sweep            "exponential" (equal factors per step) or "linear"
    held_out_images  also measure the loss on that many held-out images after every step (slow; 0: don't)

    It stops early once the loss is not finite, or its smoothed value passes 4 times the best. Raises
    ValueError for bounds, steps or a model that can't work, before any training.
    """
    if data is None:
        raise ValueError("range_test needs data: pass clrlib.lab.cifar.load()")
    if isinstance(seeds, int) or not (seeds := [count("seeds", seed, at_least=0) for seed in seeds]):
        raise ValueError(f"seeds must be a list of at least one seed, such as [0, 1, 2]; got {shown(seeds)}")
    rates = sweep_rates(low, high, steps, sweep)
    fixed = hyper_parameters({"lr": low, "momentum": momentum, "weight_decay": weight_decay}, 1)(0)
    watching = min(count("held_out_images", held_out_images, at_least=0), len(data.held_out))
    build = (
        make_model
        if callable(make_model)
        else lambda seed: models.build(make_model, data.train.classes, seed)
    )
    recipe = engine.resolved(recipe, data.train.images.device)
    watched = data.held_out.subset(torch.arange(watching)) if watching else None
    runs = []
    with progress_bar(len(rates) * len(seeds), progress) as tick:
        for seed in seeds:
            trainer = _Fresh(build(seed), data, replace(recipe, seed=seed), fixed, watched)
            runs.append(
                run_sweep(trainer.step, trainer.loss, rates, trainer.measure if watched else None, tick)
            )
    return gathered(rates, runs, data.source)


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
        recipe = self.recipe
        images, labels = images_of.batch(self.data.train, *next(self.plans), recipe.augment, recipe.cutout)
        with torch.no_grad():
            return float(
                engine.forward(self.model, images, labels, recipe.precision, recipe.label_smoothing)[0]
            )

    def measure(self):
        return evaluate(self.model, self.watched, self.recipe.precision)[0]


def _planned(split, recipe):
    """(plan, number of the batch) without end, epoch after epoch."""
    epoch = 0
    while True:
        plan = images_of.plan_epoch(len(split), recipe.batch_size, recipe.seed, epoch, split.images.device)
        for i in range(len(plan)):
            yield plan, i
        epoch += 1
