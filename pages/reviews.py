"""Reviews: what waits for a review in one's cohorts, oldest first; where the work is; who takes it. Written on the platform."""

import uuid
from datetime import datetime

import streamlit as st

from core import privacy_actions, queries
from core.queries import PAGE_REVIEWS, ReviewCounts, ReviewCursor, ReviewPage, TaughtCohort, WaitingReview
from core.words import isolated
from ui import export, filters, guards, learning, links, states
from ui.actions import act
from ui.cached import read
from ui.clock import now
from ui.learning import many
from ui.tables import day

STAFF = guards.require("instructor", "mentor", what="Reviews")
ALL = "All cohorts"
WHOSE = {"all": "All", "mine": "Mine", "free": "Free"}
HELP = (
    "Handed in until now and not reviewed, by students who did not withdraw. Take one so that nobody else begins it too; after "
    "three days somebody else may take it over. The review itself is written on the platform."
)


def page(moment: datetime) -> None:
    """Draw the queue and, beside it, the submission that is selected."""
    learning.say()
    cohorts = read(STAFF, queries.taught_cohorts, now=moment)
    top = st.container(horizontal=True, vertical_alignment="bottom")
    with top, st.container():
        st.title("Reviews", anchor=False)
        cohort = chosen_cohort(cohorts)
        if cohort is None and not cohorts:
            states.empty("No cohort is assigned to you", learning.NO_COHORT)
            return
        if cohort == "closed":
            return
        assert not isinstance(cohort, str)
        counts = read(STAFF, queries.review_counts, now=moment, cohort_id=cohort.id if cohort else None)
        st.caption(f"{scope(cohort, cohorts)} · {written(counts)} · as of {moment:%H:%M} UTC")
    with st.container(horizontal=True, vertical_alignment="center"):
        cohort_box(cohorts)
        whose = whose_box(counts)
    if not counts.all:
        states.empty(
            "Nothing waits for a review",
            "Everything handed in so far is reviewed. New submissions appear here at once.",
        )
        return
    view = (cohort.id if cohort else None, whose)
    cursors = cursors_of(view)
    with states.loading(height=400):
        found = read(STAFF, queries.review_page, now=moment, cohort_id=view[0], whose=whose, after=cursors[-1])
    with top:
        export.offer("reviews", *exported(found, moment))
    if not found.rows:
        states.nothing_found(*NOTHING[whose], clear=clear)
        return
    queue(found, counts, whose, cursors, moment)


NOTHING = {
    "all": ("No submission waits any more", "They were reviewed meanwhile."),
    "mine": ("You have taken none", "Take a submission from the queue, so that nobody else begins it too."),
    "free": ("Everything is taken", "Each waiting submission has somebody who reviews it."),
}


def chosen_cohort(cohorts: tuple[TaughtCohort, ...]) -> TaughtCohort | str | None:
    """The cohort of the address; None for all of them, "closed" (said and recorded) for one that is not open."""
    code = st.query_params.get("cohort")
    known = {cohort.code: cohort for cohort in cohorts}
    if not code:
        st.session_state["review_cohort"] = ALL
        return None
    if code not in known:
        learning.closed_cohort(STAFF, code)
        return "closed"
    st.session_state["review_cohort"] = code
    return known[code]


def cohort_box(cohorts: tuple[TaughtCohort, ...]) -> None:
    """Draw the choice of a cohort."""
    told = {ALL: ALL} | {cohort.code: learning.cohort_label(cohort) for cohort in cohorts}
    st.selectbox(
        "Cohort",
        list(told),
        format_func=told.__getitem__,
        key="review_cohort",
        on_change=keep_cohort,
        width=260,
        label_visibility="collapsed",
    )


def keep_cohort() -> None:
    """Put the chosen cohort into the address."""
    code = st.session_state["review_cohort"]
    if code == ALL:
        st.query_params.pop("cohort", None)
    else:
        st.query_params["cohort"] = code


def whose_box(counts: ReviewCounts) -> str:
    """Draw the choice of all, mine or free, with counts."""
    numbers = {"all": counts.all, "mine": counts.mine, "free": counts.free}
    words = {code: f"{name} {numbers[code]:,}" for code, name in WHOSE.items()}
    return filters.segments("Whose", words, key="whose", first="all")


def clear() -> None:
    """Show all again."""
    st.session_state["whose"] = "all"
    st.query_params.pop("whose", None)


def scope(cohort: TaughtCohort | None, cohorts: tuple[TaughtCohort, ...]) -> str:
    """Whose submissions these are."""
    return learning.plain(learning.cohort_label(cohort)) if cohort else f"Your {many(len(cohorts), 'cohort')}"


def written(counts: ReviewCounts) -> str:
    """How many reviews the last days brought."""
    return f"{counts.reviewed:,} reviewed in the last 7 days, {counts.reviewed_before:,} in the week before"


def queue(
    found: ReviewPage, counts: ReviewCounts, whose: str, cursors: list[ReviewCursor | None], moment: datetime
) -> None:
    """Draw one page of the queue left, the selected submission right."""
    names = read(STAFF, queries.teachers)
    grid = st.grid(3, min_column_width=295)
    with grid.cell(column_span=2):
        st.subheader(f"Waiting: {counts.all:,}", anchor=False, help=HELP)
        row = table(found.rows, names, moment)
        footer(found, {"all": counts.all, "mine": counts.mine, "free": counts.free}[whose], cursors)
    with grid.cell():
        if row is None:
            st.subheader("Submission", anchor=False)
            st.caption("Select a row to see the work and to take its review.")
        else:
            submission(row, names, moment)


def table(rows: tuple[WaitingReview, ...], names: dict[uuid.UUID, str], moment: datetime) -> WaitingReview | None:
    """Draw the rows; return the one that is selected."""
    late = {
        f"{days_of(row, moment)} d": "red"
        if days_of(row, moment) >= 7
        else "orange"
        if days_of(row, moment) >= 3
        else "gray"
        for row in rows
    }
    chosen = st.dataframe(
        {
            "Student": [row.student for row in rows],
            "Cohort": [row.cohort for row in rows],
            "Module": [row.module for row in rows],
            "Try": [row.attempt for row in rows],
            "Waits": [[f"{days_of(row, moment)} d"] for row in rows],
            "Work": [row.link for row in rows],
            "Taken by": [taker(row, names) for row in rows],
            **links.column([row.platform_link for row in rows]),
        },
        hide_index=True, row_height=36, height="content", on_select="rerun", selection_mode="single-row",
        placeholder="",
        key=f"reviews_{hash(tuple(row.id for row in rows)) % 10**8}",
        column_config={
            "Waits": st.column_config.MultiselectColumn(options=list(late), color=list(late.values()), width=70),
            "Try": st.column_config.NumberColumn(width=45, help="Which attempt it is."),
            "Work": st.column_config.LinkColumn(display_text="Open", width=70, help="The student's own link; shown when it leads to the web."),
            **links.config(),
        },
        alt=f"Table of {many(len(rows), 'submission')} that wait for a review, oldest first.",
    )  # fmt: skip
    picked = chosen["selection"]["rows"]
    return rows[picked[0]] if picked and picked[0] < len(rows) else None


def taker(row: WaitingReview, names: dict[uuid.UUID, str]) -> str:
    """Who has it."""
    if row.taker_id is None:
        return ""
    return "you" if row.taker_id == STAFF.id else names.get(row.taker_id, "a colleague")


def days_of(row: WaitingReview, moment: datetime) -> int:
    """How long it waits, in whole days."""
    return (moment - row.submitted_at).days


def submission(row: WaitingReview, names: dict[uuid.UUID, str], moment: datetime) -> None:
    """Draw one submission: whose, where, who has it, and the buttons. Recorded as a view of the student."""
    act(privacy_actions.record_view, student_id=row.student_id, purpose="reviews")
    st.subheader("Submission", anchor=False)
    with st.container(border=True, gap="small"):
        st.text(isolated(row.student))
        st.text(f"{isolated(row.module)} · {isolated(row.cohort)}")
        st.caption(
            f"Attempt {row.attempt} · handed in {day(row.submitted_at)}, {row.submitted_at:%H:%M} UTC · this view is logged"
        )
        work(row)
        claim(row, names, moment)


def work(row: WaitingReview) -> None:
    """Draw the way to the work, and where it leads."""
    if row.link:
        st.text(row.link)
        st.link_button("Open the work", row.link, type="primary", icon=":material/open_in_new:")
        st.caption("The link was given by the student and leads to another site.")
    elif row.odd_link:
        st.warning(
            "The link of this submission does not lead to a web page, so it is not shown. Ask the student for another one."
        )
    else:
        st.caption("The student gave no link.")
    links.button(row.platform_link)


def claim(row: WaitingReview, names: dict[uuid.UUID, str], moment: datetime) -> None:
    """Draw who has the review, and the button that takes it or gives it back."""
    if row.taker_id == STAFF.id and row.taken_at:
        st.badge(f"Yours since {day(row.taken_at)}", icon=":material/check_circle:", color="green")
        if st.button("Give it back", icon=":material/undo:", key="give_back"):
            learning.did(privacy_actions.give_review_back, "Free for others again.", submission_id=row.id)
        return
    if row.taker_id and row.taken_at:
        since = many((moment - row.taken_at).days, "day")
        st.badge("Taken", icon=":material/group:", color="violet")
        st.text(f"{taker(row, names)}, {since} ago")
        if (moment - row.taken_at).days < 3:
            return
        if st.button("Take it over", icon=":material/front_hand:", key="take"):
            learning.did(privacy_actions.take_review, "The review is yours now.", submission_id=row.id)
    elif st.button("Take this review", icon=":material/front_hand:", key="take"):
        learning.did(privacy_actions.take_review, "The review is yours.", submission_id=row.id)


def cursors_of(view: object) -> list[ReviewCursor | None]:
    """The cursors of the pages seen so far; another view begins at its first page."""
    if st.session_state.get("reviews_view") != view:
        st.session_state["reviews_view"], st.session_state["reviews_cursors"] = view, [None]
    cursors: list[ReviewCursor | None] = st.session_state["reviews_cursors"]
    return cursors


def turn_back() -> None:
    """Go to the page before."""
    st.session_state["reviews_cursors"].pop()


def footer(found: ReviewPage, whole: int, cursors: list[ReviewCursor | None]) -> None:
    """Draw where we are, and the way on and back; nothing for a single page."""
    if len(cursors) == 1 and found.next is None:
        return
    first = (len(cursors) - 1) * PAGE_REVIEWS + 1
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(f"{first:,} to {first + len(found.rows) - 1:,} of {whole:,}", width="stretch")
        if len(cursors) > 1 or found.next is not None:
            st.button("Previous", icon=":material/chevron_left:", disabled=len(cursors) == 1, on_click=turn_back)
            st.button("Next", icon=":material/chevron_right:", icon_position="right", disabled=found.next is None, on_click=cursors.append,
                      args=(found.next,))  # fmt: skip


def exported(found: ReviewPage, moment: datetime) -> tuple[tuple[str, ...], list[list[object]]]:
    """Header and rows of the file."""
    names = read(STAFF, queries.teachers)
    header = ("Student", "Cohort", "Module", "Attempt", "Handed in", "Waits (days)", "Work", "Taken by")
    return header, [
        [
            row.student,
            row.cohort,
            row.module,
            row.attempt,
            row.submitted_at,
            days_of(row, moment),
            row.link,
            taker(row, names),
        ]
        for row in found.rows
    ]


page(now())
