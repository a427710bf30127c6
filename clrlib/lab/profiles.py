"""How much a live cell may cost on this machine: one switch, `CLR_PROFILE` = smoke, laptop or gpu."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass


@dataclass(frozen=True)
class Profile:
    """The budget of the live cells.

    images       training images used (0: all of them)
    range_steps  steps of a live range test
    seeds        runs behind a live band
    """

    name: str
    about: str
    model: str
    images: int
    batch_size: int
    epochs: int
    range_steps: int
    seeds: int


PROFILES = {
    "smoke": Profile("smoke", "seconds: enough to see that every cell runs", "tiny", 2_000, 128, 3, 40, 2),
    "laptop": Profile("laptop", "two CPU cores: a live cell takes up to 90 s", "tiny", 0, 512, 5, 100, 3),
    "gpu": Profile("gpu", "one GPU: the article's ResNet-56 at full length", "resnet56", 0, 512, 95, 100, 3),
}


def current() -> Profile:
    """The profile named by CLR_PROFILE; if that is unset, gpu where an NVIDIA GPU answers, else laptop.

    Raises ValueError for a name that is not a profile.
    """
    name = os.environ.get("CLR_PROFILE", "").strip()
    if not name:
        return PROFILES["gpu" if _has_gpu() else "laptop"]
    if name not in PROFILES:
        raise ValueError(f"CLR_PROFILE={name!r} is unknown: set it to {', '.join(PROFILES)}, or unset it")
    return PROFILES[name]


def _has_gpu() -> bool:
    """Whether nvidia-smi lists a GPU. Asked this way, the reading path never imports torch."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1") or not shutil.which("nvidia-smi"):
        return False
    try:
        listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return listing.returncode == 0 and "GPU" in listing.stdout


def start() -> Profile:
    """The set-up line of every chapter: print the profile and how to change it, and return it."""
    profile = current()
    others = " or ".join(name for name in PROFILES if name != profile.name)
    print(f"Profile {profile.name}: {profile.about}. Set CLR_PROFILE to {others} for another budget.")
    return profile
