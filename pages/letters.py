"""Letters: what waits to be sent, how mail goes, and the wordings that every letter begins with."""

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
WAITING, DELIVERY, WORDINGS = "To be sent", "Delivery", "Wordings"
DAYS = 30
STATES = {
    "waiting": ("waits", "blue"),
    "later": ("later", "gray"),
    "sending": ("on its way", "blue"),
    "failed": ("not taken", "red"),
    "nobody": ("not sent", "red"),
}
# What the mail server said, by the first figure or the word that is kept of it.
ANSWERS = {
    "4": "the server could not take it for now",
    "5": "the server refused it for good",
    "no connection": "the mail server did not answer",
    "no answer": "the server fell silent after it had the text: it may have arrived",
    "no encryption": "the server offers no encryption; nothing is sent in the clear",
    "not an address": "the address is not one that mail can be sent to",
    queries.RESERVED: "the address is under a name that is kept for examples and tests: nobody has it, nothing was sent",
    "needs SMTPUTF8": "the address has letters that this server does not take",
    "cannot be written": "subject or address hold what no mail can hold",
}
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
    "subscription ended": "when a subscription has ended: the notice, with the offer of an export",
    "subscription renewed": "when it runs again after the notice",
    "subscription closing": "when the account of an ended subscription is closed",
    "subscription completion": "when such an account is erased",
} | {kind: notice.when for kind, notice in privacy_actions.OTHER_LETTERS.items()}


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
    if row.state == "failed" and row.error == queries.RESERVED:
        return STATES["nobody"]
    return STATES[row.state if row.state in ("failed", "sending") else "waiting" if row.sendable else "later"]


def said(code: str | None) -> str:
    """What an answer of the server means, with its code."""
    words = ANSWERS.get(code or "") or ANSWERS.get((code or " ")[0], "")
    return f"{words} ({code})" if words and words != code else code or ""


def one(row: LetterRow) -> None:
    """Draw a letter to be read and copied; it names a person, so showing it is recorded."""
    if row.request_id:
        act(privacy_actions.record_request_view, request_id=row.request_id)
    elif row.student_id:
        act(privacy_actions.record_view, student_id=row.student_id, purpose="letter")
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
            tried = f"Tried {row.attempts} times, last: " if row.attempts else "Not sent: "
            st.caption(f"{tried}{literal(said(row.error))}.")
        with st.container(horizontal=True, horizontal_alignment="right"):
            if row.state == "failed" and row.address and row.error != queries.RESERVED:
                st.button("Let the server try again", key="retry", on_click=desk.decide, args=(privacy_actions.retry_letter,),
                          kwargs={"letter_id": row.id}, icon=":material/refresh:")  # fmt: skip
            st.button("Cancel the letter", key="cancel", type="tertiary", on_click=finish, args=("cancel", row.id),
                      disabled=row.state == "sending")  # fmt: skip
            st.button("Mark as sent by hand", key="sent", type="primary", on_click=finish, args=("sent", row.id),
                      disabled=not row.sendable, help=None if row.sendable else f"Its day is {day(row.not_before)}.")  # fmt: skip


def finish(how: str, letter_id: uuid.UUID) -> None:
    """Record what became of a letter."""
    verb = privacy_actions.mark_sent_by_hand if how == "sent" else privacy_actions.cancel_letter
    desk.decide(verb, letter_id=letter_id)


def delivery(moment: datetime) -> None:
    """Draw how mail goes: the server, the figures of a month by kind, and the letters that came back."""
    server = read(STAFF, queries.mail_server)
    told(server, moment)
    rows = read(STAFF, queries.mail_figures, now=moment, days=DAYS)
    with st.grid(4, min_column_width=150):
        for label, value, help_text in (
            ("Waiting", sum(row.waiting for row in rows), "Mail that is to leave, letters first, then mail by rule, then notices to many. Live."),
            ("Sent", sum(row.sent for row in rows), f"What the server took in {DAYS} days, by the mail log. Live."),
            ("Came back", sum(row.bounced for row in rows), "Refused for good by the server, or reported as undelivered later"
             " (`python -m core mail bounces`)."),
            ("Not taken", sum(row.not_taken for row in rows), "Tried five times in vain; letters of requests then wait for a hand. The table counts those that were"
             " never handed over, too: their address is under a name for examples and tests."),
        ):  # fmt: skip
            st.metric(label, value, border=True, height="stretch", format="localized", help=help_text)
    if rows:
        export.columns(
            "mail", figures(rows), caption=f"By kind, in {DAYS} days · kinds for marketing do not exist here"
        )
    else:
        states.empty("No mail has left in a month", "Confirmations, letters and notices are counted here by kind.")
    came_back()


def figures(rows: list[queries.MailFigures]) -> dict[str, list[object]]:
    """Draw the figures by kind; return what is shown."""
    shown: dict[str, list[object]] = {
        "Kind": [row.kind for row in rows],
        "Waiting": [row.waiting for row in rows],
        "Sent": [row.sent for row in rows],
        "Came back": [row.bounced for row in rows],
        "Not taken": [row.not_taken + row.failed for row in rows],
    }
    st.dataframe(shown, hide_index=True, row_height=36, height="content", alt=f"Table of {len(rows)} kinds of mail.")
    return shown


def told(server: queries.MailServer, moment: datetime) -> None:
    """Say how the mail server stands."""
    if not server.configured:
        st.info("No mail server is configured: letters are sent by hand, and mail by rule waits. An admin sets `RESOCODE_SMTP_URL`.",
                icon=":material/outgoing_mail:")  # fmt: skip
    elif server.closed_until and server.closed_until > moment:
        st.warning(f"The mail server is left alone until {server.closed_until:%H:%M} UTC, in trouble since"
                   f" {desk.instant(server.closed_since)}: {literal(said(server.code))}. Nothing is lost.", icon=":material/cloud_off:")  # fmt: skip
    else:
        last = (
            f"last took a letter {desk.instant(server.last_taken_at)}"
            if server.last_taken_at
            else "has taken no letter yet"
        )
        st.caption(
            f":green[:material/check_circle:] The mail server {last} · at most {server.rate:,} a minute · from `{server.sender.replace('`', '')}`"
        )


def came_back() -> None:
    """Draw the letters of requests that came back."""
    back = read(STAFF, queries.letters_back)
    if not back:
        return
    st.subheader(
        "Letters that came back", anchor=False, help="Their address does not work: reach the person another way."
    )
    shown = {
        "Letter": [row.kind for row in back],
        "Request": [row.request or "–" for row in back],
        "Sent": [day(row.sent_at) for row in back],
        "Came back": [day(row.bounced_at) for row in back],
        "Why": [said(row.code) for row in back],
    }
    chosen = st.dataframe(shown, hide_index=True, row_height=36, height="content", on_select="rerun", selection_mode="single-row",
                          key="back", alt=f"Table of {len(back)} letters that came back.")  # fmt: skip
    export.columns("letters_back", shown, caption="Select one to open its request")
    if chosen["selection"]["rows"] and (request_id := back[chosen["selection"]["rows"][0]].request_id):
        st.switch_page(REQUEST, query_params={"id": str(request_id)})


def wordings() -> None:
    """Draw one wording to be edited, what may be filled in, and its older versions."""
    grid = st.grid(3, min_column_width=295)
    with grid.cell(column_span=2):
        kind = st.selectbox("Letter", privacy_actions.WORDINGS, key="wording", bind="query-params", width=260)
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
        known = privacy_actions.fillable(kind)
        st.table(
            {"Write": [f"`{{{name}}}`" for name in known], "For": list(known.values())},
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
    how = (
        "sent by mail"
        if read(STAFF, queries.mail_server).configured
        else "sent by hand until a mail server is configured"
    )
    st.caption(f"Privacy desk · as of {moment:%H:%M} UTC · {how}")
    asked = st.query_params.get("show", WAITING)
    views = (WAITING, DELIVERY, WORDINGS)
    shown = st.segmented_control("Show", views, required=True, key="show", label_visibility="collapsed",
                                 default=asked if asked in views else WAITING)  # fmt: skip
    st.query_params["show"] = shown or WAITING
    if shown == WORDINGS:
        if st.session_state.get(desk.SAID, ("",))[0] == "done":
            desk.say()
        wordings()
    elif shown == DELIVERY:
        delivery(moment)
    else:
        desk.say()
        outbox(moment)


page(now())
