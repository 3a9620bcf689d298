"""Breaches: the 72 hours, whom they concern, decisions with reasons, the notice to exactly these people, closed by two."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DatabaseError, ProgrammingError

from core import db, queries
from core.errors import BadInput, NotFresh, Refused
from core.models.labels import Category
from core.privacy import campaigns, incidents
from core.worker import Worker
from tests.cast import NOW, id_of, snapshot
from tests.core.privacy.house_of_requests import HOUR, act, lines, rows, staff
from tests.core.privacy.sender_process import SENDERS
from tests.mail_server import Server, server

pytestmark = pytest.mark.usefixtures("house")
__all__ = ["server"]


def recorded(*, by: str = "omar", **more: Any) -> uuid.UUID:
    """An incident that we know of since an hour."""
    given = {"title": "Export to a wrong address", "nature": "confidentiality", "place": "this dashboard", "summary": "A file went out.",
             "aware_at": NOW - HOUR, "form_key": uuid.uuid4()}  # fmt: skip
    return uuid.UUID(str(act("open_incident", by, **(given | more))))


def scoped(incident: uuid.UUID, *, count: bool = True, **scope: Any) -> Any:
    """Say whom it concerns, and let the worker count."""
    given: dict[str, Any] = {"categories": [], "processors": [], "cohorts": []}
    act("set_scope", "omar", incident_id=incident, **(given | scope))
    if count:
        with db.transaction("worker") as session:
            incidents.count_people(session, incident_id=incident, now=NOW)
    return row(incident)


def row(incident: uuid.UUID, now: Any = NOW) -> queries.IncidentRow:
    """An incident as an officer sees it."""
    with db.transaction(staff_id=id_of("omar")) as session:
        return next(
            each for each in queries.incident_list(session, staff_id=id_of("omar"), now=now) if each.id == incident
        )


def decided(incident: uuid.UUID, authority: str = "not needed", people: str = "not needed") -> None:
    act("decide_authority", "omar", incident_id=incident, decision=authority, reason="Because of this.")
    act("decide_people", "omar", incident_id=incident, decision=people, reason="Because of that.")


def test_the_clock_runs_from_when_we_knew_and_stops_with_the_notification() -> None:
    incident = recorded()
    due = NOW - HOUR + timedelta(hours=72)
    for at, clock in ((NOW, "running"), (due - 25 * HOUR, "running"), (due - 24 * HOUR, "48 hours"), (due, "overdue")):
        assert (row(incident, at).clock, row(incident, at).due_at) == (clock, due)
    with db.transaction(staff_id=id_of("omar")) as session:
        [alarm] = queries.incident_alarms(session, now=due)
        assert (alarm.number, alarm.clock) == ("I-1", "overdue")
    act("decide_authority", "omar", incident_id=incident, decision="notify", reason="Names and mail.")
    assert row(incident, due).clock == "overdue", "a decision is no notification"
    with pytest.raises(BadInput, match="has a reference"):
        act("record_notification", "omar", incident_id=incident, told_at=NOW - 2 * HOUR, reference="AZ 1")
    act("record_notification", "omar", incident_id=incident, told_at=NOW, reference="AZ 1")
    assert row(incident, due).clock == "stopped"
    with db.transaction(staff_id=id_of("omar")) as session:
        assert queries.incident_alarms(session, now=due) == []
    with pytest.raises(BadInput, match="notified already"):
        act("decide_authority", "omar", incident_id=incident, decision="not needed", reason="Rather not.")


def test_a_reason_for_not_notifying_stops_the_clock() -> None:
    incident = recorded()
    for decision, reason in (("not needed", " "), ("undecided", "x"), ("maybe", "x")):
        with pytest.raises(BadInput, match="has a reason"):
            act("decide_authority", "omar", incident_id=incident, decision=decision, reason=reason)
    act("decide_authority", "omar", incident_id=incident, decision="not needed", reason="The file was encrypted.")
    assert (row(incident).clock, row(incident).authority_reason) == ("stopped", "The file was encrypted.")


@pytest.mark.parametrize(
    ("scope", "people"),
    [({}, {"asha", "ben", "cleo"}), ({"categories": [str(Category.ACCOUNT)]}, {"asha", "ben", "cleo"}),
     ({"categories": [str(Category.USAGE)]}, {"asha", "cleo"}), ({"cohorts": ["python"]}, {"asha"}),
     ({"categories": [str(Category.USAGE)], "cohorts": ["cloud"]}, set()), ({"processors": ["payment gateway"]}, {"asha", "ben", "cleo"})],
)  # fmt: skip
def test_whom_it_concerns_follows_from_the_data_map(scope: dict[str, Any], people: set[str], owner: Connection) -> None:
    before = snapshot(owner, "ben")
    owner.execute(text("delete from platform.usage_event where enrollment_id = :ben"), {"ben": id_of("ben enrollment")})
    owner.commit()
    cohorts = [id_of(each) for each in scope.get("cohorts", ())]
    found = scoped(recorded(), **(scope | {"cohorts": cohorts}))
    named = {id_of(name): name for name in ("asha", "ben", "cleo")}
    assert {named[each] for (each,) in rows("select student_id from privacy.incident_person")} == people
    assert found.affected == len(people)
    assert all(many > 0 for many in found.counted.values()) and bool(found.counted) == bool(people)
    if scope == {"categories": [str(Category.USAGE)]}:
        assert found.counted == {"platform.usage_event": 2}
    if scope == {"cohorts": ["python"]}:
        assert found.counted["platform.student"] == 1 and found.counted["platform.submission"] == 1
    after = snapshot(owner, "ben")
    assert {name: told for name, told in after.items() if name != "usage_event"} == {
        name: told for name, told in before.items() if name != "usage_event"}  # fmt: skip


def test_exactly_those_concerned_are_told_once() -> None:
    incident = recorded()
    scoped(incident, cohorts=[id_of("python")])
    decided(incident, people="tell")
    with pytest.raises(BadInput, match="Say what happened"):
        act("tell_people", "omar", incident_id=incident, words=" ")
    made = [act("tell_people", "omar", incident_id=incident, words="A file with your name went out.") for _ in range(2)]
    assert made[0].campaign_id == made[1].campaign_id and made[1].again
    with db.transaction("worker") as session:
        campaigns.go_on(session, campaign_id=made[0].campaign_id, now=NOW)
    assert rows("select student_id from privacy.campaign_recipient") == [(id_of("asha"),)]
    assert rows("select about, kind, body like '%with your name%' from privacy.campaign") == [
        ("I-1", "security notice", True)
    ]
    with pytest.raises(BadInput, match="told already"):
        act("set_scope", "omar", incident_id=incident, categories=[], processors=[], cohorts=[])


def told(**scope: Any) -> uuid.UUID:
    """An incident with its notice begun; whom it concerns has one account that is closed, Asha's."""
    with db.transaction("worker") as session:
        session.execute(text("update platform.student set account_status = 'closed', closed_at = :now where id = :id"),
                        {"now": NOW, "id": id_of("asha")})  # fmt: skip
    incident = recorded()
    scoped(incident, **scope)
    decided(incident, people="tell")
    return uuid.UUID(str(act("tell_people", "omar", incident_id=incident, words="A file went out.").campaign_id))


def test_a_closed_account_is_told_by_mail(server: Server) -> None:
    told(cohorts=[id_of("python")])
    Worker(lambda: NOW, SENDERS).catch_up()
    assert [str(message["To"]) for message in server.got] == ["asha@students.example"]
    assert rows("select state, code from privacy.campaign_recipient") == [("sent", "")]


def test_a_closed_account_does_not_see_what_is_shown_on_the_platform() -> None:
    notice = told()
    act("attest_shown", "omar", campaign_id=notice, where="banner")
    Worker(lambda: NOW, SENDERS).catch_up()
    told_how = dict(
        rows(
            "select s.email, r.state || ' ' || r.code from privacy.campaign_recipient r join platform.student s on s.id = r.student_id"
        )
    )
    assert told_how["asha@students.example"] == "not reached account closed"
    assert told_how["cleo@students.example"] == "sent shown on the platform"
    assert rows("select state, counts ->> 'not_reached' from privacy.campaign") == [("done", "1")]


def test_nobody_is_told_before_it_was_decided_and_counted() -> None:
    incident = recorded()
    with pytest.raises(BadInput, match="was decided"):
        act("tell_people", "omar", incident_id=incident, words="Hello.")
    decided(incident, people="tell")
    scoped(incident, count=False)
    with pytest.raises(BadInput, match="was decided"):
        act("tell_people", "omar", incident_id=incident, words="Hello.")
    stale = staff("omar", now=NOW - HOUR)
    for verb, more in (
        ("decide_people", {"decision": "tell", "reason": "x"}),
        ("tell_people", {"words": "x"}),
        ("close_incident", {}),
    ):
        with pytest.raises(NotFresh):
            act(verb, stale, incident_id=incident, **more)


def test_two_officers_close_it_when_everything_is_done() -> None:
    incident = recorded()
    with pytest.raises(BadInput, match="say whom it concerns, decide about the authority, decide about the people"):
        act("close_incident", "omar", incident_id=incident)
    scoped(incident)
    decided(incident, authority="notify")
    with pytest.raises(BadInput, match="notify the authority"):
        act("close_incident", "omar", incident_id=incident)
    act("record_notification", "omar", incident_id=incident, told_at=NOW, reference="AZ 1")
    assert [act("close_incident", who, incident_id=incident) for who in ("omar", "omar", "olga", "olga")] == [
        "asked",
        "asked",
        "closed",
        "closed",
    ]
    for verb, more in (("decide_people", {"decision": "tell", "reason": "x"}), ("set_scope", {"categories": [], "processors": [], "cohorts": []}),
                       ("file_note", {"kind": "note", "body": "x", "form_key": uuid.uuid4()})):  # fmt: skip
        with pytest.raises(BadInput, match="is closed"):
            act(verb, "omar", incident_id=incident, **more)
    assert [each for each in lines() if "incident" in each or each == "authority notified"] == [
        "incident recorded", "incident scope set", "incident counted", "incident decided", "incident decided", "authority notified",
        "incident closing asked", "incident closed"]  # fmt: skip


def test_reports_of_processors_are_filed_once_and_never_change(owner: Connection) -> None:
    incident, key = recorded(place="Cloudinary"), uuid.uuid4()
    given = {
        "kind": "report of a processor",
        "sender": "Cloudinary",
        "reference": "CL-7",
        "body": "Our **report**.",
        "form_key": key,
    }
    for _ in range(2):
        act("file_note", "omar", incident_id=incident, **given)
    with pytest.raises(BadInput, match="who reported it"):
        act("file_note", "omar", incident_id=incident, **(given | {"sender": "Somebody", "form_key": uuid.uuid4()}))
    with db.transaction(staff_id=id_of("omar")) as session:
        [note] = queries.incident_notes(session, incident)
    assert (note.sender, note.reference, note.body, note.filed_by) == ("Cloudinary", "CL-7", "Our **report**.", "Omar")
    for statement in (
        "update privacy.incident_note set body = ''",
        "delete from privacy.incident_note",
        "delete from privacy.incident",
    ):
        with pytest.raises(DatabaseError, match="kept"):
            owner.execute(text(statement))
        owner.rollback()


def test_other_roles_record_nothing_and_read_no_more_than_the_record() -> None:
    incident = recorded()
    for name in ("paula", "ines", "ada", "aiko"):
        with pytest.raises(Refused):
            recorded(by=name)
    for name, many in (("paula", 0), ("ines", 0), ("ada", 1), ("aiko", 1), ("omar", 1)):
        with db.transaction(staff_id=id_of(name)) as session:
            assert len(session.execute(text("select id from privacy.incident")).all()) == many
    scoped(incident)
    with pytest.raises(ProgrammingError, match="permission denied"), db.transaction(staff_id=id_of("omar")) as session:
        session.execute(text("select * from privacy.incident_person"))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [("aware_at = now()", "permission denied"), ("title = 'x'", "permission denied"), ("authority = 'not needed', authority_by = :me", "and a reason"),
     ("authority = 'not needed', authority_reason = 'x', authority_by = :other", "own name"), ("affected = 0, counted = '{}'", "worker counts"),
     ("notified_at = now(), notified_reference = 'x'", "follows from its decision"), ("close_asked_at = now(), close_asked_by = :me", "were made"),
     ("closed_at = now(), closed_by = :me", "another one closes"), ("close_asked_at = now(), close_asked_by = :other", "own name")],
)  # fmt: skip
def test_the_database_refuses_what_the_guard_refuses(change: str, sentence: str) -> None:
    recorded()
    given = {"me": id_of("omar"), "other": id_of("olga")}
    used = {name: value for name, value in given.items() if f":{name}" in change}
    with (
        pytest.raises((DatabaseError, ProgrammingError), match=sentence),
        db.transaction(staff_id=id_of("omar")) as session,
    ):
        session.execute(text(f"update privacy.incident set {change}"), used)


def test_one_officer_alone_closes_nothing_when_the_guard_is_off() -> None:
    incident = recorded()
    scoped(incident)
    decided(incident)
    assert act("close_incident", "omar", incident_id=incident) == "asked"
    omar = staff("omar")
    with (
        pytest.raises(DatabaseError, match="another one closes"),
        db.transaction(staff_id=omar.id, session_id=omar.session_id) as session,
    ):
        session.execute(
            text("update privacy.incident set closed_at = :now, closed_by = :me"), {"now": NOW, "me": omar.id}
        )


@pytest.mark.parametrize(
    ("more", "sentence"),
    [({"title": " "}, "has a title"), ({"nature": "x"}, "has a title"), ({"place": "x"}, "has a title"), ({"aware_at": NOW + HOUR}, "later than now")],
)  # fmt: skip
def test_what_is_no_incident_is_refused(more: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        recorded(**more)
    key = uuid.uuid4()
    assert recorded(form_key=key) == recorded(form_key=key)
    assert rows("select count(*) from privacy.incident") == [(1,)]
