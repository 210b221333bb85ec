-- Rollups: what every chart, balance and bill is made of. Gateways report by exception, so a plain average lies and a
-- register needs its predecessor: minutes are computed from raw in the order of time, hours are sums of minutes.

CREATE TABLE reading_1m (
  tag_id        integer NOT NULL,               -- no foreign key: looking it up costs as much as the row
  bucket        timestamptz NOT NULL,           -- start of the minute
  n             integer NOT NULL,               -- readings in the minute; 0 = an earlier reading still holds
  n_good        integer NOT NULL,               -- of these usable ones (quality >= 64)
  min           double precision,               -- of the usable values in force, the one held at the start included
  max           double precision,
  first         double precision,               -- first reading of the minute, null if it was bad; the held one if n = 0
  first_ts      timestamptz,                    -- time of that reading: before the bucket if n = 0
  last          double precision,
  last_ts       timestamptz,
  sum           double precision,               -- of the n_good usable readings
  tw_sum        double precision NOT NULL,      -- integral of the usable value in force over covered_s: value x seconds
  covered_s     double precision NOT NULL,      -- seconds with a usable value in force, at most 60
  worst         smallint,                       -- lowest quality in force; null if there was nothing but an increment
  inc_measured  double precision,               -- counters: increment between readings <= 2 heartbeats apart
  inc_estimated double precision,               -- … further apart, spread evenly; or counted since a reset
  inc_unknown   double precision,               -- … larger than the meter can count: no one knows what it means
  resets        integer,                        -- counters: times the register started again
  PRIMARY KEY (tag_id, bucket)
);
-- The same columns, each the sum (or least, greatest, first, last) over the hour's minutes.
CREATE TABLE reading_1h (LIKE reading_1m, PRIMARY KEY (tag_id, bucket));

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN
    PERFORM create_hypertable('reading_1m', by_range('bucket', INTERVAL '7 days'), create_default_indexes => false);
  END IF;
END $$;

-- Minutes before the watermark are in reading_1m, or a row of rollup_dirty says which are not yet right. Whoever stores
-- a reading reads the watermark FOR SHARE in the same transaction and notes what is older; moving it waits for them.
CREATE TABLE rollup_state (
  only_row  boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  watermark timestamptz NOT NULL
);
INSERT INTO rollup_state (watermark) VALUES (date_trunc('minute', now()));

CREATE TABLE rollup_dirty (
  dirty_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tag_id   integer,                             -- null = all tags
  from_ts  timestamptz NOT NULL,                -- first and last reading that came; one clock hour holds both.
  to_ts    timestamptz NOT NULL,                -- for all tags: from <= t < to
  noted_at timestamptz NOT NULL DEFAULT now(),
  CHECK (from_ts <= to_ts)
);
CREATE INDEX rollup_dirty_from ON rollup_dirty (from_ts);

-- What a register that went from `before` to `after` in `seconds` has counted. A smaller number is a rollover where the
-- meter can have counted that much, else a reset, after which the new number is all that is known. `possible` is the
-- most that the meter can count in this time (null: not known); a larger amount is not a consumption.
CREATE FUNCTION register_step(before double precision, after double precision, seconds double precision,
                              modulus double precision, max_rate double precision, resolution double precision,
                              OUT amount double precision, OUT is_reset boolean, OUT possible double precision)
RETURNS SETOF record LANGUAGE sql IMMUTABLE ROWS 1 AS $$
  SELECT CASE WHEN after >= before THEN after - before
              WHEN rolled THEN after - before + modulus
              ELSE greatest(after, 0) END,
         after < before AND NOT rolled,
         most
    FROM (SELECT max_rate * seconds / 3600 + resolution AS most) AS m
   CROSS JOIN LATERAL (SELECT coalesce(after - before + modulus <= coalesce(most, modulus / 2)
                                       AND before <= modulus, false) AS rolled) AS r
$$;

-- Minutes of the ranges [from, to) of the tags, computed from raw. Ranges begin and end on a minute and do not overlap
-- within a tag. Dense: a reading holds until the next one, at most two heartbeats, and each minute it covers is a row.
-- The increment between two usable register readings is spread evenly over the time between them, however long.
-- One SQL statement without volatile parts, so that the planner folds it into the query that calls it.
CREATE FUNCTION minute_rollup(tags integer[], froms timestamptz[], tos timestamptz[]) RETURNS SETOF reading_1m
LANGUAGE sql STABLE AS $$
  WITH want AS (
    SELECT w.tag_id, w.lo, w.hi, make_interval(secs => 2 * t.heartbeat_s) AS hold, t.kind = 'counter' AS counter,
           t.modulus, t.max_rate, coalesce(t.resolution, 0) AS resolution
      FROM unnest(tags, froms, tos) AS w(tag_id, lo, hi) JOIN tag t USING (tag_id)
  ), line AS (
    -- The readings of each range in order, led by the one that holds when the range begins.
    SELECT w.tag_id, w.lo, w.hold, w.counter, r.ts, r.value, r.quality,
           date_bin('1 minute', r.ts, 'epoch') AS bucket,
           CASE WHEN r.quality >= 64 THEN r.value END AS usable,
           least(lead(r.ts) OVER later, r.ts + w.hold, w.hi) AS until,
           date_bin('1 minute', lead(r.ts) OVER later, 'epoch') AS next_bucket,
           lag(r.ts) OVER later AS prev_ts,
           lag(r.quality) OVER later AS prev_quality,
           lag(CASE WHEN r.quality >= 64 THEN r.value END) OVER later AS prev_usable
      FROM want w CROSS JOIN LATERAL (
        (SELECT ts, value, quality FROM reading
          WHERE tag_id = w.tag_id AND ts < w.lo AND ts > w.lo - w.hold ORDER BY ts DESC LIMIT 1)
        UNION ALL
        SELECT ts, value, quality FROM reading WHERE tag_id = w.tag_id AND ts >= w.lo AND ts < w.hi
      ) r
    WINDOW later AS (PARTITION BY w.tag_id, w.lo ORDER BY r.ts)
  ), told AS (
    -- Each reading with the seconds it holds in its own minute; the first of a minute also with what held before it.
    SELECT tag_id, bucket, counter, ts, value, quality, usable,
           prev_ts IS NULL OR prev_ts < bucket AS is_first,
           next_bucket IS NULL OR next_bucket > bucket AS is_last,
           CASE WHEN usable IS NOT NULL
                THEN date_part('epoch', least(until, bucket + interval '1 minute') - ts) ELSE 0 END AS own_s,
           CASE WHEN prev_ts < bucket AND prev_ts + hold > bucket AND ts > bucket THEN prev_usable END AS held,
           CASE WHEN prev_ts < bucket AND prev_ts + hold > bucket AND ts > bucket THEN prev_quality END AS held_quality,
           CASE WHEN prev_ts < bucket AND prev_ts + hold > bucket AND ts > bucket AND prev_usable IS NOT NULL
                THEN date_part('epoch', least(ts, prev_ts + hold) - bucket) ELSE 0 END AS held_s
      FROM line WHERE ts >= lo
  ), minute AS (
    SELECT tag_id, bucket, bool_or(counter) AS counter, count(*)::integer AS n, count(usable)::integer AS n_good,
           min(least(usable, held)) AS min, max(greatest(usable, held)) AS max,
           max(usable) FILTER (WHERE is_first) AS first, min(ts) AS first_ts,
           max(usable) FILTER (WHERE is_last) AS last, max(ts) AS last_ts,
           sum(usable) AS sum,
           sum(coalesce(usable * own_s, 0) + coalesce(held * held_s, 0)) AS tw_sum,
           sum(own_s + held_s) AS covered_s,
           min(least(quality, held_quality)) AS worst
      FROM told GROUP BY tag_id, bucket
    UNION ALL
    -- Minutes without a reading of their own.
    SELECT tag_id, b, counter, 0, 0, usable, usable, usable, ts, usable, ts, NULL,
           CASE WHEN usable IS NOT NULL
                THEN usable * date_part('epoch', least(until, b + interval '1 minute') - b) ELSE 0 END,
           CASE WHEN usable IS NOT NULL
                THEN date_part('epoch', least(until, b + interval '1 minute') - b) ELSE 0 END,
           quality
      FROM line CROSS JOIN LATERAL generate_series(
             greatest(bucket + interval '1 minute', lo),
             least(until, next_bucket) - interval '1 microsecond', interval '1 minute') AS b
     WHERE next_bucket IS NULL OR next_bucket > bucket
  ), register AS (
    -- Usable readings of counters, led by the one before the range and followed by the one after it.
    SELECT w.*, r.ts, r.value, lag(r.ts) OVER later AS ts0, lag(r.value) OVER later AS value0
      FROM want w CROSS JOIN LATERAL (
        (SELECT ts, value FROM reading
          WHERE tag_id = w.tag_id AND ts < w.lo AND quality >= 64 ORDER BY ts DESC LIMIT 1)
        UNION ALL
        SELECT ts, value FROM reading WHERE tag_id = w.tag_id AND ts >= w.lo AND ts < w.hi AND quality >= 64
        UNION ALL
        (SELECT ts, value FROM reading WHERE tag_id = w.tag_id AND ts >= w.hi AND quality >= 64 ORDER BY ts LIMIT 1)
      ) r
     WHERE w.counter
    WINDOW later AS (PARTITION BY w.tag_id, w.lo ORDER BY r.ts)
  ), increment AS (
    SELECT tag_id, lo, hi, ts0, ts, date_part('epoch', ts - ts0) AS seconds, ts - ts0 <= hold AS near,
           step.amount, step.is_reset, step.amount > step.possible AS absurd
      FROM register CROSS JOIN LATERAL register_step(
             value0, value, date_part('epoch', ts - ts0), modulus, max_rate, resolution) AS step
     WHERE ts0 IS NOT NULL
  ), counted AS (
    SELECT tag_id, b AS bucket,
           sum(part.share) FILTER (WHERE NOT absurd AND near AND NOT is_reset) AS measured,
           sum(part.share) FILTER (WHERE NOT absurd AND (is_reset OR NOT near)) AS estimated,
           sum(part.share) FILTER (WHERE absurd) AS unknown,
           count(*) FILTER (WHERE is_reset AND b + interval '1 minute' >= ts)::integer AS resets
      FROM increment
     CROSS JOIN LATERAL generate_series(
             greatest(date_bin('1 minute', ts0, 'epoch'), lo),
             least(ts, hi) - interval '1 microsecond', interval '1 minute') AS b
     CROSS JOIN LATERAL (SELECT amount / seconds * date_part(
             'epoch', least(ts, b + interval '1 minute') - greatest(ts0, b)) AS share) AS part
     GROUP BY tag_id, b
  )
  SELECT tag_id, bucket, coalesce(n, 0), coalesce(n_good, 0), min, max, first, first_ts, last, last_ts, sum,
         coalesce(tw_sum, 0), coalesce(covered_s, 0), worst::smallint,
         coalesce(measured, CASE WHEN coalesce(counter, true) THEN 0 END),
         coalesce(estimated, CASE WHEN coalesce(counter, true) THEN 0 END),
         coalesce(unknown, CASE WHEN coalesce(counter, true) THEN 0 END),
         coalesce(resets, CASE WHEN coalesce(counter, true) THEN 0 END)
    FROM minute FULL JOIN counted USING (tag_id, bucket)
$$;

-- Drops raw readings of whole days before `before`; returns what was dropped. Rollups stay, and what they still have
-- to be made from stays too. SECURITY DEFINER: maintain must not own tables.
CREATE FUNCTION drop_readings(before timestamptz) RETURNS SETOF text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE part text; upper_bound timestamptz;
BEGIN
  before := least(before, (SELECT min(from_ts) - interval '1 day' FROM rollup_dirty), (SELECT watermark FROM rollup_state));
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
REVOKE ALL ON FUNCTION drop_readings(timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION drop_readings(timestamptz) TO hefa_jobs;

GRANT SELECT ON reading_1m, reading_1h, rollup_state, rollup_dirty TO hefa_ingest, hefa_jobs, hefa_api, hefa_read;
GRANT INSERT ON rollup_dirty TO hefa_ingest;
GRANT UPDATE (only_row) ON rollup_state TO hefa_ingest;          -- FOR SHARE asks for it
GRANT INSERT, DELETE ON reading_1m, reading_1h, rollup_dirty TO hefa_jobs;
GRANT UPDATE ON rollup_state TO hefa_jobs;
