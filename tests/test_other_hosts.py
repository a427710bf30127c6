"""Chapters where readers open them: Colab's packages, Binder's memory and rights, no PyTorch, a class on one machine."""

import os
import shutil
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest
from faults import survived
from kernels import ROOT, CellError, Kernel, code_cells, follow, install, linked, needed

from clrlib.page import setup as cells
from clrlib.page import setup as hosts

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


def check_slider(kernel):
    """Show chapter 05's first widget and move its first slider."""
    sources = code_cells(NOTEBOOKS / ONE_CYCLE)
    for source in sources[: 1 + next(i for i, source in enumerate(sources) if "shaped = " in source)]:
        kernel.run(source)
    survived(__name__, len(moved(kernel)))


def moved(kernel) -> list[float]:
    """Move the first slider of chapter 05 there and back; seconds from each move to its picture."""
    slider, picture = kernel.ask(EXPLORER)
    start = kernel.ask("shaped.controls[0].index")
    seconds = [kernel.move(slider, {"index": start + by}, picture) for by in (-1, -2, -1, 0)]
    assert kernel.ask("shaped.controls[0].index") == start
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


# --- Binder ---------------------------------------------------------------------------------------------------------


class Limit:
    """Kills a process once it and its children hold more than `allowed` bytes of memory; `peak` is the most they held.

    Resident memory, sampled: shared libraries count for each process that has mapped them, so it is a little more than a container's.
    """

    def __init__(self, pid: int, allowed: float):
        self.process, self.allowed, self.peak, self.over = psutil.Process(pid), allowed, 0, threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def _watch(self):
        while not self.over.wait(0.05):
            try:
                held = sum(process.memory_info().rss for process in [self.process, *self.process.children(recursive=True)])
            except psutil.Error:
                continue  # a child has ended meanwhile, or all is over
            self.peak = max(self.peak, held)
            if held > self.allowed:
                self.process.kill()

    def stop(self) -> int:
        self.over.set()
        self.thread.join()
        return self.peak


@pytest.fixture(scope="module")
def guest(tmp_path_factory):
    """The Python of an environment with all that the course needs, but not the course."""
    return linked(tmp_path_factory.mktemp("guest") / "env", needed([*SCIENCE, "ipykernel", "ipywidgets"]))


@pytest.fixture(scope="module")
def binder(guest, course, tmp_path_factory):
    """A home with the course in it, all of it read-only, and the command of a Python that has to mind that (root need not)."""
    home = tmp_path_factory.mktemp("binder") / "home"
    subprocess.run(["git", "clone", "-q", str(course), str(home / "course")], check=True)
    subprocess.run(["chmod", "-R", "a-w", str(home)], check=True)
    yield home, [*(["setpriv", "--bounding-set=-dac_override"] if os.geteuid() == 0 else []), str(guest)]
    subprocess.run(["chmod", "-R", "u+w", str(home)], check=True)


@pytest.mark.parametrize("name, profile", [(START, "smoke"), pytest.param(START, "laptop", marks=pytest.mark.full)])
def test_on_binder_a_chapter_trains_in_2_gb_and_a_home_that_cannot_be_written(name, profile, binder, capsys):
    home, command = binder
    unset = dict.fromkeys([name for name in os.environ if name.startswith(("JUPYTER", "IPYTHON", "XDG", "MPL", "CLR", "PYTHONPATH"))])
    own = {"HOME": str(home), "CLR_PROFILE": profile, "OMP_NUM_THREADS": "2", "CLR_DATA": DATA, "CUDA_VISIBLE_DEVICES": ""}
    with Kernel(command, home / "course/notebooks", **unset | own) as kernel:
        limit = Limit(kernel.pid, 2 * GB - JUPYTERLAB)
        with pytest.raises(CellError, match="Permission denied|Read-only"):
            kernel.run("import pathlib; (pathlib.Path.home() / 'here').touch()")
        said = [kernel.printed(source) for source in code_cells(NOTEBOOKS / name)]
        assert kernel.alive() and kernel.ask("__import__('clrlib').__file__").startswith(str(home))
        assert not any("Traceback" in text for text in said)
    with capsys.disabled():
        print(f"\n{name} on the {profile} profile: at most {limit.stop() / GB:.2f} GB resident, of {limit.allowed / GB:.2f}")
    survived(__name__)


# --- a class --------------------------------------------------------------------------------------------------------

STUDENTS = 4
LONG = "setattr(drawn, 'setup', __import__('dataclasses').replace(drawn.setup, epochs=200))"
BUSY = "bool(drawn.runs) and len(drawn.history) > 0"


def attend(together, threads):
    """One student: opens chapter 05, trains what the sliders shape and moves them meanwhile, at the same time as the others."""
    with Kernel(folder=NOTEBOOKS, CLR_DATA=DATA, CLR_PROFILE="laptop", OMP_NUM_THREADS=threads) as kernel:
        memory = Limit(kernel.pid, float("inf"))
        follow(kernel, NOTEBOOKS / ONE_CYCLE, "drawn = live.Trainer")
        kernel.ask(LONG)
        kernel.press(kernel.ask("drawn.train.comm.comm_id"))
        while not kernel.ask(BUSY):
            time.sleep(0.2)
        together.wait(120)
        began, steps = time.perf_counter(), kernel.ask("len(drawn.history)")
        seconds = sum((moved(kernel) for _ in range(6)), [])
        rate = (kernel.ask("len(drawn.history)") - steps) / (time.perf_counter() - began)
        together.wait(120)
        kernel.press(kernel.ask("drawn.stop.comm.comm_id"))
        while kernel.ask("drawn.job.state") != "idle":
            time.sleep(0.2)
        assert kernel.alive() and kernel.ask("len(drawn.runs)") == 1
        return memory.stop(), seconds, rate


@pytest.mark.full
@pytest.mark.parametrize("threads", ["1", "2"])
def test_a_class_on_one_machine(threads, capsys):
    together = threading.Barrier(STUDENTS)
    with ThreadPoolExecutor(STUDENTS) as class_room:
        told = [student.result(300) for student in [class_room.submit(attend, together, threads) for _ in range(STUDENTS)]]
    median, p95 = np.percentile([second for _, seconds, _ in told for second in seconds], [50, 95])
    peak = max(peak for peak, *_ in told) / GB
    rate = np.mean([rate for *_, rate in told])
    with capsys.disabled():
        print(f"\n{STUDENTS} kernels that train at once on {os.cpu_count()} cores, {threads} thread(s) each: at most {peak:.2f} GB each,")
        print(f"{rate:.2f} steps a second each; slider to picture: median {1000 * median:.0f} ms, p95 {1000 * p95:.0f} ms")
    survived(__name__, STUDENTS)
