"""What a restriction and an objection do to every list, with the guards in Python switched off: bare SQL, and the reads on top."""

import uuid
from datetime import timedelta

import pytest
from sqlalchemy import text, update
from sqlalchemy.exc import DBAPIError

from core import db, keys, queries
from core.anon.people import COUNTED
from core.errors import NotFound
from core.models.platform import Student
from core.privacy import snapshots
from core.queries import EnrollmentFilter, VisitorFilter
from tests.cast import NOW, ROLES, STUDENTS, email_of, id_of
from tests.classroom import Classroom
from tests.core.privacy.house_of_requests import act, file, on
from tests.core.privacy.test_standing import lift, restrict
from tests.core.reads.test_enrollments import a_crowd
from tests.core.test_matrix import STUDENT_ROWS, student_of, visible

pytestmark = pytest.mark.usefixtures("house")
HIDDEN = ("paula", "ines")  # who would see asha


def test_the_rows_of_a_restricted_student_open_to_nobody_but_the_officer_with_their_case() -> None:
    restrict("asha", basis="consent missing", by=None)
    for table, rule in STUDENT_ROWS.items():
        for staff in ROLES:
            expected = rule.get(staff, set()) - ({"asha"} if staff in HIDDEN else set())
            assert {student_of(table, key) for key in visible(table, staff)} == expected, f"{staff} in {table}"
    lift("asha", basis="consent missing", by=None)
    assert "asha" in {student_of("platform.student", key) for key in visible("platform.student", "ines")}


def test_the_rows_of_a_restricted_visitor_are_closed_and_nobody_follows_them_up() -> None:
    restrict("viktor")
    assert visible("platform.visitor", "paula") == [id_of("vera")]
    assert visible("platform.follow_up", "paula") == []
    with db.transaction(staff_id=id_of("paula")) as session:
        done = session.execute(text("update platform.visitor set status = 'lost'"))
        assert done.rowcount == 1  # type: ignore[attr-defined]
    step = "insert into platform.follow_up (id, visitor_id, step, at, by_id, kind) values (:id, :v, 2, now(), :me, 'contact made')"
    for name, refused in (("viktor", True), ("vera", False)):
        try:
            with db.transaction(staff_id=id_of("paula")) as session:
                session.execute(text(step), {"id": uuid.uuid4(), "v": id_of(name), "me": id_of("paula")})
        except DBAPIError as error:
            assert refused and "row-level security" in str(error)
        else:
            assert not refused


MANY = """insert into privacy.restriction (id, student_id, since, basis)
    select gen_random_uuid(), id, now(), 'consent missing' from platform.student where strpos(email, '@crowd.example') > 0 limit 60"""


def test_beyond_fifty_restrictions_every_row_is_asked_and_the_same_people_are_hidden() -> None:
    """The policies know the restricted as a list while they are few (migration 0046)."""
    with db.transaction("worker") as session:
        a_crowd(session, 60)
    restrict("asha", basis="consent missing", by=None)
    restrict("viktor", basis="asked", by=None)
    known, seen = {id_of(name) for name in STUDENTS} | {id_of("vera"), id_of("viktor")}, []
    for crowd in ("select 1", MANY):
        with db.transaction("worker") as session:
            session.connection().exec_driver_sql(crowd)
        with db.transaction(staff_id=id_of("paula")) as session:
            few = session.scalar(text("select privacy.few_restricted_students()"))
            assert few == ([id_of("asha")] if crowd == "select 1" else None)
        seen.append(
            [known & set(visible(table, "paula")) for table in ("platform.student", "platform.visitor")]
            + [len(visible("platform.enrollment", "paula"))]
        )
    assert seen[0][:2] == seen[1][:2] == [{id_of("ben"), id_of("cleo")}, {id_of("vera")}]
    assert (seen[0][2], seen[1][2]) == (62, 2), "and those of the crowd, too"


def test_lists_and_counts_of_lists_leave_them_out_without_a_hole() -> None:
    restrict("asha", basis="consent missing", by=None)
    restrict("viktor", basis="asked", by=None)
    with db.transaction(staff_id=id_of("paula")) as session:
        found = queries.enrollment_page(session, EnrollmentFilter(), limit=2)
        assert {row.student_id for row in found.rows} == {id_of("ben"), id_of("cleo")}
        assert found.next is None
        assert queries.enrollment_total(session, EnrollmentFilter()).count == 2
        assert queries.enrollment_total(session, EnrollmentFilter(search="asha")).count == 0
        visitors = queries.visitor_page(session, VisitorFilter(), now=NOW)
        assert [row.id for row in visitors.rows] == [id_of("vera")]
        assert queries.visitor_total(session, VisitorFilter(), now=NOW).count == 1
        assert [hit.id for hit in queries.search(session, "students.example").hits] == [id_of("ben"), id_of("cleo")]
        assert queries.left_out(session) == queries.LeftOut(1, 1)
        with pytest.raises(NotFound):
            queries.student_card(session, id_of("asha"))
        assert queries.hidden_by_restriction(session, student_id=id_of("asha"))
        assert not queries.hidden_by_restriction(session, student_id=id_of("ben"))
        assert queries.hidden_by_restriction(session, visitor_id=id_of("viktor"))


@pytest.mark.parametrize("name", ROLES)
def test_only_who_would_see_the_record_learns_that_it_is_restricted(name: str) -> None:
    restrict("asha", basis="consent missing", by=None)
    with db.transaction(staff_id=id_of(name)) as session:
        assert queries.hidden_by_restriction(session, student_id=id_of("asha")) is (name in HIDDEN)
        assert queries.left_out(session).students == (name == "paula")
        assert queries.left_out(session, cohort_id=id_of("python")).students == (name == "ines")
        assert queries.left_out(session, cohort_id=id_of("cloud")).students == 0


def test_whoever_objects_is_taught_and_not_ordered_by_need_of_help() -> None:
    """Two students who never came: both need help; the one who objects is on no such list, and last where the furthest behind is first."""
    with db.transaction("worker") as session:
        room = Classroom(session).open()
        for name in ("anna", "bela", "carl"):
            room.student(name)
            hashed = keys.person_hashes()(email_of(name), name)[0]
            session.execute(update(Student).where(Student.id == id_of(name)).values(email_hash=hashed))
        for number in (1, 2, 3):
            room.progress("carl", number, at=1)
    filed = file("object", student_id=id_of("anna"))
    with db.transaction(staff_id=id_of("ines")) as session:
        cohort = queries.taught_cohort(session, code="RUST", now=NOW)
        found = queries.who_needs_help(session, (cohort,), now=NOW)
        assert {row.student_id for row in found.rows} == {id_of("bela")}
        assert (found.total, found.objecting, found.students) == (1, 1, 3)
        assert sum(found.by_kind.values()) == len(found.rows[0].reasons)
        one = queries.who_needs_help(session, (cohort,), now=NOW, enrollment_id=room.enrollment("anna"))
        assert one.rows == ()
        order = [row.student_id for row in queries.cohort_matrix(session, cohort, sort="behind").rows]
        assert order == [id_of("bela"), id_of("carl"), id_of("anna")]
        assert queries.objects(session, id_of("anna"))
        assert queries.student_record(session, id_of("anna"), now=NOW).id == id_of("anna")
    act("withdraw_request", "omar", reason="by the person", **on(filed))
    with db.transaction(staff_id=id_of("ines")) as session:
        assert queries.who_needs_help(session, (cohort,), now=NOW).total == 2


def counted() -> set[uuid.UUID]:
    with db.transaction("worker") as session:
        return set(session.scalars(text(f"select s.id from platform.student s where {COUNTED}")))


def test_releases_and_group_figures_leave_them_out_at_once() -> None:
    everybody = {id_of(name) for name in STUDENTS}
    assert counted() == everybody
    file("object")
    assert counted() == everybody - {id_of("cleo")}
    restrict("ben", basis="consent missing", by=None)
    assert counted() == {id_of("asha")}
    file("restrict", student_id=id_of("asha"))  # nobody has decided yet
    assert counted() == set()
    with db.transaction("worker") as session:
        later = {
            program: group.members
            for program, group in snapshots._counted(session, "active", NOW + timedelta(days=1)).items()
        }
    assert later == {id_of("python program"): 1, id_of("java program"): 1}


def test_the_worker_still_finds_them_for_their_own_rights() -> None:
    """An export and an erasure are of the person's own making: a restriction does not stand in their way."""
    restrict("asha", basis="consent missing", by=None)
    with db.transaction("worker") as session:
        assert (
            session.scalar(
                text("select count(*) from platform.enrollment where student_id = :id"), {"id": id_of("asha")}
            )
            == 1
        )


def test_a_restricted_visitor_cannot_be_planned_for_contact_and_a_request_alone_keeps_them_quiet() -> None:
    file("restrict", by="paula", visitor_id=id_of("vera"))
    with db.transaction(staff_id=id_of("paula")) as session:
        assert queries.visitor_card(session, id_of("vera")).quiet
    restrict("vera")
    with db.transaction(staff_id=id_of("paula")) as session, pytest.raises(NotFound):
        queries.visitor_card(session, id_of("vera"))
