"""Steps: short, repeatable pieces of a migration that leave the running bot alone.

A step is SQL. Online it is executed, offline (`--sql`) it is written, so that the script is the migration.

`step` sends its DDL as one DO statement. Inside `outside_transaction()` that is a transaction of its own; elsewhere it
is part of the transaction that is open, such as the one that records the revision. The SERVER retries it, not Python:
each try is a subtransaction that gives its locks back when it fails, and the pauses between the tries grow.
`step_per_statement` runs every statement that its queries return, each by itself, outside of a transaction: concurrent
index builds, validation, vacuum. It tries none of them again. `emit_statements` runs such statements in the transaction
that is open.

How long each of them waits for a lock, while `-x lock-wait` (60 s), or a longer `patience`, lasts:

- a try of `step` waits `FIRST_TRY` for the lock that it takes first (SHARE UPDATE EXCLUSIVE, for which no reader or
  writer waits), which is long enough for an autovacuum to be sent away;
- then it waits `LOCK_TIMEOUT` for any lock of its DDL, because the bot waits behind it;
- `step_per_statement` and `wait_to_read` wait for all of lock-wait in one go, because nobody waits behind them.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, replace
from io import StringIO
from typing import Any, cast

from alembic.ddl._autogen import ComparisonResult
from alembic.ddl.postgresql import PostgresqlImpl
from sqlalchemy import CheckConstraint, Connection, CursorResult
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import OperationalError, ProgrammingError

from alembic import op
from app.tenancy import errors
from app.tenancy.migration.progress import heading, headings, running, say
from app.tenancy.migration.state import VERSION_TABLE

FIRST_TRY = "2s"
"""How long a try of a step waits for its first lock, behind which the bot does not queue."""

LOCK_TIMEOUT = "200ms"
"""The longest that the bot queues behind a lock the migration waits for."""

ALWAYS = "false"
"""`done` of a step that is never done: it runs every time, and changes nothing the second time."""


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
_conditions: ContextVar[list[str] | None] = ContextVar("conditions", default=None)


def options() -> Options:
    """The options of this run, which env.py puts into the migration context."""
    return cast(Options, op.get_context().opts.get("schema_options", Options()))


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """Let the steps of the block wait longer for a lock than `-x lock-wait` says; a longer lock-wait stays.

    Args:
        seconds: how long they try at least.
    """
    opts, before = op.get_context().opts, options()
    opts["schema_options"] = replace(before, lock_wait=max(before.lock_wait, seconds))
    try:
        yield
    finally:
        opts["schema_options"] = before


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
    """Execute SQL as it stands, one statement or several, or write it in offline mode and inside a step."""
    context = op.get_context()
    if context.impl.as_sql:
        context.impl.static_output(sql.strip().rstrip(";") + ";")
    else:
        _execute(sql)


def _execute(sql: str) -> CursorResult[Any]:
    connection = cast(Connection, op.get_context().impl.connection)
    return connection.exec_driver_sql(sql, execution_options={"no_parameters": True})


def emit_statements(query: str) -> None:
    """Execute every statement that a query returns, in its order and in the transaction that is open."""
    statements = f"SELECT string_agg(statement, ';') FROM (\n{query}\n) AS s (statement)"
    emit(f"DO $statements$ BEGIN EXECUTE coalesce(({statements}), ''); END $statements$")


@contextmanager
def together() -> Iterator[None]:
    """Collect all refusals and notices of the block, and raise the refusals as ONE error when it ends.

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

    A sentence holds names that anybody may have chosen, so sentences are never joined into one text and taken apart again.

    Inside `together` the sentences are collected, and raised when that block ends: what is emitted until then runs.

    Args:
        sentences: SQL expressions, separated by commas: NULL where nothing stands in the way, else a sentence as text,
            or several as jsonb, in arrays of arrays. A command that fixes it ends the sentence, after `: run `, and
            ends with a semicolon. A jsonb object {"query": ...} is a query, which is run as soon as all others have
            been asked, and its result is the sentence, or NULL. Use that for a table that may be missing.
        when: SQL condition without which none is asked, nor the tables that they name have to be there, nor the
            questions are planned, which takes longer than to ask them.
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
    sentence, blocker = gave_up(tables[0], others="false")
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


def conditions(work: Callable[..., None]) -> list[str]:
    """The SQL conditions that are true once the steps of the work were carried out; it is thrown away, as by `count`."""
    asked: list[str] = []
    token = _conditions.set(asked)
    try:
        count(work)
    finally:
        _conditions.reset(token)
    return [done for done in asked if done != ALWAYS]


@contextmanager
def step(title: str, *, done: str, lock: str | None = None) -> Iterator[None]:
    """Collect the operations of the block into one DO statement that asks the catalogue whether it is done.

    It is a transaction of its own inside `outside_transaction()`, else part of the one that is open. The server
    tries it again and again for `-x lock-wait` seconds; each try is a subtransaction, which gives its locks back.

    Args:
        title: what it does, for the progress line and the script.
        done: SQL condition that is true once the step has been carried out, or `ALWAYS`.
        lock: the existing table that the step locks, named when somebody does not give it back. The step takes
            SHARE UPDATE EXCLUSIVE on it first: the bot does not wait for that, and it ends an autovacuum,
            which would outlast every short try.

    Raises:
        sqlalchemy.exc.DBAPIError: a lock was not to be had for `-x lock-wait` seconds; the message is a
            sentence that names table, pid, user, age and query start.
    """
    if (asked := _conditions.get()) is not None:
        asked.append(done)
    impl = op.get_context().impl
    outer = impl.as_sql, impl.output_buffer, impl.dialect, impl.literal_binds
    body = StringIO()
    impl.as_sql, impl.output_buffer, impl.literal_binds = True, body, True
    impl.dialect = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        impl.as_sql, impl.output_buffer, impl.dialect, impl.literal_binds = outer
    head = _head(title)
    sentence, blocker = gave_up(lock, others="false")
    statement = STEP.format(
        body=body.getvalue().strip(),
        done=done,
        first_try=FIRST_TRY,
        lock_timeout=LOCK_TIMEOUT,
        lock_wait=options().lock_wait,
        first=f"LOCK TABLE {lock} IN SHARE UPDATE EXCLUSIVE MODE;" if lock else "",
        gave_up=sentence,
        blocker=blocker,
    )
    with running(head, impl.connection) if not impl.as_sql else nullcontext():
        emit(f"DO {dollar_quoted(statement)}")


def _head(title: str) -> str:
    """The heading of a step, for the progress line; a script also says it when it gets there."""
    head = heading(title)
    impl = op.get_context().impl
    if impl.as_sql:
        said = literal(head.strip())
        shown = (
            f"DO $say$ BEGIN RAISE NOTICE '%', {said}; END $say$;" if options().single_transaction else f"\\echo {said}"
        )
        impl.static_output(f"-- {title}\n{shown}")
    return head


def gave_up(table: str | None, others: str) -> tuple[str, str]:
    """The sentence about a lock that was not to be had, with a % for who holds it, and the SQL expression for that."""
    state = "nothing was changed" if options().single_transaction else "finished steps are kept"
    sentence = (
        f"gave up after {options().lock_wait:g} s waiting for a lock on %; end that transaction, "
        f"or wait for it, then run the same command again ({state})"
    )
    return sentence, BLOCKER.format(table=literal(table or "something"), others=others)


def step_per_statement(title: str, *queries: str, table: str) -> None:
    """Run every statement that the queries return on `table`, each once, by itself and outside of a transaction.

    Unlike a `step` it has no `done`: a query returns nothing once its work is done. Nothing is tried again: a statement
    waits for its lock as long as `-x lock-wait` says, in one go. A query is asked when the statements of the one before
    have run. In a script psql's `\\gexec` does it; in a single transaction a DO block does, without CONCURRENTLY.

    Raises:
        RuntimeError: as `step` does where a lock was not to be had.
    """
    context = op.get_context()
    wait = _lock_wait()
    head = _head(title)
    if options().single_transaction:
        for query in queries:
            emit_statements(query.replace(" CONCURRENTLY", ""))
    elif context.impl.as_sql:
        run = "".join(f"{query} \\gexec\n" for query in queries)
        context.impl.static_output(f"SET lock_timeout = '{wait}';\n{run}SET lock_timeout = '{LOCK_TIMEOUT}';")
    else:
        _execute(f"SET lock_timeout = '{wait}'")
        if not sum(_run_statements(head, query, table) for query in queries):
            say(f"{head}: nothing to do")
        _execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'")


def _run_statements(head: str, query: str, table: str) -> int:
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
        sentence, blocker = gave_up(table, others="a.backend_xmin IS NOT NULL")
        blocked_by = errors.shown(_execute(f"SELECT {blocker}").scalar_one())
        raise RuntimeError(f"{sentence.replace('%', blocked_by)}.") from error
    return len(statements)


BLOCKER = """coalesce((
    SELECT format('%s: pid %s of user %s, in a transaction for %s, whose query started at %s',
                  coalesce(l.relation::regclass::text, {table}), a.pid, coalesce(quote_ident(a.usename), a.backend_type),
                  coalesce(justify_interval(date_trunc('second', clock_timestamp() - a.xact_start))::text, '?'),
                  coalesce(to_char(a.query_start, 'YYYY-MM-DD HH24:MI:SS TZ'), '?'))
      FROM pg_stat_activity AS a LEFT JOIN pg_locks AS l ON l.pid = a.pid AND l.locktype = 'relation' AND l.granted
       AND l.relation IN (SELECT oid FROM pg_class WHERE relkind = 'r' AND relnamespace::regnamespace::text = quote_ident(current_schema()))
     WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND (l.relation IS NOT NULL OR {others})
     ORDER BY {others} OR l.relation = to_regclass({table}) DESC NULLS LAST, a.xact_start LIMIT 1),
    {table} || ': nobody any more, or a prepared transaction (pg_prepared_xacts)')"""
"""Who holds a lock on a table, or else on another of the schema, the oldest transaction first."""

LOOK_CLOSELY = " (a name in it has control characters, or reads like a command: look at it first, and fix this by hand)"


def shown(text: str) -> str:
    """SQL expression: a sentence as it is shown, in one line whatever the names in it are.

    Control characters, which would begin a line or tell the terminal something, become <U+000A>. Such a sentence, and
    one that offers two commands, of which a name made one, does not end in a command.

    Args:
        text: SQL expression of type text.
    """
    return f"""(
    SELECT string_agg(CASE WHEN odd THEN format('<U+%s>', upper(lpad(to_hex(code), 4, '0'))) ELSE c END, '' ORDER BY n)
           || CASE WHEN bool_or(odd) OR string_agg(c, '' ORDER BY n) LIKE '%: run %: run %' THEN {literal(LOOK_CLOSELY)} ELSE '' END
      FROM (SELECT *, code < 32 OR code BETWEEN 127 AND 159 OR code BETWEEN 8232 AND 8238 OR code BETWEEN 8294 AND 8297
                      OR code IN (8206, 8207, 65279) AS odd
              FROM (SELECT c, n, CASE WHEN octet_length(c) = 1 OR getdatabaseencoding() = 'UTF8' THEN ascii(c) ELSE 160 END AS code
                      FROM unnest(string_to_array({text}, NULL)) WITH ORDINALITY AS parts (c, n)) AS coded) AS parts)"""


SENTENCES = """SELECT sentence FROM jsonb_path_query({found}, '$[*][*][*][*][*]') WITH ORDINALITY AS said (sentence, place)
                  WHERE jsonb_typeof(sentence) <> 'null' GROUP BY sentence ORDER BY min(place)"""
"""SQL query of the sentences, and of the objects, in a jsonb of arrays of arrays, each once."""

ASK = f"""DO $ask$
#variable_conflict use_column
DECLARE
    refusals jsonb := '[]';
    notices jsonb := '[]';
    announced jsonb := '[]';
    in_the_way text[] := '{{{{}}}}';
    item jsonb;
    line text;
BEGIN
{{questions}}
    FOR item IN {SENTENCES.format(found="notices")} LOOP
        RAISE NOTICE '%', {shown("item #>> '{{}}'")};
    END LOOP;
    FOR item IN {SENTENCES.format(found="refusals")} LOOP
        line := item #>> '{{{{}}}}';
        IF jsonb_typeof(item) = 'object' THEN
            EXECUTE item ->> 'query' INTO line;
        END IF;
        in_the_way := array_append(in_the_way, {shown("line")});
    END LOOP;
    in_the_way := array_remove(in_the_way, NULL);
    IF cardinality(in_the_way) = 1 THEN
        RAISE EXCEPTION '%', in_the_way[1];
    ELSIF cardinality(in_the_way) > 1 THEN
        RAISE EXCEPTION E'% things stand in the way:\\n- %', cardinality(in_the_way), array_to_string(in_the_way, E'\\n- ');
    END IF;
    FOR item IN {SENTENCES.format(found="announced")} LOOP
        RAISE NOTICE '%', {shown("item #>> '{{}}'")};
    END LOOP;
END $ask$"""

QUESTION = """    IF {when} THEN
        {variable} := {variable} || jsonb_build_array(
{sentences}
        );
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
            SET LOCAL lock_timeout = '{first_try}';
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
    """Alembic's PostgreSQL, with version statements that a script may repeat, and CHECKs that are compared."""

    __dialect__ = "postgresql"

    def render_ddl_sql_expr(self, *expression: Any, **kw: Any) -> str:
        """An expression as a revision names it: the driver doubles %, and would again when it is executed."""
        return super().render_ddl_sql_expr(*expression, **kw).replace("%%", "%")

    def adjust_reflected_dialect_options(self, reflected_object: Any, kind: str) -> dict[str, Any]:
        """What is reflected of a CHECK, under the names that SQLAlchemy takes it by."""
        options = super().adjust_reflected_dialect_options(reflected_object, kind)
        return {key if key.startswith("postgresql_") else f"postgresql_{key}": v for key, v in options.items()}

    def compare_check_constraint(
        self, metadata_constraint: CheckConstraint, reflected_constraint: CheckConstraint
    ) -> ComparisonResult:
        """Whether PostgreSQL writes both CHECKs down alike; `alembic.ext.checkconstraint_byname` asks it."""
        table, connection = metadata_constraint.table.name, cast(Connection, self.connection)
        declared = metadata_constraint.sqltext.compile(
            dialect=postgresql.dialect(paramstyle="named"),  # type: ignore[no-untyped-call]
            compile_kwargs={"literal_binds": True, "include_table": False},
        )
        written = (
            "SELECT pg_get_expr(conbin, conrelid) FROM pg_constraint WHERE contype = 'c' AND conrelid = to_regclass"
        )
        savepoint = connection.begin_nested()
        try:
            for statement in (
                f"CREATE TEMP TABLE check_compared (LIKE {table})",
                f"ALTER TABLE pg_temp.check_compared ADD CHECK ({declared})",
            ):
                connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
            name = literal(str(reflected_constraint.name))
            found = connection.exec_driver_sql(f"{written}({literal(table)}) AND conname = {name}").scalar()
            is_same = found == connection.exec_driver_sql(f"{written}('pg_temp.check_compared')").scalar_one()
        except ProgrammingError as error:
            if getattr(error.orig, "pgcode", None) == "42501":
                return ComparisonResult.Skip("the role may not create temporary tables")
            is_same = False  # it names a column that is still to be added
        finally:
            savepoint.rollback()
        return ComparisonResult.Equal() if is_same else ComparisonResult.Different("the condition is another")

    def static_output(self, text: str) -> None:
        """Write a statement; the version table is made, and the first version recorded, where there is none."""
        table = self.context_opts.get("version_table", VERSION_TABLE)
        text = re.sub(rf"^CREATE TABLE (?={table} )", "CREATE TABLE IF NOT EXISTS ", text)
        first = rf"^(INSERT INTO {table} .*) VALUES \((.*?)\).*;"
        super().static_output(re.sub(first, rf"\1 SELECT \2 WHERE NOT EXISTS (SELECT FROM {table});", text))
