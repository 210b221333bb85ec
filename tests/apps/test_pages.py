"""Pages as people see them: a real browser, the real portal, API and database."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

PAGES = (
    "/live",
    "/live/areas/A2-SX",
    "/live/areas/unassigned",
    "/live/tags/A1-FEED.DISS.R-101.ph?span=24h",
    "/live/tags/A6-UTIL.ELEC.PM-MAIN.e",
    "/live/search?q=ph",
    "/energy?period=24h",
    "/energy?period=24h&by=line",
    "/material?period=24h&material=HCl&by=meter",
)


@dataclass
class Witness:
    """What a page did that it should not: errors on the console, requests to other hosts, answers that failed."""

    host: str
    faults: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        page.on("console", lambda m: m.type in ("error", "warning") and self.faults.append(m.text))
        page.on("pageerror", lambda e: self.faults.append(str(e)))
        page.on("request", lambda r: urlsplit(r.url).netloc not in (self.host, "") and self.faults.append(r.url))
        page.on("response", lambda r: r.status >= 400 and self.faults.append(f"{r.status} {r.url}"))


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="module")
def cookies(browser: Browser, portal) -> Any:
    """The cookies of somebody who signed in by hand."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{portal.url}/live/search?q=ph")
    page.get_by_label("API key").fill(portal.key)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/live/search?q=ph")
    kept = context.storage_state()
    context.close()
    return kept


@pytest.fixture
def open_page(browser: Browser, portal, cookies) -> Iterator[Callable[..., tuple[Page, Witness]]]:
    """Opens signed-in pages, and says what each does wrong."""
    contexts = []

    def make(*, scheme: Any = "light", width: int = 1440) -> tuple[Page, Witness]:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, storage_state=cookies
        )
        contexts.append(context)
        page = context.new_page()
        witness = Witness(urlsplit(portal.url).netloc)
        witness.watch(page)
        return page, witness

    yield make
    for context in contexts:
        context.close()


@pytest.fixture
def page(open_page) -> Iterator[Page]:
    opened, witness = open_page()
    yield opened
    assert witness.faults == []


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 390), ("light", 2560)])
def test_pages_render_at_every_width_in_both_themes(open_page, portal, path: str, scheme: str, width: int) -> None:
    page, witness = open_page(scheme=scheme, width=width)
    page.goto(portal.url + path)
    page.wait_for_load_state("load")
    page.wait_for_timeout(400)
    assert page.locator("h1").count() == 1
    expect(page.get_by_text("Simulated data", exact=True)).to_be_visible()
    expect(page.get_by_role("navigation", name="Apps")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"
    assert page.evaluate("getComputedStyle(document.body).fontFamily").startswith("Inter")
    assert page.evaluate("document.fonts.check('16px Inter')")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(12, 16, 22)"
    assert dark == (scheme == "dark")
    assert witness.faults == []


def test_values_on_the_wall_move_by_themselves(page: Page, portal) -> None:
    tag = "A3-PPT.PN.R-PN1.ph"
    page.goto(f"{portal.url}/live")
    value = page.locator(f'[data-tag="{tag}"] .value')
    page.wait_for_timeout(1500)
    portal.record(tag, 6.11)
    expect(value).to_have_text("6.11", timeout=8000)
    expect(page.locator(f'[data-tag="{tag}"] .standing')).to_have_text("L")
    portal.record(tag, 6.82)
    expect(value).to_have_text("6.82", timeout=8000)
    expect(page.locator(f'[data-tag="{tag}"] .standing')).to_be_hidden()


def test_sparklines_are_drawn_and_values_stand_beside_them(page: Page, portal) -> None:
    page.goto(f"{portal.url}/live")
    line = page.locator('[data-tag="A6-UTIL.ELEC.PM-MAIN.p"] .spark .line')
    expect(line).to_have_attribute("d", re.compile(r"^M[\d.]+ [\d.]+L"))
    expect(page.locator('[data-tag="A6-UTIL.ELEC.PM-MAIN.p"] .unit')).to_have_text("kW")


def test_a_screen_whose_clock_is_wrong_shows_fresh_values_as_fresh(page: Page, portal) -> None:
    tag = "A1-FEED.DISS.R-101.temp"
    portal.record(tag, 74.9)
    page.add_init_script("const real = Date.now; Date.now = () => real() + 7200e3")
    page.goto(f"{portal.url}/live/tags/{tag}")
    page.wait_for_timeout(2500)  # ages are told anew each second
    expect(page.locator(".big")).to_have_attribute("data-standing", "ok")
    expect(page.locator(".big [data-age]")).to_have_text(re.compile("just now|s ago"))


def test_a_lost_stream_is_told(open_page, portal) -> None:
    page, _ = open_page()
    page.route("**/api/live/stream*", lambda route: route.abort())
    page.goto(f"{portal.url}/live")
    expect(page.locator("#link")).to_contain_text("connection is lost", timeout=8000)


def test_the_trend_changes_its_range_in_place(page: Page, portal) -> None:
    page.goto(f"{portal.url}/live/tags/A1-FEED.DISS.R-101.ph")
    expect(page.locator("#plot canvas")).to_be_visible()
    expect(page.locator("#step")).to_have_text("every reading")
    page.get_by_role("link", name="7 days").click()
    expect(page.locator("#step")).to_have_text("15 min")
    assert page.url.endswith("span=7d")
    page.get_by_text("The same as a table").first.click()
    assert page.locator("#rows tbody tr").count() > 8
    expect(page.locator("#rows tbody tr").last).to_contain_text("–")  # a week ago nothing was known


def test_the_trend_grows_with_what_comes(page: Page, portal) -> None:
    tag = "A2-SX.SXA.MS-A01.ph"
    page.goto(f"{portal.url}/live/tags/{tag}")
    expect(page.locator("#plot canvas")).to_be_visible()
    page.wait_for_timeout(1500)
    portal.record(tag, 2.87)
    expect(page.locator(".big .value")).to_have_text("2.87", timeout=8000)
    expect(page.locator(".big [data-age]")).to_have_text("just now")


def test_search_by_keyboard(page: Page, portal) -> None:
    page.goto(f"{portal.url}/live")
    page.keyboard.press("/")
    page.keyboard.type("PM-MAIN pow")
    box = page.get_by_role("combobox", name="Find a tag")
    expect(box).to_have_attribute("aria-expanded", "true")
    expect(page.get_by_role("option").first).to_contain_text("A6-UTIL.ELEC.PM-MAIN")
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("option").first).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Enter")
    page.wait_for_url("**/live/tags/A6-UTIL.ELEC.PM-MAIN.*")


def test_an_area_is_sifted(page: Page, portal) -> None:
    page.goto(f"{portal.url}/live/areas/A1-FEED")
    page.get_by_placeholder("Filter by name").fill("r-101 ph")
    expect(page.locator(".points li:visible")).to_have_count(1)
    page.get_by_placeholder("Filter by name").fill("nothing of that name")
    expect(page.get_by_text("Nothing matches.")).to_be_visible()


def test_the_theme_is_kept(page: Page, portal) -> None:
    page.goto(f"{portal.url}/energy?period=24h")
    page.get_by_role("button", name="Light or dark").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(12, 16, 22)"
    page.goto(f"{portal.url}/live")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_the_energy_page_answers_by_clicking(page: Page, portal) -> None:
    page.goto(f"{portal.url}/energy")
    page.get_by_role("link", name="24 h").click()
    page.wait_for_url("**period=24h**")
    page.get_by_role("link", name="Gas").click()
    expect(page.locator("#detail")).to_contain_text("Gas")
    page.get_by_role("link", name="Line", exact=True).click()
    expect(page.locator("table.figures").first).to_contain_text("A4-CALC.TK1")
    expect(page.locator("#chart canvas")).to_be_visible()
    page.get_by_text("Every hour as a table", exact=True).click()
    expect(page.locator(".by-step tbody tr").last).to_be_visible()
    assert page.locator(".by-step tbody tr").count() in (24, 25)  # 24 when it is just on the hour
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    assert download.value.suggested_filename.startswith("energy_")


def test_a_custom_period(page: Page, portal) -> None:
    page.goto(f"{portal.url}/material?material=NaOH")
    page.get_by_text("Custom…").click()
    start = page.get_by_label("From").input_value()
    page.get_by_label("From").fill(f"{start[:10]}T00:00")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url("**period=custom**")
    expect(page.locator(".range")).to_contain_text("00:00")
    expect(page.locator("#detail")).to_contain_text("NaOH")


def test_the_bars_tell_their_figures(page: Page, portal) -> None:
    page.goto(f"{portal.url}/energy?period=24h&by=area")
    chart = page.locator("#chart canvas")
    expect(chart).to_be_visible()
    page.wait_for_timeout(500)
    box = chart.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(page.locator(".tip")).to_contain_text("A5-WWT")
    expect(page.locator(".tip .sum")).to_contain_text("kWh")


def test_without_scripts_every_figure_is_there(browser: Browser, portal) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{portal.url}/sign-in?next=/energy%3Fperiod=24h")
    page.fill("#key", portal.key)
    page.click(".button")
    assert page.locator("table.figures").first.locator("tbody tr").count() > 5
    page.goto(f"{portal.url}/live")
    assert page.locator("article.area").count() == 7
    context.close()


@pytest.mark.parametrize("path", ["/live", "/energy?period=24h"])
def test_pages_are_light(open_page, portal, path: str) -> None:
    """Compressed, with an empty cache; the stream aside."""
    page, _ = open_page()
    session = page.context.new_cdp_session(page)
    sizes: list[float] = []
    session.send("Network.enable")
    session.send("Network.setCacheDisabled", {"cacheDisabled": True})
    session.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    page.goto(portal.url + path)
    page.wait_for_timeout(1500)
    assert 10_000 < sum(sizes) < 600_000


def test_errors_are_designed(open_page, portal) -> None:
    page, _ = open_page()
    answer = page.goto(f"{portal.url}/live/areas/A9")
    assert answer.status == 404
    expect(page.get_by_role("heading", name="There is no such page")).to_be_visible()
    expect(page.get_by_text("the areas are A1-FEED")).to_be_visible()
