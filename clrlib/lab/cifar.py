"""CIFAR-10 as tensors on the device: found or downloaded, verified once, augmented in one indexing line.

The images stay uint8 on the device, already padded; a batch is an index into all their crops. An
epoch's order, crops and flips are drawn together from (seed, epoch), so any batch of any epoch can be
made again without replaying what came before.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
import torch
import torch.nn.functional as F

from clrlib.lab import download as cifar10
from clrlib.validate import count

PAD = 4  # He et al. 2015, section 4.2: 4 pixels on each side, then a random 32x32 crop
VALIDATION = 5_000
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)  # per channel, of CIFAR-10's training images / 255
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


# --- what training sees ------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Split:
    """Images and labels on one device.

    images  uint8 [N, H, W, 3], height and width before padding;  labels  int64 [N], from 0 to classes - 1
    """

    images: torch.Tensor
    labels: torch.Tensor
    classes: int = 10

    def __post_init__(self):
        images, labels = self.images, self.labels
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[-1] != 3:
            raise ValueError(f"images must be uint8 [N, H, W, 3], got {images.dtype} {list(images.shape)}")
        if len(images) < 2 or min(images.shape[1:3]) <= PAD:
            raise ValueError(f"need at least 2 images larger than {PAD} pixels to train or measure, got {list(images.shape)}")
        if labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
            raise ValueError(f"labels must be int64 [{len(images)}], got {labels.dtype} {list(labels.shape)}")
        if labels.min() < 0 or labels.max() >= self.classes:
            raise ValueError(
                f"labels run from {labels.min()} to {labels.max()}, but there are {self.classes} classes: 0 to {self.classes - 1}"
            )

    def __len__(self):
        return len(self.labels)

    @cached_property
    def crops(self) -> torch.Tensor:
        """Every crop of every image, as a view: uint8 [N, 9, 9, H, W, 3], over reflect-padded images."""
        height, width = self.images.shape[1:3]
        rows, columns = _reflected(height, self.images.device), _reflected(width, self.images.device)
        padded = self.images[:, rows][:, :, columns].contiguous()
        return padded.unfold(1, height, 1).unfold(2, width, 1).permute(0, 1, 2, 4, 5, 3)

    def subset(self, index) -> Split:
        """The images at `index`, as a Split."""
        index = torch.as_tensor(index, device=self.labels.device)
        return Split(self.images[index], self.labels[index], self.classes)

    def to(self, device) -> Split:
        return Split(self.images.to(device), self.labels.to(device), self.classes)


@dataclass(frozen=True, eq=False)
class Data:
    """What a run trains on, and the held-out images that it is measured on.

    held_out_name  "test" or "validation";  source  "CIFAR-10", or "digits" for the stand-in
    """

    train: Split
    held_out: Split
    held_out_name: str = "test"
    source: str = "CIFAR-10"
    classes: tuple[str, ...] = CLASSES

    def __str__(self):
        note = "" if self.source == "CIFAR-10" else " — the stand-in: CIFAR-10 was not found"
        return f"{self.source}{note}: {len(self.train):,} training and {len(self.held_out):,} {self.held_out_name} images"

    def limited(self, images: int) -> Data:
        """The first `images` training images, and as many held-out ones at most; 0 keeps all. For quick looks only."""
        if not images:
            return self
        index = torch.arange(count("images", images, at_least=2))
        train, held_out = (split.subset(index[: len(split)]) for split in (self.train, self.held_out))
        return replace(self, train=train, held_out=held_out)


def load(split: str = "report", device="cpu", stand_in: bool = True) -> Data:
    """CIFAR-10 on `device`, found under CLR_DATA or data/, else downloaded.

    split     "report": train on all 50,000 and hold out the test set; "choose": train on 45,000 and hold
              out a fixed validation set of 5,000, 500 of each class, to make choices with
    stand_in  fall back on scikit-learn's handwritten digits when CIFAR-10 can't be had; else raise DataError
    """
    if split not in ("report", "choose"):
        raise ValueError(f"split {split!r} is unknown: 'report' (50,000 + test) or 'choose' (45,000 + validation)")
    source, classes = "CIFAR-10", CLASSES
    try:
        train, test = (Split(torch.from_numpy(images), torch.tensor(labels)) for images, labels in cifar10.read(cifar10.get()))
    except cifar10.DataError as error:
        if not stand_in:
            raise
        print(f"{error}\nGoing on with scikit-learn's handwritten digits instead.")
        source, classes = "digits", tuple("0123456789")
        train, test = digits()
    if split == "choose":
        train, test = stratified(train, VALIDATION if source == "CIFAR-10" else len(test))
    name = "validation" if split == "choose" else "test"
    return Data(train.to(device), test.to(device), name, source, classes)


def digits() -> tuple[Split, Split]:
    """The stand-in (train, test): scikit-learn's 1,797 handwritten digits, 8x8, enlarged to 32x32 in three equal channels."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    small = torch.tensor(bunch.images, dtype=torch.float32)[:, None] * (255 / 16)
    images = F.interpolate(small, size=32, mode="bilinear").round().to(torch.uint8)
    whole = Split(images.permute(0, 2, 3, 1).expand(-1, -1, -1, 3).contiguous(), torch.tensor(bunch.target))
    return stratified(whole, held_out=297)


def stratified(split: Split, held_out: int, seed: int = 0) -> tuple[Split, Split]:
    """Split off `held_out` images, equally many of each class as far as it divides; fixed by `seed`."""
    from sklearn.model_selection import train_test_split

    keep, out = train_test_split(np.arange(len(split)), test_size=held_out, stratify=split.labels.cpu(), random_state=seed)
    return split.subset(np.sort(keep)), split.subset(np.sort(out))


# --- batches ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """One epoch, drawn in advance; each tensor has shape [steps, batch_size].

    index  which image;  top, left  where its crop starts, 0 to 8;  flip  whether it is mirrored
    row, column  where a square to cut out would begin, as a share of the room for it, in [0, 1)
    """

    index: torch.Tensor
    top: torch.Tensor
    left: torch.Tensor
    flip: torch.Tensor
    row: torch.Tensor
    column: torch.Tensor

    def __len__(self):
        return len(self.index)

    def __iter__(self):
        return iter((self.index, self.top, self.left, self.flip, self.row, self.column))


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Batches an epoch has: 98 for 50,000 images in batches of 512, the last one filled up.

    Raises ValueError for a batch larger than the data.
    """
    if count("batch_size", batch_size) > images:
        raise ValueError(f"batch_size={batch_size} is more than the {images} training images: take a smaller batch")
    return -(-images // batch_size)


def plan_epoch(images: int, batch_size: int, seed: int, epoch: int, device="cpu") -> Plan:
    """Draw order, crops and flips of one epoch. The last batch is filled from the next permutation.

    Drawn on the CPU from (seed, epoch) alone: the same on every device, and after a restart.
    """
    generator = torch.Generator().manual_seed((count("seed", seed, 0) * 1_000_003 + epoch) % 2**63)
    steps = steps_per_epoch(images, batch_size)
    order = torch.cat([torch.randperm(images, generator=generator) for _ in range(2)])[: steps * batch_size]
    offsets = torch.randint(0, 2 * PAD + 1, (2, steps * batch_size), generator=generator)
    flip = torch.rand(steps * batch_size, generator=generator) < 0.5
    square = torch.rand(2, steps * batch_size, generator=generator)
    return Plan(*(t.view(steps, batch_size).to(device) for t in (order, *offsets, flip, *square)))


def batch(split: Split, plan: Plan, i: int, augment: bool = True, cutout: int = 0):
    """Batch i of a planned epoch: (float images [B, 3, H, W], channels last; labels [B]).

    augment  random crops and mirrors;  cutout  the side of a square to blank in each image as well, in pixels
    """
    if augment:
        images = normalise(crop_and_flip(split.crops, plan.index[i], plan.top[i], plan.left[i], plan.flip[i]))
    else:
        images = normalise(split.images[plan.index[i]])
    if cutout:
        images = cut_out(images, plan.row[i], plan.column[i], cutout)
    return images, split.labels[plan.index[i]]


def crop_and_flip(crops, index, top, left, flip) -> torch.Tensor:
    """A random crop and mirror of each image, all at once: uint8 [B, H, W, 3]."""
    images = crops[index, top, left]
    return torch.where(flip[:, None, None, None], images.flip(2), images)


def cut_out(images, row, column, size: int) -> torch.Tensor:
    """Images [B, C, H, W] with a square of size x size set to 0, the mean colour (DeVries and Taylor 2017, arXiv:1708.04552).

    row, column  [B], its place as a share of the room, in [0, 1); it lies wholly inside, as in Page 2018, cifar10-fast
    """
    inside = []
    for share, length in ((row, images.shape[2]), (column, images.shape[3])):
        start = (share * (length - size + 1)).long()[:, None]
        along = torch.arange(length, device=images.device)
        inside.append((along >= start) & (along < start + size))
    return images.masked_fill((inside[0][:, :, None] & inside[1][:, None, :])[:, None], 0.0)


def normalise(images: torch.Tensor) -> torch.Tensor:
    """uint8 [B, H, W, 3] -> float32 [B, 3, H, W] of about zero mean and unit spread, in channels-last memory."""
    mean, std = _statistics(images.device)
    return ((images.float() - mean) / std).permute(0, 3, 1, 2)


@lru_cache(maxsize=8)
def _statistics(device) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and spread of the channels on `device`: a copy per device, for a captured step can't copy from the CPU."""
    return tuple(torch.tensor(x, device=device) * 255 for x in (MEAN, STD))


def _reflected(size: int, device) -> torch.Tensor:
    """Row numbers of a reflect-padded image: 4 3 2 1 | 0 1 2 ... | n-2 n-3 n-4 n-5."""
    inside = torch.arange(-PAD, size + PAD, device=device).abs()
    return torch.where(inside >= size, 2 * (size - 1) - inside, inside)
