"""A run shows which step it is at, how far that is and whom it waits for; what stderr is decides how."""

import os
import pty
import re
import subprocess
import termios
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import StringIO

import psycopg2
import pytest
from rich.console import Console
from sqlalchemy import URL, StaticPool, create_engine

from alembic import command
from app.tenancy.migration.progress import Look, View, timed
from tests.support import (
    SNAPSHOT,
    alembic_config,
    alembic_process,
    check,
    execute,
    open_transaction,
    plain,
    psql,
    run_alembic,
    script,
    wait_until,
)

WAITS = r"waiting for pid {} of user {}, in a transaction since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d UTC"


def steps(said: str) -> dict[str, list[tuple[int, int]]]:
    """For each revision, number and total of every step, in their order."""
    found: dict[str, list[tuple[int, int]]] = {}
    for title, number, total in re.findall(r"^(\w+ \w+ -> \w+), step (\d+) of (\d+): ", said, re.MULTILINE):
        found.setdefault(title, []).append((int(number), int(total)))
    return found


@pytest.mark.parametrize(
    ("command", "revisions", "last"),
    [
        ("upgrade head", ["Upgrading base -> 000", "Upgrading 000 -> 001"], "Upgraded base -> 001 in"),
        ("downgrade -1", ["Downgrading 001 -> 000"], "Downgraded 001 -> 000 in"),
        ("downgrade base", ["Downgrading 001 -> 000", "Downgrading 000 -> base"], "Downgraded 001 -> base in"),
        ("-n scale upgrade bigint", ["Upgrading base -> bigint"], "Upgraded base -> bigint in"),
        ("-x canonical=yes downgrade -1", ["Downgrading 001 -> 000"], "Downgraded 001 -> 000 in"),
    ],
)
def test_without_a_terminal_every_step_is_a_plain_line(
    canonical: URL, command: str, revisions: list[str], last: str
) -> None:
    arguments = command.split()
    if "downgrade" in command:
        run_alembic(canonical, "upgrade", "head")
    if arguments[-1] == "base":
        arguments = ["-x", "drop-data=yes", *arguments]
    done = run_alembic(canonical, *arguments)
    assert done.returncode == 0, done.stderr
    assert not re.search(r"[\r\x1b]", done.stderr)
    found = steps(done.stderr)
    assert list(found) == revisions
    for numbers in found.values():  # counted before the first began, and in their order
        assert sorted({number for number, _ in numbers}) == list(range(1, numbers[-1][1] + 1))
        assert numbers == sorted(numbers)
    assert re.match(rf"{last} \d+\.\d s\.", done.stderr.splitlines()[-1])


def test_the_last_line_says_what_comes_next(canonical: URL) -> None:
    assert " Next: alembic check, add " in run_alembic(canonical, "upgrade", "head").stderr.splitlines()[-1]
    assert " Next: run the single-business bot;" in run_alembic(canonical, "downgrade", "-1").stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("line", "title", "seconds"),
    [
        ("Upgrading 000 -> 001, step 5 of 16: customers: business_id: 0.02 s", "customers: business_id", 0.02),
        ("Upgrading 001 -> 7f3a: table bookings: 1.50 s\n", "table bookings", 1.5),
        ("  table bookings: 1.50 s", "table bookings", 1.5),
        ("Upgrading 000 -> 001, step 5 of 16: customers: running for 2 s", None, None),
        ("Upgraded base -> 001 in 2.0 s.", None, None),
    ],
)
def test_a_line_can_be_read_by_a_program(line: str, title: str | None, seconds: float | None) -> None:
    assert timed(line) == (None if title is None else (title, seconds))


def test_without_a_terminal_a_line_says_whom_a_step_waits_for(canonical: URL) -> None:
    with (
        open_transaction(canonical, "SELECT FROM customers") as blocker,
        alembic_process(canonical, "upgrade", "head") as process,
    ):
        pid = blocker.connection.dbapi_connection.info.backend_pid  # type: ignore[union-attr]
        assert process.stderr is not None
        waits = re.compile(f", step 5 of .*: {WAITS.format(pid, canonical.username)}")
        assert any(waits.search(line) for line in iter(process.stderr.readline, ""))
        blocker.rollback()
        assert process.stderr.read().splitlines()[-1].startswith("Upgraded base -> 001 in ")
        assert process.wait(60) == 0


def test_quiet_shows_nothing_but_what_stops_it(canonical: URL) -> None:
    done = run_alembic(canonical, "-q", "upgrade", "head")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = run_alembic(canonical, "-q", "-x", "nonsense=1", "upgrade", "head")
    assert done.returncode == 255
    assert "-x nonsense is not an option" in done.stderr


@contextmanager
def on_a_terminal(url: URL, *arguments: str, columns: int = 120) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Alembic with a terminal as its stderr; yields the process and the terminal's other end."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, columns))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TERM", "xterm-256color")
        patch.delenv("COLUMNS", raising=False)
        try:
            with alembic_process(url, *arguments, stderr=theirs) as process:
                os.close(theirs)
                yield process, ours
        finally:
            os.close(ours)


def shown(terminal: int, until: str | None = None) -> str:
    """What the terminal shows, up to a pattern or the end of the process."""
    seen = b""
    while until is None or not re.search(until, seen.decode(errors="replace")):
        try:
            seen += os.read(terminal, 4096)
        except OSError:  # the process has closed its end
            assert until is None, seen
            break
    return seen.decode()


def test_a_terminal_shows_the_step_while_it_runs_and_whom_it_waits_for(canonical: URL) -> None:
    with (
        open_transaction(canonical, SNAPSHOT) as blocker,
        on_a_terminal(canonical, "upgrade", "head") as (process, terminal),
    ):
        pid = blocker.connection.dbapi_connection.info.backend_pid  # type: ignore[union-attr]
        index = r"Upgrading 000 -> 001, step \d+ of \d+: indexes of the times of conversations"
        shown(terminal, rf"{index} \(\d+ s\)(?s:.)*{WAITS.format(pid, canonical.username)}")
        blocker.rollback()
        rest = shown(terminal)
        assert process.wait(60) == 0
    assert re.search(rf"{index}: \d+\.\d\d s\r\n", rest)
    assert "Upgraded base -> 001 in " in rest
    assert rest.rindex("\x1b[?25h") > rest.rfind("\x1b[?25l")  # the cursor is there again


def test_it_does_without_a_second_connection(canonical: URL) -> None:
    postgres = canonical.set(database="postgres")
    with (
        open_transaction(canonical, "SELECT FROM customers") as blocker,
        on_a_terminal(canonical, "upgrade", "head") as (process, terminal),
    ):
        shown(terminal, "canonical names of equal indexes")
        execute(postgres, f"ALTER DATABASE {canonical.database} ALLOW_CONNECTIONS false")
        blocker.rollback()
        rest = shown(terminal)
        execute(postgres, f"ALTER DATABASE {canonical.database} ALLOW_CONNECTIONS true")
        assert process.wait(60) == 0, rest
    assert "Traceback" not in rest
    check(canonical)


def test_a_connection_that_was_handed_over_is_looked_at_from_another(canonical: URL) -> None:
    """Even where the caller's pool has one connection for everybody."""
    looks = "pid <> pg_backend_pid() AND datname = current_database() AND query LIKE '%pg_blocking_pids%'"
    config = alembic_config()
    config.attributes["connection"] = engine = create_engine(canonical, poolclass=StaticPool)
    with open_transaction(canonical, "SELECT FROM customers") as blocker, ThreadPoolExecutor(1) as pool:
        run = pool.submit(command.upgrade, config, "head")
        wait_until(canonical, f"EXISTS (SELECT FROM pg_stat_activity WHERE {looks})")
        blocker.rollback()
        run.result()
    engine.dispose()
    check(canonical)


def test_a_terminal_that_goes_away_does_not_stop_it(canonical: URL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    with open_transaction(canonical, "SELECT FROM customers") as blocker:
        ours, theirs = pty.openpty()
        with alembic_process(canonical, "upgrade", "head", stderr=theirs) as process:
            os.close(theirs)
            shown(ours, "step 5 of")
            os.close(ours)
            blocker.rollback()
            assert process.wait(60) == 0
    check(canonical)


@pytest.mark.parametrize("width", [20, 40, 120])
@pytest.mark.parametrize("no_color", ["", "1"])
def test_the_bar_fits_the_terminal_and_has_colour_unless_that_is_not_wanted(
    width: int, no_color: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    console = Console(file=StringIO(), force_terminal=True, width=width, color_system="standard")
    view = View("Upgrading 000 -> 001, step 11 of 23: index ix_conversations_timestamp", console)
    for done in (1_000_000, 2_500_000):
        view.look = Look("pid 4711 of user bot", 5_000_000, done, "rows")
        with console.capture() as captured:
            console.print(view)
    assert bool(re.search(r"\x1b\[[\d;]*3\d", captured.get())) == (width > 20 and not no_color)
    lines = re.sub(r"\x1b\[[\d;]*m", "", captured.get()).splitlines()
    assert max(map(len, lines)) <= width
    assert lines[0].startswith("Upgrading 000 -> 00")
    view.look = Look(None, 10, 3, "parts")
    with console.capture() as captured:
        console.print(view)
    if width == 120:
        assert "3 of 10 parts" in captured.get()
        assert "2,500,000 of 5,000,000 rows" in lines[1]
        assert lines[2] == "waiting for pid 4711 of user bot"


def test_the_script_of_psql_says_its_steps(canonical: URL) -> None:
    done = psql(canonical, script())
    assert done.returncode == 0
    assert list(steps(done.stdout)) == ["Upgrading base -> 000", "Upgrading 000 -> 001"]
    assert re.match(r"Upgrading 000 -> 001, step 1 of \d+: what a rollback gives back$", done.stdout.splitlines()[1])


def test_the_script_of_the_dashboard_says_its_steps_as_notices(canonical: URL) -> None:
    for name, revisions in (("upgrade", "head"), ("downgrade", "001:000")):
        connection = psycopg2.connect(plain(canonical))
        with connection, connection.cursor() as cursor:
            cursor.execute(script(name, revisions, "single-transaction=yes"))
        said = "".join(connection.notices)
        numbers = steps(said.replace("NOTICE:  ", ""))
        assert all(n[0][0] == 1 and len(n) == n[0][1] for n in numbers.values())
        assert len(numbers) == (2 if name == "upgrade" else 1)
        connection.close()
