"""Lots by REST: made from events in any order, traced with mass, corrected by new records, chained by hashes."""

from __future__ import annotations

import hashlib
import itertools
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from hefa_platform.store.lots import Part, share_out

START = datetime(2026, 3, 1, tzinfo=UTC)
_seq = itertools.count(1)


def lot(name: str, action: str, hours: float, **body: Any) -> tuple[str, float, str, dict[str, Any]]:
    return "lot", hours, body.pop("subject", "A1-FEED.RECV"), {"lot": name, "action": action, "material": "REO", **body}


def result(
    name: str, value: float, hours: float, entered: float, **body: Any
) -> tuple[str, float, str, dict[str, Any]]:
    at = int((START + timedelta(hours=entered)).timestamp() * 1e6)
    body = {"sample": name, "quantity": "purity", "value": value, "unit": "%", "entered": at, **body}
    return "lab_result", hours, "A4-CALC.PACK", body


def tell(site: Any, events: Any, edge: str = "gw-a1") -> None:
    """Store events as ingest does, one statement each."""
    with psycopg.connect(site.admin) as connection, connection.cursor() as cursor:
        cursor.executemany(
            """
            INSERT INTO event (edge_id, epoch, seq, i, type, ts, subject, body)
            SELECT edge_id, 'lots', %s, 0, %s, %s, %s, %s FROM edge WHERE name = %s
            """,
            [
                [next(_seq), kind, START + timedelta(hours=h), subject, Jsonb(body), edge]
                for kind, h, subject, body in events
            ],
        )


def story(tag: str) -> list[tuple[str, float, str, dict[str, Any]]]:
    """Two feed lots, a liquor of both, two packed lots; a result that was corrected."""
    return [
        lot(f"{tag}-FD1", "received", 0, kg=1000.0, kind="feed"),
        lot(f"{tag}-FD2", "received", 1, kg=500.0, kind="feed"),
        lot(f"{tag}-FD1", "consumed", 5, kind="feed"),
        lot(f"{tag}-CL", "finished", 6, kg=1200.0, parents=[[f"{tag}-FD1", 900.0], [f"{tag}-FD2", 300.0]], kind="liquor"),
        lot(f"{tag}-PK1", "packed", 8, kg=400.0, parents=[[f"{tag}-CL", 400.0]], kind="packed", subject="A4-CALC.PACK.PK-421"),
        lot(f"{tag}-PK2", "packed", 9, kg=600.0, parents=[[f"{tag}-CL", 599.0]], kind="packed"),
        result(f"{tag}-PK1", 99.1, 8, 12),
        result(f"{tag}-PK1", 99.7, 8, 13),
        result("S-7", 0.4, 8, 11, quantity="LOI", lot=f"{tag}-PK1"),
    ]  # fmt: skip


def test_a_lot_is_what_its_events_say(site: Any, client: TestClient) -> None:
    tell(site, story("A"))
    feed = client.get("/v1/lots/A-FD1").json()
    assert (feed["state"], feed["kind"], feed["kg"], feed["taken_kg"], feed["left_kg"]) == (
        "consumed",
        "feed",
        1000,
        900,
        100,
    )
    assert feed["children"] == [{"lot": "A-CL", "kg": 900}]
    assert [record["action"] for record in feed["records"]] == ["received", "consumed"]
    packed = client.get("/v1/lots/A-PK1").json()
    assert (packed["begun"], packed["ended"], packed["equipment"]) == ("2026-03-01T08:00:00Z",) * 2 + (
        "A4-CALC.PACK.PK-421",
    )
    assert [(r["quantity"], r["value"], r["sampled"][11:13], r["entered"][11:13]) for r in packed["results"]] == [
        ("LOI", 0.4, "08", "11"), ("purity", 99.7, "08", "13"),
    ]  # fmt: skip
    assert client.get("/v1/lots/A-PK2").json()["gap_kg"] == pytest.approx(-1)
    near = client.get("/v1/lots/A-PK9")
    assert (near.status_code, near.json()["near"][0][:4]) == (404, "A-PK")


def test_back_and_forward_the_shares_add_up_to_one(site: Any, client: TestClient) -> None:
    back = client.get("/v1/lots/A-PK1/trace").json()
    assert {node["lot"]: (node["weight"], node["kg"], node["end"]) for node in back["nodes"]} == {
        "A-PK1": (1, 400, False), "A-CL": (1, 400, False), "A-FD1": (0.75, 300, True), "A-FD2": (0.25, 100, True),
    }  # fmt: skip
    assert (back["sum"], back["cut"], back["cycle"]) == (pytest.approx(1), False, False)
    forward = client.get("/v1/lots/A-FD1/trace?dir=forward").json()
    found = {node["lot"]: (node["kg"], node["stays"]) for node in forward["nodes"]}
    assert found["A-FD1"] == (1000, pytest.approx(0.1))
    assert found["A-CL"] == (pytest.approx(900), pytest.approx(0.9 * 201 / 1200))
    assert found["A-PK1"] == (pytest.approx(300), pytest.approx(0.3))
    assert forward["sum"] == pytest.approx(1)
    one = client.get("/v1/lots/A-PK1/trace?depth=1").json()
    assert (one["cut"], [node["lot"] for node in one["nodes"]], one["sum"]) == (True, ["A-PK1", "A-CL"], 1)


def test_the_order_of_arrival_does_not_matter(site: Any, client: TestClient) -> None:
    lots = []
    for n, order in enumerate([lambda e: e, reversed, lambda e: sorted(e, key=lambda x: json.dumps(x[3])[::-1])]):
        events = story(f"B{n}")
        tell(site, [*order(events), *events[:3]])  # some of them twice
        rows = site.execute(
            "SELECT substr(lot, 3), kind, state, kg, begun, ended, material FROM lot WHERE lot LIKE %s ORDER BY 1",
            f"B{n}-%",
        )
        parts = site.execute(
            "SELECT substr(parent, 3), substr(child, 3), kg FROM lot_part WHERE child LIKE %s ORDER BY 1, 2", f"B{n}-%"
        )
        lots.append((rows, parts))
    assert lots[0] == lots[1] == lots[2]
    assert len(lots[0][0]) == 5


def test_a_parent_nobody_announced_is_named_until_it_is_told(site: Any, client: TestClient) -> None:
    tell(site, [lot("C-PK", "packed", 3, kg=10.0, parents=[["C-CL", 10.0]])])
    assert client.get("/v1/lots/C-CL").json()["state"] == "named"
    tell(site, [lot("C-PK", "corrected", 4, kg=10.0, parents=[["C-CL2", 10.0]])])
    assert client.get("/v1/lots/C-CL").status_code == 404, "nobody speaks of it any more"
    tell(site, [lot("C-CL2", "finished", 2, kg=12.0)])
    assert client.get("/v1/lots/C-CL2").json()["left_kg"] == 2


def test_a_correction_is_a_record_of_its_own(site: Any, client: TestClient) -> None:
    tell(site, [lot("D-FD", "received", 0, kg=100.0), lot("D-CL", "finished", 2, kg=60.0, parents=[["D-FD", 60.0]])])
    body = {"lot": "D-CL", "action": "corrected", "ts": "2026-03-02T00:00:00Z", "material": "REO", "equipment": "A1-FEED",
            "kg": 66.0, "parents": [{"lot": "D-FD", "kg": 66.0}]}  # fmt: skip
    answer = client.post("/v1/lots", json=body, headers={"Idempotency-Key": "d"})
    assert answer.status_code == 201, answer.text
    assert client.post("/v1/lots", json=body, headers={"Idempotency-Key": "d"}).status_code == 200
    now = answer.json()
    assert (now["kg"], now["state"], now["corrected"], now["parents"]) == (
        66,
        "finished",
        True,
        [{"lot": "D-FD", "kg": 66}],
    )
    assert [record["kg"] for record in now["records"]] == [60, 66]
    tell(site, [lot("D-CL", "finished", 1.5, kg=59.0, parents=[["D-FD", 59.0]])])
    assert client.get("/v1/lots/D-CL").json()["kg"] == 66, "what happened before the correction and comes later"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"parents": [{"lot": "A-CL", "kg": 5}]}, "equal within 0.1 %"),
        ({"parents": [{"lot": "E", "kg": 9}]}, "made of itself"),
        ({"parents": [{"lot": "x", "kg": 4}, {"lot": "x", "kg": 5}]}, "named twice"),
        ({"parents": [{"lot": "x", "kg": -1}]}, "greater than 0"),
        ({"lot": "A-FD1", "parents": [{"lot": "A-PK1", "kg": 9}]}, "cannot be its parent"),
        ({"action": "eaten"}, "'received'"),
        ({"kg": -1}, "greater than or equal to 0"),
        ({"ts": "2200-01-01T00:00:00Z"}, "1970"),
        ({"lot": "x" * 201}, "200"),
    ],
)
def test_a_bad_record_is_told_what_to_do(client: TestClient, change: dict[str, Any], says: str) -> None:
    body = {
        "lot": "E",
        "action": "finished",
        "ts": "2026-03-02T00:00:00Z",
        "material": "REO",
        "equipment": "A1-FEED",
        "kg": 9,
    }
    answer = client.post("/v1/lots", json=body | change)
    assert answer.status_code == 422, answer.text
    assert says in answer.json()["detail"]


def test_lots_are_filtered_and_paged_latest_first(site: Any, client: TestClient) -> None:
    found: list[str] = []
    query: dict[str, Any] = {"kind": "packed", "limit": 2, "from": "2026-03-01T08:00:00Z", "to": "2026-03-01T09:30:00Z"}
    while True:
        page = client.get("/v1/lots", params=query).json()
        found += [item["lot"] for item in page["items"]]
        if page["next"] is None:
            break
        query["cursor"] = page["next"]
    assert found == [f"{tag}-PK{n}" for n in (2, 1) for tag in ("B2", "B1", "B0", "A")]
    assert client.get("/v1/lots?subject=A4-CALC&state=packed&limit=1").json()["items"][0]["results"]
    assert client.get("/v1/lots?state=eaten").status_code == 422
    with site.client("viewer", "ELSEWHERE") as other:
        assert other.get("/v1/lots").json()["items"] == []
        assert other.get("/v1/lots/A-FD1/trace").status_code == 404


def test_no_lot_of_another_site_is_named(site: Any, client: TestClient) -> None:
    """Ours is made of theirs by a third, and they took a quarter of it: the masses count, the names stay theirs."""
    site.execute("INSERT INTO edge (name, site) VALUES ('gw-far', 'ELSEWHERE') ON CONFLICT DO NOTHING")
    theirs = [
        lot("FAR-FD", "received", 0, kg=60.0),
        lot("FAR-CL", "finished", 1, kg=30.0, parents=[["FAR-FD", 30.0]]),
        lot("FAR-PK", "packed", 9, kg=20.0, parents=[["H-CL", 20.0]]),
    ]
    ours = [
        lot("H-FD", "received", 0, kg=60.0),
        lot("H-CL", "started", 2, kg=90.0, parents=[["H-FD", 60.0], ["FAR-CL", 30.0]]),
        lot("H-PK", "packed", 4, kg=40.0, parents=[["H-CL", 40.0]]),
    ]
    tell(site, theirs, edge="gw-far")
    tell(site, ours)
    with site.client("viewer", "HEFA-BT") as mine:
        answers = {
            path: mine.get(f"/v1/lots{path}")
            for path in ("", "/H-CL", "/H-CL/trace", "/H-CL/trace?dir=forward", "/H-PK/trace", "/H-CL/verify")
        }
    assert {path: "FAR-" in answer.text for path, answer in answers.items()} == dict.fromkeys(answers, False)
    cl = answers["/H-CL"].json()
    assert (cl["parents"], cl["children"], cl["records"][0]["parents"]) == (
        [{"lot": "H-FD", "kg": 60}], [{"lot": "H-PK", "kg": 40}], [{"lot": "H-FD", "kg": 60}],
    )  # fmt: skip
    assert (cl["gap_kg"], cl["taken_kg"], cl["left_kg"]) == pytest.approx((0, 60, 30))
    stays = {
        path: {node["lot"]: node["stays"] for node in answers[path].json()["nodes"]}
        for path in ("/H-CL/trace", "/H-CL/trace?dir=forward", "/H-PK/trace")
    }
    assert stays["/H-CL/trace"] == pytest.approx({"H-CL": 1 / 3, "H-FD": 2 / 3})
    assert stays["/H-PK/trace"] == pytest.approx({"H-PK": 0, "H-CL": 1 / 3, "H-FD": 2 / 3})
    assert stays["/H-CL/trace?dir=forward"] == pytest.approx({"H-CL": 5 / 9, "H-PK": 4 / 9})
    assert [node["lot"] for node in client.get("/v1/lots/H-PK/trace").json()["nodes"]] == [
        "H-PK", "H-CL", "H-FD", "FAR-CL", "FAR-FD",
    ]  # fmt: skip
    with site.client("viewer", "ELSEWHERE") as other:
        back = other.get("/v1/lots/FAR-PK/trace").json()
        assert ([n["lot"] for n in back["nodes"]], back["edges"], back["cut"]) == (["FAR-PK"], [], False)


def test_the_chain_is_sha256_over_canonical_json(site: Any, client: TestClient) -> None:
    told = [
        {"kg": 24000, "lot": "FD-20250301-01", "type": "receive"},
        {"in": ["FD-20250301-01"], "lot": "CL-20250301-01", "type": "dissolve"},
    ]
    hashes = ["0" * 64]
    for record in told:
        ((found,),) = site.execute("SELECT chain_hash(%s, canonical_json(%s))", hashes[-1], Jsonb(record))
        hashes.append(found)
    assert hashes[1:] == [
        "303571eae9e117d06f63d064b36136e1a03af89a0b1695d81fb3f7d01e468776",
        "ea387c4d0b2a55ba769562f8e9515ddd60d4ed0e442bfd7011c3a7ba5b6f1350",
    ]
    odd = {"z": [1.5, {"b": None, "aa": True, "a": 'ä"\\\n€😀'}], "A": 24000.0, "é": 1e-7, "empty": [{}, []]}
    ((text,),) = site.execute("SELECT canonical_json(%s)", Jsonb(odd))
    odd["A"] = 24000
    assert text == json.dumps(odd, sort_keys=True, separators=(",", ":"), ensure_ascii=False).replace(
        "1e-07", "0.0000001"
    )


def test_who_changes_a_record_is_found_out(site: Any, client: TestClient) -> None:
    sound = client.get("/v1/lots/A-PK1/verify").json()
    assert (sound["ok"], sound["broken"], len(sound["records"]), sound["checked"]) == (
        True,
        None,
        4,
        sound["head"]["n"],
    )
    first = sound["records"][0]
    site.execute("UPDATE event SET body = jsonb_set(body, '{kg}', '401') WHERE event_id = %s", first["event"])
    assert [link["ok"] for link in client.get("/v1/lots/A-PK1/verify").json()["records"]] == [False, True, True, True]
    site.execute("UPDATE event SET body = jsonb_set(body, '{kg}', '400') WHERE event_id = %s", first["event"])
    assert client.get("/v1/lots/A-PK1/verify").json()["ok"]
    ((record, hash),) = site.execute("SELECT record, hash FROM lot_chain WHERE n = %s", first["n"])
    forged = record.replace("400", "401")
    site.execute("UPDATE lot_chain SET record = %s WHERE n = %s", forged, first["n"])
    assert client.get("/v1/lots/A-PK1/verify").json()["broken"] == first["n"]
    ((before,),) = site.execute("SELECT hash FROM lot_chain WHERE n = %s", first["n"] - 1)
    own = hashlib.sha256((before + forged).encode()).hexdigest()
    site.execute("UPDATE lot_chain SET hash = %s WHERE n = %s", own, first["n"])
    assert client.get("/v1/lots/A-PK1/verify").json()["broken"] == first["n"] + 1, "the next one no longer follows"
    site.execute("UPDATE lot_chain SET record = %s, hash = %s WHERE n = %s", record, hash, first["n"])
    site.execute("DELETE FROM lot_chain WHERE n = %s", first["n"])
    assert client.get("/v1/lots/A-PK1/verify").json()["broken"] == first["n"] + 1, "one is missing"


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_mass_is_kept_on_every_genealogy(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 14))
    mass = {n: data.draw(st.floats(1, 1e4)) for n in range(count)}
    parts = []
    left = dict(mass)
    for child in range(1, count):
        parents = data.draw(st.lists(st.integers(0, child - 1), max_size=4, unique=True))
        for parent in parents:
            kg = left[parent] * data.draw(st.floats(0.01, 1))
            left[parent] -= kg
            parts.append(Part(str(parent), str(child), kg))
    lots = {str(n): ("", "", kg) for n, kg in mass.items()}
    for direction, of in (("back", str(count - 1)), ("forward", "0")):
        reached, on_the_way = {of}, []
        for _ in range(count):
            on_the_way = [p for p in parts if (p.child if direction == "back" else p.parent) in reached]
            reached |= {p.parent if direction == "back" else p.child for p in on_the_way}
        found = share_out(of, direction, on_the_way, lots, {})  # type: ignore[arg-type]
        assert sum(node.stays for node in found.nodes) == pytest.approx(1)
        assert {node.lot for node in found.nodes} == reached
        assert not found.cycle


def test_a_lot_that_is_its_own_ancestor_is_told(site: Any, client: TestClient) -> None:
    tell(
        site,
        [
            lot("F1", "finished", 1, kg=5.0, parents=[["F2", 5.0]]),
            lot("F2", "finished", 2, kg=5.0, parents=[["F1", 5.0]]),
        ],
    )
    found = client.get("/v1/lots/F1/trace").json()
    assert found["cycle"]
    assert {node["lot"] for node in found["nodes"]} == {"F1", "F2"}


def test_ten_thousand_lots_are_traced_within_a_second(site: Any, client: TestClient) -> None:
    """2,000 generations of 5, each made of all of the last one: more paths than there are atoms."""
    site.execute(
        """
        INSERT INTO lot (lot, site, kind, material, equipment, state, kg, begun, corrected)
        SELECT format('G%s-%s', g, n), 'HEFA-BT', '', 'REO', '', 'finished', 100, timestamptz '2026-04-01Z' + g * interval '1 hour', false
          FROM generate_series(0, 1999) g, generate_series(0, 4) n
        """
    )
    site.execute(
        """
        INSERT INTO lot_part (parent, child, kg)
        SELECT format('G%s-%s', g - 1, p), format('G%s-%s', g, n), 20
          FROM generate_series(1, 1999) g, generate_series(0, 4) n, generate_series(0, 4) p
        """
    )
    site.execute("ANALYZE lot_part")
    begun = time.perf_counter()
    found = client.get("/v1/lots/G1999-0/trace?depth=50").json()
    assert time.perf_counter() - begun < 120  # walked path by path it would not end
    assert (len(found["nodes"]), found["cut"], found["sum"]) == (251, True, pytest.approx(1))
