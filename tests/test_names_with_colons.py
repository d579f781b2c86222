"""A colon in a name of the team's is a colon, and begins no parameter."""

from sqlalchemy import URL
from sqlalchemy.orm import Session

from app.models import DEFAULT_BUSINESS_ID, Customer
from app.tenancy.customers import find_or_create_customer
from app.tenancy.messages import Sender
from tests.drift import lines, repaired
from tests.support import execute, migrate, rows, scalar


def test_check_and_repair_in_such_a_schema(empty: URL) -> None:
    execute(empty, 'CREATE SCHEMA "of :bot 100%"', f'ALTER DATABASE {empty.database} SET search_path = "of :bot 100%"')
    migrate(empty)
    assert lines(empty) == []
    execute(empty, "DROP TRIGGER set_updated_at ON customers", "DELETE FROM businesses")
    assert len(lines(empty)) == 2
    status, said = repaired(empty)
    assert (status, "default business" in said) == (1, True)
    assert len(lines(empty)) == 1
    migrate(empty, "downgrade", "-1")


def test_two_rows_of_one_customer_with_such_a_column(database: URL, session: Session) -> None:
    execute(
        database,
        'ALTER TABLE customers ADD "Puntos :total" int',
        'CREATE TABLE "of :customer" (id int, "who :is" bigint REFERENCES customers)',
        "INSERT INTO customers (whatsapp_id, name) VALUES ('57300000001', 'Ana')",
        "INSERT INTO customers (whatsapp_id, whatsapp_user_id, name, \"Puntos :total\") VALUES ('CO.1234', 'CO.1234', 'Ana', 7)",
        "INSERT INTO \"of :customer\" SELECT 1, id FROM customers WHERE whatsapp_id = 'CO.1234'",
    )
    both = Sender(phone="57300000001", user_id="CO.1234", name="Ana")
    customer = find_or_create_customer(session, DEFAULT_BUSINESS_ID, both)
    session.commit()
    assert isinstance(customer, Customer)
    assert rows(database, 'SELECT whatsapp_id, "Puntos :total" FROM customers') == [("57300000001", 7)]
    assert scalar(database, 'SELECT "who :is" FROM "of :customer"') == customer.id
