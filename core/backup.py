"""Backups: the whole database in one encrypted file, gone after the days that certificates of erasure name, and back through a gate.

Danger: a backup lies about unencrypted, is kept for years with everybody in it who was erased since, or comes back and nobody
notices. Principle: what leaves the database is encrypted before it touches a disk; its last day is written into it when it is
made, and after that day it is removed and never restored; a restored database opens to nobody before it has learned from the
erasure ledger (core.privacy.restore). Mechanism: ``pg_dump`` streams into age (age-encryption.org), a public format under a
public key, so that the machine that makes backups need not be able to read them, and a recovery needs ``age`` and
``pg_restore`` only. A signed note beside the file says when it was made, until when it may be kept and its SHA-256.
:func:`restore` fills a new database first and exchanges the two names in one transaction: a restore that fails changes nothing.

The folder is the truth: a row in ``privacy.backup`` repeats it for those who check promises, and a restored database knows
nothing of newer ones until :func:`record` has looked.
"""

import hashlib
import json
import os
import re
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, Any

import psycopg
import pyrage
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy import select
from sqlalchemy.orm import Session

from core import db, keys, roles, signing
from core.embedded.binaries import all_binaries
from core.errors import AdminError, SettingsError
from core.models.base import uuid7
from core.models.proof import Backup as Row
from core.policy import in_force
from core.privacy.audit import Action, append
from core.settings import settings

DOMAIN = "resocode-backup-1"
SUFFIX, NOTE = ".dump.age", ".json"
FRESH = timedelta(hours=26)
PIECE = 1 << 20


@dataclass(frozen=True)
class Backup:
    """One backup as its signed note tells it. ``expires_at``: from then on it may not exist. ``size`` in bytes, encrypted."""

    name: str
    made_at: datetime
    expires_at: datetime
    size: int
    sha256: str
    migration: str
    server: int


@dataclass(frozen=True)
class Found:
    """What lies in the folder. ``unreadable`` are names of files without a note of ours, or with another content than it says."""

    backups: tuple[Backup, ...] = ()
    unreadable: tuple[str, ...] = ()

    def newest(self) -> Backup | None:
        """Return the newest backup, or None."""
        return max(self.backups, key=lambda each: each.made_at, default=None)

    def expired(self, now: datetime) -> tuple[Backup, ...]:
        """Return those that may not exist any more."""
        return tuple(each for each in self.backups if each.expires_at <= now)

    def is_stale(self, now: datetime) -> bool:
        """True when the newest backup is older than 26 hours, or there is none."""
        newest = self.newest()
        return newest is None or newest.made_at <= now - FRESH


def folder() -> Path:
    """Return where backups are kept (``RESOCODE_BACKUPS``)."""
    return settings().backups


def found() -> Found:
    """Return what lies in the folder, oldest first. Contents are not read: :func:`restore` does."""
    notes = {file.name.removesuffix(NOTE): _read_note(file) for file in sorted(folder().glob(f"*{SUFFIX}{NOTE}"))}
    files = sorted(file.name for file in folder().glob(f"*{SUFFIX}"))
    whole = [note for name in files if (note := notes.get(name)) and note.size == (folder() / name).stat().st_size]
    return Found(tuple(sorted(whole, key=lambda each: each.made_at)),
                 tuple(name for name in files if name not in {each.name for each in whole}))  # fmt: skip


def make(*, now: datetime) -> Backup:
    """Write a backup of the whole database into the folder and return it; a half one never bears a backup's name.

    Raises AdminError when ``pg_dump`` fails, SettingsError without a key or an address that may read everything.
    """
    with db.transaction("worker") as session:
        days = in_force(session, now).backup_days
    name = f"resocode-{now:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:6]}{SUFFIX}"
    folder().mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = folder() / f".{name}.draft"
    try:
        size, digest, server = _dump(draft)
        made = Backup(name, now, now + timedelta(days=days), size, digest, str(db.migrations().current), server)
        _write_note(made)
        draft.rename(folder() / name)
    finally:
        draft.unlink(missing_ok=True)
    _sync(folder())
    return made


def remove_expired(session: Session, *, now: datetime) -> int:
    """Remove every backup whose last day is over, write it down, and return how many. Again: 0."""
    gone = found().expired(now)
    for each in gone:
        (folder() / each.name).unlink(missing_ok=True)
        (folder() / f"{each.name}{NOTE}").unlink(missing_ok=True)
    if gone:
        _sync(folder())
        record(session, now=now)
        append(session, Action.BACKUPS_REMOVED, now=now, backups=len(gone))
    return len(gone)


def record(session: Session, *, now: datetime) -> int:
    """Repeat in the database what lies in the folder, as the worker; return how many rows changed. Again: 0."""
    rows = {row.sha256: row for row in session.scalars(select(Row))}
    here = {each.sha256: each for each in found().backups}
    new = [each for sha256, each in here.items() if sha256 not in rows]
    session.add_all(Row(id=uuid7(), name=each.name, made_at=each.made_at, expires_at=each.expires_at, size=each.size,
                        sha256=each.sha256) for each in new)  # fmt: skip
    gone = [row for sha256, row in rows.items() if sha256 not in here and row.removed_at is None]
    for row in gone:
        row.removed_at = now
    session.flush()
    return len(new) + len(gone)


def differs(session: Session, *, now: datetime) -> bool:
    """Return whether the database should look at the folder again: a backup is new, gone, or over."""
    kept = {*session.scalars(select(Row.sha256).where(Row.removed_at.is_(None)))}
    here = found()
    return bool(here.expired(now)) or kept != {each.sha256 for each in here.backups}


def check(file: Path, *, now: datetime) -> Backup:
    """Return a backup that may be restored. Raises AdminError, and says why, when it may not: the note is not ours, the content
    is another, its last day is over, or it is newer than this program."""
    note = _read_note(file.with_name(file.name + NOTE))
    if note is None:
        raise AdminError(f"{file.name}{NOTE} is missing, or was not signed by us. Such a backup is not restored.")
    if note.expires_at <= now:
        raise AdminError(
            f"{file.name} was to be gone by {note.expires_at:%Y-%m-%d}: certificates of erasure say so. It is not restored."
        )
    if _sha256(file) != note.sha256:
        raise AdminError(f"{file.name} is not as it was written (SHA-256). Take another copy, or an older backup.")
    if note.migration not in db.known_migrations():
        raise AdminError(
            f"{file.name} was made by a newer program (migration {note.migration}). Update this one first."
        )
    return note


def restore(file: Path, *, now: datetime) -> str:
    """Put a backup in the place of the database and return under which name the one before stands; nothing else is changed.

    The dashboard stays closed until ``python -m core restore-check``. Raises AdminError when the backup may not be restored,
    somebody is connected, or ``pg_restore`` fails: then everything is as it was.
    """
    check(file, now=now)
    db.release_pools()
    place = _place()
    target = place["dbname"]
    fresh, before = f"{target}_restored_{now:%Y%m%d%H%M%S}", f"{target}_before_{now:%Y%m%d%H%M%S}"
    with _maintenance(place) as admin:
        _demand_alone(admin, target)
        admin.execute(sql.SQL("create database {} template template0").format(sql.Identifier(fresh)))
        try:
            _fill(file, {**place, "dbname": fresh})
            _demand_alone(admin, target)
        except BaseException:
            admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(fresh)))
            raise
        with admin.transaction():
            for old, new in ((target, before), (fresh, target)):
                admin.execute(sql.SQL("alter database {} rename to {}").format(*map(sql.Identifier, (old, new))))
    return before


def drop_before(name: str) -> None:
    """Drop the database that stood in a backup's place: it holds people, and nobody looks after it."""
    with _maintenance(_place()) as admin:
        admin.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))


def create_identity() -> str | None:
    """Make the key pair of backups unless there is one, and return its public half."""
    if settings().backup_recipient or _identity_file().exists():
        return None
    made = pyrage.x25519.Identity.generate()
    keys.write_secret(_identity_file(), f"{made}\n")
    return str(made.to_public())


def _dump(draft: Path) -> tuple[int, str, int]:
    """Dump, encrypt and write; return size, SHA-256 and the server's major version."""
    place, recipient = _place(), _recipient()
    with _maintenance(place) as admin:
        server = admin.info.server_version // 10000
    with tempfile.TemporaryFile() as complaints, open(draft, "wb", opener=_private) as out:
        counted = _Counted(out)
        command = [str(_tool("pg_dump", server)), "--format=custom", "--no-password"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=complaints, env=_libpq(place)) as dump:
            pyrage.encrypt_io(dump.stdout, counted, [recipient])
        _demand_success("pg_dump", dump.returncode, complaints)
        out.flush()
        os.fsync(out.fileno())
    return counted.size, counted.digest.hexdigest(), server


def _fill(file: Path, place: Mapping[str, str]) -> None:
    """Restore into an empty database, as whoever may do everything there."""
    with psycopg.connect(make_conninfo(**place)) as admin:
        server = admin.info.server_version // 10000
        roles.create_roles(admin, passwords={})
        for schema in roles.SCHEMAS:  # the backup brings them, with their rights
            admin.execute(sql.SQL("drop schema {}").format(sql.Identifier(schema)))
        admin.execute("drop extension pg_trgm")
    command = [str(_tool("pg_restore", server)), "--exit-on-error", "--no-password", f"--dbname={place['dbname']}"]
    with tempfile.TemporaryFile() as complaints, file.open("rb") as source:
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=complaints, stderr=complaints, env=_libpq(place)
        ) as work:
            _decrypt_into(source, work)
        _demand_success("pg_restore", work.returncode, complaints)
    with psycopg.connect(make_conninfo(**place)) as admin:
        roles.create_roles(admin, passwords={})
        admin.execute("analyze")


def _decrypt_into(source: IO[bytes], work: "subprocess.Popen[bytes]") -> None:
    """Decrypt into the standard input of a process. A process that ends early is told by its status, not by the pipe."""
    assert work.stdin is not None
    try:
        pyrage.decrypt_io(source, work.stdin, [_identity()])
        work.stdin.close()
    except pyrage.DecryptError as error:
        work.kill()
        raise AdminError("This key does not open the backup. Set RESOCODE_BACKUP_IDENTITY to the right one.") from error
    except OSError:  # pg_restore stopped reading; its own words follow
        work.wait()


class _Counted:
    """A file that counts and hashes what is written to it."""

    def __init__(self, out: IO[bytes]) -> None:
        self.out, self.size, self.digest = out, 0, hashlib.sha256()

    def write(self, piece: bytes) -> int:
        """Write a piece."""
        self.digest.update(piece)
        self.size += len(piece)
        return self.out.write(piece)

    def flush(self) -> None:
        """Hand on what is held back."""
        self.out.flush()


def _place() -> dict[str, str]:
    """How libpq connects to the database as a role that reads everything: row-level security hides rows from all others."""
    if settings().embedded:
        return {key: str(value) for key, value in conninfo_to_dict(db.cluster().conninfo(db.DATABASE)).items() if value}
    address = os.environ.get("ADMIN_DATABASE_URL")
    if not address:
        raise SettingsError(
            "Set ADMIN_DATABASE_URL: backups need a role that reads every row (superuser or BYPASSRLS)."
        )
    asked = conninfo_to_dict(address.replace("postgresql+psycopg://", "postgresql://", 1))
    return {key: str(value) for key, value in asked.items() if value} | {"dbname": str(db.url("app").database)}


@contextmanager
def _maintenance(place: Mapping[str, str]) -> Iterator[psycopg.Connection]:
    with psycopg.connect(make_conninfo(**{**place, "dbname": "postgres"}), autocommit=True) as admin:
        yield admin


def _libpq(place: Mapping[str, str]) -> dict[str, str]:
    """The environment of pg_dump and pg_restore: where, as whom, and no password among the arguments."""
    names = {"host": "PGHOST", "hostaddr": "PGHOSTADDR", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD",
             "dbname": "PGDATABASE", "sslmode": "PGSSLMODE", "sslrootcert": "PGSSLROOTCERT"}  # fmt: skip
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "HOME", "TMPDIR") if name in os.environ}
    return kept | {names[key]: value for key, value in place.items() if key in names}


def _tool(name: str, server: int) -> Path:
    """Find pg_dump or pg_restore of the server's own version: another one may not read what this one wrote."""
    for binaries in all_binaries():
        if (binaries / name).exists() and _major(binaries / name) == server:
            return binaries / name
    raise AdminError(
        f"{name} of PostgreSQL {server} is not on this machine. Install its client, or set RESOCODE_PG_BIN."
    )


def _major(program: Path) -> int:
    said = subprocess.run([str(program), "--version"], capture_output=True, text=True, check=False).stdout
    numbers = re.search(r"(\d+)", said)
    return int(numbers.group(1)) if numbers else 0


def _demand_alone(admin: psycopg.Connection, database: str) -> None:
    others = admin.execute(
        "select count(*) from pg_stat_activity where datname = %s and pid <> pg_backend_pid() and backend_type = 'client backend'",
        [database],
    ).fetchone()
    if others and others[0]:
        raise AdminError(f"{others[0]} connections to the database are open. Stop the dashboard and the workers first.")


def _demand_success(what: str, status: int, complaints: IO[bytes]) -> None:
    if status:
        complaints.seek(0)
        said = complaints.read().decode(errors="replace").strip().splitlines()
        raise AdminError(f"{what} failed: {said[-1] if said else f'status {status}'}")


def _recipient() -> pyrage.x25519.Recipient:
    named = settings().backup_recipient
    try:
        return pyrage.x25519.Recipient.from_str(named) if named else _identity().to_public()
    except pyrage.RecipientError as error:
        raise SettingsError("RESOCODE_BACKUP_RECIPIENT must be a public key of age (age1…).") from error


def _identity() -> pyrage.x25519.Identity:
    file = _identity_file()
    if not file.exists():
        raise SettingsError(
            f"The key of backups is missing ({file}). Run `python -m core keys create`, or set RESOCODE_BACKUP_IDENTITY."
        )
    lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
    try:
        return pyrage.x25519.Identity.from_str(lines[0] if lines else "")
    except pyrage.IdentityError as error:
        raise SettingsError(f"{file} is not a key of age (AGE-SECRET-KEY-…).") from error


def _identity_file() -> Path:
    return settings().backup_identity


def _statement(told: Mapping[str, Any]) -> bytes:
    return f"{DOMAIN}\n{json.dumps(told, sort_keys=True)}".encode()


def _write_note(made: Backup) -> None:
    told = asdict(made) | {"made_at": made.made_at.isoformat(), "expires_at": made.expires_at.isoformat()}
    public, signature = signing.sign(_statement(told))
    keys.write_secret(folder() / f"{made.name}{NOTE}",
                      json.dumps({"backup": told, "public_key": public, "signature": signature}, indent=2) + "\n")  # fmt: skip


def _read_note(file: Path) -> Backup | None:
    """Return what a note says, or None when it is not there, no note, not ours, or about another file."""
    try:
        note = json.loads(file.read_text())
        told = note["backup"]
        if not signing.is_ours(note["signature"], _statement(told)) or told["name"] + NOTE != file.name:
            return None
        dates = {key: datetime.fromisoformat(told[key]) for key in ("made_at", "expires_at")}
        return Backup(**(told | dates))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as content:
        while piece := content.read(PIECE):
            digest.update(piece)
    return digest.hexdigest()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT, 0o600)


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
