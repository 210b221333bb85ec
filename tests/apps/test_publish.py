"""Figures as calculated tags: through the real API into the real database."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hefa_apps.client import Caller, Platform
from hefa_apps.config import Settings
from hefa_apps.host import APPS, desk_of
from hefa_apps.publish import HOUR, TRIES, Publisher, tag_of


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
    publisher = Publisher(caller, desk, ["use.electricity", "electricity.per_t"], back=3, clock=lambda: now)
    stored = publisher.publish()
    assert stored >= 2
    assert publisher.publish() == 0
    assert (
        Publisher(caller, desk, ["use.electricity"], back=3, clock=lambda: now).publish() == 0
    )  # said before a restart
    (newest,) = caller.latest(tags=["KPI.use.electricity"])
    assert now - newest.ts < 2 * HOUR
    assert (newest.ts.minute, newest.ts.second) == (0, 0)
    units = {item.tag: item.unit for item in caller.latest(tags=["KPI.use.electricity", "KPI.electricity.per_t"])}
    assert units == {"KPI.use.electricity": "kW.h", "KPI.electricity.per_t": "kW.h/t"}
    r = desk.over(caller, caller.catalogue(), newest.ts - HOUR, newest.ts)
    assert newest.value == pytest.approx(r.figure("use.electricity").value)


def test_an_hour_that_nobody_watched_is_not_published(portal: Any, caller: Caller) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=40)
    publisher = Publisher(caller, desk_of(APPS), ["use.electricity"], back=3, clock=lambda: long_ago)
    assert publisher.publish() == 0


def test_an_hour_that_was_not_known_is_asked_for_again(portal: Any, caller: Caller) -> None:
    """One metric is never known: the other one is published at once, and the hour is given up after some tries."""
    now = datetime.now(UTC) - 3 * HOUR  # other hours than those of the other tests
    publisher = Publisher(caller, desk_of(APPS), ["use.water", "material.residue"], back=1, clock=lambda: now)
    publisher.publish()
    asked = [tries for tries in publisher._tried.values() if tries < TRIES]
    assert asked
    for _ in range(TRIES):
        assert publisher.publish() == 0
    assert set(publisher._tried.values()) == {TRIES}


def test_the_key_comes_from_the_setting_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HEFA_PUBLISH_KEY", "HEFA_PUBLISH", "HEFA_SECRETS_DIR"):
        monkeypatch.delenv(name, raising=False)
    assert Settings().publishing_key() == ""
    (tmp_path / "publish_key").write_text("from the file\n")
    monkeypatch.setenv("HEFA_SECRETS_DIR", str(tmp_path))
    assert Settings().publishing_key() == "from the file"
    monkeypatch.setenv("HEFA_PUBLISH_KEY", "from the environment")
    assert Settings().publishing_key() == "from the environment"
    monkeypatch.setenv("HEFA_PUBLISH", " ")
    assert Settings().publishing_key() == ""
