"""What a run shows on stderr: a line for each step that ended and, on a terminal, the step that runs, live.

A step that takes long is looked at from a second connection: how far an index is, and whom the step waits for. Where
there is none to be had, the run goes on without. Without a terminal that becomes a line now and then.
"""

import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg2
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from app.tenancy.errors import shown

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

LOOK_AFTER = 0.3
"""Seconds after which a step is looked at, and seconds between two looks."""

BETWEEN_TRIES = 5.0
"""Seconds for which a step is said to wait after it was seen waiting: it gives up, and tries again after a pause."""

FIRST_LINE, NEXT_LINE = 2.0, 30.0
"""Seconds after which a line says what a step does, where there is no terminal, and until it is said again."""

WAITS = """
    SELECT coalesce(format('pid %%s of user %%s', a.pid, coalesce(a.usename, a.backend_type))
                    || coalesce(to_char(a.xact_start, '", in a transaction since" YYYY-MM-DD HH24:MI:SS TZ'), ''),
                    'a prepared transaction (pg_prepared_xacts)')
      FROM unnest(pg_blocking_pids({pid})) AS blocking (pid) LEFT JOIN pg_stat_activity AS a USING (pid)
     ORDER BY a.xact_start LIMIT 1"""
"""SQL query for psycopg2: for whom a backend waits, in words; no row where it waits for nobody."""

_LOOK = f"""SELECT ({WAITS.format(pid="%(pid)s")}), build.*
      FROM (SELECT) AS one LEFT JOIN (
           SELECT CASE WHEN tuples_total > 0 THEN tuples_total ELSE blocks_total END,
                  CASE WHEN tuples_total > 0 THEN tuples_done ELSE blocks_done END,
                  CASE WHEN tuples_total > 0 THEN 'rows' ELSE 'blocks' END
             FROM pg_stat_progress_create_index WHERE pid = %(pid)s) AS build (total, done, unit) ON true"""


class Look(NamedTuple):
    """What a step does at the moment."""

    waits: str | None
    """For whom it waits, in words."""
    total: int | None
    done: int | None
    unit: str | None
    """How far it is: "rows" or "blocks" of a table for an index, or "parts" of the step."""


NOTHING = Look(None, None, None, None)


@dataclass
class Parts:
    """How many statements of a step are done, of how many."""

    total: int
    done: int = 0


@dataclass
class Move:
    """A revision that is being applied or taken back.

    Attributes:
        title: such as "Upgrading 000 -> 001", or "" outside of one.
        steps: how many steps it has, where that is known.
        number: of the step that runs.
    """

    title: str = ""
    steps: int | None = None
    number: int = 0


_move: ContextVar[Move] = ContextVar("move")
_quiet: ContextVar[bool] = ContextVar("quiet", default=False)
_view: ContextVar["View | None"] = ContextVar("view", default=None)


def be_quiet(quiet: bool) -> None:
    """Show nothing from now on, or something again."""
    _quiet.set(quiet)


def say(*lines: str) -> None:
    """Write lines to stderr, each as one line whatever names are in it. Where nobody reads it any more (`2>&1 | head`), the run goes on, and ends, in silence."""
    if _quiet.get():
        return
    lines = tuple(map(shown, lines))
    try:
        if (view := _view.get()) is not None:
            view.console.print(*lines, sep="\n", markup=False, highlight=False, soft_wrap=True)
        else:
            print(*lines, sep="\n", file=sys.stderr, flush=True)
    except OSError:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115


def begin(title: str, steps: int | None) -> None:
    """What follows are the steps of a revision; see `Move`."""
    _move.set(Move(title, steps))


def headings(work: Callable[..., None]) -> int:
    """How many headings the work asks for."""
    token = _move.set(counted := Move())
    try:
        work()
    finally:
        _move.reset(token)
    return counted.number


def heading(title: str) -> str:
    """The title of the next step, with its number: `Upgrading 000 -> 001, step 5 of 16: validate the keys`."""
    move = _move.get(None)
    if move is None:
        return f"  {title}"
    move.number += 1
    number = f", step {move.number} of {move.steps}" if move.steps else ""
    return f"{move.title}{number}: {title}"


def timed(line: str) -> tuple[str, float] | None:
    """Title and seconds of a line that `running` wrote when a step ended, None of any other line."""
    found = re.fullmatch(r"(?:  |\S.*?, step \d+ of \d+: |\S+ \S+ -> \S+: )(\S.*): (\d+\.\d\d) s", line.rstrip("\n"))
    return (found[1], float(found[2])) if found else None


@contextmanager
def running(head: str, connection: Connection | None, *, parts: int = 1, ends: bool = True) -> Iterator[Parts]:
    """Show that a step runs, and what it does while it takes long; at its end, how long it took.

    Args:
        head: what `heading` gave.
        connection: where it runs, or None.
        parts: how many statements it is.
        ends: whether a line is written at the end.

    Yields:
        Where the caller counts the statements that are done.
    """
    start = time.perf_counter()
    with _watched(head, connection, counted := Parts(parts)):
        yield counted
    if ends:
        say(f"{head}: {time.perf_counter() - start:.2f} s")


@contextmanager
def _watched(head: str, connection: Connection | None, parts: Parts) -> Iterator[None]:
    if _quiet.get():
        yield
        return
    is_terminal = sys.stderr.isatty() and os.environ.get("TERM", "dumb") not in {"dumb", "unknown"}
    with _live(head) if is_terminal else _lines(head) as show:
        if connection is None:
            yield
            return
        raw: Any = connection.connection.dbapi_connection
        finished = threading.Event()
        look = partial(_look, connection.engine, raw.info.backend_pid, parts, finished, show)
        looks = threading.Thread(target=look, daemon=True)
        looks.start()
        try:
            yield
        finally:
            finished.set()
            looks.join(1)  # one that cannot connect is not waited for


def _look(engine: Engine, pid: int, parts: Parts, finished: threading.Event, show: Callable[[Look], None]) -> None:
    if finished.wait(LOOK_AFTER):
        return
    with suppress(SQLAlchemyError, psycopg2.Error, OSError):
        second: Any = engine.pool.recreate().connect()  # the pool itself may have but one
        second.detach()
        with closing(second), second.cursor() as cursor:
            second.dbapi_connection.autocommit = True
            waits, until = None, 0.0
            while not finished.is_set():
                cursor.execute(_LOOK, {"pid": pid})
                look = Look(*cursor.fetchone())
                if finished.is_set():
                    return
                if not look.total and parts.total > 1:
                    look = look._replace(total=parts.total, done=parts.done, unit="parts")
                if look.waits is not None:
                    waits, until = shown(look.waits), time.monotonic() + BETWEEN_TRIES
                show(look._replace(waits=waits if time.monotonic() <= until else None))
                finished.wait(LOOK_AFTER)


@contextmanager
def _lines(head: str) -> Iterator[Callable[[Look], None]]:
    """A line where a step takes long, when it waits for somebody else, and now and then."""
    start = time.perf_counter()
    said, due = "", FIRST_LINE

    def show(look: Look) -> None:
        nonlocal said, due
        seconds = time.perf_counter() - start
        waits = look.waits or ""
        if seconds < due and not (said and waits and waits != said):
            return
        due, said = seconds + NEXT_LINE, waits or "nobody"
        doing = f"waiting for {waits}" if waits else f"running for {seconds:.0f} s"
        far = f", {look.done:,} of {look.total:,} {look.unit}" if look.total else ""
        say(f"{head}: {doing}{far}")

    yield show


@contextmanager
def _live(head: str) -> Iterator[Callable[[Look], None]]:
    """The step on a terminal, redrawn in place, and gone at its end."""
    from rich.console import Console
    from rich.live import Live

    view = View(head, Console(file=sys.stderr))
    live = Live(get_renderable=lambda: view, console=view.console, transient=True, auto_refresh=False,
                redirect_stdout=False, redirect_stderr=False)  # fmt: skip

    def show(look: Look) -> None:
        view.look = look
        live.refresh()

    token = _view.set(view)
    try:
        with suppress(OSError):
            live.start(refresh=True)
            view.console.show_cursor(True)  # a run that is killed does not give it back
        yield show
    finally:
        with suppress(OSError):
            live.stop()
        _view.reset(token)


@dataclass
class View:
    """The step that runs: its heading, a bar where rows are counted, and for whom it waits."""

    head: str
    console: "Console"
    start: float = field(default_factory=time.perf_counter)
    look: Look = NOTHING

    def __post_init__(self) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.bar = Progress(
            BarColumn(bar_width=20), TextColumn("{task.fields[far]}"), TimeRemainingColumn(compact=True),
            console=self.console,
        )  # fmt: skip
        self.task = self.bar.add_task("", far="")

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
        from rich.text import Text

        seconds = time.perf_counter() - self.start
        yield Text(f"{self.head} ({seconds:.0f} s)", no_wrap=True, overflow="ellipsis")
        waits, total, done, unit = self.look
        if total:
            if total != self.bar.tasks[0].total:
                self.bar.reset(self.task, total=total)
            self.bar.update(self.task, completed=done, far=f"{done:,} of {total:,} {unit}")
            yield self.bar
        if waits:
            yield Text(f"waiting for {waits}")
