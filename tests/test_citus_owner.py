"""The owner of the database, who is no superuser, spreads it and brings it back; an administrator closes what it names."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from alembic.util.exc import CommandError

from tests.citus import citus_database, coordinator, distribute, undistribute
from tests.support import check, execute, load_legacy, migrate, rows
from tests.widening import widen

pytestmark = pytest.mark.citus


@contextmanager
def dropped_at_the_end(name: str) -> Iterator[None]:
    """The role goes after its database."""
    try:
        yield
    finally:
        execute(coordinator(), f"DROP ROLE IF EXISTS {name}")


def test_an_owner_who_is_no_superuser() -> None:
    """An administrator closes what the command names; all the rest the owner of the database does itself, twice."""
    name = f"owner_{uuid.uuid4().hex[:12]}"
    with dropped_at_the_end(name), citus_database(shards=2) as url:
        execute(
            url,
            f"CREATE ROLE {name} LOGIN CREATEROLE",
            f"ALTER DATABASE {url.database} OWNER TO {name}",
            f"GRANT ALL ON SCHEMA public TO {name}",
        )
        owner = url.set(username=name)
        load_legacy(owner, messages=30)
        migrate(owner)
        widen(owner)
        with pytest.raises(CommandError, match=f"role {name} may not close what shows every tenant") as refused:
            distribute(owner)
        _, closing = str(refused.value).split(": run ")
        execute(url, *closing.rstrip(".;").split("; "))
        before = rows(url, "SELECT to_jsonb(c) FROM conversations AS c ORDER BY id")
        distribute(owner)
        check(owner)
        assert rows(url, "SELECT to_jsonb(c) FROM conversations AS c ORDER BY id") == before
        undistribute(owner)
        check(owner)
        distribute(owner)
        undistribute(owner)
        assert rows(url, "SELECT to_jsonb(c) FROM conversations AS c ORDER BY id") == before
