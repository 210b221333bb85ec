import re
from datetime import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hefa_contract.plant import Plant, PlantError, load

# A plant small enough to break: one area, one pump with a meter, one tank.
SMALL = {
    "plant.toml": """
[enterprise]
name = "ENT"
description = "an enterprise"
[site]
name = "SITE"
description = "a site"
timezone = "Europe/Berlin"
plantday = 06:00:00
shifts = [06:00:00, 14:00:00, 22:00:00]
[users]
S = "shift leader"
E = "energy engineer"
[areas.A]
description = "an area"
[areas.A.lines.L1]
description = "a line"
[areas.A.lines.L1.units]
P-1 = {template = "PUMP", flow = 10, what = "brine", source = "datasheet"}
P-2 = {template = "PUMP", flow = 20, what = "water", without = ["vib"], override = {flow = {limits = ["-", 5, "-", "-"]}}}
M-1 = {template = "METER", of = "A.L1.P-1", description = "meter of P-1"}
M-2 = {template = "METER", of = "A.L1.P-2"}
""",
    "templates/machines.toml": """
[PUMP]
description = "a pump"
source = "estimate"
[PUMP.parameters]
flow = {type = "number", description = "design flow, m3/h"}
head = {type = "number", description = "head, m", default = 20}
what = {type = "text", description = "what it pumps"}
[PUMP.tags]
run = {description = "running", kind = "state", states = {0 = "stop", 1 = "run"}, normal = 1, users = "S"}
flow = {description = "{what} flow", ucum = "m3/h", normal = "flow", range = {times = [0, 2]}, noise = {times = 0.005}, period = 2, limits = {times = ["-", 0.8, 1.25, 1.5]}, users = "SE"}
pow = {description = "power", ucum = "kW", normal = {of = "head", times = 0.11, plus = 0.05, decimals = 1}, range = [0, 30], noise = 0.1, period = 5, users = "E", core = false}
vib = {like = "flow", description = "vibration", ucum = "mm/s", normal = 1.8, range = [0, 25], noise = 0.08, source = "standard"}
sp = {description = "set-point", ucum = "m3/h", kind = "setpoint", normal = "flow", range = {of = "flow", plus = [-1, 5]}, users = "S"}
hrs = {description = "hours", kind = "counter", ucum = "h", normal = 8000, period = 3600, integrates = "run", resolution = 0.01, users = "S"}
""",
    "templates/meters.toml": """
[METER]
description = "a flow meter"
source = "computed"
[METER.parameters]
of = {type = "text", description = "path of the pump"}
[METER.tags]
tot = {description = "total", kind = "counter", ucum = "m3", normal = 5, period = 60, integrates = "{of}.flow", resolution = 0.01, users = "E"}
""",
    "meters.toml": """
[carriers.water]
unit = "m3"
source = "drawing"
[carriers.water.meters]
"A.L1.M-1.tot" = {serves = "SITE"}
"A.L1.M-2.tot" = {serves = "A.L1", parent = "A.L1.M-1.tot"}
[materials]
""",
    "edges.toml": """
[edges.gw-1]
description = "a gateway"
serves = ["A"]
[edges.gw-2]
description = "the gateway of P-2"
serves = ["A.L1.P-2"]
[edges.api]
description = "REST"
""",
}


@pytest.fixture(scope="module")
def small() -> Plant:
    return load(SMALL)


def test_a_templates_figures_follow_the_units_parameters(small: Plant) -> None:
    tag = small.tags["A.L1.P-1.flow"]
    assert (tag.normal, tag.low, tag.high, tag.noise_sd) == (10.0, 0.0, 20.0, 0.05)
    assert (tag.ll, tag.l, tag.h, tag.hh) == (None, 8.0, 12.5, 15.0)
    assert (tag.area, tag.line, tag.unit, tag.suffix, tag.equipment) == ("A", "L1", "P-1", "flow", "A.L1.P-1")
    assert (tag.description, tag.ucum, tag.kind, tag.users, tag.core) == (
        "brine flow",
        "m3/h",
        "gauge",
        ("S", "E"),
        True,
    )
    assert small.tags["A.L1.P-2.flow"].normal == 20.0
    # 20 m x 0.11 + 0.05, to one decimal; the head is the template's default.
    assert small.tags["A.L1.P-1.pow"].normal == 2.2
    assert small.tags["A.L1.P-1.sp"].low == 9.0


def test_figures_are_free_of_binary_noise(small: Plant) -> None:
    assert str(load(changed("plant.toml", "flow = 10,", "flow = 1.4,")).tags["A.L1.P-1.sp"].low) == "0.4"


def test_like_takes_what_it_does_not_say(small: Plant) -> None:
    tag = small.tags["A.L1.P-1.vib"]
    assert (tag.ucum, tag.normal, tag.period_s, tag.users) == ("mm/s", 1.8, 2.0, ("S", "E"))
    assert tag.hh == pytest.approx(1.8 * 1.5)  # limits by times follow the tag's own normal


def test_a_unit_may_leave_tags_out_and_say_fields_otherwise(small: Plant) -> None:
    assert "A.L1.P-2.vib" not in small.tags
    tag = small.tags["A.L1.P-2.flow"]
    assert (tag.ll, tag.l, tag.h, tag.hh) == (None, 5.0, None, None)
    assert tag.high == 40.0


def test_sources(small: Plant) -> None:
    sources = {tag.name: tag.source for tag in small.tags.values()}
    assert sources["A.L1.P-1.flow"] == "normal: datasheet; otherwise estimate"
    assert sources["A.L1.P-2.flow"] == "estimate"
    assert sources["A.L1.P-1.vib"] == "standard"  # a number of the template, no parameter of the unit
    assert sources["A.L1.M-1.tot"] == "computed"


@pytest.mark.parametrize(
    ("name", "heartbeat", "deadband"),
    [
        ("A.L1.P-1.flow", 60.0, 0.1),
        ("A.L1.P-1.run", 60.0, 0.0),
        ("A.L1.M-1.tot", 600.0, 0.0),
        ("A.L1.P-1.hrs", 3600.0, 0.0),
    ],
)
def test_what_a_gateway_reports_by(small: Plant, name: str, heartbeat: float, deadband: float) -> None:
    assert (small.tags[name].heartbeat_s, small.tags[name].deadband) == (heartbeat, deadband)


def test_counters(small: Plant) -> None:
    total, hours = small.tags["A.L1.M-1.tot"], small.tags["A.L1.P-1.hrs"]
    assert (total.integrates, total.per_hour, total.modulus, total.resolution) == ("A.L1.P-1.flow", 1.0, 1e7, 0.01)
    assert (total.low, total.high) == (0.0, 1e7)
    # 20 m3/h of range, and two steps of 0.01 m3 each minute.
    assert total.max_rate == pytest.approx(21.2)
    assert (hours.integrates, hours.max_rate) == ("A.L1.P-1.run", pytest.approx(1.02))
    assert small.tags["A.L1.P-1.flow"].max_rate is None


def test_a_counter_keeps_what_its_override_does_not_say() -> None:
    texts = changed("plant.toml", '"A.L1.P-2"}', '"A.L1.P-2", override = {tot = {resolution = 1}}}')
    texts["templates/meters.toml"] = SMALL["templates/meters.toml"].replace(
        "period = 60", "period = 60, max_rate = 77, per_hour = 2, modulus = 1e5"
    )
    tag = load(texts).tags["A.L1.M-2.tot"]
    assert (tag.resolution, tag.integrates, tag.max_rate) == (1.0, "A.L1.P-2.flow", 77.0)
    assert (tag.per_hour, tag.modulus, tag.high) == (2.0, 1e5, 1e5)


def test_states(small: Plant) -> None:
    tag = small.tags["A.L1.P-1.run"]
    assert (tag.states, tag.low, tag.high, tag.ucum, tag.period_s) == ({0: "stop", 1: "run"}, 0.0, 1.0, "1", 0.0)


def test_hierarchy(small: Plant) -> None:
    assert (small.enterprise, small.site, small.timezone) == ("ENT", "SITE", "Europe/Berlin")
    assert (small.plantday, small.shifts) == (time(6), (time(6), time(14), time(22)))
    assert list(small.equipment) == [
        "ENT", "SITE", "A", "A.L1", "A.L1.P-1", "A.L1.P-2", "A.L1.M-1", "A.L1.M-2",
    ]  # fmt: skip
    assert [item.path for item in small.children("ENT")] == ["SITE"]
    assert [(item.name, item.position) for item in small.children("A.L1")] == [
        ("P-1", 0), ("P-2", 1), ("M-1", 2), ("M-2", 3),
    ]  # fmt: skip
    assert small.equipment["A.L1.P-1"].description == "a pump"
    assert small.equipment["A.L1.M-1"].description == "meter of P-1"
    assert [item.level for item in small.equipment.values()][:4] == ["enterprise", "site", "area", "line"]
    assert [tag.name for tag in small.tags_below("A")] == list(small.tags)
    assert small.children("A.L1.P-1") == ()
    with pytest.raises(KeyError):
        small.children("A.L2")


def test_the_longest_path_decides_which_edge_serves(small: Plant) -> None:
    assert {tag.unit for tag in small.tags_of_edge("gw-1")} == {"P-1", "M-1", "M-2"}
    assert {tag.unit for tag in small.tags_of_edge("gw-2")} == {"P-2"}
    assert small.tags_of_edge("api") == ()
    with pytest.raises(KeyError):
        small.tags_of_edge("gw-3")


def test_meters(small: Plant) -> None:
    root, part = small.meters["A.L1.M-1.tot"], small.meters["A.L1.M-2.tot"]
    assert (root.carrier, root.material, root.stream, root.role, root.parent) == (
        "water",
        None,
        "supply",
        "billing",
        None,
    )
    assert (root.factor, root.unit, root.serves, root.source) == (1.0, "m3", "SITE", "drawing")
    assert (part.serves, part.parent) == ("A.L1", "A.L1.M-1.tot")
    assert small.tags["A.L1.M-1.tot"].meter is root


@pytest.mark.parametrize(
    ("row", "factor"),
    [
        ("share = 0.31, density = 1154", 357.74),
        ("density = 1000", 1000.0),
        ("molarity = 3.5", 127.6135),
    ],
)
def test_a_volume_counts_as_kg_of_pure_substance(row: str, factor: float) -> None:
    plant = load({**SMALL, "meters.toml": acid(row)})
    assert plant.meters["A.L1.M-1.tot"].factor == pytest.approx(factor, rel=1e-12)
    assert plant.meters["A.L1.M-1.tot"].material == "HCl"


def acid(row: str) -> str:
    return f"""
[carriers]
[materials.HCl]
unit = "kg"
molar_mass = 36.461
source = "handbook"
[materials.HCl.meters]
"A.L1.M-1.tot" = {{serves = "A.L1", {row}}}
"""


# --- the hash --------------------------------------------------------------------------------------------------------


def changed(file: str, old: str, new: str) -> dict[str, str]:
    assert old in SMALL[file]
    return {**SMALL, file: SMALL[file].replace(old, new, 1)}


def test_the_hash_follows_the_model_and_nothing_else(small: Plant) -> None:
    assert load(dict(reversed(SMALL.items()))).hash == small.hash
    assert load({**SMALL, "tariff.toml": "x = 1", "README.md": "text"}).hash == small.hash
    assert load(changed("plant.toml", "flow = 10,", "flow = 11,")).hash != small.hash
    assert re.fullmatch("[0-9a-f]{64}", small.hash)
    # Two files, or one that says the same characters in a comment.
    two = {**SMALL, "templates/x.toml": "#", "templates/y.toml": ""}
    assert load(two).hash != load({**SMALL, "templates/x.toml": "#templates/y.toml"}).hash


# --- every mistake is told: file, key, what is wrong and what is allowed ---------------------------------------------

PLANT, MACHINES, METERS, EDGES = "plant.toml", "templates/machines.toml", "meters.toml", "edges.toml"


@pytest.mark.parametrize(
    ("file", "old", "new", "told"),
    [
        (PLANT, "[site]", "[site", "plant.toml: is not TOML"),
        (PLANT, 'timezone = "Europe/Berlin"', 'timezone = "Europe/Bonn"', "site.timezone: 'Europe/Bonn' is not an IANA"),
        (PLANT, 'timezone = "Europe/Berlin"', "", "site.timezone: is missing; it must be a text"),
        (PLANT, "plantday = 06:00:00", 'plantday = "6 am"', "site.plantday: '6 am' is not a local time"),
        (PLANT, "[06:00:00, 14", "[15:00:00, 14", "site.shifts: must be in the order of the day"),
        (PLANT, "shifts = [06:00:00, 14:00:00, 22:00:00]", "shifts = []", "site.shifts: must be a list of local times"),
        (PLANT, "[users]", "[users]\nXY = 'two'", "users.XY: must be one letter"),
        (PLANT, "[users]", "[colours]\nred = 1\n[users]", "colours: unknown key; allowed here: users, enterprise, site, areas"),
        (PLANT, 'template = "PUMP", flow = 10', 'template = "PUMPE", flow = 10',
         "areas.A.lines.L1.units.P-1.template: 'PUMPE' is not allowed; allowed: PUMP, METER"),
        (PLANT, "flow = 10, ", "", "units.P-1.flow: is missing; it must be a number"),
        (PLANT, "flow = 10,", "flow = '10',", "units.P-1.flow: '10' is not a number"),
        (PLANT, "flow = 10,", "flow = true,", "units.P-1.flow: True is not a number"),
        (PLANT, "flow = 10,", "flow = nan,", "units.P-1.flow: nan is not a number"),
        (PLANT, "flow = 10,", "flow = 10, colour = 'red',", "units.P-1.colour: unknown key; allowed here: template, "),
        (PLANT, "flow = 10,", "flow = -10,", "units.P-1.flow: the range 0..-20 is empty"),
        (PLANT, "flow = 10,", "flow = -10,", "units.P-1.flow: the limits LL, L, H, HH must rise; they are -8, -12.5, -15"),
        (PLANT, "flow = 10,", "flow = -10,", "units.P-1.flow: the noise -0.05 is negative"),
        (PLANT, 'without = ["vib"]', 'without = ["vim"]', "units.P-2.without: 'vim' is no tag of PUMP; allowed: run, flow"),
        (PLANT, "override = {flow =", "override = {flaw =", "units.P-2.override.flaw: is no tag of this unit; allowed: run"),
        (PLANT, '["-", 5, "-", "-"]', '["-", 5, "-"]', "override.flow.limits: must be a list of 4 figures"),
        (PLANT, "[areas.A.lines.L1.units]", '[areas.A.lines.L1.units]\n"P.9" = {template = "PUMP"}', "the name 'P.9' may hold"),
        (PLANT, "[areas.A]", '[areas.SITE]\ndescription=""\nlines={}\n[areas.A]', "'SITE' is the name of the site already"),
        (PLANT, 'of = "A.L1.P-1"', 'of = "A.L1.P-9"', "units.M-1.tot: integrates 'A.L1.P-9.flow', which is no gauge"),
        (MACHINES, 'ucum = "kW"', 'ucum = "kilowatt"', "PUMP.tags.pow.ucum: 'kilowatt' is not a UCUM code"),
        (MACHINES, 'kind = "state"', 'kind = "stat"', "'stat' is not allowed; allowed: gauge, counter, state, setpoint"),
        (MACHINES, 'users = "SE"', 'users = "SX"', "PUMP.tags.flow.users: 'X' is no user of the plant file; allowed: S, E"),
        (MACHINES, 'like = "flow"', 'like = "flaw"', "PUMP.tags.vib.like: 'flaw' is no earlier tag"),
        (MACHINES, "period = 5", "perod = 5", "PUMP.tags.pow.perod: unknown key"),
        (MACHINES, "period = 5", "period = -5", "PUMP.tags.pow.period: must not be negative"),
        (MACHINES, 'normal = "flow"', 'normal = "flaw"', "'flaw' is no number to start from; allowed: flow, head"),
        (MACHINES, 'of = "head"', 'of = "what"', "PUMP.tags.pow.normal.of: 'what' is no number to start from"),
        (MACHINES, "decimals = 1", "decimals = 1.5", "PUMP.tags.pow.normal.decimals: 1.5 is not a whole number"),
        (MACHINES, "range = [0, 30]", "range = [0, 30, 60]", "PUMP.tags.pow.range: must be a list of 2 figures"),
        (MACHINES, "range = [0, 30]", 'range = [0, "x"]', "PUMP.tags.pow.range: 'x' is not a number"),
        (MACHINES, "range = [0, 30]", "range = [30, 0]", "units.P-1.pow: the range 30..0 is empty"),
        (MACHINES, "range = [0, 30]", "range = [3, 30]", "units.P-1.pow: the normal value 2.2 is outside the range 3..30"),
        (MACHINES, '"-", 0.8, 1.25', '"-", 1.3, 1.25', "units.P-1.flow: the limits LL, L, H, HH must rise"),
        (MACHINES, '{0 = "stop"', '{off = "stop"', "PUMP.tags.run.states.off: 'stop': a state is a whole number"),
        (MACHINES, '{0 = "stop", 1 = "run"}', "{}", "the normal value 1 is outside the range 0..0"),
        (MACHINES, '"{what} flow"', '"{wath} flow"', "PUMP.tags.flow.description: {wath} is no text parameter; allowed: what"),
        (MACHINES, "resolution = 0.01", "resolution = 0", "units.P-1.hrs: a counter needs a period, 0 < resolution"),
        (MACHINES, "resolution = 0.01", "resolution = 0.01, per_hour = -1", "units.P-1.hrs: a counter needs a period"),
        (MACHINES, "resolution = 0.01", "resolution = 0.01, max_rate = 0", "units.P-1.hrs: the largest increment an hour, 0,"),
        (MACHINES, "resolution = 0.01", "resolution = 0.01, modulus = 1",
         "units.P-1.hrs: the register rolls over at 1 and may count 1.02 in one heartbeat of 3600 s"),
        (MACHINES, "resolution = 0.01", "resolution = 0.01, modulus = 50, max_rate = 50", "rolls over at 50 and may"),
        (MACHINES, "{times = [0, 2]}", "{times = [0, 2], plus = [0, 2]}", "PUMP.tags.flow.range.times: give either times or plus"),
        (MACHINES, "pow = {", "Pow = {", "PUMP.tags.Pow: a tag's name is a small letter"),
        (MACHINES, 'source = "estimate"', "", "PUMP.source: is missing"),
        (MACHINES, "head = {", "normal = {", "PUMP.parameters.normal: this name has a meaning of its own"),
        (MACHINES, "[PUMP.tags]", "[METER]\n[PUMP.tags]", "METER: another file has a template of this name"),
        (METERS, "[carriers.water]", "[carriers.wine]", "carriers.wine: is no carrier; allowed: electricity, water, gas"),
        (METERS, 'unit = "m3"', 'unit = "kg"', "'m3' measures volume and 'kg' measures mass"),
        (METERS, 'unit = "m3"', 'unit = "cubic"', "carriers.water.unit: 'cubic' is not a UCUM code"),
        (METERS, '"A.L1.M-2.tot"', '"A.L1.M-3.tot"', "carriers.water.meters.A.L1.M-3.tot: is no counter of the plant"),
        (METERS, '"A.L1.M-2.tot"', '"A.L1.P-2.flow"', "carriers.water.meters.A.L1.P-2.flow: is no counter of the plant"),
        (METERS, 'serves = "A.L1"', 'serves = "A.L2"', "M-2.tot.serves: 'A.L2' is no site, area, line or unit"),
        (METERS, 'parent = "A.L1.M-1.tot"', 'parent = "A.L1.M-9.tot"', "M-2.tot.parent: 'A.L1.M-9.tot' is no meter"),
        (METERS, '{serves = "SITE"}', '{serves = "SITE", parent = "A.L1.M-2.tot"}',
         "M-1.tot.parent: goes round in a circle: A.L1.M-1.tot > A.L1.M-2.tot > A.L1.M-1.tot"),
        (METERS, '{serves = "SITE"}', '{serves = "SITE", role = "check"}', "a check meter must name the meter"),
        (METERS, '{serves = "SITE"}', '{serves = "SITE", role = "check"}',
         "M-2.tot.parent: 'A.L1.M-1.tot' is a check meter; a parent must be a billing meter"),
        (METERS, "[materials]", '[materials.NaOH]\nunit = "m3"\nmeters = {"A.L1.M-1.tot" = {serves = "A", source = "x"}}',
         "materials.NaOH.meters.A.L1.M-1.tot: is a meter of another carrier or material already"),
        (METERS, '{serves = "SITE"}', '{serves = "SITE", density = 1, molarity = 1}', "or molarity, not both"),
        (METERS, '{serves = "SITE"}', '{serves = "SITE", role = "both"}', "'both' is not allowed; allowed: billing, check"),
        (METERS, '{serves = "SITE"}', '{serves = "SITE", stream = "reuse"}', "measures another carrier, material or stream"),
        (METERS, '{serves = "SITE"}', '{serves = "SITE", molarity = 1}', "needs the molar_mass (g/mol) of the material"),
        (METERS, '{serves = "SITE"}', '{serves = "SITE", share = 0}', "share, density, molarity and molar_mass must be above 0"),
        (EDGES, 'serves = ["A"]', 'serves = ["B"]', "edges.gw-1.serves: 'B' is no area, line or unit"),
        (EDGES, 'serves = ["A"]', 'serves = ["SITE"]', "edges.gw-1.serves: 'SITE' is no area, line or unit"),
        (EDGES, 'serves = ["A"]', 'serves = ["A", "A.L1.P-2"]', "edges.gw-2.serves: 'A.L1.P-2' is served by gw-1 already"),
        (EDGES, 'serves = ["A"]', 'serves = "A"', "edges.gw-1.serves: 'A' is not a list of texts"),
        (EDGES, 'serves = ["A"]', "serves = [1]", "edges.gw-1.serves: [1] is not a list of texts"),
        (EDGES, 'serves = ["A"]', "", "units.P-1: no edge serves this unit"),
        (EDGES, "[edges.gw-1]", "[edges.GW-1]", "edges.GW-1: an edge's name is"),
        (EDGES, "[edges.gw-1]", "[edges.ingest]", "edges.ingest: an edge's name is"),
    ],
)  # fmt: skip
def test_a_mistake_is_told(file: str, old: str, new: str, told: str) -> None:
    with pytest.raises(PlantError) as caught:
        load(changed(file, old, new))
    assert told in str(caught.value)
    assert all(problem.file in SMALL for problem in caught.value.problems)


def test_all_mistakes_are_told_at_once() -> None:
    texts = {
        **changed(PLANT, "flow = 10,", "flow = '10',"),
        METERS: changed(METERS, 'serves = "A.L1"', 'serves = "A.L2"')[METERS],
        EDGES: changed(EDGES, 'serves = ["A"]', 'serves = ["A", "B"]')[EDGES],
    }
    with pytest.raises(PlantError) as caught:
        load(texts)
    assert [(problem.file, problem.key) for problem in caught.value.problems] == [
        (EDGES, "edges.gw-1.serves"),
        (PLANT, "areas.A.lines.L1.units.P-1.flow"),
        (METERS, "carriers.water.meters.A.L1.M-2.tot.serves"),
    ]


def test_a_longer_tag_name_than_the_wire_carries() -> None:
    with pytest.raises(PlantError, match="is longer than 128 characters"):
        load(changed("plant.toml", "M-2 = {", f"M-{'2' * 128} = {{"))


@pytest.mark.parametrize("name", ["plant.toml", "meters.toml", "edges.toml"])
def test_a_missing_file(name: str) -> None:
    with pytest.raises(PlantError) as caught:
        load({file: text for file, text in SMALL.items() if file != name})
    assert [str(problem) for problem in caught.value.problems] == [f"{name}: the file is missing"]


TOKENS = sorted({token for text in SMALL.values() for token in re.findall(r'"[^"]*"|[\w.-]+|[\[\]{}=,]', text)})


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_whatever_is_written_the_loader_answers_with_a_plant_or_with_the_mistakes(data: st.DataObject) -> None:
    """Never another exception: a KeyError would tell the author of the seeds nothing."""
    file = data.draw(st.sampled_from(sorted(SMALL)))
    tokens = re.findall(r'"[^"]*"|[\w.-]+|[\[\]{}=,]|\s+', SMALL[file])
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(tokens) - 1))
        tokens[at] = data.draw(st.sampled_from(["", "1", "-1", "true", "[]", "{}", '""', '"x"', *TOKENS]))
    try:
        plant = load({**SMALL, file: "".join(tokens)})
    except PlantError as error:
        assert error.problems  # noqa: PT017 - either outcome is right
    else:
        assert plant.hash


# --- the reference plant ---------------------------------------------------------------------------------------------


def test_the_reference_plant(plant: Plant) -> None:
    assert (plant.enterprise, plant.site, plant.timezone) == ("NRE", "HEFA-BT", "Asia/Shanghai")
    assert (plant.plantday, plant.shifts) == (time(8), (time(0), time(8), time(16)))
    assert (len(plant.areas), len(plant.lines), len(plant.units), len(plant.tags)) == (6, 27, 187, 1103)
    assert sum(tag.core for tag in plant.tags.values()) == 752
    assert [area.path for area in plant.areas] == ["A1-FEED", "A2-SX", "A3-PPT", "A4-CALC", "A5-WWT", "A6-UTIL"]


def test_its_edges(plant: Plant) -> None:
    assert list(plant.edges) == [*(f"gw-a{n}" for n in range(1, 7)), "gw-guest", "api"]
    for tag in plant.tags.values():
        number = tag.unit.removeprefix("GW-") if tag.template == "GATEWAY" else tag.area[1]
        assert tag.edge == f"gw-a{number}"
    assert plant.tags_of_edge("gw-guest") == plant.tags_of_edge("api") == ()
    # 121 tags of dissolution and the five that the gateway tells of itself.
    assert len(plant.tags_of_edge("gw-a1")) == 126
