-- What answers cost, besides the rows that they are made of.

-- Minutes of ranges that no refresh has reached, computed from readings for the one who asks. minute_rollup names every
-- partition of `reading` nine times: to plan it takes longer than to run it. Here the plan is kept as long as the session
-- lives. By index, whatever a partition held when it was planned.
CREATE FUNCTION minutes_now(tags integer[], froms timestamptz[], tos timestamptz[]) RETURNS SETOF reading_1m
LANGUAGE plpgsql STABLE ROWS 100 SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
BEGIN
  IF cardinality(tags) > 0 THEN
    RETURN QUERY SELECT * FROM minute_rollup(tags, froms, tos);
  END IF;
END $$;

-- An hour that was written minute by minute is written once more when it is over, so that a tag's minutes lie together:
-- the room of the first writing is wanted again soon, not when a fifth of a table of months has gone.
ALTER TABLE reading_1m SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.02);
