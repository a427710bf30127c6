import pytest
import torch
import torch.nn.functional as F
from torch import nn

from clrlib.lab import engine
from clrlib.scheduler import set_hyper


def test_nesterov_is_torchs():
    assert engine.make_optimizer(nn.Linear(2, 1), "sgd", nesterov=True).param_groups[0]["nesterov"] is True


@pytest.mark.parametrize("call, message", [
    (lambda: engine.make_optimizer(nn.Linear(2, 1), "lion"), "'lion' is unknown: choose one of sgd, adamw"),
    (lambda: engine.autocast("cpu", "fp8"), "'fp8' is unknown"),
])  # fmt: skip
def test_an_unknown_name_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_step_returns_loss_and_accuracy_before_the_update():
    model = nn.Linear(3, 4)
    images, labels = torch.randn(8, 3), torch.arange(8) % 4
    with torch.no_grad():
        logits = model(images)
    expected, weight = F.cross_entropy(logits, labels), model.weight.detach().clone()
    optimizer = engine.make_optimizer(model, "sgd")
    set_hyper(optimizer, lr=0.5, momentum=0.0)
    loss, accuracy = engine.train_step(model, optimizer, engine.grad_scaler("cpu", "fp32"), images, labels)
    assert loss == expected and accuracy == (logits.argmax(1) == labels).float().mean() and not loss.requires_grad
    by_hand = weight - 0.5 / 8 * (logits.softmax(1) - F.one_hot(labels, 4)).T @ images
    torch.testing.assert_close(model.weight.detach(), by_hand)


def test_gradients_of_the_last_step_are_not_kept():
    model = nn.Linear(3, 4)
    optimizer, scaler = engine.make_optimizer(model, "sgd"), engine.grad_scaler("cpu", "fp32")
    batch = torch.randn(8, 3), torch.arange(8) % 4
    grads = []
    for _ in range(2):  # at a rate of 0 both steps have the same gradient
        engine.train_step(model, optimizer, scaler, *batch)
        grads.append(model.weight.grad.clone())
    assert torch.equal(*grads)


@pytest.mark.parametrize("precision, dtype", [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_a_precision_is_the_dtype_of_the_forward_pass(precision, dtype):
    with engine.autocast("cpu", precision):
        assert nn.Linear(3, 4)(torch.randn(2, 3)).dtype == dtype


@pytest.mark.parametrize("precision, enabled", [("fp32", False), ("bf16", False), ("fp16", True)])
def test_only_fp16_is_scaled(precision, enabled):
    assert engine.grad_scaler("cpu", precision).is_enabled() == enabled


@pytest.mark.parametrize("avx512, amx, expected", [(False, False, "fp32"), (True, False, "bf16"), (False, True, "bf16")])
def test_a_cpu_takes_bf16_where_it_has_instructions_for_it(avx512, amx, expected, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    assert engine.pick_precision("cpu") == expected


def test_a_torch_that_does_not_know_the_instructions_means_fp32(monkeypatch):
    for name in engine.BF16_INSTRUCTIONS:
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert engine.pick_precision("cpu") == "fp32"
