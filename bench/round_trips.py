"""What a message costs in round trips, and in time with a network between bot and database.

The same work in three ways, through one proxy that counts and delays: this package, and plain psycopg2 as a careful
person writes it, and as psycopg2 works by default. `python -m bench.round_trips` prints the table.
"""

import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2
from sqlalchemy import URL, select
from sqlalchemy.dialects.postgresql import insert

from app.db import get_engine, read_session, tenant_session
from app.models import Customer, WhatsappNumber
from app.tenancy.embedded import embedded_url
from app.tenancy.queries import last_messages, record_message, route_webhook
from tests.proxy import Proxy, proxy
from tests.support import OTHER_ID, environment, execute, migrate, plain

BUSINESS = uuid.UUID(OTHER_ID)
CUSTOMER = "573007654321"
SCOPE = f"SET LOCAL ROLE app_tenant; SET LOCAL app.business_id = '{BUSINESS}'"
ROUTE = (
    "SELECT n.id, b.id FROM whatsapp_numbers n JOIN businesses b ON b.id = n.business_id "
    "WHERE n.is_active AND b.is_active AND n.phone_number_id = '106'"
)
FIND = f"SELECT id FROM customers WHERE whatsapp_id = '{CUSTOMER}'"
LAST = f"SELECT * FROM conversations WHERE whatsapp_id = '{CUSTOMER}' ORDER BY timestamp DESC LIMIT 10"


def store(role: str) -> str:
    """An INSERT of a message with a new id."""
    return (
        "INSERT INTO conversations (whatsapp_id, message, role, whatsapp_message_id) "
        f"VALUES ('{CUSTOMER}', 'x', '{role}', '{uuid.uuid4()}') ON CONFLICT DO NOTHING RETURNING id"
    )


def route() -> WhatsappNumber:
    """The number and business of a webhook."""
    with read_session() as session:
        number, _ = session.execute(route_webhook(phone_number_id="106")).one()
        return number


def last() -> None:
    """The last messages, in a tenant session of their own."""
    with tenant_session(BUSINESS) as session:
        session.scalars(last_messages(BUSINESS, CUSTOMER)).all()


def record() -> None:
    """One message stored once, in a tenant session of its own."""
    with tenant_session(BUSINESS) as session:
        record_message(
            session, business_id=BUSINESS, whatsapp_id=CUSTOMER, message="x", role="user",
            whatsapp_message_id=str(uuid.uuid4()),
        )  # fmt: skip
        session.commit()


def handle() -> None:
    """A webhook with one text: route, find or make the customer, record once, last messages, record the answer."""
    number = route()
    with tenant_session(number.business_id) as session:
        customer = session.scalars(select(Customer).where(Customer.whatsapp_id == CUSTOMER)).one_or_none()
        if customer is None:
            session.execute(insert(Customer).values(whatsapp_id=CUSTOMER, name="Ana").on_conflict_do_nothing())
        for role in ("user", "assistant"):
            record_message(
                session, business_id=BUSINESS, whatsapp_id=CUSTOMER, message="x", role=role,
                whatsapp_message_id=str(uuid.uuid4()), whatsapp_number_id=number.id,
            )  # fmt: skip
            if role == "user":
                session.scalars(last_messages(BUSINESS, CUSTOMER)).all()
            session.commit()


class Psycopg2:
    """The same without this package, on one connection that is always open."""

    def __init__(self, url: URL, *, folded: bool) -> None:
        self.connection = psycopg2.connect(plain(url))
        self.connection.autocommit = self.folded = folded

    def run(self, *statements: str) -> None:
        """One message each; folded by the caller where it can be."""
        with self.connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
                if cursor.description:
                    cursor.fetchall()

    def end(self) -> tuple[str, ...]:
        """COMMIT as a statement, or by the driver."""
        if self.folded:
            return ("COMMIT",)
        self.connection.commit()
        return ()

    def begin(self) -> tuple[str, ...]:
        """What a confined transaction begins with."""
        return (f"BEGIN; {SCOPE}",) if self.folded else (SCOPE,)

    def route(self) -> None:
        """As `route`."""
        self.run(ROUTE)
        if not self.folded:
            self.connection.rollback()

    def last(self) -> None:
        """As `last`."""
        self.run(*self.begin(), LAST)
        self.run(*self.end())

    def record(self) -> None:
        """As `record`."""
        self.run(*self.begin(), store("user"))
        self.run(*self.end())

    def handle(self) -> None:
        """As `handle`."""
        self.route()
        self.run(*self.begin(), FIND, store("user"), LAST)
        self.run(*self.end())
        self.run(*self.begin(), store("assistant"))
        self.run(*self.end())


@contextmanager
def measured(server: URL) -> Iterator[tuple[Proxy, list[tuple[str, dict[str, Callable[[], object]]]]]]:
    """A database at head behind a proxy, and what is measured by name and way."""
    migrate(server)
    execute(server, f"INSERT INTO businesses (id, name) VALUES ('{BUSINESS}', 'Shop')")
    number = f"INSERT INTO whatsapp_numbers (business_id, phone_number_id, phone_number) VALUES ('{BUSINESS}', '106', '+573001234567')"
    execute(server, number)
    with proxy(server) as line, environment(DATABASE_URL=plain(line.url)):
        folded, default = (Psycopg2(line.url, folded=way) for way in (True, False))
        ours: dict[str, Callable[[], object]] = {"route": route, "last": last, "record": record, "handle": handle}
        yield line, [
            (name, {"this package": run, "psycopg2, BEGIN folded": getattr(folded, name), "psycopg2": getattr(default, name)})
            for name, run in ours.items()
        ]  # fmt: skip
        for way in (folded, default):
            way.connection.close()
        get_engine().dispose()


def round_trips(server: URL, repeat: int = 30) -> str:
    """A Markdown table: round trips, and the median milliseconds with 0, 5 and 20 ms there and back."""
    lines = ["| work | way | round trips | 0 ms | 5 ms | 20 ms |", "|---|---|---|---|---|---|"]
    with measured(server) as (line, work):
        for name, ways in work:
            for way, run in ways.items():
                run()
                line.round_trips = 0
                run()
                counted = line.round_trips
                cells = [f"{time_of(run, line, delay, repeat):.1f}" for delay in (0, 0.005, 0.020)]
                lines.append(f"| {name} | {way} | {counted} | {' | '.join(cells)} |")
    return "\n".join(lines)


def time_of(run: Callable[[], object], line: Proxy, network: float, repeat: int) -> float:
    """Median milliseconds of a run with `network` seconds there and back."""
    line.delay = network / 2
    taken = []
    for _ in range(repeat):
        start = time.perf_counter()
        run()
        taken.append((time.perf_counter() - start) * 1000)
    line.delay = 0
    return statistics.median(taken)


def main() -> None:
    """Measure on an embedded server of its own."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        server = embedded_url(Path(folder) / "data")
        execute(server, "CREATE DATABASE bench", "ALTER DATABASE bench SET timezone TO 'UTC'")
        print(round_trips(server.set(database="bench")))


if __name__ == "__main__":
    main()
