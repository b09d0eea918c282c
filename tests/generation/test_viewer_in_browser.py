"""The viewer in headless Chromium: its keys are pressed and its steps are read."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from gencls.generation.animation import animate

REQUIRED = os.environ.get("GENCLS_REQUIRE_BROWSER") == "1"
FLAGS = "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking disable-sync"
FLAGS += " disable-component-update disable-dev-shm-usage window-size=1100,900"


def find_browser() -> tuple[str, str]:
    """Chromium and its driver; without them the tests are skipped, but not where they are required."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if browser is None or driver is None:
        reason = "no Chromium with chromedriver: apt-get install chromium chromium-driver"
        pytest.fail(reason) if REQUIRED else pytest.skip(reason)
    return browser, driver


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    browser, driver = find_browser()
    if not REQUIRED:
        pytest.importorskip("selenium", reason="selenium is not installed: pip install gencls[test]")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = browser
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in [*FLAGS.split(), f"user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(f"--{flag}")
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield chrome
    chrome.quit()


class Viewer:
    """What a reader sees of the page, and the keys that he presses."""

    def __init__(self, chrome, path: Path) -> None:
        self.chrome = chrome
        chrome.get(path.resolve().as_uri())

    def all(self, selector: str):
        return self.chrome.find_elements("css selector", selector)

    def press(self, *keys: str) -> None:
        from selenium.webdriver.common.keys import Keys

        for key in keys:
            self.chrome.switch_to.active_element.send_keys(getattr(Keys, key, key))

    @property
    def steps(self) -> list[str]:
        return [line.text.split(" · ")[0] for line in self.all("#stage .status")]

    @property
    def words(self) -> list[str]:
        return [piece.text for piece in self.all("#stage .panel:first-child .piece")]

    @property
    def live(self) -> str:
        return self.all("#live")[0].get_property("textContent")

    @property
    def focus(self) -> str:
        node = self.chrome.switch_to.active_element
        return node.get_attribute("id") or node.get_attribute("aria-label") or node.tag_name

    def classes(self, token: int) -> set[str]:
        return set(self.all("#stage .panel:first-child .cell")[token].get_attribute("class").split())

    def set_speed(self, value: str) -> None:
        self.chrome.execute_script(f"document.getElementById('speed').value = '{value}'")

    def until(self, condition) -> None:
        end = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < end, "the page did not get there in 10 seconds"
            time.sleep(0.02)


@pytest.fixture(scope="module")
def page(toy_trajectory, tmp_path_factory):
    trajectory = toy_trajectory(label="</script><b>toy</b>")
    return animate(trajectory, tmp_path_factory.mktemp("viewer") / "one.html", ms_per_frame=100)


@pytest.fixture
def viewer(chromium, page):
    opened = Viewer(chromium, page)
    yield opened
    assert chromium.get_log("browser") == []  # no error, and nothing that the page's policy had to stop


def test_arrows_step_and_the_text_grows(viewer):
    assert viewer.steps == ["step 0 of 3"]
    assert viewer.words[:2] == ["the", "film"] and set(viewer.words[2:]) == {""}
    viewer.press("ARROW_RIGHT")
    assert viewer.steps == ["step 1 of 3"]
    assert viewer.classes(8) == {"cell", "new"}
    assert viewer.live == "step 1 of 3 · 4 of 10 tokens · 1 forward · 0.50 s. New: \ufffd[31m, ↵, [red], 诗."
    viewer.press("ARROW_RIGHT")
    assert (viewer.classes(8), viewer.classes(11)) == ({"cell", "shown"}, {"cell", "remasked"})
    assert viewer.words[7] == "</script><b>"
    viewer.press("ARROW_RIGHT", "ARROW_RIGHT")
    assert viewer.steps == ["step 3 of 3"] and viewer.words[11] == "诗"
    assert not viewer.all("button.cell.hidden")
    viewer.press("ARROW_LEFT")
    assert viewer.steps == ["step 2 of 3"]
    viewer.press("HOME")
    assert viewer.steps == ["step 0 of 3"]
    viewer.press("END")
    assert viewer.steps == ["step 3 of 3"]
    assert not viewer.all("b")  # the hostile label and token are text


def test_space_plays_pauses_and_plays_on(viewer):
    play = viewer.all("#play")[0]
    viewer.set_speed("0.25")
    viewer.press(" ")
    assert "Pause" in play.text
    viewer.until(lambda: viewer.steps != ["step 0 of 3"])
    viewer.press(" ")
    assert "Play" in play.text
    stopped = viewer.steps
    time.sleep(0.5)
    assert viewer.steps == stopped
    viewer.set_speed("4")
    viewer.press(" ")
    viewer.until(lambda: viewer.steps == ["step 3 of 3"])
    viewer.until(lambda: "Play" in play.text)
    assert viewer.live.startswith("step 3 of 3")


def test_r_plays_again_from_the_start(viewer):
    viewer.press("END", "r")
    assert viewer.steps != ["step 3 of 3"]
    viewer.until(lambda: viewer.steps == ["step 3 of 3"])


def test_f_shows_all_steps_at_once(viewer):
    viewer.press("f")
    rows = viewer.all("#overview .row")
    assert len(rows) == 4 and rows[3].is_displayed()
    assert not viewer.all("#stage")[0].is_displayed()
    assert [len(row.find_elements("css selector", ".new")) for row in rows] == [0, 4, 4, 3]
    viewer.press("ARROW_RIGHT")
    assert rows[1].get_attribute("aria-current") == "step"
    rows[2].find_element("css selector", "button").click()
    viewer.press("f")
    assert viewer.steps == ["step 2 of 3"] and viewer.all("#stage")[0].is_displayed()


def test_without_a_mouse(viewer):
    viewer.press("END")
    order = []
    for _ in range(7):
        viewer.press("TAB")
        order.append(viewer.focus)
    assert order == ["replay", "back", "play", "slider", "speed", "frames", "Token 1: “the”, given"]
    viewer.press(*["ARROW_DOWN"] * 11)
    assert viewer.focus == "Token 12: “诗”, new in this step, probability 1.000"
    inspect = viewer.all(".inspect")[0]
    assert "step 1 “诗” (0.000), step 2 hidden again, step 3 “诗” (1.000)" in inspect.text
    outline = viewer.chrome.execute_script("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"  # the focus can be seen
    viewer.press("ARROW_LEFT", "ARROW_UP")
    assert viewer.focus.startswith("Token 11: “[red]”, revealed in step 1, probability 0.333")
    assert viewer.steps == ["step 2 of 3"]
    viewer.press(" ")
    viewer.until(lambda: viewer.steps == ["step 3 of 3"])


def test_the_slider_and_the_speed(viewer):
    slider = viewer.all("#slider")[0]
    slider.send_keys("\ue014")  # the right arrow, on the slider itself
    assert viewer.steps == ["step 1 of 3"]
    assert slider.get_attribute("aria-valuetext").startswith("step 1 of 3")
    viewer.set_speed("0.25")
    start = time.monotonic()
    viewer.all("#forward")[0].click()
    viewer.all("#play")[0].click()
    viewer.until(lambda: viewer.steps == ["step 3 of 3"])
    assert time.monotonic() - start > 0.3  # a quarter of the speed: 400 ms a frame


@pytest.mark.parametrize(("scheme", "background"), [("light", "255, 255, 255"), ("dark", "23, 27, 34")])
def test_light_and_dark(viewer, scheme, background):
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    viewer.chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    colour = viewer.chrome.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert colour == f"rgb({background})"


def test_two_by_the_clock(chromium, toy_trajectory, tmp_path):
    slow = toy_trajectory(per_step=5, remasks=False, seconds=1.0, label="slow")
    fast = toy_trajectory(per_step=4, remasks=False, seconds=0.4, label="fast")
    viewer = Viewer(chromium, animate([slow, fast], tmp_path / "two.html", aligned_by="time"))
    seen = []
    for _ in range(6):
        seen.append(tuple(int(step.split()[1]) for step in viewer.steps))
        viewer.press("ARROW_RIGHT")
    assert seen == [(0, 0), (0, 1), (0, 2), (1, 2), (1, 3), (2, 3)]
    places = [panel.location for panel in viewer.all(".panel")]
    assert places[0]["y"] == places[1]["y"] and places[0]["x"] < places[1]["x"]
