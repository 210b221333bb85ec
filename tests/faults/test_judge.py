"""The judge must see what is wrong: a proof by a judge who never convicts is none."""

from __future__ import annotations

from contextlib import nullcontext

import psycopg
import pytest

CRIMES = {
    "a reading lost": ("DELETE FROM reading WHERE ctid = (SELECT ctid FROM reading LIMIT 1)", "nowhere"),
    "a value changed": ("UPDATE reading SET value = value + 1 WHERE tag_id = {tag} AND ts = {ts}", "another value"),
    "a reading invented": ("INSERT INTO reading VALUES ({tag}, {ts}::timestamptz + interval '1 us', 1, 192)", "nobody"),
    "a count wrong": ("UPDATE intake_counter SET stored = stored + 1, received = received + 1", "counted as stored"),
    "latest wrong": ("UPDATE latest SET ts = ts - interval '1 s'", "latest is wrong"),
    "a minute wrong": ("UPDATE reading_1m SET n = n + 1 WHERE n > 0", "minutes: "),
    "a minute missing": ("DELETE FROM reading_1m WHERE n > 0", "minutes: "),
    "an ack of nothing": ("DELETE FROM ledger", "not in the ledger"),
}


@pytest.mark.fault("0", "the judge convicts")
def test_every_crime_is_seen(stage) -> None:
    scene = stage()
    scene.start_worker()
    scene.start_edge()
    scene.flows()
    scene.run(1)
    scene.drain()
    scene.judge()
    with psycopg.connect(scene.dsns["admin"], autocommit=True) as admin:
        tag, ts = admin.execute("SELECT tag_id, ts::text FROM reading LIMIT 1").fetchone()
        for name, (crime, sentence) in CRIMES.items():
            with admin.transaction(force_rollback=True):
                admin.execute(crime.format(tag=tag, ts=f"'{ts}'"))
                problems = scene.look(admin)
            assert any(sentence in problem for problem in problems), f"{name}: {problems}"
        assert scene.look(admin) == []


@pytest.mark.fault("0", "the proxy cuts where it says")
def test_a_commit_is_done_or_not_as_the_cut_says(stage) -> None:
    scene = stage()
    with psycopg.connect(scene.dsns["admin"], autocommit=True) as admin:
        admin.execute("CREATE TABLE told (n integer)")
        link = scene.proxy(scene.port, postgres=True)
        through = scene.dsns["admin"].replace(f":{scene.port}/", f":{link.port}/")
        for n, where in enumerate(("request", "reply")):
            with psycopg.connect(through) as connection:
                connection.execute("INSERT INTO told VALUES (%s)", [n])
                link.cut_at_commit(where)
                with pytest.raises(psycopg.OperationalError):
                    connection.commit()
        for n, where in enumerate(("request", "reply", "request", "reply"), 2):
            # A COMMIT that is sent among other statements; later ones of a connection are prepared once and only named.
            with psycopg.connect(through, prepare_threshold=1 if n > 3 else None) as connection:
                for k in range(3):
                    if k == 2:
                        link.cut_at_commit(where)
                    with pytest.raises(psycopg.OperationalError) if k == 2 else nullcontext(), connection.pipeline():
                        connection.execute("INSERT INTO told VALUES (%s)", [10 * n + k])
                        connection.execute("COMMIT")
        assert link.cuts == 6
        told = {n for (n,) in admin.execute("SELECT n FROM told")}
        assert told == {1, 20, 21, 30, 31, 32, 40, 41, 50, 51, 52}
    scene.row.problems.clear()
