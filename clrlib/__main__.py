"""python -m clrlib doctor | data | record | build"""

from __future__ import annotations

import argparse
import os
import sys
import time


def main(argv=None) -> int:
    """Run one command; returns the exit status. What is wrong is said in one line."""
    parser = argparse.ArgumentParser(prog="python -m clrlib", description="The course's own tools.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("doctor", help="what this machine has, and what the live cells will use")
    commands.add_parser("data", help="find CIFAR-10, or download and check it (170 MB)")
    recording = commands.add_parser("record", help="run recorded experiments that are missing")
    recording.add_argument("experiment", nargs="?", help="such as E3; all if not given")
    recording.add_argument("--name", help="only the run of this name")
    recording.add_argument("--tier", choices=("cpu", "gpu"), help="only this tier")
    recording.add_argument("--seeds", type=int, help="seeds per run, instead of the declared number")
    recording.add_argument("--list", action="store_true", help="show what is declared and what is there; train nothing")
    building = commands.add_parser("build", help="execute the notebooks and store their outputs")
    building.add_argument("notebooks", nargs="*", help="file names; all of notebooks/ if not given")
    args = parser.parse_args(argv)
    try:
        return {"doctor": doctor, "data": fetch_data, "record": record, "build": build}[args.command](args) or 0
    except KeyboardInterrupt as error:
        print(f"\nInterrupted. {error} What was finished is kept; the same command goes on from there.", file=sys.stderr)
        return 130
    except (ValueError, RuntimeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def doctor(args):
    """Print what the live cells will run on, a line each."""
    import platform

    import torch

    from clrlib import cifar10, engine, profiles, records

    device = engine.pick_device()
    try:
        images = cifar10.find() or "not here yet: python -m clrlib data"
    except cifar10.DataError as error:
        images = error
    runs = sum(1 for _ in records.root().glob("*/*.json"))
    print(f"Python     {platform.python_version()}, torch {torch.__version__}")
    print(f"Device     {torch.cuda.get_device_name(device) if device.type == 'cuda' else f'CPU, {torch.get_num_threads()} threads'}")
    print(f"Precision  {engine.pick_precision(device)}")
    print(f"Profile    {profiles.current().name}: {profiles.current().about}")
    print(f"CIFAR-10   {images}")
    print(f"Records    {runs} in {records.root()}")


def fetch_data(args):
    """Leave a verified CIFAR-10 behind, or fail saying what to do; a damaged copy is fetched anew."""
    from clrlib import cifar10

    if os.environ.get("CLR_DATA") == cifar10.STAND_IN:
        return print("CLR_DATA=digits asks for the stand-in: nothing to fetch")
    try:
        folder = cifar10.find()
    except cifar10.DataError as error:
        print(f"{error}\nFetching it anew.")
        folder = None
    print(f"CIFAR-10 is complete and verified in {folder or cifar10.download()}")


def record(args):
    """List the declared experiments, or run what is missing."""
    from dataclasses import replace

    from clrlib import experiments, recording

    runs = experiments.declared(args.experiment, args.tier)
    runs = [run for run in runs if args.name in (None, run.name)]
    if args.seeds is not None:
        runs = [replace(run, seeds=args.seeds) for run in runs]
    if args.list:
        return show_list(runs)
    todo, start = recording.missing(runs), time.monotonic()
    print(f"{len(todo)} of {sum(run.seeds for run in runs)} runs to do")
    for i, (run, seed) in enumerate(todo):
        path = recording.record(run, seed, progress=sys.stdout.isatty())
        spent = time.monotonic() - start
        print(
            f"{i + 1}/{len(todo)} {path.parent.name}/{path.name}, about {spent / (i + 1) * (len(todo) - i - 1) / 60:.0f} min left",
            flush=True,
        )


def show_list(runs):
    """A line per declared run: seeds wanted and there, and the time that one took."""
    from clrlib.history import mean_and_spread

    print(f"{'':5}{'run':28}{'tier':6}{'seeds':>7}{'s a run':>9}  result")
    for run in runs:
        there = run.recorded()
        seconds = f"{sum(r.content['seconds'] for r in there) / len(there):.0f}" if there else "-"
        result = mean_and_spread([r.history.accuracy for r in there]) if there and run.sweep is None else run.about
        print(f"{run.experiment:5}{run.name:28}{run.tier:6}{len(there):>3} /{run.seeds:>2}{seconds:>9}  {result}")


def build(args):
    """Execute notebooks and store their outputs, normalised."""
    from clrlib import notebooks

    notebooks.build(args.notebooks)


if __name__ == "__main__":
    sys.exit(main())
