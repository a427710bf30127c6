"""Measurements of a network in training: sharpness, the noise of its gradient, the largest batch that a GPU holds."""

from __future__ import annotations

import contextlib
import copy
import gc
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F

from clrlib.lab import cifar as images_of
from clrlib.lab import engine
from clrlib.theory.batch_size import Noise, noise_of
from clrlib.validate import count


def sharpness(
    model, split, images: int = 256, iterations: int = 30, tolerance: float = 1e-2, seed: int = 0, relative: bool = False
) -> float:
    """The largest Hessian eigenvalue of the mean cross-entropy on the first `images` images of `split`, not augmented.

    By power iteration on Hessian-vector products (Pearlmutter 1994), in the weights' own type, fp32 as a rule:
    v = H v / |H v|, until v . H v moves by less than `tolerance` of itself, or `iterations` are done. Batch norm uses
    the batch's own statistics, as in training; its running ones and the model's mode are given back.
    It finds the eigenvalue of largest size, whose sign is kept.

    relative  of the Hessian in relative coordinates: each filter's weights in units of their own length (each other
              parameter in units of its size). Batch norm makes the scale of a filter mean nothing, and the plain
              eigenvalue falls with its square; this one does not move (after Kwon et al. 2021, arXiv:2102.11600, filter-wise)
    """
    chosen = split.subset(torch.arange(min(count("images", images, at_least=2), len(split))))
    inputs = images_of.normalise(chosen.images)
    parameters = [p for p in model.parameters() if p.requires_grad]
    with engine.mode(model, training=True), _buffers_kept(model):
        loss = F.cross_entropy(engine.run(model, inputs), chosen.labels)
        gradients = torch.autograd.grad(loss, parameters, create_graph=True)
        scales = [_filter_length(p) if relative else torch.ones_like(p) for p in parameters]

        def product(vector):
            image = _product(gradients, parameters, [scale * v for scale, v in zip(scales, vector)])
            return [scale * part for scale, part in zip(scales, image)]

        return _largest(product, parameters, count("iterations", iterations), tolerance, seed)


def _filter_length(parameter):
    """The length of each filter (first axis) of a weight, in the weight's shape; the size of each value of a vector."""
    if parameter.ndim < 2:
        return parameter.detach().abs()
    lengths = parameter.detach().flatten(1).norm(dim=1)
    return lengths.view(-1, *[1] * (parameter.ndim - 1)).expand_as(parameter)


def _largest(product, like, iterations, tolerance, seed) -> float:
    """The eigenvalue of largest size of a linear map, given as a function of a list of tensors."""
    generator = torch.Generator().manual_seed(seed)
    vector = _unit([torch.randn(p.shape, generator=generator).to(p) for p in like])
    value = float("nan")
    for _ in range(iterations):
        image = product(vector)
        before, value = value, float(_dot(vector, image))
        if abs(value - before) <= tolerance * abs(value):
            break
        vector = _unit(image)
    return value


def _product(gradients, parameters, vector):
    """The Hessian times a vector: the gradient of (gradient . vector)."""
    products = torch.autograd.grad(_dot(gradients, vector), parameters, retain_graph=True, materialize_grads=True)
    return [product.detach() for product in products]


def _dot(a, b):
    return sum((x * y).sum() for x, y in zip(a, b))


def _unit(vector):
    length = _dot(vector, vector).sqrt().clamp_min(1e-30)
    return [x / length for x in vector]


@contextlib.contextmanager
def _buffers_kept(model):
    """All buffers as before afterwards: a pass in train mode moves batch norm's running statistics."""
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)


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


def largest_batch(model, split, recipe, most: int | None = None) -> int:
    """The largest batch (of 8, 16, 24, ... images, at most `most`) whose training step fits into memory; 0 if none does.

    It is tried on a copy of the model with an optimiser of its own; nothing else changes. Without a GPU the system
    would end the process rather than refuse memory, so there it raises RuntimeError.
    """
    if split.images.device.type != "cuda":
        raise RuntimeError("largest_batch needs a GPU: on a CPU the system ends a process that takes too much memory")
    most = min(most or len(split), len(split))
    return largest_that_fits(lambda size: fits(model, split, recipe, size), most)


def largest_that_fits(try_size, most: int, step: int = 8) -> int:
    """The largest multiple of `step` up to `most` for which try_size(size) is true, if it is so for all smaller ones; 0 if none.

    Doubles until it fails, then halves the gap: about 2 log2(most / step) tries.
    """
    good, bad = 0, count("most", most, at_least=1) // step + 1  # in units of `step`
    size = 1
    while size < bad:
        if not try_size(size * step):
            bad = size
            break
        good, size = size, size * 2
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if try_size(middle * step) else (good, middle)
    return good * step


def fits(model, split, recipe, batch_size: int) -> bool:
    """Whether two training steps with `batch_size` images fit into memory; what they took is given back."""
    try:
        _two_steps(copy.deepcopy(model), split, replace(recipe, batch_size=batch_size))
        return True
    except torch.OutOfMemoryError:
        return False
    finally:
        give_back()


def give_back():
    """Return the memory that nothing uses any more to the GPU."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _two_steps(model, split, recipe):
    device = split.images.device
    recipe = engine.resolved(recipe, device)
    train_step = engine.Eager(engine.place(model, device, recipe.channels_last).train(), split, recipe)
    plan = images_of.plan_epoch(len(split), recipe.batch_size, 0, 0, device)
    for _ in range(2):
        train_step(plan, 0, {"lr": 0.0, "momentum": 0.9, "weight_decay": 0.0})
