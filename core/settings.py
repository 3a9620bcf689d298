"""Settings: environment variables, read once at the edge.

Every name stands in ``docs/runbook.md``; a test compares. Nothing here reads the database.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from urllib.parse import urlsplit

from core.errors import SettingsError

ROOT = Path(__file__).resolve().parent.parent
TRUE = {"1", "true", "yes", "on"}
FALSE = {"", "0", "false", "no", "off"}
PLACEHOLDERS = ("kind", "id")
LOCAL = ("localhost", "127.0.0.1", "::1")
TEMPLATE_RULE = (
    "It must begin with https:// (http:// on this machine only) and hold {kind} and {id} behind the host and no other "
    "placeholder, like https://platform.example/{kind}/{id}."
)


@dataclass(frozen=True)
class Settings:
    """What the environment says.

    ``database_url``, ``owner_url`` and ``worker_url`` are None with the embedded PostgreSQL, which keeps them itself.
    ``ledger`` is the folder of the erasure ledger, outside the database and its backups (core.privacy.ledger).
    ``platform_url`` is the template of the platform's own pages (core.links), or None: then no page links there.
    """

    home: Path
    ledger: Path
    database_url: str | None
    owner_url: str | None
    worker_url: str | None
    read_url: str | None
    demo: bool
    https: bool
    host: str
    port: int
    platform_url: str | None
    smtp_url: str | None
    mail_from: str | None

    @property
    def embedded(self) -> bool:
        """True when no DATABASE_URL is given: the database is the embedded PostgreSQL in ``home``."""
        return self.database_url is None


def settings() -> Settings:
    """Return the settings of this process. Raises SettingsError, naming the variable, when one cannot be used."""
    home = Path(os.environ.get("RESOCODE_HOME") or ROOT / ".resocode").absolute()
    found = Settings(
        home=home,
        ledger=Path(os.environ.get("RESOCODE_LEDGER") or home / "ledger").absolute(),
        database_url=_url("DATABASE_URL"),
        owner_url=_url("OWNER_DATABASE_URL"),
        worker_url=_url("WORKER_DATABASE_URL"),
        read_url=_url("READ_DATABASE_URL"),
        demo=_switch("RESOCODE_DEMO"),
        https=_switch("RESOCODE_HTTPS"),
        host=os.environ.get("RESOCODE_HOST") or "127.0.0.1",
        port=_port("RESOCODE_PORT", 8501),
        platform_url=_platform_url("RESOCODE_PLATFORM_URL"),
        smtp_url=_mail_server("RESOCODE_SMTP_URL"),
        mail_from=os.environ.get("RESOCODE_MAIL_FROM") or None,
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


def _platform_url(name: str) -> str | None:
    """The template of addresses like ``https://platform.example/{kind}/{id}``, checked as far as it can be at the start."""
    value = os.environ.get(name)
    if not value:
        return None
    try:
        fields = [
            (field, spec, conversion) for _, field, spec, conversion in Formatter().parse(value) if field is not None
        ]
        address = urlsplit(value)
        known = all(field in PLACEHOLDERS and not spec and not conversion for field, spec, conversion in fields)
        safe = address.scheme == "https" or (address.scheme == "http" and address.hostname in LOCAL)
        port_is_a_number = address.port is None or address.port > 0
    except ValueError as error:
        raise SettingsError(f"{name} is not an address. {TEMPLATE_RULE}", name=name) from error
    host_is_fixed = bool(address.hostname) and not set(address.netloc) & set("{}@")
    typed = all(char.isprintable() and char not in ' <>"\\^`|' for char in value)
    if not (
        known and safe and port_is_a_number and host_is_fixed and typed and {f[0] for f in fields} == set(PLACEHOLDERS)
    ):
        raise SettingsError(f"{name} cannot be used. {TEMPLATE_RULE}", name=name)
    return value


def _mail_server(name: str) -> str | None:
    value = os.environ.get(name)
    if value and not value.startswith(("smtp://", "smtps://")):
        raise SettingsError(f"{name} must begin with smtp:// (STARTTLS) or smtps://.", name=name)
    return value or None


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
