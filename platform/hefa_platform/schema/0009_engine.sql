-- What TimescaleDB Community can do is used where it is there: hours as a continuous aggregate over the minutes, the
-- columnstore for what is seldom written to, policies. Elsewhere the same hours are a table, as before. Names and columns
-- are the same; write_hours, clear_minutes and drop_readings know the engine, so that no program has to.

-- Raw readings before this time are gone: rollups before it are final, and what arrives from then is too old.
ALTER TABLE rollup_state ADD COLUMN raw_since timestamptz NOT NULL DEFAULT '-infinity';
-- What keep_policies set last; another value was set by people.
ALTER TABLE rollup_state ADD COLUMN policy_days integer;

-- Hours whose minutes were rewritten since the aggregate was refreshed: readers add those up from minutes.
-- Noted in the transaction that rewrites the minutes; always empty where hours are a table.
CREATE TABLE rollup_hour (
  hour      timestamptz PRIMARY KEY,
  first_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
  noted_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
GRANT SELECT ON rollup_hour TO hefa_ingest, hefa_jobs, hefa_api, hefa_read;
GRANT INSERT, UPDATE, DELETE ON rollup_hour TO hefa_jobs;

DO $engine$
DECLARE
  -- The one definition of an hour: the aggregate, the hours not refreshed yet and the table are all made of this text.
  -- Its first value is its first reading's, or the one held when there was none; its last is the one in force.
  hours constant text := $$
    SELECT m.tag_id, %s AS bucket, sum(m.n)::integer AS n, sum(m.n_good)::integer AS n_good,
           min(m.min) AS min, max(m.max) AS max,
           (coalesce(array_agg(m.first ORDER BY m.bucket) FILTER (WHERE m.n > 0),
                     array_agg(m.first ORDER BY m.bucket) FILTER (WHERE m.first_ts IS NOT NULL)))[1] AS first,
           (coalesce(array_agg(m.first_ts ORDER BY m.bucket) FILTER (WHERE m.n > 0),
                     array_agg(m.first_ts ORDER BY m.bucket) FILTER (WHERE m.first_ts IS NOT NULL)))[1] AS first_ts,
           (array_agg(m.last ORDER BY m.bucket DESC) FILTER (WHERE m.last_ts IS NOT NULL))[1] AS last,
           max(m.last_ts) AS last_ts,
           sum(m.sum) AS sum, sum(m.tw_sum) AS tw_sum, sum(m.covered_s) AS covered_s, min(m.worst) AS worst,
           sum(m.inc_measured) AS inc_measured, sum(m.inc_estimated) AS inc_estimated,
           sum(m.inc_unknown) AS inc_unknown, sum(m.resets)::integer AS resets
      FROM %s
     GROUP BY m.tag_id, %1$s$$;
  community constant boolean := EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb')
    AND current_setting('timescaledb.license', true) = 'timescale';
BEGIN
  IF NOT community THEN
    EXECUTE format($f$
      CREATE FUNCTION hour_rollup(tags integer[], hours timestamptz[]) RETURNS SETOF reading_1h
      LANGUAGE sql STABLE SET enable_hashjoin = off SET enable_mergejoin = off AS $body$ %s $body$
    $f$, format(hours, 'w.hour', 'unnest(tags, hours) AS w(tag_id, hour) JOIN reading_1m m
           ON m.tag_id = w.tag_id AND m.bucket >= w.hour AND m.bucket < w.hour + interval ''1 hour'''));
    RETURN;
  END IF;

  INSERT INTO rollup_hour (hour) SELECT DISTINCT bucket FROM reading_1h;
  DROP TABLE reading_1h;
  -- Made by hefa_jobs: only its owner may refresh it, and no function may do that for another, because a refresh is more
  -- than one transaction.
  GRANT CREATE ON SCHEMA public TO hefa_jobs;
  GRANT TRIGGER ON reading_1m TO hefa_jobs;
  SET LOCAL ROLE hefa_jobs;
  EXECUTE 'CREATE MATERIALIZED VIEW reading_1h_cagg
             WITH (timescaledb.continuous, timescaledb.materialized_only = true) AS '
          || format(hours, 'time_bucket(interval ''1 hour'', m.bucket)', 'reading_1m m') || ' WITH NO DATA';
  SET LOCAL ROLE hefa_owner;
  REVOKE CREATE ON SCHEMA public FROM hefa_jobs;
  REVOKE TRIGGER ON reading_1m FROM hefa_jobs;
  EXECUTE 'CREATE VIEW reading_1h AS
             SELECT * FROM reading_1h_cagg AS h WHERE NOT EXISTS (SELECT FROM rollup_hour AS p WHERE p.hour = h.bucket)
             UNION ALL '
          || format(hours, 'p.hour', 'rollup_hour p JOIN reading_1m m
               ON m.bucket >= p.hour AND m.bucket < p.hour + interval ''1 hour''');
  GRANT SELECT ON reading_1h TO hefa_ingest, hefa_jobs, hefa_api, hefa_read;

  ALTER TABLE reading SET (
    timescaledb.enable_columnstore, timescaledb.segmentby = 'tag_id', timescaledb.orderby = 'ts');
  ALTER TABLE reading_1m SET (
    timescaledb.enable_columnstore, timescaledb.segmentby = 'tag_id', timescaledb.orderby = 'bucket');
  -- Late data may still be written there, only slower; most of it comes within hours.
  CALL add_columnstore_policy('reading', after => interval '3 days');
  CALL add_columnstore_policy('reading_1m', after => interval '8 days');
END $engine$;

-- Brings the hours of the ranges of minutes [from, to) up to what their minutes say, now or when the aggregate is next
-- refreshed; readers of reading_1h see them right either way.
DO $engine$
BEGIN
  IF to_regclass('reading_1h_cagg') IS NULL THEN
    CREATE FUNCTION write_hours(tags integer[], froms timestamptz[], tos timestamptz[]) RETURNS void
    LANGUAGE plpgsql SET enable_hashjoin = off SET enable_mergejoin = off AS $$
    DECLARE own_tags integer[]; own_hours timestamptz[];
    BEGIN
      SELECT array_agg(tag_id), array_agg(hour) INTO own_tags, own_hours FROM (
        SELECT DISTINCT tag_id, hour FROM unnest(tags, froms, tos) AS w(tag_id, lo, hi)
         CROSS JOIN LATERAL generate_series(
                 date_bin('1 hour', lo, 'epoch'), hi - interval '1 microsecond', interval '1 hour') AS hour
         ORDER BY tag_id, hour) AS one;
      DELETE FROM reading_1h AS h USING unnest(own_tags, own_hours) AS w(tag_id, hour)
       WHERE h.tag_id = w.tag_id AND h.bucket = w.hour;
      INSERT INTO reading_1h SELECT * FROM hour_rollup(own_tags, own_hours);
    END $$;
    CREATE FUNCTION clear_minutes(tags integer[], froms timestamptz[], tos timestamptz[]) RETURNS void
    -- By index: the planner cannot know how little the ranges hold, and would read it all.
    LANGUAGE sql SET enable_hashjoin = off SET enable_mergejoin = off AS $$
      DELETE FROM reading_1m AS m USING unnest(tags, froms, tos) AS w(tag_id, lo, hi)
       WHERE m.tag_id = w.tag_id AND m.bucket >= w.lo AND m.bucket < w.hi
    $$;
  ELSE
    CREATE FUNCTION write_hours(tags integer[], froms timestamptz[], tos timestamptz[]) RETURNS void
    LANGUAGE sql AS $$
      INSERT INTO rollup_hour (hour)
      SELECT DISTINCT hour FROM unnest(froms, tos) AS w(lo, hi)
       CROSS JOIN LATERAL generate_series(
               date_bin('1 hour', lo, 'epoch'), hi - interval '1 microsecond', interval '1 hour') AS hour
      ON CONFLICT (hour) DO UPDATE SET noted_at = clock_timestamp()
    $$;
    CREATE FUNCTION clear_minutes(tags integer[], froms timestamptz[], tos timestamptz[]) RETURNS void
    LANGUAGE plpgsql SET enable_hashjoin = off SET enable_mergejoin = off AS $$
    DECLARE part record; packed timestamptz;
    BEGIN
      -- A range in the columnstore is deleted by a statement of its own: only constants tell which batches to open.
      SELECT max(range_end) INTO packed FROM timescaledb_information.chunks
       WHERE hypertable_name = 'reading_1m' AND is_compressed;
      DELETE FROM reading_1m AS m USING unnest(tags, froms, tos) AS w(tag_id, lo, hi)
       WHERE m.tag_id = w.tag_id AND m.bucket >= greatest(w.lo, packed) AND m.bucket < w.hi
         AND m.bucket >= coalesce(packed, '-infinity');
      FOR part IN SELECT * FROM unnest(tags, froms, tos) AS w(tag_id, lo, hi) WHERE lo < packed LOOP
        EXECUTE format('DELETE FROM reading_1m WHERE tag_id = %L AND bucket >= %L AND bucket < %L',
                       part.tag_id, part.lo, least(part.hi, packed));
      END LOOP;
    END $$;
  END IF;
END $engine$;

-- Drops raw readings of whole days before `before`; returns what was dropped. Rollups stay, and what they still have
-- to be made from stays too. SECURITY DEFINER: maintain must not own tables.
CREATE OR REPLACE FUNCTION drop_readings(before timestamptz) RETURNS SETOF text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE part text; upper_bound timestamptz;
BEGIN
  before := date_trunc('day', least(before, (SELECT min(from_ts) - interval '1 day' FROM rollup_dirty),
                                    (SELECT watermark FROM rollup_state)), 'UTC');
  -- Where nothing was before, nothing was lost, and older readings may still come.
  IF EXISTS (SELECT FROM tag WHERE EXISTS (
               SELECT FROM reading_1m AS m WHERE m.tag_id = tag.tag_id AND m.bucket < before)) THEN
    UPDATE rollup_state SET raw_since = before WHERE raw_since < before;
  END IF;
  IF EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN
    RETURN QUERY EXECUTE 'SELECT drop_chunks(''reading'', older_than => $1)::text' USING before;
    RETURN;
  END IF;
  FOR part IN SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
               WHERE i.inhparent = 'reading'::regclass AND c.relname ~ '^reading_\d{8}$' ORDER BY 1 LOOP
    upper_bound := (to_date(right(part, 8), 'YYYYMMDD') + 1)::timestamp AT TIME ZONE 'UTC';
    IF upper_bound <= before THEN
      EXECUTE format('DROP TABLE %I', part);
      RETURN NEXT part;
    END IF;
  END LOOP;
END $$;

-- On Community: a retention policy of the server's own stands behind drop_readings, a week later, so that a disk does
-- not fill where maintain is away for long. Returns what is unsafe about the policies of people, one sentence each.
CREATE FUNCTION keep_policies(raw_days integer) RETURNS SETOF text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE job record; drop_after interval; ours constant integer := raw_days + 8;
BEGIN
  IF to_regclass('reading_1h_cagg') IS NULL THEN RETURN; END IF;
  SELECT j.job_id, (j.config->>'drop_after')::interval AS after INTO job FROM timescaledb_information.jobs j
   WHERE j.proc_name = 'policy_retention' AND j.hypertable_schema = 'public' AND j.hypertable_name = 'reading';
  IF job.job_id IS NULL OR job.after = make_interval(days => (SELECT policy_days FROM rollup_state)) THEN
    IF job.job_id IS NULL OR job.after <> make_interval(days => ours) THEN
      PERFORM remove_retention_policy('reading', if_exists => true);
      PERFORM add_retention_policy('reading', drop_after => make_interval(days => ours));
      UPDATE rollup_state SET policy_days = ours;
    END IF;
    drop_after := make_interval(days => ours);
  ELSE
    drop_after := job.after;
    IF drop_after < make_interval(days => raw_days + 1) THEN
      RETURN NEXT format(
        'the retention policy of "reading" (job %s) drops after %s, but readings are taken for %s days: rollups would '
        'be refreshed from readings that are gone. Set drop_after to %s days or more, or HEFA_RAW_RETENTION_DAYS to less',
        job.job_id, drop_after, raw_days, raw_days + 1);
    END IF;
  END IF;
  RETURN QUERY
    SELECT format('a retention policy (job %s) would delete rollups from "%s": rollups are kept for ever and hours are '
                  'refreshed from minutes. Remove it: SELECT remove_retention_policy(%L)', j.job_id, t.name, t.name)
      FROM timescaledb_information.jobs j
      LEFT JOIN timescaledb_information.continuous_aggregates c
        ON c.materialization_hypertable_name = j.hypertable_name
     CROSS JOIN LATERAL (SELECT coalesce(c.view_name, j.hypertable_name)::text AS name) AS t
     WHERE j.proc_name = 'policy_retention' AND t.name IN ('reading_1m', 'reading_1h_cagg');
  RETURN QUERY
    SELECT format('the refresh policy of "%s" (job %s) begins %s back, where the retention of "reading" has dropped '
                  'what it is made from: a refresh would erase its history. Set its start_offset to less than %s',
                  c.view_name, j.job_id, coalesce(j.config->>'start_offset', 'without a limit'), drop_after)
      FROM timescaledb_information.jobs j
      JOIN timescaledb_information.continuous_aggregates c
        ON c.materialization_hypertable_name = j.hypertable_name
        OR c.view_name = j.hypertable_name
     WHERE j.proc_name = 'policy_refresh_continuous_aggregate' AND c.hypertable_name = 'reading'
       AND coalesce((j.config->>'start_offset')::interval > least(drop_after, make_interval(days => raw_days + 1)), true);
END $$;

REVOKE ALL ON FUNCTION keep_policies(integer), write_hours(integer[], timestamptz[], timestamptz[]),
  clear_minutes(integer[], timestamptz[], timestamptz[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION keep_policies(integer), write_hours(integer[], timestamptz[], timestamptz[]),
  clear_minutes(integer[], timestamptz[], timestamptz[]) TO hefa_jobs;
