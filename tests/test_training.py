import copy
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from tqdm import tqdm

from clrlib import schedules as s
from clrlib.lab.cifar import batch, normalise, plan_epoch
from clrlib.lab.training import Recipe, evaluate, fit, steps

PLAIN = Recipe(batch_size=16, precision="fp32", channels_last=False)


def quiet(model, data, schedules, epochs, recipe=PLAIN, **kwargs):
    return fit(model, data, schedules, epochs, recipe, progress=False, **kwargs)


def weights(model):
    return {name: value.tolist() for name, value in model.state_dict().items()}


# --- fit against a loop by hand -----------------------------------------------------------------------


def train_by_hand(model, data, tables, epochs, augment, seed=0):
    """Two epochs of torch's SGD, with hyper-parameters from three tables."""
    optimizer, losses = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.5), []
    model.train()
    for epoch in range(epochs):
        plan = plan_epoch(len(data.train), 16, seed, epoch)
        for i in range(len(plan)):
            images, labels = batch(data.train, plan, i, augment)
            for name, table in tables.items():
                optimizer.param_groups[0][name] = float(table[len(losses)])
            loss = F.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses


@pytest.mark.parametrize("augment", [False, True])
def test_fit_equals_a_loop_by_hand_bit_for_bit(augment, data, small_model):
    curves = {"lr": s.one_cycle(0.02, 0.2), "momentum": s.one_cycle_momentum(), "weight_decay": s.linear(1e-3, 0)}
    tables = {name: curve.table(8) for name, curve in curves.items()}
    ours, by_hand = small_model(), small_model()
    history = quiet(ours, data, curves, 2, replace(PLAIN, augment=augment))
    assert history.steps["loss"].tolist() == train_by_hand(by_hand, data, tables, 2, augment)
    assert weights(ours) == weights(by_hand)
    for name, table in tables.items():
        assert history.steps[name].tolist() == table.tolist()


def test_epoch_rows_are_means_of_their_steps_and_a_measurement_after_them(data, small_model):
    model = small_model()
    history = quiet(model, data, {"lr": 0.05}, 2)
    assert [(row["epoch"], row["step"]) for row in history.epochs] == [(1, 4), (2, 8)]
    np.testing.assert_allclose(history.column("train_loss"), history.steps["loss"].reshape(2, 4).mean(axis=1), rtol=1e-6)
    loss, accuracy = evaluate(model, data.held_out)
    assert (history.epochs[-1]["loss"], history.accuracy) == (loss, accuracy)
    assert history.source == "CIFAR-10" and history.seconds > 0


def test_the_same_seed_gives_the_same_history_and_another_does_not(data, small_model):
    one, again, other = (quiet(small_model(), data, {"lr": 0.1}, 1, replace(PLAIN, seed=seed)) for seed in (4, 4, 5))
    assert one.steps["loss"].tolist() == again.steps["loss"].tolist() != other.steps["loss"].tolist()


def test_training_lowers_the_loss_on_real_images():
    from clrlib.lab.cifar import Data, digits
    from clrlib.lab.models import build

    train, test = digits()
    data = Data(train.subset(torch.arange(512)), test.subset(torch.arange(100)), source="digits")
    history = quiet(build("tiny"), data, {"lr": s.one_cycle(0.01, 0.1)}, 3, replace(PLAIN, batch_size=32, augment=False))
    assert history.accuracy > 80 and history.epochs[-1]["loss"] < 0.7 and history.source == "digits"


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_label_smoothing_mixes_in_the_mean_over_classes(smoothing, data, small_model):
    model = small_model().train()
    images, labels = batch(data.train, plan_epoch(50, 16, 0, 0), 0)
    with torch.no_grad():
        logs = copy.deepcopy(model)(images).log_softmax(1)
    expected = -(1 - smoothing) * logs[range(16), labels].mean() - smoothing * logs.mean()
    first = next(steps(model, data, {"lr": 0.1}, 1, replace(PLAIN, label_smoothing=smoothing)))
    assert float(first.loss) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("change", [{"optimizer": "adamw"}, {"nesterov": True}, {"channels_last": True}, {"precision": "bf16"}])
def test_every_recipe_trains(change, data, small_model):
    plain, changed = (quiet(small_model(), data, {"lr": 0.01}, 2, replace(PLAIN, **recipe)).steps["loss"] for recipe in ({}, change))
    np.testing.assert_allclose(changed[0], plain[0], rtol=0.02)
    assert np.isfinite(changed).all() and changed.shape == plain.shape
    assert change == {"channels_last": True} or changed[-1] != plain[-1]


def test_adamw_follows_torchs_adamw(data, small_model):
    ours, by_hand = small_model(), small_model().train()
    history = quiet(ours, data, {"lr": 0.01, "momentum": 0.8, "weight_decay": 0.1}, 1, replace(PLAIN, optimizer="adamw"))
    optimizer, plan = torch.optim.AdamW(by_hand.parameters(), lr=0.01, betas=(0.8, 0.99), weight_decay=0.1), plan_epoch(50, 16, 0, 0)
    for i in range(4):
        images, labels = batch(data.train, plan, i)
        loss = F.cross_entropy(by_hand(images), labels)
        assert loss.item() == history.steps["loss"][i]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert weights(ours) == weights(by_hand)


# --- the loop itself --------------------------------------------------------------------------------------


def test_a_function_is_asked_before_each_step(data, small_model):
    asked = []

    def slider(progress):
        asked.append(progress)
        return 0.01 * len(asked)

    run = steps(small_model(), data, {"lr": slider}, 2, PLAIN)
    first = next(run)
    assert asked == [0] and first.hyper["lr"] == 0.01
    rates = [step.hyper["lr"] for step in run]
    np.testing.assert_allclose(asked, np.arange(8) / 7)
    np.testing.assert_allclose(rates, 0.01 * np.arange(2, 9))


def test_an_interrupt_from_the_plot_returns_the_history_so_far(data, small_model, capsys):
    def watch(history):
        assert len(history) == 4 * len(history.epochs)
        if len(history.epochs) == 2:
            raise KeyboardInterrupt

    history = quiet(small_model(), data, {"lr": 0.1}, 5, watch=watch)
    assert len(history) == 8 and len(history.epochs) == 2
    assert "Interrupted after 8 of 20 steps" in capsys.readouterr().out


@pytest.mark.parametrize("after", [0, 1, 6])
def test_an_interrupt_inside_an_epoch_keeps_its_finished_steps(after, data, small_model):
    def lr(progress):
        if progress * 11 > after - 0.5:
            raise KeyboardInterrupt
        return 0.05

    model = small_model()
    history = quiet(model, data, {"lr": lr}, 3)
    assert len(history) == after and len(history.epochs) == after // 4
    assert (weights(model) == weights(small_model())) == (after == 0)


def test_a_diverging_run_stops_after_its_epoch_and_keeps_its_rows(data, small_model, capsys):
    history = quiet(small_model(), data, {"lr": lambda progress: 0.1 if progress < 0.3 else 1e30}, 5)
    assert len(history.epochs) == 2 and len(history) == 8
    assert math.isfinite(history.epochs[0]["train_loss"]) and not math.isfinite(history.epochs[1]["train_loss"])
    assert "epoch 2, lr 1e+30" in capsys.readouterr().out


def test_the_progress_bar_shows_accuracy_and_changes_no_number(data, small_model, monkeypatch):
    said = []

    class Bar(tqdm):
        def set_description(self, text, refresh):
            said.append(text)

    monkeypatch.setattr("clrlib.lab.training.tqdm", Bar)
    shown, hidden = fit(small_model(), data, {"lr": 0.1}, 2, PLAIN), quiet(small_model(), data, {"lr": 0.1}, 2)
    assert shown.steps["loss"].tolist() == hidden.steps["loss"].tolist()
    assert said[1] == f"epoch 2/2, test {shown.accuracy:.1f} %"


BAD = {
    "negative lr": ({"lr": -0.1}, 1, {}, "lr runs from -0.1"),
    "falls below 0": ({"lr": s.linear(0.1, -0.1)}, 1, {}, "lr runs from -0.1"),
    "NaN lr": ({"lr": math.nan}, 1, {}, "finite, got nan"),
    "momentum of 1": ({"lr": 0.1, "momentum": 1.0}, 1, {}, r"momentum runs from 1 to 1: .* \[0, 1\)"),
    "momentum rises to 1": ({"lr": 0.1, "momentum": s.linear(0.9, 1.0)}, 1, {}, "momentum runs from 0.9 to 1"),
    "negative decay": ({"lr": 0.1, "weight_decay": -1e-4}, 1, {}, "weight_decay runs from -0.0001"),
    "no lr": ({"momentum": 0.9}, 1, {}, 'needs "lr"'),
    "unknown key": ({"lr": 0.1, "dropout": 0.5}, 1, {}, "'dropout' can't be scheduled"),
    "no epochs": ({"lr": 0.1}, 0, {}, "epochs must be at least 1, got 0"),
    "NaN from a function": ({"lr": lambda progress: math.nan}, 1, {}, "lr became nan"),
    "large batch": ({"lr": 0.1}, 1, {"batch_size": 51}, "batch_size=51 is more than the 50"),
}


@pytest.mark.parametrize("schedules, epochs, change, message", BAD.values(), ids=BAD)
def test_what_cannot_work_is_named_before_the_model_changes(schedules, epochs, change, message, data, small_model):
    model = small_model()
    before = weights(model)
    with pytest.raises(ValueError, match=message):
        quiet(model, data, schedules, epochs, replace(PLAIN, **change))
    assert weights(model) == before


@pytest.mark.parametrize("epochs", [1.5, math.nan, "3", True])
def test_epochs_must_be_a_whole_number(epochs, data, small_model):
    with pytest.raises(TypeError, match="epochs must be a whole number"):
        quiet(small_model(), data, {"lr": 0.1}, epochs)


@pytest.mark.parametrize(
    "model, got",
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(3072, 9)), r"\[2, 9\]"),
        (nn.Conv2d(3, 10, 3), r"\[2, 10, 30, 30\]"),
        (nn.Sequential(nn.Flatten(0), nn.Unflatten(0, (-1, 10))), r"\[\d+, 10\]"),
        (nn.Sequential(nn.Flatten(2), nn.LSTM(1024, 10)), "tuple"),
    ],
)
def test_an_output_that_does_not_fit_the_labels_is_named(model, got, data):
    if got == r"\[\d+, 10\]":
        model = nn.Sequential(nn.Conv2d(3, 5, 32), *model)
        got = r"\[1, 10\]"
    with pytest.raises(ValueError, match=f"output is {got} for 2 images: it must have shape .2, 10."):
        quiet(model, data, {"lr": 0.1}, 1)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"batch_size": 1}, "batch_size must be at least 2, got 1"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"optimizer": "lion"}, "'lion' is unknown"),
        ({"label_smoothing": 1.0}, "label_smoothing .* got 1.0"),
        ({"label_smoothing": math.nan}, "got nan"),
        ({"precision": "fp8"}, "'fp8' is unknown"),
    ],
)
def test_a_recipe_refuses_what_cannot_be(change, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**change)


def test_a_recipe_is_plain_json():
    assert Recipe(**json.loads(json.dumps(PLAIN.to_dict()))) == PLAIN


# --- evaluate ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [7, 1000])
def test_evaluate_equals_a_hand_computation(batch_size, data, small_model):
    model, split = small_model(), data.held_out
    loss, accuracy = evaluate(model.train(), split, batch_size=batch_size)
    with torch.no_grad():
        logits = copy.deepcopy(model).eval()(normalise(split.images)).double()
    chances = logits.exp() / logits.exp().sum(1, keepdim=True)
    right = sum(int(row.argmax()) == label for row, label in zip(chances, split.labels.tolist()))
    assert loss == pytest.approx(-float(chances[range(20), split.labels].log().mean()), rel=1e-5)
    assert accuracy == 100 * right / 20


def test_evaluate_changes_nothing_in_the_model_and_gives_every_mode_back(data, small_model):
    model = small_model().train()
    model[2].eval()  # a frozen batch norm
    before, modes = weights(model), [module.training for module in model.modules()]
    evaluate(model, data.held_out)
    assert weights(model) == before and [module.training for module in model.modules()] == modes
