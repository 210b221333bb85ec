-- What people decide and keep: dated settings; lots and their genealogy, made from events; the hash chain over them.

CREATE TABLE setting (                          -- one row per version entered; none is ever changed or deleted
  setting_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  site        text NOT NULL,
  kind        text NOT NULL,
  name        text NOT NULL,
  valid_from  timestamptz NOT NULL,
  valid_to    timestamptz,
  value       jsonb,                            -- null = withdrawn: as if nothing had been entered from valid_from on
  source      text NOT NULL DEFAULT '',
  example     boolean NOT NULL DEFAULT false,
  reason      text NOT NULL DEFAULT '',
  entered_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
  entered_by  text NOT NULL,                    -- a key's id, or 'seeds'
  CHECK (valid_to > valid_from)
);
CREATE INDEX setting_name ON setting (site, kind, name, valid_from, setting_id);

-- A lot as the events about it tell, whatever their order: of each field the latest word, and the state of the latest
-- act. Made anew from the events whenever one comes; nobody else writes here.
CREATE TABLE lot (
  lot         text PRIMARY KEY,
  site        text NOT NULL,
  kind        text NOT NULL,                    -- '' = not told
  material    text NOT NULL,
  equipment   text NOT NULL,
  state       text NOT NULL CHECK (state IN ('named','received','started','finished','packed','consumed')),
  kg          double precision,
  begun       timestamptz NOT NULL,             -- of one that is only named: when its first child was made
  ended       timestamptz,
  corrected   boolean NOT NULL
);
CREATE INDEX lot_begun ON lot (begun DESC, lot DESC);
CREATE INDEX lot_named ON lot (lot) WHERE state = 'named';
CREATE TABLE lot_part (                         -- what went from a lot into another
  parent      text NOT NULL,
  child       text NOT NULL,
  kg          double precision NOT NULL,
  PRIMARY KEY (child, parent)
);
CREATE INDEX lot_part_parent ON lot_part (parent);
CREATE INDEX event_lot ON event ((body->>'lot')) WHERE type = 'lot';
CREATE INDEX event_sample ON event ((coalesce(nullif(body->>'lot', ''), body->>'sample'))) WHERE type = 'lab_result';
CREATE INDEX event_note ON event ((body->>'note')) WHERE type = 'note';
CREATE INDEX event_type ON event (type, ts DESC, event_id DESC);

-- Every record of a lot in the order of acceptance, each hashed with the one before it. Tamper-evident, no more.
CREATE TABLE lot_chain (
  n           bigint PRIMARY KEY,
  event_id    bigint NOT NULL UNIQUE REFERENCES event,
  lot         text NOT NULL,
  record      text NOT NULL,                    -- canonical JSON
  hash        text NOT NULL                     -- of the hash before, in hex, and the record
);
CREATE INDEX lot_chain_lot ON lot_chain (lot, n);

-- Sorted keys, no spaces, UTF-8, numbers without trailing zeros.
CREATE FUNCTION canonical_json(value jsonb) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE jsonb_typeof(value)
    WHEN 'object' THEN (SELECT '{' || coalesce(string_agg(to_json(key)::text || ':' || canonical_json(inner_value), ','
                                                          ORDER BY key COLLATE "C"), '') || '}'
                          FROM jsonb_each(value) AS member(key, inner_value))
    WHEN 'array' THEN (SELECT '[' || coalesce(string_agg(canonical_json(inner_value), ',' ORDER BY nth), '') || ']'
                         FROM jsonb_array_elements(value) WITH ORDINALITY AS member(inner_value, nth))
    WHEN 'number' THEN trim_scale((value #>> '{}')::numeric)::text
    ELSE value::text END
$$;

CREATE FUNCTION chain_hash(before text, record text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT encode(sha256(convert_to(before || record, 'UTF8')), 'hex')
$$;

CREATE FUNCTION lot_record(e event) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT canonical_json(e.body || jsonb_build_object('type', e.type, 'subject', e.subject,
                                                     'ts', (extract(epoch FROM e.ts) * 1000000)::bigint))
$$;

-- The genealogy has one order: ts, then the act's place in a lot's life, then the text. Ties are equal records.
CREATE FUNCTION fold_lots(names text[]) RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
  WITH told AS (
    SELECT e.body->>'lot' AS lot, e.body->>'action' AS action, e.ts, e.subject, e.body, edge.site,
           row_number() OVER (PARTITION BY e.body->>'lot' ORDER BY e.ts,
             array_position(ARRAY['received','started','finished','packed','consumed','corrected'], e.body->>'action'),
             e.body::text COLLATE "C", e.subject COLLATE "C", e.event_id) AS nth
      FROM event e JOIN edge USING (edge_id) WHERE e.type = 'lot' AND e.body->>'lot' = ANY (names)
  ), folded AS (
    SELECT lot, (array_agg(site ORDER BY nth DESC))[1] AS site,
           coalesce((array_agg(body->>'kind' ORDER BY nth DESC) FILTER (WHERE body->>'kind' <> ''))[1], '') AS kind,
           (array_agg(body->>'material' ORDER BY nth DESC))[1] AS material,
           (array_agg(subject ORDER BY nth DESC))[1] AS equipment,
           coalesce((array_agg(action ORDER BY nth DESC) FILTER (WHERE action <> 'corrected'))[1], 'named') AS state,
           (array_agg((body->>'kg')::float8 ORDER BY nth DESC) FILTER (WHERE body ? 'kg'))[1] AS kg,
           (array_agg(body->'parents' ORDER BY nth DESC) FILTER (WHERE jsonb_array_length(body->'parents') > 0))[1] AS parents,
           min(ts) AS begun, max(ts) FILTER (WHERE action IN ('finished','packed','consumed')) AS ended,
           bool_or(action = 'corrected') AS corrected
      FROM told GROUP BY lot
  ), parts AS (
    SELECT folded.lot AS child, part->>0 AS parent, sum((part->>1)::float8) AS kg, folded.site, folded.begun
      FROM folded CROSS JOIN LATERAL jsonb_array_elements(parents) AS part GROUP BY 1, 2, 4, 5
  ), gone AS (
    DELETE FROM lot_part p USING folded
     WHERE p.child = folded.lot AND NOT EXISTS (SELECT FROM parts WHERE parts.child = p.child AND parts.parent = p.parent)
  ), joined AS (
    INSERT INTO lot_part (parent, child, kg) SELECT parent, child, kg FROM parts
    ON CONFLICT (child, parent) DO UPDATE SET kg = excluded.kg
  ), named AS (
    INSERT INTO lot (lot, site, kind, material, equipment, state, begun, corrected)
    SELECT parent, min(site), '', '', '', 'named', min(begun), false
      FROM parts WHERE parent <> ALL (names) GROUP BY parent
    ON CONFLICT (lot) DO UPDATE SET begun = least(lot.begun, excluded.begun) WHERE lot.state = 'named'
  )
  INSERT INTO lot (lot, site, kind, material, equipment, state, kg, begun, ended, corrected)
  SELECT lot, site, kind, material, equipment, state, kg, begun, ended, corrected FROM folded
  ON CONFLICT (lot) DO UPDATE
    SET site = excluded.site, kind = excluded.kind, material = excluded.material, equipment = excluded.equipment,
        state = excluded.state, kg = excluded.kg, begun = excluded.begun, ended = excluded.ended,
        corrected = excluded.corrected;
  DELETE FROM lot WHERE state = 'named' AND NOT EXISTS (SELECT FROM lot_part WHERE parent = lot.lot)
$$;
REVOKE ALL ON FUNCTION fold_lots(text[]) FROM PUBLIC;

-- In the transaction that accepts the events, whoever it is, so that lots are never behind their events. One writer at
-- a time until COMMIT: the chain has one order, and of two events of a lot the later transaction sees both.
CREATE FUNCTION keep_lots() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE e event; place bigint; last text;
BEGIN
  IF NOT EXISTS (SELECT FROM fresh WHERE type IN ('lot', 'lab_result')) THEN RETURN NULL; END IF;
  PERFORM pg_advisory_xact_lock(hashtext('hefa.lots'));
  PERFORM fold_lots(ARRAY(SELECT DISTINCT body->>'lot' FROM fresh WHERE type = 'lot'));
  SELECT n, hash INTO place, last FROM lot_chain ORDER BY n DESC LIMIT 1;
  place := coalesce(place, 0);
  last := coalesce(last, repeat('0', 64));
  FOR e IN SELECT * FROM fresh WHERE type IN ('lot', 'lab_result') ORDER BY event_id LOOP
    place := place + 1;
    last := chain_hash(last, lot_record(e));
    INSERT INTO lot_chain (n, event_id, lot, record, hash)
    VALUES (place, e.event_id, coalesce(nullif(e.body->>'lot', ''), e.body->>'sample', ''), lot_record(e), last);
  END LOOP;
  RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION keep_lots() FROM PUBLIC;
CREATE TRIGGER event_lots AFTER INSERT ON event REFERENCING NEW TABLE AS fresh
  FOR EACH STATEMENT EXECUTE FUNCTION keep_lots();

-- Events that were there before.
DO $$
DECLARE e event; place bigint := 0; last text := repeat('0', 64);
BEGIN
  PERFORM fold_lots(ARRAY(SELECT DISTINCT body->>'lot' FROM event WHERE type = 'lot'));
  FOR e IN SELECT * FROM event WHERE type IN ('lot', 'lab_result') ORDER BY event_id LOOP
    place := place + 1;
    last := chain_hash(last, lot_record(e));
    INSERT INTO lot_chain (n, event_id, lot, record, hash)
    VALUES (place, e.event_id, coalesce(nullif(e.body->>'lot', ''), e.body->>'sample', ''), lot_record(e), last);
  END LOOP;
END $$;

CREATE INDEX audit_at ON audit (at DESC, audit_id DESC);

GRANT SELECT ON setting, lot, lot_part, lot_chain TO hefa_api, hefa_jobs, hefa_read;
GRANT INSERT ON setting TO hefa_api;
GRANT EXECUTE ON FUNCTION canonical_json(jsonb), chain_hash(text, text), lot_record(event) TO hefa_api;
