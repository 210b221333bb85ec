-- Registers: a declared swap that cannot be reckoned with is refused, and who declares it hears so.

-- As in 0019, but a swap is taken since when readings are: a day after the oldest raw ones, so that what was known before
-- is there too. One with no reading before it is either of a meter whose readings are still to come, or a mistake in its
-- year: it may be 100 days old, more than the 90 for which raw readings are kept unless people say otherwise. All minutes
-- from there to the first reading have to be made, while all other rollups wait.
CREATE OR REPLACE FUNCTION can_recompute(tag integer, at timestamptz) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT at >= (SELECT raw_since + interval '1 day' FROM rollup_state)
     AND (at > clock_timestamp() - interval '100 days' OR EXISTS (SELECT FROM reading WHERE tag_id = tag AND ts <= at))
     AND NOT EXISTS (
    SELECT FROM (
      (SELECT bucket FROM reading_1m WHERE tag_id = tag AND bucket <= at AND n > 0 ORDER BY bucket DESC LIMIT 1)
      UNION ALL
      (SELECT bucket FROM reading_1m WHERE tag_id = tag AND bucket > at AND n > 0 ORDER BY bucket LIMIT 1)) AS told
     WHERE NOT EXISTS (
       SELECT FROM reading WHERE tag_id = tag AND ts >= told.bucket AND ts < told.bucket + interval '1 minute'))
$$;

-- Why `can_recompute` says no, and since when it says yes.
CREATE FUNCTION why_final(tag integer, at timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT words || to_char(date_trunc('second', since + interval '999999 microseconds') AT TIME ZONE 'UTC',
                          'YYYY-MM-DD"T"HH24:MI:SS"Z"')
    FROM (SELECT raw_since + interval '1 day' AS kept FROM rollup_state) AS final
   CROSS JOIN (SELECT min(ts) AS first FROM reading WHERE tag_id = tag) AS raw
   CROSS JOIN LATERAL (
     SELECT 'the readings around this swap are no longer kept, and what was counted there is final: swaps are taken since ',
            greatest(kept, coalesce(first, clock_timestamp()))
      WHERE at < kept OR EXISTS (SELECT FROM reading_1m WHERE tag_id = tag AND bucket <= at AND n > 0)
      UNION ALL
     SELECT 'this register has no reading as old as this swap (check its year): swaps are taken since ',
            least(first, clock_timestamp() - interval '100 days') LIMIT 1) AS told(words, since)
$$;

-- As in 0018, but before the event is kept. One that means nothing goes to quarantine instead, where it can be tried again:
-- a swap of no counter, of another gateway's (`api` speaks for all), of a time that is final, or a withdrawal of nothing.
CREATE OR REPLACE FUNCTION declare_swap() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  sender text := (SELECT name FROM edge WHERE edge_id = NEW.edge_id);
  register tag;
  why text[];  -- code of the contract, and detail
BEGIN
  SELECT * INTO register FROM tag WHERE name = NEW.subject;
  IF register.kind IS DISTINCT FROM 'counter' THEN
    why := ARRAY['TAG_UNKNOWN', 'no counter of this name is known: only registers are swapped'];
  ELSIF sender <> 'api' AND register.edge_id IS DISTINCT FROM NEW.edge_id THEN
    why := ARRAY['TAG_FOREIGN', 'the tag belongs to another gateway'];
  ELSIF NOT can_recompute(register.tag_id, NEW.ts) THEN
    why := ARRAY['TS_TOO_OLD', why_final(register.tag_id, NEW.ts)];
  ELSIF coalesce((NEW.body->>'withdrawn')::boolean, false) THEN
    DELETE FROM meter_swap WHERE tag_id = register.tag_id AND ts = NEW.ts;
    IF NOT FOUND THEN why := ARRAY['SCHEMA', 'no swap is declared for this time: there is none to withdraw']; END IF;
  ELSE
    INSERT INTO meter_swap (tag_id, ts, final, initial)
    VALUES (register.tag_id, NEW.ts, (NEW.body->>'final')::double precision, (NEW.body->>'initial')::double precision)
    ON CONFLICT (tag_id, ts) DO UPDATE
      SET final = excluded.final, initial = excluded.initial, declared_at = excluded.declared_at;
  END IF;
  IF why IS NOT NULL THEN
    INSERT INTO quarantine (edge, epoch, seq, i, code, detail, topic, reading)
    VALUES (sender, NEW.epoch, NEW.seq, NEW.i, why[1], why[2], 'hefa/v1/' || sender || '/event',
            jsonb_build_object('event', NEW.body || jsonb_build_object(
              'type', NEW.type, 'ts', (extract(epoch FROM NEW.ts) * 1000000)::bigint, 'subject', NEW.subject)));
    RETURN NULL;
  END IF;
  -- As for readings: what the watermark has passed is noted, and it stays where it is until COMMIT. A point that is gone
  -- cannot be found by the refresh: the one before it, from which is counted now, is noted too.
  INSERT INTO rollup_dirty (tag_id, from_ts, to_ts)
  SELECT register.tag_id, touched, touched
    FROM (SELECT watermark FROM rollup_state FOR SHARE) AS passed,
         (SELECT NEW.ts UNION SELECT register_before(register.tag_id, NEW.ts)) AS point(touched)
   WHERE touched < watermark;
  RETURN NEW;
END $$;

DROP TRIGGER event_meter_swap ON event;
CREATE TRIGGER event_meter_swap BEFORE INSERT OR UPDATE ON event FOR EACH ROW WHEN (NEW.type = 'meter_swap')
  EXECUTE FUNCTION declare_swap();
