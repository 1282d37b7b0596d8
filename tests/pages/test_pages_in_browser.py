"""The pages of a run and of a sweep in headless Chromium: by keyboard and mouse, wide and narrow, dark and light."""

import json
import shlex
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from chromium import chromium, needs_chromium
from finished_run import FRAMES, JUDGE_READS, NAMES, ROWS, SIDE, TARGET, VICTIM, Y, make_run
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from cam_adv.metrics.funnel import QUESTIONS
from cam_adv.studies.attack.finished_attack import FinishedAttack
from cam_adv.studies.attack.page import write_report
from cam_adv.sweep.record import JobRecord
from cam_adv.sweep.report import report

pytestmark = [pytest.mark.slow, needs_chromium]

LOSS = 12
"""Largest error of a pixel, of 255, in a compressed picture of noise."""


class Page:
    """A page as a reader sees it."""

    def __init__(self, browser: webdriver.Chrome, path: Path) -> None:
        self.browser = browser
        browser.get(path.as_uri())
        self.wait(lambda: self.all("#verdict, .warning, main .quiet")[0].text)

    def wait(self, condition: Callable[[], object]) -> None:
        WebDriverWait(self.browser, 5, 0.02).until(lambda _: condition())

    def run(self, script: str, *values: object) -> Any:
        return self.browser.execute_script(script, *values)

    def one(self, selector: str) -> WebElement:
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def texts(self, selector: str) -> list[str]:
        return [one.text for one in self.all(selector)]

    def choose(self, name: str, text: str) -> None:
        """Choose the option that starts with a text."""
        script = (
            "const select = byId(arguments[0]);"
            "const found = [...select.options].filter((one) => one.text.startsWith(arguments[1]));"
            "if (found.length === 1) { found[0].selected = true; select.dispatchEvent(new Event('change')); }"
            "return found.length"
        )
        assert self.run(script, name, text) == 1

    @property
    def shown(self) -> list[int]:
        """Rows of the tiles that can be seen, in their order."""
        return self.run("return [...byId('tiles').children].filter((one) => !one.hidden).map((one) => one.place)")

    def pixels(self, canvas: str) -> torch.Tensor:
        """The red values of a canvas, `(H, W)`."""
        script = (
            "const one = byId(arguments[0]);"
            "return [one.height, one.width, [...one.getContext('2d').getImageData(0, 0, one.width, one.height).data]]"
        )
        height, width, data = self.run(script, canvas)
        return torch.tensor(data).reshape(height, width, 4)[..., 0]

    def device(self, width: int, scheme: str = "light") -> None:
        """Become as wide as a device, with this colour scheme."""
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def assert_quiet(self) -> None:
        """Nothing stands in the console but a hint about the tests' own reading of canvases; nothing was loaded."""
        log = [one["message"] for one in self.browser.get_log("browser")]
        assert [message for message in log if "Multiple readback operations" not in message] == []
        loaded = self.run("return performance.getEntriesByType('resource').map((one) => one.name)")
        assert [name for name in loaded if not name.startswith("data:")] == []


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with chromium(tmp_path_factory.mktemp("profile"), tmp_path_factory.mktemp("downloads")) as browser:
        yield browser


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> FinishedAttack:
    run = make_run(tmp_path_factory.mktemp("page") / "a run's", abstained=True)
    write_report(run)
    return run


@pytest.fixture
def page(browser: webdriver.Chrome, run: FinishedAttack) -> Iterator[Page]:
    page = Page(browser, run.folder / "report.html")
    page.device(1600)
    yield page
    page.assert_quiet()


class TestWalk:
    def test_slider_shows_the_recorded_pictures_answers_and_terms(self, page: Page, run: FinishedAttack) -> None:
        walks, slider = run.data.walks, page.one("#frame")
        assert slider.get_attribute("aria-valuetext") == "x′, found at step 30"
        slider.send_keys(Keys.HOME)
        assert page.one("#step").text == "x"
        assert page.texts("#terms output") == ["", ""]  # x is before the first step
        for frame in range(1, FRAMES - 1):
            slider.send_keys(Keys.ARROW_RIGHT)
            assert page.one("#step").text == f"step {10 * (frame - 1)}"
            difference = page.pixels("image") - walks.images[0, frame, 0].int()
            assert difference.abs().max() <= LOSS
            assert (page.pixels("residual") - walks.residuals[0, frame, 0].int()).abs().max() <= LOSS
            victim, judge, f2 = page.texts("#answers h3")
            share, label = walks.victim[0, frame].max(dim=0)
            assert victim == f"The victim says {NAMES[label]}, {share:.3f}"
            assert judge == f"The judge reads {NAMES[1]}, {walks.judge[0, frame].max():.3f}"
            assert f2 == f"f2 says {NAMES[1]}, 0.700"
            bars = page.texts("#answers > div:first-child li span:last-child")
            assert bars == [f"{value:.3f}" for value in walks.victim[0, frame].tolist()]
            assert page.texts("#terms output") == [str(frame - 1), str(frame - 0.5)]
        assert page.texts("#terms figcaption span") == ["J₁: cross-entropy of the victim", "own"]

    def test_cursor_stands_where_the_curve_is(self, page: Page, run: FinishedAttack) -> None:
        page.one("#frame").send_keys(Keys.HOME, Keys.ARROW_RIGHT)
        dot, line = page.one("#curves circle"), page.one("#curves .line")
        points = [tuple(map(float, one.split())) for one in line.get_attribute("d")[1:].split("L")]
        assert len(points) == FRAMES
        assert float(dot.get_attribute("cx")) == pytest.approx(points[1][0], abs=0.1)
        assert float(dot.get_attribute("cy")) == pytest.approx(points[1][1], abs=0.1)
        top, bottom = (float(one.split("V")[0].split()[-1]) for one in ("M0 6", "M0 156"))  # 100% and 0%
        shares = [(bottom - y) / (bottom - top) for _, y in points]
        assert shares == pytest.approx(run.data.walks.victim[0, :, Y[0]].tolist(), abs=2e-3)

    def test_map_is_red_where_it_is_positive_and_blue_where_it_is_negative(
        self, page: Page, run: FinishedAttack
    ) -> None:
        page.one("#frame").send_keys(Keys.HOME)
        script = (
            "const one = byId('cam').getContext('2d'), side = byId('cam').width / 3;"
            "return [0, 1, 2].flatMap((row) => [0, 1, 2].map((column) =>"
            " [...one.getImageData((column + .5) * side, (row + .5) * side, 1, 1).data]))"
        )
        color, cam = torch.tensor(page.run(script)), run.data.walks.cams[0, 0, 0].flatten()
        redness, clear = color[:, 0] - color[:, 2], cam.abs() > 0.25 * run.data.walks.cams[0, :, 0].abs().max()
        assert {True, False} == set((cam[clear] > 0).tolist())
        assert torch.equal(redness[clear] > 0, cam[clear] > 0)
        assert (redness[clear].abs() > 20).all()
        low, high = (float(one.text.replace("−", "-")) for one in page.all("#cam ~ figcaption .ends span"))
        assert high == -low == pytest.approx(run.data.walks.cams[0, :, 0].abs().max().item(), rel=0.05)

    def test_robust_map_follows_the_walk_and_is_missing_where_it_abstains(
        self, page: Page, run: FinishedAttack
    ) -> None:
        """Of row 1, whose robust interpretation abstains from the third frame on."""
        page.all(".tile")[1].click()
        page.wait(lambda: "Test image 10" in page.one("#verdict").text)
        page.one("#frame").send_keys(Keys.HOME)
        script = (
            "const one = byId('robust'), { data } = one.getContext('2d').getImageData(0, 0, one.width, one.height);"
            "return data.some((red, place) => place % 4 === 0 && Math.abs(red - data[place + 2]) > 20)"
        )
        for frame in range(FRAMES):
            assert page.run(script) == (frame < 2)  # gray alone where there is no map
            assert page.one("#robust-text").text == ("y against y′" if frame < 2 else "it abstains")
            assert ("which abstains" in page.one("#robust").get_attribute("aria-label")) == (frame >= 2)
            assert page.one("#robust ~ .scale").is_displayed() == (frame < 2)
            page.one("#frame").send_keys(Keys.ARROW_RIGHT)

    def test_walk_ends_where_it_stopped(self, page: Page) -> None:
        page.all(".tile")[2].click()
        page.wait(lambda: "Test image 20" in page.one("#verdict").text)
        assert page.one("#frame").get_attribute("max") == "2"
        assert page.one("#step").text == "x′, found at step 15"

    def test_values_that_are_not_finite_leave_a_gap(self, page: Page) -> None:
        page.all(".tile")[5].click()
        page.wait(lambda: "Test image 50" in page.one("#verdict").text)
        assert page.one("#terms .line").get_attribute("d").count("M") == 2
        page.one("#frame").send_keys(Keys.HOME, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
        assert page.texts("#terms output") == ["–", "–"]


FILTERS = [
    ("y", '"häuser"', [2, 3]),
    ("target", "<b>dots</b>", [2, 4]),
    ("end", "success", [0, 1, 2]),
    ("end", "the judge reads y", [4]),
    ("reads", "nothing", [3]),
    ("reads", "y′", [0, 1, 2]),
    ("confidence", "at least 0.999", [2]),
    ("confidence", "0.95 to 0.99", [0, 5]),
    ("start", "2. real_image", [3, 4, 5]),
]


class TestGallery:
    def test_verdicts_say_how_each_image_ended(self, page: Page) -> None:
        for number, tile in enumerate(page.all(".tile")):
            tile.click()
            change = f"Test image {10 * number}, from {NAMES[Y[number]]} to {NAMES[TARGET[number]]}. "
            page.wait(lambda change=change: page.one("#verdict").text.startswith(change))
            read = "nothing" if JUDGE_READS[number] < 0 else NAMES[JUDGE_READS[number]]
            given = f"the victim gives y {100 * VICTIM[number]:.1f}%"
            outcome = f"Success: {given}, and" if number < 3 else f"No success: {given}, but"
            badge = " abstains" if number == 1 else ""
            assert page.one("#verdict").text == f"{change}{outcome} the judge reads {read}.{badge}"

    def test_filter_leaves_the_rows_that_it_names(self, page: Page) -> None:
        for name, option, rows in FILTERS:
            page.choose(f"filter-{name}", f"{option} ({len(rows)})")
            assert page.shown == rows, option
            assert page.one("#found").text == f"{len(rows)} of {ROWS} images"
            page.one("#clear").click()
            assert page.shown == list(range(ROWS))

    def test_two_filters_are_both_met_and_the_walk_follows(self, page: Page) -> None:
        page.choose("filter-y", '"häuser"')
        page.choose("filter-end", "the judge reads nothing")
        assert page.shown == [3]
        page.wait(lambda: "Test image 30" in page.one("#verdict").text)
        page.choose("filter-end", "the judge reads another")
        assert page.shown == []
        assert page.one("#found").text == f"0 of {ROWS} images"

    def test_sorting_puts_the_least_confident_first(self, page: Page) -> None:
        page.choose("order", "victim’s probability of y")
        assert page.shown == sorted(range(ROWS), key=VICTIM.__getitem__)
        page.choose("order", "order of the run")
        assert page.shown == list(range(ROWS))

    def test_cell_of_the_matrix_shows_its_pair(self, page: Page) -> None:
        (cell,) = [
            one
            for one in page.all(".matrix button")
            if one.get_attribute("data-target") == "2" and one.get_attribute("data-y") == "1"
        ]
        assert cell.text == "0/1"
        assert cell.get_attribute("aria-label") == f"{NAMES[1]} to {NAMES[2]}: 0 of 1 succeed; show them"
        cell.click()
        assert page.shown == [3]

    def test_arrow_keys_move_among_the_tiles_and_tab_reaches_one(self, page: Page) -> None:
        tiles = page.all(".tile")
        assert [one.get_attribute("tabindex") for one in tiles] == ["0", *["-1"] * (ROWS - 1)]
        page.run("arguments[0].focus()", tiles[0])
        for keys, number in ((Keys.ARROW_RIGHT, 1), (Keys.END, 5), (Keys.ARROW_LEFT, 4), (Keys.HOME, 0)):
            page.browser.switch_to.active_element.send_keys(keys)
            assert page.browser.switch_to.active_element == tiles[number]
            page.wait(lambda number=number: f"Test image {10 * number}," in page.one("#verdict").text)
        page.browser.switch_to.active_element.send_keys(Keys.ARROW_DOWN)
        below = page.browser.switch_to.active_element
        assert below.location["x"] == tiles[0].location["x"]
        assert below.location["y"] > tiles[0].location["y"]

    def test_thumbnails_are_x_and_x_adv(self, page: Page, run: FinishedAttack) -> None:
        """Of the last row, each pixel five times as large."""
        page.run(
            "for (const one of document.querySelectorAll('.thumb')) one.style.width = arguments[0]", f"{5 * SIDE}px"
        )
        for number, images in ((0, run.result.x), (1, run.result.x_adv)):
            thumb = page.all(".tile")[-1].find_elements(By.CSS_SELECTOR, ".thumb")[number]
            with Image.open(BytesIO(thumb.screenshot_as_png)) as shot:
                pixels = np.asarray(shot.convert("L"))[2::5, 2::5].astype(float)
            assert np.abs(pixels - 255 * images[-1, 0].numpy()).max() <= 2 * LOSS


class TestPage:
    def test_texts_of_users_stay_texts(self, page: Page, run: FinishedAttack) -> None:
        assert page.run("return document.querySelectorAll('main b').length") == len(page.all(".interval b"))
        assert page.one("h1").text == "type1 on </pre><script>alert(1)</script>"
        assert page.texts(".matrix th[scope=row]") == list(NAMES)
        assert page.run("return byId('config').textContent") == (run.folder / "config.yaml").read_text()

    def test_copy_buttons_give_the_commands(self, page: Page, run: FinishedAttack) -> None:
        clipboard = "{ writeText: async (text) => { window.copied = text; } }"
        page.run(f"Object.defineProperty(navigator, 'clipboard', {{ value: {clipboard} }})")
        for name, command in (
            ("repeat", ["cam-adv", f'from="{run.folder.resolve()}"']),
            ("started", ["cam-adv", "attack=type1", "name='a b'"]),
        ):
            button = page.one(f"[data-copies={name}]")
            button.click()
            page.wait(lambda button=button: button.text == "Copied")
            assert shlex.split(page.run("return window.copied")) == command
        page.run("navigator.clipboard.writeText = async () => { throw new Error('refused'); }")
        page.one("[data-copies=repeat]").click()
        page.wait(lambda: page.one("[data-copies=repeat]").text.startswith("Selected"))
        assert page.run("return String(getSelection())").strip() == page.one("#repeat").text

    def test_phone_needs_no_scrolling_sideways(self, page: Page) -> None:
        for width in (400, 320):
            page.device(width)
            page.wait(lambda width=width: page.run("return innerWidth") == width)
            assert page.run("return document.documentElement.scrollWidth") <= width
            assert page.one("#frame").size["width"] > 0.8 * width
            assert all(one.size["width"] > 0.2 * width for one in page.all(".panels canvas"))

    def test_dark_and_light_are_readable(self, page: Page) -> None:
        """The contrast of the text, by WCAG 2: at least 7 for what is read, 4.5 for what is quiet."""
        grounds = set()
        for scheme in ("light", "dark"):
            page.device(1600, scheme)
            ground = page.run("return getComputedStyle(document.body).backgroundColor")
            grounds.add(ground)
            for selector, least in (
                ("body", 7),
                (".quiet", 4.5),
                (".answers .y span", 4.5),
                (".answers .target span", 4.5),
            ):
                color = page.run("return getComputedStyle(document.querySelector(arguments[0])).color", selector)
                assert _contrast(color, ground) >= least, (scheme, selector)
        assert len(grounds) == 2

    def test_whatever_can_be_used_or_seen_has_a_name(self, page: Page) -> None:
        unnamed = page.run(
            "return [...document.querySelectorAll('canvas, svg[role=img], button, select, input')].filter((one) =>"
            " !(one.getAttribute('aria-label') || one.getAttribute('aria-labelledby') || one.textContent.trim()"
            " || one.closest('label'))).map((one) => one.outerHTML)"
        )
        assert unnamed == []

    def test_funnel_stands_in_words(self, page: Page) -> None:
        rows = page.texts(".rates td:first-child")
        assert rows[:3] == ["attempted", "the victim keeps y", "plausible: the judge reads a class"]
        assert rows[4] == "success: the victim keeps y, the judge reads y′"
        assert page.texts(".rates tr.main td")[1:3] == ["50.0%", "25.0 to 75.0%"]


def _contrast(*colors: str) -> float:
    """Of two colours as a style has them (WCAG 2)."""

    def luminance(color: str) -> float:
        shares = [int(part) / 255 for part in color[color.index("(") + 1 : -1].split(",")[:3]]
        linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted(map(luminance, colors))
    return (high + 0.05) / (low + 0.05)


MANY = tuple(f"class number {number}" for number in range(30))
KINDS: list[tuple[dict[str, Any], set[str], str]] = [
    ({"channels": 3}, {"x", "image", "residual", "cam", "contrast"}, "from <b>dots</b> to"),
    ({"residual": False}, {"x", "image", "cam", "contrast"}, "from <b>dots</b> to"),
    ({"cam": False}, {"x", "image", "residual"}, "from <b>dots</b> to"),
    (
        {"codes": False, "kind": "type2"},
        {"x", "image", "cam", "contrast"},
        "for the victim. Success: the victim",
    ),
    ({"from_samples": True}, {"x", "image", "residual", "cam", "contrast"}, "that the victim must call <b>dots</b>"),
    ({"names": MANY, "cam": False, "residual": False}, {"x", "image"}, "from class number 0 to class number 1"),
]


@pytest.mark.parametrize(
    ("kind", "panels", "text"), KINDS, ids=["colour", "generated", "no_cam", "pixels", "samples", "many_classes"]
)
def test_every_kind_of_run_has_a_page(
    browser: webdriver.Chrome, tmp_path: Path, kind: dict[str, Any], panels: set[str], text: str
) -> None:
    run = make_run(tmp_path / "run", **kind)
    write_report(run)
    page = Page(browser, run.folder / "report.html")
    page.device(1600)
    assert {one.get_attribute("id") for one in page.all("canvas")} == panels
    assert text in page.one("#verdict").text
    assert len(page.all("#answers > div")) == (3 if kind.get("codes", True) else 2)
    assert len(page.all("#answers > div:first-child li")) == min(10, len(run.class_names))
    assert bool(page.all(".matrix")) == (len(run.class_names) == 3 and kind.get("codes", True))
    page.one("#frame").send_keys(Keys.HOME, Keys.ARROW_RIGHT)
    assert page.one("#step").text == ("step 0" if kind.get("codes", True) else "25% of the way")
    assert ("straight line" in page.one("#terms-note").text) == (not kind.get("codes", True))
    frame = run.data.walks.images[0, 1].float().mean(dim=0)
    assert (page.pixels("image").float().mean() - frame.mean()).abs() <= LOSS
    page.assert_quiet()


SUMMARY = {"images": ROWS, "seconds": 1.0, "kind": "type1"}


@pytest.fixture(scope="class")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four jobs over two keys, one without a result."""
    tmp_path = tmp_path_factory.mktemp("sweep")
    for number, (eps, confidence) in enumerate([(1, 0.9), (0.5, 0.9), (0.5, 0.99), (2, 0.9)]):
        folder = tmp_path / f"{number}_eps={eps} #%"
        overrides = (f"attack.residual.eps={eps}", f"attack.confidence={confidence}")
        if number == 3:
            folder.mkdir()
            JobRecord(number, overrides, "failed", "<b>No</b> luck.").write(folder)
            continue
        write_report(make_run(folder))
        rate = {"rate": 0.2 * (number + 1), "low": 0.1, "high": 0.9}
        (folder / "summary.json").write_text(json.dumps(SUMMARY | dict.fromkeys(QUESTIONS, rate)))
        JobRecord(number, overrides, "finished").write(folder)
    report(tmp_path)
    return tmp_path


class TestSweep:
    def test_slider_goes_through_the_jobs_in_the_order_of_the_strength(
        self, browser: webdriver.Chrome, sweep: Path
    ) -> None:
        page = Page(browser, sweep / "sweep.html")
        assert page.one("#verdict").text == (
            "attack.residual.eps=0.5, attack.confidence=0.9. Image 0, from <b>dots</b> to "
            '"häuser": the victim says <b>dots</b> with 0.950, the judge reads "häuser": a success.'
        )
        page.one("#job").send_keys(Keys.ARROW_RIGHT)
        assert page.one("#verdict").text.startswith("attack.residual.eps=1, attack.confidence=0.9. ")
        page.one("#job").send_keys(Keys.END)
        assert page.one("#verdict").text.startswith("attack.residual.eps=0.5, attack.confidence=0.99. ")
        assert page.texts("tr[aria-current] td")[:3] == ["2", "0.5", "0.99"]
        page.all("#tiles button")[3].click()
        assert "the judge reads nothing: no success." in page.one("#verdict").text
        page.assert_quiet()

    def test_curve_has_the_rates_and_intervals(self, browser: webdriver.Chrome, sweep: Path) -> None:
        page = Page(browser, sweep / "sweep.html")
        assert page.texts(".panels figcaption")[0] == "success"
        titles = [one.get_attribute("textContent") for one in page.all(".panels figure:first-child title")]
        assert titles == [
            "attack.residual.eps=0.5: 40.0% (10.0 to 90.0%)",
            "attack.residual.eps=1: 20.0% (10.0 to 90.0%)",
            "attack.residual.eps=0.5: 60.0% (10.0 to 90.0%)",
        ]
        heights = [float(one.get_attribute("cy")) for one in page.all(".panels figure:first-child circle")]
        zero, full = 190 - 22, 8
        assert [(zero - height) / (zero - full) for height in heights] == pytest.approx([0.4, 0.2, 0.6])
        assert page.texts("#legend li") == ["attack.confidence:", "0.9", "0.99"]
        page.assert_quiet()

    def test_links_lead_to_the_pages_of_the_jobs_and_a_failed_one_says_why(
        self, browser: webdriver.Chrome, sweep: Path
    ) -> None:
        page = Page(browser, sweep / "sweep.html")
        assert page.texts(".warning") == [
            "Job 3: attack.residual.eps=2, attack.confidence=0.9 is failed. <b>No</b> luck."
        ]
        page.one("a").click()
        page.wait(lambda: page.texts("h1") == ["type1 on </pre><script>alert(1)</script>"])
        page.assert_quiet()

    def test_without_common_images_the_curves_remain(self, browser: webdriver.Chrome, sweep: Path) -> None:
        next(sweep.glob("1_*/attack.safetensors")).unlink()  # this test is the last of the sweep's
        report(sweep)
        page = Page(browser, sweep / "sweep.html")
        assert "no image in common" in page.one(".quiet").text
        assert page.all("#verdict") == []
        assert len(page.all(".panels figure:first-child circle")) == 3
        page.device(400)
        assert page.run("return document.documentElement.scrollWidth") <= 400
        page.assert_quiet()
