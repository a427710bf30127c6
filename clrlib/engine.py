"""One training step and what it needs: device, precision, optimiser. Eager; the loop around it is `training`."""

from __future__ import annotations

import contextlib
import functools
import time

import torch
import torch.nn.functional as F

OPTIMIZERS = ("sgd", "adamw")
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def pick_device() -> torch.device:
    """The first CUDA GPU, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def pick_precision(device) -> str:
    """ "bf16" where the hardware is fast at it, else "fp16" on a GPU and "fp32" on a CPU.

    A CPU is asked by a probe of under a second; the answer is kept for the session.
    """
    if torch.device(device).type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return _probe_cpu()


def autocast(device, precision: str):
    """The mixed-precision context of a step; no context for "fp32". Raises ValueError for an unknown precision."""
    if precision not in PRECISIONS:
        raise ValueError(f"precision {precision!r} is unknown: choose auto, {', '.join(PRECISIONS)}")
    if precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(torch.device(device).type, PRECISIONS[precision])


def grad_scaler(device, precision: str) -> torch.amp.GradScaler:
    """Scales fp16's loss so that small gradients survive; does nothing in the other precisions."""
    return torch.amp.GradScaler(torch.device(device).type, enabled=precision == "fp16")


def make_optimizer(model, name: str, nesterov: bool = False) -> torch.optim.Optimizer:
    """SGD with momentum, or AdamW. The rates given here are placeholders: `set_hyper` sets them before each step."""
    if name == "sgd":
        return torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9, nesterov=nesterov)
    if name == "adamw":
        return torch.optim.AdamW(model.parameters(), lr=0.0, betas=(0.9, 0.99))
    raise ValueError(f"optimizer {name!r} is unknown: choose one of {', '.join(OPTIMIZERS)}")


def set_hyper(optimizer, lr=None, momentum=None, weight_decay=None):
    """Set the hyper-parameters of every parameter group for the coming step.

    `momentum` is the first beta for optimisers of the Adam family.
    """
    for group in optimizer.param_groups:
        if lr is not None:
            group["lr"] = lr
        if weight_decay is not None:
            group["weight_decay"] = weight_decay
        if momentum is not None and "betas" in group:
            group["betas"] = (momentum, *group["betas"][1:])
        elif momentum is not None:
            group["momentum"] = momentum


def place(model, device, channels_last: bool = True):
    """The model on `device`, its weights in channels-last memory or in torch's usual order."""
    return model.to(device, memory_format=torch.channels_last if channels_last else torch.contiguous_format)


def forward(model, images, labels, precision="fp32", label_smoothing=0.0):
    """(mean cross-entropy in fp32, logits) of one batch, the network itself run in `precision`."""
    with autocast(images.device, precision):
        logits = model(images)
    return F.cross_entropy(logits.float(), labels, label_smoothing=label_smoothing), logits


def train_step(model, optimizer, scaler, images, labels, precision="fp32", label_smoothing=0.0):
    """Forward, backward, update. Returns (loss, accuracy in [0, 1]) of the batch before the update, still on the device."""
    loss, logits = forward(model, images, labels, precision, label_smoothing)
    optimizer.zero_grad(set_to_none=True)
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    return loss.detach(), (logits.detach().argmax(1) == labels).float().mean()


@functools.lru_cache(maxsize=1)
def _probe_cpu() -> str:
    """Time a few convolutions in both precisions; bf16 must be clearly faster to be chosen."""
    with torch.random.fork_rng(devices=[]):  # weights and images are drawn, and the session's random state stays
        model = torch.nn.Conv2d(64, 64, 3, padding=1, bias=False).to(memory_format=torch.channels_last)
        images = torch.randn(64, 64, 16, 16).to(memory_format=torch.channels_last)
    seconds = {"fp32": [], "bf16": []}
    for _ in range(5):
        for precision, times in seconds.items():
            start = time.perf_counter()
            with autocast("cpu", precision):
                model(images).float().sum().backward()
            times.append(time.perf_counter() - start)
    return "bf16" if min(seconds["bf16"]) < 0.8 * min(seconds["fp32"]) else "fp32"
