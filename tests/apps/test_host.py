"""The portal over HTTP: signing in, what is refused, headers, JSON and CSV."""

import csv
import io
import re
import threading
from datetime import UTC, datetime, timedelta

import httpx2
import pytest

from hefa_apps.host import APPS, _local

PAGES = ("/live", "/live/areas/A2-SX", "/live/areas/unassigned", "/live/tags/A1-FEED.DISS.R-101.ph", "/live/search?q=ph", "/energy", "/material")  # fmt: skip


def browser(portal) -> httpx2.Client:
    """A client with cookies and no key."""
    return httpx2.Client(base_url=portal.url, timeout=60)


def sign_in(client: httpx2.Client, key: str, **more: str) -> httpx2.Response:
    form = client.get("/sign-in").text
    token = re.search(r'name="token" value="(\w+)"', form)
    assert token
    return client.post("/sign-in", data={"key": key, "token": token[1], **more})


@pytest.fixture
def signed_in(portal):
    with browser(portal) as client:
        assert sign_in(client, portal.key).status_code == 303
        yield client


def test_health_asks_nobody(portal) -> None:
    assert httpx2.get(f"{portal.url}/healthz", timeout=60).json() == {"status": "ok"}


def test_signing_in_keeps_the_key_out_of_reach(portal) -> None:
    with browser(portal) as client:
        answer = sign_in(client, f" {portal.key} ", next="/energy?period=24h")
        assert answer.status_code == 303
        assert answer.headers["location"] == "/energy?period=24h"
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        assert portal.key not in cookie
        assert client.get("/live").status_code == 200


@pytest.mark.parametrize("key", ["hefa_wrong_key_that_nobody_has", "", "ключ", "x\r\ny: z"])
def test_a_wrong_key_does_not_sign_in(portal, key: str) -> None:
    with browser(portal) as client:
        answer = sign_in(client, key)
        assert answer.status_code == 401
        assert "does not know this key" in answer.text
        assert client.get("/live").status_code == 303


def test_who_guesses_keys_waits_while_the_others_behind_this_portal_go_on(empty_portal) -> None:
    def asked(key: str) -> int:
        headers = {"Authorization": f"Bearer {key}"}
        return httpx2.get(f"{empty_portal.url}/api/live/overview", headers=headers, timeout=60).status_code

    assert asked(empty_portal.key) == 200
    tried = [asked(f"hefa_nobody_{n:04}_has_this_key") for n in range(14)]
    assert tried[0] == 401
    assert tried[-1] == 429
    assert asked(empty_portal.key) == 200  # it was let in before
    with browser(empty_portal) as client:
        guessed = [sign_in(client, f"hefa_nobody_{n:04}_ever_had_it") for n in range(3)]
        assert guessed[-1].status_code == 429
        assert "Wait a minute" in guessed[-1].text
        assert sign_in(client, empty_portal.key).status_code == 303


@pytest.mark.parametrize(
    ("headers", "token"),
    [({}, "forged"), ({"Sec-Fetch-Site": "cross-site"}, None), ({"Origin": "https://elsewhere.example"}, None)],
)
def test_a_form_from_elsewhere_does_not_sign_in(portal, headers: dict[str, str], token: str | None) -> None:
    with browser(portal) as client:
        mine = re.search(r'name="token" value="(\w+)"', client.get("/sign-in").text)[1]
        answer = client.post("/sign-in", data={"key": portal.key, "token": token or mine}, headers=headers)
        assert answer.status_code == 403
        assert "hefa_session" not in client.cookies


def test_signing_out_needs_a_page_of_ours(signed_in) -> None:
    assert signed_in.post("/sign-out", data={"token": "forged"}).status_code == 403
    token = re.search(r'name="token" value="(\w+)"', signed_in.get("/live").text)[1]
    assert signed_in.post("/sign-out", data={"token": token}).status_code == 303
    assert signed_in.get("/live").status_code == 303


@pytest.mark.parametrize(
    ("onward", "path"),
    [("/energy", "/energy"), ("//evil.example", "/"), ("https://evil.example/", "/"), ("/\\evil.example", "/"), ("energy", "/"), ("", "/"), ("/a\n", "/")],
)  # fmt: skip
def test_signing_in_leads_to_this_host_only(onward: str, path: str) -> None:
    assert _local(onward) == path


@pytest.mark.parametrize("page", PAGES)
def test_without_a_key_every_page_leads_to_the_sign_in(portal, page: str) -> None:
    answer = httpx2.get(portal.url + page, timeout=60)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/sign-in?next=%2F")


@pytest.mark.parametrize(
    "path", ["/api/live/overview", "/api/live/areas/A2-SX", "/api/live/search?q=ph", "/api/live/stream", "/api/energy/use", "/api/material/use.csv"]
)  # fmt: skip
def test_without_a_key_the_json_is_a_problem(portal, path: str) -> None:
    answer = httpx2.get(portal.url + path, timeout=60)
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["detail"]


@pytest.mark.parametrize(
    "page", ["/", "/sign-in", "/nowhere", "/api/nowhere", "/static/app.css", "/api/energy/use", *PAGES]
)
def test_every_answer_carries_the_security_headers(portal, signed_in, page: str) -> None:
    headers = signed_in.get(page).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize("page", PAGES)
def test_pages_are_whole(signed_in, page: str) -> None:
    answer = signed_in.get(page)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    for landmark in ("<header", "<nav", '<main id="main"', "<footer", 'class="skip"', "<h1"):
        assert landmark in answer.text
    assert "Simulated data" in answer.text
    assert "None" not in re.sub(r"<script.*?</script>", "", answer.text, flags=re.S)


def test_what_a_stranger_sends_is_text(signed_in) -> None:
    page = signed_in.get("/live/areas/unassigned").text
    assert "<b>temp" not in page
    assert "oven &lt;b&gt;temp" in page
    link = re.search(r'href="(/live/tags/PLC[^"]+)"', page)
    assert signed_in.get(link[1]).status_code == 200


@pytest.mark.parametrize("path", ["/nowhere", "/live/areas/A9", "/live/tags/A1-FEED.DISS.R-101.nothing"])
def test_what_is_not_there_is_a_designed_page(signed_in, path: str) -> None:
    answer = signed_in.get(path)
    assert answer.status_code == 404
    assert "There is no such page" in answer.text
    assert signed_in.get(f"/api{path}").headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "query", ["period=year", "by=planet", "period=custom&from=soon", "period=hour&step=month", "carrier=love"]
)
def test_a_bad_question_is_422_with_a_sentence(portal, query: str) -> None:
    with portal.client() as client:
        answer = client.get(f"/api/energy/use?{query}")
        assert answer.status_code == 422
        assert answer.json()["detail"]


def test_a_bad_period_is_told_on_the_page_which_shows_today(signed_in) -> None:
    page = signed_in.get("/energy/use?period=custom&from=2026-11-22T10:00&to=2026-11-22T09:00")
    assert page.status_code == 200
    assert "here is the running plant day" in page.text
    assert 'id="chart"' in page.text


@pytest.mark.parametrize("by", ["area", "line", "meter"])
@pytest.mark.parametrize(
    ("app", "subject"), [("energy", "electricity"), ("energy", "gas"), ("material", "HCl"), ("material", "CeO2")]
)
def test_the_report_is_the_platforms_figures(portal, app: str, subject: str, by: str) -> None:
    kind = "carrier" if app == "energy" else "material"
    with portal.client() as client:
        answer = client.get(f"/api/{app}/use?period=24h&by={by}&{kind}={subject}").json()
    stream = next(s["stream"] for s in answer["subjects"] if s["subject"] == subject)
    params = {"from": answer["from"], "to": answer["to"], "by": "total", kind: subject, "stream": stream}
    headers = {"Authorization": f"Bearer {portal.key}"}
    platform = httpx2.get(f"{portal.api}/v1/consumption", params=params, headers=headers, timeout=60)
    truth = platform.json()["rows"][0]
    assert truth["value"] > 0
    assert answer["unit"] == truth["unit"]
    assert answer["total"]["value"] == pytest.approx(truth["value"])
    assert sum(line["value"] for line in answer["lines"]) == pytest.approx(truth["value"])
    bars = sum(v for bar in answer["bars"] for v in bar["values"].values() if v is not None)
    assert bars == pytest.approx(truth["value"])


@pytest.mark.parametrize("path", ["use", "use.csv"])
def test_what_no_meter_can_split_is_refused_and_told(portal, signed_in, path: str) -> None:
    answer = signed_in.get(f"/api/energy/{path}?carrier=water&by=line")
    assert answer.status_code == 422
    assert "not metered by line" in answer.json()["detail"]
    page = signed_in.get("/energy/use?carrier=water&by=line")
    assert page.status_code == 200
    assert "not metered by line" in page.text


def test_csv_holds_the_same_rows(portal) -> None:
    query = "period=24h&by=area&carrier=electricity&step=1h"
    with portal.client() as client:
        answer = client.get(f"/api/energy/use?{query}").json()
        download = client.get(f"/api/energy/use.csv?{query}")
    assert download.headers["content-type"] == "text/csv; charset=utf-8"
    assert "attachment" in download.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(download.text)))
    assert sum(float(row["value"]) for row in rows if row["value"]) == pytest.approx(answer["total"]["value"], rel=1e-3)
    assert {row["unit"] for row in rows} == {"kW.h"}
    assert all(datetime.fromisoformat(row["start"]).tzinfo for row in rows)


def test_classes_reach_the_page(portal) -> None:
    """A register silent for longer than two heartbeats is estimated, and says so."""
    with portal.client() as client:
        answer = client.get("/api/material/use?period=24h&material=HCl&by=meter").json()
    total = answer["total"]
    assert total["value"] == pytest.approx((total["measured"] or 0) + (total["estimated"] or 0))


def test_overview_and_area_agree(portal) -> None:
    with portal.client() as client:
        overview = client.get("/api/live/overview").json()
        area = client.get("/api/live/areas/A2-SX").json()
    summary = next(a["summary"] for a in overview["areas"] if a["area"] == "A2-SX")
    assert summary["tags"] == len(area["items"]) == 313
    assert len(overview["edges"]) >= 7


def test_search_and_series(portal) -> None:
    with portal.client() as client:
        found = client.get("/api/live/search?q=R-101 ph").json()["items"]
        assert found[0]["tag"] == "A1-FEED.DISS.R-101.ph"
        series = client.get("/api/live/series", params={"tag": found[0]["tag"], "span": "24h"}).json()
        assert series["from"] < series["to"]
        one = series["series"][0]
        assert len(one["ts"]) == len(one["min"]) == len(one["value"]) > 90
        assert one["value"][0] is None  # no readings a day ago: a gap


def test_the_stream_passes_on_what_changes(portal) -> None:
    tag = "A5-WWT.RO.RO-521.pin"
    heard: list[str] = []
    opened = threading.Event()

    def listen() -> None:
        with portal.client() as client, client.stream("GET", f"/api/live/stream?tag={tag}") as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            opened.set()
            for line in stream.iter_lines():
                if line.startswith("data:"):
                    heard.append(line)
                    if "1234.5" in line:  # the first may tell of what was recorded before
                        return

    listener = threading.Thread(target=listen)
    listener.start()
    assert opened.wait(60)
    until = datetime.now(UTC) + timedelta(seconds=60)
    while listener.is_alive() and datetime.now(UTC) < until:
        portal.record(tag, 1234.5)
        listener.join(1)
    assert heard
    assert "1234.5" in heard[-1]


def test_large_answers_are_compressed_and_static_files_kept(signed_in) -> None:
    page = signed_in.get("/live")
    assert page.headers["content-encoding"] == "gzip"
    script = re.search(r'src="(/static/wall\.js\?v=\w+)"', page.text)
    assert "immutable" in signed_in.get(script[1]).headers["cache-control"]
    assert signed_in.get("/static/live.js").headers["cache-control"] == "no-cache"


def test_the_portal_describes_its_json(portal) -> None:
    paths = httpx2.get(f"{portal.url}/api/openapi.json", timeout=60).json()["paths"]
    for app in APPS:
        assert any(path.startswith(f"/api/{app.name}/") for path in paths)


def test_a_period_is_compared_only_with_one_that_was_watched(portal) -> None:
    """The hour before the last one is known; of the day before yesterday next to nothing is."""
    meter = "SELECT max(ts) FROM reading JOIN tag USING (tag_id) WHERE name = 'A6-UTIL.ELEC.PM-MAIN.e'"
    ((end,),) = portal.execute(meter)  # not now: the readings may be minutes old when this test comes
    span = {"period": "custom", "from": f"{end - timedelta(hours=1):%Y-%m-%dT%H:%MZ}", "to": f"{end:%Y-%m-%dT%H:%MZ}"}
    with portal.client() as client:
        hour = client.get("/api/energy/use", params=span).json()["subjects"][0]
        day = client.get("/api/energy/use?period=24h").json()["subjects"][0]
    assert hour["change"] == pytest.approx(0, abs=0.05)
    assert day["before"] is not None
    assert day["change"] is None


def test_times_are_those_of_the_site(portal, signed_in) -> None:
    assert "Asia/Shanghai" in signed_in.get("/energy").text
    with portal.client() as client:
        answer = client.get("/api/energy/use?period=plantday&back=1").json()
    assert answer["tz"] == "Asia/Shanghai"
    assert answer["from"].endswith("T08:00:00+08:00")


def test_a_plant_that_is_silent_is_a_designed_state(empty_portal) -> None:
    with browser(empty_portal) as client:
        sign_in(client, empty_portal.key)
        empty_portal.execute("SELECT ensure_partitions(ARRAY[current_date, current_date - 1])")
        empty_portal.record("A2-SX.SXA.MS-A01.ph", 3.02)
        empty_portal.execute("UPDATE latest SET ts = now() - interval '5 hours'")
        empty_portal.execute("UPDATE edge SET seen_at = now() - interval '5 hours' WHERE name = 'gw-a2'")
        page = client.get("/live").text
        assert "No live readings" in page
        assert 'data-standing="stale"' in page
        empty_portal.execute("UPDATE edge SET seen_at = now() WHERE name = 'gw-a2'")
        assert "catching up" in client.get("/live").text
        empty_portal.execute("DELETE FROM latest")


def test_a_starting_platform_is_a_designed_state(bare_portal) -> None:
    """The database is there, the plant model is not: the platform says that it is not ready."""
    with browser(bare_portal) as client:
        sign_in(client, bare_portal.key)
        for page in ("/live", "/energy", "/material"):
            answer = client.get(page)
            assert answer.status_code == 200, f"{page}: {answer.text[-1500:]}"
            assert "the platform is starting" in answer.text
            assert "data-again" in answer.text
        assert client.get("/api/energy/use").status_code == 422


def test_no_readings_yet_is_a_designed_state(empty_portal) -> None:
    with browser(empty_portal) as client:
        sign_in(client, empty_portal.key)
        assert "No readings yet" in client.get("/live").text
        assert "Nothing is known about this period" in client.get("/energy").text
        assert client.get("/live/tags/A1-FEED.DISS.R-101.ph").status_code == 200
        assert client.get("/live/areas/A1-FEED").status_code == 200
        answer = client.get("/api/material/use").json()
        assert answer["total"]["value"] is None


def test_readings_that_are_not_added_up_yet_are_told_in_one_sentence(portal) -> None:
    pages = ("/energy?period=24h&tab=use", "/material?period=24h")
    said = '<p class="notice" id="adding" role="status">Readings that came late are still being added up: figures from'
    with portal.client() as client:
        whole = [path for path in pages if said not in client.get(path, follow_redirects=True).text]
        assert whole == list(pages)
        late = "INSERT INTO rollup_dirty (tag_id, from_ts, to_ts) SELECT tag_id, ts, ts FROM meter, date_trunc('minute', now() - interval '3 hours') AS ts RETURNING dirty_id"
        notes = [note for (note,) in portal.execute(late)]
        try:
            answers = [client.get(path, follow_redirects=True).text for path in pages]
            assert [answer.count(said) for answer in answers] == [1, 1]
        finally:
            portal.execute("DELETE FROM rollup_dirty WHERE dirty_id = ANY (%s)", notes)
        assert said not in client.get(pages[0], follow_redirects=True).text
