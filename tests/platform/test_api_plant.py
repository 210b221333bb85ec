"""Equipment, tags and their newest readings by REST."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from hefa_contract.plant import Plant

PH = "A2-SX.SXA.MS-A01.ph"
RUN = "A1-FEED.DISS.P-131.run"


def nodes(tree: dict[str, Any]) -> list[dict[str, Any]]:
    return [tree, *(node for child in tree["children"] for node in nodes(child))]


def names(client: TestClient, path: str, **query: Any) -> list[str]:
    """All names of a list, page by page."""
    found: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        answer = client.get(path, params=query | cursor)
        assert answer.status_code == 200, answer.text
        found += [item["tag"] for item in answer.json()["items"]]
        if answer.json()["next"] is None:
            return found
        cursor = {"cursor": answer.json()["next"]}


def test_the_tree_holds_every_tag_once(client: TestClient, plant: Plant) -> None:
    tree = client.get("/v1/assets").json()
    found = nodes(tree)
    assert (tree["level"], tree["path"], tree["unassigned"]) == ("enterprise", "NRE", 0)
    assert [child["path"] for child in tree["children"]] == ["HEFA-BT"]
    assert (tree["site"], tree["timezone"], tree["plantday"]) == ("HEFA-BT", "Asia/Shanghai", "08:00")
    assert tree["shifts"] == ["00:00", "08:00", "16:00"]
    assert [area["path"] for area in tree["children"][0]["children"]] == [a.path for a in plant.areas]
    assert sum(node["tags"] for node in found) == len(plant.tags) == 1103
    assert sum(node["level"] == "line" for node in found) == 27
    assert sum(node["level"] == "unit" for node in found) == 187


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({}, 1103),
        ({"core": "true"}, 752),
        ({"core": "false"}, 351),
        ({"kind": "counter"}, 136),
        ({"area": "A2-SX"}, 313),
        ({"asset": "A2-SX"}, 313),
        ({"asset": "NRE", "kind": "state"}, 50),
        ({"area": "A2-SX", "edge": "gw-a2"}, 313),
        ({"area": "A2-SX", "edge": "gw-a3"}, 0),
        ({"equipment": "A2-SX.SXA.MS-A01"}, 5),
        ({"line": "A2-SX.SXA", "template": "MS_STAGE", "q": ".PH"}, 14),
        ({"assigned": "false"}, 0),
        ({"q": "a%c_"}, 0),
        ({"area": "A9"}, 0),
    ],
)
def test_filters(client: TestClient, query: dict[str, str], count: int) -> None:
    listed = names(client, "/v1/tags", limit=500, **query)
    assert len(listed) == count
    assert listed == sorted(set(listed))
    assert names(client, "/v1/latest", limit=400, **query) == listed


def test_one_tag(client: TestClient, plant: Plant) -> None:
    known = plant.tags[PH]
    found = client.get(f"/v1/tags/{PH}").json()
    assert found == client.get("/v1/tags", params={"q": PH}).json()["items"][0]
    assert (found["area"], found["line"], found["equipment"]) == ("A2-SX", "A2-SX.SXA", "A2-SX.SXA.MS-A01")
    assert (found["unit"], found["kind"], found["edge"], found["core"]) == ("[pH]", "gauge", "gw-a2", True)
    assert found["limits"] == {"ll": known.ll, "l": known.l, "h": known.h, "hh": known.hh}
    assert found["heartbeat_s"] == 60
    meter = client.get("/v1/tags/A6-UTIL.ELEC.PM-SXA.e").json()["meter"]
    assert meter == {
        "carrier": "electricity", "material": None, "stream": "supply", "serves": "A2-SX.SXA",
        "parent": "A6-UTIL.ELEC.PM-MAIN.e", "role": "billing", "unit": "kW.h",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/v1/tags/A2-SX.SXA.MS-A01.pH2", 404, PH),
        ("/v1/tags/nothing/like/it", 404, "There is no tag"),
        ("/v1/tags/a%00b", 422, "control"),
        ("/v1/tags/%ff%fe", 404, "There is no tag"),
        ("/v1/tags?limit=0", 422, "limit"),
        ("/v1/tags?limit=1e3", 422, "limit"),
        ("/v1/tags?limit=99999999999999999999999", 422, "limit"),
        ("/v1/tags?cursor=abc", 422, "not one of ours"),
        ("/v1/tags?cursor=WzFd", 422, "not one of ours"),
        ("/v1/tags?cursor=%F0%9F%92%A9", 422, "not one of ours"),
        ("/v1/tags?area=a%00", 422, "control"),
        ("/v1/tags?core=maybe", 422, "core"),
        ("/v1/tags?aera=A2-SX", 422, "aera: is not a parameter"),
        (f"/v1/latest?tag={PH}&area=A2-SX", 422, "leave the other filters"),
        (f"/v1/latest?tag={PH}&tag=nope", 404, "There is no tag 'nope'"),
        ("/v1/nothing", 404, "/docs"),
        ("/", 404, "/docs"),
    ],
)
def test_a_bad_question_is_told_what_to_do(client: TestClient, path: str, status: int, says: str) -> None:
    answer = client.get(path)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert says in answer.json()["detail"]


def test_the_newest_reading_its_age_and_its_state(site: Any, client: TestClient) -> None:
    now = datetime.now(UTC)
    site.record(PH, [(now - timedelta(seconds=90), 3.1, 192), (now - timedelta(seconds=20), 3.2, 64)])
    site.record(RUN, [(now - timedelta(seconds=121), 1.0, 192)])
    answer = client.get("/v1/latest", params={"tag": [RUN, PH, RUN, "A2-SX.SXA.MS-A01.intf"]}).json()
    assert answer["next"] is None
    run, ph, never = answer["items"]
    assert (ph["tag"], ph["value"], ph["quality"], ph["unit"], ph["stale"], ph["state"]) == (
        PH, 3.2, 64, "[pH]", False, None,
    )  # fmt: skip
    assert 20 <= ph["age_s"] < 120
    assert datetime.fromisoformat(ph["ts"]) == now - timedelta(seconds=20)
    assert ph["ts"].endswith("Z")
    # Two heartbeats of an event tag are two minutes.
    assert (run["tag"], run["stale"], run["kind"]) == (RUN, True, "state")
    assert run["state"] == client.get(f"/v1/tags/{RUN}").json()["states"]["1"]
    assert (never["ts"], never["value"], never["stale"], never["age_s"]) == (None, None, True, None)


def test_a_tag_the_model_has_dropped_is_found_by_its_name(site: Any, client: TestClient) -> None:
    site.execute("UPDATE tag SET retired = true WHERE name = %s", PH)
    try:
        assert PH not in names(client, "/v1/tags", area="A2-SX")
        assert PH not in names(client, "/v1/latest", area="A2-SX")
        assert client.get(f"/v1/tags/{PH}").json()["retired"] is True
        assert client.get(f"/v1/latest?tag={PH}").json()["items"][0]["tag"] == PH
        assert client.get(f"/v1/series?tag={PH}&from=2026-03-10T00:00:00Z").status_code == 200
    finally:
        site.execute("UPDATE tag SET retired = false WHERE name = %s", PH)


def test_csv(client: TestClient) -> None:
    text = client.get("/v1/tags?area=A2-SX&limit=1", headers={"Accept": "text/csv"}).text
    assert text.startswith("tag,equipment,area,line,template,description,kind,unit")
    assert len(text.splitlines()) == 2
    text = client.get(f"/v1/latest?tag={PH}", headers={"Accept": "text/csv"}).text
    assert text.startswith(f"tag,ts,value,quality,unit,state,stale,age_s\r\n{PH},20")


def test_a_tag_outside_the_plant_model_is_given_its_unit(site: Any, client: TestClient) -> None:
    said = {"tag": "KPI.electricity.per_t", "unit": "kW.h/t", "description": "Electricity per t REO"}
    made = client.post("/v1/tags", json=said)
    assert made.status_code == 201, made.text
    tag = made.json()
    assert (tag["unit"], tag["description"], tag["assigned"], tag["edge"]) == (
        "kW.h/t", "Electricity per t REO", False, "api",
    )  # fmt: skip
    assert client.post("/v1/tags", json=said).status_code == 200
    now = datetime.now(UTC)
    reading = {"tag": said["tag"], "ts": now.isoformat(), "value": 1500.0}
    lab = {"tag": "LAB.7", "ts": now.isoformat(), "value": 2.5}
    assert client.post("/v1/readings", json={"readings": [reading, lab]}).json()["stored"] == 2
    # One that came before anybody said what it is.
    assert client.get("/v1/tags/LAB.7").json()["unit"] is None
    assert client.post("/v1/tags", json={"tag": "LAB.7", "unit": "g/L"}).status_code == 200
    items = client.get("/v1/latest?tag=KPI.electricity.per_t&tag=LAB.7").json()["items"]
    assert {item["tag"]: item["unit"] for item in items} == {"KPI.electricity.per_t": "kW.h/t", "LAB.7": "g/L"}
    since = (now - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    series = client.get(f"/v1/series?tag=LAB.7&from={since}&step=raw&unit=kg/m3").json()["series"][0]
    assert (series["unit"], series["value"]) == ("kg/m3", [2.5])
    told = site.execute(
        "SELECT subject, body->'before'->>'unit', body->'after'->>'unit' FROM audit WHERE action = 'tag.describe'"
    )
    assert told == [("KPI.electricity.per_t", None, "kW.h/t"), ("LAB.7", None, "g/L")]
    site.execute("DELETE FROM latest USING tag WHERE tag.tag_id = latest.tag_id AND NOT assigned")


@pytest.mark.parametrize(
    ("role", "where", "change", "status", "says"),
    [
        ("engineer", "*", {"tag": PH}, 409, "The plant model knows"),
        ("engineer", "*", {"tag": "a+b"}, 422, "name"),
        ("engineer", "*", {"unit": "m 3"}, 422, "unit"),
        ("engineer", "*", {"unit": ""}, 422, "unit"),
        ("engineer", "*", {"kind": "counter"}, 422, "kind"),
        ("operator", "*", {}, 403, "engineer"),
        ("engineer", "ELSEWHERE", {}, 403, "ELSEWHERE"),
    ],
)
def test_who_may_say_what_of_a_tag(
    site: Any, role: Any, where: str, change: dict[str, Any], status: int, says: str
) -> None:
    with site.client(role, where) as client:
        answer = client.post("/v1/tags", json={"tag": "LAB.8", "unit": "g/L"} | change)
    assert answer.status_code == status, answer.text
    assert says in answer.text
    assert site.execute("SELECT count(*) FROM tag WHERE name = 'LAB.8'") == [(0,)]


def test_what_belongs_to_another_site_does_not_exist(site: Any, plant: Plant) -> None:
    site.execute("INSERT INTO tag (name, site, kind, assigned) VALUES ('other.tag', 'ELSEWHERE', 'gauge', false)")
    with site.client("viewer", "HEFA-BT") as mine, site.client("viewer", "ELSEWHERE") as theirs:
        assert mine.get("/v1/tags/other.tag").status_code == 404
        assert "other.tag" not in mine.get("/v1/tags/other.tax").text
        assert mine.get("/v1/latest?tag=other.tag").status_code == 404
        assert mine.get("/v1/series?tag=other.tag&from=2026-03-10T00:00:00Z").status_code == 404
        assert "other.tag" not in mine.get("/v1/tags?assigned=false").text
        assert [tag["tag"] for tag in theirs.get("/v1/tags").json()["items"]] == ["other.tag"]
        assert [item["tag"] for item in theirs.get("/v1/latest").json()["items"]] == ["other.tag"]
        assert theirs.get(f"/v1/tags/{PH}").status_code == 404
        assert theirs.get("/v1/assets").json()["tags"] == 0
        assert theirs.get("/v1/consumption?from=2026-03-10T00:00:00Z").status_code == 422
        assert theirs.get("/v1/edges").json()["items"] == []
        assert theirs.get("/v1/pipeline").json()["edges"] == []
    site.execute("DELETE FROM tag WHERE name = 'other.tag'")
