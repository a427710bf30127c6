"""Speed, measured side by side: `make bench`. Ratios are printed, never asserted; only ratios from one run compare.

    python tests/bench.py [--quick]

Real CIFAR-10 is needed (python -m clrlib data). Each pair alternates, and the median ratio is quoted.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time

import torch
import torch.nn.functional as F
from torchvision import transforms
from torchvision.datasets import CIFAR10

from clrlib.lab import cifar as images_of
from clrlib.lab import download as cifar10
from clrlib.lab import engine, models
from clrlib.lab.fresh import range_test
from clrlib.lab.training import Recipe, fit
from clrlib.scheduler import ScheduledLR, hyper_parameters
from clrlib.schedules import join, linear, one_cycle

BATCH = 512


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer repeats, and no whole training run")
    parser.add_argument("--child", choices=("kept", "given-back"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    quick = args.quick
    if args.child:
        return print(json.dumps(one_process(args.child == "kept")))
    folder, repeats = cifar10.get(), 1 if quick else 3
    data = images_of.load("report", stand_in=False)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, precision {engine.pick_precision('cpu')}\n")
    report(
        "range test, 40 steps: torch-lr-finder / ours (s)", paired(lambda: their_range_test(folder), lambda: our_range_test(data), repeats)
    )
    report(
        "training, 40 steps: fp32 loop with a DataLoader / ours (s)", paired(lambda: their_loop(folder), lambda: our_loop(data), repeats)
    )
    report(
        "training, 40 steps: freed memory given back / kept, as ours does (s)",
        paired(lambda: child("given-back")[0], lambda: child("kept")[0], repeats),
    )
    print("resident memory after each of 6 epochs of 10,000 images, kept (MB): " + ", ".join(f"{mb:.0f}" for mb in child("kept")[1]))
    report("10,000 schedule steps: OneCycleLR / ScheduledLR (s)", paired(their_schedule, our_schedule, 5))
    report("10,000 schedule steps: OneCycleLR / what `fit` does (s)", paired(their_schedule, fits_schedule, 5))
    reading = "import clrlib.schedules, clrlib.suggest, clrlib.evidence.records, clrlib.figures.plots"
    report(
        "import: numpy alone / the reading path, before the first drawing (s)",
        paired(lambda: fresh("import numpy"), lambda: fresh(reading), 5),
    )
    if not quick:
        whole_run(data)


def paired(theirs, ours, repeats: int):
    """[(seconds of theirs, seconds of ours)], alternating, after one warm-up of each."""
    theirs(), ours()
    return [(timed(theirs), timed(ours)) for _ in range(repeats)]


def timed(work) -> float:
    """Seconds of one call; a call that returns seconds has timed itself, without its set-up."""
    start = time.perf_counter()
    own = work()
    return own if isinstance(own, float) else time.perf_counter() - start


def report(what, pairs):
    ratios = [a / b for a, b in pairs]
    a, b = (statistics.median(side) for side in zip(*pairs))
    spread = f"from {min(ratios):.2f} to {max(ratios):.2f}, n = {len(ratios)}"
    print(f"{what}: {a:.3f} / {b:.3f}, ratio {statistics.median(ratios):.2f} ({spread})", flush=True)


def loader(folder, workers: int = 2):
    """CIFAR-10 as tutorials load it: torchvision transforms, crop and flip per image, a DataLoader of two workers."""
    chain = [transforms.RandomCrop(32, padding=4, padding_mode="reflect"), transforms.RandomHorizontalFlip()]
    chain += [transforms.ToTensor(), transforms.Normalize(images_of.MEAN, images_of.STD)]
    images = CIFAR10(folder, train=True, transform=transforms.Compose(chain))
    return torch.utils.data.DataLoader(images, BATCH, shuffle=True, num_workers=workers)


def their_range_test(folder):
    from torch_lr_finder import LRFinder

    model = models.build("tiny")
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-5, momentum=0.9, weight_decay=1e-4)
    finder = LRFinder(model, optimizer, torch.nn.CrossEntropyLoss(), device="cpu")
    batches = loader(folder)
    start = time.perf_counter()
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):  # its progress bar
        finder.range_test(batches, end_lr=10, num_iter=40, step_mode="exp", diverge_th=100)
    return time.perf_counter() - start


def our_range_test(data):
    start = time.perf_counter()
    range_test("tiny", data, steps=40, progress=False)
    return time.perf_counter() - start


def their_loop(folder):
    model, batches = models.build("tiny").train(), iter(loader(folder))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    start = time.perf_counter()
    for _ in range(40):
        images, labels = next(batches)
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return time.perf_counter() - start


def our_loop(data):
    few = images_of.Data(data.train.subset(torch.arange(40 * BATCH)), data.held_out.subset(torch.arange(2)))
    few.train.crops  # noqa: B018 (padded once, as in any run)
    return fit(models.build("tiny"), few, {"lr": 0.1}, epochs=1, progress=False).seconds


def child(kind):
    """(seconds of 40 steps, resident MB after each of 6 epochs) in a process of its own: the allocator's setting is for good."""
    return json.loads(subprocess.run([sys.executable, __file__, "--child", kind], check=True, capture_output=True, text=True).stdout)


def one_process(kept: bool):
    if not kept:
        engine.keep_memory = lambda: False
    data = images_of.load("report", stand_in=False)
    our_loop(data)
    seconds, resident = our_loop(data), []
    few = data.limited(10_000)
    fit(models.build("tiny"), few, {"lr": 0.1}, 6, progress=False, watch=lambda history: resident.append(resident_mb()))
    return seconds, resident


def resident_mb() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def their_schedule():
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.8, total_steps=10_001)
    return stepped(scheduler, optimizer)


def our_schedule():
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1, momentum=0.9)
    return stepped(ScheduledLR(optimizer, {"lr": one_cycle(0.08, 0.8), "momentum": 0.9}, 10_001), optimizer)


def stepped(scheduler, optimizer):
    optimizer.step()
    start = time.perf_counter()
    for _ in range(10_000):
        scheduler.step()
    return time.perf_counter() - start


def fits_schedule():
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1, momentum=0.9)
    hyper_at = hyper_parameters({"lr": one_cycle(0.08, 0.8), "momentum": 0.9}, 10_000)
    start = time.perf_counter()
    for step in range(10_000):
        engine.set_hyper(optimizer, **hyper_at(step))
    return time.perf_counter() - start


def fresh(code):
    subprocess.run([sys.executable, "-c", code], check=True)


def whole_run(data):
    """The laptop's best: nine epochs of the tiny net on all 50,000 images."""
    schedules = {"lr": join([linear(0.08, 0.8), linear(0.8, 0.0)], [1, 3]), "weight_decay": 5e-4}
    history = fit(models.build("tiny"), data, schedules, 9, Recipe(nesterov=True), progress=False)
    print(f"tiny net, one cycle, 9 epochs of 50,000 images: {history.accuracy:.2f} % test accuracy in {history.seconds:.1f} s of training")


if __name__ == "__main__":
    main()
