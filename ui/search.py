"""The one search box, in the sidebar of every page: whatever is found lies within the rights of whoever asks.

What is typed stays out of addresses, logs and the audit: it names persons. A list of hits shows names as every list does;
one line in the audit says that people were searched and how many were shown. Who is *opened* is recorded by the page that
the hit leads to.
"""

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from core import privacy_actions, queries
from core.errors import AdminError
from core.privacy_actions import Staff
from core.queries import SHORTEST_SEARCH, Found, Hit
from core.settings import ROOT
from core.words import isolated
from ui import guards
from ui.actions import act
from ui.cached import read
from ui.tables import literal

HEADINGS = {"student": "Students", "visitor": "Visitors", "cohort": "Cohorts", "program": "Programs"}
ICONS = {"student": "person", "visitor": "contact_mail", "cohort": "groups", "program": "menu_book"}
FINDS = {
    "program_staff": "Student, visitor, cohort, program",
    "admin": "Cohort, program",
}
ROOM = 28  # characters beside the icon
Place = tuple[str, dict[str, str]]


def box(staff: Staff, place_for_it: DeltaGenerator, *, page: str) -> None:
    """Draw the box for the roles that have something to find, above the page of that name."""
    if staff.role in FINDS:
        with place_for_it:
            _box(page)


def arrived() -> dict[str, str]:
    """Return the filters with which a hit led here, once: what a page binds to its address cannot be set through it."""
    filters: dict[str, str] = st.session_state.pop("arrival", {})
    return filters


@st.fragment
def _box(current: str) -> None:
    """The box and its hits; a search runs this alone and leaves the page as it is."""
    staff = guards.signed_in()
    if staff is None:
        st.rerun()
    if chosen := st.session_state.pop("found", None):
        _go(current, *chosen)
    typed = st.text_input(
        "Search",
        key="find",
        placeholder=FINDS[staff.role],
        icon=":material/search:",
        label_visibility="collapsed",
        type="search",
        autocomplete="off",
    )
    if not (typed or "").strip():
        st.session_state.pop("searched", None)
        return
    try:
        found = read(staff, queries.search, typed or "")
        if found is not None:
            _record(typed or "", found)
    except AdminError as error:
        st.caption(literal(error.sentence))
        return
    _hits(staff, found)


def _record(typed: str, found: Found) -> None:
    """Record once for each new text that people are shown; the text itself stays in this tab."""
    students, visitors = len(found.of("student")), len(found.of("visitor"))
    if (students or visitors) and st.session_state.get("searched") != typed:
        act(privacy_actions.record_search, students=students, visitors=visitors)
        st.session_state["searched"] = typed


def _hits(staff: Staff, found: Found | None) -> None:
    if found is None:
        st.caption(f"Type at least {SHORTEST_SEARCH} characters.")
    elif not found.hits:
        st.caption("Nothing that is open to you matches.")
    else:
        for kind, heading in HEADINGS.items():
            _kind(staff, kind, heading, found)


def _kind(staff: Staff, kind: str, heading: str, found: Found) -> None:
    hits = found.of(kind)
    if not hits:
        return
    st.caption(heading)
    titles = [hit.title for hit in hits]
    with st.container(gap=None):
        for hit in hits:
            st.button(
                label(hit, ambiguous=titles.count(hit.title) > 1),
                key=f"hit_{kind}_{hit.id}",
                type="tertiary",
                icon=f":material/{ICONS[kind]}:",
                help=literal(hit.detail),
                on_click=_choose,
                args=place(staff.role, hit),
            )
    if kind in found.more:
        st.caption("There are more. Type more of the name.")


def label(hit: Hit, *, ambiguous: bool) -> str:
    """Return the words of a hit's button: the title to the letter, and what tells it apart where that is needed or fits."""
    title = literal(isolated(shortened(hit.title)))
    if ambiguous or len(hit.title) + len(hit.detail) <= ROOM:
        return f"{title} :gray[:small[{literal(hit.detail)}]]"
    return title


def shortened(title: str) -> str:
    """A title that fits into the sidebar."""
    return title if len(title) <= ROOM else title[: ROOM - 1] + "…"


def place(role: str, hit: Hit) -> Place:
    """Return the page and the query that show a hit to a role."""
    if hit.kind == "student":
        return "student", {"id": str(hit.id)}
    if hit.kind == "visitor":
        return "visitors", {"id": str(hit.id)}
    return "enrollments", {hit.kind: hit.title, "period": "All time"}


def _choose(page: str, query: dict[str, str]) -> None:
    """Empty the box; the next lines of the run lead to what was chosen."""
    st.session_state["find"] = ""
    st.session_state["found"] = page, query


def _go(current: str, page: str, query: dict[str, str]) -> None:
    """Lead to a page: a person by the id in its address, everything else by filters."""
    address = {name: value for name, value in query.items() if name == "id"}
    st.session_state["arrival"] = {name: value for name, value in query.items() if name != "id"}
    if page != current:
        st.switch_page(ROOT / "pages" / f"{page}.py", query_params=address)
    for name, value in address.items():
        st.query_params[name] = value
    st.rerun()
