"""pytest-alembic's built-in tests, each on an empty database of its own.

They are imported, not collected by --test-alembic: so they run whatever the command line says, and find the
two fixtures that are of no use to any other test right here.
"""

from collections.abc import Iterator

import pytest
from alembic.config import Config
from pytest_alembic.tests import (
    test_model_definitions_match_ddl,
    test_single_head_revision,
    test_up_down_consistency,
    test_upgrade,
)
from sqlalchemy import URL, Engine

from tests.support import alembic_config as configuration
from tests.support import engine_of, environment, plain

__all__ = ["test_model_definitions_match_ddl", "test_single_head_revision", "test_up_down_consistency", "test_upgrade"]


@pytest.fixture
def alembic_config() -> Config:
    """The project's own configuration."""
    return configuration()


@pytest.fixture
def alembic_engine(empty: URL) -> Iterator[Engine]:
    """The empty database, which env.py finds through DATABASE_URL as ever."""
    with environment(DATABASE_URL=plain(empty)):
        yield engine_of(empty)
