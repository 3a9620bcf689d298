"""One case of age and consent as a card: what is known, what comes next for whoever looks, and its history.

Each form belongs to the version of the case that was drawn (its key names it), so that a decision on an older picture is told,
and an uploaded picture leaves the server's memory with the form.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import streamlit as st

from core import privacy_actions as verbs
from core import queries
from core.errors import AdminError
from core.models.consent import METHODS, WITHOUT_CONSENT
from core.policy.age import AgeStanding
from core.queries import ConsentCase
from core.words import isolated
from ui import confirm, desk, export, guards
from ui.actions import act
from ui.cached import read
from ui.tables import capitalized, day, literal

# need → word, color, icon
NEEDS = {
    "below": ("below the minimum age", "red", "warning"),
    "verify": ("to verify", "violet", "group"),
    "missing": ("consent missing", "orange", "error"),
    "silent": ("guardian is silent", "orange", "schedule"),
    "lapsed": ("18 now, asked anew", "blue", "cake"),
    "not answered": ("did not answer", "orange", "schedule"),
    "lapsing": ("18 within 30 days", "blue", "cake"),
    "requested": ("guardian asked", "gray", "hourglass_top"),
    "not asked": ("not asked yet", "blue", "bolt"),
    "asked": ("asked for the age", "gray", "hourglass_top"),
    "verified": ("consent verified", "green", "check_circle"),
}
STATES = {
    "not needed": ("not needed", "gray", "check"),
    "missing": ("missing", "orange", "error"),
    "requested": ("guardian asked", "gray", "hourglass_top"),
    "given": ("to verify", "violet", "group"),
    "verified": ("verified", "green", "check_circle"),
    "refused": ("refused", "orange", "block"),
    "withdrawn": ("withdrawn", "orange", "undo"),
    "lapsed": ("lapsed at 18", "blue", "cake"),
}
ADULT, MINOR, UNDATED = "18 or over", "Below 18, born on", "Below 18, date not known"
YES, NO = "They consent", "They do not"
VERIFY, REFUSE, EVIDENCE, FORGET = "verify consent", "refuse consent", "open evidence", "forget guardian"


def card(case: ConsentCase, moment: datetime, *, alone: bool) -> None:
    """Draw a case and what whoever looks can do about it. ``alone``: single-officer mode."""
    with st.container(border=True, gap="small"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.subheader(f"Case {case.number}", anchor=False, width="content")
            word, color, icon = STATES[case.state]
            if case.age is AgeStanding.NOT_DECLARED:
                word, color, icon = "age not declared", "blue", "help"
            st.badge(word, color=color, icon=f":material/{icon}:")  # type: ignore[arg-type]
            if case.restricted:
                st.badge("account restricted", color="red", icon=":material/lock:")
            st.space("stretch")
            whom(case)
        moved(case)
        facts(case, moment)
        if case.own_record:
            st.info("This is your own record. Another privacy officer sees to it.", icon=":material/person_off:")
        else:
            next_step(case, moment, alone=alone)
        history(case)


def moved(case: ConsentCase) -> None:
    """Say that somebody else changed the case since it was drawn in this tab: what was pressed on the old picture did nothing."""
    key = f"consent_drawn_{case.student_id}"
    before = st.session_state.get(key)
    st.session_state[key] = case.version
    if before is not None and before != case.version and not case.changed_by_me:
        st.warning(
            f"Case {case.number} was changed since you opened it. Look at it again, then decide.",
            icon=":material/update:",
        )


def seen(case: ConsentCase) -> verbs.SeenStudent | None:
    """The student, once somebody asked for them in this tab."""
    found: verbs.SeenStudent | None = st.session_state.get(f"consent_person_{case.student_id}")
    return found


def whom(case: ConsentCase) -> None:
    """Draw who the student is, once somebody asked; that is recorded."""
    found = seen(case)
    if found is None:
        st.button("Show the student", icon=":material/visibility:", type="tertiary", key="show_consent", on_click=show, args=(case,),
                  help="Name and e-mail. The view is recorded.")  # fmt: skip
    else:
        st.text(f"{isolated(found.name)} · {found.email}", width="content")


def show(case: ConsentCase) -> None:
    """Reveal whom a case is about."""
    try:
        found = act(verbs.reveal_consent, student_id=case.student_id)
    except AdminError as error:
        st.session_state[desk.SAID] = ("problem", error.sentence)
        return
    st.session_state[f"consent_person_{case.student_id}"] = found


def facts(case: ConsentCase, moment: datetime) -> None:
    """Draw what is known: age, guardian, consent."""
    with st.grid(3, min_column_width=230):
        with st.container(border=True, height="stretch", gap="xsmall"):
            st.caption("Age")
            st.markdown(f"**{capitalized(case.age)}**")
            st.caption(age_told(case, moment))
        with st.container(border=True, height="stretch", gap="xsmall"):
            st.caption("Guardian")
            if case.guardian is None:
                st.markdown("**Nobody known**")
            elif seen(case):
                st.text(isolated(case.guardian.name))
                st.text(case.guardian.email)
            else:
                st.markdown("**Known**")
                st.caption("Name and address show with the student.")
        with st.container(border=True, height="stretch", gap="xsmall"):
            st.caption("Consent")
            st.markdown(f"**{capitalized(STATES[case.state][0])}**")
            st.caption(literal(consent_told(case)))


def age_told(case: ConsentCase, moment: datetime) -> str:
    """What we know of the age, since when, and what follows."""
    if case.age is AgeStanding.NOT_DECLARED:
        if case.asked_at is None:
            return "Not asked yet."
        late = case.answer_by is not None and case.answer_by <= moment
        return f"Asked {day(case.asked_at)}, to be answered by {day(last_day(case.answer_by))}{', which is past' if late else ''}."
    told = f"Declared {day(case.declared_at)}." if case.declared_at else ""
    if case.birth_date and case.of_age_at:
        left = case.of_age_at - moment
        when = f"in {desk.span(left)}" if left > timedelta() else f"since {day(case.of_age_at)}"
        return f"Born {day(case.birth_date)}, 18 {when}. {told}"
    return (
        f"{told} No birth date is kept."
        if case.age is AgeStanding.ADULT
        else f"{told} The birth date is not known yet."
    )


def last_day(until: datetime | None) -> datetime | None:
    """The last whole day before midnight."""
    return until - timedelta(microseconds=1) if until else None


def consent_told(case: ConsentCase) -> str:
    """How it came, who entered it and who verified it."""
    if case.state == "lapsed":
        return "It ended on the 18th birthday. The student was asked anew."
    parts = []
    if case.requested_at:
        parts.append(f"asked {day(case.requested_at)}")
    if case.reminded_at:
        parts.append(f"reminded {day(case.reminded_at)}")
    if case.method:
        parts.append(f"{case.method}, entered {day(case.entered_at)} by {case.entered_by or 'an import'}")
    if case.verified_at:
        parts.append(f"verified {day(case.verified_at)} by {case.verified_by or 'an import'}")
    return capitalized(" · ".join(parts)) or (
        "Nothing to do." if case.state == "not needed" else "Nobody was asked yet."
    )


def next_step(case: ConsentCase, moment: datetime, *, alone: bool) -> None:
    """Draw what comes next first, and what else is possible below."""
    if case.age is AgeStanding.BELOW:
        st.error("Below the minimum age (clause 9): the worker closes this account and erases it without a waiting period. If the"
                 " date is wrong, record the right one now; then the account opens again.", icon=":material/warning:")  # fmt: skip
        record_age(case, moment, first=True)
        return
    if case.state == "given":
        decide(case, alone=alone)
    elif case.state in ("missing", "refused", "withdrawn"):
        ask(case, first=True)
        enter(case, first=False)
    elif case.state == "requested":
        enter(case, first=True)
        ask(case, first=False)
    if case.state in ("requested", "given", "verified"):
        withdraw(case)
    if case.guardian and seen(case):
        of_guardian(case)
    record_age(case, moment, first=case.state in ("not needed", "lapsed"))


def drawn(case: ConsentCase) -> str:
    """What tells the forms of one picture of a case from all others."""
    return f"{case.number}_{case.version}"


def place(title: str, icon: str, *, first: bool) -> Any:
    """Where a form stands: open when it is the next thing to do."""
    return st.expander(f":material/{icon}: {title}", expanded=first)


def ask(case: ConsentCase, *, first: bool) -> None:
    """Draw the form that asks a guardian."""
    again = "Ask again, or another guardian" if case.guardian else "Ask a parent or guardian"
    with (
        place(again, "outgoing_mail", first=first),
        st.form(f"ask_{drawn(case)}", border=False, enter_to_submit=False),
    ):
        name, email = guardian_fields(case)
        words = st.text_area("Your own words in the letter, if any", max_chars=2000, height=80)
        with st.container(horizontal=True, horizontal_alignment="right"):
            pressed = st.form_submit_button("Ask for consent", type="primary" if first else "secondary")
    if pressed:
        settle(verbs.request_consent, case, guardian_name=name, guardian_email=email, words=words or "")


def guardian_fields(case: ConsentCase) -> tuple[str, str]:
    """Draw name and address of the guardian, as known so far."""
    known = case.guardian if seen(case) else None
    if case.guardian and known is None:
        st.caption("A guardian is known: leave both empty to mean them.")
    with st.container(horizontal=True):
        name = st.text_input("Guardian's name", known.name if known else "", max_chars=200, autocomplete="off")
        email = st.text_input("Guardian's e-mail", known.email if known else "", max_chars=200, autocomplete="off",
                              help="Not the student's own.")  # fmt: skip
    return name or "", email or ""


def enter(case: ConsentCase, *, first: bool) -> None:
    """Draw the form that records what a guardian decided."""
    with (
        place("Enter what the guardian decided", "edit_document", first=first),
        st.form(f"enter_{drawn(case)}", border=False, enter_to_submit=False),
    ):
        decided = st.radio("The guardian", [YES, NO], horizontal=True)
        method = st.selectbox("How it came", METHODS, index=None, placeholder="Choose how")
        name, email = guardian_fields(case)
        given = st.file_uploader(
            "Evidence, if there is any: one picture (PNG, JPEG or WebP, at most 10 MB)", key=f"evidence_{drawn(case)}",
            help="Kept encrypted and without metadata (place, camera), seen once per link, and destroyed with the decision.",
        )  # fmt: skip
        with st.container(horizontal=True, horizontal_alignment="right"):
            pressed = st.form_submit_button("Enter it", type="primary" if first else "secondary")
    if pressed:
        settle(verbs.enter_consent, case, given=decided == YES, method=method or "", guardian_name=name, guardian_email=email,
               evidence=given.getvalue() if given is not None else None)  # fmt: skip


def decide(case: ConsentCase, *, alone: bool) -> None:
    """Draw the second officer's decision; whoever entered it reads whose it is."""
    if case.has_evidence:
        evidence(case)
    elif case.evidence_gone_at is not None:
        st.warning(
            f"The evidence was destroyed on {day(case.evidence_gone_at)}: undecided evidence is kept for 30 days. Ask the guardian anew,"
            " or verify by another way.", icon=":material/hide_image:",
        )  # fmt: skip
    else:
        st.caption(":material/no_photography: No evidence was uploaded.")
    if case.mine and not alone:
        st.info("You entered this consent. Another privacy officer verifies or refuses it.", icon=":material/group:")
        return
    if case.mine:
        st.warning("Single-officer mode is declared: you may verify what you entered. The Policy page shows it as at risk.",
                   icon=":material/group_off:")  # fmt: skip
    with st.container(horizontal=True, horizontal_alignment="right"):
        if st.button("Refuse", key="refuse_consent", icon=":material/block:"):
            confirm.open_danger(f"{REFUSE}:{drawn(case)}")
        if st.button("Verify the consent", key="verify_consent", type="primary", icon=":material/check_circle:"):
            confirm.open_danger(f"{VERIFY}:{drawn(case)}")
    who = f"Entered by {literal(case.entered_by or 'an import')} on {day(case.entered_at)}: {case.method}."
    arguments = {"student_id": case.student_id, "version": case.version}
    confirm.danger_dialog(
        f"{VERIFY}:{drawn(case)}", title=f"Verify the consent of {case.number}", verb=verbs.verify_consent, arguments=arguments,
        consequence="You are convinced that a parent or guardian consents. **The account opens at once**; guardian and student are told,"
        " and the evidence is destroyed.",
        before=who, word=None, reasons=None, button="Verify the consent", keep="Do not verify", nothing="Nothing was verified.",
        done=f"{case.number} is verified. The account is not restricted any more.", icon="check_circle", red=False,
    )  # fmt: skip
    confirm.danger_dialog(
        f"{REFUSE}:{drawn(case)}", title=f"Refuse the consent of {case.number}", verb=verbs.refuse_consent, arguments=arguments,
        consequence="The account stays restricted, the guardian is told why, and the evidence is destroyed.",
        before=who, word=None, reasons=verbs.CONSENT_REFUSALS, button="Refuse the consent", keep="Do not refuse",
        nothing="Nothing was refused.", done=f"{case.number} is refused.", icon="block", red=False,
    )  # fmt: skip


def evidence(case: ConsentCase) -> None:
    """Draw the way to the picture: a link that opens once, after a fresh proof."""
    link = st.session_state.get(f"evidence_link_{drawn(case)}")
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(":material/image: A picture was uploaded as evidence.", width="stretch")
        if link:
            st.link_button(
                "See the picture", f"files/{link}", icon=":material/open_in_new:", help="Opens once, for you."
            )
        elif st.button(
            "Open the evidence", key="open_evidence", icon=":material/visibility:", help="The view is recorded."
        ):
            confirm.open_danger(f"{EVIDENCE}:{drawn(case)}")
    confirm.danger_dialog(
        f"{EVIDENCE}:{drawn(case)}", title=f"Open the evidence of {case.number}", verb=verbs.open_evidence,
        arguments={"student_id": case.student_id},
        consequence="You get a link that opens once, in this session only. That you looked is recorded.",
        word=None, reasons=None, button="Make the link", keep="Do not open", nothing="Nothing was opened.", icon="visibility", red=False,
        then=lambda secret: st.session_state.__setitem__(f"evidence_link_{drawn(case)}", secret),
    )  # fmt: skip


def withdraw(case: ConsentCase) -> None:
    """Draw the form that records that the consent was taken back."""
    with (
        place("Record that it was taken back", "undo", first=False),
        st.form(f"withdraw_{drawn(case)}", border=False, enter_to_submit=False),
    ):
        st.caption("The account is restricted at once, and student and guardian are told.")
        who = st.radio("Taken back by the", verbs.WITHDRAWN_BY, horizontal=True)
        words = st.text_area("Your own words in the letter, if any", max_chars=2000, height=80)
        with st.container(horizontal=True, horizontal_alignment="right"):
            pressed = st.form_submit_button("Withdraw the consent")
    if pressed:
        settle(verbs.withdraw_consent, case, who=who, words=words or "")


def of_guardian(case: ConsentCase) -> None:
    """Draw what a guardian may ask for about themselves: a copy, a correction, erasure."""
    assert case.guardian is not None
    staff = guards.signed_in()
    with place("The guardian asks about their own data", "person", first=False):
        rows = read(staff, queries.guardian_copy, case.student_id) if staff else ()
        export.offer(
            "guardian",
            ("What", "Value"),
            rows,
            note="A copy for the guardian of what is held about them, and nothing of the student",
        )
        with (
            st.form(f"correct_{drawn(case)}", border=False, enter_to_submit=False),
            st.container(horizontal=True, vertical_alignment="bottom"),
        ):
            name = st.text_input("Name, corrected", case.guardian.name, max_chars=200, autocomplete="off")
            email = st.text_input("E-mail, corrected", case.guardian.email, max_chars=200, autocomplete="off")
            pressed = st.form_submit_button("Correct")
        with st.container(horizontal=True, horizontal_alignment="right"):
            if st.button(":red[:material/delete_forever: Erase the guardian]", key="forget_guardian"):
                confirm.open_danger(f"{FORGET}:{drawn(case)}")
    confirm.danger_dialog(
        f"{FORGET}:{drawn(case)}", title=f"Erase the guardian of {case.number}", verb=verbs.forget_guardian,
        arguments={"student_id": case.student_id, "version": case.version, "confirmation": case.number},
        consequence="Their consent ends, **the account is restricted at once**, and the worker erases their name and address. A last letter"
        " tells them.",
        word=case.number, reasons=None, button="Erase the guardian", keep="Do not erase", nothing="Nothing was erased.",
        done="The guardian is forgotten; the worker erases their name and address.", icon="delete_forever",
    )  # fmt: skip
    if pressed:
        settle(verbs.correct_guardian, case, guardian_name=name or "", guardian_email=email or "")


def record_age(case: ConsentCase, moment: datetime, *, first: bool) -> None:
    """Draw the form that records what the student said about their age."""
    with (
        place("Record the age", "cake", first=first),
        st.form(f"age_{drawn(case)}", border=False, enter_to_submit=False),
    ):
        with st.container(horizontal=True, vertical_alignment="bottom"):
            said = st.radio("The student is", [ADULT, MINOR, UNDATED], index=None, width="stretch")
            born = st.date_input("Date of birth", None, min_value=moment.date() - timedelta(days=366 * 110), max_value=moment.date(),
                                 format="YYYY-MM-DD", width=180, help="Of minors only. Of whoever is of age the yes is kept, and no date.")  # fmt: skip
        how = st.selectbox("How we know", verbs.DECLARED, index=None, placeholder="Choose how")
        with st.container(horizontal=True, horizontal_alignment="right"):
            pressed = st.form_submit_button("Record the age", type="primary" if first else "secondary")
    if not pressed:
        return
    if said is None or (said == MINOR and born is None):
        missing = (
            "Choose what the student is." if said is None else "Give the date of birth, or choose “date not known”."
        )
        st.session_state[desk.SAID] = ("problem", missing)
        st.rerun()
    settle(verbs.declare_age, case, adult=said == ADULT, birth_date=born if said == MINOR else None, how=how or "")


def settle(verb: Callable[..., Any], case: ConsentCase, **arguments: Any) -> None:
    """Run a verb on the case as it is drawn, and draw what became of it."""
    desk.decide(verb, student_id=case.student_id, version=case.version, **arguments)
    st.rerun()


def history(case: ConsentCase) -> None:
    """Draw what happened to a case, newest first."""
    if not case.history:
        return
    with st.expander(f":material/history: History · {len(case.history)} step{'s' if len(case.history) > 1 else ''}"):
        st.table(
            {
                "When": [desk.instant(step.at).replace(" ", "\u00a0") for step in case.history],
                "What": [literal(f"{step.what} · {step.reason}" if step.reason else step.what) for step in case.history],
                "Consent then": [step.state for step in case.history],
                "By": [literal(step.by) for step in case.history],
            },
            border="horizontal", hide_index=True, alt=f"Table of the {len(case.history)} steps of {case.number}.",
        )  # fmt: skip


def is_open(case: ConsentCase) -> bool:
    """Whether something is to be done about a case."""
    return case.state in (*WITHOUT_CONSENT, "lapsed") or case.age is AgeStanding.NOT_DECLARED
