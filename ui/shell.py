"""The main script: sign-in, navigation, and one page inside one frame.

Pages are registered by absolute path, so that this file has no sibling ``pages/`` (see dashboard.py). All of them are
known to everyone, those of other roles hidden: an address of theirs leads to a refusal that says why, not to "not found".
"""

from typing import Literal

import streamlit as st

from core import queries
from core.privacy_actions import Staff
from ui import boot, cached, closed, codes, confirm, guards, menu, search, signin, states, theme
from ui.cached import read

UNFOLDED = "menu_unfolded"
SHOWN = 15  # entries before "View more": search and account stand below them, and are seen at 900 px of height


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


def navigated(role: str | None, position: Literal["sidebar", "hidden"]) -> st.Page:
    """Draw the menu; whoever comes to a page below the fold (by a link from outside, too) sees all of it, with that page marked."""
    if not st.session_state.get(UNFOLDED):
        page = st.navigation(menu.pages(role), position=position, expanded=SHOWN)
        if page.url_path not in menu.names(role)[SHOWN:]:
            return page
        st.session_state[UNFOLDED] = True
    return st.navigation(menu.pages(role), position=position, expanded=True)


def main() -> None:
    """One run of the script."""
    st.set_page_config(page_title="Resocode Admin", page_icon=theme.page_icon(), layout="wide")
    if closed.is_closed():
        st.navigation(menu.pages(None), position="hidden")
        states.state(closed.HEADING, closed.SENTENCE, icon="lock_clock", button="Try again", key="try_again")
        return
    try:
        staff = guards.signed_in()
    except Exception as error:  # noqa: BLE001 - the database may be gone before anybody is known
        st.navigation(menu.pages(None), position="hidden")
        states.failed(error)
        return
    if staff:
        boot.wait_until_warm()
    inside = staff is not None and not staff.must_set_up_codes
    page = navigated(staff.role if staff else None, "sidebar" if inside else "hidden")
    if staff and inside:
        show(page, staff)
    elif staff:
        codes.page(staff)
    else:
        signin.sign_in_page()


with guards.one_run(), cached.one_transaction():
    main()
