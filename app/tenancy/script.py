"""Reads a script of SQL as PostgreSQL reads it, and says which of its statements stay within one database.

A statement begins and ends where the server says it does: what stands in a string, a comment, the body of a function or
the rows of COPY is never taken for SQL, and a command of psql is refused. Only statements of the forms that `pg_dump`
writes for one database are run. What reaches further is left out: databases, roles, settings of the server, its files,
and other servers.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise, takewhile, zip_longest
from mmap import mmap


class BackupError(RuntimeError):
    """The backup cannot be restored; the message says why, in one sentence."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a script.

    `tokens` are its words in upper case, and its names, literals and signs as they are written; comments are left out.
    """

    sql: bytes
    tokens: list[bytes]
    rows: tuple[int, int] | None = None
    """Of COPY: where its rows begin and end in the script."""
    ends: tuple[int, ...] = ()
    """Of a routine with BEGIN ATOMIC: the lengths at which the statement may end; the server says which it is."""

    @property
    def brings_rows(self) -> bool:
        """Whether it is INSERT, or COPY into a table."""
        return self.tokens[0] == b"INSERT" or (self.tokens[0] == b"COPY" and b"TO" not in self.tokens)

    @property
    def target(self) -> list[bytes]:
        """The parts of the name after INTO, COPY or TABLE; empty in another statement."""
        found = [at for at, token in enumerate(self.tokens[:8]) if token in (b"INTO", b"COPY", b"TABLE")]
        rest = (
            iter(token for token in self.tokens[found[0] + 1 : found[0] + 20] if token not in _AROUND_NAME)
            if found
            else ()
        )
        parts: list[bytes] = []
        for part, dot in zip_longest(rest, rest):
            parts.append(part)
            if dot != b".":
                break
        return parts


_AROUND_NAME = (b"IF", b"NOT", b"EXISTS", b"ONLY")

_TOKEN = re.compile(
    rb"""
    (?P<space> \s+ | --[^\r\n]* )
  | (?P<comment> /\* )
  | (?P<dollar> \$ (?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)? \$ )
  | (?P<literal>
      [eE] '(?:[^'\\]|\\.|'')*+'
        (?: (?:[ \t\f\v]|--[^\r\n]*)*+ [\r\n] (?:\s+|--[^\r\n]*[\r\n])*+ '(?:[^'\\]|\\.|'')*+' )*+
    | (?: [bBxXnN] | [uU]& )? '(?:[^']|'')*+'
    | (?: [uU]& )? "(?:[^"]|"")*+"
    | [0-9][0-9.]*
    )
  | (?P<word> [A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]* )
  | (?P<sign> . )
    """,
    re.VERBOSE | re.DOTALL,
)
"""The tokens of PostgreSQL, as far as they tell where a statement ends (src/backend/parser/scan.l)."""

_COMMENT = re.compile(rb"/\*|\*/")


def read(script: mmap, name: str) -> Iterator[Statement]:
    """The statements of a script.

    Args:
        script: what it holds.
        name: what it is called in an error.

    Raises:
        BackupError: it has a command of psql, or ends in the middle of a statement.
    """
    position = 3 if script[:3] == b"\xef\xbb\xbf" else 0
    while (first := _TOKEN.match(script, position)) is not None:
        if first.lastgroup == "space":
            position = first.end()
        elif script[position : position + 1] == b"\\":
            position = _restriction(script, position, name)
        else:
            statement, position = _statement(script, position, name)
            if statement is not None:
                yield statement


def _restriction(script: mmap, position: int, name: str) -> int:
    """Past \\restrict and \\unrestrict, which pg_dump writes to keep psql from its own commands; refuses others."""
    end = _end_of_line(script, position)
    command = script[position:end].split()[0].decode(errors="replace")
    if command not in ("\\restrict", "\\unrestrict"):
        shown = command if command.isprintable() else ascii(command)
        raise BackupError(
            f"{name} has a command of psql in line {_line_number(script, position)}, {shown}, which a rehearsal does not "
            "run: make the backup of the one database with pg_dump --format=custom."
        )
    return end


def _statement(script: mmap, start: int, name: str) -> tuple[Statement | None, int]:
    """The statement that begins here, None if there is only a comment, and where the next one begins."""
    tokens: list[bytes] = []
    ends: list[int] = []
    position, depth, cases, atomic = start, 0, 0, False
    while (match := _TOKEN.match(script, position)) is not None:
        kind, position = match.lastgroup, match.end()
        if kind == "space":
            continue
        if kind == "comment":
            if (end := _end_of_comment(script, position)) is None:
                break
            position = end
            if not tokens:
                return None, position
            continue
        if kind == "dollar":
            end = script.find(match[0], position)
            if end < 0:
                break
            position = end + len(match[0])
            tokens.append(script[match.start() : position])
            continue
        token = match[0].upper() if kind == "word" else match[0]
        if token == b"\\":
            _restriction(script, match.start(), name)
        elif token in (b"'", b'"'):  # it is not closed
            break
        elif token == b";" and depth <= 0:
            if atomic and tokens[-1] == b"END":
                ends.append(position - start)
            if not (atomic and cases):
                break
        depth += (token == b"(") - (token == b")")
        if atomic:
            cases += (token == b"CASE") - (token == b"END")
        elif tokens[-1:] == [b"BEGIN"] and token == b"ATOMIC" and depth == 0 and tokens[0] == b"CREATE":
            atomic, cases = True, 1
        tokens.append(token)
    if match is None or match[0] != b";":
        raise BackupError(
            f"{name} ends in the middle of the statement that begins in line {_line_number(script, start)}: "
            "make the backup again."
        )
    rows = _rows(script, position, name) if _reads_rows(tokens) else None
    statement = Statement(script[start:position], tokens, rows, tuple(ends)) if tokens else None
    return statement, position if rows is None else _end_of_line(script, rows[1])


def _end_of_line(script: mmap, position: int) -> int:
    end = script.find(b"\n", position)
    return len(script) if end < 0 else end


def _end_of_comment(script: mmap, position: int) -> int | None:
    depth = 1
    for mark in _COMMENT.finditer(script, position):
        depth += 1 if mark[0] == b"/*" else -1
        if not depth:
            return mark.end()
    return None


def _reads_rows(tokens: list[bytes]) -> bool:
    at = tokens.index(b"FROM") if tokens[:1] == [b"COPY"] and tokens[1:2] != [b"("] and b"FROM" in tokens else 0
    return at > 0 and tokens[at + 1 : at + 2] == [b"STDIN"]


def _rows(script: mmap, position: int, name: str) -> tuple[int, int]:
    """Where the rows after COPY begin and end: from the next line to the one with `\\.` alone."""
    begin = found = script.find(b"\n", position)
    if begin >= 0 and script[position:begin].strip():
        raise BackupError(
            f"{name} has something after COPY in line {_line_number(script, position)}: give the file that pg_dump wrote."
        )
    while begin >= 0 and (found := script.find(b"\n\\.", found)) >= 0:
        if script[found + 3 : found + 5].rstrip(b"\r\n") == b"" or script[found + 3 : found + 4] == b"\n":
            return begin + 1, found + 1
        found += 1
    raise BackupError(
        f"{name} ends in the middle of the rows that begin in line {_line_number(script, position) + 1}: "
        "make the backup again."
    )


def _line_number(script: mmap, position: int) -> int:
    chunk = 1 << 20
    return 1 + sum(script[at : min(at + chunk, position)].count(b"\n") for at in range(0, position, chunk))


class Verdict(Enum):
    """What becomes of a statement."""

    RUN = "it stays within the database"
    SKIP = "a restore does without it"
    LEAVE_OUT = "it could reach beyond the database"


_MODIFIERS = frozenset(
    b"OR REPLACE UNLOGGED GLOBAL LOCAL TEMP TEMPORARY UNIQUE RECURSIVE MATERIALIZED CONSTRAINT".split()
)
_KINDS = frozenset(
    b"TABLE SCHEMA SEQUENCE INDEX VIEW FUNCTION PROCEDURE ROUTINE AGGREGATE TYPE DOMAIN TRIGGER EVENT RULE POLICY "
    b"PUBLICATION EXTENSION COLLATION CAST CONVERSION OPERATOR TEXT STATISTICS TRANSFORM ACCESS DEFAULT".split()
)
"""First words of the objects that belong to one database and reach no other."""

_COMMENTED = _KINDS | {b"COLUMN", b"CONSTRAINT", b"MATERIALIZED", b"LANGUAGE"}
_BEYOND = frozenset(b"DATABASE TABLESPACE PARAMETER FOREIGN LARGE".split())
"""After GRANT ... ON: what is not of the database, or leads out of it."""

_LANGUAGES = frozenset(b"SQL PLPGSQL PLV8 PLPERL PLTCL".split())
"""Languages that PostgreSQL trusts: their functions reach no file and no program."""

_EXTENSIONS = re.compile(
    r".*fdw.*|dblink|http|pg_net|pg_cron|pg_background|pgagent|adminpack|wrappers|multicorn|aws_.*|pgsql_http|plsh"
    r"|pljava|plr|pl\w+u|kafka.*|pg_partman_bgw",
    re.IGNORECASE,
)
"""Extensions that reach other servers, files or programs."""

_SETTINGS = frozenset(
    b"STATEMENT_TIMEOUT LOCK_TIMEOUT IDLE_IN_TRANSACTION_SESSION_TIMEOUT TRANSACTION_TIMEOUT CLIENT_ENCODING "
    b"STANDARD_CONFORMING_STRINGS CHECK_FUNCTION_BODIES XMLOPTION CLIENT_MIN_MESSAGES ROW_SECURITY SEARCH_PATH "
    b"DEFAULT_TABLESPACE DEFAULT_TABLE_ACCESS_METHOD DEFAULT_TOAST_COMPRESSION DATESTYLE INTERVALSTYLE TIMEZONE "
    b"EXTRA_FLOAT_DIGITS BYTEA_OUTPUT ESCAPE_STRING_WARNING SYNCHRONOUS_COMMIT MAINTENANCE_WORK_MEM".split()
)
"""Settings of a session that a backup may set."""

_ENCODINGS = re.compile(
    rb"big5|gbk|gb18030|uhc|johab|s_?jis.*|shift_?jis.*|mskanji|win9(32|36|49|50)|windows9.*", re.IGNORECASE
)
"""Encodings in which a byte of a character can be a quotation mark or a backslash: only clients have them."""

_CALLED = frozenset(
    b"VALUES CONFLICT ROW NUMERIC DECIMAL VARCHAR CHAR CHARACTER BPCHAR VARYING BIT TIME TIMESTAMP TIMESTAMPTZ NOW "
    b"GEN_RANDOM_UUID".split()
)
"""What may stand before a parenthesis in the rows of INSERT."""

_WORD = re.compile(rb"[A-Z_\x80-\xff][A-Z0-9_$\x80-\xff]*")
_ARGUMENT = re.compile(rb"'.*'|[0-9.]+|[-,:]|TRUE|FALSE|NULL|REGCLASS", re.DOTALL)


def judge(statement: Statement) -> Verdict:
    """Whether a statement may run. What is not known to stay within the database is left out.

    Raises:
        BackupError: it sets an encoding, or a form of strings, in which statements cannot be told apart safely.
    """
    runs = False
    if any(token[:3].lower() == b'u&"' for token in statement.tokens):  # a name that is not spelled out
        return Verdict.LEAVE_OUT
    match statement.tokens:
        case [b"BEGIN" | b"START" | b"COMMIT" | b"END" | b"RESET" | b"ANALYZE" | b"VACUUM" | b"LOCK", *_]:
            return Verdict.SKIP
        case [b"SET", b"SESSION" | b"LOCAL", name, b"TO" | b"=", *value] | [b"SET", name, b"TO" | b"=", *value]:
            return _judge_setting(name, value)
        case [b"SET", b"NAMES", *value]:
            return _judge_setting(b"CLIENT_ENCODING", value)
        case [b"SET", b"TIME", b"ZONE", *_]:
            return Verdict.RUN
        case [b"SET", b"CONSTRAINTS", *_]:
            return Verdict.SKIP
        case [b"SELECT", *query]:
            return _judge_query(query)
        case [b"CREATE" | b"ALTER" | b"DROP" as verb, *rest]:
            runs = _stays(verb, [token for token in rest[:6] if token not in _MODIFIERS] + rest[6:])
        case [b"GRANT" | b"REVOKE", *rest] if b"ON" in rest:
            objects = [*takewhile(lambda token: token not in (b"TO", b"FROM"), rest[rest.index(b"ON") + 1 :])]
            runs = objects[:1] != [] and objects[0] not in _BEYOND
            runs = runs and not any(name.strip(b'"').lower().startswith(b"pg_") for name in objects)
        case [b"COMMENT", b"ON", kind, *_]:
            runs = kind in _COMMENTED
        case [b"REFRESH", b"MATERIALIZED", *_]:
            runs = True
        case [b"COPY", *_]:
            runs = statement.rows is not None
        case [b"INSERT", b"INTO", *rest] if b"VALUES" in rest:
            values = rest[rest.index(b"VALUES") :]
            calls = [before for before, token in pairwise(values) if token == b"("]
            runs = b"SELECT" not in rest and all(before in _CALLED or not _is_name(before) for before in calls)
        case _:
            pass
    return Verdict.RUN if runs else Verdict.LEAVE_OUT


def _judge_setting(name: bytes, value: list[bytes]) -> Verdict:
    given = b"".join(value).strip(b"'\"")
    if name == b"CLIENT_ENCODING" and _ENCODINGS.fullmatch(given):
        raise BackupError(
            f"The backup is in the encoding {given.decode()}: make it with pg_dump --format=custom --encoding=UTF8."
        )
    if name == b"STANDARD_CONFORMING_STRINGS" and given.lower() not in (b"on", b"true", b"yes", b"1"):
        raise BackupError(
            "The backup was made with standard_conforming_strings off: "
            "run PGOPTIONS='-c standard_conforming_strings=on' pg_dump --format=custom."
        )
    if name == b"SESSION_REPLICATION_ROLE" or name.startswith(b"DEFAULT_WITH_OIDS"):
        return Verdict.SKIP
    return Verdict.RUN if name in _SETTINGS else Verdict.LEAVE_OUT


def _judge_query(query: list[bytes]) -> Verdict:
    if any(token.startswith(b"PG_RESTORE_") and token.endswith(b"_STATS") for token in query[:6]):
        return Verdict.SKIP
    match query[2:] if query[:2] == [b"PG_CATALOG", b"."] else query:
        case [b"SET_CONFIG", b"(", b"'search_path'", *arguments, b")"] | [b"SETVAL", b"(", *arguments, b")"]:
            return Verdict.RUN if all(map(_ARGUMENT.fullmatch, arguments)) else Verdict.LEAVE_OUT
        case _:
            return Verdict.LEAVE_OUT


def _stays(verb: bytes, rest: list[bytes]) -> bool:
    if not rest or rest[0] not in _KINDS:
        return False
    names = [token for token in rest[1:] if token not in (*_AROUND_NAME, b"CONCURRENTLY")]
    if names[:1] in ([b"PG_CATALOG"], [b'"pg_catalog"'], [b"INFORMATION_SCHEMA"]):
        return False
    if rest[0] == b"EXTENSION" and verb != b"DROP":
        return bool(names) and _EXTENSIONS.fullmatch(names[0].strip(b'"').decode(errors="replace")) is None
    if rest[0] in (b"FUNCTION", b"PROCEDURE") and verb == b"CREATE":
        options = _outside_parentheses(rest)
        used = [after for word, after in pairwise(options) if word == b"LANGUAGE"]
        return all(language.strip(b"'\"").upper() in _LANGUAGES for language in used)
    return True


def _outside_parentheses(tokens: list[bytes]) -> list[bytes]:
    """What stands outside of parentheses, as far as the body of a routine."""
    outside, depth = [], 0
    for token in tokens:
        depth -= token == b")"
        if depth == 0:
            if token == b"ATOMIC":
                break
            outside.append(token)
        depth += token == b"("
    return outside


def _is_name(token: bytes) -> bool:
    return token.startswith(b'"') or _WORD.fullmatch(token) is not None


def heading(statement: Statement) -> str:
    """The kind of a statement, without any name in it: `ALTER ROLE`."""
    long = statement.tokens[0] not in (b"GRANT", b"REVOKE")
    words = takewhile(_HEADINGS.__contains__, statement.tokens[: 1 + long])
    return " ".join(word.decode() for word in words) or "a statement"


_HEADINGS = (
    frozenset(
        b"ALTER CALL CHECKPOINT CLUSTER COMMENT COPY CREATE DATABASE DELETE DO DROP EXECUTE FOREIGN GRANT GROUP IMPORT INSERT "
        b"INTO LABEL LANGUAGE LARGE LOAD MERGE NOTIFY ON OWNED PREPARE PROCEDURAL REASSIGN REINDEX REVOKE ROLE ROLLBACK "
        b"SECURITY SELECT SERVER SESSION SET SUBSCRIPTION SYSTEM TABLESPACE TRUNCATE TRUSTED UPDATE USER VALUES WITH".split()
    )
    | _KINDS
)
