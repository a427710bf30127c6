"""Imports that an interrupt can't cut in half. Standard library only.

Stop a kernel in the middle of its first `import torch` and PyTorch can't be imported again until the kernel is restarted;
matplotlib fails in its own ways. So an interrupt waits for the end of such an import, a few seconds at most.
"""

from __future__ import annotations

import _thread
import signal
import sys
import threading
from importlib.machinery import PathFinder

LARGE = frozenset(("numpy", "matplotlib", "PIL", "scipy", "sklearn", "torch", "torchvision"))
SOON = 0.05  # seconds until an interrupt that waited is raised: outside of the import, whose result would be thrown away else


class Whole:
    """A finder (as in `sys.meta_path`) of the modules of LARGE packages, which makes interrupts wait while they are loaded."""

    def __init__(self):
        self.loading = False  # one of them, and with it all that it imports
        self.late = None  # the timer that raises an interrupt which had to wait

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in LARGE or self.loading or threading.current_thread() is not threading.main_thread():
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec and hasattr(spec.loader, "exec_module"):
            load = spec.loader.exec_module
            spec.loader.exec_module = lambda module: self._load(load, module)
        return spec

    def forget(self, *_):
        """Raise nothing any more: the cell that was to be interrupted is over."""
        if self.late:
            self.late.cancel()

    def _load(self, load, module):
        waiting = []
        before = signal.signal(signal.SIGINT, lambda *_: waiting.append(True))
        self.loading = True
        try:
            load(module)
        finally:
            self.loading = False
            signal.signal(signal.SIGINT, before)
            if waiting:
                self.late = threading.Timer(SOON, _thread.interrupt_main)
                self.late.start()


def shield(shell):
    """Put a `Whole` in front of Python's own finders, once. `shell` is IPython's: it says when a cell is over."""
    if not any(isinstance(finder, Whole) for finder in sys.meta_path):
        finder = Whole()
        sys.meta_path.insert(0, finder)
        shell.events.register("post_run_cell", finder.forget)
