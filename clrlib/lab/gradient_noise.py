"""How noisy the gradient of a batch is: measured, by drawing many batches from a pool of images."""

from __future__ import annotations

import numpy as np
import torch

from clrlib.lab import cifar as images_of
from clrlib.lab import engine
from clrlib.theory.batch_size import Noise, noise_of
from clrlib.validate import count

CHUNK = 1024  # images at a time: what a large pool takes of memory


def gradient(model, split, index=None) -> torch.Tensor:
    """The gradient of the mean cross-entropy over the images at `index` (all of them by default), flat, shape [weights].

    No augmentation, and eval mode: BatchNorm then uses its running statistics, so that a batch's gradient is exactly
    the mean of its images' gradients. The model, its gradients and its modes stay as they were.
    """
    index = torch.arange(len(split), device=split.labels.device) if index is None else index
    weights = [p for p in model.parameters() if p.requires_grad]
    total = torch.zeros(sum(p.numel() for p in weights), device=split.labels.device)
    with engine.mode(model, training=False):
        for part in index.split(CHUNK):
            loss, _ = engine.forward(model, images_of.normalise(split.images[part]), split.labels[part])
            gradients = torch.autograd.grad(loss, weights)
            total += torch.cat([g.reshape(-1) for g in gradients]) * (len(part) / len(index))
    return total


def errors(model, split, sizes, repeats: int = 20, seed: int = 0) -> tuple[dict[int, np.ndarray], float]:
    """Batch size -> squared distances of `repeats` batches' gradients from the pool's own; and that one's squared length.

    Batches are drawn with replacement, so that their images are independent; the mean distance is then spread / size exactly.
    """
    random = torch.Generator().manual_seed(count("seed", seed, at_least=0))
    true, found = gradient(model, split), {}
    for size in sizes:
        drawn = torch.randint(len(split), (count("repeats", repeats), count("size", size)), generator=random).to(split.labels.device)
        found[size] = np.array([float((gradient(model, split, index) - true).square().sum()) for index in drawn])
    return found, float(true.square().sum())


def measure(model, split, sizes=(16, 64, 256), repeats: int = 20, seed: int = 0) -> Noise:
    """The noise of the model's gradient over the pool `split`, from batches of several sizes."""
    return noise_of(*errors(model, split, sizes, repeats, seed))
