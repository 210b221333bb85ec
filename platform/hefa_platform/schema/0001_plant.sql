-- The plant model as loaded from seeds/, and what the gateways have shown us besides.
-- Applied as hefa_owner; other roles get exactly the rights named at the end of each file.

CREATE TABLE instance (
  -- One row. The incarnation changes when a backup is restored: gateways then resend their grace window.
  only_row    boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  incarnation uuid NOT NULL DEFAULT gen_random_uuid(),
  site        text NOT NULL DEFAULT '',
  timezone    text NOT NULL DEFAULT 'UTC',      -- IANA name of the site's zone
  plantday    time NOT NULL DEFAULT '08:00',    -- local start of the plant day
  shifts      time[] NOT NULL DEFAULT '{00:00,08:00,16:00}',
  model_hash  text,                             -- of the seeds loaded last
  loaded_at   timestamptz
);
INSERT INTO instance DEFAULT VALUES;

CREATE TABLE edge (
  edge_id     integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name        text NOT NULL UNIQUE,
  description text NOT NULL DEFAULT '',
  site        text NOT NULL DEFAULT '',
  online      boolean,                          -- from the retained status / last will; null = never told
  status_at   timestamptz,
  seen_at     timestamptz                       -- last message that ingest finished
);

CREATE TABLE equipment (
  path        text PRIMARY KEY,                 -- 'A2-SX.SXA.MS-A01'; the site is its name, the enterprise too
  parent      text REFERENCES equipment,
  level       text NOT NULL CHECK (level IN ('enterprise','site','area','line','unit')),
  name        text NOT NULL,
  description text NOT NULL DEFAULT '',
  template    text,
  position    integer NOT NULL
);

CREATE TABLE tag (
  tag_id      integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name        text NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 128),
  edge_id     integer REFERENCES edge,          -- the one gateway that may write it; null = none
  site        text NOT NULL DEFAULT '',
  equipment   text REFERENCES equipment,        -- null = unassigned
  description text NOT NULL DEFAULT '',
  template    text,
  suffix      text,
  unit        text,                             -- UCUM; null = not known (unassigned tags)
  kind        text NOT NULL CHECK (kind IN ('gauge','counter','state','setpoint')),
  normal      double precision,
  low         double precision,                 -- engineering range
  high        double precision,
  noise_sd    double precision,
  period_s    double precision,
  heartbeat_s double precision NOT NULL DEFAULT 600,
  ll double precision, l double precision, h double precision, hh double precision,
  users       text[] NOT NULL DEFAULT '{}',
  core        boolean NOT NULL DEFAULT false,
  states      jsonb,                            -- {"0":"stop","1":"run"} for kind state
  modulus     double precision,                 -- counters: the register rolls over here
  max_rate    double precision,                 -- counters: largest believable increment per hour, register units
  resolution  double precision,                 -- counters: the step of the register
  source      text,                             -- where the figures are from
  assigned    boolean NOT NULL DEFAULT true,    -- false = a gateway sent it and the plant model does not know it
  retired     boolean NOT NULL DEFAULT false,   -- once in the plant model, no longer
  registered_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX tag_equipment ON tag (equipment);

CREATE TABLE meter (
  tag_id      integer PRIMARY KEY REFERENCES tag,
  carrier     text,                             -- electricity, water, gas, steam, air
  material    text,                             -- HCl, NaOH, Na2CO3, NH4HCO3 ...
  stream      text NOT NULL DEFAULT 'supply' CHECK (stream IN ('supply','reuse','discharge','export')),
  serves      text NOT NULL REFERENCES equipment,
  parent      integer REFERENCES meter,
  role        text NOT NULL CHECK (role IN ('billing','check')),
  factor      double precision NOT NULL,        -- unit of consumption per register unit (kg pure substance per m3 …)
  unit        text NOT NULL,                    -- UCUM unit of consumption
  source      text,
  CHECK (num_nonnulls(carrier, material) = 1)
);

GRANT SELECT ON instance, edge, equipment, tag, meter TO hefa_ingest, hefa_jobs, hefa_api, hefa_read;
GRANT INSERT, UPDATE ON edge TO hefa_ingest;
GRANT INSERT ON tag TO hefa_ingest;
