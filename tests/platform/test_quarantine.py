"""What people decide about refused data, by REST, and what ingest makes of it."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import pytest
from psycopg.conninfo import make_conninfo
from psycopg.types.json import Jsonb

from hefa_contract.envelope import decode
from hefa_platform.retry import retry
from hefa_platform.store.arrival import Arrival
from hefa_platform.store.database import Database
from hefa_platform.store.intake import Intake

NOW = time.time_ns() // 1000
TAG = "A2-SX.SXA.MS-A01.ph"


@pytest.fixture(scope="module")
def store(site: Any, postgres: str, role_passwords: dict[str, str]):
    dsn = make_conninfo(site.admin, user="hefa_ingest", password=role_passwords["hefa_ingest"])
    with Database(dsn, max_size=1) as store:
        yield store


def refused(site: Any, reading: dict[str, Any] | None = None, payload: bytes | None = None, size: int = 0) -> int:
    """Put something into quarantine; returns its id."""
    rows = site.execute(
        """
        INSERT INTO quarantine (edge, epoch, seq, i, code, detail, topic, reading, payload, size, sha256)
        VALUES ('gw-a2', 'e', 1, %s, 'TAG_UNKNOWN', 'why', 'hefa/v1/gw-a2/data', %s, %s, %s, sha256(%s))
        RETURNING quarantine_id
        """,
        None if payload is not None else 0, None if reading is None else Jsonb(reading), payload, size, payload,
    )  # fmt: skip
    return rows[0][0]


def state(site: Any, id: int) -> str:
    return site.execute("SELECT state FROM quarantine WHERE quarantine_id = %s", id)[0][0]


def ask(client: Any, id: int, decision: str, reason: str = "the model knows it now") -> Any:
    return client.post(f"/v1/quarantine/{id}/{decision}", json={"reason": reason})


def test_a_reading_is_tried_again_and_stored(site: Any, client: Any, store: Database) -> None:
    id = refused(site, {"tag": TAG, "ts": NOW, "value": 3.25, "quality": 192})
    answer = ask(client, id, "retry")
    assert (answer.status_code, answer.json()) == (202, {"id": id, "state": "retrying"})
    intake = Intake(store, "w1")
    assert retry(store, intake) == 1
    assert state(site, id) == "retried"
    found = site.execute("SELECT value FROM reading JOIN tag USING (tag_id) WHERE name = %s", TAG)
    assert found == [(3.25,)]
    assert retry(store, intake) == 0
    (audited,) = site.execute("SELECT body FROM audit WHERE action = 'quarantine.retry'")
    assert audited[0] == {"reason": "the model knows it now"}


def test_twice_is_once(site: Any, client: Any, store: Database) -> None:
    """A worker that dies between storing and noting tries it again."""
    id = refused(site, {"tag": TAG, "ts": NOW + 1, "value": 4.0, "quality": 192})
    ask(client, id, "retry")
    intake = Intake(store, "w1")
    retry(store, intake)
    site.execute("UPDATE quarantine SET state = 'retrying' WHERE quarantine_id = %s", id)
    retry(store, intake)
    assert state(site, id) == "retried"
    assert site.execute("SELECT count(*) FROM quarantine WHERE epoch = %s", f"retry-{id}") == [(0,)]


def test_an_event_is_tried_again_where_it_was_kept_whole(site: Any, client: Any, store: Database) -> None:
    event = {"type": "note", "ts": NOW, "subject": "A2-SX", "text": "probe changed"}
    id = refused(site, {"event": event})
    assert ask(client, id, "retry").status_code == 202
    retry(store, Intake(store, "w1"))
    assert state(site, id) == "retried"
    assert site.execute("SELECT body->>'text' FROM event") == [("probe changed",)]
    assert ask(client, refused(site, {"event": "{'type': 5}"}), "retry").status_code == 409


def test_a_swap_that_came_before_its_history_is_tried_again(site: Any, client: Any, store: Database) -> None:
    """By MQTT, as a gateway sends it; a swap of so long ago is refused until there are readings before it."""
    meter, ts = "A6-UTIL.METER.WM-MAIN.tot", NOW - 110 * 86_400_000_000
    swap = {"type": "meter_swap", "ts": ts, "subject": meter, "final": 7.0, "initial": 3.0}
    payload = json.dumps({"v": 1, "epoch": "swaps", "seq": 1, "made": NOW, "events": [swap]}).encode()
    (edge,) = site.execute("SELECT edge.name FROM edge JOIN tag USING (edge_id) WHERE tag.name = %s", meter)[0]
    arrival = Arrival(f"hefa/v1/{edge}/event", edge, payload, sha256(payload).digest(), decode(payload))
    (outcome,) = Intake(store, "w1").store([arrival])
    assert outcome.finished
    ((id, code),) = site.execute("SELECT quarantine_id, code FROM quarantine WHERE epoch = 'swaps'")
    assert code == "TS_TOO_OLD"
    assert site.execute("SELECT count(*) FROM event WHERE type = 'meter_swap'") == [(0,)]
    site.record(meter, [(datetime.fromtimestamp(ts / 1e6 + k * 60, UTC), 5.0 - k, 192) for k in (-1, 1)])
    assert ask(client, id, "retry").status_code == 202
    retry(store, Intake(store, "w1"))
    assert (state(site, id), site.execute("SELECT final, initial FROM meter_swap")) == ("retried", [(7.0, 3.0)])


@pytest.mark.parametrize(
    "wrong", [{"ts": NOW + 10**12}, {"value": "x"}, {"ts": "y"}, {"tag": "A1-FEED.DISS.R-101.temp"}]
)
def test_what_is_refused_again_comes_again(site: Any, client: Any, store: Database, wrong: dict[str, Any]) -> None:
    id = refused(site, {"tag": TAG, "ts": NOW + 2, "value": 3.25, "quality": 192} | wrong)
    ask(client, id, "retry")
    retry(store, Intake(store, "w1"))
    assert state(site, id) == "retried"
    assert site.execute("SELECT state FROM quarantine WHERE epoch = %s", f"retry-{id}") == [("open",)]


def test_a_whole_message_is_tried_again(site: Any, client: Any, store: Database) -> None:
    sent = {"v": 1, "epoch": "e", "seq": 5, "lane": "live", "made": NOW, "base": NOW, "tags": [TAG], "tag": [0, 0]}
    payload = json.dumps(sent | {"dt": [100, 200], "value": [1.0, 2.0]}).encode()
    id = refused(site, payload=payload, size=len(payload))
    assert ask(client, id, "retry").status_code == 202
    retry(store, Intake(store, "w1"))
    assert site.execute("SELECT epoch, seq, readings FROM ledger WHERE epoch = %s", f"retry-{id}") == [
        (f"retry-{id}", 1, 2)
    ]


def test_what_was_not_kept_whole_cannot_be_tried(site: Any, client: Any) -> None:
    id = refused(site, payload=b"{", size=100_000)
    assert ask(client, id, "retry").status_code == 409
    assert ask(client, id, "discard").json() == {"id": id, "state": "discarded"}
    again = ask(client, id, "retry")
    assert again.status_code == 409
    assert "discarded already" in again.json()["detail"]


@pytest.mark.parametrize("name", ["nul\0", "half \ud800", "x" * 129])
def test_a_name_that_could_not_be_kept_as_sent_is_no_other_name(
    site: Any, client: Any, store: Database, name: str
) -> None:
    """What JSON can hold of it is a name that nobody sent: a reading of that would be another tag's."""
    message = {
        "v": 1,
        "epoch": f"names-{len(name)}",
        "seq": 1,
        "lane": "live",
        "made": NOW,
        "base": NOW,
        "tags": [name],
    }
    payload = json.dumps(message | {"tag": [0], "dt": [0], "value": [1.0]}).encode()
    arrival = Arrival("hefa/v1/gw-a2/data", "gw-a2", payload, sha256(payload).digest(), decode(payload))
    Intake(store, "w1").store([arrival])
    ((id,),) = site.execute("SELECT quarantine_id FROM quarantine WHERE epoch = %s", message["epoch"])
    answer = ask(client, id, "retry")
    assert answer.status_code == 409, answer.json()
    assert "Not all of it was kept" in answer.json()["detail"]


def test_who_may_decide(site: Any, client: Any) -> None:
    id = refused(site, {"tag": TAG, "ts": NOW + 3, "value": 1.0, "quality": 192})
    with site.client("operator") as operator:
        assert ask(operator, id, "discard").status_code == 403
    with site.client("engineer", site="ELSEWHERE") as stranger:
        assert ask(stranger, id, "discard").status_code == 404
    with site.client("engineer") as engineer:
        assert ask(engineer, id, "discard", "").status_code == 422
        assert ask(engineer, id, "discard").status_code == 200
    assert ask(client, 987_654, "discard").status_code == 404
