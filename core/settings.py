"""Settings: environment variables, read once at the edge.

Every name stands in ``docs/runbook.md``; a test compares. Nothing here reads the database.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from core.errors import SettingsError

ROOT = Path(__file__).resolve().parent.parent
TRUE = {"1", "true", "yes", "on"}
FALSE = {"", "0", "false", "no", "off"}


@dataclass(frozen=True)
class Settings:
    """What the environment says.

    ``database_url``, ``owner_url`` and ``worker_url`` are None with the embedded PostgreSQL, which keeps them itself.
    """

    home: Path
    database_url: str | None
    owner_url: str | None
    worker_url: str | None
    read_url: str | None
    demo: bool
    https: bool
    host: str
    port: int
    platform_url: str | None

    @property
    def embedded(self) -> bool:
        """True when no DATABASE_URL is given: the database is the embedded PostgreSQL in ``home``."""
        return self.database_url is None


def settings() -> Settings:
    """Return the settings of this process. Raises SettingsError, naming the variable, when one cannot be used."""
    found = Settings(
        home=Path(os.environ.get("RESOCODE_HOME") or ROOT / ".resocode").absolute(),
        database_url=_url("DATABASE_URL"),
        owner_url=_url("OWNER_DATABASE_URL"),
        worker_url=_url("WORKER_DATABASE_URL"),
        read_url=_url("READ_DATABASE_URL"),
        demo=_switch("RESOCODE_DEMO"),
        https=_switch("RESOCODE_HTTPS"),
        host=os.environ.get("RESOCODE_HOST") or "127.0.0.1",
        port=_port("RESOCODE_PORT", 8501),
        platform_url=os.environ.get("RESOCODE_PLATFORM_URL") or None,
    )
    if found.demo and not found.embedded:
        raise SettingsError("Demo mode works on the embedded database only. Unset RESOCODE_DEMO or DATABASE_URL.")
    return found


def _url(name: str) -> str | None:
    value = os.environ.get(name)
    if not value:
        return None
    scheme, found, rest = value.partition("://")
    if not found or scheme.split("+")[0] not in ("postgresql", "postgres"):
        raise SettingsError(f"{name} must begin with postgresql:// (PostgreSQL 15 or newer).", name=name)
    return f"postgresql+psycopg://{rest}"


def _switch(name: str) -> bool:
    value = os.environ.get(name, "").strip().lower()
    if value not in TRUE | FALSE:
        raise SettingsError(f"{name} must be 1 or 0, not {value!r}.", name=name)
    return value in TRUE


def _port(name: str, default: int) -> int:
    value = os.environ.get(name) or str(default)
    if not value.isdigit() or not 1 <= int(value) <= 65535:
        raise SettingsError(f"{name} must be a port between 1 and 65535, not {value!r}.", name=name)
    return int(value)
