"""A command waits for nothing that it does not need: a migration imports no models, and the ORM not at all."""

import os
import subprocess
import sys

import pytest
from sqlalchemy import URL

from app.models import DEFAULT_BUSINESS_ID
from app.tenancy.migration.state import DEFAULT_BUSINESS
from tests.support import ROOT, plain

RUN = """
import sys

from alembic.config import main

main(sys.argv[1:], prog="alembic")
print([name for name in ("app.models", "sqlalchemy.orm", "pydantic", "cryptography") if name in sys.modules])
"""


@pytest.mark.parametrize("command", ["upgrade head", "upgrade head --sql", "downgrade base", "current", "history"])
def test_a_migration_imports_no_models(command: str, empty: URL) -> None:
    env = {**os.environ, "DATABASE_URL": plain(empty), "ACCESS_TOKEN_KEYS": ""}
    done = subprocess.run(
        [sys.executable, "-c", RUN, *command.split()],
        cwd=ROOT, env=env, capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_default_business_is_that_of_the_models() -> None:
    assert str(DEFAULT_BUSINESS_ID) == DEFAULT_BUSINESS
