"""How fast the portal's pages are in a browser with an empty cache: first paint, figures, weight, and what a hand does.

    python bench/pages.py [--demo DIR] [--only energy,live,…] [--periods 24h,month] [--runs 3] [--long]

Without `--demo`, the data folder of a demo that runs already, a demo of its own is started: the core plant with two
days of history, with `--long` with thirty (a quarter of an hour and more). Each page is opened in headless Chromium in a new context:
`answer` is the server's time for the page itself, `slowest` that of its slowest request, `paint` the browser's
first-contentful-paint, `figures` when no part and no chart is awaited any more, `kB` what came over the wire. Budgets:
paint < 1 s, figures < 2 s, weight < 600 kB; a hand's act < 200 ms to the frame that shows it. The limit, taken in the
same run, is `/explain`, which asks for nothing over a period. Medians of `--runs`. Exit code 1 when a budget is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from benchrig.finding import Finding, tell
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

TAG = "A1-FEED.DISS.R-101.ph"
METER = "A6-UTIL.ELEC.PM-MAIN.e"
BUDGETS = {"paint": 1000.0, "figures": 2000.0, "weight": 600.0}  # ms, ms, kB
ACT = 200.0  # ms

# Pages of a period, and pages that show now.
ASKED = (
    "/energy", "/energy/use", "/energy/cost", "/energy/flows", "/energy/carbon", "/energy/baseline", "/energy/outlook",
    "/material", "/material/balance", "/material/reagents", "/material/water", "/material/advice",
    "/production", "/production/lots", "/production/log",
    "/business", "/business/what-if", "/business/lots",
    "/explain/electricity.per_t",
)  # fmt: skip
NOW = (
    "/live", "/live?reference=plantday&screen=wall", "/live/areas/A2-SX", f"/live/tags/{TAG}", f"/live/tags/{METER}?span=7d",
    "/live/search?q=ph", "/data", "/explain",
)  # fmt: skip

WAITED = "document.readyState === 'complete' && !document.querySelector('[aria-busy=true], [data-chart]:not([data-drawn]), .canvas:empty, #plot:empty')"
_TIMES = """() => {
  const page = performance.getEntriesByType('navigation')[0];
  const paint = performance.getEntriesByName('first-contentful-paint')[0];
  const asked = performance.getEntriesByType('resource').filter((r) => !r.name.includes('/static/') && !r.name.includes('/stream'));
  const took = (r) => r.responseEnd - r.requestStart;
  const slowest = asked.reduce((a, b) => (took(b) > took(a) ? b : a), page);
  return { answer: took(page), paint: paint ? paint.startTime : NaN, requests: asked.length + 1, slowest: took(slowest), which: slowest.name };
}"""
# From the input's own time stamp to the first frame in which what it asked for is there.
_WATCH = """() => {
  window.actedAt = 0;
  const note = (event) => { if (!window.actedAt && event.isTrusted) window.actedAt = event.timeStamp; };
  for (const kind of ['pointerdown', 'pointermove', 'keydown']) addEventListener(kind, note, { capture: true, passive: true });
}"""


def wait(page: Page, condition: str, value: str = "performance.now()") -> float:
    """Return `value` in the first frame in which `condition` holds; both are expressions of the page's script.

    Not playwright's own `wait_for_function`, which evaluates text in the page: the content security policy forbids it.
    """
    found: float | None = page.evaluate(
        "async () => { const end = performance.now() + 60000; while (performance.now() < end) {"
        f" if ({condition}) return {value}; await new Promise(requestAnimationFrame); }} return null; }}"
    )
    if found is None:
        raise AssertionError(f"{page.url}: did not become: {condition}")
    return found


class Shown(NamedTuple):
    """One opening of a page: times in ms, weight in kB."""

    answer: float
    paint: float
    figures: float
    weight: float
    requests: int
    slowest: float
    which: str


@dataclass(frozen=True)
class Act:
    """What a hand does on a page, and what the page shows then (an expression of the page's script)."""

    name: str
    path: str
    do: Callable[[Page], None]
    shown: str


def _hover(selector: str) -> Callable[[Page], None]:
    def act(page: Page) -> None:
        page.locator(selector).first.scroll_into_view_if_needed()
        box = page.locator(selector).first.bounding_box()
        assert box is not None, f"nothing to hover: {selector}"
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)

    return act


ACTS = (
    Act("a chart under the pointer", "/energy/use?period=month", _hover("#chart canvas"), "!!document.querySelector('.tip')"),
    Act("a chart under the pointer, demand", "/energy/cost?period=month", _hover("#energy-demand canvas"), "!!document.querySelector('.tip')"),
    Act("the table by step unfolds", "/energy/use?period=month", lambda page: page.locator(".by-step summary").first.click(), "!!document.querySelector('.by-step[open]')"),
    Act("a trend under the pointer", f"/live/tags/{TAG}?span=7d", _hover("#plot .u-over"), "!!document.querySelector('.tip:not([hidden])')"),
    Act("a trend over another span", f"/live/tags/{TAG}?span=7d", lambda page: page.locator("[data-span='1h']").click(), "document.getElementById('step').textContent !== '15 min'"),
    Act("search, a letter typed", "/energy?period=month", lambda page: page.locator("#find").press("p"), "!!document.querySelector('#found:not([hidden]) a')"),
    Act("the theme is changed", "/energy/use?period=month", lambda page: page.locator("#theme").click(), "document.documentElement.dataset.theme === 'dark'"),
)  # fmt: skip
# A period is another page: to its first paint, with the cache that the page before it left.
TURNS = (
    ("/energy?period=24h", "nav.periods a:nth-child(6)"),
    ("/energy/use?period=24h", "nav.periods a:nth-child(6)"),
    ("/production?period=24h", "nav.periods a:nth-child(6)"),
    ("/business?period=24h", "nav.periods a:nth-child(6)"),
    ("/material/balance?period=24h", "nav.periods a:nth-child(6)"),
)


class Portal:
    """A portal in a browser, signed in."""

    def __init__(self, browser: Browser, url: str, key: str) -> None:
        self._browser, self.url = browser, url
        context = browser.new_context()
        page = context.new_page()
        page.goto(f"{url}/live/search?q=ph")
        page.fill("input[name=key]", key)
        page.keyboard.press("Enter")
        page.wait_for_url("**/live/search?q=ph")
        self._state: Any = context.storage_state()
        context.close()

    @contextmanager
    def page(self) -> Iterator[Page]:
        """A page of a context of its own: signed in, with an empty cache."""
        context: BrowserContext = self._browser.new_context(
            viewport={"width": 1440, "height": 900}, storage_state=self._state
        )
        try:
            yield context.new_page()
        finally:
            context.close()

    def open(self, path: str) -> Shown:
        """Open a page and wait until everything on it is there."""
        with self.page() as page:
            weight = [0.0]
            session = page.context.new_cdp_session(page)
            session.send("Network.enable")
            session.on("Network.loadingFinished", lambda e: weight.append(e["encodedDataLength"]))
            answer = page.goto(self.url + path, timeout=120_000)
            assert answer is not None
            assert answer.ok, f"{path}: {answer.status}"
            figures = wait(page, WAITED)
            wait(page, "performance.getEntriesByName('first-contentful-paint').length")  # told a frame later
            times = page.evaluate(_TIMES)
            which = urlsplit(times.pop("which"))
            return Shown(**times, which=which.path, figures=figures, weight=sum(weight) / 1e3)

    def act(self, act: Act) -> float:
        """Milliseconds from a hand's act to the frame that shows its result."""
        with self.page() as page:
            page.goto(self.url + act.path, timeout=120_000)
            wait(page, WAITED)
            page.wait_for_timeout(300)
            page.evaluate(_WATCH)
            act.do(page)
            return wait(page, f"window.actedAt && ({act.shown})", "performance.now() - window.actedAt")

    def turn(self, path: str, link: str) -> float:
        """Milliseconds from a click on a link to the first paint of the page behind it."""
        with self.page() as page:
            page.goto(self.url + path, timeout=120_000)
            wait(page, WAITED)
            page.evaluate(
                "addEventListener('pointerdown', (e) => sessionStorage.setItem('at', performance.timeOrigin + e.timeStamp),"
                " { capture: true })"
            )
            with page.expect_navigation(timeout=120_000, wait_until="commit"):
                page.locator(link).click()
            painted = "performance.getEntriesByName('first-contentful-paint')"
            return wait(
                page,
                f"{painted}.length",
                f"performance.timeOrigin + {painted}[0].startTime - sessionStorage.getItem('at')",
            )


def shown(portal: Portal, paths: list[str], runs: int) -> int:
    """Print a line for each page; return how many budgets are missed."""
    missed = 0
    print(f"{'page':<52}{'answer':>8}{'slowest':>9}{'requests':>10}{'paint':>8}{'figures':>9}{'kB':>7}", flush=True)
    for path in paths:
        every = [portal.open(path) for _ in range(runs)]
        middle = {
            name: statistics.median(getattr(one, name) for one in every)
            for name in ("answer", "slowest", "requests", "paint", "figures", "weight")
        }
        over = [name for name, most in BUDGETS.items() if not middle[name] < most]
        missed += len(over)
        line = f"{path:<52}{middle['answer']:>8.0f}{middle['slowest']:>9.0f}{middle['requests']:>10.0f}"
        line += f"{middle['paint']:>8.0f}{middle['figures']:>9.0f}{middle['weight']:>7.0f}"
        worst = max(every, key=lambda one: one.slowest).which
        print(line + (f"   MISSED {', '.join(over)} ({worst})" if over else ""), flush=True)
    return missed


def acted(portal: Portal, only: set[str], runs: int) -> Iterator[Finding]:
    """What a hand does, each act on a page of its own."""
    for act in ACTS:
        if _wanted(act.path, only):
            took = statistics.median(portal.act(act) for _ in range(runs))
            yield Finding(f"{act.name} ({act.path})", took, "ms", "", "", gate=ACT, most=True)
    for path, link in TURNS:
        if _wanted(path, only):
            took = statistics.median(portal.turn(path, link) for _ in range(runs))
            yield Finding(f"a month, first paint (from {path})", took, "ms", "", "", gate=ACT, most=True)


def _wanted(path: str, only: set[str]) -> bool:
    return not only or path.split("?")[0].split("/")[1] in only


@contextmanager
def _demo(wish: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The document of the demo named, or of one that is started here and stopped after it."""
    if wish.demo:
        yield json.loads((Path(wish.demo) / "demo.json").read_text("utf-8"))
        return
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "demo"
        command = [str(Path(sys.executable).with_name("hefa")), "demo", "--profile", "core", "--data-dir", str(data)]
        process = subprocess.Popen(
            [*command, "--history", "30d" if wish.long else "2d"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        try:
            print("a demo is started, its history made", flush=True)
            while not (data / "demo.json").exists():
                if process.poll() is not None:
                    raise SystemExit(f"the demo ended: {process.communicate()[1].decode()[-2000:]}")
                time.sleep(0.5)
            yield json.loads((data / "demo.json").read_text("utf-8"))
        finally:
            process.terminate()
            process.wait(60)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", help="data folder of a running demo")
    parser.add_argument("--long", action="store_true", help="a month of history in the demo that is started here")
    parser.add_argument("--only", default="", help="some apps, by comma: live, energy, material, …")
    parser.add_argument("--periods", default="24h,month", help="periods of the pages that have one, by comma")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--parts", default="pages,acts")
    wish = parser.parse_args()
    only = set(filter(None, wish.only.split(",")))
    chromium = os.environ.get("HEFA_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    paths = [f"{path}?period={period}" for period in wish.periods.split(",") for path in ASKED] + list(NOW)
    missed = 0
    with _demo(wish) as document, sync_playwright() as playwright:
        root = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=chromium, args=root)
        portal = Portal(browser, document["portal"], document["key"])
        if "pages" in wish.parts:
            missed += shown(portal, [path for path in paths if _wanted(path, only)], wish.runs)
        if "acts" in wish.parts:
            missed += tell(acted(portal, only, wish.runs))
        browser.close()
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
