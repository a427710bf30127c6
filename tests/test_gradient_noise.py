import numpy as np
import pytest
import torch
import torch.nn.functional as F

from clrlib.lab import cifar as images_of
from clrlib.lab import probes as gradient_noise


def one_by_one(model, split):
    """The gradient of every image alone, by backward(): [images, weights]."""
    rows = []
    for i in range(len(split)):
        model.zero_grad()
        F.cross_entropy(model(images_of.normalise(split.images[i : i + 1])), split.labels[i : i + 1]).backward()
        rows.append(torch.cat([p.grad.reshape(-1) for p in model.parameters()]))
    return torch.stack(rows)


def test_a_batchs_gradient_is_the_mean_of_its_images(data, small_model, monkeypatch):
    each = one_by_one(small_model().eval(), data.train)
    index = torch.tensor([3, 3, 7, 11, 49])
    for chunk in (1024, 2):
        monkeypatch.setattr(gradient_noise, "CHUNK", chunk)
        model = small_model()
        torch.testing.assert_close(gradient_noise.gradient(model, data.train, index), each[index].mean(dim=0), rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(gradient_noise.gradient(model, data.train), each.mean(dim=0), rtol=1e-3, atol=1e-5)


def test_the_measured_spread_is_that_of_the_single_images(data, small_model):
    each = one_by_one(small_model().eval(), data.train)
    spread = float((each - each.mean(dim=0)).square().sum(dim=1).mean())
    found = gradient_noise.measure(small_model(), data.train, sizes=(2, 8), repeats=150)
    assert found.spread == pytest.approx(spread, rel=0.15)
    assert found.length == pytest.approx(float(each.mean(dim=0).square().sum()), rel=1e-3)


def test_measuring_leaves_the_model_alone_and_repeats_itself(data, small_model):
    model = small_model().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    first, second = (gradient_noise.errors(model, data.train, (4, 16), repeats=3, seed=5) for _ in range(2))
    assert model.training and all(p.grad is None for p in model.parameters()) and torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert first[1] == second[1] and all(np.array_equal(first[0][size], second[0][size]) and len(first[0][size]) == 3 for size in (4, 16))


def test_no_batch_and_no_repeat_are_refused(data, small_model):
    with pytest.raises(ValueError, match="size must be at least 1, got 0"):
        gradient_noise.errors(small_model(), data.train, (0,))
    with pytest.raises(ValueError, match="repeats must be at least 1, got 0"):
        gradient_noise.errors(small_model(), data.train, (4,), repeats=0)
