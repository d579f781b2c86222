"""The multi-tenant schema of a WhatsApp bot: models, sessions and what its Alembic revisions are written with."""
