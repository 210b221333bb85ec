"""Pages as people see them: a real browser, the real portal, API and database."""

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

HERE = Path(__file__).parent
PAGES = [line for line in (HERE / "pages.txt").read_text("utf-8").splitlines() if line and not line.startswith("#")]
AXE = (HERE / "vendor" / "axe-core" / "axe.min.js").read_text("utf-8")
LIGHT = 600_000  # bytes a page may weigh, compressed
DARK = "rgb(12, 16, 22)"
SIDEWAYS = "document.documentElement.scrollWidth > innerWidth"

_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def scan(page: Page, *rules: str) -> list[str]:
    """What axe-core finds on the page as it is now, one line each."""
    only = {"type": "rule", "values": list(rules)} if rules else {"type": "tag", "values": _RULES}
    found = page.evaluate(
        "async (only) => (await axe.run(document, {runOnly: only, resultTypes: ['violations']})).violations", only
    )
    return [f"{v['id']}: {v['help']}: {n['target'][0]} {n['html'][:160]}" for v in found for n in v["nodes"][:3]]


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_whole_light_and_for_everybody(open_page: Any, path: str) -> None:
    """One load: weight, both themes, from a phone to a wall, accessibility, nothing on the console."""
    page, witness = open_page(path)
    expect(page.locator("[data-chart]:not([data-drawn])")).to_have_count(0)
    expect(page.locator("[aria-busy=true]")).to_have_count(0)
    assert page.locator("h1").count() == 1
    expect(page.get_by_text("Simulated data", exact=True)).to_be_visible()
    assert page.evaluate("getComputedStyle(document.body).fontFamily").startswith("Inter")
    page.wait_for_function("document.fonts.check('16px Inter')")
    assert 10_000 < witness.weight < LIGHT
    page.evaluate(AXE)
    assert scan(page) == []
    assert not page.evaluate(SIDEWAYS)
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == DARK
    page.set_viewport_size({"width": 390, "height": 844})
    expect(page.locator("[data-chart]:not([data-drawn])")).to_have_count(0)
    assert not page.evaluate(SIDEWAYS), "the page scrolls sideways on a phone"
    assert scan(page, "color-contrast", "target-size", "scrollable-region-focusable") == []
    page.set_viewport_size({"width": 2560, "height": 1440})
    assert not page.evaluate(SIDEWAYS)
    assert witness.faults == []


def test_values_on_the_wall_move_by_themselves(page: Page, portal) -> None:
    tag = "A3-PPT.PN.R-PN1.ph"
    page.goto(f"{portal.url}/live")
    value = page.locator(f'.area [data-tag="{tag}"] .value')
    drawn = page.locator(f'.sheet [data-tag="{tag}"] .value')
    page.wait_for_timeout(1500)
    portal.record(tag, 6.11)
    expect(value).to_have_text("6.11")
    expect(drawn).to_have_text("6.11")
    expect(page.locator(f'.area [data-tag="{tag}"] .standing')).to_have_text("L")
    portal.record(tag, 6.82)
    expect(value).to_have_text("6.82")
    expect(page.locator(f'.area [data-tag="{tag}"] .standing')).to_be_hidden()


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
    expect(page.locator("#link")).to_contain_text("connection is lost")


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
    expect(page.locator(".big .value")).to_have_text("2.87")
    expect(page.locator(".big [data-age]")).to_have_text(re.compile("just now|s ago"))


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


def test_shortcuts_are_told_work_and_can_be_turned_off(page: Page, portal) -> None:
    page.goto(f"{portal.url}/explain/use.water?period=plantday&back=1")
    page.keyboard.press("]")
    page.wait_for_url(lambda url: "back" not in url)
    page.keyboard.press("[")
    page.wait_for_url("**back=1**")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    page.get_by_label("Single-key shortcuts are on").uncheck()
    page.get_by_role("button", name="Close").click()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_hidden()


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
    page.goto(f"{portal.url}/energy/use?period=24h")
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
    page.get_by_text("Other…").click()
    start = page.get_by_label("From").input_value()
    page.get_by_label("From").fill(f"{start[:10]}T00:00")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url("**period=custom**")
    expect(page.locator(".range")).to_contain_text("00:00")
    expect(page.locator("#detail")).to_contain_text("NaOH")


def test_the_bars_tell_their_figures(page: Page, portal) -> None:
    page.goto(f"{portal.url}/energy/use?period=24h&by=area")
    chart = page.locator("#chart canvas")
    expect(chart).to_be_visible()
    page.wait_for_timeout(500)
    box = chart.bounding_box()
    for step in range(100):  # a chart that is not whole yet hears nothing
        page.mouse.move(box["x"] + box["width"] / 2 + step % 2, box["y"] + box["height"] / 2)
        page.wait_for_timeout(100)
        if page.locator(".tip").filter(has_text="A5-WWT").is_visible():
            break
    expect(page.locator(".tip")).to_contain_text("A5-WWT")
    expect(page.locator(".tip .sum")).to_contain_text("kWh")


def test_without_scripts_every_figure_is_there(browser: Browser, portal) -> None:
    context = browser.new_context(java_script_enabled=False)
    context.set_default_timeout(60_000)
    page = context.new_page()
    page.goto(f"{portal.url}/sign-in?next=/energy/use%3Fperiod=24h")
    page.fill("#key", portal.key)
    page.click(".button")
    assert page.locator("table.figures").first.locator("tbody tr").count() > 5
    page.goto(f"{portal.url}/live")
    assert page.locator("article.area").count() == 7
    context.close()


def test_errors_are_designed(open_page, portal) -> None:
    page, _ = open_page()
    answer = page.goto(f"{portal.url}/live/areas/A9")
    assert answer.status == 404
    expect(page.get_by_role("heading", name="There is no such page")).to_be_visible()
    expect(page.get_by_text("the areas are A1-FEED")).to_be_visible()
