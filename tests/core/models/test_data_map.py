"""Every column carries a privacy label, in the models and in the live database."""

from sqlalchemy import Column, MetaData, Table, Text, text

from core import db
from core.models.base import Base
from core.models.data_map import data_map, unlabeled
from core.models.labels import Category, Erasure, label


def test_every_column_is_labeled() -> None:
    assert unlabeled() == []
    assert len(data_map()) > 200


def test_an_unlabeled_column_or_table_is_found() -> None:
    planted = MetaData()
    Table("loose", planted, Column("name", Text), Column("kept", Text, info=label(Category.PROFILE, "kept")))
    assert unlabeled(planted) == ["loose", "loose.name"]


def test_the_database_holds_no_column_that_the_map_does_not_know(database: str) -> None:
    with db.transaction("worker") as session:
        live = set(session.execute(text(
            "select n.nspname || '.' || c.relname, a.attname from pg_attribute a join pg_class c on c.oid = a.attrelid"
            " join pg_namespace n on n.oid = c.relnamespace where n.nspname in ('platform', 'privacy', 'staff', 'anon')"
            " and c.relkind in ('r', 'p') and not c.relispartition and a.attnum > 0 and not a.attisdropped"
            " and c.relname <> 'alembic_version'"
        )).all())  # fmt: skip
    assert live == {(entry.table, entry.column) for entry in data_map()}


def test_whatever_tells_of_a_person_can_be_reached_and_exported() -> None:
    of_students = [e for e in data_map() if e.category not in (Category.NOBODY, Category.STAFF)]
    # Whose a quarantined record is, nobody knows yet: it is found by its hash, and goes with the decision.
    elsewhere = {"privacy.request", "privacy.quarantine"}
    elsewhere |= {name for name, table in Base.metadata.tables.items() if table.info["privacy"].told_by}
    assert [e for e in of_students if not e.reaches and e.table not in elsewhere] == []
    assert [e for e in of_students if not e.export] == []


def test_what_is_kept_says_why_and_until_when() -> None:
    kept = [e for e in data_map() if e.erasure is Erasure.KEEP]
    assert {e.table for e in kept} >= {"platform.payment", "privacy.audit_event"}
    assert all(e.reason and e.until for e in kept)


def test_an_age_stands_in_the_consent_record_only() -> None:
    aged = {
        entry.table for entry in data_map() if entry.column in ("birth_date", "birthday", "age", "age_band", "adult")
    }
    assert aged == {"privacy.consent"}


def test_outcomes_stand_in_learning_tables_and_never_on_an_enrollment() -> None:
    columns = {entry.column for entry in data_map() if entry.table == "platform.enrollment"}
    assert not columns & {"score", "result", "outcome", "progress", "completed_at", "certificate"}
