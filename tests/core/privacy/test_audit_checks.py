"""While the audit does not verify, nothing dangerous is done: in core, on every screen, and until it verifies again."""

import inspect
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from core import db, privacy_actions, queries
from core.errors import DatabaseError, Refused
from core.privacy import audit
from tests.cast import NOW, email_of, id_of
from tests.core.privacy.test_audit import signed, write

pytestmark = pytest.mark.usefixtures("house")

# What gives rights, loosens a rule of two persons, lets data out, or cannot be taken back.
GUARDED = {
    "add_assignment", "add_staff", "approve_deletion", "approve_deletions", "ask_early", "assign", "attest_manual_step",
    "change_role", "close_account", "confirm_manual_step", "decide_proposal", "declare_single_admin",
    "declare_single_officer", "enable_staff", "export_list", "hand_out_export", "invite_staff", "place_hold", "propose_enabling",
    "propose_reset", "propose_role", "publish_release", "release_hold", "renew_code", "rescue_invite", "rescue_reset",
    "rescue_single_admin", "reset_sign_in",
}  # fmt: skip


# Why the others stay open while the audit does not verify. A new verb has to stand on one side: nobody forgets to ask.
OPEN = {
    "people have to get in and out, and to lock their own door": """sign_in redeem_ticket live_session refuse_session sign_out
        confirm_identity demand_fresh is_fresh change_password set_up_codes remove_codes new_secret address check_invitation
        redeem_invitation""",
    "it takes a right away, or ends something": """disable_account disable_staff end_session end_assignment end_single_admin
        decide_right start_access_review settle_access_reviews""",
    "it is the proof, or what mends it": """check_promises ask_check draw_sample export_policy check_audit check_audit_at_start sign_audit export_audit record_audit_export verify_releases
        export_certificate is_genuine compare_with_ledger
        propose_seal confirm_seal
        record_refusal record_command_refusal record_closed""",
    "people have a right to an answer within a month, whatever our log does": """file_request take_request link_subject
        ask_identity record_identity pause_clock resume_clock extend_answer add_note refuse_request withdraw_request answer_request
        wording edit_wording draft_letter write_letter mark_sent_by_hand cancel_letter
        judge_export_text judge_export_texts remake_export answer_export
        restrict_now answer_right announce_lifting lift request_consent declare_age retry_letter fillable""",
    "people have to be told, and a breach above all": """begin_campaign pause_campaign resume_campaign cancel_campaign follow_up_campaign
        attest_shown open_incident set_scope record_notification file_note""",
    "nothing is in force before a guarded verb confirms it": """enter_correction open_correction return_correction correctable
        propose_policy withdraw_policy decline_policy""",
    "it takes something dangerous back": """reactivate_account send_back return_plan take_manual_step review_hold
        withdraw_consent correct_guardian""",
    "it looks, and the view is recorded": """preview_deletion open_plan plan_for holds_on person_to_hold records_to_hold reveal_held
        reveal_step_person open_quarantined reveal_contacts reveal_visitors record_view record_visitor_view record_request_view record_cohort_view
        record_search find_consent reveal_consent open_evidence""",
    "it reads, and changes nothing": """assignments staff_id staff_list needs_second_admin file_exists releases_due""",
    "the file was made by a guarded verb; its one link is opened or dropped": "open_file file_part sealed drop_expired_files",
    "figures of groups, nobody's rows": "export_report take_group_figures",
    "daily work that anybody assigned can undo": """mark_handled put_back set_help_limits take_review give_review_back
        assign_visitor set_next_contact set_visitor_status note_contact""",
    "without a policy nothing else runs": "publish_first_version",
}  # fmt: skip


def guarded_verbs() -> list[str]:
    return [name for name in privacy_actions.__all__ if getattr(getattr(privacy_actions, name), "guarded", False)]


def tamper(owner: Connection, statement: str) -> None:
    owner.execute(text("alter table privacy.audit_event disable trigger all"))
    owner.execute(text(statement))
    owner.commit()


def checked(folder: Path | None = None, *, minutes: int = 1) -> audit.Verification:
    with db.transaction("worker") as session:
        return audit.check(session, now=NOW + timedelta(minutes=minutes), folder=folder)


@pytest.fixture
def broken(owner: Connection) -> None:
    """A log of which one line was changed, and the check that found it."""
    write(5)
    tamper(owner, "update privacy.audit_event set action = 'signed out' where seq = 3")
    assert checked().broken_at == 3


def test_what_gives_rights_or_lets_data_out_is_guarded() -> None:
    assert set(guarded_verbs()) >= GUARDED


def test_every_verb_is_guarded_or_says_why_not() -> None:
    listed = [verb for verbs in OPEN.values() for verb in verbs.split()]
    public = {name for name in privacy_actions.__all__ if inspect.isfunction(getattr(privacy_actions, name))}
    unsure = public - set(guarded_verbs()) - set(listed)
    assert not unsure, f"guard them, or say in OPEN why they stay open: {sorted(unsure)}"
    assert set(listed) - public == set(), "no verbs any more"
    assert set(listed) & set(guarded_verbs()) == set(), "listed, and guarded all the same"
    assert len(listed) == len(set(listed))


@pytest.mark.parametrize("verb", guarded_verbs())
@pytest.mark.usefixtures("broken")
def test_a_guarded_verb_is_refused_before_it_looks_at_anything(verb: str) -> None:
    with pytest.raises(Refused, match="audit does not verify"), db.transaction("worker") as session:
        getattr(privacy_actions, verb)(session)


@pytest.mark.usefixtures("broken")
def test_views_and_closing_an_account_stay_possible(owner: Connection) -> None:
    with db.transaction(staff_id=id_of("paula")) as session:
        assert queries.student_card(session, id_of("asha"))
        audit.append_view(session, person_kind="student", person_ids=[id_of("asha")], purpose="page", now=NOW)
    with db.transaction("worker") as session:
        privacy_actions.disable_staff(session, email=email_of("ines"), now=NOW)
    assert owner.scalar(text("select disabled_at from staff.staff_member where id = :id"), {"id": id_of("ines")})


def test_mending_the_line_opens_them_again(broken: None, owner: Connection) -> None:
    tamper(owner, "update privacy.audit_event set action = 'refused' where seq = 3")
    assert checked(minutes=2).sound
    with db.transaction("worker") as session:
        audit.demand_sound(session)
        assert not queries.audit_state(session).broken


def test_a_cut_tail_is_found_by_the_last_check_where_no_checkpoint_saw_it(owner: Connection) -> None:
    write(5)
    assert checked().sound
    tamper(owner, "delete from privacy.audit_event where seq = 5")
    found = checked(minutes=2)
    assert (found.broken_at, found.problem) == (5, "the log has 4 lines, the last check saw 5")


def test_a_tail_rewritten_with_its_hashes_is_found_by_the_last_check(owner: Connection) -> None:
    write(5)
    assert checked().sound
    tamper(
        owner,
        "update privacy.audit_event set details = '{}', hash = privacy.audit_hash(previous, seq, at, actor, actor_id,"
        " session_id, action, subject_kind, subject_id, '{}') where seq = 5",
    )
    assert checked(minutes=2).broken_at == 5


def test_checkpoints_that_disappeared_are_missed(tmp_path: Path) -> None:
    write(3)
    signed(tmp_path)
    assert checked(tmp_path).sound
    (tmp_path / "checkpoints.jsonl").unlink()
    assert checked(tmp_path, minutes=2).problem == "0 signed checkpoints are left of 1"
    assert checked(tmp_path / "another machine", minutes=3).sound, "each machine has its own file"


def test_nothing_false_is_signed(owner: Connection, tmp_path: Path) -> None:
    write(3)
    signed(tmp_path)
    write(3)
    tamper(owner, "update privacy.audit_event set details = '{}' where seq = 5")
    with pytest.raises(DatabaseError, match="line 5 was changed"):
        signed(tmp_path)
    tamper(owner, "delete from privacy.audit_event where seq > 2")
    with pytest.raises(DatabaseError, match="cut"):
        signed(tmp_path)
    assert len(audit.checkpoints(tmp_path)) == 1


@pytest.mark.parametrize("role", ["app", "worker", "owner"])
@pytest.mark.parametrize("verb", ["update privacy.audit_check set problem = ''", "delete from privacy.audit_check"])
def test_nobody_who_signs_in_takes_a_check_back(role: str, verb: str, broken: None) -> None:
    with db.engine(role).begin() as connection:
        connection.execute(text("select set_config('app.staff_id', :id, true)"), {"id": str(id_of("ada"))})
        try:
            assert connection.execute(text(verb)).rowcount == 0
        except DBAPIError as error:
            assert "permission denied" in str(error)
    with db.transaction("worker") as session:
        assert queries.audit_state(session).broken


def test_a_check_that_is_overdue_says_so() -> None:
    with db.transaction("worker") as session:
        state = queries.audit_state(session)
    assert not state.stale(NOW + timedelta(hours=25))
    assert state.stale(NOW + timedelta(hours=27))
