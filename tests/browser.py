"""JupyterLab on copies of the chapters, and a Chromium to look at it: what test_browser.py stands on."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OFF = ("gpu", "quic", "background-networking", "component-update", "sync")
FLAGS = ["--no-sandbox", *(f"--disable-{name}" for name in OFF)]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SETTINGS = {  # no questions, no news, and nothing written back to a notebook
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "docmanager-extension/plugin": {"autosave": False},
}
ERRORS = ".jp-OutputArea-output[data-mime-type$='.stderr'], .jp-OutputArea-output[data-mime-type$='.error'], .jupyter-widgets-error-widget"
KERNEL = "window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel"
WAITING = "[...document.querySelectorAll('.jp-InputPrompt')].some(prompt => prompt.textContent.includes('*'))"
NEW_PICTURE = "([image, old]) => image.src != old && image.complete && image.naturalWidth > 0"


def find_chromium(playwright) -> str | None:
    """A Chromium of the system; else the one that Playwright downloaded; else Debian's package, which root can add; else None."""
    found = _first([*NAMES, playwright.chromium.executable_path])
    return _first(NAMES) if found is None and _add_chromium() else found


def _first(programs) -> str | None:
    return next((path for path in map(shutil.which, programs) if path), None)


def _add_chromium() -> bool:
    """Whether apt-get has installed it (Debian, Ubuntu), as it does for root."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return False
    print("installing Debian's Chromium for the browser tests", file=sys.__stderr__)
    quiet = {"stdout": subprocess.DEVNULL, "env": os.environ | {"DEBIAN_FRONTEND": "noninteractive"}, "timeout": 400}
    commands = (["apt-get", "update"], ["apt-get", "install", "-y", "--no-install-recommends", "chromium"])
    try:
        return all(subprocess.run(command, **quiet).returncode == 0 for command in commands)
    except subprocess.TimeoutExpired:
        return False


# --- the server ------------------------------------------------------------------------------------------


class Lab:
    """A JupyterLab with its settings, workspaces and notebooks in `folder`, under the smoke profile; stops with `stop`.

    data  what CLR_DATA is: a folder with CIFAR-10, or "digits"
    """

    def __init__(self, folder: Path, data: str):
        self.folder, self.token, self.port = folder, secrets.token_hex(16), free_port()
        self.notebooks, self.runtime = folder / "notebooks", folder / "runtime"
        shutil.copytree(ROOT / "notebooks", self.notebooks)
        write_settings(folder / "settings")
        (folder / "runs").symlink_to(ROOT / "data" / "runs")  # what a chapter keeps beside the records, it keeps in `folder`
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={self.port}", "--allow-root"]
        command += ["--ServerApp.port_retries=0", f"--IdentityProvider.token={self.token}", f"--ServerApp.root_dir={self.notebooks}"]
        command += ["--LabApp.news_url=", "--LabApp.extension_manager=readonly", "--LabApp.expose_app_in_browser=True"]
        with open(folder / "lab.log", "wb") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, env=self._environment(data), stdout=log, stderr=log)
        self._await()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.port}/lab/workspaces/{Path(name).stem}/tree/{name}?token={self.token}&reset"

    def call(self, what: str, method: str = "GET"):
        """The server's answer to a request to api/`what`; None where it has none."""
        headers = {"Authorization": f"token {self.token}"}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/api/{what}", headers=headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or "null")

    def kernel(self, name: str) -> str:
        """The id of the kernel that runs a notebook."""
        return next(session["kernel"]["id"] for session in self.call("sessions") if session["path"] == name)

    def ask(self, name: str, expression: str, timeout: float = 60):
        """The value of a Python expression (as JSON) in a notebook's kernel, asked beside the page."""
        from jupyter_client import BlockingKernelClient

        client = BlockingKernelClient(connection_file=str(self.runtime / f"kernel-{self.kernel(name)}.json"))
        client.load_connection_file()
        client.start_channels()
        try:
            question = {"it": f"__import__('json').dumps({expression})"}
            reply = client.execute("", user_expressions=question, store_history=False, reply=True, timeout=timeout)
        finally:
            client.stop_channels()
        answer = reply["content"]["user_expressions"]["it"]
        assert answer["status"] == "ok", answer
        return json.loads(eval(answer["data"]["text/plain"]))

    def shut_down(self, name: str):
        """End a notebook's kernel, if it has one."""
        for session in self.call("sessions"):
            if session["path"] == name:
                self.call(f"sessions/{session['id']}", "DELETE")

    def stop(self):
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(20)
        self.process.kill()

    def _environment(self, data: str) -> dict:
        """This process's environment, with nothing of the user's Jupyter in it and clrlib from this repository."""
        places = {"CONFIG_DIR": "config", "DATA_DIR": "data", "RUNTIME_DIR": "runtime"}
        ours = {f"JUPYTER_{name}": str(self.folder / place) for name, place in places.items()}
        ours |= {f"JUPYTERLAB_{name.upper()}_DIR": str(self.folder / name) for name in ("settings", "workspaces")}
        ours |= {
            "PYTHONPATH": str(ROOT),
            "CLR_RUNS": str(self.folder / "runs"),
            "CLR_PROFILE": "smoke",
            "CLR_DATA": data,
            "CLR_MIRRORS": "http://127.0.0.1:9/nothing-here",
        }
        return {**os.environ, **ours, "OMP_NUM_THREADS": "1", "IPYTHONDIR": str(self.folder / "ipython")}

    def _await(self, seconds: float = 90):
        until = time.monotonic() + seconds
        while time.monotonic() < until and self.process.poll() is None:
            with contextlib.suppress(OSError):
                return self.call("status")
            time.sleep(0.2)
        self.process.kill()
        raise RuntimeError(f"JupyterLab did not start: {(self.folder / 'lab.log').read_text()[-2000:]}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def write_settings(folder: Path):
    """The user settings that JupyterLab starts with."""
    for name, values in SETTINGS.items():
        path = folder / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))


# --- the page --------------------------------------------------------------------------------------------


def open_notebook(page, lab: Lab, name: str):
    """A notebook in the page, its kernel idle, the file browser folded away."""
    page.set_default_timeout(30_000)
    page.add_init_script(path=Path(__file__).with_suffix(".js"))
    page.goto(lab.url(name))
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    page.wait_for_function(f"{KERNEL}?.status == 'idle' || document.querySelector('.jp-Dialog')", timeout=90_000)
    assert page.query_selector(".jp-Dialog") is None, f"{name} opens with a question: {page.inner_text('.jp-Dialog')!r}"
    command(page, "application:toggle-left-area")
    wait_idle(page)


def command(page, name: str, arguments=None):
    """One of JupyterLab's own commands."""
    page.evaluate("([name, arguments]) => { window.jupyterapp.commands.execute(name, arguments) }", [name, arguments or {}])


def wait_idle(page):
    """Until the notebook has a kernel (the indicator says idle before that too) and it is idle."""
    page.wait_for_function(f"{KERNEL}?.status == 'idle'", timeout=300_000)
    page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status=idle]", timeout=300_000)


def run_all(page):
    """Run menu, Run All Cells; returns when no cell is left to run."""
    page.click(".lm-MenuBar-itemLabel:text-is('Run')")
    page.click(".lm-Menu-itemLabel:text-is('Run All Cells')")
    page.wait_for_function(WAITING)
    page.wait_for_function(f"!{WAITING}", timeout=600_000)
    wait_idle(page)


def restart(page):
    """Restart the kernel from the Kernel menu, and say yes."""
    page.click(".lm-MenuBar-itemLabel:text-is('Kernel')")
    page.click(".lm-Menu-itemLabel:text-is('Restart Kernel…')")
    page.evaluate(f"course.follow({KERNEL})")
    page.click(".jp-Dialog button.jp-mod-accept")
    page.wait_for_selector(".jp-Dialog", state="detached")
    page.wait_for_function("course.statuses.includes('restarting')")  # until then the old kernel is idle
    wait_idle(page)


def wait_until(holds, seconds: float = 30):
    """Ask until it holds."""
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.2)


def errors(where) -> list[str]:
    """What the outputs of a page, or the inside of a widget, show in red."""
    return where.locator(ERRORS).all_text_contents()


def colours(page) -> list[int]:
    """The number of colours in each picture that the outputs show; 0 for a picture that is none."""
    shown = page.query_selector_all(".jp-OutputArea-output img:not([style*='display: none'])")
    return [picture.evaluate("course.colours") for picture in shown]


def widget(page, text: str):
    """The outermost box of the widget whose source cell holds `text`, scrolled into view."""
    cell = page.locator(".jp-CodeCell", has=page.locator(".jp-InputArea-editor", has_text=text))
    box = cell.locator(".jp-OutputArea-output > .widget-vbox").first
    box.scroll_into_view_if_needed()
    return box


def widgets(page) -> list:
    """The outermost box of every widget."""
    return page.locator(".jp-OutputArea-output > .widget-vbox").all()


def slider(box, label: str):
    """The knob of the slider with this label."""
    return _row(box, label).locator(".noUi-handle").first


def readout(box, label: str):
    """The text beside the slider with this label, which says where it stands."""
    return _row(box, label).locator(".widget-readout").first


def _row(box, label: str):
    name = box.page.locator(f".widget-label:text-is('{label}')")
    return box.locator(".widget-inline-hbox", has=name)


def unnamed(box) -> int:
    """How many pictures of a widget have no words for those who can't see them."""
    return box.locator("img:visible:not([title], [alt])").count() + box.locator("img:visible[title='']").count()


def picture(box) -> str:
    """The address of the picture that a widget shows: another address, another picture."""
    return box.locator("img").first.get_attribute("src")


def wait_picture(box, before: str, seconds: float = 30):
    """Wait for another picture than `before`, whole."""
    image = box.locator("img").first.element_handle()
    box.page.wait_for_function(NEW_PICTURE, arg=[image, before], timeout=1000 * seconds)


def wait_drawn(box, label: str, words: str):
    """Wait for the picture of what a slider says now, whole.

    Moves in quick succession share a message, and so a picture: its words tell which value it shows.

    words  a part of the picture's words, in which {} stands for the slider's readout
    """
    parts = [box.locator("img").first.element_handle(), readout(box, label).element_handle()]
    box.page.wait_for_function("course.drawn", arg=[*parts, words])


def digest(box) -> str:
    """The SHA-256 of the picture that a widget shows."""
    return box.locator("img").first.evaluate("course.digest")


def steady(part, frames: int = 10):
    """Wait until a part of the page has kept its layout for so many frames, however long the machine takes for one."""
    part.page.wait_for_function("course.steady", arg=[part.element_handle(), frames])


def drag(knob, pixels: float):
    """Take a slider's knob with the mouse and let it go `pixels` further right."""
    knob.hover()  # once it is in view, keeps its place, and nothing lies over it
    at, mouse = knob.bounding_box(), knob.page.mouse
    x, y = at["x"] + at["width"] / 2, at["y"] + at["height"] / 2
    mouse.move(x, y)
    mouse.down()
    mouse.move(x + pixels, y, steps=6)
    mouse.up()


def clipped(box) -> list[str]:
    """Parts of a widget that are wider than the room they have."""
    return box.evaluate("course.clipped")


def contrasts(box) -> dict[str, float]:
    """Each text in a widget -> WCAG 2's contrast with what lies under it."""
    return dict(box.evaluate("course.contrasts"))


def look(page, width: int, height: int, theme: str = "Light"):
    """The window at a size, in a theme of JupyterLab. (A window of 1200 zoomed to 200 % lays a page out as one of 600.)"""
    page.set_viewport_size({"width": width, "height": height})
    command(page, "apputils:change-theme", {"theme": f"JupyterLab {theme}"})
    page.wait_for_function("dark => document.body.dataset.jpThemeLight == String(!dark)", arg=theme == "Dark")
    steady(page.locator("body"))


def keep(box, path: Path):
    """A screenshot of a widget, in a window as wide as it is and high enough to hold it."""
    size = box.page.viewport_size
    box.page.set_viewport_size(size | {"height": 1400})
    box.scroll_into_view_if_needed()
    steady(box)
    box.screenshot(path=path)
    box.page.set_viewport_size(size)


def timed_moves(box, label: str, words: str, keys) -> list[float]:
    """Seconds from each key on a slider's knob to the picture of its new value, as the page's clock has it."""
    knob, page, seconds = slider(box, label), box.page, []
    page.evaluate("course.watch", [knob.element_handle(), box.locator("img").first.element_handle()])
    for key in keys:
        before = readout(box, label).inner_text()
        knob.press(key)
        assert readout(box, label).inner_text() != before, f"{key} moved nothing"
        wait_drawn(box, label, words)
        page.wait_for_function("course.loaded > course.pressed")
        seconds.append(page.evaluate("course.loaded - course.pressed") / 1000)
    return seconds
