"""The released scripts, how they are run, and what a database then holds."""

import re
from collections.abc import Callable
from functools import cache

import pytest
from sqlalchemy import URL

from tests.support import OTHER_ID, catalogue, execute, paste, pg_dump, pipe, rows, scalar, script

SINGLE = "single-transaction=yes"

SCRIPTS = {
    "upgrade.sql": ("upgrade", "head"),
    "rollback.sql": ("downgrade", "001:000"),
    "upgrade_dashboard.sql": ("upgrade", "head", SINGLE),
    "rollback_dashboard.sql": ("downgrade", "001:000", SINGLE),
}

WAYS = {"psql": (pipe, ""), "dashboard": (paste, "_dashboard")}
"""How a script is run, and the end of its name."""

way = pytest.mark.parametrize("way", WAYS)

ARCHIVED = f"""
INSERT INTO businesses (id, name) VALUES ('{OTHER_ID}', 'Other');
INSERT INTO whatsapp_numbers (id, business_id, phone_number) VALUES ('{OTHER_ID}', '{OTHER_ID}', '+573001234567');
INSERT INTO users (id, email, password_hash) VALUES ('{OTHER_ID}', 'a@b.co', '$2b$12${"x" * 53}');
INSERT INTO user_businesses (user_id, business_id) VALUES ('{OTHER_ID}', '{OTHER_ID}');
INSERT INTO customers (business_id, whatsapp_id, name) VALUES ('{OTHER_ID}', '573000000001', 'Ana');
INSERT INTO conversations (business_id, whatsapp_id, message, role, whatsapp_number_id, whatsapp_message_id)
    VALUES ('{OTHER_ID}', '573000000001', 'hola', 'user', '{OTHER_ID}', 'wamid.1');
INSERT INTO conversations (whatsapp_id, message, role, whatsapp_message_id) VALUES ('573000000001', 'hi', 'user', 'wamid.1')
"""
"""What the single-business schema cannot hold."""


@cache
def released(name: str) -> str:
    """A script as `sql/` must have it: one test says where it has not, the others go on."""
    return script(*SCRIPTS[name])


def run(way: str, name: str, url: URL) -> str:
    """Run the released script, and return the sentence it was refused with."""
    runs, suffix = WAYS[way]
    return runs(url, released(f"{name}{suffix}.sql"))


def state(url: URL) -> list[object]:
    """Every object, privilege, comment and row of the database; a time later than the samples' is only a time.

    A number of the rollback's memory that was lost with a transaction does not matter: its rows have an order only.
    """
    table, schema, data = "", [], []
    for line in pg_dump(url):
        if "multi_tenant_rollback_id_seq', " in line:
            continue
        if table.startswith("COPY public.multi_tenant_rollback "):
            line = re.sub(r"^\d+\t", "", line)
        line = re.sub(r"20\d\d-\d\d-\d\d [\d:.]+", lambda t: t[0] if t[0] < "2025-07" else "now", line)
        table = line if line.startswith("COPY ") else table
        data.append(table + line) if "\t" in line else schema.append(line)
    version = rows(url, "SELECT * FROM alembic_version") if scalar(url, "SELECT to_regclass('alembic_version')") else []
    return [schema, sorted(data), catalogue(url), version]


def states(url: URL, up: Callable[[URL], object], down: Callable[[URL], object]) -> list[list[object]]:
    """The database after the upgrade, a rollback with an archive, and an upgrade that restores it."""
    found = [up(url), state(url)]
    execute(url, ARCHIVED)
    found += [down(url), state(url)]
    found += [up(url), state(url)]
    assert not any(found[::2])
    return found[1::2]  # type: ignore[return-value]


def heads(sql: str) -> list[str]:
    """The script cut after each of its statements, the whole last."""
    ends = [m.end() for m in re.finditer(r"(\$\w*\$).*?\1|;\n|\\gexec\n|^\\set[^\n]*\n", sql, re.S | re.M) if not m[1]]
    return [sql[:end] for end in ends]
