"""The synthetic records: always fresh, always synthetic, there once."""

import re
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from core import db, embedded, queries
from core.importers.seed import FILES, FOLDER, seed
from core.models import Base
from core.models.requests import REQUEST_KINDS
from tests.cast import NOW
from tests.conftest import clone

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


@pytest.fixture(scope="module")
def seeded(cluster: embedded.Cluster, templates: dict[str, str], run_folder: Path) -> Iterator[Session]:
    """The records in a database that all tests of this file only read."""
    with pytest.MonkeyPatch.context() as patch:
        for _ in clone(cluster, templates["empty"], patch, run_folder / "home"):
            with db.transaction("worker") as session:
                seed(session, now=NOW)
            with db.transaction("worker") as session:
                yield session


def test_the_size_of_a_small_school(worker: Session) -> None:
    written = seed(worker, now=NOW)
    assert (written["programs"], written["cohorts"], written["students"], written["visitors"]) == (6, 16, 704, 162)
    assert written["enrollments"] > 750
    assert all(written.values())


@pytest.mark.parametrize("days", [0, 40])
def test_seeding_again_changes_nothing_also_on_a_later_day(worker: Session, days: int) -> None:
    seed(worker, now=NOW)
    before = content(worker)
    later = {table: rows for table, rows in before.items() if table != "platform.enrollment"}
    assert set(seed(worker, now=NOW + timedelta(days=days)).values()) == {0}
    after = content(worker)
    assert {table: after[table] for table in later} == later
    assert len(after["platform.enrollment"]) == len(before["platform.enrollment"])
    assert days or after == before


@pytest.mark.parametrize("days", [0, 400])
def test_cohorts_run_on_the_day_of_seeding_whenever_that_is(worker: Session, days: int) -> None:
    today = TODAY + timedelta(days=days)
    seed(worker, now=NOW + timedelta(days=days))
    count = "select count(*) from platform.cohort where "
    assert scalar(worker, f"{count} :today between starts_on and ends_on", today=today) == 7
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
    assert [address for address in found if not RESERVED.fullmatch(address.lower())] == []
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


RUNNING = (
    "platform.enrollment e join platform.cohort c on c.id = e.cohort_id and :today between c.starts_on and c.ends_on"
)
BECAME = """platform.visitor v join platform.student s on s.email_hash = v.email_hash
    join platform.enrollment e on e.student_id = s.id and e.enrolled_at >= v.asked_at"""
CASES = {
    "closed on day 1 of the grace": "platform.student where closed_at between :now - interval '2 days' and :now - interval '1 day'",
    "closed on day 29": "platform.student where closed_at between :now - interval '30 days' and :now - interval '29 days'",
    "closed on day 30": "platform.student where closed_at between :now - interval '31 days' and :now - interval '30 days'",
    "closed on day 31": "platform.student where closed_at between :now - interval '32 days' and :now - interval '31 days'",
    "a minor with verified consent": "privacy.consent where state = 'verified' and guardian_id is not null and birth_date > :today - 6570",
    "a minor without any": "privacy.consent where state = 'missing' and birth_date between :today - 6570 and :today - 5844",
    "a minor whose parent withdrew": "privacy.consent where state = 'withdrawn'",
    "a minor who learns without consent": f"{RUNNING} join privacy.consent p on p.student_id = e.student_id and p.state = 'missing'",
    "a consent that lapsed at 18": "privacy.consent where state = 'verified' and birth_date < :today - 6575",
    "somebody under 16": "privacy.consent where birth_date > :today - 5844",
    "an age never declared": "privacy.consent where birth_date is null and adult is null and asked_at is null",
    "an age asked for in vain": "privacy.consent where answer_by < :now and adult is null and birth_date is null",
    "an age asked for": "privacy.consent where answer_by > :now",
    "a silent guardian": "privacy.consent where state = 'requested' and requested_at < :now - interval '7 days'",
    "a consent to verify": "privacy.consent where state = 'given' and method is not null and entered_at is not null",
    "a refused consent": "privacy.consent where state = 'refused' and guardian_id is not null",
    "a consent that lapses soon": "privacy.consent where state = 'verified' and birth_date between :today - 6575 and :today - 6545",
    "a student who came of age": "privacy.consent where state = 'lapsed'",
    "a lapsed subscription": "platform.subscription where ends_on < :today",
    "a student with a hundred submissions": "(select from platform.submission group by enrollment_id having count(*) >= 100) x",
    "a student in two running cohorts": f"(select from {RUNNING} group by e.student_id having count(*) > 1) x",
    "a running cohort without modules": """platform.cohort c where :today between starts_on and ends_on
        and not exists (select from platform.module m where m.program_id = c.program_id or m.cohort_id = c.id)
        and exists (select from platform.enrollment e where e.cohort_id = c.id)""",
    "a running cohort of 280 and more": f"(select from {RUNNING} group by c.id having count(*) >= 280) x",
    "the same program a year before": """platform.cohort c join platform.cohort b on b.program_id = c.program_id and b.starts_on = c.starts_on - 365
        where :today between c.starts_on and c.ends_on""",
    "work that waits for more than ten days": "platform.submission where status = 'waiting for review' and submitted_at < :now - interval '10 days'",
    "work that waits since yesterday": "platform.submission where status = 'waiting for review' and submitted_at > :now - interval '2 days'",
    "the same module failed twice": f"""(select from platform.submission w join {RUNNING} on e.id = w.enrollment_id where w.status = 'failed'
        group by w.enrollment_id, w.module_id having count(*) = 2) x""",
    "somebody active and silent for weeks": f"""(select from platform.module_progress m join {RUNNING} on e.id = m.enrollment_id
        where e.status = 'active' group by e.id having max(m.active_at) < :now - interval '40 days') x""",
    "a certificate due and not issued": """platform.result r left join platform.certificate t using (enrollment_id)
        where r.kind = 'pass' and t.id is null and r.decided_at < :now - interval '300 days'""",
    "a visitor who became a student": f"{BECAME} where v.email = s.email",
    "one in other letters": f"{BECAME} where v.email <> s.email and lower(v.email) = lower(s.email)",
    "one in wide letters": f"{BECAME} where lower(v.email) <> lower(s.email)",
    "a student who asks as a visitor": """platform.visitor v join platform.student s on s.email_hash = v.email_hash
        where v.status = 'new' and v.asked_at > :now - interval '9 days'""",
    "a visitor of a student's name": "platform.visitor v join platform.student s on s.name = v.name and s.email_hash <> v.email_hash where v.email like 'sid.%'",
    "a visitor twice": "(select from platform.visitor group by email_hash having count(*) = 2) x",
    "a next contact overdue": "platform.visitor where next_contact_on < :today and status = 'in contact'",
    "a next contact today": "platform.visitor where next_contact_on = :today",
    "mail before the ninety days": "platform.email_log where sent_at < :now - interval '90 days'",
    "mail within them": "platform.email_log where sent_at >= :now - interval '90 days'",
}  # fmt: skip


def test_every_case_that_later_work_needs_is_there(seeded: Session) -> None:
    assert [case for case, where in CASES.items() if not scalar(seeded, f"select count(*) from {where}")] == []


def test_a_bounced_confirmation_confirms_nothing(seeded: Session) -> None:
    bounced = """from platform.email_log l join platform.enrollment e on e.student_id = l.student_id
        and date_trunc('minute', e.enrolled_at) <= l.sent_at and l.sent_at < e.enrolled_at + interval '1 hour'
        where l.outcome = 'bounced'"""
    assert scalar(seeded, f"select count(*) {bounced}") >= 5
    assert scalar(seeded, f"select count(*) {bounced} and e.confirmed_at is not null") == 0


def test_the_files_stay_small_and_every_one_is_loaded() -> None:
    files = list(FOLDER.glob("*.csv"))
    assert {file.stem for file in files} == {name for name, _ in FILES}
    assert sum(file.stat().st_size for file in files) < 1_000_000
    assert {model.__table__.fullname for _, model in FILES} <= set(Base.metadata.tables)


def test_some_need_help_for_different_reasons_and_most_do_not(seeded: Session) -> None:
    """What an instructor sees first looks like a school: 10 to 20 of a hundred need help."""
    teacher, undo = uuid.uuid4(), seeded.begin_nested()
    seeded.execute(text("insert into staff.staff_member (id, email, name, role, created_at) values (:i, 't@x.example', 'T', 'mentor', now())"),
                   {"i": teacher})  # fmt: skip
    seeded.execute(text("insert into staff.assignment (id, staff_id, cohort_id, starts_on, created_at) select gen_random_uuid(), :i, c.id,"
                        " current_date - 1, now() from platform.cohort c where :today between c.starts_on and c.ends_on"),
                   {"i": teacher, "today": TODAY})  # fmt: skip
    db.identify(seeded, staff_id=teacher)
    cohorts = queries.taught_cohorts(seeded, now=NOW)
    found = queries.who_needs_help(seeded, cohorts, now=NOW)
    big = queries.who_needs_help(seeded, tuple(each for each in cohorts if each.code == "WEB-8"), now=NOW)
    undo.rollback()
    assert found.students > 500 and big.students > 270
    for each in (found, big):
        assert 0.1 < each.total / each.students < 0.2, each.total
        assert min(each.by_kind.values()) >= 4, each.by_kind
