"""Files of readings: what the rehearsal says is what the import does, line by line, and twice is once."""

import io
import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from hefa_platform import import_command
from hefa_platform.api import Limits, csv_rows
from hefa_platform.import_command import run
from hefa_platform.store import entry
from hefa_platform.store.database import Unavailable
from hefa_platform.store.entry import Rules

PH = "A2-SX.SXA.MS-A01.ph"
NOW = datetime.now(UTC).replace(microsecond=0, second=0)
COUNTS = ("rows", "new", "duplicate", "conflict", "refused")


def at(minutes: float) -> str:
    return (NOW - timedelta(minutes=minutes)).isoformat()


def stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def send(client: TestClient, text: str | bytes, **query: Any) -> Any:
    content = text if isinstance(text, bytes) else text.encode()
    return client.post("/v1/import", content=content, params=query, headers={"Content-Type": "text/csv"})


def counts(report: dict[str, Any]) -> tuple[int, ...]:
    assert report["rows"] == report["new"] + report["duplicate"] + report["conflict"] + report["refused"]
    return tuple(report[name] for name in COUNTS)


def rows(text: str | bytes, **options: Any) -> list[entry.Row]:
    content = text if isinstance(text, bytes) else text.encode()
    return list(csv_rows.CsvRows(io.BytesIO(content), **options))


@pytest.mark.parametrize("rows_at_once", [20_000, 2])
def test_the_rehearsal_says_what_the_import_does_and_changes_nothing(
    site: Any, client: TestClient, monkeypatch: pytest.MonkeyPatch, rows_at_once: int
) -> None:
    monkeypatch.setattr(entry, "ROWS", rows_at_once)
    base = 1000 + rows_at_once
    site.watermark(NOW - timedelta(hours=1))
    site.record(PH, [(NOW - timedelta(minutes=base), 3.0, 192)])
    new_tag = f"LAB.ca{rows_at_once}"
    text = "\r\n".join(
        [
            "tag,ts,value,quality",
            f"{PH},{at(base)},3.0,192",  # is there
            f"{PH},{at(base)},4.0,192",  # something else is there
            f"{PH},{at(base - 1)},3.1,",
            f"{PH},{at(base - 61)},3.1,192",
            f"{PH},{at(base - 1)},3.1,192",  # twice in the file
            f"{PH},{at(base - 1)},9.9,192",  # … and differently
            f"{new_tag},{at(5)},,0",
            f"{PH},2026-11-22T08:00:00,3.0,192",
            f"{PH},{at(-60)},3.0,192",
            f"{PH},{at(3)},abc,192",
            f"{PH},two",
        ]
    )
    tables = ("reading", "ledger", "quarantine", "reading_conflict", "rollup_dirty", "tag", "audit", "intake_counter")
    state = [site.execute(f"SELECT count(*) FROM {table}") for table in tables]
    rehearsal = send(client, text, dry_run=True).json()
    assert [site.execute(f"SELECT count(*) FROM {table}") for table in tables] == state
    done = send(client, text).json()
    assert (rehearsal.pop("dry_run"), done.pop("dry_run")) == (True, False)
    assert rehearsal == done
    assert counts(done) == (11, 3, 2, 2, 4)
    assert done["refused_by_code"] == {"SCHEMA": 1, "TS_FUTURE": 1, "TS_NOT_INTEGER": 1, "VALUE_TYPE": 1}
    assert [row["line"] for row in done["refused_rows"]] == [9, 10, 11, 12]
    assert done["unknown_tags"] == [new_tag]
    assert done["recomputed"] == {
        "hours": 2,
        "from": stamp((NOW - timedelta(minutes=base - 1)).replace(minute=0)),
        "to": stamp((NOW - timedelta(minutes=base - 61)).replace(minute=0) + timedelta(hours=1)),
    }
    by_tag = {tag["tag"]: tag for tag in done["tags"]}
    assert [by_tag[PH][name] for name in COUNTS] == [10, 2, 2, 2, 4]
    # The same file again: nothing new, in the rehearsal too.
    assert counts(send(client, text, dry_run=True).json()) == (11, 0, 5, 2, 4)
    assert counts(send(client, text).json()) == (11, 0, 5, 2, 4)
    assert client.get("/v1/pipeline").json()["identity_holds"]


@given(st.lists(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 50_000)), max_size=20), max_size=5))
def test_late_hours_are_counted_once_in_little_space(parts: list[list[tuple[str, int]]]) -> None:
    since = 490_000
    tally = entry.Tally(since=since)
    for part in parts:
        other = entry.Tally(since=since)
        for tag, hour in part:
            other.late_at(tag, since + hour)
        tally.add(other)
    met = {(tag, since + hour) for part in parts for tag, hour in part}
    hours = [hour for _, hour in met]
    assert tally.recomputed() == ((len(met), min(hours), max(hours)) if met else None)
    assert all(sys.getsizeof(bits) < 8_000 for bits in tally.late.values())


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("tag,ts,value,quality\nT,2026-11-22T08:00:00Z,1.5,192\n", [("T", 1795334400000000, 1.5, 192)]),
        ("\ufefftag,ts,value\nT,2026-11-22T08:00:00Z,1.5\n", [("T", 1795334400000000, 1.5, 192)]),
        ("T,2026-11-22T16:00:00+08:00,1.5\n", [("T", 1795334400000000, 1.5, 192)]),
        ("value,TS,other, Tag\n-1e3,1795334400000000,x,T\n\n", [("T", 1795334400000000, -1000.0, 192)]),
        ('"T","2026-11-22T08:00:00.25Z",".5",64\r\n', [("T", 1795334400250000, 0.5, 64)]),
        ("tag,ts,value,quality\nT,2026-11-22T08:00:00Z,,0", [("T", 1795334400000000, None, 0)]),
    ],
)
def test_the_format(text: str, values: list[tuple[Any, ...]]) -> None:
    assert [row[1:] for row in rows(text)] == [(*one, None) for one in values]


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("T,2026-11-22T08:00:00,1\n", "TS_NOT_INTEGER", "has no offset"),
        ("T,22.11.2026 08:00,1\n", "TS_NOT_INTEGER", "RFC 3339"),
        ('T,2026-11-22T08:00:00Z,"1,5"\n', "VALUE_TYPE", "decimal point"),
        ("T,2026-11-22T08:00:00Z,NaN\n", "VALUE_NAN", "leave the value empty"),
        ("T,2026-11-22T08:00:00Z,-inf\n", "VALUE_RANGE", "infinity"),
        ("T,2026-11-22T08:00:00Z,1_000\n", "VALUE_TYPE", "number"),
        ("T,2026-11-22T08:00:00Z,1,good\n", "SCHEMA", "192 good"),
        ("T,2026-11-22T08:00:00Z,1,192,more\n", "SCHEMA", "5 columns"),
        ("tag,ts,value\nT,2026-11-22T08:00:00Z\n", "SCHEMA", "2 columns"),
        (b"T\xff,2026-11-22T08:00:00Z,1\n", "PAYLOAD_NOT_UTF8", "UTF-8"),
    ],
)
def test_a_bad_line_is_a_fault_of_its_row(text: str | bytes, code: str, says: str) -> None:
    good = b"T,2026-11-22T08:00:00Z,1\n"
    first = good if not str(text).startswith("tag") else b""
    content = text if isinstance(text, bytes) else text.encode()
    fault = rows(first + content)[-1].fault
    assert fault is not None
    assert fault.code == code
    assert says in fault.detail


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "empty"),
        (b"tag;ts;value\nT;x;1\n", "line 1: the columns are separated by semicolons"),
        (b"T\tx\t1\n", "tabs"),
        ("tag,ts,value".encode("utf-16"), "UTF-16"),
        (b"tag,value\nT,1\n", "not ts"),
        (b"tag,ts,value,ts\n", "names ts twice"),
        (b"a,b\n", "line 1 has 2 columns"),
        (b'tag,ts,value\nT,2026-11-22T08:00:00Z,1\nT,"2026\n', "line 3"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_by_line(client: TestClient, text: bytes, says: str) -> None:
    for rehearsal in (True, False):
        answer = send(client, text, dry_run=rehearsal)
        assert answer.status_code == 422
        assert says in answer.json()["detail"]
        assert ". Nothing was entered" in answer.json()["detail"]


def test_times_of_a_zone(client: TestClient) -> None:
    text = "T,2026-07-01 08:00:00,1\nT,2026-10-25T02:30:00,1\nT,2026-03-29T02:30:00,1\nT,2026-07-01T06:00:00Z,1\n"
    from zoneinfo import ZoneInfo

    read = rows(text, zone=ZoneInfo("Europe/Berlin"))
    assert read[0].ts == read[3].ts
    assert "comes twice" in str(read[1].fault)
    assert "does not exist" in str(read[2].fault)
    assert send(client, text, tz="Europe/Berlim", dry_run=True).status_code == 422


def test_a_form_brings_a_file_too(client: TestClient) -> None:
    text = f"tag,ts,value,shift\n{PH},{at(7)},3.0,B\n"
    answer = client.post("/v1/import", files={"file": ("lab.csv", text, "text/csv")}).json()
    assert (answer["new"], answer["ignored_columns"]) == (1, ["shift"])
    assert client.post("/v1/import", data={"x": "1"}, files={}).status_code == 422
    assert client.post("/v1/import", files={"x": (None, "1")}).status_code == 422


def test_who_may_and_how_much(site: Any) -> None:
    with site.client("operator") as operator:
        assert send(operator, "x").status_code == 403
    with site.client("engineer", limits=Limits(rate=1e6, burst=1e6, body=100, file=1000)) as engineer:
        assert send(engineer, f"{PH},{at(8)},1\n" * 8).status_code == 200
        assert send(engineer, f"{PH},{at(8)},1\n" * 80).status_code == 413


def test_the_command_does_the_same(site: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "history.csv"
    file.write_text("tag,ts,value\n" + "".join(f"{PH},{at(25_000 + n)},{n / 100}\n" for n in range(30_000)))
    assert run(site.api, Rules(), file, dry_run=True) == 0
    assert "new 30,000" in capsys.readouterr().out
    assert run(site.api, Rules(), file, as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["new"] == 30_000
    file.write_text(file.read_text() + f"{PH},yesterday,1\n")
    assert run(site.api, Rules(), file) == 1
    out = capsys.readouterr().out
    assert "duplicate 30,000" in out
    assert "line 30002: A2-SX.SXA.MS-A01.ph: TS_NOT_INTEGER" in out
    file.write_text("a;b")
    assert run(site.api, Rules(), file) == 2
    assert "semicolons" in capsys.readouterr().err


def test_a_database_that_goes_away_is_waited_for(
    site: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server ends the connection in the second of three transactions, at its last statement."""
    monkeypatch.setattr(entry, "ROWS", 10)
    monkeypatch.setattr(import_command, "_RETRY_S", 0.05)
    file = tmp_path / "history.csv"
    file.write_text("tag,ts,value\n" + "".join(f"{PH},{at(60_000 + n)},{n}\n" for n in range(30)))
    site.execute("""
        CREATE SEQUENCE passed;
        CREATE FUNCTION hang_up() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
          IF nextval('passed') = 2 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;
          RETURN NULL;
        END $$;
        CREATE TRIGGER hang_up AFTER INSERT OR UPDATE ON intake_counter EXECUTE FUNCTION hang_up()
    """)
    try:
        assert run(site.api, Rules(), file) == 0
    finally:
        site.execute("DROP TRIGGER hang_up ON intake_counter; DROP FUNCTION hang_up; DROP SEQUENCE passed")
    told = capsys.readouterr()
    assert "rows 30 = new 30 + duplicate 0" in told.out
    assert "To stop is safe" in told.err
    assert "the database is back" in told.err


def test_rows_whose_commit_was_not_heard_of_are_tallied_once(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    entered = entry.Entry(site.api, Rules(), source="test", epoch="unheard")
    enter = entered._intake.enter

    def unheard(arrivals: Any) -> None:
        monkeypatch.undo()
        enter(arrivals)
        raise Unavailable("the answer was lost")

    part = [entry.Row(n, PH, int((NOW.timestamp() - 4_000_000 - n) * 1e6), 1.0, 192) for n in range(5)]
    monkeypatch.setattr(entered._intake, "enter", unheard)
    with pytest.raises(Unavailable):
        entered.put(part)
    assert entered.tally.received == 0
    entered.put(part)
    assert (entered.tally.received, entered.tally.stored, entered.tally.tags[PH].new) == (5, 5, 5)
    with pytest.raises(entry.AlreadyEntered):
        entry.Entry(site.api, Rules(), source="test", epoch="unheard").put(part)
