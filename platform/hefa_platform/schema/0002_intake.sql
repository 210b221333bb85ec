-- What arrives: the ledger of accepted envelopes, raw readings, and everything that was refused.

CREATE TABLE ledger (
  edge_id     integer NOT NULL REFERENCES edge,
  epoch       text NOT NULL,
  seq         bigint NOT NULL,
  hash        bytea NOT NULL,                   -- sha256 of the message bytes: same key, other hash = EPOCH_REUSE
  readings    integer NOT NULL,
  received_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (edge_id, epoch, seq)
);

CREATE TABLE gap (                              -- envelopes that will never come, told by the gateway
  edge_id     integer NOT NULL REFERENCES edge,
  epoch       text NOT NULL,
  seq         bigint NOT NULL,
  from_seq    bigint NOT NULL,
  to_seq      bigint NOT NULL,
  readings    bigint NOT NULL,
  reason      text NOT NULL,
  received_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (edge_id, epoch, seq)
);

-- One narrow table; the unique index is the primary access path and the guard against duplicates.
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN
    CREATE TABLE reading (
      tag_id integer NOT NULL, ts timestamptz NOT NULL, value double precision, quality smallint NOT NULL);
    PERFORM create_hypertable('reading', by_range('ts', INTERVAL '1 day'), create_default_indexes => false);
  ELSE
    CREATE TABLE reading (
      tag_id integer NOT NULL, ts timestamptz NOT NULL, value double precision, quality smallint NOT NULL
    ) PARTITION BY RANGE (ts);
  END IF;
END $$;
CREATE UNIQUE INDEX reading_key ON reading (tag_id, ts);

-- Day partitions (UTC) on plain PostgreSQL; nothing to do on a hypertable. Returns how many were made.
-- SECURITY DEFINER: ingest may need yesterday's partition for backfill, and must not own tables.
CREATE FUNCTION ensure_partitions(days date[]) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE d date; made integer := 0; part text;
BEGIN
  IF EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN RETURN 0; END IF;
  FOR d IN SELECT DISTINCT unnest(days) ORDER BY 1 LOOP
    part := 'reading_' || to_char(d, 'YYYYMMDD');
    IF to_regclass(part) IS NULL THEN
      PERFORM pg_advisory_xact_lock(hashtext('hefa.partition'));
      IF to_regclass(part) IS NULL THEN
        EXECUTE format('CREATE TABLE %I PARTITION OF reading FOR VALUES FROM (%L) TO (%L)', part,
                       d::timestamp AT TIME ZONE 'UTC', (d + 1)::timestamp AT TIME ZONE 'UTC');
        -- Without this right the server does not say which key was there already.
        EXECUTE format('GRANT SELECT ON %I TO hefa_ingest', part);
        made := made + 1;
      END IF;
    END IF;
  END LOOP;
  RETURN made;
END $$;
REVOKE ALL ON FUNCTION ensure_partitions(date[]) FROM PUBLIC;

CREATE TABLE reading_conflict (                 -- same tag and time, another value: the first won, this is the other
  conflict_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tag_id      integer NOT NULL REFERENCES tag,
  ts          timestamptz NOT NULL,
  value       double precision,
  quality     smallint NOT NULL,
  edge_id     integer NOT NULL REFERENCES edge,
  epoch       text NOT NULL,
  seq         bigint NOT NULL,
  received_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE quarantine (                       -- refused data, kept for people; never deleted by a program
  quarantine_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  edge        text NOT NULL,                    -- as the topic says, may be unknown to us
  epoch       text,
  seq         bigint,
  i           integer,                          -- index of the reading; null = the whole message
  code        text NOT NULL,
  detail      text NOT NULL,
  topic       text NOT NULL,
  reading     jsonb,                            -- {"tag","ts","value","quality"} as received, for a refused reading
  payload     bytea,                            -- for a refused message: its first 64 KiB
  sha256      bytea,                            -- of the whole message
  size        integer,
  state       text NOT NULL DEFAULT 'open' CHECK (state IN ('open','retried','discarded')),
  received_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX quarantine_open ON quarantine (quarantine_id) WHERE state = 'open';
-- A refused message that is resent is refused again, but kept once.
CREATE UNIQUE INDEX quarantine_message ON quarantine (edge, topic, sha256) WHERE i IS NULL AND sha256 IS NOT NULL;

CREATE TABLE latest (
  tag_id      integer PRIMARY KEY REFERENCES tag,
  ts          timestamptz NOT NULL,
  value       double precision,
  quality     smallint NOT NULL,
  changed_at  timestamptz NOT NULL DEFAULT clock_timestamp()   -- for the stream; not a commit order
);
CREATE INDEX latest_changed ON latest (changed_at);

-- Durable counters of the accounting identity, in readings: received = stored + duplicate + conflict + quarantined.
-- One row per worker, so that workers do not wait for each other; sums are read.
CREATE TABLE intake_counter (
  edge_id     integer NOT NULL REFERENCES edge,
  worker      text NOT NULL,
  received    bigint NOT NULL DEFAULT 0,
  stored      bigint NOT NULL DEFAULT 0,
  duplicate   bigint NOT NULL DEFAULT 0,
  conflict    bigint NOT NULL DEFAULT 0,
  quarantined bigint NOT NULL DEFAULT 0,
  undecodable bigint NOT NULL DEFAULT 0,        -- messages, counted apart
  events      bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (edge_id, worker),
  CHECK (received = stored + duplicate + conflict + quarantined)
);
-- Messages of a topic whose edge we do not know (TOPIC_INVALID) are counted here.
CREATE TABLE undecodable_counter (worker text PRIMARY KEY, messages bigint NOT NULL DEFAULT 0);

-- Age at commit of live readings, in log2 steps: bucket k holds 2^k … 2^(k+1) ms. A histogram of ten-second slots.
CREATE TABLE freshness (
  slot        timestamptz NOT NULL,
  worker      text NOT NULL,
  bucket      smallint NOT NULL,                -- 8 steps per factor of two: age_ms = 2^(bucket/8)
  readings    bigint NOT NULL,
  PRIMARY KEY (slot, worker, bucket)
);

-- Signs of life of ingest and maintain, for health checks and the pipeline page.
CREATE TABLE worker (
  task        text NOT NULL CHECK (task IN ('ingest','maintain')),
  name        text NOT NULL,
  ready       boolean NOT NULL,
  detail      text NOT NULL DEFAULT '',
  seen_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (task, name)
);

CREATE TABLE event (
  event_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  edge_id     integer NOT NULL REFERENCES edge,
  epoch       text NOT NULL,
  seq         bigint NOT NULL,
  i           integer NOT NULL,
  type        text NOT NULL,
  ts          timestamptz NOT NULL,
  subject     text NOT NULL,
  body        jsonb NOT NULL,
  received_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE (edge_id, epoch, seq, i)
);
CREATE INDEX event_ts ON event (ts DESC, event_id DESC);

GRANT SELECT ON ledger, gap, reading, reading_conflict, quarantine, latest, intake_counter, undecodable_counter,
  freshness, worker, event TO hefa_ingest, hefa_jobs, hefa_api;
GRANT SELECT ON reading, latest, event TO hefa_read;
GRANT INSERT ON ledger, gap, reading, reading_conflict, quarantine, event TO hefa_ingest;
GRANT INSERT, UPDATE ON latest, intake_counter, undecodable_counter, freshness TO hefa_ingest;
GRANT EXECUTE ON FUNCTION ensure_partitions(date[]) TO hefa_ingest, hefa_jobs;
GRANT INSERT, UPDATE, DELETE ON worker TO hefa_ingest, hefa_jobs;
GRANT DELETE ON freshness TO hefa_jobs;
