"""clrlib's rooms: who may import from whom, what needs no torch, and that no private name crosses a file."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import clrlib

FOLDER = Path(clrlib.__file__).parent
CORE = ("validate", "files", "schedules", "history", "stats", "suggest", "scheduler", "range_test")
MAY = {  # a room -> the rooms it may import from, besides itself
    "core": set(),
    "theory": {"core"},
    "figures": {"core", "theory"},
    "checks": {"core", "theory"},
    "lab": {"core", "theory"},
    "evidence": {"core", "theory"},
    "page": {"core", "theory", "figures", "evidence"},
    "chapters": {"core", "theory", "figures", "page"},
}
# Single modules that may have more: what they need of a room, by file.
ALSO = {
    "evidence/recording": {"lab"},
    "evidence/experiments": {"lab/recipe"},
    "page/live": {"lab"},
    "page/build": {"lab"},
}
NEED_TORCH = {"scheduler", "range_test", "evidence/recording", "page/live", "__main__"}
NUMPY_ONLY = {"core", "theory"}
ALLOWED_LATE = {"scipy", "matplotlib", "tqdm"}  # in a function, with a remedy where it lacks
FILES = sorted(path for path in FOLDER.rglob("*.py") if path.name != "__init__.py")


def name_of(path: Path) -> str:
    """ "lab/engine" of clrlib/lab/engine.py; "stats" of clrlib/stats.py."""
    return path.relative_to(FOLDER).with_suffix("").as_posix()


def room_of(name: str) -> str:
    return name.split("/")[0] if "/" in name else "core"


NAMES = [name_of(path) for path in FILES]
ROOMY = [name for name in NAMES if name != "__main__"]


def imports(path: Path):
    """(module as it is named in the file, names taken from it, in a function or not) of each import."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {
        id(node)
        for f in ast.walk(tree)
        if isinstance(f, (ast.FunctionDef, ast.AsyncFunctionDef))
        for node in ast.walk(f)
    }
    typing = {id(node) for branch in ast.walk(tree) if is_for_types(branch) for node in ast.walk(branch)}
    inside |= typing  # never run
    package = ["clrlib", *path.relative_to(FOLDER).parts[:-1]]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, [], id(node) in inside
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            yield (
                ".".join([*base, *filter(None, [node.module])]),
                [alias.name for alias in node.names],
                id(node) in inside,
            )


def is_for_types(node) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def ours(path: Path) -> set[str]:
    """The modules of clrlib that a file imports, anywhere in it."""
    found = set()
    for module, names, _ in imports(path):
        parts = module.split(".")
        if parts[0] != "clrlib":
            continue
        inner = "/".join(parts[1:])
        if inner in NAMES:
            found.add(inner)
        else:  # a room, or the package: its modules are the names
            found |= {f"{inner}/{name}".lstrip("/") for name in names}
    return {name for name in found if name in NAMES}


def test_every_file_lies_in_a_room_or_in_the_core():
    assert {room_of(name) for name in ROOMY} == set(MAY)
    assert {name for name in ROOMY if "/" not in name} == set(CORE)


@pytest.mark.parametrize("name", ROOMY)
def test_a_room_imports_only_from_the_rooms_below_it(name):
    allowed = MAY[room_of(name)] | {room_of(name)}
    also = ALSO.get(name, set())
    strangers = {
        other
        for other in ours(FOLDER / f"{name}.py")
        if not {room_of(other)} & (allowed | also) and other not in also
    }
    assert strangers <= ALSO_EVERYWHERE[room_of(name)], strangers


# What is torch-free in the lab may be read by the rooms that show results.
ALSO_EVERYWHERE = {room: set() for room in MAY} | {
    "page": {"lab/profiles", "lab/recipe"},
    "chapters": {"lab/recipe", "lab/profiles"},
}


@pytest.mark.parametrize("name", ROOMY)
def test_no_private_name_crosses_a_file(name):
    crossing = [
        n
        for module, names, _ in imports(FOLDER / f"{name}.py")
        for n in names
        if n.startswith("_") and module != "__future__"
    ]
    assert crossing == []
    tree = ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8"))
    modules = {
        (alias.asname or alias.name).split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
        if isinstance(node, ast.Import) or node.level or (node.module or "").split(".")[0] == "clrlib"
    }
    reached = [
        f"{node.value.id}.{node.attr}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules
        if node.attr.startswith("_") and not node.attr.startswith("__")
    ]
    assert [name for name in reached if not name.startswith("torch.")] == []


@pytest.mark.parametrize("name", [name for name in ROOMY if room_of(name) in NUMPY_ONLY])
def test_core_and_theory_need_numpy_alone(name):
    third = {(module.split(".")[0], late) for module, _, late in imports(FOLDER / f"{name}.py")}
    third = {(top, late) for top, late in third if top not in sys.stdlib_module_names and top != "clrlib"}
    allowed = {"numpy"} | ({"torch"} if name in NEED_TORCH else set())
    assert {top for top, late in third if not late} <= allowed | ({"tqdm"} if name == "range_test" else set())
    assert {top for top, late in third if late} <= allowed | ALLOWED_LATE


def test_there_is_no_cycle_when_modules_are_imported():
    waiting = {
        name: {
            other
            for other in ours(FOLDER / f"{name}.py")
            if other not in late_only(FOLDER / f"{name}.py")
        }
        for name in NAMES
    }  # fmt: skip
    while free := [name for name, needs in waiting.items() if not needs & set(waiting)]:
        for name in free:
            del waiting[name]
    assert waiting == {}


def late_only(path: Path) -> set[str]:
    """The modules of clrlib that a file imports inside functions alone."""
    at_once, late = set(), set()
    for module, names, inside in imports(path):
        inner = "/".join(module.split(".")[1:])
        found = {inner} if inner in NAMES else {f"{inner}/{name}".lstrip("/") for name in names}
        (late if inside else at_once).update(found & set(NAMES))
    return late - at_once


def test_importing_the_reading_path_loads_no_torch():
    reading = [
        name
        for name in ROOMY
        if name not in NEED_TORCH and (room_of(name) != "lab" or name in ("lab/recipe", "lab/profiles"))
    ]
    modules = ", ".join("clrlib." + name.replace("/", ".") for name in reading)
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", f"import {modules}"],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {
        line.rsplit("|", 1)[1].strip().split(".")[0]
        for line in done.stderr.splitlines()
        if line.startswith("import time:")
    }
    assert {"clrlib", "numpy", "ipywidgets"} <= loaded and not loaded & {
        "torch",
        "torchvision",
        "sklearn",
        "matplotlib",
        "scipy",
    }
