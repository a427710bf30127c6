"""The course as a reader meets it: JupyterLab in Chromium, chapters run from the menu, widgets moved by mouse and keys."""

import os
from dataclasses import dataclass
from pathlib import Path

import browser
import nbformat
import numpy as np
import pytest

pytestmark = pytest.mark.browser

# Asked here, before any fixture clears the environment.
DATA = os.environ.get("CLR_DATA", "digits")
ARTEFACTS = Path(os.environ.get("CLR_ARTEFACTS", Path(__file__).parent / "artefacts"))

GRADIENT_DESCENT, ONE_CYCLE = "01_gradient_descent.ipynb", "05_one_cycle.ipynb"
SHAPED, DRAWN, HAND = "chapter_05.one_cycle_explorer", "drawn = live.Trainer", "hand = live.by_hand"
PLAYGROUND = "chapter_01.playground_explorer()"
WIDGETS = {SHAPED: ONE_CYCLE, DRAWN: ONE_CYCLE, HAND: ONE_CYCLE, PLAYGROUND: GRADIENT_DESCENT}
LOOKS = {
    "as it opens": {"width": 1200, "height": 1000},
    "zoomed to 200 percent": {"width": 600, "height": 500},
    "narrow": {"width": 480, "height": 900},
    "dark": {"width": 1200, "height": 1000, "theme": "Dark"},
}
THREADS = "sum(thread.name == 'clrlib-live' for thread in __import__('threading').enumerate())"
RESULT = "Show the result"
ALL_THREADS = "__import__('threading').active_count()"
PID = "__import__('os').getpid()"
CHAPTERS = sorted(path.name for path in (browser.ROOT / "notebooks").glob("*.ipynb"))
LONG = "setattr({0}, 'setup', __import__('dataclasses').replace({0}.setup, epochs=20_000))"  # on any machine
HIGH, SAID = "upper learning rate", "up to {} at iteration"  # a slider of SHAPED, and what its picture says of it
PICTURE = "next(part for part in shaped.children if type(part).__name__ == 'Picture').value"
DIGEST = f"__import__('hashlib').sha256({PICTURE}).hexdigest()"


@dataclass
class Chapter:
    """A chapter that was run from the menu, in its page."""

    lab: browser.Lab
    page: object
    name: str
    pid: int

    def ask(self, expression):
        return self.lab.ask(self.name, expression)


@pytest.fixture(scope="module")
def chromium():
    """Ends with this module: Playwright's event loop would stand in the way of other tests' own."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = browser.find_chromium(playwright)
        if path is None and os.environ.get("CI"):
            pytest.fail("no Chromium for the browser tests, and CI is set: install chromium or google-chrome")
        if path is None:
            pytest.skip("the browser tests were not run: no Chromium here (install chromium, or: playwright install chromium)")
        started = playwright.chromium.launch(executable_path=path, args=browser.FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def lab(chromium, tmp_path_factory):
    started = browser.Lab(tmp_path_factory.mktemp("lab"), DATA)
    yield started
    started.stop()


@pytest.fixture(scope="module")
def chapter(lab, chromium):
    """name -> that chapter, opened and run at the first asking."""
    opened = {}

    def run(name) -> Chapter:
        if name not in opened:
            page = chromium.new_page()
            browser.open_notebook(page, lab, name)
            opened[name] = Chapter(lab, page, name, lab.ask(name, PID))
            browser.run_all(page)
        browser.look(opened[name].page, **LOOKS["as it opens"])
        return opened[name]

    return run


def check_run(chapter: Chapter):
    """After Run All: nothing in red, the kernel that began is there still, and every picture shows something."""
    stored = nbformat.read(browser.ROOT / "notebooks" / chapter.name, as_version=4)
    pictures = sum("image/png" in output.get("data", {}) for cell in stored.cells for output in cell.get("outputs", []))
    browser.wait_until(lambda: len(browser.colours(chapter.page)) >= pictures)
    assert browser.errors(chapter.page) == []
    assert chapter.ask(PID) == chapter.pid
    assert min(browser.colours(chapter.page), default=2) > 1


def check_layout(box, name):
    """Nothing in red or cut off, every text readable; a screenshot is kept."""
    box.scroll_into_view_if_needed()  # what is far from the view has no layout
    browser.steady(box)
    assert browser.errors(box) == browser.clipped(box) == []
    assert browser.unnamed(box) == 0
    contrasts = browser.contrasts(box)
    assert contrasts and {text: ratio for text, ratio in contrasts.items() if ratio < 4.5} == {}
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    browser.keep(box, ARTEFACTS / f"{name}.png")


# --- in make test ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [GRADIENT_DESCENT, ONE_CYCLE])
def test_a_chapter_runs_from_the_menu(chapter, name):
    check_run(chapter(name))


@pytest.mark.parametrize("move", [lambda knob: browser.drag(knob, 60), lambda knob: knob.press("ArrowRight")], ids=["mouse", "keyboard"])
def test_a_slider_draws_a_new_picture_and_reset_takes_it_back(chapter, move):
    one_cycle = chapter(ONE_CYCLE)
    box, start = browser.widget(one_cycle.page, SHAPED), one_cycle.ask("shaped.values()['high']")
    move(browser.slider(box, HIGH))
    browser.wait_drawn(box, HIGH, SAID)
    moved = one_cycle.ask("shaped.values()['high']")
    assert moved == float(browser.readout(box, HIGH).inner_text()) > start
    assert browser.digest(box) == one_cycle.ask(DIGEST)
    box.get_by_role("button", name="Reset").click()
    browser.readout(box, HIGH).get_by_text(f"{start:g}", exact=True).wait_for()
    browser.wait_drawn(box, HIGH, SAID)
    assert one_cycle.ask("shaped.values()['high']") == start and browser.digest(box) == one_cycle.ask(DIGEST)


def test_a_picture_follows_its_slider_soon(chapter, capsys):
    one_cycle = chapter(ONE_CYCLE)
    box, start = browser.widget(one_cycle.page, SHAPED), one_cycle.ask("shaped.values()['high']")
    keys = ["ArrowRight"] * 6 + ["ArrowLeft"] * 12 + ["ArrowRight"] * 6
    seconds = browser.timed_moves(box, HIGH, SAID, keys)
    median, p95 = 1000 * np.percentile(seconds, [50, 95])
    with capsys.disabled():
        print(f"\nslider to its picture in the browser, {len(keys)} moves: median {median:.0f} ms, p95 {p95:.0f} ms")
    assert one_cycle.ask("shaped.values()['high']") == start and browser.digest(box) == one_cycle.ask(DIGEST)


def test_moves_faster_than_pictures_end_in_the_picture_of_the_last(chapter):
    """Moves while a message is under way are sent together, as one with the last value."""
    one_cycle = chapter(ONE_CYCLE)
    box = browser.widget(one_cycle.page, SHAPED)
    for key in ["ArrowRight"] * 5 + ["ArrowLeft"] * 9 + ["ArrowRight"] * 7:
        browser.slider(box, HIGH).press(key)
    browser.wait_drawn(box, HIGH, SAID)
    last = float(browser.readout(box, HIGH).inner_text())
    browser.wait_until(lambda: one_cycle.ask("shaped.values()['high']") == last)
    browser.wait_until(lambda: browser.digest(box) == one_cycle.ask(DIGEST))


def test_train_grows_a_curve_and_stop_ends_it_and_two_presses_are_one_run(chapter):
    one_cycle = chapter(ONE_CYCLE)
    box, runs = browser.widget(one_cycle.page, DRAWN), one_cycle.ask("len(drawn.runs)")
    one_cycle.ask(LONG.format("drawn"))
    train, stop = (box.get_by_role("button", name=name) for name in ("Train", "Stop"))
    train.dblclick()
    for _ in range(2):
        browser.wait_picture(box, browser.picture(box))
    steps = one_cycle.ask("len(drawn.history)")
    assert train.is_disabled() and one_cycle.ask(THREADS) == 1 and one_cycle.ask("drawn.job.state") == "running"
    browser.wait_until(lambda: one_cycle.ask("len(drawn.history)") > steps > 0)
    browser.wait_picture(box, browser.picture(box))
    stop.click()
    box.locator("button:enabled", has_text="Train").wait_for()
    assert one_cycle.ask("len(drawn.runs)") == runs + 1
    browser.wait_until(lambda: one_cycle.ask(THREADS) == 0)  # the button is freed by the thread's last breath
    assert "Stopped" in box.locator("[role=status]").inner_text() and stop.is_disabled()
    assert browser.errors(one_cycle.page) == []


def test_the_rate_can_be_driven_by_hand(chapter):
    one_cycle = chapter(ONE_CYCLE)
    box = browser.widget(one_cycle.page, HAND)
    one_cycle.ask(LONG.format("hand"))
    box.get_by_role("button", name="Train").click()
    browser.wait_picture(box, browser.picture(box))
    first = one_cycle.ask("hand.rate.value")
    browser.drag(browser.slider(box, "learning rate"), -80)
    wanted = float(browser.readout(box, "learning rate").inner_text())
    browser.wait_until(lambda: one_cycle.ask("float(hand.history.steps['lr'][-1])") == wanted)
    browser.wait_picture(box, browser.picture(box))
    box.get_by_role("button", name="Stop").click()
    box.locator("button:enabled", has_text="Train").wait_for()
    rates = one_cycle.ask("[float(rate) for rate in hand.history.steps['lr']]")
    assert rates[0] == first > rates[-1] == wanted == one_cycle.ask("hand.rate.value")


@pytest.mark.parametrize("at", LOOKS)
@pytest.mark.parametrize("source", WIDGETS, ids=lambda source: source.split(".")[-1].strip("()"))
def test_a_widget_is_whole_and_readable(chapter, source, at):
    page = chapter(WIDGETS[source]).page
    browser.look(page, **LOOKS[at])
    assert page.evaluate("[innerWidth, innerHeight]") == [LOOKS[at]["width"], LOOKS[at]["height"]]
    check_layout(browser.widget(page, source), f"{source.split('.')[-1].strip('()')} {at}".replace(" ", "-"))


# --- in make test-full -----------------------------------------------------------------------------------


@pytest.fixture
def opened(lab, chromium):
    """name -> that chapter, opened but not run; its page is closed and its kernel ended afterwards."""
    names, pages = [], []

    def begin(name) -> Chapter:
        names.append(name)
        page = chromium.new_page(viewport={"width": 1200, "height": 1000})
        pages.append(page)
        browser.open_notebook(page, lab, name)
        return Chapter(lab, page, name, lab.ask(name, PID))

    yield begin
    for page in pages:
        page.close()
    for name in set(names):
        lab.shut_down(name)


@pytest.mark.full
@pytest.mark.parametrize("name", CHAPTERS)
def test_every_chapter_runs_from_the_menu_and_its_widgets_are_whole(opened, name):
    chapter = opened(name)
    browser.run_all(chapter.page)
    check_run(chapter)
    for button in chapter.page.get_by_role("button", name=RESULT).all():
        button.click()
        button.locator("xpath=..").locator("img[title^='You said']").wait_for()
    for width in (1200, 480):
        browser.look(chapter.page, width=width, height=1000)
        for i, box in enumerate(browser.widgets(chapter.page)):
            check_layout(box, f"{Path(name).stem}-widget-{i}-{width}")


@pytest.mark.full
def test_a_closed_tab_and_a_restart_leave_no_thread_behind(opened):
    chapter = opened(ONE_CYCLE)
    idle = chapter.ask(ALL_THREADS)
    browser.run_all(chapter.page)
    chapter.ask(LONG.format("drawn"))
    browser.widget(chapter.page, DRAWN).get_by_role("button", name="Train").click()
    browser.wait_until(lambda: chapter.ask(THREADS) == 1)
    chapter.page.close()
    again = opened(ONE_CYCLE)
    assert again.pid == chapter.pid and again.ask("drawn.job.state") == "running"
    browser.run_all(again.page)
    assert again.ask(THREADS) == 0, "a cell that makes its trainer anew closes the older one, run and all"
    again.ask(LONG.format("drawn"))
    browser.widget(again.page, DRAWN).get_by_role("button", name="Train").click()
    browser.wait_until(lambda: again.ask(THREADS) == 1)
    browser.restart(again.page)
    assert again.ask(PID) != again.pid and not Path(f"/proc/{again.pid}").exists()
    assert again.ask(THREADS) == 0 and again.ask(ALL_THREADS) <= idle
