"""The recorded revision is true: where it is not, every command says so, with the command that puts it right."""

import re
from collections.abc import Callable
from io import StringIO
from typing import NamedTuple

import pytest
from alembic.util.exc import CommandError
from sqlalchemy import URL

from alembic import command
from app.models import Base
from app.tenancy.report import report
from tests.conftest import MakeDatabase
from tests.support import (
    LEGACY,
    alembic_config,
    check,
    current,
    engine_of,
    environment,
    execute,
    migrate,
    paste,
    pg_dump,
    pipe,
    plain,
    rows,
    script,
)

NEW = "businesses, whatsapp_numbers, users, user_businesses"
GONE = f"""DROP TABLE {NEW}, customers, conversations, multi_tenant_rollback CASCADE;
DROP FUNCTION current_business_id(), set_updated_at() CASCADE;"""
SINGLE = (LEGACY / "canonical.sql").read_text(encoding="utf-8")


class Wrong(NamedTuple):
    spoil: str
    says: str


WRONG = {
    "all tables are gone": Wrong(
        GONE,
        "alembic_version says 001, but the database is at base: run alembic stamp base, then the same command again",
    ),
    "the tables of one business are there": Wrong(
        GONE + SINGLE,
        "alembic_version says 001, but the database is at 000: run alembic stamp 000, then the same command again",
    ),
    "000 without tables": Wrong(
        GONE + "UPDATE alembic_version SET version_num = '000'",
        "alembic_version says 000, but the database is at base: run alembic stamp base, then the same command again",
    ),
    "the version table is gone": Wrong(
        "DROP TABLE alembic_version",
        "alembic_version says nothing, but the database is at 001: run alembic stamp 001, then the same command again",
    ),
    "the version is gone": Wrong(
        "DELETE FROM alembic_version",
        "alembic_version says nothing, but the database is at 001: run alembic stamp 001, then the same command again",
    ),
    "the version table was made by hand": Wrong(
        "DROP TABLE alembic_version; CREATE TABLE alembic_version (version_num varchar(32) CONSTRAINT alembic_version_pkc "
        "PRIMARY KEY); INSERT INTO alembic_version VALUES ('001')",
        "alembic_version holds 001, which this schema did not record: if another Alembic did, set version_table = "
        "alembic_version_whatsapp in alembic.ini (docs/own-alembic.md); if none did, run alembic stamp --purge 001",
    ),
}
LOST = {
    "a table of 001 is gone": Wrong(
        "DROP TABLE user_businesses CASCADE",
        "the database is not at 001, for it has no table user_businesses: restore it from a backup",
    ),
    "a table of 000 is gone": Wrong(
        "DROP TABLE conversations CASCADE",
        "the database is not at 001, for it has no table conversations: restore it from a backup",
    ),
    "create_all": Wrong(
        "DROP TABLE multi_tenant_rollback; DROP FUNCTION current_business_id(), set_updated_at() CASCADE",
        "the database is not at 001, for its tables have no triggers, policies and privileges, as after create_all: "
        "run python -m app.tenancy.repair",
    ),
}


def alembic(url: URL, name: str, revision: str, *, purge: bool = False) -> None:
    """Run a command that takes a revision."""
    with environment(DATABASE_URL=plain(url)):
        getattr(command, name)(alembic_config(output=StringIO()), revision, **({"purge": True} if purge else {}))


def refusals(url: URL, *, checked: bool = True) -> set[str]:
    """What each command is refused with, and the report's state; the database is as it was before."""
    before = pg_dump(url), version(url)
    runs: list[Callable[[], object]] = [
        lambda: migrate(url),
        lambda: migrate(url, "upgrade", "head", "dry-run=yes"),
        lambda: migrate(url, "downgrade", "base", "drop-data=yes"),
        lambda: current(url),
        *([lambda: check(url)] if checked else []),
    ]
    said = set()
    for run in runs:
        with pytest.raises(CommandError) as refusal:
            run()
        said.add(str(refusal.value).removesuffix("."))
    said |= {pipe(url, script()), paste(url, script("upgrade", "head", "single-transaction=yes"))}
    with engine_of(url).connect() as connection:
        (line,) = (line for line in report(connection) if line.startswith("state:"))
    assert (pg_dump(url), version(url)) == before
    return said | {line.removeprefix("state:").strip()}


def version(url: URL) -> list[tuple[str]] | None:
    there = rows(url, "SELECT FROM pg_class WHERE relname = 'alembic_version'")
    return rows(url, "SELECT version_num FROM alembic_version") if there else None


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_version_is_named_and_the_stamp_that_it_names_puts_it_right(case: str, database: URL) -> None:
    execute(database, WRONG[case].spoil)
    assert refusals(database) == {WRONG[case].says}
    wrong = "base" if "is at 00" in WRONG[case].says and case != "the tables of one business are there" else "001"
    if "holds" not in WRONG[case].says:
        with pytest.raises(CommandError, match=f"nothing was stamped, for the database is not at {wrong}: run"):
            alembic(database, "stamp", wrong)
    *flags, revision = re.findall(r"run alembic stamp ([^,]+)", WRONG[case].says)[-1].split()
    alembic(database, "stamp", revision, purge=bool(flags))
    migrate(database)
    check(database)


@pytest.mark.parametrize("case", LOST)
def test_what_is_lost_is_named(case: str, database: URL) -> None:
    execute(database, LOST[case].spoil)
    assert refusals(database, checked=False) == {LOST[case].says}
    with pytest.raises(CommandError):
        check(database)
    execute(database, "DELETE FROM alembic_version")
    with pytest.raises(CommandError, match=re.escape(LOST[case].says)):
        alembic(database, "stamp", "001")


def test_create_all_is_not_the_schema(empty: URL) -> None:
    Base.metadata.create_all(engine_of(empty))
    with pytest.raises(CommandError, match=re.escape(LOST["create_all"].says)):
        alembic(empty, "stamp", "head")
    assert version(empty) is None


def test_a_stamp_closes_the_version_table_that_it_makes(database: URL) -> None:
    closed = "SELECT relrowsecurity, relacl::text FROM pg_class WHERE relname = 'alembic_version'"
    before = rows(database, closed)
    execute(database, "DROP TABLE alembic_version")
    alembic(database, "stamp", "001")
    assert rows(database, closed) == before
    check(database)
    migrate(database, "downgrade", "-1")
    assert version(database) == [("000",)]


def test_a_stamp_of_000_asks_whether_the_tables_fit(canonical: URL) -> None:
    execute(canonical, "ALTER TABLE customers DROP COLUMN age")
    with pytest.raises(CommandError, match=r"customers\.age \(integer\) is missing"):
        alembic(canonical, "stamp", "000")
    assert version(canonical) is None
    execute(canonical, "ALTER TABLE customers ADD COLUMN age integer")
    alembic(canonical, "stamp", "000")
    migrate(canonical)
    check(canonical)


def test_the_mark_goes_with_the_last_revision(empty: URL, make_database: MakeDatabase) -> None:
    marked = "SELECT EXISTS (SELECT FROM pg_constraint WHERE conname = 'whatsapp_bot_schema')"
    for runs in ((alembic, "upgrade", "000"), (alembic, "downgrade", "base")):
        runs[0](empty, *runs[1:])
        assert rows(empty, marked) == [(runs[1] == "upgrade",)]
    by_script = make_database()
    assert not pipe(by_script, script("upgrade", "000"))
    assert rows(by_script, marked) == [(True,)]
    assert not pipe(by_script, script("downgrade", "000:base"))
    assert rows(by_script, marked) == [(False,)]
