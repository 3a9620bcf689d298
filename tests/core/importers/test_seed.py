"""The synthetic records: always fresh, always synthetic, there once."""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from core.importers.seed import FILES, FOLDER, seed
from core.models import Base
from core.models.requests import REQUEST_KINDS
from tests.cast import NOW

TODAY = NOW.date()
RESERVED = re.compile(r".+@(example\.(org|com)|[a-z.]+\.example)", re.ASCII)


def scalar(session: Session, query: str, **values: Any) -> Any:
    return session.scalar(text(query), {"now": NOW, "today": TODAY, **values})


def content(session: Session) -> dict[str, list[tuple[Any, ...]]]:
    tables = [model.__table__ for _, model in FILES]
    return {
        str(table): [tuple(row) for row in session.execute(text(f"select * from {table} order by 1, 2"))]
        for table in tables
    }


@pytest.fixture
def seeded(worker: Session) -> Iterator[Session]:
    seed(worker, now=NOW)
    yield worker


def test_the_size_of_a_small_school(worker: Session) -> None:
    written = seed(worker, now=NOW)
    assert (written["programs"], written["cohorts"], written["students"], written["visitors"]) == (5, 14, 400, 150)
    assert written["enrollments"] > 450
    assert all(written.values())


@pytest.mark.parametrize("days", [0, 40])
def test_seeding_again_changes_nothing_also_on_a_later_day(seeded: Session, days: int) -> None:
    before = content(seeded)
    later = {table: rows for table, rows in before.items() if table != "platform.enrollment"}
    assert set(seed(seeded, now=NOW + timedelta(days=days)).values()) == {0}
    after = content(seeded)
    assert {table: after[table] for table in later} == later
    assert len(after["platform.enrollment"]) == len(before["platform.enrollment"])
    assert days or after == before


@pytest.mark.parametrize("days", [0, 400])
def test_cohorts_run_on_the_day_of_seeding_whenever_that_is(worker: Session, days: int) -> None:
    today = TODAY + timedelta(days=days)
    seed(worker, now=NOW + timedelta(days=days))
    count = "select count(*) from platform.cohort where "
    assert scalar(worker, f"{count} :today between starts_on and ends_on", today=today) == 5
    assert scalar(worker, f"{count} starts_on > :today and starts_on < :today + 30", today=today) == 3
    assert scalar(worker, f"{count} ends_on < :today", today=today) == 6


@pytest.mark.parametrize(
    "moment",
    [
        "submission.submitted_at", "enrollment.enrolled_at", "usage_event.at", "email_log.sent_at", "visitor.asked_at",
        "visitor.answered_at", "code_review.reviewed_at", "student.registered_at", "payment.paid_at",
    ],
)  # fmt: skip
def test_what_is_past_lies_in_the_past(seeded: Session, moment: str) -> None:
    table, column = moment.split(".")
    assert scalar(seeded, f"select count(*) from platform.{table} where {column} > :now") == 0


def test_every_address_is_reserved(seeded: Session) -> None:
    queries = ("select email from platform.student", "select email from platform.visitor",
               "select address from platform.email_log", "select email from privacy.guardian")  # fmt: skip
    found = [address for query in queries for address in seeded.scalars(text(query))]
    assert [address for address in found if not RESERVED.fullmatch(address)] == []
    outside = "select count(*) from platform.visitor_device where not address::inet <<= any (array['192.0.2.0/24',"
    assert scalar(seeded, f"{outside} '198.51.100.0/24', '203.0.113.0/24', '2001:db8::/32']::inet[])") == 0


@pytest.mark.parametrize(
    "part",
    [
        "=cmd|",
        "<img src=x onerror",
        "](javascript:",
        ":material/warning:",
        "O'Brien",
        "\u202e",
        "\u200d",
        "E\u0301",
        "م",
    ],
)
def test_hostile_names_arrive_as_they_are(seeded: Session, part: str) -> None:
    found = "select count(*) from platform.student where position(:part in name) > 0"
    assert scalar(seeded, found, part=part) >= 1


def test_a_very_long_name_is_there(seeded: Session) -> None:
    assert scalar(seeded, "select max(length(name)) from platform.student") >= 150


def test_every_status_of_an_enrollment_occurs(seeded: Session) -> None:
    found = set(seeded.scalars(text("select distinct status from platform.enrollment")))
    assert found == {"registered", "active", "ended", "withdrawn"}


def test_ages_stand_in_the_consent_record_in_every_kind(seeded: Session) -> None:
    count = "select count(*) from privacy.consent where "
    assert scalar(seeded, f"{count} adult") > 300
    assert scalar(seeded, f"{count} state = 'verified' and guardian_id is not null") >= 1
    assert scalar(seeded, f"{count} state = 'missing' and birth_date > :today - 18 * 366") >= 1
    assert scalar(seeded, f"{count} adult is null and birth_date is null") >= 1


def test_the_desk_is_full(seeded: Session) -> None:
    count = "select count(*) from privacy.request where "
    states = set(seeded.scalars(text("select distinct state from privacy.request")))
    assert states == {"received", "checking", "verified", "to approve", "waiting", "answered", "refused", "withdrawn",
                      "reactivated"}  # fmt: skip
    assert set(seeded.scalars(text("select distinct kind from privacy.request"))) == set(REQUEST_KINDS)
    assert scalar(seeded, f"{count} closed_at is null and answered_at is null and due_at < :now") == 1
    assert scalar(seeded, f"{count} num_nonnulls(student_id, visitor_id) = 0") == 1
    assert scalar(seeded, f"{count} state in ('to approve', 'waiting') and plan_fingerprint is null") == 0
    closed = "join platform.student s on s.id = r.student_id where r.state in ('to approve', 'waiting')"
    assert scalar(seeded, f"select count(*) from privacy.request r {closed} and s.closed_at = r.account_closed_at") == 2


def test_closed_accounts_stand_on_both_sides_of_the_grace_period(seeded: Session) -> None:
    count = "select count(*) from platform.student where closed_at "
    assert scalar(seeded, f"{count} > :now - interval '30 days'") >= 2
    assert scalar(seeded, f"{count} <= :now - interval '30 days'") >= 1


def test_mail_stands_on_both_sides_of_ninety_days(seeded: Session) -> None:
    count = "select count(*) from platform.email_log where sent_at "
    assert scalar(seeded, f"{count} < :now - interval '90 days'") > 10
    assert scalar(seeded, f"{count} >= :now - interval '90 days'") > 10


def test_a_bounced_confirmation_confirms_nothing(seeded: Session) -> None:
    bounced = """from platform.email_log l join platform.enrollment e on e.student_id = l.student_id
        and date_trunc('minute', e.enrolled_at) <= l.sent_at and l.sent_at < e.enrolled_at + interval '1 hour'
        where l.outcome = 'bounced'"""
    assert scalar(seeded, f"select count(*) {bounced}") >= 5
    assert scalar(seeded, f"select count(*) {bounced} and e.confirmed_at is not null") == 0


def test_the_files_stay_small_and_every_one_is_loaded() -> None:
    files = list(FOLDER.glob("*.csv"))
    assert {file.stem for file in files} == {name for name, _ in FILES}
    assert sum(file.stat().st_size for file in files) < 600_000
    assert {model.__table__.fullname for _, model in FILES} <= set(Base.metadata.tables)
