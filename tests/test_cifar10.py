import hashlib
import http.server
import io
import os
import socket
import tarfile
import threading

import pytest

from clrlib.lab import cifar as images_of
from clrlib.lab import download as cifar10
from clrlib.lab.download import DataError

BATCHES = {f"data_batch_{i}": bytes([i]) * 1000 for i in range(1, 6)} | {"test_batch": b"6" * 1000}


def packed(files) -> bytes:
    """A .tar.gz of name -> content."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


GOOD = packed({f"{cifar10.FOLDER}/{name}": content for name, content in BATCHES.items()})


def md5(content):
    return hashlib.md5(content).hexdigest()


@pytest.fixture(autouse=True)
def small_cifar(monkeypatch, tmp_path):
    """Six small files take CIFAR-10's place; nothing is found beside the package."""
    from torchvision.datasets import CIFAR10

    monkeypatch.setattr(cifar10, "checksums", lambda: {name: md5(content) for name, content in BATCHES.items()})
    monkeypatch.setattr(CIFAR10, "tgz_md5", md5(GOOD))
    monkeypatch.setattr(cifar10, "folders", lambda: [tmp_path / "data"])
    monkeypatch.delenv("CLR_MIRRORS")


def unpacked(folder):
    (folder / cifar10.FOLDER).mkdir(parents=True)
    for name, content in BATCHES.items():
        (folder / cifar10.FOLDER / name).write_bytes(content)
    return folder


@pytest.fixture
def serve():
    """answers -> URL of a server on this machine that gives them in turn; an answer is (status, body, announced length)."""
    servers = []

    def start(*answers):
        left = list(answers)

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                status, body, length = left.pop(0) if len(left) > 1 else left[0]
                asked.append(status)
                self.send_response(status)
                self.send_header("Content-Length", str(length))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        asked = []
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}/cifar-10-python.tar.gz", asked

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def good():
    return 200, GOOD, len(GOOD)


def closed_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/x.tar.gz"


# --- found ----------------------------------------------------------------------------------------------------


def test_a_whole_copy_is_found_and_an_absent_one_is_not(tmp_path):
    assert cifar10.find() is None
    unpacked(tmp_path / "data")
    assert cifar10.find() == cifar10.get() == tmp_path / "data"


def test_folders_are_searched_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar10, "folders", lambda: [tmp_path / "a", tmp_path / "b", tmp_path / "c"])
    unpacked(tmp_path / "c"), unpacked(tmp_path / "b")
    assert cifar10.find() == tmp_path / "b"


def test_CLR_DATA_comes_before_the_folder_beside_the_package(tmp_path, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv("CLR_DATA", str(tmp_path))
    assert cifar10.folders()[0] == tmp_path and [folder.name for folder in cifar10.folders()[1:]] == ["data"]
    monkeypatch.delenv("CLR_DATA")
    assert [folder.name for folder in cifar10.folders()] == ["data"]


DAMAGE = {
    "cut off": (lambda file: file.write_bytes(file.read_bytes()[:900]), r"is damaged \(900 bytes, wrong MD5\)"),
    "one bit": (lambda file: file.write_bytes(b"\x00" + file.read_bytes()[1:]), r"is damaged \(1,000 bytes"),
    "gone": (lambda file: file.unlink(), "is missing"),
    "a folder": (lambda file: (file.unlink(), file.mkdir()), "is missing"),
}


@pytest.mark.parametrize("damage, message", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("name", ["data_batch_3", "test_batch"])
def test_a_damaged_file_is_named_with_the_remedy(name, damage, message, tmp_path):
    damage(unpacked(tmp_path / "data") / cifar10.FOLDER / name)
    with pytest.raises(DataError, match=f"{name} {message}.*delete .*{cifar10.FOLDER}, then run python -m clrlib data"):
        cifar10.get()


def test_the_checksums_are_torchvisions(monkeypatch):
    monkeypatch.undo()
    table = cifar10.checksums()
    assert sorted(table) == sorted([*BATCHES, "batches.meta"]) and table["test_batch"] == "40351d587109b95175f43aff81a1287e"


def test_a_damaged_copy_does_not_stop_the_live_cells(tmp_path, capsys):
    (unpacked(tmp_path / "data") / cifar10.FOLDER / "data_batch_1").write_bytes(b"")
    assert images_of.load().source == "digits"
    assert "data_batch_1 is damaged" in capsys.readouterr().out


# --- downloaded --------------------------------------------------------------------------------------------------


def test_a_good_archive_is_unpacked_whole(serve, tmp_path, monkeypatch):
    url, asked = serve(good())
    monkeypatch.setenv("CLR_MIRRORS", url)
    assert cifar10.get() == tmp_path / "data" and cifar10.faults(tmp_path / "data") == []
    assert os.listdir(tmp_path / "data") == [cifar10.FOLDER]
    assert cifar10.get() == tmp_path / "data" and asked == [200], "the second time nothing is fetched"


BROKEN = {
    "404": (404, b"gone", 4),
    "503": (503, b"", 0),
    "truncated": (200, GOOD[:-50], len(GOOD)),
    "truncated, unannounced": (200, GOOD[:-50], len(GOOD) - 50),
    "a web page": (200, b"<html>log in first</html>", 25),
    "empty": (200, b"", 0),
}


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN)
def test_the_next_mirror_is_tried(answer, serve, tmp_path):
    bad, good_one = serve(answer)[0], serve(good())[0]
    assert cifar10.download([bad, good_one], tmp_path / "new") == tmp_path / "new"
    assert os.listdir(tmp_path / "new") == [cifar10.FOLDER] and cifar10.faults(tmp_path / "new") == []


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN)
def test_when_all_fail_it_says_what_to_do_and_leaves_no_part(answer, serve, tmp_path):
    url, asked = serve(answer)
    with pytest.raises(DataError, match=r"could not be downloaded into .*new .*CLR_DATA .*CLR_MIRRORS") as error:
        cifar10.download([url], tmp_path / "new")
    assert "127.0.0.1" in str(error.value) and len(asked) == 2 and os.listdir(tmp_path / "new") == []


def test_a_host_that_fails_once_is_asked_again(serve, tmp_path):
    url, asked = serve((503, b"", 0), good())
    cifar10.download([url], tmp_path / "new")
    assert asked == [503, 200]


def archive_of(files, monkeypatch):
    from torchvision.datasets import CIFAR10

    content = packed(files)
    monkeypatch.setattr(CIFAR10, "tgz_md5", md5(content))
    return 200, content, len(content)


@pytest.mark.parametrize("escape", ["../../outside", "../escaped", f"{cifar10.FOLDER}/../../escaped", "stray"])
def test_an_archive_that_climbs_out_writes_nothing_but_the_data(escape, serve, tmp_path, monkeypatch):
    inside = {f"{cifar10.FOLDER}/{name}": content for name, content in BATCHES.items()}
    url, _ = serve(archive_of({escape: b"evil"} | inside, monkeypatch))
    cifar10.download([url], tmp_path / "new")
    assert os.listdir(tmp_path) == ["new"] and os.listdir(tmp_path / "new") == [cifar10.FOLDER]
    assert sorted(os.listdir(tmp_path / "new" / cifar10.FOLDER)) == sorted(BATCHES)


def test_an_archive_without_the_right_files_is_refused(serve, tmp_path, monkeypatch):
    url, _ = serve(archive_of({f"{cifar10.FOLDER}/data_batch_1": b"other"}, monkeypatch))
    with pytest.raises(DataError, match="could not be downloaded .*data_batch_1 is damaged"):
        cifar10.download([url], tmp_path / "new")
    assert os.listdir(tmp_path / "new") == []


def test_a_damaged_copy_is_replaced_by_the_download(serve, tmp_path):
    (unpacked(tmp_path / "data") / cifar10.FOLDER / "test_batch").write_bytes(b"half")
    cifar10.download([serve(good())[0]])
    assert cifar10.find() == tmp_path / "data" and os.listdir(tmp_path / "data") == [cifar10.FOLDER]


def test_a_copy_that_another_process_finished_first_stands(serve, tmp_path, monkeypatch):
    faults = cifar10.faults

    def meanwhile(folder):
        if folder != tmp_path / "new" and not (tmp_path / "new" / cifar10.FOLDER).exists():
            unpacked(tmp_path / "new")
        return faults(folder)

    monkeypatch.setattr(cifar10, "faults", meanwhile)
    assert cifar10.download([serve(good())[0]], tmp_path / "new") == tmp_path / "new"
    assert os.listdir(tmp_path / "new") == [cifar10.FOLDER] and faults(tmp_path / "new") == []


def test_a_file_in_the_targets_place_is_explained(serve, tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(DataError, match="could not be downloaded into .*taken"):
        cifar10.download([serve(good())[0]], tmp_path / "taken")
    assert (tmp_path / "taken").read_text() == "a file"


def test_a_full_disk_is_explained_and_leaves_no_part(serve, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tarfile.TarFile, "extractall", lambda *args, **kwargs: full())
    with pytest.raises(DataError, match="No space left on device"):
        cifar10.download([serve(good())[0]], tmp_path / "new")
    assert os.listdir(tmp_path / "new") == []


# --- not to be had ------------------------------------------------------------------------------------------------


def test_no_network_is_explained_and_live_cells_go_on(monkeypatch, capsys):
    monkeypatch.setenv("CLR_MIRRORS", closed_port())
    with pytest.raises(DataError, match="could not be downloaded.*set CLR_DATA"):
        cifar10.get()
    data = images_of.load()
    out = capsys.readouterr().out
    assert data.source == "digits" and "CLR_DATA" in out and "Going on with scikit-learn's handwritten digits" in out
    with pytest.raises(DataError, match="could not be downloaded"):
        images_of.load(stand_in=False)


def test_without_the_downloader_it_says_what_to_install(monkeypatch, tmp_path):
    def missing(*args):
        raise ModuleNotFoundError(name="pooch")

    monkeypatch.setattr(cifar10, "_fetch", missing)
    with pytest.raises(DataError, match="pip install pooch"):
        cifar10.download(["http://127.0.0.1:9/x"], tmp_path / "new")


def test_asking_for_digits_looks_for_nothing(monkeypatch):
    monkeypatch.setenv("CLR_DATA", "digits")
    monkeypatch.setattr(cifar10, "find", None)
    with pytest.raises(DataError, match="asks for the stand-in"):
        cifar10.get()


def test_torchvision_reads_the_files_it_verified(tmp_path, monkeypatch):
    monkeypatch.undo()
    unpacked(tmp_path)
    with pytest.raises(RuntimeError, match="corrupted"):
        cifar10.read(tmp_path)
