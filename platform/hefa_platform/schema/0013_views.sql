-- What analysts and Grafana read: names instead of numbers, with unit, kind and place. Columns are added, never renamed
-- or taken away. Every view finds a tag by its name and a time by the index: WHERE tag = … AND bucket BETWEEN … AND ….
-- These stay as they are when tables change: whoever builds on tables builds on sand.

CREATE VIEW v_tag AS
  SELECT t.name AS tag, t.description, t.kind, t.unit, t.equipment, e.name AS equipment_name, p.area, p.line,
         g.name AS edge, t.site, t.low, t.high, t.ll, t.l, t.h, t.hh, t.heartbeat_s, t.states, t.template, t.core,
         m.carrier, m.material, m.stream, m.serves, above.name AS meter_parent, m.role AS meter_role,
         t.assigned, t.retired
    FROM tag t
    LEFT JOIN equipment e ON e.path = t.equipment
    LEFT JOIN v_place p ON p.path = t.equipment
    LEFT JOIN edge g ON g.edge_id = t.edge_id
    LEFT JOIN meter m ON m.tag_id = t.tag_id
    LEFT JOIN tag above ON above.tag_id = m.parent;

CREATE VIEW v_reading AS
  SELECT r.ts, t.name AS tag, r.value, r.quality, t.unit, t.kind, t.equipment, p.area, p.line
    FROM reading r JOIN tag t USING (tag_id) LEFT JOIN v_place p ON p.path = t.equipment;

CREATE VIEW v_latest AS
  SELECT t.name AS tag, l.ts, l.value, l.quality, t.unit, t.kind, t.states->>round(l.value)::text AS state,
         extract(epoch FROM now() - l.ts)::double precision AS age_s,
         l.ts < now() - 2 * t.heartbeat_s * interval '1 second' AS stale, t.equipment, p.area, p.line
    FROM latest l JOIN tag t USING (tag_id) LEFT JOIN v_place p ON p.path = t.equipment
   WHERE NOT t.retired;

-- Up to here minutes are written.
CREATE FUNCTION rollup_until() RETURNS timestamptz
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT least(watermark, (SELECT min(from_ts) FROM rollup_dirty WHERE tag_id IS NULL)) FROM rollup_state
$$;

-- What is newer, up to an hour of it, is computed from readings, minute by minute: so that a question about the past
-- computes none of it.
-- mean: weighted by the time a value held. coverage: share of the bucket with a usable value in force. increment: of
-- counters, measured + estimated. quality: the worst.
CREATE VIEW v_series_1m AS
  SELECT r.bucket, t.name AS tag, r.tw_sum / nullif(r.covered_s, 0) AS mean, r.min, r.max, r.first, r.last, r.n,
         r.covered_s / 60 AS coverage, r.worst AS quality,
         CASE WHEN num_nonnulls(r.inc_measured, r.inc_estimated) > 0
              THEN coalesce(r.inc_measured, 0) + coalesce(r.inc_estimated, 0) END AS increment,
         r.inc_measured AS measured, r.inc_estimated AS estimated, r.inc_unknown AS unknown,
         t.unit, t.kind, t.equipment, p.area, p.line
    FROM tag t
    JOIN LATERAL (
      SELECT m.bucket, m.tw_sum, m.covered_s, m.min, m.max, m.first, m.last, m.n, m.worst, m.inc_measured,
             m.inc_estimated, m.inc_unknown
        FROM reading_1m m WHERE m.tag_id = t.tag_id AND m.bucket < (SELECT rollup_until())
      UNION ALL
      SELECT g.minute, m.tw_sum, m.covered_s, m.min, m.max, m.first, m.last, m.n, m.worst, m.inc_measured,
             m.inc_estimated, m.inc_unknown
        FROM generate_series(greatest(rollup_until(), date_bin('1 minute', now(), 'epoch') - interval '1 hour'),
                             now() - interval '1 minute', interval '1 minute') AS g(minute)
       CROSS JOIN LATERAL minute_rollup(ARRAY[t.tag_id], ARRAY[g.minute], ARRAY[g.minute + interval '1 minute']) AS m
    ) r ON true
    LEFT JOIN v_place p ON p.path = t.equipment;

-- Hours up to the minute that is written last.
CREATE VIEW v_series_1h AS
  SELECT r.bucket, t.name AS tag, r.tw_sum / nullif(r.covered_s, 0) AS mean, r.min, r.max, r.first, r.last, r.n,
         r.covered_s / 3600 AS coverage, r.worst AS quality,
         CASE WHEN num_nonnulls(r.inc_measured, r.inc_estimated) > 0
              THEN coalesce(r.inc_measured, 0) + coalesce(r.inc_estimated, 0) END AS increment,
         r.inc_measured AS measured, r.inc_estimated AS estimated, r.inc_unknown AS unknown,
         t.unit, t.kind, t.equipment, p.area, p.line
    FROM tag t
    JOIN LATERAL (
      -- The empty half keeps the planner from joining tags last, when the hours of all of them are added up already.
      SELECT * FROM reading_1h h WHERE h.tag_id = t.tag_id UNION ALL SELECT * FROM reading_1h h WHERE false
    ) r ON true
    LEFT JOIN v_place p ON p.path = t.equipment;

-- What each meter counted, in the unit of consumption. value = measured + estimated. net: less what the billing meters
-- below it counted; over billing meters sums of net count nothing twice, and no share of a parent is lost.
CREATE VIEW v_consumption_1h AS
  SELECT r.bucket, t.name AS tag, coalesce(m.carrier, m.material) AS medium, m.carrier, m.material, m.stream, m.serves,
         p.area, p.line, m.role, above.name AS meter_parent,
         r.inc_measured * m.factor AS measured, r.inc_estimated * m.factor AS estimated,
         r.inc_unknown * m.factor AS unknown,
         (coalesce(r.inc_measured, r.inc_estimated) + CASE WHEN r.inc_measured IS NULL THEN 0
            ELSE coalesce(r.inc_estimated, 0) END) * m.factor AS value,
         (coalesce(r.inc_measured, r.inc_estimated) + CASE WHEN r.inc_measured IS NULL THEN 0
            ELSE coalesce(r.inc_estimated, 0) END) * m.factor
         - coalesce((SELECT sum((coalesce(c.inc_measured, 0) + coalesce(c.inc_estimated, 0)) * below.factor)
                       FROM meter below JOIN LATERAL (
                              SELECT * FROM reading_1h h WHERE h.tag_id = below.tag_id AND h.bucket = r.bucket
                               UNION ALL SELECT * FROM reading_1h h WHERE false) c ON true
                      WHERE below.parent = m.tag_id AND below.role = 'billing' AND below.unit = m.unit), 0) AS net,
         m.unit, r.covered_s / 3600 AS coverage
    FROM tag t
    JOIN meter m USING (tag_id)
    JOIN LATERAL (
      SELECT * FROM reading_1h h WHERE h.tag_id = m.tag_id UNION ALL SELECT * FROM reading_1h h WHERE false
    ) r ON true
    LEFT JOIN tag above ON above.tag_id = m.parent
    LEFT JOIN v_place p ON p.path = m.serves;

-- Per gateway, in readings: received = stored + duplicate + conflict + quarantined.
CREATE VIEW v_pipeline AS
  SELECT e.name AS edge, e.online, e.seen_at, extract(epoch FROM now() - e.seen_at)::double precision AS age_s,
         coalesce(c.received, 0)::bigint AS received, coalesce(c.stored, 0)::bigint AS stored,
         coalesce(c.duplicate, 0)::bigint AS duplicate, coalesce(c.conflict, 0)::bigint AS conflict,
         coalesce(c.quarantined, 0)::bigint AS quarantined, coalesce(c.undecodable, 0)::bigint AS undecodable,
         (SELECT coalesce(sum(g.readings), 0)::bigint FROM gap g WHERE g.edge_id = e.edge_id) AS lost
    FROM edge e
    LEFT JOIN (SELECT edge_id, sum(received) AS received, sum(stored) AS stored, sum(duplicate) AS duplicate,
                      sum(conflict) AS conflict, sum(quarantined) AS quarantined, sum(undecodable) AS undecodable
                 FROM intake_counter GROUP BY edge_id) c USING (edge_id);

CREATE VIEW v_alarm AS
  SELECT a.raised_at, t.name AS tag, a.level, a.priority, a.state, a.limit_value, a.value, a.extreme, a.crossed_at,
         a.returned_at, a.acked_at, a.acked_by, a.late, t.unit, t.description, t.equipment, p.area, p.line
    FROM alarm a JOIN tag t USING (tag_id) LEFT JOIN v_place p ON p.path = t.equipment
   WHERE NOT a.withdrawn;

GRANT SELECT ON v_tag, v_reading, v_latest, v_series_1m, v_series_1h, v_consumption_1h, v_pipeline, v_alarm TO hefa_read;
-- How rollups are kept concerns nobody who reads them.
REVOKE SELECT ON rollup_state, rollup_dirty, rollup_hour FROM hefa_read;
