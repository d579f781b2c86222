"""docs/scaling.md is executed: its commands, its section of alembic.ini, and its revision for a team's own column."""

import shutil
from pathlib import Path

from sqlalchemy import URL

from tests.documents import blocks, shell
from tests.support import ROOT, execute, plain, rows, scalar
from tests.widening import types

HEAD = 'revision = "orders"\ndown_revision = None\nbranch_labels = None\ndepends_on = None\n\n'
OWN = """[alembic]
script_location = alembic
version_locations = own
version_table = own_versions
prepend_sys_path = {root}
path_separator = os
"""


def test_the_commands(canonical: URL) -> None:
    (commands,) = blocks("docs/scaling.md", "bash")
    done = shell(commands, ROOT, DATABASE_URL=plain(canonical))
    assert done.returncode == 0, done.stderr
    assert "nothing stands in the way, and nothing was changed" in done.stderr
    assert types(canonical) == ["bigint", "bigint"]
    assert "bigint" in shell("python -m app.tenancy.report", ROOT, DATABASE_URL=plain(canonical)).stdout


def test_the_section_for_a_project_of_its_own(canonical: URL, tmp_path: Path) -> None:
    """As the wheel has it, where the revisions are in the package."""
    shutil.copytree(ROOT / "app", tmp_path / "app")
    shutil.copytree(ROOT / "alembic", tmp_path / "app" / "alembic")
    (section,) = blocks("docs/scaling.md", "ini")
    (tmp_path / "alembic.ini").write_text(f"{blocks('docs/wheel.md', 'ini')[0]}\n{section}", encoding="utf-8")
    done = shell(
        "alembic -n scale upgrade bigint", tmp_path, DATABASE_URL=plain(canonical), PYTHONPATH=str(tmp_path)
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert types(canonical) == ["bigint", "bigint"]


def test_the_revision_for_a_column_of_the_team(canonical: URL, tmp_path: Path) -> None:
    execute(
        canonical,
        "CREATE TABLE orders (id serial PRIMARY KEY, customer_id integer CONSTRAINT whose REFERENCES customers ON DELETE SET NULL)",
        "CREATE INDEX by_customer ON orders (customer_id)",
        "INSERT INTO orders (customer_id) SELECT nullif(g % 50, 0) FROM generate_series(1, 500) AS g",
    )
    before = rows(canonical, "SELECT id, customer_id FROM orders ORDER BY id")
    shutil.copytree(ROOT / "alembic", tmp_path / "alembic")
    (tmp_path / "own").mkdir()
    (revision,) = blocks("docs/scaling.md", "python")
    (tmp_path / "own" / "orders.py").write_text(HEAD + revision, encoding="utf-8")
    (tmp_path / "alembic.ini").write_text(OWN.format(root=ROOT), encoding="utf-8")
    done = shell("alembic upgrade head", tmp_path, DATABASE_URL=plain(canonical))
    assert done.returncode == 0, done.stderr
    assert rows(canonical, "SELECT id, customer_id FROM orders ORDER BY id") == before
    kind = "SELECT format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attname = 'customer_id'"
    assert scalar(canonical, kind) == "bigint"
    whose = "SELECT pg_get_constraintdef(oid), convalidated FROM pg_constraint WHERE conname = 'whose'"
    assert rows(canonical, whose) == [("FOREIGN KEY (customer_id) REFERENCES customers(id) ON DELETE SET NULL", True)]
    execute(canonical, "DELETE FROM customers WHERE id = 7")
    assert scalar(canonical, "SELECT count(*) FROM orders WHERE customer_id IS NULL") == 20
