import json
import re
import threading
import time
from types import SimpleNamespace

import ipywidgets as w
import numpy as np
import pytest
import torch

from clrlib.chapters import chapter_05
from clrlib.figures import style as figures
from clrlib.lab import models
from clrlib.lab.cifar import Data
from clrlib.lab.training import Recipe, fit
from clrlib.page import live
from clrlib.schedules import one_cycle

RECIPE = Recipe(batch_size=16, precision="fp32")
LR = {"lr": one_cycle(0.02, 0.2)}
LONG = 60  # seconds that a thread gets to end; it needs far less than one


def tiny():
    return models.build("tiny", 10, seed=0)


@pytest.fixture
def setup(make_split):
    """Two epochs of 4 steps."""
    return live.Setup(tiny, Data(make_split(64), make_split(20, seed=1)), epochs=2, recipe=RECIPE)


@pytest.fixture
def endless(make_split):
    """A run that no test waits for: 4,000 steps in one epoch's plan of 4, a thousand times."""
    return live.Setup(tiny, Data(make_split(64), make_split(20, seed=1)), epochs=1000, recipe=RECIPE)


@pytest.fixture(autouse=True)
def no_thread_stays():
    yield
    for trainer in list(live.TRAINERS.values()):
        trainer.close()
    live.TRAINERS.clear()
    assert not [thread for thread in threading.enumerate() if thread.name == "clrlib-live"]


def until(condition, seconds=LONG):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)


# --- a press without a page ------------------------------------------------------------------------------


def test_without_a_page_a_press_trains_then_and_there(setup, capsys):
    trainer = live.Trainer(setup, LR)
    trainer.train.click()
    assert trainer.job.state == "idle" and trainer.job.thread is None and trainer.error is None
    assert len(trainer.history) == 8 == setup.steps and len(trainer.history.epochs) == 2
    assert capsys.readouterr().out.strip() == trainer.message
    assert trainer.message.startswith(f"drawn 1: 8 of 8 steps, test accuracy {trainer.history.accuracy:.1f} % after epoch 2.")


@pytest.mark.parametrize("wait", [True, False])
def test_it_trains_what_fit_trains(setup, wait):
    trainer = live.Trainer(setup, LR, wait=wait)
    trainer.train.click()
    assert trainer.job.join(LONG)
    right = fit(tiny(), setup.data, LR, 2, RECIPE, progress=False)
    assert trainer.history.steps.keys() == right.steps.keys()
    for name, column in right.steps.items():
        np.testing.assert_array_equal(trainer.history.steps[name], column)
    assert trainer.history.accuracy == right.accuracy


def test_what_the_sliders_say_at_the_press_is_trained(setup):
    shaped = chapter_05.one_cycle_explorer(setup.steps)
    trainer = live.Trainer(setup, shaped.schedules, shaped.controls)
    shaped.controls[1].value = 0.3
    trainer.train.click()
    np.testing.assert_allclose(trainer.history.steps["lr"], shaped.schedules()["lr"].table(8))
    np.testing.assert_allclose(trainer.history.steps["momentum"], shaped.schedules()["momentum"].table(8))


def test_a_model_is_fresh_in_every_run(setup):
    trainer = live.Trainer(setup, LR)
    trainer.train.click()
    trainer.train.click()
    first, second = trainer.runs
    np.testing.assert_array_equal(first.history.steps["loss"], second.history.steps["loss"])


# --- a press on a page: the thread ---------------------------------------------------------------------------


def test_a_second_press_starts_nothing(endless):
    trainer = live.Trainer(endless, LR, wait=False)
    trainer.train.click()
    thread = trainer.job.thread
    assert trainer.train.disabled and not trainer.stop.disabled and thread.daemon
    trainer.train.click()
    until(lambda: len(trainer.runs) and len(trainer.history))
    assert trainer.job.thread is thread and len(trainer.runs) == 1


def test_stop_ends_it_within_two_steps_and_keeps_the_history(endless):
    asked = []
    trainer = live.Trainer(endless, {"lr": lambda progress: asked.append(progress) or 0.01}, wait=False)
    trainer.train.click()
    until(lambda: len(asked) > 5)
    trainer.stop.click()
    before = len(asked)
    assert trainer.job.state in ("stopping", "idle") and trainer.train.disabled == (trainer.job.state == "stopping")
    assert trainer.job.join(LONG) and len(asked) <= before + 2
    assert len(trainer.history) == len(asked) == len(trainer.history.steps["lr"])
    assert "Stopped" in trainer.message and not trainer.train.disabled and trainer.stop.disabled


def test_it_shows_where_it_is_while_it_runs(endless, monkeypatch):
    monkeypatch.setattr(live, "GAP", 0.0)
    trainer = live.Trainer(endless, LR, wait=False)
    empty = trainer._picture.value
    trainer.train.click()
    until(lambda: trainer._bar.value > 1 and trainer._progress.value)
    assert re.fullmatch(r"epoch \d+ of 1000, step [\d,]+ of 4,000, about \d+ (s|min) left", trainer._progress.value)
    assert trainer._picture.value != empty
    trainer.stop.click()
    assert trainer.job.join(LONG) and trainer._bar.value == len(trainer.history) and trainer._progress.value == ""


def test_redraws_keep_their_distance(setup, monkeypatch):
    clock = SimpleNamespace(now=0.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr(live, "time", clock)
    trainer, drawn = live.Trainer(setup, LR), []

    def slow(figure):
        drawn.append(clock.now)
        clock.now += 0.25
        return b"png"

    monkeypatch.setattr(figures, "png", slow)
    stepping = (SimpleNamespace(row=None, hyper={"lr": 0.1}, loss=torch.ones(())) for _ in range(100))
    trainer.job.state = "running"
    trainer._now = LR
    run = trainer._begin()

    def ticking():
        for step in stepping:
            clock.now += 0.1
            yield step

    trainer._follow(run, ticking())
    trainer.job.state = "idle"
    assert len(drawn) > 3 and np.diff(drawn).min() >= live.SHARE * 0.25 - 1e-9


def test_the_sliders_answer_while_it_trains(endless, monkeypatch):
    monkeypatch.setattr(live, "SHARE", 0)
    trainer = live.by_hand(endless, rate=0.1, wait=False)
    trainer.train.click()
    until(lambda: len(trainer.runs) and len(trainer.history) > 2)
    trainer.rate.value = 0.002
    seen = len(trainer.history)
    until(lambda: len(trainer.history) > seen + 6)
    trainer.stop.click()
    assert trainer.job.join(LONG)
    rates = trainer.history.steps["lr"]
    change = int(np.argmax(rates == 0.002))
    assert change > 2 and set(rates[:change]) == {0.1} and set(rates[change:]) == {0.002}
    assert set(trainer.history.steps["momentum"]) == {0.9}


def test_the_slider_of_the_rate_moves_the_weights(setup):
    """The same seed, one run left alone and one turned down to nothing after 4 of 8 steps: equal up to there, then not."""
    alone = live.by_hand(setup, rate=0.1)
    alone.train.click()
    driven = live.by_hand(setup, rate=0.1)
    asked = iter(range(100))
    driven._schedules["lr"] = lambda progress: 0.1 if next(asked) < 4 else 0.0
    driven.train.click()
    first, second = alone.history.steps["loss"], driven.history.steps["loss"]
    np.testing.assert_array_equal(first[:5], second[:5])
    assert (first[5:] != second[5:]).all()


# --- earlier runs ------------------------------------------------------------------------------------------------


def test_four_earlier_runs_stay_with_their_names(setup):
    trainer = live.Trainer(setup, LR)
    for _ in range(6):
        trainer.train.click()
    assert [run.label for run in trainer.runs] == [f"drawn {i}" for i in range(2, 7)]
    accuracy = trainer.figure().axes[1]
    assert {text.get_text().rsplit("  ", 1)[0] for text in accuracy.texts} == {run.label for run in trainer.runs}


def test_clear_forgets_them(setup):
    trainer = live.Trainer(setup, LR)
    empty = trainer._picture.value
    trainer.train.click()
    assert trainer._picture.value != empty
    trainer.clear.click()
    assert trainer.runs == [] and trainer._picture.value == empty and trainer.message == ""


def test_clear_leaves_the_run_under_way(endless, setup):
    trainer = live.Trainer(endless, LR, wait=False)
    for _ in range(2):
        trainer.train.click()
        until(lambda: trainer.job.state == "running" and len(trainer.runs) and len(trainer.history))
        trainer.clear.click()
        assert len(trainer.runs) == 1
        trainer.stop.click()
        assert trainer.job.join(LONG)


def test_trainers_beside_each_other_share_their_runs_and_take_turns(endless):
    drawn = live.Trainer(endless, LR, wait=False)
    hand = live.by_hand(endless, beside=drawn, wait=False)
    drawn.train.click()
    until(lambda: drawn.runs)
    hand.train.click()
    assert "another" in hand.message.lower() and hand.job.state == "idle"
    drawn.stop.click()
    assert drawn.job.join(LONG)
    hand.train.click()
    until(lambda: len(hand.runs) == 2 and len(hand.history))
    hand.stop.click()
    assert hand.job.join(LONG) and [run.label for run in drawn.runs] == ["drawn 1", "by hand 2"]


# --- the guess ------------------------------------------------------------------------------------------------------


def test_a_guess_is_taken_at_the_press_and_shown_against_the_result(setup):
    trainer = live.Trainer(setup, LR)
    trainer.guess.value = 90
    trainer.train.click()
    off = 90 - trainer.history.accuracy
    assert trainer.message.endswith(f"You guessed 90 %: {off:.1f} points too high.")
    trainer.guess.value = 1
    assert trainer.runs[0].guess == 90


def test_without_a_guess_nothing_is_said_of_it(setup):
    trainer = live.Trainer(setup, LR)
    trainer.train.click()
    assert "guess" not in trainer.message


# --- when something goes wrong ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wait", [True, False])
def test_an_error_is_shown_and_the_buttons_come_back(setup, wait):
    def failing(progress):
        if progress > 0.5:
            raise RuntimeError("<no more>")
        return 0.1

    trainer = live.Trainer(setup, {"lr": failing}, wait=wait)
    trainer.train.click()
    assert trainer.job.join(LONG)
    assert trainer.message == "RuntimeError: <no more>" and "<b>RuntimeError: &lt;no more&gt;</b>" in trainer._line.value
    assert isinstance(trainer.error, RuntimeError) and len(trainer.history) == 4
    assert not trainer.train.disabled and trainer.stop.disabled


def test_after_an_error_one_can_train_again(setup):
    broken = [True]
    trainer = live.Trainer(live.Setup(lambda: None if broken else tiny(), setup.data, 2, RECIPE), LR)
    trainer.train.click()
    assert "Error" in trainer.message and trainer.runs == []
    broken.clear()
    trainer.train.click()
    assert trainer.error is None and len(trainer.history) == 8


def test_sliders_that_make_no_schedule_are_told_so_and_then_forgiven(setup):
    shaped = chapter_05.one_cycle_explorer(setup.steps)
    trainer = live.Trainer(setup, shaped.schedules, shaped.controls)
    shaped.controls[0].value = 0.9
    assert "low must be smaller than high" in trainer.message
    trainer.train.click()
    assert "low must be smaller than high" in trainer.message and trainer.runs == []
    shaped.controls[0].value = 0.08
    trainer.train.click()
    assert len(trainer.history) == 8 and trainer.message.startswith("drawn 1")


def test_a_loss_that_explodes_is_named(setup):
    trainer = live.Trainer(setup, {"lr": 1e30})
    trainer.train.click()
    assert "no longer finite" in trainer.message and len(trainer.history) <= 8 and not trainer.train.disabled


def test_an_interrupt_keeps_the_history_so_far(setup):
    def interrupted(progress):
        if progress > 0.5:
            raise KeyboardInterrupt
        return 0.1

    trainer = live.Trainer(setup, {"lr": interrupted})
    trainer.train.click()
    assert len(trainer.history) == 4 and "Stopped" in trainer.message and trainer.error is None
    assert trainer.job.state == "idle" and not trainer.train.disabled


# --- no orphans -------------------------------------------------------------------------------------------------------------


def test_a_cell_run_again_stops_the_run_of_the_old_widget(endless):
    old = live.Trainer(endless, LR, wait=False)
    old.train.click()
    until(lambda: len(old.runs))
    new = live.Trainer(endless, LR, wait=False)
    assert old.job.state == "idle" and not old.job.thread.is_alive() and new.runs == []


def test_an_old_widget_listens_to_its_sliders_no_more(setup):
    shaped = chapter_05.one_cycle_explorer(setup.steps)
    old = live.Trainer(setup, shaped.schedules, shaped.controls)
    live.Trainer(setup, shaped.schedules, shaped.controls)
    before = old._picture.value
    shaped.controls[1].value = 3.0
    assert old._picture.value == before
    assert all(control.comm is not None or not hasattr(control, "comm") for control in shaped.controls)


def test_closing_twice_is_fine(setup):
    trainer = live.Trainer(setup, LR)
    trainer.close()
    trainer.close()


# --- drawing in two threads -----------------------------------------------------------------------------------------------------


def test_two_threads_that_draw_leave_matplotlibs_settings_alone():
    import matplotlib

    before, wrong = dict(matplotlib.rcParams), []

    def draw():
        for _ in range(5):
            try:
                figures.png(live.live_plots.draw({}, 100, one_cycle(0.1, 1)))
            except Exception as error:
                wrong.append(error)

    threads = [threading.Thread(target=draw) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert dict(matplotlib.rcParams) == before and not wrong


# --- keyboard and labels -----------------------------------------------------------------------------------------------------------


def test_every_control_is_labelled(setup):
    hand = live.by_hand(setup)
    controls = [hand.train, hand.stop, hand.clear, hand.guess, hand.rate]
    assert [control.description for control in controls] == ["Train", "Stop", "Clear", "my guess (%)", "learning rate"]
    assert all(isinstance(control, w.DOMWidget) for control in controls)


# --- a real kernel ---------------------------------------------------------------------------------------------------------------------

CELL = """
import torch, threading
torch.set_num_threads(1)
from clrlib.lab import models
from clrlib.page import live
from clrlib.lab.cifar import Data, Split
from clrlib.lab.training import Recipe
def split(n): return Split(torch.randint(0, 256, (n, 32, 32, 3), dtype=torch.uint8), torch.arange(n) % 10, 10)
setup = live.Setup(lambda: models.build("tiny", 10, seed=0), Data(split(64), split(20)), {epochs}, Recipe(16, precision="fp32"))
trainer = live.by_hand(setup, rate=0.1)
print(trainer.train.comm.comm_id, trainer.rate.comm.comm_id, trainer.stop.comm.comm_id)
"""
STATE = "import json; print(json.dumps([trainer.job.state, len(trainer.runs), sorted({float(x) for r in trainer.runs for x in r.history.steps.get('lr', [])})]))"  # noqa: E501


class Kernel:
    """A kernel with a page's side of it: cells, and messages to widgets."""

    def __init__(self):
        from jupyter_client.manager import start_new_kernel

        self.manager, self.client = start_new_kernel(kernel_name="python3")

    def run(self, code):
        """What a cell prints."""
        printed = []
        self.client.execute_interactive(code, timeout=LONG, output_hook=lambda message: printed.append(message["content"].get("text", "")))
        return "".join(printed)

    def send(self, comm, data):
        self.client.shell_channel.send(self.client.session.msg("comm_msg", {"comm_id": comm, "data": data}))

    def press(self, comm):
        self.send(comm, {"method": "custom", "content": {"event": "click"}})

    def state(self):
        return json.loads(re.search(r"\[.*\]", self.run(STATE))[0])


@pytest.fixture
def kernel():
    kernel = Kernel()
    yield kernel
    kernel.client.stop_channels()
    kernel.manager.shutdown_kernel(now=True)


def test_in_a_kernel_a_press_from_the_page_leaves_it_free_and_a_slider_drives_it(kernel):
    train, rate, stop = re.search(r"(\w{32}) (\w{32}) (\w{32})", kernel.run(CELL.replace("{epochs}", "1000"))).groups()
    kernel.press(train)
    kernel.press(train)
    until(lambda: kernel.state()[:2] == ["running", 1])  # the kernel answers while it trains, and there is one run
    index = kernel.run("print(trainer.rate.index)").strip()
    until(lambda: kernel.state()[2] == [0.1])
    kernel.send(rate, {"method": "update", "state": {"index": int(index) - 2}, "buffer_paths": []})
    until(lambda: len(kernel.state()[2]) == 2)
    kernel.press(stop)
    until(lambda: kernel.state()[0] == "idle")
    assert min(kernel.state()[2]) == 0.08
    assert "[]" in kernel.run("print([t for t in threading.enumerate() if t.name == 'clrlib-live'])")


def test_in_a_kernel_a_press_by_a_cell_returns_when_the_run_is_over(kernel):
    kernel.run(CELL.replace("{epochs}", "2"))
    assert "by hand 1: 8 of 8 steps" in kernel.run("trainer.train.click()")
    assert kernel.state()[0] == "idle"
