"""Letters: what waits to be sent by hand, and the wordings that every letter begins with."""

import uuid
from datetime import datetime

import streamlit as st

from core import privacy_actions, queries
from core.queries import LetterRow
from core.settings import ROOT
from ui import desk, export, guards, states
from ui.actions import act
from ui.cached import read
from ui.clock import now
from ui.tables import day, literal

STAFF = guards.require("privacy_officer", what="Letters")
REQUEST = ROOT / "pages" / "request.py"
WAITING, WORDINGS = "To be sent", "Wordings"
STATES = {"waiting": ("waits", "blue"), "later": ("later", "gray"), "failed": ("failed", "red")}
WHEN = {
    "acknowledgement": "when you tell somebody that their request is received",
    "identity": "when you ask for a proof of identity",
    "extension": "when an answer is extended",
    "refusal": "when a request is refused",
    "closing": "when an account is closed",
    "reminder": "on days 23 and 29 of the grace period",
    "reactivated": "when an account is opened again",
    "reopened": "when a plan is sent back after the account was closed",
    "answer": "when a request is answered",
    "completion": "when an erasure is done",
}


def outbox(moment: datetime) -> None:
    """Draw the letters that wait, those whose day has come first."""
    rows = read(STAFF, queries.outbox_page, now=moment)
    if not rows:
        states.empty("No letter waits", "Letters of requests appear here until they are sent.")
        return
    shown = [state(row) for row in rows]
    place = st.container()
    shown_columns = {
        "Letter": [row.kind for row in rows],
        "Request": [row.request or "–" for row in rows],
        "State": [[word] for word, _ in shown],
        "Send on": [day(row.not_before) for row in rows],
        "Address": ["known" if row.address else "not known" for row in rows],
        "Tried": [row.attempts for row in rows],
    }
    chosen = st.dataframe(
        shown_columns,
        hide_index=True, row_height=36, height="content", on_select="rerun", selection_mode="single-row",
        key=f"outbox_{hash(tuple((row.id, row.state) for row in rows)) % 10**8}",
        column_config={"State": desk.chips("State", shown, width=100)},
        alt=f"Table of {len(rows)} letters that wait, with request, state and day.",
    )  # fmt: skip
    export.columns(
        "letters",
        shown_columns,
        caption=f"The first {len(rows)} letters, soonest first · select one to read, copy and send it",
    )
    if chosen["selection"]["rows"]:
        with place:
            one(rows[chosen["selection"]["rows"][0]])


def state(row: LetterRow) -> tuple[str, str]:
    """How a letter stands: word and color."""
    return STATES["failed" if row.state == "failed" else "waiting" if row.sendable else "later"]


def one(row: LetterRow) -> None:
    """Draw a letter to be read and copied; it names a person, so showing it is recorded."""
    if row.request_id:
        act(privacy_actions.record_request_view, request_id=row.request_id)
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.subheader(f"{row.kind.capitalize()} · {row.request or 'no request'}", anchor=False, width="stretch")
            if row.request_id and st.button(f"Open {row.request}", key="open", type="tertiary", icon=":material/arrow_forward:",
                                            icon_position="right"):  # fmt: skip
                st.switch_page(REQUEST, query_params={"id": str(row.request_id)})
        st.text(f"To {row.address or 'somebody whose address is not known'}")
        st.text(row.subject)
        st.code(row.body, language=None, wrap_lines=True)
        if row.error:
            st.caption(f"The last attempt failed: {literal(row.error)}")
        with st.container(horizontal=True, horizontal_alignment="right"):
            st.button("Cancel the letter", key="cancel", type="tertiary", on_click=finish, args=("cancel", row.id))
            st.button("Mark as sent by hand", key="sent", type="primary", on_click=finish, args=("sent", row.id),
                      disabled=not row.sendable, help=None if row.sendable else f"Its day is {day(row.not_before)}.")  # fmt: skip


def finish(how: str, letter_id: uuid.UUID) -> None:
    """Record what became of a letter."""
    verb = privacy_actions.mark_sent_by_hand if how == "sent" else privacy_actions.cancel_letter
    desk.decide(verb, letter_id=letter_id)


def wordings() -> None:
    """Draw one wording to be edited, what may be filled in, and its older versions."""
    grid = st.grid(3, min_column_width=295)
    with grid.cell(column_span=2):
        kind = st.selectbox("Letter", privacy_actions.LETTER_KINDS, key="wording", bind="query-params", width=260)
        found = wording(kind)
        written = "as it comes with the product" if found.version == 0 else f"version {found.version}"
        st.caption(f"Used {WHEN[kind]} · {written} · letters that wait already keep theirs")
        with st.form(f"wording_{kind}_{found.version}", border=True, enter_to_submit=False):
            subject = st.text_input("Subject", value=found.subject, key=f"subject_{kind}_{found.version}")
            body = st.text_area("Text", value=found.body, height=300, key=f"body_{kind}_{found.version}")
            desk.problem_in_dialog()
            with st.container(horizontal=True, horizontal_alignment="right"):
                if st.form_submit_button("Keep this wording", type="primary", key="keep_wording"):
                    desk.decide(privacy_actions.edit_wording, done="Kept. New letters use it.", kind=kind, subject=subject,
                                body=body)  # fmt: skip
                    st.rerun()
    with grid.cell():
        st.subheader("What is filled in", anchor=False)
        st.table(
            {"Write": [f"`{{{name}}}`" for name in privacy_actions.PLACEHOLDERS],
             "For": list(privacy_actions.PLACEHOLDERS.values())},
            border="horizontal", hide_index=True, alt="Table of the placeholders that a wording may hold.",
        )  # fmt: skip
        older(kind)


def wording(kind: str) -> privacy_actions.Wording:
    """The wording that counts now."""
    return read(STAFF, privacy_actions.wording, kind)


def older(kind: str) -> None:
    """List the versions that people have written."""
    rows = read(STAFF, queries.wording_versions, kind)
    if not rows:
        return
    st.subheader("Versions", anchor=False)
    for row in rows:
        with st.expander(f"Version {row.version} :gray[:small[{desk.instant(row.written_at)}]]"):
            st.text(row.subject)
            st.text(row.body)


def page(moment: datetime) -> None:
    """Draw the page."""
    st.title("Letters", anchor=False)
    st.caption(f"Privacy desk · as of {moment:%H:%M} UTC · sent by hand until a mail server is configured")
    asked = st.query_params.get("show", WAITING)
    shown = st.segmented_control("Show", (WAITING, WORDINGS), required=True, key="show", label_visibility="collapsed",
                                 default=asked if asked in (WAITING, WORDINGS) else WAITING)  # fmt: skip
    st.query_params["show"] = shown or WAITING
    if shown == WORDINGS:
        if st.session_state.get(desk.SAID, ("",))[0] == "done":
            desk.say()
        wordings()
    else:
        desk.say()
        outbox(moment)


page(now())
