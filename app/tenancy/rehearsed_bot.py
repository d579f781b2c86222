"""The single-business bot of a rehearsal: it writes rows like those that the database has."""

import random
import re
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import product

import psycopg2
from psycopg2.extensions import cursor as Cursor  # noqa: N812
from psycopg2.sql import SQL, Composed, Identifier, Literal

from app.tenancy.restore import said

GIVEN = {
    "customers": ("whatsapp_id", "name", "created_at", "updated_at"),
    "conversations": ("whatsapp_id", "message", "role", "timestamp", "created_at"),
}
"""The columns that the single-business bot gives a value. Your own that need one are copied from a row of yours."""

NOW = ("created_at", "updated_at", "timestamp")
STAND_INS = {"name": "", "message": "", "role": "user"}
"""Values for a table that has no row to copy."""

COLUMNS = """
SELECT attname, attnotnull AND NOT atthasdef AS needed,
       attname = 'whatsapp_id' OR format_type(atttypid, NULL) IN ('text', 'character varying') AND EXISTS (
           SELECT FROM pg_index WHERE indrelid = attrelid AND indisunique AND attnum = ANY (indkey)) AS must_differ
  FROM pg_attribute
 WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped AND attgenerated = '' AND attidentity = ''
   AND attname <> 'id'
 ORDER BY attnum
"""
"""The columns of a table that a copy of a row has, but for its id."""

WRITTEN = """
SET CONSTRAINTS ALL IMMEDIATE;
SELECT quote_ident(relname) FROM pg_stat_xact_user_tables
 WHERE schemaname = current_schema() AND n_tup_ins + n_tup_upd + n_tup_del > 0
"""
"""The tables that the transaction wrote, those of its triggers among them."""


@dataclass
class Sample:
    """A customer and a message that the database takes, made of its own rows.

    What a table does not take before the upgrade says nothing about the upgrade: the bot does not write there then.
    """

    whatsapp_id: str = "rehearsal-bot"
    """Of nobody: the rows that the bot wrote are known by it."""
    rows: dict[str, dict[str, str | None]] = field(default_factory=dict)
    """For each table, its columns and their values as text."""
    refused: dict[str, str] = field(default_factory=dict)
    """The tables that take no copy, and why."""

    def insert(self, table: str, returning: str = "") -> Composed:
        """The statement that adds a row, with the time of now."""
        now = datetime.now(UTC).replace(tzinfo=None)
        values = {name: now if name in NOW else value for name, value in self.rows[table].items()}
        return SQL("INSERT INTO {} ({}) VALUES ({}) {}").format(
            Identifier(table),
            SQL(", ").join(map(Identifier, values)),
            SQL(", ").join(map(Literal, values.values())),
            SQL(returning),
        )


def sample_of(dsn: str) -> Sample:
    """Find, for both tables, a row whose copy the database takes; what is tried is rolled back."""
    sample = Sample()
    connection = psycopg2.connect(dsn)
    try:
        with connection.cursor() as cursor:
            for table in GIVEN:
                for row in _copies(cursor, table, sample):
                    sample.rows[table] = row
                    cursor.execute("SAVEPOINT copy")
                    try:
                        cursor.execute(sample.insert(table, "RETURNING whatsapp_id"))
                        (written,) = cursor.fetchone() or (sample.whatsapp_id,)
                        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
                    except psycopg2.Error as error:
                        cursor.execute("ROLLBACK TO SAVEPOINT copy")
                        sample.refused.setdefault(table, said(error))
                    else:
                        # A trigger may write the id in another form.
                        sample.whatsapp_id = row["whatsapp_id"] = written
                        sample.refused.pop(table, None)
                        break
    finally:
        connection.close()
    return sample


def _copies(cursor: Cursor, table: str, sample: Sample) -> Iterator[dict[str, str | None]]:
    """Copies of the latest rows: with the columns that a row needs, then with all of them."""
    cursor.execute(COLUMNS, [table])
    columns = {name: (needed, must_differ) for name, needed, must_differ in cursor.fetchall()}
    cursor.execute(
        SQL("SELECT {} FROM {} ORDER BY id DESC LIMIT 20").format(
            SQL(", ").join(SQL("{}::text").format(Identifier(name)) for name in columns), Identifier(table)
        )
    )
    rows = [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()] or [STAND_INS]
    for whole, row in product((False, True), rows):
        copy = {
            name: another(row.get(name)) if must_differ else row.get(name)
            for name, (needed, must_differ) in columns.items()
            if whole or needed or name in GIVEN[table]
        }
        if table == "conversations" and "customers" not in sample.refused:
            copy["whatsapp_id"] = sample.whatsapp_id
        elif _is_known(cursor, copy["whatsapp_id"]):
            continue
        yield copy


def _is_known(cursor: Cursor, whatsapp_id: str | None) -> bool:
    cursor.execute(
        "SELECT FROM customers WHERE whatsapp_id = %(id)s UNION ALL SELECT FROM conversations WHERE whatsapp_id = %(id)s",
        {"id": whatsapp_id},
    )
    return cursor.rowcount > 0


def another(value: str | None) -> str | None:
    """A value of the same form that no row has: other digits at the end, as a phone number would have them."""
    if value is None:
        return value
    digits = [match.start() for match in re.finditer(r"\d", value)][-8:]
    if len(digits) < 4:
        return f"rehearsal-{random.randrange(10**8)}"  # noqa: S311
    characters = list(value)
    for at in digits:
        characters[at] = str(random.randrange(10))  # noqa: S311
    return "".join(characters)


class Bot(threading.Thread):
    """Writes and reads as the bot did before, and remembers its longest wait, in seconds."""

    def __init__(self, dsn: str, sample: Sample) -> None:
        super().__init__(daemon=True)
        self.sample = sample
        self.connection = psycopg2.connect(dsn)
        self.connection.autocommit = True
        self.longest, self.served, self.peak = 0.0, 0, 0
        self.errors: list[str] = []
        self.written: set[str] = set()
        """The tables that its statements wrote, by themselves or by a trigger."""
        self.finished = threading.Event()

    def run(self) -> None:
        while not self.finished.wait(0.01):
            start = time.perf_counter()
            try:
                self._serve()
                self.served += 1
            except psycopg2.Error as error:
                self.errors.append(said(error))
            self.longest = max(self.longest, time.perf_counter() - start)
            if self.served % 50 == 0:
                with self.connection.cursor() as cursor:
                    cursor.execute("SELECT pg_database_size(current_database())")
                    (size,) = cursor.fetchone() or (0,)
                    self.peak = max(self.peak, size)

    def _serve(self) -> None:
        of = [self.sample.whatsapp_id]
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT id, name FROM customers WHERE whatsapp_id = %s", of)
            if cursor.fetchone() is None:
                self._insert(cursor, "customers")
            self._insert(cursor, "conversations")
            cursor.execute("SELECT * FROM conversations WHERE whatsapp_id = %s ORDER BY timestamp DESC LIMIT 10", of)
            cursor.fetchall()

    def _insert(self, cursor: Cursor, table: str) -> None:
        if table not in self.sample.refused:
            # In one message, and so in one transaction.
            cursor.execute(SQL("{}; {}").format(self.sample.insert(table), SQL(WRITTEN)))
            self.written.update(name for (name,) in cursor.fetchall())

    def leave(self) -> None:
        """End, and delete its rows; where the database refuses that they stay, and are not compared."""
        with suppress(psycopg2.Error), self.connection.cursor() as cursor:
            for table in reversed(GIVEN):
                deleted = SQL("DELETE FROM {} WHERE whatsapp_id = {}; {}").format(
                    Identifier(table), Literal(self.sample.whatsapp_id), SQL(WRITTEN)
                )
                cursor.execute(deleted)
                self.written.update(name for (name,) in cursor.fetchall())
        self.connection.close()
