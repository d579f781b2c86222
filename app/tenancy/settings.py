"""Settings, read from the environment or `.env` on first use, so that importing needs none of them."""

from functools import cache
from pathlib import Path

from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """What the package reads from the environment; secrets show as `**********` in every repr."""

    model_config = SettingsConfigDict(env_file_encoding="utf-8", extra="ignore", str_strip_whitespace=True)

    database_url: SecretStr | None = None
    """`postgresql://user:password@host:5432/database`; without it the embedded server may stand in."""

    access_token_keys: SecretStr | None = None
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


def env_files() -> list[Path]:
    """The files that settings are read from, the last one first: `.env` here, and beside `alembic.ini`."""
    folders = [Path.cwd(), *filter(None, [project_folder()])]
    return [folder / ".env" for folder in dict.fromkeys(folders)]


@cache
def get_settings() -> Settings:
    """The settings, read once per process; `get_settings.cache_clear()` reads them again."""
    return Settings(_env_file=env_files())
