"""What each database role may do: one matrix of everything, and every cell of it tried.

A new table or view is not in the matrix until somebody has decided who may do what with it: the test then fails.
"""

from __future__ import annotations

import re

import psycopg
import pytest
from psycopg import errors, sql

ROLES = ("ingest", "jobs", "api", "read")

# s select, i insert, u update, u(a,b) update of these columns only, d delete; . nothing.
MATRIX = """
relation             ingest        jobs  api                                        read
alarm                .             siu   su(acked_at,acked_by,state)                s
alarm_change         .             si    si                                         s
alarm_late           .             sd    s                                          s
alarm_outage         .             s     siu(ended_at,ended_by)                     s
alarm_progress       .             su    s                                          s
alarm_shelf          .             sud   siud                                       s
api_key              .             .     siu(revoked_at,used_at)                    .
audit                .             .     si                                         .
edge                 siu           s     su(seen_at)                                s
edge_floor           s             siu   s                                          .
entry                .             .     siu                                        .
equipment            s             s     s                                          s
event                si            s     si                                         s
freshness            siu           sd    s                                          .
gap                  si            s     s                                          .
in_flight            siu           sd    s                                          .
instance             s             s     s                                          s
intake_counter       siu           s     siu                                        .
latest               siu           s     siu                                        s
ledger               si            sd    si                                         .
lot                  .             s     s                                          s
lot_chain            .             s     s                                          s
lot_part             .             s     s                                          s
meter                s             s     s                                          s
meter_swap           s             s     s                                          s
quarantine           siu(state)    s     siu(decided_at,decided_by,reason,state)    .
reading              si            s     si                                         s
reading_1h           s             sid   s                                          s
reading_1m           s             sid   s                                          s
reading_conflict     si            s     si                                         .
rollup_dirty         si            sid   si                                         .
rollup_hour          s             siud  s                                          .
rollup_state         su(only_row)  su    su(only_row)                               .
schema_migration     s             s     s                                          s
setting              .             s     si                                         s
suspect              siud          sd    s                                          .
tag                  si            s     siu(description,unit)                      s
undecodable_counter  siu           s     s                                          .
v_alarm              .             .     .                                          s
v_conflict           .             .     .                                          s
v_consumption_1h     .             .     .                                          s
v_freshness          .             .     .                                          s
v_latest             .             .     .                                          s
v_pipeline           .             .     .                                          s
v_place              s             s     s                                          s
v_quarantine         .             .     .                                          s
v_reading            .             .     .                                          s
v_series_1h          .             .     .                                          s
v_series_1m          .             .     .                                          s
v_tag                .             .     .                                          s
v_worker             .             .     .                                          s
worker               siud          siud  s                                          .
"""
# On TimescaleDB Community the hours are a continuous aggregate, which belongs to the role that keeps it.
COMMUNITY = """
reading_1h           s             s     s                                          s
reading_1h_cagg      .             siudX .                                          .
"""
# Functions that act with their owner's rights, and who may call them.
DEFINERS = {
    "declare_swap": (), "drop_readings": ("jobs",), "ensure_partitions": ("ingest", "jobs", "api"), "fold_lots": (),
    "keep_lots": (), "keep_policies": ("jobs",), "note_alarm_late": (), "rollup_until": ROLES,
}  # fmt: skip


def relations(dsn: str) -> dict[str, str]:
    """Our tables and views, without their partitions: name and kind (r table, p partitioned, v view)."""
    with psycopg.connect(dsn) as connection:
        return dict(
            connection.execute(
                """
                SELECT relname, relkind::text FROM pg_class
                 WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f')
                   AND NOT relispartition
                   AND NOT EXISTS (SELECT 1 FROM pg_depend WHERE objid = pg_class.oid AND deptype = 'e')
                """
            ).fetchall()
        )


def granted(connection: psycopg.Connection, relation: str, role: str) -> str:
    """The cell of the matrix that the database has."""
    row = connection.execute(
        """
            SELECT has_table_privilege(%(role)s, %(name)s, 'SELECT'), has_table_privilege(%(role)s, %(name)s, 'INSERT'),
                   has_table_privilege(%(role)s, %(name)s, 'UPDATE'), has_table_privilege(%(role)s, %(name)s, 'DELETE'),
                   has_table_privilege(%(role)s, %(name)s, 'TRUNCATE, REFERENCES, TRIGGER'),
                   ARRAY(SELECT attname::text FROM pg_attribute
                          WHERE attrelid = %(name)s::regclass AND attnum > 0 AND NOT attisdropped
                            AND has_column_privilege(%(role)s, %(name)s, attname, 'UPDATE') ORDER BY attname)
        """,
        {"role": f"hefa_{role}", "name": f"public.{relation}"},
    ).fetchone()
    assert row is not None
    select, insert, update, delete, more, columns = row
    some = f"u({','.join(columns)})" if columns else ""
    return "s" * select + "i" * insert + ("u" if update else some) + "d" * delete + "X" * more or "."


def wanted(dsn: str) -> dict[str, dict[str, str]]:
    """The matrix for the engine of `dsn`: cell by role, by relation."""
    lines = MATRIX.strip().splitlines()[1:]
    if "reading_1h_cagg" in relations(dsn):
        lines += COMMUNITY.strip().splitlines()
    cells = [line.split() for line in lines]
    return {name: dict(zip(ROLES, row, strict=True)) for name, *row in cells}


def test_every_relation_stands_in_the_matrix_with_the_rights_it_has(database) -> None:
    names = relations(database.admin)
    with psycopg.connect(database.admin) as connection:
        found = {name: {role: granted(connection, name, role) for role in ROLES} for name in names}
    matrix = wanted(database.admin)
    assert found.keys() - matrix.keys() == set(), "decide who may do what with it, and write it into MATRIX"
    assert found == matrix


def test_what_is_not_granted_is_refused(database) -> None:
    """Every cell, by the statement itself: refused with 42501 where the letter is missing, and only there."""
    kinds = relations(database.admin)
    columns = {name: _columns(database.admin, name) for name in kinds}
    for role in ROLES:
        with psycopg.connect(getattr(database, role)) as connection:
            for name, row in wanted(database.admin).items():
                for letter, statement in _attempts(name, columns[name], row[role], view=kinds[name] == "v"):
                    allowed = letter in re.sub(r"\(.*\)", "", row[role])
                    assert _refused(connection, statement) != allowed, f"{role}: {statement.as_string()}"


def _columns(dsn: str, relation: str) -> list[str]:
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            """
            SELECT attname FROM pg_attribute
             WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '' AND attidentity = ''
            """,
            [f"public.{relation}"],
        )
        return [name for (name,) in rows]


def _attempts(name: str, columns: list[str], cell: str, *, view: bool) -> list[tuple[str, sql.Composed]]:
    """A statement for each right, with the letter that allows it. `-` stands in no cell."""
    relation = sql.Identifier(name)
    found = [("s", sql.SQL("SELECT FROM {}").format(relation))]
    if view or "X" in cell:  # a view is not written to, whoever tries; an owner may do anything
        return found
    some = cell.partition("u(")[2].partition(")")[0].split(",") if "u(" in cell else columns
    for column in columns:
        letter = "u" if column in some else "-"
        found.append((letter, sql.SQL("UPDATE {} SET {} = DEFAULT").format(relation, sql.Identifier(column))))
    return [
        *found,
        ("i", sql.SQL("INSERT INTO {} DEFAULT VALUES").format(relation)),
        ("d", sql.SQL("DELETE FROM {}").format(relation)),
        ("-", sql.SQL("TRUNCATE {}").format(relation)),
        ("-", sql.SQL("DROP TABLE {}").format(relation)),
        ("-", sql.SQL("ALTER TABLE {} ADD mine int").format(relation)),
    ]


def _refused(connection: psycopg.Connection, statement: sql.Composed) -> bool:
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(statement)
    except errors.InsufficientPrivilege:
        return True
    except psycopg.Error:  # allowed, and wrong for another reason, such as a missing value
        return False
    return False


def test_nobody_calls_what_acts_with_its_owners_rights_but_who_is_named(database) -> None:
    with psycopg.connect(database.admin) as connection:
        found = connection.execute(
            """
            SELECT proname::text, ARRAY(SELECT role FROM unnest(%s::text[]) role
                                         WHERE has_function_privilege('hefa_' || role, p.oid, 'EXECUTE'))
              FROM pg_proc p
             WHERE pronamespace = 'public'::regnamespace AND prosecdef
               AND NOT EXISTS (SELECT 1 FROM pg_depend WHERE objid = p.oid AND deptype = 'e')
            """,
            [list(ROLES)],
        ).fetchall()
    assert {name: tuple(roles) for name, roles in found} == DEFINERS


@pytest.mark.parametrize("role", ROLES)
def test_a_role_is_nothing_more_than_its_rights(database, role: str) -> None:
    """No superuser, no other role's hat, no table of its own, no file, no look at the passwords."""
    with psycopg.connect(getattr(database, role)) as connection:
        flags = connection.execute(
            "SELECT rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls FROM pg_roles WHERE rolname = %s",
            [f"hefa_{role}"],
        ).fetchone()
        assert flags == (False,) * 5
        for statement in (
            "CREATE TABLE mine (a int)",
            "SET ROLE hefa_owner",
            "SELECT * FROM pg_authid",
            "SELECT pg_read_file('/etc/passwd')",
            "COPY tag TO PROGRAM 'true'",
            "COPY tag FROM '/etc/passwd'",
            "ALTER ROLE hefa_read SUPERUSER",
            "SET session_replication_role = replica",
        ):
            assert _refused(connection, sql.SQL(statement).format()), statement
