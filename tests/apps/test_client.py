"""The client against the real API; and against an address where nobody answers."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from hefa_apps.client import Caller, Denied, Missing, Platform, Ready, Refused, Unavailable


@pytest.fixture(scope="module")
def asking(portal) -> Caller:
    platform = Platform(portal.api, timeout=120)
    yield platform.caller(portal.key)
    platform.close()


def test_the_catalogue_is_the_whole_plant(asking: Caller, plant) -> None:
    catalogue = asking.catalogue()
    assert set(plant.tags) < set(catalogue.tags)
    assert [node.path for node in catalogue.root.below("area")] == [area.path for area in plant.areas]
    tag = catalogue.tags["A6-UTIL.ELEC.PM-SXA.e"]
    assert (tag.kind, tag.unit, tag.area) == ("counter", "kW.h", "A6-UTIL")
    assert tag.meter
    assert (tag.meter.carrier, tag.meter.serves, tag.meter.parent) == (
        "electricity",
        "A2-SX.SXA",
        "A6-UTIL.ELEC.PM-MAIN.e",
    )
    assert asking.catalogue() is catalogue


def test_what_is_held_is_given_while_it_is_asked_anew(asking: Caller) -> None:
    told = iter(range(100))
    platform = asking._connection
    assert platform.held("n", 3600, lambda: next(told)) == 0
    assert platform.held("n", 3600, lambda: next(told)) == 0
    assert platform.held("n", 0, lambda: next(told), older=3600) == 0  # too old, and good enough for now
    until = time.monotonic() + 60
    while platform.held("n", 3600, lambda: -1) == 0 and time.monotonic() < until:
        time.sleep(0.01)
    assert platform.held("n", 3600, lambda: -1) == 1
    assert platform.held("n", 0, lambda: next(told)) == 2  # nothing older was allowed


def test_what_cannot_be_asked_anew_is_held_no_longer(asking: Caller) -> None:
    def denied() -> int:
        raise Denied(401, "no longer")

    platform = asking._connection
    assert platform.held("m", 3600, lambda: 1) == 1
    assert platform.held("m", 0, denied, older=3600) == 1
    until = time.monotonic() + 60
    while platform.held("m", 3600, lambda: 2) == 1 and time.monotonic() < until:
        time.sleep(0.01)
    assert platform.held("m", 3600, lambda: 3) == 2


def test_lists_are_followed_to_their_end(asking: Caller, plant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hefa_apps.client.connection.PAGE", 100)
    assert len({r.tag for r in asking.latest()}) >= len(plant.tags) - 10


def test_tags_that_never_reported_are_absent(asking: Caller, portal) -> None:
    assert asking.latest(tags=["A1-FEED.DISS.R-101.ph"])[0].quality == 192
    portal.execute("DELETE FROM latest WHERE tag_id = (SELECT tag_id FROM tag WHERE name = 'A4-CALC.GASC.FN-433.hrs')")
    assert asking.latest(tags=["A4-CALC.GASC.FN-433.hrs"]) == []


def test_series_and_consumption(asking: Caller) -> None:
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    answer = asking.series(["A1-FEED.DISS.R-101.ph"], now - timedelta(hours=1), now, "1m")
    assert answer.step == "1m"
    assert len(answer.series[0].ts) == len(answer.series[0].value) == 60
    used = asking.consumption(now - timedelta(hours=1), now, by="area", step="15m", carriers=["electricity"])
    assert {row.subject for row in used.rows} == {"electricity"}
    assert used.rows[0].start.tzinfo is not None


@pytest.mark.parametrize(
    ("ask", "error", "says"),
    [
        (lambda c: c.tag("A1-FEED.DISS.R-101.pH"), Missing, "A1-FEED.DISS.R-101.ph"),
        (lambda c: c.consumption(datetime.now(UTC), datetime.now(UTC)), Refused, "range"),
        (
            lambda c: c.consumption(datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC), carriers=["love"]),
            Refused,
            "love",
        ),
    ],
)
def test_refusals_carry_the_platforms_sentence(asking: Caller, ask, error: type[Refused], says: str) -> None:
    with pytest.raises(error) as refused:
        ask(asking)
    assert says in str(refused.value)


def test_a_wrong_key_is_denied(portal) -> None:
    platform = Platform(portal.api, timeout=120)
    with pytest.raises(Denied) as denied:
        platform.caller("hefa_nobody_" + "x" * 30).root()
    assert denied.value.status == 401
    platform.close()


def test_a_platform_that_is_away_is_unavailable_after_three_tries() -> None:
    pauses: list[float] = []
    platform = Platform("http://127.0.0.1:9", sleep=pauses.append)
    with pytest.raises(Unavailable):
        platform.caller("hefa_any_key").root()
    assert len(pauses) == 2
    assert platform.ready() == Ready(ready=False)
    platform.close()


def test_ready_is_the_platforms_own_word(portal) -> None:
    platform = Platform(portal.api)
    until = time.monotonic() + 60
    while not platform.ready().ready and time.monotonic() < until:  # it gives up after seconds, as a page needs it
        time.sleep(0.1)
    assert platform.ready().ready
    platform.close()
