import numpy as np
import pytest
import torch
import torchvision.transforms.functional as TF
from torchvision.transforms import Normalize

from clrlib.lab import cifar as d
from clrlib.lab import download as cifar10
from clrlib.lab.cifar import Data, Plan, Split

# --- augmentation against torchvision -----------------------------------------------------------------------


@pytest.mark.parametrize("size", [32, 8])
def test_crops_and_flips_are_torchvisions(size, make_split):
    split = make_split(81, size=size)
    top, left, flip = torch.arange(81) // 9, torch.arange(81) % 9, torch.arange(81) % 2 == 0
    ours = d.crop_and_flip(split.crops, torch.arange(81), top, left, flip)
    for image, got, row, column, mirrored in zip(split.images, ours, top.tolist(), left.tolist(), flip.tolist()):
        expected = TF.crop(TF.pad(image.permute(2, 0, 1), 4, padding_mode="reflect"), row, column, size, size)
        expected = TF.hflip(expected) if mirrored else expected
        assert torch.equal(got.permute(2, 0, 1), expected)


def test_normalise_is_torchvisions(make_split):
    images = make_split(5).images
    expected = Normalize(d.MEAN, d.STD)(images.permute(0, 3, 1, 2).float() / 255)
    ours = d.normalise(images)
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)
    assert ours.shape == (5, 3, 32, 32) and ours.is_contiguous(memory_format=torch.channels_last)


def test_a_batch_is_the_planned_crops_of_the_planned_images(make_split):
    split = make_split(9)
    where = torch.tensor([[0, 4]]), torch.tensor([[8, 4]]), torch.tensor([[True, False]])
    plan = Plan(torch.tensor([[4, 7]]), *where, *torch.zeros(2, 1, 2))
    images, labels = d.batch(split, plan, 0)
    plain, same_labels = d.batch(split, plan, 0, augment=False)
    assert labels.tolist() == same_labels.tolist() == split.labels[[4, 7]].tolist()
    assert torch.equal(plain, d.normalise(split.images[[4, 7]]))
    assert torch.equal(images[1], plain[1]), "the crop in the middle is the image itself"
    padded = TF.pad(split.images[4].permute(2, 0, 1), 4, padding_mode="reflect")
    assert torch.equal(images[:1], d.normalise(padded[:, :32, 8:].flip(2).permute(1, 2, 0)[None]))


# --- plans ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("images, batch_size", [(50, 16), (64, 16), (7, 7), (100, 51)])
def test_an_epoch_has_each_image_once_and_is_filled_from_another_permutation(images, batch_size):
    order = d.plan_epoch(images, batch_size, 0, 0).index.flatten().tolist()
    first, filling = order[:images], order[images:]
    assert sorted(first) == list(range(images)) != first
    assert len(order) % batch_size == 0 and len(filling) < batch_size and len(set(filling)) == len(filling)
    assert len(filling) < 5 or filling != first[: len(filling)]


def test_50000_images_in_batches_of_512_are_98_steps():
    plan = d.plan_epoch(50_000, 512, 0, 0)
    assert len(plan) == d.steps_per_epoch(50_000, 512) == 98 and 95 * 98 == 9310
    assert all(part.shape == (98, 512) for part in (plan.index, plan.top, plan.left, plan.flip))


def test_a_plan_depends_on_seed_and_epoch_alone():
    torch.manual_seed(1)
    state = torch.get_rng_state()
    plans = {key: d.plan_epoch(50, 16, *key) for key in [(0, 0), (0, 1), (1, 0), (1_000_003, 0)]}
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    for key, plan in plans.items():
        again = d.plan_epoch(50, 16, *key)
        assert all(torch.equal(getattr(plan, name), getattr(again, name)) for name in ("index", "top", "left", "flip"))
    assert len({tuple(plan.index.flatten().tolist()) for plan in plans.values()}) == 4


def test_offsets_and_flips_are_uniform():
    plan = d.plan_epoch(20_000, 500, 3, 0)
    for offsets in (plan.top, plan.left):
        counts = torch.bincount(offsets.flatten(), minlength=9)
        assert len(counts) == 9 and (counts - 20_000 / 9).abs().max() < 5 * (20_000 * 8 / 81) ** 0.5
    assert abs(plan.flip.float().mean() - 0.5) < 5 * 0.5 / 20_000**0.5
    assert abs(np.corrcoef(plan.top.flatten(), plan.left.flatten())[0, 1]) < 0.05


@pytest.mark.parametrize("batch_size, kind", [(51, ValueError), (0, ValueError), (-1, ValueError), (2.0, TypeError), (True, TypeError)])
def test_a_batch_size_that_cannot_be_is_named(batch_size, kind):
    with pytest.raises(kind, match=f"batch_size.*{batch_size}"):
        d.plan_epoch(50, batch_size, 0, 0)


# --- splits --------------------------------------------------------------------------------------------------------


def test_the_validation_split_is_500_of_each_class_fixed_and_disjoint():
    numbers = torch.arange(50_000)
    images = torch.zeros(50_000, 5, 5, 3, dtype=torch.uint8)
    images[:, 0, 0] = torch.stack([numbers // 65536, numbers // 256 % 256, numbers % 256], dim=1).to(torch.uint8)
    whole = Split(images, numbers * 7919 % 10)
    first, again = d.stratified(whole, d.VALIDATION), d.stratified(whole, d.VALIDATION)

    def names(split):
        return (split.images[:, 0, 0].long() @ torch.tensor([65536, 256, 1])).tolist()

    kept, held_out = map(names, first)
    assert torch.bincount(first[1].labels).tolist() == [500] * 10 and torch.bincount(first[0].labels).tolist() == [4500] * 10
    assert sorted(kept + held_out) == list(range(50_000))
    assert [names(split) for split in again] == [kept, held_out]
    assert all((split.labels == torch.tensor(names(split)) * 7919 % 10).all() for split in first)


def noise(*shape, dtype=torch.uint8):
    return torch.zeros(*shape, dtype=dtype)


BAD = {
    "no image": (noise(0, 32, 32, 3), noise(0, dtype=torch.int64), "at least 2 images.* 0, 32, 32, 3|at least 2 images.*0, 32"),
    "one image": (noise(1, 32, 32, 3), noise(1, dtype=torch.int64), r"at least 2 images.*\[1, 32, 32, 3\]"),
    "tiny images": (noise(4, 4, 4, 3), noise(4, dtype=torch.int64), r"larger than 4 pixels.*\[4, 4, 4, 3\]"),
    "float images": (noise(4, 8, 8, 3, dtype=torch.float32), noise(4, dtype=torch.int64), "got torch.float32"),
    "channels first": (noise(4, 3, 8, 8), noise(4, dtype=torch.int64), r"\[4, 3, 8, 8\]"),
    "float labels": (noise(4, 8, 8, 3), noise(4, dtype=torch.float32), "got torch.float32"),
    "too few labels": (noise(4, 8, 8, 3), noise(3, dtype=torch.int64), r"int64 \[4\], got torch.int64 \[3\]"),
    "a label too high": (noise(2, 8, 8, 3), torch.tensor([0, 10]), "run from 0 to 10, but there are 10 classes"),
    "a negative label": (noise(2, 8, 8, 3), torch.tensor([-1, 3]), "run from -1 to 3"),
}


@pytest.mark.parametrize("images, labels, message", BAD.values(), ids=BAD)
def test_a_split_refuses_what_cannot_be_trained_on(images, labels, message):
    with pytest.raises(ValueError, match=message):
        Split(images, labels)


def test_limited_keeps_the_first_images(data):
    small = data.limited(30)
    assert torch.equal(small.train.images, data.train.images[:30]) and len(small.held_out) == 20
    assert data.limited(0) is data
    with pytest.raises(ValueError, match="images must be at least 2, got 1"):
        data.limited(1)


# --- loading ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def fake_cifar(monkeypatch):
    """CIFAR-10's 50,000 + 10,000 labels on images of 5x5 pixels."""
    rng = np.random.default_rng(0)
    parts = [(rng.integers(0, 256, (n, 5, 5, 3), dtype=np.uint8), rng.permutation(np.arange(n) % 10).tolist()) for n in (50_000, 10_000)]
    monkeypatch.setattr(cifar10, "get", lambda: "somewhere")
    monkeypatch.setattr(cifar10, "read", lambda folder: parts)
    return parts


def test_a_report_trains_on_all_and_holds_out_the_test_set(fake_cifar):
    loaded = d.load()
    assert str(loaded) == "CIFAR-10: 50,000 training and 10,000 test images"
    assert (loaded.train.images.numpy() == fake_cifar[0][0]).all() and loaded.held_out.labels.tolist() == fake_cifar[1][1]
    assert loaded.classes[3] == "cat" and loaded.held_out_name == "test"


def test_a_choice_never_sees_the_test_set(fake_cifar):
    loaded = d.load("choose")
    assert str(loaded) == "CIFAR-10: 45,000 training and 5,000 validation images"
    assert torch.bincount(loaded.held_out.labels).tolist() == [500] * 10


def test_an_unknown_split_is_named():
    with pytest.raises(ValueError, match="'train' is unknown"):
        d.load("train")


@pytest.mark.parametrize("split, sizes", [("report", (1500, 297)), ("choose", (1203, 297))])
def test_without_cifar10_it_goes_on_with_digits_and_says_so(split, sizes, monkeypatch, capsys):
    monkeypatch.setenv("CLR_DATA", "digits")
    loaded = d.load(split)
    assert "digits" in capsys.readouterr().out and loaded.source == "digits"
    assert str(loaded).startswith("digits — the stand-in") and loaded.classes == tuple("0123456789")
    assert (len(loaded.train), len(loaded.held_out)) == sizes


def test_without_the_stand_in_it_raises(monkeypatch):
    monkeypatch.setenv("CLR_DATA", "digits")
    with pytest.raises(cifar10.DataError, match="stand-in"):
        d.load(stand_in=False)


def test_the_digits_are_scikit_learns_enlarged():
    from sklearn.datasets import load_digits

    train, test = d.digits()
    assert train.images.shape == (1500, 32, 32, 3) and test.images.shape == (297, 32, 32, 3)
    assert (train.images == train.images[..., :1]).all() and train.images.max() == 255
    bunch = load_digits()
    shrunk = train.images[..., 0].float().reshape(1500, 8, 4, 8, 4).mean(dim=(2, 4)).flatten(1) * (16 / 255)
    nearest = torch.cdist(shrunk, torch.tensor(bunch.data, dtype=torch.float32)).argmin(1)
    assert (torch.tensor(bunch.target)[nearest] == train.labels).all() and len(set(nearest.tolist())) > 1490


def test_a_data_set_can_move(data):
    assert Data(data.train.to("cpu"), data.held_out).train.images.device.type == "cpu"


# --- cutout --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 8, 32])
def test_cutout_blanks_one_square_inside_each_image_and_nothing_else(size):
    images = torch.rand(200, 3, 32, 32) + 1
    row, column = torch.rand(2, 200)
    cut = d.cut_out(images, row, column, size)
    for before, after, top, left in zip(images, cut, (row * (33 - size)).int().tolist(), (column * (33 - size)).int().tolist()):
        expected = before.clone()
        expected[:, top : top + size, left : left + size] = 0
        assert torch.equal(after, expected) and 0 <= top <= 32 - size


def test_a_batch_is_cut_where_its_plan_says(make_split):
    split, plan = make_split(50), d.plan_epoch(50, 16, 0, 0)
    whole, labels = d.batch(split, plan, 1)
    cut, same = d.batch(split, plan, 1, cutout=8)
    assert torch.equal(labels, same) and torch.equal(cut, d.cut_out(whole, plan.row[1], plan.column[1], 8))
    assert not torch.equal(cut, whole)


def test_the_squares_reach_every_place():
    plan = d.plan_epoch(20_000, 500, 0, 0)
    for share in (plan.row, plan.column):
        assert set((share * 25).long().flatten().tolist()) == set(range(25))
