"""Access review: each quarter somebody confirms or removes every right. Nobody reviews their own."""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import groupby

import streamlit as st

from core import privacy_actions, queries
from core.errors import AdminError
from core.queries import Oversight, ReviewItem
from ui import confirm, guards, states
from ui.actions import act
from ui.cached import read
from ui.clock import now
from ui.tables import day, literal

STAFF = guards.require("admin", "privacy_officer", what="Access review")
TIME_TO_REVIEW = timedelta(days=14)
PEOPLE_AT_ONCE = 20
LEFT, ALL = "To decide", "All"
HELP = (
    "Lists every account that can sign in, with its role, and every assignment that is not over, as of the start. Confirm what is still "
    "needed and remove the rest: an account is disabled, an assignment ends. The policy counts a review of the last 90 days."
)


def begin(found: Oversight, moment: datetime) -> None:
    """Draw what was last, and the way to begin the next."""
    today = moment.date()
    with st.container(border=True, width=560):
        st.subheader(":material/fact_check: No review is open", anchor=False)
        if found.reviewed_at is None or found.review_due is None:
            st.markdown("There has been **no access review** yet. One is due every quarter.")
        else:
            late = found.review_due < today
            st.markdown(
                f"The last one was finished on **{day(found.reviewed_at)}**; the next has to be finished by **{day(found.review_due)}**{' :red-badge[overdue]' if late else ''}."
            )
        with st.form("start_review", border=False, enter_to_submit=False):
            due = st.date_input(
                "To be finished by", value=today + TIME_TO_REVIEW, min_value=today, format="YYYY-MM-DD", width=200
            )
            pressed = st.form_submit_button("Start the access review", type="primary")
    if pressed:
        try:
            listed = act(privacy_actions.start_access_review, due_on=due)
        except AdminError as error:
            st.error(error.sentence)
        else:
            st.session_state[confirm.DONE] = f"Started: {listed} rights to look at."
            st.rerun()


def progress(items: Sequence[ReviewItem], found: Oversight, moment: datetime) -> None:
    """Draw how far the review is, and when it has to be finished."""
    done = sum(item.verdict is not None for item in items)
    late = found.review_due is not None and found.review_due < moment.date()
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{done} of {len(items)} rights decided**", width="stretch")
            st.markdown(f":red[:material/warning: Overdue since {day(found.review_due)}]" if late else f":gray[To be finished by {day(found.review_due)}]", width="content")  # fmt: skip
        st.progress(done / len(items) if items else 1.0)


def person(name: str, items: list[ReviewItem], *, alone: bool) -> None:
    """Draw one person's rights; ``alone``: nobody else is there, so that one confirms one's own."""
    first = items[0]
    open_ones = [item for item in items if item.verdict is None]
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.text(f"{name} · {first.email}", width="stretch")
            if first.mine:
                word = "you: nobody else is there" if alone else "you: another person decides"
                st.badge(word, icon=":material/group:", color="orange" if alone else "violet")
            elif len(open_ones) > 1:
                st.button(
                    "Confirm all", key=f"all_{first.staff_id}", on_click=confirm_all, args=([i.id for i in open_ones],)
                )
        for item in items:
            right(item, alone=alone)


def right(item: ReviewItem, *, alone: bool) -> None:
    """Draw one right with its verdict, or the two buttons."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(told(item), width="stretch")
        if item.verdict:
            color = {"confirmed": "green", "removed": "red", "gone": "gray"}[item.verdict]
            by = " by themselves" if item.decided_alone else f" by {item.decided_by}" if item.decided_by else ""
            st.badge(f"{item.verdict}{literal(by)}", color=color)  # type: ignore[arg-type]
        elif alone or not item.mine:
            st.button(
                "Confirm", key=f"confirm_{item.id}", icon=":material/check:", on_click=confirm_all, args=([item.id],)
            )
        if not item.verdict and not item.mine:
            st.button(
                ":red[Remove]", key=f"remove_{item.id}", on_click=confirm.open_danger, args=(f"remove right:{item.id}",)
            )
    if not item.verdict:
        removal(item)


def told(item: ReviewItem) -> str:
    """The right in words."""
    if item.cohort:
        until = f"to {day(item.ends_on)}" if item.ends_on else "no end yet"
        return f":material/school: Learning data of **{literal(item.cohort)}**  \n:gray[:small[from {day(item.starts_on)} · {until}]]"
    now_ = f" · by now {guards.ROLE_NAMES[item.current_role].lower()}" if item.current_role != item.role else ""
    return f":material/badge: Signs in as **{guards.ROLE_NAMES[item.role].lower()}**{now_}"


def removal(item: ReviewItem) -> None:
    """Draw the dialog that removes one right."""
    account = item.cohort is None
    confirm.danger_dialog(
        f"remove right:{item.id}",
        title="Disable an account" if account else "End an assignment",
        consequence=(
            f"**{literal(item.name)}** is signed out everywhere at once and cannot sign in any more."
            if account
            else f"The learning data of **{literal(item.cohort or '')}** close to **{literal(item.name)}** at their next click."
        ),
        word=item.email,
        button="Remove this right",
        verb=privacy_actions.decide_right,
        arguments={"item_id": item.id, "verdict": "removed"},
        reasons=privacy_actions.REMOVE_REASONS,
        keep="Keep it",
        nothing="Nothing was removed.",
        done="The right is removed.",
        icon="person_off" if account else "event_busy",
    )


def confirm_all(items: list[uuid.UUID]) -> None:
    """Confirm rights, each with its own line in the audit."""
    over = False
    for item in items:
        try:
            over = act(privacy_actions.decide_right, item_id=item, verdict="confirmed")
        except AdminError as error:
            st.session_state[confirm.DONE] = error.sentence
            return
    st.session_state[confirm.DONE] = "Confirmed. The access review is finished." if over else "Confirmed."


def people(items: Sequence[ReviewItem], *, alone: bool) -> None:
    """Draw the persons, as many as a screen carries."""
    left = sum(item.verdict is None for item in items)
    with st.container(horizontal=True, vertical_alignment="center"):
        view = st.segmented_control("View", [LEFT, ALL], key="view", bind="query-params", default=LEFT, required=True,
                                    format_func=lambda v: f"{v} {left if v == LEFT else len(items)}", label_visibility="collapsed")  # fmt: skip
    by_person = [list(rights) for _, rights in groupby(items, key=lambda item: item.staff_id)]
    shown = [rights for rights in by_person if view == ALL or any(item.verdict is None for item in rights)]
    for rights in shown[:PEOPLE_AT_ONCE]:
        person(rights[0].name, rights, alone=alone)
    if len(shown) > PEOPLE_AT_ONCE:
        st.caption(f"{PEOPLE_AT_ONCE} of {len(shown)} people; the others follow as these are decided.")


def page(moment: datetime) -> None:
    """Draw the page."""
    st.title("Access review", anchor=False, help=HELP)
    st.caption(f"Every quarter, every right · nobody reviews their own · as of {moment:%H:%M} UTC")
    found = read(STAFF, queries.oversight, now=moment)
    if not found.review_open:
        begin(found, moment)
        return
    items = read(STAFF, queries.review_items, now=moment)
    progress(items, found, moment)
    if found.reviews_alone:
        st.warning(
            "You are the only admin and there is no privacy officer: you confirm your own rights, and the review says so to "
            "auditors. It is better to invite a second person.",
            icon=":material/group_off:",
        )
    if items:
        people(items, alone=found.reviews_alone)
    else:
        states.empty("Nothing to review", "Nobody had a right when the review began.")


page(now())
