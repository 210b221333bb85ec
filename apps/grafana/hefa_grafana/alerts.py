"""Alert rules about the health of the pipeline: what nobody would notice by looking at the plant.

One group, in the form of Grafana's HTTP API; `file` is the same in the form of provisioning files. Who is told is the
site's own business: the rules go to its default notification policy.
"""

from dataclasses import dataclass
from typing import Any, Literal

from hefa_grafana.frame import FOLDER_UID
from hefa_grafana.query import SqlQuery

GROUP = "hefa pipeline"
INTERVAL_S = 60
FILE_FOLDER = "hefa alerts"


@dataclass(frozen=True)
class Rule:
    """Fires when the query's number is `above` or `below` a bound for `minutes`. Text columns become labels."""

    uid: str
    title: str
    sql: str
    comparison: Literal["gt", "lt"]
    bound: float
    minutes: int
    severity: Literal["critical", "warning"]
    summary: str
    what_to_do: str
    silence: Literal["OK", "Alerting"] = "OK"  # what an empty answer means


RULES = (
    Rule(
        "hefa-no-data",
        "No data is flowing",
        "SELECT extract(epoch FROM now() - max(seen_at))::double precision AS age_s FROM v_pipeline",
        "gt", 120, 2, "critical",
        "No gateway has been heard of for two minutes.",
        "Look at the broker, then at ingest (hefa-platform check ingest), then at the network. Gateways keep what they record.",
        "Alerting",
    ),
    Rule(
        "hefa-gateway-silent",
        "A gateway is silent",
        """
SELECT edge, age_s FROM v_pipeline p
 WHERE seen_at IS NOT NULL AND EXISTS (SELECT FROM v_tag t WHERE t.edge = p.edge AND NOT t.retired AND t.edge <> 'api')
""".strip(),
        "gt", 600, 2, "warning",
        "One gateway has not been heard of for ten minutes.",
        "Look at its power, its network and its clock; it sends what it kept when it is back.",
    ),
    Rule(
        "hefa-worker",
        "A worker is not ready",
        """
SELECT t.task, (SELECT count(*) FROM v_worker w WHERE w.task = t.task AND w.ready AND w.age_s < 60)::double precision AS ready
  FROM (VALUES ('ingest'), ('maintain')) AS t(task)
""".strip(),
        "lt", 1, 3, "critical",
        "No ready process takes data in, or none keeps rollups and retention.",
        "hefa-platform check ingest and check maintain say why; their logs have the rest.",
        "Alerting",
    ),
    Rule(
        "hefa-freshness",
        "Data is late",
        """
SELECT min(age_ms)::double precision AS p95_ms
  FROM (SELECT age_ms, sum(sum(readings)) OVER (ORDER BY age_ms) AS reached, sum(sum(readings)) OVER () AS total
          FROM v_freshness WHERE slot >= now() - interval '5 minutes' GROUP BY age_ms) h
 WHERE reached >= 0.95 * total
""".strip(),
        "gt", 10_000, 5, "warning",
        "One live reading in twenty is older than ten seconds when it is stored.",
        "Ingest cannot keep up or the database is slow: see Sizing in docs/operations.md; add a worker.",
    ),
    Rule(
        "hefa-quarantine",
        "The quarantine is growing",
        "SELECT count(*)::double precision AS rows FROM v_quarantine WHERE received_at >= now() - interval '15 minutes'",
        "gt", 0, 5, "warning",
        "Data was refused within the last quarter of an hour.",
        "The board Data quality and pipeline has the reasons; decide on each in the portal, under Data.",
    ),
    Rule(
        "hefa-identity",
        "Readings are unaccounted for",
        "SELECT abs(sum(received - stored - duplicate - conflict - quarantined))::double precision AS readings FROM v_pipeline",
        "gt", 0, 5, "critical",
        "received is not stored + duplicate + conflict + quarantined.",
        "This is a bug: keep logs and a backup, and report it.",
    ),
)  # fmt: skip


def group() -> dict[str, Any]:
    """The rule group as PUT /api/v1/provisioning/folder/{folder}/rule-groups/{group} takes it."""
    return {"title": GROUP, "folderUid": FOLDER_UID, "interval": INTERVAL_S, "rules": [_rule(rule) for rule in RULES]}


def file() -> dict[str, Any]:
    """The same as a provisioning file: there the folder goes by its title and times are texts.

    The folder is another than the dashboards', which go by uid: of two folders made with one title Grafana refuses one.
    """
    rules = []
    for rule in group()["rules"]:
        kept = {key: value for key, value in rule.items() if key not in ("folderUID", "ruleGroup", "orgID")}
        rules.append(kept)
    made = {"orgId": 1, "name": GROUP, "folder": FILE_FOLDER, "interval": f"{INTERVAL_S}s", "rules": rules}
    return {"apiVersion": 1, "groups": [made]}


def _rule(rule: Rule) -> dict[str, Any]:
    query = SqlQuery(rule.sql, "table")
    return {
        "uid": rule.uid,
        "orgID": 1,
        "folderUID": FOLDER_UID,
        "ruleGroup": GROUP,
        "title": rule.title,
        "condition": "B",
        "for": f"{rule.minutes}m",
        "noDataState": rule.silence,
        "execErrState": "Error",
        "annotations": {"summary": rule.summary, "description": rule.what_to_do},
        "labels": {"severity": rule.severity, "source": "hefa"},
        "isPaused": False,
        "data": [
            {
                "refId": "A",
                "relativeTimeRange": {"from": 600, "to": 0},
                "datasourceUid": query.to_json()["datasource"]["uid"],  # type: ignore[index]
                "model": {**query.to_json(), "intervalMs": 1000, "maxDataPoints": 43200},
            },
            {
                "refId": "B",
                "relativeTimeRange": {"from": 600, "to": 0},
                "datasourceUid": "__expr__",
                "model": {
                    "refId": "B",
                    "type": "threshold",
                    "datasource": {"type": "__expr__", "uid": "__expr__"},
                    "expression": "A",
                    "conditions": [{"evaluator": {"type": rule.comparison, "params": [rule.bound]}}],
                },
            },
        ],
    }
