"""What a panel asks the database: SQL on the stable views (v_*), with Grafana's macros.

The grammar is Grafana's: `$__timeFilter(c)`, `$__timeGroupAlias(c, $__interval, NULL)` (NULL: what is missing is a gap
in the line), `${variable:sqlstring}` (quoted, comma-separated: never put together by hand).
"""

from dataclasses import dataclass
from typing import Literal

from grafana_foundation_sdk.cog import builder as cogbuilder
from grafana_foundation_sdk.cog import variants as cogvariants
from grafana_foundation_sdk.models.common import DataSourceRef

Format = Literal["time_series", "table"]

DATASOURCE_TYPE = "grafana-postgresql-datasource"
DATASOURCE_UID = "hefa"
DATASOURCE = DataSourceRef(DATASOURCE_TYPE, DATASOURCE_UID)


class SqlQuery(cogvariants.Dataquery):
    """A target of a panel. The SDK has no query of PostgreSQL's plugin; these are the plugin's own fields."""

    def __init__(self, sql: str, form: Format, ref: str = "A") -> None:
        self.sql = sql
        self.form = form
        self.ref = ref

    def to_json(self) -> dict[str, object]:
        """The plugin's JSON."""
        return {
            "datasource": {"type": DATASOURCE_TYPE, "uid": DATASOURCE_UID},
            "editorMode": "code",
            "format": self.form,
            "rawQuery": True,
            "rawSql": self.sql,
            "refId": self.ref,
        }


@dataclass
class Sql(cogbuilder.Builder[cogvariants.Dataquery]):
    """Builds a SqlQuery. Lines keep their breaks, so that people can read the SQL in Grafana's editor."""

    sql: str
    form: Format = "table"

    def build(self) -> SqlQuery:
        """The query."""
        return SqlQuery("\n".join(line.rstrip() for line in self.sql.strip().splitlines()), self.form)


def literals(names: list[str]) -> str:
    """SQL string literals, comma-separated; of none the one that equals nothing, so that the query stays one."""
    return ", ".join("'" + name.replace("'", "''") + "'" for name in names) or "NULL"


def series(which: str, metric: str, value: str = "sum(mean * coverage) / nullif(sum(coverage), 0)") -> str:
    """Lines over time from minutes, from hours where a point of the chart is an hour or more; one metric a line.

    `which` restricts the rows, by `tag` at best; `metric` names a line; `value` is an aggregate over the columns of the
    series views. Without one: the mean, weighted by the time that was covered.
    """
    columns = "bucket, tag, mean, min, max, last, increment, coverage, unit, kind, equipment, area, line"
    return f"""
SELECT $__timeGroupAlias(bucket, $__interval, NULL), {metric} AS metric, {value} AS value
  FROM (SELECT {columns}
          FROM v_series_1m
         WHERE $__interval_ms < 3600000 AND $__timeFilter(bucket) AND {which}
         UNION ALL
        SELECT {columns}
          FROM v_series_1h
         WHERE $__interval_ms >= 3600000 AND $__timeFilter(bucket) AND {which}) s
 GROUP BY 1, 2
HAVING {value} IS NOT NULL
 ORDER BY 1, 2
"""
