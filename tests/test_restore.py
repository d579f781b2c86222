"""A restore reaches nothing beyond its database: whatever a backup holds, and whatever a customer wrote in a message."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL

from app.tenancy.rehearse import main
from app.tenancy.restore import Restored, restore
from app.tenancy.script import BackupError
from tests.rehearsals import dump
from tests.support import execute, plain, rows, scalar

BEYOND = {
    "CREATE ROLE": "CREATE ROLE canary_made SUPERUSER LOGIN PASSWORD 'x';",
    "CREATE USER": "CREATE /* ; */ USER canary_made;",
    "ALTER ROLE": "ALTER ROLE canary SUPERUSER;",
    "ALTER USER": "ALTER USER canary WITH CREATEDB LOGIN;",
    "DROP ROLE": "DROP ROLE canary;",
    "GRANT": "GRANT pg_write_all_data TO canary;",
    "DO": "DO $$BEGIN EXECUTE 'ALTER ROLE canary SUPERUSER'; END$$;",
    "DROP OWNED": "DROP OWNED BY canary;",
    "CREATE DATABASE": "CREATE DATABASE canary_made;",
    "ALTER DATABASE": "ALTER DATABASE postgres SET work_mem = '1MB';",
    "GRANT ": "GRANT ALL ON DATABASE postgres TO canary;",
    "COMMENT ON": "COMMENT ON ROLE canary IS 'x';",
    "SECURITY LABEL": "SECURITY LABEL ON ROLE canary IS 'x';",
    "ALTER SYSTEM": "ALTER SYSTEM SET work_mem = '1MB';",
    "CREATE SUBSCRIPTION": "CREATE SUBSCRIPTION canary CONNECTION 'dbname=x' PUBLICATION y WITH (connect = false);",
    "CREATE SERVER": "CREATE SERVER canary FOREIGN DATA WRAPPER x;",
    "CREATE EXTENSION": 'CREATE EXTENSION IF NOT EXISTS "dblink";',
    "CREATE FUNCTION": "CREATE FUNCTION canary() RETURNS int LANGUAGE internal AS 'pg_backend_pid';",
    "COPY": "COPY notes FROM PROGRAM 'touch {file}';",
    "COPY ": "COPY customers TO '{file}';",
    "SELECT": "SELECT pg_catalog.lo_export(1, '{file}');",
    "INSERT INTO": "INSERT INTO notes VALUES (lo_export(1, '{file}'));",
    "INSERT INTO ": "INSERT INTO notes SELECT 1;",
    "INSERT INTO  ": "INSERT INTO pg_catalog.pg_auth_members VALUES (1, 2, 3, 4);",
    "INSERT INTO   ": 'INSERT INTO U&"pg\\005fauth_members" VALUES (1, 2, 3, 4);',
    "COPY  ": "COPY pg_auth_members (roleid) FROM stdin;\n1\n\\.",
    "GRANT  ": "GRANT UPDATE ON TABLE pg_catalog.pg_authid TO canary;",
    "SET": "SET allow_system_table_mods = on;",
    "SET SESSION": "SET SESSION AUTHORIZATION 'canary';",
    "UPDATE": "UPDATE pg_authid SET rolsuper = true WHERE rolname = 'canary';",
    "a statement": "PLEASE ALTER ROLE canary SUPERUSER;",
}
"""What is left out, and by what name."""

SERVER = """
SELECT 'role', rolname, rolsuper::text || rolcanlogin || rolcreatedb || rolbypassrls || coalesce(rolpassword, '')
  FROM pg_authid WHERE rolname ~ 'canary|evil' UNION ALL
SELECT 'member', roleid::regrole::text, member::regrole::text FROM pg_auth_members
 WHERE member::regrole::text ~ 'canary|evil' UNION ALL
SELECT 'database', datname, datacl::text FROM pg_database WHERE datname ~ 'canary|postgres' UNION ALL
SELECT 'setting', setdatabase::text, setconfig::text FROM pg_db_role_setting AS s
  LEFT JOIN pg_database AS d ON d.oid = setdatabase WHERE setdatabase = 0 OR datname = 'postgres' UNION ALL
SELECT 'comment', description, classoid::regclass::text FROM pg_shdescription WHERE description = 'x'
"""


@pytest.fixture
def canary(server: URL) -> Iterator[None]:
    """A role that no backup may touch; it goes, and so do others that a backup names, after the databases."""
    execute(server, "CREATE ROLE canary")
    yield
    for (role,) in rows(server, "SELECT quote_ident(rolname) FROM pg_roles WHERE rolname ~* '^(canary|evil)'"):
        execute(server, f"DROP ROLE {role}")


@pytest.fixture
def source(canary: None, canonical: URL) -> URL:
    execute(canonical, "CREATE TABLE notes (id int)")
    return canonical


@pytest.fixture
def restored(make_database: Callable[[], URL], tmp_path: Path) -> Callable[[Path], tuple[URL, Restored]]:
    def run(backup: Path) -> tuple[URL, Restored]:
        (scratch := tmp_path / "scratch").mkdir(exist_ok=True)
        copy = make_database()
        return copy, restore([backup], copy, scratch)

    return run


def test_what_reaches_beyond_the_database_is_left_out_and_named(
    source: URL, restored: Callable[[Path], tuple[URL, Restored]], tmp_path: Path
) -> None:
    backup, canary = dump(source, tmp_path, "plain"), tmp_path / "file"
    planted = "\n".join(BEYOND.values()).replace("{file}", str(canary))
    backup.write_text(backup.read_text().replace("\n-- PostgreSQL database dump complete", f"\n{planted}\n--"))
    before = rows(source, SERVER)
    copy, result = restored(backup)
    assert rows(source, SERVER) == before
    assert result.left_out == [
        f"{name}: not run, for it could reach beyond the database" for name in dict.fromkeys(map(str.strip, BEYOND))
    ]
    assert not canary.exists()
    assert scalar(copy, "SELECT count(*) FROM notes") == 0
    assert rows(copy, "SELECT * FROM customers ORDER BY id") == rows(source, "SELECT * FROM customers ORDER BY id")


@pytest.mark.parametrize(
    "command", ["\\connect postgres", "\\! touch {file}", "\\copy customers to '{file}'", "\\i {file}"]
)
def test_a_command_of_psql_is_refused_before_anything_is_restored(
    source: URL, make_database: Callable[[], URL], tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    backup, copy = dump(source, tmp_path, "plain"), make_database()
    written = command.format(file=tmp_path / "file")
    for place in (f"{written}\nSELECT 1;", f"SELECT 1 {written}\n;"):
        backup.write_text(f"CREATE TABLE x (a int);\n{place}\n")
        assert main([str(backup), "--url", plain(copy)]) == 2
        name = written.split()[0]
        assert f"has a command of psql in line 2, {name}, which a rehearsal does not run" in capsys.readouterr().err
    assert not (tmp_path / "file").exists()
    assert scalar(copy, "SELECT to_regclass('x') IS NULL")


@pytest.mark.parametrize("options", [["--create"], ["--create", "--clean", "--if-exists"]], ids=str)
def test_a_backup_that_makes_its_own_database_anew_does_not_reach_it(
    source: URL,
    make_database: Callable[[], URL],
    tmp_path: Path,
    options: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    backup = dump(source, tmp_path, "plain", *options)
    execute(source, "UPDATE customers SET name = 'written after the backup' WHERE id = 1")
    assert main([str(backup), "--url", plain(make_database())]) == 2
    assert "\\connect, which a rehearsal does not run" in capsys.readouterr().err
    assert scalar(source, "SELECT name FROM customers WHERE id = 1") == "written after the backup"
    assert scalar(source, "SELECT count(*) FROM customers") == 200


MESSAGES = (
    "hola\nGRANT x TO evil/**/SUPERUSER/**/LOGIN/**/PASSWORD/**/$$pw$$--;\nadios",
    "ALTER the price OWNER TO o'brien;",
    "it''s\n\\.\n\\connect postgres\nDROP ROLE canary;",
    "'); ALTER ROLE canary SUPERUSER; --",
    "\\'); ALTER ROLE canary SUPERUSER; --",
    "$$; ALTER ROLE canary SUPERUSER; $$ /* ;",
    "\ttab\r\nCOPY public.customers (id) FROM stdin;\nCREATE ROLE evil SUPERUSER;",
)


@pytest.mark.parametrize("options", [[], ["--inserts"], ["--column-inserts", "--rows-per-insert=3"]], ids=str)
@pytest.mark.parametrize("form", ["plain", "custom"])
def test_what_a_customer_writes_is_never_read_as_sql(
    source: URL, restored: Callable[[Path], tuple[URL, Restored]], tmp_path: Path, form: str, options: list[str]
) -> None:
    for message in MESSAGES:
        literal = message.replace("'", "''")
        execute(source, f"UPDATE conversations SET message = '{literal}' WHERE id = {MESSAGES.index(message) + 1}")
    before = rows(source, SERVER)
    copy, result = restored(dump(source, tmp_path, form, *options))
    assert rows(source, SERVER) == before
    assert (result.roles, result.left_out) == ([], [])
    for table in ("customers", "conversations"):
        query = f"SELECT * FROM {table} ORDER BY id"
        assert rows(copy, query) == rows(source, query)


@pytest.mark.parametrize(
    "options",
    [
        ["--clean"],
        ["--clean", "--if-exists"],
        ["--disable-triggers"],
        ["--quote-all-identifiers"],
        ["--no-owner", "--no-privileges", "--no-comments"],
        ["--statistics"],
        ["--encoding=LATIN1"],
    ],
    ids=" ".join,
)
def test_every_option_of_pg_dump(
    source: URL, restored: Callable[[Path], tuple[URL, Restored]], tmp_path: Path, options: list[str]
) -> None:
    execute(source, "UPDATE customers SET name = 'José'", "UPDATE conversations SET message = 'mañana'")
    copy, result = restored(dump(source, tmp_path, "plain", *options))
    assert result.left_out == []
    for table in ("customers", "conversations"):
        query = f"SELECT * FROM {table} ORDER BY id"
        assert rows(copy, query) == rows(source, query)


def test_roles_are_made_of_the_names_that_the_server_misses(
    source: URL, restored: Callable[[Path], tuple[URL, Restored]], tmp_path: Path
) -> None:
    names = ["canary_o'brien", 'canary "the" boss', "canary; superuser", "Canary"]
    quoted = ['"' + name.replace('"', '""') + '"' for name in names]
    backup = dump(source, tmp_path, "plain")
    backup.write_text(
        backup.read_text()
        + f"ALTER TABLE public.notes OWNER TO {quoted[0]};\nGRANT SELECT ON TABLE public.notes TO {quoted[1]}, {quoted[2]};\n"
        + f"CREATE POLICY p ON public.notes TO {quoted[3]} USING (true);\n"
        + "ALTER DEFAULT PRIVILEGES FOR ROLE canary_maker GRANT SELECT ON TABLES TO canary, canary_reader;\n"
    )
    _, result = restored(backup)
    made = sorted([*names, "canary_maker", "canary_reader"])
    assert (sorted(result.roles), result.left_out) == (made, [])
    attributes = "rolsuper OR rolcreaterole OR rolcreatedb OR rolcanlogin OR rolreplication OR rolbypassrls"
    query = f"SELECT count(*), bool_or({attributes}) FROM pg_roles WHERE rolname <> 'canary' AND rolname ~* '^canary'"
    assert rows(source, query) == [(len(made), False)]


def test_a_login_without_rights_restores_into_a_database_of_any_name(source: URL, server: URL, tmp_path: Path) -> None:
    backup = dump(source, tmp_path, "plain")
    backup.write_text(backup.read_text() + "GRANT SELECT ON public.customers TO canary_reader;\n")
    execute(
        server, "CREATE ROLE canary_login LOGIN CREATEROLE", 'CREATE DATABASE "canary %s-staging" OWNER canary_login'
    )
    try:
        url = server.set(database="canary %s-staging", username="canary_login", password=None)
        result = restore([backup], url, tmp_path)
        assert result.roles == ["canary_reader"]
        assert rows(url, "SELECT * FROM customers ORDER BY id") == rows(source, "SELECT * FROM customers ORDER BY id")
        assert scalar(url, "SHOW search_path") == "public"
    finally:
        execute(server, 'DROP DATABASE "canary %s-staging" WITH (FORCE)')


def test_a_routine_with_a_body_of_sql_is_one_statement(
    source: URL, restored: Callable[[Path], tuple[URL, Restored]], tmp_path: Path
) -> None:
    body = "BEGIN ATOMIC SELECT 1; SELECT CASE WHEN $1 THEN CASE $1 WHEN true THEN 3 END END; END"
    execute(source, f"CREATE FUNCTION choose(boolean) RETURNS int LANGUAGE sql {body}")
    backup = dump(source, tmp_path, "plain")
    copy, result = restored(backup)
    assert scalar(copy, "SELECT choose(true)") == 3
    assert result.left_out == []
    # CASE is a name here: a reader that counts it as the beginning of something reads on too far.
    hidden = "CREATE FUNCTION public.f() RETURNS int BEGIN ATOMIC SELECT 1 case; END; ALTER ROLE canary SUPERUSER; SELECT 1; END;"
    backup.write_text(backup.read_text() + hidden)
    with pytest.raises(BackupError, match="has a function that cannot be read"):
        restored(backup)
    assert not scalar(source, "SELECT rolsuper FROM pg_roles WHERE rolname = 'canary'")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("CREATE TABLE x (a text DEFAULT 'b", "ends in the middle of the statement that begins in line 1"),
        ("SELECT 1;\nCOPY x (a) FROM stdin;\n1\n2\n", "ends in the middle of the rows that begin in line 3"),
        ("SET client_encoding = 'SJIS';", "in the encoding SJIS: make it with pg_dump"),
        ("SET standard_conforming_strings = off;", "made with standard_conforming_strings off"),
        ("\\\x1b[2J\n", "line 1, '\\\\\\x1b[2J', which"),
    ],
    ids=str,
)
def test_a_script_that_cannot_be_read_safely_is_refused(
    make_database: Callable[[], URL], tmp_path: Path, content: str, said: str
) -> None:
    (path := tmp_path / "backup.sql").write_text(content)
    with pytest.raises(BackupError) as refused:
        restore([path], make_database(), tmp_path)
    assert said in str(refused.value)
    assert str(refused.value).isprintable()
