"""The states of a request in words, and what comes next for whom.

Which moves exist is data (``privacy.transition``); the database holds them. Here stands only what a screen says about them:
the next thing to do, for this member of staff, and why not if not.
"""

import uuid
from dataclasses import dataclass

KIND_WORDS = {
    "access": "access",
    "export": "export",
    "correct": "correction",
    "delete": "deletion",
    "restrict": "restriction",
    "opt_out": "opt-out",
    "object": "objection",
}
STATE_WORDS = {
    "received": "Received",
    "checking": "Identity asked for",
    "verified": "Identity confirmed",
    "to approve": "Account closed, to approve",
    "waiting": "Approved, grace period",
    "erasing": "Erasing",
    "answered": "Answered",
    "refused": "Refused",
    "withdrawn": "Withdrawn",
    "reactivated": "Reactivated",
    "erased": "Erased",
}
# For what an erasure waits, as the end of a sentence: "waits for …".
ERASURE_WAITS = {
    "hold": "a legal hold",
    "request": "another request of this person, which is answered first",
    "audit": "the audit, which does not verify",
    "many": "an officer: more people are due at once than usual",
    "clock": "an officer: the clocks cannot be right",
    "by hand": "people who do it by hand at a processor",
    "letter": "the last letter, to be sent before the address is gone",
    "later": "the processor: copies live on for a while",
    "error": "the next attempt: the last one failed",
    "finding": "an officer: something was found that may be about the person",
}

# Which of these people can end, and how.
DONE_BY_PEOPLE = {
    "hold": "A legal hold stands",
    "request": "Answer the other request first",
    "audit": "The audit does not verify",
    "many": "Answer what stopped the erasures",
    "clock": "Answer what stopped the erasures",
    "by hand": "Do the steps by hand",
    "letter": "Send the last letter",
    "finding": "Judge what was found",
}


@dataclass(frozen=True)
class Situation:
    """What the next action depends on. ``me``: who looks; ``involved``: who filed it, owns it or closed the account;
    ``alone``: the company declared a single officer, and there is one. ``export``: how far the file of an access or export is, a
    key of EXPORT_NEXT. ``restricted``: the restriction that a request asks for stands already; ``entered_by``: who entered a
    correction that waits for a second person (nobody: none waits)."""

    kind: str
    state: str
    known: bool
    is_student: bool
    paused: bool
    me: uuid.UUID | None
    officer: bool
    own_record: bool
    involved: frozenset[uuid.UUID] = frozenset()
    approved_by: frozenset[uuid.UUID] = frozenset()
    approvals_needed: int = 1
    plan_seen: bool = False
    alone: bool = False
    erasure_waits: str = ""
    export: str = ""
    restricted: bool = False
    entered_by: frozenset[uuid.UUID] = frozenset()
    is_guardian: bool = False


@dataclass(frozen=True)
class NextAction:
    """The one thing to do next. ``code`` names a verb or a wait; ``why_not`` is "" when whoever looks may do it now."""

    code: str
    words: str
    why_not: str = ""

    @property
    def mine(self) -> bool:
        """Whether whoever looks can do it now."""
        return not self.why_not and self.code not in WAITS


WAITS = ("wait for the person", "wait for the grace period", "wait for the worker", "wait for the file", "nothing")
# How far the file of an access or export is: what comes next, and its words.
EXPORT_NEXT = {
    "": ("wait for the file", "The worker makes the file"),
    "to build": ("wait for the file", "The worker makes the file"),
    "to judge": ("judge_texts", "Judge what may name somebody else"),
    "failed": ("remake_export", "The file could not be made"),
    "ready": ("hand_out_export", "Ready: hand the file out"),
    "linked": ("hand_out_export", "Fetch the file"),
    "expired": ("remake_export", "The file has expired: make it anew"),
    "handed out": ("answer_export", "Say that the person has it"),
}
# What is answered with a letter of its own, because it is in force with a click.
RIGHTS = {
    "restrict": "Answer: the data is restricted",
    "opt_out": "Answer: marketing mail is off",
    "object": "Answer, or refuse on compelling grounds",
}


def next_action(now: Situation) -> NextAction:
    """Return what comes next, for whoever looks."""
    code, words = _next(now)
    if code in WAITS:
        return NextAction(code, words)
    return NextAction(code, words, _why_not(now, code))


def number(number: int) -> str:
    """Return the number of a request as people say and type it: ``R-2041``."""
    return f"R-{number}"


def _next(now: Situation) -> tuple[str, str]:
    if now.state in ("received", "checking") and not now.known:
        return "link_subject", "Find out who this is"
    if now.state == "received":
        if now.kind == "opt_out":
            return "answer_right", "Answer: marketing mail is off"
        if now.kind == "restrict" and not now.restricted:
            return "restrict_now", "Restrict at once, then check who asked"
        return "record_identity", "Check the identity, or ask for it"
    if now.state == "checking":
        if now.kind == "opt_out":
            return "answer_right", RIGHTS["opt_out"]
        if now.kind == "restrict" and not now.restricted:
            return "restrict_now", "Restrict at once"
        if now.paused:
            return "wait for the person", "Wait for the person to prove who they are"
        return "record_identity", "Decide about the identity"
    if now.state == "verified":
        if now.kind in ("access", "export"):
            return EXPORT_NEXT[now.export]
        if now.is_guardian:
            return "answer_guardian", "Correct what is held" if now.kind == "correct" else "Erase the guardian"
        if now.kind == "correct":
            return (
                ("confirm_correction", "Compare and confirm the correction")
                if now.entered_by
                else ("enter_correction", "Enter the correction")
            )
        if now.kind in RIGHTS:
            return "answer_right", RIGHTS[now.kind]
        if now.kind != "delete":
            return "answer_request", "Answer the request"
        return ("close_account", "Close the account") if now.is_student else ("close_account", "Prepare the deletion")
    if now.state == "to approve":
        return (
            ("approve_deletion", "Approve the deletion")
            if now.plan_seen
            else ("open_plan", "Open the plan, then approve it")
        )
    if now.erasure_waits in DONE_BY_PEOPLE:
        return "wait for the worker", DONE_BY_PEOPLE[now.erasure_waits]
    if now.state == "waiting":
        return "wait for the grace period", "Nothing to do until the grace period ends"
    if now.state == "erasing":
        return "wait for the worker", "The worker erases"
    return "nothing", "Done"


def _why_not(now: Situation, code: str) -> str:
    if not now.officer:
        return "Privacy officers work on requests."
    if now.own_record:
        return "This is your own record; another officer decides."
    if code in ("approve_deletion", "open_plan"):
        if now.me in now.approved_by:
            return "You have approved; another officer's approval is missing."
        if now.me in now.involved and not now.alone:
            return "You filed this request, own it or closed the account; a second person approves."
    if code == "answer_guardian" and now.kind == "delete" and now.me in now.involved and not now.alone:
        return "You filed this request, own it or checked the identity; a second person erases."
    if code == "confirm_correction" and now.me in now.entered_by and not now.alone:
        return "You entered this correction; another officer compares and confirms it."
    return ""
