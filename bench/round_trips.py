"""What a message costs in round trips, and in time with a network between bot and database.

The same work in three ways, through one proxy that counts and delays: this package; plain psycopg2 as a careful person
writes it, with BEGIN and the scope in one message; and psycopg2 as it works by default, with a BEGIN of its own.
`python -m bench.round_trips` prints the table.
"""

import itertools
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psycopg2
from sqlalchemy import URL

from app.db import get_engine, read_session, tenant_session
from app.models import Conversation
from app.tenancy.connection import Confinement
from app.tenancy.customers import find_or_create_customer
from app.tenancy.embedded import embedded_url
from app.tenancy.messages import Sender
from app.tenancy.queries import last_messages, record_answer, record_message, route_webhook
from tests.deliveries import NUMBER, PHONE, USER_ID, from_both, message
from tests.handler import Handler
from tests.proxy import Proxy, proxy
from tests.support import OTHER_ID, environment, execute, migrate, plain

BUSINESS = uuid.UUID(OTHER_ID)
SENDER = Sender(phone=PHONE, user_id=USER_ID)
ROUTE = (
    "SELECT n.id, b.id FROM whatsapp_numbers n JOIN businesses b ON b.id = n.business_id "
    f"WHERE n.is_active AND b.is_active AND n.phone_number_id = '{NUMBER}'"
)
FIND = f"SELECT * FROM customers WHERE whatsapp_id = '{PHONE}' AND whatsapp_user_id = '{USER_ID}' FOR KEY SHARE"
LAST = f"SELECT * FROM conversations WHERE whatsapp_id = '{PHONE}' ORDER BY timestamp DESC LIMIT 10"
ANSWER = (
    "INSERT INTO conversations (whatsapp_id, whatsapp_number_id, message, role) "
    f"SELECT whatsapp_id, whatsapp_number_id, 'x', 'assistant' FROM conversations WHERE whatsapp_id = '{PHONE}' "
    "ORDER BY timestamp DESC LIMIT 1 RETURNING id"
)
RECORD = (
    "INSERT INTO conversations (whatsapp_id, message, role, whatsapp_message_id) "
    f"VALUES ('{PHONE}', 'x', 'user', gen_random_uuid()) ON CONFLICT DO NOTHING RETURNING id"
)


def route() -> None:
    """The number and the business of a webhook."""
    with read_session() as session:
        session.execute(route_webhook(phone_number_id=NUMBER)).one()


def customer() -> None:
    """The customer who wrote, in a transaction of its own."""
    with tenant_session(BUSINESS) as session:
        find_or_create_customer(session, BUSINESS, SENDER)
        session.commit()


def record() -> Conversation:
    """One message stored once, in a transaction of its own."""
    with tenant_session(BUSINESS) as session:
        stored, _ = record_message(
            session, business_id=BUSINESS, whatsapp_id=PHONE, message="x", role="user",
            whatsapp_message_id=str(uuid.uuid4()),
        )  # fmt: skip
        session.commit()
        return stored


def last() -> None:
    """The last messages, in a transaction of their own."""
    with tenant_session(BUSINESS) as session:
        session.scalars(last_messages(BUSINESS, PHONE)).all()


def answer(asked: Conversation) -> None:
    """The answer to a message, in a transaction of its own."""
    with tenant_session(BUSINESS) as session:
        record_answer(session, asked, "x")
        session.commit()


class Psycopg2:
    """The same without this package, on one connection that is always open.

    Args:
        url: where to connect.
        folded: whether BEGIN travels with the scope, and a lone SELECT without a transaction.
    """

    def __init__(self, url: URL, *, folded: bool) -> None:
        self.connection = psycopg2.connect(plain(url))
        self.connection.autocommit = self.folded = folded

    def run(self, *statements: str) -> None:
        """One message each."""
        with self.connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
                if cursor.description:
                    cursor.fetchall()

    def confined(self, *statements: str) -> None:
        """The statements in one transaction that is confined to the business."""
        begin = "BEGIN; " if self.folded else ""
        self.run(begin + Confinement(BUSINESS).sql, *statements)
        self.run("COMMIT") if self.folded else self.connection.commit()

    def route(self) -> None:
        """As `route`."""
        self.run(ROUTE)
        if not self.folded:
            self.connection.rollback()

    def handle(self) -> None:
        """As the README's handler: route; customer, message, history; answer."""
        self.route()
        self.confined(FIND, RECORD, LAST)
        self.confined(ANSWER)

    def work(self) -> list[Callable[[], object]]:
        """What is measured, in the order of `Work`."""
        one = [partial(self.confined, sql) for sql in (FIND, RECORD, LAST, ANSWER)]
        return [self.route, *one, self.handle]


Work = list[tuple[str, dict[str, Callable[[], object]]]]
"""What is measured: by name, and by way."""


@contextmanager
def measured(server: URL) -> Iterator[tuple[Proxy, Work]]:
    """A database at head behind a proxy, and what is measured on it, as `Work`."""
    migrate(server)
    execute(
        server,
        f"INSERT INTO businesses (id, name) VALUES ('{BUSINESS}', 'Shop')",
        "INSERT INTO whatsapp_numbers (business_id, phone_number_id, phone_number) "
        f"VALUES ('{BUSINESS}', '{NUMBER}', '+15550783881')",
    )
    with proxy(server) as line, environment(DATABASE_URL=plain(line.url)):
        customer()
        asked, handler, ids = record(), Handler(), itertools.count()

        def handle() -> None:
            said = message(wamid=f"wamid.{next(ids)}", text={"body": "hola"})
            assert handler(from_both(said)) == ["re: hola"]

        folded, default = (Psycopg2(line.url, folded=way) for way in (True, False))
        ours: dict[str, Callable[[], object]] = {
            "find the number and its business": route,
            "find the customer": customer,
            "record a message": record,
            "read the last messages": last,
            "record an answer": partial(answer, asked),
            "the README's handler": handle,
        }
        yield (
            line,
            [
                (name, {"this package": ours[name], "psycopg2, BEGIN with the scope": careful, "psycopg2": usual})
                for name, careful, usual in zip(ours, folded.work(), default.work(), strict=True)
            ],
        )
        for way in (folded, default):
            way.connection.close()
        get_engine().dispose()


def counted(line: Proxy, run: Callable[[], object]) -> int:
    """Round trips of the second run, on a warm pool."""
    run()
    line.round_trips = 0
    run()
    return line.round_trips


def round_trips(server: URL, repeat: int = 30) -> str:
    """A Markdown table: round trips, and the median milliseconds with 0, 5 and 20 ms there and back."""
    lines = ["| work | way | round trips | 0 ms | 5 ms | 20 ms |", "|---|---|---:|---:|---:|---:|"]
    with measured(server) as (line, work):
        for name, ways in work:
            trips = [counted(line, run) for run in ways.values()]
            taken = [times_of([*ways.values()], line, delay, repeat) for delay in (0, 0.005, 0.020)]
            for way, number, *medians in zip(ways, trips, *taken, strict=True):
                lines.append(f"| {name} | {way} | {number} | {' | '.join(f'{median:.1f}' for median in medians)} |")
    return "\n".join(lines)


def times_of(ways: list[Callable[[], object]], line: Proxy, network: float, repeat: int) -> list[float]:
    """Median milliseconds of each way with `network` seconds there and back; in turns, so that all share the noise."""
    line.delay = network / 2
    taken: list[list[float]] = [[] for _ in ways]
    for _ in range(repeat):
        for run, times in zip(ways, taken, strict=True):
            start = time.perf_counter()
            run()
            times.append((time.perf_counter() - start) * 1000)
    line.delay = 0
    return [statistics.median(times) for times in taken]


def main() -> None:
    """Measure on an embedded server of its own."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        server = embedded_url(Path(folder) / "data")
        execute(server, "CREATE DATABASE bench", "ALTER DATABASE bench SET timezone TO 'UTC'")
        print(round_trips(server.set(database="bench")))


if __name__ == "__main__":
    main()
