-- Alarms of signals (bad, stale) and of gateways (silent) beside those of limits, and the states of ISA-18.2 that were
-- missing: latched, suppressed by design, out of service.

ALTER TABLE alarm
  ALTER tag_id DROP NOT NULL,                   -- an alarm is of a tag …
  ADD edge_id integer REFERENCES edge,          -- … or of a gateway
  ALTER limit_value DROP NOT NULL,              -- these three: of limits only
  ALTER value DROP NOT NULL,
  ALTER extreme DROP NOT NULL,
  ADD latching boolean NOT NULL DEFAULT false,  -- when it is over and seen, it stays until somebody resets it
  DROP CONSTRAINT alarm_level_check,
  DROP CONSTRAINT alarm_state_check,
  ADD CONSTRAINT alarm_level_check CHECK (level IN ('ll','l','h','hh','bad','stale','silent')),
  ADD CONSTRAINT alarm_state_check CHECK (state IN ('UNACK','ACKED','RTN_UNACK','LATCHED','SHELVED',
                                                    'SUPPRESSED_BY_DESIGN','OUT_OF_SERVICE','NORM')),
  ADD CONSTRAINT alarm_point_check CHECK (num_nonnulls(tag_id, edge_id) = 1),
  ADD CONSTRAINT alarm_limit_check CHECK (
    level NOT IN ('ll','l','h','hh') OR num_nonnulls(tag_id, limit_value, value, extreme) = 4);
CREATE INDEX alarm_edge ON alarm (edge_id, level, raised_at) WHERE edge_id IS NOT NULL;
CREATE INDEX alarm_active ON alarm (alarm_id) WHERE returned_at IS NULL AND NOT withdrawn;
CREATE INDEX alarm_change_at ON alarm_change (at);        -- for the stream

ALTER TABLE alarm_shelf
  DROP CONSTRAINT alarm_shelf_pkey,
  ALTER tag_id DROP NOT NULL,
  ADD edge_id integer REFERENCES edge,
  ADD CONSTRAINT alarm_shelf_point_check CHECK (num_nonnulls(tag_id, edge_id) = 1);
CREATE UNIQUE INDEX alarm_shelf_point ON alarm_shelf (tag_id, edge_id, level) NULLS NOT DISTINCT;

CREATE TABLE alarm_outage (                     -- what is out of service: planned maintenance, with an end
  outage_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tag_id      integer REFERENCES tag,           -- a tag, …
  equipment   text REFERENCES equipment,        -- … all that stands below a place, …
  edge_id     integer REFERENCES edge,          -- … or a gateway with its tags
  level       text,                             -- null = all alarms of it
  since       timestamptz NOT NULL DEFAULT clock_timestamp(),
  until       timestamptz NOT NULL,
  by          text NOT NULL,
  reason      text NOT NULL,
  ended_at    timestamptz,                      -- back before its time
  ended_by    text,
  CHECK (num_nonnulls(tag_id, equipment, edge_id) = 1)
);
CREATE INDEX alarm_outage_open ON alarm_outage (until) WHERE ended_at IS NULL;

-- `tag` is the gateway's name where the alarm is of a gateway.
CREATE OR REPLACE VIEW v_alarm AS
  SELECT a.raised_at, coalesce(t.name, e.name) AS tag, a.level, a.priority, a.state, a.limit_value, a.value, a.extreme,
         a.crossed_at, a.returned_at, a.acked_at, a.acked_by, a.late, t.unit,
         coalesce(t.description, e.description) AS description, t.equipment, p.area, p.line
    FROM alarm a LEFT JOIN tag t USING (tag_id) LEFT JOIN edge e ON e.edge_id = a.edge_id
    LEFT JOIN v_place p ON p.path = t.equipment
   WHERE NOT a.withdrawn;

GRANT SELECT ON alarm_outage TO hefa_api, hefa_jobs, hefa_read;
GRANT INSERT ON alarm_outage TO hefa_api;
GRANT UPDATE (ended_at, ended_by) ON alarm_outage TO hefa_api;
