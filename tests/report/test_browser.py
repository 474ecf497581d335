"""The page in headless Chromium: it renders, nothing is fetched, nothing that it shows acts, and the map works."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from embprobe.embeddings.workspace import Workspace
from embprobe.images import Images
from embprobe.report import write_report
from tests.report.conftest import PAIR, fill, save_comparison

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or ""
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="needs Chromium: apt-get install chromium")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, few: Images) -> Path:
    space = Workspace.open(tmp_path_factory.mktemp("browser") / "space")
    hue = {"kind": "displacement", "intervention": "hue", "strengths": [120.0]}
    fill(space, few, measures=[hue])
    save_comparison(space, few, (few.rows[0].key, few.rows[1].key))
    return write_report(space, space.root / "report.html", images=few)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install '.[dev]'")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Seen:
    """A page that was opened, and everything that it said, asked for or failed at."""

    def __init__(self, browser: Browser, file: Path, script: str = "", **options: Any) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 1100, "height": 900}, **options})
        self.context.set_default_timeout(10_000)
        self.page: Page = self.context.new_page()
        if script:
            self.page.add_init_script(script)
        self.said: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: self.said.append(dialog.message))
        self.page.on("request", lambda asked: self.said.extend([asked.url] if asked.url[:5] != "data:" else []))
        self.page.goto(file.as_uri())
        self.said.remove(file.as_uri())

    def number(self, script: str) -> int:
        found = self.page.evaluate(script)
        assert isinstance(found, int)
        return found

    def drawn(self) -> list[str]:
        """The pixels of every map."""
        self.page.wait_for_timeout(60)
        found: list[str] = self.page.evaluate(
            "Array.from(document.querySelectorAll('#panels canvas'), (each) => each.toDataURL())"
        )
        return found


@pytest.fixture
def seen(browser: Browser, file: Path) -> Iterator[Seen]:
    found = Seen(browser, file)
    yield found
    assert found.said == []
    found.context.close()


def place(seen: Seen, i: int) -> tuple[float, float]:
    """Where an image is on the screen in the first map."""
    canvas = seen.page.locator("#panels canvas").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    x, y = seen.page.evaluate(f"panels[0].place({i})")
    return box["x"] + x, box["y"] + y


def test_it_renders_without_a_word_or_a_request(seen: Seen, few: Images) -> None:
    assert seen.page.locator("h1").inner_text() == "What do these embeddings notice?"
    assert seen.page.locator("#panels canvas").count() == 2 and seen.number("data.count") == len(few)
    broken = "Array.from(document.images).filter((each) => !each.complete || !each.naturalWidth).length"
    assert seen.number(broken) == 0 and seen.number("document.images.length") > 10
    blank = seen.page.evaluate("(() => { const c = document.querySelector('#panels canvas'); const e = "
                               "document.createElement('canvas'); e.width = c.width; e.height = c.height; "
                               "return e.toDataURL() })()")  # fmt: skip
    assert blank not in seen.drawn()


def test_names_that_try_to_act_are_shown_as_what_they_are(seen: Seen) -> None:
    seen.page.fill("#search", "<script>alert")
    assert seen.page.locator("#matches button").count() == 2
    told = seen.page.locator("#matches bdi").all_inner_texts()
    assert all("<script>alert(1)</script> & {{ 7 * 7 }} \\u202e" in text for text in told)
    seen.page.locator("#matches button").first.click()
    assert "<script>alert(1)" in seen.page.locator("#shown").inner_text()
    assert seen.number("document.scripts.length") == 2


def test_pointing_shows_the_image_and_marks_it_in_every_map(seen: Seen) -> None:
    before = seen.drawn()
    seen.page.mouse.move(*place(seen, 7))
    shown = seen.number("view.hover")
    assert seen.page.locator("#shown canvas[data-drawn=true]").count() == 1
    assert seen.page.locator("#shown").inner_text().startswith(seen.page.evaluate(f"data.names[{shown}]"))
    assert all(now != then for now, then in zip(seen.drawn(), before, strict=True))
    seen.page.mouse.move(5, 5)
    assert seen.number("view.hover") == -1


def test_a_click_shows_the_nearest_by_every_encoder_and_a_second_goes_on(seen: Seen) -> None:
    seen.page.mouse.click(*place(seen, 7))
    pinned = seen.number("view.pinned")
    assert pinned >= 0
    sections = seen.page.locator("#neighbors section")
    assert sections.locator("h3").all_inner_texts() == [f"Nearest by {name}" for name in PAIR]
    assert [sections.nth(i).locator("button").count() for i in range(2)] == [8, 8]
    cosines = [float(text) for text in sections.first.locator("span").all_inner_texts()]
    assert cosines == sorted(cosines, reverse=True) and cosines[0] <= 1
    nearest = seen.number("neighborsOf(encoders[0], view.pinned)[0].at")
    sections.first.locator("button").first.click()
    assert seen.number("view.pinned") == nearest
    seen.page.click("#unpin")
    assert seen.number("view.pinned") == -1 and sections.count() == 0


def test_keys_alone_do(seen: Seen) -> None:
    seen.page.keyboard.press("Tab")
    assert seen.page.evaluate("document.activeElement.hash") == "#main"  # past the contents
    seen.page.locator("#panels canvas").first.focus()
    seen.page.keyboard.press("ArrowRight")  # the one in the middle
    first = seen.number("view.hover")
    seen.page.keyboard.press("ArrowRight")
    second = seen.number("view.hover")
    assert first >= 0 and seen.page.evaluate(f"panels[0].x[{second}] > panels[0].x[{first}]")
    seen.page.keyboard.press("ArrowLeft")
    assert seen.page.evaluate(f"panels[0].x[view.hover] < panels[0].x[{second}]")
    seen.page.keyboard.press("Enter")
    assert seen.number("view.pinned") >= 0 and seen.page.locator("#neighbors button").count() == 16
    seen.page.keyboard.press("+")
    assert seen.number("view.zoom") == 2
    seen.page.keyboard.press("Escape")
    assert seen.number("view.pinned") == -1


def test_a_key_before_the_first_frame_moves_already(browser: Browser, file: Path) -> None:
    seen = Seen(browser, file, "window.requestAnimationFrame = () => 0")
    seen.page.locator("#panels canvas").first.focus()
    seen.page.keyboard.press("ArrowRight")
    assert seen.number("view.hover") >= 0
    seen.context.close()


def test_an_image_is_found_by_its_name_or_key(seen: Seen, few: Images) -> None:
    key = few.rows[5].key
    seen.page.fill("#search", key.upper())
    assert seen.page.locator("#found").inner_text() == "1 found"
    seen.page.press("#search", "Enter")
    assert seen.page.evaluate("data.keys[view.pinned]") == key
    seen.page.fill("#search", "no such image")
    assert seen.page.locator("#found").inner_text() == "0 found"


def test_another_label_recolours_and_its_legend_picks_out(seen: Seen) -> None:
    before = seen.drawn()
    seen.page.select_option("#colour", label="split")
    after = seen.drawn()
    assert before[0] != after[0]
    entry = seen.page.locator("#legend button").first
    assert entry.inner_text().startswith(seen.page.evaluate("labels[view.label].values[0]"))
    entry.click()
    assert entry.get_attribute("aria-pressed") == "true" and seen.drawn()[0] != after[0]
    entry.click()
    assert seen.drawn()[0] == after[0]


def test_close_up_points_are_their_images(seen: Seen) -> None:
    before = seen.drawn()
    seen.page.click("#zoom-in")
    assert seen.page.is_enabled("#zoom-out") and seen.drawn()[0] != before[0]
    seen.page.click("#zoom-out")
    assert seen.drawn() == before


def test_a_zoomed_map_is_dragged_and_does_not_take_that_for_a_click(seen: Seen) -> None:
    x, y = place(seen, 0)

    def drag(dx: int, dy: int) -> None:
        seen.page.mouse.move(x, y)
        seen.page.mouse.down()
        seen.page.mouse.move(x + dx, y + dy, steps=4)
        seen.page.mouse.up()

    def centers() -> list[list[float]]:
        found: list[list[float]] = seen.page.evaluate("panels.map((panel) => panel.center)")
        return found

    drag(2, 2)  # not zoomed, and hardly moved: a click
    assert seen.number("view.pinned") == 0
    seen.page.click("#unpin")
    seen.page.click("#zoom-in")
    before = seen.drawn()
    canvas = seen.page.locator("#panels canvas").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None and centers() == [[0.5, 0.5], [0.5, 0.5]]
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    drag(40, -20)
    pixels = seen.page.evaluate("panels[0].scale()")
    assert centers() == [pytest.approx([0.5 - 40 / pixels, 0.5 + 20 / pixels]), [0.5, 0.5]]
    after = seen.drawn()
    assert seen.number("view.pinned") == -1 and after[0] != before[0] and after[1] == before[1]
    dragged = centers()
    seen.page.click("#zoom-in")
    assert centers() == dragged
    for _ in range(40):
        drag(int(box["width"] / 2) - 5, 0)
    assert centers()[0][0] == 0  # the points do not get lost
    seen.page.click("#zoom-out")
    seen.page.click("#zoom-out")
    assert centers() == [[0.5, 0.5], [0.5, 0.5]]


@pytest.mark.parametrize("scheme, paper", [("light", "rgb(255, 255, 255)"), ("dark", "rgb(23, 23, 26)")])
@pytest.mark.parametrize("width", [390, 1100])
def test_no_width_and_no_scheme_breaks_it(browser: Browser, file: Path, scheme: Any, paper: str, width: int) -> None:
    found = Seen(browser, file, color_scheme=scheme, viewport={"width": width, "height": 800})
    found.page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    found.page.fill("#search", "a")
    found.page.press("#search", "Enter")
    assert found.number("document.documentElement.scrollWidth") <= width
    assert found.page.evaluate("getComputedStyle(document.body).backgroundColor") == paper
    assert found.said == []
    found.context.close()


def test_a_finger_does_what_a_click_does(browser: Browser, file: Path) -> None:
    found = Seen(browser, file, has_touch=True, is_mobile=True, viewport={"width": 390, "height": 800})
    found.page.touchscreen.tap(*place(found, 7))
    assert found.number("view.pinned") >= 0 and found.page.locator("#neighbors button").count() == 16
    found.context.close()


def test_downloads_hold_the_numbers(seen: Seen) -> None:
    with seen.page.expect_download() as csv_file:
        seen.page.click("text=numbers.csv")
    lines = list(csv.DictReader(io.StringIO(csv_file.value.path().read_text(encoding="utf-8"))))
    assert csv_file.value.suggested_filename == "numbers.csv" and [line["encoder"] for line in lines] == list(PAIR)
    assert {(line["images_name"], line["estimate"], line["low"]) for line in lines} == {("few emoji", "0.25", "0.125")}
    with seen.page.expect_download() as json_file:
        seen.page.click("text=numbers.json")
    content = json.loads(json_file.value.path().read_text(encoding="utf-8"))
    assert content["probes"][0]["results"][0]["estimate"] == 0.25 and len(content["comparisons"]) == 1


def test_headings_tables_and_pictures_can_be_told_by_ear(seen: Seen) -> None:
    levels = seen.page.evaluate("Array.from(document.querySelectorAll('h1,h2,h3,h4'), (each) => +each.tagName[1])")
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False))
    assert seen.number("Array.from(document.images).filter((each) => !each.alt).length") == 0
    assert seen.number("document.querySelectorAll('th:not([scope])').length") == 0
    links = seen.page.evaluate("Array.from(document.querySelectorAll('a[href^=\"#\"]'), (each) => each.hash)")
    assert len(links) > 8 and all(seen.page.locator(link).count() == 1 for link in links)


def test_print_shows_all_numbers_and_no_controls(seen: Seen) -> None:
    seen.page.emulate_media(media="print")
    assert seen.page.locator("#map-controls").is_hidden() and seen.page.locator("nav").is_hidden()
    assert seen.page.locator("details td.number").first.is_visible()


def test_without_scripts_the_page_says_what_is_missing(browser: Browser, file: Path) -> None:
    found = Seen(browser, file, java_script_enabled=False)
    assert found.page.locator("noscript p").is_visible() and found.page.locator("#map-controls").is_hidden()
    found.context.close()
