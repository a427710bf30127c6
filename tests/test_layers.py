"""clrlib in layers: a module imports only from modules before it, and the reading path needs no torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import clrlib

ORDER = (
    "imports", "files", "cells", "hosts", "validate", "schedules", "descent", "decay", "batch_size", "escape", "history", "suggest",
    "recipe", "audit",  # numpy only
    "measuring", "jobs", "profiles", "records", "experiments", "claims", "results", "figures", "plots", "live_plots", "dots",
    "cycles", "noise", "outcomes", "landscapes", "parts", "widgets", "momentum", "decay_plots", "batch_plots", "guesses",
    "checks",  # no torch
    "scheduler", "range_test", "cifar10", "data", "models", "engine", "gradient_noise", "memory", "fast", "checkpoints", "training",
    "fresh", "sharpness", "live", "budget", "recording", "address", "notebooks", "__main__",
)  # fmt: skip
READING = ORDER[: ORDER.index("scheduler")]
FOLDER = Path(clrlib.__file__).parent
FILES = sorted(FOLDER.rglob("*.py"))
MODULES = sorted({path.relative_to(FOLDER).parts[0].removesuffix(".py") for path in FILES} - {"__init__"})


def imported(name):
    """Everything that a module imports anywhere, functions included: (other modules of clrlib, top names of others).

    A folder of modules counts as one.
    """
    ours, others = set(), set()
    files = [path for path in FILES if path.relative_to(FOLDER).parts[0] in (name, f"{name}.py")]
    for node in [node for path in files for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]:
        if isinstance(node, ast.Import):
            paths = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = ".".join(["clrlib"] * node.level + [node.module] * bool(node.module))  # relative: in the top folder alone
            paths = [f"clrlib.{alias.name}" for alias in node.names] if module == "clrlib" else [module]
        else:
            continue
        for path in paths:
            top, *rest = path.split(".")
            ours.add(rest[0]) if top == "clrlib" else others.add(top)
    return ours - {name}, others


def test_every_module_has_its_place():
    assert set(MODULES) <= set(ORDER)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_only_from_modules_before_it(name):
    assert imported(name)[0] <= set(ORDER[: ORDER.index(name)])


@pytest.mark.parametrize("name", sorted(set(MODULES) & set(READING)))
def test_the_reading_path_needs_no_torch(name):
    third_party = imported(name)[1] - set(sys.stdlib_module_names)
    numpy_only = ORDER.index(name) <= ORDER.index("audit")
    assert third_party <= {"numpy"} if numpy_only else not third_party & {"torch", "torchvision"}


def test_importing_the_reading_path_loads_no_torch():
    modules = ", ".join(f"clrlib.{name}" for name in READING if name in MODULES)
    done = subprocess.run([sys.executable, "-X", "importtime", "-c", f"import {modules}"], capture_output=True, text=True, check=True)
    loaded = {line.rsplit("|", 1)[1].strip().split(".")[0] for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert {"clrlib", "numpy", "ipywidgets"} <= loaded and not loaded & {"torch", "torchvision", "sklearn", "matplotlib"}
