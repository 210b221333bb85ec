"""Boards about the plant, made from its model: overview, energy, material, solvent extraction, one area.

Nothing here knows a name of the reference plant: main meters are those without a parent, a cascade is a line of four or
more equal units that measure pH, tanks are what shows a level and a volume.
"""

from collections import Counter

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import stat
from grafana_foundation_sdk.models import dashboard as models

from hefa_contract.model import Equipment, Plant, Tag
from hefa_contract.units import label
from hefa_grafana.frame import Site, board, choice
from hefa_grafana.panels import ORANGE, RED, Panels, limits, lines, number, profile, rows, steps
from hefa_grafana.query import literals, series

_ALARMS = """
SELECT raised_at AS time, priority, tag, description, level, limit_value AS "limit", value, unit, state
  FROM v_alarm
 WHERE state <> 'NORM' AND returned_at IS NULL AND {where}
 ORDER BY array_position(ARRAY['high', 'medium', 'low'], priority), raised_at DESC LIMIT 100
"""


def overview(site: Site) -> models.Dashboard:
    """Is the plant all right: supply, product, alarms, what is stale."""
    plant = site.plant
    supply = [(tag, plant.tags[tag.integrates]) for tag in _main(plant) if tag.integrates is not None]
    product = [tag for tag in _metered(plant) if tag.meter is not None and tag.meter.stream == "export"]
    now: list[stat.Panel] = [
        number("Alarms", "Excursions that have not returned.",
               "SELECT count(*) AS value FROM v_alarm WHERE state <> 'NORM' AND returned_at IS NULL", "{count}",
               colours=steps((1, ORANGE), (20, RED)), width=4),
        number("Stale tags", "Tags without a reading for two heartbeats: a dead sensor, gateway or line.",
               "SELECT count(*) AS value FROM v_latest WHERE stale", "{count}",
               colours=steps((1, ORANGE), (50, RED)), width=4),
        number("Bad values", "Newest readings of quality bad: the instrument itself says not to use them.",
               "SELECT count(*) AS value FROM v_latest WHERE quality < 64 AND NOT stale", "{count}",
               colours=steps((1, ORANGE), (50, RED)), width=4),
    ]  # fmt: skip
    for meter, rate in supply:
        now.append(
            number(
                f"{_carrier(meter)} now",
                f"{rate.description or rate.name} ({rate.name}), the newest reading. Coloured by its alarm limits.",
                f"SELECT value FROM v_latest WHERE tag = {literals([rate.name])}",
                rate.ucum,
                colours=limits(rate),
                decimals=1,
            )
        )
    trends = [
        lines(
            f"{_carrier(meter)}",
            f"{rate.name}: mean over each step, weighted by time. Dashed: alarm limits.",
            series(f"tag = {literals([rate.name])}", "tag"),
            rate.ucum,
            colours=limits(rate),
        )
        for meter, rate in supply
    ]
    sections: list[tuple[str, Panels]] = [
        ("Now", now),
        ("Supply", trends),
        (
            "Product and alarms",
            [
                lines(
                    "Product by hour",
                    "What was packed in each hour, in kg of product, by the packing scales. Registers' increments.",
                    _consumption(f"tag IN ({literals([tag.name for tag in product])})", "medium"),
                    "kg",
                    stacked=True,
                ),
                rows(
                    "Active alarms",
                    "Excursions that have not returned, most urgent first; acknowledge and shelve them in the portal.",
                    _ALARMS.format(where="true"),
                    nothing="no active alarm",
                ),
                rows(
                    "Areas",
                    "Each area: tags, how many of them are stale or bad, and active alarms.",
                    """
SELECT l.area, count(*) AS tags, count(*) FILTER (WHERE l.stale) AS stale,
       count(*) FILTER (WHERE l.quality < 64) AS bad, coalesce(max(a.alarms), 0) AS alarms
  FROM v_latest l
  LEFT JOIN (SELECT area, count(*) AS alarms FROM v_alarm
              WHERE state <> 'NORM' AND returned_at IS NULL GROUP BY area) a USING (area)
 GROUP BY l.area ORDER BY l.area
""",
                    width=24,
                    height=7,
                    links={"area": ("Open the area", "/d/hefa-area?var-area=${__value.raw}")},
                ),
            ],
        ),
    ]
    return board(site, "hefa-overview", "Plant overview", "Supply, product, alarms of the whole site.", sections)


def energy(site: Site) -> models.Dashboard | None:
    """What each area used of each carrier, and what every meter counted; None for a plant that meters no supply."""
    plant = site.plant
    sections: list[tuple[str, Panels]] = []
    for carrier in dict.fromkeys(t.meter.carrier for t in _main(plant) if t.meter is not None and t.meter.carrier):
        billing = [
            t for t in _metered(plant)
            if t.meter is not None and t.meter.carrier == carrier and (t.meter.stream, t.meter.role) == ("supply", "billing")
        ]  # fmt: skip
        meters = f"tag IN ({literals([tag.name for tag in billing])})"
        unit = billing[0].meter.unit if billing[0].meter is not None else "1"
        sections.append(
            (
                carrier.capitalize(),
                [
                    lines(
                        f"{carrier.capitalize()} by hour and area served",
                        "Increments of billing meters, less what the meters below them counted: nothing twice. What no "
                        "meter below the main one saw stands at the site.",
                        _consumption(meters, "coalesce(area, 'site, not metered below')", "sum(net)"),
                        unit,
                        stacked=True,
                    ),
                    rows(
                        f"{carrier.capitalize()} meters",
                        "Each meter over the range: measured, estimated over gaps, and hours with an unknown amount. "
                        "value = measured + estimated; net leaves out what the meters below it counted.",
                        f"""
SELECT tag, serves, meter_parent AS parent, sum(value) AS value, sum(net) AS net, sum(measured) AS measured,
       sum(estimated) AS estimated, sum(unknown) AS unknown, min(unit) AS unit, 100 * avg(coverage) AS coverage
  FROM v_consumption_1h
 WHERE $__timeFilter(bucket) AND {meters}
 GROUP BY tag, serves, meter_parent ORDER BY 4 DESC NULLS LAST
""",
                        columns=dict.fromkeys(("value", "net", "measured", "estimated", "unknown"), unit)
                        | {"coverage": "%"},
                    ),
                ],
            )
        )
    if not sections:
        return None
    return board(
        site, "hefa-energy", "Energy", "Electricity, water, gas and steam by area and meter.", sections,
        since="now-24h", portal_path="/energy",
    )  # fmt: skip


def material(site: Site) -> models.Dashboard:
    """What was used of each material, what was made, and what stands in the tanks."""
    plant = site.plant
    booked = [t for t in _metered(plant) if t.meter is not None and t.meter.material and t.meter.role == "billing"]
    streams = {"supply": "used", "export": "made"}
    hourly = [
        lines(
            f"Materials {word} by hour",
            "In kg of pure substance: volume, strength and density are in the plant model. Registers' increments.",
            _consumption(f"tag IN ({literals([t.name for t in booked if t.meter and t.meter.stream == stream])})",
                         "medium", "sum(value)"),
            "kg",
            stacked=True,
        )
        for stream, word in streams.items()
        if any(t.meter and t.meter.stream == stream for t in booked)
    ]  # fmt: skip
    tanks = [f"{path}.vol" for path in plant.equipment if {f"{path}.vol", f"{path}.lvl"} <= plant.tags.keys()]
    levels = [name.removesuffix("vol") + "lvl" for name in tanks]
    sections: list[tuple[str, Panels]] = [
        (
            "Amounts",
            [
                *hourly,
                rows(
                    "Materials over the range",
                    "Each meter, in kg of pure substance: measured, estimated over gaps, unknown.",
                    f"""
SELECT medium AS material, stream, tag, serves, sum(value) AS value, sum(measured) AS measured,
       sum(estimated) AS estimated, sum(unknown) AS unknown, 100 * avg(coverage) AS coverage
  FROM v_consumption_1h
 WHERE $__timeFilter(bucket) AND tag IN ({literals([t.name for t in booked])})
 GROUP BY medium, stream, tag, serves ORDER BY medium, value DESC NULLS LAST
""",
                    width=24,
                    columns=dict.fromkeys(("value", "measured", "estimated", "unknown"), "kg") | {"coverage": "%"},
                ),
            ],
        ),
        (
            "Tanks",
            [
                rows(
                    "Levels now",
                    "Level, volume and limits of each tank; the fuller the earlier.",
                    f"""
SELECT l.equipment AS tank, l.value AS level, v.value AS volume, t.l AS low, t.h AS high, l.stale
  FROM v_latest l
  JOIN v_tag t USING (tag)
  LEFT JOIN v_latest v ON v.tag = l.equipment || '.vol'
 WHERE l.tag IN ({literals(levels)})
 ORDER BY l.value DESC NULLS LAST
""",
                    columns={"level": "%", "volume": "m3", "low": "%", "high": "%"},
                ),
                lines(
                    "Tank volumes",
                    "Volume in each tank, mean over each step, weighted by time.",
                    series(f"tag IN ({literals(tanks)})", "equipment"),
                    "m3",
                ),
            ],
        ),
    ]
    return board(
        site, "hefa-material", "Material", "Reagents, product and stocks.", sections,
        since="now-24h", portal_path="/material",
    )  # fmt: skip


def extraction(site: Site) -> models.Dashboard | None:
    """The cascades, stage by stage; None for a plant without one."""
    cascades = {line.path: stages for line in site.plant.lines if (stages := _stages(site.plant, line))}
    return _extraction(site, cascades) if cascades else None


def area(site: Site) -> models.Dashboard:
    """One area by variable: its lines' tags by unit of measure, alarms, everything's newest value."""
    plant = site.plant
    found = Counter(t.ucum for t in plant.tags.values() if t.kind in ("gauge", "setpoint"))
    of_line = "line = ${line:sqlstring} AND equipment IN (${equipment:sqlstring})"
    trends = [
        lines(
            _quantity(ucum),
            f"All tags of the chosen equipment in {label(ucum) or 'no unit'}: mean over each step, weighted by time.",
            series(
                f"tag = ANY (ARRAY(SELECT tag FROM v_tag WHERE {of_line} AND unit = {literals([ucum])} "
                "AND kind IN ('gauge', 'setpoint') AND NOT retired ORDER BY tag LIMIT 40))",
                "tag",
            ),
            ucum,
            nothing="no tag of this unit here, or no data in this range",
        )
        for ucum, _ in sorted(found.items(), key=lambda item: (-item[1], item[0]))[:16]
    ]
    sections: list[tuple[str, Panels]] = [
        (
            "Now",
            [
                rows(
                    "Newest values",
                    "Every tag of the chosen equipment: newest reading, its age, its alarm limits. Stale: older than "
                    "two heartbeats.",
                    """
SELECT l.tag, t.description, coalesce(l.state, round(l.value::numeric, 3)::text) AS value, l.unit, l.quality, l.age_s,
       l.stale, t.ll, t.l, t.h, t.hh
  FROM v_latest l JOIN v_tag t USING (tag)
 WHERE l.line = ${line:sqlstring} AND l.equipment IN (${equipment:sqlstring})
 ORDER BY l.tag
""",
                    width=16,
                    height=12,
                    columns={"age_s": "s"},
                ),
                rows(
                    "Active alarms of the area",
                    "Excursions that have not returned, most urgent first.",
                    _ALARMS.format(where="area = ${area:sqlstring}"),
                    width=8,
                    height=12,
                    nothing="no active alarm",
                ),
            ],
        ),
        ("Trends", trends),
    ]
    return board(
        site,
        "hefa-area",
        "Area",
        "One area, one line of it, and what it measures.",
        sections,
        variables=[
            choice("area", "Area", "SELECT DISTINCT area FROM v_tag WHERE area IS NOT NULL ORDER BY 1"),
            choice("line", "Line", "SELECT DISTINCT line FROM v_tag WHERE area = ${area:sqlstring} AND line IS NOT NULL ORDER BY 1"),
            choice("equipment", "Equipment", "SELECT DISTINCT equipment FROM v_tag WHERE line = ${line:sqlstring} ORDER BY 1", everything=True),
        ],
    )  # fmt: skip


def _extraction(site: Site, cascades: dict[str, list[Equipment]]) -> models.Dashboard:
    plant = site.plant
    first = next(iter(cascades.values()))[0]
    measured = [tag for tag in plant.tags_below(first.path) if tag.kind == "gauge"]
    profiles = []
    for tag in measured:
        which = f"l.line = ${{cascade:sqlstring}} AND t.template = {literals([tag.template])} AND l.tag = l.equipment || '.{tag.suffix}'"
        profiles.append(
            profile(
                f"{_title(tag)} by stage",
                "Now, against the mean of the last hour: a front that moves shows where the two differ. A stage "
                "without this instrument is left out.",
                f"""
SELECT t.equipment_name AS stage, l.value AS now,
       (SELECT sum(m.mean * m.coverage) / nullif(sum(m.coverage), 0) FROM v_series_1m m
         WHERE m.tag = l.tag AND m.bucket >= now() - interval '1 hour') AS "last hour"
  FROM v_latest l JOIN v_tag t USING (tag)
 WHERE {which}
 ORDER BY t.equipment_name
""",
                tag.ucum,
                by="stage",
            )
        )
    trends = [
        lines(
            _title(tag),
            "Every stage: mean over each step, weighted by time.",
            series(
                f"tag = ANY (ARRAY(SELECT tag FROM v_tag WHERE line = ${{cascade:sqlstring}} "
                f"AND template = {literals([tag.template])} AND tag = equipment || '.{tag.suffix}'))",
                "equipment",
            ),
            tag.ucum,
        )
        for tag in measured
    ]
    others = Counter(
        t.ucum
        for path in cascades
        for t in plant.tags.values()
        if _line_of(plant, t) == path and t.template != measured[0].template and t.kind == "gauge"
    )
    feeds = [
        lines(
            f"{_quantity(ucum)} of feeds, reagents and product",
            "What enters and leaves the cascade: mean over each step, weighted by time.",
            series(
                "tag = ANY (ARRAY(SELECT tag FROM v_tag WHERE line = ${cascade:sqlstring} "
                f"AND template <> {literals([measured[0].template])} AND unit = {literals([ucum])} AND kind = 'gauge'))",
                "tag",
            ),
            ucum,
        )
        for ucum, _ in sorted(others.items(), key=lambda item: (-item[1], item[0]))[:4]
    ]
    options = ", ".join(cascades)
    cascade = (
        build.CustomVariable("cascade")
        .label("Cascade")
        .values(options)
        .current(models.VariableOption(True, next(iter(cascades)), next(iter(cascades))))
        .options([models.VariableOption(at == 0, path, path) for at, path in enumerate(cascades)])
    )
    return board(
        site,
        "hefa-extraction",
        "Solvent extraction",
        "A cascade as its profile by stage, how it moved, and what is fed to it.",
        [("Profile", profiles), ("Stages over time", trends), ("Feeds", feeds)],
        variables=[cascade],
        portal_path="/live",
    )


def _stages(plant: Plant, line: Equipment) -> list[Equipment]:
    """The stages of a cascade, in order; empty where the line is none."""
    units = plant.children(line.path)
    measures = Counter(unit.template for unit in units if f"{unit.path}.ph" in plant.tags)
    for template, count in measures.most_common(1):
        if count >= 4:
            return [unit for unit in units if unit.template == template]
    return []


def _line_of(plant: Plant, tag: Tag) -> str | None:
    unit = plant.equipment.get(tag.equipment)
    return unit.parent if unit is not None else None


def _metered(plant: Plant) -> list[Tag]:
    return [tag for tag in plant.tags.values() if tag.meter is not None]


def _main(plant: Plant) -> list[Tag]:
    """Meters of the site's supply of carriers."""
    return [
        tag
        for tag in _metered(plant)
        if tag.meter is not None and tag.meter.carrier and tag.meter.stream == "supply" and tag.meter.parent is None
    ]


def _carrier(tag: Tag) -> str:
    assert tag.meter is not None
    return (tag.meter.carrier or tag.meter.material or tag.name).capitalize()


def _consumption(which: str, metric: str, value: str = "sum(value)") -> str:
    """Amounts by hour of the meters that `which` names."""
    return f"""
SELECT $__timeGroupAlias(bucket, '1h', NULL), {metric} AS metric, {value} AS value
  FROM v_consumption_1h
 WHERE $__timeFilter(bucket) AND {which}
 GROUP BY 1, 2
HAVING {value} IS NOT NULL
 ORDER BY 1, 2
"""


def _title(tag: Tag) -> str:
    """What a tag measures, as a title begins."""
    text = tag.description or tag.suffix
    return text if text.startswith("pH") else text[:1].upper() + text[1:]


def _quantity(ucum: str) -> str:
    """A panel's title for all tags of a unit."""
    known = {
        "Cel": "Temperature", "%": "Level, opening, humidity", "m3/h": "Flow", "A": "Current", "kW": "Power",
        "kPa": "Pressure", "mm/s": "Vibration", "[pH]": "pH", "g/L": "Concentration", "mm": "Interface level",
        "V": "Voltage", "mg/L": "Traces", "Hz": "Frequency", "m3{n}/h": "Gas flow", "m3": "Volume", "t/h": "Mass flow",
        "kg/h": "Mass rate", "1": "Ratio", "kV.A{reactive}": "Reactive power", "ms": "Round trip",
        "{NTU}": "Turbidity", "mg/m3": "Emissions", "{count}": "Count",
    }  # fmt: skip
    name, unit = known.get(ucum, "Values"), label(ucum)
    return f"{name} ({unit})" if unit and unit != name else name
