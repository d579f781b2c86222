"""The migration tools know no table of this schema: what they need of it is handed over, or stands in `state`."""

import re

import pytest
from sqlalchemy import URL

from app.models import Base
from app.tenancy.migration import state
from app.tenancy.migration.catalogue import catalogue
from app.tenancy.migration.repair import ANY, PRIVILEGE, REPAIRS
from tests.support import ROOT, SCHEMA_TABLES, engine_of

FOLDER = ROOT / "app/tenancy/migration"
TOOLS = (
    *(
        f"{name}.py"
        for name in ("autogenerate", "catalogue", "drift", "names", "openings", "ops", "progress", "repair")
    ),
    *("runner.py", "same.py", "widen.py"),
    *sorted(path.relative_to(FOLDER).as_posix() for path in (FOLDER / "sql").glob("*.sql")),
)


@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_names_no_table_of_ours(name: str) -> None:
    text = (FOLDER / name).read_text(encoding="utf-8")
    words = {"businesses", "users"}  # of English, too: quoted, or after a word of SQL
    tables = "|".join({*Base.metadata.tables, state.MEMORY} - words)
    named = rf"\b({tables})\b|['\"]({'|'.join(words)})\b|\b(FROM|JOIN|INTO|UPDATE|TABLE|ON) ({'|'.join(words)})\b"
    assert re.findall(named, text) == []


def test_the_tables_are_listed_once(database: URL) -> None:
    assert {*state.OLD_TABLES, *state.NEW_TABLES} == {*SCHEMA_TABLES} == {*Base.metadata.tables}


def test_every_query_says_what_it_is() -> None:
    for path in (FOLDER / "sql").glob("*.sql"):
        assert path.read_text(encoding="utf-8").startswith("-- "), path.name


def test_repair_knows_every_kind_of_item_and_aspect_that_the_check_compares(database: URL) -> None:
    with engine_of(database).connect() as connection:
        found = catalogue(connection, "public")
    kinds = {(f"{PRIVILEGE}{item.kind}" if item.role else item.kind, aspect) for item, aspect in found}
    assert len(kinds) > 25
    assert [kind for kind in kinds if kind not in REPAIRS and (kind[0], ANY) not in REPAIRS] == []
    held = {kind for kind, _ in kinds} | {"role"}
    assert {kind for kind, _ in REPAIRS} <= held
