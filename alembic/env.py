"""Joins the three: the settings' engine, the models' metadata, and what revisions are written with."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event
from sqlalchemy.exc import DBAPIError, PendingRollbackError

import app.models
from alembic import context
from app.config import use_project
from app.db import CONNECT_ARGS, DatabaseUrlError, database_url, parse_url
from app.migration import autogenerate, drift, path, runner, version
from app.migration.progress import say
from app.report import place, report

NEXT = "next steps:       alembic check; add the WhatsApp numbers; give the bot a login that owns nothing (docs/tenancy.md)."

GIVEN_URL = context.config.get_main_option("sqlalchemy.url")
SOURCE = "sqlalchemy.url" if GIVEN_URL else "DATABASE_URL"

schema_options = runner.parse_options(context.get_x_argument(as_dictionary=True))
where: list[URL] = []
applied: list[Any] = []
OPTIONS: dict[str, Any] = {
    "target_metadata": app.models.Base.metadata,
    "version_table": runner.version_table(),
    "schema_options": schema_options,
    "compare_type": runner.same_type,
    "autogenerate_plugins": ["alembic.autogenerate.*", drift.register()],
    "process_revision_directives": autogenerate.make_safe,
    "render_item": autogenerate.render_item,
    "include_object": runner.include_object,
    "on_version_apply": [version.keep_mark, lambda *, step, **_: applied.append(step)],
}


def run_migrations() -> None:
    migrations = context.get_context()
    migrations._migrations_fn = path.checks_first(migrations.opts["fn"])
    with context.begin_transaction():
        context.run_migrations()


def run_offline() -> None:
    """Write the script: in psql's form every revision is a transaction, in the dashboard's form all of it is one."""
    dry_run = schema_options.dry_run
    context.configure(
        dialect_name="postgresql",
        literal_binds=True,
        dialect_opts={"paramstyle": "named"},
        transaction_per_migration=dry_run or not schema_options.single_transaction,
        **OPTIONS,
    )
    write = context.get_context().impl.static_output
    try:
        if dry_run:
            write("BEGIN;")
        run_migrations()
        if dry_run:
            write("ROLLBACK;")
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise runner.refusal(
            "The script was cut off, for what reads it has ended: do not run what was written."
        ) from None


def url_of_run() -> URL:
    """`sqlalchemy.url`, which code sets before it starts Alembic, or else DATABASE_URL."""
    if GIVEN_URL:
        try:
            return parse_url(GIVEN_URL)
        except DatabaseUrlError as error:
            raise DatabaseUrlError(str(error).replace("DATABASE_URL", SOURCE)) from None
    return database_url(create=runner.changes() and not runner.stamps() and not schema_options.dry_run)


@contextmanager
def connected() -> Iterator[Connection]:
    """The connection that code handed over in `attributes["connection"]`, or else one of the run's own."""
    given: Connection | Engine | None = context.config.attributes.get("connection")
    if given is not None:
        where.append(given.engine.url)
        opened = nullcontext(given) if isinstance(given, Connection) else given.connect()
        with opened as connection, runner.handed_over(connection, schema_options.single_transaction):
            yield connection
        return
    where.append(url := url_of_run())
    runner.refuse_pooler(url)
    engine = create_engine(url, poolclass=NullPool, connect_args=CONNECT_ARGS, hide_parameters=True)
    event.listen(engine, "connect", runner.set_session_defaults)
    with engine.connect() as connection:
        yield connection


def run_online() -> None:
    with connected() as connection, runner.only_one(connection):
        context.configure(connection=connection, transaction_per_migration=True, **OPTIONS)
        run_migrations()
        database, revision = place(connection, OPTIONS["version_table"])
        if not runner.changes() or runner.stamps():
            return
        if schema_options.dry_run:
            say(f"Dry run of {database} at revision {revision}: nothing stands in the way, and nothing was changed.")
        elif not applied:
            say(f"Already at {revision}: nothing to do.")
        elif applied[-1].is_upgrade:
            migrations = context.get_context()
            next_steps = (
                [NEXT] if version.REVISIONS[-1] in {i for step in applied for i in step.up_revision_ids} else []
            )
            say(*report(connection, migrations.script, migrations.version_table), *next_steps)


if context.config.config_file_name:
    use_project(Path(context.config.config_file_name).resolve().parent)
try:
    if context.is_offline_mode():
        run_offline()
    else:
        run_online()
except (DBAPIError, PendingRollbackError, KeyboardInterrupt) as error:
    if runner.is_command() and runner.was_interrupted(error):
        kept = ": finished steps are kept; run the same command again" if runner.changes() else ""
        say(f"Interrupted{kept}.")
        sys.exit(130)
    if isinstance(error, KeyboardInterrupt):
        raise
    raise runner.refusal(runner.sentence(error, where[0], SOURCE)) from error
except (ValueError, RuntimeError) as error:
    raise runner.refusal(str(error)) from error
