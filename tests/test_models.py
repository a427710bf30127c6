import pytest
import torch
import torch.nn.functional as F

from clrlib.lab import models

PARAMETERS = {"tiny": 391_456, "resnet9": 6_573_120, "resnet20": 269_722, "resnet56": 853_018, "resnet56-projection": 855_770}


@pytest.mark.parametrize("name, expected", PARAMETERS.items())
def test_parameter_counts_are_the_published_ones(name, expected):
    assert models.parameters(models.build(name)) == expected


def test_every_model_is_counted():
    assert set(PARAMETERS) == set(models.MODELS)


@pytest.mark.parametrize("name", ["tiny", "resnet9", "resnet20", "resnet56-projection"])
@pytest.mark.parametrize("classes", [10, 3])
def test_a_batch_becomes_a_logit_per_class(name, classes):
    model = models.build(name, classes)
    out = model(torch.randn(2, 3, 32, 32))
    out.sum().backward()
    assert out.shape == (2, classes) and all(p.grad is not None for p in model.parameters())


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize("name", ["tiny", "resnet20"])
def test_a_seed_fixes_the_weights_and_leaves_torchs_random_state(name):
    torch.manual_seed(7)
    state = torch.get_rng_state()
    first = weights(models.build(name, seed=3))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(8)
    assert torch.equal(weights(models.build(name, seed=3)), first)
    assert not torch.equal(weights(models.build(name, seed=4)), first)


@pytest.mark.parametrize("inside, outside, stride", [(16, 32, 2), (4, 4, 1), (3, 6, 2)])
def test_option_A_subsamples_and_pads_with_zero_channels(inside, outside, stride):
    x = torch.randn(2, inside, 8, 8)
    short = models.Block(inside, outside, stride, projection=False).shortcut(x)
    expected, first = torch.zeros(2, outside, 8 // stride, 8 // stride), (outside - inside) // 2
    for channel in range(inside):
        for row in range(8 // stride):
            for column in range(8 // stride):
                expected[:, first + channel, row, column] = x[:, channel, row * stride, column * stride]
    assert torch.equal(short, expected)


def test_a_block_adds_its_shortcut_before_the_last_relu():
    block = models.Block(4, 8, 2, projection=False).eval()
    x = torch.randn(2, 4, 8, 8)
    inner = F.relu(F.conv2d(x, block.conv1.weight, stride=2, padding=1) / (1 + 1e-5) ** 0.5)
    expected = F.relu(F.conv2d(inner, block.conv2.weight, padding=1) / (1 + 1e-5) ** 0.5 + block.shortcut(x))
    torch.testing.assert_close(block(x), expected)


def test_a_projection_stands_only_where_the_shape_changes():
    assert models.Block(4, 8, 2, projection=True).project is not None and models.Block(8, 8, 1, projection=True).project is None


def test_resnets_start_with_he_initialisation():
    layer = models.build("resnet56")[-8]
    assert layer.conv1.weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)


def test_frozen_parameters_are_not_counted():
    model = models.build("tiny")
    model[0].weight.requires_grad_(False)
    assert models.parameters(model) == PARAMETERS["tiny"] - 3 * 32 * 9


@pytest.mark.parametrize("depth", [0, 7, 9, 55, -4])
def test_an_impossible_depth_is_named(depth):
    with pytest.raises(ValueError, match=f"6n \\+ 2 .* got {depth}"):
        models.resnet(depth)


def test_an_unknown_name_is_named_with_the_choices():
    with pytest.raises(ValueError, match="'resnet57' is unknown: choose one of tiny, resnet9"):
        models.build("resnet57")
    with pytest.raises(ValueError, match="seed must be at least 0, got -1"):
        models.build("tiny", seed=-1)
