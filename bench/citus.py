"""What three nodes of Citus cost on one machine, and what the running bot feels while its tables move there and back.

`CITUS_URL=... python -m bench.citus --rows 1000000`: CITUS_URL names the superuser of a coordinator, as for the tests.
Three servers that share the cores of one are overhead, and say nothing of what three machines carry.
"""

import argparse
import statistics
import sys

from sqlalchemy import URL

from bench.hot_queries import BUSINESSES, fill, measure, shop
from bench.upgrade_under_load import Run, alembic
from bench.widening import report, under_load
from tests.citus import citus_database, let_in
from tests.support import execute, migrate, scalar
from tests.widening import widen

CUSTOMERS = 500


def statements() -> list[str]:
    """What a bot of many businesses sends: it reads a customer, stores a message and reads the last ten."""
    found = []
    for place in range(1, BUSINESSES + 1, 3):
        business = f"business_id = '{shop(place)}' AND whatsapp_id = %s"
        found += [
            f"SELECT id, name FROM customers WHERE {business}",
            f"INSERT INTO conversations (business_id, whatsapp_id, message, role) VALUES ('{shop(place)}', %s, 'hola', 'user')",
            f"SELECT message, role FROM conversations WHERE {business} ORDER BY timestamp DESC LIMIT 10",
            f"UPDATE customers SET name = name || '!' WHERE {business}",
        ]
    return found


def overhead(before: dict[str, list[float]], after: dict[str, list[float]]) -> str:
    """A Markdown table of medians in milliseconds."""
    lines = ["| function | one server ms | three nodes ms | ratio |", "|---|---:|---:|---:|"]
    for name in before:
        one, three = (statistics.median(times[name]) / 1000 for times in (before, after))
        lines.append(f"| {name} | {one:.2f} | {three:.2f} | {three / one:.1f} |")
    return "\n".join(lines)


def moved(url: URL, name: str, direction: tuple[str, ...], arguments: argparse.Namespace) -> Run:
    """Move the tables while the bot works."""
    given = argparse.Namespace(**vars(arguments) | {"rows": CUSTOMERS * 10})  # so many customers each business has
    return under_load(name, url, lambda: alembic(url, "-n", "scale", *direction), given, statements())


def main() -> None:
    """Read the arguments, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="messages in the database (default: %(default)s)")
    parser.add_argument("--connections", type=int, default=4, help="of the bot (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=200, help="requests per second in all (default: %(default)s)")
    arguments = parser.parse_args()
    with citus_database(shards=32) as url:
        version = scalar(url, "SELECT citus_version()")
        print(f"{version}; filling {arguments.rows:,} messages ...", file=sys.stderr)
        migrate(url)
        let_in(url)
        fill(url, arguments.rows)
        execute(
            url,
            "INSERT INTO customers (business_id, whatsapp_id, name) SELECT b.id, '57300' || lpad(g::text, 7, '0'), 'n' "
            f"FROM businesses AS b, generate_series(0, {CUSTOMERS - 1}) AS g",
        )
        widen(url)
        before = measure(url)
        messages = scalar(url, "SELECT count(*) FROM conversations")
        runs = [moved(url, "onto three nodes", ("upgrade", "citus"), arguments)]
        execute(url, "VACUUM ANALYZE conversations")
        after = measure(url)
        runs.append(moved(url, "back to one server", ("-x", "writers-wait=yes", "downgrade", "bigint"), arguments))
        written = sum(r.error is None for run in runs for r in run.traffic.requests) // 4
        found = scalar(url, "SELECT count(*) FROM conversations")
        print(f"{version}, {arguments.rows:,} messages\n\n{overhead(before, after)}\n\n{report(runs)}")
        print(f"\nMessages: {messages:,} before, about {written:,} written meanwhile, {found:,} after.")


if __name__ == "__main__":
    main()
