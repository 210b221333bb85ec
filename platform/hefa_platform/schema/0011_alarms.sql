-- Alarms: excursions beyond the limits of the plant model, found by maintain in committed readings, in the order of
-- their time; and what people did about them. An excursion is one row, whenever and however often it is looked for.

CREATE TABLE alarm (
  alarm_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tag_id      integer NOT NULL REFERENCES tag,
  level       text NOT NULL CHECK (level IN ('ll','l','h','hh')),
  limit_value double precision NOT NULL,        -- as it was when the alarm was raised
  priority    text NOT NULL CHECK (priority IN ('high','medium','low')),
  state       text NOT NULL CHECK (state IN ('UNACK','ACKED','RTN_UNACK','SHELVED','NORM')),
  crossed_at  timestamptz NOT NULL,             -- the reading that passed the limit
  raised_at   timestamptz NOT NULL,             -- … for the on-delay
  returned_at timestamptz,                      -- inside by the deadband for the off-delay; null = active
  value       double precision NOT NULL,        -- of the reading that passed
  extreme     double precision NOT NULL,        -- furthest beyond the limit so far
  found_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
  late        boolean NOT NULL,                 -- it was over long before its readings came: nobody could react
  withdrawn   boolean NOT NULL DEFAULT false,   -- readings that came later show that there was none
  acked_at    timestamptz,
  acked_by    text
);
CREATE INDEX alarm_point ON alarm (tag_id, level, raised_at);
CREATE INDEX alarm_raised ON alarm (raised_at DESC, alarm_id DESC);
CREATE INDEX alarm_open ON alarm (state) WHERE state <> 'NORM';

CREATE TABLE alarm_change (                     -- every state an alarm was in: when we knew, and by whom
  change_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  alarm_id    bigint NOT NULL REFERENCES alarm,
  at          timestamptz NOT NULL DEFAULT clock_timestamp(),
  from_state  text,
  to_state    text NOT NULL,
  by          text NOT NULL,                    -- a key's id, or 'system'
  comment     text NOT NULL DEFAULT ''
);
CREATE INDEX alarm_change_alarm ON alarm_change (alarm_id, change_id);

CREATE TABLE alarm_shelf (                      -- limits of a tag that are not to be announced for a while
  tag_id      integer NOT NULL REFERENCES tag,
  level       text NOT NULL,
  until       timestamptz NOT NULL,
  since       timestamptz NOT NULL DEFAULT clock_timestamp(),
  by          text NOT NULL,
  reason      text NOT NULL,
  PRIMARY KEY (tag_id, level)
);

-- Excursions raised before the checkpoint are found, or a row of alarm_late says which readings came since. It follows
-- the watermark of the rollups, because what is stored before that one is noted in the transaction that stores it.
CREATE TABLE alarm_progress (
  only_row    boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  checkpoint  timestamptz NOT NULL
);
INSERT INTO alarm_progress (checkpoint) SELECT watermark FROM rollup_state;

CREATE TABLE alarm_late (
  late_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tag_id      integer NOT NULL,
  from_ts     timestamptz NOT NULL,
  to_ts       timestamptz NOT NULL,
  noted_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX alarm_late_tag ON alarm_late (tag_id, from_ts);

CREATE FUNCTION note_alarm_late() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
  INSERT INTO alarm_late (tag_id, from_ts, to_ts)
  SELECT tag_id, min(from_ts), max(to_ts) FROM fresh JOIN tag USING (tag_id)
   WHERE num_nonnulls(ll, l, h, hh) > 0 GROUP BY tag_id;
  RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION note_alarm_late() FROM PUBLIC;
CREATE TRIGGER rollup_dirty_alarms AFTER INSERT ON rollup_dirty REFERENCING NEW TABLE AS fresh
  FOR EACH STATEMENT EXECUTE FUNCTION note_alarm_late();

-- What was stored before there were alarms.
INSERT INTO alarm_late (tag_id, from_ts, to_ts, noted_at)
SELECT tag_id, min(bucket), max(bucket) + interval '1 hour', '-infinity'
  FROM reading_1h JOIN tag USING (tag_id) WHERE num_nonnulls(ll, l, h, hh) > 0 GROUP BY tag_id;

GRANT SELECT ON alarm, alarm_change, alarm_shelf, alarm_progress, alarm_late TO hefa_api, hefa_jobs, hefa_read;
GRANT INSERT, UPDATE ON alarm TO hefa_jobs;
GRANT INSERT ON alarm_change TO hefa_jobs, hefa_api;
GRANT UPDATE (state, acked_at, acked_by) ON alarm TO hefa_api;
GRANT INSERT, UPDATE, DELETE ON alarm_shelf TO hefa_api;
GRANT UPDATE, DELETE ON alarm_shelf TO hefa_jobs;
GRANT UPDATE ON alarm_progress TO hefa_jobs;
GRANT DELETE ON alarm_late TO hefa_jobs;
