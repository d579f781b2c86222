"""What the tests of Citus share: three nodes where CITUS_URL names them, and something that answers as Citus does."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
import pytest
from alembic.util.exc import CommandError
from sqlalchemy import URL, make_url

from tests.attacks import ATTACKS, REFUSED, Matrix, unreadable
from tests.interruptions import OTHER_ROWS
from tests.support import (
    DEFAULT_ID,
    OTHER_ID,
    add_business,
    catalogue,
    contents,
    engine_of,
    execute,
    load_legacy,
    migrate,
    plain,
    rows,
)
from tests.tenants import A, B, fetch
from tests.widening import widen

NO_NODES = (
    "CITUS_URL is not set: it names the superuser of a coordinator that holds no shards, with two workers, "
    "wal_level = logical and output_plugin_libraries = 'pgoutput, citus' on each"
)

STAND_IN = """
SET allow_system_table_mods = on;
INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
SELECT 999999, 'citus', oid, 'pg_catalog'::regnamespace, false, '13.2-1' FROM pg_roles WHERE rolname = current_user;
CREATE FUNCTION pg_catalog.dump_global_wait_edges() RETURNS void LANGUAGE plpgsql AS $$
DECLARE failure text := current_setting('stand_in.failure', true);
BEGIN IF failure <> '' THEN RAISE WARNING 'connection to the remote node app_tenant@w:1 failed with the following error: FATAL:  %', failure; END IF; END $$;
CREATE FUNCTION pg_catalog.run_command_on_workers() RETURNS void LANGUAGE sql AS '';
INSERT INTO pg_depend VALUES ('pg_proc'::regclass, 'pg_catalog.run_command_on_workers()'::regprocedure, 0, 'pg_extension'::regclass, 999999, 0, 'e');
CREATE TABLE pg_dist_local_group (groupid int);
INSERT INTO pg_dist_local_group VALUES (0);
CREATE TABLE pg_dist_node (nodeid int, groupid int, nodename text, nodeport int, isactive bool DEFAULT true, noderole text DEFAULT 'primary', shouldhaveshards bool);
INSERT INTO pg_dist_node VALUES (1, 0, 'c', 1, true, 'primary', false), (2, 1, 'w', 1, true, 'primary', true);
CREATE TABLE node_settings (nodeid int, name text, value text);
CREATE FUNCTION run_command_on_all_nodes(command text, parallel bool DEFAULT true, give_warning_for_connection_errors bool DEFAULT false)
RETURNS TABLE (nodeid int, success bool, result text) LANGUAGE plpgsql AS $$
BEGIN
    FOR nodeid IN SELECT n.nodeid FROM pg_dist_node AS n LOOP
        PERFORM set_config('stand_in.' || name, value, true) FROM node_settings AS s WHERE s.nodeid = run_command_on_all_nodes.nodeid;
        success := current_setting('stand_in.down', true) IS DISTINCT FROM 'yes';
        result := 'failed to connect';
        IF success THEN
            result := '';
            EXECUTE replace(replace(command, '''wal_level''', '''stand_in.wal_level'''), '(SELECT setting FROM pg_settings WHERE name = ''output_plugin_libraries'')', 'current_setting(''stand_in.plugins'')') INTO result;
        END IF;
        RETURN NEXT;
        PERFORM set_config('stand_in.' || name, CASE name WHEN 'wal_level' THEN 'logical' WHEN 'plugins' THEN 'pgoutput, citus' ELSE '' END, true) FROM node_settings;
    END LOOP;
END $$;
CREATE FUNCTION citus_set_coordinator_host(host text, port int) RETURNS void LANGUAGE sql AS
    $$ INSERT INTO pg_dist_node VALUES (1, 0, host, port, true, 'primary', false) $$;
CREATE FUNCTION citus_set_node_property(host text, port int, name text, value bool) RETURNS void LANGUAGE sql AS
    $$ UPDATE pg_dist_node SET shouldhaveshards = value WHERE nodename = host AND nodeport = port $$
"""
"""Answers the questions of the refusals as Citus does, on plain PostgreSQL; it distributes nothing."""


def pretend_citus(url: URL) -> None:
    """Let the database seem to have Citus, with one worker and nothing in the way."""
    execute(url, STAND_IN)
    pretend_settings(url)


def pretend_settings(url: URL) -> None:
    """The settings of such a database, which a copy of it does not have."""
    settings = {
        "stand_in.wal_level": "logical",
        "stand_in.plugins": "pgoutput, citus",
        "citus.shard_replication_factor": "1",
    }
    execute(url, *(f"ALTER DATABASE {url.database} SET {name} = '{value}'" for name, value in settings.items()))


def coordinator() -> URL:
    """The URL of the coordinator; skips the test where there is none."""
    if not (given := os.environ.get("CITUS_URL")):
        pytest.skip(NO_NODES)
    return make_url(given).set(drivername="postgresql+psycopg2")


def nodes(url: URL) -> list[tuple[str, int]]:
    """Host and port of each node, the coordinator first."""
    return [(host, port) for host, port in rows(url, "SELECT nodename, nodeport FROM pg_dist_node ORDER BY groupid")]


@contextmanager
def citus_database(shards: int = 4) -> Iterator[URL]:
    """An empty database on all nodes, which end with the block."""
    first = coordinator()
    places = nodes(first)
    name = f"test_{uuid.uuid4().hex[:12]}"
    url = first.set(database=name)
    try:
        for host, port in places:
            there = first.set(host=host, port=port)
            execute(there, f"CREATE DATABASE {name}", f"ALTER DATABASE {name} SET timezone = 'UTC'")
            # Else the login of one test would come into the database of another.
            execute(there, f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC")
            execute(there.set(database=name), "CREATE EXTENSION citus")
        (host, port), *workers = places
        execute(
            url,
            f"SELECT citus_set_coordinator_host('{host}', {port})",
            *(f"SELECT citus_add_node('{host}', {port})" for host, port in workers),
            f"ALTER DATABASE {name} SET citus.shard_count = {shards}",
            f"ALTER DATABASE {name} SET citus.enable_stat_counters = on",
            "DO $$ BEGIN IF to_regrole('app_tenant') IS NOT NULL THEN ALTER ROLE app_tenant NOLOGIN; END IF; END $$",
        )
        yield url
    finally:
        for host, port in places:
            execute(first.set(host=host, port=port), f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def let_in(url: URL) -> None:
    """Let app_tenant connect to the database on every node, as who takes CONNECT from PUBLIC has to."""
    first = coordinator()
    for host, port in nodes(first):
        execute(first.set(host=host, port=port), f"GRANT CONNECT ON DATABASE {url.database} TO app_tenant")


def distribute(url: URL) -> None:
    """`alembic -n scale upgrade citus` in this process."""
    let_in(url)
    widen(url, "upgrade", "citus")


def undistribute(url: URL) -> None:
    """`alembic -n scale downgrade bigint` in this process, confirmed."""
    widen(url, "downgrade", "bigint", "writers-wait=yes")


def fill(url: URL, *, adopted: bool = True) -> None:
    """Make it a database of two businesses at head, with a team's own comments, indexes and columns.

    Adopted tables number their ids by a sequence, those of this package by an identity.
    """
    if adopted:
        load_legacy(url, messages=60)
    migrate(url)
    add_business(url)
    if not adopted:
        execute(url, "INSERT INTO customers (whatsapp_id, name) SELECT g::text, 'n' FROM generate_series(1, 20) AS g")
        execute(
            url,
            "INSERT INTO conversations (whatsapp_id, message, role) SELECT '1', 'm', 'user' FROM generate_series(1, 60)",
        )
    execute(url, OTHER_ROWS, *TEAM)
    let_in(url)


TEAM = (
    "CREATE INDEX of_the_team ON conversations (role, id)",
    "COMMENT ON INDEX of_the_team IS 'by role'",
    "COMMENT ON CONSTRAINT fk_customers_businesses ON customers IS 'whose customer'",
    "COMMENT ON POLICY app_tenant ON users IS 'colleagues'",
    "ALTER TABLE customers ADD COLUMN tags text[] NOT NULL DEFAULT '{vip}', ADD COLUMN shout text GENERATED ALWAYS AS (upper(name)) STORED",
    "COMMENT ON COLUMN customers.tags IS 'as they call them'",
    "CREATE TABLE plans (id serial PRIMARY KEY, business_id uuid REFERENCES businesses ON DELETE CASCADE, name text)",
    f"INSERT INTO plans (business_id, name) VALUES ('{OTHER_ID}', 'gold')",
)


def truncated(url: URL) -> URL:
    """The database as a fresh one at head has it: no row but the default business."""
    execute(
        url,
        "TRUNCATE businesses, users CASCADE",
        f"INSERT INTO businesses (id, name) VALUES ('{DEFAULT_ID}', 'Default business')",
    )
    return url


class Cluster(Matrix):
    """The attack matrix on three nodes: rows are committed, for every role has connections of its own to the workers."""

    def __init__(self, url: URL) -> None:
        self.connection = psycopg2.connect(plain(url))
        super().__init__(self.connection.cursor())
        self.connection.commit()

    def run(self, sql: str, role: str = "app_tenant", scope: str | None = A) -> tuple[str, object]:
        pieces = [sql] if "$$" in sql or sql.startswith("WITH") else sql.split("; ")
        try:
            self.cursor.execute("DISCARD TEMP")
            self.cursor.execute("SET LOCAL citus.propagate_set_commands = local")
            self.cursor.execute(f"SET LOCAL ROLE {role}")
            if scope is not None:
                self.cursor.execute("SET LOCAL app.business_id = %s", [scope])
            for piece in pieces:
                found = fetch(self.cursor, piece)
            self.connection.commit() if role == "app_tenant" else self.connection.rollback()
            if role == "app_tenant" and self.everything_of_b() != self.before:
                return "changed", self.everything_of_b()
            return ("rows", found) if found else ("none", None)
        except psycopg2.Error as error:
            return "error", error.pgcode
        finally:
            self.connection.rollback()


def attacked(url: URL) -> list[str]:
    """What the attack matrix reaches through the coordinator, in rows that it makes and removes again."""
    matrix = Cluster(url)
    try:
        found = []
        for attack in ATTACKS.values():
            for table in matrix.tables:
                for sql in attack(matrix, table, matrix.a[table.name], matrix.b[table.name]):
                    result, detail = matrix.run(sql)
                    if result in {"rows", "changed"} or (result == "error" and detail not in REFUSED | NOT_TAKEN):
                        found.append(f"{table.name}: {sql} gave {result} {detail}")
        return found + [f"{name}: its own row is not seen" for name in unreadable(matrix) if name != "plans"]
    finally:
        matrix.connection.close()
        execute(
            url,
            f"DELETE FROM businesses WHERE id IN ('{A}', '{B}')",
            "DELETE FROM users WHERE email LIKE 'x%@example.com'",
        )


NOT_TAKEN = {"0A000": "a form that Citus does not take", "XX000": "the same, of MERGE", "3F000": "a temporary function"}


FORM = "distributable"


def refused(url: URL, revision: str = "citus", owner: URL | None = None) -> str:
    """What the command says, with nothing changed."""
    before = catalogue(owner or url)
    with pytest.raises(CommandError) as error:
        widen(url, "upgrade", revision)
    assert catalogue(owner or url) == before
    return str(error.value)


def everything(url: URL) -> dict[str, list[str]]:
    """Every row, the team's tables too."""
    with engine_of(url).connect() as connection:
        return contents(connection, ["businesses", "whatsapp_numbers", "users", "user_businesses", "customers", "conversations", "plans"])  # fmt: skip


def as_tenant(url: URL, *statements: str, business: str = DEFAULT_ID) -> list[tuple[Any, ...]]:
    """The rows of the last statement, in the scope of the business; rolled back."""
    connection = psycopg2.connect(plain(url))
    try:
        with connection.cursor() as cursor:
            for statement in ("SET LOCAL citus.propagate_set_commands = local", "SET LOCAL ROLE app_tenant", f"SET LOCAL app.business_id = '{business}'", *statements):  # fmt: skip
                cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()
