"""What squawk, a linter of migrations, says about the statements of the emitted scripts."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import URL

from tests.frozen import STEP
from tests.support import psql, script

TIMEOUTS = "SET lock_timeout = '200ms';\nSET statement_timeout = '1h';\n"
CONCURRENT = re.compile(
    r"^(?:(?:CREATE|DROP) (?:UNIQUE )?INDEX CONCURRENTLY|ALTER TABLE \w+ VALIDATE) .*$", re.MULTILINE
)
VERSION = re.compile(
    r"^(?:CREATE TABLE IF NOT EXISTS|INSERT INTO|UPDATE) alembic_version.*?;", re.DOTALL | re.MULTILINE
)

# Rule by rule, why it does not apply; a rule that finds nothing any more must go.
RERUN = "each step asks the catalogue whether it is done, and the same command finishes an interrupted run"
WIDTHS = "the widths are part of the schema; they are on columns that are new or as they were, none is changed"
AWAY = "the rollback takes away what the upgrade made, after every row was kept"
ACCEPTED = {
    "base:000": {
        "prefer-text-field": WIDTHS,
        "prefer-timestamp-tz": "the single-business schema is what it is; 001 makes it timestamptz",
        "prefer-bigint-over-int": "the single-business schema is what it is",
    },
    "000:001": {"prefer-text-field": WIDTHS, "prefer-robust-stmts": RERUN},
    "001:000": {
        "prefer-robust-stmts": RERUN,
        "ban-drop-column": AWAY,
        "ban-drop-constraint": "the CHECK of the rollback itself, which has done its work",
        "ban-drop-table": AWAY,
        "ban-drop-function": AWAY,
    },
}


def findings(folder: Path, pieces: list[str]) -> set[tuple[str, str]]:
    """Rule and offending line of everything that squawk finds in the pieces, each a transaction of its own."""
    for number, piece in enumerate(pieces):
        (folder / f"{number:03}.sql").write_text(piece)
    squawk = Path(sys.executable).with_name("squawk")
    done = subprocess.run(
        [squawk, "--reporter=json", "--pg-version=15", *folder.glob("*.sql")],
        capture_output=True,
        text=True,
        check=False,
    )
    found = set()
    for finding in json.loads(done.stdout):
        line = Path(finding["file"]).read_text().splitlines()[finding["line"]]
        found.add((finding["rule_name"], line.strip()))
    return found


@pytest.mark.parametrize("revisions", ACCEPTED)
def test_squawk_finds_nothing_but_what_is_meant(revisions: str, canonical: URL, tmp_path: Path) -> None:
    echoed = ""
    for path in list(ACCEPTED)[: list(ACCEPTED).index(revisions) + 1]:
        emitted = script("downgrade" if path == "001:000" else "upgrade", path)
        done = psql(canonical, emitted, "--echo-queries")  # also what \gexec runs
        assert done.returncode == 0, done.stderr
        echoed = done.stdout
    steps = [f"BEGIN;\n{TIMEOUTS}{body}COMMIT;\n" for _, body in STEP.findall(echoed)]
    alone = [f"{TIMEOUTS}{statement};\n" for statement in CONCURRENT.findall(echoed)]
    version = [f"BEGIN;\n{TIMEOUTS}{statement}\nCOMMIT;\n" for statement in VERSION.findall(echoed)]
    assert len(steps) == emitted.count("DO $step")
    assert len(alone) >= {"base:000": 0, "000:001": 8, "001:000": 2}[revisions]
    assert version
    found = findings(tmp_path, steps + alone + version)
    assert {f for f in found if f[0] not in ACCEPTED[revisions]} == set()
    assert {rule for rule, _ in found} == set(ACCEPTED[revisions])
