"""An interrupt in the middle of a large import: the import ends first, and the cell after it."""

import pytest
from kernels import CellError, Kernel

MODULE = """
import os, signal, time
os.kill(os.getpid(), signal.SIGINT)
time.sleep(0.01)
import {package}.late
whole = True
"""


@pytest.fixture
def kernel(tmp_path):
    """A kernel that finds a matplotlib which interrupts itself while it is imported."""
    package = tmp_path / "matplotlib"
    package.mkdir()
    (package / "__init__.py").write_text(MODULE.format(package="matplotlib"))
    (package / "late.py").touch()
    with Kernel(folder=tmp_path) as started:
        started.run("%load_ext clrlib.cells\nimport sys\nsys.path.insert(0, '.')")
        yield started


def test_the_import_is_whole_and_the_cell_is_interrupted_then(kernel):
    with pytest.raises(CellError, match="KeyboardInterrupt"):
        kernel.run("import matplotlib, time\nfor _ in range(500): time.sleep(0.01)\nreached = True")
    assert kernel.ask("[sys.modules['matplotlib'].whole, 'matplotlib.late' in sys.modules, 'reached' in globals()]") == [True, True, False]


def test_a_cell_that_is_over_by_then_hands_no_interrupt_to_the_next(kernel):
    kernel.run("import matplotlib, time")
    kernel.run("for _ in range(30): time.sleep(0.01)")


def test_the_shield_is_put_up_once(kernel):
    kernel.run("%reload_ext clrlib.cells")
    assert kernel.ask("sum(type(finder).__name__ == 'Whole' for finder in sys.meta_path)") == 1
