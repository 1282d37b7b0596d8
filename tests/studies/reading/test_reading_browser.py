"""The page in headless Chromium: by keyboard and mouse, closed and opened again, up to the file that it downloads."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attacked_folder import save_attack
from chromium import chromium, needs_chromium
from conftest import CommandResult
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from cam_adv.studies.reading.attacked_run import load_attacked_run
from cam_adv.studies.reading.files import ReadingFiles
from cam_adv.studies.reading.page import write_page
from cam_adv.studies.reading.pictures import make_key, pngs

LONG_ENOUGH = 0.2
"""Seconds after which an answer counts: the page ignores those that come before a picture can have been seen."""

pytestmark = [pytest.mark.slow, needs_chromium]


class Page:
    """The page as a reader sees it."""

    def __init__(self, browser: webdriver.Chrome) -> None:
        self.browser = browser

    def press(self, *keys: str) -> None:
        """Press keys, each after the time that it takes to see a picture."""
        for key in keys:
            time.sleep(LONG_ENOUGH)
            ActionChains(self.browser).send_keys(key).perform()

    def click(self, text: str) -> None:
        """Click on the visible button with this text."""
        time.sleep(LONG_ENOUGH)
        (button,) = [one for one in self.browser.find_elements(By.TAG_NAME, "button") if one.text.startswith(text)]
        button.click()

    @property
    def text(self) -> str:
        """What can be read."""
        return self.browser.find_element(By.TAG_NAME, "main").text

    @property
    def kept(self) -> list[int]:
        """The answers that the browser keeps."""
        script = "return localStorage.getItem(KEPT_AS)"
        return [answer for answer, _ in json.loads(self.browser.execute_script(script))["answers"]]


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory, downloads: Path) -> Iterator[webdriver.Chrome]:
    with chromium(tmp_path_factory.mktemp("profile"), downloads) as browser:
        yield browser


@pytest.fixture
def files(tmp_path: Path) -> ReadingFiles:
    """Those of a page with six pictures, one of them shown twice, and three classes; every test has another key."""
    run, files = load_attacked_run(save_attack(tmp_path / "attack")), ReadingFiles(tmp_path / "attack")
    key = make_key(run, {"x_adv": 2, "x": 2, "start_image": 1, "reconstruction": 1}, 1, 0, tmp_path.name)
    write_page(pngs(key, run), key.class_names, files.write_key(key), files.page)
    return files


@pytest.fixture
def page(browser: webdriver.Chrome, files: ReadingFiles) -> Page:
    """In a tab of its own."""
    browser.switch_to.new_window("tab")
    browser.get(files.page.as_uri())
    return Page(browser)


def test_reader_answers_by_keyboard_and_mouse_and_the_table_accepts_the_download(
    page: Page,
    files: ReadingFiles,
    downloads: Path,
    command: Callable[..., CommandResult],
    tiny: list[str],
    tmp_path: Path,
) -> None:
    key, digest = files.read_key() or pytest.fail("there is no key")
    browser = page.browser
    assert "You will see 7 pictures" in page.text
    browser.find_element(By.CSS_SELECTOR, "#intro input").send_keys("Ännie 1")  # a class's key is a letter there
    page.click("Start")
    assert "1 of 7" in page.text
    page.press("1", "n", "x", "0")
    assert page.kept == [1, -1, 0]  # x is no key
    page.press(Keys.BACKSPACE)
    assert page.kept == [1, -1]
    assert "3 of 7" in page.text
    page.click("wide </script> stripes")
    page.click("none of these")
    ActionChains(browser).send_keys("1", "1").perform()  # so fast that nobody has seen a picture
    assert page.kept == [1, -1, 2, -1]
    shown = browser.find_element(By.ID, "image")
    source = shown.get_attribute("src")
    assert shown.size["width"] == shown.size["height"] > 100

    browser.refresh()
    assert "4 of 7 are answered" in page.text
    page.click("Continue")
    assert browser.find_element(By.ID, "image").get_attribute("src") == source
    page.click("Undo “none of these”")
    assert page.kept == [1, -1, 2]
    page.press("n", "1", "0", "2")
    assert "All 7 pictures are answered" in page.text
    page.press(Keys.BACKSPACE)
    assert "7 of 7" in page.text
    page.press("2")

    browser.refresh()
    page.click("Download answers")
    WebDriverWait(browser, 5).until(lambda _: list(downloads.glob("*.json")))
    (file,) = downloads.iterdir()
    assert file.name == f"answers_Annie_1_{digest[:8]}.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    assert (content["digest"], content["reader"]) == (digest, "Ännie 1")
    assert [one["picture"] for one in content["answers"]] == list(range(7))
    assert [one["answer"] for one in content["answers"]] == [1, -1, 2, -1, 1, 0, 2]
    assert all(1000 * LONG_ENOUGH <= one["ms"] < 10_000 for one in content["answers"])
    assert content["answers"][3]["ms"] > 2000 * LONG_ENOUGH  # with the time before it was undone

    page.click("Clear for another reader")
    browser.switch_to.alert.accept()
    assert page.kept == []
    assert "You will see 7 pictures" in page.text
    assert browser.get_log("browser") == []

    result = command(*tiny, "study=reading", "run=attack", f"answers=[{file}]", "hydra.run.dir=table")
    assert result.code == 0, result.err
    table = json.loads((tmp_path / "table" / "reading.json").read_text())
    first = [place for place, one in enumerate(key.pictures) if one.kind == "x_adv" and one.repeat_of is None]
    hits = [content["answers"][place]["answer"] == key.pictures[place].target for place in first]
    assert table["kinds"]["x_adv"]["read_as"]["target"]["rate"] == sum(hits) / 2
    assert list(table["readers"]) == ["Ännie 1"]


def test_page_fits_a_phone_and_can_be_used_by_tab_and_enter_alone(page: Page) -> None:
    browser = page.browser
    phone = {"width": 320, "height": 640, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    page.press(Keys.TAB, Keys.TAB, Keys.ENTER)
    assert "1 of 7" in page.text
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    assert (
        browser.execute_script("return document.querySelector('[data-answer=\"-1\"]').getBoundingClientRect().bottom")
        < 640
    )
    page.press(Keys.TAB, Keys.ENTER, Keys.ENTER)
    assert page.kept == [0, 0]


def test_second_tab_of_the_page_overwrites_no_answer_of_the_first(page: Page, files: ReadingFiles) -> None:
    browser, first = page.browser, page.browser.current_window_handle
    page.click("Start")
    page.press("0")
    browser.switch_to.new_window("tab")
    browser.get(files.page.as_uri())
    page.click("Continue")
    page.press("1")
    browser.switch_to.window(first)
    assert "2 of 7 are answered" in page.text
    page.click("Continue")
    page.press("n")
    assert page.kept == [0, 1, -1]


def test_page_says_when_the_browser_keeps_nothing_and_warns_before_it_is_left(
    page: Page, files: ReadingFiles
) -> None:
    browser = page.browser
    broken = "Storage.prototype.setItem = () => { throw new Error('full'); }"
    browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": broken})
    browser.refresh()
    assert "This browser can’t keep your answers" in page.text
    page.click("Start")
    page.press("0", "1")
    assert "3 of 7" in page.text
    leave = "const event = new Event('beforeunload', { cancelable: true }); return !dispatchEvent(event)"
    assert browser.execute_script(leave)  # a driver closes the question itself, so only the event is looked at
