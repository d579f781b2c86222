"""Runs every benchmark and writes bench/RESULTS.md: `python -m bench`; `--quick` tries it at a hundredth of the size."""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

import psycopg2.extensions
import sqlalchemy
from sqlalchemy import URL

import alembic
from bench.hot_queries import hot_queries, inserts_per_second, start_up
from bench.round_trips import round_trips
from bench.upgrade_under_load import server
from tests.support import ROOT, execute, scalar

RESULTS = ROOT / "bench" / "RESULTS.md"


def tables_of(benchmark: str, rows: int, *arguments: str) -> str:
    """The tables that a benchmark of this folder prints, from a process of its own."""
    command = [sys.executable, "-m", f"bench.{benchmark}", "--rows", str(rows), *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def main() -> None:
    """Run all; the nodes of Citus only where CITUS_URL names their coordinator."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a hundredth of the rows, nothing written")
    part = 100 if parser.parse_args().quick else 1
    million = 1_000_000 // part
    with server() as url, tempfile.TemporaryDirectory() as folder:

        def make() -> URL:
            name = f"bench_{uuid.uuid4().hex[:8]}"
            execute(url, f"CREATE DATABASE {name}", f"ALTER DATABASE {name} SET timezone TO 'UTC'")
            return url.set(database=name)

        version = scalar(url, "SHOW server_version")
        sections = [
            "# Results",
            "Written by `python -m bench`, one run. Ratios compare with the plain alternative on the same data in the "
            f"same run. PostgreSQL {version}, Python {platform.python_version()}, SQLAlchemy {sqlalchemy.__version__}, "
            f"Alembic {alembic.__version__}, libpq {psycopg2.extensions.libpq_version()}; 2 cores, 24 GiB; "
            "server, traffic and benchmark share them.",
            f"## The upgrade under load, {million:,} messages",
            tables_of(
                "upgrade_under_load",
                million,
                "--others",
                "0.1",
                *(["--png", f"{folder}/latency.png"] if part > 1 else []),
            ),
            f"## The upgrade under load, {5 * million:,} messages",
            tables_of("upgrade_under_load", 5 * million, "--png", f"{folder}/latency.png"),
            f"## Ids that become bigint under load, {million:,} messages at revision 001",
            tables_of("widening", million, "--at-head"),
            f"## Three nodes of Citus on one machine, {million:,} messages",
            "The three servers share the cores of one machine: this is what the nodes cost, and says nothing of what three "
            "machines carry.",
            tables_of("citus", million) if "CITUS_URL" in os.environ else "Not measured: CITUS_URL was not set.",
            "## The statements that every message runs",
            "Microseconds, median (p99, worst), by messages in the database. `ORM` is the owner's session of the "
            "pool, which checks the connection first; `tenant_session` also sets role and business.",
            hot_queries(make, [10_000 // part, 100_000 // part, million, 5 * million]),
            "## What a message costs with a network between bot and database",
            "Round trips on a warm pool, and median milliseconds with that much time there and back, through a proxy that "
            "counts and delays. Each work but the first is one transaction that is confined to the business.",
            round_trips(make(), 30 if part == 1 else 3),
            "## What the trigger and the policy cost",
            "One statement at a time, in one transaction. The trigger fires on UPDATE only, so that inserts have none.",
            inserts_per_second(make, 20_000 // part),
            "## Starting up",
            "The shortest of five runs, and the worst.",
            start_up(make, Path(folder)),
        ]
    text = "\n\n".join(sections) + "\n"
    print(text) if part > 1 else RESULTS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
