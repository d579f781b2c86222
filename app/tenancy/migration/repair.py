"""What puts drift right: for each object that the check names, the operation with which a revision makes it.

A definition is never written here a second time: it is the operation's own, or what PostgreSQL wrote down in the
scratch schema. What holds data, or may be meant by the team, is left to whoever runs it.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from app.tenancy.errors import reason
from app.tenancy.migration import access, distribution, ops
from app.tenancy.migration.catalogue import Catalogue
from app.tenancy.migration.drift import FUNCTIONS, Declared, Drift, Findings, find_drift
from app.tenancy.migration.scripts import script
from app.tenancy.migration.steps import ALWAYS, emit, emit_statements, literal, step, step_per_statement

ROUNDS = 4
"""One repair can bring the next to light: a role lets its policies be made, a key that is back can be validated."""

BY_HAND = {
    "type": "ALTER TABLE {table} ALTER COLUMN {column} TYPE {expected}, which can rewrite the table: in a quiet hour",
    "collation": "ALTER TABLE {table} ALTER COLUMN {column} TYPE ... COLLATE pg_catalog.{expected}, which builds its indexes "
    "anew: in a quiet hour",
    "persistence": "ALTER TABLE {table} SET LOGGED, which rewrites the table: in a quiet hour",
    "kind": "drop the column, write a revision that adds it, and restore its values",
    "definition": "write a revision (alembic revision --autogenerate) if the model is newer, or restore it from a backup",
}
"""What to do about an aspect that holds data."""

UNKNOWN = "nothing here repairs this: compare it with the model, and change the one that is wrong by hand"
"""What to do about an aspect that no operation repairs and that has no advice of its own."""


@dataclass
class Outcome:
    """What a repair did: the lines that it put right, and those that it did not, each with what to do about it."""

    fixed: list[Drift] = field(default_factory=list)
    left: list[tuple[Drift, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Repairs:
    """The operations that repair a database, found by the object and the aspect of a drift."""

    declared: Declared
    expected: Catalogue
    restrictive: dict[str, str]

    def of(self, drift: Drift) -> tuple[tuple[int, str], Callable[[], None]] | None:
        """Place in the order, by which what is the same is done once, and the operation; None where there is none."""
        table, aspect = drift.table, drift.aspect
        if drift.kind == "role" and drift.found is None:
            return (0, "roles"), create_roles
        if drift.fix:
            lock = table if drift.kind in {"policy", "table"} else None
            return (1, drift.fix), lambda: statement(str(drift), str(drift.fix), lock)
        if drift.by_hand or (drift.found is None and drift.kind in {"table", "column"}):
            return None
        if aspect == "owner":
            kind = drift.kind.upper()
            name = drift.object.split(maxsplit=1)[1]
            return (2, drift.object), lambda: statement(
                str(drift), f"ALTER {kind} {name} OWNER TO {drift.expected}", table if kind == "TABLE" else None
            )
        if drift.kind == "function" or table in FUNCTIONS:
            if drift.found is not None and aspect == "result":  # which cannot change; the next round makes it anew
                return (2, drift.object), lambda: statement(str(drift), f"DROP FUNCTION {table}", None)
            if table == FUNCTIONS[-1]:
                return (3, table), restore_is_colleague
            return (3, "functions"), restore_functions
        if drift.kind in {"policy", "privilege"} or aspect == "row level security":
            return (5, table), lambda: self.secure(table)
        if drift.kind == "trigger":
            return (6, drift.object), lambda: restore_trigger(table)
        if drift.kind == "table" and aspect == "comment":
            return (4, drift.object), lambda: comment(table, f"TABLE {table}", str(drift.expected))
        if drift.kind == "column":
            return self.of_column(drift)
        if drift.kind == "sequence":
            return (4, drift.object), lambda: plain_sequence(table, column_of(drift))
        if drift.kind in {"constraint", "primary"}:
            return (7, drift.object), lambda: self.restore_constraint(drift)
        if drift.kind == "index":
            return (8, drift.object), lambda: restore_index(drift, self.expected[drift.object, "definition"])
        return None

    def of_column(self, drift: Drift) -> tuple[tuple[int, str], Callable[[], None]] | None:
        """As `of`, for a column."""
        table, column, expected = drift.table, column_of(drift), str(drift.expected)
        place = (4, f"{drift.object} {drift.aspect}")
        alter = f"ALTER TABLE {table} ALTER COLUMN {column}"
        if drift.aspect == "comment":
            return place, lambda: comment(table, f"COLUMN {table}.{column}", expected)
        if drift.aspect == "default" and expected.startswith(("identity", "nextval(")):
            return place, lambda: number(table, column)
        if drift.aspect == "default":
            change = "DROP DEFAULT" if expected == "none" else f"SET DEFAULT {expected}"
            return place, lambda: statement(str(drift), f"{alter} {change}", table)
        if drift.aspect == "nullability":
            if expected == "NULL":
                return place, lambda: statement(str(drift), f"{alter} DROP NOT NULL", table)
            return place, lambda: set_not_null(table, column)
        if drift.aspect == "type" and is_wider(expected, str(drift.found)):
            return place, lambda: statement(str(drift), f"{alter} TYPE {expected}", table)
        return None

    def secure(self, table: str) -> None:
        """Row level security, policies and privileges of a table, all in one transaction."""
        with step(f"{table}: row level security, policies, privileges", done=ALWAYS, lock=table):
            emit_statements(take_all(table))
            emit_statements(access.take_from_former_roles(table))
            if table == self.declared.version_table:
                emit(f"DROP POLICY IF EXISTS app_service ON {table}")
                ops.close_version_table()
            elif table == self.declared.memory:
                ops.close_table(table)
                emit(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
            elif (tenancy := self.declared.metadata.tables[table].info.get("tenancy")) is not None:
                ops.disable_tenancy(table)
                if table in self.declared.adopted:
                    ops.confine_former_roles(table, self.declared.business, restrictive=self.restrictive[table])
                ops.create_tenant_policies(table, **{k: v for k, v in tenancy.items() if k == "using"})
                ops.grant_tenancy(table, **{k: v for k, v in tenancy.items() if k == "grant"})
            else:
                emit(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
            emit(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
            emit_statements(
                f"SELECT pg_catalog.format('GRANT ALL ON %s %s TO %s', kind, oid::regclass, relowner::regrole) FROM ({with_sequences(table)}) AS o WHERE relacl IS NOT NULL"
            )

    def restore_constraint(self, drift: Drift) -> None:
        """Make a key or a CHECK as declared: added NOT VALID and then validated, or over an index built concurrently."""
        table = drift.table
        definition = self.expected[drift.object, "definition"]
        name = f"{table}_pkey" if drift.kind == "primary" else drift.object.split(" ")[1]
        if drift.aspect == "state" and drift.found == "not valid":
            ops.validate_constraint(table, name)
            return
        if definition.startswith(("UNIQUE (", "PRIMARY KEY (")):
            kind, columns = definition.removesuffix(")").split(" (", 1)
            restore_unique(table, name, kind, columns)
            return
        with step(f"constraint {name}", done=ALWAYS, lock=table):
            emit(f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {name}")
            emit(f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition} NOT VALID")
        ops.validate_constraint(table, name)


def repair(connection: Connection, declared: Declared, opts: dict[str, object], *, dry_run: bool) -> Outcome:
    """Put right what can be, in as many rounds as it takes, and say what is left.

    Args:
        connection: in no transaction; every repair is committed by itself.
        declared: what the models declare.
        opts: what the steps find in the migration context: `schema_options` and `script`.
        dry_run: change nothing, and say what would be done.
    """
    outcome, seen, failed = Outcome(), dict[Drift, None](), dict[Drift, str]()
    for round_ in range(ROUNDS + 1):
        findings = look(connection, declared)
        seen |= dict.fromkeys(findings.drifts)
        repairs = Repairs(declared, findings.expected, findings.restrictive)
        plan: dict[tuple[int, str], tuple[Callable[[], None], list[Drift]]] = {}
        for drift in findings.drifts:
            found = repairs.of(drift) if drift not in failed else None
            if found is not None:
                plan.setdefault(found[0], (found[1], []))[1].append(drift)
        if dry_run:
            outcome.fixed = [drift for _, drifts in plan.values() for drift in drifts]
            outcome.left = [(d, by_hand(d)) for d in findings.drifts if d not in outcome.fixed]
            return outcome
        if not plan or round_ == ROUNDS:
            break
        failed |= dict(carry_out(connection, opts, plan))
    outcome.fixed = [drift for drift in seen if drift not in findings.drifts]
    outcome.left = [(drift, failed.get(drift) or by_hand(drift)) for drift in findings.drifts]
    return outcome


def look(connection: Connection, declared: Declared) -> Findings:
    """What the check finds, in a transaction that leaves nothing."""
    try:
        return find_drift(connection, declared)
    finally:
        connection.rollback()


def carry_out(
    connection: Connection, opts: dict[str, object], plan: dict[tuple[int, str], tuple[Callable[[], None], list[Drift]]]
) -> Iterator[tuple[Drift, str]]:
    """Run the operations in their order, each by itself; yields what one of them could not put right, and why."""
    level = connection.get_isolation_level()
    connection.rollback()
    connection.execution_options(isolation_level="AUTOCOMMIT")
    context = MigrationContext.configure(connection, opts=opts)
    try:
        with Operations.context(context):
            for _, (operation, drifts) in sorted(plan.items(), key=lambda item: item[0]):
                try:
                    operation()
                except DBAPIError as error:
                    if error.connection_invalidated:
                        raise
                    yield from ((drift, reason(error)) for drift in drifts)
                except RuntimeError as error:
                    yield from ((drift, str(error)) for drift in drifts)
    finally:
        if not connection.invalidated:
            connection.rollback()
            connection.execution_options(isolation_level=level)


def by_hand(drift: Drift) -> str:
    """What to do about a drift that repair leaves alone."""
    said = drift.by_hand or BY_HAND.get(drift.aspect, UNKNOWN)
    return (
        said.format(table=drift.table, column=column_of(drift), expected=drift.expected) if not drift.by_hand else said
    )


def column_of(drift: Drift) -> str:
    """The column that it is about, as SQL names it: all of ours but one need no quotes."""
    return f'"{drift.object.rsplit(".", 1)[-1]}"'


def is_wider(expected: str, found: str) -> bool:
    """Whether a change from `found` to `expected` is one of the catalogue only: a longer varchar, or text for one."""
    limit = re.fullmatch(r"character varying\((\d+)\)", found)
    wanted = re.fullmatch(r"character varying\((\d+)\)", expected)
    return limit is not None and (expected == "text" or (wanted is not None and int(wanted[1]) > int(limit[1])))


def statement(title: str, sql: str, lock: str | None) -> None:
    """One statement as a step."""
    with step(title, done=ALWAYS, lock=lock):
        emit(sql)


def comment(table: str, what: str, text: str) -> None:
    """The comment of a table or a column. Locks: SHARE UPDATE EXCLUSIVE, milliseconds."""
    statement(f"comment on {what}", f"COMMENT ON {what} IS {'NULL' if text == 'none' else literal(text)}", table)


def create_roles() -> None:
    """The two roles, of which the role that runs it becomes a member, as in the upgrade."""
    with step("roles app_tenant and app_service", done=ALWAYS):
        emit(script("001_roles.sql"))
        emit_statements(script("001_grant_roles.sql"))


def restore_functions() -> None:
    """Both functions with their privileges."""
    with step("functions", done=ALWAYS):
        ops.create_functions()


def restore_is_colleague() -> None:
    """The function of the form that Citus takes, with its privileges."""
    with step(f"function {FUNCTIONS[-1]}", done=ALWAYS):
        distribution.create_is_colleague()


def restore_trigger(table: str) -> None:
    """The updated_at trigger, made anew and enabled."""
    with step(f"trigger set_updated_at on {table}", done=ALWAYS, lock=table):
        ops.drop_updated_at_trigger(table)
        ops.create_updated_at_trigger(table)


def set_not_null(table: str, column: str) -> None:
    """NOT NULL, and validated where PostgreSQL 18 holds it as NOT VALID."""
    name = column.strip('"')
    step_per_statement(
        f"validate NOT NULL of {table}.{name}",
        f"SELECT pg_catalog.format('ALTER TABLE {table} VALIDATE CONSTRAINT %I', conname) FROM pg_constraint "
        f"JOIN pg_attribute ON attrelid = conrelid AND conkey = ARRAY[attnum] WHERE conrelid = to_regclass({literal(table)}) "
        f"AND contype = 'n' AND NOT convalidated AND attname = {literal(name)}",
        table=table,
    )
    ops.set_not_null(table, name)


def number(table: str, column: str) -> None:
    """Number a column again: by the sequence that it owns, or as an identity, above what it holds."""
    owned = f"pg_get_serial_sequence({literal(table)}, {literal(column.strip(chr(34)))})"
    with step(f"numbers of {table}.{column}", done=ALWAYS, lock=table):
        emit_statements(
            f"SELECT CASE WHEN {owned} IS NULL THEN 'ALTER TABLE {table} ALTER COLUMN {column} ADD GENERATED BY DEFAULT AS IDENTITY' "
            f"ELSE pg_catalog.format('ALTER TABLE {table} ALTER COLUMN {column} SET DEFAULT nextval(%L)', {owned}) END"
        )
        emit_statements(
            f"SELECT pg_catalog.format('SELECT setval(%L, greatest(nextval(%1$L), (SELECT max({column}) + 1 FROM {table})), false)', {owned})"
        )


def plain_sequence(table: str, column: str) -> None:
    """The sequence of a column counts by one, to the end of its type, and does not begin again."""
    of_column = (
        f"SELECT numbers.oid FROM ({access.sequences(table)}) AS numbers (oid) "
        f"UNION SELECT to_regclass(pg_get_serial_sequence({literal(table)}, {literal(column.strip(chr(34)))}))"
    )
    with step(f"sequence of {table}.{column}", done=ALWAYS, lock=table):
        emit_statements(
            f"SELECT pg_catalog.format('ALTER SEQUENCE %s INCREMENT 1 NO CYCLE NO MAXVALUE', oid::regclass) FROM ({of_column}) AS o WHERE oid IS NOT NULL"
        )


def restore_unique(table: str, name: str, kind: str, columns: str) -> None:
    """A unique constraint or primary key, over an index that is built beside the old one and then takes its place."""
    fresh = f"{name}_new"
    ops.create_index_concurrently(table, fresh, f"({columns})", unique=True)
    with step(f"constraint {name}", done=ALWAYS, lock=table):
        old = f"conrelid = to_regclass({literal(table)}) AND (conname = {literal(name)} OR contype = 'p' AND {literal(kind)} = 'PRIMARY KEY')"
        emit_statements(
            f"SELECT pg_catalog.format('ALTER TABLE {table} DROP CONSTRAINT %I', conname) FROM pg_constraint WHERE {old}"
        )
        emit(f"ALTER TABLE {table} ADD CONSTRAINT {name} {kind} USING INDEX {fresh}")


def restore_index(drift: Drift, definition: str) -> None:
    """An index as declared; one that is there otherwise goes when its successor is built."""
    name, table = drift.object.split(" ")[1], drift.table
    if drift.found is None or drift.aspect == "state":
        ops.build_indexes(table, f"index {name}", f"SELECT {literal(definition)}")
        return
    fresh = f"{name}_new"
    built = definition.replace(f" INDEX {name} ON ", f" INDEX {fresh} ON ", 1)
    ops.build_indexes(table, f"index {name}", f"SELECT {literal(built)}")
    with step(f"index {name} takes its place", done=ALWAYS, lock=table):
        emit(f"DROP INDEX {name}")
        emit(f"ALTER INDEX {fresh} RENAME TO {name}")


def with_sequences(table: str) -> str:
    """SQL query (kind, oid, relowner, acl): the table and the sequences of its columns."""
    numbers = (
        f"{access.sequences(table)} UNION SELECT objid FROM pg_depend WHERE classid = 'pg_class'::regclass "
        f"AND refobjid = to_regclass({literal(table)}) AND deptype IN ('a', 'i')"
    )
    return (
        "SELECT CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind, oid, relowner, relacl FROM pg_class "
        f"WHERE oid = to_regclass({literal(table)}) OR relkind = 'S' AND oid IN ({numbers})"
    )


def take_all(table: str) -> str:
    """SQL query of statements: everything that the two roles, PUBLIC, anon and authenticated hold on the table."""
    watched = access.listed(("PUBLIC", *access.WATCHED))
    return (
        "SELECT DISTINCT pg_catalog.format('REVOKE ALL ON %s %s FROM %s CASCADE', kind, o.oid::regclass, "
        f"{access.GRANTEE}) FROM ({with_sequences(table)}) AS o "
        "CROSS JOIN LATERAL (SELECT grantee FROM aclexplode(relacl) UNION SELECT grantee FROM pg_attribute "
        "CROSS JOIN aclexplode(attacl) WHERE attrelid = o.oid) AS held LEFT JOIN pg_roles AS r ON r.oid = grantee "
        f"WHERE CASE grantee WHEN 0 THEN 'PUBLIC' ELSE rolname::text END IN ({watched})"
    )
