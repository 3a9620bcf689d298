"""Consent: whose age or guardian's consent needs somebody today; one case; letters to everybody who is silent."""

import uuid
from datetime import datetime, timedelta
from typing import Any

import streamlit as st

from core import privacy_actions, queries
from core.errors import AdminError
from core.queries import CONSENT_VIEWS, ConsentCounts, ConsentRow
from core.settings import ROOT
from ui import confirm, consenting, desk, export, guards, paging, states
from ui.actions import act
from ui.cached import read
from ui.clock import now
from ui.tables import day, literal

STAFF = guards.require("privacy_officer", what="Consent")
HEADER = ("Case", "What is needed", "Consent", "Since")
HELP = (
    "Nobody below 16, and a guardian's consent below 18 (clause 9). A minor is restricted until another officer than the one who "
    "entered it has verified the consent. Names show on demand; every look is recorded."
)
NOTHING = {
    "to do": ("Nothing is to be done", "No consent waits to be verified or asked for, and no guardian is silent."),
    "waiting": ("Nobody is waited for", "Whoever was asked appears here until they answer, and whoever came of age."),
    "lapsing": ("Nobody turns 18 soon", "Verified consent that ends within 30 days appears here."),
    "not asked": (
        "Everybody has declared or was asked",
        "Students whose age is not known and who were not asked appear here.",
    ),
    "verified": (
        "No consent is verified yet",
        "Minors whose guardian's consent is verified appear here until they are 18.",
    ),
}
ASK, REMIND = "ask ages", "remind silent"


def figures(counts: ConsentCounts) -> None:
    """Draw the key figures."""
    verify = counts.of("verify")
    with st.grid(4, min_column_width=190):
        st.metric(
            "To verify", str(verify), f"{counts.mine_to_verify} for you to verify", delta_arrow="off",
            delta_color="violet" if counts.mine_to_verify else "off", border=True, height="stretch",
            help="Entered by one officer; another one verifies or refuses it. Live.",
        )  # fmt: skip
        st.metric("Minors without consent", str(counts.of("verify", "missing", "silent", "requested")), border=True, height="stretch",
                  help="Students below 18 whose guardian's consent is not verified; all of them are restricted. Live.")  # fmt: skip
        st.metric("Silent guardians", str(counts.of("silent")), border=True, height="stretch",
                  help="Asked, or reminded, more than 7 days ago and no answer. Live.")  # fmt: skip
        st.metric("Age not declared", str(counts.of("not asked", "asked", "not answered")), f"{counts.of('not answered')} after the deadline",
                  delta_arrow="off", delta_color="off", border=True, height="stretch",
                  help="Students without a yes to “18 or over?” or a birth date. Restricted only after the deadline of the letter. Live, counted up to 1,000.")  # fmt: skip
    if below := counts.of("below"):
        st.error(f"{below} student{'s are' if below.count > 1 else ' is'} below the minimum age. The worker closes and erases these accounts;"
                 " if a date is wrong, record the right one at once.", icon=":material/warning:")  # fmt: skip


def chosen_view(counts: ConsentCounts) -> str:
    """Draw the segments with their counts; the choice stands in the address."""
    words = {
        "to do": "To do",
        "waiting": "Waiting",
        "lapsing": "18 soon",
        "not asked": "Not asked",
        "verified": "Verified",
    }
    labels = {view: f"{words[view]} {counts.of(*needs)}" for view, needs in CONSENT_VIEWS.items()}
    asked = st.query_params.get("view", "")
    view = st.segmented_control("Which cases", list(labels), format_func=labels.__getitem__, required=True, key="view",
                                default=asked if asked in labels else "to do", label_visibility="collapsed")  # fmt: skip
    st.query_params["view"] = view or "to do"
    return view or "to do"


def listing(view: str, moment: datetime) -> tuple[ConsentRow, ...]:
    """Draw one page of cases, and above it the one that is selected or named."""
    afters = paging.afters_of("consent", view)
    found = read(STAFF, queries.consent_page, view, now=moment, after=afters[-1])
    place = st.container()
    chosen = table(found.rows, page=len(afters)) if found.rows else None
    if found.rows:
        footer(found, afters)
    else:
        states.empty(*NOTHING[view])
    with place:
        one(chosen.student_id if chosen else named(), moment)
    return found.rows


def table(rows: tuple[ConsentRow, ...], *, page: int) -> ConsentRow | None:
    """Draw the rows; return the one that is selected."""
    needs = [consenting.NEEDS[row.need][:2] for row in rows]
    kept = [consenting.STATES[row.state][:2] for row in rows]
    chosen = st.dataframe(
        {
            "Case": [row.number for row in rows],
            "What is needed": [[word] for word, _ in needs],
            "Consent": [[word] if row.state != "not needed" else [] for row, (word, _) in zip(rows, kept, strict=True)],
            "Since": [day(row.since) for row in rows],
            "For you": ["no, you entered it" if row.mine else "yes" if row.need in ("verify", "missing", "silent") else "–" for row in rows],
        },
        hide_index=True, row_height=36, height="content", on_select="rerun", selection_mode="single-row",
        key=f"cases_{page}_{hash(tuple((row.student_id, row.state, row.need) for row in rows)) % 10**8}",
        column_config={
            "Case": st.column_config.TextColumn(width=90),
            "What is needed": desk.chips("What is needed", needs, width=190),
            "Consent": desk.chips("Consent", kept, width=150),
        },
        alt=f"Table of {len(rows)} cases with what is needed, state of consent and since when.",
    )  # fmt: skip
    picked = chosen["selection"]["rows"]
    return rows[picked[0]] if picked else None


def footer(found: queries.ConsentPage, afters: list[Any]) -> None:
    """Draw where we are, and the way on and back."""
    first = (len(afters) - 1) * queries.PAGE_SIZE + 1
    paging.turn(
        f"{first:,} to {first + len(found.rows) - 1:,}, most urgent first · select a row to see to it",
        afters,
        found.after,
    )


def named() -> uuid.UUID | None:
    """The case that the address or the finder names."""
    try:
        return uuid.UUID(st.query_params.get("id", ""))
    except ValueError:
        return None


def one(student_id: uuid.UUID | None, moment: datetime) -> None:
    """Draw the selected case."""
    if student_id is None:
        return
    case = read(STAFF, queries.consent_case, student_id, now=moment)
    if case is None:
        st.info("There is no such case, or it is not open to you.", icon=":material/person_off:")
        return
    consenting.card(case, moment, alone=read(STAFF, queries.decides_alone))


def finder() -> None:
    """Draw the way to the case of somebody who wrote or called."""
    with st.container(border=True, height="stretch"):
        st.subheader(
            "Record an age", anchor=False, help="Of a student who wrote or called: find them by their exact address."
        )
        with st.form("consent_find", border=False):
            st.text_input("E-mail of the student, or of their guardian", key="consent_email", max_chars=200, placeholder="The exact address",
                          autocomplete="off", help="Nothing like it is shown. The view is recorded.")  # fmt: skip
            st.form_submit_button("Find the case", icon=":material/search:", on_click=find)
        if missing := st.session_state.get("consent_missing", ""):
            st.info(literal(missing), icon=":material/person_off:")


def find() -> None:
    """Look the typed address up, and open the case."""
    try:
        found = act(privacy_actions.find_consent, email=st.session_state.get("consent_email", ""))
    except AdminError as error:
        st.session_state["consent_missing"] = error.sentence
        return
    st.session_state["consent_missing"] = "" if found else "No student has exactly this address."
    if found:
        st.query_params["id"] = str(found.id)
        st.session_state[f"consent_person_{found.id}"] = found


NOTICES = ROOT / "pages" / "notices.py"
WAYS = {"mail": "By mail, each of them", "platform": "On the platform, after signing in (you record where it stands)"}


def many(moment: datetime) -> None:
    """Draw the letters to many: whom they would reach, and the last orders."""
    ask = read(STAFF, queries.people_to_write_to, ("not asked",), now=moment)
    remind = read(STAFF, queries.people_to_write_to, privacy_actions.TO_REMIND, now=moment)
    with st.container(border=True, height="stretch"):
        st.subheader("Letters to many", anchor=False, help="The worker writes them; nobody gets two within a week.")
        with st.container(horizontal=True):
            if st.button(f"Remind {remind}", key="remind", icon=":material/notifications:", disabled=not remind,
                         help="Guardians and students who have not answered for a week. Once a day at most."):  # fmt: skip
                confirm.open_danger(REMIND)
            if st.button(f"Ask {ask} for their age", key="ask_ages", icon=":material/cake:", disabled=not ask,
                         help="Students who have not declared their age and were never asked."):  # fmt: skip
                confirm.open_danger(ASK)
        for order in read(STAFF, queries.consent_rounds):
            what = "Asked for the age" if order.kind == "ask ages" else "Reminded"
            by = f", to be answered by {day(consenting.last_day(order.answer_by))}" if order.answer_by else ""
            said = f"{what}: {order.people:,} on {day(order.begun_at)} by {order.begun_by}{by}"
            if order.campaign_id is None:
                progress = "" if order.done_at else f", {order.written:,} written so far"
                st.caption(literal(said + progress))
                continue
            reached = f", {order.written:,} were told" if order.done_at else ", on its way"
            with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                st.caption(literal(said + reached), width="stretch")
                if st.button("Whom it reached", key=f"notice_{order.campaign_id}", type="tertiary"):
                    st.switch_page(NOTICES, query_params={"id": str(order.campaign_id)})
    dialogs(moment)


def everybody(moment: datetime, needs: tuple[str, ...]) -> int:
    """How many people a letter would reach, counted to the end: it has to be typed."""
    return read(STAFF, queries.people_to_write_to, needs, now=moment, cap=None).count


def dialogs(moment: datetime) -> None:
    """Draw the dialog that is open; only then everybody is counted."""
    ask = everybody(moment, ("not asked",)) if confirm.is_open(ASK) else 0
    remind = everybody(moment, privacy_actions.TO_REMIND) if confirm.is_open(REMIND) else 0

    def until() -> dict[str, Any]:
        first, last = (moment.date() + timedelta(days=days) for days in privacy_actions.ANSWER_DAYS)
        answer_by = st.date_input("To be answered by", moment.date() + timedelta(days=30), min_value=first, max_value=last,
                                  format="YYYY-MM-DD", width=200)  # fmt: skip
        channel = st.radio("How they are asked", list(WAYS), format_func=WAYS.__getitem__, key="ask_channel")
        return {"answer_by": answer_by, "channel": channel}

    confirm.danger_dialog(
        ASK, title=f"Ask {ask:,} for their age", verb=privacy_actions.ask_ages, arguments={"confirmation": str(ask)}, fields=until,
        consequence="Each of them is asked “18 or over?”. **Whoever was told and has not answered by the day is restricted** from then on,"
        " until they answer. Whoever cannot be reached a week before it is not restricted, and can be asked again.",
        word=str(ask), reasons=None, button="Ask them", keep="Do not ask", nothing="Nobody was asked.",
        done="Begun. Notices says whom it reached.", icon="outgoing_mail",
    )  # fmt: skip
    confirm.danger_dialog(
        REMIND, title=f"Remind {remind:,}", verb=privacy_actions.remind_silent, arguments={"confirmation": str(remind)},
        consequence="Guardians and students who have not answered for a week get one more letter. Nobody gets another one within a week.",
        word=str(remind), reasons=None, button="Order the reminders", keep="Do not remind", nothing="Nobody was reminded.",
        done="Ordered. The worker writes the reminders.", icon="notifications", red=False,
    )  # fmt: skip


def page(moment: datetime) -> None:
    """Draw the figures, the cases, the selected one, and what is done for many."""
    top = st.container(horizontal=True, vertical_alignment="bottom")
    with top, st.container():
        st.title("Consent", anchor=False, help=HELP)
        st.caption(f"Ages, and guardians' consent below 18 · as of {moment:%H:%M} UTC")
    desk.say()
    counts = read(STAFF, queries.consent_counts, now=moment)
    figures(counts)
    rows = listing(chosen_view(counts), moment)
    with st.grid(2, min_column_width=295):
        finder()
        many(moment)
    with top:
        export.offer("consent", HEADER, [
            (row.number, consenting.NEEDS[row.need][0], consenting.STATES[row.state][0], row.since) for row in rows
        ], note="The cases of this page, without persons and ages")  # fmt: skip


page(now())
