"""A kernel and the page's side of it: what the tests of other hosts stand on. And the environments of such hosts, made of links."""

from __future__ import annotations

import json
import os
import queue
import re
import shutil
import subprocess
import sys
import time
import venv
from importlib import metadata
from pathlib import Path

import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager
from packaging.requirements import Requirement

from clrlib.page import setup as cells

ROOT = Path(__file__).resolve().parent.parent
LONG = 300.0  # seconds: the limit of one cell
LOAD = "%load_ext clrlib.page.setup"  # as every kernel of the course's .venv does when it starts
ADVICE = re.compile(r"It is made by the cell under “(.+?)” that begins\n\n    (.+)\n\nRun that one first, or all cells above this one\.$")


class CellError(AssertionError):
    """A cell ended in an error; `kind` and `said` are its class and its message."""

    def __init__(self, kind: str, said: str, trace: str):
        super().__init__(f"{kind}: {said}\n{trace}")
        self.kind, self.said = kind, said


class Kernel:
    """A kernel with a page's side of it: cells, interrupts, and messages to widgets.

    command      what starts a Python: sys.executable, that of an environment, or a command that ends in one
    folder       where it works
    environment  variables to set, and those with None to leave out
    """

    def __init__(self, command=(sys.executable,), folder=None, **environment):
        self.specs = Path(os.environ.get("TMPDIR", "/tmp"), f"kernels-{os.getpid()}-{id(self)}")
        (self.specs / "guest").mkdir(parents=True)
        spec = {"argv": [*command, "-m", "ipykernel_launcher", "-f", "{connection_file}"], "display_name": "guest", "language": "python"}
        (self.specs / "guest/kernel.json").write_text(json.dumps(spec))
        self.manager = KernelManager(kernel_name="guest", kernel_spec_manager=KernelSpecManager(kernel_dirs=[str(self.specs)]))
        clean = {"CLR_PROFILE": "smoke", "OMP_NUM_THREADS": "1"} | environment
        env = {name: value for name, value in ({**os.environ} | clean).items() if value is not None}
        self.manager.start_kernel(cwd=str(folder or ROOT), env=env)
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=90)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        shutil.rmtree(self.specs, ignore_errors=True)

    @property
    def pid(self) -> int:
        return self.manager.provisioner.pid

    def alive(self) -> bool:
        return self.manager.is_alive()

    def run(self, code: str) -> list:
        """The outputs of a cell, as messages. Raises CellError."""
        outputs = []
        reply = self.client.execute_interactive(code, timeout=LONG, output_hook=outputs.append, allow_stdin=False, stop_on_error=False)[
            "content"
        ]
        if reply["status"] != "ok":
            said = next((m["content"] for m in outputs if m["msg_type"] == "error"), reply)
            raise CellError(said["ename"], said["evalue"], "\n".join(said["traceback"]))
        return outputs

    def printed(self, code: str) -> str:
        return "".join(message["content"]["text"] for message in self.run(code) if message["msg_type"] == "stream")

    def ask(self, expression: str):
        """The value of an expression, by way of JSON."""
        reply = self.client.execute("", user_expressions={"it": f"__import__('json').dumps({expression})"}, reply=True, timeout=LONG)
        answer = reply["content"]["user_expressions"]["it"]
        assert answer["status"] == "ok", answer
        return json.loads(eval(answer["data"]["text/plain"]))

    def interrupted(self, code: str, after: float) -> bool:
        """Run a cell and interrupt it `after` seconds; whether it ended in an error.

        Not always a KeyboardInterrupt: `fit` returns the history it has, and the rest of the cell may want a longer one.
        """
        request = self.client.execute(code, allow_stdin=False, stop_on_error=False)
        begun = ("execute_input", request)
        while ((message := self.client.get_iopub_msg(timeout=LONG))["msg_type"], message["parent_header"].get("msg_id")) != begun:
            pass
        time.sleep(after)
        self.manager.interrupt_kernel()
        after = self.client.kernel_info()  # answered when the cell is over: ipykernel itself may lose the reply to what was interrupted
        while True:
            message = self.client.get_shell_msg(timeout=LONG)
            if message["parent_header"].get("msg_id") in (request, after):
                return message["content"]["status"] != "ok" or message["parent_header"]["msg_id"] == after

    # --- widgets

    def send(self, comm: str, data: dict) -> str:
        """A message to a widget, as the page would send it; its id."""
        message = self.client.session.msg("comm_msg", {"comm_id": comm, "data": data})
        self.client.shell_channel.send(message)
        return message["header"]["msg_id"]

    def press(self, comm: str):
        self.send(comm, {"method": "custom", "content": {"event": "click"}})

    def move(self, slider: str, state: dict, picture: str) -> float:
        """Move a slider and wait for the picture that comes of it; seconds between the two. Both are comm ids."""
        began = time.perf_counter()
        self.send(slider, {"method": "update", "state": state, "buffer_paths": []})
        while time.perf_counter() - began < 30:
            try:
                message = self.client.get_iopub_msg(timeout=30)
            except queue.Empty:
                break
            if message["msg_type"] == "comm_msg" and message["content"]["comm_id"] == picture and message["buffers"]:
                return time.perf_counter() - began
        raise AssertionError("no new picture within 30 seconds")


def code_cells(path: Path) -> list[str]:
    """The sources of a notebook's code cells; the first is the set-up cell."""
    return [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def advised(kernel: Kernel, path: Path, source: str) -> str | None:
    """Run a cell that may lack a name: the source of the cell that it was told to run, or None where it ran."""
    try:
        kernel.run(source)
    except CellError as error:
        assert error.kind == "NameError", error
        heading, begins = ADVICE.search(error.said).groups()
        return next(made for under, made in cells.code_cells(path) if (under == heading) & (begins in made.splitlines()))


def follow(kernel: Kernel, path: Path, wanted: str) -> list[str]:
    """Run the cell of a chapter that holds `wanted`, and before it those that the messages send to; returns them as they ran."""
    waiting, ran = [next(source for source in code_cells(path) if wanted in source)], []
    while waiting:
        lacking = advised(kernel, path, waiting[-1])
        assert lacking not in waiting, "a message must not send the reader in circles"
        waiting.append(lacking) if lacking else ran.append(waiting.pop())
    return ran


# --- environments ----------------------------------------------------------------------------------------------


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def needed(names) -> set[str]:
    """The installed distributions that these need, themselves among them; what only an extra asks for is left out."""
    found, waiting = set(), [normal(name) for name in names]
    while waiting:
        name = waiting.pop()
        try:
            requirements = [Requirement(text) for text in metadata.requires(name) or []]
        except metadata.PackageNotFoundError:
            continue
        if name not in found:
            found.add(name)
            waiting += [normal(r.name) for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})]
    return found


def linked(folder: Path, names) -> Path:
    """An environment of this Python that holds links to the named distributions and nothing else; its Python."""
    venv.EnvBuilder(symlinks=True).create(folder)
    (packages,) = folder.glob("lib/python*/site-packages")
    for name in names:
        files = metadata.files(name) or []
        for top in {Path(file.parts[0]) for file in files if file.parts[0] not in ("..", "__pycache__")}:
            link = packages / top
            if not link.exists():
                link.symlink_to(Path(metadata.distribution(name).locate_file(top)).resolve())
    return folder / "bin/python"


def install(python: Path, *requirements: str):
    """Add packages to an environment; what it holds already stays as it is."""
    (packages,) = python.parent.parent.glob("lib/python*/site-packages")
    held = [f"{d.metadata['Name']}=={d.version}" for d in metadata.distributions(path=[str(packages)])]
    pins = python.parent / "held.txt"
    pins.write_text("\n".join(held))
    command = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check", "install", "-q", "-c", str(pins)]
    done = subprocess.run([*command, *requirements], capture_output=True, text=True)
    if done.returncode and not os.environ.get("CI"):
        pytest.skip(f"not tested, since pip could not get {', '.join(requirements)}: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
