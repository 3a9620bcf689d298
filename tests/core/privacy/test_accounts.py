"""Accounts and grants: who may, who must not, and that the database says so itself."""

import dataclasses
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from core import db, privacy_actions
from core.errors import BadInput, NotFound, NotFresh, Refused
from core.models.base import uuid7
from core.privacy_actions import OneTimeCode, Staff
from tests.admins import act, add_bea, bea, call, inside, row
from tests.cast import PASSWORD, ROLES, STAFF, email_of, id_of
from ui.clock import now

pytestmark = pytest.mark.usefixtures("house")

PHRASE = "juniper-lagoon-meadow-77"


def invite(by: Staff | str = "ada", email: str = "nina@staff.example", role: str = "instructor") -> OneTimeCode:
    made = act(privacy_actions.invite_staff, by, email=email, name="Nina New", role=role, reason="we grow")
    assert isinstance(made, OneTimeCode)
    return made


def redeem(made: OneTimeCode, *, email: str = "", password: str = PHRASE, at=None) -> privacy_actions.Invited | str:
    with db.transaction() as session:
        return privacy_actions.redeem_invitation(
            session, email=email or made.email, code=made.code, password=password, now=at or now()
        )


def enters(email: str, password: str) -> bool:
    with db.transaction() as session:
        return privacy_actions.sign_in(session, email=email, password=password, now=now()) is not None


def alive(made: privacy_actions.SignedIn) -> bool:
    with db.transaction() as session:
        return privacy_actions.live_session(session, secret=made.token, now=now()) is not None


def account_of(email: str) -> Any:
    return row("select * from staff.staff_member where email = :email", email=email)


def waiting() -> Any:
    return row("select * from staff.proposal where decided_at is null")


def decide(by: Staff | str, decision: str = "approved") -> OneTimeCode | None:
    return act(privacy_actions.decide_proposal, by, proposal_id=waiting().id, decision=decision)


def test_an_invitation_works_once_two_admins_want_it_and_once_only() -> None:
    add_bea()
    made = invite()
    assert made.waits and made.expires_at - now() <= timedelta(hours=24)
    assert account_of(made.email).password_hash is None
    assert "approval of a second admin" in str(redeem(made))
    with pytest.raises(Refused, match="Another admin has to approve"):
        decide("ada")
    decide(bea())
    assert not enters(made.email, PHRASE)
    assert redeem(made) == privacy_actions.Invited("Nina New", made.email, "instructor", "invitation")
    assert enters(made.email, PHRASE)
    assert "used already" in str(redeem(made, password="another-phrase-entirely-5"))
    assert enters(made.email, PHRASE), "nothing changed"


def test_expired_foreign_replaced_and_mistyped_codes_change_nothing() -> None:
    add_bea()
    made = invite()
    decide(bea())
    assert "expired" in str(redeem(made, at=now() + timedelta(hours=24)))
    assert "does not belong" in str(redeem(made, email=email_of("ines")))
    assert "does not belong" in str(redeem(dataclasses.replace(made, code="4F7KD-00000-00000-00000-00000")))
    newer = act(privacy_actions.renew_code, "ada", staff_id=account_of(made.email).id)
    assert "newer code" in str(redeem(made))
    with pytest.raises(BadInput, match="15 to 128"):
        redeem(newer, password="short")
    assert account_of(made.email).password_hash is None
    typed = newer.code.lower().replace("-", " ").replace("0", "o").replace("1", "l")
    assert not isinstance(redeem(dataclasses.replace(newer, code=typed)), str), "however it is typed"


def test_guessing_a_code_is_throttled() -> None:
    add_bea()
    made = invite()
    decide(bea())
    for _ in range(5):
        assert "does not belong" in str(redeem(dataclasses.replace(made, code="00000-00000-00000-00000-00000")))
    assert "too many tries" in str(redeem(made)), "the sixth is not even looked at"
    assert not isinstance(redeem(made, at=now() + timedelta(seconds=31)), str)


def test_the_database_keeps_no_code_and_the_verbs_take_no_password() -> None:
    import inspect

    made = invite()
    dump = str(row("select array_agg(i::text)::text from staff.invitation i"))
    assert made.code not in dump and made.code.replace("-", "") not in dump
    for verb in ("invite_staff", "renew_code", "reset_sign_in", "decide_proposal", "propose_reset"):
        assert not {"password", "secret", "code"} & set(inspect.signature(getattr(privacy_actions, verb)).parameters)


def test_a_declined_invitation_is_worth_nothing() -> None:
    add_bea()
    made = invite(role="admin")
    decide(bea(), "declined")
    assert "not open" in str(redeem(made))
    assert account_of(made.email).disabled_at is not None


@pytest.mark.parametrize("email", [email_of("paula"), email_of("dora").upper(), "nobody", "a b@c.example", "@x", ""])
def test_an_address_that_is_taken_or_none_is_refused(email: str) -> None:
    with pytest.raises(BadInput):
        invite(email=email)
    assert invite(email="right@staff.example").email == "right@staff.example"


@pytest.mark.parametrize("role", ["program_staff", "admin"])
def test_a_role_is_granted_by_two_and_ends_the_sessions(role: str) -> None:
    add_bea()
    made, _ = inside("ines")
    bystander, _ = inside("marek")
    granted = act(privacy_actions.propose_role, "ada", staff_id=id_of("ines"), role=role, reason="new work")
    assert granted is False and account_of(email_of("ines")).role == "instructor"
    assert alive(made), "a proposal changes nothing"
    with pytest.raises(BadInput, match="waits already"):
        act(privacy_actions.propose_role, "ada", staff_id=id_of("ines"), role="mentor", reason="again")
    for who, sentence in (("ada", "You proposed this"),):
        with pytest.raises(Refused, match=sentence):
            decide(who)
    decide(bea())
    assert account_of(email_of("ines")).role == role
    assert not alive(made) and alive(bystander)
    with pytest.raises(BadInput, match="decided already"):
        act(
            privacy_actions.decide_proposal,
            bea(),
            proposal_id=row("select id from staff.proposal").id,
            decision="approved",
        )


def test_nobody_decides_about_themselves() -> None:
    add_bea()
    for verb, more in (
        (privacy_actions.propose_role, {"role": "auditor", "reason": "x"}),
        (privacy_actions.propose_reset, {"reason": "x"}),
        (privacy_actions.disable_account, {"reason": "long leave"}),
        (privacy_actions.reset_sign_in, {"full": False, "reason": "device lost"}),
    ):
        with pytest.raises(Refused):
            act(verb, "ada", staff_id=id_of("ada"), **more)
    act(privacy_actions.propose_role, "ada", staff_id=id_of("bea"), role="auditor", reason="new work")
    with pytest.raises(Refused, match="about you"):
        decide(bea())
    decide("ada", "withdrawn")
    assert account_of("bea@staff.example").role == "admin"


def test_only_the_proposer_withdraws_and_only_others_decline() -> None:
    add_bea()
    act(privacy_actions.propose_role, "ada", staff_id=id_of("ines"), role="mentor", reason="new work")
    with pytest.raises(Refused, match="Only who proposed"):
        decide(bea(), "withdrawn")
    with pytest.raises(BadInput, match="Withdraw it instead"):
        decide("ada", "declined")
    decide(bea(), "declined")
    assert account_of(email_of("ines")).role == "instructor"


def test_a_proposal_about_a_role_that_changed_since_goes_back() -> None:
    add_bea()
    act(privacy_actions.propose_role, "ada", staff_id=id_of("ines"), role="admin", reason="new work")
    with db.transaction("worker") as session:
        privacy_actions.change_role(session, email=email_of("ines"), role="auditor", now=now())
    with pytest.raises(BadInput, match="has changed since"):
        decide(bea())
    assert account_of(email_of("ines")).role == "auditor"


def test_disabling_needs_one_admin_and_enabling_two() -> None:
    add_bea()
    made, _ = inside("ines")
    left_open, _ = inside("ines")
    act(privacy_actions.disable_account, "ada", staff_id=id_of("ines"), reason="long leave")
    assert not alive(made) and not enters(email_of("ines"), PASSWORD)
    assert act(privacy_actions.propose_enabling, "ada", staff_id=id_of("ines"), reason="back") is False
    assert not enters(email_of("ines"), PASSWORD)
    decide(bea())
    assert not alive(left_open), "what was signed in before does not come back with the account"
    assert enters(email_of("ines"), PASSWORD)
    assert enters(email_of("marek"), PASSWORD)


def test_a_code_does_not_come_back_with_a_disabled_account() -> None:
    add_bea()
    handed = act(privacy_actions.reset_sign_in, "ada", staff_id=id_of("ines"), full=False, reason="password forgotten")
    act(privacy_actions.disable_account, "ada", staff_id=id_of("ines"), reason="account in wrong hands")
    act(privacy_actions.propose_enabling, "ada", staff_id=id_of("ines"), reason="back")
    decide(bea())
    assert isinstance(redeem(handed), str) and account_of(email_of("ines")).password_hash is None


def test_a_reset_takes_the_password_and_gives_a_code() -> None:
    made, _ = inside("ines")
    handed = act(privacy_actions.reset_sign_in, "ada", staff_id=id_of("ines"), full=False, reason="password forgotten")
    assert not alive(made) and not enters(email_of("ines"), PASSWORD)
    assert not isinstance(redeem(handed), str)
    assert enters(email_of("ines"), PHRASE)


def test_new_codes_for_an_officer_need_two_admins_who_would_otherwise_become_them() -> None:
    add_bea()
    for full in (True, False):
        if not full:
            with db.transaction("worker") as session:
                session.execute(
                    text("update staff.staff_member set totp_secret = null, totp_since = null where name = 'Omar'")
                )
        with pytest.raises(Refused, match="second admin"):
            act(privacy_actions.reset_sign_in, "ada", staff_id=id_of("omar"), full=full, reason="device lost")
    assert act(privacy_actions.propose_reset, "ada", staff_id=id_of("omar"), reason="lost the phone") is False
    assert account_of(email_of("omar")).password_hash
    handed = decide(bea())
    assert handed and handed.kind == "full reset"
    assert account_of(email_of("omar")).password_hash is None and account_of(email_of("omar")).totp_secret is None
    assert redeem(handed) == privacy_actions.Invited("Omar", email_of("omar"), "privacy_officer", "full reset")


def test_an_officer_who_keeps_their_codes_gets_a_new_password_from_one_admin() -> None:
    handed = act(privacy_actions.reset_sign_in, "ada", staff_id=id_of("omar"), full=False, reason="password forgotten")
    assert not isinstance(redeem(handed), str)
    assert not enters(email_of("omar"), PHRASE), "the password alone is not enough"
    assert account_of(email_of("omar")).totp_secret


def test_a_single_admin_declares_it_and_then_grants_alone_and_visibly() -> None:
    act(privacy_actions.propose_role, "ada", staff_id=id_of("ines"), role="mentor", reason="new work")
    with pytest.raises(Refused, match="Another admin has to approve"):
        decide("ada")
    with pytest.raises(BadInput, match="reason"):
        act(privacy_actions.declare_single_admin, "ada", reason=" ")
    act(privacy_actions.declare_single_admin, "ada", reason="two people in all")
    decide("ada")
    assert account_of(email_of("ines")).role == "mentor"
    assert act(privacy_actions.propose_role, "ada", staff_id=id_of("ines"), role="admin", reason="second admin") is True
    assert [r.alone for r in _all("select alone from staff.proposal")] == [True, True]
    assert act(privacy_actions.propose_role, "ada", staff_id=id_of("paula"), role="mentor", reason="x") is False, (
        "there are two admins now: the declaration is over"
    )
    assert row("select ended_at from staff.declared_mode").ended_at


def _all(statement: str) -> list[Any]:
    with db.transaction("worker") as session:
        return list(session.execute(text(statement)).all())


def test_who_puts_the_other_admins_out_does_not_get_to_act_alone() -> None:
    add_bea()
    with pytest.raises(Refused, match="another admin"):
        act(privacy_actions.declare_single_admin, "ada", reason="only me")
    act(privacy_actions.disable_account, "ada", staff_id=id_of("bea"), reason="account in wrong hands")
    with pytest.raises(Refused, match="within the last 7 days"):
        act(privacy_actions.declare_single_admin, "ada", reason="only me")
    with db.transaction("worker") as session:
        session.execute(
            text("update staff.staff_member set disabled_at = disabled_at - interval '8 days' where name = 'Bea'")
        )
    act(privacy_actions.declare_single_admin, "ada", reason="only me")
    act(privacy_actions.end_single_admin, "ada")
    assert act(privacy_actions.propose_role, "ada", staff_id=id_of("ines"), role="mentor", reason="x") is False


def test_a_declaration_does_not_come_back_when_the_second_admin_leaves() -> None:
    act(privacy_actions.declare_single_admin, "ada", reason="only me")
    add_bea()
    act(privacy_actions.disable_account, "ada", staff_id=id_of("bea"), reason="left the company")
    assert act(privacy_actions.propose_role, "ada", staff_id=id_of("ines"), role="mentor", reason="x") is False


STALE: list[tuple[Callable[..., Any], dict[str, Any]]] = [
    (privacy_actions.invite_staff, {"email": "n@x.example", "name": "N", "role": "mentor", "reason": "x"}),
    (privacy_actions.propose_role, {"staff_id": id_of("ines"), "role": "mentor", "reason": "x"}),
    (privacy_actions.propose_enabling, {"staff_id": id_of("dora"), "reason": "x"}),
    (privacy_actions.propose_reset, {"staff_id": id_of("omar"), "reason": "x"}),
    (privacy_actions.disable_account, {"staff_id": id_of("ines"), "reason": "long leave"}),
    (privacy_actions.reset_sign_in, {"staff_id": id_of("ines"), "full": False, "reason": "device lost"}),
    (privacy_actions.declare_single_admin, {"reason": "x"}),
]


@pytest.mark.parametrize(("verb", "arguments"), STALE, ids=lambda value: getattr(value, "__name__", ""))
def test_dangerous_verbs_need_a_fresh_proof_and_an_admin(verb: Callable[..., Any], arguments: dict[str, Any]) -> None:
    ada = inside("ada")[1]
    late = now() + timedelta(minutes=5, seconds=2)
    with pytest.raises(NotFresh):
        act(verb, ada, at=late, **arguments)
    believed = dataclasses.replace(ada, confirmed_at=late)  # the guard in Python deceived
    with pytest.raises(NotFresh):
        act(verb, believed, at=late, **arguments)
    for name in (*ROLES, "bystander"):
        if name not in ("ada", "bystander"):
            with pytest.raises(Refused):
                act(verb, name, **arguments)
    act(verb, ada, at=now(), **arguments)


CALLS = {
    "add_account": ("staff.add_account(:new, 'x@x.example', 'X', 'admin', :id, 'x', :now)", True),
    "make_code": ("staff.make_code(:id, :other, 'invitation', 'x', :now, :now)", True),
    "reset_secrets": ("staff.reset_secrets(:other, true, :now)", True),
    "propose": ("staff.propose(:id, 'role', :other, 'admin', 'x', :now)", True),
    "decide": ("staff.decide(:id, 'approved', :now)", True),
    "disable": ("staff.disable(:other, :now)", True),
    "declare_single_admin": ("staff.declare_single_admin(:id, 'x', :now)", True),
    "end_single_admin": ("staff.end_single_admin(:now)", True),
    "add_assignment": ("staff.add_assignment(:id, :other, :cohort, '2026-01-01', null, :now)", True),
    "end_assignment": ("staff.end_assignment(:assignment, null, :now)", True),
    "start_review": ("staff.start_review(:id, '2100-01-01', :now)", False),
    "decide_right": ("staff.decide_right(:id, 'removed', :now)", False),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_database_itself_refuses_everybody_but_admins(name: str) -> None:
    statement, admins_only = CALLS[name]
    values = {
        "new": uuid7(),
        "id": uuid7(),
        "other": id_of("ines"),
        "cohort": id_of("cloud"),
        "now": now(),
        "assignment": id_of("ines python"),
    }
    for member, role in ROLES.items():
        if role == "admin" or (role == "privacy_officer" and not admins_only):
            continue
        with pytest.raises(DBAPIError, match="Your role does not open this"):
            call(f"select {statement}", inside(member)[1], **values)
    assert row("select count(*) from staff.staff_member").count == len(STAFF)
    assert row("select count(*) from staff.assignment where ends_on is null").count == 2


def test_helpers_of_the_rules_are_closed_to_the_dashboard() -> None:
    ada = inside("ada")[1]
    for statement in (
        "staff.take_rights(:other, :now)", "staff.take_secrets(:other, true, :now)", "staff.carry_out(:other, 'approved', true, :now)",
        "staff.end_all_sessions(:other, null, 'x', :now)", "staff.cut_assignment(:other, '2026-01-01')", "staff.settle_reviews(:now)",
    ):  # fmt: skip
        with pytest.raises(DBAPIError, match="permission denied"):
            call(f"select {statement}", ada, other=id_of("ines"), now=now())


@pytest.mark.parametrize("column", ["password_hash", "totp_secret", "totp_step"])
def test_no_secret_can_be_read_by_the_dashboard(column: str) -> None:
    with pytest.raises(DBAPIError, match="permission denied"):
        call(f"select {column} from staff.staff_member", inside("ada")[1])
    with pytest.raises(DBAPIError, match="permission denied"):
        call("select code_hash from staff.invitation", inside("ada")[1])


def test_sessions_are_ended_by_their_owner_and_by_admins() -> None:
    made, mine = inside("ines")
    other, _ = inside("ines")
    for name in ("paula", "marek", "omar", "aiko"):
        assert act(privacy_actions.end_session, name, session_id=mine.session_id) is False
    assert alive(made)
    assert act(privacy_actions.end_session, "ines", session_id=mine.session_id) is True
    assert not alive(made) and alive(other)
    for session in _all(f"select id from staff.session where staff_id = '{id_of('ines')}' and ended_at is null"):
        assert act(privacy_actions.end_session, "ada", session_id=session.id) is True
    assert not alive(other)


def test_what_is_not_there_is_not_found() -> None:
    for verb, more in (
        (privacy_actions.propose_role, {"staff_id": uuid7(), "role": "mentor", "reason": "x"}),
        (privacy_actions.disable_account, {"staff_id": uuid7(), "reason": "long leave"}),
        (privacy_actions.decide_proposal, {"proposal_id": uuid7(), "decision": "approved"}),
        (privacy_actions.end_assignment, {"assignment_id": uuid7(), "last_day": None}),
    ):
        with pytest.raises(NotFound):
            act(verb, "ada", **more)
