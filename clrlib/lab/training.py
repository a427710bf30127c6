"""The training loop: `steps` is a generator with one `for` in it, `fit` drains it, `evaluate` measures."""

from __future__ import annotations

import copy
import functools
import math
import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from tqdm import tqdm

from clrlib.history import History
from clrlib.lab import checkpoints, engine, fast
from clrlib.lab import cifar as images_of
from clrlib.lab.recipe import Recipe
from clrlib.scheduler import hyper_parameters
from clrlib.validate import count


class Step(NamedTuple):
    """One step of a run, as `steps` yields it.

    loss, accuracy  0-dim tensors on the device (accuracy in [0, 1]), of the batch, before the update
    row             the epoch's row of `History.epochs` on an epoch's last step, else None
    state           with the row, a function that returns all that `resume` needs to go on from here
    how             how the step was run: "eager", or what `fast.Fast` made of it
    """

    step: int
    epoch: int
    hyper: dict[str, float]
    loss: torch.Tensor
    accuracy: torch.Tensor
    row: dict | None = None
    state: Callable[[], dict] | None = None
    how: str = "eager"


def steps(
    model: nn.Module, data, schedules: dict, epochs: int, recipe: Recipe = Recipe(), fast: bool | None = None,
    resume: dict | None = None, evaluate_every: int = 1,
) -> Iterator[Step]:  # fmt: skip
    """Train `model` in place on `data.train`, yielding after every step.

    schedules  "lr" (required), "momentum" and "weight_decay": a Schedule, a number, or any function of
               progress in [0, 1], which is asked before each step, so that a slider can be a schedule
    fast       True: the step of `fast.Fast`; False: operation by operation; None: fast where there is a GPU
    resume     what a step's `state()` returned, to go on from there
    evaluate_every  measure on the held-out images after every so many epochs, and after the last one; 0: after the last alone
    Everything is checked when it is called, before any work. It stops early, after the epoch's row, once the loss is not finite.
    """
    count("epochs", epochs)
    count("evaluate_every", evaluate_every, at_least=0)
    per_epoch = images_of.steps_per_epoch(len(data.train), recipe.batch_size)
    hyper_at = hyper_parameters(schedules, epochs * per_epoch)
    check_model(model, data.train)
    return _steps(model, data, hyper_at, epochs, engine.resolved(recipe, data.train.images.device), fast, resume, evaluate_every)


def _steps(model, data, hyper_at, epochs, recipe, fast_wanted, resume, evaluate_every):
    device = data.train.images.device
    engine.place(model, device, recipe.channels_last)
    train_step = fast.make_step(model, data.train, recipe, fast_wanted)
    first = _restore(model, train_step, resume) if resume else 0
    if train_step.preparing > 1:
        print(f"The step is {train_step.how}: that took {train_step.preparing:.0f} s, which the times below leave out.")
    step = first * images_of.steps_per_epoch(len(data.train), recipe.batch_size)
    for epoch in range(first, epochs):
        model.train()
        start, losses, accuracies, row, state = time.perf_counter(), [], [], None, None
        plan = images_of.plan_epoch(len(data.train), recipe.batch_size, recipe.seed, epoch, device)
        for i in range(len(plan)):
            hyper = hyper_at(step)
            loss, accuracy = train_step(plan, i, hyper)
            losses.append(loss)
            accuracies.append(accuracy)
            step += 1
            if i + 1 == len(plan):
                row = _epoch_row(epoch, step, losses, accuracies, start)
                over = not math.isfinite(row["train_loss"])
                if over or epoch + 1 == epochs or (evaluate_every and (epoch + 1) % evaluate_every == 0):
                    with train_step.measured():
                        row["loss"], row["accuracy"] = evaluate(model, data.held_out, recipe.precision)
                state = functools.partial(_state, model, train_step, epochs if over else epoch + 1)
            yield Step(step - 1, epoch, hyper, loss, accuracy, row, state, train_step.how)
        if over:
            print(f"The loss is no longer finite (epoch {epoch + 1}, lr {hyper['lr']:.3g}): stopped. Lower the peak learning rate.")
            return


def fit(
    model, data, schedules: dict, epochs: int, recipe: Recipe = Recipe(), progress: bool = True, watch=None,
    fast: bool | None = None, checkpoint=None, evaluate_every: int = 1,
) -> History:  # fmt: skip
    """Train `model` in place and return its History: drain `steps`, keep the log, show a progress bar.

    watch       called with the History so far after each epoch, for a live plot
    fast, evaluate_every  as `steps` has them
    checkpoint  a file to keep the run in after each epoch. Called again with it, also after a kill, the run goes on
                after its last whole epoch, and on the CPU ends bit for bit as if it had never stopped
    Interrupting it (the stop button, Ctrl-C) returns the history so far; the model keeps what it learned.

        fit(model, data, {"lr": one_cycle(0.08, 0.8), "momentum": one_cycle_momentum()}, epochs=95)
    """
    run = checkpoints.identity(model, data, schedules, epochs, recipe) if checkpoint else None
    resume, history = checkpoints.load(checkpoint, run) if checkpoint else (None, History(source=data.source))
    stepping = steps(model, data, schedules, epochs, recipe, fast, resume, evaluate_every)
    log, recording = [], torch.is_grad_enabled()  # log: of the epoch so far; the history has the rest
    total = epochs * images_of.steps_per_epoch(len(data.train), recipe.batch_size)
    with tqdm(total=total, initial=len(history), unit="step", disable=not progress, leave=False, file=sys.stdout, mininterval=0.2) as bar:
        try:
            for step in stepping:
                log.append((*step.hyper.values(), step.loss))
                if step.row is not None:
                    history.epochs.append(step.row)
                    columns = _columns(history.steps, step.hyper, log)
                    history.steps, history.how, log = columns, step.how, []
                    if checkpoint:
                        checkpoints.save(checkpoint, run, step.state(), history)
                    _show(bar, step.row, epochs, data.held_out_name)
                    if watch is not None:
                        watch(history)
                bar.update()
        except KeyboardInterrupt:
            stepping.close()
            torch.set_grad_enabled(recording)  # an interrupt at the end of a `no_grad` leaves it switched off
            print(f"Interrupted after {len(history) + len(log)} of {total} steps: here is the history so far.")
    if log:
        history.steps = _columns(history.steps, step.hyper, log)
    return history


@torch.no_grad()
def evaluate(model: nn.Module, split, precision: str = "fp32", batch_size: int = 1000) -> tuple[float, float]:
    """(mean loss, accuracy in percent) over a Split, in eval mode; the model's mode is given back."""
    loss, right = 0.0, 0
    with engine.mode(model, training=False):
        for images, labels in zip(split.images.split(batch_size), split.labels.split(batch_size)):
            logits = engine.logits(model, images_of.normalise(images), precision)
            loss += F.cross_entropy(logits, labels, reduction="sum")
            right += (logits.argmax(1) == labels).sum()
    return float(loss) / len(split), 100 * int(right) / len(split)


def check_model(model, split):
    """One forward pass of two images, in eval mode: does the output fit the labels? Raises ValueError if not."""
    device = next(model.parameters(), torch.empty(0)).device
    with torch.no_grad(), engine.mode(model, training=False):
        out = engine.run(model, images_of.normalise(split.images[:2].to(device)))
    shape = list(out.shape) if torch.is_tensor(out) else type(out).__name__
    if not torch.is_tensor(out) or out.ndim != 2 or len(out) != 2 or out.shape[1] < split.classes:
        raise ValueError(f"the model's output is {shape} for 2 images: it must have shape [2, {split.classes}], a logit per class")


def _show(bar, row, epochs, held_out_name):
    """An epoch's row on the progress bar; within an epoch nothing is read off the device, which would make it wait."""
    measured = f", {held_out_name} {row['accuracy']:.1f} %" if "accuracy" in row else ""
    bar.set_description(f"epoch {row['epoch']}/{epochs}{measured}", refresh=False)
    bar.set_postfix(loss=f"{row['train_loss']:.3f}", accuracy=f"{row['train_accuracy']:.0f} %", refresh=False)


def _state(model, train_step, epochs_done: int) -> dict:
    """All that the rest of a run depends on; its batches follow from the recipe."""
    weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
    return {"epoch": epochs_done, "model": weights, "step": train_step.state_dict(), "random": torch.get_rng_state()}


def _restore(model, train_step, state: dict) -> int:
    """Put a `_state` back; returns the epoch to go on with. Where it does not fit: CheckpointError, and the model is as it was."""
    before = copy.deepcopy(model.state_dict())
    try:
        train_step.load_state_dict(state["step"])
        model.load_state_dict(state["model"])
        torch.set_rng_state(state["random"])
        return state["epoch"]
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, RuntimeError) as error:
        model.load_state_dict(before)
        raise checkpoints.CheckpointError(f"the state to resume from does not fit this run: {error!r:.200}") from None


def _epoch_row(epoch, step, losses, accuracies, start) -> dict:
    """Read the epoch's losses off the device, in one go."""
    train_loss, train_accuracy = torch.stack([torch.stack(losses), torch.stack(accuracies)]).mean(dim=1).tolist()
    seconds = time.perf_counter() - start
    return {
        "epoch": epoch + 1,
        "step": step,
        "train_loss": train_loss,
        "train_accuracy": 100 * train_accuracy,
        "seconds": seconds,
    }


def _columns(before, names, log) -> dict[str, np.ndarray]:
    """The log's rows as one array per name, after those of the steps before."""
    *hyper, losses = zip(*log)
    columns = {name: np.array(values, dtype=float) for name, values in zip(names, hyper)}
    columns["loss"] = torch.stack(losses).float().cpu().numpy().astype(float)
    return {name: np.concatenate([before.get(name, []), column]) for name, column in columns.items()}
