"""The files that install the course agree with each other and say nothing that holds on one machine only."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import clrlib

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
WITH_EXTRA = re.compile(r"clrlib\[(\w+)\]")
CONDA_NAMES = {"torch": "pytorch"}
# In parts, so that this file does not hold what it forbids.
REGISTRIES = ["pypi" + ".org", "python" + "hosted.org", "download.py" + "torch.org", "conda.ana" + "conda.org", "npm" + "js.org"]
HOMES = re.compile(r"(?<![\w.-])/" + r"(work|root|home|Users)/\w")


def flat(extra: str) -> list[str]:
    """What an extra asks for, the extras in it unfolded; a later specifier of a package takes the place of an earlier one."""
    found = {}
    for requirement in EXTRAS[extra]:
        inner = WITH_EXTRA.fullmatch(requirement)
        for text in flat(inner[1]) if inner else [requirement]:
            found[Requirement(text).name] = text
    return list(found.values())


def by_name(requirements):
    """Requirement strings -> {name: specifier}."""
    return {r.name: str(r.specifier) for r in map(Requirement, requirements)}


def project_files():
    """The text files of the project, those not committed yet included."""
    try:
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            yield name, (ROOT / name).read_bytes().decode("utf-8", errors="ignore")


def pins():
    """constraints.txt as a list of requirements."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def test_one_version():
    assert PROJECT["version"] == clrlib.__version__


def test_the_core_needs_numpy_alone():
    assert [Requirement(text).name for text in PROJECT["dependencies"]] == ["numpy"]


def test_an_extra_holds_the_one_before_it():
    names = [set(by_name(flat(extra))) for extra in ("lab", "course", "jupyter", "test")]
    assert all(smaller < larger for smaller, larger in zip(names, names[1:]))


def test_conda_installs_the_same_packages():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    *packages, last = environment["dependencies"]
    conda = by_name(packages)
    assert environment["channels"] == ["conda-forge"]
    assert last == {"pip": ["-e ."]}, "pip adds the course itself and nothing else"
    assert conda.pop("pip") == ""
    assert conda.pop("python") == PROJECT["requires-python"]
    assert conda == {CONDA_NAMES.get(name, name): spec for name, spec in by_name(PROJECT["dependencies"] + flat("jupyter")).items()}


def test_constraints_are_exact_and_leave_python_3_10_free():
    assert len(pins()) > 50
    for pin in pins():
        assert re.fullmatch(r"==[0-9][0-9a-z.]*", str(pin.specifier)) and not pin.url, pin
        assert str(pin.marker) == 'python_version >= "3.11"', pin
        assert not re.match(r"nvidia-|cuda-|triton|(uv|pip|setuptools)$", pin.name), pin


def test_constraints_cover_and_satisfy_pyproject():
    pinned = {pin.name.lower(): next(iter(pin.specifier)).version for pin in pins()}
    for requirement in map(Requirement, PROJECT["dependencies"] + flat("test")):
        assert requirement.specifier.contains(pinned[requirement.name.lower()]), requirement


@pytest.mark.parametrize("host", REGISTRIES)
def test_no_file_names_a_package_registry(host):
    assert [name for name, text in project_files() if host in text] == []


def test_no_file_holds_a_path_of_one_machine():
    assert [name for name, text in project_files() if HOMES.search(text)] == []


def test_workflows_pin_actions_to_a_major_version():
    for file in (ROOT / ".github/workflows").glob("*.yml"):
        workflow = yaml.safe_load(file.read_text(encoding="utf-8"))
        steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
        used = [step["uses"] for step in steps if "uses" in step]
        assert used and all(re.fullmatch(r"[\w-]+/[\w-]+@v\d+", action) for action in used), file.name
