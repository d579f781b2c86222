"""On three nodes: there and back every row is the same, nobody gets in, and a statement of a tenant is one task."""

import io
import re
from collections.abc import Iterator

import psycopg2
import pytest
from psycopg2.extensions import set_wait_callback
from sqlalchemy import URL

from tests.citus import as_tenant, attacked, citus_database, distribute, everything, fill, undistribute
from tests.documents import blocks, shell
from tests.drift import Case, assert_found
from tests.support import DEFAULT_ID, OTHER_ID, ROOT, check, execute, migrate, plain, rows, run_alembic, scalar
from tests.widening import definition, widen

pytestmark = pytest.mark.citus


@pytest.fixture(scope="module")
def spread() -> Iterator[URL]:
    """Two businesses on three nodes."""
    with citus_database() as url:
        fill(url)
        distribute(url)
        yield url


@pytest.mark.parametrize("adopted", [True, False], ids=["adopted", "made here"])
def test_there_and_back_every_row_is_the_same(adopted: bool) -> None:
    with citus_database() as url:
        fill(url, adopted=adopted)
        widen(url)
        before, form = everything(url), definition(url)
        distribute(url)
        assert everything(url) == before
        assert rows(url, "SELECT logicalrelid::text, partmethod::text FROM pg_dist_partition WHERE logicalrelid::text !~ 'plans' ORDER BY 1") == [
            ("businesses", "n"), ("conversations", "h"), ("customers", "h"), ("user_businesses", "n"), ("users", "n"), ("whatsapp_numbers", "n"),
        ]  # fmt: skip
        check(url)
        undistribute(url)
        closed = [line for line in definition(url) if line not in form]
        assert [line for line in form if line not in definition(url)] == []
        assert [
            line for line in closed if not re.match(r"REVOKE .* (FUNCTION|TABLE) pg_catalog\..* FROM PUBLIC;", line)
        ] == []
        assert everything(url) == before
        check(url)
        # What adopted databases have, and 001 remembers, is given back as if nothing had been in between.
        migrate(url, "downgrade", "-1")
        migrate(url)
        assert everything(url) == before


def test_the_check_and_the_report(spread: URL) -> None:
    check(spread)
    said = run_alembic(spread, "downgrade", "-1")
    assert said.returncode != 0
    assert "bring it back to one server first: run alembic -n scale downgrade bigint;" in said.stderr
    assert "Traceback" not in said.stderr


OPENINGS = [
    ("SELECT citus_set_node_property(nodename, nodeport, 'shouldhaveshards', true) FROM pg_dist_node WHERE groupid = 0", "node ", True),
    ("GRANT EXECUTE ON FUNCTION run_command_on_workers TO PUBLIC", "what Citus shows of others: not declared, found FUNCTION run_command_on_workers", True),
    ("GRANT SELECT ON citus_stat_activity TO PUBLIC", "what Citus shows of others: not declared, found TABLE citus_stat_activity", True),
    ("ALTER ROLE app_tenant NOLOGIN", "role app_tenant: not declared, found NOLOGIN", True),
    ("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I RESET citus.propagate_set_commands', current_database()); END $$", "database ", True),
    ("ALTER POLICY app_tenant ON customers USING (true)", "policy app_tenant on customers", True),
    ("REVOKE INSERT (id) ON customers FROM app_tenant", "privilege of app_tenant on column customers.id: missing", True),
    ("ALTER TABLE conversations DROP CONSTRAINT fk_conversations_businesses", "constraint fk_conversations_businesses", True),
    ("DROP INDEX ix_conversations_timestamp", "index ix_conversations_timestamp", True),
    ("SELECT run_command_on_shards('customers', 'ALTER TABLE %s DISABLE ROW LEVEL SECURITY')", 'shards of "public".customers', False),
]  # fmt: skip


@pytest.mark.parametrize("case", OPENINGS, ids=[f"{n}" for n, _ in enumerate(OPENINGS)])
def test_what_opens_it_is_named_and_closed(case: Case, spread: URL) -> None:
    try:
        assert_found(spread, case)
    finally:
        execute(spread, "SELECT run_command_on_shards('customers', 'ALTER TABLE %s ENABLE ROW LEVEL SECURITY')")
    check(spread)


def test_nothing_of_another_tenant_wherever_the_shards_lie(spread: URL) -> None:
    assert attacked(spread) == []
    shard = "SELECT get_shard_id_for_distribution_column('conversations', '{}')"
    execute(spread, f"SELECT isolate_tenant_to_new_shard('conversations', '{OTHER_ID}', 'CASCADE', shard_transfer_mode => 'block_writes')")  # fmt: skip
    place = f"SELECT nodename, nodeport FROM pg_dist_shard_placement WHERE shardid = ({shard.format(OTHER_ID)})"
    ((host, port),) = rows(spread, place)
    (other,) = rows(spread, f"SELECT nodename, nodeport FROM pg_dist_node WHERE groupid <> 0 AND (nodename, nodeport) <> ('{host}', {port})")  # fmt: skip
    move = f"SELECT citus_move_shard_placement(({shard.format(OTHER_ID)}), '{host}', {port}, '{other[0]}', {other[1]}, 'block_writes')"
    execute(spread, move)
    assert rows(spread, place) == [other]
    assert attacked(spread) == []
    check(spread)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM citus_stat_activity",
        "SELECT * FROM citus_dist_stat_activity",
        "SELECT * FROM citus_lock_waits",
        "SELECT * FROM run_command_on_workers('SELECT query FROM pg_stat_activity')",
        "SELECT * FROM run_command_on_all_nodes('SELECT query FROM pg_stat_activity')",
        "SELECT * FROM run_command_on_shards('conversations', 'SELECT count(*) FROM %s')",
        "SELECT * FROM run_command_on_placements('conversations', 'SELECT count(*) FROM %s')",
        "SELECT * FROM run_command_on_coordinator('SELECT 1')",
        "SELECT * FROM master_run_on_worker(ARRAY['w'], ARRAY[1], ARRAY['SELECT 1'], false)",
        "SELECT citus_run_local_command('SELECT 1')",
        "SELECT pg_cancel_backend(20000000001)",
        "SELECT pg_terminate_backend(20000000001, 0)",
        "SELECT get_global_active_transactions()",
    ],
)
def test_a_tenant_neither_sees_nor_ends_statements_of_others(statement: str, spread: URL) -> None:
    with pytest.raises(psycopg2.Error) as refused:
        as_tenant(spread, statement)
    assert refused.value.pgcode == "42501"


def test_a_shard_on_a_worker_is_confined_too(spread: URL) -> None:
    """Who gets as app_tenant past the coordinator reads and updates its own rows only; COPY is for pg_hba.conf."""
    for shard, host, port in rows(spread, "SELECT shard_name, nodename, nodeport FROM citus_shards WHERE table_name = 'conversations'::regclass"):  # fmt: skip
        worker = spread.set(username="app_tenant", host=host, port=port)
        connection = psycopg2.connect(plain(worker))
        with connection.cursor() as cursor:
            cursor.execute(f"SET app.business_id = '{DEFAULT_ID}'")
            cursor.execute(f"SELECT DISTINCT business_id::text FROM {shard}")
            assert cursor.fetchall() in ([], [(DEFAULT_ID,)])
            cursor.execute(f"UPDATE {shard} SET message = 'mine' WHERE business_id <> '{DEFAULT_ID}'")
            assert cursor.rowcount == 0
            cursor.execute("RESET app.business_id")
            cursor.execute(f"SELECT count(*) FROM {shard}")
            assert cursor.fetchone() == (0,)
        connection.close()


def test_a_tenant_plants_no_row_elsewhere(spread: URL) -> None:
    planted = f"SELECT '{OTHER_ID}'::uuid, 'planted' || g, 'n' FROM generate_series(1, 20) AS g"
    with pytest.raises(psycopg2.Error):
        as_tenant(spread, f"INSERT INTO customers (business_id, whatsapp_id, name) {planted}")
    with pytest.raises(psycopg2.Error):
        as_tenant(spread, f"INSERT INTO customers (business_id, whatsapp_id, name) SELECT '{OTHER_ID}'::uuid, whatsapp_id || 'planted', name FROM customers")  # fmt: skip
    set_wait_callback(None)  # of a run in this process; copy_expert does not take it
    connection = psycopg2.connect(plain(spread))
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL citus.propagate_set_commands = local")
        cursor.execute("SET LOCAL ROLE app_tenant")
        cursor.execute(f"SET LOCAL app.business_id = '{DEFAULT_ID}'")
        with pytest.raises(psycopg2.Error, match="COPY FROM not supported with row-level security"):
            cursor.copy_expert(
                "COPY customers (business_id, whatsapp_id, name) FROM STDIN", io.StringIO(f"{OTHER_ID}\tplanted\tn\n")
            )
    connection.close()
    assert scalar(spread, "SELECT count(*) FROM customers WHERE whatsapp_id LIKE '%planted%'") == 0


def test_the_commands_of_the_document() -> None:
    there, back = blocks("docs/scaling.md", "sh")
    with citus_database(shards=2) as url:
        fill(url)
        before = everything(url)
        for block in (there, back):
            done = shell(block, ROOT, DATABASE_URL=plain(url))
            assert done.returncode == 0, done.stderr
        check(url)
        assert everything(url) == before
