"""A parent or guardian asks for themselves: found by their address, with a clock, a proof of identity, letters, and a second person."""

import json
import uuid
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from core import db, queries
from core.errors import BadInput, NotFresh, Refused
from core.privacy_actions import Filed
from tests import cast
from tests.cast import NOW, id_of
from tests.core.privacy import house_of_consent as c
from tests.core.privacy import house_of_requests as r
from tests.core.privacy.house_of_exports import content, data, export, table, unzipped, work
from tests.core.privacy.test_exports import fetched, hand_out

pytestmark = pytest.mark.usefixtures("house")
GRETA = "greta@guardians.example"


def linked(kind: str, *, by: str = "omar") -> Filed:
    """A request that came by e-mail from Cleo's guardian, once an officer has found out who that is."""
    filed = r.file(kind, email=GRETA, name="Greta", words="Please.")
    assert r.row(filed.request_id)["guardian_id"] is None
    r.act("link_subject", by, email=GRETA.upper(), **r.on(filed))
    return filed


def checked(kind: str) -> Filed:
    filed = linked(kind)
    r.act("ask_identity", "omar", **r.on(filed))
    r.act("record_identity", "omar", method="answered from the known address", confirmed=True, **r.on(filed))
    return filed


def page(name: str, filed: Filed) -> Any:
    with db.transaction(staff_id=id_of(name)) as session:
        return queries.request_page(session, filed.request_id, now=NOW)


def guardians() -> list[tuple[str, str]]:
    return [
        tuple(each)
        for each in r.rows("select name, email from privacy.guardian where student_id = :id", id=id_of("cleo"))
    ]


def test_an_officer_finds_a_guardian_by_their_address_and_the_clock_runs(owner: Connection) -> None:
    c.verified()
    before = cast.snapshot(owner, "ben")
    owner.rollback()
    filed = linked("access")
    request = r.row(filed.request_id)
    assert (request["student_id"], request["visitor_id"]) == (None, None)
    assert request["guardian_id"] == c.case().guardian_id
    assert request["due_at"] == NOW.replace(month=12), "one calendar month, like everybody's"
    seen = page("omar", filed)
    assert (seen.row.who, seen.row.person, seen.email, seen.row.next.code) == (
        "Greta Guardian",
        "guardian",
        GRETA,
        "record_identity",
    )
    r.act("ask_identity", "omar", **r.on(filed))
    [letter] = r.rows("select address, body from privacy.outbox where request_id = :id", id=filed.request_id)
    assert letter[0] == GRETA and letter[1].startswith("Dear Greta Guardian")
    assert r.row(filed.request_id)["paused_at"] == NOW
    assert cast.snapshot(owner, "ben") == before


@pytest.mark.parametrize("kind", ["access", "export"])
def test_the_file_of_a_guardian_holds_what_is_theirs_and_nothing_of_the_student(kind: str) -> None:
    c.verified()
    filed = checked(kind)
    work()
    assert export(filed)["state"] == "ready"
    files = unzipped(content(filed))
    [theirs] = data(files)["data"]["parent or guardian"]
    assert (theirs["guardian's name"], theirs["guardian's e-mail"], theirs["parental consent"]) == (
        "Greta Guardian",
        GRETA,
        "verified",
    )
    assert table(files["csv/parent_or_guardian.csv"])[0]["guardian's e-mail"] == GRETA
    whole = b"\n".join(files.values()).decode()
    assert "Greta Guardian" in files["index.html"].decode()
    for word in ("Cleo", "cleo@", "2009", "birth"):
        assert word not in whole, word
    assert ("clause 9" in whole) == (kind == "access"), "what for"
    assert {each["name"] for each in json.loads(files["manifest.json"])["files"]} == set(files) - {"manifest.json"}
    omar = r.staff("omar")
    with pytest.raises(BadInput, match="fetch it first"):
        r.act("answer_export", omar, **r.on(filed))
    assert fetched(omar, hand_out(omar, filed)) == content(filed)
    assert r.act("answer_export", omar, **r.on(filed)).state == "answered"
    assert page("omar", filed).row.who is None, "a closed request opens no identity"


def test_a_guardian_is_corrected_and_their_consent_stays() -> None:
    c.verified()
    filed = checked("correct")
    assert page("omar", filed).row.next.code == "answer_guardian"
    for name, email in (
        ("Greta Guardian", GRETA),
        ("", GRETA),
        ("Greta", "no address"),
        ("Greta", "cleo@students.example"),
    ):
        with pytest.raises(BadInput):
            r.act("answer_guardian", "omar", guardian_name=name, guardian_email=email, **r.on(filed))
    with pytest.raises(BadInput, match="Correct or erase"):
        r.act("answer_request", "omar", outcome="done by hand", evidence="x", **r.on(filed))
    where = r.on(filed)
    omar = r.staff("omar")
    done = r.act("answer_guardian", omar, guardian_name="Greta Gardner", guardian_email="g@new.example", **where)
    assert (done.state, r.row(filed.request_id)["outcome"]) == ("answered", "corrected")
    assert r.act("answer_guardian", omar, guardian_name="Greta Gardner", guardian_email="g@new.example", **where).again
    assert ("Greta Gardner", "g@new.example") in guardians() and GRETA not in [email for _, email in guardians()]
    assert c.case().state == "verified"
    letters = r.rows(
        "select address from privacy.outbox where request_id = :id and kind = 'answer'", id=filed.request_id
    )
    assert letters == [("g@new.example",)]


def test_an_erasure_needs_a_second_person_a_fresh_proof_and_the_number(owner: Connection) -> None:
    c.verified()
    before = cast.snapshot(owner, "ben")
    owner.rollback()
    filed = checked("delete")
    mine, theirs = page("omar", filed).row.next, page("olga", filed).row.next
    assert (mine.code, mine.mine, theirs.mine) == ("answer_guardian", False, True)
    with pytest.raises(Refused, match="Another privacy officer"):
        r.act("answer_guardian", "omar", confirmation=filed.number, **r.on(filed))
    with pytest.raises(BadInput, match="to confirm"):
        r.act("answer_guardian", "olga", confirmation="R-0", **r.on(filed))
    with pytest.raises(NotFresh):
        r.act(
            "answer_guardian", r.staff("olga", now=NOW - timedelta(minutes=6)), confirmation=filed.number, **r.on(filed)
        )
    assert c.case().state == "verified"
    assert r.act("answer_guardian", "olga", confirmation=filed.number, **r.on(filed)).state == "answered"
    assert (c.case().state, c.case().guardian_id) == ("withdrawn", None)
    assert r.rows(
        "select basis from privacy.restriction where student_id = :id and until is null", id=id_of("cleo")
    ) == [("consent missing",)]
    assert [
        each[0] for each in r.rows("select kind from privacy.outbox where address = :a and state = 'waiting'", a=GRETA)
    ][-1] == "guardian forgotten"
    from core.privacy import consent_watch

    with db.transaction("worker") as session:
        consent_watch.drop_guardians(session, now=NOW)
    assert GRETA not in [email for _, email in guardians()]
    assert cast.snapshot(owner, "ben") == before, "the bystander's guardian has another row"
    assert r.row(filed.request_id)["guardian_id"] is not None, "an id that leads nowhere any more"


def test_who_has_two_children_here_is_one_person() -> None:
    c.verified()
    c.verified("ben")
    filed = checked("correct")
    r.act("answer_guardian", "omar", guardian_name="Greta Gardner", guardian_email=GRETA, **r.on(filed))
    assert r.rows("select distinct name from privacy.guardian where email = :a", a=GRETA) == [("Greta Gardner",)]
    erased = checked("delete")
    r.act("answer_guardian", "olga", confirmation=erased.number, **r.on(erased))
    assert {c.case("cleo").state, c.case("ben").state} == {"withdrawn"}
    assert {c.case("cleo").guardian_id, c.case("ben").guardian_id} == {None}


def test_the_database_holds_to_it_with_the_guard_off() -> None:
    c.verified()
    filed = checked("delete")
    omar, olga = r.staff("omar"), r.staff("olga")
    answered = "update privacy.request set state = 'answered', moved_at = :now, closed_at = :now where id = :id"
    free = "update privacy.consent set guardian_id = null, state = 'withdrawn', version = version + 1, changed_at = now(), changed_what = 'x' where student_id = :cleo"
    for by, statement, why in (
        (olga, answered, "whom a consent names"),
        (omar, f"{free}; {answered}", "second person"),
        (omar, "update privacy.request set guardian_id = null where id = :id", "stays with its person"),
        (omar, "update privacy.request set guardian_id = gen_random_uuid() where id = :id", "stays with its person"),
        (
            omar,
            "update privacy.request set state = 'to approve', moved_at = :now, plan_fingerprint = 'x', grace_ends_at = :now where id = :id",
            "no account|plan",
        ),
    ):
        with pytest.raises(DBAPIError, match=why), db.transaction(staff_id=by.id, session_id=by.session_id) as session:
            for each in statement.split("; "):
                session.execute(text(each), {"id": filed.request_id, "now": NOW, "cleo": id_of("cleo")})
    other = checked_export()
    with (
        pytest.raises(DBAPIError, match="handed out before"),
        db.transaction(staff_id=olga.id, session_id=olga.session_id) as session,
    ):
        session.execute(text(answered), {"id": other.request_id, "now": NOW})
    unknown = r.file("access", email="nobody@x.example", name="N")
    with (
        pytest.raises(DBAPIError, match="no such guardian"),
        db.transaction(staff_id=olga.id, session_id=olga.session_id) as session,
    ):
        session.execute(
            text("update privacy.request set guardian_id = :new where id = :id"),
            {"id": unknown.request_id, "new": uuid.uuid4()},
        )


def checked_export() -> Filed:
    return checked("export")


def test_what_cannot_be_asked_by_a_guardian_and_who_may_not_decide(owner: Connection) -> None:
    c.verified()
    for kind in ("restrict", "opt_out", "object"):
        filed = r.file(kind, email=GRETA, name="G")
        with pytest.raises(BadInput, match="nothing here"):
            r.act("link_subject", "omar", email=GRETA, **r.on(filed))
    linked("access")
    again = r.file("access", email="other@x.example", name="G")
    with pytest.raises(BadInput, match="open request"):
        r.act("link_subject", "omar", email=GRETA, **r.on(again))
    with pytest.raises(BadInput, match="No student, visitor or guardian"):
        r.act("link_subject", "omar", email="nobody@x.example", **r.on(again))
    filed = checked("correct")
    owner.execute(
        text("update privacy.guardian set email = 'omar@staff.example' where student_id = :id"), {"id": id_of("cleo")}
    )
    owner.commit()
    with pytest.raises(Refused, match="own record"):
        r.act("answer_guardian", "omar", guardian_name="O", guardian_email="o@x.example", **r.on(filed))
    assert page("omar", filed).own_record
