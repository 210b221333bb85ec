-- Registers: numbers with decimals are not exact, and a step back by one of them is rounding all the same; a swap of long
-- ago, before all that is known of a register, is a mistake in its time.

-- As in 0018, but the register's own step is told from a larger one by a thousandth of it, and by what a double of the
-- register's size cannot show: 16.1 to 16.0 is a little more than 0.1.
CREATE OR REPLACE FUNCTION register_step(
  before double precision, after double precision, seconds double precision, modulus double precision,
  max_rate double precision, resolution double precision, both_ways boolean,
  OUT amount double precision, OUT is_reset boolean, OUT is_believed boolean, OUT further double precision)
RETURNS SETOF record LANGUAGE sql IMMUTABLE ROWS 1 AS $$
  SELECT CASE WHEN is_reset THEN least(greatest(after, 0), possible) ELSE step END, is_reset, believed,
         CASE WHEN believed AND NOT is_reset AND greatest(before, after) <= modulus
              THEN coalesce(floor((possible - CASE WHEN both_ways THEN -abs(step) ELSE step END) / nullif(modulus, 0))
                            * modulus, 0)
              ELSE 0 END
    FROM (SELECT max_rate * seconds / 3600 + resolution AS possible, after - before AS straight,
                 resolution * 1.001 + abs(before) * 1e-15 AS grain) AS m
   CROSS JOIN LATERAL (
     SELECT CASE WHEN straight < -grain AND before <= modulus
                  AND straight + modulus <= coalesce(possible, modulus / 2)
                  AND NOT (both_ways AND -straight <= possible) THEN straight + modulus
                 WHEN both_ways AND straight > possible AND modulus - straight <= possible THEN straight - modulus
                 ELSE straight END AS step) AS s
   CROSS JOIN LATERAL (
     SELECT step < -grain AND NOT (both_ways AND coalesce(-step <= possible, true)) AS is_reset) AS r
   CROSS JOIN LATERAL (
     SELECT coalesce(CASE WHEN is_reset THEN after ELSE abs(step) END <= possible, true) AS believed) AS b
$$;

-- As in 0018, and a swap of more than 400 days ago needs a reading before it: from a wrong year on, all minutes until the
-- first reading would have to be made, of every year half a million, while all other rollups wait.
CREATE OR REPLACE FUNCTION can_recompute(tag integer, at timestamptz) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT (at > clock_timestamp() - interval '400 days' OR EXISTS (SELECT FROM reading WHERE tag_id = tag AND ts <= at))
     AND NOT EXISTS (
    SELECT FROM (
      (SELECT bucket FROM reading_1m WHERE tag_id = tag AND bucket <= at AND n > 0 ORDER BY bucket DESC LIMIT 1)
      UNION ALL
      (SELECT bucket FROM reading_1m WHERE tag_id = tag AND bucket > at AND n > 0 ORDER BY bucket LIMIT 1)) AS told
     WHERE NOT EXISTS (
       SELECT FROM reading WHERE tag_id = tag AND ts >= told.bucket AND ts < told.bucket + interval '1 minute'))
$$;
