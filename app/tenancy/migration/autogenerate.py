"""What `alembic revision --autogenerate` adds to Alembic: mixins become operations, and all of it takes safe forms.

A new table is made in one step. On a table that exists, catalogue changes go into a step, indexes are built
concurrently, and foreign keys and CHECKs are added NOT VALID, then validated.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from inspect import signature
from pathlib import Path
from typing import Any, Literal

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.autogenerate.render import _repr_type, render_op_text
from alembic.operations import ops as alembic_ops
from alembic.runtime.migration import MigrationContext
from alembic.util import PriorityDispatchResult
from sqlalchemy import Column, Enum, Table, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, Index
from sqlalchemy.types import TypeDecorator

from app.tenancy.migration import distribution, ops
from app.tenancy.migration.names import ident

INVERSE = {"enable_tenancy": "disable_tenancy", "create_updated_at_trigger": "drop_updated_at_trigger"}
INVERSE |= {v: k for k, v in INVERSE.items()}
DONE = {"enable_tenancy": ops.has_policy, "create_updated_at_trigger": ops.has_trigger}
"""By operation, the condition that a revision asks for it; it is not met once the inverse was carried out."""


class SchemaOp(alembic_ops.MigrateOperation):
    """A call of a function of `app.tenancy.migration.ops`; its inverse is looked up in INVERSE."""

    def __init__(self, name: str, table: str, *arguments: str, **options: Any) -> None:
        self.name, self.table_name, self.arguments, self.options = name, table, arguments, options

    def reverse(self) -> "SchemaOp":
        return SchemaOp(INVERSE[self.name], self.table_name, *self.arguments, **self.options)

    def to_diff_tuple(self) -> tuple[str, str]:
        return self.name, self.table_name


class Block(alembic_ops.MigrateOperation):
    """A `with` statement around operations."""

    def __init__(self, header: str, body: Sequence[alembic_ops.MigrateOperation]) -> None:
        self.header, self.ops = header, body


@renderers.dispatch_for(SchemaOp)
def _render_schema_op(_: AutogenContext | None, op: SchemaOp) -> str:
    parameters = signature(getattr(ops, op.name)).parameters
    options = {k: v for k, v in op.options.items() if k in parameters and v != parameters[k].default}
    positional = [k for k, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    values = [op.table_name, *op.arguments][: len(positional)]
    return f"ops.{op.name}({', '.join([*map(repr, values), *(f'{k}={v!r}' for k, v in options.items())])})"


@renderers.dispatch_for(Block)
def _render_block(context: AutogenContext, block: Block) -> str:
    lines = "\n".join(render_op_text(context, op) for op in block.ops).splitlines()
    return "\n    ".join([block.header, *lines])


def compare_mixins(
    context: AutogenContext,
    modify: alembic_ops.ModifyTableOps,
    schema: str | None,
    name: str,
    found: Table | None,
    declared: Table | None,
) -> PriorityDispatchResult:
    """The comparator of a table: trigger and tenancy that its mixins declare, against those it has.

    A table of another metadata, as of a team that names both in `target_metadata`, is none of ours.
    """
    compared = context.migration_context.opts.get("declared")
    is_ours = declared is not None and (compared is None or declared.metadata is compared.metadata)
    if is_ours and declared is not None and context.connection is not None:
        if (quoted := ident(name)) != name:
            raise ValueError(
                f"The table name {quoted} needs quotes in SQL: give the model a __tablename__ that needs none."
            )
        if enums := [c.name for c in declared.c if isinstance(c.type, Enum) and c.type.native_enum]:
            raise ValueError(
                f"The enum {name}.{enums[0]} would be a type of its own: use Enum(..., native_enum=False), or String."
            )
        there = context.connection.execute(_THERE, {"table": name}).one()
        tenancy = declared.info.get("tenancy")
        wanted = {
            "create_updated_at_trigger": (declared.info.get("timestamped", False), there.trigger, {}),
            "enable_tenancy": (tenancy is not None, there.policy, tenancy or {}),
        }
        for operation, (is_wanted, is_there, options) in wanted.items():
            if is_wanted and not is_there:
                modify.ops.append(SchemaOp(operation, name, **options))
            elif is_there and not is_wanted:
                modify.ops.insert(0, SchemaOp(INVERSE[operation], name))
    return PriorityDispatchResult.CONTINUE


_THERE = text(
    "SELECT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = to_regclass(:table) "
    "AND tgname = 'set_updated_at') AS trigger, EXISTS (SELECT FROM pg_policy WHERE polrelid = to_regclass(:table) AND polname = 'app_tenant') AS policy"
)


def make_safe(context: MigrationContext, revision: object, directives: list[alembic_ops.MigrationScript]) -> None:
    """For `process_revision_directives`: put the operations into steps that do not make the bot wait.

    Raises:
        ValueError: `alembic revision --autogenerate` found nothing to write, or the template has no place for checks.
    """
    asked = getattr(context.config and context.config.cmd_opts, "autogenerate", False)
    scaled = context.connection is not None and bool(
        context.connection.exec_driver_sql(f"SELECT {distribution.SCALED}").scalar()
    )
    for script in directives:
        for side in (script.upgrade_ops, script.downgrade_ops) if scaled else ():
            _leave_the_form(side)
        if asked and script.upgrade_ops is not None and script.upgrade_ops.is_empty():
            raise ValueError(
                "No difference found between models and database that a revision can write: is the model imported in "
                "app/models/__init__.py? What was changed by hand alembic check names."
            )
        for name, side in (("check_upgrade", script.upgrade_ops), ("check_downgrade", script.downgrade_ops)):
            if side is not None and side.ops:
                flat = list(_flat(side.ops))
                _write_check(context, name, [_refusal(o) for o in flat if isinstance(o, DROPS)])
                side.ops = [Block("with outside_transaction():", list(_steps(list(_with_grants(context, flat)))))]


DROPS = (alembic_ops.DropTableOp, alembic_ops.DropColumnOp)
"""What would delete rows or values."""


def _refusal(drop: alembic_ops.DropTableOp | alembic_ops.DropColumnOp) -> SchemaOp:
    """What stops a revision before it deletes something."""
    if isinstance(drop, alembic_ops.DropColumnOp):
        return SchemaOp("refuse_values", drop.table_name, drop.column_name)
    return SchemaOp("refuse_rows", drop.table_name)


def _write_check(context: MigrationContext, name: str, refusals: list[SchemaOp]) -> None:
    """Hand the template the body of `check_upgrade` or `check_downgrade`: nothing that is to be dropped holds data."""
    script = context.script
    template = (Path(script.dir) / "script.py.mako").read_text("utf-8") if refusals and script is not None else ""
    if template and script is not None and f"def {name}" not in template:
        raise ValueError(
            f"The template script.py.mako in {script.dir} writes no {name}(), which keeps the rows of "
            f"{refusals[0].table_name}: put this schema's alembic/script.py.mako in its place."
        )
    calls = [_render_schema_op(None, refusal) for refusal in refusals]
    context.opts["template_args"][name] = "\n    ".join(calls)


def _leave_the_form(side: alembic_ops.UpgradeOps | alembic_ops.DowngradeOps | None) -> None:
    """Take out what would turn the form that Citus takes back into that of the models."""
    for operation in list(side.ops) if side is not None else []:
        if isinstance(operation, alembic_ops.ModifyTableOps):
            operation.ops[:] = [
                o
                for o in operation.ops
                if not {getattr(o, "constraint_name", None), getattr(o, "index_name", None)}
                & {*distribution.DIFFERENCES}
            ]
            if not operation.ops and side is not None:
                side.ops.remove(operation)


def render_item(kind: str, item: object, context: AutogenContext) -> str | Literal[False]:
    """A type of the models as what it is in the database: a revision does not import it."""
    return _repr_type(item.impl_instance, context) if isinstance(item, TypeDecorator) else False


def _with_grants(context: MigrationContext, operations: list[Any]) -> Iterator[Any]:
    """The operations, with the privileges of what they make: a new table has none, a new column its tenant's."""
    enabled = {o.table_name for o in operations if getattr(o, "name", "") == "enable_tenancy"}
    targets = context.opts.get("target_metadata") or ()
    tables = {
        name: table
        for m in (targets if isinstance(targets, Sequence) else [targets])
        for name, table in m.tables.items()
    }
    columns: dict[str, dict[str, str]] = {}
    for operation in operations:
        yield operation
        if isinstance(operation, alembic_ops.CreateTableOp) and operation.table_name not in enabled:
            yield SchemaOp("close_table", operation.table_name)
        if isinstance(operation, alembic_ops.AddColumnOp) and operation.table_name not in enabled:
            declared = tables.get(operation.table_name)
            if declared is not None and (tenancy := declared.info.get("tenancy")) is not None:
                columns[operation.table_name] = tenancy
    yield from (SchemaOp("grant_tenancy", table, **tenancy) for table, tenancy in columns.items())


def _flat(operations: Iterable[alembic_ops.MigrateOperation]) -> Iterator[Any]:
    for operation in operations:
        yield from operation.ops if isinstance(operation, alembic_ops.ModifyTableOps) else [operation]


def _steps(operations: list[Any]) -> Iterator[alembic_ops.MigrateOperation]:
    """Tables as a whole first or last, as Alembic ordered them; changes of tables that exist in between."""
    created = [o.table_name for o in operations if isinstance(o, alembic_ops.CreateTableOp)]
    dropped = [o.table_name for o in operations if isinstance(o, alembic_ops.DropTableOp)]
    by_table: dict[str, list[Any]] = {}
    for operation in operations:
        table = getattr(operation, "table_name", None) or getattr(operation, "source_table", None)
        by_table.setdefault(str(table), []).append(operation)
    for table, group in by_table.items():
        if table in created:
            group[0].info = {}  # what the mixins said is in the operations
            yield Block(f"with step({f'table {table}'!r}, done=has_table({table!r})):", group)
        elif table in dropped:
            # Asked again under the lock: rows that came after the check are kept, too.
            drops = [o for o in group if isinstance(o, alembic_ops.DropTableOp)]
            gone = [_lock(table), *map(_refusal, drops), *drops]
            yield Block(f'with step({f"drop table {table}"!r}, done=f"NOT {{has_table({table!r})}}"):', gone)
        else:
            yield from _change(table, group)


def _lock(table: str) -> alembic_ops.ExecuteSQLOp:
    return alembic_ops.ExecuteSQLOp(f"LOCK TABLE {table}")


def _change(table: str, group: list[Any]) -> Iterator[alembic_ops.MigrateOperation]:
    """An existing table: what is only catalogue in one step, the rest concurrently around it."""
    slow: list[alembic_ops.MigrateOperation] = []
    quick: list[alembic_ops.MigrateOperation] = []
    for operation in group:
        if isinstance(operation, alembic_ops.CreateIndexOp):
            slow.append(_concurrent_index(operation.to_index(), table))
        elif isinstance(operation, alembic_ops.DropIndexOp):
            yield SchemaOp("drop_index_concurrently", table, str(operation.index_name))
        elif isinstance(operation, alembic_ops.CreateUniqueConstraintOp):
            columns = ", ".join(ident(str(column)) for column in operation.columns)
            slow.append(SchemaOp("create_unique_concurrently", table, str(operation.constraint_name), columns))
        elif isinstance(operation, alembic_ops.CreateForeignKeyOp | alembic_ops.CreateCheckConstraintOp):
            operation.kw["postgresql_not_valid"] = True
            quick.append(operation)
            slow.append(SchemaOp("validate_constraint", table, str(operation.constraint_name)))
        elif isinstance(operation, alembic_ops.AlterColumnOp) and operation.modify_nullable is False:
            slow.append(SchemaOp("set_not_null", table, operation.column_name))
            operation.modify_nullable = None
            quick += [operation] if operation.has_changes() else []
        else:
            quick.append(operation)
    if any(getattr(operation, "modify_type", None) is not None for operation in quick):
        slow.insert(0, SchemaOp("gather_statistics", table))
    if drops := [operation for operation in quick if isinstance(operation, alembic_ops.DropColumnOp)]:
        # Asked again under the lock, and after `lock`: values that came after the check are kept, too.
        quick[:0] = [_lock(table), *map(_refusal, drops)]
    if quick:
        yield Block(f"with step({f'change {table}'!r}, done={_done(table, quick)}, lock={table!r}):", quick)
    yield from slow


def _done(table: str, group: list[Any]) -> str:
    """Python source of the condition that tells whether a step was carried out.

    The step is one transaction, so only its first operation is asked for. A constraint that is replaced tells nothing.
    """
    constraints = Counter(getattr(operation, "constraint_name", None) for operation in group)
    for operation in group:
        if constraints[getattr(operation, "constraint_name", "")] > 1:
            continue
        name = getattr(operation, "name", "")
        if isinstance(operation, alembic_ops.AddColumnOp):
            return f"has_column({table!r}, {operation.column.name!r})"
        if isinstance(operation, alembic_ops.DropColumnOp):
            return f'f"NOT {{has_column({table!r}, {operation.column_name!r})}}"'
        if isinstance(operation, alembic_ops.CreateForeignKeyOp | alembic_ops.CreateCheckConstraintOp):
            return f"ops.has_constraint({table!r}, {operation.constraint_name!r})"
        if isinstance(operation, alembic_ops.DropConstraintOp):
            return f'f"NOT {{ops.has_constraint({table!r}, {operation.constraint_name!r})}}"'
        if name in DONE:
            return f"ops.{DONE[name].__name__}({table!r})"
        if name in INVERSE:
            return f'f"NOT {{ops.{DONE[INVERSE[name]].__name__}({table!r})}}"'
    return "ALWAYS"


def _concurrent_index(index: Index, table: str) -> SchemaOp:
    """`op.create_index` in the form that nobody waits for."""
    for column in index.dialect_kwargs.get("postgresql_include") or ():
        if index.table is not None and column not in index.table.c:  # Alembic names the keys only
            index.table.append_column(Column(column))
    dialect = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]
    definition = str(CreateIndex(index).compile(dialect=dialect))
    head = f"CREATE {'UNIQUE ' if index.unique else ''}INDEX {ident(str(index.name))} ON {table} "
    rest = definition.removeprefix(head)
    return SchemaOp(
        "create_index_concurrently", table, str(index.name), rest, **({"unique": True} if index.unique else {})
    )
