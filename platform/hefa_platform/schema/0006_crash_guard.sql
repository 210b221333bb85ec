-- What a worker is storing, noted before it begins, so that a message that kills workers is found by its crashes and
-- not sent round for ever. Written without waiting for the disk: it has to outlive the worker, not the server.
CREATE TABLE in_flight (
  worker      text PRIMARY KEY,
  hashes      bytea[] NOT NULL                  -- sha256 of the messages; emptied in the transaction that stores them
);
CREATE TABLE suspect (                          -- messages that were in flight when a worker ended
  sha256      bytea PRIMARY KEY,
  crashes     bigint NOT NULL,
  last_at     timestamptz NOT NULL DEFAULT now()
);

-- The ledger does not grow for ever: every seq from 1 to the floor was accepted, or will never come. The floor is
-- contiguous, so it is safe where the largest known seq would not be. Older rows below it are deleted.
CREATE TABLE edge_floor (
  edge_id     integer NOT NULL REFERENCES edge,
  epoch       text NOT NULL,
  floor       bigint NOT NULL,
  PRIMARY KEY (edge_id, epoch)
);

GRANT SELECT, INSERT, UPDATE ON in_flight TO hefa_ingest;
GRANT SELECT, INSERT, UPDATE, DELETE ON suspect TO hefa_ingest;
GRANT SELECT ON in_flight, suspect, edge_floor TO hefa_jobs, hefa_api;
GRANT DELETE ON in_flight, suspect, ledger TO hefa_jobs;
GRANT SELECT ON edge_floor TO hefa_ingest;
GRANT INSERT, UPDATE ON edge_floor TO hefa_jobs;
