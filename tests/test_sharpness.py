"""Power iteration against the whole Hessian."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from clrlib.lab.cifar import normalise
from clrlib.lab.probes import _largest, sharpness


def small(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(3, 2, 5, stride=9), nn.BatchNorm2d(2), nn.Tanh(), nn.Flatten(), nn.LazyLinear(10))


def whole_hessian(model, split):
    """The Hessian of the loss in train mode, entry by entry, in float64."""
    inputs, names = normalise(split.images).double(), [name for name, _ in model.named_parameters()]
    shapes = [p.shape for p in model.parameters()]
    buffers = {name: b.clone() for name, b in model.named_buffers()}

    def loss(flat):
        values, at = {}, 0
        for name, shape in zip(names, shapes):
            values[name] = flat[at : at + shape.numel()].view(shape)
            at += shape.numel()
        return F.cross_entropy(functional_call(model.train(), values | {k: v.clone() for k, v in buffers.items()}, (inputs,)), split.labels)

    return torch.autograd.functional.hessian(loss, torch.cat([p.detach().flatten() for p in model.parameters()]))


@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_largest_eigenvalue_of_the_whole_hessian(seed, make_split):
    split, model = make_split(20, seed=seed), small(seed)
    model(normalise(split.images))
    model.double()
    values = torch.linalg.eigvalsh(whole_hessian(model, split))
    expected = values[values.abs().argmax()]
    assert sharpness(model, split, images=20, iterations=500, tolerance=1e-8) == pytest.approx(float(expected), rel=1e-3)


@pytest.mark.parametrize("values", [[3.0, 1.0, -2.0], [-5.0, 1.0, 4.0], [2.0]])
def test_power_iteration_finds_the_largest_of_known_eigenvalues(values):
    turn, _ = torch.linalg.qr(torch.randn(len(values), len(values), dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    matrix = turn @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ turn.T
    found = _largest(lambda v: [matrix @ v[0]], [matrix[0]], 300, 1e-12, 0)
    assert found == pytest.approx(max(values, key=abs), rel=1e-6)


def test_it_changes_nothing_in_the_model(make_split):
    split, model = make_split(20), small()
    model(normalise(split.images))
    model.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    sharpness(model, split, images=20, iterations=3)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module.training for module in model.modules()) and torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("wrong", [{"images": 1}, {"iterations": 0}])
def test_a_measurement_needs_images_and_iterations(wrong, make_split):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be at least"):
        sharpness(small(), make_split(20), **wrong)


@pytest.mark.parametrize("seed", range(3))
def test_relative_it_is_the_largest_eigenvalue_between_the_filters_lengths(seed, make_split):
    split, model = make_split(20, seed=seed), small(seed)
    model(normalise(split.images))
    model.double()
    lengths = []
    for p in model.parameters():
        rows = p.detach().flatten(1) if p.ndim > 1 else p.detach()[:, None]
        lengths.append((rows.square().sum(1, keepdim=True).sqrt().expand_as(rows)).flatten())
    scale = torch.cat(lengths)
    values = torch.linalg.eigvalsh(scale[:, None] * whole_hessian(model, split) * scale)
    expected = values[values.abs().argmax()]
    found = sharpness(model, split, images=20, iterations=800, tolerance=1e-9, relative=True)
    assert found == pytest.approx(float(expected), rel=1e-3)


def test_relative_sharpness_does_not_move_with_the_scale_that_batch_norm_takes_out(make_split):
    split, model = make_split(20), small()
    model(normalise(split.images))
    model.double()
    model[1].eps = 1e-12
    measures = {}
    for factor in (1.0, 4.0):
        with torch.no_grad():
            model[0].weight.mul_(factor)
            model[0].bias.mul_(factor)
        measures[factor] = [sharpness(model, split, 20, 500, 1e-8, relative=relative) for relative in (True, False)]
    assert measures[4.0][0] == pytest.approx(measures[1.0][0], rel=1e-4)
    assert measures[4.0][1] != pytest.approx(measures[1.0][1], rel=1e-2), "the plain one moves"
