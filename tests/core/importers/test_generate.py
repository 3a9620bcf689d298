"""Generated records: plausible, reproducible, in the past, marked, and never beside real ones by accident."""

import hashlib
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from sqlalchemy import insert, text
from sqlalchemy.orm import Session

from core import db, keys
from core.errors import AdminError, BadInput, Refused
from core.importers import generate as g
from core.importers.made_up import NEWCOMERS, catalog, chunks, instant
from core.importers.sizes import Sizes
from core.importers.statuses import refresh_statuses
from core.models import platform as p
from tests.cast import NOW
from tests.core.importers.test_seed import RESERVED
from tests.core.test_cli import run

SIZES = Sizes(1_200, seed=7)


def scalar(session: Session, query: str) -> Any:
    return session.scalar(text(query), {"now": NOW, "today": NOW.date()})


def make(session: Session, sizes: Sizes = SIZES) -> dict[str, int]:
    assert g.prepare(session, sizes, now=NOW)
    return g.generate(session, sizes, now=NOW)


def content(session: Session) -> str:
    """A digest of everything that a run writes."""
    told = "(to_jsonb(t) - 'number')::text"  # the numbers of consent records go on, whoever rolls back
    rows = f"select md5(coalesce(string_agg({told}, '|' order by {told}), '')) from {{}} t"
    return hashlib.sha256("".join(scalar(session, rows.format(table)) for table in g.TABLES).encode()).hexdigest()


@pytest.fixture
def school(worker: Session) -> Iterator[Session]:
    make(worker)
    yield worker


def test_as_many_as_asked_for_and_the_rest_in_proportion(worker: Session) -> None:
    written = make(worker)
    ratio = {name: written[name] / SIZES.students for name in written}
    assert written["student"] == written["consent"] == SIZES.students
    assert 1.15 <= ratio["enrollment"] <= 1.35
    assert (
        10 <= written["module_progress"] / written["enrollment"] <= 15
    )  # about 12 on average; a small school has few programs
    assert 1.2 <= written["submission"] / written["enrollment"] <= 2.6
    assert 0.1 <= ratio["visitor"] <= 0.2 and ratio["payment"] > 0.6 and ratio["email_log"] > 0.7
    assert 15 <= written["enrollment"] / written["cohort"] <= 40
    assert all(written.values())
    assert written == {table.split(".")[1]: scalar(worker, f"select count(*) from {table}") for table in g.TABLES}


def test_the_same_seed_makes_the_same_and_another_one_does_not(database: str) -> None:
    found = []
    for sizes in (Sizes(150, seed=1), Sizes(150, seed=1), Sizes(150, seed=2)):
        with Session(db.engine("worker")) as session, session.begin() as transaction:
            make(session, sizes)
            found.append(content(session))
            transaction.rollback()
    assert found[0] == found[1] != found[2]


MOMENTS = ("student.registered_at", "student.closed_at", "enrollment.enrolled_at", "enrollment.withdrawn_at", "module_progress.active_at",
           "module_progress.done_at", "submission.submitted_at", "code_review.reviewed_at", "result.decided_at", "certificate.issued_at",
           "usage_event.at", "email_log.sent_at", "visitor.asked_at", "visitor.answered_at", "payment.paid_at")  # fmt: skip
IMPOSSIBLE = {
    "enrolled before the account": "platform.enrollment e join platform.student s on s.id = e.student_id where e.enrolled_at < s.registered_at",
    "started before enrolled": "platform.enrollment where started_at < enrolled_at",
    "done before begun": "platform.module_progress where done_at < started_at or active_at < started_at",
    "active after leaving": "platform.module_progress m join platform.enrollment e on e.id = m.enrollment_id where m.started_at > e.withdrawn_at",
    "a score while it waits": "platform.submission where (status = 'waiting for review') <> (score is null)",
    "waiting and reviewed": "platform.submission s where (status = 'waiting for review') = exists (select from platform.code_review r where r.submission_id = s.id)",
    "reviewed before handed in": "platform.code_review r join platform.submission s on s.id = r.submission_id where r.reviewed_at < s.submitted_at",
    "a certificate without passing": "platform.certificate c left join platform.result r using (enrollment_id) where r.kind is null or r.kind not in ('pass', 'distinction')",
    "a result of a running cohort": "platform.result r join platform.cohort c on c.id = r.cohort_id where r.kind <> 'withdrawn' and c.ends_on >= :today",
    "a module of another program": "platform.module_progress m join platform.module x on x.id = m.module_id join platform.cohort c on c.id = m.cohort_id where x.program_id <> c.program_id",
    "closed and past the grace": "platform.student where closed_at < :now - interval '30 days'",
    "an age of 150": "privacy.consent where birth_date < :today - 365 * 100 or birth_date > :today - 365 * 12",
    "a minor who needs no consent": "privacy.consent where birth_date > :today - 6570 and state = 'not needed'",
    "seats for fewer than came": "platform.cohort c where seats < (select count(*) from platform.enrollment e where e.cohort_id = c.id)",
}  # fmt: skip


def test_everything_lies_in_the_past_and_nothing_is_impossible(school: Session) -> None:
    for moment in MOMENTS:
        table, column = moment.split(".")
        assert scalar(school, f"select count(*) from platform.{table} where {column} > :now") == 0, moment
    for what, where in IMPOSSIBLE.items():
        assert scalar(school, f"select count(*) from {where}") == 0, what
    assert refresh_statuses(school, NOW) == 0, "every status is what the calendar says"


LIFE = {
    "a cohort runs": "platform.cohort where :today between starts_on and ends_on",
    "a cohort starts soon": "platform.cohort where starts_on > :today",
    "somebody failed the same module twice": "platform.submission a where status = 'failed' and attempt = 2",
    "somebody waits for a review": "platform.submission where status = 'waiting for review'",
    "somebody active was silent for two weeks": """platform.enrollment e where status = 'active' and started_at < :now - interval '30 days'
        and not exists (select from platform.module_progress m where m.enrollment_id = e.id and m.active_at > :now - interval '14 days')""",
    "somebody is in two running cohorts": """(select student_id from platform.enrollment where status in ('active', 'registered') group by 1
        having count(*) > 1) x""",
    "somebody came back three times": "(select student_id from platform.enrollment group by 1 having count(*) > 3) x",
    "a certificate is due": """platform.result r left join platform.certificate c using (enrollment_id) where c.id is null
        and r.kind in ('pass', 'distinction') and decided_at < :now - interval '13 days'""",
    "a visitor became a student": "platform.visitor v join platform.student s on lower(s.email) = lower(v.email)",
    "an address is spelled otherwise": "platform.visitor v join platform.student s on lower(s.email) = lower(v.email) and s.email <> v.email",
    "a next contact is overdue": "platform.visitor where next_contact_on < :today",
    "a minor has verified consent": "privacy.consent where state = 'verified' and guardian_id is not null",
    "a guardian was asked": "privacy.consent where state = 'requested' and requested_at is not null",
    "a consent was refused": "privacy.consent where state = 'refused'",
    "an age was asked for": "privacy.consent where asked_at is not null and answer_by > :now",
    "an age was never declared": "privacy.consent where birth_date is null and adult is null",
    "mail lies before the ninety days": "platform.email_log where sent_at < :now - interval '90 days'",
    "a subscription lapsed": "platform.subscription where ends_on < :today",
    "a confirmation bounced": "platform.email_log where outcome = 'bounced' and kind = 'enrollment confirmation'",
}  # fmt: skip


def test_life_is_in_it(school: Session) -> None:
    assert [what for what, where in LIFE.items() if not scalar(school, f"select count(*) from {where}")] == []


def test_addresses_are_reserved_and_people_carry_their_keyed_hashes(school: Session) -> None:
    addresses = school.scalars(text("select email from platform.student union all select email from platform.visitor union all "
                                    "select address from platform.email_log union all select email from privacy.guardian"))  # fmt: skip
    assert [each for each in addresses if not RESERVED.fullmatch(each.lower())] == []
    hashes = keys.person_hashes()
    for row in school.execute(
        text("select email, source_key, email_hash, provider_hash from platform.student limit 50")
    ):
        assert (row.email_hash, row.provider_hash) == hashes(row.email, f"generated:{row.source_key}")


def test_memory_does_not_grow_with_the_school() -> None:
    sizes, now = Sizes(35_000), instant(NOW)
    known = catalog(sizes, now)
    made = [chunk.people.number for chunk in chunks(known, sizes, now)]
    assert np.array_equal(np.concatenate(made), np.arange(35_000))
    assert len(made) > 10 and max(map(len, made)) < NEWCOMERS


def test_a_second_run_adds_nothing_and_another_size_is_refused(database: str) -> None:
    assert "student" in run("generate", "--students", "120")
    with db.transaction("worker") as session:
        before = content(session)
        assert (
            scalar(
                session, "select string_agg(details, '') from privacy.audit_event where action = 'records imported'"
            ).count("generated")
            == 1
        )
    assert "nothing was added" in run("generate", "--students", "120")
    for other in (("--students", "130"), ("--students", "120", "--seed", "2"), ("--students", "120", "--usage", "1")):
        with pytest.raises(Refused, match="already holds generated records"):
            run("generate", *other)
    with db.transaction("worker") as session:
        assert content(session) == before


def test_real_records_are_not_mixed_with_made_up_ones_unless_somebody_says_so(house: str) -> None:
    with pytest.raises(Refused, match=r"records from cast.*--beside-real-records"):
        run("generate", "--students", "100")
    with db.transaction("worker") as session:
        assert scalar(session, "select count(*) from platform.student") == 3
    run("generate", "--students", "100", "--beside-real-records")
    with db.transaction("worker") as session:
        assert scalar(session, "select count(*) from platform.student") == 103
        assert scalar(session, "select count(*) from platform.student where source = 'cast'") == 3


def test_an_interrupted_run_leaves_nothing(database: str) -> None:
    class Interrupted(Exception):
        pass

    def stop(_what: str, done: int, _whole: int) -> None:
        if done > 60:
            raise Interrupted

    with db.transaction("worker") as session:
        g.prepare(session, Sizes(150), now=NOW)
    with pytest.raises(Interrupted), db.transaction("worker") as session:
        g.generate(session, Sizes(150), now=NOW, progress=stop)
    with db.transaction("worker") as session:
        assert {scalar(session, f"select count(*) from {table}") for table in g.TABLES} == {0}
        assert scalar(session, "select count(*) from privacy.audit_event where action = 'records imported'") == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"students": 99},
        {"students": 10_000_001},
        {"seed": -1},
        {"seed": 2**32},
        {"visitors": -0.1},
        {"usage": 501},
        {"mails": float("nan")},
    ],
)
def test_sizes_that_cannot_be_are_a_sentence(worker: Session, wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="takes a number from"):
        g.prepare(worker, Sizes(**{"students": 100, **wrong}), now=NOW)


def test_a_program_of_the_same_code_is_refused_in_words(worker: Session) -> None:
    worker.execute(insert(p.Program).values(code="PY-B", title="Ours", source="seed"))
    with pytest.raises(AdminError, match="uq_program_code"):
        make(worker, Sizes(100))


def test_years_later_it_is_fresh_again(worker: Session) -> None:
    later = NOW + timedelta(days=500)
    g.prepare(worker, Sizes(200), now=later)
    g.generate(worker, Sizes(200), now=later)
    running = "select count(*) from platform.cohort where :day between starts_on and ends_on"
    assert worker.scalar(text(running), {"day": later.date()}) >= 1
