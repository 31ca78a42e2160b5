"""A report as a real browser shows it: Debian's Chromium, without a window, driven by Selenium."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from pipeline.report import BundleChoice, write_report

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "bundles" / "em_membrane_segmentation"
# Text on its ground, of every element that holds text of its own: WCAG 2.2, success criterion 1.4.3.
CONTRASTS = """
const lum = (rgb) => { const f = rgb.map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
                       return 0.2126 * f[0] + 0.7152 * f[1] + 0.0722 * f[2]; };
const parsed = (text) => text.match(/[\\d.]+/g).map(Number);
const ground = (e) => { for (; e; e = e.parentElement) { const c = parsed(getComputedStyle(e).backgroundColor);
                        if (c.length < 4 || c[3] > 0) return c.slice(0, 3); } return [255, 255, 255]; };
const found = [];
for (const e of document.querySelectorAll("body *")) {
  if (e.closest("dialog, script, style, title, desc")) continue;
  if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
  const style = getComputedStyle(e);
  const colour = parsed(e.closest("svg") ? style.fill : style.color).slice(0, 3);
  const [a, b] = [lum(colour), lum(ground(e))].sort((x, y) => y - x);
  found.push([(a + 0.05) / (b + 0.05), e.tagName + "." + e.className + ": " + e.textContent.trim().slice(0, 30)]);
}
return found;
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    """A browser that notes every request and everything on its console."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        assert "CI" not in os.environ, "chromium or chromedriver is not installed; .ci/run installs them"
        pytest.skip("chromium is not installed (Debian: chromium, chromium-driver)")
    options = ChromeOptions()
    options.binary_location = program
    quiet = ("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run")
    # No name leads anywhere, so that a test of what is fetched fetches nothing itself.
    still = ("--force-prefers-reduced-motion",)
    nowhere = ("--host-resolver-rules=MAP * ~NOTFOUND",)
    as_root = ("--no-sandbox",) if os.geteuid() == 0 else ()
    for argument in ("--headless=new", "--disable-gpu", "--disable-dev-shm-usage", *quiet, *still, *nowhere, *as_root):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = Chrome(options=options, service=Service(driver))
    yield chrome
    chrome.quit()


@pytest.fixture(scope="module")
def page(runs: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of two runs with everything in it."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_report(path, [runs.first, runs.second], BundleChoice([BUNDLE], runs.manifest, runs.data, 1))
    return path


@pytest.fixture
def show(browser: Chrome) -> Callable[..., tuple[list[str], list[str]]]:
    """Open a page of a width in light or dark; return what was asked for besides it, and what the console says."""

    def open_page(path: Path, width_px: int = 1280, scheme: str = "light", medium: str = "screen") -> Any:
        size = {"width": width_px, "height": 800, "deviceScaleFactor": 1, "mobile": width_px < 600}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": medium, "features": features})
        browser.get("about:blank")
        for kind in ("browser", "performance"):
            browser.get_log(kind)
        browser.get(path.as_uri())
        events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
        asked = [
            event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"
        ]
        assert path.as_uri() in asked
        others = [url for url in asked if url != path.as_uri() and not url.startswith("data:")]
        return others, [entry["message"] for entry in browser.get_log("browser")]

    return open_page


def test_nothing_is_fetched_and_the_console_is_silent(page: Path, show: Callable[..., Any]) -> None:
    assert show(page) == ([], [])


def test_a_page_that_does_fetch_is_noticed(tmp_path: Path, show: Callable[..., Any]) -> None:
    (tmp_path / "fetching.html").write_text("<img src='https://example.org/a.png'>", encoding="utf-8")
    asked, said = show(tmp_path / "fetching.html")
    assert asked == ["https://example.org/a.png"]
    assert said


@pytest.mark.parametrize(
    "smuggled",
    [
        "<img src='https://example.org/a.png'>",
        "<script>document.title = 'ran'</script>",
        "<script src='https://example.org/a.js'></script>",
        "<img src='x' onerror=\"document.title = 'ran'\">",
        "<link rel='stylesheet' href='https://example.org/a.css'>",
        "<iframe src='https://example.org/'></iframe>",
        "<style>body { background: url(https://example.org/a.png) }</style>",
    ],
)
def test_the_browser_refuses_what_a_report_does_not_hold(
    page: Path, browser: Chrome, show: Callable[..., Any], tmp_path: Path, smuggled: str
) -> None:
    """What would get past the escaping is stopped by the page's own policy."""
    text = page.read_text(encoding="utf-8").replace('<main id="main">', f'<main id="main">{smuggled}')
    assert smuggled in text
    (tmp_path / "report.html").write_text(text, encoding="utf-8")
    _, said = show(tmp_path / "report.html")
    assert browser.title.startswith("Report: ")
    assert any("Content Security Policy" in line for line in said)


def test_all_pictures_load_and_have_texts(page: Path, browser: Chrome, show: Callable[..., Any]) -> None:
    show(page)
    pictures = browser.find_elements(By.CSS_SELECTOR, "main img")
    assert len(pictures) == 2 * 3 + 2 * 2  # cases, and border weights and a tile of each run
    for picture in pictures:
        assert picture.get_property("complete")
        assert picture.get_property("naturalWidth") == int(picture.get_dom_attribute("width") or 0) > 0
        assert picture.get_attribute("alt")
    plots = browser.find_elements(By.CSS_SELECTOR, "svg.plot")
    assert len(plots) >= 6
    for plot in plots:
        assert plot.accessible_name
        assert plot.size["height"] > 100
        assert browser.execute_script("return arguments[0].querySelectorAll('use').length", plot) > 0
        box = browser.execute_script(
            "const u = [...arguments[0].querySelectorAll('use')]; return u.map(e => e.getBBox().width)", plot
        )
        assert min(box) >= 0
        assert max(box) > 0


def test_a_picture_is_enlarged_and_moved_by_keys_alone(page: Path, browser: Chrome, show: Callable[..., Any]) -> None:
    show(page)
    button = browser.find_element(By.CSS_SELECTOR, "main button.zoom")
    button.send_keys(Keys.ENTER)
    dialog = browser.find_element(By.TAG_NAME, "dialog")
    wait = WebDriverWait(browser, 10)
    shown = dialog.find_element(By.TAG_NAME, "img")
    wait.until(lambda _: dialog.is_displayed() and shown.get_property("width") > 0 and "%" in dialog.text)
    assert shown.get_property("src") == button.find_element(By.TAG_NAME, "img").get_property("src")
    assert shown.get_attribute("alt") in dialog.text
    fitting = shown.size["width"]
    browser.switch_to.active_element.send_keys("+")
    wait.until(lambda _: shown.size["width"] == pytest.approx(1.5 * fitting, abs=2))
    for _ in range(4):
        browser.switch_to.active_element.send_keys("+")
    view = dialog.find_element(By.CLASS_NAME, "view")
    assert view.get_property("scrollWidth") > view.get_property("clientWidth")
    before = view.get_property("scrollLeft")
    browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    wait.until(lambda _: view.get_property("scrollLeft") > before)
    browser.switch_to.active_element.send_keys("0")
    wait.until(lambda _: shown.size["width"] == pytest.approx(fitting, abs=1))
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    wait.until(lambda _: not dialog.is_displayed())
    assert browser.switch_to.active_element == button
    assert browser.get_log("browser") == []


def test_a_picture_smaller_than_the_window_is_enlarged_by_a_whole_factor(
    changed: Callable[..., Path], browser: Chrome, show: Callable[..., Any], tmp_path: Path
) -> None:
    folder = changed("evaluation", {})
    Image.new("RGB", (300, 100), (200, 30, 30)).save(folder / "log" / "cases" / "v0.png")
    write_report(tmp_path / "report.html", [folder], BundleChoice(tiles=0))
    show(tmp_path / "report.html")
    browser.find_element(By.CSS_SELECTOR, "button.zoom:has(img[width='300'])").click()
    dialog = browser.find_element(By.TAG_NAME, "dialog")
    WebDriverWait(browser, 10).until(lambda _: "%" in dialog.text)
    # 1280 px wide but for the scroll bar: four times 300 px.
    assert dialog.find_element(By.TAG_NAME, "img").size["width"] == 1200
    assert "400 %" in dialog.text
    close = dialog.find_element(By.CSS_SELECTOR, "button[value=close]")
    assert close.rect["x"] + close.rect["width"] <= browser.execute_script(
        "return document.documentElement.clientWidth"
    )


def test_a_picture_is_enlarged_by_pressing_it(page: Path, browser: Chrome, show: Callable[..., Any]) -> None:
    show(page)
    browser.find_elements(By.CSS_SELECTOR, "main button.zoom")[1].click()
    dialog = browser.find_element(By.TAG_NAME, "dialog")
    wait = WebDriverWait(browser, 10)
    wait.until(lambda _: "%" in dialog.text)
    before = dialog.find_element(By.TAG_NAME, "img").size["width"]
    dialog.find_element(By.CSS_SELECTOR, "button[value=larger]").click()
    wait.until(lambda _: dialog.find_element(By.TAG_NAME, "img").size["width"] > before)
    dialog.find_element(By.CSS_SELECTOR, "button[value=close]").click()
    wait.until(lambda _: not dialog.is_displayed())


@pytest.mark.parametrize("width_px", [360, 768, 1280, 2560])
def test_the_page_is_never_wider_than_the_screen(
    page: Path, browser: Chrome, show: Callable[..., Any], width_px: int
) -> None:
    show(page, width_px)
    for opened in (False, True):
        browser.execute_script("for (const e of document.querySelectorAll('details')) e.open = arguments[0]", opened)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width_px


@pytest.mark.parametrize("medium", ["screen", "print"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(
    page: Path, browser: Chrome, show: Callable[..., Any], scheme: str, medium: str
) -> None:
    show(page, 1280, scheme, medium)
    browser.execute_script("for (const e of document.querySelectorAll('details')) e.open = true")
    contrasts = browser.execute_script(CONTRASTS)
    assert len(contrasts) > 200
    assert [entry for entry in contrasts if entry[0] < 4.5] == []
    ground = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    is_dark = ground != "rgb(255, 255, 255)"
    assert is_dark == (scheme == "dark" and medium == "screen")


def test_the_structure_is_told_to_those_who_do_not_see_it(
    page: Path, browser: Chrome, show: Callable[..., Any]
) -> None:
    show(page)
    assert browser.find_element(By.TAG_NAME, "html").get_attribute("lang") == "en"
    levels = [int(e.tag_name[1]) for e in browser.find_elements(By.CSS_SELECTOR, "h1, h2, h3, h4, h5, h6")]
    assert levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))
    tables = browser.find_elements(By.CSS_SELECTOR, "main table")
    for table in tables:
        if not table.find_elements(By.XPATH, "ancestor::div[@class='card']"):
            assert table.find_elements(By.TAG_NAME, "caption")
        assert table.find_elements(By.CSS_SELECTOR, "th")
    targets = [
        link.get_attribute("href").rpartition("#")[2] for link in browser.find_elements(By.CSS_SELECTOR, "nav a")
    ]
    assert len(targets) == 8
    for target in targets:
        assert browser.find_element(By.ID, target).tag_name == "h2"
    ids = browser.execute_script("return [...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))


def test_what_is_folded_away_is_there_on_paper(page: Path, browser: Chrome, show: Callable[..., Any]) -> None:
    show(page)
    closed = "return document.querySelectorAll('details:not([open])').length"
    before = browser.execute_script(closed)
    assert before > 5
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert browser.execute_script(closed) == 0
    browser.execute_script("dispatchEvent(new Event('afterprint'))")
    assert browser.execute_script(closed) == before
