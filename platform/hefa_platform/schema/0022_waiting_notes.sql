-- Each question asks which notes wait for its tags, and which the watermark left: with hundreds of thousands of late
-- readings waiting it took longer to look through them than to answer.
CREATE INDEX rollup_dirty_tag ON rollup_dirty (tag_id, from_ts);
