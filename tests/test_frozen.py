"""From version 1.0 on a revision never changes: 000 and 001 emit the SQL that they emitted when they were released."""

import shutil
from pathlib import Path

import pytest

from app.tenancy.migration import scripts, steps
from tests import frozen
from tests.support import ROOT, script

MOVES = [f"{command} {revisions}" for command, revisions in frozen.MOVES]


@pytest.mark.parametrize("number", range(len(MOVES)), ids=MOVES)
def test_a_released_revision_emits_what_it_emitted(number: int) -> None:
    recorded = frozen.RECORDED.read_text(encoding="utf-8").splitlines()[number]
    assert frozen.hashes()[number] == recorded, (
        f"{MOVES[number]} emits other SQL than when it was released: take the change back, and make it a new revision"
    )


@pytest.mark.parametrize("move", frozen.MOVES, ids=MOVES)
def test_all_that_changes_the_database_is_compared(move: tuple[str, str]) -> None:
    """From the first transaction to the last, in which the move records its revision, and every step between."""
    text = frozen.changes(*move)
    assert text.startswith("BEGIN;")
    assert text.endswith("COMMIT;")
    assert "alembic_version" in text
    assert "DO $step" not in text
    written = script(*move)
    assert len(frozen.STEP.findall(written)) == written.count("DO $step")
    assert text.count("\\gexec") == written.count("\\gexec")


STEP = {
    "the sentence of a lock that was not to be had": ("RAISE EXCEPTION '{gave_up}'", "RAISE EXCEPTION 'in vain: {gave_up}'"),
    "how long it pauses": ("least(pause * 1.6, 3.0)", "least(pause * 2, 5.0)"),
    "what it sets": ("SET LOCAL timezone = 'UTC';", "SET LOCAL timezone = 'UTC'; SET LOCAL work_mem = '64MB';"),
}  # fmt: skip


@pytest.mark.parametrize("change", STEP)
def test_the_tools_may_wait_and_speak_in_another_way(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = frozen.hashes()
    was, instead = STEP[change]
    assert was in steps.STEP
    monkeypatch.setattr(steps, "STEP", steps.STEP.replace(was, instead))
    assert frozen.hashes() == before


@pytest.mark.parametrize(
    ("name", "value"), [("LOCK_TIMEOUT", "150ms"), ("FIRST_TRY", "3s"), ("BLOCKER", "{table} || {others}::text")]
)
def test_the_tools_may_wait_longer_or_shorter(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = frozen.hashes()
    assert getattr(steps, name) != value
    monkeypatch.setattr(steps, name, value)
    assert frozen.hashes() == before


CHANGED = {
    "a column of a new table": ("001_new_tables.sql", "is_active boolean NOT NULL", "is_active boolean", 1),
    "what is remembered": ("001_adopted.sql", "persistence unlogged", "persistence not logged", 1),
    "what the rollback skips": ("001_run_remembered.sql", " OR invalid_schema_name", "", 2),
    "what is archived": ("001_archive.sql", "FOR UPDATE", "FOR SHARE", 2),
}
"""File of a revision, what stands in it, what takes its place, and the number of the move that emits it."""


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the revisions' SQL, which they then take."""
    folder = Path(shutil.copytree(ROOT / "alembic/sql", tmp_path / "sql"))
    original = scripts.filled
    monkeypatch.setattr(scripts, "filled", lambda _, name, values: original(folder, name, values))
    return folder


@pytest.mark.parametrize("change", CHANGED)
def test_a_change_of_a_revision_is_seen(change: str, copied: Path) -> None:
    before = frozen.hashes()
    file, was, instead, number = CHANGED[change]
    text = (copied / file).read_text(encoding="utf-8")
    assert was in text
    (copied / file).write_text(text.replace(was, instead), encoding="utf-8")
    after = frozen.hashes()
    assert after[number] != before[number]
    assert [line for n, line in enumerate(after) if n != number] == [
        line for n, line in enumerate(before) if n != number
    ]


def test_a_change_of_a_query_whose_statements_run_one_by_one_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    said = script("upgrade", "000:001")
    monkeypatch.setattr(frozen, "script", lambda *_: said)
    same = frozen.hashes()[1]
    assert "INDEX uq_customers_business_id_whatsapp_id" in said
    said = said.replace("INDEX uq_customers_business_id_whatsapp_id", "INDEX uq_customers_once")
    assert frozen.hashes()[1] != same
