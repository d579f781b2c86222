"""Whatever the businesses did is there again after a rollback, days of the single-business bot, and an upgrade."""

import json
import string
from collections.abc import Sequence
from contextlib import redirect_stderr
from datetime import UTC, datetime
from io import StringIO
from typing import Any

from cryptography.fernet import Fernet
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import URL, text

from tests.conftest import TOKEN_KEY, MakeDatabase
from tests.support import DEFAULT_ID, SCHEMA_TABLES, catalogue, contents, engine_of, migrate, scalar

Row = dict[str, Any]
Rows = dict[str, list[Row]]

# Everything that a text column can hold: no surrogates, no NUL.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
TIME = st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC)).map(datetime.isoformat)
WHATSAPP_ID = st.sampled_from(["573001234567", "57300", " +57 ", "ñ", "💈", "'; --"])
TOKEN = st.sampled_from([None, *(Fernet(TOKEN_KEY).encrypt(n * b"x").decode() for n in (0, 15, 300))])
JSON = st.recursive(st.none() | st.booleans() | st.integers(-9, 9) | TEXT, lambda inner: st.dictionaries(TEXT, inner))
PLACE = st.integers(0, 5)
WORK = st.one_of(
    st.tuples(st.just("say"), WHATSAPP_ID, TEXT),
    st.tuples(st.just("edit"), PLACE, TEXT),
    st.tuples(st.just("forget"), PLACE, TEXT),
    st.tuples(st.just("meet"), WHATSAPP_ID, TEXT),
    st.tuples(st.just("rename"), PLACE, TEXT),
    st.tuples(st.just("leave"), PLACE, TEXT),
)
STATEMENTS = {
    "say": "INSERT INTO conversations (whatsapp_id, message, role, timestamp, created_at) "
    "VALUES (:who, :text, 'user', timestamp '2026-01-01 10:00:00.5', timestamp '2026-01-01 10:00:01')",
    "edit": "UPDATE conversations SET message = :text, timestamp = timestamp '2026-02-01' "
    "WHERE id = (SELECT id FROM conversations ORDER BY id OFFSET :who LIMIT 1)",
    "forget": "DELETE FROM conversations WHERE id = (SELECT id FROM conversations ORDER BY id OFFSET :who LIMIT 1)",
    "meet": "INSERT INTO customers (whatsapp_id, name, created_at, updated_at) VALUES (:who, :text, now(), now()) "
    "ON CONFLICT (whatsapp_id) DO UPDATE SET name = excluded.name, updated_at = excluded.updated_at",
    "rename": "UPDATE customers SET name = :text, updated_at = timestamp '2026-03-01' "
    "WHERE id = (SELECT id FROM customers ORDER BY id OFFSET :who LIMIT 1)",
    "leave": "DELETE FROM customers WHERE id = (SELECT id FROM customers ORDER BY id OFFSET :who LIMIT 1)",
}


@st.composite
def worlds(draw: st.DrawFn) -> Rows:
    """Rows of every table that fit together; columns not drawn are filled by `load`."""

    def several(most: int, **columns: st.SearchStrategy[Any]) -> list[Row]:
        return draw(st.lists(st.fixed_dictionaries({**columns, "created_at": TIME, "updated_at": TIME}), max_size=most))

    def numbered(found: list[Row]) -> list[Row]:
        ids = draw(st.lists(st.integers(1, 40), min_size=len(found), max_size=len(found), unique=True))
        return [{**row, "id": id} for row, id in zip(found, ids, strict=True)]

    def uuids(found: list[Row]) -> list[Row]:
        ids = draw(st.lists(st.uuids().map(str), min_size=len(found), max_size=len(found), unique=True))
        return [{**row, "id": id} for row, id in zip(found, ids, strict=True)]

    flag = st.booleans()
    businesses = uuids(several(3, name=TEXT, business_type=TEXT, settings=st.dictionaries(TEXT, JSON), is_active=flag))
    ids = [DEFAULT_ID, *(row["id"] for row in businesses)]
    business = st.sampled_from(ids)
    if draw(flag):
        businesses.append({**dict.fromkeys(("created_at", "updated_at"), draw(TIME)), "id": DEFAULT_ID, "name": draw(TEXT),
                           "business_type": "barberia", "settings": {}, "is_active": draw(flag)})  # fmt: skip
    numbers = uuids(several(4, business_id=business, access_token=TOKEN, is_active=flag))
    for place, row in enumerate(numbers):
        row |= {"phone_number": f"+5730000000{place}", "phone_number_id": draw(st.sampled_from([None, f"id {place}"]))}
    users = uuids(several(3, full_name=st.none() | TEXT, is_active=flag))
    for place, row in enumerate(users):
        row |= {"email": f"{draw(TEXT)}{place}@x", "password_hash": f"$argon2id$v=19$m=65536${place}${'h' * 43}"}
    pairs = (
        draw(st.sets(st.tuples(st.sampled_from([u["id"] for u in users]), business), max_size=4)) if users else set()
    )
    roles = [
        {"user_id": user, "business_id": of, "role": draw(st.sampled_from(["owner", "admin", "staff"]))}
        | dict.fromkeys(("created_at", "updated_at"), draw(TIME))
        for user, of in sorted(pairs)
    ]
    customers = numbered(several(8, business_id=business, whatsapp_id=WHATSAPP_ID, name=TEXT, age=st.none() | PLACE))
    messages = numbered(
        several(12, business_id=business, whatsapp_id=WHATSAPP_ID, message=TEXT, role=TEXT, timestamp=TIME)
    )
    for place, row in enumerate(messages):
        of = [number["id"] for number in numbers if number["business_id"] == row["business_id"]]
        row["whatsapp_number_id"] = draw(st.sampled_from([None, *of]))
        row["whatsapp_message_id"] = draw(st.sampled_from([None, f"wamid.{place}{string.punctuation}"]))
    return {
        "businesses": businesses,
        "whatsapp_numbers": numbers,
        "users": users,
        "user_businesses": roles,
        "customers": list({(row["business_id"], row["whatsapp_id"]): row for row in customers}.values()),
        "conversations": messages,
    }


def load(url: URL, world: Rows) -> None:
    """Store the world by value; both sequences stand where the default business's rows leave them."""
    with engine_of(url).begin() as connection:
        if any(row["id"] == DEFAULT_ID for row in world["businesses"]):
            connection.execute(text("DELETE FROM businesses"))
        for table in SCHEMA_TABLES:
            insert = f"INSERT INTO {table} SELECT * FROM jsonb_populate_recordset(NULL::{table}, :rows)"
            connection.execute(text(insert), {"rows": json.dumps(world[table])})
        for table in ("customers", "conversations"):
            highest = f"(SELECT max(id) FROM {table} WHERE business_id = '{DEFAULT_ID}')"
            connection.execute(text(f"SELECT setval('{table}_id_seq', coalesce({highest}, 1), {highest} IS NOT NULL)"))


def stored(url: URL, *tables: str) -> Rows:
    """Every row, by value."""
    with engine_of(url).connect() as connection:
        found = contents(connection, tables or SCHEMA_TABLES)
    return {table: [json.loads(row) for row in rows] for table, rows in found.items()}


def ordered(rows: list[Row], without: Sequence[str] = ()) -> list[str]:
    return sorted(json.dumps({k: v for k, v in row.items() if k not in without}, sort_keys=True) for row in rows)


def old_row(row: Row) -> Row:
    """The row as the single-business schema holds it."""
    gone = ("business_id", "whatsapp_number_id", "whatsapp_message_id", "whatsapp_user_id", "username")
    naive = {k: row[k].removesuffix("+00:00") for k in ("timestamp", "created_at", "updated_at") if k in row}
    return {k: v for k, v in (row | naive).items() if k not in gone}


# The same examples in every run: more with max_examples, others without derandomize, and Phase.shrink (minutes,
# for every example migrates twice) makes one that fails small.
@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(world=worlds(), work=st.lists(WORK, max_size=8))
def test_everything_comes_back_by_value(
    make_database: MakeDatabase, migrated_template: URL, world: Rows, work: list[tuple[str, Any, str]]
) -> None:
    url = make_database(migrated_template)
    load(url, world)
    before = stored(url)

    migrate(url, "downgrade", "-1")
    archived = scalar(url, "SELECT to_regnamespace('multi_tenant_archive') IS NOT NULL")
    for table, kept in stored(url, "customers", "conversations").items():
        own = [old_row(row) for row in before[table] if row["business_id"] == DEFAULT_ID]
        assert ordered(kept) == ordered(own), "the single-business bot sees its own rows, and no others"
    with engine_of(url).begin() as connection:
        for kind, who, said in work:
            connection.execute(text(STATEMENTS[kind]), {"who": who, "text": said})
    bots = stored(url, "customers", "conversations")

    with redirect_stderr(StringIO()) as log:
        migrate(url)
    after = stored(url)
    # Nothing to keep: the default business is made anew, and is the same but for its times.
    made_anew = () if archived else ("created_at", "updated_at")
    for table in ("businesses", "whatsapp_numbers", "users", "user_businesses"):
        assert ordered(after[table], made_anew) == ordered(before[table], made_anew)
    links = {row["id"]: row for row in before["conversations"] if row["business_id"] == DEFAULT_ID}
    for table, rows in bots.items():
        others = [row for row in before[table] if row["business_id"] != DEFAULT_ID]
        assert ordered([row for row in after[table] if row["business_id"] != DEFAULT_ID]) == ordered(others)
        own = [row for row in after[table] if row["business_id"] == DEFAULT_ID]
        assert ordered([old_row(row) for row in own]) == ordered(rows), "what the bot wrote wins for its own rows"
        for row in own if table == "conversations" else []:
            for link in ("whatsapp_number_id", "whatsapp_message_id"):
                assert row[link] == links.get(row["id"], {}).get(link)
    kept_ids = {row["id"] for row in bots["conversations"]}
    lost = [
        i for i, row in links.items() if i not in kept_ids and (row["whatsapp_number_id"] or row["whatsapp_message_id"])
    ]
    assert (f"{len(lost)} archived links were dropped" in log.getvalue()) == bool(lost)
    assert catalogue(url) == catalogue(migrated_template)
    assert scalar(url, "SELECT to_regnamespace('multi_tenant_archive') IS NULL")
