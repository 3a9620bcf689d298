"""The main script: sign-in, navigation, and one page inside one frame.

Pages are registered by absolute path, so that this file has no sibling ``pages/`` (see dashboard.py). All of them are
known to everyone, those of other roles hidden: an address of theirs leads to a refusal that says why, not to "not found".
"""

from typing import Literal

import streamlit as st

from core import queries
from core.privacy_actions import Staff
from core.settings import ROOT
from ui import boot, cached, closed, codes, confirm, guards, search, signin, states, theme
from ui.cached import read

EVERYONE = tuple(guards.ROLE_NAMES)
SHOWN = 15  # entries before "View more": search and account stand below them, and are seen at 900 px of height
SECTIONS: dict[str, list[tuple[str, str, str, tuple[str, ...]]]] = {
    "": [
        ("overview", "Today", "calendar_today", EVERYONE),
        ("hand_on", "Hand on a request", "forward_to_inbox", EVERYONE),
    ],
    "Privacy desk": [
        ("requests", "Requests", "inbox", ("privacy_officer",)),
        ("consent", "Consent", "family_restroom", ("privacy_officer",)),
        ("holds", "Holds", "lock", ("privacy_officer",)),
        ("manual_steps", "Manual steps", "checklist", ("privacy_officer",)),
        ("quarantine", "Quarantine", "shield_person", ("privacy_officer",)),
        ("letters", "Letters", "mail", ("privacy_officer",)),
        ("incidents", "Incidents", "crisis_alert", ("privacy_officer", "admin", "auditor")),
        ("report", "Yearly report", "summarize", ("privacy_officer", "auditor", "admin")),
    ],
    "Learning": [
        ("progress", "Progress", "grid_on", ("instructor", "mentor")),
        ("reviews", "Reviews", "rate_review", ("instructor", "mentor")),
    ],
    "People": [
        ("enrollments", "Enrollments", "how_to_reg", ("program_staff", "admin")),
        ("visitors", "Visitors", "contact_mail", ("program_staff",)),
    ],
    "Figures": [
        ("programs", "Programs", "monitoring", ("program_staff", "privacy_officer", "admin", "auditor")),
        ("analytics", "Analytics", "finance", EVERYONE),
    ],
    "House": [
        ("staff", "Staff", "groups", ("admin",)),
        ("assignments", "Assignments", "school", ("admin",)),
        ("access_review", "Access review", "fact_check", ("admin", "privacy_officer")),
        ("platform_sync", "Platform sync", "sync", ("admin", "privacy_officer", "auditor")),
    ],
    "Proof": [
        ("policy", "Policy", "policy", EVERYONE),
        ("processors", "Processors", "hub", ("admin", "privacy_officer", "auditor")),
        ("processing_record", "Processing record", "description", ("privacy_officer", "admin", "auditor")),
        ("samples", "Samples", "shuffle", ("auditor", "privacy_officer")),
        ("certificates", "Certificates", "workspace_premium", ("privacy_officer", "auditor")),
        ("policy_versions", "Policy versions", "difference", ("privacy_officer", "admin", "auditor")),
        ("notices", "Notices", "campaign", ("privacy_officer", "admin", "auditor")),
        ("retention", "Retention", "auto_delete", ("privacy_officer", "admin", "auditor")),
        ("audit", "Audit", "history_edu", ("privacy_officer", "auditor", "admin")),
    ],
}
DETAILS = [
    ("request", "Request", "inbox"),
    ("student", "Student", "person"),
    ("account", "My account", "manage_accounts"),
    ("staff_member", "Staff member", "badge"),
]


def pages(role: str | None) -> dict[str, list[st.Page]]:
    """Return every page by section; those that a role has no use for are hidden."""
    menu = {
        section: [
            _page(name, title, icon, shown=role in roles, default=name == "overview")
            for name, title, icon, roles in entries
        ]
        for section, entries in SECTIONS.items()
    }
    menu[""] += [_page(name, title, icon, shown=False) for name, title, icon in DETAILS]
    return menu


def _page(name: str, title: str, icon: str, *, shown: bool, default: bool = False) -> st.Page:
    visibility: Literal["visible", "hidden"] = "visible" if shown else "hidden"
    path = ROOT / "pages" / f"{name}.py"
    return st.Page(path, title=title, icon=f":material/{icon}:", default=default, visibility=visibility)


def show(page: st.Page, staff: Staff) -> None:
    """Run a page inside the frame; whatever it raises becomes one of our states."""
    st.logo(theme.wordmark(), size="medium")
    finder = st.sidebar.container()
    signin.account_menu(staff)
    with st.sidebar:
        signin.finish(staff)  # before the page, which may stop the run
    confirm.tell()
    with st.container(width=1280):
        try:
            states.audit_banner(read(staff, queries.audit_state))
            search.box(staff, finder, page=page.url_path)
            page.run()
        except Exception as error:  # noqa: BLE001 - the last line before a person's screen
            states.failed(error)


def main() -> None:
    """One run of the script."""
    st.set_page_config(page_title="Resocode Admin", page_icon=theme.page_icon(), layout="wide")
    if closed.is_closed():
        st.navigation(pages(None), position="hidden")
        states.state(closed.HEADING, closed.SENTENCE, icon="lock_clock", button="Try again", key="try_again")
        return
    try:
        staff = guards.signed_in()
    except Exception as error:  # noqa: BLE001 - the database may be gone before anybody is known
        st.navigation(pages(None), position="hidden")
        states.failed(error)
        return
    if staff:
        boot.wait_until_warm()
    inside = staff is not None and not staff.must_set_up_codes
    page = st.navigation(
        pages(staff.role if staff else None), position="sidebar" if inside else "hidden", expanded=SHOWN
    )
    if staff and inside:
        show(page, staff)
    elif staff:
        codes.page(staff)
    else:
        signin.sign_in_page()


with guards.one_run(), cached.one_transaction():
    main()
