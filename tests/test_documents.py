"""README and docs are executed: every command and code block, as written; the handler by test_handler."""

import ast
import os
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
from sqlalchemy import URL

from app.db import get_engine
from app.models import Base
from app.models.settings import BusinessSettings
from app.tenancy.environment import Settings
from app.tenancy.migration.steps import Options
from tests.conftest import TOKEN_KEY, MakeDatabase
from tests.documents import PLACEHOLDER, blocks, clone, documents, shell
from tests.support import (
    DEFAULT_ID,
    OTHER_ID,
    ROOT,
    add_business,
    catalogue,
    execute,
    load_legacy,
    migrate,
    paste,
    plain,
    rows,
    scalar,
)

own_server_only = pytest.mark.skipif(
    "TEST_DATABASE_URL" in os.environ, reason="installs anew, whichever server the tests use"
)


INSTALL, INSTALL_AND_TEST, TRY_IT, ALEMBIC_WAY, PSQL_WAY, SECOND_BUSINESS = blocks("README.md", "bash")
EXAMPLE, _handler = blocks("README.md", "python")


@own_server_only
def test_the_first_hour(tmp_path: Path) -> None:
    """The first command on a fresh clone, then what the README says next, on the embedded server; then the second."""
    done = shell(INSTALL, clone(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "using the embedded PostgreSQL 18" in done.stderr
    example = f"python - <<'E'\n{EXAMPLE}\nE"
    after = shell(
        "\n".join([TRY_IT, example, SECOND_BUSINESS, "alembic current"]), tmp_path, USER_PASSWORD="a password"
    )
    assert after.returncode == 0, after.stderr
    for said in (
        "The Fade Room",
        "revision:         001",
        "Added 'Barbería Norte'",
        "owner   marta@example.com",
        "001 (head)",
    ):
        assert said in after.stdout
    tested = shell(INSTALL_AND_TEST, tmp_path, PYTEST_ADDOPTS="-k test_one_head_and_one_base")
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "1 passed" in tested.stdout


def test_the_readme_is_short() -> None:
    """What a newcomer reads before the reference."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n# Reference\n")
    assert text[2]
    assert len(text[0].split()) <= 900


def test_migrating_a_live_database(tmp_path: Path, make_database: MakeDatabase) -> None:
    url = make_database()
    load_legacy(url, "supabase", 2000)
    (script,) = blocks("docs/migrating.md", "bash")
    done = shell(script.replace(PLACEHOLDER, plain(url)), clone(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "001 (head)" in done.stdout
    assert "No new upgrade operations detected" in done.stdout
    assert (tmp_path / "backup.sql").stat().st_size > 100_000
    assert scalar(url, "SELECT name FROM businesses") == "Barbería Central"
    (verify,) = blocks("docs/migrating.md", "sql")
    seen = shell(f"psql -v ON_ERROR_STOP=1 -At '{plain(url)}' <<'E'\n{verify}\nE", ROOT)
    assert seen.stdout.splitlines() == ["001", "Barbería Central|2000", "Barbería Central|200"], seen.stderr


def test_three_ways_up_and_down(tmp_path: Path, canonical: URL) -> None:
    before = {k: v for k, v in catalogue(canonical).items() if "alembic_version" not in k[0]}
    pasted = re.findall(
        r"paste \[.*?\]\((.*?)\), or\n\[.*?\]\((.*?)\)", (ROOT / "README.md").read_text(encoding="utf-8")
    )
    ways = [*(way.splitlines() for way in (ALEMBIC_WAY, PSQL_WAY, ALEMBIC_WAY)), pasted[0]]
    for up, down in ways:
        for command, revision in ((up, "001"), (down, "000")):
            if command in pasted[0]:
                assert paste(canonical, (ROOT / command).read_text(encoding="utf-8")) == ""
            else:
                done = shell(command, ROOT, DATABASE_URL=plain(canonical))
                assert done.returncode == 0, done.stderr
            assert scalar(canonical, "SELECT version_num FROM alembic_version") == revision
        assert {k: v for k, v in catalogue(canonical).items() if "alembic_version" not in k[0]} == before


def test_rolling_back(database: URL) -> None:
    add_business(database)
    dry_run, canonical = blocks("docs/rolling-back.md", "bash")
    done = shell(
        f"{dry_run}\nalembic -x dry-run=yes {canonical.split(None, 1)[1].strip()}\nalembic downgrade -1",
        ROOT,
        DATABASE_URL=plain(database),
    )
    assert done.returncode == 0, done.stderr
    assert "multi_tenant_archive keeps: 1 other businesses" in done.stderr
    (delete,) = blocks("docs/rolling-back.md", "sql")
    assert shell(f"psql -v ON_ERROR_STOP=1 '{plain(database)}' -c '{delete}'", ROOT).returncode == 0
    assert scalar(database, "SELECT to_regnamespace('multi_tenant_archive') IS NULL") is True


def test_tenancy(database: URL) -> None:
    login = f"bot_{database.database}"
    sql, _, _ = blocks("docs/tenancy.md", "sql")
    sql = sql.replace("CREATE ROLE bot", f"CREATE ROLE {login}").replace("TO bot", f"TO {login}")
    sql = sql.replace("DATABASE postgres", f"DATABASE {database.database}")
    dropped = f"DROP OWNED BY {login};\nDROP ROLE {login};"
    done = shell(f"psql -v ON_ERROR_STOP=1 '{plain(database)}' <<'E'\n{sql}\n{dropped}\nE", ROOT)
    assert done.returncode == 0, done.stderr
    (tokens,) = blocks("docs/tenancy.md", "bash")
    done = shell(tokens, ROOT, DATABASE_URL=plain(database), ACCESS_TOKEN_KEYS=TOKEN_KEY)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()[0]) == 44


def test_sessions_of_a_request_and_of_a_test(bot_settings: URL) -> None:
    for block in blocks("docs/tenancy.md", "python"):
        exec(block, {})  # noqa: S102
    assert rows(bot_settings, "SELECT name FROM customers") == [("Ana",)]
    get_engine().dispose()


def test_a_bot_moves_to_a_confined_login(canonical: URL) -> None:
    login, name = f"bot_{canonical.database}", str(canonical.database)
    _, move, close = blocks("docs/tenancy.md", "sql")
    for sql in (move.replace("old_bot", login), close.replace("staging_bot, staging_owner", login)):
        execute(canonical, *filter(str.strip, sql.replace("DATABASE staging", f"DATABASE {name}").split(";\n")))
    migrate(canonical)
    add_business(canonical)
    execute(canonical, f"INSERT INTO customers (business_id, whatsapp_id, name) VALUES ('{OTHER_ID}', '1', 'x')")
    bot = canonical.set(username=login)
    execute(bot, "INSERT INTO customers (whatsapp_id, name) VALUES ('new', 'Ana')")
    assert rows(bot, "SELECT DISTINCT business_id::text FROM customers") == [(DEFAULT_ID,)]
    execute(canonical, f"DROP OWNED BY {login}", f"DROP ROLE {login}")


def test_adding_a_table(tmp_path: Path, database: URL) -> None:
    before = catalogue(database)
    project = clone(tmp_path)
    model, lines = blocks("docs/adding-a-table.md", "python")
    (project / "app/models/booking.py").write_text(model, encoding="utf-8")
    init = project / "app/models/__init__.py"
    import_line, name = lines.split("\n\n")
    text = init.read_text(encoding="utf-8")
    init.write_text(text.replace("from app.models.business ", f"{import_line}\nfrom app.models.business ") + name)
    walk, way_back = blocks("docs/adding-a-table.md", "bash")
    done = shell(walk, project, DATABASE_URL=plain(database), PYTHONPATH=str(project))
    assert done.returncode == 0, done.stderr
    assert "No new upgrade operations detected" in done.stdout
    linted = shell("ruff check app alembic && ruff format --check app alembic && mypy", project)
    assert linted.returncode == 0, linted.stdout
    done = shell(way_back, project, DATABASE_URL=plain(database), PYTHONPATH=str(project))
    assert done.returncode == 0, done.stderr
    assert catalogue(database) == before


def sentences() -> Iterator[str]:
    """What checks and errors say, up to the first colon: the texts of SQL and of Python that stop something."""
    for path in (ROOT / "alembic/sql").glob("*.sql"):
        for said in re.findall(
            r"(?:format\(|RAISE EXCEPTION |THEN\s+)'((?:[^']|'')*)'", path.read_text(encoding="utf-8")
        ):
            if len(said.split()) > 7 and not re.match(
                r"\^|privilege of |;? ?(SELECT|[A-Z]+ [A-Z%$])|\w+\(|%I_back", said
            ):  # which is SQL
                yield said.replace("''", "'")
    for path in [*(ROOT / "app").rglob("*.py"), *(ROOT / "alembic/versions").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and re.search("Error$|^refusal$", getattr(node.func, "id", "")) and node.args:
                parts = node.args[0].values if isinstance(node.args[0], ast.JoinedStr) else [node.args[0]]
                said = "".join(str(part.value) if isinstance(part, ast.Constant) else "%s" for part in parts)
                if len(said.split()) > 3:
                    yield said


def test_every_sentence_is_explained() -> None:
    """docs/failures.md has what each says before the colon, in its words; the longest piece without a name counts."""
    explained = " ".join((ROOT / "docs/failures.md").read_text(encoding="utf-8").replace("`", "").split()).lower()
    pieces = {
        max(re.split(r"%\d?\$?[sIL]?", said.split(": ")[0]), key=len).strip(" ,.(").lower() for said in sentences()
    }
    assert len(pieces) > 40
    assert [piece for piece in sorted(pieces) if piece not in explained] == []


def anchors(document: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a document."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_of_the_documents_lead_somewhere() -> None:
    """To a file, and where they name one, to a heading in it."""
    for name in documents():
        path = ROOT / name
        for target, anchor in re.findall(r"\]\(([^)#:]*)#?([^):]*)\)", path.read_text(encoding="utf-8")):
            there = (path.parent / target) if target else path
            assert there.exists(), f"{name} links to {target}"
            assert not anchor or anchor in anchors(there), f"{name} links to {target}#{anchor}"


def test_the_index_names_every_document() -> None:
    index = (ROOT / "docs/README.md").read_text(encoding="utf-8")
    assert [page.name for page in sorted((ROOT / "docs").glob("*.md")) if f"({page.name})" not in index] == [
        "README.md"
    ]


def test_the_diagram_is_that_of_the_models() -> None:
    """Line by line, in any order: paracelsus writes the lines that join two tables in the order of a set."""
    drawn = shell("sh docs/diagram.sh", ROOT).stdout
    (diagram,) = blocks("docs/schema.md", "mermaid")
    stale = "the diagram is stale: put what sh docs/diagram.sh writes into docs/schema.md"
    assert sorted(filter(None, diagram.splitlines())) == sorted(filter(None, drawn.splitlines())), stale


def test_every_column_is_described() -> None:
    """docs/schema.md has a section for each table, and a row for each column of it."""
    text, _, _ = (ROOT / "docs/schema.md").read_text(encoding="utf-8").partition("\n## Besides the tables")
    sections = re.split(r"^### `(\w+)`$", text, flags=re.MULTILINE)
    described = {
        table: set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
        for table, text in zip(sections[1::2], sections[2::2], strict=True)
    }
    assert described == {table.name: {column.name for column in table.columns} for table in Base.metadata.sorted_tables}


def test_every_setting_is_described() -> None:
    """In docs/settings.md: the settings of the environment, the options of Alembic, and the validated keys of a business."""
    text = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
    parts = dict(zip(*[iter(re.split(r"^##+ (.*)$", text, flags=re.MULTILINE)[1:])] * 2, strict=True))
    assert {name for name in parts if name.isupper()} == {field.name.upper() for field in fields(Settings)}
    options = set(re.findall(r"^\| `([a-z-]+)=", parts["Options of Alembic"], re.MULTILINE))
    assert options == {field.name.replace("_", "-") for field in fields(Options)}
    keys = set(re.findall(r"^\| `(\w+)` \|", parts["The settings of a business"], re.MULTILINE))
    assert keys == set(BusinessSettings.model_fields)


def test_the_figures_of_the_readme_are_those_of_the_results() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    results = (ROOT / "bench/RESULTS.md").read_text(encoding="utf-8")
    measured = re.findall(
        r"## The upgrade under load, ([\d,]+) messages.*?\| textbook script \|.*? ([\d,]+) \|\n"
        r"\| this package, up \|(?:[^|]*\|){2} (\d+) \|.*? ([\d,]+) \|\n",
        results, re.DOTALL,
    )  # fmt: skip
    assert [rows for rows, *_ in measured] == ["1,000,000", "5,000,000"]
    for rows_, textbook, failed, stall in measured:
        assert failed == "0"
        assert f"{rows_}" in readme
        assert f"{stall} ms" in readme
        assert f"{round(int(textbook.replace(',', '')) / 1000)} s" in readme
