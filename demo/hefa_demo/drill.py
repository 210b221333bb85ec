"""The emergency drill: break a running demo on purpose, wait until it has recovered, and add up what is left.

It sees what any customer sees: demo.json, the REST API, and the tiers' own commands; it also reads, and never writes,
the gateways' outboxes, to know when everything has arrived. The supervisor of the demo starts again what was killed.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sysconfig
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from hefa_demo import probe
from hefa_demo.config import Layout
from hefa_demo.process import wait_until
from hefa_demo.screen import Screen

PATIENCE_S = 180.0
FRESH_S = 6.0  # a newest reading of this age is live
CUT_S = 60
GATEWAY = "GW-2"


class DrillError(Exception):
    """The drill cannot begin, or the demo did not recover; the text says what to look at."""


@dataclass(frozen=True)
class Blow:
    """One thing that was done to the demo, and the seconds until live readings were served again."""

    what: str
    seconds: float


@dataclass(frozen=True)
class Account:
    """What one gateway's readings became while the drill went on. `holds` is the accounting identity."""

    edge: str
    received: int
    stored: int
    duplicate: int
    conflict: int
    quarantined: int

    @property
    def holds(self) -> bool:
        return self.received == self.stored + self.duplicate + self.conflict + self.quarantined


@dataclass(frozen=True)
class Energy:
    """Electricity of the whole site over the drill, kWh: what the platform says and what truly was."""

    measured: float
    true: float
    start: datetime
    end: datetime

    @property
    def error(self) -> float:
        """Relative to the truth."""
        return (self.measured - self.true) / self.true if self.true else 0.0


class Drill:
    """One drill against the demo of a data folder. `run` it."""

    def __init__(self, data_dir: Path, screen: Screen) -> None:
        self._layout = Layout(data_dir.absolute())
        self._screen = screen

    def run(self) -> tuple[list[Blow], list[Account], Energy | None]:
        """Deal every blow, wait, add up. Raises DrillError."""
        first = self._document()
        start = _next_minute(datetime.now(UTC))
        before = self._accounts()
        blows = [
            self._blow("broker killed", lambda: self._kill("broker")),
            self._blow("database killed", lambda: self._kill("postgres")) if "postgres" in first["pids"] else None,
            self._blow("ingest killed", lambda: self._kill("ingest")),
            self._blow(f"gateway {GATEWAY} cut off for {CUT_S} s", self._cut),
            self._blow("everything in grace sent again", self._refill),
        ]
        self._screen.step("waiting until every outbox is empty and the last minute is over")
        self._until(lambda: self._waiting() < 30, "the outboxes did not become empty")
        end = _next_minute(datetime.now(UTC))
        self._until(lambda: datetime.now(UTC) > end + timedelta(seconds=8), "the minute did not end")
        after = self._accounts()
        return [blow for blow in blows if blow], _since(before, after), self._energy(start, end)

    # --- blows -------------------------------------------------------------------------------------------------------

    def _blow(self, what: str, act: Callable[[], object]) -> Blow:
        self._screen.step(what)
        began = time.monotonic()
        act()
        at = datetime.now(UTC)
        self._until(lambda: self._is_live(at), f"no live reading came after: {what}")
        seconds = time.monotonic() - began
        self._screen.step(f"  live again after {seconds:.0f} s")
        return Blow(what, seconds)

    def _kill(self, name: str) -> None:
        pid = self._document()["pids"][name]
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not _alive(pid), 10)

    def _cut(self) -> None:
        """The gateway's link is down for a minute: it goes on recording, and delivers when it is back."""
        self._command("hefa-edge", "faults", "inject", "comms-loss", "--unit", GATEWAY, "--for", f"{CUT_S}s")
        until = _next_minute(datetime.now(UTC)) + timedelta(seconds=CUT_S)
        self._until(lambda: datetime.now(UTC) > until, "the minute did not end")

    def _refill(self) -> None:
        """As after a restore of the database: the gateways send all they still hold, which the ledger knows already."""
        before = self._duplicates()
        self._command("hefa-platform", "refill")
        self._until(lambda: self._duplicates() > before, "nobody sent anything again")

    # --- looking -----------------------------------------------------------------------------------------------------

    def _document(self) -> dict[str, Any]:
        """demo.json; it is written anew when a process was started again."""
        try:
            document: dict[str, Any] = json.loads(self._layout.document.read_text("utf-8"))
        except FileNotFoundError:
            raise DrillError(
                f"no demo is ready in {self._layout.root}: start one with `make demo`, wait until it says that it is "
                "ready, and run the drill in a second terminal"
            ) from None
        return document

    def _is_live(self, since: datetime) -> bool:
        document = self._document()
        newest = probe.newest_reading(document["api"], document["key"])
        return newest > since and datetime.now(UTC) - newest < timedelta(seconds=FRESH_S)

    def _accounts(self) -> dict[str, dict[str, int]]:
        document = self._document()
        found: dict[str, dict[str, int]] = {}

        def ask() -> bool:
            answer = probe.ask(f"{document['api']}/v1/pipeline", document["key"])
            if answer is not None:
                found.update({edge["edge"]: edge for edge in answer["edges"]})
            return answer is not None

        self._until(ask, "the API did not answer")
        return found

    def _duplicates(self) -> int:
        return sum(edge["duplicate"] for edge in self._accounts().values())

    def _energy(self, start: datetime, end: datetime) -> Energy | None:
        """None where the drill was shorter than a minute, or the truth is not known."""
        if end <= start:
            return None
        document = self._document()
        span = {"from": start.strftime("%Y-%m-%dT%H:%M:%SZ"), "to": end.strftime("%Y-%m-%dT%H:%M:%SZ")}
        query = urlencode({"carrier": "electricity", "by": "total", **span})
        answer = probe.ask(f"{document['api']}/v1/consumption?{query}", document["key"])
        told = self._command("hefa-edge", "truth", "--from", span["from"], "--to", span["to"], "--json")
        true = json.loads(told)["energy"].get("electricity")
        if answer is None or not answer["rows"] or true is None:
            return None
        return Energy(sum(row["value"] or 0.0 for row in answer["rows"]), float(true["value"]), start, end)

    def _waiting(self) -> int:
        """Messages that wait in all live outboxes."""
        total = 0
        for path in self._layout.edge.glob("outbox-gw-??.sqlite"):
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as box:
                total += int(box.execute("SELECT count(*) FROM pending").fetchone()[0])
        return total

    def _until(self, condition: Callable[[], bool], otherwise: str) -> None:
        if not wait_until(condition, PATIENCE_S, 0.5):
            raise DrillError(f"{otherwise} within {PATIENCE_S:.0f} s; see the logs in {self._layout.root / 'logs'}")

    def _command(self, name: str, *argv: str) -> str:
        beside = Path(sysconfig.get_path("scripts")) / name
        found = str(beside) if beside.exists() else shutil.which(name)
        if found is None:
            raise DrillError(f"the command {name} is not installed: pip install 'hefa[demo]'")
        ours = {"HEFA_SECRETS_DIR": str(self._layout.secrets), "HEFA_DATA_DIR": str(self._layout.root)}
        environ = {k: v for k, v in os.environ.items() if k not in ("HEFA_DSN", "HEFA_MQTT_URL")} | ours
        done = subprocess.run([found, *argv], env=environ, capture_output=True, text=True, check=False, timeout=120)
        if done.returncode != 0:
            raise DrillError(f"{name} {argv[0]} failed: {done.stderr.strip()}")
        return done.stdout


def _since(before: Mapping[str, Mapping[str, int]], after: Mapping[str, Mapping[str, int]]) -> list[Account]:
    names = ("received", "stored", "duplicate", "conflict", "quarantined")
    return [
        Account(edge, *(counts[name] - before.get(edge, {}).get(name, 0) for name in names))
        for edge, counts in sorted(after.items())
        if counts["received"] > before.get(edge, {}).get("received", 0)
    ]


def report(blows: Sequence[Blow], accounts: Sequence[Account], energy: Energy | None) -> list[str]:
    """The result in lines."""
    lines = [f"{'what was done':<44} {'live again':>11}"]
    lines += [f"{blow.what:<44} {blow.seconds:>9.0f} s" for blow in blows]
    head = ("received", "stored", "duplicate", "conflict", "quarantined")
    lines += ["", f"{'gateway':<10}" + "".join(f"{name:>13}" for name in head) + "   identity"]
    for one in accounts:
        figures = (one.received, one.stored, one.duplicate, one.conflict, one.quarantined)
        lines.append(
            f"{one.edge:<10}" + "".join(f"{n:>13,}" for n in figures) + ("   holds" if one.holds else "   BROKEN")
        )
    lines.append("")
    if energy is None:
        lines.append("energy: no truth to compare with")
    else:
        minutes = (energy.end - energy.start).total_seconds() / 60
        lines.append(
            f"electricity of these {minutes:.0f} minutes: {energy.measured:,.1f} kWh measured, {energy.true:,.1f} kWh "
            f"true, error {energy.error:+.2%}"
        )
    return lines


def _next_minute(at: datetime) -> datetime:
    return at.replace(second=0, microsecond=0) + timedelta(minutes=1)


def _alive(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False
