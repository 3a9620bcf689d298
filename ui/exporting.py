"""The file of a request for access or export, on the request's page: how far it is, what has to be judged, and handing it out.

The officer sees counts and who was asked. Sentences that may name somebody else are the only content that ever shows here, and
only after a click that is recorded: the learning record around them stays closed (docs/privacy.md).
"""

import uuid
from collections.abc import Mapping
from typing import Any

import streamlit as st

from core import privacy_actions as verbs
from core.privacy_actions import HandedOut
from core.queries import ExportRead, JudgedText, RequestPage
from ui import confirm, desk
from ui.actions import act
from ui.tables import capitalized, literal

HAND_OUT, SHOWN, HANDED = "hand out export", "export_texts_shown", "export_handed"
HOWS = {
    "handed over in person": "I give it to them in person",
    "put into their account": "It goes into their account on the platform",
    "sent encrypted": "It has to travel: ZIP with a password (AES-256)",
}
ERRORS = {
    "no space": "The disk of the database is full. Nothing half was kept; somebody who runs the machine has to make room."
}
ANSWERS = {
    "manual": "not connected",
    "": "did not answer",
}
HELP = (
    "Made by the worker from the labels of every column. Kept encrypted for 7 days under a key of its own, which is destroyed then."
    " Each link works once, for you, within 24 hours."
)


def card(found: RequestPage) -> None:
    """Draw the file: what it holds, what is next about it."""
    file = found.export
    if file is None or found.person_id is None or found.row.state not in ("verified", "answered"):
        return
    st.subheader("The file", anchor=False, help=HELP)
    if file.stage == "to judge" and found.row.closed_at is None and not found.own_record:
        _judging(found, file)
        return
    _handed(found)
    with st.container(border=True):
        _how_far(found, file)
        if file.stage in ("ready", "linked", "handed out", "expired"):
            _contents(file)
        if found.row.closed_at is None and not found.own_record:
            _more(found, file)
    _dialog(found)


def _how_far(found: RequestPage, file: ExportRead) -> None:
    many = f"**{file.total:,} record{'' if file.total == 1 else 's'}** of {len(file.records)} kind{'' if len(file.records) == 1 else 's'}"
    if file.stage in ("", "to build"):
        st.markdown(f":material/hourglass_top: The worker makes it. {many + ' so far counted.' if file.records else 'It begins within a minute.'}")  # fmt: skip
    elif file.stage == "failed":
        why = ERRORS.get(
            file.error or "", f"Something failed: {literal(file.error or '')}. The code stands in the log."
        )
        st.error(f"**The file could not be made.** {why}", icon=":material/cancel:")
        st.caption(f"Tried {file.attempts} time{'' if file.attempts == 1 else 's'}; again {desk.instant(file.next_at)}. Until it"
                   " is made you can also answer by hand, with evidence.")  # fmt: skip
    elif file.stage == "expired":
        st.markdown(
            f":material/delete_history: It was kept until {desk.instant(file.kept_until)} and is destroyed: its key first."
        )
    elif file.stage == "handed out":
        st.markdown(f":green[:material/check_circle:] Fetched {desk.instant(file.fetched_at)} by {literal(file.handed_by or '–')},"
                    f" **{file.handed_how}**. {many}.")  # fmt: skip
    else:
        empty = "We hold **nothing** about this person; the file says so in a friendly way"
        st.markdown(f":green[:material/check_circle:] **Ready**. {many if file.total else empty}, {_size(file.size)}.")
    if file.built_at and file.stage in ("ready", "linked", "handed out"):
        judged = ", ".join(f"{number} {_DECIDED[decision]}" for decision, number in file.judged)
        st.caption(f"Made {desk.instant(file.built_at)} · kept until {desk.instant(file.kept_until)}{f' · texts: {judged}' if judged else ''}"
                   f" · SHA-256 `{(file.sha256 or '')[:16]}…`")  # fmt: skip


_DECIDED = {"hand out": "handed out", "redact": "redacted", "leave out": "left out"}


def _contents(file: ExportRead) -> None:
    """What is in it: counts by kind, and what each processor answered."""
    left, right = st.columns(2, gap="medium")
    with left:
        rows = {
            "Kind of record": [capitalized(what) for what, _ in file.records],
            "Records": [many for _, many in file.records],
        }
        if file.records:
            st.dataframe(rows, hide_index=True, height=min(38 + 35 * len(file.records), 300))
        else:
            st.caption("No records.")
    with right:
        asked = {
            "Asked": [each.name for each in file.processors],
            "Answer": [
                (f"{each.rows:,} records" if each.rows else "holds nothing") if each.complete else ANSWERS.get(each.problem, ANSWERS[""])
                for each in file.processors
            ],
        }  # fmt: skip
        st.dataframe(asked, hide_index=True, height=min(38 + 35 * max(1, len(file.processors)), 300))
        if any(not each.complete for each in file.processors):
            st.caption(
                "Who did not answer, or is not connected, is named in the file with the reason: a person can look there."
            )


def _more(found: RequestPage, file: ExportRead) -> None:
    """The rarer ways: again, or anew. The next one stands above, as the request's next action."""
    with st.container(horizontal=True):
        if file.stage == "linked":
            st.caption("A link was made and not opened yet. If it is lost, hand the file out again.", width="stretch")
        if file.stage == "handed out":
            st.button("Hand it out again", key="hand_again", type="tertiary", icon=":material/ios_share:",
                      on_click=confirm.open_danger, args=(HAND_OUT,))  # fmt: skip
        if file.stage in ("ready", "linked", "handed out"):
            st.button("Make it anew", key="remake", type="tertiary", icon=":material/refresh:", on_click=remake,
                      args=(found.row.id,), help="With the data of now. The old file is destroyed.")  # fmt: skip


def remake(request_id: uuid.UUID) -> None:
    """Let the worker make the file anew."""
    desk.decide(verbs.remake_export, done="The worker makes it; that takes a minute at most.", request_id=request_id)


def _judging(found: RequestPage, file: ExportRead) -> None:
    """Draw the texts that wait for a decision, once they are asked for."""
    many = f"{file.waiting} text{'' if file.waiting == 1 else 's'}"
    with st.container(border=True):
        st.markdown(f":orange[:material/rule:] **{many} may name somebody else.** The file is made once you have decided about"
                    f" {'it' if file.waiting == 1 else 'each'}.")  # fmt: skip
        st.caption(
            "Others in a text have rights, too; and what is about the person belongs to them. Take out the words that lead to"
            " somebody else; leave a text out only if nothing else helps. You see the sentences in question, not the record around them."
        )
        if st.session_state.get(SHOWN) != found.row.id:
            st.button("Show the sentences", key="show_texts", icon=":material/visibility:", type="primary",
                      on_click=_show, args=(found.row.id,), help="It is recorded in the audit.")  # fmt: skip
            return
        act(verbs.record_request_view, request_id=found.row.id)
        if file.waiting > 1:
            st.menu_button("The same for all", [f"{words} ({file.waiting})" for words in _FOR_ALL], key="judge_all", icon=":material/done_all:",
                           on_click=_judge_all, args=(found.row.id,))  # fmt: skip
    for each in file.texts:
        _one(each)
    if file.waiting > len(file.texts):
        st.caption(f"The next {len(file.texts)} of {file.waiting}; the others follow.")


_FOR_ALL = {"Take out what was found": "redact", "Hand out as they are": "hand out", "Leave out": "leave out"}


def _show(request_id: uuid.UUID) -> None:
    st.session_state[SHOWN] = request_id


def _judge_all(request_id: uuid.UUID) -> None:
    words = str(st.session_state.get("judge_all") or "").rpartition(" (")[0]
    if words in _FOR_ALL:
        desk.decide(verbs.judge_export_texts, done="Decided. The worker makes the file now.", request_id=request_id,
                    decision=_FOR_ALL[words])  # fmt: skip


def _one(text: JudgedText) -> None:
    with st.container(border=True):
        st.caption(f"{capitalized(literal(text.what))}{f' · {text.written_on}' if text.written_on else ''}")
        for passage in text.passages:
            st.text(passage)
        key = f"words_{text.id}"
        st.multiselect("Words to take out", list(text.words), default=list(text.words), key=key, accept_new_options=True,
                       placeholder="Type a word and press Enter", label_visibility="collapsed" if text.words else "visible")  # fmt: skip
        with st.container(horizontal=True):
            for label, decision, kind in (
                ("Take out the words", "redact", "primary"),
                ("Hand out as it is", "hand out", "secondary"),
                ("Leave the text out", "leave out", "secondary"),
            ):
                st.button(label, key=f"{decision}_{text.id}", type=kind, on_click=_judge, args=(text.id, decision, key))  # type: ignore[arg-type]


def _judge(text_id: uuid.UUID, decision: str, key: str) -> None:
    words = tuple(st.session_state.get(key) or ()) if decision == "redact" else ()
    desk.decide(verbs.judge_export_text, done="Decided.", text_id=text_id, decision=decision, words=words)


def _dialog(found: RequestPage) -> None:
    """The dialog in front of handing out: it proves again who acts."""

    def fields() -> Mapping[str, Any]:
        how = st.radio("How does it reach the person?", list(HOWS), format_func=HOWS.__getitem__, key="hand_how")
        st.caption(
            "You fetch it through a link that works once, for you, within 24 hours. Encrypted: the password is shown once; tell it on"
            " another way than the file. 7-Zip and Keka open it, the ZIP program of Windows does not."
        )
        return {"how": how}

    confirm.danger_dialog(
        HAND_OUT,
        title="Hand the file out",
        consequence=f"Everything that we hold about this person leaves in one file. Be sure that {found.row.number} is theirs and that"
        " it goes to them alone.",
        word=None,
        button="Make the link",
        verb=verbs.hand_out_export,
        arguments={"request_id": found.row.id},
        fields=fields,
        reasons=None,
        nothing="Nothing leaves.",
        then=lambda made: st.session_state.__setitem__(HANDED, (found.row.id, made)),
        icon="ios_share",
        red=False,
    )


def _handed(found: RequestPage) -> None:
    """Draw the link and the password of a file that was just handed out: shown until the next click, and never again."""
    of, made = st.session_state.get(HANDED, (None, None))
    if of != found.row.id or not isinstance(made, HandedOut):
        return
    with st.container(border=True, key="handed_out"):
        if made.password:
            st.markdown(
                "**The password, shown only now.** Tell it on another way than the file: by telephone, or in person."
            )
            st.code(made.password, language=None)
        else:
            st.markdown("**The link works once.** Fetch the file and bring it to the person.")
        with st.container(horizontal=True, vertical_alignment="center"):
            st.link_button(f"Fetch {made.name}", f"files/{made.secret}", type="primary", icon=":material/download:")
            st.button("I have it", key="handed_done", on_click=_forget, help="Hides link and password.")


def _forget() -> None:
    st.session_state.pop(HANDED, None)


def _size(size: int | None) -> str:
    if not size:
        return "0 KB"
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{max(1, round(size / 1e3))} KB"
