"""The house rules for a revision, read off the files: a lint of alembic/versions."""

import ast
import re
from pathlib import Path
from types import ModuleType

import pytest
from alembic.script import Script, ScriptDirectory

from tests.support import ROOT, alembic_config

DIRECTORY = ScriptDirectory.from_config(alembic_config())
REVISIONS = list(DIRECTORY.walk_revisions())
PLAIN_FORMS = ("create_index", "create_foreign_key", "create_unique_constraint", "create_check_constraint")


def source(revision: Script) -> str:
    return Path(revision.path).read_text(encoding="utf-8")


def made_tables(tree: ast.AST) -> set[str]:
    """The tables that a revision creates itself."""
    return {first_string(call) for call in calls(tree) if name_of(call) == "create_table"}


def calls(tree: ast.AST) -> list[ast.Call]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


def name_of(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def first_string(call: ast.Call, place: int = 0) -> str:
    argument = call.args[place] if len(call.args) > place else None
    return str(argument.value) if isinstance(argument, ast.Constant) else ""


def plain_forms(text: str) -> list[str]:
    """Operations of the text that would make the bot wait on a table that exists."""
    tree = ast.parse(text)
    ours = made_tables(tree)
    found = []
    for call in calls(tree):
        safe = any(k.arg in {"postgresql_not_valid", "postgresql_concurrently"} for k in call.keywords)
        if name_of(call) in PLAIN_FORMS and first_string(call, 1) not in ours and not safe:
            found.append(f"{name_of(call)} on {first_string(call, 1)}")
    return found


def test_one_head_and_one_base() -> None:
    assert len(DIRECTORY.get_heads()) == 1
    assert len(DIRECTORY.get_bases()) == 1


@pytest.mark.parametrize("revision", REVISIONS, ids=lambda r: str(r.revision))
def test_docstring_and_identifiers_agree(revision: Script) -> None:
    module: ModuleType = revision.module
    said = dict(re.findall(r"^(Revision ID|Revises):[ \t]*(\S*)$", module.__doc__ or "", re.MULTILINE))
    assert said == {"Revision ID": module.revision, "Revises": module.down_revision or ""}
    assert "Why:" in (module.__doc__ or "")
    assert "Locks:" in (module.__doc__ or "")


@pytest.mark.parametrize("revision", REVISIONS, ids=lambda r: str(r.revision))
def test_nothing_is_imported_from_the_models(revision: Script) -> None:
    imports = [
        name
        for node in ast.walk(ast.parse(source(revision)))
        for name in (
            [node.module or ""] if isinstance(node, ast.ImportFrom)
            else [a.name for a in node.names] if isinstance(node, ast.Import) else []
        )
    ]  # fmt: skip
    assert [name for name in imports if name.startswith("app.") and not name.startswith("app.tenancy.migration")] == []


@pytest.mark.parametrize("revision", REVISIONS, ids=lambda r: str(r.revision))
def test_no_plain_form_on_a_table_that_exists(revision: Script) -> None:
    assert plain_forms(source(revision)) == []


def test_the_lint_sees_a_plain_form() -> None:
    assert plain_forms("op.create_index('i', 'customers', ['name'])") == ["create_index on customers"]
    assert plain_forms("op.create_foreign_key('f', 'customers', 'users', ['a'], ['b'])") != []
    assert (
        plain_forms("op.create_foreign_key('f', 'customers', 'users', ['a'], ['b'], postgresql_not_valid=True)") == []
    )


@pytest.mark.parametrize("revision", REVISIONS, ids=lambda r: str(r.revision))
def test_every_revision_has_a_data_test(revision: Script) -> None:
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").glob("test_*.py"))
    assert re.search(rf"def test_{revision.revision}_\w+\(", tests), (
        f"no test with data for revision {revision.revision}"
    )
