"""How a run ends: cancelled by the server, cut off by a pipe, refused or interrupted; what it says is so."""

import re
import subprocess
import sys

import pytest
from sqlalchemy import URL, text

from tests.documents import shell
from tests.support import (
    ROOT,
    alembic_process,
    current,
    engine_of,
    execute,
    migrate,
    plain,
    rows,
    run_alembic,
    wait_until,
)


def test_a_statement_that_the_server_cancels_is_no_interrupt(canonical: URL) -> None:
    with engine_of(canonical).connect() as other:
        other.exec_driver_sql("LOCK conversations IN SHARE MODE")
        with alembic_process(canonical, "upgrade", "head") as process:
            step = "datname = current_database() AND query LIKE 'DO $step$%' AND wait_event_type IN ('Lock', 'Timeout')"
            wait_until(canonical, f"EXISTS (SELECT FROM pg_stat_activity WHERE {step})")
            rows(canonical, f"SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE {step}")
            said = process.communicate(timeout=60)[1]
    assert process.returncode == 255
    assert said.splitlines()[-1] == (
        "FAILED: The database refused a step (canceling statement due to user request); finished steps are kept: "
        "fix the cause and run the same command again."
    )


@pytest.mark.parametrize("command", ["current", "check"])
def test_a_command_that_only_looks_keeps_no_steps(command: str, database: URL) -> None:
    with engine_of(database).connect() as other:
        other.exec_driver_sql("LOCK alembic_version")
        done = run_alembic(database, command)
    assert done.returncode == 255
    assert done.stderr == (
        "FAILED: The database refused to answer (canceling statement due to lock timeout): fix the cause and run the "
        "same command again.\n"
    )


def test_a_run_that_nobody_reads_goes_on_to_its_end(canonical: URL) -> None:
    done = shell("alembic upgrade head 2>&1 | head -1", ROOT, DATABASE_URL=plain(canonical))
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 1
    assert current(canonical) == "001 (head)"


@pytest.mark.parametrize("command", ["upgrade head", "upgrade 000", "-x dry-run=yes upgrade head"])
def test_a_script_that_is_cut_off_says_so(command: str) -> None:
    done = shell(f"set +o pipefail; alembic {command} --sql | true; echo ${{PIPESTATUS[0]}}", ROOT)
    assert done.stderr == "FAILED: The script was cut off, for what reads it has ended: do not run what it got.\n"
    assert done.stdout == "255\n"


def test_a_look_that_nobody_reads_says_nothing(database: URL) -> None:
    done = shell("alembic current | true", ROOT, DATABASE_URL=plain(database))
    assert done.stderr == ""


def test_the_exit_status_is_the_one_of_the_documents(empty: URL) -> None:
    execute(empty, "CREATE TABLE businesses (id int)")
    done = run_alembic(empty, "upgrade", "head")
    assert done.returncode == 255
    for page in ("README.md", "docs/failures.md"):
        said = " ".join((ROOT / page).read_text(encoding="utf-8").split())
        assert re.search(r"exit status 255\b", said), page
        assert "exit status 1 " not in said


def test_ctrl_c_is_tested_where_it_was_ignored() -> None:
    asked = "import signal, tests.conftest; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    done = subprocess.run(
        ["bash", "-c", 'trap "" INT; exec "$@"', "-", sys.executable, "-c", asked],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "True\n", done.stderr


def test_a_dry_run_leaves_nothing(canonical: URL) -> None:
    migrate(canonical, "upgrade", "head", "dry-run=yes")
    with engine_of(canonical).connect() as connection:
        assert connection.scalar(text("SELECT to_regclass('alembic_version')")) is None
        assert connection.scalar(text("SELECT to_regclass('multi_tenant_rollback')")) is None
