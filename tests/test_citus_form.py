"""The form that Citus takes, on one server: it comes and goes, nothing is lost, and it confines as the other does."""

import shutil
from pathlib import Path

import pytest
from alembic.util.exc import CommandError
from sqlalchemy import URL

from tests.attacks import ATTACKS, Attack, Matrix, leaks, unreadable
from tests.citus import FORM
from tests.conftest import MakeDatabase
from tests.documents import shell
from tests.drift import Case, assert_found
from tests.interruptions import OTHER_ROWS, connection_lost_before
from tests.support import (
    DEFAULT_ID,
    OTHER_ID,
    ROOT,
    add_business,
    check,
    execute,
    load_legacy,
    migrate,
    pg_dump,
    pipe,
    plain,
    rows,
    run_alembic,
    scalar,
    state,
)
from tests.tenants import transaction
from tests.widening import SCALE, scale_script, widen


def definition(url: URL) -> list[str]:
    """The schema as pg_dump writes it down, in any order of the keys."""
    return sorted(line.rstrip(",;") for line in pg_dump(url, "-s", "-T", "alembic_version_scale"))


@pytest.fixture(scope="module", params=["adopted", "made here"])
def many(request: pytest.FixtureRequest, make_lasting_database: MakeDatabase) -> URL:
    """At head with bigint ids, with rows of two businesses; the ids from a sequence or from an identity."""
    url = make_lasting_database()
    if request.param == "adopted":
        load_legacy(url, messages=30)
    migrate(url)
    add_business(url)
    if request.param == "made here":
        execute(url, "INSERT INTO customers (whatsapp_id, name) VALUES ('1', 'a')")
        execute(
            url,
            "INSERT INTO conversations (whatsapp_id, message, role) SELECT '1', 'm', 'user' FROM generate_series(1, 9)",
        )
    execute(url, OTHER_ROWS)
    widen(url)
    return url


@pytest.fixture(scope="module")
def formed(many: URL, make_lasting_database: MakeDatabase) -> URL:
    """The same in the form that Citus takes."""
    url = make_lasting_database(many)
    widen(url, "upgrade", FORM)
    return url


def test_it_comes_and_goes(many: URL, make_database: MakeDatabase) -> None:
    url = make_database(many)
    before, contents = definition(url), state(url)[1]
    widen(url, "upgrade", FORM)
    assert state(url)[1] == contents
    assert "PRIMARY KEY (id, business_id)" in str(definition(url))
    check(url)
    widen(url, "downgrade", "bigint")
    assert (definition(url), state(url)[1]) == (before, contents)
    check(url)


def test_ids_go_on(many: URL, make_database: MakeDatabase) -> None:
    url = make_database(many)
    execute(url, "INSERT INTO customers (whatsapp_id, name) SELECT 'more ' || g, 'n' FROM generate_series(1, 100) AS g")
    last = scalar(url, "SELECT max(id) FROM customers")
    for direction in (("upgrade", FORM), ("downgrade", "bigint")):
        widen(url, *direction)
        execute(url, f"INSERT INTO customers (whatsapp_id, name) VALUES ('new {direction[0]}', 'n')")
        last, before = scalar(url, "SELECT max(id) FROM customers"), last
        assert last == before + 1


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_nothing_of_another_tenant(formed: URL, attack: Attack) -> None:
    with transaction(formed) as cursor:
        matrix = Matrix(cursor)
        assert leaks(matrix, attack) == []
        assert unreadable(matrix) == []


def test_a_tenant_that_gives_ids_is_in_nobodys_way(formed: URL, make_database: MakeDatabase) -> None:
    url = make_database(formed)
    for business in (OTHER_ID, DEFAULT_ID):
        execute(
            url,
            f"BEGIN; SET LOCAL ROLE app_tenant; SET LOCAL app.business_id = '{business}'; "
            "INSERT INTO customers (id, whatsapp_id, name) VALUES (4711, 'chosen', 'n'); COMMIT",
        )
    assert scalar(url, "SELECT count(*) FROM customers WHERE id = 4711") == 2


def test_a_number_that_goes_is_no_longer_named(formed: URL, make_database: MakeDatabase) -> None:
    url = make_database(formed)
    messages = scalar(url, "SELECT count(*) FROM conversations")
    execute(url, f"DELETE FROM whatsapp_numbers WHERE id = '{OTHER_ID}'")
    assert rows(url, "SELECT DISTINCT business_id::text FROM conversations WHERE whatsapp_number_id IS NOT NULL") == [(DEFAULT_ID,)]  # fmt: skip
    assert scalar(url, "SELECT count(*) FROM conversations") == messages
    execute(url, f"DELETE FROM businesses WHERE id = '{OTHER_ID}'")
    assert scalar(url, f"SELECT count(*) FROM conversations WHERE business_id = '{OTHER_ID}'") == 0


def test_former_roles_go_on(make_database: MakeDatabase) -> None:
    url = make_database()
    migrate(url)
    execute(
        url,
        "DROP ROLE IF EXISTS citus_former",
        "CREATE ROLE citus_former LOGIN",
        "GRANT SELECT, INSERT ON customers TO citus_former",
    )
    try:
        widen(url, "upgrade", FORM)
        execute(url, "SET ROLE citus_former; SELECT nextval('customers_id_numbers')")
        widen(url, "downgrade", "bigint")
    finally:
        execute(url, "DROP OWNED BY citus_former", "DROP ROLE citus_former")


def test_a_lost_connection_before_any_statement(many: URL, make_database: MakeDatabase) -> None:
    template = many
    for direction in (("upgrade", FORM), ("downgrade", "bigint")):
        undisturbed = make_database(template)
        with connection_lost_before(0, undisturbed) as statements:
            widen(undisturbed, *direction)
        expected = definition(undisturbed), state(undisturbed)[1]
        for place in range(1, len(statements) + 1, 3):
            url = make_database(template)
            with connection_lost_before(place, url), pytest.raises(CommandError, match="run the same command again"):
                widen(url, *direction)
            widen(url, *direction)
            assert (definition(url), state(url)[1]) == expected, statements[place - 1]
        template = undisturbed


def test_the_rollback_of_001_says_what_to_do_first(formed: URL, make_database: MakeDatabase) -> None:
    url = make_database(formed)
    before = state(url)
    refused = run_alembic(url, "downgrade", "-1")
    assert refused.returncode != 0
    assert (
        refused.stderr.strip()
        .splitlines()[-1]
        .endswith(
            "this database is distributed, or made ready for it: bring it back to one server first: "
            "run alembic -n scale downgrade bigint;"
        )
    )
    assert state(url) == before
    assert run_alembic(url, *SCALE, "downgrade", "bigint").returncode == 0
    assert run_alembic(url, "downgrade", "-1").returncode == 0


FLAT = "CREATE OR REPLACE FUNCTION is_colleague(uuid) RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE SET search_path = '' AS"


@pytest.mark.parametrize(
    "case",
    [
        ("ALTER POLICY app_tenant ON users USING (true)", "policy app_tenant on users: using expected is_colleague(id)", True),
        ("ALTER TABLE conversations DROP CONSTRAINT fk_conversations_whatsapp_number_id", "constraint fk_conversations_whatsapp_number_id", True),
        ("DROP INDEX ix_conversations_whatsapp_number_id_business_id", "index ix_conversations_whatsapp_number_id_business_id", True),
        ("REVOKE INSERT (id) ON customers FROM app_tenant", "privilege of app_tenant on column customers.id: missing", True),
        (f"{FLAT} 'SELECT true'", "function is_colleague(uuid): body expected", True),
        ("GRANT EXECUTE ON FUNCTION is_colleague(uuid) TO PUBLIC", "privilege of PUBLIC on function is_colleague(uuid)", True),
    ],
)  # fmt: skip
def test_drift_of_this_form_is_named_and_put_right(case: Case, formed: URL, make_database: MakeDatabase) -> None:
    assert_found(make_database(formed), case)


def test_the_script_is_the_migration(many: URL, make_database: MakeDatabase) -> None:
    undisturbed, url = make_database(many), make_database(many)
    widen(undisturbed, "upgrade", FORM)
    assert pipe(url, scale_script(revisions="bigint:distributable")) == ""
    assert definition(url) == definition(undisturbed)
    assert scalar(url, "SELECT version_num FROM alembic_version_scale") == FORM


def test_autogenerate_leaves_this_form(formed: URL, make_database: MakeDatabase, tmp_path: Path) -> None:
    for name in ("app", "alembic"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "alembic.ini", tmp_path)
    url = plain(make_database(formed))
    done = shell("alembic revision --autogenerate -m nothing", tmp_path, DATABASE_URL=url, PYTHONPATH=str(tmp_path))
    assert "No difference found between models and database that a revision can write" in done.stderr
