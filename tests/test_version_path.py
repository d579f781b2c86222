"""A path of several revisions: all that could stop it comes first, and each revision is recorded with its change."""

import re

import pytest
from alembic.util.exc import CommandError
from sqlalchemy import URL

from tests.conftest import MakeDatabase
from tests.interruptions import connection_lost_before, state, true
from tests.support import (
    OTHER_ID,
    add_business,
    check,
    current,
    execute,
    load_legacy,
    migrate,
    paste,
    pg_dump,
    pipe,
    rows,
    run_alembic,
    scalar,
    script,
)

ROWS = "customers holds rows and conversations holds rows: downgrade base drops the single-business tables"

HAND_MADE = "that this migration did not make"


def assert_refused(url: URL, says: str, *options: str) -> None:
    """By Alembic, its dry run and both scripts, from head to base, with nothing changed."""
    before = pg_dump(url), rows(url, "SELECT * FROM alembic_version")
    for more in ((), ("dry-run=yes",)):
        with pytest.raises(CommandError, match=says):
            migrate(url, "downgrade", "base", *options, *more)
    assert re.search(says, pipe(url, script("downgrade", "001:base", *options)))
    assert re.search(says, paste(url, script("downgrade", "001:base", "single-transaction=yes", *options)))
    assert (pg_dump(url), rows(url, "SELECT * FROM alembic_version")) == before


def test_a_rollback_to_base_with_rows_is_refused_at_head(canonical: URL) -> None:
    migrate(canonical)
    assert_refused(canonical, ROWS)
    check(canonical)
    migrate(canonical, "downgrade", "base", "drop-data=yes")
    assert current(canonical) == ""
    assert scalar(canonical, "SELECT to_regclass('customers')") is None


def test_rows_of_the_new_tables_are_in_the_way_of_base_too(database: URL) -> None:
    add_business(database)
    execute(
        database, f"INSERT INTO whatsapp_numbers (business_id, phone_number) VALUES ('{OTHER_ID}', '+573001234567')"
    )
    assert_refused(database, "businesses holds rows and whatsapp_numbers holds rows: downgrade base would leave them")


def test_what_stops_001_stops_000_before_it(empty: URL) -> None:
    execute(empty, "CREATE TABLE businesses (id int)")
    before = pg_dump(empty)
    for more in ((), ("dry-run=yes",)):
        with pytest.raises(CommandError, match=HAND_MADE):
            migrate(empty, "upgrade", "head", *more)
    assert re.search(HAND_MADE, pipe(empty, script()))
    assert re.search(HAND_MADE, paste(empty, script("upgrade", "head", "single-transaction=yes")))
    assert pg_dump(empty) == before


@pytest.mark.parametrize(("start", "name", "revision"), [("base", "upgrade", "head"), ("head", "downgrade", "base")])
def test_lost_connection_at_any_point_of_a_path(
    start: str, name: str, revision: str, make_database: MakeDatabase, migrated_template: URL
) -> None:
    """Also between two revisions: what is recorded is true, and the same command goes on."""
    template = migrated_template if start == "head" else None
    undisturbed = make_database(template)
    with connection_lost_before(0, undisturbed) as statements:
        migrate(undisturbed, name, revision)
    expected, recorded = state(undisturbed), set()
    between = [n for n, s in enumerate(statements, 1) if "alembic_version" in s]
    assert len(between) >= 2
    for place in sorted({*between, *(n + 1 for n in between), len(statements) - 1, len(statements)}):
        if place > len(statements):
            continue
        url = make_database(template)
        with connection_lost_before(place, url), pytest.raises(CommandError, match="run the same command again"):
            migrate(url, name, revision)
        assert true(url), statements[place - 1]
        recorded.add(current(url))
        migrate(url, name, revision)
        assert state(url) == expected
    assert len(recorded) >= 2


def test_the_last_step_and_the_version_are_one(database: URL) -> None:
    """A run that is lost before the version is written has not dropped what the version says."""
    with connection_lost_before(0, database) as statements:
        migrate(database, "downgrade", "-1")
    migrate(database)
    (place,) = (n for n, s in enumerate(statements, 1) if s.startswith("UPDATE alembic_version"))
    with connection_lost_before(place, database), pytest.raises(CommandError):
        migrate(database, "downgrade", "-1")
    assert current(database) == "001 (head)"
    assert scalar(database, "SELECT to_regclass('businesses')") == "businesses"
    with pytest.raises(CommandError, match=r"a rollback of this database was interrupted: finish it"):
        migrate(database)
    migrate(database, "downgrade", "-1")
    assert current(database) == "000"


def test_an_upgrade_to_000_does_not_name_the_steps_after_001(empty: URL) -> None:
    load_legacy(empty)
    said = run_alembic(empty, "upgrade", "000").stderr
    assert "revision:         000" in said
    assert re.search(r"^Upgraded base -> 000 in \d+\.\d s\.$", said, re.MULTILINE)


def test_commands_that_look_change_nothing(empty: URL) -> None:
    assert current(empty) == ""
    with pytest.raises(CommandError):
        check(empty)
    assert scalar(empty, "SELECT to_regclass('alembic_version')") is None
