"""Holds: what may not be erased for now, why, and until when somebody looks again. Placed, reviewed and released here."""

from datetime import date, datetime, timedelta
from typing import Any

import streamlit as st

from core import privacy_actions, queries
from core.errors import AdminError
from core.privacy_actions import FoundPerson
from core.queries import Hold, HoldCounts
from ui import confirm, export, guards, holding, paging, states
from ui.actions import act
from ui.cached import read
from ui.clock import now
from ui.tables import day, literal

STAFF = guards.require("privacy_officer", what="Holds")
STANDING, RELEASED = "Standing", "Released"
SOON_DAYS = 14
HEADER = ("Hold", "Keeps", "Because of", "Case", "Owner", "Review", "Since", "Released", "Reason")
HELP = (
    "A hold keeps what the law needs (a lawsuit, an order, an audit) from being erased, and nothing else. An erasure asks for "
    "standing holds each time it works, so that a release resumes what was held."
)


def figures(counts: HoldCounts) -> None:
    """Draw how many there are."""
    with st.grid(3, min_column_width=130):
        st.metric("Standing", counts.standing, border=True, help="Holds in force. " + HELP + " Live.")
        st.metric("Past their review", counts.overdue, border=True,
                  help="Standing, and their day of review is over: find out whether they are still needed. Live.")  # fmt: skip
        st.metric(
            "Released", counts.released, border=True, help="Kept for three years after the release, as proof. Live."
        )
    if counts.overdue:
        many = "1 hold is" if counts.overdue == 1 else f"{counts.overdue:,} holds are"
        st.warning(
            f"{many} past the day of review. Select it, and say whether it is still needed.", icon=":material/schedule:"
        )


def finder() -> None:
    """Draw the way to a new hold: whose, then what, then the proof of who acts."""
    found: FoundPerson | None = st.session_state.get("hold_person")
    with st.container(border=True):
        st.subheader("Place a hold", anchor=False, help=HELP)
        if found is None:
            with st.form("hold_find", border=False):
                st.text_input("E-mail of the person", key="hold_email", max_chars=200, placeholder="The exact address",
                              help="A student, or a visitor with this address. Nothing like it is shown.")  # fmt: skip
                st.form_submit_button("Find the person", icon=":material/search:", on_click=find)
            if missing := st.session_state.get("hold_missing", ""):
                st.info(literal(missing), icon=":material/person_off:")
            return
        with st.container(horizontal=True, vertical_alignment="center"):
            st.text(f"{found.name} · {found.kind}", width="stretch")
            st.button("Somebody else", type="tertiary", icon=":material/undo:", on_click=holding.forget)
        holding.form(found)


def find() -> None:
    """Look the typed address up."""
    try:
        found = act(privacy_actions.person_to_hold, email=st.session_state.get("hold_email", ""))
    except AdminError as error:
        st.session_state["hold_missing"] = error.sentence
        return
    st.session_state["hold_person"] = found
    st.session_state["hold_missing"] = "" if found else "Nobody has exactly this address. Check it with whoever asked."


def listing(counts: HoldCounts, moment: datetime) -> None:
    """Draw the holds, and the one that is selected."""
    top = st.container(horizontal=True, vertical_alignment="center")
    with top:
        shown = st.segmented_control("Which", [STANDING, RELEASED], key="which", bind="query-params", default=STANDING, required=True,
                                     label_visibility="collapsed")  # fmt: skip
    standing = shown != RELEASED
    if not (counts.standing if standing else counts.released):
        if standing:
            states.empty(
                "Nothing is held", "No erasure is kept from anything. A hold is placed when a case needs a record."
            )
        else:
            states.empty("No hold was released", "Released holds are kept here for three years.")
        return
    afters = paging.afters_of("holds", standing)
    found = read(STAFF, queries.hold_page, standing=standing, after=afters[-1])
    with top:
        export.offer("holds", HEADER, [
            (h.number, h.scope, h.basis, h.reference, h.owner, h.review_on, h.placed_at, h.released_at, h.release_reason) for h in found.rows
        ])  # fmt: skip
    place = st.container()
    chosen = table(found.rows, moment, page=len(afters))
    footer(found, afters)
    if chosen is not None:
        with place:
            one(chosen, moment)


def table(rows: tuple[Hold, ...], moment: datetime, *, page: int) -> Hold | None:
    """Draw one page of holds; return the selected one."""
    chosen = st.dataframe(
        {
            "Hold": [hold.number for hold in rows],
            "State": [[state(hold, moment)] for hold in rows],
            "Review": [day(hold.review_on) for hold in rows],
            "About a": [hold.kind for hold in rows],
            "Keeps": [hold.scope for hold in rows],
            "Because of": [hold.basis for hold in rows],
            "Case": [hold.reference or "–" for hold in rows],
            "Owner": [hold.owner for hold in rows],
        },
        hide_index=True, row_height=36, height="content", on_select="rerun", selection_mode="single-row",
        key=f"holds_{page}_{rows[0].id}_{rows[-1].id}",
        column_config={
            "Hold": st.column_config.TextColumn(width=60),
            "State": st.column_config.MultiselectColumn(
                options=["overdue", "review soon", "stands", "released"], color=["red", "orange", "blue", "gray"], width=110
            ),
        },
        alt=f"Table of {len(rows)} holds with scope, basis, case, owner, state and day of review.",
    )  # fmt: skip
    picked = chosen["selection"]["rows"]
    return rows[picked[0]] if picked else None


def state(hold: Hold, moment: datetime) -> str:
    """The state in a word."""
    if hold.released_at is not None:
        return "released"
    if hold.overdue(moment.date()):
        return "overdue"
    return "review soon" if hold.review_on <= moment.date() + timedelta(days=SOON_DAYS) else "stands"


def footer(found: queries.HoldPage, afters: list[Any]) -> None:
    """Draw where we are, and the way on and back."""
    first = (len(afters) - 1) * queries.PAGE_SIZE + 1
    paging.turn(
        f"{first:,} to {first + len(found.rows) - 1:,} · select a row to review or release it", afters, found.after
    )


def one(hold: Hold, moment: datetime) -> None:
    """Draw a whole hold, with what can be done about it."""
    with st.container(border=True):
        st.subheader(f"{hold.number} · {hold.scope}", anchor=False)
        who(hold)
        told = [f"Because of {hold.basis}", f"placed {day(hold.placed_at)} by {hold.placed_by}", f"owner {hold.owner}",
                f"review by {day(hold.review_on)}"]  # fmt: skip
        if hold.reviewed_at:
            told.append(f"last reviewed {day(hold.reviewed_at)}")
        if hold.released_at:
            told.append(f"released {day(hold.released_at)} by {hold.released_by} ({hold.release_reason})")
        st.caption(literal(" · ".join(told)))
        st.text(f"Case: {hold.reference or '–'}")
        if hold.record:
            st.text(f"Record: {hold.record}")
        if hold.note:
            st.text(hold.note)
        if hold.released_at is None:
            decide(hold, moment)


def who(hold: Hold) -> None:
    """Draw whom it is about, once somebody asked for it; that is recorded."""
    if hold.released_at is not None:
        st.caption("Nobody needs to know any more whom it was about.")
        return
    seen: FoundPerson | None = st.session_state.get(f"held_{hold.id}")
    if seen is None:
        st.button(f"Show the {hold.kind}", icon=":material/visibility:", type="tertiary", key="show_held", on_click=show, args=(hold,),
                  help="The view is recorded.")  # fmt: skip
    else:
        st.text(f"{seen.name} · {seen.email}")


def show(hold: Hold) -> None:
    """Reveal whom a hold is about."""
    st.session_state[f"held_{hold.id}"] = act(privacy_actions.reveal_held, hold_id=hold.id)


def decide(hold: Hold, moment: datetime) -> None:
    """Draw the two things that can be done about a standing hold."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        until = st.date_input("Still needed until", moment.date() + timedelta(days=holding.REVIEW_DAYS), key=f"until_{hold.id}", format="YYYY-MM-DD",
                              min_value=moment.date() + timedelta(days=1), max_value=moment.date() + timedelta(days=holding.LONGEST_DAYS), width=180)  # fmt: skip
        st.button("Keep it", icon=":material/event_repeat:", key="keep_hold", on_click=review, args=(hold, until))
        st.space("stretch")
        if st.button(":red[:material/lock_open: Release the hold]", key="release_hold"):
            confirm.open_danger(holding.release_key(hold))
    if problem := st.session_state.pop("review_problem", ""):
        st.error(literal(problem))
    holding.release_dialog(hold)


def review(hold: Hold, until: date) -> None:
    """Record that a hold is still needed."""
    try:
        act(privacy_actions.review_hold, hold_id=hold.id, review_on=until)
        st.toast(f"{hold.number} is kept; the next review is due by {day(until)}.", icon=":material/check_circle:")
    except AdminError as error:
        st.session_state["review_problem"] = error.sentence


def page(moment: datetime) -> None:
    """Draw figures, the list, and the way to a new hold."""
    st.title("Holds", anchor=False)
    st.caption(f"What may not be erased for now · as of {moment:%H:%M} UTC")
    counts = read(STAFF, queries.hold_counts, now=moment)
    figures(counts)
    listing(counts, moment)
    finder()


page(now())
