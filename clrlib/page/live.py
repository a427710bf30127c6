"""The live trainer: press Train and watch a short run grow beside earlier ones; move a slider while it trains.

A press on the page runs `training.steps` in one daemon thread, so that the page goes on listening. The same press from
a cell, a test or nbconvert (`trainer.train.click()`) trains then and there, and returns when the run is over.
"""

from __future__ import annotations

import html
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import ipywidgets as w
import numpy as np
import torch

from clrlib.figures import live as live_plots
from clrlib.figures import style as figures
from clrlib.history import History
from clrlib.lab import cifar as images_of
from clrlib.lab import training
from clrlib.page import widgets
from clrlib.page.jobs import Job, from_a_page
from clrlib.page.parts import ROW, WIDE, Picture
from clrlib.schedules import Schedule, as_schedule

EARLIER = 4  # runs that stay in grey
GAP, SHARE = 0.4, 4  # a redraw comes after this many seconds at the soonest, and after this many times what the last one took
PICTURED = "Learning rate, training loss and held-out accuracy, step by step."
TRAINERS: dict[str, Trainer] = {}  # the newest trainer of each name


@dataclass(frozen=True)
class Setup:
    """What all runs of a trainer share. `model` is a function without arguments that returns a fresh model."""

    model: Callable[[], torch.nn.Module]
    data: images_of.Data
    epochs: int = 3
    recipe: training.Recipe = training.Recipe()

    @property
    def steps(self) -> int:
        return self.epochs * images_of.steps_per_epoch(len(self.data.train), self.recipe.batch_size)


# --- one run ---------------------------------------------------------------------------------------------


@dataclass
class Run:
    """A run as it grows. `guess` is the accuracy predicted for it, in percent; None: no guess."""

    number: int
    name: str
    guess: int | None
    history: History
    unread: list = field(default_factory=list)

    @property
    def label(self) -> str:
        return f"{self.name} {self.number}"

    def add(self, step: training.Step):
        """Keep a step. Its loss stays on the device, which would have to wait for it."""
        self.unread.append(step)
        if step.row is not None:
            self.history.epochs.append(step.row)

    def read(self) -> History:
        """The history so far, with the losses that were still on the device."""
        steps, self.unread = self.unread, []
        if steps:
            new = {name: [step.hyper[name] for step in steps] for name in steps[0].hyper}
            new["loss"] = torch.stack([step.loss for step in steps]).float().tolist()
            self.history.steps = {name: np.append(self.history.steps.get(name, []), values) for name, values in new.items()}
        return self.history


def verdict(run: Run, setup: Setup, stopped: bool) -> str:
    """What came of a run, in a sentence or three: the caption for those who can't see the picture."""
    history, said = run.history, [f"{run.label}: {len(run.history):,} of {setup.steps:,} steps."]
    if history.epochs:
        said[0] = f"{said[0][:-1]}, {setup.data.held_out_name} accuracy {history.accuracy:.1f} % after epoch {len(history.epochs)}."
    if len(history) and not math.isfinite(history.steps["loss"][-1]):
        said.append("The loss is no longer finite: lower the highest rate.")
    if stopped:
        said.append("Stopped: what it had learned so far is kept.")
    elif run.guess is not None and history.epochs:
        off = history.accuracy - run.guess
        said.append(f"You guessed {run.guess} %: {abs(off):.1f} points too {'low' if off > 0 else 'high'}.")
    return " ".join(said)


def progress(run: Run, setup: Setup, seconds: float) -> str:
    """Where a run is after `seconds`, and the time left at its pace so far."""
    done, each = len(run.history), setup.steps // setup.epochs
    left = seconds / max(1, done) * (setup.steps - done)
    time_left = f"about {left:.0f} s left" if left < 90 else f"about {left / 60:.0f} min left"
    return f"epoch {min(done // each + 1, setup.epochs)} of {setup.epochs}, step {done:,} of {setup.steps:,}, {time_left}"


# --- the widget -----------------------------------------------------------------------------------------------


class Trainer(w.VBox):
    """Train, Stop and Clear around a picture that grows.

    schedules  what `training.steps` takes, or a function without arguments that returns it, asked at each press
    controls   ipywidgets controls to show above the buttons; the dashed plan follows them, where the rate is a Schedule
    name       names its runs; a new trainer closes the older one of its name, so that a cell can be run again
    beside     another trainer whose earlier runs are shown here too (and the other way round)
    wait       True: a press returns when the run is over; False: at once; None: at once if it came from a page

    `train`, `stop`, `clear` are its buttons and `guess` is its slider; `runs` holds the last runs, the newest last;
    `error` is the exception that ended the newest one, or None.
    """

    def __init__(self, setup: Setup, schedules, controls=(), name="drawn", beside=None, wait: bool | None = None):
        if name in TRAINERS:
            TRAINERS.pop(name).close()
        self.job, self.setup, self.name, self.error, self.message = Job(self._show_state), setup, name, None, ""
        self._schedules, self._controls, self._wait, self._now = schedules, tuple(controls), wait, None
        self._complaint = ""  # what the controls made, where that is no schedule
        self.runs: list[Run] = beside.runs if beside else []
        self.train, self.stop, self.clear = _button("Train", "play", "primary"), _button("Stop", "stop"), _button("Clear", "trash")
        self.guess = w.IntSlider(min=0, max=100, description="my guess (%)", style=WIDE, layout=ROW)
        self._bar, self._progress = w.IntProgress(max=setup.steps, layout=w.Layout(width="180px")), w.Label()
        self._picture, self._line = Picture(), w.HTML()
        row = w.HBox([self.train, self.stop, self.clear, self._bar, self._progress], layout=w.Layout(flex_flow="row wrap"))
        self._own = [self.guess, row, self._picture, self._line]
        super().__init__([*self._controls, *self._own], layout=w.Layout(max_width="820px"))
        self._listen()
        TRAINERS[name] = self

    @property
    def history(self) -> History:
        """Of the newest run, as far as it has come. Raises IndexError before the first."""
        return self.runs[-1].history

    def figure(self):
        """The picture as it is now, as a Figure. Raises ValueError where the controls make no schedule."""
        idle = self.job.state == "idle"
        rate = (self._wanted() if idle else self._now or {}).get("lr")
        plan = as_schedule(rate) if isinstance(rate, (Schedule, int, float)) else None  # a function is asked by the steps alone
        guess = self.guess.value if idle or not self.runs else self.runs[-1].guess
        histories = {run.label: run.history for run in self.runs}
        return live_plots.draw(histories, self.setup.steps, plan, guess or None)

    def close(self):
        """Stop its run, wait for the thread, and take the widget off the page; its controls stay."""
        self.job.stop()
        self.job.join(10)
        for control in self._controls:
            control.unobserve(self._redraw, "value")
        self._controls = ()
        for part in [self.train, self.stop, self.clear, self._bar, self._progress, *self._own]:
            part.close()
        super().close()

    def _listen(self):
        self.train.on_click(lambda _: self._press())
        self.stop.on_click(lambda _: self.job.stop())
        self.clear.on_click(lambda _: self._forget())
        for control in [*self._controls, self.guess]:
            control.observe(self._redraw, "value")
        self._say("")
        self._show_state()
        self._redraw()

    def _wanted(self) -> dict:
        return self._schedules() if callable(self._schedules) else self._schedules

    def _press(self):
        wait = not from_a_page() if self._wait is None else self._wait
        started = self.job.start(self._train, wait)
        if started and wait:
            print(self.message)
        elif not started and self.job.state == "idle":
            self._say("Another trainer's run is under way: stop it first.", bold=True)

    def _train(self):
        """One run, from the press to the verdict; whatever goes wrong is said, and goes no further."""
        setup, self.error, run = self.setup, None, None
        try:
            self._now = self._wanted()
            stepping = training.steps(setup.model(), setup.data, self._now, setup.epochs, setup.recipe)
            run = self._begin()
            self._follow(run, stepping)
        except KeyboardInterrupt:
            self.job.stop()
        except Exception as error:
            self.error = error
        self._end(run)

    def _begin(self) -> Run:
        number = self.runs[-1].number + 1 if self.runs else 1
        self.runs.append(Run(number, self.name, self.guess.value or None, History(source=self.setup.data.source)))
        del self.runs[: -EARLIER - 1]
        self._say("")
        return self.runs[-1]

    def _follow(self, run: Run, stepping):
        start, due = time.monotonic(), 0.0
        for step in stepping:
            run.add(step)
            if time.monotonic() >= due:
                due = self._show(run, start)
            if self.job.state != "running":
                return

    def _show(self, run: Run, start: float) -> float:
        """Redraw; returns when the next redraw is due."""
        begun = time.monotonic()
        run.read()
        self._bar.value, self._progress.value = len(run.history), progress(run, self.setup, begun - start)
        self._picture.value = figures.png(self.figure())
        now = time.monotonic()
        return now + max(GAP, SHARE * (now - begun))

    def _end(self, run: Run | None):
        self._progress.value = ""
        try:
            if run is not None:
                run.read()
                self._bar.value = len(run.history)
                self._picture.value = figures.png(self.figure())
                self._say(verdict(run, self.setup, stopped=len(run.history) < self.setup.steps and self.job.state == "stopping"))
        except Exception as error:
            self.error = self.error or error
        if self.error is not None:
            self._say(f"{type(self.error).__name__}: {self.error}", bold=True)

    def _show_state(self):
        self.train.disabled, self.stop.disabled = self.job.state != "idle", self.job.state != "running"
        if self.job.state == "stopping":
            self._progress.value = "stopping after this step ..."

    def _redraw(self, _=None):
        """The picture anew, unless a run does that already."""
        if self.job.state != "idle":
            return
        try:
            self._picture.value = figures.png(self.figure())
        except ValueError as error:
            self._complaint = str(error)
            self._say(self._complaint, bold=True)
        else:
            if self.message and self.message == self._complaint:
                self._say("")

    def _forget(self):
        """Forget all runs but one that is under way."""
        del self.runs[: len(self.runs) - (Job.under_way is not None)]
        if self.job.state == "idle":
            self._bar.value = 0
            self._say("")
        self._redraw()

    def _say(self, text: str, bold: bool = False):
        self.message, self._picture.tooltip = text, f"{PICTURED} {text}".strip()  # a screen reader's name for the picture
        self._line.value = f'<span role="status">{"<b>" * bold}{html.escape(text)}{"</b>" * bold}</span>'


def by_hand(setup: Setup, rate: float = 0.3, momentum: float = 0.9, beside: Trainer | None = None, wait: bool | None = None) -> Trainer:
    """A trainer whose learning rate is a slider, `trainer.rate`, that each step asks anew."""
    slider = widgets.rate_slider("learning rate", rate, -4, 1)
    schedules = {"lr": lambda progress: slider.value, "momentum": momentum}
    trainer = Trainer(setup, schedules, [slider], "by hand", beside, wait)
    trainer.rate = slider
    return trainer


def _button(text: str, icon: str, style: str = "") -> w.Button:
    return w.Button(description=text, icon=icon, button_style=style, layout=w.Layout(width="100px"))
