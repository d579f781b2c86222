"""Settings, read from the environment or `.env` on first use, so that importing needs none of them."""

from functools import cache

from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """What the package reads from the environment; secrets show as `**********` in every repr."""

    model_config = SettingsConfigDict(
        env_file=".env", env_file_encoding="utf-8", extra="ignore", str_strip_whitespace=True
    )

    database_url: SecretStr | None = None
    """`postgresql://user:password@host:5432/database`; without it the embedded server is used."""

    access_token_keys: SecretStr | None = None
    """Fernet keys separated by commas: the first encrypts, all decrypt."""


@cache
def get_settings() -> Settings:
    """The settings, read once per process; `get_settings.cache_clear()` reads them again."""
    return Settings()
