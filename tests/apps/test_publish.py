"""Figures as calculated tags: through the real API into the real database."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hefa_apps.client import Caller, Platform
from hefa_apps.host import APPS, desk_of
from hefa_apps.publish import HOUR, Publisher, tag_of


@pytest.fixture
def caller(portal: Any) -> Iterator[Caller]:
    platform = Platform(portal.api)
    yield platform.caller(portal.key)
    platform.close()


@pytest.mark.parametrize(
    ("metric", "tag"), [("use.HCl", "KPI.use.HCl"), ("purity.PrNd oxide", "KPI.purity.PrNd_oxide"), ("a/b", "KPI.a_b")]
)
def test_a_metric_has_its_tag(metric: str, tag: str) -> None:
    assert tag_of(metric) == tag


def test_whole_hours_become_readings_once(portal: Any, caller: Caller) -> None:
    now = datetime.now(UTC)
    desk = desk_of(APPS)
    publisher = Publisher(caller, desk, ["use.electricity", "electricity.per_t"], clock=lambda: now)
    stored = publisher.publish()
    assert stored >= 2
    assert publisher.publish() == 0
    assert Publisher(caller, desk, ["use.electricity"], clock=lambda: now).publish() == 0  # said before a restart
    (newest,) = caller.latest(tags=["KPI.use.electricity"])
    assert now - newest.ts < 2 * HOUR
    assert (newest.ts.minute, newest.ts.second) == (0, 0)
    r = desk.over(caller, caller.catalogue(), newest.ts - HOUR, newest.ts)
    assert newest.value == pytest.approx(r.figure("use.electricity").value)


def test_an_hour_that_nobody_watched_is_not_published(portal: Any, caller: Caller) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=40)
    publisher = Publisher(caller, desk_of(APPS), ["use.electricity"], clock=lambda: long_ago)
    assert publisher.publish() == 0
