"""ScheduledLR beside torch's own schedulers, step by step; resumed, extended, and refused."""

import copy
import json
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CyclicLR, LambdaLR, OneCycleLR

from clrlib import schedules as s
from clrlib.scheduler import ScheduledLR, group_shares, set_hyper

SGD = torch.optim.SGD, "momentum", {"momentum": 0.9}
ADAM = torch.optim.Adam, "betas", {"betas": (0.9, 0.98)}
ADAMW = torch.optim.AdamW, "betas", {}


def made(kind, rates=(0.1, 0.1), decays=None, **kwargs):
    """An optimiser with a parameter group for each rate, each with one parameter."""
    groups = []
    for i, rate in enumerate(rates):
        groups.append({"params": [nn.Parameter(torch.tensor([1.0 - 3 * i]))], "lr": rate})
        if decays is not None:
            groups[-1]["weight_decay"] = decays[i]
    return kind(groups, **kwargs)


def walk(optimizer, scheduler, n, key="lr"):
    """Train on a quadratic, one scheduler step after each optimiser step; what each step used."""
    used = []
    for _ in range(n):
        used.append([(float(group["lr"]), group[key]) for group in optimizer.param_groups])
        optimizer.zero_grad()
        sum((p**2).sum() for group in optimizer.param_groups for p in group["params"]).backward()
        optimizer.step()
        scheduler.step()
    return used


def flat(used):
    return np.array([[x for lr, other in row for x in (lr, *np.atleast_1d(other))] for row in used])


def rates(optimizer):
    return [float(group["lr"]) for group in optimizer.param_groups]


def weights(optimizer):
    return [p.tolist() for group in optimizer.param_groups for p in group["params"]]


# --- the oracle: torch's schedulers --------------------------------------------------------------------


@pytest.mark.parametrize("kind, key, kwargs", [SGD, ADAM, ADAMW])
@pytest.mark.parametrize("three_phase", [False, True])
@pytest.mark.parametrize("peaks", [0.8, [0.8, 0.05]], ids=["one rate", "a rate per group"])
def test_it_drives_an_optimizer_as_OneCycleLR_does(kind, key, kwargs, three_phase, peaks):
    ours, theirs = made(kind, **kwargs), made(kind, **kwargs)
    curve = s.one_cycle_torch(1.0, 40, three_phase=three_phase)
    lr = [curve.scaled(peak) for peak in peaks] if isinstance(peaks, list) else curve.scaled(peaks)
    momentum = s.one_cycle_torch_momentum(steps=40, three_phase=three_phase)
    a = walk(ours, ScheduledLR(ours, {"lr": lr, "momentum": momentum}, 40), 40, key)
    theirs_lr = OneCycleLR(theirs, peaks, 40, three_phase=three_phase)
    b = walk(theirs, theirs_lr, 39, key)
    b.append([(group["lr"], group[key]) for group in theirs.param_groups])
    np.testing.assert_allclose(flat(a), flat(b), rtol=1e-9)


@pytest.mark.parametrize("mode, gamma", [("triangular", 1.0), ("triangular2", 1.0), ("exp_range", 0.98)])
def test_it_drives_an_optimizer_as_CyclicLR_does(mode, gamma):
    ours, theirs = made(torch.optim.SGD, momentum=0.9), made(torch.optim.SGD, momentum=0.9)
    a = walk(ours, ScheduledLR(ours, s.cyclic(0.01, 0.3, 50, 6, 9, mode, gamma), 50), 50)
    b = walk(theirs, CyclicLR(theirs, 0.01, 0.3, 6, 9, mode=mode, gamma=gamma, cycle_momentum=False), 50)
    np.testing.assert_allclose(flat(a), flat(b), rtol=1e-12)


@pytest.mark.parametrize("kind, key, kwargs", [SGD, ADAMW])
def test_groups_keep_their_ratio_as_with_LambdaLR(kind, key, kwargs):
    ours, theirs = made(kind, (1e-3, 0.02, 0.0), **kwargs), made(kind, (1e-3, 0.02, 0.0), **kwargs)
    curve = s.one_cycle(0.002, 0.02)
    factors = curve.table(30) / 0.02
    a = walk(ours, ScheduledLR(ours, curve, 30), 30, key)
    b = walk(theirs, LambdaLR(theirs, lambda i: factors[min(i, 29)]), 30, key)
    np.testing.assert_allclose(flat(a), flat(b), rtol=1e-12)
    np.testing.assert_allclose(weights(ours), weights(theirs), rtol=1e-6)
    assert max(rates for row in a for rates, _ in row) == pytest.approx(0.02, rel=0.1)


def test_groups_without_a_rate_above_0_all_get_the_schedules():
    optimizer = made(torch.optim.SGD, (0.0, 0.0))
    ScheduledLR(optimizer, 0.3, 5)
    assert rates(optimizer) == [0.3, 0.3]


def test_the_ratio_holds_where_a_warm_up_starts_at_0_and_for_a_second_scheduler():
    optimizer = made(torch.optim.SGD, (0.05, 0.1))
    walk(optimizer, ScheduledLR(optimizer, s.linear(0, 1), 5), 2)
    ScheduledLR(optimizer, s.linear(0, 1), 5)
    assert rates(optimizer) == [0, 0] and group_shares(optimizer, "lr", "initial_lr") == [0.5, 1]
    ScheduledLR(optimizer, 0.5, 5)
    assert rates(optimizer) == [0.25, 0.5]


def test_hyper_parameters_of_a_list_go_to_their_groups():
    optimizer = made(torch.optim.SGD, (0.1, 0.4), [0.0, 0.3], momentum=0.9)
    hyper = {"lr": [0.3, s.linear(1, 0)], "momentum": (0.5, 0.6), "weight_decay": [0.2, 0.1]}
    walk(optimizer, ScheduledLR(optimizer, hyper, 3), 1)
    names = ("lr", "momentum", "weight_decay")
    found = [[group[name] for name in names] for group in optimizer.param_groups]
    assert found == [[0.3, 0.5, 0.2], [0.5, 0.6, 0.1]]


@pytest.mark.parametrize("decays, expected", [([0.1, 0.0], [0.4, 0.0]), ([0.0, 0.0], [0.4, 0.4])])
def test_a_decay_leaves_alone_the_groups_that_have_none(decays, expected):
    optimizer = made(torch.optim.AdamW, decays=decays)
    ScheduledLR(optimizer, {"lr": 0.1, "weight_decay": s.linear(0.4, 0)}, 5)
    assert [group["weight_decay"] for group in optimizer.param_groups] == expected


def test_a_decay_that_was_scheduled_down_to_0_can_rise_again():
    optimizer = made(torch.optim.SGD, decays=[0.1, 0.0])
    walk(optimizer, ScheduledLR(optimizer, {"lr": 0.1, "weight_decay": s.linear(0.4, 0)}, 5), 5)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0, 0]
    ScheduledLR(optimizer, {"lr": 0.1, "weight_decay": 0.2}, 5)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.2, 0]


# --- what set_hyper sets --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind, key, kwargs", [SGD, ADAM, ADAMW])
def test_hyper_parameters_reach_every_group(kind, key, kwargs):
    optimizer = made(kind, **kwargs)
    second = optimizer.param_groups[0].get("betas", (None, None))[1]
    set_hyper(optimizer, lr=0.3, momentum=0.7, weight_decay=0.01)
    for group in optimizer.param_groups:
        assert (group["lr"], group["weight_decay"]) == (0.3, 0.01)
        assert group[key] == {"momentum": 0.7, "betas": (0.7, second)}[key]
    set_hyper(optimizer, momentum=0.6)
    assert optimizer.param_groups[1]["lr"] == 0.3


def test_a_rate_that_is_a_tensor_is_filled_and_trains_alike():
    ours, theirs = made(torch.optim.Adam), made(torch.optim.Adam)
    tensors = [torch.tensor(0.1, dtype=torch.float64), torch.tensor(0.01, dtype=torch.float64)]
    for optimizer, lrs in ((ours, tensors), (theirs, (0.1, 0.01))):
        for group, lr in zip(optimizer.param_groups, lrs):
            group.update(lr=lr, foreach=False)
    curve = s.linear(0.5, 0.1)
    scheduler = ScheduledLR(ours, curve, 9)
    walk(ours, scheduler, 4)
    walk(theirs, ScheduledLR(theirs, curve, 9), 4)
    assert rates(ours) == rates(theirs)
    np.testing.assert_allclose(weights(ours), weights(theirs), rtol=1e-6)
    scheduler.load_state_dict(scheduler.state_dict() | {"last_epoch": 8})
    assert all(group["lr"] is tensor for group, tensor in zip(ours.param_groups, tensors))
    assert rates(ours) == pytest.approx([0.1, 0.01])


def test_betas_that_are_tensors_are_filled():
    betas = torch.tensor(0.9), torch.tensor(0.99)
    group = {"params": [nn.Parameter(torch.ones(1))], "lr": torch.tensor(0.1), "betas": betas}
    optimizer = torch.optim.Adam([group], capturable=True, foreach=False)
    set_hyper(optimizer, momentum=0.5)
    assert all(one is other for one, other in zip(optimizer.param_groups[0]["betas"], betas))
    assert betas[0] == 0.5


# --- a run that stops and goes on -----------------------------------------------------------------------


CURVES = {"lr": s.one_cycle(0.1, 1.0), "momentum": s.one_cycle_momentum(), "weight_decay": s.linear(0.1, 0)}


@pytest.mark.parametrize("kind, key, kwargs", [SGD, ADAMW])
@pytest.mark.parametrize("at", [0, 13, 29, 30])
@pytest.mark.parametrize("order", ["first", "last"])
def test_a_resumed_run_is_bit_for_bit_the_whole_one(kind, key, kwargs, at, order):
    """Saved as JSON; the new scheduler is made before the optimiser's state is loaded, or after it."""
    groups = {"rates": (0.003, 0.1), "decays": [0.1, 0.0], **kwargs}
    whole, half, new = (made(kind, **groups) for _ in range(3))
    expected = walk(whole, ScheduledLR(whole, CURVES, 30), 30, key)
    scheduler = ScheduledLR(half, CURVES, 30)
    used = walk(half, scheduler, at, key)
    saved = json.loads(json.dumps(scheduler.state_dict()))
    for old, fresh in zip(half.param_groups, new.param_groups):
        fresh["params"][0].data.copy_(old["params"][0].data)
    again = ScheduledLR(new, CURVES, 30) if order == "first" else None
    new.load_state_dict(copy.deepcopy(half.state_dict()))
    again = again or ScheduledLR(new, CURVES, 30)
    again.load_state_dict(saved)
    assert again.remaining == 30 - at
    assert used + walk(new, again, 30 - at, key) == expected
    assert weights(new) == weights(whole)
    assert again.get_last_lr() == rates(new) == rates(whole)
    assert [g["weight_decay"] for g in new.param_groups] == [g["weight_decay"] for g in whole.param_groups]


OTHERS = {
    "steps": ({"lr": s.linear(1, 0)}, 20, "steps was 30, here it is 20"),
    "values": ({"lr": s.linear(1, 0.5)}, 30, r"schedules.lr.values\[1\] was 0.0, here it is 0.5"),
    "eases": ({"lr": s.cosine(1, 0)}, 30, r"schedules.lr.eases\[0\] was 'linear', here it is 'cosine'"),
    "more": ({"lr": s.linear(1, 0), "momentum": 0.9}, 30, "schedules had lr, here lr, momentum"),
    "a function": ({"lr": lambda progress: 1 - progress}, 30, "here it is 'a function'"),
    "a list": ({"lr": [s.linear(1, 0), s.linear(1, 0)]}, 30, "schedules.lr was {'knots'"),
}


@pytest.mark.parametrize("schedules, steps, message", OTHERS.values(), ids=OTHERS)
def test_the_state_of_another_schedule_is_refused(schedules, steps, message):
    optimizer = made(torch.optim.SGD, momentum=0.9)
    old = ScheduledLR(optimizer, s.linear(1, 0), 30)
    walk(optimizer, old, 7)
    other = ScheduledLR(optimizer, schedules, steps)
    with pytest.raises(ValueError, match=message) as refused:
        other.load_state_dict(old.state_dict())
    assert "last_epoch=6" in str(refused.value) and other.last_epoch == 0


def test_what_is_no_state_of_it_is_refused():
    optimizer = made(torch.optim.SGD, momentum=0.9)
    with pytest.raises(ValueError, match="not the state of a ScheduledLR"):
        ScheduledLR(optimizer, 0.1, 30).load_state_dict(OneCycleLR(optimizer, 0.1, 30).state_dict())


def test_a_function_goes_on_where_it_was():
    optimizer = made(torch.optim.SGD)
    old = ScheduledLR(optimizer, lambda progress: 1 - progress, 11)
    walk(optimizer, old, 4)
    again = ScheduledLR(optimizer, lambda progress: 1 - progress, 11)
    again.load_state_dict(json.loads(json.dumps(old.state_dict())))
    assert rates(optimizer) == pytest.approx([0.6, 0.6])


@pytest.mark.parametrize("at", [0, 6, 10])
def test_a_longer_run_goes_on_as_the_refusal_says(at):
    """Ten steps were planned; five more follow, and what is left of the ten stays as it was."""
    optimizer, curve = made(torch.optim.SGD, (0.01, 0.1)), s.one_cycle(0.1, 1.0)
    planned = curve.table(10)
    longer = s.join([curve, s.linear(curve.values[-1], 0)], [9, 5])
    old = ScheduledLR(optimizer, curve, 10)
    walk(optimizer, old, at)
    with pytest.raises(ValueError, match=f"last_epoch={at - 1}"):
        ScheduledLR(optimizer, longer, 15).load_state_dict(old.state_dict())
    used = walk(optimizer, ScheduledLR(optimizer, longer, 15, last_epoch=at - 1), 15 - at)
    expected = [*planned[at:], *s.linear(planned[-1], 0).table(6)[1:]]
    np.testing.assert_allclose(
        [[lr for lr, _ in row] for row in used], np.outer(expected, [0.1, 1]), atol=1e-12
    )


# --- its end ----------------------------------------------------------------------------------------------


def test_past_its_end_it_keeps_the_last_values_and_says_so_once():
    optimizer = made(torch.optim.SGD, momentum=0.9)
    scheduler = ScheduledLR(optimizer, {"lr": s.one_cycle(0.1, 1), "momentum": s.linear(0.9, 0.5)}, 10)
    with pytest.warns(UserWarning, match="made for 10 steps and is over") as warned:
        used = walk(optimizer, scheduler, 25, "momentum")
    assert len(warned) == 1 and warned[0].filename == __file__
    assert used[9:] == [used[9]] * 16 and used[9][0] == pytest.approx((0.01, 0.5))


def test_a_run_of_the_planned_length_ends_without_a_warning_and_nothing_remains():
    optimizer = made(torch.optim.SGD)
    scheduler = ScheduledLR(optimizer, s.linear(1, 0), 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        walk(optimizer, scheduler, 4)
        assert scheduler.remaining == 6
        walk(optimizer, scheduler, 6)
    assert scheduler.remaining == 0


# --- refused -----------------------------------------------------------------------------------------------


BAD = {
    "falls below 0": ({"lr": s.linear(0.1, -1)}, "lr runs from -1"),
    "no rate": ({"momentum": 0.9}, 'needs "lr"'),
    "unknown": ({"lr": 0.1, "dropout": 0.5}, "'dropout' can't be scheduled"),
    "too few": ({"lr": [0.1]}, "lr has 1 schedules, but the optimizer has 2 parameter groups"),
    "one of a list": ({"lr": [0.1, -0.2]}, "lr runs from -0.2"),
}


@pytest.mark.parametrize("schedules, message", BAD.values(), ids=BAD)
def test_what_cannot_work_is_named_before_the_optimizer_changes(schedules, message):
    optimizer = made(torch.optim.SGD)
    with pytest.raises(ValueError, match=message):
        ScheduledLR(optimizer, schedules, 10)
    assert rates(optimizer) == [0.1, 0.1] and "initial_lr" not in optimizer.param_groups[0]


@pytest.mark.parametrize(
    "kind, name", [(torch.optim.Adagrad, "momentum"), (torch.optim.Rprop, "weight_decay")]
)
def test_a_hyper_parameter_that_the_optimizer_lacks_is_named(kind, name):
    with pytest.raises(ValueError, match=f"{kind.__name__} has no {name}"):
        ScheduledLR(made(kind), {"lr": 0.1, name: 0.9}, steps=5)
