"""Whether the recorded revision is true, whose it is, and which `alembic stamp` puts it right.

The version table carries a mark, a CHECK that only this schema gives it: a `001` without it is another Alembic's.
"""

from collections.abc import Iterable
from typing import Any

from alembic.script import Script, ScriptDirectory

from alembic import op
from app.tenancy.migration import ops
from app.tenancy.migration.state import (
    FINISH_WITH,
    HERE,
    MULTI,
    NEW_TABLES,
    OLD_TABLES,
    ROLLING_BACK,
    SINGLE,
    STATE,
    UPGRADING,
)
from app.tenancy.migration.steps import conditions, emit, emit_statements, literal, refuse, shown

REVISIONS = ("000", "001")
"""The revisions that a database is asked about. How many of them a revision builds on is its level."""

MARK = "whatsapp_bot_schema"
"""Name of the CHECK that marks the version table as one of this schema."""

UPGRADE_INTERRUPTED = f"an upgrade of this database was interrupted: {FINISH_WITH[UPGRADING]}, then roll back"
ROLLBACK_INTERRUPTED = f"a rollback of this database was interrupted: {FINISH_WITH[ROLLING_BACK]}, then upgrade"
WIDENING_INTERRUPTED = (
    "the widening of %s was interrupted: finish it with the revision that began it, for the ids alembic -n scale "
    "upgrade bigint, then run this again"
)
ANOTHERS = (
    "{table} holds %s, which this schema did not record: if another Alembic did, set version_table = "
    "alembic_version_whatsapp in alembic.ini (docs/own-alembic.md); if none did, run alembic stamp --purge %s"
)
UNKNOWN = (
    "{table} holds %s, which is no revision of this history: run the code that has it, or name the folder that has "
    "it in version_locations of alembic.ini"
)
LOST = "the database is not at %s, for it has no table %s: restore it from a backup"
HAND_MADE = (
    "the database is not at %s, for its tables have no triggers, policies and privileges, as after create_all: "
    "run python -m app.tenancy.repair"
)
ELSEWHERE = "{table} says %s, but the database is at %s: run alembic stamp %2$s, then the same command again"
UNDONE = (
    "nothing was stamped, for a step of {revision} was not carried out here: run alembic upgrade {revision}, which "
    "carries out what is missing"
)
NOT_THERE = "nothing was stamped, for the database is not at %s: run alembic stamp %s"

WIDENING = f"""SELECT string_agg(relname || '.' || substr(tgname, length(relname) + 8), ', ' ORDER BY relname, tgname)
                          FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid
                         WHERE tgrelid IN ({", ".join(f"to_regclass('{table}')" for table in OLD_TABLES)})
                           AND starts_with(tgname, 'widen_' || relname || '_')"""
"""SQL query of the columns beside which a wide one was begun (`migration.widen`), in one text, or NULL."""


def levels(script: ScriptDirectory) -> dict[str, int]:
    """The level of every revision of the history, 0 for one that does not build on this schema."""
    found = {}
    for revision in script.walk_revisions():
        lineage = {r.revision for r in script.iterate_revisions(revision.revision, "base")}
        found[str(revision.revision)] = sum(ours in lineage for ours in REVISIONS)
    return found


def untrue(script: ScriptDirectory, table: str, recorded: str, move: str = "look", target: int = 0) -> str:
    """SQL expression: a sentence about what is wrong with the recorded revisions, NULL where nothing is.

    Args:
        script: the history.
        table: the version table.
        recorded: SQL expression of type text[], the recorded revisions.
        move: what is about to happen: "upgrade", "downgrade" or "stamp"; "look"; "compare" of models and database,
            which finds lost objects itself; "own", to ask only whose the recorded revisions are.
        target: the level that is stamped.
    """
    known = levels(script)
    if not any(known.values()):
        return "NULL"  # a history beside this one, in a version table of its own

    def says(sentence: str, *values: str) -> str:
        return f"format({literal(sentence.format(table=table))}, {', '.join(values)})"

    levels_of = ", ".join(f"({literal(revision)}, {level})" for revision, level in known.items())
    # What is lost is asked of the level that is, or is to be, recorded.
    level, name = (str(target), literal(("base", *REVISIONS)[target])) if move == "stamp" else ("level", "says")
    whose = f"""
    WHEN NOT marked AND (level > 0 OR unknown IS NOT NULL) THEN {says(ANOTHERS, "says", "at")}
    WHEN unknown IS NOT NULL THEN {says(UNKNOWN, "unknown")}"""
    lost = f"""
    WHEN {level} > 0 AND old_lost IS NOT NULL AND at <> 'base' THEN {says(LOST, name, "old_lost")}
    WHEN {level} = 2 AND state IN ('{MULTI}', '{UPGRADING}') AND new_lost IS NOT NULL
    THEN {says(LOST, name, "new_lost")}
    WHEN {level} = 2 AND state = '{SINGLE}' AND new_lost IS NULL AND extended THEN {says(HAND_MADE, name)}"""
    true = f"""
    WHEN NOT CASE state WHEN '{SINGLE}' THEN level = 0 OR level = 1 AND at = '000'
                        WHEN '{ROLLING_BACK}' THEN level = 2 ELSE level > 0 END THEN {says(ELSEWHERE, "says", "at")}"""
    widening = f"""
    WHEN widening IS NOT NULL THEN {says(WIDENING_INTERRUPTED, "widening")}"""
    asked = {
        "own": "",
        "look": lost + true,
        "compare": true,
        "stamp": f"""{lost}
    WHEN at <> {name} AND NOT ({target} = 0 AND state = '{SINGLE}') THEN {says(NOT_THERE, name, "at")}""",
        "upgrade": f"""{lost}{true}{widening}
    WHEN state = '{ROLLING_BACK}' THEN {literal(ROLLBACK_INTERRUPTED)}""",
        "downgrade": f"""{lost}{true}{widening}
    WHEN level = 1 AND state IN ('{MULTI}', '{UPGRADING}') THEN {literal(UPGRADE_INTERRUPTED)}""",
    }
    return f"""(SELECT CASE{whose}{asked[move]}
END
  FROM (SELECT *, CASE WHEN state IN ('{MULTI}', '{ROLLING_BACK}') THEN '001'
                       WHEN state = '{UPGRADING}' OR has_old THEN '000' ELSE 'base' END AS at
          FROM (SELECT {STATE} AS state,
                       coalesce(nullif(array_to_string({recorded}, ', '), ''), 'nothing') AS says,
                       coalesce((SELECT max(n) FROM (VALUES {levels_of}) AS known (id, n) WHERE id = ANY ({recorded})), 0) AS level,
                       (SELECT string_agg(id, ', ') FROM unnest({recorded}) AS id
                         WHERE id NOT IN ({", ".join(map(literal, known))})) AS unknown,
                       {ops.has_constraint(table, MARK)} AS marked,
                       {" OR ".join(map(ops.has_table, OLD_TABLES))} AS has_old,
                       {ops.has_column(OLD_TABLES[0], "business_id")} AS extended,
                       ({WIDENING}) AS widening,
                       ({_lost(OLD_TABLES)}) AS old_lost,
                       ({_lost(NEW_TABLES)}) AS new_lost) AS asked) AS found)"""


def _lost(tables: Iterable[str]) -> str:
    names = f"unnest('{{{','.join(tables)}}}'::text[]) AS name"
    return f"SELECT string_agg(name, ', ') FROM {names} WHERE to_regclass({HERE} || '.' || name) IS NULL"


def refuse_untrue(move: str, target: int = 0, *, purge: bool = False) -> None:
    """Stop with one sentence where the recorded revision is not true, or what is about to happen does not fit it.

    Args:
        move: as of `untrue`.
        target: the level that is stamped.
        purge: `alembic stamp --purge`: what is recorded does not matter.
    """
    context = op.get_context()
    assert context.script is not None  # noqa: S101
    table = context.version_table
    if (sentence := untrue(context.script, table, "heads", move, target)) == "NULL":
        return
    emit(f"""DO $version$
DECLARE
    heads text[] := '{{}}';
    refusal text;
BEGIN
    IF {str(not purge).lower()} AND to_regclass({literal(table)}) IS NOT NULL THEN
        SELECT coalesce(array_agg(version_num ORDER BY version_num), heads) INTO heads FROM {table};
    END IF;
    refusal := {sentence};
    IF refusal IS NOT NULL THEN
        RAISE EXCEPTION '%', {shown("refusal")};
    END IF;
END $version$""")


def refuse_undone(revision: Script) -> None:
    """Stop a stamp of a revision after ours where a step of it was not carried out.

    Only one that is made of steps alone (`steps_only`) can be asked.
    """
    if revision.revision in REVISIONS or not getattr(revision.module, "steps_only", False):
        return
    sentence = literal(UNDONE.format(revision=revision.revision))
    done = " AND ".join(f"({condition})" for condition in conditions(revision.module.upgrade))
    refuse(f"CASE WHEN NOT ({done or 'true'}) THEN {sentence} END")


def keep_mark(*, ctx: Any, step: Any, heads: set[str], run_args: object) -> None:
    """For Alembic's on_version_apply, in the transaction that records: mark the version table while it holds ours.

    A stamp also closes it where revision 001 has.
    """
    known = levels(ctx.script)
    if not any(known.values()) or not (step.is_stamp or REVISIONS[0] in step.up_revision_ids):
        return
    level = max((known.get(head, 0) for head in heads), default=0)
    mark() if level else unmark()
    if step.is_stamp and level == len(REVISIONS):
        ops.close_version_table()


def mark() -> None:
    """Mark the version table as one that holds this schema's revisions."""
    table = op.get_context().version_table
    change = f"ALTER TABLE {table} ADD CONSTRAINT {MARK} CHECK (version_num IS NOT NULL)"
    emit_statements(f"SELECT {literal(change)} WHERE NOT {ops.has_constraint(table, MARK)}")


def unmark() -> None:
    """Take `mark` back."""
    table = op.get_context().version_table
    emit_statements(f"SELECT 'ALTER TABLE {table} DROP CONSTRAINT {MARK}' WHERE {ops.has_constraint(table, MARK)}")
