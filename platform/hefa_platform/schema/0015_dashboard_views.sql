-- What dashboards show of the pipeline itself, beyond v_pipeline. Refused payloads stay with those who may decide on them.

-- Age of live readings at commit, as a histogram: of the readings of a ten-second slot, those up to age_ms old and
-- older than the next smaller age_ms. Quantiles over any range come from sums of readings, never from averages.
CREATE VIEW v_freshness AS
  SELECT slot, 2 ^ ((bucket + 1) / 8.0::double precision) AS age_ms, readings, worker FROM freshness;

-- What each process that takes in or maintains last said of itself; one that has gone is told by its age only.
CREATE VIEW v_worker AS
  SELECT task, name, ready, detail, seen_at, extract(epoch FROM now() - seen_at)::double precision AS age_s FROM worker;

CREATE VIEW v_quarantine AS
  SELECT quarantine_id, received_at, edge, code, detail, reading->>'tag' AS tag, i IS NULL AS whole_message, size, state
    FROM quarantine;

-- The first value was kept; `refused` is the one that came later for the same tag and time.
CREATE VIEW v_conflict AS
  SELECT c.received_at, e.name AS edge, t.name AS tag, c.ts, r.value AS kept, c.value AS refused, c.quality, t.unit
    FROM reading_conflict c
    JOIN tag t USING (tag_id)
    JOIN edge e ON e.edge_id = c.edge_id
    LEFT JOIN reading r ON r.tag_id = c.tag_id AND r.ts = c.ts;

GRANT SELECT ON v_freshness, v_worker, v_quarantine, v_conflict TO hefa_read;
