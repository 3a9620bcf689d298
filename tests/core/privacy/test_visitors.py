"""Following a visitor up: every verb, who may not, two people at once, and what the database refuses with the guard off."""

import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, insert, text
from sqlalchemy.exc import DBAPIError, ProgrammingError

from core import db, privacy_actions
from core.errors import BadInput, NotFound, Refused, Stale
from core.models import staff as s
from core.privacy_actions import Staff
from tests.cast import NOW, STAFF, email_of, id_of, snapshot
from tests.core.privacy import house_of_requests as requests

pytestmark = pytest.mark.usefixtures("house")
TODAY = NOW.date()
VERBS: dict[Callable[..., None], dict[str, Any]] = {
    privacy_actions.assign_visitor: {"owner_id": id_of("paula")},
    privacy_actions.set_next_contact: {"on": TODAY + timedelta(days=3)},
    privacy_actions.set_visitor_status: {"status": "in contact"},
    privacy_actions.note_contact: {"note": "Called.", "status": "answered", "next_contact_on": None},
}


def member(name: str) -> Staff:
    """A member of the cast as a live session would name them."""
    return Staff(session_id=id_of(f"{name} session"), id=id_of(name), name=name.title(), email=email_of(name), role=STAFF[name], demo=False,
                 cookie_hash=None, started_at=NOW, expires_at=NOW + timedelta(hours=8), confirmed_at=NOW, second_factor=False)  # fmt: skip


@pytest.fixture
def paula() -> Staff:
    """Paula."""
    return member("paula")


@pytest.fixture
def otto(paula: Staff) -> Staff:
    """A second one who works on programs."""
    with db.transaction("worker") as session:
        session.execute(insert(s.StaffMember).values(id=id_of("otto"), email="otto@staff.example", name="Otto", role="program_staff",
                                                     created_at=NOW))  # fmt: skip
    return replace(paula, id=id_of("otto"), name="Otto")


@pytest.fixture(autouse=True)
def bystander(owner: Connection) -> Iterator[None]:
    """Viktor, and Ben among the students: whatever is done to Vera, their rows stay."""

    def rows() -> object:
        viktor = owner.execute(text("select * from platform.visitor where id = :v"), {"v": id_of("viktor")}).all()
        steps = owner.execute(
            text("select * from platform.follow_up where visitor_id = :v"), {"v": id_of("viktor")}
        ).all()
        devices = owner.execute(text("select * from platform.visitor_device order by 1")).all()
        return viktor, steps, devices, snapshot(owner, "ben")

    before = rows()
    owner.rollback()
    yield
    assert rows() == before


def do(verb: Callable[..., None], by: Staff, *, seen: int, visitor: str = "vera", **arguments: Any) -> None:
    with db.transaction() as session:
        verb(session, visitor_id=id_of(visitor), seen=seen, by=by, now=NOW, **arguments)


def vera(owner: Connection) -> Any:
    owner.rollback()
    return owner.execute(text("select * from platform.visitor where id = :v"), {"v": id_of("vera")}).one()


def steps(owner: Connection) -> list[Any]:
    owner.rollback()
    return list(
        owner.execute(
            text("select * from platform.follow_up where visitor_id = :v order by step"), {"v": id_of("vera")}
        )
    )


def lines(owner: Connection) -> list[Any]:
    owner.rollback()
    return list(owner.execute(text("select action, subject_kind, subject_id, details from privacy.audit_event"
                                   " where action like 'visitor%' order by seq")))  # fmt: skip


def test_taking_and_giving(paula: Staff, otto: Staff, owner: Connection) -> None:
    do(privacy_actions.assign_visitor, paula, seen=0, owner_id=paula.id)
    assert vera(owner).owner_id == paula.id
    do(privacy_actions.assign_visitor, paula, seen=1, owner_id=otto.id)
    do(privacy_actions.assign_visitor, otto, seen=2, owner_id=None)
    assert vera(owner).owner_id is None
    assert [(row.step, row.by_id, row.owner_id) for row in steps(owner)] == [
        (1, paula.id, paula.id), (2, paula.id, otto.id), (3, otto.id, None)
    ]  # fmt: skip
    assert [(line.subject_kind, line.subject_id) for line in lines(owner)] == [("visitor", id_of("vera"))] * 3


def test_a_planned_contact_is_a_day_from_today_to_a_year_on(paula: Staff, owner: Connection) -> None:
    for wrong in (TODAY - timedelta(days=1), TODAY + timedelta(days=367), date(9999, 1, 1)):
        with pytest.raises(BadInput, match="between today and a year"):
            do(privacy_actions.set_next_contact, paula, seen=0, on=wrong)
    assert steps(owner) == [] and lines(owner) == []
    do(privacy_actions.set_next_contact, paula, seen=0, on=TODAY)
    do(privacy_actions.set_next_contact, paula, seen=1, on=TODAY + timedelta(days=366))
    assert vera(owner).next_contact_on == TODAY + timedelta(days=366)
    do(privacy_actions.set_next_contact, paula, seen=2, on=None)
    assert vera(owner).next_contact_on is None


def test_an_answer_has_a_time_and_a_lost_visitor_no_next_contact(paula: Staff, owner: Connection) -> None:
    do(privacy_actions.set_next_contact, paula, seen=0, on=TODAY)
    do(privacy_actions.set_visitor_status, paula, seen=1, status="lost")
    assert (vera(owner).status, vera(owner).answered_at, vera(owner).next_contact_on) == ("lost", None, None)
    do(privacy_actions.set_visitor_status, paula, seen=2, status="new")
    do(privacy_actions.set_visitor_status, paula, seen=3, status="in contact")
    assert vera(owner).answered_at == NOW
    with pytest.raises(BadInput, match='cannot be "new" again'):
        do(privacy_actions.set_visitor_status, paula, seen=4, status="new")
    with pytest.raises(BadInput, match="not a status"):
        do(privacy_actions.set_visitor_status, paula, seen=4, status="converted")


def test_noting_a_contact_answers_owns_and_plans(paula: Staff, owner: Connection) -> None:
    do(privacy_actions.set_next_contact, paula, seen=0, on=TODAY)
    do(
        privacy_actions.note_contact,
        paula,
        seen=1,
        note=" Wants Python.\r\nCalls back.\t ",
        status="in contact",
        next_contact_on=None,
    )
    row, step = vera(owner), steps(owner)[-1]
    assert (row.status, row.answered_at, row.owner_id, row.next_contact_on) == ("in contact", NOW, paula.id, None)
    assert (step.kind, step.note, step.status) == ("contact made", "Wants Python.\nCalls back.", "in contact")
    assert "Wants" not in str(lines(owner)), "what was said stays out of the audit"


def test_a_later_contact_keeps_the_first_answer_and_the_owner(paula: Staff, otto: Staff, owner: Connection) -> None:
    do(privacy_actions.note_contact, paula, seen=0, note="", status="answered", next_contact_on=None)
    with db.transaction() as session:
        privacy_actions.note_contact(session, visitor_id=id_of("vera"), seen=1, note="Again", status="lost",
                                     next_contact_on=TODAY, by=otto, now=NOW + timedelta(days=2))  # fmt: skip
    assert (vera(owner).answered_at, vera(owner).owner_id, vera(owner).next_contact_on) == (NOW, paula.id, None)


@pytest.mark.parametrize("note", ["x" * 1001, "NUL \x00", "half \ud800", "bell \x07"])
def test_a_note_that_cannot_be_kept_changes_nothing(paula: Staff, owner: Connection, note: str) -> None:
    with pytest.raises(BadInput, match="The note"):
        do(privacy_actions.note_contact, paula, seen=0, note=note, status="answered", next_contact_on=None)
    assert steps(owner) == [] and vera(owner).status == "new"


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.__name__)
def test_the_same_click_twice_is_one_step_and_one_line(
    verb: Callable[..., None], paula: Staff, owner: Connection
) -> None:
    for _ in range(2):
        do(verb, paula, seen=0, **VERBS[verb])
    assert len(steps(owner)) == len(lines(owner)) == 1


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.__name__)
def test_of_two_people_the_second_is_told_who_was_first(
    verb: Callable[..., None], paula: Staff, otto: Staff, owner: Connection
) -> None:
    do(privacy_actions.assign_visitor, otto, seen=0, owner_id=otto.id)
    before = vera(owner)
    with pytest.raises(
        Stale, match=r"Otto was first: gave the visitor to Otto at 12:00 UTC\. Nothing of yours was changed"
    ):
        do(verb, paula, seen=0, **VERBS[verb])
    assert vera(owner) == before
    assert len(steps(owner)) == len(lines(owner)) == 1


def test_another_tab_of_ones_own_was_first_too(paula: Staff) -> None:
    do(privacy_actions.set_visitor_status, paula, seen=0, status="lost")
    with pytest.raises(Stale, match="You were first in another tab"):
        do(privacy_actions.set_visitor_status, paula, seen=0, status="answered")


def test_a_screen_from_the_future_is_refused(paula: Staff, owner: Connection) -> None:
    with pytest.raises(Stale):
        do(privacy_actions.set_visitor_status, paula, seen=5, status="lost")
    assert steps(owner) == []


def test_eight_people_at_once_and_one_takes_the_visitor(paula: Staff, owner: Connection) -> None:
    team = [replace(paula, id=id_of(f"racer {n}"), name=f"Racer {n}") for n in range(8)]
    with db.transaction("worker") as session:
        session.execute(insert(s.StaffMember), [
            {"id": each.id, "email": f"{each.name}@staff.example", "name": each.name, "role": "program_staff", "created_at": NOW}
            for each in team
        ])  # fmt: skip
    start, told = threading.Barrier(8), []

    def race(who: Staff) -> None:
        start.wait()
        try:
            do(privacy_actions.assign_visitor, who, seen=0, owner_id=who.id)
            told.append((who.name, "took"))
        except Stale as error:
            told.append((who.name, error.sentence))

    threads = [threading.Thread(target=race, args=(each,)) for each in team]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [name for name, what in told if what == "took"]
    assert len(winners) == 1 and len(told) == 8
    assert all(what.startswith(f"{winners[0]} was first") for name, what in told if name not in winners)
    assert (
        [row.owner_id for row in steps(owner)] == [vera(owner).owner_id] == [e.id for e in team if e.name == winners[0]]
    )
    assert len(lines(owner)) == 1


@pytest.mark.parametrize("name", [name for name, role in STAFF.items() if role != "program_staff" and name != "dora"])
def test_other_roles_are_refused_by_every_verb(name: str, owner: Connection) -> None:
    by = member(name)
    for verb, arguments in VERBS.items():
        with pytest.raises(Refused, match="program staff"):
            do(verb, by, seen=0, **arguments)
        with pytest.raises((NotFound, DBAPIError)):  # the guard in Python believes that it is Paula
            do(verb, replace(by, role="program_staff"), seen=0, **arguments)
    with pytest.raises(Refused), db.transaction() as session:
        privacy_actions.reveal_visitors(session, visitor_ids=[id_of("vera")], purpose="x", by=by, now=NOW)
    with db.transaction() as session:
        disguised = replace(by, role="program_staff")
        found = privacy_actions.reveal_visitors(
            session, visitor_ids=[id_of("vera")], purpose="x", by=disguised, now=NOW
        )
    assert found == {}
    assert steps(owner) == [] and lines(owner) == []


@pytest.mark.parametrize("whom", ["ines", "omar", "ada", "dora", "nobody known"])
def test_a_visitor_is_given_only_to_who_works_on_programs(
    whom: str, paula: Staff, owner: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Refused, match="works on programs now"):
        do(privacy_actions.assign_visitor, paula, seen=0, owner_id=id_of(whom))
    monkeypatch.setattr("core.privacy.visitors._works", lambda *_: True)
    with pytest.raises(DBAPIError, match=r"an owner works on programs|fk_follow_up_owner_id"):
        do(privacy_actions.assign_visitor, paula, seen=0, owner_id=id_of(whom))
    assert vera(owner).owner_id is None and steps(owner) == []


def test_an_unknown_visitor_and_a_hidden_one_give_one_answer(paula: Staff) -> None:
    with pytest.raises(NotFound):
        do(privacy_actions.set_visitor_status, paula, seen=0, visitor="nobody", status="lost")


DENIED = {
    "update platform.visitor set name = 'x'": "permission denied",
    "update platform.visitor set email_hash = 'x'": "permission denied",
    "update platform.visitor set asked_at = now()": "permission denied",
    "delete from platform.visitor": "permission denied",
    "delete from platform.follow_up": "permission denied",
    "update platform.follow_up set note = 'x'": "permission denied",
    "insert into platform.follow_up (id, visitor_id, step, at, by_id, kind) values (gen_random_uuid(), :vera, 1, now(), :ada, 'status set')":
        "row-level security",
    "insert into platform.follow_up (id, visitor_id, step, at, by_id, kind) values (gen_random_uuid(), :viktor, 1, now(), :paula, 'status set')":
        "uq_follow_up_visitor_id_step",
    "update platform.visitor set status = 'converted'": "ck_visitor_status_known",
    "update platform.visitor set owner_id = :ada": "an owner works on programs",
}  # fmt: skip


@pytest.mark.parametrize("statement", DENIED)
def test_the_database_refuses_program_staff_the_rest(statement: str) -> None:
    told = {name: id_of(name) for name in ("vera", "viktor", "ada", "paula") if f":{name}" in statement}
    with pytest.raises(DBAPIError, match=DENIED[statement]), db.transaction(staff_id=id_of("paula")) as session:
        session.execute(text(statement), told)


@pytest.mark.parametrize("name", ["ines", "marek", "omar", "ada", "aiko", "dora", None])
def test_the_database_refuses_everybody_else_everything(name: str | None) -> None:
    who = id_of(name) if name else None
    with db.transaction(staff_id=who) as session:
        changed = session.execute(
            text("update platform.visitor set status = 'lost', owner_id = null returning id")
        ).all()
        assert changed == []
    with pytest.raises(ProgrammingError, match="row-level security"), db.transaction(staff_id=who) as session:
        session.execute(text("insert into platform.follow_up (id, visitor_id, step, at, by_id, kind)"
                             " values (gen_random_uuid(), :v, 1, now(), :who, 'status set')"),
                        {"v": id_of("vera"), "who": who or id_of("paula")})  # fmt: skip


def test_revealing_records_each_visitor_once(paula: Staff, owner: Connection) -> None:
    for _ in range(2):
        with db.transaction() as session:
            found = privacy_actions.reveal_visitors(
                session, visitor_ids=[id_of("vera"), id_of("viktor"), uuid.uuid4()], purpose="list", by=paula, now=NOW
            )
    assert {contact.email for contact in found.values()} == {"vera@visitors.example", "viktor@visitors.example"}
    seen = owner.execute(
        text("select subject_kind, subject_id from privacy.audit_event where action = 'person viewed'")
    ).all()
    assert sorted(seen, key=str) == sorted([("visitor", id_of("vera")), ("visitor", id_of("viktor"))], key=str)
    with pytest.raises(Refused), db.transaction() as session:
        privacy_actions.reveal_visitors(
            session, visitor_ids=[uuid.uuid4() for _ in range(51)], purpose="x", by=paula, now=NOW
        )


def test_nobody_plans_a_contact_with_who_asked_for_peace(
    owner: Connection, paula: Staff, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests.file("object", visitor_id=id_of("vera"))
    before = vera(owner)
    for verb, arguments in (
        (privacy_actions.set_next_contact, {"on": TODAY + timedelta(days=3)}),
        (privacy_actions.note_contact, {"note": "", "status": "answered", "next_contact_on": TODAY}),
    ):
        with pytest.raises(Refused, match="not to be contacted"):
            do(verb, paula, seen=0, **arguments)
    with db.transaction() as session:
        assert (
            privacy_actions.reveal_visitors(session, visitor_ids=[id_of("vera")], purpose="x", by=paula, now=NOW) == {}
        )
    monkeypatch.setattr("core.privacy.visitors._demand_wanted", lambda *_: None)
    with pytest.raises(DBAPIError, match="not to be contacted"):
        do(privacy_actions.set_next_contact, paula, seen=0, on=TODAY)
    assert vera(owner) == before
    do(privacy_actions.set_next_contact, paula, seen=0, on=None)
    do(privacy_actions.set_visitor_status, paula, seen=1, status="lost")


def test_who_makes_contact_takes_over_from_an_owner_who_is_gone(owner: Connection, paula: Staff, otto: Staff) -> None:
    do(privacy_actions.assign_visitor, paula, seen=0, owner_id=otto.id)
    do(privacy_actions.note_contact, paula, seen=1, note="", status="answered", next_contact_on=None)
    assert vera(owner).owner_id == otto.id
    owner.execute(text("update staff.staff_member set disabled_at = now() where id = :o"), {"o": otto.id})
    owner.commit()
    do(privacy_actions.note_contact, paula, seen=2, note="", status="answered", next_contact_on=None)
    assert vera(owner).owner_id == paula.id
