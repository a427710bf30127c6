import os

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from clrlib.evidence import records
from clrlib.history import History
from clrlib.page import build as notebooks
from clrlib.page.build import BuildError, normalised, stamped
from clrlib.suggest import minimum


def stream(text, name="stdout"):
    return new_output("stream", name=name, text=text)


def cell(*outputs, **kwargs):
    return new_code_cell("1", outputs=list(outputs), **kwargs)


def record(name, accuracies):
    for seed, accuracy in enumerate(accuracies):
        row = {"epoch": 1, "step": 3, "accuracy": accuracy, "seconds": 10.0 + 2 * seed}
        where = {"machine": "CPU, made up", "threads": 2, "precision": "fp32", "torch": "2.0"}
        records.save("E3", name, seed, {"split": "report"}, History({"loss": np.ones(3)}, [row]), where, "", 1.0)


# --- normalised ---------------------------------------------------------------------------------------------


def built(shift=0):
    """A notebook as one of two builds leaves it: ids, counts, times and pieces of streams differ."""
    picture = new_output("display_data", {"image/png": "abc"})
    done = new_output("execute_result", {"text/plain": "3"}, execution_count=7 + shift)
    pieces = [stream("one\ntwo\n")] if shift else [stream("one\n"), stream("two\n")]
    timed = {"tags": ["keep"], "execution": {"iopub.execute_input": f"2024-01-0{1 + shift}"}, "scrolled": True}
    cells = [new_markdown_cell("# Title"), cell(*pieces, picture, done, execution_count=5 + shift, metadata=timed), cell()]
    notebook = new_notebook(cells=cells, metadata={"language_info": {"name": "python", "version": f"3.1{shift}"}, "widgets": {"a": shift}})
    notebook.cells[1].outputs[-2]["transient"] = {"display_id": f"x{shift}"}
    return notebook


def test_two_builds_of_the_same_are_the_same():
    one, other = (nbformat.writes(normalised(built(shift))) for shift in (0, 1))
    assert one == other == nbformat.writes(normalised(nbformat.reads(one, as_version=4)))
    nbformat.validate(nbformat.reads(one, as_version=4))


def test_what_a_reader_sees_is_kept():
    first, second, third = normalised(built()).cells
    assert [output.output_type for output in second.outputs] == ["stream", "display_data", "execute_result"]
    assert second.outputs[0].text == "one\ntwo\n" and second.metadata == {"tags": ["keep"]}
    assert (second.execution_count, third.execution_count) == (1, 2) and first.source == "# Title"


def test_widget_views_and_progress_bars_are_dropped():
    view = new_output("display_data", {notebooks.WIDGET: {"model_id": "1"}, "text/plain": "VBox()"})
    bar = stream("\r  0%|     | 0/8\r100%|#####| 8/8\r       \r")
    kept = normalised(new_notebook(cells=[cell(view, bar), cell(stream("\r 50%\rdone\n"))])).cells
    assert kept[0].outputs == [] and kept[1].outputs[0].text == "done\n"


def test_a_warning_that_a_reader_would_see_stops_the_build():
    with pytest.raises(BuildError, match="stderr: UserWarning: deprecated"):
        normalised(new_notebook(cells=[cell(stream("UserWarning: deprecated", "stderr"))]))
    assert normalised(new_notebook(cells=[cell(stream(" \n", "stderr"))])).cells[0].outputs == []


# --- numbers in the prose ----------------------------------------------------------------------------------------


def test_numbers_are_computed_from_the_records(runs):
    record("a-0.95", [85.0, 86.0])
    text = "got <!--=E3/a-0.95:accuracy-->80<!--/--> in <!--=E3/a-0.95:seconds--><!--/-->."
    expected = "got <!--=E3/a-0.95:accuracy-->85.50 ± 0.71 (n = 2)<!--/--> in <!--=E3/a-0.95:seconds-->11 s<!--/-->."
    assert stamped(text) == stamped(expected) == expected
    assert normalised(new_notebook(cells=[new_markdown_cell(text)])).cells[0].source == expected


def test_what_the_articles_notebook_would_have_printed_is_a_running_mean(runs):
    rows = [{"epoch": i, "train_accuracy": train, "accuracy": test} for i, train, test in ((1, 40.0, 46.0), (2, 70.0, 64.0))]
    records.save("E8", "a", 0, {}, History({"loss": np.ones(3)}, rows), {}, "", 1.0)
    assert stamped("<!--=E8/a:printed--><!--/-->") == "<!--=E8/a:printed-->55.00 (n = 1)<!--/-->"


def test_a_rule_is_read_off_the_recorded_sweep(runs):
    rates = np.geomspace(1e-4, 1, 60)
    losses = (np.log10(rates) + 1) ** 2 + 1
    log = History({"lr": rates, "loss": losses, "before": np.full(60, 10.0)})
    records.save("E1", "swept", 0, {}, log, {}, "", 1.0, most_steps=400)
    assert stamped("<!--=E1/swept:minimum/10-->?<!--/-->") == f"<!--=E1/swept:minimum/10-->{minimum(rates, losses).rate:.2g}<!--/-->"


def test_text_without_claims_stays():
    assert stamped("a <!-- comment --> b 80 %") == "a <!-- comment --> b 80 %"


def test_a_claim_without_a_record_stops_the_build(runs):
    with pytest.raises(BuildError, match="E3/nothing is claimed in the prose but not recorded"):
        stamped("<!--=E3/nothing:accuracy-->99<!--/-->")


# --- building, with a real kernel -----------------------------------------------------------------------------------


@pytest.fixture
def chapters(tmp_path, monkeypatch, runs):
    """A folder of two notebooks, and the pages that carry numbers."""
    folder = tmp_path / "notebooks"
    folder.mkdir(), (tmp_path / "data").mkdir()
    sources = {"00_good": "import os\nprint(os.environ['CLR_PROFILE'], os.getcwd().endswith('notebooks'))\n6 * 7", "01_bad": "1 / 0"}
    for name, source in sources.items():
        nbformat.write(new_notebook(cells=[new_code_cell(source)]), folder / f"{name}.ipynb")
    record("a", [85.0])
    for page in (tmp_path / "README.md", tmp_path / "data" / "README.md"):
        page.write_text("<!--=E3/a:accuracy-->?<!--/-->")
    monkeypatch.setattr(notebooks, "HERE", folder)
    return folder


def test_a_second_build_changes_nothing(chapters, capsys):
    notebooks.build(["00_good.ipynb"], profile="smoke")
    path, page = chapters / "00_good.ipynb", chapters.parent / "README.md"
    first = path.read_bytes()
    outputs = nbformat.read(path, as_version=4).cells[0].outputs
    assert outputs[0].text == "smoke True\n" and outputs[1].data["text/plain"] == "42"
    assert "85.00 (n = 1)" in page.read_text() and "00_good.ipynb: built" in capsys.readouterr().out
    notebooks.build(["00_good.ipynb"], profile="smoke")
    assert path.read_bytes() == first and "CLR_PROFILE" not in os.environ


def test_a_notebook_that_fails_is_named_and_keeps_what_it_had(chapters):
    path = chapters / "01_bad.ipynb"
    before = path.read_bytes()
    with pytest.raises(BuildError, match="(?s)a cell failed.*1 / 0.*ZeroDivisionError"):
        notebooks.build(["01_bad.ipynb"])
    assert path.read_bytes() == before and "CLR_PROFILE" not in os.environ


@pytest.mark.parametrize("name", ["99_none.ipynb", "../../etc/passwd"])
def test_a_notebook_that_is_not_there_is_named(name, chapters):
    with pytest.raises(BuildError, match=f"{name.rsplit('/')[-1]}: no such notebook"):
        notebooks.build([name])
