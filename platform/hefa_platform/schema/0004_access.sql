-- Who may ask: API keys (hashed), and the audit of every write.
CREATE TABLE api_key (
  key_id      text PRIMARY KEY,                 -- public part: hefa_<key_id>_<secret>
  name        text NOT NULL,
  role        text NOT NULL CHECK (role IN ('viewer','operator','engineer','admin')),
  site        text NOT NULL DEFAULT '*',
  hash        bytea NOT NULL,                   -- sha256 of the secret: 256 random bits need no slow hash
  created_at  timestamptz NOT NULL DEFAULT now(),
  created_by  text NOT NULL DEFAULT 'system',
  expires_at  timestamptz,
  revoked_at  timestamptz,
  used_at     timestamptz
);
CREATE TABLE audit (
  audit_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at          timestamptz NOT NULL DEFAULT now(),
  key_id      text NOT NULL,
  action      text NOT NULL,
  subject     text NOT NULL,
  body        jsonb
);
GRANT SELECT, INSERT, UPDATE ON api_key TO hefa_api;
GRANT SELECT, INSERT ON audit TO hefa_api;
