"""The download against full disks, kills, other processes at work, and archives that are not what they should be."""

import errno
import os
import shutil
import subprocess
import sys
import tarfile
import time

import pytest
from faults import processes, survived
from faults_server import FILES, GOOD, WHOLE, answer, flipped, packed, refused, servers_here, stand_in, take_its_place, whole

from clrlib.lab import download as cifar10


@pytest.fixture
def serve():
    yield from servers_here()


@pytest.fixture(autouse=True)
def small_cifar(monkeypatch, tmp_path):
    take_its_place(monkeypatch, tmp_path)


def fails(*args):
    refused(*args)
    survived(__name__)


# --- the disk -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("where", ["fetch", "unpack", "put"])
def test_a_disk_that_does_not_take_it_is_named_at_once(code, where, serve, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    owner, name = {"fetch": (cifar10, "_stream"), "unpack": (tarfile.TarFile, "makefile"), "put": (os, "replace")}[where]
    monkeypatch.setattr(owner, name, fail)
    url, asked = serve(answer())
    fails([url, url], tmp_path / "new", os.strerror(code))
    assert len(asked) <= 1, "another address can't help"


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 400 kB: room for the archive or the files, not for both."""
    place = tmp_path / "disk"
    place.mkdir()
    if (
        not shutil.which("mount")
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "none", place], capture_output=True).returncode
    ):
        yield None
    else:
        yield place
        subprocess.run(["umount", "-l", place], check=True)


def test_a_disk_that_is_really_full(serve, small_disk):
    if small_disk is None:
        pytest.skip("no right to mount a small disk here; a full one is imitated above")
    fails([serve(answer())[0]], small_disk / "new", "No space left")


# --- kills, and two at once ---------------------------------------------------------------------------------------


def fetching(url, target, began=None):
    """In a process of its own."""
    stand_in()
    if began:
        began.set()
    with open(os.devnull, "w") as sys.stderr:
        cifar10.download([url], target)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9, 1.1, 1.3])
def test_what_a_kill_leaves_is_never_taken_for_the_data_set(share, serve, tmp_path):
    target, forks = tmp_path / "data", processes()
    began = forks.Event()
    child = forks.Process(target=fetching, args=(serve(answer(piece=len(GOOD) // 20, pause=0.01))[0], target, began))
    child.start()
    assert began.wait(10)
    time.sleep(0.25 * share)
    child.kill(), child.join()
    assert cifar10.find() in (None, target), "whole, or not there"
    for stale in target.glob(".cifar-*"):
        os.utime(stale, (time.time() - 7200,) * 2)
    cifar10.download([serve(answer())[0]], target)
    assert whole(target), "and what the kill left is gone"
    survived(__name__)


def test_a_fresh_part_may_be_another_process_at_work(serve, tmp_path):
    (tmp_path / "data" / ".cifar-at-work.part").mkdir(parents=True)
    cifar10.download([serve(answer())[0]], tmp_path / "data")
    assert sorted(os.listdir(tmp_path / "data")) == [".cifar-at-work.part", cifar10.FOLDER]
    survived(__name__)


@pytest.mark.parametrize("there", ["nothing", "a damaged copy", "a file", "a link to nowhere"])
@pytest.mark.parametrize("pause", [0.0, 0.005])
def test_two_at_once_leave_one_whole_copy(there, pause, serve, tmp_path):
    target, forks = tmp_path / "data", processes()
    broken(target, there)
    url, _ = serve(answer(piece=len(GOOD) // 10, pause=pause))
    children = [forks.Process(target=fetching, args=(url, target)) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join(30)
    assert [child.exitcode for child in children] == [0, 0, 0] and whole(target)
    survived(__name__)


def broken(target, kind):
    target.mkdir()
    place = target / cifar10.FOLDER
    if kind == "a damaged copy":
        place.mkdir()
        (place / "test_batch").write_bytes(b"half")
    elif kind == "a file":
        place.write_bytes(b"not a folder")
    elif kind == "a link to nowhere":
        place.symlink_to(target / "nowhere")


# --- archives that are not what they should be -----------------------------------------------------------------------


def link(name, to, kind=tarfile.SYMTYPE):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, str(to)
    return member, b""


INSIDE = f"{cifar10.FOLDER}/data_batch_1"
REPLACED = {
    "a link out": link(INSIDE, "/etc/passwd"),
    "a link up": link(INSIDE, "../../outside"),
    "a hard link": link(INSIDE, "/etc/passwd", tarfile.LNKTYPE),
    "a device": link(INSIDE, "", tarfile.CHRTYPE),
    "a pipe": link(INSIDE, "", tarfile.FIFOTYPE),
    "a folder": link(INSIDE, "", tarfile.DIRTYPE),
    "another place": (f"elsewhere/../{INSIDE}", FILES["data_batch_1"]),
    "an absolute path": (f"/{INSIDE}", FILES["data_batch_1"]),
    "half of it": (INSIDE, FILES["data_batch_1"][:100]),
}
ADDED = {
    "climbing out": ("../../escaped", b"evil"),
    "an absolute path": ("/tmp/clrlib-escaped", b"evil"),
    "a link for the folder": link(cifar10.FOLDER, ".."),
    "a link inside": link(f"{cifar10.FOLDER}/batches.meta", "/etc/passwd"),
    "a link, then a file through it": link(INSIDE, "../../escaped"),
    "a program": (f"{cifar10.FOLDER}/../run.py", b"evil"),
}


def offered(members, serve):
    """The URL of an archive of these members whose checksum is taken for the official one."""
    archive = packed(members)
    stand_in(archive)
    return serve(answer(archive))[0]


@pytest.mark.parametrize("member", REPLACED.values(), ids=REPLACED)
def test_a_file_that_is_no_plain_file_in_its_place_is_fails(member, serve, tmp_path):
    fails([offered([member, *WHOLE[1:]], serve)], tmp_path / "new", "data_batch_1 is (missing|damaged)")
    assert os.listdir(tmp_path) in ([], ["new"])


@pytest.mark.parametrize("member", ADDED.values(), ids=ADDED)
@pytest.mark.parametrize("first", [True, False])
def test_what_does_not_belong_is_not_unpacked(member, first, serve, tmp_path):
    cifar10.download([offered([member, *WHOLE] if first else [*WHOLE, member], serve)], tmp_path / "new")
    assert whole(tmp_path / "new") and os.listdir(tmp_path) == ["new"] and not os.path.exists("/tmp/clrlib-escaped")
    assert sorted(os.listdir(tmp_path / "new" / cifar10.FOLDER)) == sorted(FILES)
    assert not any(file.is_symlink() for file in (tmp_path / "new").rglob("*"))
    survived(__name__)


@pytest.mark.parametrize("body", [GOOD[:-100], GOOD[: len(GOOD) // 2], flipped(len(GOOD) // 3), b"", GOOD[:5], b"\x1f\x8b" + bytes(99)])
def test_an_archive_that_cannot_be_unpacked(body, serve, tmp_path):
    stand_in(body)
    fails([serve(answer(body))[0]], tmp_path / "new")
