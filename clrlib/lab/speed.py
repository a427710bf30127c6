"""What a live cell costs on this machine: a few training steps, timed, and the length of each profile's run from them."""

from __future__ import annotations

import html
import time

import ipywidgets as w
import torch

from clrlib.lab import models
from clrlib.lab.profiles import PROFILES
from clrlib.lab.training import Recipe, steps

NAMES = {"tiny": "four convolutions", "resnet56": "the article's ResNet-56"}


def images_per_second(model: str, data, batch_size: int, timed: int = 4) -> float:
    """Training images a second: the median of `timed` steps, after one that warms up. Evaluation is left out.

    Raises ValueError where the data holds too few batches for that.
    """
    if len(data.train) < (timed + 1) * batch_size:
        raise ValueError(f"{timed + 1} batches of {batch_size} need {(timed + 1) * batch_size:,} images; there are {len(data.train):,}")
    ends = []
    for step in steps(models.build(model, data.train.classes), data, {"lr": 0.01}, epochs=1, recipe=Recipe(batch_size=batch_size)):
        float(step.loss)  # waits for a GPU
        ends.append(time.perf_counter())
        if len(ends) > timed:
            break
    lengths = sorted(later - earlier for earlier, later in zip(ends, ends[1:]))
    return batch_size / lengths[len(lengths) // 2]


def seconds(profile, speed: float, images: int) -> float:
    """How long this profile's run trains at `speed` images a second, on data of `images` training images."""
    return profile.epochs * min(profile.images or images, images) / speed


def told(length: float) -> str:
    """A length of time in seconds, in words: "40 s", "3 min", "2.5 hours", "12 hours"."""
    if length < 100:
        return f"{length:.0f} s"
    return f"{length / 60:.0f} min" if length < 6000 else f"{length / 3600:.{0 if length > 36_000 else 1}f} hours"


def table(data) -> str:
    """HTML: what a live run of each profile takes here."""
    speeds = {"tiny": images_per_second("tiny", data, min(512, len(data.train) // 5))}
    speeds["resnet56"] = images_per_second("resnet56", data, min(512 if data.train.images.is_cuda else 32, len(data.train) // 5))
    rows = []
    for profile in PROFILES.values():
        images = min(profile.images or len(data.train), len(data.train))
        length = told(seconds(profile, speeds[profile.model], len(data.train)))
        cells = (profile.name, f"{NAMES[profile.model]}, {images:,} images, {profile.epochs} epochs", f"about {length}")
        rows.append("<tr>" + "".join(f"<td>{html.escape(cell)}&emsp;</td>" for cell in cells) + "</tr>")
    where = torch.cuda.get_device_name() if data.train.images.is_cuda else f"{torch.get_num_threads()} CPU threads"
    return f"<table>{''.join(rows)}</table>On {html.escape(where)}, while little else runs; measuring accuracy is not counted."


def meter(data, measure=table) -> w.VBox:
    """A button that measures this machine and says what a run of each profile takes."""
    button = w.Button(description="What does it cost here?", tooltip="Takes some seconds", layout=w.Layout(width="220px"))
    said = w.HTML()

    def go(_):
        button.disabled, said.value = True, "measuring ..."
        try:
            said.value = measure(data)
        except (RuntimeError, ValueError) as error:
            said.value = f"<b>{html.escape(str(error))}</b>"
        finally:
            button.disabled = False

    button.on_click(go)
    return w.VBox([button, said], layout=w.Layout(max_width="820px"))
