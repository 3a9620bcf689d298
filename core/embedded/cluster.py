"""A cluster that runs, and the plan by which it does: known to clients and to the guardian."""

import hashlib
import json
import os
import secrets
import stat
from dataclasses import dataclass, field, replace
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from core.embedded.binaries import as_user
from core.embedded.locks import write_private
from core.errors import DatabaseError

SUPERUSER = "postgres"
PORT = 5432  # only names the socket file: every home has a socket directory of its own
ANOTHER_GUARDIAN = 3


@dataclass(frozen=True)
class Cluster:
    """A running cluster. ``version`` is the major version of the server that runs."""

    home: Path
    data_directory: Path
    socket_directory: Path
    port: int
    superuser: str
    password: str = field(repr=False)
    version: int

    def conninfo(self, dbname: str = "postgres") -> str:
        """Return how libpq connects to one of its databases as the superuser, whatever PG… variables say."""
        return make_conninfo(
            host=str(self.socket_directory),
            hostaddr="",
            port=self.port,
            user=self.superuser,
            password=self.password,
            dbname=dbname,
            options="",
            connect_timeout=5,
        )


@dataclass(frozen=True)
class Plan:
    """What the guardian needs to know. ``uid`` is None when the server runs as whoever starts it."""

    home: str
    binaries: str
    data: str
    sockets: str
    uid: int | None
    gid: int | None

    def as_user(self) -> dict[str, object]:
        """The arguments with which ``subprocess`` runs something as the server's user."""
        return as_user(self.uid, self.gid)


def recorded_plan(home: Path) -> Plan | None:
    """What the last guardian was told: a client with other settings or binaries must still find the running server."""
    file = home / "guardian.json"
    return replace(Plan(**json.loads(file.read_text())), home=str(home)) if file.exists() else None


def running(plan: Plan) -> Cluster | None:
    """The cluster, if the server behind the socket is really the one of this data folder."""
    home, data, sockets = Path(plan.home), Path(plan.data), Path(plan.sockets)
    cluster = Cluster(home, data, sockets, PORT, SUPERUSER, password_of(plan), 0)
    try:
        with psycopg.connect(cluster.conninfo()) as connection:
            row = connection.execute("show data_directory").fetchone()
            version = connection.info.server_version // 10000
    except psycopg.Error as error:
        if "password authentication failed" in str(error):
            raise DatabaseError(
                f"The password in {home / 'postgres.password'} is not that of the data in {data}. Restore it from a backup."
            ) from error
        return None
    if row is None or os.path.realpath(row[0]) != os.path.realpath(data):
        return None
    return replace(cluster, version=version)


def password_of(plan: Plan) -> str:
    """The superuser's password, made before the data that knows it."""
    file = Path(plan.home) / "postgres.password"
    if not file.exists():
        if Path(plan.data).exists():
            raise DatabaseError(
                f"{file} is missing: without it nobody can use the data in {plan.data}. Restore it from a backup."
            )
        write_private(file, secrets.token_urlsafe(32))
    return file.read_text()


def make_socket_directory(plan: Plan) -> None:
    """Make a folder that belongs to the server's user alone; its path is short (sockets are limited to 103 bytes)."""
    folder, owner = Path(plan.sockets), os.geteuid() if plan.uid is None else plan.uid
    try:
        folder.mkdir(mode=0o700)
        if plan.uid is not None and plan.gid is not None:
            os.chown(folder, plan.uid, plan.gid)
    except FileExistsError:
        pass
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner or found.st_mode & 0o077:
        raise DatabaseError(f"{folder} belongs to somebody else. Remove it, then start again.", folder=folder)


def log_end(home: Path) -> str:
    """The last lines of whichever log was written last; the guardian's own when no server ever said anything."""
    plan = recorded_plan(home)
    logs = [home / "postgres.log", *(Path(plan.data).parent / "log").glob("*.log")] if plan else []
    for file in (*sorted(filter(Path.exists, logs), key=lambda file: -file.stat().st_mtime_ns), home / "guardian.log"):
        if file.exists() and (lines := file.read_text(errors="replace").splitlines()):
            return " / ".join(lines[-6:])
    return "(no log)"


def short_hash(text: str) -> str:
    """Ten characters that stand for a long path."""
    return hashlib.sha256(text.encode()).hexdigest()[:10]
