"""Visitors: every filter and order beside SQL written by hand, and what counts as converted or as a duplicate."""

import random
import uuid
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import Connection, insert, text
from sqlalchemy.orm import Session

from core import db, keys, queries
from core.errors import NotFound
from core.models import platform as p
from core.models import staff as s
from core.queries import LEAD_AGES, VISITOR_SORTS, Cursor, VisitorFilter
from tests.cast import NOW, email_of, id_of
from tests.core.privacy import house_of_requests as requests

pytestmark = pytest.mark.usefixtures("house")
TODAY = NOW.date()


def asked(name: str, email: str, **more: Any) -> uuid.UUID:
    """One more visitor, as an import writes them."""
    email_hash, provider_hash = keys.person_hashes()(email, name)
    row = {"id": uuid.uuid4(), "name": name, "email": email, "asked_at": NOW - timedelta(days=20), "source": "test",
           "email_hash": email_hash, "provider_hash": provider_hash, **more}  # fmt: skip
    with db.transaction("worker") as session:
        session.execute(insert(p.Visitor).values(row))
    return uuid.UUID(str(row["id"]))


def paula() -> Any:
    return db.transaction(staff_id=id_of("paula"))


def a_crowd(session: Session, many: int = 240) -> None:
    """Visitors of every kind, the same every time; each seventh has the address of a student or of another visitor."""
    dice, hashes = random.Random(7), keys.person_hashes()
    rows = []
    for number in range(many):
        email = f"Person{number}@crowd.example"
        if number % 7 == 0:
            email = dice.choice(
                ["ASHA@students.example", " ben@students.EXAMPLE", "cleo@students.example", "twice@crowd.example"]
            )
        email_hash, provider_hash = hashes(email, f"crowd {number}")
        status = dice.choice(p.VISITOR_STATUS)
        then = NOW - timedelta(
            days=dice.choice([0, 1, 7, 8, 30, 31, 90, 91, 200]), seconds=dice.randrange(0, 90000, 30000)
        )
        rows.append({
            "id": uuid.uuid5(uuid.NAMESPACE_URL, f"crowd {number}"), "name": dice.choice(["Ann", "ann", "Zoë", "_%x", "Bo"]) + f" {number % 9}",
            "email": email, "program_id": dice.choice([None, id_of("python program"), id_of("java program")]),
            "experience_level": dice.choice(p.EXPERIENCE_LEVELS), "status": status, "asked_at": then,
            "answered_at": None if status == "new" else then + timedelta(hours=1),
            "owner_id": dice.choice([None, id_of("paula"), id_of("ada")]),
            "next_contact_on": dice.choice([None, None, TODAY, TODAY - timedelta(days=3), TODAY + timedelta(days=3)]),
            "source": "test", "email_hash": email_hash, "provider_hash": provider_hash,
        })  # fmt: skip
    session.execute(insert(p.Visitor), rows)


def every_page(wanted: VisitorFilter, sort: str = "newest", limit: int = 17) -> list[uuid.UUID]:
    """All ids of a list, page by page."""
    found: list[uuid.UUID] = []
    after: Cursor | None = None
    while True:
        with paula() as session:
            page = queries.visitor_page(session, wanted, now=NOW, sort=sort, after=after, limit=limit)
        found += [row.id for row in page.rows]
        after = page.next
        if after is None:
            return found


BECAME = ("exists (select from platform.enrollment e join platform.student s on s.id = e.student_id"
          " where lower(trim(s.email)) = lower(trim(v.email)) and e.enrolled_at >= v.asked_at)")  # fmt: skip
WORDS = "lower(v.name || ' ' || v.email)"
# Asha asks for a restriction: her address is not to be contacted, in any spelling. Ada works on no programs.
WANTED = "lower(trim(v.email)) <> 'asha@students.example'"
NOBODYS = f"(v.owner_id is null or v.owner_id = :ada) and {WANTED}"
CASES: list[tuple[VisitorFilter, str]] = [
    (VisitorFilter(), "true"),
    (VisitorFilter(search="ANN"), f"{WORDS} like '%ann%'"),
    (VisitorFilter(search="_%x"), f"strpos({WORDS}, '_%x') > 0"),
    (VisitorFilter(search="crowd.example"), f"{WORDS} like '%crowd.example%'"),
    (VisitorFilter(search="zo"), "true"),  # too short to search for
    (VisitorFilter(program_id=id_of("python program")), "v.program_id = :python"),
    (VisitorFilter(no_program=True), "v.program_id is null"),
    (VisitorFilter(level="beginner"), "v.experience_level = 'beginner'"),
    (VisitorFilter(level="no such"), "true"),
    (VisitorFilter(statuses=("lost",)), "v.status = 'lost'"),
    (VisitorFilter(statuses=("new", "in contact")), "v.status in ('new', 'in contact')"),
    (VisitorFilter(owner="mine"), "v.owner_id = :paula"),
    (VisitorFilter(owner="nobody"), NOBODYS),
    (VisitorFilter(due="due"), f"v.next_contact_on <= date '2026-11-24' and v.status <> 'lost' and {WANTED}"),
    # NOW is Tuesday, 24 Nov 2026: two working days back is Friday, 20 Nov
    (VisitorFilter(due="waiting"), f"v.answered_at is null and v.status = 'new' and v.asked_at < '2026-11-20 00:00+00' and {WANTED}"),
    (VisitorFilter(converted=True), BECAME),
    (VisitorFilter(converted=False), f"not {BECAME}"),
    (VisitorFilter(age="Up to 7 days"), "date '2026-11-24' - (v.asked_at at time zone 'UTC')::date <= 7"),
    (VisitorFilter(age="8 to 30 days"), "date '2026-11-24' - (v.asked_at at time zone 'UTC')::date between 8 and 30"),
    (VisitorFilter(age="31 to 90 days"), "date '2026-11-24' - (v.asked_at at time zone 'UTC')::date between 31 and 90"),
    (VisitorFilter(age="Older than 90 days"), "date '2026-11-24' - (v.asked_at at time zone 'UTC')::date > 90"),
    (VisitorFilter(search="ann", statuses=("new",), owner="nobody", converted=False),
     f"{WORDS} like '%ann%' and v.status = 'new' and {NOBODYS} and not {BECAME}"),
    (VisitorFilter(program_id=id_of("python program"), level="advanced", due="due"),
     f"v.program_id = :python and v.experience_level = 'advanced' and v.next_contact_on <= date '2026-11-24' and v.status <> 'lost' and {WANTED}"),
    (VisitorFilter(owner="mine", age="8 to 30 days", statuses=("in contact",)),
     "v.owner_id = :paula and v.status = 'in contact' and date '2026-11-24' - (v.asked_at at time zone 'UTC')::date between 8 and 30"),
]  # fmt: skip
ORDERS = {"newest": "asked_at desc, id desc", "oldest": "asked_at, id", "next": "next_contact_on nulls last, id",
          "name": "lower(name), id"}  # fmt: skip


def test_every_filter_finds_what_sql_written_by_hand_finds(owner: Connection) -> None:
    with db.transaction("worker") as session:
        a_crowd(session)
    requests.file("restrict", student_id=id_of("asha"))
    told = {"python": id_of("python program"), "paula": id_of("paula"), "ada": id_of("ada")}
    found_any = 0
    for wanted, condition in CASES:
        by_hand = owner.execute(text(f"select v.id from platform.visitor v where {condition}"), told).scalars().all()
        found = every_page(wanted, limit=50)
        assert len(found) == len(set(found)), wanted
        assert set(found) == set(by_hand), wanted
        with paula() as session:
            total = queries.visitor_total(session, wanted, now=NOW)
            assert (total.count, total.capped) == (len(by_hand), False), wanted
        found_any += bool(by_hand)
    assert found_any == len(CASES), "every case finds somebody"


@pytest.mark.parametrize("sort", VISITOR_SORTS)
def test_pages_follow_one_order_without_gap_or_repetition(sort: str, owner: Connection) -> None:
    with db.transaction("worker") as session:
        a_crowd(session)
    expected = owner.execute(text(f"select id from platform.visitor order by {ORDERS[sort]}")).scalars().all()
    assert every_page(VisitorFilter(), sort) == expected


def test_a_full_page_that_is_the_last_and_a_count_that_reaches_its_cap_say_so() -> None:
    many = len(every_page(VisitorFilter()))
    with paula() as session:
        assert queries.visitor_page(session, VisitorFilter(), now=NOW, limit=many).next is None
        assert queries.visitor_page(session, VisitorFilter(), now=NOW, limit=many - 1).next is not None
        total = queries.visitor_total(session, VisitorFilter(), now=NOW, cap=many)
    assert (total.count, total.capped) == (many, False)


def test_the_figures_are_the_lengths_of_the_lists_they_lead_to() -> None:
    with db.transaction("worker") as session:
        a_crowd(session)
    with paula() as session:
        found = queries.visitor_figures(session, now=NOW)
    assert found.waiting.count == len(every_page(VisitorFilter(due="waiting"))) > 0
    assert found.due.count == len(every_page(VisitorFilter(due="due"))) > found.overdue.count > 0
    unowned = VisitorFilter(owner="nobody", statuses=("new", "in contact"), converted=False)
    assert found.unowned.count == len(every_page(unowned)) > 0
    oldest = every_page(VisitorFilter(due="waiting"), "oldest")[0]
    with paula() as session:
        assert found.oldest == queries.visitor_card(session, oldest).asked_at
        day = queries.program_day(session, now=NOW)
    assert (day.waiting_visitors, day.oldest_visitor, day.due_visitors) == (found.waiting, found.oldest, found.due)


def test_counting_stops_at_its_cap() -> None:
    with paula() as session:
        total = queries.visitor_total(session, VisitorFilter(), now=NOW, cap=1)
    assert total.capped
    assert total.of("visitor") == "more than 1 visitor"
    with db.transaction("worker") as session:
        session.execute(text(
            "insert into platform.visitor (id, name, email, asked_at, status, answered_at, email_hash, provider_hash, source)"
            " select gen_random_uuid(), 'N', n || '@many.example', now(), 'answered', now(), sha256(n::text::bytea), '', 'test'"
            " from generate_series(1, 1010) n"
        ))  # fmt: skip
    with paula() as session:
        assert (
            queries.visitor_total(session, VisitorFilter(converted=False), now=NOW).of("visitor")
            == "more than 1,000 visitors"
        )
        assert queries.visitor_total(session, VisitorFilter(), now=NOW).of("visitor") == "1,012 visitors"


@pytest.mark.parametrize(
    ("day", "since"),
    [
        (datetime(2026, 11, 24, 12, tzinfo=UTC), date(2026, 11, 20)),  # Tuesday
        (datetime(2026, 11, 26, 0, 0, 1, tzinfo=UTC), date(2026, 11, 24)),  # Thursday
        (datetime(2026, 11, 22, 9, tzinfo=UTC), date(2026, 11, 19)),  # Sunday
        (datetime(2026, 11, 23, 9, tzinfo=UTC), date(2026, 11, 19)),  # Monday
    ],
)
def test_working_days_leave_out_the_weekend(day: datetime, since: date) -> None:
    assert queries.waiting_since(day).date() == since


# Asha's account is from NOW - 100 days; her enrollment in Python began at NOW - 80 days.
@pytest.mark.parametrize(
    ("email", "days_ago", "marks"),
    [
        (email_of("asha"), 90, ("converted", "student already")),
        (email_of("asha"), 110, ("converted",)),
        (email_of("asha"), 79, ("student already",)),
        ("ASHA@Students.Example", 110, ("converted",)),
        ("  asha@students.example ", 110, ("converted",)),
        ("ａsha@students.example", 110, ("converted",)),  # a full-width letter
        ("asha+x@students.example", 110, ()),
        ("asha@student.example", 110, ()),
    ],
)
def test_converted_is_who_enrolled_after_asking_and_student_already_who_had_an_account(
    email: str, days_ago: int, marks: tuple[str, ...]
) -> None:
    visitor = asked("Asha E.", email, asked_at=NOW - timedelta(days=days_ago))
    with paula() as session:
        card = queries.visitor_card(session, visitor)
        row = next(r for r in queries.visitor_page(session, VisitorFilter(), now=NOW).rows if r.id == visitor)
        listed = queries.visitor_page(session, VisitorFilter(converted=True), now=NOW).rows
    assert row.marks == card.marks == marks
    assert ([r.id for r in listed] == [visitor]) is ("converted" in marks)
    assert (card.student is not None) is (email not in ("asha+x@students.example", "asha@student.example"))


def test_an_enrollment_in_the_very_instant_of_asking_counts_as_after() -> None:
    visitor = asked("Asha E.", email_of("asha"), asked_at=NOW - timedelta(days=80))
    with paula() as session:
        assert "converted" in queries.visitor_card(session, visitor).marks


def test_of_a_student_a_visitor_shows_program_cohort_and_status_and_nothing_else() -> None:
    visitor = asked("Ben E.", email_of("ben"), asked_at=NOW - timedelta(days=110))
    with paula() as session:
        known = queries.visitor_card(session, visitor).student
    assert known is not None
    assert known.id == id_of("ben") and not known.before
    assert known.enrollments == (queries.LaterEnrollment("Cloud", "Cloud 26", "active", NOW - timedelta(days=80)),)


def test_whoever_asks_twice_is_shown_on_both_and_counts_once_as_a_person() -> None:
    first = asked("Vera again", "VERA@visitors.example", asked_at=NOW - timedelta(days=1))
    third = asked("Ve Ra", "vera@Visitors.example ", asked_at=NOW - timedelta(days=400))
    with paula() as session:
        card = queries.visitor_card(session, first)
        marks = {row.id: row.marks for row in queries.visitor_page(session, VisitorFilter(), now=NOW).rows}
        rate = queries.visitor_conversion(session, now=NOW)
    assert [form.id for form in card.other_forms] == [id_of("vera"), third]
    assert marks[first] == marks[third] == marks[id_of("vera")] == ("asked again",)
    assert marks[id_of("viktor")] == ()
    assert (rate.asked, rate.converted) == (2, 0)


def test_the_rate_is_of_people_who_asked_within_ninety_days() -> None:
    asked("Asha E.", "ASHA@students.example", asked_at=NOW - timedelta(days=85))
    asked("Asha E.", "asha@students.example", asked_at=NOW - timedelta(days=86))
    asked("Ben E.", email_of("ben"), asked_at=NOW - timedelta(days=120))
    with paula() as session:
        rate = queries.visitor_conversion(session, now=NOW)
    assert (rate.asked, rate.converted, rate.percent) == (3, 1, 33)
    assert queries.Conversion(0, 0).percent is None


@pytest.mark.parametrize("name", ["ines", "marek", "omar", "ada", "aiko", "dora"])
def test_for_other_roles_there_are_no_visitors(name: str) -> None:
    with db.transaction(staff_id=id_of(name)) as session:
        assert queries.visitor_page(session, VisitorFilter(), now=NOW).rows == ()
        assert queries.visitor_total(session, VisitorFilter(), now=NOW).count == 0
        assert queries.visitor_figures(session, now=NOW).waiting.count == 0
        assert queries.program_team(session) == ()
        assert queries.visitor_conversion(session, now=NOW).asked == (2 if name == "ada" else 0)
        with pytest.raises(NotFound):
            queries.visitor_card(session, id_of("vera"))


def test_an_officer_with_an_open_case_reads_that_visitor_and_no_follow_up() -> None:
    with db.transaction("worker") as session:
        session.execute(text("insert into privacy.request (id, kind, visitor_id, state, received_at, due_at, source)"
                             " values (gen_random_uuid(), 'access', :v, 'received', :now, :now, 'test')"),
                        {"v": id_of("viktor"), "now": NOW})  # fmt: skip
    with db.transaction(staff_id=id_of("omar")) as session:
        assert session.scalars(text("select id from platform.visitor")).all() == [id_of("viktor")]
        assert session.scalars(text("select id from platform.follow_up")).all() == []


@pytest.mark.parametrize("name", ["paula", "ines", "marek", "omar", "ada", "aiko", None])
def test_no_role_of_the_dashboard_reads_device_data(name: str | None) -> None:
    from sqlalchemy.exc import ProgrammingError

    for columns in ("count(*)", "user_agent", "address", "visitor_id"):
        with (
            pytest.raises(ProgrammingError, match="permission denied"),
            db.transaction(staff_id=id_of(name) if name else None) as session,
        ):
            session.execute(text(f"select {columns} from platform.visitor_device"))


def test_ages_of_leads_leave_no_day_out() -> None:
    edges = sorted(LEAD_AGES.values())
    assert edges[0][0] == 0 and edges[-1][1] is None
    assert all(one[1] is not None and one[1] + 1 == other[0] for one, other in pairwise(edges))


@pytest.mark.parametrize("kind", ["object", "opt_out", "restrict", "delete"])
def test_who_asked_for_peace_is_not_offered_and_nothing_else_is_told(kind: str) -> None:
    petra, again = asked("Petra", "petra@crowd.example"), asked("Petra again", " PETRA@crowd.example")
    waiting, wanted = VisitorFilter(search="petra", due="waiting"), VisitorFilter(search="petra")
    assert set(every_page(waiting)) == {petra, again}
    filed = requests.file(kind, visitor_id=petra)
    assert every_page(waiting) == [], "the other form of the same person too"
    with paula() as session:
        assert queries.visitor_card(session, again).quiet
        assert [row.marks[-1] for row in queries.visitor_page(session, wanted, now=NOW).rows] == ["do not contact"] * 2
        assert not queries.visitor_card(session, id_of("vera")).quiet
    requests.act("refuse_request", "omar", reason="manifestly unfounded", words="Because.", **requests.on(filed))
    assert set(every_page(waiting)) == {petra, again}, "refused: as before"


def test_an_answered_objection_lasts() -> None:
    petra = asked("Petra", "petra@crowd.example")
    filed = requests.verified("object", visitor_id=petra)
    requests.act("answer_request", "omar", outcome="done by hand", evidence="Off every list.", **requests.on(filed))
    assert requests.row(filed.request_id)["closed_at"] is not None
    assert every_page(VisitorFilter(search="petra", owner="nobody")) == []
    with paula() as session:
        assert queries.visitor_card(session, petra).quiet


@pytest.mark.parametrize("change", ["disabled_at = now()", "role = 'auditor'"])
def test_a_visitor_whose_owner_is_gone_is_nobodys(change: str) -> None:
    with db.transaction("worker") as session:
        session.execute(insert(s.StaffMember).values(id=id_of("otto"), email="otto@staff.example", name="Otto", role="program_staff",
                                                     created_at=NOW))  # fmt: skip
        session.execute(
            text("update platform.visitor set owner_id = :o where id = :v"), {"o": id_of("otto"), "v": id_of("vera")}
        )
    nobodys = VisitorFilter(search="vera", owner="nobody")
    assert every_page(nobodys) == []
    with db.transaction("worker") as session:
        session.execute(text(f"update staff.staff_member set {change} where id = :o"), {"o": id_of("otto")})
    assert every_page(nobodys) == [id_of("vera")]
    with paula() as session:
        card = queries.visitor_card(session, id_of("vera"))
    assert (card.unowned, card.owner) == (True, "nobody, Otto before")
