"""The repository's address: what is refused, and that stamping changes what it should and nothing else."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from clrlib.__main__ import main
from clrlib.page import address
from clrlib.page.build import normalised

ROOT = Path(__file__).resolve().parent.parent
CHAPTERS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
URL = "https://github.com/some-owner/a_course.of-mine"
STAMPED = ["notebooks/00_start_here.ipynb", "notebooks/01_bare.ipynb"]
REMEDY = "python -m clrlib build --stamp"


@pytest.fixture
def copy(tmp_path):
    """What stamping reads and writes: a chapter with outputs, one without, a README with a place for badges; no address set."""
    (tmp_path / "notebooks").mkdir()
    put(tmp_path, "")
    (tmp_path / "README.md").write_text("# Course\n\n<!--badges-->\n<!--/badges-->\n\nText.\n", encoding="utf-8")
    shown = new_code_cell("6 * 7", execution_count=1, outputs=[new_output("execute_result", {"text/plain": "42"}, execution_count=1)])
    cells = [new_markdown_cell("# 00 · Start\n\n**The question.** Why?"), new_markdown_cell("More."), shown]
    write(tmp_path / "notebooks/00_start_here.ipynb", new_notebook(cells=cells))
    write(tmp_path / "notebooks/01_bare.ipynb", new_notebook(cells=[new_markdown_cell("# 01"), new_code_cell("1")]))
    return tmp_path


def put(folder, url):
    """A pyproject.toml with this address, or with none, as it would be written by hand."""
    line = f"Repository = {json.dumps(url)}" if url else ""
    (folder / "pyproject.toml").write_text(f'[project]\nname = "x"\n\n[project.urls]\n{line}\n', encoding="utf-8")


def stamp(url, folder):
    put(folder, url)
    return address.stamp(folder)


def write(path, notebook):
    path.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def chapter(folder, name="00_start_here.ipynb"):
    return nbformat.read(folder / "notebooks" / name, as_version=4)


# --- what is an address -------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [URL, f"{URL}/", f"{URL}.git", "https://git.example.org/a/b"])
def test_an_address_is_kept_in_its_plain_form(given):
    assert address.checked(given) == given.removesuffix("/").removesuffix(".git")


@pytest.mark.parametrize(
    "given",
    [
        "http://github.com/a/b", "git@github.com:a/b.git", "github.com/a/b", "file:///srv/a/b", "https://github.com/a",
        "https://github.com/a/b/tree/main", "https://name:secret@github.com/a/b", "https://github.com/a/b?c", "https://github.com/a/..",
        'https://github.com/a/b"', "https://github.com/a/b'", "https://github.com/a/b c", "https://github.com/a/b\n", " https://github.com/a/b",
        "https://github.com/a/$(b)", "https://github.com/a/b;c", "https://github.com/a/`b`", "https://github.com/a/b&c", "https://github.com/a/{b}",
        "https://github.com/a/-b", "https://github.com/a/b)", "https://github.com/a/b<!--", "https://github.com/á/b",
    ],
)  # fmt: skip
def test_anything_else_is_refused_and_nothing_is_written(given, copy):
    put(copy, given)
    before = contents(copy)
    with pytest.raises(ValueError, match="not the address of a repository: it looks like https://github.com/OWNER/REPO") as error:
        address.stamp(copy)
    assert repr(given) in str(error.value) and contents(copy) == before


# --- stamping -----------------------------------------------------------------------------------------------


def test_an_address_reaches_badges_set_up_cell_and_readme(copy):
    assert stamp(URL, copy) == (URL, ["README.md", *STAMPED])
    title, more, set_up, shown = chapter(copy).cells
    colab = "https://colab.research.google.com/github/some-owner/a_course.of-mine/blob/main/notebooks/00_start_here.ipynb"
    binder = "https://mybinder.org/v2/gh/some-owner/a_course.of-mine/main?labpath=notebooks%2F00_start_here.ipynb"
    for text in (title.source, (copy / "README.md").read_text(encoding="utf-8")):
        assert re.findall(r"\]\(([^\s)]+)\)\n", text) == [colab, binder]
    assert title.source.startswith("# 00 · Start\n\n<!--badges-->\n[![") and title.source.endswith(
        "<!--/badges-->\n\n**The question.** Why?"
    )
    assert set_up.source == address.bootstrap(URL) and f'or "{URL}"\n' in set_up.source
    assert "01_bare.ipynb)" in chapter(copy, "01_bare.ipynb").cells[0].source


def test_stamping_twice_changes_nothing(copy):
    stamp(URL, copy)
    first = contents(copy)
    assert stamp(URL, copy) == address.stamp(copy) == (URL, [])
    assert contents(copy) == first


def test_an_address_taken_out_leaves_no_trace_and_another_replaces_it_whole(copy):
    stamp("", copy)
    without = contents(copy)
    stamp("https://github.com/x/y", copy)
    stamp(URL, copy)
    assert not [name for name, raw in contents(copy).items() if b"x/y" in raw]
    assert stamp("", copy)[0] == "" and contents(copy) == without
    assert b"badges" not in without["00_start_here.ipynb"] and b'or \\"\\"' in without["00_start_here.ipynb"]


def test_everything_else_in_a_chapter_stays(copy):
    before = chapter(copy).cells
    stamp(URL, copy)
    after = [cell for cell in chapter(copy).cells if not address.is_bootstrap(cell)]
    assert after[1:] == before[1:] and {**after[0], "source": 0} == {**before[0], "source": 0}


def test_an_edited_or_second_set_up_cell_is_replaced(copy):
    path = copy / "notebooks/00_start_here.ipynb"
    stamp("", copy)
    right, notebook = path.read_bytes(), chapter(copy)
    notebook.cells.append(new_code_cell("import os\n" + address.bootstrap(URL)))
    write(path, notebook)
    assert address.stamp(copy)[1] == ["notebooks/00_start_here.ipynb"] and path.read_bytes() == right


def test_away_from_github_there_are_no_badges_but_the_course_is_fetched_from_there(copy):
    stamp("https://git.example.org/a/b", copy)
    title, _, set_up, _ = chapter(copy).cells
    assert "badges" not in title.source and "https://git.example.org/a/b" in set_up.source


def test_a_readme_without_a_place_for_badges_stays(copy):
    (copy / "README.md").write_text("# Course\n", encoding="utf-8")
    assert "README.md" not in stamp(URL, copy)[1]


def test_a_build_keeps_the_set_up_cell_and_counts_it_as_the_first(copy):
    stamp(URL, copy)
    notebook = chapter(copy)
    notebook.cells[2].execution_count = 7
    notebook.cells[3].execution_count = 9
    built = normalised(notebook)
    assert [cell.id for cell in built.cells] == ["cell-000", "cell-001", "bootstrap", "cell-002"]
    assert [cell.execution_count for cell in built.cells[2:]] == [1, 2]
    assert nbformat.writes(normalised(address.stamped(built, URL, address.FIRST))) == nbformat.writes(built)
    nbformat.validate(built)


def test_the_command_says_what_changed(copy, monkeypatch, capsys):
    stamp_it = address.stamp
    monkeypatch.setattr(address, "stamp", lambda: stamp_it(copy))
    command = ["build", "--stamp"]
    assert main(command) == 0 and "needs CLR_REPO" in capsys.readouterr().out
    put(copy, URL)
    assert main(command) == 0 and URL in capsys.readouterr().out
    assert main(command) == 0 and "Changed    nothing" in capsys.readouterr().out
    put(copy, "https://git.example.org/a/b")
    assert main(command) == 0 and "Badges     none" in capsys.readouterr().out
    put(copy, "b; rm")
    assert main(command) == 1 and "error: 'b; rm' is not" in capsys.readouterr().err


# --- the cell, and the chapters as committed ----------------------------------------------------------------


@pytest.mark.parametrize("url", ["", URL, f"https://github.com/{'o' * 39}/{'r' * 60}"], ids=["none", "usual", "long"])
def test_the_set_up_cell_is_short_and_stays_as_it_is_when_formatted(url):
    source = address.bootstrap(url)
    assert len(source.splitlines()) <= 12 and ast.parse(source)
    for command in (["format", "--line-length", "100", "-"], ["check", "--quiet", "--fix", "--stdin-filename", "cell.py", "-"]):
        done = subprocess.run([sys.executable, "-m", "ruff", *command], input=source + "\n", cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0 and done.stdout == source + "\n", done.stderr


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_has_the_set_up_cell_and_badges_of_the_address(path):
    notebook = address.stamped(nbformat.read(path, as_version=4), address.repository(), f"notebooks/{path.name}")
    assert nbformat.writes(notebook) + "\n" == path.read_text(encoding="utf-8"), f"run {REMEDY}"


def test_the_readme_has_the_badges_of_the_address():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    url = address.repository()
    assert not address.BADGES.search(text) or address.badges(url, address.FIRST) in address.BADGES.search(text)[0], f"run {REMEDY}"
