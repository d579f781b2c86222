"""What of a team's own cannot be spread is named before the first change, with the command that removes it."""

import re

import pytest
from sqlalchemy import URL

from tests.citus import FORM, refused
from tests.conftest import MakeDatabase
from tests.support import execute
from tests.widening import NOTHING, commands, widen

OBSTACLES = {
    "a key to the ids": (
        "CREATE TABLE orders (id serial PRIMARY KEY, customer_id bigint CONSTRAINT whose REFERENCES customers)",
        "the foreign key whose of table orders refers to customers, whose key becomes (id, business_id)",
        "ALTER TABLE orders DROP CONSTRAINT whose",
    ),
    "a composite key": (
        "CREATE TABLE orders (business_id uuid, whatsapp_id varchar(255), CONSTRAINT whose FOREIGN KEY (business_id, whatsapp_id) "
        "REFERENCES customers (business_id, whatsapp_id))",
        "the foreign key whose of table orders refers to customers",
        "ALTER TABLE orders DROP CONSTRAINT whose",
    ),
    "a key to itself": (
        "ALTER TABLE conversations ADD COLUMN reply_to bigint CONSTRAINT reply REFERENCES conversations",
        "the foreign key reply of table conversations refers to conversations",
        "ALTER TABLE conversations DROP CONSTRAINT reply",
    ),
    "a key to a table of the team": (
        "CREATE TABLE plans (id int PRIMARY KEY); ALTER TABLE customers ADD COLUMN plan int CONSTRAINT plan REFERENCES plans",
        "the foreign key plan of customers refers to plans, which stays on one server",
        "ALTER TABLE customers DROP CONSTRAINT plan",
    ),
    "a unique index": (
        "CREATE UNIQUE INDEX once ON conversations (whatsapp_message_id)",
        "once of table conversations is unique across businesses",
        "DROP INDEX once",
    ),
    "a unique constraint": (
        "ALTER TABLE customers ADD CONSTRAINT once UNIQUE (username)",
        "once of table customers is unique across businesses",
        "ALTER TABLE customers DROP CONSTRAINT once",
    ),
    "an exclusion": (
        "ALTER TABLE customers ADD CONSTRAINT alone EXCLUDE (username WITH =)",
        "alone of table customers is unique across businesses",
        "ALTER TABLE customers DROP CONSTRAINT alone",
    ),
    "a trigger": (
        NOTHING + "CREATE TRIGGER audit AFTER INSERT ON customers FOR EACH ROW EXECUTE FUNCTION nothing()",
        "the trigger audit of table customers would run on the workers",
        "DROP TRIGGER audit ON customers",
    ),
    "a rule": (
        "CREATE RULE kept AS ON DELETE TO users DO INSTEAD NOTHING",
        "the rule kept of table users is not taken by Citus",
        "DROP RULE kept ON users",
    ),
    "a child": (
        "CREATE TABLE child () INHERITS (conversations)",
        "table child inherits from conversations, which Citus does not take",
        "ALTER TABLE child NO INHERIT conversations",
    ),
    "a policy of the team": (
        "CREATE POLICY staff ON customers USING (EXISTS (SELECT FROM users))",
        "the policy staff of table customers holds a subquery",
        "DROP POLICY staff ON customers",
    ),
}


@pytest.mark.parametrize("name", OBSTACLES)
def test_an_obstacle_is_named_with_the_command_that_removes_it(
    name: str, ready: URL, make_database: MakeDatabase
) -> None:
    url = make_database(ready)
    made, sentence, command = OBSTACLES[name]
    for statement in re.split(r"; (?=CREATE|ALTER)", made):
        execute(url, statement)
    said = refused(url, FORM)
    assert sentence in said
    assert commands(said) == [command]
    execute(url, command)
    widen(url, "upgrade", FORM)
