-- Registers: a time so long that nobody can say how often a register rolled over in it is told, and a declared swap can
-- be withdrawn.

-- As in 0010, and `further`: how much more the meter can have counted in this time, in whole rounds of its register, which
-- no reading tells. It counted `amount` at least and `amount + further` at most; with `both_ways` perhaps as much less.
DROP FUNCTION register_step(double precision, double precision, double precision, double precision, double precision,
                            double precision, boolean);
CREATE FUNCTION register_step(before double precision, after double precision, seconds double precision,
                              modulus double precision, max_rate double precision, resolution double precision,
                              both_ways boolean,
                              OUT amount double precision, OUT is_reset boolean, OUT is_believed boolean,
                              OUT further double precision)
RETURNS SETOF record LANGUAGE sql IMMUTABLE ROWS 1 AS $$
  SELECT CASE WHEN is_reset THEN least(greatest(after, 0), possible) ELSE step END, is_reset, believed,
         CASE WHEN believed AND NOT is_reset AND greatest(before, after) <= modulus
              THEN coalesce(floor((possible - CASE WHEN both_ways THEN -abs(step) ELSE step END) / nullif(modulus, 0))
                            * modulus, 0)
              ELSE 0 END
    FROM (SELECT max_rate * seconds / 3600 + resolution AS possible, after - before AS straight) AS m
   CROSS JOIN LATERAL (
     SELECT CASE WHEN straight < -resolution AND before <= modulus
                  AND straight + modulus <= coalesce(possible, modulus / 2)
                  AND NOT (both_ways AND -straight <= possible) THEN straight + modulus
                 WHEN both_ways AND straight > possible AND modulus - straight <= possible THEN straight - modulus
                 ELSE straight END AS step) AS s
   CROSS JOIN LATERAL (
     SELECT step < -resolution AND NOT (both_ways AND coalesce(-step <= possible, true)) AS is_reset) AS r
   CROSS JOIN LATERAL (
     SELECT coalesce(CASE WHEN is_reset THEN after ELSE abs(step) END <= possible, true) AS believed) AS b
$$;

-- As in 0010. Where the meter can have counted further rounds, nothing is measured: what it counted at least is estimated,
-- and the rounds are unknown.
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
           step.amount, step.is_reset, step.is_believed, step.further
      FROM register CROSS JOIN LATERAL register_step(
             value0, value, date_part('epoch', ts - ts0), modulus, max_rate, resolution, coalesce(low < 0, false)) AS step
     WHERE ts0 < hi AND ts > lo
  ), counted AS (
    SELECT tag_id, b AS bucket,
           sum(part.share) FILTER (WHERE is_believed AND near AND NOT is_reset AND further = 0) AS measured,
           sum(part.share) FILTER (WHERE is_believed AND (is_reset OR NOT near OR further > 0)) AS estimated,
           sum(CASE WHEN is_believed THEN part.more ELSE part.share END)
             FILTER (WHERE NOT is_believed OR further > 0) AS unknown,
           count(*) FILTER (WHERE is_reset AND b + interval '1 minute' >= ts)::integer AS resets
      FROM increment
     CROSS JOIN LATERAL generate_series(
             greatest(date_bin('1 minute', ts0, 'epoch'), lo),
             least(ts, hi) - interval '1 microsecond', interval '1 minute') AS b
     CROSS JOIN LATERAL (SELECT date_part('epoch', least(ts, b + interval '1 minute') - greatest(ts0, b)) AS s) AS own
     CROSS JOIN LATERAL (SELECT amount / seconds * own.s AS share, further / seconds * own.s AS more) AS part
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

-- Whether the readings nearest to an instant on either side are still there, so that minutes can be computed again.
CREATE FUNCTION can_recompute(tag integer, at timestamptz) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT NOT EXISTS (
    SELECT FROM (
      (SELECT bucket FROM reading_1m WHERE tag_id = tag AND bucket <= at AND n > 0 ORDER BY bucket DESC LIMIT 1)
      UNION ALL
      (SELECT bucket FROM reading_1m WHERE tag_id = tag AND bucket > at AND n > 0 ORDER BY bucket LIMIT 1)) AS told
     WHERE NOT EXISTS (
       SELECT FROM reading WHERE tag_id = tag AND ts >= told.bucket AND ts < told.bucket + interval '1 minute'))
$$;

-- As in 0010, and an event that says `withdrawn` takes back what was declared for its instant: the register is then what
-- its readings say.
CREATE OR REPLACE FUNCTION declare_swap() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  id integer;
BEGIN
  SELECT t.tag_id INTO id FROM tag t
   WHERE t.name = NEW.subject AND t.kind = 'counter'
     AND (t.edge_id = NEW.edge_id OR EXISTS (SELECT FROM edge e WHERE e.edge_id = NEW.edge_id AND e.name = 'api'));
  IF id IS NULL OR NOT can_recompute(id, NEW.ts) THEN RETURN NULL; END IF;
  IF coalesce((NEW.body->>'withdrawn')::boolean, false) THEN
    DELETE FROM meter_swap WHERE tag_id = id AND ts = NEW.ts;
    IF NOT FOUND THEN RETURN NULL; END IF;
  ELSE
    INSERT INTO meter_swap (tag_id, ts, final, initial)
    VALUES (id, NEW.ts, (NEW.body->>'final')::double precision, (NEW.body->>'initial')::double precision)
    ON CONFLICT (tag_id, ts) DO UPDATE
      SET final = excluded.final, initial = excluded.initial, declared_at = excluded.declared_at;
  END IF;
  -- As for readings: what the watermark has passed is noted, and it stays where it is until COMMIT. A point that is gone
  -- cannot be found by the refresh: the one before it, from which is counted now, is noted too.
  INSERT INTO rollup_dirty (tag_id, from_ts, to_ts)
  SELECT id, touched, touched
    FROM (SELECT watermark FROM rollup_state FOR SHARE) AS passed,
         (SELECT NEW.ts UNION SELECT register_before(id, NEW.ts)) AS point(touched)
   WHERE touched < watermark;
  RETURN NULL;
END $$;
