-- Where each piece of equipment stands: its area and line, and everything above it, itself included.
-- Found by parent, not by taking paths apart: a plant may name its equipment as it likes.
CREATE VIEW v_place AS
  WITH RECURSIVE place AS (
    SELECT path, level, CASE WHEN level = 'area' THEN path END AS area, CASE WHEN level = 'line' THEN path END AS line,
           ARRAY[path] AS within
      FROM equipment WHERE parent IS NULL
    UNION ALL
    SELECT e.path, e.level, CASE WHEN e.level = 'area' THEN e.path ELSE p.area END,
           CASE WHEN e.level = 'line' THEN e.path ELSE p.line END, p.within || e.path
      FROM equipment e JOIN place p ON e.parent = p.path
  )
  SELECT path, level, area, line, within FROM place;

-- Events posted by REST are kept like a gateway's: in the ledger, under the edge `api`, and counted.
GRANT INSERT ON ledger, event TO hefa_api;
GRANT INSERT, UPDATE ON intake_counter TO hefa_api;
GRANT UPDATE (seen_at) ON edge TO hefa_api;
GRANT SELECT ON v_place TO hefa_ingest, hefa_jobs, hefa_api, hefa_read;
