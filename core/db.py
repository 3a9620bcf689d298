"""The database: where it is, who asks, and the one place that opens and commits a transaction.

Danger: a setting that outlives its transaction shows one person's rows to the next. Principle: who asks is said anew at
the start of every transaction and forgotten with it. Mechanism: ``transaction(staff_id=…)`` sets ``app.staff_id`` and
``app.session_id`` with ``set_config(…, true)``; row-level security reads them, and shows nothing when they are unset.
"""

import json
import re
import secrets
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import URL, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, InterfaceError, InvalidatePoolError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

from core import embedded, keys
from core.errors import DatabaseError, SettingsError
from core.roles import LOGIN_ROLES, create_roles
from core.settings import ROOT, settings

DATABASE = "resocode"
OLDEST_SERVER = 150000
UNREACHABLE = ("08", "53", "57P")  # SQLSTATE: connection, resources, shutdown
IDLE = 0.25  # seconds after which a connection is asked whether it lives before it is used again
_lock = threading.Lock()
_engines_lock = threading.Lock()
_engines: dict[tuple[str, URL], Engine] = {}
_prepared: set[tuple[str, str | None]] = set()


@dataclass(frozen=True)
class Asked:
    """A statement in the server's own words (``$1``), and what it is given."""

    statement: bytes
    given: Sequence[object]


@dataclass(frozen=True)
class Migrations:
    """Where the database stands: ``current`` is None when nothing was migrated yet."""

    current: str | None
    newest: str

    @property
    def up_to_date(self) -> bool:
        """True when the database is at the newest migration of this code."""
        return self.current == self.newest


@contextmanager
def transaction(
    role: str = "app", *, staff_id: uuid.UUID | None = None, session_id: uuid.UUID | None = None
) -> Iterator[Session]:
    """Open a session in one transaction: committed at the end, rolled back on any error or interruption.

    ``role`` is "app" (the dashboard), "worker" (imports, the worker, the command line) or "read" (the replica if there is
    one, and read-only in any case; core.replica knows when to ask it). ``staff_id`` and ``session_id`` say who asks; without them row-level security shows the app nothing.
    """
    with Session(engine(role)) as session, session.begin():
        if staff_id is not None or session_id is not None:
            identify(session, staff_id=staff_id, session_id=session_id)
        yield session


@contextmanager
def snapshot() -> Iterator[Session]:
    """Open a session of the worker that only reads, and sees the database as it is at its first look, however long it takes."""
    steady = engine("worker").execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    with Session(steady) as session, session.begin():
        yield session


@contextmanager
def statements(role: str) -> Iterator[Connection]:
    """Open a connection on which every statement is a transaction of its own, for notes that must not wait for anything else."""
    with engine(role).connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        yield connection


def together(session: Session, *every: Asked) -> list[list[Any]]:
    """Run statements that :func:`asked` made in one round trip, the transaction's own begin with them if it has not begun; return
    the rows of each.

    All are sent before any answer is read. Raises psycopg.Error for the first that fails, and the transaction is over.
    """
    session.flush()
    driver: psycopg.Connection | None = session.connection().connection.driver_connection
    assert driver is not None
    with driver.pipeline():
        cursors = [psycopg.RawCursor(driver).execute(each.statement, each.given) for each in every]
    return [cursor.fetchall() if cursor.description else [] for cursor in cursors]


def asked(statement: str, **given: object) -> Asked:
    """Return a statement (``:name`` for what it is given) as :func:`together` takes it."""
    return asked_in_full(_compiled(statement), given)


def asked_in_full(statement: str, given: Mapping[str, object]) -> Asked:
    """Return a statement that SQLAlchemy compiled for psycopg (``%(name)s``) as :func:`together` takes it."""
    raw, names = _numbered(statement)
    return Asked(raw, [given[name] for name in names])


@lru_cache(maxsize=64)
def _compiled(statement: str) -> str:
    return str(text(statement).compile(dialect=postgresql.dialect(paramstyle="pyformat")))  # type: ignore[no-untyped-call]


@lru_cache(maxsize=64)
def _numbered(statement: str) -> tuple[bytes, tuple[str, ...]]:
    """A statement as the server takes it, and the names of what it is given in their order: nobody reads it again each time."""
    names = tuple(dict.fromkeys(re.findall(r"%\((\w+)\)s", statement)))
    raw = re.sub(r"%\((\w+)\)s", lambda found: f"${names.index(found[1]) + 1}", statement)
    return raw.replace("%%", "%").encode(), names


@contextmanager
def single(role: str = "app") -> Iterator[Session]:
    """Open a session on which every statement is a transaction of its own, for a question that is one statement: nothing says BEGIN and COMMIT,
    each of which is a round trip."""
    with statements(role) as connection, Session(connection) as session:
        yield session


def identify(session: Session, *, staff_id: uuid.UUID | None, session_id: uuid.UUID | None = None) -> None:
    """Say for the rest of this transaction who asks."""
    session.execute(
        text("select set_config('app.staff_id', :staff, true), set_config('app.session_id', :session, true)"),
        {"staff": str(staff_id or ""), "session": str(session_id or "")},
    )


def engine(role: str) -> Engine:
    """Return the pool of a role ("app", "worker", "owner" or "read"), made once per process and address."""
    address = url(role)
    with _engines_lock:
        if (role, address) not in _engines:
            _engines[role, address] = _pool(role, address)
        return _engines[role, address]


def url(role: str) -> URL:
    """Return the address of a role. Raises SettingsError when a server is set and this role's variable is not."""
    known = settings()
    if known.embedded:
        return _embedded_url("app" if role == "read" else role)
    address = {
        "app": known.database_url,
        "read": known.read_url or known.database_url,
        "worker": known.worker_url,
        "owner": known.owner_url,
    }[role]
    if address is None:
        raise SettingsError(f"Set {role.upper()}_DATABASE_URL too: this command works as the database role {role}.")
    return make_url(address)


def prepare(*, migrate_if_behind: bool = False) -> Migrations:
    """Make the database usable and say where it stands: roles (embedded only), keys, and migrations when it is empty.

    A server that is behind is left alone unless ``migrate_if_behind``; the embedded one always follows the code.
    Raises DatabaseError when the server is too old, when it is behind, or when a newer program has migrated it.
    """
    known = settings()
    if known.embedded:
        keys.create_missing()
        _prepare_embedded()
    state = migrations()
    if state.current not in (None, *known_migrations()):
        raise DatabaseError(
            "The database is newer than this program: start the newer one, or restore a backup of before.", state=state
        )
    if not state.up_to_date and (state.current is None or known.embedded or migrate_if_behind):
        migrate()
        state = migrations()
    if not state.up_to_date:
        raise DatabaseError("The database is older than this program. Run `python -m core migrate`.", state=state)
    return state


def prepare_once() -> bool:
    """Do what :func:`prepare` does, unless this process has done it: a start comes here several times within a second.

    Returns whether this was the first time for this database.
    """
    known = settings()
    asked = (str(known.home), known.database_url)
    if asked in _prepared:
        return False
    prepare()
    _prepared.add(asked)
    return True


def migrate() -> None:
    """Bring the schema to the newest migration, as the owner."""
    from alembic import command  # loaded by whoever migrates: a start that finds its database does without
    from alembic.config import Config

    configuration = Config()
    configuration.set_main_option("script_location", str(ROOT / "migrations").replace("%", "%%"))
    with engine("owner").begin() as connection:
        connection.execute(text("select pg_advisory_xact_lock(hashtext('resocode migrations'))"))
        configuration.attributes["connection"] = connection
        command.upgrade(configuration, "head")


def vacuum(tables: Iterable[str]) -> None:
    """Renew the statistics and the visibility map of tables ("schema.name") after a big load, as their owner.

    Raises SettingsError when a server is set and OWNER_DATABASE_URL is not; autovacuum does the same in its own time.
    """
    with engine("owner").connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for table in tables:
            connection.exec_driver_sql(f"vacuum (analyze) {table}")


def migrations() -> Migrations:
    """Return the migration the database is at and the newest one of this code."""
    steps = _steps()
    newest = set(steps) - set(steps.values())
    if len(newest) != 1:
        raise DatabaseError(f"The migrations do not end in one: {', '.join(sorted(newest))}.")
    with engine("app").connect() as connection:
        there = connection.scalar(  # in the catalog: before the first migration the schema is closed
            text(
                "select true from pg_class c join pg_namespace n on n.oid = c.relnamespace"
                " where n.nspname = 'platform' and c.relname = 'alembic_version'"
            )
        )
        current = connection.scalar(text("select version_num from platform.alembic_version")) if there else None
        return Migrations(current=current, newest=newest.pop())


@cache
def _steps() -> dict[str, str | None]:
    """Every migration of this code with the one before it, as their files say."""
    named = re.compile(r'^(revision|down_revision) = (?:"(\w+)"|None)$', re.MULTILINE)
    said = [
        dict(named.findall(file.read_text(encoding="utf-8")))
        for file in (ROOT / "migrations" / "versions").glob("*.py")
    ]
    return {each["revision"]: each["down_revision"] or None for each in said}


def check_role() -> None:
    """Refuse to run the dashboard as a role that row-level security does not bind, or on a server that is too old."""
    with engine("app").connect() as connection:
        row = connection.execute(
            text(
                "select rolsuper or rolbypassrls as unbound, current_setting('server_version_num')::int as version,"
                " exists(select from pg_tables where tableowner = current_user) as owns"
                " from pg_roles where rolname = current_user"
            )
        ).one()
    if row.version < OLDEST_SERVER:
        raise DatabaseError(f"PostgreSQL 15 or newer is needed; this server is {row.version // 10000}.")
    if row.unbound or row.owns:
        raise DatabaseError(
            "DATABASE_URL names a role that row-level security does not bind (superuser, BYPASSRLS or an owner of "
            "tables). Run `python -m core init` and use resocode_app."
        )


def reachable() -> bool:
    """Return whether the database answers."""
    try:
        with engine("app").connect() as connection:
            connection.execute(text("select 1"))
    except (OperationalError, InterfaceError, PoolTimeout):
        return False
    return True


def gone(error: BaseException) -> bool:
    """Return whether an error says that no database answered: no connection was free, none could be made, or this one broke.

    A statement that was canceled, a deadlock or a lock that was not given are operational errors, too, but come from a database that answers:
    who takes them for its absence asks again at once, and so makes a slow database slower. Codes: PostgreSQL, appendix A, classes 08, 53, 57P.
    """
    if isinstance(error, PoolTimeout | InterfaceError):
        return True
    if not isinstance(error, DBAPIError):
        return False
    code = str(getattr(error.orig, "sqlstate", None) or "")
    return error.connection_invalidated or (
        isinstance(error, OperationalError) and (not code or code.startswith(UNREACHABLE))
    )


def too_slow(error: BaseException) -> bool:
    """Return whether a statement was canceled because it took longer than a person waits (SQLSTATE 57014)."""
    return isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", "") == "57014"


def _pool(role: str, address: URL) -> Engine:
    options = "-c timezone=UTC" + (" -c default_transaction_read_only=on" if role == "read" else "")
    made = create_engine(
        address,
        pool_size=10,
        max_overflow=10,
        pool_timeout=5,
        pool_use_lifo=True,  # a few stay warm and need no question whether they live; the others rest
        connect_args={"connect_timeout": 5, "options": options, "application_name": f"resocode {role}"},
    )
    _ask_what_lay_idle(made)
    if role in ("app", "read"):
        event.listen(made, "connect", _limit_statements)
    return made


def _ask_what_lay_idle(made: Engine) -> None:
    """Ask a connection whether it lives before it is used, as ``pool_pre_ping`` does, but not again within a click: each
    question is a round trip. A server that went away in between is an error once, and a new pool after it."""

    @event.listens_for(made, "checkin")
    def given_back(_connection: object, record: ConnectionPoolEntry) -> None:
        record.info["given_back"] = time.monotonic()

    @event.listens_for(made, "checkout")
    def taken(connection: DBAPIConnection, record: ConnectionPoolEntry, _fairy: object) -> None:
        if time.monotonic() - record.info.get("given_back", time.monotonic()) < IDLE:
            return
        try:
            made.dialect.do_ping(connection)
        except psycopg.Error as error:
            raise InvalidatePoolError("The server closed this connection.") from error


def _limit_statements(connection: psycopg.Connection, _record: object) -> None:
    """A page waits five seconds at most; then it says so instead of hanging."""
    connection.execute("set statement_timeout = '5s'")
    connection.commit()


@cache
def _client(home: str) -> embedded.Client:
    return embedded.attach(settings().home)


def cluster() -> embedded.Cluster:
    """Return the embedded cluster of this home, starting it if nobody did. The process holds it until it ends."""
    with _lock:
        return _client(str(settings().home)).cluster


def known_migrations() -> frozenset[str]:
    """Return every migration that this code knows."""
    return frozenset(_steps())


def release_pools() -> None:
    """Close every pool and stay with the embedded cluster, for whoever exchanges the database under them."""
    with _engines_lock:
        _prepared.clear()
        while _engines:
            _engines.popitem()[1].dispose()


def release() -> None:
    """Close every pool and let go of the embedded cluster; the last one to do so stops it."""
    with _lock:
        _prepared.clear()
        while _engines:
            _engines.popitem()[1].dispose()
        if _client.cache_info().currsize:
            _client(str(settings().home)).close()
            _client.cache_clear()


def _embedded_url(role: str) -> URL:
    known = cluster()
    return URL.create(
        "postgresql+psycopg",
        username=f"resocode_{role}",
        password=_passwords()[f"resocode_{role}"],
        host=str(known.socket_directory),
        port=known.port,
        database=DATABASE,
    )


def _passwords() -> dict[str, str]:
    """Those of the roles of this home; every transaction asks, so the file is read again only when it is another one."""
    file = settings().home / "roles.json"
    try:
        found = file.stat()
    except FileNotFoundError:
        keys.write_secret(file, json.dumps({role: secrets.token_urlsafe(32) for role in LOGIN_ROLES}))
        found = file.stat()
    return _passwords_in(file, (found.st_ino, found.st_size, found.st_mtime_ns))


@lru_cache(maxsize=8)
def _passwords_in(file: Path, _stamp: tuple[int, ...]) -> dict[str, str]:
    return dict(json.loads(file.read_text()))


def _prepare_embedded() -> None:
    known = cluster()
    with psycopg.connect(known.conninfo(), autocommit=True) as admin:
        admin.execute("select pg_advisory_lock(hashtext('resocode database'))")
        if not admin.execute("select 1 from pg_database where datname = %s", [DATABASE]).fetchone():
            admin.execute(f"create database {DATABASE}")
    with psycopg.connect(known.conninfo(DATABASE)) as admin:
        create_roles(admin, passwords=_passwords())
