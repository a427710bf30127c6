"""JupyterLab never opens without a token, nor to anybody beyond this machine: what the commands say, and what a server then does."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from faults import survived

ROOT = Path(__file__).resolve().parent.parent
# In parts, so that this file does not hold what it forbids.
OPENED = {
    "no token": r"(token|password)\s*[=:]\s*(''|\"\"|None\b|\s*$)",
    "no check of who asks": r"disable_" + r"check_xsrf|allow_" + r"unauthenticated_access|allow_" + r"origin|allow_" + r"remote_access",
    "an address beyond this machine": r"0\.0" + r"\.0\.0|--ip[= ]['\"]?(\*|::(?!1))|--ip=(?!127\.0\.0\.1)",
}
COMMANDS = ["Makefile", ".ci/run", ".ci/install.sh", "environment.yml", "pyproject.toml", "README.md", "clrlib/README.md", "data/README.md"]


def command(*arguments):
    """What `make lab` would start."""
    environment = {key: value for key, value in os.environ.items() if key not in ("ARGS", "MAKEFLAGS", "MAKELEVEL")}
    listed = subprocess.run(
        ["make", "--no-print-directory", "-n", "lab", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    (line,) = (line for line in listed.stdout.splitlines() if "jupyterlab" in line)
    return line


@pytest.mark.parametrize("fault", OPENED)
def test_no_command_opens_it(fault):
    files = [ROOT / name for name in COMMANDS] + sorted((ROOT / ".github").rglob("*.yml")) + sorted((ROOT / "clrlib").rglob("*.py"))
    assert [file.name for file in files if re.search(OPENED[fault], file.read_text(encoding="utf-8"), re.MULTILINE)] == []
    assert not re.search(OPENED[fault], command()) and "--ip=127.0.0.1" in command("ARGS=--no-browser")
    survived(__name__)


def asked(url, **headers):
    """The status of a request."""
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10).status
    except urllib.error.HTTPError as error:
        return error.code


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A server as `make lab` starts it, on a port of its own, with nobody's settings; (what it says of itself, its process)."""
    home = tmp_path_factory.mktemp("home")
    clean = {key: value for key, value in os.environ.items() if not key.startswith("JUPYTER")}
    line = command("ARGS=--no-browser --port=0 --ServerApp.port_retries=0").split(" -m jupyterlab ", 1)[1]
    places = {
        "HOME": str(home),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTER_CONFIG_DIR": str(home / "c"),
        "JUPYTER_DATA_DIR": str(home / "d"),
    }
    child = subprocess.Popen(
        ["sh", "-c", f'exec "{sys.executable}" -m jupyterlab {line}'],
        cwd=ROOT,
        env=clean | places,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    said = None
    for _ in range(300):
        time.sleep(0.1)
        found = list((home / "runtime").glob("jpserver-*.json"))
        if found and found[0].read_text().endswith("}"):
            said = json.loads(found[0].read_text())
            break
    yield said, child
    child.terminate()
    child.wait(30)


def test_a_server_has_a_token_that_cannot_be_guessed_and_refuses_who_lacks_it(lab):
    said, _ = lab
    assert said is not None, "it did not start"
    assert len(said["token"]) >= 40 and said["hostname"] == "127.0.0.1"
    for path in ("api/contents", "api/kernels", "api/terminals", "lab", "files/README.md"):
        refused = [asked(said["url"] + path), asked(said["url"] + path + "?token="), asked(said["url"] + path, Authorization="token x")]
        assert all(status in (403, 401) for status in refused) or path in ("lab", "files/README.md")
    assert asked(said["url"] + "api/contents?token=" + said["token"]) == 200
    for path in ("lab", "files/README.md"):  # these lead to the log-in page
        assert "/login" in urllib.request.urlopen(said["url"] + path, timeout=10).url
    survived(__name__, 15)


def test_a_server_is_not_to_be_had_from_elsewhere(lab):
    said, _ = lab
    addresses = {entry[4][0] for entry in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)} | {"127.0.0.2"}
    for address in addresses - {"127.0.0.1"}:
        with socket.socket() as knock:
            knock.settimeout(2)
            assert knock.connect_ex((address, said["port"])) != 0
            survived(__name__)
    assert asked(said["url"] + "api/contents?token=" + said["token"], Host="evil.example") == 403, "a page of another name can't ask"
    survived(__name__)
