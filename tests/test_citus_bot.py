"""On three nodes the README's handler stores and answers every message once, and twelve deliveries make one row."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest
from sqlalchemy import URL

from app.db import get_engine, tenant_session
from app.tenancy.queries import record_message
from tests.citus import citus_database, distribute, truncated
from tests.support import DEFAULT_ID, migrate, scalar
from tests.test_handler import *  # noqa: F403

pytestmark = pytest.mark.citus

del test_a_text_of_a_known_customer_costs_nine_round_trips  # noqa: F821  BEGIN is a message by itself here


@pytest.fixture(scope="module")
def nodes() -> Iterator[URL]:
    with citus_database() as url:
        migrate(url)
        distribute(url)
        yield url


@pytest.fixture
def database(nodes: URL) -> URL:
    """In the place of the database on one server, for the tests of the handler."""
    return truncated(nodes)


def test_twelve_deliveries_make_one_row(bot_settings: URL) -> None:
    def deliver(_: int) -> bool:
        with tenant_session(DEFAULT_ID) as session:
            _row, new = record_message(
                session,
                business_id=UUID(DEFAULT_ID),
                whatsapp_id="1",
                message="hola",
                role="user",
                whatsapp_message_id="wamid.twelve",
            )
            session.commit()
            return new

    with ThreadPoolExecutor(12) as pool:
        new = list(pool.map(deliver, range(12)))
    get_engine().dispose()
    assert sum(new) == 1
    assert scalar(bot_settings, "SELECT count(*) FROM conversations") == 1
