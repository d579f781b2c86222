"""The owner of the database, who is no superuser, spreads it and brings it back; an administrator closes what it names."""

import pytest
from alembic.util.exc import CommandError

from tests.citus import citus_database, distribute, undistribute
from tests.support import check, execute, load_legacy, migrate, rows
from tests.test_widen_refusals import commands
from tests.widening import widen

pytestmark = pytest.mark.citus


def test_an_owner_who_is_no_superuser() -> None:
    """An administrator closes what the command names; all the rest the owner of the database does itself, twice."""
    with citus_database(shards=2) as url:
        name = f"owner_{url.database}"
        execute(
            url,
            f"CREATE ROLE {name} LOGIN CREATEROLE",
            f"ALTER DATABASE {url.database} OWNER TO {name}",
            f"GRANT ALL ON SCHEMA public TO {name}",
        )
        owner = url.set(username=name)
        try:
            load_legacy(owner, messages=30)
            migrate(owner)
            widen(owner)
            with pytest.raises(CommandError, match=f"role {name} may not close what shows every tenant") as refused:
                distribute(owner)
            execute(url, *(statement for line in commands(str(refused.value)) for statement in line.split("; ")))
            before = rows(url, "SELECT to_jsonb(c) FROM conversations AS c ORDER BY id")
            distribute(owner)
            check(owner)
            assert rows(url, "SELECT to_jsonb(c) FROM conversations AS c ORDER BY id") == before
            undistribute(owner)
            check(owner)
            distribute(owner)
            undistribute(owner)
            assert rows(url, "SELECT to_jsonb(c) FROM conversations AS c ORDER BY id") == before
        finally:
            execute(url, f"REASSIGN OWNED BY {name} TO CURRENT_USER")
            execute(
                url,
                f"DROP OWNED BY {name}",
                f"ALTER DATABASE {url.database} OWNER TO CURRENT_USER",
                f"DROP ROLE {name}",
            )
