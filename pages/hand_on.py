"""Hand on a request: anybody who works here writes down what they were asked for. The clock runs from then."""

import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import streamlit as st

from core import privacy_actions, queries
from core.errors import AdminError, NotFound
from core.models.requests import CHANNELS, REQUEST_KINDS
from core.privacy_actions import Filed
from core.queries import SHORTEST_SEARCH, EnrollmentFilter, VisitorFilter
from core.settings import ROOT
from ui import desk, export, guards, states
from ui.actions import act
from ui.cached import read
from ui.clock import now
from ui.tables import day, literal

STAFF = guards.require(*guards.ROLE_NAMES, what="Hand on a request")
REQUEST = ROOT / "pages" / "request.py"
SEES_STUDENTS, SEES_VISITORS = ("program_staff", "instructor", "mentor"), ("program_staff",)
STUDENT, VISITOR, SAID = "A student I can see", "A visitor I can see", "What was said"
ASKED = {
    "access": "What do you hold about me?",
    "export": "Give me my data as a file.",
    "correct": "Something about me is wrong.",
    "delete": "Delete my account, or what you hold about me.",
    "restrict": "Keep it, but do not use it for now.",
    "opt_out": "Send me no more marketing.",
    "object": "I object to what you do with my data.",
}
REQUESTERS = {
    "subject": "the person themselves",
    "parent": "a parent, in the person's name",
    "agent": "somebody else, in the person's name",
}
FIELDS = ("handed_kind", "handed_how", "handed_search_student", "handed_student", "handed_search_visitor", "handed_visitor", "handed_email", "handed_name", "handed_channel",
          "handed_day", "handed_requester", "handed_words")  # fmt: skip


def whose() -> dict[str, Any]:
    """Ask whose data it is about: a person found within one's rights, or what was said of them."""
    st.subheader("Whom is it about?", anchor=False)
    if STAFF.role not in SEES_STUDENTS:
        return said()
    ways = {STUDENT: found_student, **({VISITOR: found_visitor} if STAFF.role in SEES_VISITORS else {}), SAID: said}
    how = st.segmented_control("How to say it", list(ways), default=STUDENT, required=True, key="handed_how",
                               label_visibility="collapsed")  # fmt: skip
    return ways[how or SAID]()


def found_student() -> dict[str, Any]:
    """Find a student by a part of name or e-mail, within one's rights."""
    return found("student", lambda typed: [
        (f"{row.student} · {row.contact}", row.student_id)
        for row in read(STAFF, queries.enrollment_page, EnrollmentFilter(search=typed), sort="name").rows
    ])  # fmt: skip


def found_visitor() -> dict[str, Any]:
    """Find a visitor by a part of name or e-mail, within one's rights; the newest form first."""
    return found("visitor", lambda typed: [
        (f"{row.name} · {row.contact} · asked {day(row.asked_at)}", row.id)
        for row in read(STAFF, queries.visitor_page, VisitorFilter(search=typed), now=now()).rows
    ])  # fmt: skip


def found(kind: str, look: Callable[[str], list[tuple[str, uuid.UUID]]]) -> dict[str, Any]:
    """Draw the search and the choice among what it found."""
    typed = st.text_input("Part of their name or e-mail", key=f"handed_search_{kind}", icon=":material/search:") or ""
    if len(typed.strip()) < SHORTEST_SEARCH:
        st.caption(f"Type at least {SHORTEST_SEARCH} characters. Not found? Choose “{SAID}”.")
        return {}
    try:
        people = dict(look(typed))
    except AdminError as error:
        st.error(literal(error.sentence))
        return {}
    if not people:
        st.caption(f"No {kind} whom you can see has that in their name or e-mail. Choose “{SAID}”.")
        return {}
    chosen = st.selectbox(kind.capitalize(), list(people), index=None if len(people) > 1 else 0, key=f"handed_{kind}",
                          placeholder=f"Choose one of {len(people)}")  # fmt: skip
    return {f"{kind}_id": people[chosen]} if chosen in people else {}


def said() -> dict[str, Any]:
    """Ask for what is known: an officer finds out who it is."""
    return {
        "email": st.text_input("Their e-mail, if you know it", key="handed_email") or "",
        "name": st.text_input("Their name, as it was said", key="handed_name") or "",
    }


def how_it_came(moment: datetime) -> dict[str, Any]:
    """Ask how and when it came, and who asked."""
    st.subheader("How did it come?", anchor=False)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        channel = st.selectbox("Channel", CHANNELS, key="handed_channel", width=190)
        today = moment.date()
        received = st.date_input("Received on", value=today, max_value=today, min_value=today - timedelta(days=365),
                                 format="YYYY-MM-DD", key="handed_day", width=190,
                                 help="The day (UTC) on which the first of us had it in hand. The clock runs from then.")  # fmt: skip
    requester = st.radio("Who asked?", list(REQUESTERS), format_func=REQUESTERS.__getitem__, key="handed_requester")
    words = st.text_area("In their own words", key="handed_words", height=130,
                         placeholder="Paste the mail, or write down what was said.")  # fmt: skip
    return {
        "channel": channel,
        "received_at": min(midnight(received if isinstance(received, date) else today), moment),
        "requester": requester,
        "words": words or "",
    }


def midnight(received: date) -> datetime:
    """The beginning of a day: nobody loses hours because the time is not known."""
    return datetime.combine(received, time.min, UTC)


def form(moment: datetime) -> None:
    """Draw the form; what is wrong is said below, and nothing that was typed is lost."""
    key: uuid.UUID = st.session_state.setdefault("handed_key", uuid.uuid4())
    with st.container(width=560):
        st.subheader("What do they ask for?", anchor=False)
        kind = st.selectbox("Kind", REQUEST_KINDS, format_func=lambda kind: f"{desk.TITLES[kind]}: “{ASKED[kind]}”", index=None,
                            placeholder="Choose", key="handed_kind", label_visibility="collapsed")  # fmt: skip
        person = whose()
        how = how_it_came(moment)
        st.caption("You do not decide anything here. A privacy officer checks who asks, and answers.")
        if st.button("Hand it on", type="primary", icon=":material/send:", key="hand_on_now"):
            submit(kind, person | how, key)


def submit(kind: str | None, given: dict[str, Any], key: uuid.UUID) -> None:
    """File it, once; or say what is missing."""
    if kind is None:
        st.error("Nothing was filed. Choose what they ask for.")
        return
    try:
        receipt = act(privacy_actions.file_request, kind=kind, form_key=key, **given)
    except (AdminError, NotFound) as error:
        st.error(f"Nothing was filed. {literal(error.sentence)}")
        return
    for name in (*FIELDS, "handed_key"):
        st.session_state.pop(name, None)
    st.session_state["handed_receipt"] = (kind, receipt)
    st.rerun()


def receipt_of(kind: str, receipt: Filed) -> None:
    """Say what became of it: the number, and the day on which the answer is due."""
    with st.container(border=True, width=560):
        first = receipt.made == "already open"
        st.badge("open already" if first else "received", color="orange" if first else "green",
                 icon=":material/content_copy:" if first else ":material/check_circle:")  # fmt: skip
        st.markdown(f"#### {desk.TITLES[kind]} {receipt.number}", anchors=False)
        st.markdown(literal(receipt.sentence))
        st.caption(f"Received {day(receipt.received_at)} · the answer is due on {desk.instant(receipt.due_at)}")
        with st.container(horizontal=True):
            st.button("Hand on another", key="another", on_click=st.session_state.pop, args=("handed_receipt", None))
            if STAFF.role == "privacy_officer" and st.button(f"Open {receipt.number}", key="open_it", type="primary"):
                st.session_state.pop("handed_receipt", None)
                st.switch_page(REQUEST, query_params={"id": str(receipt.request_id)})


def earlier() -> None:
    """List what this person has handed on: that it was received, and no more."""
    rows = read(STAFF, queries.handed_on)
    st.subheader(
        "What you handed on", anchor=False, help="Its number and the day. How it goes is for the privacy officers."
    )
    if not rows:
        states.empty("Nothing yet", "What you hand on appears here with its number.")
        return
    shown_columns = {
        "Request": [row.number for row in rows],
        "Kind": [desk.KINDS[row.kind] for row in rows],
        "Received": [day(row.received_at) for row in rows],
        "Handed on": [day(row.filed_at) for row in rows],
    }
    st.dataframe(
        shown_columns,
        hide_index=True, row_height=36, height="content", alt=f"Table of the {len(rows)} requests that you handed on.",
    )  # fmt: skip
    export.columns("handed-on", shown_columns)


def page(moment: datetime) -> None:
    """Draw the form or the receipt, and what was handed on before."""
    st.title("Hand on a request", anchor=False)
    st.caption(
        "A student or visitor asks about their data · the answer is due within one month of the day on which we got it"
    )
    grid = st.grid(5, min_column_width=180)
    with grid.cell(column_span=3):
        if filed := st.session_state.get("handed_receipt"):
            receipt_of(*filed)
        else:
            form(moment)
    with grid.cell(column_span=2):
        earlier()


page(now())
