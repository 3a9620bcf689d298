"""What the screens say of restrictions and objections: how many people a list leaves out, why a record is closed, what stands.

Those who work with people learn *that* a record is restricted, so that they do not look for it in vain; why is between the person
and the privacy desk.
"""

import uuid

import streamlit as st

from core import privacy_actions, queries
from core.privacy_actions import Staff
from core.queries import Decision, RequestPage
from ui import desk, states
from ui.cached import read
from ui.tables import day, literal

LIFT = "announce the end"
ICONS = {"restriction": "lock_person", "objection": "front_hand", "opt_out": "unsubscribe"}
ENDED = {
    "lifted": "lifted",
    "rule does not hold any more": "the reason is gone",
    "refused": "the request was refused",
    "withdrawn": "the request was withdrawn",
    "the person wants it again": "the person wants it again",
}
LEFT_OUT_HELP = (
    "Their records are kept and not used: not shown, not exported, not written to. A privacy officer lifts a restriction; the counts of "
    "groups above still hold them."
)


def left_out(number: int, what: str) -> None:
    """Say how many people this list leaves out; nothing when there are none."""
    if number:
        verb = "is" if number == 1 else "are"
        st.caption(f":material/lock_person: {number:,} {what}{'' if number == 1 else 's'} {verb} restricted and not in this list.",
                   help=LEFT_OUT_HELP)  # fmt: skip


def objecting(number: int) -> None:
    """Say how many students object to being ordered by need of help; nothing when there are none."""
    if number:
        whose = "1 student objects" if number == 1 else f"{number:,} students object"
        st.caption(f":material/front_hand: {whose} to being ordered by need of help, and stand only in the list of the cohort.",
                   help="Clause 7 and GDPR 21: whoever objects is taught like everybody, and no reasons are worked out for them.")  # fmt: skip


def closed(staff: Staff, *, student_id: uuid.UUID | None = None, visitor_id: uuid.UUID | None = None) -> bool:
    """Draw that a record is restricted, when that is why it does not open; return whether it is so."""
    if student_id is None and visitor_id is None:
        return False
    if not read(staff, queries.hidden_by_restriction, student_id=student_id, visitor_id=visitor_id):
        return False
    states.state(
        "Restricted",
        "This record is kept and not used for now: not shown, not exported, not written to. If this person turns to you, hand their"
        " request on by their e-mail address; a privacy officer takes it from there. This attempt was logged.",
        icon="lock_person",
        key="restricted",
    )
    return True


def history(decisions: tuple[Decision, ...]) -> None:
    """Draw what stands about a person, and what stood."""
    if not decisions:
        st.caption("Nothing stands: no restriction, no objection, no opt-out.")
        return
    for each in decisions:
        stands = each.until is None
        icon = f":{'orange' if stands else 'gray'}[:material/{ICONS[each.what]}:]"
        since = f"since {day(each.since)}" if stands else f"{day(each.since)} to {day(each.until)}"
        by = f" by {literal(each.made_by)}" if each.made_by else ""
        number = f" · R-{each.request_number}" if each.request_number else ""
        end = "" if stands else f" · ended: {ENDED.get(each.end_reason or '', each.end_reason)}"
        end += f" by {literal(each.ended_by)}" if each.ended_by and not stands else ""
        words = f"**{each.words}**" if stands else each.words
        st.markdown(f"{icon} {words}  \n:gray[:small[{since}{by}{number}{end}]]")


def card(staff: Staff, found: RequestPage) -> None:
    """Draw what a request for restriction, opt-out or objection set going, and the way to end a restriction."""
    if found.row.kind not in ("restrict", "opt_out", "object") or found.person_id is None:
        return
    decisions = read(staff, queries.standing_of_request, found.row.id)
    st.subheader(
        "What stands",
        anchor=False,
        help="In force since then, for every record of this person, whatever is imported afterwards.",
    )
    with st.container(border=True):
        if decisions:
            history(decisions)
        else:
            st.caption(
                "Nothing stands yet: “Restrict at once” puts it in force."
                if found.row.kind == "restrict"
                else "Nothing stands any more."
            )
        for each in decisions:
            if (
                each.what == "restriction"
                and each.until is None
                and not found.own_record
                and found.row.closed_at is not None
            ):
                _ending(staff, each)


def _ending(staff: Staff, decision: Decision) -> None:
    """Draw how far the end of a restriction is: announced by a letter, lifted once that was sent."""
    lifting = read(staff, queries.lifting_of, decision.id)
    if lifting is None or lifting.state in ("canceled", "failed"):
        st.button("Announce its end", icon=":material/lock_open:", key="announce_end", on_click=desk.open_dialog, args=(LIFT, 0),
                  help="GDPR 18(3): the person is told before a restriction they asked for ends.")  # fmt: skip
    elif lifting.state != "sent":
        st.caption(":material/schedule_send: The letter about its end waits to be sent; then it can be lifted.")
    else:
        st.caption(f":material/mark_email_read: The person was told on {desk.instant(lifting.sent_at)}.")
        st.button("Lift the restriction", icon=":material/lock_open:", key="lift", on_click=_lift, args=(decision.id,))
    if desk.opened(LIFT):
        _announce(decision)


def _lift(restriction_id: uuid.UUID) -> None:
    desk.decide(privacy_actions.lift, done="Lifted: the data is used again.", restriction_id=restriction_id)


def _announce(decision: Decision) -> None:
    @st.dialog(
        "Announce the end of the restriction", width="medium", icon=":material/lock_open:", on_dismiss=desk.close_dialog
    )
    def show() -> None:
        st.caption("A letter waits in the outbox. The restriction stands until it was sent and you lift it.")
        with st.form("dialog_announce", border=False, enter_to_submit=False):
            reason = st.selectbox(
                "Reason", privacy_actions.LIFTED_BECAUSE, index=None, placeholder="Choose", key="lift_reason"
            )
            words = st.text_area("Your own words in the letter (optional)", height=110, key="lift_words")
            desk.problem_in_dialog()
            with st.container(horizontal=True, horizontal_alignment="right"):
                kept = st.form_submit_button("Cancel", key="announce_cancel")
                pressed = st.form_submit_button("Put the letter into the outbox", key="announce_go", type="primary")
        if kept:
            desk.close_dialog()
            st.rerun()
        if pressed:
            if not reason:
                st.session_state[desk.SAID] = ("problem", "Choose a reason.")
                st.rerun()
            desk.answer_in_dialog(
                privacy_actions.announce_lifting, restriction_id=decision.id, reason=reason, words=words or ""
            )

    show()
