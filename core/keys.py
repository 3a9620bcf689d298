"""Secret keys: one per purpose, each with an id, from the environment or from files that only their owner reads.

Danger: a key that is lost makes its hashes useless (nobody can sign in, the suppression list forgets), a key that leaks
makes them guessable. Principle: no default, no key below 32 bytes, no key shared by two purposes. Mechanism: a key
is ``RESOCODE_KEY_<PURPOSE>`` (``id:base64``, several separated by commas, the first one is current) or the files
``<home>/keys/<purpose>.<id>.key``, of which the highest id is current. Files are made on the first start of the
embedded database and by ``python -m core keys create``; a server deployment without keys is refused.
"""

import base64
import binascii
import hashlib
import hmac
import os
import secrets
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from core.errors import SettingsError
from core.settings import settings

PURPOSES = ("passwords", "persons", "files", "audit", "codes", "traces", "artifacts")
KEY_BYTES = 32


@dataclass(frozen=True)
class Key:
    """One key of one purpose."""

    purpose: str
    id: str
    secret: bytes

    def __post_init__(self) -> None:
        if len(self.secret) < KEY_BYTES:
            raise SettingsError(f"The key {self.purpose}.{self.id} is shorter than {KEY_BYTES} bytes. Make a new one.")

    def digest(self, *parts: str) -> bytes:
        """Return HMAC-SHA-256 over the parts, each framed by its length so that no two lists collide."""
        framed = b"".join(len(raw := part.encode()).to_bytes(8) + raw for part in parts)
        return hmac.new(self.secret, framed, hashlib.sha256).digest()


def keys(purpose: str) -> dict[str, Key]:
    """Return the keys of a purpose by id, current one first. Raises SettingsError when there is none."""
    found = _from_environment(purpose) or _from_files(purpose)
    if not found:
        raise SettingsError(
            f"The key for {purpose} is missing. Run `python -m core keys create`, or set RESOCODE_KEY_{purpose.upper()}.",
            purpose=purpose,
        )
    return {key.id: key for key in found}


def current(purpose: str) -> Key:
    """Return the key with which new values of a purpose are made."""
    return next(iter(keys(purpose).values()))


def create_missing() -> list[str]:
    """Make a key file for each purpose that has no key yet; return the purposes."""
    made = [purpose for purpose in PURPOSES if not _from_environment(purpose) and not _from_files(purpose)]
    for purpose in made:
        write_secret(_folder() / f"{purpose}.1.key", base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode() + "\n")
    return made


def write_secret(path: Path, content: str) -> None:
    """Write a file that only its owner can read, never a half one."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(content)
    draft.replace(path)


def normalized_email(email: str) -> str:
    """Return the form in which two spellings of one address are equal: NFKC, trimmed, case-folded."""
    return unicodedata.normalize("NFKC", email).strip().casefold()


def person_hashes() -> Callable[[str, str], tuple[bytes, bytes]]:
    """Return a function (e-mail, provider id) → (email_hash, provider_hash) with which every person row is marked."""
    key = current("persons")

    def hashes(email: str, provider_id: str) -> tuple[bytes, bytes]:
        return key.digest("email", normalized_email(email)), key.digest("provider", provider_id)

    return hashes


def _from_environment(purpose: str) -> list[Key]:
    listed = os.environ.get(f"RESOCODE_KEY_{purpose.upper()}", "")
    return [_parsed(purpose, *entry.strip().partition(":")[::2]) for entry in listed.split(",") if entry.strip()]


def _from_files(purpose: str) -> list[Key]:
    files = sorted(_folder().glob(f"{purpose}.*.key"), key=lambda file: int(_id_of(file)), reverse=True)
    return [_parsed(purpose, _id_of(file), _read_private(file)) for file in files]


def _folder() -> Path:
    return settings().home / "keys"


def _id_of(file: Path) -> str:
    key_id = file.name.split(".")[1]
    if not key_id.isdigit():
        raise SettingsError(f"The key file {file.name} must be named <purpose>.<number>.key.")
    return key_id


def _read_private(file: Path) -> str:
    if file.stat().st_mode & 0o077:
        raise SettingsError(f"Others can read the key file {file}. Run `chmod 600` on it, or replace the key.")
    return file.read_text().strip()


def _parsed(purpose: str, key_id: str, encoded: str) -> Key:
    try:
        return Key(purpose, key_id, base64.b64decode(encoded, validate=True))
    except binascii.Error as error:
        raise SettingsError(f"The key {purpose}.{key_id} is not base64.", purpose=purpose) from error
