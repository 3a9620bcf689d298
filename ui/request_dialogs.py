"""The dialogs of one request: what each asks for, and the verb it hands the answers to.

A dialog opens from a flag that holds the version of the request as it was drawn (ui.desk), so a decision on an older
picture is refused by core and said inside the dialog, with everything that was typed still there. Whatever needs a fresh
proof of identity goes through ui.confirm; the others are plain forms.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import streamlit as st

from core import privacy_actions as verbs
from core.queries import RequestPage
from ui import confirm, correcting, desk, plans
from ui.actions import act

CLOSE, APPROVE, EARLY, REACTIVATE, TAKE_BACK = (
    "close account",
    "approve deletion",
    "early deletion",
    "reactivate",
    "take back",
)
CORRECT_GUARDIAN, ERASE_GUARDIAN = "correct guardian", "erase guardian"
FRESH_REFUSAL, FRESH_WITHDRAWAL, SEND_BACK = "refuse deletion", "withdraw deletion", "send back"


@dataclass(frozen=True)
class Dialog:
    """One form: its title and button (verb and object), what it draws (and returns as arguments), and the verb."""

    title: str
    icon: str
    button: str
    draw: Callable[[RequestPage], dict[str, Any]]
    verb: Callable[..., Any]
    versioned: bool = True


def words(label: str, *, needed: bool = False, help: str = "") -> str:
    """Ask for a text of one's own."""
    typed = st.text_area(label + ("" if needed else " (optional)"), height=110, help=help or None)
    return typed or ""


def choose(label: str, options: tuple[str, ...]) -> str:
    """Ask for one of several reasons; none is chosen beforehand."""
    return st.selectbox(label, options, index=None, placeholder="Choose") or ""


def _identity(_found: RequestPage) -> dict[str, Any]:
    method = choose("How was it checked?", verbs.IDENTITY_METHODS)
    outcome = st.radio("What came out?", ("It is them", "It is not, or not proven"), index=None, key="identity_outcome")
    note = words("Note", help="What was seen, never a copy of a document.")
    return {"method": method, "confirmed": outcome == "It is them", "note": note}


def _ask(_found: RequestPage) -> dict[str, Any]:
    st.caption("A letter waits in the outbox, and the clock rests until the person answers.")
    return {"words": words("Your own words in the letter")}


def _link(found: RequestPage) -> dict[str, Any]:
    contact = next((each.body for each in found.texts if each.what == "contact"), "")
    known = next((line for line in contact.splitlines() if "@" in line), "")
    return {"email": st.text_input("E-mail of the student or visitor", value=known)}


def _extend(found: RequestPage) -> dict[str, Any]:
    st.caption("Possible once, within the first month. The person is told, with the reason.")
    months = st.segmented_control("Months", range(1, found.parameters.extension_months + 1), default=1, required=True)
    return {
        "months": months,
        "reason": choose("Reason", verbs.EXTENSIONS),
        "words": words("Your own words in the letter"),
    }


def _refuse(found: RequestPage) -> dict[str, Any]:
    st.caption("The letter names the reason, the right to complain and the way to court.")
    object_ = found.row.kind == "object"
    if object_:
        st.caption("On compelling grounds the person is ordered and counted again; marketing mail stays off.")
    return {
        "reason": choose(
            "Reason", tuple(each for each in verbs.REFUSALS if object_ or each != verbs.COMPELLING_GROUNDS)
        ),
        "words": words("The reason in your words", needed=True),
    }


def _withdraw(_found: RequestPage) -> dict[str, Any]:
    return {"reason": choose("Reason", verbs.WITHDRAWALS), "note": words("Note")}


def _answer(_found: RequestPage) -> dict[str, Any]:
    outcome = choose("What was done?", verbs.ANSWERS)
    return {
        "outcome": outcome,
        "evidence": words("Evidence", needed=True, help="What was done, and where the proof is."),
    }


def _answer_export(found: RequestPage) -> dict[str, Any]:
    how = found.export.handed_how if found.export else None
    st.caption(f"Handed out: **{how}**. The letter “your data are ready” waits in the outbox, and the clock stops.")
    return {"note": words("Note")}


def _right(found: RequestPage) -> dict[str, Any]:
    st.caption({"restrict": "The data is kept and not used until you lift it; the letter says so.",
                "opt_out": "Marketing mail is off since the request was written down; the letter says so.",
                "object": "They are not ordered by need of help and not counted in releases; the letter says so."}[found.row.kind])  # fmt: skip
    return {"words": words("Your own words in the letter"), "note": words("Note")}


def _guardian(_found: RequestPage) -> dict[str, Any]:
    st.caption(
        "Name and address as they should be; both are replaced, and the letter says that it is done. Their consent stays what it is."
    )
    return {
        "guardian_name": st.text_input("Name of the parent or guardian"),
        "guardian_email": st.text_input("E-mail of the parent or guardian"),
        "words": words("Your own words in the letter"),
    }


def _return(_found: RequestPage) -> dict[str, Any]:
    return {"reason": choose("Reason", verbs.RETURN_REASONS), "note": words("What is wrong")}


def _note(_found: RequestPage) -> dict[str, Any]:
    return {"note": words("Note", needed=True)}


def _pause(_found: RequestPage) -> dict[str, Any]:
    st.caption("The clock rests only while the person's identity is being checked.")
    return {"reason": choose("Reason", verbs.PAUSES)}


def _resume(_found: RequestPage) -> dict[str, Any]:
    return {"reason": choose("Reason", verbs.RESUMES)}


DIALOGS: dict[str, Dialog] = {
    "identity": Dialog("Record the identity check", "badge", "Record the check", _identity, verbs.record_identity),
    "ask": Dialog("Ask for proof of identity", "mail", "Put the letter into the outbox", _ask, verbs.ask_identity),
    "link": Dialog("Say who this is", "person_search", "Link the person", _link, verbs.link_subject),
    "extend": Dialog("Extend the answer", "more_time", "Extend the answer", _extend, verbs.extend_answer),
    "refuse": Dialog("Refuse the request", "block", "Refuse the request", _refuse, verbs.refuse_request),
    "withdraw": Dialog("Record a withdrawal", "undo", "Record the withdrawal", _withdraw, verbs.withdraw_request),
    "answer": Dialog("Record the answer", "task_alt", "Record the answer", _answer, verbs.answer_request),
    "answer export": Dialog(
        "Say that the person has it", "task_alt", "The person has it", _answer_export, verbs.answer_export
    ),
    "answer right": Dialog("Answer the request", "task_alt", "Answer the request", _right, verbs.answer_right),
    CORRECT_GUARDIAN: Dialog("Correct what is held", "edit", "Correct and answer", _guardian, verbs.answer_guardian),
    correcting.RETURN: Dialog("Return the correction", "undo", "Return it", _return, verbs.return_correction),
    "note": Dialog("Add a note", "edit_note", "Keep the note", _note, verbs.add_note, versioned=False),
    "pause": Dialog("Let the clock rest", "pause", "Let it rest", _pause, verbs.pause_clock),
    "resume": Dialog("Let the clock run on", "play_arrow", "Let it run", _resume, verbs.resume_clock),
}


def draw(found: RequestPage) -> None:
    """Draw whichever dialog is open."""
    for name, dialog in DIALOGS.items():
        if opened := desk.opened(name):
            _form(name, dialog, found, *opened)
    if opened := desk.opened("letter"):
        _letter(found, opened[1])
    correcting.draw(found, version=_about(found)["version"])
    for confirmation in (
        _close,
        _approve,
        _early,
        _reactivate,
        _send_back,
        _take_back,
        _refuse_closed,
        _withdraw_closed,
        _erase_guardian,
    ):
        confirmation(found)


def _form(name: str, dialog: Dialog, found: RequestPage, version: int, form_key: Any) -> None:
    @st.dialog(dialog.title, width="medium", icon=f":material/{dialog.icon}:", on_dismiss=desk.close_dialog)
    def show() -> None:
        with st.form(f"dialog_{name}", border=False, enter_to_submit=False):
            arguments = dialog.draw(found)
            desk.problem_in_dialog()
            with st.container(horizontal=True, horizontal_alignment="right"):
                kept = st.form_submit_button("Cancel", key=f"{name}_cancel")
                pressed = st.form_submit_button(dialog.button, key=f"{name}_go", type="primary")
        if kept:
            desk.close_dialog()
            st.rerun()
        if pressed:
            about = {"version": version} if dialog.versioned else {"form_key": form_key}
            if missing := incomplete(name, arguments):
                st.session_state[desk.SAID] = ("problem", missing)
                st.rerun()
            desk.answer_in_dialog(dialog.verb, request_id=found.row.id, **about, **arguments)

    show()


def incomplete(name: str, arguments: dict[str, Any]) -> str:
    """What was not chosen yet, in a sentence; core says the rest."""
    for word, sentence in (("method", "Say how the identity was checked."), ("reason", "Choose a reason."),
                           ("outcome", "Say what was done.")):  # fmt: skip
        if word in arguments and not arguments[word]:
            return sentence
    if name == "identity" and st.session_state.get("identity_outcome", "") is None:
        return "Say what came out."
    return ""


def _letter(found: RequestPage, form_key: Any) -> None:
    @st.dialog("Write a letter", width="large", icon=":material/mail:", on_dismiss=desk.close_dialog)
    def show() -> None:
        kind = st.selectbox("Letter", verbs.LETTERS_BY_HAND, key="letter_kind")
        draft = act(verbs.draft_letter, request_id=found.row.id, kind=kind)
        st.caption(f"To {draft.address}" if draft.address else "No address is known: copy it and send it by hand.")
        with st.form("dialog_letter", border=False, enter_to_submit=False):
            subject = st.text_input("Subject", value=draft.subject, key=f"letter_subject_{kind}")
            body = st.text_area("Text", value=draft.body, height=320, key=f"letter_body_{kind}")
            desk.problem_in_dialog()
            with st.container(horizontal=True, horizontal_alignment="right"):
                kept = st.form_submit_button("Cancel", key="letter_cancel")
                pressed = st.form_submit_button("Put into the outbox", key="letter_go", type="primary")
        if kept:
            desk.close_dialog()
            st.rerun()
        if pressed:
            desk.answer_in_dialog(
                verbs.write_letter, request_id=found.row.id, kind=kind, subject=subject, body=body, form_key=form_key
            )

    show()


def ask(name: str, version: int) -> None:
    """Open a dialog that needs a fresh proof of identity, on the request as it is drawn now."""
    st.session_state["danger_version"] = version
    desk.close_dialog()
    confirm.open_danger(name)


def told(receipt: Any) -> None:
    """Keep what a verb said for the next run; a plan that changed is no success."""
    st.session_state[desk.SAID] = ("problem" if receipt.what == "plan changed" else "done", receipt.sentence)


def _about(found: RequestPage) -> dict[str, Any]:
    return {"request_id": found.row.id, "version": st.session_state.get("danger_version", found.row.version)}


def _close(found: RequestPage) -> None:
    student = found.row.person == "student"
    days = found.parameters.grace_days
    consequence = (
        f"The account is closed **at once**: sign-in, tokens and marketing go off, and the student is told the date. They can"
        f" come back for **{days} days**; nothing is erased before a second person has approved the plan."
        if student
        else "A visitor has no account and no grace period: the plan goes to a second person, and the erasure follows."
    )
    confirm.danger_dialog(
        CLOSE, title=f"Close the account for {found.row.number}" if student else f"Prepare the deletion {found.row.number}",
        consequence=consequence, word=found.row.number, button="Close the account" if student else "Put the plan up",
        verb=verbs.close_account, arguments=_about(found), reasons=None, then=told, icon="lock",
        fields=(lambda: {"words": words("Your own words in the letter")}) if student else None,
    )  # fmt: skip


def _approve(found: RequestPage) -> None:
    if found.plan is None:
        return
    ends = found.grace_ends_at
    when = "As soon as the worker takes it up" if found.row.early or ends is None else f"After **{desk.instant(ends)}**"
    tables, processors = plans.reach(found.plan.document)
    closed = f" The account was closed on {desk.instant(found.account_closed_at)}." if found.account_closed_at else ""
    confirm.danger_dialog(
        APPROVE, title=f"Approve permanent deletion of {found.row.number}",
        consequence=f"{when} the worker erases this {found.row.person or 'person'} in {tables} tables and at {processors}"
        " processors. **Nobody can bring it back**, not even from a backup.",
        facts=f":material/fact_check: Plan **{plans.short(found.plan.fingerprint)}**, {plans.policy(found.plan.policy_version)}  \n"
        ":gray[:small[If the plan changes before it runs, it comes back to you and does not run.]]",
        word=found.row.number, button="Approve permanent deletion", keep="Do not approve", nothing="Nothing was approved.",
        reasons=verbs.APPROVALS, verb=verbs.approve_deletion, then=told, icon="delete_forever",
        before=f"You are the second person.{closed}",
        arguments=_about(found) | {"fingerprint": found.plan.fingerprint, "confirmation": found.row.number},
        fields=lambda: {"note": words("Note")},
    )  # fmt: skip


def _erase_guardian(found: RequestPage) -> None:
    if found.row.person != "guardian" or found.row.kind != "delete":
        return
    confirm.danger_dialog(
        ERASE_GUARDIAN, title=f"Erase the guardian of {found.row.number}",
        consequence="Name and address of this parent or guardian are erased. **Their consent ends with it**: a minor is restricted until"
        " another one is verified. A last letter tells them.",
        word=found.row.number, button="Erase the guardian", verb=verbs.answer_guardian, reasons=None, then=told, icon="delete_forever",
        arguments=_about(found) | {"confirmation": found.row.number}, before="You are the second person.",
    )  # fmt: skip


def _early(found: RequestPage) -> None:
    confirm.danger_dialog(
        EARLY, title=f"Ask for early deletion of {found.row.number}",
        consequence="This takes away the student's right to reactivate. "
        + ("You decide alone: single-officer mode is declared, and the Policy page shows it as **at risk**." if found.single_officer
           else "**Two persons** have to approve it, neither of whom filed, owns or closed this request."),
        word=found.row.number, button="Ask for early deletion", verb=verbs.ask_early, arguments=_about(found), reasons=None,
        fields=lambda: {"words": words("The student's own words", needed=True)}, then=told, icon="delete_forever",
    )  # fmt: skip


def _reactivate(found: RequestPage) -> None:
    confirm.danger_dialog(
        REACTIVATE, title=f"Reactivate the account of {found.row.number}",
        consequence="The account opens again, **everything is as it was**, and this deletion is canceled. Letters that wait"
        " are canceled; the student is told.",
        word=found.row.number, button="Reactivate the account", verb=verbs.reactivate_account, arguments=_about(found),
        reasons=verbs.REACTIVATIONS, fields=lambda: {"words": words("Your own words in the letter")}, then=told,
        icon="undo", red=False,
    )  # fmt: skip


def _send_back(found: RequestPage) -> None:
    opens = "The account opens again and **everything is as it was**; " if found.row.person == "student" else ""
    confirm.danger_dialog(
        SEND_BACK, title=f"Send the plan of {found.row.number} back",
        consequence=f"{opens}whoever put the plan up mends it and puts it up anew. The clock of the answer runs on from where it"
        " began. If it is about the wrong person, the identity is checked again.",
        word=found.row.number, button="Send the plan back", verb=verbs.return_plan, arguments=_about(found),
        reasons=tuple(verbs.RETURNS), then=told, icon="undo", red=False,
        fields=lambda: {"note": words("What is wrong", needed=True, help="For the next officer; it stays with the request."),
                        "words": words("Your own words in the letter", help="Goes out only if the closing was announced already.")},
    )  # fmt: skip


def _take_back(found: RequestPage) -> None:
    confirm.danger_dialog(
        TAKE_BACK, title=f"Take back the approval of {found.row.number}",
        consequence="The plan waits for an approval again. Nothing is erased before it is given.",
        word=found.row.number, button="Take the approval back", verb=verbs.send_back, arguments=_about(found),
        reasons=verbs.SEND_BACKS, fields=lambda: {"note": words("Note")}, then=told, icon="undo", red=False,
    )  # fmt: skip


def _refuse_closed(found: RequestPage) -> None:
    confirm.danger_dialog(
        FRESH_REFUSAL, title=f"Refuse the deletion {found.row.number}",
        consequence="The account opens again first, then the person is told why. The letter names the right to complain.",
        word=found.row.number, button="Refuse the deletion", verb=verbs.refuse_request, arguments=_about(found),
        reasons=verbs.REFUSALS, fields=lambda: {"words": words("The reason in your words", needed=True)}, then=told,
        icon="block",
    )  # fmt: skip


def _withdraw_closed(found: RequestPage) -> None:
    confirm.danger_dialog(
        FRESH_WITHDRAWAL, title=f"Record the withdrawal of {found.row.number}",
        consequence="The visitor does not want the deletion any more; nothing is erased.",
        word=found.row.number, button="Record the withdrawal", verb=verbs.withdraw_request, arguments=_about(found),
        reasons=verbs.WITHDRAWALS, fields=lambda: {"note": words("Note")}, then=told, icon="undo", red=False,
    )  # fmt: skip
