"""python -m clrlib doctor | data | record | collect | build"""

from __future__ import annotations

import argparse
import os
import sys


def main(argv=None) -> int:
    """Run one command; returns the exit status. What is wrong is said in one line."""
    parser = argparse.ArgumentParser(prog="python -m clrlib", description="The course's own tools.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("doctor", help="what this machine has, and what the live cells will use")
    commands.add_parser("data", help="find CIFAR-10, or download and check it (170 MB)")
    recording = commands.add_parser("record", help="run recorded experiments that are missing")
    recording.add_argument("experiment", nargs="?", help="such as E3; all if not given")
    recording.add_argument("--name", help="only the run of this name")
    recording.add_argument("--network", help="only this network: tiny, resnet20, resnet56, resnet9")
    recording.add_argument("--seeds", type=int, help="seeds per run, instead of the declared number")
    recording.add_argument("--shard", metavar="I/N", help="only part I of N of what is declared, such as 3/8; the parts don't overlap")
    recording.add_argument("--results", metavar="FILE", help="append each record to this file too, for `collect`")
    recording.add_argument("--list", action="store_true", help="show what is declared and what is there; train nothing")
    collecting = commands.add_parser("collect", help="take a results file of another machine apart into records")
    collecting.add_argument("results", metavar="FILE")
    building = commands.add_parser("build", help="execute the notebooks and store their outputs")
    building.add_argument("notebooks", nargs="*", help="file names; all of notebooks/ if not given")
    building.add_argument("--stamp", action="store_true", help="only stamp pyproject's address into badges and set-up cells; run nothing")
    args = parser.parse_args(argv)
    jobs = {"doctor": doctor, "data": fetch_data, "record": record, "collect": collect, "build": build}
    try:
        return jobs[args.command](args) or 0
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

    from clrlib.evidence import records
    from clrlib.lab import download as cifar10
    from clrlib.lab import engine, profiles

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
    from clrlib.lab import download as cifar10

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

    from clrlib.evidence import experiments, recording

    runs = experiments.declared(args.experiment, args.network)
    runs = [run for run in runs if args.name in (None, run.name)]
    if args.seeds is not None:
        runs = [replace(run, seeds=args.seeds) for run in runs]
    if args.list:
        return show_list(runs)
    mine = {(run.experiment, run.name, seed) for run, seed in recording.shard(runs, *_part(args.shard))}
    todo = [(run, seed) for run, seed in recording.missing(runs) if (run.experiment, run.name, seed) in mine]
    print(f"{len(todo)} of {len(mine)} runs to do", flush=True)
    for i, (run, seed) in enumerate(todo):
        path = recording.record(run, seed, progress=sys.stdout.isatty(), results=args.results)
        print(f"{i + 1}/{len(todo)} {path.parent.name}/{path.name}", flush=True)


def _part(text: str | None) -> tuple[int, int]:
    """ "3/8" -> (3, 8); None -> (1, 1), the whole. Raises ValueError."""
    numbers = (text or "1/1").split("/")
    if len(numbers) != 2 or not all(number.isdecimal() for number in numbers):
        raise ValueError(f"--shard {text!r} is no part: write 3/8 for the third of eight")
    return int(numbers[0]), int(numbers[1])


def collect(args):
    """Write the records of a results file to their places."""
    from clrlib.evidence import recording

    paths = recording.collect(args.results)
    print(f"{len(paths)} records written below {paths[0].parent.parent}" if paths else "nothing in it that is not here already")


def show_list(runs):
    """A line per declared run: seeds there and wanted, the minutes that the rest takes here, and the result."""
    from clrlib.evidence import recording
    from clrlib.lab import engine
    from clrlib.stats import mean_and_spread

    device = engine.pick_device()
    speeds = {run.network: recording.seconds_per_image(run, device) for run in runs}
    print(f"{'':5}{'run':36}{'network':10}{'seeds':>7}{'minutes':>9}  result")
    for run in runs:
        there = run.recorded()
        left, speed = max(0, run.seeds - len(there)), speeds[run.network]
        minutes = "-" if speed is None and left else f"{left * recording.work(run) * (speed or 0) / 60:.1f}"
        result = mean_and_spread([r.history.accuracy for r in there]) if there and run.sweep is None else run.about
        print(f"{run.experiment:5}{run.name:36}{run.network:10}{len(there):>3} /{run.seeds:>2}{minutes:>9}  {result}")
    print("minutes: what the missing seeds would take here, by this machine's own records; - where it has none")


def build(args):
    """Execute notebooks and store their outputs, normalised; or stamp the repository's address and say which files changed."""
    from clrlib.page import address
    from clrlib.page import build as notebooks

    if not args.stamp:
        notebooks.build(args.notebooks)
    url, changed = address.stamp()
    print(f"Address    {url or 'none yet: no badges, and a chapter opened as a lone file needs CLR_REPO'}")
    if url and not address.badges(url, address.FIRST):
        print("Badges     none: Colab and Binder open chapters from github.com")
    print(f"Changed    {', '.join(changed) or 'nothing'}")


if __name__ == "__main__":
    sys.exit(main())
