"""Every block of every document is run: by a test that asks for it with `blocks`, or else here, from top to bottom."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL

from tests.conftest import TOKEN_KEY
from tests.documents import PLACEHOLDER, clone, documents, fenced, shell
from tests.support import ROOT, execute, plain

NOT_RUN = {"", "text", "mermaid"}
"""Languages of blocks that show something and are no commands."""

Block = tuple[str, str, int]
"""Document, language, and position among the document's blocks in that language."""


def all_blocks() -> set[Block]:
    found: set[Block] = set()
    for document in documents():
        languages = [language for language, _ in fenced(document) if language not in NOT_RUN]
        found |= {(document, said, languages[:i].count(said)) for i, said in enumerate(languages)}
    return found


def asked_for(path: Path) -> Iterator[Block]:
    """The blocks that the tests of a file ask for: `blocks(document, language)`, unpacked, indexed, or iterated over."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    named = {
        target.id: node.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for call in ast.walk(tree):
        if not (isinstance(call, ast.Call) and getattr(call.func, "id", "") == "blocks"):
            continue
        document, language = (a.value if isinstance(a, ast.Constant) else named.get(a.id) for a in call.args)  # type: ignore[attr-defined]
        there = [block for block in all_blocks() if block[0] == document and language in (block[1], None)]
        languages = {block[1] for block in there}
        for said in languages:
            positions = range(sum(block[1] == said for block in there))
            yield from ((str(document), said, i) for i in taken(call, parents[call], positions))


def taken(call: ast.Call, parent: ast.AST, positions: range) -> list[int]:
    """The positions that are used of those that the call returns."""
    if isinstance(parent, ast.Subscript):
        picked = eval(f"positions[{ast.unparse(parent.slice)}]", {"positions": positions})  # noqa: S307
        return [picked] if isinstance(picked, int) else list(picked)
    if isinstance(parent, ast.Assign) and isinstance(parent.targets[0], ast.Tuple):
        names = [ast.unparse(element) for element in parent.targets[0].elts]
        star = next((i for i, name in enumerate(names) if name.startswith("*")), None)
        if star is not None:
            names[star : star + 1] = [names[star][1:]] * (len(positions) - len(names) + 1)
        return [i for i, name in zip(positions, names, strict=False) if not name.startswith("_")]
    return list(positions)


def test_no_block_of_a_document_with_a_test_of_its_own_is_left_out() -> None:
    asked = {block for path in (ROOT / "tests").glob("*.py") for block in asked_for(path)}
    documents_of_tests = {block[0] for block in asked}
    left_out = sorted(block for block in all_blocks() - asked if block[0] in documents_of_tests)
    assert left_out == [], "a test that names the document runs them, by blocks(document, language)"


def documents_without_a_test() -> list[str]:
    asked = {block[0] for path in (ROOT / "tests").glob("*.py") for block in asked_for(path)}
    return sorted({block[0] for block in all_blocks()} - asked)


@pytest.mark.parametrize("document", documents_without_a_test())
def test_a_document_runs_from_top_to_bottom(document: str, tmp_path: Path, database: URL) -> None:
    """In a clone, on a database at head. Roles that a document makes get names of the test's own."""
    text = "\n".join(block for _, block in fenced(document))
    roles = {role: f"{role}_{database.database}" for role in re.findall(r"CREATE ROLE (\w+) LOGIN", text)}
    folder = clone(tmp_path / "clone")
    try:
        for language, block in fenced(document):
            if language in NOT_RUN:
                continue
            for role, name in roles.items():
                block = re.sub(rf"\b{role}\b", name, block)
            block = block.replace(PLACEHOLDER, plain(database)).replace(
                "DATABASE postgres", f"DATABASE {database.database}"
            )
            done = run(language, block, folder, database)
            assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"
    finally:
        for name in roles.values():
            execute(database, f"DROP OWNED BY {name}", f"DROP ROLE {name}")


def run(language: str, block: str, folder: Path, url: URL) -> "subprocess.CompletedProcess[str]":
    """Run a block, with the settings and the secrets that the documents tell of in the environment."""
    command = {
        "bash": block,
        "sh": block,
        "sql": f"psql -X -q -v ON_ERROR_STOP=1 \"$DATABASE_URL\" <<'E'\n{block}\nE",
        "python": f"python - <<'E'\n{block}\nE",
    }
    assert language in command, f"no test knows how to run a block in {language}"
    return shell(
        command[language], folder, DATABASE_URL=plain(url), ACCESS_TOKEN_KEYS=TOKEN_KEY, PYTHONPATH=str(folder),
        USER_PASSWORD="correct horse battery", WHATSAPP_ACCESS_TOKEN="EAAG-token",
    )  # fmt: skip
