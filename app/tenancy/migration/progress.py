"""Progress on stderr: a line for each phase, a bar while an index is built on a terminal."""

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError
from tqdm import tqdm

_BUILD = text(
    "SELECT greatest(tuples_total, blocks_total) AS total, "
    "CASE WHEN tuples_total > 0 THEN tuples_done ELSE blocks_done END AS done, "
    "phase || coalesce(' of pid ' || nullif(current_locker_pid, 0), '') AS phase "
    "FROM pg_stat_progress_create_index WHERE pid = :pid"
)


def say(*lines: str) -> None:
    """Write lines to stderr. Where nobody reads it any more (`2>&1 | head`), the run goes on, and ends, in silence."""
    try:
        print(*lines, sep="\n", file=sys.stderr, flush=True)
    except BrokenPipeError:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115


@contextmanager
def phase(title: str) -> Iterator[None]:
    """Print the phase and how long it took, in seconds."""
    start = time.perf_counter()
    yield
    say(f"  {title}: {time.perf_counter() - start:.2f} s")


@contextmanager
def watch(connection: Connection, title: str) -> Iterator[None]:
    """Draw a bar on a terminal while `connection` builds an index or validates, read from a second connection.

    Where there is none to be had, there is no bar: the migration does not depend on it.
    """
    if not sys.stderr.isatty():
        yield
        return
    pid = connection.connection.dbapi_connection.info.backend_pid  # type: ignore[union-attr]
    finished = threading.Event()

    def draw() -> None:
        with (
            suppress(SQLAlchemyError),
            connection.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as second,
            tqdm(desc=f"  {title}", unit="", unit_scale=True, leave=False, file=sys.stderr) as bar,
        ):
            while not finished.wait(0.3):
                row = second.execute(_BUILD, {"pid": pid}).one_or_none()
                if row is not None and row.total:
                    if row.total != bar.total:
                        bar.reset(total=row.total)
                    bar.n = row.done
                bar.set_postfix_str(row.phase if row is not None else "", refresh=False)
                bar.refresh()  # a validation has no rows to count: the elapsed time goes on

    thread = threading.Thread(target=draw, daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()
