"""Chapters where readers open them: Colab's packages, Binder's memory and rights, no PyTorch, a class on one machine."""

import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from faults import survived
from kernels import ROOT, CellError, Kernel, code_cells, install, linked, needed

from clrlib import cells, hosts

NOTEBOOKS = ROOT / "notebooks"
CHAPTERS = sorted(path.name for path in NOTEBOOKS.glob("*.ipynb"))
START, ONE_CYCLE = "00_start_here.ipynb", "05_one_cycle.ipynb"
DATA = os.environ.get("CLR_DATA", "digits")  # asked here, before any fixture clears the environment
SCIENCE = [requirement.split(">")[0] for requirement in hosts.PACKAGES.values() if "ipywidgets" not in requirement]
# What Colab has (its runtime of 2025): a kernel and widgets a generation behind JupyterLab's.
COLAB = {"ipykernel": "6.17.1", "ipython": "7.34.0", "jupyter-client": "7.4.9", "ipywidgets": "7.7.1"}
BESIDE_A_LIVE_RUN = 'groups = {"yours": scores}'  # chapter 02 draws recorded runs beside those just trained
GB = 1024**3
EXPLORER = "[shaped.controls[0].comm.comm_id, next(w for w in shaped.children if hasattr(w, 'format')).comm.comm_id]"
JUPYTERLAB = 0.15 * GB  # what the server beside a kernel holds, with room


def some(names, *quick):
    """For parametrize: these in `make test`, the others in `make test-full`."""
    return [name if name in quick else pytest.param(name, marks=pytest.mark.full) for name in names]


@pytest.fixture(scope="session")
def course(tmp_path_factory):
    """A bare repository of the course as it stands in this folder."""
    folder = tmp_path_factory.mktemp("course")
    listed = subprocess.run(["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / "work" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / "work" / name)
    who = ["-c", "user.name=reader", "-c", "user.email=reader@example.org"]
    for arguments in (["init", "-q"], ["add", "-f", "."], [*who, "commit", "-qm", "all"], ["clone", "-q", "--bare", ".", "../course.git"]):
        subprocess.run(["git", *arguments], cwd=folder / "work", check=True, capture_output=True)
    return folder / "course.git"


# --- Colab ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def colab(tmp_path_factory):
    """The Python of an environment with Colab's kernel and widgets, this machine's torch, and neither clrlib nor pip."""
    python = linked(tmp_path_factory.mktemp("colab") / "env", needed(SCIENCE))
    install(python, "ipython-genutils", *(f"{name}=={version}" for name, version in COLAB.items() if name != "ipywidgets"))
    install(python, "--no-deps", f"ipywidgets=={COLAB['ipywidgets']}")  # what it needs is the notebook server, which Colab's is not
    (packages,) = python.parent.parent.glob("lib/python*/site-packages")
    (packages / "google/colab").mkdir(parents=True)
    (packages / "google/colab/__init__.py").touch()
    return python


@pytest.mark.parametrize("name", some(CHAPTERS, START, ONE_CYCLE))
def test_on_colab_a_lone_chapter_runs_on_the_hosts_own_packages(name, colab, course, tmp_path):
    shutil.copy(NOTEBOOKS / name, tmp_path)
    before = sorted(path.name for path in colab.parent.parent.glob("lib/python*/site-packages/*"))
    with Kernel([str(colab)], tmp_path, CLR_REPO=f"file://{course}", CLR_DATA=DATA) as kernel:
        kernel.run("import google.colab")
        for source in code_cells(tmp_path / name):
            kernel.run(source)
        versions = kernel.ask(f"{{name: __import__('importlib.metadata').metadata.version(name) for name in {list(COLAB)}}}")
        here, torch = kernel.ask("[__import__('clrlib').__file__, __import__('torch').__file__]")
    assert versions == COLAB
    assert here == str(tmp_path / "clr-course/clrlib/__init__.py") and "/site-packages/torch/" in torch
    assert sorted(path.name for path in colab.parent.parent.glob("lib/python*/site-packages/*")) == before, "nothing was installed"
    survived(__name__)


def test_on_colab_a_slider_of_the_page_draws_a_new_picture(colab, course, tmp_path):
    shutil.copy(NOTEBOOKS / ONE_CYCLE, tmp_path)
    with Kernel([str(colab)], tmp_path, CLR_REPO=f"file://{course}", CLR_DATA=DATA) as kernel:
        check_slider(kernel)


def check_slider(kernel) -> list[float]:
    """Show chapter 05's first widget and move its first slider there and back; seconds from each move to its picture."""
    sources = code_cells(NOTEBOOKS / ONE_CYCLE)
    for source in sources[: 1 + next(i for i, source in enumerate(sources) if "shaped = " in source)]:
        kernel.run(source)
    slider, picture = kernel.ask(EXPLORER)
    start = kernel.ask("shaped.controls[0].index")
    seconds = [kernel.move(slider, {"index": start + by}, picture) for by in (-1, -2, -1, 0)]
    assert kernel.ask("shaped.controls[0].index") == start
    survived(__name__, len(seconds))
    return seconds


# --- no PyTorch -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def torchless(tmp_path_factory):
    """The Python of an environment with all that the course needs but PyTorch."""
    names = needed([*(name for name in SCIENCE if not name.startswith("torch")), "ipykernel", "ipywidgets"])
    return linked(tmp_path_factory.mktemp("torchless") / "env", names)


def test_without_torch_the_schedule_widget_answers(torchless):
    with Kernel([str(torchless)], NOTEBOOKS) as kernel:
        with pytest.raises(CellError, match="No module named 'torch'.*pip install torch torchvision, then restart the kernel"):
            kernel.run(code_cells(NOTEBOOKS / ONE_CYCLE)[0] + "\nimport torch")
        check_slider(kernel)


@pytest.mark.parametrize("name", CHAPTERS)
def test_without_torch_a_chapter_can_be_read(name, torchless):
    """A cell that fails says that PyTorch lacks, or needs a name that was lost that way; what only reads records is shown."""
    lost = {}
    with Kernel([str(torchless)], NOTEBOOKS) as kernel:
        for source in code_cells(NOTEBOOKS / name):
            try:
                kernel.run(source)
            except CellError as error:
                no_torch = error.kind == "ModuleNotFoundError" and "To get it: %pip install torch" in error.said
                assert no_torch or (error.kind == "NameError" and error.said.split("'")[1] in set().union(*lost.values())), error
                lost[source] = cells.made(source)
    recorded = {source for source in lost if "records.load" in source or "find(" in source}
    assert all(source.startswith(BESIDE_A_LIVE_RUN) or "RERUN" in source for source in recorded)
    survived(__name__)
