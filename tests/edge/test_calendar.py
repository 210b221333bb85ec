"""Shifts and crews."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from hefa_edge.plant.calendar import shift_changes

ZONE = ZoneInfo("Asia/Shanghai")


def µs(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=ZONE).timestamp()) * 1_000_000


def test_a_shift_begins_at_its_time_and_belongs_to_one_step(plant) -> None:
    begins = µs("2026-11-21T08:00:00")
    assert [e.ts for e in shift_changes(plant, begins - 1_000_000, begins)] == [begins]
    assert list(shift_changes(plant, begins, begins + 1_000_000)) == []
    assert [e.shift for e in shift_changes(plant, µs("2026-11-20T23:59:00"), µs("2026-11-21T23:59:00"))] == [
        "00:00", "08:00", "16:00",
    ]  # fmt: skip


def test_four_crews_share_the_shifts_in_eight_days(plant) -> None:
    start = datetime.fromisoformat("2026-11-01T00:00:00").replace(tzinfo=ZONE)
    until = start + timedelta(days=16)
    events = list(shift_changes(plant, round(start.timestamp() * 1e6) - 1, round(until.timestamp() * 1e6) - 1))
    assert len(events) == 16 * 3
    crews = [event.crew for event in events]
    assert crews[:24] == crews[24:]  # a cycle of eight days
    for day in range(16):
        assert len(set(crews[3 * day : 3 * day + 3])) == 3  # nobody works twice a day, one crew is off
    for crew in "ABCD":
        worked = [(i // 3, events[i].shift) for i, name in enumerate(crews[:24]) if name == crew]
        assert len(worked) == 6
        assert sorted({shift for _, shift in worked}) == ["00:00", "08:00", "16:00"]
        assert all(sum(shift == s for _, shift in worked) == 2 for s in ("00:00", "08:00", "16:00"))
    # Nights, then days, then evenings, then off: never less than 16 hours between two shifts of a crew.
    last: dict[str, int] = {}
    for event in events:
        assert event.ts - last.get(event.crew, 0) >= 24 * 3_600_000_000
        last[event.crew] = event.ts
