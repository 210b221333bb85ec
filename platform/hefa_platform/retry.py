"""Refused data that a person wants tried again becomes messages once more, and goes the way of every message."""

import hashlib
import time

import msgspec

from hefa_contract import topics
from hefa_contract.envelope import VERSION, decode
from hefa_contract.rejection import Rejected
from hefa_platform.store import quarantine
from hefa_platform.store.arrival import Arrival
from hefa_platform.store.database import Database
from hefa_platform.store.intake import Intake
from hefa_platform.store.registry import ENTRY

AT_ONCE = 100


def retry(database: Database, intake: Intake) -> int:
    """Try what was asked for; returns how many. Two workers at it at once, or a crash in between, do no harm: the ledger
    knows the epoch that each piece has. Raises `Unavailable`."""
    with database.connection() as connection:
        asked = quarantine.asked(connection, AT_ONCE)
    if asked:
        intake.store([_arrival(row) for row in asked])
        with database.connection() as connection:
            quarantine.answered(connection, asked)
    return len(asked)


def _arrival(row: quarantine.Refused) -> Arrival:
    payload = row.payload or b""
    head = {"v": VERSION, "epoch": row.epoch, "seq": 1, "made": time.time_ns() // 1000}
    if row.reading is not None and "event" in row.reading:
        payload = msgspec.json.encode({**head, "events": [row.reading["event"]]})
    elif row.reading is not None:
        payload = msgspec.json.encode(
            {
                **head, "lane": "backfill", "base": 0,
                "tags": [row.reading["tag"]], "tag": [0], "dt": [row.reading["ts"]], "value": [row.reading["value"]],
                "quality": [row.reading["quality"]],
            }
        )  # fmt: skip
    # The number of the piece is part of what is hashed: the time of the attempt must not make it another message.
    digest = hashlib.sha256(row.epoch.encode()).digest()
    try:
        if row.edge != ENTRY or row.topic.startswith(topics.PREFIX):  # what people entered came on no topic
            topics.parse(row.topic)
        decoded = decode(payload)
    except Rejected as rejected:
        again = Rejected(rejected.code, rejected.detail, row.epoch, 1)
        return Arrival(row.topic, row.edge, payload, digest, rejected=again)
    decoded.message.epoch, decoded.message.seq = row.epoch, 1
    return Arrival(row.topic, row.edge, payload, digest, decoded=decoded)
