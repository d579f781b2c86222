"""Whether a pooled connection still lives: seen at its socket without a request, and asked where it has rested."""

import select
import socket
import time
from threading import Timer
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.pool import ConnectionPoolEntry

RESTED = 10.0
"""Seconds after which a connection is asked before it is used again; poolers and firewalls drop it after minutes."""

PATIENCE = 3.0
"""Seconds that the answer may take; then the connection is given up."""

_USED = "app_used_at"


def watch(engine: Engine) -> None:
    """Have the engine replace dead connections before they are used."""

    def checkin(_: object, record: ConnectionPoolEntry) -> None:
        record.info[_USED] = time.monotonic()

    def checkout(raw: Any, record: ConnectionPoolEntry, _: object) -> None:
        used = record.info.get(_USED)
        if used is None:  # it is new
            return
        if (time.monotonic() - used > RESTED or _has_news(raw)) and not _answers(engine, raw):
            raise InvalidatePoolError

    event.listen(engine, "checkin", checkin)
    event.listen(engine, "checkout", checkout)


def _has_news(raw: Any) -> bool:
    """Whether something came while nothing was asked: the end of the connection, most often."""
    if raw.closed:
        return True
    if not hasattr(select, "poll"):  # on Windows
        return bool(select.select([raw], [], [], 0)[0])
    poll = select.poll()
    poll.register(raw.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _answers(engine: Engine, raw: Any) -> bool:
    """Ask the server for a sign of life. One that does not come ends with the socket shut down, not with the caller stuck."""
    if raw.closed:
        return False
    with socket.fromfd(raw.fileno(), socket.AF_INET, socket.SOCK_STREAM) as wire:
        timer = Timer(PATIENCE, wire.shutdown, [socket.SHUT_RDWR])
        timer.start()
        try:
            return engine.dialect.do_ping(raw)
        except engine.dialect.loaded_dbapi.Error:
            return False
        finally:
            timer.cancel()
            timer.join()
