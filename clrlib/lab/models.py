"""The networks of the course: ResNets for CIFAR-10 as published, a quick ResNet-9, and a tiny net for CPUs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from clrlib.validate import count


class Block(nn.Module):
    """Two 3x3 convolutions with a shortcut around them (He et al. 2015, arXiv:1512.03385, section 4.2)."""

    def __init__(self, inside: int, outside: int, stride: int, projection: bool):
        super().__init__()
        self.conv1, self.norm1 = conv(inside, outside, stride=stride), nn.BatchNorm2d(outside)
        self.conv2, self.norm2 = conv(outside, outside), nn.BatchNorm2d(outside)
        self.stride, self.extra = stride, outside - inside
        changes = stride != 1 or inside != outside
        self.project = nn.Sequential(conv(inside, outside, 1, stride), nn.BatchNorm2d(outside)) if projection and changes else None

    def shortcut(self, x):
        """Option A: subsample and pad with zero channels, no parameters. Option B: a 1x1 projection."""
        if self.project is not None:
            return self.project(x)
        if self.extra or self.stride != 1:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.extra // 2, self.extra - self.extra // 2))
        return x

    def forward(self, x):
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


def resnet(depth: int = 56, classes: int = 10, projection: bool = False) -> nn.Sequential:
    """A ResNet for 32x32 images: 6n + 2 layers of 16, 32 and 64 channels (He et al. 2015, section 4.2).

    853,018 parameters at depth 56 and 269,722 at 20. `projection=True` takes 1x1 convolutions for
    shortcuts, as the article's code does: 855,770 at depth 56.
    """
    if depth < 8 or (depth - 2) % 6:
        raise ValueError(f"depth must be 6n + 2 (8, 14, 20, 32, 44, 56, 110), got {depth}")
    layers, inside = [conv(3, 16), nn.BatchNorm2d(16), nn.ReLU()], 16
    for stage, outside in enumerate((16, 32, 64)):
        for i in range((depth - 2) // 6):
            layers.append(Block(inside, outside, 2 if stage and not i else 1, projection))
            inside = outside
    return he_init(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes)))


class Residual(nn.Module):
    """x + f(x)."""

    def __init__(self, *layers):
        super().__init__()
        self.inner = nn.Sequential(*layers)

    def forward(self, x):
        return x + self.inner(x)


class Scale(nn.Module):
    """Multiply the logits by a constant: softens the softmax at the start (Page 2018, cifar10-fast)."""

    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return x * self.factor


def resnet9(classes: int = 10, width: int = 64) -> nn.Sequential:
    """David Page's ResNet-9 for CIFAR-10 (cifar10-fast, 2018): 6,573,120 parameters at width 64."""
    one, two, four, eight = (width * k for k in (1, 2, 4, 8))
    return nn.Sequential(
        *conv_norm(3, one),
        *conv_norm(one, two, pool=True), Residual(*conv_norm(two, two), *conv_norm(two, two)),
        *conv_norm(two, four, pool=True),
        *conv_norm(four, eight, pool=True), Residual(*conv_norm(eight, eight), *conv_norm(eight, eight)),
        nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(eight, classes, bias=False), Scale(0.125),
    )  # fmt: skip


def tiny(classes: int = 10, width: int = 32) -> nn.Sequential:
    """Four convolutions for two CPU cores: 391,456 parameters at width 32.

    Pooling comes before the norm, so that norm and ReLU see a quarter of the pixels.
    """
    return nn.Sequential(
        *conv_norm(3, width, pool=True), *conv_norm(width, 2 * width, pool=True),
        *conv_norm(2 * width, 4 * width, pool=True), *conv_norm(4 * width, 8 * width),
        nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(8 * width, classes, bias=False), Scale(0.125),
    )  # fmt: skip


MODELS = {
    "tiny": tiny,
    "resnet9": resnet9,
    "resnet20": lambda classes=10: resnet(20, classes),
    "resnet56": lambda classes=10: resnet(56, classes),
    "resnet56-projection": lambda classes=10: resnet(56, classes, projection=True),
}


def build(name: str, classes: int = 10, seed: int = 0) -> nn.Module:
    """A fresh network with weights drawn from `seed`; torch's own random state is left as it was.

    Raises ValueError for an unknown name.
    """
    if name not in MODELS:
        raise ValueError(f"model {name!r} is unknown: choose one of {', '.join(MODELS)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(count("seed", seed, at_least=0))
        return MODELS[name](classes=classes)


def parameters(model: nn.Module) -> int:
    """How many numbers training may change."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def conv(inside: int, outside: int, size: int = 3, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inside, outside, size, stride, padding=size // 2, bias=False)


def conv_norm(inside: int, outside: int, pool: bool = False) -> list[nn.Module]:
    return [conv(inside, outside), *([nn.MaxPool2d(2)] if pool else []), nn.BatchNorm2d(outside), nn.ReLU()]


def he_init(model: nn.Module) -> nn.Module:
    """Normal weights of variance 2 / fan-in (He et al. 2015, arXiv:1502.01852, section 2.2)."""
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return model
