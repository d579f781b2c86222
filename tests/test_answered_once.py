"""A message that is delivered again while it is answered gets one answer, whichever delivery fails."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from sqlalchemy import URL
from sqlalchemy.orm import Session

from app.db import business_scope, get_engine, rolled_back_at_the_end
from app.models import Business, Conversation, WhatsappNumber
from app.tenancy.queries import ANSWER_TIME, BeingAnsweredError
from tests.deliveries import NUMBER, from_both, message
from tests.handler import Handler
from tests.support import DEFAULT_ID, engine_of, environment, execute, plain, rows

HELLO = from_both(message(wamid="wamid.1", text={"body": "Hola"}))
ANSWERS = "SELECT message FROM conversations WHERE role = 'assistant' ORDER BY id"


@pytest.fixture
def shop(bot_settings: URL) -> URL:
    with Session(engine_of(bot_settings)) as session:
        number = WhatsappNumber(phone_number_id=NUMBER, phone_number="+15550783881")
        session.add(Business(name="Barbería", whatsapp_numbers=[number]))
        session.commit()
    return bot_settings


@pytest.fixture
def handle(shop: URL) -> Handler:
    return Handler()


class Thinking:
    """A model that thinks until it is told the end."""

    def __init__(self) -> None:
        self.begun, self.told = threading.Event(), threading.Event()
        self.error: Exception | None = None

    def __call__(self, history: list[Conversation]) -> str:
        self.begun.set()
        assert self.told.wait(30)
        if self.error:
            raise self.error
        return "the first"

    def end(self, error: Exception | None = None) -> None:
        self.error = error
        self.told.set()


@pytest.fixture
def first(handle: Handler) -> tuple[Thinking, Future[list[str]]]:
    """A delivery whose answer has begun."""
    thinking, pool = Thinking(), ThreadPoolExecutor(1)
    running = pool.submit(handle, HELLO, thinking)
    pool.shutdown(wait=False)
    assert thinking.begun.wait(30)
    return thinking, running


def refused(handle: Handler) -> bool:
    """Whether a delivery of the same message is refused."""
    try:
        handle(HELLO, lambda _: "the second")
    except ExceptionGroup as error:
        return error.subgroup(BeingAnsweredError) is not None
    return False


def stored(handle: Handler) -> None:
    """A first delivery stores the message, and its answer fails."""

    def fail(_: list[Conversation]) -> str:
        raise TimeoutError

    with pytest.raises(ExceptionGroup):
        handle(HELLO, fail)


def test_the_second_delivery_is_refused_while_the_first_is_answered(
    shop: URL, handle: Handler, first: tuple[Thinking, Future[list[str]]]
) -> None:
    thinking, running = first
    assert refused(handle)
    thinking.end()
    assert running.result(30) == ["the first"]
    assert handle(HELLO, lambda _: "the second") == []
    assert [answer for _, answer in handle.sent] == ["the first"]
    assert rows(shop, ANSWERS) == [("the first",)]


def test_after_a_failure_the_next_delivery_answers_at_once(
    shop: URL, handle: Handler, first: tuple[Thinking, Future[list[str]]]
) -> None:
    thinking, running = first
    thinking.end(TimeoutError())
    with pytest.raises(ExceptionGroup):
        running.result(30)
    assert handle(HELLO, lambda _: "the second") == ["the second"]
    assert rows(shop, ANSWERS) == [("the second",)]


def test_after_the_first_was_killed_a_later_delivery_answers(shop: URL, handle: Handler) -> None:
    stored(handle)
    execute(shop, "UPDATE conversations SET created_at = now()")  # as a process leaves it that ended while it answered
    assert refused(handle)
    assert rows(shop, ANSWERS) == []
    execute(shop, f"UPDATE conversations SET created_at = created_at - interval '{ANSWER_TIME}'")
    assert handle(HELLO, lambda _: "the second") == ["the second"]


def test_of_two_deliveries_that_take_over_at_once_one_answers(shop: URL, handle: Handler) -> None:
    """Both have read that there is no answer before either goes on."""
    stored(handle)
    is_answered: Callable[..., bool] = handle.names["is_answered"]
    together = threading.Barrier(2)

    def meet(*given: object) -> bool:
        answered = is_answered(*given)
        together.wait(30)
        return answered

    handle.names["is_answered"] = meet
    with ThreadPoolExecutor(2) as pool:
        ended = [pool.submit(refused, handle) for _ in range(2)]
        assert sorted(future.result(30) for future in ended) == [False, True]
    assert rows(shop, ANSWERS) == [("the second",)]
    assert len(handle.sent) == 1


def all_of_it(shop: URL, handle: Handler) -> None:
    """A failure, a delivery that takes over, and one too many."""
    stored(handle)
    assert handle(HELLO, lambda _: "the second") == ["the second"]
    assert handle(HELLO, lambda _: "the third") == []


def test_a_login_that_owns_nothing_takes_over(shop: URL, handle: Handler) -> None:
    """A tenant may not set created_at; the login may, which finds the business of a number."""
    login = f"bot_{shop.database}"
    execute(
        shop,
        f"CREATE ROLE {login} LOGIN",
        f"GRANT app_tenant, app_service TO {login}",
        f"GRANT CONNECT ON DATABASE {shop.database} TO {login}",
    )
    try:
        with environment(DATABASE_URL=plain(shop.set(username=login))):
            all_of_it(shop, handle)
            assert refused_now(shop, handle)
            get_engine().dispose()
    finally:
        execute(shop, f"DROP OWNED BY {login}", f"DROP ROLE {login}")


def refused_now(shop: URL, handle: Handler) -> bool:
    """Whether a delivery is refused where another has taken over, and has no answer yet."""
    execute(shop, "DELETE FROM conversations WHERE role = 'assistant'", "UPDATE conversations SET created_at = now()")
    return refused(handle)


def test_within_a_scope_and_within_the_transaction_of_a_test_it_is_the_same(shop: URL, handle: Handler) -> None:
    business = str(rows(shop, "SELECT id FROM businesses WHERE name = 'Barbería'")[0][0])
    with rolled_back_at_the_end(), business_scope(business):
        all_of_it(shop, handle)
    assert rows(shop, ANSWERS) == []
    with business_scope(DEFAULT_ID):
        all_of_it(shop, handle)
    assert rows(shop, ANSWERS) == [("the second",)]


def test_an_answer_far_back_is_found(shop: URL, handle: Handler) -> None:
    """The customer wrote a dozen messages since; the history that the handler reads holds ten."""
    assert handle(HELLO) == ["re: Hola"]
    later = "SELECT business_id, whatsapp_id, 'y', 'system', now() FROM conversations, generate_series(1, 12) WHERE role = 'user'"
    execute(
        shop,
        f"INSERT INTO conversations (business_id, whatsapp_id, message, role, timestamp) {later}",
        f"UPDATE conversations SET created_at = created_at - interval '{2 * ANSWER_TIME.total_seconds()} s'",
    )
    assert handle(HELLO) == []
    assert rows(shop, ANSWERS) == [("re: Hola",)]
