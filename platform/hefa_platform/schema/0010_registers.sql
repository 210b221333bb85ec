-- Registers: a declared meter swap ends one register and begins another, so that nothing between the readings before
-- and after it is lost or made up; and what a register shows is judged by what a register can show.

-- What the events of type meter_swap mean to the books; a later declaration for the same instant replaces the earlier.
CREATE TABLE meter_swap (
  tag_id      integer NOT NULL REFERENCES tag,
  ts          timestamptz NOT NULL,
  final       double precision NOT NULL,        -- what the old register showed when it was taken away
  initial     double precision NOT NULL,        -- what the new one showed when it was put in its place
  declared_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (tag_id, ts)
);

-- Whether a register can show a value: a negative one only where its engineering range begins below zero, which says
-- that it counts back what is given back.
CREATE FUNCTION register_shows(value double precision, low double precision) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$ SELECT value >= 0 OR coalesce(low < 0, false) $$;

-- The nearest point that a register is known at (a usable reading, a declared swap) before an instant, and at or after
-- it: what is counted at an instant is decided between these two.
CREATE FUNCTION register_before(tag integer, at timestamptz) RETURNS timestamptz LANGUAGE sql STABLE AS $$
  SELECT greatest(
    (SELECT ts FROM reading WHERE tag_id = t.tag_id AND ts < at AND quality >= 64 AND register_shows(value, t.low)
      ORDER BY ts DESC LIMIT 1),
    (SELECT max(ts) FROM meter_swap WHERE tag_id = t.tag_id AND ts < at))
    FROM tag t WHERE t.tag_id = tag
$$;
CREATE FUNCTION register_after(tag integer, at timestamptz) RETURNS timestamptz LANGUAGE sql STABLE AS $$
  SELECT least(
    (SELECT ts FROM reading WHERE tag_id = t.tag_id AND ts >= at AND quality >= 64 AND register_shows(value, t.low)
      ORDER BY ts LIMIT 1),
    (SELECT min(ts) FROM meter_swap WHERE tag_id = t.tag_id AND ts >= at))
    FROM tag t WHERE t.tag_id = tag
$$;

-- What a register that went from `before` to `after` in `seconds` has counted. `possible` is the most that the meter can
-- count in this time (null: not known); more is not a consumption: `is_believed` is false.
-- A step back by at most the register's own step is its rounding. A larger one is a rollover where the meter can have
-- counted that much, else a reset, after which the new number is all that is known; where not even that is possible,
-- what is unknown is at most the possible. With `both_ways` a register counts back too, as fast as it counts.
DROP FUNCTION register_step(double precision, double precision, double precision, double precision, double precision,
                            double precision);
CREATE FUNCTION register_step(before double precision, after double precision, seconds double precision,
                              modulus double precision, max_rate double precision, resolution double precision,
                              both_ways boolean,
                              OUT amount double precision, OUT is_reset boolean, OUT is_believed boolean)
RETURNS SETOF record LANGUAGE sql IMMUTABLE ROWS 1 AS $$
  SELECT CASE WHEN is_reset THEN least(greatest(after, 0), possible) ELSE step END,
         is_reset,
         coalesce(CASE WHEN is_reset THEN after ELSE abs(step) END <= possible, true)
    FROM (SELECT max_rate * seconds / 3600 + resolution AS possible, after - before AS straight) AS m
   CROSS JOIN LATERAL (
     SELECT CASE WHEN straight < -resolution AND before <= modulus
                  AND straight + modulus <= coalesce(possible, modulus / 2)
                  AND NOT (both_ways AND -straight <= possible) THEN straight + modulus
                 WHEN both_ways AND straight > possible AND modulus - straight <= possible THEN straight - modulus
                 ELSE straight END AS step) AS s
   CROSS JOIN LATERAL (
     SELECT step < -resolution AND NOT (both_ways AND coalesce(-step <= possible, true)) AS is_reset) AS r
$$;

-- As in 0003, but for the register's points.
CREATE OR REPLACE FUNCTION minute_rollup(tags integer[], froms timestamptz[], tos timestamptz[]) RETURNS SETOF reading_1m
LANGUAGE sql STABLE AS $$
  WITH want AS (
    SELECT w.tag_id, w.lo, w.hi, make_interval(secs => 2 * t.heartbeat_s) AS hold, t.kind = 'counter' AS counter,
           t.modulus, t.max_rate, coalesce(t.resolution, 0) AS resolution, t.low,
           CASE WHEN t.kind = 'counter' THEN (SELECT array_agg(ts) FROM meter_swap WHERE tag_id = w.tag_id) END AS swaps
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
    -- Where counters are known: usable readings, led by the one before the range and followed by the one after it, and
    -- declared swaps, where one register ends at `value` and another begins at `onward`. A reading at the very instant
    -- of a swap could be of either register: the declaration stands for it.
    SELECT w.*, p.ts, p.value, lag(p.ts) OVER later AS ts0, lag(p.onward) OVER later AS value0
      FROM want w CROSS JOIN LATERAL (
        (SELECT ts, value, value AS onward FROM reading
          WHERE tag_id = w.tag_id AND ts < w.lo AND quality >= 64 AND register_shows(value, w.low)
            AND (w.swaps IS NULL OR ts <> ALL (w.swaps)) ORDER BY ts DESC LIMIT 1)
        UNION ALL
        SELECT ts, value, value FROM reading
         WHERE tag_id = w.tag_id AND ts >= w.lo AND ts < w.hi AND quality >= 64 AND register_shows(value, w.low)
           AND (w.swaps IS NULL OR ts <> ALL (w.swaps))
        UNION ALL
        (SELECT ts, value, value FROM reading
          WHERE tag_id = w.tag_id AND ts >= w.hi AND quality >= 64 AND register_shows(value, w.low)
            AND (w.swaps IS NULL OR ts <> ALL (w.swaps)) ORDER BY ts LIMIT 1)
        UNION ALL
        -- All of them: steps outside the range count nothing in it, and a meter is swapped a few times in its life.
        SELECT ts, final, initial FROM meter_swap WHERE tag_id = w.tag_id AND w.swaps IS NOT NULL
      ) p
     WHERE w.counter
    WINDOW later AS (PARTITION BY w.tag_id, w.lo ORDER BY p.ts)
  ), increment AS (
    SELECT tag_id, lo, hi, ts0, ts, date_part('epoch', ts - ts0) AS seconds, ts - ts0 <= hold AS near,
           step.amount, step.is_reset, step.is_believed
      FROM register CROSS JOIN LATERAL register_step(
             value0, value, date_part('epoch', ts - ts0), modulus, max_rate, resolution, coalesce(low < 0, false)) AS step
     WHERE ts0 < hi AND ts > lo
  ), counted AS (
    SELECT tag_id, b AS bucket,
           sum(part.share) FILTER (WHERE is_believed AND near AND NOT is_reset) AS measured,
           sum(part.share) FILTER (WHERE is_believed AND (is_reset OR NOT near)) AS estimated,
           sum(part.share) FILTER (WHERE NOT is_believed) AS unknown,
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

-- Makes a declared swap count, in the transaction of its event and whoever stores it: the point at once, and what it
-- touches by the refresh. It means nothing where the tag is no counter, belongs to another gateway than the one that
-- says so (`api` speaks for all), or the readings around it are no longer kept: its minutes could not be computed again.
-- SECURITY DEFINER: who stores an event must not note or write what rollups are made of.
CREATE FUNCTION declare_swap() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  id integer;
  told timestamptz;
BEGIN
  SELECT t.tag_id INTO id FROM tag t
   WHERE t.name = NEW.subject AND t.kind = 'counter'
     AND (t.edge_id = NEW.edge_id OR EXISTS (SELECT FROM edge e WHERE e.edge_id = NEW.edge_id AND e.name = 'api'));
  IF id IS NULL THEN RETURN NULL; END IF;
  -- The minutes with readings nearest to it: their readings must still be there.
  FOR told IN
    (SELECT bucket FROM reading_1m WHERE tag_id = id AND bucket <= NEW.ts AND n > 0 ORDER BY bucket DESC LIMIT 1)
    UNION ALL
    (SELECT bucket FROM reading_1m WHERE tag_id = id AND bucket > NEW.ts AND n > 0 ORDER BY bucket LIMIT 1)
  LOOP
    IF NOT EXISTS (SELECT FROM reading WHERE tag_id = id AND ts >= told AND ts < told + interval '1 minute') THEN
      RETURN NULL;
    END IF;
  END LOOP;
  INSERT INTO meter_swap (tag_id, ts, final, initial)
  VALUES (id, NEW.ts, (NEW.body->>'final')::double precision, (NEW.body->>'initial')::double precision)
  ON CONFLICT (tag_id, ts) DO UPDATE
    SET final = excluded.final, initial = excluded.initial, declared_at = excluded.declared_at;
  -- As for readings: what the watermark has passed is noted, and it stays where it is until COMMIT.
  INSERT INTO rollup_dirty (tag_id, from_ts, to_ts)
  SELECT id, NEW.ts, NEW.ts FROM (SELECT watermark FROM rollup_state FOR SHARE) AS passed WHERE NEW.ts < watermark;
  RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION declare_swap() FROM PUBLIC;

CREATE TRIGGER event_meter_swap AFTER INSERT OR UPDATE ON event FOR EACH ROW WHEN (NEW.type = 'meter_swap')
  EXECUTE FUNCTION declare_swap();
-- Those that were declared before this file existed.
UPDATE event SET body = body WHERE type = 'meter_swap';

GRANT SELECT ON meter_swap TO hefa_ingest, hefa_jobs, hefa_api, hefa_read;
