"""Joins the three: the settings' engine, the models' metadata, and what revisions are written with."""

import sys
from typing import Any

from sqlalchemy import NullPool, create_engine, event
from sqlalchemy.exc import DBAPIError, PendingRollbackError

import app.models
from alembic import context
from app.db import CONNECT_ARGS, database_url
from app.migration import autogenerate, drift, runner
from app.migration.steps import DryRun
from app.report import place, report

NEXT = "next steps:       alembic check; add the WhatsApp numbers; give the bot a login that owns nothing (docs/tenancy.md)."

HISTORY = context.config.config_ini_section
"""Which history this is: [alembic], or another of alembic.ini, such as [scale], with a version table of its own."""
VERSION_TABLE = context.config.get_main_option("version_table", "alembic_version")

applied: list[Any] = []
OPTIONS: dict[str, Any] = {
    "version_table": VERSION_TABLE,
    "target_metadata": app.models.Base.metadata,
    "schema_options": runner.parse_options(context.get_x_argument(as_dictionary=True)),
    "compare_type": runner.same_type,
    "autogenerate_plugins": ["alembic.autogenerate.*", drift.register()],
    "process_revision_directives": autogenerate.make_safe,
    "render_item": autogenerate.render_item,
    "include_object": runner.include_object,
    "on_version_apply": lambda *, step, **_: applied.append(step),
}


def run_migrations() -> None:
    context.run_migrations()
    if OPTIONS["schema_options"].dry_run:
        raise DryRun


def run_offline() -> None:
    context.configure(dialect_name="postgresql", literal_binds=True, dialect_opts={"paramstyle": "named"}, **OPTIONS)
    with context.begin_transaction():
        runner.write_header()
        run_migrations()


def run_online() -> None:
    url = database_url()
    runner.refuse_pooler(url)
    engine = create_engine(url, poolclass=NullPool, connect_args=CONNECT_ARGS, hide_parameters=True)
    event.listen(engine, "connect", runner.set_session_defaults)
    with engine.connect() as connection, runner.only_one(connection) as target:
        context.configure(connection=connection, **OPTIONS)
        try:
            with context.begin_transaction():
                run_migrations()
        except DryRun:
            of = "Dry run of {} at revision {}".format(*place(connection, VERSION_TABLE))
            print(f"{of}: nothing stands in the way, and nothing was changed.", file=sys.stderr)
        else:
            if applied and applied[-1].is_upgrade:
                print(*report(connection), *([NEXT] if HISTORY == "alembic" else []), sep="\n", file=sys.stderr)
            elif target and not applied:
                print(f"Already at {place(connection, VERSION_TABLE)[1]}: nothing to do.", file=sys.stderr)


try:
    if context.is_offline_mode():
        run_offline()
    else:
        run_online()
except DryRun:
    context.get_context().impl.static_output("ROLLBACK;")
except (DBAPIError, PendingRollbackError, KeyboardInterrupt) as error:
    if runner.is_command() and runner.was_interrupted(error):
        print("Interrupted: finished steps are kept; run the same command again.", file=sys.stderr)
        sys.exit(130)
    if isinstance(error, KeyboardInterrupt):
        raise
    raise runner.refusal(runner.sentence(error, database_url())) from error
except (ValueError, RuntimeError) as error:
    raise runner.refusal(str(error)) from error
