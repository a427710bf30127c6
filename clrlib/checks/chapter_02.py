"""Checks of chapter 02."""

from __future__ import annotations

import math

import numpy as np

from clrlib import stats
from clrlib.checks.exercise import exercise

VERDICTS = ("higher", "lower", "can't tell")


class Calls(list):
    """A model, its loss and an optimiser at once, which train nothing and write down what is asked of them."""

    def __call__(self, *given):
        self.append("forward" if len(given) == 1 else "loss")
        return self

    def zero_grad(self, **_):
        self.append("zero_grad")

    def backward(self):
        self.append("backward")

    def step(self):
        self.append("step")

    def item(self) -> float:
        return 1.0

    detach = __call__


@exercise
def training_step(answer):
    """Predict, compare, clear, go back, move: the five calls that every loop makes."""
    calls = Calls()
    answer(calls, calls, calls, "images", "labels")
    for name in ("forward", "loss", "zero_grad", "backward", "step"):
        if calls.count(name) != 1:
            return f"{name} was called {calls.count(name)} times in one step; once is right. {MISSING[name]}"
    clear, back, move = map(calls.index, ("zero_grad", "backward", "step"))
    if move < back:
        return "the optimiser moved before backward() had computed where to."
    if back < clear < move:
        return "zero_grad() between backward() and step() throws the gradients away before they are used."
    return None if calls.index("forward") < calls.index("loss") < back else "forward, then the loss, then backward()."


MISSING = {
    "forward": "model(images) gives the logits.",
    "loss": "loss_of(logits, labels) gives the loss.",
    "zero_grad": "Without it, the gradients of all steps so far add up.",
    "backward": "loss.backward() computes the gradients.",
    "step": "Without optimizer.step() nothing is learned.",
}


@exercise
def error_of_accuracy(answer):
    """p (1 - p) / n under the root: four times the images, half the error."""
    cases = ((91.0, 10_000), (91.0, 6_400), (50.0, 1_000))
    got, right = [float(answer(*case)) for case in cases], [stats.accuracy_error(*case) for case in cases]
    if np.allclose(got, right, rtol=0.01):
        return None
    if np.allclose(np.array(got) * 100, right, rtol=0.01):
        return "that is a share. Times 100 makes it points of accuracy."
    if np.allclose(np.sqrt(np.abs(got)), np.array(right) / 100, rtol=0.01):
        return "that is the variance. Take its root, times 100."
    return f"91 % on 10,000 images is known to {right[0]:.2f} points; your function gives {got[0]:.3g}."


@exercise
def number_of_seeds(answer):
    """The spread is one and a half times the difference, and that enters squared."""
    right, ratio = stats.seeds_needed(0.3, 0.2), 0.3 / 0.2
    if float(answer) == math.ceil(right / 2):
        return "that would do for one mean against a known number. Two means scatter, so it takes twice as many."
    if float(answer) == math.ceil(2 * 2.8**2 * ratio):
        return "spread / difference must be squared."
    if 35 <= float(answer) < right:
        return "nearly: round up to whole runs."
    return None if float(answer) == right else "n = 2 * (1.96 + 0.84) ** 2 * (spread / difference) ** 2, rounded up."


@exercise
def undo_running(answer):
    """n times the mean of n epochs is their sum, and two sums differ by one epoch."""
    truth = np.array([40.0, 60.0, 75.0, 70.0])
    running = np.cumsum(truth) / np.arange(1, 5)
    got = np.asarray(answer(running.copy()), dtype=float)
    if got.shape == truth.shape and np.allclose(got, truth):
        return None
    if got.shape == (3,) and np.allclose(got, truth[1:]):
        return "the first epoch is missing: its running mean is its accuracy."
    if got.shape == truth.shape and np.allclose(got[1:], np.diff(running)):
        return "the difference of two running means is small. Multiply each by its number of epochs first."
    return f"running means {running.round(2).tolist()} come from {truth.tolist()}; your function gives {got.round(2).tolist()}."


@exercise
def own_comparison(answer, base, verdict):
    """Your verdict is what the interval says, and you stated it with its n."""
    mine = np.asarray(answer, dtype=float)
    if mine.ndim != 1 or len(mine) < 5 or not np.isfinite(mine).all():
        return "pass a list of five accuracies or more, one for each seed."
    if set(np.round(mine, 6)) <= set(np.round(base, 6)):
        return "these are the runs that you compare with. Change something first."
    if verdict not in VERDICTS:
        return f"now say what five seeds show: {', '.join(map(repr, VERDICTS))}."
    effect = stats.difference(mine, base)
    right = ("higher" if effect.value > 0 else "lower") if effect.different else "can't tell"
    return None if verdict == right else f"the difference is {effect} points, with its 95 % interval: is 0 inside it?"
