"""Schedule-free SGD (Defazio et al. 2024, arXiv:2405.15682): an average of the weights in place of a falling rate."""

from __future__ import annotations

import contextlib

import torch
from torch import nn


class ScheduleFreeSGD(torch.optim.Optimizer):
    """SGD on weights z, their running average x, and gradients taken between the two, at y (algorithm 1 of the paper).

        y = (1 - momentum) z + momentum x          what the parameters hold while training
        z <- z - lr (gradient(y) + weight_decay y)
        x <- (1 - c) x + c z,  c = m^2 / (the sum of all m^2 so far),  m = the highest lr so far

    The rate is held constant, or warmed up to a constant. Measure at x: `with optimizer.averaged(): ...`.

    lr, momentum, weight_decay  of every parameter group; they may be changed between steps
    """

    def __init__(self, params, lr: float = 1.0, momentum: float = 0.9, weight_decay: float = 0.0):
        if not 0 < momentum < 1:
            raise ValueError(f"momentum must lie between 0 and 1, got {momentum}: 0.9 is usual")
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "highest": 0.0, "total": 0.0})

    @torch.no_grad()
    def step(self, closure=None):
        """One update of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            share = self._share(group)
            for y in (p for p in group["params"] if p.grad is not None):
                state = self._state_of(y)
                z, x = state["z"], state["x"]
                z.sub_(y.grad + group["weight_decay"] * y, alpha=float(group["lr"]))
                x.lerp_(z, share)
                y.copy_(torch.lerp(z, x, group["momentum"]))
        return loss

    @contextlib.contextmanager
    def averaged(self):
        """Inside, the parameters hold the average x; afterwards they are as before."""
        pairs = [(p, self.state[p]["x"]) for group in self.param_groups for p in group["params"] if self.state[p]]
        before = [p.detach().clone() for p, _ in pairs]
        with torch.no_grad():
            for p, x in pairs:
                p.copy_(x)
        try:
            yield
        finally:
            with torch.no_grad():
                for (p, _), value in zip(pairs, before):
                    p.copy_(value)

    def _state_of(self, parameter) -> dict:
        state = self.state[parameter]
        if not state:
            state["z"], state["x"] = parameter.detach().clone(), parameter.detach().clone()
        return state

    @staticmethod
    def _share(group) -> float:
        """How much of the newest weights goes into the average; 0 as long as the rate has been 0."""
        group["highest"] = max(group["highest"], float(group["lr"]))
        weight = group["highest"] ** 2
        group["total"] += weight
        return weight / group["total"] if weight else 0.0


@contextlib.contextmanager
def recalibrated(model: nn.Module, batches, forward=None):
    """Inside, batch norm's running statistics are the plain means over `batches` (images alone); afterwards as before.

    forward  how a batch is run; None: model(images)

    Averaged weights have activations of their own, which the statistics gathered in training don't fit. A model without
    batch norm is left as it is.
    """
    layers = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    kept = [(layer, layer.momentum, {name: value.clone() for name, value in layer.named_buffers()}) for layer in layers]
    modes = [(module, module.training) for module in model.modules()]
    try:
        if layers:
            _gather(model, layers, batches, forward or model)
        yield
    finally:
        for layer, momentum, buffers in kept:
            layer.momentum = momentum
            for name, value in buffers.items():
                getattr(layer, name).copy_(value)
        for module, mode in modes:
            module.training = mode


@torch.no_grad()
def _gather(model, layers, batches, forward):
    """Let batch norm see the batches, each counting alike."""
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None
    model.train()
    for images in batches:
        forward(images)
