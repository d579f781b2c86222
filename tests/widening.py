"""What the tests of widening share: the command, a team's additions, and comparison but for the type."""

import re
from io import StringIO
from typing import Any

from alembic.config import Config
from sqlalchemy import URL

from alembic import command
from tests.support import alembic_config, environment, pg_dump, plain, rows

SCALE = ("-n", "scale")

TEAM = """
CREATE TABLE orders (
    id serial PRIMARY KEY,
    customer_id integer NOT NULL CONSTRAINT of_customer REFERENCES customers ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    "message id" integer REFERENCES conversations (id) ON UPDATE CASCADE ON DELETE SET NULL);
COMMENT ON CONSTRAINT of_customer ON orders IS 'whose it is';
ALTER TABLE orders ADD CONSTRAINT unproved FOREIGN KEY (customer_id) REFERENCES customers (id) NOT VALID;
INSERT INTO orders (customer_id, "message id") SELECT 1 + g % 200, 1 + g FROM generate_series(1, 300) AS g;
ALTER TABLE conversations ADD COLUMN reply_to integer REFERENCES conversations (id) ON DELETE SET NULL;
UPDATE conversations SET reply_to = id - 1 WHERE id % 10 = 0;
CREATE INDEX latest ON conversations (whatsapp_id COLLATE "C" text_pattern_ops, id DESC NULLS LAST) INCLUDE (role) WITH (fillfactor = 80) WHERE id > 0;
COMMENT ON INDEX latest IS 'the newest first';
CREATE UNIQUE INDEX "twice" ON conversations ((id * 2)) NULLS NOT DISTINCT;
ALTER TABLE conversations ADD CONSTRAINT id_and_whatsapp UNIQUE (id, whatsapp_id) DEFERRABLE;
ALTER TABLE conversations CLUSTER ON conversations_pkey;
CREATE UNIQUE INDEX identity_of_row ON customers (id, whatsapp_id);
ALTER TABLE customers REPLICA IDENTITY USING INDEX identity_of_row;
ALTER TABLE conversations ADD CONSTRAINT id_is_positive CHECK (id > 0);
COMMENT ON CONSTRAINT id_is_positive ON conversations IS 'checked';
ALTER TABLE customers ALTER COLUMN id SET STATISTICS 500, ALTER COLUMN id SET (n_distinct = -0.5, n_distinct_inherited = -1);
CREATE STATISTICS together (ndistinct) ON id, whatsapp_id FROM customers;
ALTER STATISTICS together SET STATISTICS 200;
COMMENT ON STATISTICS together IS 'of both';
COMMENT ON COLUMN customers.id IS 'the customer''s number';
COMMENT ON SEQUENCE customers_id_seq IS 'numbers of customers';
ALTER TABLE customers ENABLE ROW LEVEL SECURITY;
CREATE POLICY readers ON customers FOR SELECT TO PUBLIC USING (id > 0);
CREATE POLICY writers ON customers AS RESTRICTIVE FOR INSERT TO PUBLIC WITH CHECK (id <> 13);
CREATE POLICY own ON orders USING (EXISTS (SELECT FROM customers AS c WHERE c.id = customer_id));
COMMENT ON POLICY readers ON customers IS 'all of them';
CREATE TABLE audit (at timestamptz DEFAULT now(), what text);
CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO audit (what) VALUES (TG_NAME || ' ' || TG_OP);
    RETURN NEW;
END $$;
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := timezone('UTC', now());
    RETURN NEW;
END $$;
CREATE TRIGGER audit_rows AFTER INSERT OR DELETE OR UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION audit('rows');
CREATE TRIGGER "audit O'Neil" AFTER UPDATE ON customers FOR EACH STATEMENT EXECUTE FUNCTION audit();
CREATE TRIGGER audit_ids AFTER UPDATE OF id, name ON customers FOR EACH ROW WHEN (new.id > 3) EXECUTE FUNCTION audit();
CREATE TRIGGER audit_off BEFORE UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION audit();
CREATE TRIGGER audit_always BEFORE UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION audit();
CREATE TRIGGER touch BEFORE UPDATE ON customers FOR EACH ROW WHEN (old.id > 0) EXECUTE FUNCTION touch();
ALTER TABLE customers DISABLE TRIGGER audit_off;
ALTER TABLE customers ENABLE ALWAYS TRIGGER audit_always;
COMMENT ON TRIGGER audit_rows ON customers IS 'each row';
"""


def widen(url: URL, name: str = "upgrade", revision: str = "bigint", *x: str) -> None:
    """`alembic -n scale upgrade bigint` in this process."""
    with environment(DATABASE_URL=plain(url)):
        getattr(command, name)(scale_config(*x), revision)


def scale_config(*x: str, output: StringIO | None = None) -> Config:
    """The configuration of the second history."""
    config = alembic_config(*x, output=output)
    config.config_ini_section = "scale"
    return config


def scale_script(*x: str, revisions: str = "bigint") -> str:
    """What `alembic -n scale upgrade <revisions> --sql` writes."""
    output = StringIO()
    command.upgrade(scale_config(*x, output=output), revisions, sql=True)
    return output.getvalue()


def definition(url: URL) -> list[str]:
    """The schema as pg_dump writes it down, in any order, with every integer and serial a bigint."""
    lines = pg_dump(url, "-s", "-T", "alembic_version_scale")
    lines = [re.sub(r"\binteger\b", "bigint", line).rstrip(",") for line in lines]
    # Statistics name their columns in the table's order; pg_attver is PostgreSQL's own count of a column's changes.
    lines = [
        re.sub(r"pg_attver=\d+, |(, )?pg_attver=\d+", "", line.replace("ON id, whatsapp_id", "ON whatsapp_id, id"))
        for line in lines
    ]
    return sorted(line for line in lines if line.strip() != "AS bigint" and not line.endswith(" SET ();"))


def sequences(url: URL) -> list[tuple[Any, ...]]:
    """Where each sequence is."""
    names = [name for (name,) in rows(url, "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'S' ORDER BY 1")]
    return [(name, *rows(url, f"SELECT last_value, is_called FROM {name}")[0]) for name in names]


def values(url: URL) -> dict[str, list[Any]]:
    """Every row of every table but the versions, as JSON."""
    tables = rows(
        url,
        "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace "
        "AND relname !~ '^alembic_version' ORDER BY 1",
    )
    return {name: rows(url, f"SELECT to_jsonb(t) - 'id_widened' FROM {name} AS t ORDER BY 1") for (name,) in tables}


def types(url: URL) -> list[str]:
    """The types of the two ids."""
    found = rows(
        url,
        "SELECT format_type(atttypid, NULL) FROM pg_attribute WHERE attname = 'id' "
        "AND attrelid IN ('customers'::regclass, 'conversations'::regclass) ORDER BY attrelid::regclass::text",
    )
    return [kind for (kind,) in found]


def leftovers(url: URL) -> list[tuple[Any, ...]]:
    """Anything that a widening makes for a time."""
    return rows(
        url,
        "SELECT relname FROM pg_class WHERE relname LIKE '%widen%' UNION ALL SELECT proname FROM pg_proc WHERE proname "
        "LIKE '%widen%' UNION ALL SELECT tgname FROM pg_trigger WHERE tgname LIKE '%widen%' UNION ALL SELECT conname "
        "FROM pg_constraint WHERE conname LIKE '%widen%' UNION ALL SELECT attname FROM pg_attribute "
        "WHERE attname LIKE '%widen%' OR attname LIKE '%narrow%'",
    )


def commands(said: str) -> list[str]:
    """What a refusal says to run, in its order."""
    return re.findall(r": run ([^;]+);$", said, re.MULTILINE)


NOTHING = "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$; "
