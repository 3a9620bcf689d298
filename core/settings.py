"""Settings: environment variables, read once at the edge.

Every name stands in ``docs/runbook.md``; a test compares. Nothing here reads the database.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from string import Formatter
from urllib.parse import urlsplit

from core.errors import SettingsError

ROOT = Path(__file__).resolve().parent.parent
TRUE = {"1", "true", "yes", "on"}
FALSE = {"", "0", "false", "no", "off"}
NAMES = (
    "RESOCODE_HOME", "RESOCODE_LEDGER", "DATABASE_URL", "OWNER_DATABASE_URL", "WORKER_DATABASE_URL", "READ_DATABASE_URL", "RESOCODE_DEMO",
    "RESOCODE_HTTPS", "RESOCODE_HOST", "RESOCODE_PORT", "RESOCODE_PLATFORM_URL", "RESOCODE_SMTP_URL", "RESOCODE_SMTP_URL_FILE",
    "RESOCODE_MAIL_FROM",
    "RESOCODE_BACKUPS", "RESOCODE_BACKUP_RECIPIENT", "RESOCODE_BACKUP_IDENTITY",
    "RESOCODE_CLOUDINARY_URL", "RESOCODE_CLOUDINARY_URL_FILE", "RESOCODE_CLOUDINARY_FOLDERS", "RESOCODE_CLOUDINARY_DELIVERY",
    "RESOCODE_CLOUDINARY_DERIVED",
    "RESOCODE_STRIPE_KEY", "RESOCODE_STRIPE_KEY_FILE", "RESOCODE_STRIPE_API", "RESOCODE_STRIPE_REDACTION",
    "RESOCODE_MAIL_RATE", "RESOCODE_MAIL_CATCHER",
    "RESOCODE_MONGODB_URI", "RESOCODE_MONGODB_URI_FILE", "RESOCODE_MONGODB_DATABASE", "RESOCODE_MONGODB_MAPPING",
    "RESOCODE_ALERT_MAIL", "RESOCODE_ALERT_WEBHOOK",
)  # fmt: skip
IN_FILES = tuple(at for at, name in enumerate(NAMES) if name.endswith("_FILE"))
PLACEHOLDERS = ("kind", "id")
LOCAL = ("localhost", "127.0.0.1", "::1")
TEMPLATE_RULE = (
    "It must begin with https:// (http:// on this machine only) and hold {kind} and {id} behind the host and no other "
    "placeholder, like https://platform.example/{kind}/{id}."
)


@dataclass(frozen=True)
class Cloudinary:
    """The media library: its account, the folders in which a student's files lie, where files are delivered from, and how the
    platform's pages transform them.

    ``folders`` are beginnings of public ids that hold ``{id}``, the platform's own id of a student, between slashes.
    """

    cloud: str
    key: str
    secret: str = field(repr=False)
    api: str
    delivery: str
    folders: tuple[str, ...]
    derived: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stripe:
    """The payment gateway: a secret or restricted key, the API's address, and whether Stripe redacts for this account."""

    key: str = field(repr=False)
    api: str
    redaction: bool


@dataclass(frozen=True)
class Settings:
    """What the environment says.

    ``database_url``, ``owner_url`` and ``worker_url`` are None with the embedded PostgreSQL, which keeps them itself.
    ``ledger`` is the folder of the erasure ledger, outside the database and its backups (core.privacy.ledger).
    ``backups`` is the folder of backups; ``backup_recipient`` the public key they are encrypted to, None: that of the file
    ``backup_identity``, which restoring needs (core.backup).
    ``alert_mail`` and ``alert_webhook`` are told when a promise is broken, and when it is not any more.
    ``platform_url`` is the template of the platform's own pages (core.links), or None: then no page links there.
    ``mail_rate``: letters a minute, of all workers together.
    """

    home: Path
    ledger: Path
    database_url: str | None = field(repr=False)
    owner_url: str | None = field(repr=False)
    worker_url: str | None = field(repr=False)
    read_url: str | None = field(repr=False)
    demo: bool
    https: bool
    host: str
    port: int
    platform_url: str | None
    smtp_url: str | None = field(repr=False)
    mail_from: str | None
    cloudinary: "Cloudinary | None"
    stripe: "Stripe | None"
    backups: Path
    backup_recipient: str | None
    backup_identity: Path
    mail_rate: int
    mail_catcher: bool
    mongodb_uri: str | None = field(repr=False)
    mongodb_database: str | None
    mongodb_mapping: Path | None
    alert_mail: tuple[str, ...]
    alert_webhook: str | None = field(repr=False)

    @property
    def embedded(self) -> bool:
        """True when no DATABASE_URL is given: the database is the embedded PostgreSQL in ``home``."""
        return self.database_url is None


def settings() -> Settings:
    """Return the settings of this process. Raises SettingsError, naming the variable, when one cannot be used.

    Cheap enough for a loop: what the variables say is worked out once, and anew only when one of them has changed, or a file that
    holds a secret: so that a new key in the file is taken up by the next call, without a restart.
    """
    values = tuple(map(os.environ.get, NAMES))
    return _settings(values, tuple(_stamp(values[at]) for at in IN_FILES))


def _stamp(file: str | None) -> tuple[int, ...]:
    """What changes about a file that is written anew; () for none, or none that is there."""
    try:
        found = Path(file).stat() if file else None
    except OSError:
        return ()
    return (found.st_ino, found.st_size, found.st_mtime_ns, found.st_mode) if found else ()


@lru_cache(maxsize=8)
def _settings(values: tuple[str | None, ...], _files: tuple[tuple[int, ...], ...]) -> Settings:
    given = {name: value for name, value in zip(NAMES, values, strict=True) if value}
    home = Path(given.get("RESOCODE_HOME") or ROOT / ".resocode").absolute()
    found = Settings(
        home=home,
        ledger=Path(given.get("RESOCODE_LEDGER") or home / "ledger").absolute(),
        database_url=_url(given, "DATABASE_URL"),
        owner_url=_url(given, "OWNER_DATABASE_URL"),
        worker_url=_url(given, "WORKER_DATABASE_URL"),
        read_url=_url(given, "READ_DATABASE_URL"),
        demo=_switch(given, "RESOCODE_DEMO"),
        https=_switch(given, "RESOCODE_HTTPS"),
        host=given.get("RESOCODE_HOST") or "127.0.0.1",
        port=_port(given, "RESOCODE_PORT", 8501),
        platform_url=_platform_url(given, "RESOCODE_PLATFORM_URL"),
        smtp_url=_mail_server(given, "RESOCODE_SMTP_URL"),
        mail_from=given.get("RESOCODE_MAIL_FROM"),
        cloudinary=_cloudinary(given),
        stripe=_stripe(given),
        backups=Path(given.get("RESOCODE_BACKUPS") or home / "backups").absolute(),
        backup_recipient=given.get("RESOCODE_BACKUP_RECIPIENT"),
        backup_identity=Path(given.get("RESOCODE_BACKUP_IDENTITY") or home / "keys" / "backups.age").absolute(),
        mail_rate=_rate(given, "RESOCODE_MAIL_RATE", 600),
        mail_catcher=_catcher(given, "RESOCODE_MAIL_CATCHER"),
        mongodb_uri=_mongodb(given, "RESOCODE_MONGODB_URI"),
        mongodb_database=given.get("RESOCODE_MONGODB_DATABASE"),
        mongodb_mapping=Path(given["RESOCODE_MONGODB_MAPPING"]).absolute()
        if given.get("RESOCODE_MONGODB_MAPPING")
        else None,
        alert_mail=_addresses(given, "RESOCODE_ALERT_MAIL"),
        alert_webhook=_webhook(given, "RESOCODE_ALERT_WEBHOOK"),
    )
    if found.demo and not found.embedded:
        raise SettingsError("Demo mode works on the embedded database only. Unset RESOCODE_DEMO or DATABASE_URL.")
    return found


def _url(given: Mapping[str, str], name: str) -> str | None:
    value = given.get(name)
    if not value:
        return None
    scheme, found, rest = value.partition("://")
    if not found or scheme.split("+")[0] not in ("postgresql", "postgres"):
        raise SettingsError(f"{name} must begin with postgresql:// (PostgreSQL 15 or newer).", name=name)
    return f"postgresql+psycopg://{rest}"


def _platform_url(given: Mapping[str, str], name: str) -> str | None:
    """The template of addresses like ``https://platform.example/{kind}/{id}``, checked as far as it can be at the start."""
    value = given.get(name)
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


def _mail_server(given: Mapping[str, str], name: str) -> str | None:
    """The address of the mail server, with its password, from the variable or from the file that ``<name>_FILE`` names."""
    value = secret(given, name)
    if value and not value.startswith(("smtp://", "smtps://")):
        raise SettingsError(f"{name} must begin with smtp:// (STARTTLS) or smtps://.", name=name)
    return value


def _catcher(given: Mapping[str, str], name: str) -> bool:
    """Whether the mail server keeps whatever it gets: for trying out and for tests, so on this machine only."""
    wanted = _switch(given, name)
    if wanted and urlsplit(_mail_server(given, "RESOCODE_SMTP_URL") or "smtp://localhost").hostname not in LOCAL:
        raise SettingsError(f"{name} is for a mail server on this machine that passes nothing on.", name=name)
    return wanted


def _mongodb(given: Mapping[str, str], name: str) -> str | None:
    """The address of the platform's database, from the variable or from the file that ``<name>_FILE`` names.

    Outside this machine only with TLS, which ``mongodb+srv`` implies.
    """
    value = secret(given, name)
    if value is None:
        return None
    scheme, found, rest = value.partition("://")
    if not found or scheme not in ("mongodb", "mongodb+srv"):
        raise SettingsError(f"{name} must begin with mongodb+srv:// or mongodb://.", name=name)
    place, _, options = rest.partition("?")
    hosts = [each.rpartition(":")[0] or each for each in place.partition("/")[0].rpartition("@")[2].split(",")]
    asked = {pair.partition("=")[0].lower(): pair.partition("=")[2].lower() for pair in options.split("&")}
    wanted = asked.get("tls", asked.get("ssl", "true" if scheme == "mongodb+srv" else "false"))
    if wanted != "true" and not set(hosts) <= {*LOCAL, "[::1]"}:
        raise SettingsError(
            f"{name} leads to another machine without TLS. Add tls=true, or use mongodb+srv://.", name=name
        )
    if any(each in asked for each in ("tlsinsecure", "tlsallowinvalidcertificates", "tlsallowinvalidhostnames")):
        raise SettingsError(f"{name} must not switch the check of certificates off.", name=name)
    return value


def secret(given: Mapping[str, str], name: str) -> str | None:
    """Return a secret from its variable, or from the file that ``<name>_FILE`` names, which nobody else may read.

    Raises SettingsError, which never holds the secret itself.
    """
    if value := given.get(name):
        return value
    if not (place := given.get(f"{name}_FILE")):
        return None
    file = Path(place)
    try:
        if file.stat().st_mode & 0o077:
            raise SettingsError(f"Others can read the file of {name}_FILE. Run `chmod 600` on it.", name=name)
        return file.read_text().strip() or None
    except OSError as error:
        raise SettingsError(f"The file of {name}_FILE cannot be read.", name=name) from error


def _derived(value: str) -> tuple[str, ...]:
    """Transformations as they stand in an address, with blanks between: ``w_100,h_100 c_fill,w_400/e_sharpen``."""
    found = tuple(value.split())
    if not all(re.fullmatch(r"[a-z]{1,4}_[\w,.:!/-]+", each) and ".." not in each for each in found):
        name = "RESOCODE_CLOUDINARY_DERIVED"
        raise SettingsError(
            f"{name} must be transformations with blanks between, like w_100,h_100 c_fill,w_400.", name=name
        )
    return found


def _cloudinary(given: Mapping[str, str]) -> Cloudinary | None:
    name = "RESOCODE_CLOUDINARY_URL"
    if not (value := secret(given, name)):
        return None
    parts = urlsplit(value)
    if parts.scheme != "cloudinary" or not (parts.username and parts.password and parts.hostname):
        raise SettingsError(f"{name} must be like cloudinary://key:secret@cloud.", name=name)
    cloud = parts.netloc.rpartition("@")[2]  # hostname would be in lower case
    folders = tuple(each.strip() for each in (given.get("RESOCODE_CLOUDINARY_FOLDERS") or "students/{id}/").split(","))
    if not all(re.fullmatch(r"([\w.-]+/)*\{id\}/", each) for each in folders):
        raise SettingsError(
            "Each folder of RESOCODE_CLOUDINARY_FOLDERS must end with {id}/, like students/{id}/: without the slash, the files of "
            "student 12 and of student 123 begin alike.", name="RESOCODE_CLOUDINARY_FOLDERS",
        )  # fmt: skip
    api = dict(each.split("=", 1) for each in parts.query.split("&") if "=" in each).get("upload_prefix", "")
    return Cloudinary(
        cloud, parts.username, parts.password, _https(name, api or "https://api.cloudinary.com"),
        _https("RESOCODE_CLOUDINARY_DELIVERY", given.get("RESOCODE_CLOUDINARY_DELIVERY") or f"https://res.cloudinary.com/{cloud}"),
        folders, _derived(given.get("RESOCODE_CLOUDINARY_DERIVED") or ""),
    )  # fmt: skip


def _stripe(given: Mapping[str, str]) -> Stripe | None:
    name = "RESOCODE_STRIPE_KEY"
    if not (value := secret(given, name)):
        return None
    if not re.fullmatch(r"(sk|rk)_[A-Za-z0-9_]+", value):
        raise SettingsError(f"{name} must be a secret or a restricted key (sk_…, rk_…).", name=name)
    api = _https("RESOCODE_STRIPE_API", given.get("RESOCODE_STRIPE_API") or "https://api.stripe.com")
    return Stripe(value, api, _switch(given, "RESOCODE_STRIPE_REDACTION"))


def _https(name: str, value: str) -> str:
    """An address that secrets are sent to: encrypted, or on this machine."""
    parts = urlsplit(value)
    if not parts.hostname or not (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOCAL)):
        raise SettingsError(f"{name} must name an https:// address (http:// on this machine only).", name=name)
    return value.rstrip("/")


def _rate(given: Mapping[str, str], name: str, default: int) -> int:
    value = given.get(name) or str(default)
    if not value.isdigit() or not 6 <= int(value) <= 600_000:
        raise SettingsError(f"{name} must be letters a minute, between 6 and 600000, not {value!r}.", name=name)
    return int(value)


def _addresses(given: Mapping[str, str], name: str) -> tuple[str, ...]:
    listed = tuple(each.strip() for each in given.get(name, "").split(",") if each.strip())
    if any("@" not in each[1:-1] or not each.isprintable() or " " in each for each in listed):
        raise SettingsError(f"{name} must be e-mail addresses, with commas between.", name=name)
    return listed


def _webhook(given: Mapping[str, str], name: str) -> str | None:
    value = given.get(name)
    address = urlsplit(value or "")
    if value and not (
        address.hostname and (address.scheme == "https" or (address.scheme == "http" and address.hostname in LOCAL))
    ):
        raise SettingsError(f"{name} must begin with https:// (http:// on this machine only).", name=name)
    return value or None


def _switch(given: Mapping[str, str], name: str) -> bool:
    value = given.get(name, "").strip().lower()
    if value not in TRUE | FALSE:
        raise SettingsError(f"{name} must be 1 or 0, not {value!r}.", name=name)
    return value in TRUE


def _port(given: Mapping[str, str], name: str, default: int) -> int:
    value = given.get(name) or str(default)
    if not value.isdigit() or not 1 <= int(value) <= 65535:
        raise SettingsError(f"{name} must be a port between 1 and 65535, not {value!r}.", name=name)
    return int(value)
