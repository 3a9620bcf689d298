"""Migrations lead to what the models say, on every supported PostgreSQL."""

import warnings

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

from core import db
from core.errors import DatabaseError
from core.models import Base


def test_the_migrated_database_is_what_the_models_say(database: str) -> None:
    with db.engine("owner").connect() as connection, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Expression #1", category=UserWarning)  # trigram operator class
        options = {"include_schemas": True, "version_table_schema": "platform", "include_name": _ours}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata) == []


def _ours(name: str | None, kind: str, _parents: object) -> bool:
    if kind == "table":
        return not (name or "").startswith(("usage_event_", "email_log_")) and name != "alembic_version"
    return kind != "schema" or name in ("platform", "privacy", "staff", "anon")


def test_a_server_that_is_behind_is_refused_and_migrated_on_demand(database: str) -> None:
    with db.engine("owner").begin() as connection:
        connection.execute(text("update platform.alembic_version set version_num = '0002'"))
    with pytest.raises(DatabaseError, match="python -m core migrate"):
        db.prepare()
    with db.engine("owner").begin() as connection:
        connection.execute(
            text("update platform.alembic_version set version_num = :newest"), {"newest": db.migrations().newest}
        )
    assert db.prepare().up_to_date


def test_a_database_of_a_newer_program_is_refused_and_left_alone(database: str) -> None:
    said = text("update platform.alembic_version set version_num = :version")
    newest = db.migrations().newest
    with db.engine("owner").begin() as connection:
        connection.execute(said, {"version": "9999"})
    for forced in (False, True):
        with pytest.raises(DatabaseError, match="newer than this program"):
            db.prepare(migrate_if_behind=forced)
    assert db.migrations().current == "9999"
    with db.engine("owner").begin() as connection:
        connection.execute(said, {"version": newest})


def test_a_start_looks_once_and_refuses_what_is_behind(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also again after it let go of the database: another one may be behind the same address."""
    db.release()
    newest = db.migrations().newest
    said = text("update platform.alembic_version set version_num = :version")
    with db.engine("owner").begin() as connection:
        connection.execute(said, {"version": "0002"})
    for _ in range(2):  # a refusal is not remembered as an answer
        with pytest.raises(DatabaseError, match="python -m core migrate"):
            db.prepare_once()
    with db.engine("owner").begin() as connection:
        connection.execute(said, {"version": newest})
    asked: list[str] = []
    real = db.prepare
    monkeypatch.setattr(db, "prepare", lambda: asked.append("looked") or real())
    assert (db.prepare_once(), db.prepare_once(), len(asked)) == (True, False, 1)
    db.release_pools()
    assert db.prepare_once() and len(asked) == 2
    db.release()
    assert db.prepare_once() and len(asked) == 3


def test_the_dashboard_refuses_a_role_that_row_security_does_not_bind(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    monkeypatch.setenv("DATABASE_URL", os.environ["OWNER_DATABASE_URL"])
    with pytest.raises(DatabaseError, match="resocode_app"):
        db.check_role()


def test_months_are_made_once_and_dropped_whole(database: str) -> None:
    with db.transaction("worker") as session:
        make = text("select platform.make_months('email_log', '2024-01-15', '2024-03-01')")
        assert session.scalar(make) == 3
        assert session.scalar(make) == 0
        session.execute(text("select platform.drop_month('2024-02-01', '2026-11-24')"))
        left = session.scalars(
            text("select inhrelid::regclass::text from pg_inherits where inhparent = 'platform.email_log'::regclass")
        )
        assert sorted(left) == ["platform.email_log_2024_01", "platform.email_log_2024_03"]


def test_every_foreign_key_has_an_index_and_none_cascades(database: str) -> None:
    with db.transaction("worker") as session:
        bare = session.scalars(text("""
            select c.conrelid::regclass || '.' || c.conname from pg_constraint c
            join pg_class t on t.oid = c.conrelid
            where c.contype = 'f' and not t.relispartition and t.relnamespace::regnamespace::text in ('platform', 'privacy', 'staff')
              and not exists (select from pg_index i where i.indrelid = c.conrelid and i.indpred is null
                              and (i.indkey::int2[])[0] = c.conkey[1])""")).all()  # fmt: skip
        cascading = session.scalars(
            text("select conname from pg_constraint where contype = 'f' and confdeltype <> 'a'")
        ).all()
    assert bare == []
    assert cascading == []


@pytest.mark.parametrize("role", ["app", "worker"])
def test_statements_under_policies_are_never_compiled(database: str, role: str) -> None:
    """The roles are made with it, whoever's server it is; a policy on every row looks so costly that PostgreSQL compiles for seconds."""
    with db.transaction(role) as session:
        assert session.scalar(text("select current_setting('jit')")) == "off"
