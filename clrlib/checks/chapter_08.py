"""Checks of chapter 08."""

from __future__ import annotations

import numpy as np

from clrlib.checks.exercise import exercise
from clrlib.history import History
from clrlib.theory.batch_size import scaled_rate

NEAR = 1.1  # times the least seconds: what counts as fastest too


@exercise
def steps_of_a_run(answer):
    """25 steps an epoch, the last of them filled up, and 3 epochs: 75. A batch 16 times as large leaves a sixteenth of the steps."""
    if answer == 72:
        return "you left out the incomplete last batch of each epoch: these chapters fill it up. Round up."
    if answer == 74:
        return "each epoch rounds up by itself: 3 times ceil(50,000 / 2,048)."
    return None if answer == 75 else "steps = epochs * ceil(images / batch), here 3 * ceil(50,000 / 2,048)."


@exercise
def scaling_rules(answer):
    """In proportion keeps what an epoch moves; by the root keeps the noise of one step."""
    for rule in ("linear", "root"):
        for batch, to in ((512, 2048), (512, 128), (64, 192)):
            got, right = float(answer(0.8, batch, to, rule)), scaled_rate(0.8, batch, to, rule)
            if np.isclose(got, right):
                continue
            if np.isclose(got, scaled_rate(0.8, to, batch, rule)):
                return "upside down: a larger batch takes a larger rate."
            return f"from batch {batch} at 0.8 to batch {to}, {rule}: {right:.4g}, yours gives {got:.4g}."
    return None


@exercise
def accumulated(answer):
    """Weighted by their images, the parts give the gradient of the whole batch, in a quarter of the memory."""
    for sizes in ((128, 128, 128, 128), (200, 100, 12)):
        gradients = np.random.default_rng(0).standard_normal((len(sizes), 3))
        right, got = np.average(gradients, axis=0, weights=sizes), np.asarray(answer(list(gradients), list(sizes)), dtype=float)
        if got.shape == right.shape and np.allclose(got, right):
            continue
        if got.shape == right.shape and np.allclose(got, gradients.sum(axis=0)):
            return "that is the sum: the step would be as many times too long as there are parts."
        if got.shape == right.shape and np.allclose(got, gradients.mean(axis=0)):
            return "right for equal parts. The last part may be smaller: weigh each by its number of images."
        return "each gradient is a mean over its own images: sum size * gradient over the parts, then divide by all images."
    return None


@exercise
def own_race(answer, target, chosen):
    """Yours reaches the target soonest, or within a tenth of that. On another machine it may be another one."""
    if not isinstance(answer, dict) or not all(isinstance(history, History) for history in answer.values()):
        return "pass a dict: batch size -> what fit(...) returned."
    if len(answer) < 3:
        return "let three batch sizes race, or more."
    there = {size: seconds for size, history in answer.items() if (seconds := seconds_to(history, target)) is not None}
    if not there:
        return f"none of your runs reaches {target:g} %: lower the target, or train longer."
    if chosen is ... or chosen not in answer:
        return f"now choose one of {', '.join(map(str, answer))}."
    if chosen not in there:
        return f"batch {chosen} never reaches {target:g} %."
    first = min(there, key=there.get)
    slower = there[chosen] / there[first]
    return None if slower <= NEAR else f"batch {chosen} takes {slower:.1f} times as long as batch {first} to {target:g} %."


def seconds_to(history: History, target: float) -> float | None:
    """Seconds of training up to the first epoch's end with at least `target` percent; None if there is none."""
    reached = np.flatnonzero(history.column("accuracy") >= float(target))
    return float(np.cumsum(history.column("seconds"))[reached[0]]) if len(reached) else None
