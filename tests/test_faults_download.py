"""The download against networks that go wrong: down, slow, cut off, redirected, another file."""

import contextlib
import itertools
import random
import socket
import time
from types import SimpleNamespace

import pytest
from faults import survived
from faults_server import GOOD, answer, endless, flipped, refused, servers_here, some, take_its_place, whole

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


# --- the network --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tenth", range(10))
@pytest.mark.parametrize("said", [None, "unsaid"], ids=["announced", "unannounced"])
def test_cut_off_at_any_tenth(tenth, said, serve, tmp_path):
    part = GOOD[: len(GOOD) * tenth // 10]
    cut = answer(part, length=said or len(GOOD))
    fails([serve(cut)[0]], tmp_path / "new")
    cifar10.download([serve(cut, answer())[0]], tmp_path / "again")  # asked a second time, it comes whole
    assert whole(tmp_path / "again")
    survived(__name__)


WRONG = {
    "zeros of the right length": bytes(len(GOOD)),
    "noise of the right length": random.Random(0).randbytes(len(GOOD)),
    "one bit in the middle": flipped(len(GOOD) // 2),
    "one bit at the end": flipped(len(GOOD) - 1),
    "a byte more": GOOD + b"\0",
    "twice": GOOD + GOOD,
}


@pytest.mark.parametrize("body", WRONG.values(), ids=WRONG)
def test_a_wrong_file(body, serve, tmp_path):
    fails([serve(answer(body))[0]], tmp_path / "new", "hash")


@pytest.mark.parametrize("status", [403, 404, 429, 500, 502, 503])
def test_a_host_that_says_no_and_then_yes(status, serve, tmp_path):
    fails([serve(answer(b"", status))[0]], tmp_path / "no", str(status))
    url, asked = serve(answer(b"try later", status), answer())
    cifar10.download([url], tmp_path / "yes")
    assert len(asked) == 2 and whole(tmp_path / "yes")
    survived(__name__)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed(status, serve, tmp_path):
    there = serve(answer())[0]
    cifar10.download([serve(answer(b"", status, Location=there))[0]], tmp_path / "new")
    assert whole(tmp_path / "new")
    survived(__name__)


@pytest.mark.parametrize("place", ["/again", "file:///etc/passwd", "ftp://127.0.0.1:9/x", "http://127.0.0.1:9/down", "http://[", ""])
def test_a_redirect_to_nowhere(place, serve, tmp_path):
    fails([serve(answer(b"", 302, Location=place))[0]], tmp_path / "new")


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/down", "http://no-such-host.invalid/x", "file:///etc/passwd", "not an address", "http://"]
)
def test_an_address_that_does_not_answer(url, tmp_path):
    fails([url], tmp_path / "new")


def test_all_down_is_one_error_with_every_reason(serve, tmp_path):
    down, absent, lying = "http://127.0.0.1:9/down", serve(answer(b"", 404))[0], serve(answer(flipped(5)))[0]
    message = f"{down}: can't be reached.*{absent}: 404.*not an address: .*{lying}: .*hash"
    fails([down, absent, "not an address", lying], tmp_path / "new", message)


def test_without_a_network_each_mirror_is_looked_up_once_and_nothing_is_waited_for(tmp_path, monkeypatch):
    asked = []

    def unknown(host, *args, **kwargs):
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.delenv("CLR_MIRRORS")
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setattr(time, "sleep", None)
    fails(None, tmp_path / "new", "can't be reached")
    assert len(asked) == len(cifar10.MIRRORS) == 3


def test_addresses_may_stand_apart(serve, tmp_path, monkeypatch):
    monkeypatch.setenv("CLR_MIRRORS", f"http://127.0.0.1:9/down , {serve(answer())[0]} ,, ")
    assert whole(cifar10.download(target=tmp_path / "new"))
    survived(__name__, 2)


def test_a_host_that_never_ends_is_left_for_the_next(serve, tmp_path, monkeypatch):
    monkeypatch.setattr(cifar10, "SIZE", 10 * len(GOOD))
    url, _ = serve(endless)
    cifar10.download([url, serve(answer())[0]], tmp_path / "new")
    assert whole(tmp_path / "new")
    fails([url], tmp_path / "endless", "more than")


# --- the choice of a mirror ---------------------------------------------------------------------------------
# Speeds differ by orders of magnitude, whatever the machine does beside: a server sends all at once or waits.


@pytest.fixture
def brief(monkeypatch):
    """Samples and silences that a test can wait for; a good server here answers in a thousandth of that."""
    monkeypatch.setattr(cifar10, "SAMPLE", 2.0)
    monkeypatch.setattr(cifar10, "STALLED", 2.0)


@pytest.mark.parametrize("place", range(3))
def test_the_fastest_is_taken(place, brief, serve, tmp_path, capsys):
    servers = [serve(some(10)), serve(some(20))]
    servers.insert(place, serve(answer()))
    cifar10.download([url for url, _ in servers], tmp_path / "new")
    assert whole(tmp_path / "new")
    assert [len(asked) for _, asked in servers] == [2 if i == place else 1 for i in range(3)]
    line = capsys.readouterr().out
    said = [line.index(url.split("/")[2]) for url, _ in servers]
    assert line.count("\n") == 1 and min(said) == said[place], "the fastest is named first"
    survived(__name__)


def test_one_that_stalls_is_left(brief, serve, tmp_path):
    stalling, there = serve(answer(), some(1000))
    slower, here = serve(some(1), answer())
    cifar10.download([slower, stalling], tmp_path / "new")
    assert whole(tmp_path / "new") and len(there) == len(here) == 2
    survived(__name__)


def test_one_that_trickles_is_left_while_a_faster_is_there(brief, serve, tmp_path, monkeypatch):
    monkeypatch.setattr(cifar10, "PATIENCE", 0.5)
    trickling, there = serve(answer(), answer(piece=1, pause=0.02))
    faster, here = serve(some(1000), answer())
    cifar10.download([trickling, faster], tmp_path / "new")
    assert whole(tmp_path / "new") and len(there) == len(here) == 2
    survived(__name__)


def test_a_slow_one_is_not_left_for_a_slower(brief, serve, tmp_path, monkeypatch):
    monkeypatch.setattr(cifar10, "PATIENCE", 0.1)
    slow, there = serve(answer(), answer(piece=len(GOOD) // 100, pause=0.01))
    slower, here = serve(some(1))
    cifar10.download([slow, slower], tmp_path / "new")
    assert whole(tmp_path / "new") and len(there) == 2 and len(here) == 1
    survived(__name__)


@pytest.mark.parametrize("others", [[], ["http://127.0.0.1:9/down"]], ids=["alone", "beside one down"])
def test_the_last_one_left_is_taken_whatever_its_speed(others, serve, tmp_path, monkeypatch):
    monkeypatch.setattr(cifar10, "PATIENCE", 0.1)
    monkeypatch.setattr(cifar10, "SLOW", float("inf"))
    cifar10.download([*others, serve(answer(piece=len(GOOD) // 20, pause=0.05))[0]], tmp_path / "new")
    assert whole(tmp_path / "new")
    survived(__name__)


def test_a_mirror_that_lies_is_left_for_the_next(brief, serve, tmp_path):
    lying, there = serve(answer(flipped(len(GOOD) // 2)))
    slower, here = serve(some(10), answer())
    cifar10.download([lying, slower], tmp_path / "new")
    assert whole(tmp_path / "new") and len(there) == len(here) == 2
    survived(__name__)


@pytest.mark.parametrize("floor, kept", [(0, 10), (1.0, 10), (1.1, 1), (100, 1)])
def test_what_is_left_here_weighs_against_the_whole_there(floor, kept, monkeypatch):
    """Ten bytes every eleven seconds, of a hundred: at the first look 90 are left, at 0.91 a second."""
    clock = itertools.count(0, 11)
    monkeypatch.setattr(cifar10, "SIZE", 100)
    monkeypatch.setattr(cifar10, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    came = []
    with pytest.raises(OSError, match="too slow") if kept < 10 else contextlib.nullcontext():
        came.extend(cifar10._fast_enough([bytes(10)] * 10, floor))
    assert len(came) == kept
