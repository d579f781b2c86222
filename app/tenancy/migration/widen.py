"""Widen an integer column to bigint while the bot goes on: `refuse_to_widen`, then `widen_to_bigint`.

A twin is built beside everything that holds the column: the column itself, which a trigger keeps and a CHECK proves,
its indexes, foreign keys and CHECKs. Then one transaction of milliseconds drops the old ones and gives the twins
their names. What costs nothing to make again (policies, triggers, grants, statistics, comments, the default, the
sequence) moves in that transaction: PostgreSQL writes its definition down before the column is renamed, and the same
text means the wide column after.

Until that transaction the old column is what counts. Nothing is remembered anywhere but in the catalogue: the same
command goes on wherever a run ended.

The SQL is in `sql/widen_*.sql`. There t is the table, c the column, n its twin, and keeper what keeps the twin equal,
as SQL names them; table, column, wide and kept are the same names without quotes.
"""

from dataclasses import dataclass

from app.tenancy.migration import access, ops
from app.tenancy.migration.names import quoted
from app.tenancy.migration.ops import has_column
from app.tenancy.migration.scripts import query
from app.tenancy.migration.steps import (
    dollar_quoted,
    emit,
    emit_statements,
    gave_up,
    literal,
    notice,
    options,
    refuse,
    step,
    step_per_statement,
)

PAGES = 64
"""Pages of 8 kB that one transaction copies: some thousand rows, some hundredths of a second."""


def refuse_to_widen(*columns: tuple[str, str]) -> None:
    """Stop before any change where a (table, column) cannot be widened, naming everything in the way at once.

    Where nothing is, notices say what the widening needs and what is to be looked at.

    Raises:
        sqlalchemy.exc.DBAPIError: something is in the way; its message names each with the command that removes it.
        ValueError: a single transaction is asked for, in which everybody would wait for the copy.
    """
    if options().single_transaction:
        by_hand = "; ".join(f"ALTER TABLE {table} ALTER COLUMN {column} TYPE bigint" for table, column in columns)
        raise ValueError(
            "Widening copies rows in many transactions, so that nobody waits: run it without "
            f"-x single-transaction=yes, or in a quiet hour run {by_hand}; who uses the tables waits, about 10 s for a million rows."
        )
    for number, (table, column) in enumerate(columns):
        w = Widening(table, column)
        emit(w.fill("trial", number=str(number)))
        refuse(f"to_jsonb(nullif(current_setting('widen.trial_{number}', true), '')::text[])")
        lines = "(SELECT jsonb_agg(said) FROM ({}) AS o (place, said))"
        refuse(lines.format(f"SELECT * FROM ({w.fill('obstacles')}) AS o (place, said) ORDER BY place, said"))
        notice(lines.format(w.fill("notices")))


def widen_to_bigint(table: str, column: str) -> None:
    """Make an integer or smallint column a bigint; nothing happens where it is one.

    Args:
        table: name of the table, in the current schema.
        column: name of the column. It becomes the last of its table.

    To be called outside of a transaction (`steps.outside_transaction`), after `refuse_to_widen`.
    Locks: ACCESS EXCLUSIVE, milliseconds, three times; a row is locked for some hundredths of a second.

    Raises:
        sqlalchemy.exc.DBAPIError: a lock was not to be had for `-x lock-wait` seconds.
    """
    w = Widening(table, column)
    name = f"{table}.{column}"
    with step(f"{name}: a wide column beside it", done=f"NOT {w.narrow} OR {w.begun}", lock=w.t):
        emit(f"ALTER TABLE {w.t} ADD COLUMN {w.n} bigint")
        emit(
            f"CREATE FUNCTION {w.keeper}() RETURNS trigger LANGUAGE plpgsql SET search_path = '' AS "
            + dollar_quoted(f"BEGIN\n    NEW.{w.n} := NEW.{w.c};\n    RETURN NEW;\nEND")
        )
        emit_statements(w.fill("begin"))
    step_per_statement(f"{name}: copy", w.fill("chunks"), table=w.t)
    vacuum = f"SELECT 'VACUUM (ANALYZE, TRUNCATE false) {w.t}' WHERE {w.unproved}"
    step_per_statement(f"{name}: vacuum and statistics", vacuum, table=w.t)
    emit(w.fill("scratch"))
    ops.build_indexes(w.t, f"{name}: an index", w.fill("indexes"))
    missing = w.fill("constraints")
    with step(f"{name}: constraints beside", done=f"NOT EXISTS (SELECT FROM ({missing}) AS missing)", lock=w.t):
        emit_statements(missing)
    step_per_statement(f"{name}: validate", w.fill("validations"), table=w.t)
    with step(f"{name}: bigint", done=f"NOT {w.narrow}", lock=w.t):
        # Definitions are read under the lock: nothing that is added at this moment is lost.
        emit(f"LOCK TABLE {w.t} IN ACCESS EXCLUSIVE MODE")
        emit_statements(w.fill("hold_sequences"))
        refuse(w.fill("unready"))
        emit_statements(w.fill("swap"))


@dataclass(frozen=True)
class Widening:
    """One column on its way, and the names of what is built beside it."""

    table: str
    column: str

    @property
    def t(self) -> str:
        """The table, quoted."""
        return quoted(self.table)

    @property
    def c(self) -> str:
        """The column, quoted."""
        return quoted(self.column)

    @property
    def n(self) -> str:
        """The wide column while it is beside the narrow one, quoted."""
        return quoted(f"{self.column}_widened")

    @property
    def keeper(self) -> str:
        """The trigger that keeps the wide column equal, its function and the CHECK that proves it, quoted."""
        return quoted(f"widen_{self.table}_{self.column}")

    @property
    def narrow(self) -> str:
        """SQL condition: the column is still to be widened."""
        return (
            f"EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass({literal(self.t)}) "
            f"AND attname = {literal(self.column)} AND atttypid IN ('int4'::regtype, 'int2'::regtype))"
        )

    @property
    def begun(self) -> str:
        """SQL condition: the wide column is there."""
        return has_column(self.t, f"{self.column}_widened")

    @property
    def unproved(self) -> str:
        """SQL condition: it is not yet proved that every row has its wide value."""
        keeper = f"widen_{self.table}_{self.column}"
        return (
            f"EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass({literal(self.t)}) "
            f"AND conname = {literal(keeper)} AND NOT convalidated)"
        )

    def fill(self, name: str, **more: str) -> str:
        """The SQL of `sql/widen_<name>.sql` with the names of this column, and more values."""
        values = {
            "t": self.t,
            "c": self.c,
            "n": self.n,
            "keeper": self.keeper,
            "table": self.table,
            "column": self.column,
            "wide": f"{self.column}_widened",
            "aside": quoted(f"{self.column}_narrow"),
            "kept": f"widen_{self.table}_{self.column}",
            "unproved": self.unproved,
            "begun": self.begun,
            "grantee": access.GRANTEE,
            "pages": str(PAGES),
            **more,
        }
        if name == "chunks":
            values["gave_up"], values["blocker"] = gave_up(self.t, others="false")
            values |= {"wait": f"{options().lock_wait:g}", "first": ":first:", "last": ":last:"}
            values["chunk"] = query("widen_chunk.sql", **values)
        return query(f"widen_{name}.sql", **values)
