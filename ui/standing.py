"""What the screens say of restrictions and objections: how many people a list leaves out, why a record is closed, what stands.

Those who work with people learn *that* a record is restricted, so that they do not look for it in vain; why is between the person
and the privacy desk.
"""

import uuid

import streamlit as st

from core import queries
from core.privacy_actions import Staff
from core.queries import Decision
from ui import states
from ui.cached import read
from ui.tables import day, literal

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
