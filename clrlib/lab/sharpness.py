"""Sharpness: the largest eigenvalue of the loss's Hessian; `descent.highest_rate` turns it into the highest stable rate.

Full-batch descent has been found to train on the edge that this rate marks (Cohen et al. 2021, arXiv:2103.00065).
"""

from __future__ import annotations

import contextlib

import torch
import torch.nn.functional as F

from clrlib.lab import cifar as images_of
from clrlib.lab import engine
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
