"""Series by REST: which number belongs to which bucket, what is legal, and what a bad question is told."""

import csv
import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

PH = "A2-SX.SXA.MS-A01.ph"
TEMP = "A2-SX.SXA.MS-A01.temp"
REGISTER = "A6-UTIL.METER.WM-MAIN.tot"
RUN = "A1-FEED.DISS.P-131.run"
DAY = datetime(2026, 3, 10, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
FIRST, LAST = DAY - timedelta(days=1), DAY + timedelta(days=2)


def us(instant: datetime) -> int:
    return int(instant.timestamp()) * 1_000_000


def tell(site: Any) -> None:
    """Half an hour of readings on 10 March, with a gap; three days of a register, 0.1 m3 a minute."""
    site.record(
        PH,
        [
            (DAY, 3.0, 192),
            (DAY + timedelta(seconds=15), 5.0, 192),  # holds 45 of the first 60 s
            (DAY + 2 * MINUTE, None, 0),  # bad: nothing is known
            (DAY + 3 * MINUTE, 4.0, 64),  # uncertain; holds two heartbeats
            (DAY + 30 * MINUTE, 2.0, 192),
        ],
    )
    site.record(TEMP, [(DAY + i * 10 * MINUTE, 20.0 + i, 192) for i in range(6)])
    site.record(REGISTER, [(FIRST + i * MINUTE, 1000.0 + i / 10, 192) for i in range(3 * 1440 + 1)])
    site.record(RUN, [(DAY, 1.0, 192), (DAY + 5 * MINUTE, 0.0, 192)])


@pytest.fixture(scope="module", params=["live", "settled", "half", "underway"])
def client(request: pytest.FixtureRequest, new_site: Any) -> Iterator[TestClient]:
    """The same readings answered from readings, from rollups, from both with a seam inside the hour, and while a
    refresh of the whole is under way, the newest hours done.
    """
    site = new_site()
    tell(site)
    site.watermark(FIRST)
    if request.param != "live":
        site.settle(
            FIRST, DAY + 17 * MINUTE if request.param == "half" else LAST, 50 if request.param == "underway" else None
        )
    with site.client() as client:
        yield client


def series(client: TestClient, tag: str, start: datetime, end: datetime, **query: Any) -> dict[str, Any]:
    answer = client.get("/v1/series", params={"tag": tag, "from": start.isoformat(), "to": end.isoformat()} | query)
    assert answer.status_code == 200, answer.text
    (one,) = answer.json()["series"]
    return one


HALF_HOUR = (DAY, DAY + 35 * MINUTE)


@pytest.mark.parametrize(
    ("tag", "span", "query", "value"),
    [
        # 15 s of 3 and 45 s of 5: a mean of the readings would say 4.
        (PH, (DAY, DAY + MINUTE), {"step": "1m"}, [4.5]),
        (PH, (DAY, DAY + 2 * MINUTE), {"step": "15m"}, [4.75]),
        # A gap stays one: the reading at minute 3 holds for two heartbeats of a minute, not for ever.
        (PH, (DAY + 2 * MINUTE, DAY + 7 * MINUTE), {"step": "1m"}, [None, 4.0, 4.0, None, None]),
        (PH, HALF_HOUR, {"step": "15m"}, [(4.5 * 60 + 5 * 60 + 4 * 120) / 240, None, 2.0]),
        (PH, HALF_HOUR, {"step": "1h"}, [(4.5 * 60 + 5 * 60 + 4 * 120 + 2 * 120) / 360]),
        (PH, HALF_HOUR, {"step": "1h", "agg": "min"}, [2.0]),
        (PH, HALF_HOUR, {"step": "1h", "agg": "max"}, [5.0]),
        (PH, HALF_HOUR, {"step": "1h", "agg": "first"}, [3.0]),
        (PH, HALF_HOUR, {"step": "1h", "agg": "last"}, [2.0]),
        (PH, HALF_HOUR, {"step": "1h", "agg": "count"}, [5.0]),
        (PH, HALF_HOUR, {"step": "raw"}, [3.0, 5.0, None, 4.0, 2.0]),
        (PH, HALF_HOUR, {}, [3.0, 5.0, None, 4.0, 2.0]),
        (PH, HALF_HOUR, {"max_points": 3}, [(4.5 * 60 + 5 * 60 + 4 * 120) / 240, None, 2.0]),
        # A range ends before `to`, and begins at `from`.
        (PH, (DAY, DAY + timedelta(seconds=15)), {"step": "raw"}, [3.0]),
        (PH, (DAY + timedelta(seconds=15), DAY + 2 * MINUTE), {"step": "raw"}, [5.0]),
        (TEMP, (DAY, DAY + 2 * MINUTE), {"step": "1m", "unit": "K"}, [293.15, 293.15]),
        (TEMP, (DAY, DAY + MINUTE), {"step": "raw", "unit": "[degF]"}, [68.0]),
        (RUN, (DAY, DAY + 10 * MINUTE), {"step": "15m"}, [0.0]),
        (RUN, (DAY, DAY + 10 * MINUTE), {"step": "15m", "agg": "first"}, [1.0]),
        (REGISTER, (DAY, DAY + 2 * MINUTE), {"step": "1m"}, [0.1, 0.1]),
        (REGISTER, (DAY, DAY + timedelta(hours=2)), {"step": "1h"}, [6.0, 6.0]),
        (REGISTER, (DAY, DAY + timedelta(hours=2)), {"step": "1h", "unit": "L"}, [6000.0, 6000.0]),
        (REGISTER, (DAY, DAY + timedelta(hours=2)), {"step": "1h", "agg": "last"}, [1149.9, 1155.9]),
        # A short range of a register is increments too: what a chart shows must not change with the zoom.
        (REGISTER, (DAY, DAY + 3 * MINUTE), {}, [0.1, 0.1, 0.1]),
        (REGISTER, (DAY + timedelta(seconds=30), DAY + timedelta(seconds=90)), {"step": "1m"}, [0.1]),
        # Site days begin at 16:00 UTC; the range cuts the first and the last.
        (REGISTER, (FIRST, LAST), {"step": "1d"}, [96.0, 144.0, 144.0, 48.0]),
        (REGISTER, (FIRST, LAST), {"step": "1d", "tz": "UTC"}, [144.0, 144.0, 144.0]),
        (REGISTER, (FIRST, LAST), {"step": "plantday"}, [144.0, 144.0, 144.0]),
        (REGISTER, (DAY, DAY + timedelta(days=1)), {"step": "shift"}, [48.0, 48.0, 48.0]),
        (REGISTER, (FIRST, LAST), {"step": "month"}, [432.0]),
        # Days that begin at half past: hours cannot tell, minutes must.
        (REGISTER, (FIRST, LAST), {"step": "1d", "tz": "Asia/Kolkata"}, [111.0, 144.0, 144.0, 33.0]),
        # Nothing is known before the first reading, and nothing of a day to come.
        (REGISTER, (FIRST - timedelta(days=2), FIRST - timedelta(days=1)), {"step": "1h"}, [None] * 24),
    ],
)  # fmt: skip
def test_value(
    client: TestClient, tag: str, span: tuple[datetime, datetime], query: dict[str, Any], value: list[float | None]
) -> None:
    found = series(client, tag, *span, **query)
    assert found["value"] == [None if v is None else pytest.approx(v) for v in value]
    assert {len(found[column]) for column in ("ts", "value", "min", "max", "coverage", "quality")} == {len(value)}
    # Unknown is null, never a number that is covered.
    assert all(c == 0 for c, v in zip(found["coverage"], found["value"], strict=True) if v is None)


def test_buckets_are_named_by_their_start_also_when_the_range_cuts_them(client: TestClient) -> None:
    found = series(client, PH, DAY + 5 * MINUTE, DAY + 31 * MINUTE, step="15m")
    assert found["ts"] == [us(DAY), us(DAY + 15 * MINUTE), us(DAY + 30 * MINUTE)]
    # The first 5 of 15 minutes are not asked for; of the last only one is.
    assert found["coverage"] == [0.0, 0.0, 1.0]


def test_envelope_coverage_and_worst_quality(client: TestClient) -> None:
    found = series(client, PH, *HALF_HOUR, step="1h")
    assert (found["min"], found["max"], found["quality"]) == ([2.0], [5.0], [0])
    assert found["coverage"] == [pytest.approx(360 / (35 * 60))]
    assert found["unit"] == "[pH]"


def test_hours_add_up_to_days_and_days_to_the_whole(client: TestClient) -> None:
    span = (FIRST + 17 * MINUTE, LAST - 23 * MINUTE)
    totals = {
        step: sum(v for v in series(client, REGISTER, *span, step=step, max_points=5000)["value"] if v is not None)
        for step in ("1m", "15m", "1h", "1d", "plantday", "shift", "month")
    }
    assert totals == dict.fromkeys(totals, pytest.approx((3 * 1440 - 40) / 10))


@pytest.mark.parametrize(
    ("length", "max_points", "step"),
    [
        (timedelta(hours=2), 1500, "1m"),
        (timedelta(hours=2), 100, "15m"),
        (timedelta(days=2), 100, "1h"),
        (timedelta(days=60), 100, "1d"),
        (timedelta(days=900), 100, "month"),
    ],
)
def test_auto_takes_the_finest_step_that_fits(
    client: TestClient, length: timedelta, max_points: int, step: str
) -> None:
    answer = client.get(
        "/v1/series",
        params={"tag": REGISTER, "from": (DAY - length).isoformat(), "to": DAY.isoformat(), "max_points": max_points},
    ).json()
    assert answer["step"] == step
    assert len(answer["series"][0]["ts"]) <= max_points


def test_a_day_with_a_clock_change_has_25_hours(client: TestClient) -> None:
    start, end = datetime(2025, 10, 25, 22, tzinfo=UTC), datetime(2025, 10, 26, 23, tzinfo=UTC)
    assert len(series(client, REGISTER, start, end, step="1h", tz="Europe/Berlin")["ts"]) == 25
    assert series(client, REGISTER, start, end, step="1d", tz="Europe/Berlin")["ts"] == [us(start)]


def test_csv_says_the_same(client: TestClient) -> None:
    query = {"tag": [PH, TEMP], "from": DAY.isoformat(), "to": (DAY + 2 * MINUTE).isoformat(), "step": "1m"}
    answer = client.get("/v1/series", params=query, headers={"Accept": "text/csv"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(row["tag"], row["ts"], row["value"]) for row in rows] == [
        (PH, "2026-03-10T00:00:00Z", "4.5"),
        (PH, "2026-03-10T00:01:00Z", "5.0"),
        (TEMP, "2026-03-10T00:00:00Z", "20.0"),
        (TEMP, "2026-03-10T00:01:00Z", "20.0"),
    ]


def test_the_answer_says_what_was_resolved(client: TestClient) -> None:
    query = {"tag": REGISTER, "from": "2026-03-10T08:00:30+08:00", "to": "2026-03-10T02:00:59Z"}
    answer = client.get("/v1/series", params=query).json()
    assert {key: answer[key] for key in ("from", "to", "step", "tz")} == {
        "from": "2026-03-10T00:00:00Z", "to": "2026-03-10T02:00:00Z", "step": "1m", "tz": "Asia/Shanghai",
    }  # fmt: skip


GOOD = {"tag": PH, "from": "2026-03-10T00:00:00Z", "to": "2026-03-10T01:00:00Z"}


@pytest.mark.parametrize(
    ("change", "status", "says"),
    [
        ({"tag": None}, 422, "tag"),
        ({"tag": "A2-SX.SXA.MS-A01.pg"}, 404, "A2-SX.SXA.MS-A01.ph"),
        ({"tag": "x" * 129}, 422, "128"),
        ({"tag": "a\x00b"}, 422, "control"),
        ({"tag": [f"t{i}" for i in range(201)]}, 422, "200"),
        ({"tags": PH}, 422, "tags: is not a parameter"),
        ({"from": None}, 422, "from"),
        ({"from": "2026-03-10T00:00:00"}, 422, "has no offset: write 2026-03-10T00:00:00Z"),
        ({"from": "yesterday"}, 422, "RFC 3339"),
        ({"from": "2026-02-30T00:00:00Z"}, 422, "not a time that exists"),
        ({"from": "2026-03-10T00:00:00+99:00"}, 422, "not a time that exists"),
        ({"from": "0001-01-01T00:00:00Z"}, 422, "1970"),
        ({"from": "1773100800"}, 422, "RFC 3339"),
        ({"to": "2026-03-10T00:00:00Z"}, 422, "empty"),
        ({"to": "2026-03-09T00:00:00Z"}, 422, "empty"),
        ({"to": "2026-03-10T00:00:59Z", "step": "1m"}, 422, "same minute"),
        ({"step": "2m"}, 422, "'15m'"),
        ({"step": "raw", "agg": "mean"}, 422, "leave agg away"),
        ({"step": "raw", "max_points": 3}, 422, "more than 3 readings"),
        ({"step": "1m", "max_points": 30}, 422, "60 buckets"),
        ({"step": "1m", "from": "1970-01-01T00:00:00Z"}, 422, "too long"),
        ({"max_points": "10" * 400}, 422, "max_points"),
        ({"max_points": 0}, 422, "max_points"),
        ({"agg": "median"}, 422, "'mean'"),
        ({"agg": "increment"}, 422, "it is a gauge: use mean, min"),
        ({"tag": REGISTER, "agg": "mean"}, 422, "it is a counter: use increment"),
        ({"tag": RUN, "agg": "mean"}, 422, "it is a state"),
        ({"tz": "Asia/Shangai"}, 422, "Did you mean Asia/Shanghai"),
        ({"tz": "../../etc/passwd"}, 422, "IANA"),
        ({"unit": "kW"}, 422, "PH: '[pH]' measures acidity".replace("PH", PH)),
        ({"unit": "banana"}, 422, "not a known UCUM code"),
        ({"unit": "kW", "agg": "count"}, 422, "leave unit away"),
    ],
)  # fmt: skip
def test_a_bad_question_is_told_what_to_do(client: TestClient, change: dict[str, Any], status: int, says: str) -> None:
    query = {key: value for key, value in (GOOD | change).items() if value is not None}
    answer = client.get("/v1/series", params=query)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert says in problem["detail"]


def test_an_unescaped_plus_is_understood(client: TestClient) -> None:
    answer = client.get(f"/v1/series?tag={PH}&from=2026-03-10T08:00:00+08:00&to=2026-03-10T09:00:00%2B08:00&step=1h")
    assert answer.json()["from"] == "2026-03-10T00:00:00Z"


def test_a_range_into_the_future_is_judged_by_what_has_been(site: Any) -> None:
    now = datetime.now(UTC)
    site.record(PH, [(now - timedelta(seconds=20 * i), 3.0, 192) for i in range(1, 25)])
    site.watermark(now - timedelta(days=1))
    start = now.replace(second=0, microsecond=0) - 5 * MINUTE
    with site.client() as client:
        found = series(client, PH, start, start + timedelta(hours=3), step="15m")
    begun = [ts < us(start) + 300_000_000 for ts in found["ts"]]
    assert begun.count(False) >= 11
    assert found["value"] == [pytest.approx(3.0) if now_or_past else None for now_or_past in begun]
    # The last reading holds for two heartbeats, but nobody has seen those yet.
    assert found["coverage"] == [pytest.approx(1.0) if now_or_past else 0.0 for now_or_past in begun]


# --- how an answer travels -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def told(new_site: Any) -> Any:
    """A site of which the last test changes what it asks about."""
    site = new_site()
    site.record(REGISTER, [(DAY + i * MINUTE, 1000.0 + i / 10, 192) for i in range(6 * 60)])
    site.record(PH, [(DAY + timedelta(seconds=i), 3.0 + i % 7, 192) for i in range(12_000)])
    site.settle(DAY, DAY + timedelta(hours=5))
    return site


def test_a_long_answer_is_compressed_and_a_stream_is_not(told: Any) -> None:
    query = {"tag": PH, "from": DAY.isoformat(), "to": (DAY + timedelta(hours=3)).isoformat(), "step": "1m"}
    with told.client() as client:
        answer = client.get("/v1/series", params=query, headers={"Accept-Encoding": "gzip"})
        assert answer.headers["content-encoding"] == "gzip"
        plain = client.get("/v1/series", params=query, headers={"Accept-Encoding": "identity"})
        assert "content-encoding" not in plain.headers
        assert plain.json() == answer.json()


def test_all_readings_of_a_range_leave_as_csv_however_many(told: Any) -> None:
    query = {
        "tag": [PH, REGISTER],
        "from": DAY.isoformat(),
        "to": (DAY + timedelta(hours=4)).isoformat(),
        "step": "raw",
    }
    with told.client() as client:
        assert client.get("/v1/series", params=query).status_code == 422
        bounded = client.get("/v1/series", params=query | {"max_points": 100}, headers={"Accept": "text/csv"})
        assert bounded.status_code == 422
        answer = client.get("/v1/series", params=query | {"unit": "1"}, headers={"Accept": "text/csv"})
        assert answer.status_code == 422
        answer = client.get("/v1/series", params=query, headers={"Accept": "text/csv"})
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["tag"] for row in rows] == [PH] * 12_000 + [REGISTER] * 240
    assert {row["unit"] for row in rows} == {"[pH]", "m3"}
    assert (rows[0]["ts"], rows[11_999]["ts"]) == ("2026-03-10T00:00:00Z", "2026-03-10T03:19:59Z")
    assert len({(row["tag"], row["ts"]) for row in rows}) == len(rows)


def test_late_readings_that_are_not_added_up_yet_are_told(told: Any) -> None:
    to = DAY + timedelta(hours=3)
    asked = {"from": DAY.isoformat(), "to": to.isoformat(), "step": "1h"}

    def ready(client: TestClient, path: str, **query: str) -> datetime:
        return datetime.fromisoformat(client.get(path, params=asked | query).json()["added_up_to"])

    with told.client() as client:
        everything = [("/v1/series", {"tag": REGISTER}), ("/v1/consumption", {"carrier": "water"})]
        assert [ready(client, path, **query) for path, query in everything] == [to, to]
        late = [to + timedelta(hours=1), DAY + timedelta(minutes=90), DAY + timedelta(minutes=100)]
        told.execute(
            "INSERT INTO rollup_dirty (tag_id, from_ts, to_ts) "
            "SELECT tag_id, ts, ts FROM tag CROSS JOIN unnest(%s::timestamptz[]) AS ts WHERE name = %s", late, REGISTER,
        )  # fmt: skip
        assert [ready(client, path, **query) for path, query in everything] == [late[1]] * 2
        assert ready(client, "/v1/series", tag=PH) == to
        assert ready(client, "/v1/series", tag=REGISTER, step="raw") == to
        told.settle(DAY, DAY + timedelta(hours=5))
        assert [ready(client, path, **query) for path, query in everything] == [to, to]


def test_an_answer_is_sent_once_until_late_data_changes_it(told: Any) -> None:
    query = {"tag": REGISTER, "from": DAY.isoformat(), "to": (DAY + timedelta(hours=5)).isoformat(), "step": "1h"}
    paths = {
        "/v1/series": query,
        "/v1/consumption": {"carrier": "water", "from": query["from"], "to": query["to"], "step": "1h"},
    }
    with told.client() as client:
        for path, asked in paths.items():
            first = client.get(path, params=asked)
            name = first.headers["etag"]
            again = client.get(path, params=asked, headers={"If-None-Match": f'"other", {name}'})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", name)
            table = client.get(path, params=asked, headers={"Accept": "text/csv", "If-None-Match": name})
            assert (table.status_code, table.headers["etag"] == name) == (200, False)
            head = client.head(path, params=asked)
            assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", name)
        names = [client.get(path, params=asked).headers["etag"] for path, asked in paths.items()]
        told.record(REGISTER, [(DAY + timedelta(seconds=90), 1000.11, 192)])
        told.settle(DAY, DAY + timedelta(hours=5))
        unchanged = [client.get(path, params=asked).headers["etag"] for path, asked in paths.items()]
        told.execute("DELETE FROM reading WHERE value BETWEEN 1000.2 AND 1006")
        told.settle(DAY, DAY + timedelta(hours=5))
        for (path, asked), name, same in zip(paths.items(), names, unchanged, strict=True):
            answer = client.get(path, params=asked, headers={"If-None-Match": name})
            assert answer.status_code == 200
            assert answer.headers["etag"] not in (name, same)
