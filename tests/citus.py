"""What the tests of Citus share: three nodes where CITUS_URL names them, and something that answers as Citus does."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import URL, make_url

from tests.support import execute, rows
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
            EXECUTE replace(replace(command, '''wal_level''', '''stand_in.wal_level'''), '''output_plugin_libraries''', '''stand_in.plugins''') INTO result;
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


def distribute(url: URL) -> None:
    """`alembic -n scale upgrade citus` in this process."""
    widen(url, "upgrade", "citus")


def undistribute(url: URL) -> None:
    """`alembic -n scale downgrade bigint` in this process, confirmed."""
    widen(url, "downgrade", "bigint", "writers-wait=yes")
