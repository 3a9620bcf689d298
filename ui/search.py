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
from ui.tables import capitalized, literal

HEADINGS = {
    "student": "Students",
    "visitor": "Visitors",
    "cohort": "Cohorts",
    "program": "Programs",
    "staff": "Accounts",
}
ICONS = {
    "student": "person",
    "visitor": "contact_mail",
    "cohort": "groups",
    "program": "menu_book",
    "staff": "manage_accounts",
}
TEACHES = {"student": "student", "cohort": "progress"}
# Where a hit leads, by role and kind. A kind whose page is not there is not offered.
LEADS_TO: dict[str, dict[str, str]] = {
    "program_staff": {"student": "student", "visitor": "visitors", "cohort": "enrollments", "program": "enrollments"},
    "instructor": TEACHES,
    "mentor": TEACHES,
    "privacy_officer": {"student": "request", "visitor": "request"},
    "admin": {"cohort": "enrollments", "program": "enrollments", "staff": "staff_member"},
    "auditor": {"cohort": "programs", "program": "programs"},
}
PAGES = frozenset(file.stem for file in (ROOT / "pages").glob("*.py"))
ROOM = 28  # characters beside the icon
Place = tuple[str, dict[str, str], dict[str, str]]  # page, its address, filters that its widgets hold


def finds(role: str) -> tuple[str, ...]:
    """Return the kinds that a role can find and open."""
    leads = LEADS_TO[role]
    if role in ("instructor", "mentor") and "progress" not in PAGES:
        return ()  # what a student's page shows to those who teach comes with Progress
    return tuple(kind for kind in HEADINGS if leads.get(kind) in PAGES)


def box(staff: Staff, place_for_it: DeltaGenerator, *, page: str) -> None:
    """Draw the box for the roles that have something to find, above the page of that name."""
    if finds(staff.role):
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
        placeholder=capitalized(", ".join(finds(staff.role))),
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
    elif not any(found.of(kind) for kind in finds(staff.role)):
        st.caption("Nothing that is open to you matches.")
    else:
        for kind in finds(staff.role):
            _kind(staff, kind, HEADINGS[kind], found)


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
    """Return where a hit leads: the page, its address, and the filters to set there."""
    page = LEADS_TO[role][hit.kind]
    if page == "request":
        return page, {"id": str(hit.request_id)}, {}
    if page == "progress":
        return page, {"cohort": hit.detail}, {}
    if page == "enrollments":
        return page, {}, {hit.kind: hit.title, "period": "All time"}
    return page, {} if page == "programs" else {"id": str(hit.id)}, {}


def _choose(*chosen: object) -> None:
    """Empty the box; the next lines of the run lead to what was chosen."""
    st.session_state["find"] = ""
    st.session_state["found"] = chosen


def _go(current: str, page: str, address: dict[str, str], filters: dict[str, str]) -> None:
    """Lead to a page. On the page one is on, the address is changed and the page drawn anew."""
    if filters:
        st.session_state["arrival"] = filters
    if page != current:
        st.switch_page(ROOT / "pages" / f"{page}.py", query_params=address)
    for name, value in address.items():
        st.query_params[name] = value
    st.rerun()
