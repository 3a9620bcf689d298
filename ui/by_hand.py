"""One manual step as a card: what to do at which processor, the evidence of it, and the second person's yes.

Drawn on the page of all steps and on the page of a request; each card belongs to one step, whose id keys its widgets.
"""

import uuid
from datetime import datetime

import streamlit as st

from core import privacy_actions
from core.errors import AdminError
from core.models.erasure import RETURN_REASONS
from core.privacy_actions import FoundPerson
from core.queries import Step
from core.words import isolated
from ui import confirm, desk
from ui.actions import act
from ui.tables import day, literal

CONFIRM = "confirm step"
# state → word, color, icon
STATES = {"open": ("to do", "blue", "bolt"), "attested": ("to confirm", "violet", "group"),
          "confirmed": ("done", "green", "check_circle"), "canceled": ("not needed any more", "gray", "block")}  # fmt: skip


def state_of(step: Step, moment: datetime) -> tuple[str, str, str]:
    """How a step stands, as a person reads it: word, color, icon."""
    if step.overdue(moment.date()):
        return f"{STATES[step.state][0]}, overdue", "red", "warning"
    return STATES[step.state]


def card(step: Step, moment: datetime, *, alone: bool, of_request: bool = False) -> bool:
    """Draw a step and what whoever looks can do about it; return whether its request is asked for.

    ``alone``: single-officer mode; ``of_request``: on its request's page.
    """
    asked = False
    with st.container(border=not of_request, gap="small"):
        if not of_request:
            with st.container(horizontal=True, vertical_alignment="center"):
                st.subheader(literal(step.title), anchor=False, width="content")
                word, color, icon = state_of(step, moment)
                st.badge(word, color=color, icon=f":material/{icon}:")  # type: ignore[arg-type]
                st.space("stretch")
                asked = step.request_id is not None and st.button(
                    f"Open {step.request}",
                    key="open_request",
                    type="tertiary",
                    icon=":material/arrow_forward:",
                    icon_position="right",
                )
        st.caption(told(step))
        if step.returned_for and step.state == "open":
            st.warning(f"Returned by the second person: {step.returned_for}. Do it again.", icon=":material/undo:")
        if step.state == "open":
            whom(step)
            to_do(step)
        else:
            evidence(step)
        if step.state == "attested":
            to_confirm(step, alone=alone)
    return asked


def told(step: Step) -> str:
    """Since when, until when, whose, and which request it belongs to."""
    parts = [f"about a {step.person}" if step.person else "the person is erased here", f"asked {day(step.made_at)}",
             f"due {day(step.due_on)}", f"seen to by {literal(step.owner)}" if step.owner else "nobody has taken it"]  # fmt: skip
    return " · ".join([f"{step.request}" if step.request else "no request", *parts])


def whom(step: Step) -> None:
    """Draw whom to look for there, once somebody asked; that is recorded."""
    seen: FoundPerson | None = st.session_state.get(f"step_person_{step.id}")
    if step.person is None:
        return
    if seen is None:
        st.button(f"Show the {step.person} to look for", icon=":material/visibility:", key=f"show_{step.id}", on_click=show,
                  args=(step.id,), help="Name and e-mail, to search for at the processor. The view is recorded.")  # fmt: skip
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.text(isolated(seen.name), width="content")
        st.code(seen.email, language=None)
        st.code(str(seen.id), language=None)


def show(step_id: uuid.UUID) -> None:
    """Reveal whom a step is about."""
    try:
        st.session_state[f"step_person_{step_id}"] = act(privacy_actions.reveal_step_person, step_id=step_id)
    except AdminError as error:
        st.session_state[desk.SAID] = ("problem", error.sentence)


def to_do(step: Step) -> None:
    """Draw the checklist and the form of the evidence."""
    if step.own_record:
        st.info("This is about your own record. Another privacy officer sees to it.", icon=":material/person_off:")
        return
    with st.form(f"attest_{step.id}", border=False, enter_to_submit=False):
        st.markdown("**What to do there**")
        done = [st.checkbox(line, key=f"line_{step.id}_{place}") for place, line in enumerate(step.lines)]
        words = st.text_area("Evidence, in your words", key=f"words_{step.id}", height=100,
                             placeholder="Where you looked, what you saw, the number of the ticket.",
                             help="The second person confirms by reading this. Name nobody; it goes when the person is erased.")  # fmt: skip
        if problem := st.session_state.pop(f"problem_{step.id}", ""):
            st.error(f"Nothing was changed. {literal(problem)}")
        with st.container(horizontal=True, horizontal_alignment="right"):
            taken = st.form_submit_button("I see to it", key=f"take_{step.id}", disabled=step.owner is not None,
                                          help="Others see that you do it; nothing else changes.")  # fmt: skip
            pressed = st.form_submit_button("Attest that it is done", key=f"attest_go_{step.id}", type="primary")
    if taken:
        desk.decide(privacy_actions.take_manual_step, done="You see to it.", step_id=step.id)
        st.rerun()
    if pressed:
        attest(step, done, words or "")
        st.rerun()


def attest(step: Step, done: list[bool], words: str) -> None:
    """Give the evidence: the lines that were ticked, and one's own words; or say what is missing."""
    if not all(done):
        st.session_state[f"problem_{step.id}"] = (
            "Tick every line. If one does not apply, tick it and say why in the evidence."
        )
        return
    lines = "\n".join(f"✓ {line}" for line in step.lines)
    try:
        act(
            privacy_actions.attest_manual_step,
            step_id=step.id,
            evidence=f"{lines}\n\n{words.strip()}" if words.strip() else "",
        )
    except AdminError as error:
        st.session_state[f"problem_{step.id}"] = error.sentence
        return
    st.session_state.pop(f"step_person_{step.id}", None)
    st.session_state[desk.SAID] = ("done", "Attested. Another privacy officer confirms it.")


def evidence(step: Step) -> None:
    """Draw who did it when, and what they wrote."""
    st.markdown(
        f":material/fact_check: Attested by **{literal(step.attested_by or '–')}** · {desk.instant(step.attested_at)}"
    )
    if step.evidence:
        st.code(step.evidence, language=None, wrap_lines=True)
    else:
        st.caption("The evidence went with the person; its SHA-256 is kept.")
    if step.confirmed_at:
        st.markdown(
            f":green[:material/check_circle:] Confirmed by **{literal(step.confirmed_by or '–')}** · {desk.instant(step.confirmed_at)}"
        )


def to_confirm(step: Step, *, alone: bool) -> None:
    """Draw the second person's decision; whoever attested reads whose it is."""
    if step.own_record:
        st.info("This is about your own record. Another privacy officer confirms it.", icon=":material/person_off:")
        return
    if step.mine and not alone:
        st.info("You attested this. Another privacy officer confirms it.", icon=":material/group:")
        return
    if step.mine:
        st.warning("Single-officer mode is declared: you may confirm what you attested. The Policy page shows it as at risk.",
                   icon=":material/group_off:")  # fmt: skip
    with st.container(horizontal=True, horizontal_alignment="right", vertical_alignment="bottom"):
        reason = st.selectbox("Why it goes back", RETURN_REASONS, key=f"why_{step.id}", index=None,
                              placeholder="Not enough? Choose why", label_visibility="collapsed", width=260)  # fmt: skip
        st.button("Return it", key=f"return_{step.id}", icon=":material/undo:", disabled=reason is None, on_click=give_back,
                  args=(step.id, reason))  # fmt: skip
        if st.button("Confirm the step", key=f"confirm_{step.id}", type="primary", icon=":material/check_circle:"):
            confirm.open_danger(f"{CONFIRM}:{step.id}")
    confirm.danger_dialog(
        f"{CONFIRM}:{step.id}",
        title=f"Confirm: {literal(step.title)}",
        consequence="You have read the evidence and it shows that this was done. **The erasure goes on by your word**; a confirmed"
        " step does not change any more." if step.what == "erase" else
        "You have read the evidence and it shows that this was done. A confirmed step does not change any more.",
        before=f"Attested by {literal(step.attested_by or '–')} on {day(step.attested_at)}.",
        word=step.processor,
        button="Confirm the step",
        verb=privacy_actions.confirm_manual_step,
        arguments={"step_id": step.id},
        reasons=None,
        keep="Do not confirm",
        nothing="Nothing was confirmed.",
        done=f"Confirmed: {step.title}.",
        icon="check_circle",
        red=False,
    )  # fmt: skip


def give_back(step_id: uuid.UUID, reason: str) -> None:
    """Send an attested step back."""
    desk.decide(privacy_actions.return_manual_step, done="Returned. It is to do again.", step_id=step_id, reason=reason)
