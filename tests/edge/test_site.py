"""The live site in one process, on a real broker."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from hefa_contract.envelope import Envelope, Gap
from hefa_edge.checkpoint import Checkpoint
from hefa_edge.config import ConfigError, Settings
from hefa_edge.episodes import Episode
from hefa_edge.injections import Injections
from hefa_edge.site import GatewayFailed, Haste, Site, edges_of, reporter_of, tags_of


@pytest.fixture
def options(broker, tmp_path: Path) -> dict:
    for n in range(1, 7):
        (tmp_path / f"mqtt_url_gw-a{n}").write_text(broker.url(f"gw-a{n}"))
    return {"secrets_dir": tmp_path, "data_dir": tmp_path / "data", "profile": "core"}


@contextmanager
def running(plant, options: dict, clock: Callable[[], float] = time.time, haste: Haste | None = None) -> Iterator[Site]:
    settings = Settings(**options)
    checkpoint = Checkpoint(settings.state_dir)
    site = Site(plant, settings, checkpoint, clock, haste)
    thread = threading.Thread(target=site.run)
    thread.start()
    try:
        yield site
    finally:
        site.stop.set()
        thread.join(30)
        checkpoint.release()
    assert not thread.is_alive()


def readings(heard: list) -> list[tuple[str, int, float | None, int]]:
    out = []
    for message in (one.message for one in {one.correlation: one for one in heard}.values()):
        if isinstance(message, Envelope):
            quality = message.quality or [192] * len(message.value)
            for tag, dt, value, q in zip(message.tag, message.dt, message.value, quality, strict=True):
                out.append((message.tags[tag], message.base + dt, value, q))
    return out


def test_every_tag_at_the_start_from_its_own_gateway(plant, options, platform, until) -> None:
    platform.accept()
    with running(plant, options):
        until(lambda: len(readings(platform.heard)) >= 752)
        arrived = time.time()
    first: dict[str, int] = {}
    for tag, ts, _, _ in readings(platform.heard):
        first.setdefault(tag, ts)
        assert ts % 1_000_000 == 0  # the grid
        assert ts <= arrived * 1e6
    assert len(set(first.values())) == 1
    assert first.keys() == {tag.name for tag in plant.tags.values() if tag.core}
    for one in (one for one in platform.heard if isinstance(one.message, Envelope)):  # a minute may bring events
        edge = one.topic.split("/")[2]
        assert {plant.tags[tag].edge for tag in one.message.tags} == {edge}


def test_a_gateway_tells_of_itself(plant, options, platform, until) -> None:
    def newest() -> dict[str, tuple[float, int]]:
        of_gateways = sorted((r for r in readings(platform.heard) if ".GW-" in r[0]), key=lambda r: r[1])
        return {tag.partition("EDGE.")[2]: (value, quality) for tag, _, value, quality in of_gateways}

    platform.accept(False)
    with running(plant, {**options, "profile": "full"}):
        until(lambda: len(platform.status) >= 6)
        time.sleep(2)
        platform.accept()
        # The first readings may be older than the connection.
        until(lambda: [newest().get(f"GW-{n}.link") for n in range(1, 7)] == [(1.0, 192)] * 6)
    own = newest()
    assert len(own) == 30
    for n in range(1, 7):
        assert own[f"GW-{n}.rtt"][0] > 0
        assert 0 <= own[f"GW-{n}.cpu"][0] <= 100 * (os.cpu_count() or 1)
        assert abs(own[f"GW-{n}.off"][0]) < 5_000
        assert own[f"GW-{n}.buf"][0] >= 0


@pytest.mark.parametrize("broker", ["iotcore"], indirect=True)
def test_the_backlog_is_seen_in_the_gateways_own_tag(plant, options, platform, until) -> None:
    platform.accept(False)
    with running(plant, options) as site:
        # Each second brings more between the two looks: at some time they agree.
        until(lambda: all(g.vitals()["buf"] == g.outbox.depth.readings > 50 for g in site._gateways.values()))


@pytest.mark.parametrize("broker", ["iotcore"], indirect=True)
def test_a_clock_set_back_repeats_no_time(plant, options, platform, until, caplog) -> None:
    platform.accept()
    offset = 0.0
    with running(plant, options, lambda: time.time() + offset):
        until(lambda: len(readings(platform.heard)) >= 760)
        offset = -30.0
        until(lambda: "set back" in caplog.text)
        time.sleep(1)
        before = max(ts for _, ts, _, _ in readings(platform.heard))
        offset = 3.0
        until(lambda: max(ts for _, ts, _, _ in readings(platform.heard)) > before)
    keys = [(tag, ts) for tag, ts, _, _ in readings(platform.heard)]
    assert len(keys) == len(set(keys))
    assert "set back" in caplog.text


@pytest.mark.parametrize("broker", ["iotcore"], indirect=True)
def test_started_with_a_clock_behind_it_repeats_no_time(plant, options, platform, until) -> None:
    """Even where the checkpoint is lost or older: the outbox knows what was recorded."""
    platform.accept()
    latest = 0
    for offset in (0.0, -6.0):
        with running(plant, options, lambda offset=offset: time.time() + offset):
            until(lambda latest=latest: max((r[1] for r in readings(platform.heard)), default=0) > latest, 60)
        latest = max(r[1] for r in readings(platform.heard)) + 2_000_000
        (options["data_dir"] / "edge" / "plant.json").unlink()
    keys = [(tag, ts) for tag, ts, _, _ in readings(platform.heard)]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("broker", ["iotcore"], indirect=True)
def test_the_past_in_haste_with_a_gateway_cut_off_and_one_whose_clock_is_fast(plant, options, platform, until) -> None:
    """An hour in seconds, up to now and no further; what a gateway kept comes later, twice if need be, and is all there."""
    minute = 60_000_000
    begin = round(time.time() - 3600) // 60 * minute
    cut, fast = (begin + 10 * minute, begin + 25 * minute), (begin + 30 * minute, begin + 40 * minute)
    injections = Injections(Settings(**options).state_dir)
    (options["data_dir"] / "edge").mkdir(parents=True)
    for fault, unit, (start, end) in (("comms-loss", "GW-4", cut), ("clock-offset", "GW-5", fast)):
        injections.add(Episode(fault=fault, target=f"A6-UTIL.EDGE.{unit}", severity=1.0, start=start, end=end))
    unheard: set[bytes] = set()
    acknowledge = platform.answer

    def deaf_at_first(heard):
        """Every third message must be sent again before it is acknowledged."""
        if heard.message.seq % 3 == 0 and heard.correlation not in unheard:
            unheard.add(heard.correlation)
            return None
        return acknowledge(heard)

    platform.answer = deaf_at_first
    platform.accept()
    with running(plant, {**options, "resend_s": 1.0}, haste=Haste(3600.0, 3600.0)) as site:
        until(lambda: site._haste is None, 60)
        until(lambda: sum(ts > time.time() * 1e6 - 3e6 for _, ts, _, _ in readings(platform.heard)) > 20, 60)
        platform.answer = acknowledge  # else there is always one more that waits for its second turn
        until(lambda: all(not gateway.outbox.depth.messages for gateway in site._gateways.values()), 60)
        arrived = time.time()
    rows = readings(platform.heard)
    by_edge = {edge: [row for row in rows if plant.tags[row[0]].edge == edge] for edge in ("gw-a4", "gw-a5", "gw-a6")}
    assert max(ts for _, ts, _, _ in by_edge["gw-a4"]) <= arrived * 1e6  # never beyond now
    # Nothing is missing or twice, the quarter of an hour included: each minute has its readings.
    assert len({row[:2] for row in by_edge["gw-a4"]}) == len(by_edge["gw-a4"])
    minutes = {ts // minute for _, ts, _, _ in by_edge["gw-a4"]}
    first = min(minutes)  # an hour before the site was up, which a busy machine delays
    assert begin // minute <= first < cut[0] // minute
    assert minutes >= set(range(first, first + 59))
    late = [
        i for i, one in enumerate(platform.heard) if "gw-a4/data" in one.topic and cut[0] <= one.message.base < cut[1]
    ]
    others = [
        i for i, one in enumerate(platform.heard) if "gw-a6/data" in one.topic and cut[0] <= one.message.base < cut[1]
    ]
    assert late[0] > others[0]  # kept back while others spoke
    for edge in by_edge:  # all numbers of the sequence arrived, those that were sent twice as the same bytes
        mine = {one.correlation: one.payload for one in platform.heard if f"/{edge}/" in one.topic}
        assert sorted(
            one.message.seq for one in {o.correlation: o for o in platform.heard if f"/{edge}/" in o.topic}.values()
        ) == list(range(1, len(mine) + 1))
        assert all(one.payload == mine[one.correlation] for one in platform.heard if f"/{edge}/" in one.topic)
    assert unheard & {one.correlation for one in platform.heard}
    # The fast clock: ten minutes of readings half a minute off the grid; the other gateways stand on it.
    off = {ts for _, ts, _, _ in by_edge["gw-a5"] if ts % minute == 30_000_000 and ts < arrived * 1e6 - 5 * minute}
    assert off == {ts + 90_000_000 for ts in range(fast[0], fast[1], minute)}
    assert not any(ts % minute for _, ts, _, _ in by_edge["gw-a6"] if ts < arrived * 1e6 - 5 * minute)
    assert not any(".GW-" in tag for tag, ts, _, _ in rows if ts < arrived * 1e6 - 5 * minute)  # no past of their own
    register = sorted((ts, value) for tag, ts, value, _ in by_edge["gw-a6"] if tag == "A6-UTIL.ELEC.PM-MAIN.e")
    assert all(b >= a and b - a < 1900 * 1.3 * (t - s) / 3.6e9 + 1 for (s, a), (t, b) in pairwise(register))


def test_a_full_outbox_that_blocks_tells_what_it_missed(plant, options, platform, until, caplog) -> None:
    platform.accept(False)
    small = {**options, "outbox_max_bytes": 65_536, "outbox_policy": "block"}
    with running(plant, small) as site:
        gateway = site._gateways["gw-a6"]
        gateway.outbox._max_bytes = 3_000  # full after the first tick
        until(lambda: "readings are not recorded" in caplog.text)
        gateway.outbox._max_bytes = 65_536
        until(lambda: "has room again" in caplog.text)
        platform.accept()
        until(lambda: gateway.outbox.depth.messages == 0)
    gaps = [one.message for one in platform.heard if isinstance(one.message, Gap)]
    assert len(gaps) == 1
    assert gaps[0].readings > 0


def test_a_bug_in_a_gateways_thread_ends_the_site(plant, options, platform) -> None:
    settings = Settings(**options)
    checkpoint = Checkpoint(settings.state_dir)
    site = Site(plant, settings, checkpoint)
    site._gateways["gw-a3"].publisher.failure = ZeroDivisionError("a bug")
    with pytest.raises(GatewayFailed, match="gw-a3"):
        site.run()
    checkpoint.release()


@pytest.mark.parametrize("missing", ["secrets", "file"])
def test_a_gateway_without_a_broker_is_told_before_the_start(plant, options, tmp_path: Path, missing: str) -> None:
    if missing == "file":
        (tmp_path / "mqtt_url_gw-a3").unlink()
    settings = Settings(**{**options, "secrets_dir": None if missing == "secrets" else tmp_path})
    checkpoint = Checkpoint(settings.state_dir)
    with pytest.raises(ConfigError, match="mqtt_url"):
        Site(plant, settings, checkpoint)
    checkpoint.release()


def test_events_go_by_the_gateway_of_what_they_speak_of(plant) -> None:
    from hefa_contract.event import Note

    choose = reporter_of(plant, edges_of(tags_of(plant, "full")))
    for subject, edge in [
        ("HEFA-BT", "gw-a1"),
        ("NRE", "gw-a1"),
        ("A4-CALC", "gw-a4"),
        ("A2-SX.SXA", "gw-a2"),
        ("A6-UTIL.ELEC.PM-MAIN.e", "gw-a6"),
        ("PN-20261121-01", "gw-a1"),
    ]:
        assert choose(Note(ts=1, subject=subject, text="x")) == edge, subject
