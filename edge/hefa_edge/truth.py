"""The truth ledger: what truly was, in <data-dir>/truth.sqlite, for tests and proofs. The platform never reads it.

A row is the plant's books since ever at a minute: any span is the difference of two rows. Minutes are kept for two
days, hours for ever. Written again after a restart a row is the same row. One process writes, any may read.
"""

from __future__ import annotations

import bisect
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from hefa_contract.event import AnyEvent
from hefa_contract.plant import Plant
from hefa_edge.simulation import Account

MINUTE, HOUR = 60_000_000, 3_600_000_000
_MINUTES_KEPT = 48 * HOUR
_SCHEMA = """
CREATE TABLE IF NOT EXISTS books (ts INTEGER PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS event (
  ts INTEGER NOT NULL, type TEXT NOT NULL, subject TEXT NOT NULL, body TEXT NOT NULL,
  PRIMARY KEY (ts, type, subject, body)
) WITHOUT ROWID;
"""
Books = Mapping[str, Mapping[str, float]]


class TruthError(Exception):
    """The ledger cannot answer; the text says why."""


class TruthLedger:
    """The ledger of a running site."""

    def __init__(self, path: Path) -> None:
        """Open or make it. Raises sqlite3.Error."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None, timeout=30, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(_SCHEMA)

    def record(self, accounts: Iterable[tuple[int, Account]], events: Iterable[AnyEvent]) -> None:
        """Write books by time (µs) and what happened, in one transaction."""
        rows = [(ts, msgspec.json.encode(account)) for ts, account in accounts]
        told = [
            (event.ts, str(event.__struct_config__.tag), event.subject, msgspec.json.encode(event.body()).decode())
            for event in events
        ]
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany("INSERT OR REPLACE INTO books VALUES (?, ?)", rows)
            self._db.executemany("INSERT OR IGNORE INTO event VALUES (?, ?, ?, ?)", told)
            if rows:
                self._db.execute("DELETE FROM books WHERE ts < ? AND ts % ? <> 0", (max(rows)[0] - _MINUTES_KEPT, HOUR))
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def told(path: Path, plant: Plant, start: int, end: int) -> dict[str, Any]:
    """Tell what truly was from `start` to `end` (µs), or in the part of it that is in the books.

    Between two rows amounts are taken as straight. Raises TruthError.
    """
    if not path.exists():
        raise TruthError(f"no truth ledger: {path} is not there; a site that ran with this --data-dir writes it")
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)
    try:
        times = [ts for (ts,) in db.execute("SELECT ts FROM books ORDER BY ts")]
        start, end = max([start, *times[:1]]), min([end, *times[-1:]])
        if not times or end <= start:
            raise TruthError("the truth ledger has nothing of that time")
        first, last = _at(db, times, start), _at(db, times, end)
        events = db.execute(
            "SELECT ts, type, subject, body FROM event WHERE ts >= ? AND ts < ? ORDER BY ts", (start, end)
        ).fetchall()
        labels = db.execute(
            "SELECT ts, subject, body FROM event WHERE type = 'fault' AND ts < ? ORDER BY ts", (end,)
        ).fetchall()
    finally:
        db.close()
    return {
        "from": start,
        "to": end,
        "energy": _carriers(plant, first, last),
        "masses": _masses(first, last),
        "streams": {"in": _streams(first.came_in, last.came_in), "out": _streams(first.went_out, last.went_out)},
        "lots": [
            {"ts": ts, "subject": subject, **msgspec.json.decode(body)}
            for ts, kind, subject, body in events
            if kind == "lot"
        ],
        "faults": _spans(labels, start),
    }


def _at(db: sqlite3.Connection, times: Sequence[int], ts: int) -> Account:
    after = bisect.bisect_left(times, ts)
    bodies = []
    for row in {max(after - (times[after] != ts), 0), after}:
        body = db.execute("SELECT body FROM books WHERE ts = ?", (times[row],)).fetchone()[0]
        bodies.append((times[row], msgspec.json.decode(body, type=Account)))
    bodies.sort(key=lambda pair: pair[0])
    (before, one), (later, two) = bodies[0], bodies[-1]
    share = 0.0 if later == before else (ts - before) / (later - before)

    def between(a: Mapping[str, float], b: Mapping[str, float]) -> dict[str, float]:
        return {name: a.get(name, value) + share * (value - a.get(name, value)) for name, value in b.items()}

    def streams(a: Books, b: Books) -> dict[str, dict[str, float]]:
        return {name: between(a.get(name, {}), amounts) for name, amounts in b.items()}

    return Account(
        between(one.registers, two.registers),
        streams(one.came_in, two.came_in),
        streams(one.went_out, two.went_out),
        streams(one.held, two.held),
    )


def _carriers(plant: Plant, first: Account, last: Account) -> dict[str, dict[str, Any]]:
    """What was used of each carrier, by the site's billing meters and by every meter, in the meters' unit."""
    found: dict[str, dict[str, Any]] = {}
    for name, amount in last.registers.items():
        meter = plant.tags[name].meter if name in plant.tags else None
        if meter is None or meter.carrier is None or meter.stream != "supply" or name not in first.registers:
            continue
        used = (amount - first.registers[name]) * meter.factor
        entry = found.setdefault(meter.carrier, {"unit": meter.unit, "value": 0.0, "meters": {}})
        entry["meters"][name] = used
        if meter.parent is None and meter.role == "billing":
            entry["value"] += used
    return found


def _masses(first: Account, last: Account) -> dict[str, dict[str, float]]:
    """Mass of each element and of water in kg: in, out, held at both ends, and what that leaves unexplained."""
    found = {}
    for species in next(iter(last.held.values()), {}):
        came = _sum(last.came_in, species) - _sum(first.came_in, species)
        went = _sum(last.went_out, species) - _sum(first.went_out, species)
        before, after = _sum(first.held, species), _sum(last.held, species)
        left = came - went - (after - before)
        found[species] = {"in": came, "out": went, "held_from": before, "held_to": after, "unexplained": left}
    return found


def _streams(first: Books, last: Books) -> dict[str, dict[str, float]]:
    """Mass by stream and element, kg; what is not in a stream is left out."""
    found = {}
    for stream, amounts in last.items():
        kg = {name: amount - first.get(stream, {}).get(name, 0.0) for name, amount in amounts.items()}
        found[stream] = {name: mass for name, mass in kg.items() if mass != 0}
    return found


def _sum(books: Books, species: str) -> float:
    return float(np.sum([amounts[species] for amounts in books.values()]))


def _spans(labels: Sequence[tuple[int, str, str]], start: int) -> list[dict[str, Any]]:
    """Pair starts and ends of faults; those that were over before `start` are left out."""
    spans: list[dict[str, Any]] = []
    running: dict[tuple[str, str], dict[str, Any]] = {}
    for ts, subject, body in labels:
        label = msgspec.json.decode(body)
        key = (label["fault"], subject)
        if label["action"] == "end":
            if key in running:
                running.pop(key)["end"] = ts
        elif key not in running:
            severity = label.get("severity", 0.0)
            running[key] = {"fault": key[0], "target": subject, "start": ts, "end": None, "severity": severity}
            spans.append(running[key])
    return [span for span in spans if span["end"] is None or span["end"] > start]
