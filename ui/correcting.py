"""A correction on the request's page: what is to change is entered by one officer, compared and confirmed by another one.

Old and new values are the person's: they are shown in the dialogs, which record that they were seen, and in the card once the
identity is revealed. They stand in inputs and tables only, which read no markdown.
"""

from typing import Any

import streamlit as st

from core import privacy_actions as verbs
from core.models.platform import EXPERIENCE_LEVELS
from core.privacy_actions import OpenedCorrection, OpenedField
from core.queries import RequestPage
from ui import confirm, desk
from ui.actions import act

ENTER, CONFIRM, RETURN = "enter correction", "confirm correction", "return correction"
BECAUSE = {
    "changed": "It was right once and has changed",
    "mistyped": "It was written down wrong",
    "never theirs": "It is somebody else's",
}
HELP = (
    "Old and new value as they were entered. Nothing changes before a second officer has compared them with what the person wrote. Values that "
    "were corrected do not come back with an old spreadsheet or a sync."
)


def draw(found: RequestPage, *, version: int) -> None:
    """Draw whichever dialog of a correction is open; ``version`` is the one on which a confirmation was begun."""
    if opened := desk.opened(ENTER):
        _enter(found, opened[0])
    if found.row.kind == "correct" and found.row.closed_at is None and found.row.next.code == "confirm_correction":
        _confirm(found, version)


def card(found: RequestPage, *, revealed: bool) -> None:
    """Draw what is to be corrected, and how far it is."""
    if found.row.kind != "correct" or found.person_id is None or found.row.person == "guardian":
        return
    st.subheader("What is corrected", anchor=False, help=HELP)
    if found.row.closed_at is not None:
        done = found.row.outcome == "corrected"
        st.caption(
            "Corrected and passed on; the values stand in the person's record and its export."
            if done
            else "Nothing was corrected here."
        )
        return
    waits = found.row.next.code == "confirm_correction"
    if found.row.state != "verified":
        st.caption("It is entered once the identity is confirmed: whoever changes an address gets the account.")
    elif not waits:
        st.caption("Nothing is entered yet. The words of the person stand under “The person”, once revealed.")
    elif not revealed:
        st.caption(
            ":violet[:material/group:] Entered, and waits for a second officer. Reveal the identity to see old and new values."
        )
    else:
        opened: OpenedCorrection = act(verbs.open_correction, request_id=found.row.id)
        compare(opened)
    if waits and not found.own_record:
        st.button("Return it", key="do_return_correction", icon=":material/undo:", type="tertiary", on_click=desk.open_dialog,
                  args=(RETURN, found.row.version), help="Nothing is changed; it can be entered anew.")  # fmt: skip


def compare(opened: OpenedCorrection) -> None:
    """Draw old and new values side by side."""
    rows = opened.waiting
    st.dataframe(
        {
            "Field": [each.name + (" in another form" if each.form else "") for each in rows],
            "Now": [each.old_value or "–" for each in rows],
            "Will be": [each.new_value or "–" for each in rows],
            "Why": [BECAUSE[each.reason].lower() for each in rows],
        },
        hide_index=True,
        row_height=36,
        height="content",
        alt=f"Table of {len(rows)} values that are to be corrected, now and then.",
    )


def _enter(found: RequestPage, version: int) -> None:
    @st.dialog("Enter the correction", width="medium", icon=":material/edit:", on_dismiss=desk.close_dialog)
    def show() -> None:
        opened: OpenedCorrection = act(verbs.open_correction, request_id=found.row.id)
        st.caption("Change what is wrong and leave the rest. A second officer confirms it; opening this is recorded.")
        with st.form("dialog_enter_correction", border=False, enter_to_submit=False):
            typed = {each.field.name: _input(each) for each in opened.fields}
            reason = st.selectbox("Why is it wrong?", list(BECAUSE), format_func=BECAUSE.__getitem__, index=None, placeholder="Choose",
                                  key="correction_reason")  # fmt: skip
            forms = bool(opened.forms) and st.checkbox(
                f"{opened.forms} other form{'s' if opened.forms > 1 else ''} with the same e-mail address {'are' if opened.forms > 1 else 'is'}"
                " theirs: correct them too",
                help="Where they hold the same old value. Leave it out when the address is somebody else's.",
            )
            note = st.text_area("Note (optional)", height=68, key="correction_note")
            desk.problem_in_dialog()
            with st.container(horizontal=True, horizontal_alignment="right"):
                kept = st.form_submit_button("Cancel", key="enter_cancel")
                pressed = st.form_submit_button("Enter the correction", key="enter_go", type="primary")
        if kept:
            desk.close_dialog()
            st.rerun()
        if pressed:
            new = {
                each.field.name: typed[each.field.name]
                for each in opened.fields
                if typed[each.field.name] != (each.value or "")
            }
            if not reason:
                st.session_state[desk.SAID] = ("problem", "Say why it is wrong.")
                st.rerun()
            desk.answer_in_dialog(verbs.enter_correction, request_id=found.row.id, version=version, values=new, reason=reason,
                                  with_forms=forms, note=note or "")  # fmt: skip

    show()


def _input(opened: OpenedField) -> str:
    field, value = opened.field, opened.value or ""
    label, key = field.name.capitalize(), f"correct_{field.column}"
    if field.column == "experience_level":
        return str(st.selectbox(label, EXPERIENCE_LEVELS, index=EXPERIENCE_LEVELS.index(value), key=key))
    return st.text_input(label, value=value, max_chars=300, autocomplete="off", key=key)


def _confirm(found: RequestPage, version: int) -> None:
    def fields() -> dict[str, Any]:
        compare(act(verbs.open_correction, request_id=found.row.id))
        return {"words": st.text_area("Your own words in the letter (optional)", height=68, key="correction_words")}

    confirm.danger_dialog(
        CONFIRM,
        title=f"Confirm the correction {found.row.number}",
        consequence="The record changes **at once**, the processors that hold it are to follow, and the person is told. A new e-mail address"
        " takes over the account's mail; the old one gets a letter, too. Compare with what the person wrote.",
        word=None,
        button="Confirm the correction",
        verb=verbs.confirm_correction,
        arguments={"request_id": found.row.id, "version": version},
        reasons=None,
        fields=fields,
        then=_told,
        icon="fact_check",
        red=False,
        nothing="Nothing was changed.",
    )


def _told(receipt: Any) -> None:
    st.session_state[desk.SAID] = ("done", receipt.sentence)
