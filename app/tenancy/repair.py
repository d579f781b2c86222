"""Puts right what `alembic check` finds and what holds no data: `python -m app.tenancy.repair [--dry-run]`."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError

from app.db import command_engine, database_url
from app.tenancy.declared import declared
from app.tenancy.environment import alembic_config, import_models
from app.tenancy.errors import exit_status, shown
from app.tenancy.migration import runner
from app.tenancy.migration.repair import Outcome, repair
from app.tenancy.migration.steps import Options


def run(config: Config, *, dry_run: bool = False, lock_wait: float = Options.lock_wait) -> Outcome:
    """Repair the database of DATABASE_URL, as one run at a time, like a migration.

    Args:
        config: where the revisions are.
        dry_run: change nothing.
        lock_wait: how long a step tries to get a lock, in seconds.

    Raises:
        alembic.util.exc.CommandError: the database is not at head, or cannot be looked at; one sentence.
    """
    import_models(config)
    script, url = ScriptDirectory.from_config(config), database_url()
    engine = command_engine(url)
    event.listen(engine, "connect", runner.set_session_defaults)
    with EnvironmentContext(config, script, destination_rev="head"):
        try:
            runner.refuse_pooler(url, "DATABASE_URL")
            with engine.connect() as connection, runner.only_one(connection):
                version_table = runner.version_table()
                heads = MigrationContext.configure(
                    connection, opts={"version_table": version_table}
                ).get_current_heads()
                connection.rollback()
                if set(heads) != set(script.get_heads()):
                    at = ", ".join(heads) or "no revision"
                    raise CommandError(
                        f"The database is at {at}, and only the newest revision is repaired: "
                        "run alembic upgrade head first."
                    )
                opts = {
                    "schema_options": Options(lock_wait=lock_wait),
                    "script": script,
                    "version_table": version_table,
                }
                return repair(connection, declared(version_table), opts, dry_run=dry_run)
        except DBAPIError as error:
            raise CommandError(runner.sentence(error, url)) from error
        except RuntimeError as error:
            raise CommandError(str(error)) from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each difference that was put right, or was not; exit status 1 where one is left."""
    parser = ArgumentParser(prog="python -m app.tenancy.repair", description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="change nothing, print what would be done")
    parser.add_argument(
        "--lock-wait", type=float, default=Options.lock_wait, metavar="SECONDS", help="as of alembic -x lock-wait"
    )
    parser.add_argument(
        "-c", "--config", help="the configuration of Alembic; by default the alembic.ini of the project"
    )
    given = parser.parse_args(arguments)

    def work() -> int:
        config = Config(given.config, cmd_opts=Namespace(x=[], raiseerr=False)) if given.config else alembic_config()
        outcome = run(config, dry_run=given.dry_run, lock_wait=given.lock_wait)
        for drift in outcome.fixed:
            print(f"{'would fix' if given.dry_run else 'fixed'}: {drift}")
        for drift, what in outcome.left:
            print(shown(f"not fixed: {drift}; {what}"))
        if not outcome.fixed and not outcome.left:
            print("Nothing to repair.")
        return 1 if outcome.left else 0

    return exit_status(work)


if __name__ == "__main__":
    sys.exit(main())
