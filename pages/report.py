"""Yearly report: how requests were kept, by kind; a page to print. Counts only."""

from datetime import datetime

import streamlit as st

from core import privacy_actions, queries
from core.queries import KindYear, YearReport
from ui import desk, guards, printing, states
from ui.actions import act
from ui.cached import read
from ui.clock import now

STAFF = guards.require("privacy_officer", "auditor", "admin", what="Report")
HEADER = ("Kind", "Received", "Open", "Answered", "Erased", "Reactivated", "Withdrawn", "Refused", "Extended", "Late",
          "Median days", "Longest")  # fmt: skip
NOTES = (
    "Counted are the requests received in the year (UTC), by what became of them until now. Days run from receipt to answer; an"
    " answer to a deletion is the day on which the person was told that the account is closed.",
    "Late: answered, or still open, after the day on which the answer was due, with pauses and extensions taken into account.",
)


def cells(each: KindYear) -> tuple[object, ...]:
    """One kind as a row."""
    return (
        desk.TITLES[each.kind], each.received, each.still_open, each.answered, each.erased, each.reactivated, each.withdrawn,
        each.refused, each.extended, each.late, days(each.median_days), days(each.longest_days),
    )  # fmt: skip


def days(number: float | None) -> str:
    """A number of days, or a dash."""
    return "–" if number is None else f"{number:.0f}" if number >= 10 else f"{number:.1f}".removesuffix(".0")


def total(found: YearReport) -> tuple[object, ...]:
    """All kinds together; medians are not added up."""
    columns = [cells(each)[1:10] for each in found.kinds]
    sums = [sum(int(str(row[place])) for row in columns) for place in range(9)]
    longest = max((each.longest_days for each in found.kinds if each.longest_days is not None), default=None)
    return ("All", *sums, "", days(longest))


def figures(found: YearReport) -> None:
    """Draw the key figures of the year."""
    answered = sum(each.answered + each.erased + each.refused + each.reactivated for each in found.kinds)
    late = sum(each.late for each in found.kinds)
    with st.grid(4, min_column_width=190):
        st.metric(
            "Received", found.received, border=True, help="Requests of all seven kinds received in the year (UTC)."
        )
        st.metric("Decided", answered, border=True, help="Answered, erased, reactivated or refused until now.")
        st.metric(f"{':red[:material/warning:] ' if late else ''}Late", late, border=True, help=NOTES[1])
        st.metric("Extended", sum(each.extended for each in found.kinds), border=True,
                  help="Answers that were given, or are given, up to two months later, with a reason.")  # fmt: skip


def print_button(found: YearReport, moment: datetime) -> None:
    """Offer the report as a page to print: one link, once."""
    with st.popover("Print", icon=":material/print:"):
        st.markdown("The figures as one page that any browser prints. It is recorded; the link works once, for you, within 15"
                    " minutes.", width=320)  # fmt: skip
        if st.button("Make the page", key="make_page"):
            rows = [*map(cells, found.kinds), total(found)]
            said = f"Requests under the privacy policy received in {found.year}, as of {desk.instant(moment)}."
            content = printing.page(f"Requests {found.year}", said, HEADER, rows, NOTES, made=moment)
            st.session_state["report_link"] = act(
                privacy_actions.export_report, year=found.year, content=content, rows=len(rows)
            )
        if link := st.session_state.pop("report_link", None):
            st.link_button(
                f"Open requests-{found.year}.html", f"files/{link}", type="primary", icon=":material/open_in_new:"
            )


def page(moment: datetime) -> None:
    """Draw one year."""
    top = st.container(horizontal=True, vertical_alignment="bottom")
    with top, st.container():
        st.title("Yearly report", anchor=False)
        st.caption(f"How requests were kept · as of {moment:%H:%M} UTC")
    years = [str(year) for year in range(moment.year, moment.year - 5, -1)]
    year = int(
        st.selectbox("Year", years, key="year", bind="query-params", width=120, label_visibility="collapsed")
        or years[0]
    )
    found = read(STAFF, queries.year_report, year, now=moment)
    if not found.received:
        states.empty(
            f"No request was received in {year}", "Choose another year; requests appear here as soon as they are filed."
        )
        return
    figures(found)
    st.subheader("By kind", anchor=False, help=" ".join(NOTES))
    rows = [*map(cells, found.kinds), total(found)]
    st.table({name: [row[place] for row in rows] for place, name in enumerate(HEADER)}, border="horizontal", hide_index=True,
             alt=f"Table of {len(found.kinds)} kinds of requests with what became of those received in {year}.")  # fmt: skip
    for note in NOTES:
        st.caption(note)
    with top:
        print_button(found, moment)


page(now())
