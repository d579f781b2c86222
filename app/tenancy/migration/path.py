"""The path of a command, revision by revision: everything that could stop it is asked before its first change."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from typing import Any

from alembic.runtime.migration import MigrationContext, RevisionStep

from app.tenancy.migration import ops, progress, version
from app.tenancy.migration.runner import RUNNER_LOCK, changes, compares, session_defaults, stamps
from app.tenancy.migration.steps import count, shown, together

Work = Callable[..., Iterable[RevisionStep]]
"""What a command does with the recorded revisions and the migration context: most often, to return its path."""

LOOKING = "Looking for what stands in the way"

HEADER = """DO $head$
DECLARE
    recorded text;
    attempts int := 20;
BEGIN
    -- Not waited for long: the other run's concurrent index builds would wait for this one's snapshot.
    WHILE NOT pg_try_advisory{scope}_lock({key}) LOOP
        attempts := attempts - 1;
        IF attempts = 0 THEN
            RAISE EXCEPTION 'another migration of this database is running: wait for it, then run this again';
        END IF;
        PERFORM pg_sleep(0.1);
    END LOOP;
    IF to_regclass('{table}') IS NOT NULL THEN
        SELECT string_agg(version_num, ', ' ORDER BY version_num) INTO recorded FROM {table};
    END IF;
    recorded := coalesce(recorded, 'base');
    IF recorded NOT IN ({known}) THEN
        RAISE EXCEPTION 'this script leads from revision {first} to {last}, but {table} says %: nothing was changed; bring the database to {first} first', {recorded};
    END IF;
END $head$;"""


def checks_first(work: Work) -> Work:
    """The work of an Alembic command, after everything that could stop any revision of it.

    A revision asks in `check_upgrade` and `check_downgrade`. With `-x dry-run=yes` that is all.
    """

    def checked(heads: Any, migrations: MigrationContext) -> Iterator[RevisionStep]:
        if not migrations.as_sql and not migrations.purge:  # Alembic itself knows no revision of somebody else's
            ops.refuse_planted()  # again: a version table that was missing is made by now
            version.refuse_untrue("own" if stamps() else "compare" if compares() else "look")
        path = list(work(heads, migrations))
        if migrations.as_sql:
            write_header(migrations, path)
        if changes():
            look = progress.running(LOOKING, migrations.connection, ends=False)
            with look if not migrations.as_sql else nullcontext():
                _refuse(migrations, path)
        if not migrations.opts["schema_options"].dry_run:
            for step in path:
                if not step.info.is_stamp:
                    progress.begin(*_move(step))
                yield step

    return checked


def _move(step: RevisionStep) -> tuple[str, int | None]:
    """What `progress.begin` is told of a revision: what is done, and in how many steps.

    To count them a revision is run as a script. Only one that says `steps_only = True` is: another may do more than
    write, such as ask the database or call a service.
    """
    verb = "Upgrading" if step.is_upgrade else "Downgrading"
    ends = (step.info.source_revision_ids, step.info.destination_revision_ids)
    title = f"{verb} {' -> '.join(', '.join(ids) or 'base' for ids in ends)}"
    steps_only = getattr(step.revision.module, "steps_only", False)
    return title, count(step.migration_fn) if steps_only else None


def _refuse(migrations: MigrationContext, path: list[RevisionStep]) -> None:
    """Everything that could stop the path."""
    if stamps():
        assert migrations.script is not None  # noqa: S101
        known = version.levels(migrations.script)
        targets = migrations.script.get_revisions(migrations.opts["destination_rev"])
        target = max((known[r.revision] for r in targets if r is not None), default=0)
        version.refuse_untrue("stamp", target, purge=migrations.purge)
        if target == 1:  # the tables are there; the revision also asks whether they fit
            migrations.script.get_revision(version.REVISIONS[0]).module.check_upgrade()
        for revision in targets:
            if revision is not None and known[revision.revision] == len(version.REVISIONS):
                version.refuse_undone(revision)
        return
    version.refuse_untrue("downgrade" if any(step.is_downgrade for step in path) else "upgrade")
    with together():
        for step in path:
            if check := getattr(step.revision.module, f"check_{step.name}", None):
                check()


def write_header(migrations: MigrationContext, path: list[RevisionStep]) -> None:
    """The head of a script: session defaults, one run at a time, and the revisions that it is for.

    For psql also: stop at the first error. In a single transaction nothing outlives that.
    """
    write = migrations.impl.static_output
    single = migrations.opts["schema_options"].single_transaction
    write("SET TRANSACTION ISOLATION LEVEL READ COMMITTED;")  # of the transaction that has begun: before any query
    if not single:
        write("\\set ON_ERROR_STOP on\n\\set AUTOCOMMIT on\n\\set SHOW_CONTEXT never\nSET client_encoding = 'UTF8';")
    write(f"{session_defaults(local=single)};")
    moves = [
        (step.info.source_revision_ids, step.info.destination_revision_ids) for step in path if not step.info.is_stamp
    ]
    revisions = [", ".join(ids) or "base" for move in moves for ids in move]
    known = ", ".join(f"'{revision}'" for revision in dict.fromkeys(revisions))
    if revisions:
        table, first, last = migrations.version_table, revisions[0], revisions[-1]
        scope = "_xact" if single else ""
        write(
            HEADER.format(
                table=table,
                recorded=shown("recorded"),
                scope=scope,
                key=RUNNER_LOCK,
                known=known,
                first=first,
                last=last,
            )
        )
