"""The core lifted: copied into an empty folder under another name, it runs there on numpy and torch alone."""

import ast
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import clrlib

CORE = ("validate", "files", "schedules", "history", "stats", "suggest", "scheduler", "range_test")
TORCH = {"scheduler", "range_test"}
COMFORTS = {"tqdm", "matplotlib", "scipy"}  # used where they are, imported where they are used
FOLDER = Path(clrlib.__file__).parent

PRELUDE = """
import sys
from importlib.machinery import BuiltinImporter, FrozenImporter, PathFinder

class Alone:
    @staticmethod
    def find_spec(name, path=None, target=None):
        top = name.partition(".")[0]
        allowed = top in ALLOWED or top.startswith("_sysconfigdata")  # Python's own, named after the machine
        return PathFinder.find_spec(name, path, target) if allowed else None

sys.meta_path[:] = [BuiltinImporter, FrozenImporter, Alone]
sys.path.insert(0, FOLDER)
import torch
from torch import nn
torch.manual_seed(0)
torch.set_num_threads(1)
"""

STRANGER = """
from mylib.range_test import range_test_in_place
from mylib.scheduler import ScheduledLR
from mylib.schedules import one_cycle, one_cycle_momentum

inputs = torch.randn(512, 8)
dataset = torch.utils.data.TensorDataset(inputs, (inputs[:, 0] + inputs[:, 1] > 0).long())
loader = torch.utils.data.DataLoader(dataset, batch_size=32, shuffle=True)
model = nn.Sequential(nn.Linear(8, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 2))
optimizer, loss_fn = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), nn.functional.cross_entropy
before = [value.tolist() for value in model.state_dict().values()]

found = range_test_in_place(model, optimizer, loss_fn, loader)
assert [value.tolist() for value in model.state_dict().values()] == before and not optimizer.state
assert found.losses.shape == (1, 100) and min(found.losses[0, :80]) < found.before[0] / 2

curves = {"lr": one_cycle(0.02, 0.2), "momentum": one_cycle_momentum()}
scheduler, losses = ScheduledLR(optimizer, curves, steps=4 * len(loader)), []
for epoch in range(4):
    for batch, targets in loader:
        loss = loss_fn(model(batch), targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        scheduler.step()
        losses.append(loss.item())
first, last = sum(losses[:4]), sum(losses[-16:]) / 4
assert scheduler.remaining == 0 and last < first / 2, (first, last)
if hasattr(found, "suggest"):
    found.suggest(), found.candidates()
"""

DRAWN = """
if hasattr(found, "plot"):
    assert found.plot().lines
"""

LANGUAGE = """
tokens = (torch.arange(13) + torch.randint(12, (64, 1))) % 12
loader = torch.utils.data.DataLoader(tokens, batch_size=8, shuffle=True)
model = nn.Sequential(nn.Embedding(12, 16), nn.Linear(16, 16), nn.LayerNorm(16), nn.Linear(16, 12))
epochs = 12
"""

README = [  # what holds after each of its blocks
    """
assert scheduler.remaining == 0 and optimizer.param_groups[0]["lr"] == 0
assert abs(optimizer.param_groups[0]["betas"][0] - 0.85) < 1e-12
assert next_token(model, tokens).item() < found.before[0] / 2
""",
    """
assert [group["lr"] for group in optimizer.param_groups] == [0.003, 0.003 * 0.1]
assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0]
for _ in range(7):
    optimizer.step()
    scheduler.step()
""",
    """
assert scheduler.last_epoch == 7
""",
    """
assert scheduler.last_epoch == 7 and scheduler.remaining == 1493
assert abs(optimizer.param_groups[0]["lr"] - curve.table(1000)[7]) < 1e-12
""",
]


def needed_by(*packages) -> set:
    """The top-level modules of these packages, and of all that they require."""
    waiting, seen = list(packages), set()
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in seen:
            continue
        seen.add(name)
        try:
            lines = map(Requirement, requires(name) or [])
        except PackageNotFoundError:  # a requirement that this machine was spared
            continue
        waiting += [line.name for line in lines if not line.marker or line.marker.evaluate({"extra": ""})]
    modules = packages_distributions().items()
    return {top for top, owners in modules if {re.sub(r"[-_.]+", "-", o).lower() for o in owners} & seen}


@pytest.fixture(scope="module")
def lifted(tmp_path_factory):
    """A folder with the core in it, as `mylib`, and nothing else."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "mylib").mkdir()
    for name in CORE:
        shutil.copy(FOLDER / f"{name}.py", folder / "mylib")
    return folder


def run(folder, script, *packages):
    """Run a script beside the core, where only these packages and their requirements can be imported."""
    allowed = needed_by(*packages) | sys.stdlib_module_names | {"mylib"}
    end = "\nassert 'clrlib' not in sys.modules\nprint(*{name.partition('.')[0] for name in sys.modules})\n"
    code = f"FOLDER, ALLOWED = {str(folder)!r}, {allowed!r}\n{PRELUDE}{script}{end}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [sys.executable, "-I", "-W", "error::UserWarning:mylib", "-c", code],
        capture_output=True, text=True, cwd=folder, env=environment | {"MPLBACKEND": "Agg"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def blocks():
    text = (FOLDER / "README.md").read_text(encoding="utf-8").split("## The course's modules")[0]
    return [
        block.replace("from clrlib.", "from mylib.")
        for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    ]


def test_it_works_with_numpy_and_torch_alone(lifted):
    loaded = run(lifted, STRANGER, "numpy", "torch")
    assert {"mylib", "numpy", "torch"} <= loaded and not loaded & COMFORTS


def test_it_uses_tqdm_scipy_and_matplotlib_where_they_are(lifted):
    assert "tqdm" in run(lifted, STRANGER + DRAWN, "numpy", "torch", *COMFORTS)


def test_the_readme_runs_in_the_lifted_folder(lifted):
    assert len(blocks()) == len(README)
    script = "".join(block + check for block, check in zip(blocks(), README))
    assert not run(lifted, LANGUAGE + script, "numpy", "torch") & COMFORTS


def test_the_readme_names_the_files_to_copy():
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"`(\w+)\.py`", text.split("## ")[0]) == list(CORE)


@pytest.mark.parametrize("name", CORE)
def test_a_module_of_the_core_imports_numpy_torch_and_the_core_alone(name):
    tree = ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8"))
    ours, others, first = set(), set(), set()
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.level:
            ours |= {node.module} if node.module else {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = [node.module]
        others |= {top.partition(".")[0] for top in names}
        first |= {top.partition(".")[0] for top in names if node in tree.body}
    allowed = sys.stdlib_module_names | {"numpy"} | ({"torch"} if name in TORCH else set())
    assert ours <= set(CORE) and first <= allowed and others <= allowed | COMFORTS
