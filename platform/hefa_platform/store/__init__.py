"""The one door to the database: nothing outside this package imports psycopg or writes SQL.

Write side: `intake` takes groups of messages in, by `arrival` (accounts), `registry` (who is known), `rows`
(columns), `readings` (their tables) and `binary_copy` (bytes) · `rollups` and `upkeep` are maintain's · `plant_model` and `migrations` are the operator's.
Read side: `tags`, `buckets`, `series`, `consumption`, `records`, `pipeline`, `health`, `keys`. All stand on `database`.
"""
