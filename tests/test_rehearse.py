"""A rehearsal on a backup says what the migration would do, or what stops it, and touches nothing else."""

import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import URL, make_url

from app.tenancy.rehearse import PREFIX, Findings, main, report, verdict
from app.tenancy.restore import restore, run_program
from app.tenancy.script import BackupError
from tests.rehearsals import dump, rehearse
from tests.support import execute, plain, psql, rows, scalar

FORMATS = ("plain", "custom", "directory", "tar", "gzip")

SUPABASE = r"""
SELECT 'CREATE ROLE ' || name FROM unnest(ARRAY['anon', 'authenticated', 'service_role BYPASSRLS', 'supabase_auth_admin',
       '"Team Reader"']) AS name WHERE to_regrole(split_part(name, ' BYPASS', 1)) IS NULL \gexec
CREATE SCHEMA auth;
CREATE TABLE auth.users (id uuid PRIMARY KEY, email text);
ALTER TABLE auth.users OWNER TO supabase_auth_admin;
INSERT INTO auth.users VALUES (gen_random_uuid(), 'a@b.co');
CREATE FUNCTION auth.uid() RETURNS uuid LANGUAGE sql STABLE AS 'SELECT current_setting(''request.jwt.claim.sub'', true)::uuid';
CREATE SCHEMA storage;
CREATE TABLE storage.objects (id uuid PRIMARY KEY);
CREATE SCHEMA extensions;
CREATE FUNCTION extensions.pgrst_ddl_watch() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN NOTIFY pgrst; END';
CREATE EVENT TRIGGER pgrst_ddl_watch ON ddl_command_end EXECUTE FUNCTION extensions.pgrst_ddl_watch();
CREATE PUBLICATION supabase_realtime FOR TABLE conversations;
CREATE TABLE notes (customer_id integer REFERENCES customers, owner uuid REFERENCES auth.users);
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES TO anon, authenticated, service_role;
GRANT ALL ON customers, conversations TO anon, authenticated, service_role;
GRANT SELECT ON customers TO "Team Reader";
ALTER TABLE customers ENABLE ROW LEVEL SECURITY;
CREATE POLICY "service role" ON customers TO service_role USING (true);
CREATE POLICY "own rows" ON customers FOR SELECT TO authenticated USING (auth.uid() IS NOT NULL);
"""
"""A whole database of Supabase, as far as it matters here: its roles, schemas, event triggers and publications."""


@pytest.fixture
def supabase(make_database: Callable[..., URL], legacy_templates: dict[str, URL]) -> URL:
    source = make_database(legacy_templates["supabase"])
    done = psql(source, SUPABASE, "-v", "ON_ERROR_STOP=1")
    assert done.returncode == 0, done.stderr
    return source


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_of_pg_dump_is_restored(
    canonical: URL, make_database: Callable[[], URL], tmp_path: Path, form: str
) -> None:
    path, copy = dump(canonical, tmp_path, form), make_database()
    (scratch := tmp_path / "scratch").mkdir()
    restored = restore([path], copy, scratch)
    assert (restored.schema, restored.left_out) == ("public", [])
    for table in ("customers", "conversations"):
        assert rows(copy, f"SELECT * FROM {table} ORDER BY id") == rows(canonical, f"SELECT * FROM {table} ORDER BY id")
    assert list(scratch.iterdir()) == []


def test_a_backup_in_parts_is_restored_in_their_order(
    canonical: URL, make_database: Callable[[], URL], tmp_path: Path
) -> None:
    schema, data = tmp_path / "schema", tmp_path / "data"
    schema.mkdir()
    data.mkdir()
    parts = [
        dump(canonical, schema, "plain", "--schema-only"),
        dump(canonical, data, "plain", "--data-only", "--inserts"),
    ]
    copy = make_database()
    restore(parts, copy, tmp_path)
    assert scalar(copy, "SELECT count(*) FROM conversations") == 2000


def test_tables_in_another_schema_are_found(canonical: URL, make_database: Callable[[], URL], tmp_path: Path) -> None:
    execute(
        canonical,
        'CREATE SCHEMA "The Bot"',
        *(f'ALTER TABLE {t} SET SCHEMA "The Bot"' for t in ("customers", "conversations")),
    )
    copy = make_database()
    assert restore([dump(canonical, tmp_path, "plain")], copy, tmp_path).schema == "The Bot"
    assert scalar(copy, "SELECT count(*) FROM customers") == 200


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"", "is empty"),
        (b"PGDMP\x01", "cannot be read"),
        (b"\x1f\x8bxx", "cannot be unpacked"),
        (b"SELECT 1;\n", "could not be restored: they are not in it"),
        (b"hello;\n", "could not be restored: they are not in it"),
        (b"hello\n", "ends in the middle of the statement"),
    ],
    ids=str,
)
def test_what_is_no_backup_is_one_sentence_and_status_2(
    tmp_path: Path,
    content: bytes | None,
    said: str,
    capsys: pytest.CaptureFixture[str],
    make_database: Callable[[], URL],
) -> None:
    path = tmp_path / "backup"
    if content is not None:
        path.write_bytes(content)
    assert main([str(path), "--url", plain(make_database()), "--report", str(tmp_path / "r.md")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "r.md").exists()


def test_rows_that_cannot_be_restored_end_the_rehearsal(make_database: Callable[[], URL], tmp_path: Path) -> None:
    path = tmp_path / "broken.sql"
    columns = "id int, whatsapp_id text, name text"
    path.write_text(
        f"CREATE TABLE customers ({columns});\nCREATE TABLE conversations ({columns});\n"
        "COPY customers (id) FROM stdin;\nx\n\\.\n"
    )
    with pytest.raises(BackupError, match="could not be restored: invalid input syntax"):
        restore([path], make_database(), tmp_path)


def test_a_database_that_is_not_empty_is_refused(
    canonical: URL, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path), "--url", plain(canonical)]) == 2
    assert "is not empty: create one for the rehearsal" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["plain", "custom", "directory"])
def test_of_a_whole_supabase_database_the_two_tables_come_with_their_policies(
    supabase: URL, make_database: Callable[..., URL], tmp_path: Path, form: str
) -> None:
    copy = make_database()
    (scratch := tmp_path / "scratch").mkdir()
    restored = restore([dump(supabase, tmp_path, form)], copy, scratch)
    policies = "SELECT polname FROM pg_policy WHERE polrelid = 'customers'::regclass ORDER BY 1"
    assert rows(copy, policies) == [("own rows",), ("service role",)]
    assert rows(copy, "SELECT * FROM customers ORDER BY id") == rows(supabase, "SELECT * FROM customers ORDER BY id")
    assert scalar(copy, "SELECT count(*) FROM auth.users") == (form == "plain")
    assert (restored.schema, restored.left_out) == ("public", [])


@pytest.mark.parametrize("form", ["plain", "custom"])
def test_a_rehearsal_of_a_whole_supabase_database(supabase: URL, tmp_path: Path, form: str) -> None:
    """In a server of its own, where none of Supabase's roles are; DATABASE_URL is not so much as looked at."""
    backup = dump(supabase, tmp_path, form)
    if form == "plain":
        extension = "CREATE EXTENSION pg_graphql WITH SCHEMA auth;\nCREATE SCHEMA auth;"
        backup.write_text(backup.read_text().replace("CREATE SCHEMA auth;", extension))
    target = tmp_path / "report.md"
    done = rehearse(str(backup), "--report", str(target), DATABASE_URL="postgresql://bot@127.0.0.1:1/live")
    assert done.returncode == 0, done.stdout + done.stderr
    written = target.read_text()
    assert written in done.stdout
    loses = "role authenticated loses its privileges on customers and conversations until a rollback"
    for part in ("It would work", "200 customers, 2,000 conversations", "met 0 errors", "Longest steps", loses):
        assert part in written
    assert ("pg_graphql" in written) == (form == "plain")
    assert "gives back differently" not in written
    assert len(written.splitlines()) < 50  # a screen
    assert ", step 1 of " in done.stderr
    assert "anon" in written.split("Roles created for the rehearsal")[1]
    (folder,) = re.findall(rf"\S*/{PREFIX}\S+", done.stderr)
    assert not Path(folder).exists()


def test_what_stands_in_the_way_is_said_with_its_command_and_status_1(
    canonical: URL, make_database: Callable[[], URL], tmp_path: Path
) -> None:
    execute(
        canonical, "ALTER TABLE customers ALTER name DROP NOT NULL", "UPDATE customers SET name = NULL WHERE id = 1"
    )
    staging = make_database()
    done = rehearse(str(dump(canonical, tmp_path)), "--url", plain(staging), "--report", str(tmp_path / "r.md"))
    assert done.returncode == 1
    assert "It would stop: " in (tmp_path / "r.md").read_text()
    assert "SET NOT NULL" in (tmp_path / "r.md").read_text()
    assert scalar(staging, "SELECT to_regclass('businesses') IS NULL")


def test_a_difference_or_an_error_of_the_bot_is_no_success() -> None:
    assert verdict(Findings())[0]
    assert not verdict(Findings(differences=["after the upgrade: customers has other rows (2, now 1)"]))[0]
    assert verdict(Findings(differences=["not given back by the rollback: x"]))[0]
    assert "not given back by the rollback: x" in report(
        Findings(differences=["not given back by the rollback: x"]), []
    )
    works, sentence = verdict(Findings(drift=["after the upgrade: drift: x"]))
    assert not works
    assert sentence.endswith("after the upgrade: drift: x")


def test_what_a_killed_rehearsal_left_is_removed_by_the_next_and_nothing_else(tmp_path: Path) -> None:
    nowhere = str(tmp_path / "nowhere")
    killed, running = (Path(tempfile.mkdtemp(prefix=f"{PREFIX}{pid}-")) for pid in (999999999, os.getpid()))
    asked = rehearse(nowhere, "--keep")
    assert asked.returncode == 2
    (kept,) = (
        Path(data).parent for data in re.findall(r"^Kept the server's data in (.*)$", asked.stderr, re.MULTILINE)
    )
    assert rehearse(nowhere).returncode == 2
    assert [folder.exists() for folder in (killed, running, kept)] == [False, True, True]
    for folder in (running, kept):
        shutil.rmtree(folder)


def test_no_variable_of_libpq_leads_to_another_server(tmp_path: Path) -> None:
    said = rehearse(str(tmp_path / "nowhere"), PGHOSTADDR="192.0.2.1", PGOPTIONS="-c no_such=1").stderr
    assert "cannot be read: No such file or directory" in said


def test_programs_get_a_password_in_their_environment_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others on the machine can read arguments."""
    (program := tmp_path / "psql").write_text('#!/bin/sh\necho "$@"\necho "$PGPASSWORD"')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr("app.tenancy.restore.find_spec", lambda _: None)
    for url in (
        "postgresql://bot:s3cret@h/bot?sslmode=require",
        "postgresql://bot@h/bot?sslmode=require&password=s3cret",
    ):
        arguments, password = run_program("psql", make_url(url), "-X").stdout.splitlines()
        assert (arguments, password) == ("-X -d postgresql://bot@h/bot?sslmode=require", "s3cret")
