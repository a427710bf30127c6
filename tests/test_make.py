"""`make lab` and `make test`: what they run, quick the second time, and one line when something is wrong.

The install script runs here with stand-ins for Python, so that nothing is installed.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import browser
import pytest

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.skipif(not (shutil.which("sh") and shutil.which("make")), reason="needs sh and make")


def program(path, text):
    """An executable shell script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n" + text + "\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def checkout(tmp_path):
    """The files that an install reads, alone in a folder."""
    (tmp_path / ".ci").mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints.txt", ".ci/install.sh"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def install(folder, extra="jupyter", free=99, **environment):
    """Run the install script on a disk with `free` GB -> (exit status, stdout, stderr)."""
    program(folder / "bin/df", f"printf 'Filesystem 1024-blocks Used Available\\n/dev/x 9 9 {free}000000\\n'")
    clean = {key: value for key, value in os.environ.items() if key not in ("TORCH", "NEWEST", "PYTHON", "MAKEFLAGS")}
    environment = clean | {"PATH": f"{folder / 'bin'}{os.pathsep}{clean['PATH']}"} | environment
    done = subprocess.run(["sh", ".ci/install.sh", extra], cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout, done.stderr


def commands(target, *arguments):
    """What make would run for a target."""
    environment = {key: value for key, value in os.environ.items() if key not in ("ARGS", "MAKEFLAGS", "MAKELEVEL")}
    command = ["make", "--no-print-directory", "-n", target, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout


# --- the targets --------------------------------------------------------------------------------------------


def test_lab_opens_the_first_chapter_on_this_machine_only_and_keeps_the_token():
    line = next(line for line in commands("lab", "ARGS=--no-browser").splitlines() if "jupyterlab" in line)
    assert "--ip=127.0.0.1" in line and line.endswith("notebooks/00_start_here.ipynb --no-browser")
    for text in (line, (ROOT / "Makefile").read_text(), (ROOT / ".ci/run").read_text()):
        assert not any(word in text for word in ("token", "password", "0.0.0.0", "--ip=*"))


def test_test_ends_with_pytest_on_every_notebook():
    *_, ruff, unit, notebooks = commands("test").splitlines()
    assert "ruff check" in ruff and unit.rstrip().endswith("-m pytest")
    assert "CLR_PROFILE=smoke" in notebooks and "--nbval-lax" in notebooks and notebooks.endswith("notebooks/")


def test_help_is_the_default_and_lists_every_target():
    makefile = (ROOT / "Makefile").read_text()
    phony = next(line for line in makefile.splitlines() if line.startswith(".PHONY:")).split()[1:]
    shown = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert all(f"make {target} " in shown for target in phony if not target.startswith("env"))


# --- quick the second time ----------------------------------------------------------------------------------


@pytest.fixture
def calls(checkout):
    """A .venv whose python says yes to everything and notes what it was asked."""
    program(checkout / ".venv/bin/python", 'echo "$*" >> calls')
    (checkout / "calls").touch()

    def pip_installs():
        text = (checkout / "calls").read_text()
        (checkout / "calls").write_text("")
        return [line.split(" install ")[1] for line in text.splitlines() if " install " in line]

    return pip_installs


def test_the_second_install_does_nothing(checkout, calls):
    assert install(checkout)[0] == 0
    assert calls() == ["-q --progress-bar=off -c constraints.txt -e .[jupyter]"]
    (checkout / "pyproject.toml").touch()
    assert install(checkout) == (0, "", "")
    assert calls() == []


def test_what_an_install_depended_on_starts_another(checkout, calls):
    install(checkout)
    with open(checkout / "constraints.txt", "a") as file:
        file.write("# changed\n")
    calls()
    install(checkout)
    assert len(calls()) == 1


def test_test_installs_over_jupyter_and_then_serves_both(checkout, calls):
    install(checkout, "jupyter")
    calls()
    install(checkout, "test")
    assert calls() == ["-q --progress-bar=off -c constraints.txt -e .[test]"]
    install(checkout, "jupyter")
    assert calls() == []


def test_newest_leaves_the_constraints_out(checkout, calls):
    install(checkout, NEWEST="1")
    assert calls() == ["-q --progress-bar=off -e .[jupyter]"]


# --- one line when something is wrong -----------------------------------------------------------------------


def assert_one_line(result, *words):
    status, _, error = result
    assert status != 0 and error.count("\n") == 1, error
    assert all(word in error for word in words), error


def test_no_python(checkout):
    assert_one_line(install(checkout, PYTHON="python3.99"), "no python3.99", "3.10 or newer")


def test_an_old_python_is_named(checkout):
    old = program(checkout / "old", 'case "$2" in *print*) echo 3.9 ;; *) exit 1 ;; esac')
    assert_one_line(install(checkout, PYTHON=str(old)), "Python 3.9", "3.10 or newer")


def test_a_python_without_venv_names_the_package(checkout):
    bare = program(checkout / "bare", 'case "$2" in *ensurepip*) exit 1 ;; *print*) echo 3.12 ;; esac')
    assert_one_line(install(checkout, PYTHON=str(bare)), "apt install python3.12-venv")


@pytest.mark.parametrize("torch, need", [("", "GB"), ("cpu", "2 GB")])
def test_no_room(checkout, torch, need):
    assert_one_line(install(checkout, free=1, PYTHON=sys.executable, TORCH=torch), "no room", "1 GB are free", need)
    assert not (checkout / ".venv").exists()


def test_no_network(checkout):
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_CONFIG_FILE": os.devnull, "PIP_EXTRA_INDEX_URL": "", "PIP_FIND_LINKS": ""}
    result = install(checkout, PYTHON=sys.executable, **nowhere)
    assert_one_line(result, "no network")
    assert "to download" in result[1], "it says first how much it is about to fetch"


def test_no_network_leaves_an_installed_course_as_it_is(checkout, calls):
    install(checkout)
    program(checkout / ".venv/bin/python", 'case "$*" in *download*) exit 1 ;; esac')
    (checkout / "constraints.txt").write_text("# changed\n")
    status, out, error = install(checkout)
    assert (status, error) == (0, "") and out.startswith("No network") and out.count("\n") == 1


def failing(checkout, what, message):
    """A .venv whose python fails at commands like `what`, and logs the message."""
    program(checkout / ".venv/bin/python", f'case "$*" in {what}) echo "1 {message}" >> .venv/install.log; exit 1 ;; esac')


def test_constraints_that_do_not_fit_give_way_to_the_newest(checkout):
    failing(checkout, "*constraints*", "ERROR: No torch for you: for help visit us")
    status, out, error = install(checkout)
    assert (status, error) == (0, "") and out.count("\n") == 1
    assert "do not fit this machine (No torch for you): trying the newest" in out


def test_a_full_disk_is_named_and_nothing_is_tried_twice(checkout):
    failing(checkout, '*" install "*', "OSError: [Errno 28] No space left on device")
    result = install(checkout)
    assert_one_line(result, "disk is full")
    assert result[1] == ""


def test_another_failure_says_why_and_names_the_log(checkout):
    failing(checkout, '*" install "*', "ERROR: bad wheel")
    assert_one_line(install(checkout), "bad wheel", ".venv/install.log")


def test_torch_cpu_says_when_its_index_does_not_answer(checkout):
    failing(checkout, "*find_spec*|*torch-backend*", "error: dns")
    assert_one_line(install(checkout, TORCH="cpu"), "without TORCH=cpu")


# --- a Chromium for the browser tests -----------------------------------------------------------------------


@pytest.mark.parametrize("has, finds", [((), None), (("apt-get",), "chromium"), (("google-chrome", "apt-get"), "google-chrome")])
def test_a_chromium_is_found_or_added_by_root(has, finds, tmp_path, monkeypatch):
    playwright = SimpleNamespace(chromium=SimpleNamespace(executable_path=str(tmp_path / "never downloaded")))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in has:
        adds = f": > {tmp_path}/chromium; {shutil.which('chmod', path='/bin:/usr/bin')} +x {tmp_path}/chromium"
        program(tmp_path / name, f'case "$1" in install) {adds};; esac')
    found = browser.find_chromium(playwright)
    assert found == (finds and str(tmp_path / finds))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert browser.find_chromium(playwright) == found, "what is there is found by anybody, and nobody else adds anything"
