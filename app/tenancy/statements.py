"""What a statement is: SQL that a person wrote as text or only what SQLAlchemy wrote from its constructs, and whether it writes."""

import re
from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy.engine.interfaces import Compiled
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ClauseElement
from sqlalchemy.sql.operators import custom_op
from sqlalchemy.sql.selectable import ForUpdateArg


def _words(written: str) -> frozenset[str]:
    return frozenset(written.split())


CONSTRUCTS = _words(
    "select compound_select insert update delete values select_statement_grouping scalar_select exists "
    "table alias subquery cte lateral join tablesample column bindparam binary unary clauselist tuple array "
    "expression_clauselist true false null grouping label label_reference textual_label_reference cast type_coerce "
    "try_cast typeclause case slice over within_group funcfilter function next_value_func sequence extract "
    "on_conflict_do_nothing on_conflict_do_update aggregateorderby aggregate_order_by collation "
    "values_alias table_valued_alias table_valued_column "
    "savepoint rollback_to_savepoint release_savepoint"
)
"""Names of the constructs that render only what they consist of. Any other counts as text, which costs a check."""

FUNCTIONS = _words(
    "abs array_agg bool_and bool_or btrim ceil char_length coalesce concat concat_ws count cume_dist current_date "
    "current_time current_timestamp date_part date_trunc dense_rank every extract floor gen_random_uuid greatest "
    "grouping_sets initcap jsonb_agg jsonb_build_array jsonb_build_object jsonb_set jsonb_typeof lag lead least left "
    "length localtime localtimestamp lower ltrim max min mod mode now nullif percent_rank percentile_cont "
    "percentile_disc position power random rank regexp_replace repeat replace right round row_number rtrim split_part "
    "sqrt starts_with string_agg substr substring sum to_char trim trunc unnest upper avg cube rollup"
)
"""Functions of PostgreSQL that read nothing but their arguments and change nothing."""

_seen: WeakKeyDictionary[Compiled, tuple[bool, bool]] = WeakKeyDictionary()


def is_text(compiled: Compiled | None) -> bool:
    """Whether a compiled statement holds text; a statement that was not compiled is text."""
    return _examined(compiled)[0]


def may_write(compiled: Compiled | None) -> bool:
    """Whether a compiled statement may change rows: it is an insert, update or delete, has one within, or holds text."""
    return any(_examined(compiled))


def _examined(compiled: Compiled | None) -> tuple[bool, bool]:
    """Whether it holds text, and whether it writes. Answers are remembered."""
    if not isinstance(compiled, SQLCompiler):
        return True, True
    if (answer := _seen.get(compiled)) is None:
        of_orm = getattr(compiled.compile_state, "statement", None)  # what the ORM made of its statement
        parts = list(_parts([compiled.statement, of_orm]))
        writes = any(part.__visit_name__ in {"insert", "update", "delete"} for part in parts)
        answer = _seen[compiled] = any(map(_holds_text, parts)), writes
    return answer


def _parts(found: Any) -> Iterator[ClauseElement]:
    """Every construct within, once. SQLAlchemy's own traversal leaves out prefixes and rows of values."""
    seen, stack = set[int](), [found]
    while stack:
        part = stack.pop()
        if isinstance(part, list | tuple | dict):
            stack += [*part.keys(), *part.values()] if isinstance(part, dict) else part
        elif isinstance(part, ClauseElement) and id(part) not in seen:
            seen.add(id(part))
            yield part
            stack += part.get_children()
            stack += [getattr(part, name, None) for name, _ in getattr(part, "_traverse_internals", ())]


def _holds_text(part: Any) -> bool:
    kind = part.__visit_name__
    names = [getattr(part, key, None) for key in ("name", "collation")]
    operators = [getattr(part, key, None) for key in ("operator", "modifier")]
    return bool(
        (kind not in CONSTRUCTS and not isinstance(part, ForUpdateArg))
        or (getattr(part, "is_literal", False) and names[0] != "*")
        or any(getattr(name, "quote", None) is False for name in names)
        or (kind == "function" and (part.packagenames or part.name.lower() not in FUNCTIONS))
        or (kind == "extract" and not re.fullmatch("[a-z_]+", part.field, re.IGNORECASE))
        or any(getattr(part, key, None) for key in ("_hints", "_statement_hints"))
        or any(isinstance(operator, custom_op) and not _is_operator(operator.opstring) for operator in operators)
    )


def _is_operator(written: str) -> bool:
    """Whether an operator can be nothing else: words, or PostgreSQL's signs, which begin no comment."""
    return bool(re.fullmatch(r"[A-Za-z ]+|(?!.*(--|/\*))[-+*/<>=~!@#%^&|?]+", written))
