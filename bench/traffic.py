"""The single-business bot as seen by its database: steady requests on a few connections, each timed."""

import multiprocessing
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.synchronize import Event
from typing import Any

import psycopg2

NAME = "bench-bot"
FIND = "SELECT id, whatsapp_id, name, age FROM customers WHERE whatsapp_id = %s"
INSERT = (
    "INSERT INTO conversations (whatsapp_id, message, role, timestamp, created_at) "
    "VALUES (%s, 'hola, una cita para mañana', 'user', timezone('UTC', now()), timezone('UTC', now()))"
)
LAST = "SELECT id, message, role, timestamp FROM conversations WHERE whatsapp_id = %s ORDER BY timestamp DESC LIMIT 10"
WAITS = (
    "SELECT wait_event_type || ':' || wait_event FROM pg_stat_activity WHERE application_name = %s AND state = 'active' "
    "AND clock_timestamp() - query_start > interval '20 ms' AND wait_event IS NOT NULL"
)


@dataclass(frozen=True)
class Request:
    """One request of the bot: when it began (monotonic clock), how long it took, and what went wrong."""

    start: float
    seconds: float
    error: str | None = None


@dataclass
class Traffic:
    """What the bot went through; complete once the block of `traffic` has ended."""

    requests: list[Request] = field(default_factory=list)
    waits: list[tuple[float, str]] = field(default_factory=list)

    def waits_during(self, request: Request) -> str:
        """What slow requests were seen waiting for while this one ran, the most frequent first."""
        seen = Counter(what for when, what in self.waits if request.start <= when <= request.start + request.seconds)
        return ", ".join(what for what, _ in seen.most_common(2)) or "CPU or nothing seen"


@contextmanager
def traffic(
    dsn: str, customers: int, connections: int, rate: float, statements: Sequence[str] = (FIND, INSERT, LAST)
) -> Iterator[Traffic]:
    """Keep `connections` connections busy with `rate` requests per second in all, in processes of their own.

    Each statement takes the customer's WhatsApp id.
    """
    context = multiprocessing.get_context("spawn")
    stop, results = context.Event(), context.Queue()
    ready = context.Barrier(connections + 1)
    workers = [
        context.Process(target=_work, args=(dsn, customers, connections / rate, seed, ready, stop, results, statements))
        for seed in range(connections)
    ]
    for worker in workers:
        worker.start()
    found = Traffic()
    watcher = threading.Thread(target=_watch, args=(dsn, stop, found.waits))
    watcher.start()
    ready.wait(60)
    try:
        yield found
    finally:
        stop.set()
        for _ in workers:
            found.requests += [Request(*row) for row in results.get(timeout=600)]
        watcher.join()
        for worker in workers:
            worker.join()
        found.requests.sort(key=lambda request: request.start)


def _connect(dsn: str) -> Any:
    connection = psycopg2.connect(dsn, application_name=NAME)
    connection.autocommit = True
    return connection


def _work(
    dsn: str, customers: int, pause: float, seed: int, ready: Any, stop: Event, results: Any, statements: Sequence[str]
) -> None:
    chance = random.Random(seed)
    done: list[tuple[float, float, str | None]] = []
    connection = _connect(dsn)
    ready.wait(60)
    due = time.monotonic() + chance.random() * pause
    while not stop.is_set():
        time.sleep(max(0.0, due - time.monotonic()))
        due = max(due + pause, time.monotonic())
        statement = statements[len(done) % len(statements)]
        start, error = time.monotonic(), None
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement, [f"57300{chance.randint(1, customers):07}"])
        except psycopg2.Error as failure:
            error = failure.pgcode or type(failure).__name__
            if connection.closed:
                connection = _connect(dsn)
        done.append((start, time.monotonic() - start, error))
    results.put(done)


def _watch(dsn: str, stop: Event, waits: list[tuple[float, str]]) -> None:
    connection = psycopg2.connect(dsn)
    connection.autocommit = True
    with connection.cursor() as cursor:
        while not stop.wait(0.02):
            cursor.execute(WAITS, [NAME])
            waits += [(time.monotonic(), what) for (what,) in cursor.fetchall()]
    connection.close()
