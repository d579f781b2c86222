"""The statements that every message runs, at growing size: flat is the goal. And what the small things cost.

Each figure is the median of many runs; each row names p99 and the worst too. Ratios are against plain psycopg2 on the
same data in the same run.
"""

import os
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2
from sqlalchemy import URL, text
from sqlalchemy.orm import Session

from app.db import get_engine, tenant_session
from app.models import Business, WhatsappNumber
from app.tenancy.connection import Confinement
from app.tenancy.queries import last_messages, record_message, route_webhook
from tests.support import OTHER_ID, ROOT, engine_of, environment, execute, migrate, plain

BUSINESSES = 20
CUSTOMERS_EACH = 500


def fill(url: URL, messages: int) -> None:
    """Messages of 20 businesses with 500 customers each, evenly, with message ids."""
    with engine_of(url).begin() as connection:
        connection.execute(
            text(
                "INSERT INTO businesses (id, name) SELECT ('00000000-0000-0000-0000-0000000001' || lpad(to_hex(g), 2, '0'))"
                "::uuid, 'Shop ' || g FROM generate_series(1, :n) g"
            ),
            {"n": BUSINESSES},
        )
        connection.execute(
            text(
                "INSERT INTO conversations (business_id, whatsapp_id, message, role, timestamp, whatsapp_message_id) "
                "SELECT ('00000000-0000-0000-0000-0000000001' || lpad(to_hex(1 + g % :b), 2, '0'))::uuid, "
                "'57300' || lpad((g / :b % :c)::text, 7, '0'), 'mensaje ' || g || ' quiero una cita para mañana', 'user', "
                "timestamptz '2025-01-01' + g * interval '1 second', 'wamid.' || g FROM generate_series(1, :n) g"
            ),
            {"n": messages, "b": BUSINESSES, "c": CUSTOMERS_EACH},
        )
    with Session(engine_of(url)) as session:
        for place in range(1, BUSINESSES + 1):
            business = session.get_one(Business, shop(place))
            number = f"+5730000000{place:02}"
            session.add(WhatsappNumber(business=business, phone_number_id=f"10{place}", phone_number=number))
        session.commit()
    with engine_of(url, isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(text("VACUUM ANALYZE conversations"))


def shop(place: int) -> uuid.UUID:
    """The id of a business of `fill`."""
    return uuid.UUID(f"00000000-0000-0000-0000-0000000001{place:02x}")


def times(run: Callable[[int], object], repeat: int = 300) -> list[float]:
    """Microseconds of each run, after a warm-up."""
    for turn in range(20):
        run(turn)
    taken = []
    for turn in range(repeat):
        start = time.perf_counter()
        run(turn)
        taken.append((time.perf_counter() - start) * 1e6)
    return sorted(taken)


@contextmanager
def connected(url: URL) -> Iterator["psycopg2.extensions.connection"]:
    """A plain psycopg2 connection."""
    connection = psycopg2.connect(plain(url))
    try:
        yield connection
    finally:
        connection.close()


def measure(url: URL) -> dict[str, list[float]]:
    """The hot statements in three ways: plain psycopg2 as owner, the ORM as owner, the ORM in a tenant session."""
    results: dict[str, list[float]] = {}
    business, customer = shop(7), "573000000123"
    with environment(DATABASE_URL=plain(url)), connected(url) as raw:

        def plain_last(_: int) -> None:
            with raw.cursor() as cursor:
                cursor.execute(
                    "SELECT * FROM conversations WHERE business_id = %s AND whatsapp_id = %s "
                    "ORDER BY timestamp DESC, id DESC LIMIT 10",
                    (str(business), customer),
                )
                cursor.fetchall()
            raw.rollback()

        def plain_record(turn: int) -> None:
            with raw.cursor() as cursor:
                cursor.execute(
                    "INSERT INTO conversations (business_id, whatsapp_id, message, role, whatsapp_message_id) "
                    "VALUES (%s, %s, 'x', 'user', %s) ON CONFLICT (business_id, whatsapp_message_id) "
                    "WHERE whatsapp_message_id IS NOT NULL DO NOTHING RETURNING id",
                    (str(business), customer, f"plain.{turn}.{uuid.uuid4()}"),
                )
                cursor.fetchall()
            raw.commit()

        def plain_route(_: int) -> None:
            with raw.cursor() as cursor:
                cursor.execute(
                    "SELECT n.*, b.* FROM whatsapp_numbers n JOIN businesses b ON b.id = n.business_id "
                    "WHERE n.is_active AND b.is_active AND n.phone_number_id = %s",
                    ("107",),
                )
                cursor.fetchall()
            raw.rollback()

        def record(session: Session) -> None:
            record_message(
                session,
                business_id=business,
                whatsapp_id=customer,
                message="x",
                role="user",
                whatsapp_message_id=f"wamid.{uuid.uuid4()}",
            )
            session.commit()

        def owner(work: Callable[[Session], object]) -> Callable[[int], object]:
            def run(_: int) -> None:
                with Session(get_engine()) as session:
                    work(session)

            return run

        def tenant(work: Callable[[Session], object]) -> Callable[[int], object]:
            def run(_: int) -> None:
                with tenant_session(business) as session:
                    work(session)

            return run

        def last(session: Session) -> None:
            session.scalars(last_messages(business, customer)).all()

        results["route, psycopg2"] = times(plain_route)
        results["route, ORM"] = times(owner(lambda s: s.execute(route_webhook(phone_number_id="107")).one()))
        results["last 10, psycopg2"] = times(plain_last)
        results["last 10, ORM"] = times(owner(last))
        results["last 10, tenant_session"] = times(tenant(last))
        results["record, psycopg2"] = times(plain_record)
        results["record, ORM"] = times(owner(record))
        results["record, tenant_session"] = times(tenant(record))
    return results


def hot_queries(make: Callable[[], URL], sizes: list[int]) -> str:
    """A Markdown table: microseconds (median; p99, worst) at every size, and the ratio to plain psycopg2."""
    measured = {}
    for size in sizes:
        url = make()
        migrate(url)
        fill(url, size)
        measured[size] = measure(url)
    head = " | ".join(f"{size:,}" for size in sizes)
    lines = [f"| statement | {head} | ratio to psycopg2 (largest) |", "|---|" + "---|" * (len(sizes) + 1)]
    largest = measured[sizes[-1]]
    for name in largest:
        cells = " | ".join(cell(measured[n][name]) for n in sizes)
        base = statistics.median(largest[f"{name.split(',')[0]}, psycopg2"])
        lines.append(f"| {name} | {cells} | {statistics.median(largest[name]) / base:.2f} |")
    return "\n".join(lines)


def cell(ordered: list[float]) -> str:
    """Median, p99 and worst of times in ascending order."""
    return f"{statistics.median(ordered):.0f} ({ordered[int(len(ordered) * 0.99)]:.0f}, {ordered[-1]:.0f})"


def inserts_per_second(make: Callable[[], URL], rows: int = 20_000) -> str:
    """Row updates and inserts a second with and without what 001 adds, in one transaction each."""
    url = make()
    migrate(url)
    with engine_of(url).begin() as connection:
        connection.execute(text("INSERT INTO businesses (id, name) VALUES (:id, 'Shop')"), {"id": OTHER_ID})
    variants = {
        "insert as owner": ("", "INSERT INTO conversations (whatsapp_id, message, role) VALUES ('1', 'x', 'user')"),
        "insert as app_tenant (policy)": (
            Confinement(uuid.UUID(OTHER_ID)).sql,
            "INSERT INTO conversations (whatsapp_id, message, role) VALUES ('1', 'x', 'user')",
        ),
        "update without the trigger": (
            "ALTER TABLE customers DISABLE TRIGGER set_updated_at",
            "UPDATE customers SET name = name || 'x' WHERE id = %(turn)s",
        ),
        "update with the trigger": ("", "UPDATE customers SET name = name || 'x' WHERE id = %(turn)s"),
    }
    lines, plain_rates = ["| work | rows a second | ratio |", "|---|---|---|"], dict[str, float]()
    with connected(url) as raw, raw.cursor() as cursor:
        cursor.execute(
            "INSERT INTO customers (whatsapp_id, name) SELECT g::text, 'n' FROM generate_series(1, %s) g", (rows,)
        )
        raw.commit()
        for name, (before, statement) in variants.items():
            execute(url, "VACUUM FULL customers", "VACUUM FULL conversations")  # what the one before left behind
            if before:
                cursor.execute(before)
            start = time.perf_counter()
            for turn in range(1, rows + 1):
                cursor.execute(statement, {"turn": turn})
            rate = rows / (time.perf_counter() - start)
            raw.rollback()
            base = plain_rates.setdefault(name.split()[0], rate)
            lines.append(f"| {name} | {rate:,.0f} | {rate / base:.2f} |")
    return "\n".join(lines)


def seconds(command: list[str], folder: Path = ROOT, databases: Iterable[URL] = (), repeat: int = 5) -> list[float]:
    """Seconds of a few runs of a command, the shortest first; each on the next of `databases`, where given."""
    taken, places = [], list[URL | None](databases) or [None] * repeat
    for url in places:
        env = {"DATABASE_URL": plain(url)} if url is not None else {}
        start = time.perf_counter()
        compiled = {"PYTHONDONTWRITEBYTECODE": ""}  # as for a user: only the first run compiles
        subprocess.run(command, cwd=folder, env={**os.environ, **compiled, **env}, check=True, capture_output=True)
        taken.append(time.perf_counter() - start)
    return sorted(taken)


def start_up(make: Callable[[], URL], folder: Path) -> str:
    """Import time, and `alembic upgrade head` of an empty database against an empty Alembic project."""
    python, upgrade = sys.executable, [sys.executable, "-m", "alembic", "upgrade", "head"]
    subprocess.run([python, "-m", "alembic", "init", "plain"], cwd=folder, check=True, capture_output=True)
    ini, databases = folder / "alembic.ini", [make() for _ in range(5)]
    plain_url = plain(make()).replace("postgresql:", "postgresql+psycopg2:").replace("%", "%%")
    ini.write_text(ini.read_text().replace("driver://user:pass@localhost/dbname", plain_url))
    imports = {
        "import sqlalchemy.orm": seconds([python, "-c", "import sqlalchemy.orm"]),
        "import app.models": seconds([python, "-c", "import app.models"]),
    }
    upgrades = {
        "alembic upgrade head, empty project": seconds(upgrade, folder),
        "alembic upgrade head, empty database": seconds(upgrade, databases=databases),
        "alembic upgrade head, nothing to do": seconds(upgrade, databases=databases),
    }
    lines = ["| what | seconds | worst | ratio |", "|---|---|---|---|"]
    for group in (imports, upgrades):
        base = next(iter(group.values()))[0]
        lines += [f"| {name} | {t[0]:.2f} | {t[-1]:.2f} | {t[0] / base:.2f} |" for name, t in group.items()]
    return "\n".join(lines)
