"""The menu: which pages there are, by section, and who has a use for each.

Streamlit's page objects are made once for a role: 33 of them look for their files and check their icons, a tenth of a click. Each run gets copies,
because one of them is marked as the page that may run.
"""

from copy import copy
from functools import lru_cache
from typing import Literal

import streamlit as st

from core.settings import ROOT
from ui import guards

EVERYONE = tuple(guards.ROLE_NAMES)
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
    """Return every page by section; those that a role has no use for are hidden. Within a run of the script only."""
    return {section: [copy(page) for page in made] for section, made in _made(role).items()}


def names(role: str | None) -> list[str]:
    """Return the pages that stand in the menu of a role, from top to bottom."""
    return [name for entries in SECTIONS.values() for name, _, _, roles in entries if role in roles]


@lru_cache(maxsize=16)
def _made(role: str | None) -> dict[str, list[st.Page]]:
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
