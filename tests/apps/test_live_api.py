"""The wall over HTTP: flowsheet, cascades, tanks; alarms, and who may do what about them."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from playwright.sync_api import expect

TAG = "A2-SX.SXA.MS-A05.ph"


@pytest.fixture(scope="module")
def client(portal: Any) -> Iterator[httpx2.Client]:
    with portal.client() as opened:
        yield opened


@pytest.fixture(scope="module")
def viewer(portal: Any) -> str:
    """The key of somebody who may only look."""
    headers = {"Authorization": f"Bearer {portal.key}"}
    made = httpx2.post(f"{portal.api}/v1/keys", json={"name": "visitor", "role": "viewer"}, headers=headers, timeout=60)
    return str(made.json()["key"])


@pytest.fixture
def alarm(portal: Any) -> int:
    """An alarm that nobody has seen, as the platform's own watch would find it."""
    rows = portal.execute(
        """
        INSERT INTO alarm (tag_id, level, limit_value, priority, state, crossed_at, raised_at, value, extreme, late)
        SELECT tag_id, 'h', 1.5, 'high', 'UNACK', now() - interval '9 minutes', now() - interval '8 minutes', 1.6, 1.7, false
          FROM tag WHERE name = %s RETURNING alarm_id
        """,
        TAG,
    )
    return int(rows[0][0])


def test_the_flowsheet_is_drawn_from_the_plant_model(client: httpx2.Client) -> None:
    sheet = client.get("/api/live/flowsheet").json()
    block = next(b for b in sheet["blocks"] if b["name"] == "SXA")
    assert block["path"] == "A2-SX.SXA"
    assert block["tags"][0]["tag"] == "A2-SX.SXA.FIC-A-feed.pv"
    assert block["tags"][0]["value"] is not None
    assert {"of": "prnd", "from": "SXA", "to": "PN"} in sheet["pipes"]


@pytest.mark.parametrize("reference", ["model", "plantday"])
def test_cascades_are_compared_with_the_chosen_reference(client: httpx2.Client, portal: Any, reference: str) -> None:
    # However long ago the run began, the stages have just been heard.
    portal.execute("UPDATE latest SET ts = now() FROM tag WHERE tag.tag_id = latest.tag_id AND tag.suffix = 'ph'")
    answer = client.get(f"/api/live/cascades?reference={reference}").json()
    first, second = answer["items"]
    assert (first["cascade"], first["measured"], first["of"]) == ("SXA", 14, 34)
    assert (second["cascade"], second["measured"], second["of"]) == ("SXB", 9, 18)
    assert first["samples"][2]["prnd"] == pytest.approx(100, abs=3)
    if reference == "model":
        assert 0 < first["distance"] < 1
    else:  # nothing is known of yesterday's plant day
        assert first["distance"] is None
    assert client.get("/api/live/cascades?reference=never").status_code == 422


def test_tanks_tell_their_trend(client: httpx2.Client) -> None:
    items = client.get("/api/live/tanks").json()["items"]
    assert len(items) == 20
    assert all(item["slope"] is not None and item["unit"] == "%" for item in items)


def test_an_alarm_is_acknowledged_and_shelved_by_those_who_may(
    portal: Any, client: httpx2.Client, viewer: str, alarm: int
) -> None:
    listed = client.get("/api/live/alarms").json()
    assert listed["counts"]["unseen"] >= 1
    assert alarm in [item["id"] for item in listed["items"]]
    looks = {"Authorization": f"Bearer {viewer}"}
    refused = client.post(f"/api/live/alarms/{alarm}/ack", json={}, headers=looks)
    assert refused.status_code == 403
    assert "role operator" in refused.json()["detail"]
    seen = client.post(f"/api/live/alarms/{alarm}/ack", json={"comment": "probe is being cleaned"})
    assert (seen.status_code, seen.json()["state"]) == (200, "ACKED")
    away = client.post(f"/api/live/alarms/{alarm}/shelve", json={"minutes": 30, "reason": "cleaning"})
    assert (away.status_code, away.json()["state"]) == (200, "SHELVED")
    assert client.post(f"/api/live/alarms/{alarm}/shelve", json={"minutes": 0, "reason": ""}).status_code == 422
    assert client.post("/api/live/alarms/999999999/ack", json={}).status_code == 404


def test_what_is_worked_on_is_taken_out_of_service_by_an_engineer(
    portal: Any, client: httpx2.Client, viewer: str
) -> None:
    looks = {"Authorization": f"Bearer {viewer}"}
    asked = {"of": " A5-WWT ", "minutes": 90, "reason": "evaporator is being cleaned"}
    refused = client.post("/api/live/outages", json=asked, headers=looks)
    assert refused.status_code == 403
    assert "role engineer" in refused.json()["detail"]
    taken = client.post("/api/live/outages", json=asked)
    assert taken.status_code == 201, taken.text
    place = taken.json()
    assert (place["of"], place["equipment"], place["reason"]) == ("A5-WWT", "A5-WWT", "evaporator is being cleaned")
    span = datetime.fromisoformat(place["until"]) - datetime.fromisoformat(place["since"])
    assert abs(span - timedelta(minutes=90)) < timedelta(minutes=1)
    signal = client.post("/api/live/outages", json=asked | {"of": TAG}).json()
    gateway = client.post("/api/live/outages", json=asked | {"of": "gw-a5"}).json()
    assert (signal["tag"], gateway["edge"]) == (TAG, "gw-a5")
    listed = client.get("/api/live/outages", headers=looks).json()["items"]
    assert [one["id"] for one in listed[:3]] == [gateway["id"], signal["id"], place["id"]]
    assert all(one["by_name"] for one in listed)
    unknown = client.post("/api/live/outages", json=asked | {"of": "A5-WWX"})
    assert (unknown.status_code, "A5-WWT" in unknown.json()["detail"]) == (404, True)
    assert client.post("/api/live/outages", json=asked | {"minutes": 0}).status_code == 422
    for one in (place, signal, gateway):
        assert client.post(f"/api/live/outages/{one['id']}/end", json={}, headers=looks).status_code == 403
        assert client.post(f"/api/live/outages/{one['id']}/end", json={}).json()["active"] is False
    assert client.get("/api/live/outages").json()["items"] == []
    assert client.post("/api/live/outages/999999999/end", json={}).status_code == 404


def test_out_of_service_on_a_phone_by_keyboard(open_page: Any) -> None:
    page, witness = open_page("/live", width=390)
    section = page.locator("#out-of-service")
    expect(section).to_contain_text("Everything is in service.")
    section.locator("summary").focus()
    page.keyboard.press("Enter")
    section.get_by_label("Tag, equipment or gateway").fill("A4-CALC.NONE")
    section.get_by_label("Why").fill("kiln relined")
    page.keyboard.press("Enter")
    expect(section.get_by_role("status")).to_contain_text("refused")
    section.get_by_label("Tag, equipment or gateway").fill("A4-CALC")
    page.keyboard.press("Enter")
    expect(section.get_by_role("status")).to_have_text("A4-CALC is out of service.")
    row = section.locator("#outages li")
    expect(row).to_have_count(1)
    for said in ("A4-CALC", "all alarms", "kiln relined", "until"):
        expect(row).to_contain_text(said)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    back = section.get_by_role("button", name="Put A4-CALC back into service")
    back.focus()
    page.keyboard.press("Enter")
    expect(section).to_contain_text("Everything is in service.")
    assert [fault for fault in witness.faults if "404" not in fault] == []


def test_alarms_on_the_wall(open_page: Any, browser: Any, portal: Any, viewer: str, alarm: int) -> None:
    page, witness = open_page("/live")
    expect(page.locator(f"#ack-{alarm}")).to_be_enabled()
    page.locator(f"#ack-{alarm}").click()
    expect(page.locator(f"#ack-{alarm}")).to_have_count(0)
    expect(page.locator("#alarms")).to_contain_text("seen")
    assert witness.faults == []
    portal.execute("UPDATE alarm SET state = 'UNACK' WHERE alarm_id = %s", alarm)
    context = browser.new_context()
    context.set_default_timeout(60_000)
    looking = context.new_page()
    looking.goto(f"{portal.url}/sign-in?next=/live")
    looking.get_by_label("API key").fill(viewer)
    looking.get_by_role("button", name="Sign in").click()
    looking.wait_for_url("**/live")
    expect(looking.locator(".who")).to_have_text("viewer")
    expect(looking.locator("#take-out")).to_be_disabled()
    button = looking.locator(f"#ack-{alarm}")
    expect(button).to_be_disabled()
    expect(button).to_have_attribute("title", "This needs the role operator; your key has viewer.")
    context.close()


def test_notes_stay_with_the_readings_that_they_speak_of(portal: Any) -> None:
    tag, equipment = "A2-SX.SXA.MS-A08.ph", "A2-SX.SXA.MS-A08"
    now = datetime.now(UTC)
    left = [
        {"text": "electrode <b>calibrated</b>", "subject": tag},
        {"text": "agitator looked at", "subject": equipment, "from": (now - timedelta(hours=3)).isoformat()},
        {"text": "of another stage", "subject": "A2-SX.SXA.MS-A10.ph"},
    ]
    with portal.client() as client:
        for body in left:
            assert client.post("/api/production/log", json=body).status_code == 201
        answer = client.get("/api/live/notes", params={"tag": tag, "span": "24h"})
        assert answer.status_code == 200, answer.text
        day = answer.json()
        hour = client.get("/api/live/notes", params={"tag": tag, "span": "1h"}).json()
        part = client.get("/live/parts/notes", params={"tag": tag, "span": "24h"})
        page = client.get(f"/live/tags/{tag}").text
        assert client.get("/api/live/notes", params={"tag": "no.such.tag"}).status_code == 404
        assert client.get("/api/live/notes", params={"tag": tag, "span": "1y"}).status_code == 422
    assert [note["text"] for note in day["notes"]] == ["electrode <b>calibrated</b>", "agitator looked at"]
    assert [note["text"] for note in hour["notes"]] == ["electrode <b>calibrated</b>"]
    assert day["notes"][1]["subject"] == equipment
    assert part.text.count("data-from=") == 2
    assert "electrode &lt;b&gt;calibrated" in page
    assert "of another stage" not in page


def test_a_note_is_left_on_the_page_of_a_tag_by_those_who_may(portal: Any, page: Any, viewer: str) -> None:
    path = "/live/tags/A1-FEED.DISS.R-102.ph"
    page.goto(f"{portal.url}{path}?span=24h")
    expect(page.locator("#notes-shown")).to_contain_text("Nobody has left a note")
    page.locator("summary", has_text="Leave a note").click()
    page.get_by_label("What shall the next one know?").fill("probe changed")
    page.get_by_role("button", name="Leave the note").click()
    expect(page.locator("#notes-shown li")).to_contain_text("probe changed")
    page.get_by_role("link", name="7 days").click()
    expect(page.locator("#notes-shown li")).to_contain_text("probe changed")
    seen = httpx2.get(portal.url + path, headers={"Authorization": f"Bearer {viewer}"}, timeout=60).text
    assert "hidden><summary>Leave a note" in seen
