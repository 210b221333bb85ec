"""The page of refused data: what people read there, and what becomes of their decisions. A real browser, real services."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Page, expect

from hefa_apps.data.views import CODES
from hefa_apps.words import Words
from hefa_contract.rejection import Code

REASON = "seen by the test"


def refuse(portal: Any, code: str, value: Any = 3.0, tag: str = "A2-SX.SXA.MS-A01.ph") -> int:
    """Put a refused reading into quarantine, as ingest would."""
    rows = portal.execute(
        """
        INSERT INTO quarantine (edge, epoch, seq, i, code, detail, topic, reading)
        VALUES ('gw-a2', 'e', 1, 0, %s, 'a detail', 'hefa/v1/gw-a2/data',
                jsonb_build_object('tag', %s::text, 'ts', 1, 'value', %s::text, 'quality', 192))
        RETURNING quarantine_id
        """,
        code,
        tag,
        str(value),
    )
    return int(rows[0][0])


def state(portal: Any, refusal: int) -> Any:
    return portal.execute("SELECT state, reason FROM quarantine WHERE quarantine_id = %s", refusal)[0]


@pytest.fixture
def page(open_page: Callable[..., tuple[Page, Any]]) -> Iterator[Page]:
    """Somebody signed in on a phone; complains of any error on the way."""
    opened, witness = open_page("/data", scheme="dark", width=390)
    yield opened
    assert witness.faults == []


def test_refused_data_is_explained_and_decided_by_keyboard(page: Page, portal: Any) -> None:
    kept, gone = refuse(portal, "TS_FUTURE"), refuse(portal, "VALUE_TYPE", "<b>813,4</b>")
    page.goto(f"{portal.url}/data?edge=gw-a2")
    first = page.locator(f"[data-refusal='{gone}']")
    first.locator("summary").focus()
    page.keyboard.press("Enter")
    expect(first).to_contain_text("The value is no number.")
    expect(first).to_contain_text("<b>813,4</b>")
    first.get_by_label("Reason").fill(REASON)
    first.get_by_role("button", name="Discard").press("Enter")
    expect(first.get_by_role("status")).to_have_text(re.compile("Discarded"))
    second = page.locator(f"[data-refusal='{kept}']")
    second.locator("summary").click()
    second.get_by_label("Reason").fill(REASON)
    second.get_by_role("button", name="Try again").click()
    expect(second.get_by_role("status")).to_have_text(re.compile("tried again"))
    assert (state(portal, gone), state(portal, kept)) == (("discarded", REASON), ("retrying", REASON))
    width = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert width <= 0


def test_accounts_freshness_and_the_empty_state(page: Page, portal: Any) -> None:
    page.goto(f"{portal.url}/data?edge=gw-a5&code=JSON_DEPTH")
    expect(page.get_by_text("Nothing of this kind is in quarantine")).to_be_visible()
    table = page.get_by_role("region", name="Accounts of the gateways")
    expect(table.get_by_role("row", name=re.compile("gw-a6"))).to_contain_text("offline")
    expect(table.get_by_role("row", name=re.compile("gw-a1"))).to_contain_text("yes")
    expect(page.get_by_text("95 % are faster than")).to_be_visible()


def test_pages_of_refused_data_follow_each_other(portal: Any) -> None:
    ids = [refuse(portal, "SCHEMA") for _ in range(52)]
    with portal.client() as client:
        first = client.get("/api/data/quarantine", params={"edge": "gw-a2", "code": "SCHEMA"}).json()
        assert len(first["items"]) == 50
        assert 'rel="next"' in client.get("/data?edge=gw-a2&code=SCHEMA").text
        more = client.get("/api/data/quarantine", params={"edge": "gw-a2", "code": "SCHEMA", "cursor": first["next"]})
        assert [one["id"] for one in first["items"] + more.json()["items"]] == ids[::-1]


def test_who_may_not_decide_reads_only(portal: Any) -> None:
    refusal = refuse(portal, "SCHEMA")
    with portal.client() as client:
        body = {"name": "reader", "role": "operator", "site": "*"}
        made = httpx2.post(f"{portal.api}/v1/keys", json=body, headers=dict(client.headers), timeout=60).json()
        client.headers["Authorization"] = f"Bearer {made['key']}"
        shown = client.get("/data?edge=gw-a2").text
        assert 'class="decide"' not in shown
        assert "of the role engineer" in shown
        path = f"/api/data/quarantine/{refusal}/discard"
        assert client.post(path, json={"reason": "x"}).status_code == 403
        client.headers["Authorization"] = f"Bearer {portal.key}"
        assert client.post(path, json={"reason": ""}).status_code == 422
        assert client.post(path, json={"reason": "x"}).status_code == 200
        assert client.post(path, json={"reason": "x"}).status_code == 422  # decided already
        assert client.post("/api/data/quarantine/1/burn", json={"reason": "x"}).status_code == 422


def test_every_code_of_the_contract_is_explained() -> None:
    words = Words()
    assert {*CODES} == {code.value for code in Code}
    assert all(words(f"data.code.{code.value}") for code in Code)
