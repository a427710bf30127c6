"""Where the course lies, and writing a file whole or not at all. Standard library only."""

from __future__ import annotations

import contextlib
import glob
import os
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent  # the checkout: notebooks/ and data/ are in it
STALE = 3600  # seconds after which a part is no longer another process at work


def write_atomically(path: Path, content: str | bytes):
    """Write beside the target, then replace it: a reader sees the old file or the new one, never a part.

    A part that a killed process left is deleted by a later write of the same file, once it is an hour old.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for stale in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        with contextlib.suppress(OSError):
            if time.time() - stale.stat().st_mtime > STALE:
                stale.unlink()
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(partial, 0o644)
        os.replace(partial, path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
