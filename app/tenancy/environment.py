"""What the process is run with: settings from the environment or `.env`, and the project with its `alembic.ini`.

Nothing is read before the first use, so that importing needs no setting.
"""

import os
from argparse import Namespace
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from dotenv import dotenv_values

from app.tenancy.migration.state import VERSION_TABLE

if TYPE_CHECKING:
    from alembic.config import Config


@dataclass(frozen=True)
class Settings:
    """What the package reads from the environment or `.env`. No repr shows a value."""

    database_url: str = field(default="", repr=False)
    """`postgresql://user:password@host:5432/database`; without it the embedded server may stand in."""

    access_token_keys: str = field(default="", repr=False)
    """Fernet keys separated by commas: the first encrypts, all decrypt."""


_chosen: list[Path] = []


def project_folder() -> Path | None:
    """The folder of `alembic.ini`, whatever the working directory: that of the run, of the clone, or one above here.

    None where there is none: the package is installed, and the process runs outside of a project.
    """
    above = Path(__file__).resolve().parents[2]
    here = Path.cwd()
    for folder in (*_chosen, here, *here.parents, above):
        if (folder / "alembic.ini").is_file():
            return folder
    return None


def use_project(folder: Path) -> None:
    """Have settings read from this folder, that of the `alembic.ini` of a run."""
    if _chosen != [folder]:
        _chosen[:] = [folder]
        get_settings.cache_clear()


def alembic_config(file: Path | None = None) -> "Config":
    """A configuration of Alembic, by default that of the project's `alembic.ini`.

    Without either, it is that of the revisions of this package.
    """
    from alembic.config import Config

    options = Namespace(x=[], raiseerr=False)
    if file is None and (folder := project_folder()):
        file = folder / "alembic.ini"
    if file is not None:
        return Config(file, cmd_opts=options)
    config = Config(cmd_opts=options)
    config.set_main_option("script_location", "app:alembic")
    config.set_main_option("path_separator", "os")
    return config


def version_table(config: "Config") -> str:
    """The name of the table in which a configuration of Alembic records the revision."""
    return str(config.get_main_option("version_table", VERSION_TABLE))


def env_files() -> list[Path]:
    """The files that settings are read from, the strongest last: `.env` here, then the one beside `alembic.ini`."""
    folders = [Path.cwd(), *filter(None, [project_folder()])]
    return [folder / ".env" for folder in dict.fromkeys(folders)]


@cache
def get_settings() -> Settings:
    """The settings, read once per process; `get_settings.cache_clear()` reads them again.

    The environment is stronger than a file, and a file stronger than those before it in `env_files()`.
    """
    found: dict[str, str | None] = {}
    for file in env_files():
        if file.is_file():
            found |= dotenv_values(file)
    found |= os.environ
    return Settings(
        database_url=(found.get("DATABASE_URL") or "").strip(),
        access_token_keys=(found.get("ACCESS_TOKEN_KEYS") or "").strip(),
    )


def import_models(config: "Config | None" = None) -> None:
    """Import the modules that `models` in alembic.ini names, so that your own tables are known beside ours.

    Args:
        config: the configuration of the run; that of the project by default.

    Raises:
        ValueError: a module of that name is not found.
    """
    for name in (config or alembic_config()).get_main_option("models", "").split():
        try:
            import_module(name)
        except ModuleNotFoundError as error:
            raise ValueError(
                f"models = {name} in alembic.ini cannot be imported ({error}): correct the name, or set "
                "prepend_sys_path to the folder that holds the package."
            ) from None
