"""Placing a hold on one person and releasing one: drawn on the page of all holds and on the page of a request.

What is typed stands on the page, under the dialog that asks who acts, so that a mistake there loses nothing.
"""

import uuid
from datetime import date, timedelta
from typing import Any

import streamlit as st

from core import privacy_actions, queries
from core.models.erasure import HOLD_BASES, RELEASE_REASONS
from core.privacy_actions import FoundPerson, HoldableRecord
from core.queries import Hold
from ui import confirm
from ui.actions import act
from ui.clock import now
from ui.tables import day, literal

RECORD, TABLE, EVERYTHING = SCOPES = ("One record", "All of a table", "Everything about the person")
PLACE, RELEASE = "place hold", "release hold"
REVIEW_DAYS, LONGEST_DAYS = 180, 366


def form(found: FoundPerson) -> None:
    """Draw what a new hold on this person needs, and the last step in front of it."""
    arguments, problem = wanted(found)
    if st.button("Place this hold", icon=":material/lock:", key="hold_place"):
        st.session_state["hold_problem"] = problem
        if not problem:
            confirm.open_danger(PLACE)
    if said := st.session_state.get("hold_problem", ""):
        st.error(literal(said))
    if not problem:
        place_dialog(arguments)


def wanted(found: FoundPerson) -> tuple[dict[str, Any], str]:
    """Draw what a new hold needs; return the verb's arguments, and what is missing."""
    tables = queries.holdable_tables(found.kind)
    left, right = st.columns(2)
    with left:
        scope = st.radio("Keeps", SCOPES, key="hold_scope",
                         help="As little as the case needs: a hold on everything stops the whole erasure.")  # fmt: skip
        table = record_id = None
        if scope != EVERYTHING:
            table = st.selectbox("Table", list(tables), key="hold_table", index=None, format_func=lambda name: tables[name],
                                 placeholder="Choose what it is in")  # fmt: skip
        if scope == RECORD and table is not None:
            record_id = picked(found, table)
    with right:
        basis = st.selectbox("Because of", HOLD_BASES, key="hold_basis", index=None, placeholder="Choose a basis")
        reference = st.text_input(
            "Case", key="hold_reference", max_chars=200, placeholder="Its number at the court or authority"
        )
        today = now().date()
        review = st.date_input("Review by", today + timedelta(days=REVIEW_DAYS), key="hold_review", format="YYYY-MM-DD",
                               min_value=today + timedelta(days=1), max_value=today + timedelta(days=LONGEST_DAYS))  # fmt: skip
        note = st.text_area(
            "Note", key="hold_note", max_chars=2000, height=68, placeholder="For the next officer (optional)"
        )
    problem = ""
    if scope != EVERYTHING and table is None:
        problem = "Choose the table that holds what has to stay."
    elif scope == RECORD and record_id is None:
        problem = "Choose the record, or hold all of the table."
    elif basis is None or not (reference or "").strip():
        problem = "A hold needs a basis and the case it belongs to."
    arguments = {
        f"{found.kind}_id": found.id, "table": table, "record_id": record_id, "basis": basis or "", "reference": reference or "",
        "note": note or "", "review_on": review, "form_key": form_key(),
    }  # fmt: skip
    return arguments, problem


def picked(found: FoundPerson, table: str) -> uuid.UUID | None:
    """Draw the choice of one record by its day; what is in it is not shown."""
    records = records_of(found, table)
    if not records:
        st.info("This person has no record there. Choose another table.", icon=":material/inbox:")
        return None
    chosen = st.selectbox("Record", records, key=f"hold_record_{table}", index=None if len(records) > 1 else 0, format_func=in_words,
                          placeholder=f"Choose one of {len(records)} by its day",
                          help="By day and the end of its id; the newest 200. What is in it is not shown.")  # fmt: skip
    return chosen.id if chosen else None


def records_of(found: FoundPerson, table: str) -> tuple[HoldableRecord, ...]:
    """The records of one table, asked for once; the view is recorded."""
    key = f"hold_records_{found.id}_{table}"
    if key not in st.session_state:
        about: dict[str, Any] = {f"{found.kind}_id": found.id}
        st.session_state[key] = act(privacy_actions.records_to_hold, table=table, **about)
    listed: tuple[HoldableRecord, ...] = st.session_state[key]
    return listed


def in_words(record: HoldableRecord) -> str:
    """A record by its day, its minute, and the end of its id."""
    when = f"{day(record.at)}, {record.at:%H:%M}" if record.at else "no day"
    return f"{when} · …{str(record.id)[-6:]}"


def place_dialog(arguments: dict[str, Any]) -> None:
    """Draw the last step in front of a new hold."""
    table = arguments["table"]
    what = (
        "**everything** about this person"
        if table is None
        else f"{'one record of' if arguments['record_id'] else 'all'} **{queries.table_words(table)}**"
    )
    review: date = arguments["review_on"]
    confirm.danger_dialog(
        PLACE,
        title="Place a legal hold",
        consequence=f"Until somebody releases it, {what} stays, with whatever it points to, also when the person asked for deletion.",
        facts=f"Because of **{arguments['basis']}**, case {literal(arguments['reference'])} · to be reviewed by **{day(review)}**",
        word="hold",
        button="Place the hold",
        verb=privacy_actions.place_hold,
        arguments=arguments,
        reasons=None,
        nothing="Nothing is held.",
        done="The hold stands.",
        then=lambda _number: forget(),
        icon="lock",
    )


def release_key(hold: Hold) -> str:
    """The key of the dialog that releases one hold."""
    return f"{RELEASE}:{hold.id}"


def release_dialog(hold: Hold) -> None:
    """Draw the last step in front of a release."""
    confirm.danger_dialog(
        release_key(hold),
        title=f"Release {hold.number}",
        consequence="What it kept **goes on by itself**: an erasure that waited for it continues, and nobody can bring back what it takes.",
        facts=f"Keeps {literal(hold.scope)} because of {literal(hold.basis)}, case {literal(hold.reference or '–')}",
        before=f"Placed by {literal(hold.placed_by)} on {day(hold.placed_at)}.",
        word=hold.number,
        button="Release the hold",
        verb=privacy_actions.release_hold,
        arguments={"hold_id": hold.id, "confirmation": hold.number},
        reasons=RELEASE_REASONS,
        keep="Keep it",
        nothing="The hold stands.",
        done=f"{hold.number} is released; what it held goes on by itself.",
        icon="lock_open",
    )


def forget() -> None:
    """Begin anew."""
    for name in [name for name in st.session_state if str(name).startswith("hold_")]:
        del st.session_state[name]


def form_key() -> uuid.UUID:
    """One key for one form, so that a repeated click is one hold."""
    made: uuid.UUID = st.session_state.setdefault("hold_form_key", uuid.uuid4())
    return made
