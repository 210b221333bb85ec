"""What each fault promises: tags that move, tags that stay, on the plant as it is; and what a bad catalogue is told."""

from functools import cache
from pathlib import Path

import msgspec
import numpy as np
import pytest

from hefa_contract.event import Fault, MeterSwap
from hefa_contract.plant import Plant, load
from hefa_edge import catalogue, episodes
from hefa_edge.catalogue import Catalogue, FaultError, duration
from hefa_edge.config import read_seeds
from hefa_edge.episodes import Episode, Troubles
from hefa_edge.plant import behaviour
from hefa_edge.plant.disturbances import Disturbances
from hefa_edge.plant.flowsheet import GRID, DynamicPlant
from hefa_edge.plant.substances import CONSERVED
from hefa_edge.simulation import Simulation

TEXTS = read_seeds(Path(__file__).resolve().parents[2] / "seeds")
START = 1_795_000_020_000_000 // GRID * GRID
LONGEST = 1200  # minutes


@cache
def the_plant() -> Plant:
    return load(TEXTS)


@cache
def known() -> Catalogue:
    return catalogue.read(TEXTS, the_plant())


class Stage:
    """One plant that plays what it is told; it is built once, for that is the slow part."""

    troubles: Troubles | None = None


@cache
def model() -> DynamicPlant:
    def acting(ts: int) -> Disturbances:
        return Disturbances() if Stage.troubles is None else Stage.troubles.disturbances(ts)

    return DynamicPlant(the_plant(), behaviour.read(TEXTS), 1, acting)


def struck(fault: str) -> tuple[str, int]:
    """The fault's example, and the minutes after which it must be seen."""
    kind = known().faults[fault]
    return known().target(fault, kind.example), max(duration(kind.within or "30m") // GRID, 2)


def play(fault: str, minutes: int) -> np.ndarray:
    """Truth by minute, (minutes, tags)."""
    Stage.troubles = None
    if fault:
        target, _ = struck(fault)
        episode = Episode(fault=fault, target=target, severity=1.0, start=START)
        Stage.troubles = Troubles(known(), the_plant(), 1, injected=[episode])
    state, rows = model().initial(START), []
    for k in range(minutes):
        step = model().step(state, START + k * GRID, 60.0)
        state = step.state
        rows.append(step.truth)
    return np.array(rows)


@cache
def well() -> np.ndarray:
    return play("", LONGEST)


IN_THE_PLANT = [
    name
    for name, kind in known().faults.items()
    if kind.acts == "plant" or (kind.acts == "sensor" and kind.on == "fouling")
]


@pytest.mark.parametrize("fault", IN_THE_PLANT)
def test_a_fault_of_the_plant_moves_what_it_says_and_nothing_that_it_excludes(fault: str) -> None:
    target, minutes = struck(fault)
    ill, calm = play(fault, minutes), well()[:minutes]
    sigma = np.array([tag.noise_sd for tag in model().tags])
    at = {tag.name: i for i, tag in enumerate(model().tags)}
    moved = np.abs(ill - calm).max(axis=0)
    if known().faults[fault].acts == "plant":
        weak = [name for name in known().moved(fault, target) if moved[at[name]] <= 3 * sigma[at[name]]]
        assert weak == []
    still = known().still(fault, target)
    assert [name for name in still if moved[at[name]] != 0] == []
    assert still or fault == "power-dip"


def test_a_valve_that_sticks_is_seen_in_any_loop() -> None:
    """Its controller hunts even where nothing else changes, within the time of the promise."""
    _, minutes = struck("valve-stiction")
    calm = well()
    at = {tag.name: i for i, tag in enumerate(model().tags)}
    for loop in known().targets("valve-stiction"):
        episode = Episode(fault="valve-stiction", target=loop, severity=1.0, start=START)
        Stage.troubles = Troubles(known(), the_plant(), 1, injected=[episode])
        state = model().initial(START)
        off = {suffix: list[float]() for suffix in ("op", "pv")}
        for k in range(minutes):
            step = model().step(state, START + k * GRID, 60.0)
            state = step.state
            for suffix, seen in off.items():
                i = at[f"{loop}.{suffix}"]
                seen.append((step.truth[i] - calm[k, i]) / model().tags[i].noise_sd)
        for suffix, seen in off.items():
            assert max(map(abs, seen)) > 3, (loop, suffix)


@pytest.mark.parametrize("fault", IN_THE_PLANT)
def test_nothing_appears_and_nothing_vanishes_under_any_fault(fault: str) -> None:
    target, _ = struck(fault)
    episode = Episode(fault=fault, target=target, severity=1.0, start=START + 10 * GRID)
    Stage.troubles = Troubles(known(), the_plant(), 1, injected=[episode])
    state, ts = model().initial(START), START
    begin = state.books[0].held
    for seconds in (37.3, 601.0, 60.0, 1234.5, 1.0):
        step = model().step(state, ts, seconds)
        state, ts = step.state, ts + round(seconds * 1e6)
        assert np.isfinite(step.truth).all()
    books = model().books(state, ts)
    through = books.came_in.sum(axis=0) + begin
    lost = books.came_in.sum(axis=0) - books.went_out.sum(axis=0) - (books.held - begin)
    assert np.abs(lost[CONSERVED] / np.maximum(through[CONSERVED], 1.0)).max() < 1e-9


class Frozen:
    """A plant of which one tag swings slowly and counters run: what instruments make of it is seen at once."""

    def __init__(self) -> None:
        self.tags = tuple(the_plant().tags.values())
        self._normal = np.array([tag.normal for tag in self.tags])
        self._runs = np.array([tag.kind == "counter" for tag in self.tags])

    def initial(self, ts: int) -> int:
        return ts

    def step(self, state: int, ts: int, dt_s: float) -> object:
        from hefa_edge.plant import Step

        hours = (ts + dt_s * 1e6 - START) / 3.6e9
        truth = self._normal * np.where(self._runs, 1.0, 1.0 + 0.1 * np.sin(hours)) + np.where(self._runs, hours, 0.0)
        return Step(state, truth)

    def dump(self, state: int) -> dict:
        return {}

    def restore(self, document: dict, ts: int) -> int:
        return ts


def shown(
    fault: str, steps: range, seconds: int, tags: list | None = None
) -> tuple[dict[tuple[str, int], float], list]:
    """What is reported, all tags unless some are named; and events."""
    plant = Frozen()
    injected = []
    if fault:
        injected = [Episode(fault=fault, target=struck(fault)[0], severity=1.0, start=START)]
    troubles = Troubles(known(), the_plant(), 1, injected=injected)
    simulation = Simulation(plant, tags or plant.tags, 1, START, troubles)  # type: ignore[arg-type]
    found, events = {}, []
    for k in steps:
        tick = simulation.advance(START + k * seconds * 1_000_000)
        events += tick.events
        found.update(
            {(simulation.tags[c].name, tick.ts): v for c, v in zip(tick.tag, tick.value.tolist(), strict=True)}
        )
    return found, events


OF_INSTRUMENTS = [name for name, kind in known().faults.items() if kind.acts in ("sensor", "register")]


@pytest.mark.parametrize("fault", OF_INSTRUMENTS)
def test_a_fault_of_an_instrument_moves_its_tag_and_no_other(fault: str) -> None:
    target, minutes = struck(fault)
    tag = the_plant().tags[target]
    seconds, steps = (1, 3 * 3600) if fault == "sensor-spike" else (60, minutes + 1)
    calm, _ = shown("", range(1, steps + 1), seconds, [tag])
    ill, _ = shown(fault, range(1, steps + 1), seconds, [tag])
    both = calm.keys() & ill.keys()
    assert any(ill[key] != ill[key] or abs(ill[key] - calm[key]) > 3 * tag.noise_sd for key in both)
    others = [the_plant().tags[name] for name in known().still(fault, target)[::7]]
    assert len(others) > 3
    short = range(1, 4)
    calm_too = {k: v for k, v in shown("", short, 60, [tag, *others])[0].items() if k[0] != target}
    ill_too = {k: v for k, v in shown(fault, short, 60, [tag, *others])[0].items() if k[0] != target}
    assert calm_too == ill_too


def test_a_stuck_gauge_shows_one_value_and_calls_it_good() -> None:
    tag = the_plant().tags["A6-UTIL.WEATHER.WX-641.tamb"]
    found, _ = shown("sensor-stuck", range(1, 300), 60, [tag])
    assert len(set(found.values())) == 1


def test_a_changed_meter_goes_on_from_its_new_register_and_says_so() -> None:
    tag = the_plant().tags["A6-UTIL.METER.WM-SX.tot"]
    found, events = shown("meter-swap", range(61), 60, [tag])
    registers = [found[key] for key in sorted(found, key=lambda key: key[1])]
    assert registers[0] == 0.0
    assert registers[-1] == pytest.approx(1.0, abs=0.02)
    swaps = [event for event in events if type(event).__name__ == "MeterSwap"]
    assert [(swap.subject, swap.initial) for swap in swaps] == [(tag.name, 0.0)]
    assert msgspec.json.encode(swaps[0])
    assert swaps[0].final == pytest.approx(tag.normal, abs=0.02)
    assert all(type(event).__name__ != "MeterSwap" for event in shown("meter-reset", range(61), 60, [tag])[1])


def test_a_meter_that_was_changed_while_the_site_was_down_has_been_changed() -> None:
    """Once, by its last change, told when somebody looks again; a site that never looked before does not hear of it."""
    name = "A6-UTIL.METER.WM-SX.tot"
    tag = the_plant().tags[name]
    hour = 60 * GRID
    injected = [
        Episode(fault=fault, target=name, severity=1.0, start=START + k * hour, end=START + (k + 1) * hour)
        for fault, k in (("meter-reset", 2), ("meter-swap", 5))
    ]
    troubles = Troubles(known(), the_plant(), 1, injected=injected)
    plant = Frozen()
    first = Simulation(plant, [tag], 1, START, troubles)  # type: ignore[arg-type]
    before = first.advance(START + GRID)
    saved = msgspec.json.decode(msgspec.json.encode(first.dump()))
    again = Simulation(plant, [tag], 1, START + 9 * hour, troubles)  # type: ignore[arg-type]
    again.restore(saved, reported=False)
    again.skip(START + 10 * hour, tell=True)
    after = again.advance(START + 10 * hour + GRID)
    swaps = [event for event in after.events if isinstance(event, MeterSwap)]
    assert [(swap.subject, swap.initial) for swap in swaps] == [(name, 0.0)]
    assert swaps[0].final == pytest.approx(before.value[0] + 10, abs=0.05)
    assert after.value[0] == pytest.approx(0.0, abs=0.05)
    assert not [e for e in again.advance(START + 11 * hour).events if isinstance(e, MeterSwap)]
    fresh = Simulation(plant, [tag], 1, START + 10 * hour, troubles)  # type: ignore[arg-type]
    assert not [e for e in fresh.advance(START + 10 * hour + GRID).events if isinstance(e, MeterSwap)]


@pytest.mark.parametrize(("fault", "days"), [("sensor-bias", 0), ("ph-probe-offset", 0), ("sensor-drift", 10)])
def test_a_controller_believes_the_electrode_that_it_has(fault: str, days: int) -> None:
    """What is shown comes back towards the set-point while the pH itself goes the other way."""
    tag = the_plant().tags["A1-FEED.DISS.R-103.ph"]
    target = tag.name if known().faults[fault].acts == "sensor" else tag.equipment
    episode = Episode(fault=fault, target=target, severity=1.0, start=START - days * 1440 * GRID)
    Stage.troubles = Troubles(known(), the_plant(), 1, injected=[episode])
    simulation = Simulation(model(), [tag], 1, START, Stage.troubles)
    for k in range(1, 5):
        tick = simulation.advance(START + k * 60 * GRID)
    truth = model().truth(simulation._state, simulation.ts)[[one.name for one in model().tags].index(tag.name)]
    shown = simulation._reporter._held[0]
    assert tick.ts == simulation.ts
    assert truth < tag.normal - 4 * tag.noise_sd
    assert abs(shown - tag.normal) < 0.6 * (shown - truth)


def test_a_stuck_electrode_leaves_its_controller_blind() -> None:
    Stage.troubles = None
    column = [one.name for one in model().tags].index("A1-FEED.DISS.R-103.ph")
    spread = {}
    for fault in ("", "sensor-stuck"):
        injected = [Episode(fault=fault, target="A1-FEED.DISS.R-103.ph", severity=1.0, start=START)] if fault else []
        Stage.troubles = Troubles(known(), the_plant(), 1, injected=injected)
        state, rows = model().initial(START), []
        for k in range(40):
            step = model().step(state, START + k * 10 * GRID, 600.0)
            state = step.state
            rows.append(step.truth[column])
        spread[fault] = np.std(rows)
    assert spread["sensor-stuck"] > 1.5 * spread[""]


@pytest.mark.parametrize("name", sorted(episodes.scenarios(TEXTS)))
def test_every_scenario_can_be_played(name: str) -> None:
    """From a little before its first fault of a week, a few hours: told, sound, and nothing lost."""
    week = START - START % (7 * 24 * 60 * GRID)
    troubles = episodes.troubles(TEXTS, the_plant(), known(), 1, name)
    first = next((label for label in troubles.labels(week, week + 7 * 1440 * GRID) if label.action == "start"), None)
    begin = week if first is None else first.ts // GRID * GRID - 10 * GRID
    Stage.troubles = troubles
    simulation = Simulation(model(), model().tags, 1, begin, troubles)
    held = model().books(simulation._state, begin).held
    told, spoilt = [], 0
    for k in range(1, 25):
        tick = simulation.advance(begin + k * 5 * GRID)
        told += [event for event in tick.events if isinstance(event, Fault)]
        spoilt += int((tick.quality == 0).sum())
        assert tick.tag.size > 0
    assert {rule.fault for rule in troubles.scenario.faults if not rule.every} <= {label.fault for label in told}
    assert first is None or first.fault in {label.fault for label in told}
    assert spoilt == 0 or name in ("normal-month", "busy-month")
    books = model().books(simulation._state, simulation.ts)
    through = books.came_in.sum(axis=0) + held
    lost = books.came_in.sum(axis=0) - books.went_out.sum(axis=0) - (books.held - held)
    assert np.abs(lost[CONSERVED] / np.maximum(through[CONSERVED], 1.0)).max() < 1e-9


def test_the_same_seed_fails_in_the_same_way() -> None:
    tag = the_plant().tags["A5-WWT.MVR1.MVR-511.u"]
    assert repr(shown("sensor-dropout", range(1, 50), 60, [tag])) == repr(
        shown("sensor-dropout", range(1, 50), 60, [tag])
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[x]\n", "missing required field"),
        ('[x]\ndescription=""\nsource=""\nacts="plant"\non="luck"\n', "luck"),
        ('[x]\ndescription=""\nsource=""\nacts="ghost"\non="wear"\n', "ghost"),
        ('[x]\ndescription=""\nsource=""\nacts="plant"\non="wear"\ntemplates=["ROCKET"]\n', "nothing in the plant"),
        ('[x]\ndescription=""\nsource=""\nacts="plant"\non="wear"\ntemplates=["FAN"]\nexample="P-1"\n', "FN-431"),
        ('[x]\ndescription=""\nsource=""\nacts="plant"\non="wear"\nwithin="soon"\n', "no duration"),
        (
            '[x]\ndescription=""\nsource=""\nacts="plant"\non="ambient"\nexample="HEFA-BT"\nmoves=["X.*"]\n',
            "matches moves",
        ),
        ("[x\n", "faults.toml"),
    ],
)
def test_a_bad_catalogue_is_told_what_is_wrong(text: str, said: str) -> None:
    with pytest.raises(FaultError, match=said):
        catalogue.read({catalogue.FILE: text}, the_plant())


def test_what_cannot_be_struck_is_told_what_can() -> None:
    with pytest.raises(FaultError, match="may strike P-131, P-132"):
        known().target("pump-bearing-wear", "TKN-401")
    with pytest.raises(FaultError, match="needs to know"):
        known().target("pump-bearing-wear", "")
    with pytest.raises(FaultError, match="there is no fault 'rust'"):
        known().target("rust", "P-241")
    assert known().target("weak-acid", "") == "HEFA-BT"
    assert known().target("pump-bearing-wear", "P-241") == "A2-SX.SXT.P-241"


def test_seeds_without_faults_have_none() -> None:
    assert catalogue.read({}, the_plant()).faults == {}


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("1d12h", 129_600), ("2.5h", 9000)])
def test_durations(text: str, seconds: int) -> None:
    assert duration(text) == seconds * 1_000_000
