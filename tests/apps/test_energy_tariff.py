"""Cost by the clock on the wall: worked figures, seasons, weekends, the days of 23 and 25 hours."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hefa_apps.energy.tariff import Slot, TariffError, adjustment, bill, months, parse, power_factor

BAOTOU = ZoneInfo("Asia/Shanghai")
BERLIN = ZoneInfo("Europe/Berlin")
HOURS = {
    "valley": [["00:00", "08:00"]],
    "flat": [["08:00", "10:00"], ["12:00", "17:00"], ["22:00", "24:00"]],
    "peak": [["10:00", "12:00"], ["17:00", "22:00"]],
}
BANDS = {"valley": 0.25, "flat": 0.45, "peak": 0.68}
EXAMPLE = {"currency": "CNY", "bands": BANDS, "calendar": [{"hours": HOURS}]}
SINCE = datetime(2020, 1, 1, tzinfo=UTC)


def slots(start: datetime, hours: int, kwh: float | None, minutes: int = 60) -> list[Slot]:
    step, first = timedelta(minutes=minutes), start.astimezone(UTC)
    share = None if kwh is None else kwh * minutes / 60
    return [Slot(first + i * step, first + (i + 1) * step, share) for i in range(hours * 60 // minutes)]


def day(*date: int, zone: ZoneInfo = BAOTOU) -> tuple[datetime, int]:
    """The start of a local day and how many hours it has."""
    start = datetime(*date, tzinfo=zone)
    end = (start + timedelta(days=1)).replace(tzinfo=zone)
    return start, int((end.astimezone(UTC) - start.astimezone(UTC)) / timedelta(hours=1))


def test_worked_example() -> None:
    found = bill(slots(datetime(2026, 3, 2, tzinfo=BAOTOU), 24, 1900.0), [(SINCE, parse(EXAMPLE))], BAOTOU)
    assert (found.kwh, found.energy) == pytest.approx((45_600, 20_539))
    assert found.mean == pytest.approx(0.45042, abs=5e-6)
    assert [(b.band, b.hours, b.kwh) for b in found.bands] == [
        ("valley", 8, 15_200), ("flat", 9, 17_100), ("peak", 7, 13_300),
    ]  # fmt: skip


@pytest.mark.parametrize(("date", "length"), [((2026, 3, 29), 23), ((2026, 10, 25), 25), ((2026, 6, 1), 24)])
def test_days_of_23_and_25_hours_are_priced_by_the_wall_clock(date: tuple[int, int, int], length: int) -> None:
    start, hours = day(*date, zone=BERLIN)
    assert hours == length
    found = bill(slots(start, hours, 100.0), [(SINCE, parse(EXAMPLE))], BERLIN)
    by = {b.band: b.hours for b in found.bands}
    assert by == {"valley": 8 + length - 24, "flat": 9, "peak": 7}  # the clock is moved at night
    assert found.kwh == pytest.approx(100 * length)


def test_the_first_rule_that_fits_decides() -> None:
    flat = {"flat": [["00:00", "24:00"]]}
    document = EXAMPLE | {
        "calendar": [{"months": [7, 8], "hours": {"peak": [["00:00", "24:00"]]}}, {"days": "weekend", "hours": flat}, {"hours": HOURS}],
        "holidays": {"2026-10-01": "sun"},
    }  # fmt: skip
    tariff = parse(document)
    at = lambda *when: tariff.band(datetime(*when, tzinfo=BAOTOU))  # noqa: E731
    assert at(2026, 7, 4, 3) == "peak"
    assert at(2026, 6, 6, 3) == "flat"  # a Saturday
    assert at(2026, 6, 5, 3) == "valley"
    assert at(2026, 10, 1, 3) == "flat"  # a Thursday that counts as a Sunday
    assert at(2026, 6, 5, 23, 59) == "flat"


def test_prices_change_on_their_day() -> None:
    start = datetime(2026, 3, 31, 12, tzinfo=BAOTOU)
    dearer = parse(EXAMPLE | {"bands": {band: 2 * price for band, price in BANDS.items()}})
    dated = [(SINCE, parse(EXAMPLE)), (datetime(2026, 4, 1, tzinfo=BAOTOU).astimezone(UTC), dearer)]
    found = bill(slots(start, 24, 10.0), dated, BAOTOU)
    old = 10 * (5 * 0.45 + 5 * 0.68 + 2 * 0.45)
    new = 20 * (8 * 0.25 + 2 * 0.45 + 2 * 0.68)
    assert found.energy == pytest.approx(old + new)
    assert [(b.band, b.price) for b in found.bands] == [
        ("valley", 0.5), ("flat", 0.45), ("flat", 0.9), ("peak", 0.68), ("peak", 1.36),
    ]  # fmt: skip


def test_a_month_of_capacity_is_shared_out_by_time() -> None:
    tariff = parse(EXAMPLE | {"capacity": {"price": 28, "unit": "kV.A"}, "power_factor": 0.9})
    one = bill(slots(datetime(2026, 4, 1, tzinfo=BAOTOU), 24, 100.0), [(SINCE, tariff)], BAOTOU, demand=900.0)
    assert one.months == pytest.approx(1 / 30)
    assert one.capacity == pytest.approx(28 * 900 / 30)  # the power factor is not known: kV.A are at least kW
    whole = bill(
        slots(datetime(2026, 4, 1, tzinfo=BAOTOU), 720, 100.0), [(SINCE, tariff)], BAOTOU, demand=900.0, reactive=72_000 * 0.75
    )  # fmt: skip
    assert whole.power_factor == pytest.approx(0.8)
    assert whole.capacity == pytest.approx(28 * 900 / 0.8)
    assert whole.adjustment == pytest.approx(0.05 * (whole.energy + whole.capacity))
    assert whole.total == pytest.approx(1.05 * (whole.energy + whole.capacity))
    spans = months(datetime(2026, 1, 16, tzinfo=BAOTOU), datetime(2026, 3, 1, tzinfo=BAOTOU), BAOTOU)
    assert [share for _, _, share in spans] == pytest.approx([16 / 31, 1.0])


@pytest.mark.parametrize(
    ("factor", "share"),
    [(0.90, 0.0), (0.91, -0.0015), (0.95, -0.0075), (1.0, -0.0075), (0.85, 0.025), (0.70, 0.10), (0.65, 0.15), (0.63, 0.19)],
)  # fmt: skip
def test_power_factor_adjustment(factor: float, share: float) -> None:
    assert adjustment(factor, 0.9) == pytest.approx(share)


def test_own_steps_of_the_power_factor() -> None:
    steps = parse(EXAMPLE | {"power_factor": {"target": 0.9, "steps": [[0.8, 0.0], [0.0, 0.2]]}}).steps
    assert adjustment(0.85, 0.9, steps) == 0.0
    assert adjustment(0.4, 0.9, steps) == 0.2


def test_what_is_not_known_costs_nothing_and_is_told() -> None:
    start = datetime(2026, 3, 2, tzinfo=BAOTOU)
    found = bill(
        [*slots(start, 8, 100.0), *slots(start + timedelta(hours=8), 16, None)], [(SINCE, parse(EXAMPLE))], BAOTOU
    )
    assert found.energy == pytest.approx(200.0)
    assert {b.band: (b.kwh, b.known_hours, b.hours) for b in found.bands}["peak"] == (None, 0, 7)
    nothing = bill(slots(start, 24, None), [(SINCE, parse(EXAMPLE))], BAOTOU)
    assert (nothing.kwh, nothing.energy, nothing.total, nothing.mean) == (None, None, None, None)
    assert power_factor(None, 3.0) is None
    assert power_factor(0.0, 3.0) is None


def test_the_bucket_suits_the_bands_and_the_zone() -> None:
    when = datetime(2026, 6, 1, tzinfo=UTC)
    assert parse(EXAMPLE).step(BAOTOU, when) == "1h"
    assert parse(EXAMPLE).step(ZoneInfo("Asia/Kolkata"), when) == "15m"
    halves = {"valley": [["00:00", "08:30"]], "peak": [["08:30", "24:00"]]}
    assert parse(EXAMPLE | {"calendar": [{"hours": halves}]}).step(BAOTOU, when) == "15m"
    odd = {"valley": [["00:00", "08:05"]], "peak": [["08:05", "24:00"]]}
    assert parse(EXAMPLE | {"calendar": [{"hours": odd}]}).step(BAOTOU, when) == "1m"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"bands": {}}, "no price"),
        ({"bands": None}, "needs `bands`"),
        ({"calendar": []}, "at least one rule"),
        ({"calendar": [{"hours": {"valley": [["00:00", "08:00"]]}}]}, "without gap"),
        ({"calendar": [{"hours": {"valley": [["00:00", "13:00"]], "peak": [["12:00", "24:00"]]}}]}, "overlap"),
        ({"calendar": [{"hours": {"night": [["00:00", "24:00"]]}}]}, "no price"),
        ({"calendar": [{"months": [1], "hours": HOURS}]}, "every month"),
        ({"calendar": [{"days": "freeday", "hours": HOURS}]}, "days"),
        ({"calendar": [{"hours": {"valley": ["all day"]}}]}, "span of hours"),
        ({"calendar": ["x"]}, "hours"),
        ({"calendar": [{"hours": {"valley": 5}}]}, "span of hours"),
        ({"calendar": [{"days": 5, "hours": HOURS}]}, "days"),
        ({"capacity": 5}, "price"),
        ({"capacity": {"unit": "kW"}}, "price"),
        ({"holidays": {"soon": "sun"}}, "holidays"),
    ],
)
def test_a_tariff_that_cannot_be_read_says_what_to_change(change: dict[str, object], says: str) -> None:
    with pytest.raises(TariffError, match=says):
        parse(EXAMPLE | change)


@given(st.lists(st.floats(0, 1e4), min_size=1, max_size=60), st.integers(0, 23), st.sampled_from([BAOTOU, BERLIN]))
def test_bands_add_up_and_a_single_price_is_just_energy(kwh: list[float], hour: int, zone: ZoneInfo) -> None:
    start = datetime(2026, 3, 28, hour, tzinfo=UTC)
    found = bill(
        [Slot(start + timedelta(hours=i), start + timedelta(hours=i + 1), e) for i, e in enumerate(kwh)],
        [(SINCE, parse(EXAMPLE | {"bands": dict.fromkeys(BANDS, 0.5)}))],
        zone,
    )
    assert found.kwh == pytest.approx(sum(kwh))
    assert found.energy == pytest.approx(0.5 * sum(kwh))
    assert sum(b.hours for b in found.bands) == len(kwh)
