"""The machine that a chapter runs on: installs what it lacks, and replaces nothing that it has.

Each chapter's set-up cell calls `prepare()` (see `address`). Standard library only: it runs before anything is installed.
PyTorch alone is left to the reader, with the command: it is gigabytes, and half of the course does without.
"""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import tempfile
from importlib import metadata, util
from pathlib import Path

from clrlib.page import cells

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

    In IPython, a cell that lacks a name or PyTorch is told what to do from now on (see `cells`).
    """
    if "IPython" in sys.modules and (shell := sys.modules["IPython"].get_ipython()):
        cells.load_ipython_extension(shell)
    lacking = missing()
    if PACKAGES["torch"] in lacking:
        print(f"{cells.NO_TORCH}.")
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
