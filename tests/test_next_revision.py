"""A revision 002 of this schema costs its model and its file: nothing else names the newest revision."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from sqlalchemy import URL

from tests.documents import shell
from tests.support import ROOT, pipe, plain, rows

NEXT = '''"""How a customer likes to be called.

Why: a test.
Locks: customers, ACCESS EXCLUSIVE, milliseconds.

Revision ID: 002
Revises: 001
"""

from app.tenancy.migration.ops import has_column
from app.tenancy.migration.steps import emit, outside_transaction, patience, step

revision = "002"
down_revision = "001"
branch_labels = None
depends_on = None
steps_only = True


def upgrade() -> None:
    with outside_transaction(), patience(300), step("call name", done=has_column("customers", "call_name"), lock="customers"):
        emit("ALTER TABLE customers ADD COLUMN call_name text")


def downgrade() -> None:
    with outside_transaction(), step("no call name", done=f"NOT {has_column('customers', 'call_name')}", lock="customers"):
        emit("ALTER TABLE customers DROP COLUMN call_name")
'''


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project with that revision."""
    for name in ("app", "alembic", "sql"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("alembic.ini", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "alembic/versions/002_call_name.py").write_text(NEXT, encoding="utf-8")
    return tmp_path


def run(project: Path, command: str, url: URL) -> str:
    """What a command in the project says on stderr; it succeeds."""
    done: subprocess.CompletedProcess[str] = shell(command, project, DATABASE_URL=plain(url), PYTHONPATH=str(project))
    assert done.returncode == 0, done.stderr
    return done.stdout if "--sql" in command else done.stderr


def version(url: URL) -> str:
    return str(rows(url, "SELECT version_num FROM alembic_version")[0][0])


def test_up_and_down(project: Path, empty: URL) -> None:
    said = run(project, "alembic upgrade head", empty)
    assert "Upgrading 001 -> 002, step 1 of 1: call name" in said
    assert re.search(r"Upgraded base -> 002 in .* Next: alembic check, add the WhatsApp numbers", said)
    assert version(empty) == "002"
    assert "Next:" not in run(project, "alembic downgrade -1", empty)
    assert version(empty) == "001"
    assert "Next:" not in run(project, "alembic upgrade head", empty)
    said = run(project, "alembic downgrade 000", empty)
    assert re.search(r"Downgraded 002 -> 000 in .* Next: run the single-business bot", said)
    assert version(empty) == "000"


def test_a_stamp_of_it_is_true_or_refused(project: Path, empty: URL) -> None:
    run(project, "alembic upgrade 001", empty)
    done = shell("alembic stamp 002", project, DATABASE_URL=plain(empty), PYTHONPATH=str(project))
    assert done.returncode != 0
    assert done.stderr.endswith(
        "nothing was stamped, for a step of 002 was not carried out here: run alembic upgrade 002, which carries out "
        "what is missing.\n"
    )
    assert version(empty) == "001"
    run(project, "alembic upgrade 002 && alembic stamp 001 && alembic stamp 002", empty)
    assert version(empty) == "002"


def test_the_released_scripts_lead_to_it_and_back(project: Path, empty: URL) -> None:
    run(project, "sh sql/write.sh", empty)
    assert pipe(empty, (project / "sql/upgrade.sql").read_text(encoding="utf-8")) == ""
    assert version(empty) == "002"
    assert pipe(empty, (project / "sql/rollback.sql").read_text(encoding="utf-8")) == ""
    assert version(empty) == "000"


def test_one_step_may_wait_longer_for_its_lock(project: Path, empty: URL) -> None:
    """And waits as long as the run says where that is longer; no other step does."""
    for option, waits in (("", {"60.0": 1, "300": 1}), ("-x lock-wait=900 ", {"900.0": 2}), ("-x lock-wait=1 ", {"1.0": 1, "300": 1})):  # fmt: skip
        text = run(project, f"alembic {option}upgrade 001:002 --sql", empty)
        text += run(project, f"alembic {option}downgrade 002:001 --sql", empty)
        found = re.findall(r"interval '([\d.]+) s'", text)
        assert {wait: found.count(wait) for wait in found} == waits
