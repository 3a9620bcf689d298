"""Manual steps: what people have to do at processors that nobody connected; done by one person, confirmed by another."""

import uuid
from datetime import datetime

import streamlit as st

from core import queries
from core.queries import Step, StepCounts
from core.settings import ROOT
from ui import by_hand, desk, export, guards, paging, states
from ui.cached import read
from ui.clock import now
from ui.tables import day

STAFF = guards.require("privacy_officer", what="Manual steps")
REQUEST = ROOT / "pages" / "request.py"
HEADER = ("Step", "Processor", "State", "Due", "Request", "About a", "Seen to by", "Attested by", "Confirmed by")
HELP = (
    "A processor that the policy names and nobody connected is never skipped: a person does its part there, attests it with "
    "evidence, and a second one confirms it. An erasure waits for it."
)
NOTHING = {
    "to do": (
        "Nothing is to be done by hand",
        "A step appears here when a decision has to follow at a processor that is not connected.",
    ),
    "to confirm": ("No step waits for a second person", "Whatever one officer attests appears here for another one."),
    "done": ("No step is confirmed yet", "Confirmed steps stay here for three years, as proof."),
}


def figures(counts: StepCounts) -> None:
    """Draw the key figures."""
    with st.grid(3, min_column_width=130):
        st.metric(
            f"{':red[:material/warning:] ' if counts.overdue else ''}Overdue", counts.overdue, border=True, height="stretch",
            help="Steps that are not confirmed although their day, 14 days after they were asked for, is past. Live.",
        )  # fmt: skip
        st.metric("To do", counts.to_do, border=True, height="stretch", help=HELP + " Live.")
        st.metric(
            "Waiting for a second person", counts.to_confirm, f"{counts.mine_to_confirm} for you to confirm",
            delta_arrow="off", delta_color="violet" if counts.mine_to_confirm else "off", border=True, height="stretch",
            help="Attested by one officer, not yet confirmed by another. Live.",
        )  # fmt: skip


def chosen_view(counts: StepCounts) -> str:
    """Draw the segments with their counts; the choice stands in the address."""
    labels = {
        "to do": f"To do {counts.to_do}",
        "to confirm": f"To confirm {counts.to_confirm}",
        "done": f"Done {counts.done}",
    }
    asked = st.query_params.get("view", "")
    first = asked if asked in labels else "to confirm" if counts.mine_to_confirm and not counts.to_do else "to do"
    view = st.segmented_control("Which steps", list(labels), format_func=labels.__getitem__, required=True, key="view",
                                default=first, label_visibility="collapsed")  # fmt: skip
    st.query_params["view"] = view or "to do"
    return view or "to do"


def listing(view: str, moment: datetime) -> tuple[Step, ...]:
    """Draw one page of steps, and above it the one that is selected."""
    afters = paging.afters_of("steps", view)
    found = read(STAFF, queries.step_page, view, after=afters[-1])
    place = st.container()
    if not found.rows:
        if step := named():
            with place:
                one(step, moment)
        states.empty(*NOTHING[view])
        return ()
    chosen = table(found.rows, moment, page=len(afters))
    first = (len(afters) - 1) * queries.PAGE_SIZE + 1
    order = "newest first" if view == "done" else "due first"
    paging.turn(
        f"{first:,} to {first + len(found.rows) - 1:,}, {order} · select a row to see to it", afters, found.after
    )
    if chosen := chosen or named():
        with place:
            one(chosen, moment)
    return found.rows


def table(rows: tuple[Step, ...], moment: datetime, *, page: int) -> Step | None:
    """Draw the rows; return the one that is selected."""
    shown = [by_hand.state_of(step, moment)[:2] for step in rows]
    key = f"steps_{page}_{hash(tuple((step.id, step.state) for step in rows)) % 10**8}"
    chosen = st.dataframe(
        {
            "Step": [step.title for step in rows],
            "State": [[word] for word, _ in shown],
            "Due": [day(step.due_on) for step in rows],
            "Request": [step.request or "–" for step in rows],
            "About a": [step.person or "–" for step in rows],
            "Seen to by": [step.owner or "nobody" for step in rows],
            "Attested by": ["you" if step.mine else step.attested_by or "–" for step in rows],
        },
        hide_index=True, row_height=36, height="content", on_select="rerun", selection_mode="single-row", key=key,
        column_config={"State": desk.chips("State", shown, width=150)},
        alt=f"Table of {len(rows)} manual steps with processor, state, due date, request and who saw to them.",
    )  # fmt: skip
    picked = chosen["selection"]["rows"]
    return rows[picked[0]] if picked else None


def one(step: Step, moment: datetime) -> None:
    """Draw the selected step, and the way to its request."""
    if by_hand.card(step, moment, alone=read(STAFF, queries.decides_alone)):
        st.switch_page(REQUEST, query_params={"id": str(step.request_id)})


def named() -> Step | None:
    """The step that the address names: another page led to it."""
    try:
        return read(STAFF, queries.manual_step, uuid.UUID(st.query_params.get("id", "")))
    except ValueError:
        return None


def page(moment: datetime) -> None:
    """Draw the figures, the steps, and the selected one."""
    top = st.container(horizontal=True, vertical_alignment="bottom")
    with top, st.container():
        st.title("Manual steps", anchor=False, help=HELP)
        st.caption(f"What people do at processors that are not connected · as of {moment:%H:%M} UTC")
    desk.say()
    counts = read(STAFF, queries.step_counts, now=moment)
    figures(counts)
    rows = listing(chosen_view(counts), moment)
    with top:
        export.offer("manual_steps", HEADER, [
            (step.title, step.processor, step.state, step.due_on, step.request, step.person, step.owner, step.attested_by,
             step.confirmed_by) for step in rows
        ], note="The steps of this page, without persons and evidence")  # fmt: skip


page(now())
