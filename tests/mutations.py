"""Tries each mutation of the schema and expects the tests of access to fail: `python -m tests.mutations [WORD]`.

Most are made in the migrated template that the tests clone, and read from the catalogue, so that a policy, a key or a
CHECK added later is mutated too. What an upgrade does with the roles that were there before is mutated in the code that
writes its SQL (`IN_CODE`). WORD picks the mutations that hold it.
"""

import contextlib
import io
import os
import re
import sys
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.progress import track
from sqlalchemy import URL, make_url

from app.tenancy.embedded import embedded_url
from app.tenancy.migration import access, ops, scripts
from tests.support import ROOT, execute, migrate, plain, rows

FILES = ("test_attack_matrix.py", "test_catalogue_lints.py", "test_tenant_session.py", "test_tokens.py")
FILES_OF_UPGRADES = (
    *("test_access_matrix.py", "test_access_bot.py", "test_access_grants.py", "test_access_servers.py"),
    *("test_access_reaching.py", "test_roles.py", "test_rollback_memory.py"),
)
OURS = "SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace"
FROM_THE_CATALOGUE = {
    "policies dropped": f"SELECT format('DROP POLICY %I ON %s', polname, polrelid::regclass) FROM pg_policy WHERE polrelid IN ({OURS})",
    "policies that let read": """
        SELECT format('ALTER POLICY %I ON %s USING (true)', polname, polrelid::regclass) FROM pg_policy WHERE polname = 'app_tenant'""",
    "policies that let write": """
        SELECT format('ALTER POLICY %I ON %s WITH CHECK (true)', polname, polrelid::regclass) FROM pg_policy
         WHERE polname = 'app_tenant' AND (has_table_privilege('app_tenant', polrelid, 'INSERT'))""",
    "row level security off": f"SELECT format('ALTER TABLE %s DISABLE ROW LEVEL SECURITY', oid::regclass) FROM pg_class WHERE oid IN ({OURS}) AND relkind = 'r'",
    "composite keys made simple": f"""
        SELECT format('ALTER TABLE %1$s DROP CONSTRAINT %2$I, ADD FOREIGN KEY (%3$I) REFERENCES %4$s (%5$I)',
                      conrelid::regclass, conname, a.attname, confrelid::regclass, b.attname)
          FROM pg_constraint JOIN pg_attribute a ON a.attrelid = conrelid AND a.attnum = conkey[2]
          JOIN pg_attribute b ON b.attrelid = confrelid AND b.attnum = confkey[2]
         WHERE contype = 'f' AND cardinality(conkey) > 1 AND conrelid IN ({OURS})""",
    "composite keys dropped": f"""
        SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname) FROM pg_constraint
         WHERE contype = 'f' AND cardinality(conkey) > 1 AND conrelid IN ({OURS})""",
    "CHECKs dropped": f"""
        SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname) FROM pg_constraint
         WHERE contype = 'c' AND conrelid IN ({OURS}) AND conname <> 'whatsapp_bot_schema'""",
    "TRUNCATE granted": f"SELECT format('GRANT TRUNCATE ON %s TO app_tenant', oid::regclass) FROM pg_class WHERE oid IN ({OURS}) AND relkind = 'r'",
    "open to everybody": f"SELECT format('GRANT SELECT ON %s TO PUBLIC', oid::regclass) FROM pg_class WHERE oid IN ({OURS}) AND relkind = 'r'",
    "search_path": "SELECT format('ALTER FUNCTION %s RESET search_path', oid::regprocedure) FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
    "callable by everybody": "SELECT format('GRANT EXECUTE ON FUNCTION %s TO PUBLIC', oid::regprocedure) FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
}
BY_HAND = (
    "GRANT SELECT ON users TO app_tenant",
    "GRANT SELECT (password_hash) ON users TO app_tenant",
    "GRANT UPDATE (password_hash) ON users TO app_tenant",
    "GRANT DELETE ON users TO app_tenant",
    "GRANT INSERT ON users TO app_tenant",
    "GRANT INSERT ON user_businesses TO app_tenant",
    "GRANT UPDATE ON user_businesses TO app_tenant",
    "GRANT UPDATE ON businesses TO app_tenant",
    "GRANT INSERT ON businesses TO app_tenant",
    "GRANT DELETE ON businesses TO app_tenant",
    "GRANT SELECT ON alembic_version TO app_tenant",
    "GRANT UPDATE ON SEQUENCE customers_id_seq TO app_tenant",
    "GRANT CREATE ON SCHEMA public TO app_tenant",
    "GRANT USAGE ON SEQUENCE customers_id_seq TO app_tenant",
    "GRANT INSERT (id) ON customers TO app_tenant",
    "GRANT UPDATE (id) ON conversations TO app_tenant",
    "GRANT UPDATE (created_at) ON customers TO app_tenant",
    "GRANT INSERT ON whatsapp_numbers TO app_tenant",
    "REVOKE INSERT (name) ON customers FROM app_tenant",
    "REVOKE UPDATE (message) ON conversations FROM app_tenant",
    "REVOKE EXECUTE ON FUNCTION current_business_id() FROM app_tenant",
    "ALTER TABLE customers ALTER COLUMN business_id SET DEFAULT '00000000-0000-0000-0000-000000000001'",
    "DROP INDEX ix_user_businesses_business_id",
    "CREATE OR REPLACE FUNCTION current_business_id() RETURNS uuid LANGUAGE sql STABLE SET search_path = '' "
    "AS $$ SELECT current_setting('app.business_id', true)::uuid $$",
)
IN_CODE = {
    "former roles read every business": ("single_business_policy", r"USING \(business_id = ''[^']*''\)", "USING (true)"),
    "former roles write to every business": (
        "single_business_policy", r"WITH CHECK \(business_id = ''[^']*''\)", "WITH CHECK (true)"
    ),
    "former roles have no policy": ("single_business_policy", r"HAVING count\(\*\) > 0", "HAVING false"),
    "the policy only restricts": ("single_business_policy", "'PERMISSIVE'", "'RESTRICTIVE'"),
    "the policy only permits": ("single_business_policy", "'RESTRICTIVE'", "'PERMISSIVE'"),
    "readers of everything are no former roles": ("former_roles", "'pg_read_all_data', 'pg_write_all_data'", "''"),
    "anon keeps what it had": ("take_from_former_roles", "'anon', 'authenticated'", "''"),
    "TRUNCATE is kept": ("take_from_former_roles", "'TRUNCATE', ", ""),
    "REFERENCES is kept": ("take_from_former_roles", ", 'REFERENCES'", ""),
    "what a grant option gave is kept": ("take_from_former_roles", "WHERE taken AND grantor <> relowner", "WHERE false"),
    "what was taken is not given back": ("001_remember_privileges.sql", "WHERE unconfined$", "WHERE false"),
    "tenants write created_at": ("tenant_columns", "'id', 'created_at'", "'id'"),
    "tenants write numbered columns": ("tenant_columns", "adnum = attnum", "false"),
    "tenants draw no numbers": ("sequences", "$", " AND false"),
    "members of other databases come in": ("strangers", "$", " AND false"),
    "the owner comes into other databases": ("001_new_strangers.sql", "$", " AND false"),
    "nothing reaches the tables": ("001_reaching_objects.sql", "GROUP BY 1, 3", "AND false GROUP BY 1, 3"),
    "default privileges open new tables": ("close_table", "", ""),
}  # fmt: skip
"""Name of the mutation to: function of `access` (or `ops`, then it does nothing) or file of a revision, pattern in its SQL,
what takes its place."""


@contextmanager
def mutated_code(name: str) -> Iterator[None]:
    """The function or file of the mutation holds other SQL."""
    function, pattern, instead = IN_CODE[name]
    with pytest.MonkeyPatch.context() as patch:
        if not pattern:
            patch.setattr(ops, function, lambda *_, **__: None)
        else:
            is_file = function.endswith(".sql")
            original: Any = scripts.filled if is_file else getattr(access, function)

            def mutant(*arguments: Any, **options: str) -> str:
                written: str = original(*arguments, **options)
                if is_file and arguments[1] != function:
                    return written
                sql, count = re.subn(pattern, instead, written)
                assert count, f"{function} holds no {pattern}"
                return sql

            module, attribute = (scripts, "filled") if is_file else (access, function)
            patch.setattr(module, attribute, mutant)
        yield


class Mutation:
    """A pytest plugin that runs a statement in the template once it is migrated."""

    def __init__(self, statement: str) -> None:
        self.statement = statement
        self.failed: list[str] = []

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Generator[None, URL, URL]:
        result = yield
        if fixturedef.argname == "migrated_template":
            execute(result, self.statement)
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.append(report.nodeid)


def mutations(server: URL) -> list[str]:
    """Every mutation, by a catalogue at head."""
    name = f"mutations_{os.getpid()}"
    execute(server, f"CREATE DATABASE {name}", f"ALTER DATABASE {name} SET timezone TO 'UTC'")
    try:
        migrate(server.set(database=name))
        found = [row[0] for query in FROM_THE_CATALOGUE.values() for row in rows(server.set(database=name), query)]
    finally:
        execute(server, f"DROP DATABASE {name} WITH (FORCE)")
    return [*found, *BY_HAND, *IN_CODE]


def tests_fail(mutation: str) -> list[str]:
    """The first test that fails with the mutation; none where the mutation lives on."""
    plugin = Mutation("SELECT 1" if mutation in IN_CODE else mutation)
    files = [str(ROOT / "tests" / name) for name in (FILES_OF_UPGRADES if mutation in IN_CODE else FILES)]
    mutated = mutated_code(mutation) if mutation in IN_CODE else contextlib.nullcontext()
    with mutated, contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        pytest.main(
            [*files, "-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-W", "ignore", "--hypothesis-seed=0"],
            plugins=[plugin],
        )
    return plugin.failed


def main(word: str = "") -> int:
    """Try every mutation; the exit status is 1 where one lives on."""
    with tempfile.TemporaryDirectory(prefix="mutations-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        given = os.environ.get("TEST_DATABASE_URL")
        server = make_url(given).set(drivername="postgresql+psycopg2") if given else embedded_url(Path(folder) / "data")
        os.environ["TEST_DATABASE_URL"] = plain(server)
        if unmutated := tests_fail("SELECT 1"):
            print(f"the tests fail without a mutation: {unmutated[0]}", file=sys.stderr)
            return 1
        tried = [m for m in mutations(server) if word in m]
        alive = []
        console = Console(stderr=True)
        for statement in track(tried, "Mutations", console=console, disable=not console.is_terminal):
            failed = tests_fail(statement)
            print(f"{'caught' if failed else 'ALIVE '}  {statement}  {failed[0].rsplit('::')[-1] if failed else ''}")
            if not failed:
                alive.append(statement)
    print(f"{len(tried) - len(alive)} of {len(tried)} mutations make the tests fail.")
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
