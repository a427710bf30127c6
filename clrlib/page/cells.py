"""What a reader is told when a cell lacks something: the cell that makes a name, or that PyTorch is not installed.

An IPython extension; each chapter's set-up cell loads it (see `hosts`), and so does every kernel of the course's own .venv, so that
it is there after a restart too. Standard library only.
"""

from __future__ import annotations

import json
import symtable
from collections import Counter
from pathlib import Path

from clrlib.files import ROOT

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
