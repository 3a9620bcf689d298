"""Restriction, opt-out and objection as requests: every kind in every state, the letters, and the end that is announced."""

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from core import db, queries
from core.errors import AdminError, BadInput, NotFound, Refused
from core.policy.machine import Situation, next_action
from tests.cast import NOW, id_of
from tests.core.privacy.house_of_requests import DAY, act, file, lines, on, row, rows, staff, verified
from tests.core.privacy.test_standing import says

pytestmark = pytest.mark.usefixtures("house")
KINDS = ("restrict", "opt_out", "object")
LETTERS = {"restrict": "restricted", "opt_out": "opted out", "object": "objection"}
STATES = ("received", "checking", "verified", "answered", "refused", "withdrawn")
INFORCE = {"restrict": "is_restricted", "opt_out": "has_opted_out", "object": "has_objected"}


def brought(kind: str, state: str) -> Any:
    """A request about Cleo in a state."""
    filed = file(kind)
    if state == "checking":
        act("ask_identity", "omar", **on(filed))
    elif state != "received":
        act("record_identity", "omar", method="known in person", confirmed=True, **on(filed))
    if state == "answered":
        act("answer_right", "omar", **on(filed))
    elif state == "refused":
        act("refuse_request", "omar", reason="not theirs to ask", words="No.", **on(filed))
    elif state == "withdrawn":
        act("withdraw_request", "omar", reason="by the person", **on(filed))
    assert row(filed.request_id)["state"] == state
    return filed


def tried(verb: str, filed: Any, **more: Any) -> str:
    """Why a verb is refused, or "" when it went through."""
    try:
        act(verb, "omar", **on(filed), **more)
    except AdminError as error:
        return error.sentence
    return ""


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_in_every_state(kind: str, state: str) -> None:
    """What stands, what may be done and what comes next, all from one table."""
    filed = brought(kind, state)
    open_ = state in ("received", "checking", "verified")
    stands = state == "answered" or (open_ and kind != "restrict")
    assert says(INFORCE[kind], "cleo") is stands
    with db.transaction(staff_id=id_of("omar")) as session:
        page = queries.request_page(session, filed.request_id, now=NOW)
        told = queries.standing_of_request(session, filed.request_id)
    if not open_:
        assert page.row.next.code == "nothing"
    elif kind == "opt_out":
        assert page.row.next.code == "answer_right"
    elif kind == "restrict" and state != "verified":
        assert page.row.next.code == "restrict_now"
    else:
        assert (
            page.row.next.code
            == {"received": "record_identity", "checking": "wait for the person", "verified": "answer_right"}[state]
        )
    assert bool(told) is (kind != "restrict" or state == "answered")
    assert all((each.until is None) is stands for each in told)
    answerable = open_ and (state == "verified" or kind == "opt_out")
    assert (tried("restrict_now", filed) == "") is (kind == "restrict" and open_)
    assert (tried("answer_right", filed) == "") is answerable
    if answerable:
        assert says(INFORCE[kind], "cleo")
        assert rows("select kind, state from privacy.outbox where request_id = :id and kind <> 'identity'", id=filed.request_id) == [
            (LETTERS[kind], "waiting")]  # fmt: skip
        assert row(filed.request_id)["outcome"] == "in force"
        assert lines(filed.request_id)[-1] == "right answered"


def test_a_restriction_takes_effect_before_the_identity_is_clear_and_ends_when_it_was_nobodys() -> None:
    filed = file("restrict")
    given = on(filed)
    act("restrict_now", "omar", **given)
    assert act("restrict_now", "omar", **given).again
    assert says("is_restricted", "cleo")
    assert {
        each[0] for each in rows("select what from privacy.propagation where request_id = :id", id=filed.request_id)
    } == {"restrict"}
    act("record_identity", "omar", method="answered from the known address", confirmed=False, **on(filed))
    act("refuse_request", "omar", now=NOW + DAY, reason="identity not confirmed", words="Not them.", **on(filed))
    assert not says("is_restricted", "cleo")
    assert rows("select end_reason from privacy.restriction") == [("refused",)]
    assert set(rows("select state from privacy.propagation where request_id = :id", id=filed.request_id)) == {
        ("canceled",)
    }


def test_compelling_grounds_are_for_objections_only() -> None:
    assert "weighed against an objection" in tried(
        "refuse_request", verified("restrict"), reason="compelling grounds", words="x"
    )


def restriction() -> Any:
    filed = brought("restrict", "answered")
    return filed, rows("select id from privacy.restriction where request_id = :id", id=filed.request_id)[0][0]


def send(kind: str = "restriction ends") -> None:
    for (letter,) in rows("select id from privacy.outbox where kind = :k and state = 'waiting'", k=kind):
        act("mark_sent_by_hand", "omar", letter_id=letter)


def test_the_end_is_announced_by_a_letter_to_a_person_whom_nobody_sees_any_more() -> None:
    filed, restricted = restriction()
    with pytest.raises(Refused, match="told before"):
        act("lift", "omar", restriction_id=restricted)
    act(
        "announce_lifting",
        "omar",
        restriction_id=restricted,
        reason="what was contested is settled",
        words="Call us, {name}.",
    )
    act("announce_lifting", "olga", restriction_id=restricted, reason="what was contested is settled")  # once
    body, address = rows("select body, address from privacy.outbox where kind = 'restriction ends'")[0]
    assert body.startswith("Dear Cleo Example,")
    assert "what was contested is settled" in body
    assert address == "cleo@students.example"
    assert "Call us, name." in body  # a name in braces stays a name
    with pytest.raises(Refused, match="told before"):
        act("lift", "omar", restriction_id=restricted)
    send()
    with db.transaction(staff_id=id_of("omar")) as session:
        lifting = queries.lifting_of(session, restricted)
    assert lifting is not None and lifting.state == "sent"
    assert act("lift", "omar", now=NOW + DAY, restriction_id=restricted).startswith("Lifted")
    assert "already" in act("lift", "omar", now=NOW + DAY, restriction_id=restricted)
    assert not says("is_restricted", "cleo")
    ended = rows(
        "select what from privacy.propagation where request_id = :id and what <> 'restrict'", id=filed.request_id
    )
    assert {each[0] for each in ended} == {"restriction ended"}
    with pytest.raises(NotFound):
        act("announce_lifting", "omar", restriction_id=restricted, reason="the person asks for it")


def test_only_officers_announce_and_nobody_for_a_rule(house: str) -> None:
    _, restricted = restriction()
    with pytest.raises(Refused):
        act("announce_lifting", "paula", restriction_id=restricted, reason="the person asks for it")
    who, bare = staff("paula"), "select privacy.announce_lifting(:r, gen_random_uuid(), 's', 'b', 0, :now)"
    with pytest.raises(DBAPIError), db.transaction(staff_id=who.id, session_id=who.session_id) as session:
        session.execute(text(bare), {"r": restricted, "now": NOW})
    with pytest.raises(BadInput, match="Choose a reason"):
        act("announce_lifting", "omar", restriction_id=restricted, reason="whim")
    with db.transaction("worker") as session:
        rule = session.scalar(text("insert into privacy.restriction (id, student_id, basis, since) values (gen_random_uuid(), :id,"
                                   " 'consent missing', :now) returning id"), {"id": id_of("ben"), "now": NOW})  # fmt: skip
    with pytest.raises(BadInput, match="Nobody asked"):
        act("announce_lifting", "omar", restriction_id=rule, reason="the person asks for it")


def situation(**more: Any) -> Situation:
    basic: dict[str, Any] = {"kind": "correct", "state": "verified", "known": True, "is_student": True, "paused": False, "me": id_of("omar"),
                             "officer": True, "own_record": False}  # fmt: skip
    return Situation(**(basic | more))


def test_a_correction_is_confirmed_by_another_officer_than_who_entered_it() -> None:
    assert next_action(situation()).code == "enter_correction"
    mine = next_action(situation(entered_by=frozenset({id_of("omar")})))
    assert (mine.code, mine.mine) == ("confirm_correction", False)
    assert next_action(situation(entered_by=frozenset({id_of("omar")}), alone=True)).mine
    assert next_action(situation(entered_by=frozenset({id_of("olga")}))).mine
    assert not next_action(situation(entered_by=frozenset({id_of("olga")}), own_record=True)).mine
