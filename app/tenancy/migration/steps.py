"""Steps: short, repeatable pieces of a migration that leave the running bot alone.

A step is SQL. Online it is executed, offline (`--sql`) it is written, so that the script is the migration.
`step` runs DDL in one short transaction: lock_timeout 200 ms, retried with growing pauses, all locks given
back in between. `each` runs what a query returns outside of a transaction: concurrent indexes, validation.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from io import StringIO
from typing import Any, cast

from alembic.ddl.postgresql import PostgresqlImpl
from sqlalchemy import Connection, CursorResult
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import OperationalError

from alembic import op
from app.tenancy.migration.progress import heading, headings, running, say

LOCK_TIMEOUT = "200ms"
"""The longest that the bot queues behind a lock the migration waits for."""


@dataclass(frozen=True)
class Options:
    """What `alembic -x key=value` sets; the keys have hyphens there."""

    default_business_name: str = "Default business"
    lock_wait: float = 60.0
    drop_data: bool = False
    single_transaction: bool = False
    dry_run: bool = False
    canonical: bool = False
    writers_wait: bool = False


_together: ContextVar[list[str] | None] = ContextVar("together", default=None)


def options() -> Options:
    """The options of this run, which env.py puts into the migration context."""
    return cast(Options, op.get_context().opts.get("schema_options", Options()))


def literal(value: str) -> str:
    """`value` as an SQL string literal (standard_conforming_strings is on in every session of the migration)."""
    return "'" + value.replace("'", "''") + "'"


def dollar_quoted(body: str) -> str:
    """`body` between dollar quotes that do not occur in it."""
    tag = "step"
    while f"${tag}$" in body:
        tag += "_"
    return f"${tag}$\n{body}\n${tag}$"


def emit(sql: str) -> None:
    """Execute one statement as it stands, or write it in offline mode and inside a step."""
    context = op.get_context()
    if context.impl.as_sql:
        context.impl.static_output(sql.strip().rstrip(";") + ";")
    else:
        _execute(sql)


def _execute(sql: str) -> CursorResult[Any]:
    connection = cast(Connection, op.get_context().impl.connection)
    return connection.exec_driver_sql(sql, execution_options={"no_parameters": True})


def emit_each(query: str) -> None:
    """Execute every statement that a query returns, in its order and in the transaction that is open."""
    statements = f"SELECT string_agg(statement, ';') FROM (\n{query}\n) AS s (statement)"
    emit(f"DO $each$ BEGIN EXECUTE coalesce(({statements}), ''); END $each$")


@contextmanager
def together() -> Iterator[None]:
    """Ask what the block asks with `refuse` and `notice` in one go at its end: one error names all that is in the way.

    A block inside another joins it.
    """
    if _together.get() is not None:
        yield
        return
    questions: list[str] = []
    token = _together.set(questions)
    try:
        yield
    finally:
        _together.reset(token)
    if questions:
        emit(ASK.format(questions="\n".join(dict.fromkeys(questions))))


def refuse(sentences: str, *, when: str = "true") -> None:
    """Stop with every one of the sentences that is not NULL, a line each.

    Args:
        sentences: SQL expressions, separated by commas: NULL where nothing stands in the way, else a sentence, or
            several, a line each. A command that fixes it ends the line, after `: run `, and ends with a semicolon.
            A line that is itself a query, SELECT and so on, is asked in its turn and gives a sentence or none: what
            it reads need not be there when the others are asked.
        when: SQL condition without which none is asked, nor the tables that they name have to be there.
    """
    _ask("refusals", sentences, when)


def notice(sentences: str, *, when: str = "true") -> None:
    """Say what does not stop the run, also where something else does; the arguments are those of `refuse`."""
    _ask("notices", sentences, when)


def announce(sentences: str, *, when: str = "true") -> None:
    """Say what the run is about to do, where nothing stops it; the arguments are those of `refuse`."""
    _ask("announced", sentences, when)


def _ask(variable: str, sentences: str, when: str) -> None:
    with together():
        questions = _together.get()
        assert questions is not None  # noqa: S101
        questions.append(QUESTION.format(variable=variable, sentences=sentences, when=when))


def wait_to_read(*tables: str) -> None:
    """Wait as long as a step does until the tables that exist can be read; a reader that waits makes nobody wait."""
    sentence, blocker = _gave_up(tables[0], others="false")
    found = ", ".join(f"to_regclass({literal(table)})" for table in tables)
    emit(f"""DO $wait$
BEGIN
    SET LOCAL lock_timeout = '{_lock_wait()}';
    EXECUTE coalesce((SELECT format('LOCK TABLE %s IN ACCESS SHARE MODE', string_agg(t::text, ', '))
                        FROM unnest(ARRAY[{found}]) AS t
                         JOIN pg_class ON oid = t AND relkind = 'r' WHERE has_table_privilege(t, 'SELECT') HAVING count(*) > 0), '');
    SET LOCAL lock_timeout = '{LOCK_TIMEOUT}';
EXCEPTION WHEN lock_not_available THEN
    RAISE EXCEPTION '{sentence}', {blocker} USING ERRCODE = 'lock_not_available';
END $wait$""")


def _lock_wait() -> str:
    return f"{max(1, int(options().lock_wait * 1000))}ms"


def outside_transaction() -> Any:
    """The context in which steps run: outside of a transaction, unless a single one is asked for."""
    context = op.get_context()
    is_counted = context.impl.as_sql and not context.as_sql
    return nullcontext() if options().single_transaction or is_counted else context.autocommit_block()


def count(work: Callable[..., None]) -> int:
    """How many steps the work consists of: it is written as a script, which is thrown away."""
    impl = op.get_context().impl
    outer = impl.as_sql, impl.output_buffer
    impl.as_sql, impl.output_buffer = True, StringIO()
    try:
        return headings(work)
    finally:
        impl.as_sql, impl.output_buffer = outer


@contextmanager
def step(title: str, *, done: str, lock: str | None = None) -> Iterator[None]:
    """Collect the operations of the block into one statement that asks the catalogue whether it is done.

    Args:
        title: what it does, for the progress line and the script.
        done: SQL condition that is true once the step has been carried out.
        lock: the existing table that the step locks, named when somebody does not give it back. An autovacuum
            would outlast every short try: a lock that the bot does not wait for sends it away first.

    Raises:
        sqlalchemy.exc.DBAPIError: a lock was not to be had for `-x lock-wait` seconds; the message is a
            sentence that names table, pid, user, age and query start.
    """
    impl = op.get_context().impl
    outer = impl.as_sql, impl.output_buffer, impl.dialect, impl.literal_binds
    body = StringIO()
    impl.as_sql, impl.output_buffer, impl.literal_binds = True, body, True
    impl.dialect = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        impl.as_sql, impl.output_buffer, impl.dialect, impl.literal_binds = outer
    head = _announce(title)
    sentence, blocker = _gave_up(lock, others="false")
    statement = STEP.format(
        body=body.getvalue().strip(),
        done=done,
        lock_timeout=LOCK_TIMEOUT,
        lock_wait=options().lock_wait,
        first=f"LOCK TABLE {lock} IN SHARE UPDATE EXCLUSIVE MODE;" if lock else "",
        gave_up=sentence,
        blocker=blocker,
    )
    with running(head, impl.connection) if not impl.as_sql else nullcontext():
        emit(f"DO {dollar_quoted(statement)}")


def _announce(title: str) -> str:
    """The heading of a step; a script also says it when it gets there."""
    head = heading(title)
    impl = op.get_context().impl
    if impl.as_sql:
        said = literal(head.strip())
        shown = (
            f"DO $say$ BEGIN RAISE NOTICE '%', {said}; END $say$;" if options().single_transaction else f"\\echo {said}"
        )
        impl.static_output(f"-- {title}\n{shown}")
    return head


def _gave_up(table: str | None, others: str) -> tuple[str, str]:
    """The sentence about a lock that was not to be had, with a % for who holds it, and the SQL expression for that."""
    state = "nothing was changed" if options().single_transaction else "finished steps are kept"
    sentence = (
        f"gave up after {options().lock_wait:g} s waiting for a lock on %; end that transaction, "
        f"or wait for it, then run the same command again ({state})"
    )
    return sentence, BLOCKER.format(table=literal(table or "something"), others=others)


def each(title: str, *queries: str, table: str) -> None:
    """Run every statement that the queries return on `table`, each by itself, outside of a transaction.

    A query is asked when the statements of the one before have run. In a script psql's `\\gexec` does it; in a single
    transaction a DO block does, without CONCURRENTLY.

    Raises:
        RuntimeError: as `step` does where a lock was not to be had.
    """
    context = op.get_context()
    wait = _lock_wait()
    head = _announce(title)
    if options().single_transaction:
        for query in queries:
            emit_each(query.replace(" CONCURRENTLY", ""))
    elif context.impl.as_sql:
        run = "".join(f"{query} \\gexec\n" for query in queries)
        context.impl.static_output(f"SET lock_timeout = '{wait}';\n{run}SET lock_timeout = '{LOCK_TIMEOUT}';")
    else:
        _execute(f"SET lock_timeout = '{wait}'")
        if not sum(_run_each(head, query, table) for query in queries):
            say(f"{head}: nothing to do")
        _execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'")


def _run_each(head: str, query: str, table: str) -> int:
    """Run what a query returns, and return how many statements it were."""
    statements = _execute(query).scalars().all()
    if not statements:
        return 0
    try:
        with running(head, op.get_context().impl.connection, parts=len(statements)) as parts:
            for statement in statements:
                emit(statement)
                parts.done += 1
    except OperationalError as error:
        if getattr(error.orig, "pgcode", None) != "55P03":
            raise
        # A concurrent build waits for every older snapshot of the database, too.
        sentence, blocker = _gave_up(table, others="a.backend_xmin IS NOT NULL")
        raise RuntimeError(f"{sentence.replace('%', _execute(f'SELECT {blocker}').scalar_one())}.") from error
    return len(statements)


BLOCKER = """coalesce((
    SELECT format('%s: pid %s of user %s, in a transaction for %s, whose query started at %s',
                  coalesce(l.relation::regclass::text, {table}), a.pid, coalesce(a.usename, a.backend_type),
                  coalesce(justify_interval(date_trunc('second', clock_timestamp() - a.xact_start))::text, '?'),
                  coalesce(to_char(a.query_start, 'YYYY-MM-DD HH24:MI:SS TZ'), '?'))
      FROM pg_stat_activity AS a LEFT JOIN pg_locks AS l ON l.pid = a.pid AND l.locktype = 'relation' AND l.granted
       AND l.relation IN (SELECT oid FROM pg_class WHERE relkind = 'r' AND relnamespace::regnamespace::text = quote_ident(current_schema()))
     WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND (l.relation IS NOT NULL OR {others})
     ORDER BY {others} OR l.relation = to_regclass({table}) DESC NULLS LAST, a.xact_start LIMIT 1),
    {table} || ': nobody any more, or a prepared transaction (pg_prepared_xacts)')"""
"""Who holds a lock on a table, or else on another of the schema, the oldest transaction first."""

ASK = """DO $ask$
#variable_conflict use_column
DECLARE
    refusals text[] := '{{}}';
    notices text[] := '{{}}';
    announced text[] := '{{}}';
    in_the_way text[] := '{{}}';
    line text;
BEGIN
{questions}
    FOR line IN SELECT n FROM unnest(notices) WITH ORDINALITY AS t (n, place) GROUP BY n ORDER BY min(place) LOOP
        RAISE NOTICE '%', line;
    END LOOP;
    FOR line IN SELECT r FROM unnest(refusals) WITH ORDINALITY AS t (r, place) GROUP BY r ORDER BY min(place) LOOP
        IF line LIKE 'SELECT %' THEN
            EXECUTE line INTO line;
        END IF;
        in_the_way := array_append(in_the_way, line);
    END LOOP;
    in_the_way := array_remove(in_the_way, NULL);
    IF cardinality(in_the_way) = 1 THEN
        RAISE EXCEPTION '%', in_the_way[1];
    ELSIF cardinality(in_the_way) > 1 THEN
        RAISE EXCEPTION E'% things stand in the way:\\n- %', cardinality(in_the_way), array_to_string(in_the_way, E'\\n- ');
    END IF;
    FOREACH line IN ARRAY array_remove(announced, NULL) LOOP
        RAISE NOTICE '%', line;
    END LOOP;
END $ask$"""

QUESTION = """    IF {when} THEN
        {variable} := {variable} || string_to_array(array_to_string(ARRAY[
{sentences}
        ]::text[], E'\\n'), E'\\n');
    END IF;"""

STEP = """#variable_conflict use_column
DECLARE
    give_up_at timestamptz := clock_timestamp() + interval '{lock_wait} s';
    pause float := 0.1;
BEGIN
    IF {done} THEN
        RETURN;
    END IF;
    LOOP
        -- The inner block gives its locks back when it fails.
        BEGIN
            SET LOCAL lock_timeout = '2s';
            {first}
            SET LOCAL lock_timeout = '{lock_timeout}';
            SET LOCAL timezone = 'UTC';
-- begin
{body}
-- end
            RETURN;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            IF clock_timestamp() >= give_up_at THEN
                PERFORM pg_stat_clear_snapshot();
                RAISE EXCEPTION '{gave_up}', {blocker} USING ERRCODE = 'lock_not_available';
            END IF;
        END;
        PERFORM pg_sleep(pause * (0.5 + random()));
        pause := least(pause * 1.6, 3.0);
    END LOOP;
END"""


class ScriptImpl(PostgresqlImpl):
    """Alembic's PostgreSQL, with version statements that a script may repeat."""

    __dialect__ = "postgresql"

    def render_ddl_sql_expr(self, *expression: Any, **kw: Any) -> str:
        """An expression as a revision names it: the driver doubles %, and would again when it is executed."""
        return super().render_ddl_sql_expr(*expression, **kw).replace("%%", "%")

    def static_output(self, text: str) -> None:
        """Write a statement; the version table is made, and the first version recorded, where there is none."""
        table = self.context_opts.get("version_table", "alembic_version")
        text = re.sub(rf"^CREATE TABLE (?={table} )", "CREATE TABLE IF NOT EXISTS ", text)
        first = rf"^(INSERT INTO {table} .*) VALUES \((.*?)\).*;"
        super().static_output(re.sub(first, rf"\1 SELECT \2 WHERE NOT EXISTS (SELECT FROM {table});", text))
