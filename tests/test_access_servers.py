"""Roles belong to the server: no upgrade or rollback of one database opens another to anybody."""

import pytest
from alembic.util.exc import CommandError
from sqlalchemy import URL
from sqlalchemy.exc import OperationalError

from app.tenancy.migration.access import strangers
from tests.conftest import MakeDatabase
from tests.roles import ROLES, advice, refusal
from tests.support import check, execute, migrate, rows, scalar

Servers = tuple[URL, URL]


def owned(make: MakeDatabase, name: str, owner: str = "") -> URL:
    """A single-business database of an owner of its own, as whom the URL logs in."""
    url, owner = make(name), owner or f"{name}_owner"
    execute(
        url,
        f"DO $$ BEGIN IF to_regrole('{owner}') IS NULL THEN CREATE ROLE {owner} LOGIN; END IF; END $$",
        f"ALTER DATABASE {name} OWNER TO {owner}",
        f"ALTER SCHEMA public OWNER TO {owner}",
        f"ALTER TABLE customers OWNER TO {owner}",
        f"ALTER TABLE conversations OWNER TO {owner}",
        "INSERT INTO customers (whatsapp_id, name, created_at, updated_at) VALUES ('57', 'Ana', now(), now())",
    )
    return url.set(username=owner)


@pytest.fixture
def pair(make_fresh: MakeDatabase) -> Servers:
    """Two databases of two owners, who may create roles."""
    shop, lab = owned(make_fresh, "shop"), owned(make_fresh, "lab")
    execute(shop.set(username="postgres"), "ALTER ROLE shop_owner CREATEROLE", "ALTER ROLE lab_owner CREATEROLE")
    return shop, lab


def may_grant(owner: str, url: URL) -> None:
    """What an administrator does for the owner of the second database (before PostgreSQL 16 it needs no help)."""
    execute(url.set(username="postgres"), f"GRANT app_tenant, app_service TO {owner} WITH ADMIN OPTION")


def close(url: URL, *names: str) -> None:
    """What the documents say: the database is for those who work there."""
    execute(
        url.set(username="postgres"),
        f"REVOKE CONNECT ON DATABASE {url.database} FROM PUBLIC",
        *(f"GRANT CONNECT ON DATABASE {url.database} TO {name}" for name in names),
    )


def intruders(url: URL) -> list[str]:
    """Logins of the other database that read a row of this one."""
    found = []
    for (login,) in rows(
        url.set(username="postgres"), "SELECT rolname FROM pg_roles WHERE rolcanlogin AND NOT rolsuper"
    ):
        if str(url.database) not in login:
            for role in ("none", *ROLES):
                try:
                    if scalar(
                        url.set(username=login),
                        f"SELECT count(*) FROM (SELECT set_config('role', '{role}', false)) r, customers",
                    ):
                        found.append(f"{login} as {role}")
                except Exception:  # noqa: S110
                    pass
    return found


def test_neither_owner_nor_bot_of_one_reads_the_other(pair: Servers) -> None:
    shop, lab = pair
    close(shop)
    migrate(shop)
    execute(
        shop.set(username="postgres"),
        "CREATE ROLE shop_bot LOGIN",
        "GRANT app_tenant, app_service TO shop_bot",
        "GRANT CONNECT ON DATABASE shop TO shop_bot",
    )
    may_grant("lab_owner", lab)
    sentence = refusal(lab)
    assert "shop_bot" in sentence
    assert "shop_owner" in sentence
    execute(lab, *advice(sentence, "if it does not: run "))
    migrate(lab)
    for url in pair:
        assert intruders(url) == []
        check(url)
    for command in ("downgrade", "upgrade"):
        for url in pair:
            migrate(url, command, "-1" if command == "downgrade" else "head")
            assert [found for both in pair for found in intruders(both)] == []


def test_who_migrates_comes_into_no_other_database_that_uses_the_roles(pair: Servers) -> None:
    shop, lab = pair
    execute(shop.set(username="postgres"), "CREATE ROLE shop_bot LOGIN", "CREATE ROLE shop_reader LOGIN")
    execute(shop, "GRANT SELECT ON customers TO shop_reader")
    migrate(shop.set(username="postgres"))
    execute(shop.set(username="postgres"), "GRANT app_tenant, app_service TO shop_bot")
    may_grant("lab_owner", lab)
    close(lab, "lab_owner")
    sentence = refusal(lab)
    assert "role lab_owner will be a member" in sentence
    statements = advice(sentence, ": run ")
    assert statements == [
        "REVOKE CONNECT ON DATABASE shop FROM PUBLIC",
        "GRANT CONNECT ON DATABASE shop TO shop_bot, shop_owner, shop_reader",
    ]
    execute(shop.set(username="postgres"), *statements)
    migrate(lab)
    assert intruders(shop) == []
    assert scalar(shop.set(username="shop_reader"), "SELECT count(*) FROM customers") == 1
    assert scalar(shop.set(username="shop_bot"), "SELECT count(*) FROM customers") == 1


@pytest.mark.parametrize("before", ["rolled back", "dropped"])
def test_members_whom_another_database_left_stay_outside(pair: Servers, before: str) -> None:
    shop, lab = pair
    admin = shop.set(username="postgres")
    migrate(shop)
    execute(admin, "CREATE ROLE devs", "GRANT app_service TO devs", "CREATE ROLE ann LOGIN IN ROLE devs")
    if before == "dropped":
        execute(lab.set(username="postgres"), "DROP DATABASE shop WITH (FORCE)")
    else:
        migrate(shop, "downgrade", "-1")
    may_grant("lab_owner", lab)
    sentence = refusal(lab)
    assert "ann" in sentence
    execute(lab, *advice(sentence, "if it does not: run "))
    migrate(lab)
    assert intruders(lab) == []
    with pytest.raises(OperationalError, match="permission denied for database"):
        scalar(lab.set(username="ann"), "SELECT 1")


def test_a_member_that_works_here_is_let_in_by_name(pair: Servers) -> None:
    shop, _ = pair
    migrate(shop)
    migrate(shop, "downgrade", "-1")
    execute(shop.set(username="postgres"), "CREATE ROLE shop_bot LOGIN", "GRANT app_tenant, app_service TO shop_bot")
    sentence = refusal(shop)
    let_in = sentence.split("if it works here, run ")[1].split("; if it does not")[0]
    execute(shop, let_in)
    migrate(shop)
    check(shop)
    migrate(shop, "downgrade", "-1")
    migrate(shop)
    assert scalar(shop.set(username="shop_bot"), "SELECT count(*) FROM customers") == 1


def test_one_owner_of_staging_and_production_needs_nothing(make_fresh: MakeDatabase) -> None:
    urls = [owned(make_fresh, name, "team") for name in ("staging", "production")]
    execute(urls[0].set(username="postgres"), "ALTER ROLE team CREATEROLE")
    for url in urls:
        migrate(url)
    member = "SELECT count(*) FROM pg_auth_members WHERE member = to_regrole('team') AND coalesce((to_jsonb(pg_auth_members) ->> 'set_option')::boolean, true)"
    migrate(urls[0], "downgrade", "-1")
    assert scalar(urls[1], member) == 2  # the other database works with it
    assert scalar(urls[1], "SELECT count(*) FROM (SELECT set_config('role', 'app_tenant', false)) AS r") == 1
    migrate(urls[1], "downgrade", "-1")


def test_a_copy_made_from_a_template_is_reported_by_the_query(pair: Servers) -> None:
    shop, lab = pair
    execute(shop.set(username="postgres"), "DROP DATABASE lab")
    close(shop)
    migrate(shop)
    execute(
        shop.set(username="postgres"),
        "CREATE ROLE shop_bot LOGIN IN ROLE app_service",
        "GRANT CONNECT ON DATABASE shop TO shop_bot",
    )
    execute(shop.set(username="postgres", database="postgres"), "CREATE DATABASE lab TEMPLATE shop")
    copy = lab.set(username="postgres")
    assert [row[:2] for row in rows(copy, strangers())] == [("shop_bot", "lab")]
    for statement in rows(copy, strangers())[0][2].split("; "):
        execute(copy, statement)
    assert "shop_bot" not in scalar(copy, "SELECT coalesce(string_agg(role, ''), '') FROM (" + strangers() + ") AS s")


def test_databases_are_named_with_their_quotes(make_fresh: MakeDatabase) -> None:
    url = make_fresh()
    execute(url, "CREATE ROLE app_service", 'CREATE ROLE "the Bot" LOGIN', 'GRANT app_service TO "the Bot"')
    with pytest.raises(CommandError, match=r'GRANT CONNECT ON DATABASE test_.* TO "the Bot"'):
        migrate(url)
