"""A chapter opened as a lone file: its set-up cell, run by a Python that holds stand-ins for a host's packages and nothing else."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
import torch
from packaging.requirements import Requirement

from clrlib.page import address
from clrlib.page import setup as hosts

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
CHAPTER = "00_start_here.ipynb"
TORCH = "2.8.0+cu126"
# What a kernel does with the notebook's first code cell, as often as asked; then what came of it, as JSON.
KERNEL = f"""
import json, sys
cells = json.load(open({CHAPTER!r}, encoding="utf-8"))["cells"]
source = "".join(next(cell for cell in cells if cell["cell_type"] == "code")["source"])
names = {{}}
for _ in range(int(sys.argv[1])):
    exec(source, names)
import clrlib.page.setup, google.colab, torch
found = [clrlib.page.setup.__file__, torch.__version__, sum("clrlib" not in path and "clr-course" in path for path in sys.path)]
print(json.dumps(found))
"""
# Notes what it was asked and what it was to keep; FAKE_PIP is the folder of the host's packages.
PIP = """
import os, pathlib, sys
host = pathlib.Path(os.environ["FAKE_PIP"])
*_, flag, kept, wanted = sys.argv
with open(host / "pip.log", "a") as log:
    log.write(" ".join([*sys.argv[1:-2], wanted]) + "\\n" + open(kept).read())
if (host / "offline").exists():
    sys.exit(1)
(host / f"{wanted.split('>')[0]}.py").touch()
"""


def git(*arguments, cwd):
    """Run git as nobody in particular, whatever this machine is set to."""
    own = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    command = ["git", "-c", "user.name=reader", "-c", "user.email=reader@example.org", *arguments]
    subprocess.run(command, cwd=cwd, env=os.environ | own, check=True, capture_output=True)


@pytest.fixture(scope="session")
def remote(tmp_path_factory):
    """A bare repository of clrlib as it stands here."""
    folder = tmp_path_factory.mktemp("remote")
    shutil.copytree(ROOT / "clrlib", folder / "work/clrlib", ignore=shutil.ignore_patterns("__pycache__"))
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"], ["clone", "-q", "--bare", ".", "../course.git"]):
        git(*arguments, cwd=folder / "work")
    return folder / "course.git"


@pytest.fixture
def host(tmp_path):
    """A stand-in for Colab: its packages, a pip that notes what it is asked, and a folder with nothing but the chapter."""
    packages, folder = tmp_path / "packages", tmp_path / "content"
    for name in [*hosts.PACKAGES, "google/colab", "pip"]:
        (packages / name).mkdir(parents=True)
        (packages / name / "__init__.py").touch()
    (packages / "torch/__init__.py").write_text(f"__version__ = {TORCH!r}\n")
    (packages / f"torch-{TORCH}.dist-info").mkdir()
    (packages / f"torch-{TORCH}.dist-info/METADATA").write_text(f"Metadata-Version: 2.1\nName: torch\nVersion: {TORCH}\n")
    (packages / "pip/__main__.py").write_text(PIP)
    folder.mkdir()
    shutil.copy(ROOT / "notebooks" / CHAPTER, folder)
    return SimpleNamespace(packages=packages, folder=folder, log=packages / "pip.log")


def run(host, times=1, folder=None, **environment):
    """Run the chapter's set-up cell -> the finished process. `-S` hides this Python's own packages, clrlib among them."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CLR_")}
    own = {"PYTHONPATH": str(host.packages), "FAKE_PIP": str(host.packages), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-S", "-c", KERNEL, str(times)]
    return subprocess.run(command, cwd=folder or host.folder, env=clean | own | environment, capture_output=True, text=True, timeout=60)


def files(folder):
    return sorted(path.name for path in folder.iterdir())


# --- fetching -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_a_lone_chapter_fetches_the_course_and_leaves_the_host_as_it_is(form, host, remote):
    before = {path: path.read_bytes() for path in host.packages.rglob("*") if path.is_file()}
    done = run(host, CLR_REPO=form.format(remote))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [str(host.folder / "clr-course/clrlib/page/setup.py"), TORCH, 1]
    assert files(host.folder) == [CHAPTER, "clr-course"]
    assert {path: path.read_bytes() for path in host.packages.rglob("*") if path.is_file()} == before


def test_the_second_run_does_nothing(host, remote, tmp_path):
    first = run(host, times=2, CLR_REPO=str(remote))
    again = run(host, PATH=str(tmp_path / "no-git-here"), CLR_REPO="nowhere")
    assert first.returncode == again.returncode == 0, first.stderr + again.stderr
    assert first.stdout == again.stdout and json.loads(again.stdout)[2] == 1
    assert not host.log.exists()


def test_a_folder_with_a_space_will_do(host, remote):
    folder = host.folder.rename(host.folder.with_name("my drive"))
    done = run(host, folder=folder, CLR_REPO=str(remote))
    assert done.returncode == 0 and files(folder) == [CHAPTER, "clr-course"], done.stderr


def test_inside_the_repository_nothing_is_fetched(host, tmp_path):
    inside = tmp_path / "checkout/notebooks/mine"
    shutil.copytree(ROOT / "clrlib", tmp_path / "checkout/clrlib", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(host.folder, inside)
    done = run(host, folder=inside, PATH=str(tmp_path / "no-git-here"), CLR_REPO="nowhere")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0] == str(tmp_path / "checkout/clrlib/page/setup.py") and files(inside) == [CHAPTER]


def test_an_installed_clrlib_is_enough(host, tmp_path):
    shutil.copytree(ROOT / "clrlib", host.packages / "clrlib", ignore=shutil.ignore_patterns("__pycache__"))
    done = run(host, PATH=str(tmp_path / "no-git-here"), CLR_REPO="nowhere")
    assert done.returncode == 0 and files(host.folder) == [CHAPTER], done.stderr
    assert json.loads(done.stdout)[0] == str(host.packages / "clrlib/page/setup.py")


@pytest.mark.parametrize("repo", ["file:///no/such/repository.git", "https://127.0.0.1:9/owner/repo"])
def test_a_wrong_address_is_named_with_the_remedy_and_leaves_nothing(repo, host):
    done = run(host, CLR_REPO=repo)
    message = done.stderr.splitlines()[-1]
    assert done.returncode != 0 and repo in message and "set CLR_REPO to the course's URL" in message
    assert files(host.folder) == [CHAPTER]


def test_while_no_address_is_set_the_message_says_what_to_set(host):
    path = host.folder / CHAPTER
    path.write_text(nbformat.writes(address.stamped(nbformat.read(path, as_version=4), "", CHAPTER)), encoding="utf-8")
    done = run(host)
    assert done.returncode != 0 and "can't fetch ''" in done.stderr and "set CLR_REPO" in done.stderr.splitlines()[-1]
    assert files(host.folder) == [CHAPTER]


def test_a_clone_that_is_killed_half_way_leaves_nothing_and_the_next_one_succeeds(host, remote, tmp_path):
    fake = tmp_path / "bin/git"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\nfor last; do :; done\nmkdir -p "$last/clrlib"\n: > "$last/clrlib/page/setup.py"\nkill -9 $$\n')
    fake.chmod(0o755)
    done = run(host, PATH=f"{fake.parent}{os.pathsep}{os.environ['PATH']}", CLR_REPO=str(remote))
    assert done.returncode != 0 and str(remote) in done.stderr.splitlines()[-1]
    assert files(host.folder) == [CHAPTER]
    assert run(host, CLR_REPO=str(remote)).returncode == 0


# --- installing ---------------------------------------------------------------------------------------------


def test_only_what_is_missing_is_installed_and_torch_is_pinned_to_the_hosts(host, remote):
    shutil.rmtree(host.packages / "pooch")
    done = run(host, times=2, CLR_REPO=str(remote))
    assert done.returncode == 0, done.stderr
    assert host.log.read_text().splitlines() == ["install --quiet --constraint pooch>=1.7", f"torch=={TORCH}"]
    assert done.stdout.splitlines()[0] == "Installing what this host lacks: pooch>=1.7"


def test_a_pip_that_fails_is_named_with_the_remedy(host, remote):
    shutil.rmtree(host.packages / "pooch")
    (host.packages / "offline").touch()
    done = run(host, CLR_REPO=str(remote))
    message = done.stderr.splitlines()[-1]
    assert done.returncode != 0 and "pip could not install pooch>=1.7" in message and "run this again" in message


def test_here_nothing_is_missing_and_every_pin_is_what_is_installed(capfd):
    assert hosts.missing() == []
    hosts.prepare()
    assert capfd.readouterr() == ("", "")
    frozen = {str(Requirement(pin).name): Requirement(pin) for pin in hosts.pins()}
    assert set(frozen) == {Requirement(text).name for text in hosts.PACKAGES.values()}
    assert frozen["torch"].specifier.contains(torch.__version__.split("+")[0])


def test_the_packages_are_those_of_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    assert extras["course"][0] == "clrlib[lab]"
    assert set(hosts.PACKAGES.values()) == {*project["dependencies"], *extras["lab"], *extras["course"][1:]}
