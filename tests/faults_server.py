"""A small CIFAR-10 and the servers that offer it: well, badly or not at all."""

import contextlib
import gzip
import hashlib
import http.server
import io
import os
import random
import tarfile
import threading
import time

import pytest

from clrlib.lab import download as cifar10
from clrlib.lab.download import DataError

CHANCE = random.Random(0)
FILES = {f"data_batch_{i}": CHANCE.randbytes(40_000) for i in range(1, 6)} | {"test_batch": CHANCE.randbytes(40_000)}
SUMS = {name: hashlib.md5(content).hexdigest() for name, content in FILES.items()}


def packed(members) -> bytes:
    """A .tar.gz of (TarInfo or name, content); the same bytes in every process."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for member, content in members:
            member = tarfile.TarInfo(member) if isinstance(member, str) else member
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return gzip.compress(buffer.getvalue(), 1, mtime=0)


WHOLE = [(f"{cifar10.FOLDER}/{name}", content) for name, content in FILES.items()]
GOOD = packed(WHOLE)


def flipped(at):
    """The archive with one bit the other way."""
    return GOOD[:at] + bytes([GOOD[at] ^ 1]) + GOOD[at + 1 :]


def stand_in(archive=GOOD):
    """Six small files take CIFAR-10's place, in this process."""
    from torchvision.datasets import CIFAR10

    cifar10.checksums = lambda: dict(SUMS)
    CIFAR10.tgz_md5 = hashlib.md5(archive).hexdigest()


def servers_here():
    """answers -> (URL, what was asked): a server on this machine; an answer writes to a handler, the last one again and again."""
    servers = []

    def start(*answers):
        left, asked = list(answers), []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                asked.append(self.path)
                with contextlib.suppress(OSError):  # the reader went away
                    (left.pop(0) if len(left) > 1 else left[0])(self)

            def log_message(self, *args):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}/cifar-10-python.tar.gz", asked

    yield start
    for server in servers:
        server.shutdown(), server.server_close()


def answer(body=GOOD, status=200, length=None, pause=0.0, piece=1 << 20, **headers):
    def send(handler):
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        if length != "unsaid":
            handler.send_header("Content-Length", str(len(body) if length is None else length))
        handler.end_headers()
        for i in range(0, len(body), piece):
            handler.wfile.write(body[i : i + piece])
            time.sleep(pause)

    return send


def some(first):
    """So many bytes of the archive, and then none for as long as the reader stays."""

    def send(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(GOOD)))
        handler.end_headers()
        handler.wfile.write(GOOD[:first])
        handler.rfile.read(1)

    return send


def endless(handler):
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(bytes(1 << 16))


def take_its_place(monkeypatch, tmp_path):
    """The small data set in CIFAR-10's place until the test is over."""
    from torchvision.datasets import CIFAR10

    monkeypatch.setattr(cifar10, "checksums", cifar10.checksums)  # so that they are given back
    monkeypatch.setattr(CIFAR10, "tgz_md5", CIFAR10.tgz_md5)
    monkeypatch.setattr(cifar10, "folders", lambda: [tmp_path / "data"])
    stand_in()


def whole(folder):
    """The data set is there, verified, and nothing beside it."""
    return cifar10.faults(folder) == [] and os.listdir(folder) == [cifar10.FOLDER]


def refused(urls, folder, message=""):
    """The download fails in the agreed way and leaves nothing behind."""
    with pytest.raises(DataError, match=f"(?s)could not be downloaded into .*{message}.*CLR_MIRRORS"):
        cifar10.download(urls, folder)
    assert not folder.exists() or os.listdir(folder) == []
