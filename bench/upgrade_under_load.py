"""What the running bot feels while its database becomes a multi-tenant one, and back.

`python -m bench.upgrade_under_load --rows 1000000` fills a single-business database, lets four connections of
steady traffic run on copies of it, and migrates: with the textbook's script, with this package, and back down.
It uses an embedded server in a temporary folder, or the server of BENCH_DATABASE_URL (a superuser's URL).
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL, make_url

from app.tenancy.embedded import embedded_url
from app.tenancy.migration.progress import timed
from bench.traffic import Request, Traffic, traffic
from tests.support import DEFAULT_ID, OTHER_ID, ROOT, execute, load_legacy, plain, scalar

HERE = Path(__file__).parent
CALM = 3.0
"""Seconds of traffic before and after a migration."""

OTHERS = f"""
INSERT INTO businesses (id, name) VALUES ('{OTHER_ID}', 'Other');
INSERT INTO whatsapp_numbers (id, business_id, phone_number) VALUES
    ('{DEFAULT_ID}', '{DEFAULT_ID}', '+573001112233'), ('{OTHER_ID}', '{OTHER_ID}', '+573004445566');
INSERT INTO conversations (business_id, whatsapp_number_id, whatsapp_message_id, whatsapp_id, message, role, timestamp)
    SELECT '{OTHER_ID}', '{OTHER_ID}', 'wamid.' || id, whatsapp_id, message, role, timestamp FROM conversations WHERE id <= {{n}};
INSERT INTO conversations (whatsapp_number_id, whatsapp_message_id, whatsapp_id, message, role, timestamp)
    SELECT '{DEFAULT_ID}', 'wamid.own' || id, whatsapp_id, message, role, timestamp FROM conversations WHERE id <= {{n}}"""


@dataclass(frozen=True)
class Phase:
    """A line of progress, with the span of time it covers."""

    title: str
    start: float
    end: float


@dataclass(frozen=True)
class Run:
    """One migration under traffic."""

    name: str
    start: float
    end: float
    traffic: Traffic
    phases: list[Phase]

    def during(self, start: float | None = None, end: float | None = None) -> list[Request]:
        """Requests that were under way in a span, by default that of the migration."""
        first, last = start or self.start, end or self.end
        return [r for r in self.traffic.requests if r.start <= last and r.start + r.seconds >= first]

    def longest(self, start: float | None = None, end: float | None = None) -> Request:
        """The slowest of them."""
        return max(self.during(start, end), key=lambda r: r.seconds, default=Request(self.start, 0.0))


@contextmanager
def server() -> Iterator[URL]:
    """The server of BENCH_DATABASE_URL, or an embedded one in a temporary folder."""
    if given := os.environ.get("BENCH_DATABASE_URL"):
        yield make_url(given).set(drivername="postgresql+psycopg2")
        return
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        yield embedded_url(Path(folder) / "data")


def copy(template: URL, name: str) -> URL:
    """An identical copy of a database, with nothing left for a checkpoint to write."""
    drop(template.set(database=name))
    execute(
        template.set(database="postgres"),
        f"CREATE DATABASE {name} TEMPLATE {template.database} STRATEGY file_copy",
        f"ALTER DATABASE {name} SET timezone TO 'UTC'",
        "CHECKPOINT",
    )
    return template.set(database=name)


def drop(url: URL) -> None:
    """Drop a database, if it is there."""
    execute(url.set(database="postgres"), f"DROP DATABASE IF EXISTS {url.database} WITH (FORCE)")


def alembic(url: URL, *arguments: str) -> list[Phase]:
    """Run alembic as a user does; every line of progress tells the phase that has just ended."""
    phases, said = [], ""
    before = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-m", "alembic", *arguments],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": plain(url)},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            now = time.monotonic()
            if found := timed(line):
                title, seconds = found
                phases.append(Phase(title, max(before, now - seconds - 0.01), now))
                before = now
            said += line
    if process.returncode:
        raise SystemExit(f"alembic {' '.join(arguments)} failed:\n{said}")
    return phases


def textbook(url: URL) -> list[Phase]:
    """Run the textbook's script, statement by statement, in its one transaction."""
    start = time.monotonic()
    execute(url, (HERE / "textbook.sql").read_text(encoding="utf-8"))
    return [Phase("one transaction", start, time.monotonic())]


def bare_work(url: URL) -> float:
    """Seconds of the index builds and validations alone."""
    prepare, timed = (HERE / "bare_work.sql").read_text(encoding="utf-8").split("-- timed\n")
    execute(url, prepare)
    statements = [s for s in timed.split(";\n") if s.strip()]
    start = time.monotonic()
    execute(url, *statements)
    return time.monotonic() - start


def idle_upgrade(url: URL) -> tuple[float, float]:
    """Seconds of this package's upgrade where nobody else works: of its steps, and with the start of Python."""
    start = time.monotonic()
    phases = alembic(url, "upgrade", "head")
    return phases[-1].end - phases[0].start, time.monotonic() - start


def under_load(name: str, url: URL, migrate: Callable[[], list[Phase]], arguments: argparse.Namespace) -> Run:
    """Migrate while the bot works."""
    print(f"{name} ...", file=sys.stderr)
    with traffic(plain(url), max(arguments.rows // 10, 1), arguments.connections, arguments.rate) as seen:
        time.sleep(CALM)
        start = time.monotonic()
        phases = migrate()
        end = time.monotonic()
        time.sleep(CALM)
    return Run(name, start, end, seen, phases)


def report(runs: list[Run], bare: float, steps: float, idle: float) -> str:
    """The tables as Markdown."""
    lines = [
        "| migration | seconds | requests | failed | p50 ms | p99 ms | longest stall ms |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for run in runs:
        affected = run.during(end=run.end + CALM)
        times = sorted(r.seconds * 1000 for r in affected)
        p99 = statistics.quantiles(times, n=100)[98]
        lines.append(
            f"| {run.name} | {run.end - run.start:.1f} | {len(affected):,} | {sum(r.error is not None for r in affected):,} "
            f"| {statistics.median(times):.1f} | {p99:.1f} | {run.longest().seconds * 1000:,.0f} |"
        )
    by_hand, ours = runs[0], runs[1]
    lines += [
        "",
        f"The textbook's longest stall is {by_hand.longest().seconds / ours.longest().seconds:,.0f} times this package's, "
        f"its time {(by_hand.end - by_hand.start) / (ours.end - ours.start):.1f} times.",
        f"The unavoidable index builds and validations alone, on an idle copy: {bare:.1f} s. This package's steps on an "
        f"idle copy: {steps:.1f} s, {steps / bare:.2f} times that; with the start of Python and Alembic {idle:.1f} s, "
        f"{idle / bare:.2f} times; all of it under load {(ours.end - ours.start) / bare:.2f} times.",
    ]
    for run in runs[1:]:
        lines += ["", f"| {run.name}: phase | seconds | longest stall ms | seen waiting for |", "|---|---:|---:|---|"]
        for phase in run.phases:
            slow = run.longest(phase.start, phase.end)
            waited = run.traffic.waits_during(slow) if slow.seconds > 0.05 else ""
            lines.append(f"| {phase.title} | {phase.end - phase.start:.2f} | {slow.seconds * 1000:.0f} | {waited} |")
    return "\n".join(lines)


def draw(runs: list[Run], path: Path, rows: int) -> None:
    """Latency of every request over time, of the textbook's script and of this package, as a PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(len(runs), 1, sharex=True, sharey=True, figsize=(10, 6.5), layout="constrained")
    for panel, run in zip(panels, runs, strict=True):
        good = [r for r in run.traffic.requests if r.error is None]
        bad = [r for r in run.traffic.requests if r.error is not None]
        panel.axvspan(0, run.end - run.start, color="#dde7f3", zorder=0, label="migration")
        for requests, color, size, label in ((good, "#1f5fa8", 3, "request"), (bad, "#c8321f", 9, "failed request")):
            if requests:
                times = [r.start - run.start for r in requests], [r.seconds * 1000 for r in requests]
                panel.scatter(*times, s=size, c=color, linewidths=0, alpha=0.6, label=label)
        slow = [r for r in run.traffic.requests if r.seconds > 0.05]
        spans = [r.start - run.start for r in slow], [r.start + r.seconds - run.start for r in slow]
        panel.hlines([r.seconds * 1000 for r in slow], *spans, color="#1f5fa8", linewidth=1.5)
        panel.set_yscale("log")
        panel.set_title(
            f"{run.name}: {run.end - run.start:.0f} s, longest stall {run.longest().seconds * 1000:,.0f} ms, "
            f"{sum(r.error is not None for r in run.during(end=run.end + CALM)):,} failed",
            loc="left",
        )
        panel.set_ylabel("latency (log scale)")
        panel.yaxis.set_major_formatter(lambda ms, _: f"{ms:g} ms" if ms < 1000 else f"{ms / 1000:g} s")
        panel.grid(axis="y", color="#cccccc", linewidth=0.5)
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(loc="center right", framealpha=0.9, edgecolor="none", ncols=3, markerscale=3)
    panels[-1].set_xlabel("seconds since the migration began")
    figure.suptitle(f"What the bot feels while {rows:,} messages are migrated", fontsize=13)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Read the arguments, run, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="messages in the database (default: %(default)s)")
    parser.add_argument(
        "--others", type=float, default=0.0, help="roll back once more with this share of other businesses' messages"
    )
    parser.add_argument("--connections", type=int, default=4, help="of the bot (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=400, help="requests per second in all (default: %(default)s)")
    parser.add_argument(
        "--png",
        type=Path,
        default=ROOT / "docs" / "latency.png",
        help="where the graph goes (default: docs/latency.png)",
    )
    arguments = parser.parse_args()
    with server() as url:
        names = ("bench_legacy", "bench_copy", "bench_ours")
        try:
            legacy, ours = url.set(database=names[0]), url.set(database=names[2])
            print(f"{scalar(url, 'SELECT version()')}; filling {arguments.rows:,} messages ...", file=sys.stderr)
            drop(legacy)
            execute(
                url, f"CREATE DATABASE {legacy.database}", f"ALTER DATABASE {legacy.database} SET timezone TO 'UTC'"
            )
            load_legacy(legacy, messages=arguments.rows)
            execute(legacy, "VACUUM ANALYZE")

            # The better of two each, in turn, for whatever else this machine does at the time.
            measured = [(bare_work(copy(legacy, names[1])), *idle_upgrade(copy(legacy, names[1]))) for _ in range(2)]
            bare, steps, idle = (min(times) for times in zip(*measured, strict=True))
            by_hand = copy(legacy, names[1])
            runs = [under_load("textbook script", by_hand, lambda: textbook(by_hand), arguments)]
            drop(by_hand)
            copy(legacy, names[2])
            drop(legacy)
            runs.append(under_load("this package, up", ours, lambda: alembic(ours, "upgrade", "head"), arguments))
            runs.append(under_load("this package, down", ours, lambda: alembic(ours, "downgrade", "-1"), arguments))
            if arguments.others:
                alembic(ours, "upgrade", "head")
                execute(ours, OTHERS.format(n=int(arguments.rows * arguments.others)), "VACUUM ANALYZE", "CHECKPOINT")
                with_others = "this package, {} with {:.0%} other businesses' and as many numbered messages"
                for way, revision in (("down", "-1"), ("up", "head")):
                    runs.append(
                        under_load(
                            with_others.format(way, arguments.others),
                            ours,
                            lambda way=way, revision=revision: alembic(ours, f"{way}grade", revision),  # type: ignore[misc]
                            arguments,
                        )
                    )
            print(report(runs, bare, steps, idle))
            draw(runs[:2], arguments.png, arguments.rows)
        finally:
            for name in names:
                drop(url.set(database=name))


if __name__ == "__main__":
    main()
