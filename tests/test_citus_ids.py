"""In the form that Citus takes a tenant may give ids; on the way back they stand in nobody's way."""

import pytest
from alembic.util.exc import CommandError
from sqlalchemy import URL

from tests.conftest import MakeDatabase
from tests.obstacles import commands
from tests.support import (
    DEFAULT_ID,
    OTHER_ID,
    add_business,
    check,
    execute,
    load_legacy,
    migrate,
    psql,
    rows,
    scalar,
    state,
)
from tests.widening import widen

TABLES = {
    "customers": "INSERT INTO customers (id, whatsapp_id, name) VALUES ({id}, 'of {id}', 'n')",
    "conversations": "INSERT INTO conversations (id, whatsapp_id, message, role) VALUES ({id}, '1', 'm', 'user')",
}


@pytest.fixture(scope="module", params=["adopted", "made here"])
def formed(request: pytest.FixtureRequest, make_lasting_database: MakeDatabase) -> URL:
    """In this form, with a second business; the ids from a sequence or from an identity."""
    url = make_lasting_database()
    if request.param == "adopted":
        load_legacy(url, messages=30)
    migrate(url)
    add_business(url)
    widen(url)
    widen(url, "upgrade", "distributable")
    return url


def give(url: URL, table: str, number: int, *businesses: str) -> None:
    """Rows of that id, written by tenants."""
    for business in businesses:
        execute(
            url,
            f"BEGIN; SET LOCAL ROLE app_tenant; SET LOCAL app.business_id = '{business}'; "
            f"{TABLES[table].format(id=number)}; COMMIT",
        )


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize(
    ("number", "businesses"),
    [(4711, (OTHER_ID, DEFAULT_ID)), (9223372036854775807, (OTHER_ID,)), (9223372036854775807, (OTHER_ID, DEFAULT_ID))],
    ids=["twice", "the last there is", "the last there is, twice"],
)
def test_they_are_refused_before_any_change_and_the_command_helps(
    table: str, number: int, businesses: tuple[str, ...], formed: URL, make_database: MakeDatabase
) -> None:
    url = make_database(formed)
    give(url, table, number, *businesses)
    before = state(url)
    with pytest.raises(CommandError, match=rf"^ids of {table} were given by tenants.*such as {number}\)") as refused:
        widen(url, "downgrade", "bigint")
    assert state(url) == before
    (command,) = commands(str(refused.value))
    done = psql(url, command, "-v", "ON_ERROR_STOP=1")
    assert done.returncode == 0, done.stderr
    kept = scalar(url, f"SELECT count(*) FROM {table}")
    assert kept == len(before[1][table])
    widen(url, "downgrade", "bigint")
    assert scalar(url, f"SELECT count(*) FROM {table}") == kept
    check(url)
    goes_on(url, table)


@pytest.mark.parametrize("table", TABLES)
def test_the_sequence_goes_on_above_them(table: str, formed: URL, make_database: MakeDatabase) -> None:
    url = make_database(formed)
    ahead = scalar(url, f"SELECT coalesce(max(id), 0) + 3 FROM {table}")
    give(url, table, ahead, OTHER_ID)
    widen(url, "downgrade", "bigint")
    goes_on(url, table)
    assert scalar(url, f"SELECT max(id) FROM {table}") == ahead + 5


def goes_on(url: URL, table: str) -> None:
    """Other businesses write, by the old bot's inserts, and hit no id that is there."""
    insert = TABLES[table].replace("(id, ", "(").replace("({id}, ", "(").replace("'of {id}'", "'new ' || g")
    execute(url, insert.replace("VALUES (", "SELECT ").rstrip(")") + " FROM generate_series(1, 5) AS g")
    assert rows(url, f"SELECT id FROM {table} GROUP BY id HAVING count(*) > 1") == []


def test_an_id_that_was_given_by_hand_before_is_skipped(make_database: MakeDatabase) -> None:
    url = make_database()
    migrate(url)
    execute(url, TABLES["customers"].format(id=2))
    widen(url)
    widen(url, "upgrade", "distributable")
    goes_on(url, "customers")
