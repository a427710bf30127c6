"""The download against networks that go wrong: down, slow, cut off, redirected, another file."""

import time

import pytest
from faults import survived
from faults_server import CHANCE, GOOD, answer, endless, flipped, refused, servers_here, take_its_place, whole

from clrlib import cifar10


@pytest.fixture
def serve():
    yield from servers_here()


@pytest.fixture(autouse=True)
def small_cifar(monkeypatch, tmp_path):
    take_its_place(monkeypatch, tmp_path)


def fails(*args):
    refused(*args)
    survived(__name__)


# --- the network ----------------------------------------------------------------------------------------------


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
    "noise of the right length": CHANCE.randbytes(len(GOOD)),
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


def test_addresses_may_stand_apart(serve, tmp_path, monkeypatch):
    monkeypatch.setenv("CLR_MIRRORS", f"http://127.0.0.1:9/down , {serve(answer())[0]} ,, ")
    assert whole(cifar10.download(target=tmp_path / "new"))
    survived(__name__, 2)


def test_a_host_that_trickles_is_left_for_the_next(serve, tmp_path, monkeypatch):
    monkeypatch.setattr(cifar10, "PATIENCE", 0.4)
    slow, asked = serve(answer(piece=50, pause=0.05))
    began = time.monotonic()
    cifar10.download([slow, serve(answer())[0]], tmp_path / "new")
    assert len(asked) == 1 and whole(tmp_path / "new") and time.monotonic() - began < 5
    fails([slow], tmp_path / "slow", "slow")


def test_a_host_that_never_ends_is_left_for_the_next(serve, tmp_path, monkeypatch):
    monkeypatch.setattr(cifar10, "MOST_BYTES", 10 * len(GOOD))
    url, _ = serve(endless)
    cifar10.download([url, serve(answer())[0]], tmp_path / "new")
    assert whole(tmp_path / "new")
    fails([url], tmp_path / "endless", "more than")


def test_a_slow_host_that_is_fast_enough_is_waited_for(serve, tmp_path):
    cifar10.download([serve(answer(piece=len(GOOD) // 20, pause=0.05))[0]], tmp_path / "new")
    assert whole(tmp_path / "new")
    survived(__name__)
