"""Samples: closed requests drawn at random, with how they were kept and without anybody in them; for whoever checks the promises."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import streamlit as st

from core import privacy_actions, queries
from core.policy.machine import KIND_WORDS, STATE_WORDS, number
from core.queries import Draw, SampledRequest
from ui import desk, export, guards, printing, states
from ui.actions import act
from ui.cached import read
from ui.clock import now
from ui.tables import capitalized, day, literal

STAFF = guards.require("auditor", "privacy_officer", what="Samples")
HEADER = ("Request", "Kind", "State", "Received", "Due", "Answered", "Closed", "On time", "Approvals", "Certificate")
HELP = (
    "The order is that of SHA-256 over “seed:number”: whoever has the seed and the numbers draws the same requests again. Every draw is written "
    "down. Shown are codes and instants; no name, no id and no word of the person."
)


def draw_form(moment: datetime) -> None:
    """Draw the form that draws a sample."""
    today = moment.date()
    with st.form("draw", border=True), st.container(horizontal=True, vertical_alignment="bottom"):
        size = st.number_input("How many", min_value=1, max_value=100, value=10, width=110)
        first = st.date_input(
            "Closed from", value=today - timedelta(days=365), max_value=today, format="YYYY-MM-DD", width=150
        )
        last = st.date_input("to", value=today, max_value=today, format="YYYY-MM-DD", width=150)
        seed = st.text_input(
            "Seed", max_chars=64, width=220, placeholder="a new one is made", help=HELP, autocomplete="off"
        )
        pressed = st.form_submit_button("Draw a sample", type="primary", icon=":material/shuffle:")
    if pressed:
        made = desk.decide(
            privacy_actions.draw_sample,
            size=int(size),
            closed_from=first,
            closed_to=last,
            seed=seed,
            done="Drawn, and written down.",
        )
        if made is not None:
            st.query_params["draw"] = str(made)
        st.rerun()


def chosen(draws: Sequence[Draw]) -> Draw | None:
    """Draw the list of draws; return the one that the address names, or the newest."""
    shown = {
        "Drawn": [desk.instant(each.drawn_at) for each in draws],
        "By": [each.drawn_by for each in draws],
        "Seed": [each.seed for each in draws],
        "Closed from": [day(each.closed_from) for each in draws],
        "to": [day(each.closed_to) for each in draws],
        "Requests": [f"{each.drawn} of {each.population:,}" for each in draws],
    }
    picked = st.dataframe(shown, hide_index=True, row_height=36, height="content", on_select="rerun", selection_mode="single-row", key="draws",
                          alt=f"Table of {len(draws)} samples that were drawn.")["selection"]["rows"]  # fmt: skip
    export.columns("samples", shown, caption="Select a row to see its requests.")
    if picked:
        st.query_params["draw"] = str(draws[picked[0]].id)
        return draws[picked[0]]
    wanted = st.query_params.get("draw", "")
    return next((each for each in draws if str(each.id) == wanted), draws[0])


def cells(each: SampledRequest) -> tuple[str, ...]:
    """One request as a row."""
    return (
        number(each.number), KIND_WORDS[each.kind], STATE_WORDS[each.state], day(each.received_at), day(each.due_at), day(each.answered_at),
        day(each.closed_at), "yes" if each.on_time else "no", str(each.approvals), f"E-{each.certificate}" if each.certificate else "–",
    )  # fmt: skip


def steps(title: str, rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> None:
    """Draw one list of what happened, as a table of words."""
    if rows:
        st.markdown(f"**{title}**")
        st.table({words: [literal(told(row.get(key))) for row in rows] for key, words in columns.items()}, border="horizontal", hide_index=True,
                 alt=f"{title}: {len(rows)} lines.")  # fmt: skip


def told(value: object) -> str:
    """A cell: instants as people read them, nothing as a dash."""
    if value in (None, ""):
        return "–"
    text = str(value)
    return desk.instant(datetime.fromisoformat(text)) if text[4:5] == "-" and "T" in text else text


def request(each: SampledRequest) -> None:
    """Draw one request of the sample."""
    late = "" if each.on_time else " · :red-badge[:material/warning: late]"
    with st.expander(
        f"{number(each.number)} · {KIND_WORDS[each.kind]} · {STATE_WORDS[each.state].lower()}{late}",
        icon=":material/description:",
    ):
        how = f", {each.identity_method}" if each.identity_method else ""
        st.markdown(
            f"Received {desk.instant(each.received_at)} by {each.channel} from the {each.requester}; due {desk.instant(each.due_at)}, answered "
            f"{desk.instant(each.answered_at)}, closed {desk.instant(each.closed_at)}. Identity {each.identity}{how}. Policy of "
            f"{each.policy_version or '–'}. {capitalized(literal(each.outcome or 'no outcome recorded'))}."
        )
        steps("Moves", each.moves, {"at": "When", "from": "From", "to": "To", "by": "By"})
        steps("Clock", each.clock, {"at": "When", "what": "What", "reason": "Reason", "months": "Months"})
        steps("Letters", each.letters, {"kind": "Kind", "state": "State", "sent": "Sent"})
        steps(
            "Steps of the erasure",
            each.steps,
            {"place": "Place", "state": "State", "proven": "Proven", "why": "Not needed because"},
        )
        if each.certificate:
            st.caption(f"Certificate E-{each.certificate} · SHA-256 {each.sha256}")


def print_button(draw: Draw, found: Sequence[SampledRequest], moment: datetime) -> None:
    """Offer the sample as a page to print."""
    with st.popover("Print", icon=":material/print:"):
        st.markdown(
            "The sample as one page. It is recorded; the link works once, for you, within 15 minutes.", width=320
        )
        if st.button("Make the page", key="make_page"):
            said = f"Seed “{draw.seed}”, closed from {day(draw.closed_from)} to {day(draw.closed_to)}: {draw.drawn} of {draw.population} requests."
            content = printing.document("A sample of closed requests", said, [("Requests", HEADER, [cells(each) for each in found])], notes=(HELP,),
                                        made=moment)  # fmt: skip
            st.session_state["sample_link"] = act(privacy_actions.export_policy, name=f"sample-{draw.drawn_at:%Y-%m-%d}.html", content=content,
                                                  rows=len(found))  # fmt: skip
        if link := st.session_state.pop("sample_link", None):
            st.link_button("Open the page", f"files/{link}", type="primary", icon=":material/open_in_new:")


def page(moment: datetime) -> None:
    """Draw the form, the draws, and one of them."""
    desk.say()
    top = st.container(horizontal=True, vertical_alignment="bottom")
    with top, st.container(width="stretch"):
        st.title("Samples", anchor=False, help=HELP)
        st.caption(
            f"Closed requests drawn at random, with their evidence and nobody in them · as of {moment:%H:%M} UTC"
        )
    draw_form(moment)
    draws = read(STAFF, queries.sample_draws)
    if not draws:
        states.empty(
            "No sample was drawn yet", "Choose how many and from when, then draw one; it is written down with its seed."
        )
        return
    draw = chosen(draws)
    assert draw is not None
    found: Sequence[SampledRequest] = read(STAFF, queries.sampled_requests, uuid.UUID(str(draw.id)))
    with top:
        print_button(draw, found, moment)
    st.subheader(f"{draw.drawn} of {draw.population:,} requests", anchor=False, help=f"Seed {draw.seed}")
    if not found:
        st.caption("No request was closed in that time.")
    for each in found:
        request(each)


page(now())
