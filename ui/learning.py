"""The shared parts of the screens for those who teach: reasons in words, the list of who needs help, one student beside it.

Names, notes and comments are typed by people: they are shown by ``st.text`` and tables, never by markdown.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from urllib.parse import quote

import streamlit as st

from core import privacy_actions, queries
from core.errors import AdminError, BadInput, NotFound
from core.privacy_actions import Staff
from core.queries import (
    HelpLimits,
    HelpList,
    LearningRecord,
    NeedsHelp,
    PlannedCohort,
    Reason,
    StudentRecord,
    TaughtCohort,
)
from core.settings import ROOT
from core.words import isolated
from ui import export, links, states
from ui.actions import act
from ui.cached import read
from ui.clock import now
from ui.tables import day, literal

PROGRESS, REVIEWS, STUDENT = (ROOT / "pages" / f"{name}.py" for name in ("progress", "reviews", "student"))
COLORS = {"failed": "red", "quiet": "orange", "behind": "blue", "waiting": "violet", "clicks": "gray"}
ICONS = {
    "failed": "replay",
    "quiet": "schedule",
    "behind": "trending_down",
    "waiting": "rate_review",
    "clicks": "ads_click",
}
KINDS = {
    "quiet": "No activity",
    "behind": "Behind",
    "failed": "Failed",
    "waiting": "Review waits",
    "clicks": "Few clicks",
}
POINTS_HELP = (
    "Highest points first: each reason counts its number divided by its limit (at most 3), few clicks count 1. Students who have "
    "done every module, have passed or closed their account are not on the list. Limits are set by cohort, on Progress."
)
NO_COHORT = "Learning data opens by assignment. Ask an admin to assign a cohort to you."


def many(number: int, thing: str) -> str:
    """Return a number with its thing: ``1 module``, ``1,284 modules``."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def chip(reason: Reason) -> str:
    """Return a reason in a few words."""
    return {
        "quiet": f"No activity {reason.amount} d",
        "behind": f"{reason.amount} behind",
        "failed": f"Failed {reason.amount}×",
        "waiting": f"Review waits {reason.amount} d",
        "clicks": many(reason.amount, "click"),
    }[reason.kind]


def sentence(reason: Reason) -> str:
    """Return a reason as a sentence with what it is measured against."""
    since = day(reason.since) if reason.since else "the start"
    return {
        "quiet": f"No activity since {since}: {many(reason.amount, 'day')}; limit {reason.limit}.",
        "behind": f"{many(reason.amount, 'module')} behind the cohort's median; limit {reason.limit}.",
        "failed": f"Failed the same module {reason.amount} times, last on {since}; limit {reason.limit}.",
        "waiting": f"A submission of {since} waits for its review: {many(reason.amount, 'day')}; limit {reason.limit}.",
        "clicks": f"{many(reason.amount, 'click')} in 14 days; the median is {reason.median}, the limit {reason.limit}% of it.",
    }[reason.kind]


def kinds_filter(found: HelpList, *, key: str) -> str | None:
    """Draw the choice of one reason, with counts; return its kind or None for all."""
    options = ["all", *(kind for kind, number in found.by_kind.items() if number)]
    told = {"all": f"All {found.total:,}"} | {kind: f"{KINDS[kind]} {found.by_kind.get(kind, 0):,}" for kind in KINDS}
    if st.session_state.get(key) not in (None, *options):
        del st.session_state[key]  # nobody has this reason any more
    chosen = st.pills(
        "Reason",
        options,
        format_func=told.__getitem__,
        default="all",
        required=True,
        key=key,
        label_visibility="collapsed",
        wrap=True,
    )
    return None if chosen in (None, "all") else str(chosen)


def help_table(
    rows: Sequence[NeedsHelp], *, key: str, caption: str, cohorts: dict[uuid.UUID, str] | None = None
) -> NeedsHelp | None:
    """Draw who needs help and why; return who is selected. ``cohorts`` adds a column with the cohort's title."""
    chips = {chip(reason): COLORS[reason.kind] for row in rows for reason in row.reasons}
    shown: dict[str, list[object]] = {"Student": [row.name for row in rows]}
    if cohorts is not None:
        shown["Cohort"] = [cohorts[row.cohort_id] for row in rows]
    shown["Why"] = [[chip(reason) for reason in row.reasons] for row in rows]
    if cohorts is not None:
        shown["Progress"] = [round(100 * row.done / row.modules) if row.modules else None for row in rows]
    if any(row.is_handled for row in rows):
        shown["Handled until"] = [day(row.handled.until)[:-5] if row.is_handled and row.handled else "" for row in rows]
    key = f"{key}_{hash(tuple(row.enrollment_id for row in rows)) % 10**8}"
    open_row = st.session_state.get(key, {}).get("selection", {}).get("rows")
    most = 6 if open_row else 12  # so that the card of the selected student is seen without scrolling
    chosen = st.dataframe(
        shown,
        hide_index=True,
        row_height=36,
        height="content" if len(rows) <= most else 36 * most + 38,
        on_select="rerun",
        selection_mode="single-row",
        key=key,
        column_config={
            "Student": st.column_config.TextColumn(width=120),
            "Why": st.column_config.MultiselectColumn(options=list(chips), color=list(chips.values())),
            "Progress": st.column_config.ProgressColumn(
                format="%d%%", min_value=0, max_value=100, color="blue", width=92
            ),
        },
        alt=f"Table of {many(len(rows), 'student')} who need help, with the reasons.",
    )
    export.columns("need-help", shown, caption=caption)
    picked = chosen["selection"]["rows"]
    return rows[picked[0]] if picked and picked[0] < len(rows) else None


def most_shown(view: object) -> int:
    """Return how many rows of the list are asked for; another view begins anew."""
    if st.session_state.get("help_view") != view:
        st.session_state["help_view"], st.session_state["help_most"] = view, 50
    return int(st.session_state["help_most"])


def more_button(shown: int, whole: int) -> None:
    """Draw the way to more of the list, when there are more."""
    if whole > shown:
        st.button("Show more", key="help_more", on_click=_show_more)


def help_caption(shown: int, whole: int, *, others: str = "") -> str:
    """Return what stands below the list: how many of it are shown, and what a row does."""
    first = f"The {shown:,} most urgent of {whole:,}{others} · select" if whole > shown else "Select"
    return f"{first} a row to see the student; opening is logged"


def _show_more() -> None:
    st.session_state["help_most"] += 100


def student_card(staff: Staff, row: NeedsHelp, cohort: TaughtCohort, *, purpose: str) -> None:
    """Draw one student beside the list: why, since when, the last weeks, the address, what was noted. Recorded as a view."""
    try:
        found = read(staff, queries.student_record, row.student_id, now=now())
    except NotFound as error:
        states.state("Not open any more", error.sentence, icon="lock", key="card_closed")
        return
    act(privacy_actions.record_view, student_id=found.id, purpose=purpose)
    record = next((each for each in found.records if each.enrollment_id == row.enrollment_id), None)
    with st.container(border=True, gap="small"):
        st.text(isolated(found.name))
        st.text(found.email)
        seen = f"last active {day(row.last_active)}" if row.last_active else "not active yet"
        st.caption(f"{row.done} of {many(row.modules, 'module')} done · {seen} · this view is logged")
        st.markdown("**Why this student is here**")
        reasons(row)
        if record:
            weeks_metric(record)
        with st.container(horizontal=True):
            st.link_button("Write to student", mail_to(found.email), type="primary", icon=":material/mail:")
            if st.button("Open timeline", icon=":material/timeline:", key="open_timeline"):
                open_student(found.id, cohort)
            links.button(found.link)
        handled_form(staff, row)


def reasons(row: NeedsHelp) -> None:
    """Draw why somebody needs help, a line for each reason."""
    for reason in row.reasons:
        icon = f":material/{ICONS[reason.kind]}:"
        color = COLORS[reason.kind]
        st.markdown(f"{icon if color == 'gray' else f':{color}[{icon}]'} {sentence(reason)}")


def weeks_metric(record: LearningRecord) -> None:
    """Draw what a student did in the last eight weeks."""
    st.metric(
        "Last eight weeks",
        record.weeks[-1],
        chart_data=list(record.weeks),
        chart_type="bar",
        delta="this week",
        delta_color="off",
        delta_arrow="off",
        help="What the student did in each of the eight weeks until the cohort's day: modules begun, worked on and done, things "
        "handed in, and days on a page where clicks are known.",
    )


def handled_form(staff: Staff, row: NeedsHelp) -> None:
    """Draw what was noted, and the form that takes a student off the list until a day."""
    noted = row.handled
    if noted and row.is_handled:
        names = read(staff, queries.teachers)
        st.caption(f"Handled until {day(noted.until)} · {day(noted.at)}")
        st.text(
            f"{isolated(names.get(noted.by, 'A colleague'))}: {isolated(noted.note)}"
            if noted.note
            else names.get(noted.by, "A colleague")
        )
        if st.button("Put back on the list", icon=":material/undo:", key="put_back"):
            did(privacy_actions.put_back, "Back on the list.", enrollment_id=row.enrollment_id)
        return
    today = now().date()
    with st.form("handled", border=False, clear_on_submit=True):
        until = st.date_input(
            "Handled until", value=today + timedelta(days=7), min_value=today, max_value=today + timedelta(days=180), format="YYYY-MM-DD",
            help="Takes the student off the list until this day; back after it, if a reason still holds.",
        )  # fmt: skip
        note = st.text_input(
            "Note", max_chars=500, placeholder="Called; works again from Monday",
            help="Up to 500 characters. Everybody assigned to the cohort reads it, and it is part of the student's own export.",
        )  # fmt: skip
        if st.form_submit_button("Mark as handled", icon=":material/check:"):
            did(
                privacy_actions.mark_handled,
                "Off the list until then.",
                enrollment_id=row.enrollment_id,
                until=until,
                note=note,
            )


def did(verb: object, done: str, **arguments: object) -> None:
    """Run a change; say what happened, and draw the page anew when it went through."""
    try:
        act(verb, **arguments)  # type: ignore[arg-type]
    except (BadInput, AdminError) as error:
        st.error(error.sentence)
        return
    st.session_state["said"] = done
    st.rerun()


def say() -> None:
    """Say what the last change did, once."""
    if done := st.session_state.pop("said", ""):
        st.toast(done, icon=":material/check_circle:")


def mail_to(email: str) -> str:
    """Return the address that opens a mail program; nothing in an e-mail can add a subject, a copy or another scheme."""
    return f"mailto:{quote(email, safe='@.+-_')}"


def open_student(student_id: uuid.UUID, cohort: TaughtCohort) -> None:
    """Go to one student's page, at the cohort one comes from."""
    st.switch_page(STUDENT, query_params={"id": str(student_id), "cohort": cohort.code})


def wanted_cohort(staff: Staff, cohorts: tuple[TaughtCohort, ...]) -> TaughtCohort | None:
    """Return the cohort of the address (``?cohort=CODE``), else the one of before, else the first; None, said and recorded,
    when it is not open.

    The address keeps the choice on purpose: when an assignment ends while its page is open, the next click finds the cohort
    in the address closed and says so, instead of showing another one in silence.
    """
    known = {cohort.code: cohort for cohort in cohorts}
    code = st.query_params.get("cohort") or st.session_state.get("kept_cohort") or next(iter(known), None)
    if code is None:
        states.empty("No cohort is assigned to you", NO_COHORT)
        return None
    if code not in known:
        closed_cohort(staff, str(code))
        return None
    st.query_params["cohort"] = st.session_state["kept_cohort"] = st.session_state["cohort_choice"] = code
    return known[code]


def cohort_box(cohorts: tuple[TaughtCohort, ...]) -> None:
    """Draw the choice of an assigned cohort; what is chosen stands in the address at the next run."""
    told = {cohort.code: cohort_label(cohort) for cohort in cohorts}
    st.selectbox(
        "Cohort",
        list(told),
        format_func=told.__getitem__,
        key="cohort_choice",
        on_change=_keep_choice,
        width=260,
        label_visibility="collapsed",
    )


def cohort_label(cohort: PlannedCohort) -> str:
    """Return a cohort's title with its state, unless it runs."""
    return cohort.title + (" · ended" if cohort.ended else "" if cohort.started else " · not started")


def closed_cohort(staff: Staff, code: str) -> None:
    """Say that a cohort is not open, one answer for one that is not there, and record the attempt."""
    subject = read(staff, queries.cohort_of_code, code) or uuid.UUID(int=0)
    act(privacy_actions.record_closed, kind="cohort", subject_id=subject)
    states.state(
        "This cohort is not assigned to you", f"{NO_COHORT} This attempt was logged.", icon="lock",
        button="Back to your cohorts", act=_forget_choice, key="back_to_cohorts",
    )  # fmt: skip


def _keep_choice() -> None:
    st.query_params["cohort"] = st.session_state["kept_cohort"] = st.session_state["cohort_choice"]


def _forget_choice() -> None:
    st.session_state.pop("kept_cohort", None)
    st.session_state.pop("cohort_choice", None)
    st.query_params.pop("cohort", None)


def plain(text: str) -> str:
    """Return a title as captions and headings, which read markdown, can show it."""
    return literal(isolated(text))


def as_of(cohort: TaughtCohort, moment: datetime) -> str:
    """Return what instant the figures of a cohort speak of."""
    return f"as of its last day, {day(cohort.ends_on)}" if cohort.ended else f"as of {moment:%H:%M} UTC"


def limits_form(cohort: TaughtCohort) -> None:
    """Draw the limits of a cohort, to be seen and changed by those who are assigned."""
    limits, usual = cohort.limits, HelpLimits()
    with st.popover("Limits", icon=":material/tune:", key="limits"):
        st.markdown(
            "**When does a student of this cohort need help?**  \n:gray[:small[For everybody who is assigned to it. 0 switches a reason off.]]"
        )
        with st.form("limits_form", border=False):
            chosen = {
                "quiet_days": _number("Days without activity", limits.quiet_days, 60, usual.quiet_days),
                "behind_modules": _number("Modules behind the median", limits.behind_modules, 50, usual.behind_modules),
                "failed_times": _number("Times the same module failed", limits.failed_times, 20, usual.failed_times),
                "waiting_days": _number("Days a review waits", limits.waiting_days, 60, usual.waiting_days),
                "clicks_percent": _number(
                    "Clicks below this % of the median", limits.clicks_percent, 100, usual.clicks_percent
                ),
            }
            if st.form_submit_button("Set limits", type="primary"):
                did(privacy_actions.set_help_limits, "The limits are set.", cohort_id=cohort.id, limits=chosen)


def _number(name: str, value: int, most: int, usual: int) -> int:
    return int(
        st.number_input(name, min_value=0, max_value=most, value=value, step=1, help=f"Usually {usual}. 0 to {most}.")
    )


def newest_record(found: StudentRecord, code: str | None) -> LearningRecord:
    """Return the enrollment in the cohort that is asked for, else the first."""
    return next((each for each in found.records if each.cohort.code == code), found.records[0])
