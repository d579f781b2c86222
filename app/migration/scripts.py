"""The SQL of a revision that is longer than a line, kept in files beside the revisions."""

from pathlib import Path

from alembic import op


def script(name: str, /, **values: str) -> str:
    """The text of `alembic/sql/<name>`, with every `{{key}}` replaced by its value."""
    directory = op.get_context().script
    assert directory is not None  # noqa: S101
    text = (Path(directory.dir) / "sql" / name).read_text(encoding="utf-8")
    for key, value in values.items():
        text = text.replace("{{" + key + "}}", value)
    return text.strip()
