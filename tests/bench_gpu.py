"""The engine's speed on a GPU: `make bench-gpu`. Everything is measured in this one run, side by side; nothing is asserted.

    python tests/bench_gpu.py [--smoke] [--peer "COMMAND"] [--out FILE]

--smoke  a few small steps on whatever there is, to see that the script runs
--peer   a published speed-run to time on the same GPU: a shell command that prints its own result
Takes under ten minutes on an H100 or H200. Real CIFAR-10 is needed (python -m clrlib data).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import time
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import nn
from torchvision import transforms
from torchvision.datasets import CIFAR10

from clrlib.evidence import experiments
from clrlib.lab import cifar as images_of
from clrlib.lab import download as cifar10
from clrlib.lab import engine, fast, models
from clrlib.lab import probes as memory
from clrlib.lab.training import Recipe, fit
from clrlib.stats import mean_and_spread

BATCH = 512


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    epochs: int = 95
    timed_epochs: int = 3
    seeds: int = 5
    quick_seeds: int = 10
    images: int = 0
    workers: int = 8
    model: str = "resnet56"
    quick_epochs: int = 24


SMOKE = Size(epochs=2, timed_epochs=1, seeds=2, quick_seeds=2, images=2_048, workers=2, model="tiny", quick_epochs=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--peer", help="a shell command")
    parser.add_argument("--out", help="append each figure to this file as a line of JSON")
    args = parser.parse_args()
    size, device = SMOKE if args.smoke else Size(), engine.pick_device()
    if device.type != "cuda" and not args.smoke:
        raise SystemExit("no GPU here: --smoke runs the script on the CPU in small")
    data = images_of.load("report", device, stand_in=False).limited(size.images)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"

    def say(what, **figures):
        line = {"what": what, **figures}
        print(f"{what}: " + ", ".join(f"{key} {value}" for key, value in figures.items()), flush=True)
        if args.out:
            with open(args.out, "a") as file:
                file.write(json.dumps(line) + "\n")

    say("machine", device=name, torch=torch.__version__, precision=engine.pick_precision(device))
    ours(data, size, say)
    resident(data, size, say)
    tutorial(size, device, say)
    floor(data, size, say)
    seeds(data, size, say)
    quick(data, size, say)
    if device.type == "cuda":
        profile(data, size, say)
        largest(data, size, say)
    if args.peer:
        start = time.perf_counter()
        done = subprocess.run(args.peer, shell=True, capture_output=True, text=True)
        say("peer", seconds=round(time.perf_counter() - start, 1), said=(done.stdout or done.stderr).strip()[-2_000:])


def article(epochs):
    """The article's run: the declared schedules."""
    return experiments.find("E3", "resnet56-momentum-0.95-0.80").schedules if epochs == 95 else {"lr": 0.05}


def timed_fit(data, size, seed=0, epochs=None, fast_step=None, **recipe):
    """(history, whole wall time in seconds without the preparation, preparation)."""
    epochs = epochs or size.epochs
    model, made, make = models.build(size.model, seed=seed), [], fast.make_step
    fast.make_step = lambda *rest: made.append(make(*rest)) or made[-1]  # to learn what the preparation took
    try:
        start = time.perf_counter()
        history = fit(model, data, article(epochs), epochs, Recipe(seed=seed, **recipe), progress=False, fast=fast_step)
        synchronise()
        whole = time.perf_counter() - start
    finally:
        fast.make_step = make
    return history, whole - made[0].preparing, made[0].preparing


def ours(data, size, say):
    """The article's run, twice: compiling is the first one's, and reported apart."""
    for attempt in ("first", "second"):
        history, seconds, preparing = timed_fit(data, size)
        say(
            f"ours, {size.model}, {size.epochs} epochs, an evaluation each, {attempt} time", seconds=round(seconds, 2),
            training=round(history.seconds, 2), preparing=round(preparing, 1), step=history.how, accuracy=history.accuracy,
        )  # fmt: skip


def resident(data, size, say):
    """The same, run operation by operation, images on the GPU all the same; timed over a few epochs and scaled."""
    history, seconds, _ = timed_fit(data, size, epochs=size.timed_epochs + 1, fast_step=False)
    epoch = statistics.median(row["seconds"] for row in history.epochs[1:])
    say("eager loop over images on the GPU", scaled_to_whole_run=round(epoch * size.epochs, 1), epoch=round(epoch, 3))


def tutorial(size, device, say):
    """What tutorials print: DataLoader, torchvision's transforms, an eager step, in the best precision for it."""
    chain = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
    images = CIFAR10(cifar10.get(), train=True, transform=transforms.Compose([*chain, transforms.Normalize(images_of.MEAN, images_of.STD)]))
    if size.images:
        images = torch.utils.data.Subset(images, range(size.images))
    pinned = device.type == "cuda"
    loader = torch.utils.data.DataLoader(
        images, BATCH, shuffle=True, num_workers=size.workers, persistent_workers=True, pin_memory=pinned, drop_last=False
    )
    for precision in ("fp32", "bf16"):
        model = models.build(size.model).to(device, memory_format=torch.channels_last).train()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
        seconds = []
        for _ in range(size.timed_epochs + 1):  # the first warms up
            start = time.perf_counter()
            for batch, labels in loader:
                batch = batch.to(device, non_blocking=True, memory_format=torch.channels_last)
                labels = labels.to(device, non_blocking=True)
                with engine.autocast(device, precision):
                    loss = F.cross_entropy(model(batch), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            loss.item()
            seconds.append(time.perf_counter() - start)
        epoch = statistics.median(seconds[1:])
        say(f"tutorial loop, {size.workers} workers, {precision}", scaled_to_whole_run=round(epoch * size.epochs, 1), epoch=round(epoch, 3))


def floor(data, size, say):
    """The two ceilings of this GPU, measured, and the least that the run must move and compute."""
    device = data.train.images.device
    moved, computed = per_image(models.build(size.model))
    images = size.epochs * images_of.steps_per_epoch(len(data.train), BATCH) * BATCH
    bandwidth, rate = ceilings(device, small=bool(size.images))
    say(
        "floor", bytes_per_image=moved, operations_per_image=computed, bandwidth_TB_s=round(bandwidth / 1e12, 3),
        bf16_TFLOP_s=round(rate / 1e12, 1), seconds_moving=round(images * moved / bandwidth, 2),
        seconds_computing=round(images * computed / rate, 2),
    )  # fmt: skip


def per_image(model) -> tuple[int, int]:
    """(bytes, operations) that training must at least move and do per image, convolutions and linear layers in bf16.

    Of each layer the input is read forward and again for the weights' gradient, and its gradient written; the output
    is written, and its gradient read twice. Three products forward and backward, two operations per multiply-add.
    """
    counted = [0, 0]

    def hook(module, inputs, output):
        x, y = inputs[0][0].numel(), output[0].numel()
        counted[0] += 2 * (3 * x + 3 * y)
        counted[1] += 3 * 2 * y * module.weight[0].numel()

    handles = [m.register_forward_hook(hook) for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    with torch.no_grad():
        model.eval()(torch.zeros(1, 3, 32, 32))
    for handle in handles:
        handle.remove()
    return tuple(counted)


def ceilings(device, small) -> tuple[float, float]:
    """(bytes per second of a large copy, read and write counted; bf16 operations per second of a large product)."""
    n, side = (2**22, 512) if small else (2**31, 8_192)
    source = torch.randint(0, 255, (n,), dtype=torch.uint8, device=device)
    target, a, b = torch.empty_like(source), *torch.randn(2, side, side, device=device, dtype=torch.bfloat16)
    return 2 * n / median_seconds(lambda: target.copy_(source)), 2 * side**3 / median_seconds(lambda: a @ b)


def median_seconds(work, repeats=10) -> float:
    for _ in range(3):
        work()
    times = []
    for _ in range(repeats):
        synchronise()
        start = time.perf_counter()
        work()
        synchronise()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def synchronise():
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def seeds(data, size, say):
    """Several seeds one after the other in this process; the compiled step is shared."""
    start, accuracies = time.perf_counter(), []
    for seed in range(size.seeds):
        accuracies.append(timed_fit(data, size, seed=seed)[0].accuracy)
    say(f"{size.seeds} seeds of the whole run", seconds=round(time.perf_counter() - start, 1), accuracy=mean_and_spread(accuracies))


def quick(data, size, say):
    """The declared ResNet-9 run, compiling apart; accuracy after the last epoch, nothing tuned on it."""
    run, accuracies, seconds = experiments.find("E13", "resnet9"), [], []
    epochs = min(run.epochs, size.quick_epochs)
    for seed in range(size.quick_seeds):
        model = models.build("resnet9" if not size.images else "tiny", seed=seed)
        history = fit(model, data, run.schedules, epochs, replace(run.recipe, seed=seed), progress=False)
        accuracies.append(history.accuracy)
        seconds.append(history.seconds)
    say(
        f"ResNet-9, {epochs} epochs, {size.quick_seeds} seeds", accuracy=mean_and_spread(accuracies), seconds=mean_and_spread(seconds),
        whole=[round(a, 2) for a in accuracies],
    )  # fmt: skip


def profile(data, size, say):
    """Where an epoch's time goes: the kernels of 20 replayed steps, by name."""
    step = fast.make_step(engine.place(models.build(size.model), data.train.images.device).train(), data.train, Recipe(precision="bf16"))
    plan = images_of.plan_epoch(len(data.train), BATCH, 0, 0, data.train.images.device)
    hyper = {"lr": 0.05, "momentum": 0.9, "weight_decay": 1e-4}
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as seen:
        for i in range(20):
            step(plan, i, hyper)
        synchronise()
    rows = sorted(seen.key_averages(), key=lambda row: -row.self_device_time_total)
    total = sum(row.self_device_time_total for row in rows) or 1
    say("kernels of 20 steps", milliseconds=round(total / 1e3, 2), idle_excluded=True)
    for row in rows[:15]:
        share, each = row.self_device_time_total / total, row.self_device_time_total / row.count
        say("kernel", share=f"{share:.1%}", calls=row.count, microseconds=round(each, 1), name=row.key[:90])


def largest(data, size, say):
    """The largest batch that fits, and what asking for more says."""
    recipe, model = Recipe(precision="bf16"), engine.place(models.build(size.model), data.train.images.device)
    torch.cuda.set_per_process_memory_fraction(0.1)  # a tenth of the card, so that CIFAR-10 is enough to fill it
    try:
        found = memory.largest_batch(model, data.train, recipe)
        say("largest batch in a tenth of the memory", images=found)
        fit(model, data, {"lr": 0.01}, 1, replace(recipe, batch_size=min(len(data.train), found + 512)), progress=False, fast=False)
    except RuntimeError as error:
        say("out of memory says", text=str(error))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


if __name__ == "__main__":
    os.environ.setdefault("TORCHINDUCTOR_FX_GRAPH_CACHE", "1")
    main()
