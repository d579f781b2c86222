"""The recorded revision is true: where it is not, every command says so, with the command that puts it right."""

import re
from collections.abc import Callable
from io import StringIO

import pytest
from alembic.util.exc import CommandError
from sqlalchemy import URL

from alembic import command
from app.report import report
from tests.support import (
    alembic_config,
    check,
    current,
    engine_of,
    environment,
    execute,
    load_legacy,
    migrate,
    plain,
    rows,
    state,
)

ROLES = "DO $$ BEGIN IF to_regrole('app_tenant') IS NULL THEN CREATE ROLE app_tenant; END IF; END $$"
NEW = "businesses, whatsapp_numbers, users, user_businesses"


def says(url: URL, *statements: str) -> None:
    """Record revisions by hand, in a version table that is marked as this schema's."""
    execute(url, "DELETE FROM alembic_version", *statements)


def refusals(url: URL) -> set[str]:
    """What each command is refused with, and the report's state; the database is as it was before."""
    before = state(url, "alembic_version")
    said = set()
    for run in (
        lambda: migrate(url),
        lambda: migrate(url, "upgrade", "head", "dry-run=yes"),
        lambda: migrate(url, "downgrade", "base", "drop-data=yes"),
        lambda: current(url),
        lambda: check(url),
    ):
        with pytest.raises(CommandError) as refusal:
            run()
        said.add(str(refusal.value).removesuffix("."))
    with engine_of(url).connect() as connection:
        (line,) = (line for line in report(connection) if line.startswith("state:"))
    assert state(url, "alembic_version") == before
    return said | {line.removeprefix("state:").strip()}


def stamp(url: URL, revision: str, *, purge: bool = False) -> None:
    with environment(DATABASE_URL=plain(url)):
        command.stamp(alembic_config(output=StringIO()), revision, purge=purge)


def run_what_it_says(url: URL, sentence: str) -> None:
    """Run the `alembic` command that a refusal names."""
    name, *flags, revision = re.findall(r"run alembic ([^,:;]+)", sentence)[-1].split()
    if name == "stamp":
        stamp(url, revision, purge=flags == ["--purge"])
    else:
        migrate(url, name, revision)


def gone(url: URL) -> object:
    execute(url, f"DROP TABLE {NEW}, customers, conversations, multi_tenant_rollback CASCADE",
            "DROP FUNCTION current_business_id(), set_updated_at() CASCADE")  # fmt: skip


WRONG: dict[str, tuple[Callable[[URL], object], str]] = {
    "the tables are gone": (gone, "alembic_version says 001, but the database is at base: run alembic stamp base, then "),
    "only the single business is there": (
        lambda url: [act(url) for act in (gone, load_legacy)],
        "alembic_version says 001, but the database is at 000: run alembic stamp 000, then the same command again",
    ),
    "the version is gone": (
        lambda url: execute(url, "DROP TABLE alembic_version"),
        "alembic_version says nothing, but the database is at 001: run alembic stamp 001, then the same command again",
    ),
    "the version is empty": (
        lambda url: execute(url, "DELETE FROM alembic_version"),
        "alembic_version says nothing, but the database is at 001: run alembic stamp 001, then the same command again",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_version_is_named_with_the_stamp_that_puts_it_right(case: str, database: URL) -> None:
    spoil, sentence = WRONG[case]
    spoil(database)
    (said,) = {line.split(", but ")[1] for line in refusals_without_table(database)}
    assert sentence.split(", but ")[1] in said
    with pytest.raises(CommandError, match="nothing was stamped, for the database is not at"):
        stamp(database, "base" if "001" in said else "head")
    run_what_it_says(database, said)
    migrate(database)
    check(database)


def refusals_without_table(url: URL) -> set[str]:
    if not rows(url, "SELECT FROM pg_class WHERE relname = 'alembic_version'"):
        execute(url, "CREATE TABLE alembic_version (version_num varchar(32))")
        found = refusals(url)
        execute(url, "DROP TABLE alembic_version")
        return found
    return refusals(url)
