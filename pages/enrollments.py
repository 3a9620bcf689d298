"""Enrollments: from visitor to enrollment, the trend, and the list behind it. Admins see counts only."""

import uuid
from datetime import date, datetime, timedelta

import streamlit as st

from core import privacy_actions, queries
from core.errors import BadInput
from core.models.platform import ENROLLMENT_STATUS, EXPERIENCE_LEVELS
from core.queries import SHORTEST_SEARCH, SORTS, Catalog, EnrollmentFilter, EnrollmentRow
from core.settings import ROOT
from ui import charts, export, guards, links, paging, search, standing, states
from ui.actions import act
from ui.cached import catalog, read
from ui.cached import cohorts as cohorts_offered
from ui.clock import now
from ui.tables import capitalized, day, status_column

STAFF = guards.require("program_staff", "admin", what="Enrollments")
STUDENT = ROOT / "pages" / "student.py"
PERIODS = {"30 days": 30, "12 weeks": 84, "1 year": 365, "All time": None, "Dates": None}
ALL_PROGRAMS, ALL_COHORTS, ALL_LEVELS = "All programs", "All cohorts", "All levels"
ORDERS = {label: name for name, label in SORTS.items()}
MAIL = ("Any mail", "Not confirmed")
HEADER = ("Student", "Contact (masked)", "Program", "Cohort", "Status", "Experience", "Enrolled", "Cohort starts")
FILTERS = ("program", "cohort", "status", "level", "mail", "period", "dates", "sort")
CLEARED = {
    "program": ALL_PROGRAMS,
    "cohort": ALL_COHORTS,
    "status": [],
    "level": ALL_LEVELS,
    "mail": MAIL[0],
    "period": "All time",
    "q": "",
    "kept_search": "",
}


def filter_row(known: Catalog) -> EnrollmentFilter:
    """Draw the filters, bound to the address, and return what they say."""
    with st.container(horizontal=True, vertical_alignment="center"):
        titles = {title: each for each, title in known.programs.items()}
        program = titles.get(
            st.selectbox(
                "Program",
                [ALL_PROGRAMS, *titles],
                key="program",
                bind="query-params",
                width=190,
                label_visibility="collapsed",
            )
        )
        chosen = st.session_state.get("cohort", st.query_params.get("cohort"))
        offered = cohorts_offered(STAFF, program, None if chosen == ALL_COHORTS else chosen)
        cohorts = {c.title: c.id for c in offered}
        cohort = cohorts.get(
            st.selectbox(
                "Cohort",
                [ALL_COHORTS, *cohorts],
                key="cohort",
                bind="query-params",
                width=190,
                label_visibility="collapsed",
            )
        )
        period = st.segmented_control(
            "Period",
            list(PERIODS),
            key="period",
            bind="query-params",
            default="1 year",
            required=True,
            label_visibility="collapsed",
        )
        first, last = dates() if period == "Dates" else (first_day(period), None)
    return EnrollmentFilter(program_id=program, cohort_id=cohort, first_day=first, last_day=last)


def list_filters(base: EnrollmentFilter) -> EnrollmentFilter:
    """Draw the filters of the list: they name persons, so admins do not get them."""
    with st.container(horizontal=True, vertical_alignment="center"):
        search = st.text_input(
            "Search by part of a name or e-mail",
            key="q",  # not in the address: what is typed here names persons
            value=st.session_state.get("kept_search", ""),
            placeholder="Part of a name or e-mail",
            icon=":material/search:",
            width=260,
            label_visibility="collapsed",
            type="search",
        )
        st.session_state["kept_search"] = search or ""
        statuses = st.pills(
            "Status",
            ENROLLMENT_STATUS,
            selection_mode="multi",
            key="status",
            bind="query-params",
            label_visibility="collapsed",
        )
        level = st.selectbox(
            "Experience",
            [ALL_LEVELS, *EXPERIENCE_LEVELS],
            key="level",
            bind="query-params",
            width=150,
            label_visibility="collapsed",
        )
        mail = st.selectbox(
            "Confirmation mail", MAIL, key="mail", bind="query-params", width=150, label_visibility="collapsed"
        )
    return EnrollmentFilter(
        search=search or "",
        unconfirmed=mail == MAIL[1],
        program_id=base.program_id,
        cohort_id=base.cohort_id,
        statuses=tuple(statuses or ()),
        level=None if level == ALL_LEVELS else level,
        first_day=base.first_day,
        last_day=base.last_day,
    )


def dates() -> tuple[date | None, date | None]:
    """Draw the choice of a first and a last day, and return what is chosen so far."""
    today = now().date()
    chosen = st.date_input(
        "First and last day",
        value=(today - timedelta(days=90), today),
        max_value=today,
        key="dates",
        bind="query-params",
        format="YYYY-MM-DD",
        width=240,
        label_visibility="collapsed",
    )
    days = list(chosen) if isinstance(chosen, tuple) else [chosen]
    return (days[0] if days else None), (days[1] if len(days) > 1 else None)


def first_day(period: str | None) -> date | None:
    """The first day of a period that ends today (UTC)."""
    days = PERIODS.get(period or "")
    return now().date() - timedelta(days=days) if days else None


def told(period: str | None, wanted: EnrollmentFilter) -> str:
    """The period in words."""
    if period == "Dates" and wanted.first_day:
        return f"{day(wanted.first_day)} to {day(wanted.last_day)}"
    return period or "1 year"


def filter_by(**filters: object) -> None:
    """Set some filters and put all others back. Widgets that stand in the address are set by their values, not by it."""
    for name, value in (CLEARED | filters).items():
        st.session_state[name] = value


def clear() -> None:
    """Put all filters back, those above the list too: the whole page runs."""
    filter_by()
    st.rerun()


def figures(wanted: EnrollmentFilter, period: str) -> None:
    """Draw the funnel and the trend of what is chosen."""
    scope = {
        "first_day": wanted.first_day,
        "last_day": wanted.last_day,
        "program_id": wanted.program_id,
        "cohort_id": wanted.cohort_id,
    }
    with states.loading(height=330):
        known = read(STAFF, queries.enrollment_figures, now=now(), **scope)
    found, trend, counted = known.funnel, known.trend, f"{known.counted.as_of:%H:%M} UTC"
    states.counted(known.counted)
    grid = st.grid(2, min_column_width=340)
    with grid.cell(), st.container(border=True, height="stretch"):
        st.subheader("From visitor to enrollment", anchor=False, help=FUNNEL_HELP)
        st.caption(f"{period} · exact · counted {counted} · shares of the registered")
        charts.show(
            charts.funnel_chart(found),
            key="funnel",
            alt=f"Bars: {found.visitors} visitors, {found.registered} registered, {found.active} became active, {found.ended} ended, {found.withdrawn} withdrawn.",
        )
        st.caption(completed_line(wanted), help=COMPLETED_HELP)
    with grid.cell(), st.container(border=True, height="stretch"):
        st.subheader(
            "New enrollments per month",
            anchor=False,
            help="Enrollments by the month in which they began (UTC), counted by the worker as they change. The last month is not complete.",
        )
        st.caption(f"{period} · by program · counted {counted} · the current month is not complete")
        if trend.months:
            charts.show(
                charts.trend_chart(trend),
                key="trend",
                alt=f"Stacked columns: new enrollments of {len(trend.months)} months in {len(trend.series)} programs.",
            )
            st.caption(f"{found.registered:,} enrollments in {len(trend.months)} months")
        else:
            states.empty("No enrollment began", "Widen the period, or choose another program or cohort.")


FUNNEL_HELP = (
    "Visitors left their details in the period. Registered: enrollments that began in the period. Became active, ended and "
    "withdrawn: what became of these enrollments until now. Exact counts; the worker counts again what changed."
)


COMPLETED_HELP = (
    "Of all students whose cohort ended and who did not withdraw, in all years: the share that passed. Told once a week, for "
    "programs with at least 10 such students, rounded to 5 points, so that it tells nothing about one person."
)


def completed_line(wanted: EnrollmentFilter) -> str:
    """What may be said of completion: the weekly figure of a group, never of a narrower choice."""
    if wanted.cohort_id:
        return "Completed: told for whole programs only."
    figure = read(STAFF, queries.completed_figure, program_id=wanted.program_id)
    if figure is None:
        return "Completed: the first weekly group figure is not there yet."
    if figure.percent is None:
        return f"Completed: not told, the group has fewer than 10 students (week of {day(figure.week)})."
    return f"Completed: about {figure.percent}% of those whose cohort ended · week of {day(figure.week)[:-5]}"


@guards.part(STAFF)
def people(base: EnrollmentFilter) -> None:
    """Draw the list with its filters; touching them leaves the figures above as they are."""
    wanted = list_filters(base)
    try:
        listing(wanted)
    except BadInput as error:
        st.warning(error.sentence)


def listing(wanted: EnrollmentFilter) -> None:
    """Draw the list: title with its number, order, contacts, file; then one page."""
    with states.loading(height=400):
        total = read(STAFF, queries.enrollment_total, wanted)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader(capitalized(total.of("enrollment")), anchor=False, width="stretch")
        order = st.selectbox(
            "Order", list(ORDERS), key="sort", bind="query-params", width=160, label_visibility="collapsed"
        )
        reveal = st.toggle(
            "Reveal contacts",
            key="reveal_contacts",
            help="Shows the whole addresses of this page. Each person is recorded in the audit.",
        )
        beside = st.container(width="content")
    if 0 < len(wanted.search.strip()) < SHORTEST_SEARCH:
        st.caption(f"Type at least {SHORTEST_SEARCH} characters to search.")
    standing.left_out(read(STAFF, queries.left_out).students, "student")
    if not total.count:
        states.nothing_found(
            "No enrollment matches",
            "No enrollment matches these filters. Widen the period or clear the filters.",
            clear=clear,
        )
        return
    sort = ORDERS[order]
    cursors = paging.cursors_of((wanted, sort))
    found = read(STAFF, queries.enrollment_page, wanted, sort=sort, after=cursors[-1])
    contacts = revealed(found.rows) if reveal else {}
    table(found.rows, contacts, page=len(cursors))
    paging.footer(
        len(found.rows), found.next, cursors, total, hint="select a row to open the student; opening is logged"
    )
    with beside:
        export.offer("enrollments", HEADER, map(export_row, found.rows))


def revealed(rows: tuple[EnrollmentRow, ...]) -> dict[uuid.UUID, str]:
    """The whole addresses of the page, each person recorded."""
    return act(
        privacy_actions.reveal_contacts, student_ids=sorted({row.student_id for row in rows}), purpose="enrollment list"
    )


def table(rows: tuple[EnrollmentRow, ...], contacts: dict[uuid.UUID, str], *, page: int) -> None:
    """Draw one page; a selected row leads to the student."""
    chosen = st.dataframe(
        {
            "Student": [row.student for row in rows],
            "Contact": [contacts.get(row.student_id, row.contact) for row in rows],
            "Cohort": [row.cohort for row in rows],
            "Status": [[row.status] for row in rows],
            "Experience": [row.level for row in rows],
            "Enrolled": [day(row.enrolled_at) for row in rows],
            "Cohort starts": [day(row.starts_on) for row in rows],
            **links.column([row.link for row in rows]),
        },
        hide_index=True,
        row_height=36,
        height="content",
        on_select="rerun",
        selection_mode="single-row",
        key=f"enrollments_{page}_{hash(rows) % 10**8}",
        column_config={"Status": status_column(ENROLLMENT_STATUS), **links.config()},
        alt=f"Table of {len(rows)} enrollments with student, masked contact, cohort, status and dates.",
    )
    if chosen["selection"]["rows"]:
        st.session_state["enrollments_view"] = {
            name: st.query_params.get_all(name) for name in FILTERS if name in st.query_params
        }
        st.switch_page(STUDENT, query_params={"id": str(rows[chosen["selection"]["rows"][0]].student_id)})


def export_row(row: EnrollmentRow) -> tuple[object, ...]:
    """One line of the file."""
    return (
        row.student,
        row.contact,
        row.program,
        row.cohort,
        row.status,
        row.level,
        row.enrolled_at.date(),
        row.starts_on,
    )


def page(moment: datetime) -> None:
    """Draw the page by role."""
    known = catalog(STAFF)
    if chosen := search.arrived():
        filter_by(**chosen)
    st.title("Enrollments", anchor=False)
    st.caption(f"{'Counts only' if STAFF.role == 'admin' else 'All programs'} · status as of {moment:%H:%M} UTC")
    base = filter_row(known)
    figures(base, told(st.session_state.get("period"), base))
    if STAFF.role == "admin":
        st.caption("The list of enrollments is open to program staff; admins see no person.")
        return
    people(base)


page(now())
