"""The front door for changes. No ``select`` here: each verb lives in ``core/privacy/`` and is told here.

Sessions   sign_in, redeem_ticket, live_session, refuse_session, confirm_identity, is_fresh, demand_fresh, sign_out
Own sign-in  check_invitation, redeem_invitation, change_password, new_secret, address, set_up_codes, remove_codes
Accounts   invite_staff, renew_code, reset_sign_in, propose_role, propose_enabling, propose_reset, decide_proposal,
           disable_account, set_account_end, end_session, declare_single_admin, end_single_admin, needs_second_admin
Assignments  add_assignment, end_assignment
Access review  start_access_review, decide_right, settle_access_reviews
Rescue     rescue_invite, rescue_reset, rescue_single_admin (the command line, for whoever has the machine)
Staff      add_staff, disable_staff, enable_staff, change_role, assign, assignments, staff_list, staff_id
People     reveal_contacts, record_view, record_refusal, record_search, export_list, export_report,
           record_closed, record_command_refusal
Audit      check_audit, check_audit_at_start, sign_audit, export_audit, record_audit_export, propose_seal, confirm_seal
Requests   file_request, take_request, link_subject, ask_identity, record_identity, pause_clock, resume_clock,
           extend_answer, add_note, refuse_request, withdraw_request, answer_request, answer_guardian, record_request_view
Exports    judge_export_text, judge_export_texts, remake_export, hand_out_export, answer_export, sealed
Deletion   preview_deletion, close_account, open_plan, approve_deletion, approve_deletions, ask_early, reactivate_account,
           send_back, return_plan, declare_single_officer
Erasures   answer_brake, retry_erasure_step, judge_finding
Quarantine open_quarantined, let_in, discard
Proof      export_certificate, is_genuine
Restore    compare_with_ledger
Letters    wording, fillable, edit_wording, draft_letter, write_letter, mark_sent_by_hand, cancel_letter, retry_letter
Incidents  open_incident, set_scope, decide_authority, decide_people, record_notification, tell_people, file_note, close_incident
Notices    begin_campaign, pause_campaign, resume_campaign, cancel_campaign, attest_shown,
           follow_up_campaign
Consent    find_consent, reveal_consent, declare_age, request_consent, enter_consent, open_evidence, verify_consent, refuse_consent,
           withdraw_consent, correct_guardian, forget_guardian, ask_ages, remind_silent
Plans      plan_for, holds_on
Holds      person_to_hold, records_to_hold, reveal_held, place_hold, release_hold, review_hold
Rights     restrict_now, answer_right, announce_lifting, lift, correctable, open_correction, enter_correction, confirm_correction, return_correction
By hand    take_manual_step, attest_manual_step, confirm_manual_step, return_manual_step, reveal_step_person
Visitors   assign_visitor, set_next_contact, set_visitor_status, note_contact, reveal_visitors, record_visitor_view
Register   write_processor_record
Files      open_file, file_part, file_exists, drop_expired_files
Figures    take_group_figures
Promises   check_promises, ask_check, attest, withdraw_attestation, draw_sample, export_policy
Policy     publish_first_version, propose_policy, put_up_policy, approve_policy, decline_policy, withdraw_policy
Learning   mark_handled, put_back, set_help_limits, take_review, give_review_back, record_cohort_view
Releases   releases_due, publish_release, verify_releases

Every verb is keyword-only, takes who acts (``by``) and when (``now``), and writes its audit line last, in the caller's
transaction. None of them commits. Dangerous ones are ``guarded``: closed while the audit does not verify.
"""

from core.certified import is_genuine
from core.models.exports import DELIVERIES, TEXT_DECISIONS
from core.models.proof import VERDICTS
from core.models.standing import CORRECTED_BECAUSE
from core.privacy.access_reviews import REMOVE_REASONS, decide_right, settle_access_reviews, start_access_review
from core.privacy.acting import Receipt
from core.privacy.artifacts import Opened as OpenedArtifact
from core.privacy.artifacts import part as file_part
from core.privacy.assigning import add_assignment, end_assignment
from core.privacy.audit import Action
from core.privacy.audit import check as check_audit
from core.privacy.audit import check_at_start as check_audit_at_start
from core.privacy.audit import checkpoint as sign_audit
from core.privacy.audit_export import record_audit_export
from core.privacy.audit_seals import confirm_seal, propose_seal
from core.privacy.brakes import REASONS as BRAKE_REASONS
from core.privacy.brakes import answer_brake
from core.privacy.campaigns import (
    AUDIENCES,
    CampaignReceipt,
    attest_shown,
    begin_campaign,
    cancel_campaign,
    follow_up_campaign,
    pause_campaign,
    resume_campaign,
)
from core.privacy.codes import address, new_secret
from core.privacy.consent import (
    ANSWER_DAYS,
    CONSENT_REFUSALS,
    DECLARED,
    TO_REMIND,
    WITHDRAWN_BY,
    ConsentReceipt,
    SeenStudent,
    ask_ages,
    correct_guardian,
    declare_age,
    enter_consent,
    find_consent,
    forget_guardian,
    open_evidence,
    refuse_consent,
    remind_silent,
    request_consent,
    reveal_consent,
    verify_consent,
    withdraw_consent,
)
from core.privacy.contacts import (
    export_audit,
    export_certificate,
    export_list,
    export_policy,
    export_report,
    record_closed,
    record_command_refusal,
    record_refusal,
    record_view,
    reveal_contacts,
)
from core.privacy.correcting import (
    RETURN_REASONS,
    CorrectableField,
    OpenedCorrection,
    OpenedField,
    confirm_correction,
    correctable,
    enter_correction,
    open_correction,
    return_correction,
)
from core.privacy.credentials import (
    Invited,
    change_password,
    check_invitation,
    redeem_invitation,
    remove_codes,
    set_up_codes,
)
from core.privacy.deletion import (
    APPROVALS,
    REACTIVATIONS,
    RETURNS,
    SEND_BACKS,
    BulkReceipt,
    PlanShown,
    approve_deletion,
    approve_deletions,
    ask_early,
    close_account,
    declare_single_officer,
    open_plan,
    preview_deletion,
    reactivate_account,
    return_plan,
    send_back,
)
from core.privacy.erasure import retry_erasure_step
from core.privacy.exports import (
    HandedOut,
    answer_export,
    hand_out_export,
    judge_export_text,
    judge_export_texts,
    remake_export,
)
from core.privacy.files import drop_expired_files, file_exists, open_file
from core.privacy.guardians import answer_guardian
from core.privacy.holds import (
    FoundPerson,
    HoldableRecord,
    StandingHold,
    holds_on,
    person_to_hold,
    place_hold,
    records_to_hold,
    release_hold,
    reveal_held,
    review_hold,
)
from core.privacy.incidents import CATEGORIES as INCIDENT_CATEGORIES
from core.privacy.incidents import PLACES as INCIDENT_PLACES
from core.privacy.incidents import (
    close_incident,
    decide_authority,
    decide_people,
    file_note,
    open_incident,
    record_notification,
    set_scope,
    tell_people,
)
from core.privacy.learning import (
    give_review_back,
    mark_handled,
    put_back,
    record_cohort_view,
    set_help_limits,
    take_review,
)
from core.privacy.letters import BY_HAND as LETTERS_BY_HAND
from core.privacy.letters import KINDS as LETTER_KINDS
from core.privacy.letters import OTHERS as OTHER_LETTERS
from core.privacy.letters import WORDINGS, Letter, Wording, draft_letter, edit_wording, fillable, wording, write_letter
from core.privacy.mail_kinds import NOTICES
from core.privacy.manual_steps import (
    attest_manual_step,
    confirm_manual_step,
    return_manual_step,
    reveal_step_person,
    take_manual_step,
)
from core.privacy.outbox import LetterReceipt, cancel_letter, mark_sent_by_hand, retry_letter
from core.privacy.plans import Plan, PlanRow, plan_for
from core.privacy.promises import ask_check, attest, check_promises, draw_sample, withdraw_attestation
from core.privacy.proposals import (
    DECLINES,
    ProposalReceipt,
    approve_policy,
    decline_policy,
    propose_policy,
    put_up_policy,
    withdraw_policy,
)
from core.privacy.publication import publish_first_version
from core.privacy.quarantine import DISCARD_REASONS, LET_IN_REASONS, discard, judge_finding, let_in, open_quarantined
from core.privacy.register import write_processor_record
from core.privacy.releases import publish_release, releases_due, verify_releases
from core.privacy.requests import (
    ANSWERS,
    COMPELLING_GROUNDS,
    EXTENSIONS,
    IDENTITY_METHODS,
    PAUSES,
    REFUSALS,
    RESUMES,
    WITHDRAWALS,
    Filed,
    add_note,
    answer_request,
    ask_identity,
    extend_answer,
    file_request,
    link_subject,
    pause_clock,
    record_identity,
    record_request_view,
    refuse_request,
    resume_clock,
    take_request,
    withdraw_request,
)
from core.privacy.rescue import rescue_invite, rescue_reset, rescue_single_admin
from core.privacy.restore import compare as compare_with_ledger
from core.privacy.rights import LIFTED_BECAUSE, announce_lifting, answer_right, lift, restrict_now
from core.privacy.sealed import sealed
from core.privacy.sessions import (
    SignedIn,
    Staff,
    confirm_identity,
    demand_fresh,
    is_fresh,
    live_session,
    redeem_ticket,
    refuse_session,
    sign_in,
    sign_out,
)
from core.privacy.snapshots import take_group_figures
from core.privacy.staff_accounts import (
    DISABLE_REASONS,
    RESET_REASONS,
    OneTimeCode,
    decide_proposal,
    declare_single_admin,
    disable_account,
    end_session,
    end_single_admin,
    invite_staff,
    needs_second_admin,
    propose_enabling,
    propose_reset,
    propose_role,
    renew_code,
    reset_sign_in,
    set_account_end,
)
from core.privacy.staffing import (
    add_staff,
    assign,
    assignments,
    change_role,
    disable_staff,
    enable_staff,
    staff_id,
    staff_list,
)
from core.privacy.visitors import (
    LONGEST_NOTE,
    VisitorContact,
    assign_visitor,
    note_contact,
    record_search,
    record_visitor_view,
    reveal_visitors,
    set_next_contact,
    set_visitor_status,
)

__all__ = [
    "ANSWERS",
    "ANSWER_DAYS",
    "APPROVALS",
    "AUDIENCES",
    "BRAKE_REASONS",
    "COMPELLING_GROUNDS",
    "CONSENT_REFUSALS",
    "CORRECTED_BECAUSE",
    "DECLARED",
    "DECLINES",
    "DELIVERIES",
    "DISABLE_REASONS",
    "DISCARD_REASONS",
    "EXTENSIONS",
    "IDENTITY_METHODS",
    "INCIDENT_CATEGORIES",
    "INCIDENT_PLACES",
    "LETTERS_BY_HAND",
    "LETTER_KINDS",
    "LET_IN_REASONS",
    "LIFTED_BECAUSE",
    "LONGEST_NOTE",
    "NOTICES",
    "OTHER_LETTERS",
    "PAUSES",
    "REACTIVATIONS",
    "REFUSALS",
    "REMOVE_REASONS",
    "RESET_REASONS",
    "RESUMES",
    "RETURNS",
    "RETURN_REASONS",
    "SEND_BACKS",
    "TEXT_DECISIONS",
    "TO_REMIND",
    "VERDICTS",
    "WITHDRAWALS",
    "WITHDRAWN_BY",
    "WORDINGS",
    "Action",
    "BulkReceipt",
    "CampaignReceipt",
    "ConsentReceipt",
    "CorrectableField",
    "Filed",
    "FoundPerson",
    "HandedOut",
    "HoldableRecord",
    "Invited",
    "Letter",
    "LetterReceipt",
    "OneTimeCode",
    "OpenedArtifact",
    "OpenedCorrection",
    "OpenedField",
    "Plan",
    "PlanRow",
    "PlanShown",
    "ProposalReceipt",
    "Receipt",
    "SeenStudent",
    "SignedIn",
    "Staff",
    "StandingHold",
    "VisitorContact",
    "Wording",
    "add_assignment",
    "add_note",
    "add_staff",
    "address",
    "announce_lifting",
    "answer_brake",
    "answer_export",
    "answer_guardian",
    "answer_request",
    "answer_right",
    "approve_deletion",
    "approve_deletions",
    "approve_policy",
    "ask_ages",
    "ask_check",
    "ask_early",
    "ask_identity",
    "assign",
    "assign_visitor",
    "assignments",
    "attest",
    "attest_manual_step",
    "attest_shown",
    "begin_campaign",
    "cancel_campaign",
    "cancel_letter",
    "change_password",
    "change_role",
    "check_audit",
    "check_audit_at_start",
    "check_invitation",
    "check_promises",
    "close_account",
    "close_incident",
    "compare_with_ledger",
    "confirm_correction",
    "confirm_identity",
    "confirm_manual_step",
    "confirm_seal",
    "correct_guardian",
    "correctable",
    "decide_authority",
    "decide_people",
    "decide_proposal",
    "decide_right",
    "declare_age",
    "declare_single_admin",
    "declare_single_officer",
    "decline_policy",
    "demand_fresh",
    "disable_account",
    "disable_staff",
    "discard",
    "draft_letter",
    "draw_sample",
    "drop_expired_files",
    "edit_wording",
    "enable_staff",
    "end_assignment",
    "end_session",
    "end_single_admin",
    "enter_consent",
    "enter_correction",
    "export_audit",
    "export_certificate",
    "export_list",
    "export_policy",
    "export_report",
    "extend_answer",
    "file_exists",
    "file_note",
    "file_part",
    "file_request",
    "fillable",
    "find_consent",
    "follow_up_campaign",
    "forget_guardian",
    "give_review_back",
    "hand_out_export",
    "holds_on",
    "invite_staff",
    "is_fresh",
    "is_genuine",
    "judge_export_text",
    "judge_export_texts",
    "judge_finding",
    "let_in",
    "lift",
    "link_subject",
    "live_session",
    "mark_handled",
    "mark_sent_by_hand",
    "needs_second_admin",
    "new_secret",
    "note_contact",
    "open_correction",
    "open_evidence",
    "open_file",
    "open_incident",
    "open_plan",
    "open_quarantined",
    "pause_campaign",
    "pause_clock",
    "person_to_hold",
    "place_hold",
    "plan_for",
    "preview_deletion",
    "propose_enabling",
    "propose_policy",
    "propose_reset",
    "propose_role",
    "propose_seal",
    "publish_first_version",
    "publish_release",
    "put_back",
    "put_up_policy",
    "reactivate_account",
    "record_audit_export",
    "record_closed",
    "record_cohort_view",
    "record_command_refusal",
    "record_identity",
    "record_notification",
    "record_refusal",
    "record_request_view",
    "record_search",
    "record_view",
    "record_visitor_view",
    "records_to_hold",
    "redeem_invitation",
    "redeem_ticket",
    "refuse_consent",
    "refuse_request",
    "refuse_session",
    "release_hold",
    "releases_due",
    "remake_export",
    "remind_silent",
    "remove_codes",
    "renew_code",
    "request_consent",
    "rescue_invite",
    "rescue_reset",
    "rescue_single_admin",
    "reset_sign_in",
    "restrict_now",
    "resume_campaign",
    "resume_clock",
    "retry_erasure_step",
    "retry_letter",
    "return_correction",
    "return_manual_step",
    "return_plan",
    "reveal_consent",
    "reveal_contacts",
    "reveal_held",
    "reveal_step_person",
    "reveal_visitors",
    "review_hold",
    "sealed",
    "send_back",
    "set_account_end",
    "set_help_limits",
    "set_next_contact",
    "set_scope",
    "set_up_codes",
    "set_visitor_status",
    "settle_access_reviews",
    "sign_audit",
    "sign_in",
    "sign_out",
    "staff_id",
    "staff_list",
    "start_access_review",
    "take_group_figures",
    "take_manual_step",
    "take_request",
    "take_review",
    "tell_people",
    "verify_consent",
    "verify_releases",
    "withdraw_attestation",
    "withdraw_consent",
    "withdraw_policy",
    "withdraw_request",
    "wording",
    "write_letter",
    "write_processor_record",
]
