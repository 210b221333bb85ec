-- People decide about refused data: discard it, or try it again once the reason is gone. Both with a reason of theirs.
ALTER TABLE quarantine DROP CONSTRAINT quarantine_state_check;
ALTER TABLE quarantine ADD CONSTRAINT quarantine_state_check CHECK (state IN ('open', 'retrying', 'retried', 'discarded'));
ALTER TABLE quarantine ADD COLUMN reason text, ADD COLUMN decided_by text, ADD COLUMN decided_at timestamptz;
CREATE INDEX quarantine_retrying ON quarantine (quarantine_id) WHERE state = 'retrying';

GRANT UPDATE (state, reason, decided_by, decided_at) ON quarantine TO hefa_api;
GRANT UPDATE (state) ON quarantine TO hefa_ingest;
