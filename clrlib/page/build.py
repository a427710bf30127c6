"""Build the chapters: execute each notebook under the laptop profile and store its outputs, normalised.

The .ipynb files are the source. Only this writes their outputs, so that a second build changes nothing:
no time stamps, no widget state, no progress bars.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np

from clrlib import suggest
from clrlib.evidence import records, results
from clrlib.figures import plots
from clrlib.files import ROOT, write_atomically
from clrlib.history import RangeTest
from clrlib.page import address
from clrlib.stats import mean_and_spread
from clrlib.theory.audit import running_accuracy

HERE = ROOT / "notebooks"
WIDGET = "application/vnd.jupyter.widget-view+json"
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


STAMP = re.compile(r"<!--=([A-Z]\d+)/([^:>\s]+?):(\w[\w/]*)-->.*?<!--/-->", re.DOTALL)


class BuildError(RuntimeError):
    """A notebook that did not run, or printed what a reader should not see."""


def build(names=(), profile: str = "laptop"):
    """Execute the named notebooks (all of notebooks/ if none) and store their outputs. Raises BuildError.

    A notebook that fails keeps the outputs it had.
    """
    import nbformat

    paths = [HERE / Path(name).name for name in names] or sorted(HERE.glob("*.ipynb"))
    for path in paths:
        if not path.is_file():
            raise BuildError(f"{path.name}: no such notebook in notebooks/")
        notebook = normalised(executed(nbformat.read(path, as_version=4), profile))
        write_atomically(path, nbformat.writes(notebook) + "\n")
        print(f"{path.name}: built, {path.stat().st_size / 1000:.0f} kB", flush=True)
    draw_headline(HERE / "headline.png")
    write_atomically(HERE.parent / "data" / "RESULTS.md", results.page())
    for page in (HERE.parent / "README.md", HERE.parent / "data" / "README.md"):
        write_atomically(page, stamped(page.read_text(encoding="utf-8")))


HEADLINE = {
    "one cycle": ("E3", "tiny-momentum-0.9"),
    "constant 0.08": ("E4", "tiny-constant-0.08"),
    "constant 0.8": ("E4", "tiny-constant-0.8"),
}


def draw_headline(path: Path):
    """The README's picture: what a schedule is worth, once its runs are recorded."""
    runs = {label: [record.history for record in records.load_all(*where)] for label, where in HEADLINE.items()}
    if all(runs.values()):
        write_atomically(path, plots.png(plots.compare(runs)))


def executed(notebook, profile: str = "laptop", timeout: int = 1200, folder: Path = HERE):
    """Run every cell in a fresh kernel; returns the notebook with its outputs. Raises BuildError naming the cell."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    fixed = {"CLR_PROFILE": profile, "OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2", "PYTHONHASHSEED": "0"}
    before = {name: os.environ.get(name) for name in fixed}
    os.environ.update(fixed)
    try:
        NotebookClient(notebook, timeout=timeout, kernel_name="python3", resources={"metadata": {"path": str(folder)}}).execute()
    except CellExecutionError as error:
        raise BuildError(f"a cell failed:\n{error}") from None
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)
    return notebook


def normalised(notebook):
    """The same notebook with nothing in it that differs from build to build."""
    notebook.metadata = METADATA
    notebook.cells = [address.set_up_cell(cell.source) if address.is_bootstrap(cell) else cell for cell in notebook.cells]
    for number, cell in enumerate((cell for cell in notebook.cells if cell.cell_type == "code"), start=1):
        cell.execution_count = number
    for i, cell in enumerate(cell for cell in notebook.cells if not address.is_bootstrap(cell)):
        cell["id"] = f"cell-{i:03d}"
        if cell.cell_type == "markdown":
            cell.source = stamped(cell.source)
        cell.metadata = {key: value for key, value in cell.metadata.items() if key in ("tags", "jupyter")}
        if cell.cell_type == "code":
            cell.outputs = [kept for kept in map(_output, _merged(cell.outputs)) if kept]
    return notebook


def stamped(text: str) -> str:
    """The text with every number between `<!--=E3/name:accuracy-->` and `<!--/-->` computed anew from the records.

    After the colon stands a column of the last epoch (accuracy, train_accuracy, loss, ...), `seconds` of
    training, `printed` (the running accuracy that the article's notebook would print), or a rule of `suggest`
    for a range test. Raises BuildError when there is no such record.
    """
    return STAMP.sub(lambda match: f"<!--={match[1]}/{match[2]}:{match[3]}-->{_claim(*match.groups())}<!--/-->", text)


def _claim(experiment, name, what) -> str:
    histories = [record.history for record in records.load_all(experiment, name)]
    if not histories:
        raise BuildError(f"{experiment}/{name} is claimed in the prose but not recorded")
    if what in suggest.RULES:
        answer = RangeTest.of(histories).suggest()[what]
        if not answer:
            raise BuildError(f"{experiment}/{name}: {what} gives no rate ({answer.why})")
        return f"{answer.rate:.2g}"
    if what == "seconds":
        return f"{np.mean([history.seconds for history in histories]):.0f} s"
    if what == "printed":
        return mean_and_spread([running_accuracy(history.epochs)[-1] for history in histories])
    if not all(history.epochs and what in history.epochs[-1] for history in histories):
        raise BuildError(f"{experiment}/{name} has no {what} to state")
    return mean_and_spread([history.epochs[-1][what] for history in histories])


def _merged(outputs):
    """Neighbouring pieces of one stream, joined: how a kernel cuts its text is a matter of timing."""
    merged = []
    for output in outputs:
        if merged and output.output_type == "stream" and merged[-1].output_type == "stream" and merged[-1].name == output.name:
            merged[-1].text += output.text
        else:
            merged.append(output)
    return merged


def _output(output):
    """One output without what changes; None if nothing is left. Raises BuildError for a warning a reader would see."""
    output.pop("transient", None)
    if "execution_count" in output:
        output.execution_count = None
    if output.output_type == "stream":
        text = re.sub(r"[^\n]*\r", "", output.text)
        if output.name == "stderr" and text.strip():
            raise BuildError(f"a cell wrote to stderr: {text[:300]}")
        output.text = text
        return output if text.strip() else None
    return None if WIDGET in output.get("data", {}) else output
