"""The board about the data itself: does every number add up, how fresh is it, what was refused, who is silent."""

from grafana_foundation_sdk.models import dashboard as models

from hefa_grafana.frame import Site, board
from hefa_grafana.panels import ORANGE, RED, lines, number, rows, steps

# Freshness is a histogram of age at commit by ten-second slots: quantiles are taken of the sum, not averaged.
_FRESHNESS = """
SELECT time, metric, value
  FROM (SELECT time, min(age_ms) FILTER (WHERE reached >= 0.50 * total) AS p50,
               min(age_ms) FILTER (WHERE reached >= 0.95 * total) AS p95,
               min(age_ms) FILTER (WHERE reached >= 0.99 * total) AS p99
          FROM (SELECT time, age_ms, sum(n) OVER (PARTITION BY time ORDER BY age_ms) AS reached,
                       sum(n) OVER (PARTITION BY time) AS total
                  FROM (SELECT $__timeGroupAlias(slot, $__interval, NULL), age_ms, sum(readings) AS n
                          FROM v_freshness
                         WHERE $__timeFilter(slot)
                         GROUP BY 1, 2) h) r
         GROUP BY time) q
 CROSS JOIN LATERAL (VALUES ('p50', p50), ('p95', p95), ('p99', p99)) AS v(metric, value)
 ORDER BY 1, 2
"""


def pipeline(site: Site) -> models.Dashboard:
    """Data quality and pipeline."""
    return board(
        site,
        "hefa-pipeline",
        "Data quality and pipeline",
        "Whether everything that gateways recorded is stored once, how fresh it is, and what waits for people.",
        [
            (
                "Now",
                [
                    number(
                        "Readings unaccounted for",
                        "received less stored, duplicate, conflict and quarantined, over all gateways. Anything but 0 "
                        "is a bug of ours.",
                        "SELECT sum(received - stored - duplicate - conflict - quarantined) AS value FROM v_pipeline",
                        "{count}",
                        colours=steps((0, "green"), (1, RED), base=RED),
                    ),
                    number(
                        "Lost at the edge",
                        "Readings that gateways said will never come: their outbox was full or damaged.",
                        "SELECT sum(lost) AS value FROM v_pipeline",
                        "{count}",
                        colours=steps((1, ORANGE)),
                    ),
                    number(
                        "Quarantine",
                        "Refused data that nobody has decided on yet; decide in the portal, under Data.",
                        "SELECT count(*) AS value FROM v_quarantine WHERE state = 'open'",
                        "{count}",
                        colours=steps((1, ORANGE), (1000, RED)),
                    ),
                    number(
                        "Newest data",
                        "Age of the newest message of any gateway. Minutes mean: the broker, ingest or the network "
                        "is down.",
                        "SELECT min(age_s) AS value FROM v_pipeline",
                        "s",
                        colours=steps((30, ORANGE), (120, RED)),
                    ),
                    number(
                        "Stale tags",
                        "Tags without a reading for two heartbeats.",
                        "SELECT count(*) AS value FROM v_latest WHERE stale",
                        "{count}",
                        colours=steps((1, ORANGE), (50, RED)),
                    ),
                    number(
                        "Workers not ready",
                        "Of ingest and maintain, those that say so or have been silent for a minute.",
                        "SELECT count(*) AS value FROM v_worker WHERE NOT ready OR age_s > 60",
                        "{count}",
                        colours=steps((1, RED)),
                    ),
                ],
            ),
            (
                "Gateways",
                [
                    rows(
                        "Accounts of the gateways",
                        "In readings: received = stored + duplicate + conflict + quarantined. Undecodable counts "
                        "messages; lost is what a gateway said will never come.",
                        """
SELECT edge, online, age_s, received, stored, duplicate, conflict, quarantined, undecodable, lost
  FROM v_pipeline ORDER BY edge
""",
                        width=16,
                        columns={"age_s": "s"},
                    ),
                    rows(
                        "Workers",
                        "What ingest and maintain last said of themselves. Old rows are of workers that have gone.",
                        "SELECT task, name, ready, detail, age_s FROM v_worker ORDER BY task, name",
                        width=8,
                        columns={"age_s": "s"},
                    ),
                ],
            ),
            (
                "Flow",
                [
                    lines(
                        "Freshness",
                        "Age of live readings at their commit, from the sensor's time: quantiles, within 9 %. Backfilled "
                        "data is not in it.",
                        _FRESHNESS,
                        "ms",
                        colours=steps((10000, RED)),
                    ),
                    lines(
                        "Live readings stored",
                        "Live readings committed per minute.",
                        """
SELECT $__timeGroupAlias(slot, $__interval, NULL), 'live readings' AS metric,
       sum(readings) * 60000.0 / $__interval_ms AS value
  FROM v_freshness
 WHERE $__timeFilter(slot)
 GROUP BY 1 ORDER BY 1
""",
                        "{count}/min",
                    ),
                ],
            ),
            (
                "What waits for people",
                [
                    rows(
                        "Quarantine by reason",
                        "Open rows by gateway and code, and the newest of each.",
                        """
SELECT edge, code, count(*) AS rows, max(received_at) AS newest, min(detail) AS "for example"
  FROM v_quarantine WHERE state = 'open'
 GROUP BY edge, code ORDER BY rows DESC LIMIT 100
""",
                        nothing="nothing is in quarantine",
                    ),
                    rows(
                        "Conflicts",
                        "A second value for the same tag and time: the first was kept, this one is shown. Newest first.",
                        """
SELECT received_at AS time, edge, tag, ts AS "reading at", kept, refused, unit
  FROM v_conflict WHERE $__timeFilter(received_at)
 ORDER BY received_at DESC LIMIT 100
""",
                        nothing="no conflict in this range",
                    ),
                    rows(
                        "Stale tags",
                        "Longest silence first: gateway, tag, how old its newest reading is, and how often it should "
                        "have come.",
                        """
SELECT t.edge, l.tag, t.description, l.age_s, t.heartbeat_s
  FROM v_latest l JOIN v_tag t USING (tag)
 WHERE l.stale ORDER BY l.age_s DESC LIMIT 200
""",
                        columns={"age_s": "s", "heartbeat_s": "s"},
                        nothing="no tag is stale",
                    ),
                    rows(
                        "Bad and uncertain values",
                        "Newest readings whose quality is not good: 0 bad, 64 uncertain (outside its range).",
                        """
SELECT l.tag, t.description, l.value, l.unit, l.quality, t.low, t.high, l.age_s
  FROM v_latest l JOIN v_tag t USING (tag)
 WHERE l.quality < 192 AND NOT l.stale ORDER BY l.quality, l.tag LIMIT 200
""",
                        columns={"age_s": "s"},
                        nothing="every newest reading is good",
                    ),
                ],
            ),
        ],
        portal_path="/data",
    )
