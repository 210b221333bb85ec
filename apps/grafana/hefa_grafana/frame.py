"""What all boards share: names, links to each other and to the portal, the site's zone, variables."""

from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models import dashboard as models

from hefa_contract.model import Plant
from hefa_grafana.panels import Panels
from hefa_grafana.query import DATASOURCE

FOLDER_UID, FOLDER_TITLE = "hefa", "hefa"
TAG = "hefa"


@dataclass(frozen=True)
class Site:
    """What a board is made for: the plant, and where people find its portal."""

    plant: Plant
    portal: str


def board(
    site: Site,
    uid: str,
    title: str,
    description: str,
    sections: Sequence[tuple[str, Panels]],
    *,
    variables: Sequence[build.QueryVariable | build.CustomVariable] = (),
    since: str = "now-6h",
    portal_path: str = "/",
) -> models.Dashboard:
    """A dashboard of titled rows. Ids and places follow from the order alone, so that the JSON is the same each time."""
    made = (
        build.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags([TAG])
        .timezone(site.plant.timezone)
        .time(since, "now")
        .refresh("1m")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .week_start("monday")
        .with_variable(
            # A constant: what a URL could change would lead people away.
            build.ConstantVariable("portal").label("Portal").description("Where the portal is").value(site.portal)
        )
        .link(
            build.DashboardLink("Boards")
            .type(models.DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .as_dropdown(True)
            .keep_time(True)
        )
        .link(
            build.DashboardLink("Portal")
            .type(models.DashboardLinkType.LINK)
            .url("${portal}" + portal_path)
            .icon("external link")
            .tooltip("The same figures in the portal, explained")
            .target_blank(True)
        )
    )
    for variable in variables:
        made = made.with_variable(variable)
    for name, panels in sections:
        made = made.with_row(build.Row(name))
        for panel in panels:
            made = made.with_panel(panel)
    dashboard = made.build()
    for count, item in enumerate(dashboard.panels or [], start=1):
        item.id_val = count
    return dashboard


def choice(name: str, label: str, sql: str, *, everything: bool = False) -> build.QueryVariable:
    """A variable whose values the database gives; `everything`: several may be chosen, all at first."""
    text = sql.strip()
    made = (
        build.QueryVariable(name)
        .label(label)
        .datasource(DATASOURCE)
        .query(text)
        .definition(text)
        .refresh(models.VariableRefresh.ON_DASHBOARD_LOAD)
        .sort(models.VariableSort.DISABLED)
        .allow_custom_value(False)
    )
    if everything:
        made = made.multi(True).include_all(True).current(models.VariableOption(True, ["All"], ["$__all"]))
    return made
