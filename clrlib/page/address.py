"""The repository's public address: it stands in pyproject.toml, under [project.urls], as Repository.

A build stamps it into the badges and into the chapters' set-up cell; `python -m clrlib build --stamp` does only that, and
executes nothing. A chapter may be opened as a lone file, as Colab does: its set-up cell then fetches the repository from
there, or from CLR_REPO.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

from clrlib.files import ROOT, write_atomically

BRANCH = "main"
FIRST = "notebooks/00_start_here.ipynb"
FORM = re.compile(r"https://[a-z0-9][a-z0-9.-]*/\w[\w.-]*/\w[\w.-]*", re.ASCII)
BADGES = re.compile(r"<!--badges-->.*?<!--/badges-->", re.DOTALL)
COLAB = (
    "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/{}/blob/{}/{})"
)
BINDER = "[![Open in Binder](https://mybinder.org/badge_logo.svg)](https://mybinder.org/v2/gh/{}/{}?labpath={})"

# Short, since it stands at the top of each chapter; what can wait until clrlib is here is in `setup`.
# Fetched beside its place, then moved there: a half-fetched course is never taken for a whole one.
CELL = """\
import importlib.util, os, pathlib, subprocess, sys, tempfile  # noqa: E401, I001

repo = os.environ.get("CLR_REPO") or "{}"
course = pathlib.Path("clr-course").absolute()
homes = [str(p) for p in (*course.parents, course) if (p / "clrlib/page/setup.py").is_file()]
if not homes and not importlib.util.find_spec("clrlib"):  # this notebook came alone, as on Colab
    with tempfile.TemporaryDirectory(dir=".") as part:
        if subprocess.call(["git", "clone", "-q", "--depth=1", "--", repo, f"{{part}}/course"]):
            raise OSError(f"can't fetch {{repo!r}}: get online, or set CLR_REPO to the course's URL")
        homes = [str(pathlib.Path(part, "course").rename(course))]
sys.path[:0] = [home for home in homes[:1] if home not in sys.path]
importlib.import_module("clrlib.page.setup").prepare()"""
LAST_LINE = CELL.splitlines()[-1]


def checked(url: str) -> str:
    """The address without a closing `/` or `.git`; an empty one stays empty. Raises ValueError for all that is not https://HOST/OWNER/REPO."""
    plain = url.removesuffix("/").removesuffix(".git")
    if plain and not FORM.fullmatch(plain):
        raise ValueError(f"{url!r} is not the address of a repository: it looks like https://github.com/OWNER/REPO")
    return plain


def badges(url: str, path: str) -> str:
    """Markdown of the badges that open the file at `path` on Colab and on Binder, which both read GitHub; elsewhere, none."""
    if not url.startswith("https://github.com/"):
        return ""
    name = url.removeprefix("https://github.com/")
    return COLAB.format(name, BRANCH, path) + "\n" + BINDER.format(name, BRANCH, quote(path, safe=""))


def bootstrap(url: str) -> str:
    """The source of the set-up cell. `ruff format` leaves it as it is, however long the address."""
    lines = CELL.format(url).splitlines()
    return "\n".join(f"{line}  # fmt: skip # noqa: E501" if len(line) > 100 else line for line in lines)


def is_bootstrap(cell) -> bool:
    """Whether a notebook's cell is the set-up cell, whatever address it holds."""
    return cell.cell_type == "code" and cell.source.rstrip().endswith(LAST_LINE)


def set_up_cell(source: str):
    """The set-up cell as it is stored: its source folded away, the first to be executed, and silent."""
    from nbformat.v4 import new_code_cell

    return new_code_cell(source, id="bootstrap", execution_count=1, metadata={"jupyter": {"source_hidden": True}})


def titled(text: str, marks: str) -> str:
    """A chapter's first cell with these badges under its heading, in place of any that were there."""
    heading, newline, rest = re.sub(rf"\n\n{BADGES.pattern}", "", text, count=1, flags=re.DOTALL).partition("\n")
    block = f"\n\n<!--badges-->\n{marks}\n<!--/badges-->" if marks else ""
    return heading + block + newline + rest


def stamped(notebook, url: str, path: str):
    """The notebook with the badges in its title cell and one set-up cell, before all other code. Nothing else changes."""
    cells = [cell for cell in notebook.cells if not is_bootstrap(cell)]
    place = next((i for i, cell in enumerate(cells) if cell.cell_type == "code"), len(cells))
    cells.insert(place, set_up_cell(bootstrap(url)))
    if cells[0].cell_type == "markdown":
        cells[0].source = titled(cells[0].source, badges(url, path))
    notebook.cells = cells
    return notebook


def repository(root: Path = ROOT) -> str:
    """The address in pyproject.toml; "" where there is none. Raises ValueError for one that is not https://HOST/OWNER/REPO."""
    try:
        import tomllib
    except ModuleNotFoundError:  # Python 3.10
        import tomli as tomllib

    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return checked(project.get("urls", {}).get("Repository", ""))


def stamp(root: Path = ROOT) -> tuple[str, list[str]]:
    """Stamp the address into all chapters and the README: the address, and the files that changed.

    The README has its badges between `<!--badges-->` and `<!--/badges-->`, if it has these. Raises ValueError for a bad
    address, before anything is written.
    """
    import nbformat

    url, readme = repository(root), root / "README.md"
    marks = "\n".join(("<!--badges-->", *badges(url, FIRST).splitlines(), "<!--/badges-->"))
    new = {readme: BADGES.sub(marks, readme.read_text(encoding="utf-8"))}
    for path in sorted((root / "notebooks").glob("[0-9]*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        new[path] = nbformat.writes(stamped(notebook, url, f"notebooks/{path.name}")) + "\n"
    changed = [path for path, content in new.items() if path.read_text(encoding="utf-8") != content]
    for path in changed:
        write_atomically(path, new[path])
    return url, [path.relative_to(root).as_posix() for path in changed]
