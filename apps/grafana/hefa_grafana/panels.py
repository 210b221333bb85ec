"""Panels as this project draws them: a description, a unit, limits as colours, and a word for "nothing there".

Every builder returns the SDK's own, ready for `with_panel`. Widths are of Grafana's 24 columns.
"""

from collections.abc import Mapping, Sequence

from grafana_foundation_sdk.builders import barchart, stat, table, timeseries
from grafana_foundation_sdk.builders import common as looks
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as models

from hefa_contract.model import Tag
from hefa_grafana.query import DATASOURCE, Sql
from hefa_grafana.unit import grafana_unit

GREEN, ORANGE, RED, BLUE = "green", "orange", "red", "blue"
NOTHING = "no data in this range"


def steps(*above: tuple[float, str], base: str = GREEN) -> build.ThresholdsConfig:
    """Colours of a value: `base`, and another from each bound on; bounds rise."""
    levels = [models.Threshold(None, base), *(models.Threshold(value, colour) for value, colour in above)]
    return build.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(levels)


def limits(tag: Tag) -> build.ThresholdsConfig:
    """A tag's alarm limits: red beyond ll and hh, orange beyond l and h. Neutral where it has none."""
    if all(limit is None for limit in (tag.ll, tag.l, tag.h, tag.hh)):
        return steps(base=BLUE)
    base = GREEN if tag.ll is None and tag.l is None else RED if tag.ll is not None else ORANGE
    levels = [
        *([(tag.ll, GREEN if tag.l is None else ORANGE)] if tag.ll is not None else []),
        *([(tag.l, GREEN)] if tag.l is not None else []),
        *([(tag.h, ORANGE)] if tag.h is not None else []),
        *([(tag.hh, RED)] if tag.hh is not None else []),
    ]
    return steps(*levels, base=base)


def lines(
    title: str,
    description: str,
    sql: str,
    ucum: str,
    *,
    width: int = 12,
    height: int = 8,
    colours: build.ThresholdsConfig | None = None,
    stacked: bool = False,
    nothing: str = NOTHING,
) -> timeseries.Panel:
    """Lines over time. Where readings are missing the line is broken, whatever the range.

    `stacked`: bars of amounts per bucket, stacked, and their sums in the legend.
    """
    legend = (
        looks.VizLegendOptions()
        .show_legend(True)
        .display_mode(common.LegendDisplayMode.TABLE)
        .placement(common.LegendPlacement.BOTTOM)
        .calcs(["sum"] if stacked else ["lastNotNull", "min", "max"])
    )
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .with_target(Sql(sql, "time_series"))
        .unit(grafana_unit(ucum))
        .span(width)
        .height(height)
        .interval("1m")  # no finer than the rollups
        .max_data_points(500)
        .span_nulls(False)
        .line_width(1)
        .show_points(common.VisibilityMode.AUTO)
        .no_value(nothing)
        .legend(legend)
        .tooltip(looks.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING))
        .thresholds(colours or steps(base=BLUE))
    )
    if colours is not None:
        panel = panel.thresholds_style(looks.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED))
    if stacked:
        panel = (
            panel.draw_style(common.GraphDrawStyle.BARS)
            .fill_opacity(80)
            .bar_alignment(common.BarAlignment.AFTER)  # a bucket is named by its start
            .interval("1h")
            .stacking(looks.StackingConfig().mode(common.StackingMode.NORMAL).group("A"))
        )
    return panel


def number(
    title: str,
    description: str,
    sql: str,
    ucum: str,
    *,
    colours: build.ThresholdsConfig,
    width: int = 4,
    decimals: int | None = None,
    nothing: str = NOTHING,
) -> stat.Panel:
    """One number, coloured by its limits. The query answers with one row, one column."""
    panel = (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .with_target(Sql(sql))
        .unit(grafana_unit(ucum))
        .span(width)
        .height(4)
        .color_mode(common.BigValueColorMode.VALUE)
        .graph_mode(common.BigValueGraphMode.NONE)
        .reduce_options(looks.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
        .no_value(nothing)
        .thresholds(colours)
    )
    return panel if decimals is None else panel.decimals(decimals)


def rows(
    title: str,
    description: str,
    sql: str,
    *,
    width: int = 12,
    height: int = 8,
    columns: Mapping[str, str] | None = None,
    links: Mapping[str, tuple[str, str]] | None = None,
    nothing: str = NOTHING,
) -> table.Panel:
    """A table. `columns` gives UCUM units by column name; columns whose rows differ in unit carry it as text.

    `links`: title and address by column name, with Grafana's `${__value.raw}` for the cell's own text.
    """
    panel = (
        table.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .with_target(Sql(sql))
        .unit(grafana_unit("1"))
        .span(width)
        .height(height)
        .filterable(True)
        .no_value(nothing)
        .thresholds(steps(base=BLUE))
    )
    for name, ucum in (columns or {}).items():
        shown = [models.DynamicConfigValue("unit", grafana_unit(ucum))]
        if name.endswith("_s"):  # Grafana writes minutes and hours where they read better
            shown.append(models.DynamicConfigValue("displayName", name.removesuffix("_s")))
        panel = panel.override_by_name(name, shown)
    for name, (text, address) in (links or {}).items():
        panel = panel.override_by_name(name, [models.DynamicConfigValue("links", [{"title": text, "url": address}])])
    return panel


def profile(
    title: str,
    description: str,
    sql: str,
    ucum: str,
    *,
    by: str,
    width: int = 12,
    nothing: str = NOTHING,
) -> barchart.Panel:
    """Values by place rather than by time: one group of bars for each row, named by the column `by`."""
    return (
        barchart.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .with_target(Sql(sql))
        .unit(grafana_unit(ucum))
        .span(width)
        .height(9)
        .x_field(by)
        .orientation(common.VizOrientation.VERTICAL)
        .show_value(common.VisibilityMode.NEVER)
        .stacking(common.StackingMode.NONE)
        .no_value(nothing)
        .legend(
            looks.VizLegendOptions()
            .show_legend(True)
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
        )
        .thresholds(steps(base=BLUE))
    )


Panels = Sequence[timeseries.Panel | stat.Panel | table.Panel | barchart.Panel]
