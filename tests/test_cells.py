"""Cells run out of order, twice, after a restart and after an interrupt: a result, or the cell that has to be run first."""

import itertools
import random
import time
from pathlib import Path

import pytest
from faults import survived
from kernels import LOAD, CellError, Kernel, advised, code_cells, follow

from clrlib.page import setup as cells

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
CHAPTERS = sorted(path.name for path in NOTEBOOKS.glob("*.ipynb"))
QUICK = ["00_start_here.ipynb", "05_one_cycle.ipynb", "10_recipe.ipynb"]


@pytest.fixture
def kernel():
    """Of the digits and the smoke profile, in the notebooks' folder."""
    with Kernel(folder=NOTEBOOKS, CLR_DATA="digits") as started:
        yield started


# --- in a chapter ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CHAPTERS)
def test_after_a_restart_and_from_the_bottom_up_every_cell_gives_a_result_or_names_another(kernel, name):
    sources = code_cells(NOTEBOOKS / name)
    kernel.run(LOAD)
    told = [advised(kernel, NOTEBOOKS / name, source) for source in reversed(sources)]
    assert any(told) and not all(told)
    survived(__name__, len(told))


def test_who_does_what_each_message_says_gets_there(kernel):
    name = "05_one_cycle.ipynb"
    kernel.run(LOAD)
    ran = follow(kernel, NOTEBOOKS / name, "drawn = live.Trainer")
    assert len(ran) > 3 and kernel.ask("drawn.job.state") == "idle"


@pytest.mark.parametrize("name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.full) for name in CHAPTERS])
def test_every_cell_can_be_run_twice(kernel, name):
    for source in code_cells(NOTEBOOKS / name):
        for _ in range(2):
            kernel.run(source)
    survived(__name__, len(code_cells(NOTEBOOKS / name)))


# Python can't take back a half-done import of these: after a stop in it, the kernel must be restarted (see TEACHING.md).
LARGE = "import matplotlib.pyplot, scipy.stats, sklearn.model_selection, torch, torch._dynamo, torchvision"


@pytest.mark.parametrize("name", [name if name == QUICK[1] else pytest.param(name, marks=pytest.mark.full) for name in CHAPTERS])
def test_every_cell_can_be_interrupted_and_run_again(kernel, name):
    draw, sources = random.Random(name), code_cells(NOTEBOOKS / name)
    kernel.run(LARGE)
    cut = 0
    for source in sources:
        cut += kernel.interrupted(source, draw.choice([0.02, 0.05, 0.1, 0.2, 0.5, 1.0]))
        kernel.run(source)
    assert kernel.alive() and cut > 0
    survived(__name__, len(sources))


# --- one message ----------------------------------------------------------------------------------------------------


def error_of(source):
    try:
        exec(source, {})
    except (NameError, ModuleNotFoundError) as error:
        return error


@pytest.fixture
def chapters(tmp_path, monkeypatch):
    """Two short chapters that make the same names."""
    for name, code in {
        "01.ipynb": ["a = 1\nshared = 2", "print(a)", "a = 3"],
        "02.ipynb": ["# first\n\ndef a(): pass", "b = a()", "b"],
    }.items():
        notes = [[{"cell_type": "markdown", "source": [f"# {name}\n", "\n", f"## Part {i}"]}] for i in range(len(code))]
        stored = [{"cell_type": "code", "source": source.splitlines(keepends=True)} for source in code]
        pairs = itertools.chain(*[[*note, cell] for note, cell in zip(notes, stored)])
        (tmp_path / name).write_text(cells.json.dumps({"cells": list(pairs)}))
    monkeypatch.setattr(cells, "CHAPTERS", tmp_path)


@pytest.mark.parametrize(
    "ran, says",
    {
        ("print(a)",): "“Part 0” that begins\n\n    a = 1\n",
        ("a = 3\nprint(a)  # changed by the reader", "print(a)"): "“Part 0” that begins\n\n    a = 1\n",
        ("b = a()",): "“Part 0” that begins\n\n    def a(): pass\n",
        ("b",): "“Part 1” that begins\n\n    b = a()\n",
        ("print(a) ; more", "b"): "“Part 1” that begins\n\n    b = a()\n",
    }.items(),
)
def test_the_nearest_cell_above_that_makes_it_is_named(chapters, ran, says):
    assert says in cells.remedy(error_of(ran[-1]), ["", *ran])


@pytest.mark.parametrize("ran", ["nobody_makes_this", "def f():\n    a += 1\nf()", "a = a + 1\n# no line of a chapter"])
def test_what_no_chapter_makes_is_left_as_it_is(chapters, ran):
    assert cells.remedy(error_of(ran), [ran]) == ""


def test_without_chapters_nothing_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(cells, "CHAPTERS", tmp_path)
    assert cells.remedy(error_of("a"), ["a"]) == ""


@pytest.mark.parametrize("content", ["", "{", "[]", '{"nbformat": 4}', "\x00"])
def test_a_notebook_that_cannot_be_read_is_passed_over(content, chapters):
    (cells.CHAPTERS / "00.ipynb").write_text(content)
    assert "“Part 0”" in cells.remedy(error_of("print(a)"), ["print(a)"])
    survived(__name__)


def test_a_missing_module_of_another_name_is_left_as_it_is():
    assert cells.remedy(error_of("import no_such_module"), ["import no_such_module"]) == ""


def test_a_message_comes_at_once(kernel):
    kernel.run(LOAD)
    began = time.perf_counter()
    with pytest.raises(CellError, match="It is made by"):
        kernel.run(code_cells(NOTEBOOKS / QUICK[1])[-1])
    assert time.perf_counter() - began < 5
