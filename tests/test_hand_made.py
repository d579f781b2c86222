"""A multi-tenant schema that was made by hand becomes this one, by what docs/hand-made.md says, and loses nothing."""

from pathlib import Path

import pytest
from sqlalchemy import URL

from tests.conftest import TOKEN_KEY
from tests.documents import blocks, shell
from tests.obstacles import refusal_of
from tests.support import DEFAULT_ID, LEGACY, OTHER_ID, ROOT, check, execute, migrate, plain, rows, scalar


@pytest.fixture
def hand_made(canonical: URL) -> URL:
    """The single-business database, and a multi-tenant schema made by hand with two businesses on top."""
    execute(canonical, (LEGACY / "hand_made.sql").read_text(encoding="utf-8"))
    return canonical


def run_sql(url: URL, sql: str) -> None:
    done = shell(f"psql -v ON_ERROR_STOP=1 '{plain(url)}' <<'E'\n{sql}\nE", ROOT)
    assert done.returncode == 0, done.stderr


def test_what_the_document_says(hand_made: URL, tmp_path: Path) -> None:
    page = "docs/hand-made.md"
    messages = "SELECT {}, id, whatsapp_id, message, whatsapp_number_id FROM conversations ORDER BY id"
    before = rows(hand_made, messages.format("business_id"))
    customers = rows(hand_made, "SELECT business_id, id, whatsapp_id, name, created_at FROM customers ORDER BY id")
    (commands,), (copy, clean), (tokens,) = (blocks(page, language) for language in ("bash", "sql", "python"))

    done = shell(commands.split("\n", 1)[1], ROOT, DATABASE_URL=plain(hand_made))
    assert done.returncode == 0, done.stderr
    run_sql(hand_made, copy)
    (tmp_path / "tokens.py").write_text(tokens, encoding="utf-8")
    done = shell(
        f"PYTHONPATH={ROOT} python {tmp_path / 'tokens.py'}",
        ROOT, DATABASE_URL=plain(hand_made), ACCESS_TOKEN_KEYS=TOKEN_KEY,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    run_sql(hand_made, clean)

    check(hand_made)
    assert rows(hand_made, messages.format("business_id")) == before
    told = "SELECT business_id, id, whatsapp_id, name, created_at AT TIME ZONE 'UTC' FROM customers ORDER BY id"
    assert rows(hand_made, told) == customers
    assert rows(hand_made, "SELECT name FROM businesses ORDER BY id") == [("Barbería Central",), ("Barbería Norte",)]
    assert rows(hand_made, "SELECT phone_number, phone_number_id, left(access_token, 5) FROM whatsapp_numbers ORDER BY 2") == [
        ("+573001234567", "101", "gAAAA"),
        ("+573007654321", "102", None),
    ]  # fmt: skip
    assert rows(hand_made, "SELECT email, role, business_id::text FROM users JOIN user_businesses ON user_id = id") == [
        ("ana@example.com", "owner", OTHER_ID)
    ]
    migrate(hand_made, "downgrade", "-1")
    migrate(hand_made)
    assert rows(hand_made, messages.format("business_id")) == before


def test_rows_of_another_business_never_become_the_default_ones(hand_made: URL) -> None:
    """Not even where somebody renames the column that says whose they are."""
    execute(hand_made, "ALTER TABLE conversations RENAME COLUMN business_id TO business_id_before")
    said = "rows of conversations belong to other businesses, by a column that this migration did not make"
    assert said in (refusal_of(hand_made) or "")
    execute(
        hand_made,
        "CREATE TABLE marks (of int REFERENCES conversations (id) ON DELETE CASCADE)",
        f"DELETE FROM conversations WHERE business_id_before = '{DEFAULT_ID}'",
    )
    refusal = refusal_of(hand_made) or ""
    assert "and marks refers to them: move them to a table of your own first" in refusal
    assert scalar(hand_made, "SELECT count(*) FROM conversations") == 50
