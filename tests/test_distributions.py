"""The source distribution and the wheel are whole and clean, and a bot that installs the wheel adds its own tables."""

import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import URL

from tests.documents import blocks, clone, shell
from tests.support import ROOT, catalogue, plain, rows, scalar

pytestmark = pytest.mark.skipif(
    "TEST_DATABASE_URL" in os.environ, reason="builds and installs anew, whichever server the tests use"
)
PAGE = "docs/wheel.md"
LATER = """
from alembic import op

revision = "002"
down_revision = "001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE TABLE later (id int)")


def downgrade() -> None:
    op.execute("DROP TABLE later")
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of both. The wheel is built from the source distribution, so that both are whole."""
    folder = tmp_path_factory.mktemp("built")
    done = shell("python -m build -o dist .", clone(folder / "clone"))
    assert done.returncode == 0, done.stderr
    return folder / "clone/dist"


@pytest.fixture
def installed(built: Path, tmp_path: Path) -> Path:
    """A folder into which the wheel was installed, without what it depends on."""
    wheel = next(built.glob("*.whl"))
    done = shell(f"{sys.executable} -m pip install -q --no-deps --target site {wheel}", tmp_path)
    assert done.returncode == 0, done.stderr
    return tmp_path / "site"


@pytest.fixture
def run(installed: Path, tmp_path: Path, empty: URL) -> Callable[[str], str]:
    """Runs commands in a bot's project, on an empty database; they must succeed."""

    def run_commands(commands: str) -> str:
        alembic = 'alembic() { python -m alembic "$@"; }\n'  # the script would put the clone's folder first
        done = shell(alembic + commands, tmp_path, DATABASE_URL=plain(empty), PYTHONPATH=str(installed))
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run_commands


def tracked(*folders: str) -> set[str]:
    """The files of the repository, or of some of its folders."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *folders]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return {name for name in listed.splitlines() if (ROOT / name).exists()}


def test_the_wheel_holds_the_package_and_its_revisions_only(built: Path) -> None:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    revisions = {f"app/{name}" for name in tracked("alembic")}
    assert held == tracked("app") | revisions


def test_the_source_distribution_holds_the_repository(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as source:
        held = {name.partition("/")[2] for name in source.getnames()}
    assert held - {"PKG-INFO"} == {name for name in tracked() if not name.startswith(".ci/")}


def test_the_wheel_brings_its_revisions(run: Callable[[str], str], tmp_path: Path, empty: URL) -> None:
    minimal, _ = blocks(PAGE, "ini")
    (tmp_path / "alembic.ini").write_text(minimal, encoding="utf-8")
    said = run("alembic upgrade head\nalembic check\npython -c 'import app.models; print(app.models.__file__)'")
    assert str(tmp_path / "site") in said
    assert scalar(empty, "SELECT version_num FROM alembic_version") == "001"


def test_a_rehearsal_needs_no_alembic_ini(
    run: Callable[[str], str], canonical: URL, make_database: Callable[[], URL], tmp_path: Path
) -> None:
    target = make_database()
    said = run(
        f"pg_dump '{plain(canonical)}' > backup.sql\npython -m app.tenancy.rehearse backup.sql --url '{plain(target)}'"
    )
    assert "It would work: every row is there" in said
    assert scalar(target, "SELECT version_num FROM alembic_version") == "001"


def test_a_bot_adds_its_own_tables(run: Callable[[str], str], tmp_path: Path, empty: URL) -> None:
    minimal, config = blocks(PAGE, "ini")
    (tmp_path / "alembic.ini").write_text(minimal, encoding="utf-8")
    run("alembic upgrade head")
    before = catalogue(empty)
    (tmp_path / "alembic.ini").write_text(config, encoding="utf-8")
    model, test = blocks(PAGE, "python")
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/models.py").write_text(model, encoding="utf-8")
    add, go_back = blocks(PAGE, "bash")
    assert "No new upgrade operations detected" in run(add)
    (revision,) = (tmp_path / "migrations").glob("*_bookings.py")
    policies = "SELECT polname FROM pg_policy WHERE polrelid = 'bookings'::regclass ORDER BY 1"
    assert len(rows(empty, policies)) == 2
    assert "Nothing to repair" in run("python -m app.tenancy.repair")
    assert "0 bookings" in run("python -m app.tenancy.manage export 'Default business' out")
    assert "bookings 0" in run("python -m app.tenancy.report")
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["app.tenancy.testing"]\n', encoding="utf-8")
    (tmp_path / "test_shop.py").write_text(test, encoding="utf-8")
    assert "1 passed" in run(f"TEST_DATABASE_URL='{plain(empty)}' python -m pytest -q -p no:cacheprovider test_shop.py")

    (tmp_path / "site/app/alembic/versions/002_later.py").write_text(LATER, encoding="utf-8")
    run(f"alembic merge -m 'schema 1.1' {revision.name.partition('_')[0]} 002\nalembic upgrade head\nalembic check")
    assert scalar(empty, "SELECT to_regclass('later') IS NOT NULL") is True
    assert len(list((tmp_path / "migrations").glob("*.py"))) == 2

    run("alembic downgrade 001")
    assert catalogue(empty) == before
    run(go_back)
    assert scalar(empty, "SELECT to_regclass('businesses') IS NULL") is True


def test_a_module_that_is_not_there_is_said_in_one_sentence(tmp_path: Path, database: URL) -> None:
    config = (ROOT / "alembic.ini").read_text(encoding="utf-8").replace("%(here)s", str(ROOT))
    (tmp_path / "alembic.ini").write_text(
        config.replace("[scale]", "models = shop.models\n\n[scale]"), encoding="utf-8"
    )
    for command in ("alembic check", "python -m app.tenancy.repair", "python -m app.tenancy.manage list"):
        done = shell(command, tmp_path, DATABASE_URL=plain(database), PYTHONPATH=str(ROOT))
        assert done.returncode != 0
        (said,) = done.stderr.splitlines()
        assert "models = shop.models in alembic.ini cannot be imported (No module named 'shop')" in said
