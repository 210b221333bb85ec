-- Readings that people enter, by REST or from a file. They are the gateway `api`'s and go the way of every message, so
-- the API's role may add what ingest may add; it deletes nothing, and changes no reading.
CREATE TABLE entry (                            -- answers to requests, to be given again to the same request
  epoch       text PRIMARY KEY,                 -- of the request in the ledger, made from key and Idempotency-Key
  hash        bytea NOT NULL,                   -- sha256 of the body: same key, other body = refused
  answer      jsonb NOT NULL,
  key_id      text NOT NULL,
  entered_at  timestamptz NOT NULL DEFAULT now()
);

GRANT SELECT, INSERT, UPDATE ON entry TO hefa_api;
GRANT INSERT ON tag, reading, reading_conflict, quarantine, rollup_dirty TO hefa_api;
GRANT INSERT, UPDATE ON latest TO hefa_api;
GRANT UPDATE (only_row) ON rollup_state TO hefa_api;             -- FOR SHARE asks for it
GRANT EXECUTE ON FUNCTION ensure_partitions(date[]) TO hefa_api;
