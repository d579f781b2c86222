"""A CHECK of a model is written by Alembic: one that is added, changed or dropped, and so another role."""

from pathlib import Path

import pytest
from sqlalchemy import URL
from sqlalchemy.exc import IntegrityError

from tests.copies import Copy
from tests.support import catalogue, execute, run_alembic


def test_another_role_is_a_word_in_the_model_and_checks_come_and_go(tmp_path: Path, database: URL) -> None:
    copy = Copy(tmp_path, database)
    models = copy.folder / "app/models"
    before = catalogue(copy.url)
    execute(
        copy.url, "INSERT INTO users (email, password_hash) VALUES ('ana@example.com', '$2b$12$' || repeat('a', 53))"
    )
    for name, old, new in (
        ("user_business", '"admin", "staff"]', '"admin", "staff", "viewer"]'),
        ("user", 'name="password_hash_is_a_hash"', 'name="password_is_hashed"'),
        ("business", 'CheckConstraint("jsonb_typeof(settings) = \'object\'", name="settings_is_object"),', ""),
    ):
        text = (models / f"{name}.py").read_text(encoding="utf-8")
        assert old in text
        (models / f"{name}.py").write_text(text.replace(old, new), encoding="utf-8")
    revision = copy.revise("viewers")
    for form in (
        "with step('change user_businesses', done=ALWAYS, lock='user_businesses'):",
        "op.drop_constraint(op.f('ck_user_businesses_role_is_known'), 'user_businesses', type_='check')",
        "'viewer'::text])\", postgresql_not_valid=True)",
        "ops.validate_constraint('user_businesses', 'ck_user_businesses_role_is_known')",
        "ops.validate_constraint('users', 'ck_users_password_is_hashed')",
        "op.drop_constraint(op.f('ck_businesses_settings_is_object'), 'businesses', type_='check')",
    ):
        assert form in revision
    copy.alembic("upgrade", "head")
    copy.alembic("check")
    member = "INSERT INTO user_businesses (user_id, business_id, role) SELECT u.id, b.id, %s FROM users u, businesses b"
    with pytest.raises(IntegrityError, match="ck_user_businesses_role_is_known"):
        execute(copy.url, member % "'guest'")
    execute(copy.url, member % "'viewer'", "DELETE FROM user_businesses")
    copy.alembic("downgrade", "-1")
    assert catalogue(copy.url) == before
    with pytest.raises(IntegrityError, match="ck_user_businesses_role_is_known"):
        execute(copy.url, member % "'viewer'")


def test_a_check_that_is_not_valid_is_read_without_a_warning(database: URL) -> None:
    """SQLAlchemy and Alembic hand what they reflect of it to each other under names that neither knows."""
    execute(database, "ALTER TABLE users ADD CONSTRAINT adult CHECK (full_name <> '') NOT VALID")
    done = run_alembic(database, "check")
    assert (done.returncode, done.stderr) == (0, "")
