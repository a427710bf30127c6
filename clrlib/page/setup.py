"""The set-up cell's work: what the host lacks is installed, and a cell that lacks a name is told which one makes it.

An IPython extension too, which every kernel of the course's own .venv loads, so that it is there after a restart. Standard
library only: it runs before anything is installed. PyTorch alone is left to the reader, with the command: it is gigabytes,
and half of the course does without.
"""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import symtable
import sys
import tempfile
from collections import Counter
from importlib import metadata, util
from pathlib import Path

from clrlib.files import ROOT

# What is imported -> what is installed. The requirements are pyproject.toml's; a test holds the two together.
PACKAGES = {
    "torch": "torch>=2.8",
    "torchvision": "torchvision>=0.23",
    "numpy": "numpy>=1.26",
    "matplotlib": "matplotlib>=3.8",
    "ipywidgets": "ipywidgets>=7.7,<9",
    "tqdm": "tqdm>=4.60",
    "sklearn": "scikit-learn>=1.3",
    "scipy": "scipy>=1.11",
    "pooch": "pooch>=1.7",
}


def missing() -> list[str]:
    """The requirements of the packages that this Python can't find. Nothing is imported."""
    return [requirement for module, requirement in PACKAGES.items() if util.find_spec(module) is None]


def pins() -> list[str]:
    """`name==version` of each package that is here: told so, pip chooses what fits the host's torch and leaves that alone."""
    found = []
    for requirement in PACKAGES.values():
        name = re.match(r"[\w-]+", requirement)[0]
        try:
            found.append(f"{name}=={metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return found


def prepare():
    """Install what is missing but PyTorch; does nothing where all is here. Raises RuntimeError when pip can't, naming the packages.

    In IPython, a cell that lacks a name or PyTorch is told what to do from now on (see `explain`).
    """
    if "IPython" in sys.modules and (shell := sys.modules["IPython"].get_ipython()):
        load_ipython_extension(shell)
    lacking = missing()
    if PACKAGES["torch"] in lacking:
        print(f"{NO_TORCH}.")
        lacking = [requirement for requirement in lacking if not requirement.startswith("torch")]
    if not lacking:
        return
    print(f"Installing what this host lacks: {', '.join(lacking)}")
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder, "kept.txt")
        kept.write_text("\n".join(pins()) + "\n", encoding="utf-8")
        status = subprocess.call([sys.executable, "-m", "pip", "install", "--quiet", "--constraint", str(kept), *lacking])
    importlib.invalidate_caches()
    if status:
        raise RuntimeError(f"pip could not install {', '.join(lacking)}: check the network, or install them yourself, then run this again")


CHAPTERS = ROOT / "notebooks"
NO_TORCH = (
    "PyTorch is not installed here. Recorded results and the schedule widgets work without it; cells that train do not. "
    "To get it: %pip install torch torchvision, then restart the kernel"
)


def load_ipython_extension(shell):
    """From now on, a name or a PyTorch that is missing is explained below the traceback."""
    shell.set_custom_exc((NameError, ModuleNotFoundError), explain)


def explain(shell, kind, error, trace, tb_offset=None):
    """Show the traceback as ever, its last lines saying what to do. A handler of IPython's `set_custom_exc`."""
    advice = remedy(error, shell.user_ns.get("In", []))
    if advice:
        said = f"{error}. {advice}."
        error.args = (said,)
        if isinstance(error, ImportError):
            error.msg = said
    shell.showtraceback((kind, error, trace), tb_offset=tb_offset)


def remedy(error: NameError | ModuleNotFoundError, ran: list[str]) -> str:
    """What to do about an error, given the sources of all cells that were run, the last of them the one that failed; "" if unknown."""
    if isinstance(error, ModuleNotFoundError):
        return NO_TORCH if error.name in ("torch", "torchvision") else ""
    cells = chapter(ran)
    here = max(range(len(cells)), key=lambda i: alike(cells[i][1], ran[-1]), default=0)
    makers = [i for i, (_, source) in enumerate(cells) if i != here and error.name in made(source)]
    if not makers or isinstance(error, UnboundLocalError):
        return ""
    heading, source = cells[max((i for i in makers if i < here), default=makers[0])]
    first = next(line for line in source.splitlines() if line.strip() and not line.startswith("#"))
    return f"It is made by the cell under “{heading}” that begins\n\n    {first}\n\nRun that one first, or all cells above this one"


def chapter(ran: list[str]) -> list[tuple[str, str]]:
    """The code cells, as (heading, source), of the chapter that looks most like what was run; empty if none does."""
    ran = "\n".join(ran)
    chapters = [code_cells(path) for path in sorted(CHAPTERS.glob("*.ipynb"))]
    shared = [alike("\n".join(source for _, source in cells), ran) for cells in chapters]
    return chapters[shared.index(max(shared))] if any(shared) else []


def code_cells(path: Path) -> list[tuple[str, str]]:
    """(heading that it stands under, source) of every code cell of a notebook; none, where it can't be read."""
    heading, found = "", []
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    except (OSError, ValueError, LookupError, TypeError):
        return found
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code":
            found.append((heading, source))
        else:
            heading = next((line.lstrip("# ") for line in reversed(source.splitlines()) if line.startswith("#")), heading)
    return found


def alike(source: str, other: str) -> int:
    """How many lines two sources share."""
    return (Counter(source.splitlines()) & Counter(other.splitlines())).total()


def made(source: str) -> set[str]:
    """The names that a cell binds for the cells after it."""
    try:
        table = symtable.symtable(source, "cell", "exec")
    except SyntaxError:
        return set()
    return {name.get_name() for name in table.get_symbols() if name.is_assigned() or name.is_imported()}
