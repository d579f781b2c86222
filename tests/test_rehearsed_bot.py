"""A rehearsal's bot writes what the database takes from the real one: no column, CHECK or trigger makes a false alarm."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import URL

from app.tenancy.rehearse import Alembic as Revisions
from app.tenancy.rehearse import Findings, Rehearsal, report, verdict
from app.tenancy.rehearsed_bot import another, sample_of
from tests.rehearsals import dump
from tests.support import execute, plain, rows

LOG = """
CREATE TABLE daily (day date PRIMARY KEY, n int);
CREATE FUNCTION count_message() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO public.daily VALUES (current_date, 1) ON CONFLICT (day) DO UPDATE SET n = daily.n + 1;
  UPDATE public.customers SET updated_at = now() WHERE whatsapp_id = NEW.whatsapp_id;
  RETURN NEW;
END$$;
CREATE {kind} count_message AFTER INSERT ON conversations {deferred} FOR EACH ROW EXECUTE FUNCTION count_message();
"""

OWN = {
    "a NOT NULL column": "ALTER TABLE customers ADD address text NOT NULL DEFAULT 'x'; ALTER TABLE customers ALTER address DROP DEFAULT",
    "a unique one": "ALTER TABLE customers ADD phone text; UPDATE customers SET phone = '+57300' || 1000000 + id; "
    "ALTER TABLE customers ALTER phone SET NOT NULL, ADD UNIQUE (phone)",
    "a CHECK on the name": "UPDATE customers SET name = 'Ana'; ALTER TABLE customers ADD CHECK (length(name) > 1)",
    "a CHECK on the id": "ALTER TABLE customers ADD CHECK (whatsapp_id ~ '^57[0-9]+$')",
    "a CHECK on a column that may be null": "ALTER TABLE conversations ADD kind text CHECK (kind IS NOT NULL) DEFAULT 'x'; "
    "ALTER TABLE conversations ALTER kind DROP DEFAULT",
    "a foreign key": "ALTER TABLE conversations ADD FOREIGN KEY (whatsapp_id) REFERENCES customers (whatsapp_id)",
    "names with % and :": "ALTER TABLE customers ADD \"100 % :total\" text NOT NULL DEFAULT 'x'; "
    'ALTER TABLE customers ALTER "100 % :total" DROP DEFAULT; CREATE TABLE "50 % :of" ("a % :b" int)',
    "a trigger": LOG.format(kind="TRIGGER", deferred=""),
    "a deferred trigger": LOG.format(kind="CONSTRAINT TRIGGER", deferred="DEFERRABLE INITIALLY DEFERRED"),
    "no row may be deleted": "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''kept''; END'; "
    "CREATE TRIGGER keep BEFORE DELETE ON conversations FOR EACH ROW EXECUTE FUNCTION keep()",
}


OBSTACLES = {"a CHECK on the id", "a foreign key", "a unique one"}
"""What the upgrade or the check names, with what to do about it."""


@pytest.fixture
def rehearsal(canonical: URL, make_database: Callable[[], URL], tmp_path: Path) -> Callable[[], Findings]:
    def run() -> Findings:
        (scratch := tmp_path / "scratch").mkdir()
        return Rehearsal(make_database(), [dump(canonical, tmp_path)], scratch, Revisions(None, scratch)).run()

    return run


@pytest.mark.parametrize("ddl", OWN.values(), ids=OWN)
def test_a_copied_row_fits_what_the_team_added(canonical: URL, ddl: str) -> None:
    execute(canonical, ddl)
    before = rows(canonical, "SELECT count(*) FROM customers UNION ALL SELECT count(*) FROM conversations")
    sample = sample_of(plain(canonical))
    assert sample.refused == {}
    assert not rows(canonical, f"SELECT FROM customers WHERE whatsapp_id = '{sample.whatsapp_id}'")
    assert rows(canonical, "SELECT count(*) FROM customers UNION ALL SELECT count(*) FROM conversations") == before


def test_a_rehearsal_of_all_of_that_would_work(canonical: URL, rehearsal: Callable[[], Findings]) -> None:
    execute(canonical, *(ddl for name, ddl in OWN.items() if name not in OBSTACLES | {"a deferred trigger"}))
    found = rehearsal()
    assert verdict(found)[0], report(found, [])
    assert found.not_compared == {"daily"}
    assert "Not compared, for your triggers wrote there meanwhile: daily" in report(found, [])
    assert all(bot.served and "daily" in bot.written for bot in found.bot.values())


def test_what_was_refused_before_the_upgrade_is_told_and_is_no_failure(
    canonical: URL, rehearsal: Callable[[], Findings]
) -> None:
    """Such as a trigger that needs an extension which the restore left out."""
    raising = (
        "CREATE FUNCTION post() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM net.http_post(); RETURN NEW; END'"
    )
    execute(
        canonical, raising, "CREATE TRIGGER post BEFORE INSERT ON conversations FOR EACH ROW EXECUTE FUNCTION post()"
    )
    found = rehearsal()
    assert verdict(found)[0], report(found, [])
    assert "The bot wrote no rows into conversations" in report(found, [])
    assert 'schema "net" does not exist' in report(found, [])


def test_rows_that_a_migration_changes_are_still_a_difference(
    canonical: URL, rehearsal: Callable[[], Findings]
) -> None:
    """A trigger of the upgrade's own moment: what it changes was not written by the bot."""
    execute(
        canonical,
        "CREATE FUNCTION lose() RETURNS event_trigger LANGUAGE plpgsql AS "
        "'BEGIN UPDATE public.customers SET name = ''lost'' WHERE id = 1; END'",
        "CREATE EVENT TRIGGER lose ON ddl_command_end WHEN TAG IN ('CREATE INDEX') EXECUTE FUNCTION lose()",
    )
    found = rehearsal()
    assert not verdict(found)[0]
    assert any("customers has other rows" in difference for difference in found.differences)


def test_another_value_has_the_same_form() -> None:
    assert another(None) is None
    value = another("+57 300 123 4567")
    assert value is not None
    assert value.startswith("+57 3")
    assert len(value) == len("+57 300 123 4567")
    assert str(another("ana")).startswith("rehearsal-")
