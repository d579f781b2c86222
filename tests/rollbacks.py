"""Two businesses to roll back, and what a rollback says and leaves."""

from contextlib import redirect_stderr
from io import StringIO

from sqlalchemy import URL

from tests.support import DEFAULT_ID, OTHER_ID, migrate, rows

NUMBER_ID = "00000000-0000-0000-0000-0000000000c1"

HAS_ARCHIVE = "SELECT to_regnamespace('multi_tenant_archive') IS NOT NULL"

SHOPS = f"""
    INSERT INTO businesses (id, name) VALUES ('{OTHER_ID}', 'Other');
    INSERT INTO whatsapp_numbers (id, phone_number, business_id) VALUES
        ('{NUMBER_ID}', '+573001234567', '{DEFAULT_ID}'), ('{OTHER_ID}', '+573001234568', '{OTHER_ID}');
    INSERT INTO users (id, email, password_hash) VALUES ('{OTHER_ID}', 'ana@example.com', '$2b$12$' || repeat('x', 53));
    INSERT INTO user_businesses (user_id, business_id, role) VALUES ('{OTHER_ID}', '{OTHER_ID}', 'owner');
    INSERT INTO customers (whatsapp_id, name, business_id, created_at, updated_at) VALUES
        ('57300', 'Ana', '{DEFAULT_ID}', '2025-01-01', '2025-01-02'), ('57300', 'Ana', '{OTHER_ID}', '2025-02-01', '2025-02-02');
    INSERT INTO conversations (whatsapp_id, message, role, business_id, whatsapp_number_id, whatsapp_message_id) VALUES
        ('57300', 'hola', 'user', '{DEFAULT_ID}', '{NUMBER_ID}', 'wamid.1'), ('57300', 'hola', 'user', '{OTHER_ID}', '{OTHER_ID}', 'wamid.1');
"""


def down(url: URL, *x: str) -> str:
    """Roll back, and return what the run says."""
    with redirect_stderr(StringIO()) as log:
        migrate(url, "downgrade", "-1", *x)
    return log.getvalue()


def up(url: URL, *x: str) -> str:
    """Upgrade again, and return what the run says."""
    with redirect_stderr(StringIO()) as log:
        migrate(url, "upgrade", "head", *x)
    return log.getvalue()


def objects(url: URL) -> list[tuple[object, ...]]:
    """Every object of the database with its privileges, and where the sequences stand."""
    return rows(
        url,
        """
        SELECT kind, name, (SELECT array_agg(a::text ORDER BY a::text) FROM aclexplode(acl) AS a) FROM (
            SELECT 'schema' AS kind, nspname::text AS name, coalesce(nspacl, acldefault('n', nspowner)) AS acl FROM pg_namespace
            UNION ALL SELECT 'relation', oid::regclass::text, coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner))
              FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'S', 'v')
            UNION ALL SELECT 'function', oid::regprocedure::text, proacl FROM pg_proc WHERE pronamespace = 'public'::regnamespace
            UNION ALL SELECT 'type', typname, typacl FROM pg_type WHERE typnamespace = 'public'::regnamespace
            UNION ALL SELECT 'sequence at', concat(sequencename, ' ', last_value), NULL FROM pg_sequences
            UNION ALL SELECT 'default privileges', defaclobjtype::text, defaclacl FROM pg_default_acl) AS o
         WHERE name !~ '^(pg_(toast_)?temp|multi_tenant_rollback)' ORDER BY 1, 2""",
    )
