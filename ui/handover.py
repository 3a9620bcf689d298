"""The one-time code that an admin hands over: shown once, until the dialog is closed, and never again."""

import streamlit as st

from core.privacy_actions import OneTimeCode
from core.words import isolated
from ui.tables import day

HANDED = "handed_code"
WHAT = {
    "invitation": "Invitation",
    "password reset": "Code for a new password",
    "full reset": "Code for a new password and new one-time codes",
}


def keep(made: OneTimeCode | None) -> None:
    """Keep a code for the next run, which shows it."""
    if made is not None:
        st.session_state[HANDED] = made


def show() -> None:
    """Draw the dialog with the code, if there is one."""
    made: OneTimeCode | None = st.session_state.get(HANDED)
    if made is None:
        return

    @st.dialog(WHAT[made.kind], width="medium", icon=":material/key:", on_dismiss=_forget)
    def dialog() -> None:
        st.text(f"{isolated(made.name)} · {made.email}")
        st.markdown(
            "Give them this code on a way by which you know them. It works **once**, with their e-mail address, until "
            f"**{day(made.expires_at)}, {made.expires_at:%H:%M} UTC**. It is shown only now."
        )
        st.code(made.code, language=None)
        st.caption(
            "They open this dashboard, choose “I have an invitation or a reset code”, and pick a password of their own."
        )
        if made.waits:
            st.info("It works once another admin has approved the account.", icon=":material/group:")
        with st.container(horizontal=True, horizontal_alignment="right"):
            if st.button("I have handed it over", key="handed_over"):
                _forget()
                st.rerun()

    dialog()


def _forget() -> None:
    st.session_state.pop(HANDED, None)
