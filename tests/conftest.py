"""The real PostgreSQL behind the tests: one cluster for the run, one cloned database for each test that asks for it.

``database`` is an empty, migrated database with the policy in it; ``house`` is one in which the cast plays. Both are
clones of templates (some 50 ms each), so tests commit as the product does and nothing has to be undone. The product is
pointed at the clone through its ordinary settings. ``RESOCODE_PG_BIN`` runs everything on another PostgreSQL.
"""

import functools
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import bcrypt
import psutil
import psycopg
import pytest
import streamlit as st
from sqlalchemy import Connection, text
from sqlalchemy.orm import Session
from xdist.scheduler import LoadScopeScheduling

from core import db, embedded, keys, policy, privacy_actions, rollups
from core.privacy import audit
from core.privacy_actions import Staff
from core.roles import LOGIN_ROLES, create_roles
from tests import cast

PASSWORD = "test-only-password"
SERVERS = ("tests/browser/", "tests/core/test_replica.py")
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "200"}
VARIABLES = {"app": "DATABASE_URL", "owner": "OWNER_DATABASE_URL", "worker": "WORKER_DATABASE_URL"}


# What runs a second time, on the oldest supported PostgreSQL (bin/check): what a server of another version could take
# otherwise. That is statements, rights, migrations and the server's own binaries: of the statements that two files of tests
# or more send, these send 98 in 100, each verb at least once (test_audit_events), each table as each role (test_matrix).
# Left out is what varies something else around the same statements: wires that break, workers that die, clocks, hostile words,
# tampered files, plain Python.
OLDEST = (
    "test_migrations", "test_matrix", "test_db", "test_embedded", "test_backup", "test_replica", "test_leases", "test_rollups",
    "test_demo", "test_cli", "test_drill.py::test_the_command", "test_canary.py::test_it_goes", "test_canary.py::test_every_connected",
    "models/", "reads/", "anon/test_b", "anon/test_c", "anon/test_r", "policy/test_announced", "policy/test_checks", "processors/test_local",
    "importers/test_generate", "importers/test_seed", "importers/test_spreadsheets", "importers/test_mongodb.py::test_everything_comes",
    "importers/test_mongodb.py::test_an_account_closed", "importers/test_mongodb.py::test_a_student_who_left",
    "privacy/test_access_reviews", "privacy/test_audit_events", "privacy/test_campaigns", "privacy/test_consent", "privacy/test_deletion",
    "privacy/test_erasure.py::test_a_student_past", "privacy/test_erasure.py::test_a_visitor_is", "privacy/test_erasure.py::test_a_person_with",
    "privacy/test_erasure.py::test_what_a_hold", "privacy/test_exports", "privacy/test_learning", "privacy/test_machine",
    "privacy/test_promises", "privacy/test_proposals", "privacy/test_residue", "privacy/test_retention", "privacy/test_rights",
    "privacy/test_sending", "privacy/test_snapshots", "privacy/test_suppression",
)  # fmt: skip
NOT_ON_THE_OLDEST = (  # of these files: slow, and about something else
    "privacy/test_campaigns.py::test_killed", "privacy/test_consent.py::test_two_hundred", "privacy/test_deletion.py::test_more_than_twenty",
    "importers/test_spreadsheets.py::test_memory", "importers/test_generate.py::test_the_same_seed",
)  # fmt: skip

MEMORY, ENOUGH = Path("/dev/shm"), 4 * 2**30


def roomy_memory() -> Path | None:
    """Where files live in memory, if this machine has such a place with room. A clone is some 900 files: copying them
    there takes 20 ms, on a disk up to 200, which is half of the time of most tests. ``TMPDIR`` goes first."""
    usable = MEMORY.is_dir() and os.access(MEMORY, os.W_OK | os.X_OK) and "TMPDIR" not in os.environ
    return (
        MEMORY if usable and min(shutil.disk_usage(MEMORY).free, psutil.virtual_memory().available) > ENOUGH else None
    )


def open_folder() -> Path:
    """A new folder that the server's user can reach, unlike pytest's own (0700) when root runs the tests."""
    folder = Path(tempfile.mkdtemp(prefix=f"resocode-test-{os.getpid()}-", dir=roomy_memory()))
    folder.chmod(0o755)
    return folder


def sweep() -> None:
    """Remove what runs left that were killed: in memory, their folders would stay until the machine starts anew."""
    for place in {MEMORY, Path(tempfile.gettempdir())}:
        for left in place.glob("resocode-test-*-*"):
            maker = left.name.split("-")[2]
            if maker.isdigit() and not psutil.pid_exists(int(maker)):
                shutil.rmtree(left, ignore_errors=True)


def pytest_configure(config: pytest.Config) -> None:
    """Make one folder for the run, which all xdist workers share.

    And remember what bcrypt said: hundreds of tests sign in with the password of the cast, whose one hash (cost 12, as in
    the product) takes a quarter of a second to compare. Same question, same answer, asked once in each process.
    """
    bcrypt.checkpw = functools.cache(bcrypt.checkpw)
    if not hasattr(config, "workerinput"):
        sweep()
        os.environ["RESOCODE_TEST_FOLDER"] = str(open_folder())


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove it, once the cluster in it has stopped."""
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ["RESOCODE_TEST_FOLDER"], ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what runs on the oldest PostgreSQL, too."""
    wanted, left_out = (tuple(f"tests/core/{each}" for each in listed) for listed in (OLDEST, NOT_ON_THE_OLDEST))
    for item in items:
        if item.nodeid.startswith(wanted) and not item.nodeid.startswith(left_out):
            item.add_marker(pytest.mark.oldest)


class ByWhatTheyShare(LoadScopeScheduling):  # type: ignore[misc]
    """Tests of a file with a server of its own go to one worker, one after the other; all others wherever there is room."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return file if file.startswith(SERVERS) else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByWhatTheyShare:
    """Share the tests out: xdist's own groups (3.8) get lost under pytest 9.2, whose ids of tests no longer take the group's name."""
    return ByWhatTheyShare(config, log)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of one's own that the server's user can reach."""
    made = open_folder()
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="session")
def run_folder() -> Path:
    """The folder that all xdist workers of this run share."""
    return Path(os.environ["RESOCODE_TEST_FOLDER"])


@pytest.fixture(scope="session")
def cluster(run_folder: Path) -> Iterator[embedded.Cluster]:
    """The cluster of this run; the last worker to leave stops it."""
    with embedded.attach(run_folder / "pg", settings=FAST) as client:
        yield client.cluster


@pytest.fixture(scope="session")
def templates(cluster: embedded.Cluster, run_folder: Path) -> dict[str, str]:
    """The two databases that are cloned: "empty" and "cast". The first worker makes them, the others wait."""
    home = run_folder / "home"
    with psycopg.connect(cluster.conninfo(), autocommit=True) as admin:
        admin.execute("select pg_advisory_lock(1)")
        for name, parent in (("tpl_empty", "template1"), ("tpl_cast", "tpl_empty")):
            if not admin.execute("select 1 from pg_database where datname = %s and datistemplate", [name]).fetchone():
                admin.execute(f"drop database if exists {name}")
                admin.execute(f"create database {name} template {parent}")
                fill(cluster, name, home)
                admin.execute(f"alter database {name} is_template true")
    return {"empty": "tpl_empty", "cast": "tpl_cast"}


def fill(cluster: embedded.Cluster, name: str, home: Path) -> None:
    """Roles, migrations and policy in an empty database; in one that is called tpl_cast the cast plays, too."""
    with pytest.MonkeyPatch.context() as patch:
        point_at(patch, cluster, name, home)
        keys.create_missing()
        with psycopg.connect(cluster.conninfo(name)) as admin:
            create_roles(admin, passwords=dict.fromkeys(LOGIN_ROLES, PASSWORD))
        db.prepare()
        with db.transaction("worker") as session:
            policy.publish_first_version(session, now=cast.NOW)
            if name == "tpl_cast":
                cast.play(session)
                rollups.refresh_rollups(session)
        db.release()


def point_at(patch: pytest.MonkeyPatch, cluster: embedded.Cluster, name: str, home: Path) -> None:
    """Point the product's settings at one database of the cluster."""
    for role, variable in VARIABLES.items():
        where = urlencode({"host": str(cluster.socket_directory), "port": cluster.port})
        patch.setenv(variable, f"postgresql://resocode_{role}:{PASSWORD}@/{name}?{where}")
    patch.setenv("RESOCODE_HOME", str(home))
    patch.delenv("RESOCODE_DEMO", raising=False)
    patch.delenv("READ_DATABASE_URL", raising=False)


def clone(cluster: embedded.Cluster, template: str, patch: pytest.MonkeyPatch, home: Path) -> Iterator[str]:
    """Clone a template, point the product at it, drop it in the end."""
    name = f"t_{secrets.token_hex(6)}"
    with psycopg.connect(cluster.conninfo(), autocommit=True) as admin:
        admin.execute("select pg_advisory_lock(1)")
        # copied as files: dropping it then finds few pages in memory, which takes a fifth of the time
        admin.execute(f"create database {name} template {template} strategy file_copy")
        admin.execute("select pg_advisory_unlock(1)")
        point_at(patch, cluster, name, home)
        patch.setattr(audit, "_folder", lambda: home / "audit" / name)  # a log of one's own has checkpoints of its own
        patch.setenv("RESOCODE_LEDGER", str(home / "ledger" / name))
        st.cache_data.clear()
        st.cache_resource.clear()
        yield name
        db.release()
        admin.execute(f"drop database if exists {name} with (force)")


@pytest.fixture
def database(
    cluster: embedded.Cluster, templates: dict[str, str], run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """An empty, migrated database of one's own; its name."""
    yield from clone(cluster, templates["empty"], monkeypatch, run_folder / "home")


@pytest.fixture
def house(
    cluster: embedded.Cluster, templates: dict[str, str], run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """A database of one's own in which the cast plays; its name."""
    yield from clone(cluster, templates["cast"], monkeypatch, run_folder / "home")


@pytest.fixture
def worker(database: str) -> Iterator[Session]:
    """A session as the worker role in an empty database, rolled back in the end."""
    with Session(db.engine("worker")) as session, session.begin():
        yield session
        session.rollback()


@pytest.fixture
def owner(cluster: embedded.Cluster, house: str) -> Iterator[Connection]:
    """Everything in the house, as the superuser: to look at what a role must not see."""
    from sqlalchemy import create_engine

    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(cluster.conninfo(house)))
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def sign_in(name: str) -> tuple[privacy_actions.SignedIn, Staff]:
    """Sign a member of the cast in, really; their secrets and who they are.

    No code counts twice, so the last one of theirs is forgotten first: tests sign in more often than people.
    """
    moment = datetime.now(UTC)  # the guard asks the real clock, also where a test moves that of the pages
    with db.transaction("worker") as session:
        forget = text("update staff.staff_member set totp_step = null where id = :id")
        session.execute(forget, {"id": cast.id_of(name)})
    with db.transaction() as session:
        made = privacy_actions.sign_in(
            session, email=cast.email_of(name), password=cast.PASSWORD, code=cast.code_of(name, moment), now=moment
        )
        assert made is not None
    with db.transaction() as session:
        staff = privacy_actions.live_session(session, secret=made.token, now=moment)
    assert staff is not None
    return made, staff
