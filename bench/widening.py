"""What the running bot feels while the ids of its database become bigint.

`python -m bench.widening --rows 5000000` fills a single-business database and widens its ids while four connections
of steady traffic run, which also update customers and have new ids returned; then, on a copy, with one plain ALTER
TABLE. The server is that of `bench.upgrade_under_load`.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence

from sqlalchemy import URL

from bench.traffic import FIND, INSERT, LAST, traffic
from bench.upgrade_under_load import CALM, Phase, Run, alembic, copy, drop, server
from tests.support import execute, load_legacy, plain, scalar

STATEMENTS = (
    FIND,
    f"{INSERT} RETURNING id",
    LAST,
    "UPDATE customers SET updated_at = timezone('UTC', now()) WHERE whatsapp_id = %s",
)


def under_load(
    name: str,
    url: URL,
    migrate: Callable[[], list[Phase]],
    arguments: argparse.Namespace,
    statements: Sequence[str] = STATEMENTS,
) -> Run:
    """Widen while the bot works."""
    print(f"{name} ...", file=sys.stderr)
    customers = max(arguments.rows // 10, 1)
    with traffic(plain(url), customers, arguments.connections, arguments.rate, statements) as seen:
        time.sleep(CALM)
        start = time.monotonic()
        phases = migrate()
        end = time.monotonic()
        time.sleep(CALM)
    return Run(name, start, end, seen, phases)


def plain_alter(url: URL) -> list[Phase]:
    """One ALTER TABLE for each table, as a maintenance window has it."""
    start = time.monotonic()
    for table in ("customers", "conversations"):
        execute(url, f"ALTER TABLE {table} ALTER COLUMN id TYPE bigint")
    return [Phase("ALTER TABLE", start, time.monotonic())]


def report(runs: list[Run]) -> str:
    """The tables as Markdown."""
    lines = ["| widening | seconds | requests | failed | longest stall ms |", "|---|---:|---:|---:|---:|"]
    for run in runs:
        affected = run.during(end=run.end + CALM)
        failed = sum(r.error is not None for r in affected)
        stall = run.longest().seconds * 1000
        lines.append(f"| {run.name} | {run.end - run.start:.1f} | {len(affected):,} | {failed:,} | {stall:,.0f} |")
    lines += ["", "| phase | seconds | longest stall ms | seen waiting for |", "|---|---:|---:|---|"]
    for phase in runs[0].phases:
        slow = runs[0].longest(phase.start, phase.end)
        waited = runs[0].traffic.waits_during(slow) if slow.seconds > 0.05 else ""
        lines.append(f"| {phase.title} | {phase.end - phase.start:.2f} | {slow.seconds * 1000:.0f} | {waited} |")
    return "\n".join(lines)


def main() -> None:
    """Read the arguments, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=5_000_000, help="messages in the database (default: %(default)s)")
    parser.add_argument("--connections", type=int, default=4, help="of the bot (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=400, help="requests per second in all (default: %(default)s)")
    parser.add_argument(
        "--at-head", action="store_true", help="at revision 001 instead of the single-business database"
    )
    arguments = parser.parse_args()
    with server() as url:
        names = ("bench_narrow", "bench_altered")
        try:
            narrow = url.set(database=names[0])
            print(f"{scalar(url, 'SELECT version()')}; filling {arguments.rows:,} messages ...", file=sys.stderr)
            drop(narrow)
            execute(url, f"CREATE DATABASE {names[0]}", f"ALTER DATABASE {names[0]} SET timezone TO 'UTC'")
            load_legacy(narrow, messages=arguments.rows)
            if arguments.at_head:
                alembic(narrow, "upgrade", "head")
            execute(narrow, "VACUUM ANALYZE")
            altered = copy(narrow, names[1])
            before = scalar(narrow, "SELECT pg_size_pretty(pg_database_size(current_database()))")
            runs = [
                under_load(
                    "this package", narrow, lambda: alembic(narrow, "-n", "scale", "upgrade", "bigint"), arguments
                )
            ]
            after = scalar(narrow, "SELECT pg_size_pretty(pg_database_size(current_database()))")
            drop(narrow)
            runs.append(under_load("one ALTER TABLE", altered, lambda: plain_alter(altered), arguments))
            print(report(runs))
            print(f"\nSize of the database: {before} before, {after} after.")
        finally:
            for name in names:
                drop(url.set(database=name))


if __name__ == "__main__":
    main()
