"""From version 1.0 on a revision never changes: 000 and 001 emit the SQL that they emitted when they were released."""

import pytest

from tests import frozen
from tests.support import script

MOVES = [f"{command} {revisions}" for command, revisions in frozen.MOVES]


@pytest.mark.parametrize("number", range(len(MOVES)), ids=MOVES)
def test_a_released_revision_emits_what_it_emitted(number: int) -> None:
    recorded = frozen.RECORDED.read_text(encoding="utf-8").splitlines()[number]
    assert frozen.hashes()[number] == recorded, (
        f"{MOVES[number]} emits other SQL than when it was released: take the change back, and make it a new revision"
    )


@pytest.mark.parametrize("move", frozen.MOVES, ids=MOVES)
def test_all_that_changes_the_database_is_compared(move: tuple[str, str]) -> None:
    """From the first transaction to the last, in which the move records its revision."""
    text = frozen.changes(*move)
    assert text.startswith("BEGIN;")
    assert text.endswith("COMMIT;")
    assert "alembic_version" in text


def test_a_change_of_a_statement_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    said = script("upgrade", "000:001")
    monkeypatch.setattr(frozen, "script", lambda *_: said)
    same = frozen.hashes()[1]
    said = said.replace("'Default business'", "'Another name'")
    assert frozen.hashes()[1] != same
