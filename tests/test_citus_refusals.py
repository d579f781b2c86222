"""What stands in the way of Citus is named before the first change, all at once, with the command that removes it."""

import re

import pytest
from alembic.util.exc import CommandError
from sqlalchemy import URL

from tests.citus import FORM, pretend_citus, pretend_settings, refused
from tests.conftest import MakeDatabase
from tests.support import execute, load_legacy, migrate, run_alembic, scalar
from tests.widening import SCALE, commands, scale_script, widen

CITUS_OBSTACLES = {
    "an old Citus": (
        "UPDATE pg_extension SET extversion = '11.3-1' WHERE extname = 'citus'",
        "this is Citus 11.3-1, and the steps need 12 or later",
        None,
    ),
    "a worker": ("UPDATE pg_dist_local_group SET groupid = 1", "this server is a worker: connect to the coordinator", None),
    "a coordinator that is not known": (
        "DELETE FROM pg_dist_node WHERE groupid = 0",
        "the coordinator is not among its own nodes",
        r"SELECT citus_set_coordinator_host\('.+', \d+\)",
    ),
    "no worker": ("DELETE FROM pg_dist_node WHERE groupid <> 0", "there is no worker: add one with SELECT citus_add_node(host, port)", None),
    "no worker with shards": (
        "UPDATE pg_dist_node SET shouldhaveshards = false",
        "no worker takes shards",
        r"SELECT citus_set_node_property\('w', 1, 'shouldhaveshards', true\)",
    ),
    "a coordinator with shards": (
        "UPDATE pg_dist_node SET shouldhaveshards = true",
        "the coordinator takes shards, and Citus does not ask row level security when COPY or INSERT ... SELECT writes",
        r"SELECT citus_set_node_property\('c', 1, 'shouldhaveshards', false\)",
    ),
    "copies of shards": (
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET citus.shard_replication_factor = 2', current_database()); END $$",
        "citus.shard_replication_factor is 2, and foreign keys need 1",
        r"ALTER DATABASE \w+ SET citus.shard_replication_factor = 1",
    ),
    "wal_level": (
        "INSERT INTO node_settings VALUES (2, 'wal_level', 'replica')",
        "node w:1 has wal_level = replica: run ALTER SYSTEM SET wal_level = logical there, then restart it",
        None,
    ),
    "output plugins": (
        "INSERT INTO node_settings VALUES (1, 'plugins', 'pgoutput, test_decoding')",
        "node c:1 has output_plugin_libraries = pgoutput, test_decoding: run ALTER SYSTEM SET output_plugin_libraries = "
        "pgoutput, test_decoding, citus there, then restart it",
        None,
    ),
    "a node that is down": (
        "INSERT INTO node_settings VALUES (2, 'down', 'yes')",
        "node w:1 does not answer (failed to connect): start it, or remove it with SELECT citus_remove_node('w', 1)",
        None,
    ),
    "a worker that app_tenant cannot reach": (
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET stand_in.failure = %L', current_database(), "
        "'no pg_hba.conf entry for host \"10.0.0.1\", user \"app_tenant\"'); END $$",
        "app_tenant cannot log in on a worker (app_tenant@w:1: FATAL:  no pg_hba.conf entry",
        None,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def pretending(make_lasting_database: MakeDatabase, ready: URL) -> URL:
    """The same on a server that answers as Citus does."""
    url = make_lasting_database(ready)
    pretend_citus(url)
    return url


@pytest.mark.parametrize("name", CITUS_OBSTACLES)
def test_an_obstacle_in_citus_is_named(name: str, pretending: URL, make_database: MakeDatabase) -> None:
    url = make_database(pretending)
    pretend_settings(url)
    widen(url, "upgrade", "citus", "dry-run=yes")
    made, sentence, command = CITUS_OBSTACLES[name]
    execute(url, made)
    said = refused(url)
    assert sentence in said
    if command is not None:
        (given,) = commands(said)
        assert re.fullmatch(command, given)
        execute(url, given)
        widen(url, "upgrade", "citus", "dry-run=yes")


def test_without_the_extension_and_everything_at_once(ready: URL, make_database: MakeDatabase) -> None:
    url = make_database(ready)
    execute(
        url,
        "CREATE UNIQUE INDEX once ON customers (username)",
        "CREATE RULE kept AS ON DELETE TO users DO INSTEAD NOTHING",
    )
    for arguments in (("-x", "dry-run=yes"), ()):
        done = run_alembic(url, *SCALE, *arguments, "upgrade", "citus")
        assert done.returncode != 0
        assert "3 things stand in the way:" in done.stderr
        assert "the extension citus is not in this database" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_database_before_001(make_database: MakeDatabase) -> None:
    url = make_database()
    load_legacy(url, messages=10)
    assert "the database is not at revision 001: run alembic upgrade head;" in refused(url, FORM)
    migrate(url)
    widen(url, "upgrade", FORM)  # through bigint, which is on the way


def test_integer_ids_that_are_recorded_as_bigint(make_database: MakeDatabase) -> None:
    url = make_database()
    load_legacy(url, messages=10)
    migrate(url)
    execute(
        url,
        "CREATE TABLE alembic_version_scale (version_num varchar(32) PRIMARY KEY)",
        "INSERT INTO alembic_version_scale VALUES ('bigint')",
    )
    said = refused(url, FORM)
    assert "the ids are integer, although alembic_version_scale says bigint" in said
    assert commands(said) == ["alembic -n scale stamp base"]
    assert run_alembic(url, *SCALE, "stamp", "base").returncode == 0
    widen(url, "upgrade", FORM)


def test_roles_that_may_not(pretending: URL, make_database: MakeDatabase) -> None:
    url = make_database(pretending)
    pretend_settings(url)
    execute(
        url,
        "DROP ROLE IF EXISTS citus_owner",
        "CREATE ROLE citus_owner LOGIN PASSWORD 'x'",
        f"GRANT CONNECT, TEMPORARY ON DATABASE {url.database} TO citus_owner",
        "GRANT USAGE, CREATE ON SCHEMA public TO citus_owner",
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO citus_owner",
        *(
            f"ALTER TABLE {table} OWNER TO citus_owner"
            for table in ("customers", "conversations", "alembic_version_scale")
        ),
    )
    try:
        said = refused(url.set(username="citus_owner", password="x"), owner=url)
        assert "role citus_owner does not own table businesses: do this as its owner" in said
        assert (
            "role citus_owner may not close what shows every tenant the statements of others: as an administrator: "
            "run REVOKE ALL ON FUNCTION run_command_on_workers() FROM PUBLIC;"
        ) in said
        assert "role citus_owner may not change app_tenant, which has to log in on the workers" in said
        assert f"role citus_owner does not own database {url.database}: as its owner: run ALTER DATABASE" in said
        execute(
            url,
            *(
                command
                for line in commands(said)
                for command in line.split("; ")
                if not command.startswith("ALTER ROLE")
            ),
        )
        assert "statements of others" not in refused(url.set(username="citus_owner", password="x"), owner=url)
    finally:
        execute(
            url, "REASSIGN OWNED BY citus_owner TO CURRENT_USER", "DROP OWNED BY citus_owner", "DROP ROLE citus_owner"
        )


def test_the_script_holds_the_calls_in_their_order() -> None:
    script = scale_script(revisions="distributable:citus").split("-- settings of a transaction reach the workers")[1]
    calls = [
        "ALTER DATABASE %I SET citus.propagate_set_commands = local",
        "ALTER ROLE app_tenant LOGIN",
        "REVOKE ALL ON %s %s FROM PUBLIC",
        "CREATE TABLE citus_comments",
        "DROP CONSTRAINT fk_conversations_whatsapp_numbers",
        "SET citus.enable_unsafe_triggers = on",
        "create_reference_table('businesses')",
        "create_reference_table('user_businesses')",
        "create_distributed_table_concurrently(''customers''",
        "create_distributed_table_concurrently(''conversations'', ''business_id'', colocate_with => ''customers'')",
        "ADD CONSTRAINT fk_conversations_whatsapp_number_id",
        "ADD CONSTRAINT fk_conversations_whatsapp_numbers",
        "VALIDATE CONSTRAINT fk_conversations_whatsapp_numbers",
        "DROP TABLE citus_comments",
        "CALL citus_cleanup_orphaned_resources()",
        "SET version_num='citus'",
    ]
    places = [script.rfind(call) if call.startswith("ADD") else script.find(call) for call in calls]
    assert -1 not in places
    assert places == sorted(places)


def test_the_way_back_is_confirmed(ready: URL, make_database: MakeDatabase) -> None:
    url = make_database(ready)
    pretend_citus(url)
    widen(url, "upgrade", FORM)
    execute(
        url,
        "CREATE TABLE pg_dist_partition (logicalrelid regclass, partmethod text, repmodel text)",
        "INSERT INTO pg_dist_partition VALUES ('conversations', 'h', 's')",
        "CREATE FUNCTION citus_total_relation_size(regclass) RETURNS bigint LANGUAGE sql AS 'SELECT 1600000000'",
        "UPDATE alembic_version_scale SET version_num = 'citus'",
    )
    with pytest.raises(
        CommandError,
        match="bringing 1526 MB of customers and messages back makes everybody who writes wait for about 100 s",
    ) as said:
        widen(url, "downgrade", "bigint")
    assert commands(str(said.value)) == ["alembic -n scale -x writers-wait=yes downgrade bigint"]
    assert scalar(url, "SELECT version_num FROM alembic_version_scale") == "citus"


def test_one_transaction_is_refused(ready: URL, make_database: MakeDatabase) -> None:
    with pytest.raises(CommandError, match="run it without -x single-transaction=yes"):
        widen(make_database(ready), "upgrade", "citus", "single-transaction=yes")
