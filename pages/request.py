"""One request: its clocks, what is next and who does it, the plan, what was done, the letters, and the person when revealed."""

import uuid
from datetime import datetime, timedelta

import streamlit as st

from core import privacy_actions, queries
from core.errors import NotFound
from core.policy.machine import WAITS
from core.privacy_actions import FoundPerson
from core.queries import ErasureRead, Hold, LetterRow, RequestPage, Step
from core.settings import ROOT
from core.words import isolated
from ui import (
    confirm,
    correcting,
    desk,
    elsewhere,
    erasing,
    exporting,
    guards,
    holding,
    plans,
    request_dialogs,
    standing,
    states,
)
from ui.actions import act
from ui.cached import read
from ui.clock import now
from ui.tables import day, literal

STAFF = guards.require("privacy_officer", what="Request")
DESK = ROOT / "pages" / "requests.py"
CERTIFICATES, QUARANTINE = ROOT / "pages" / "certificates.py", ROOT / "pages" / "quarantine.py"
DECIDED = ("to approve", "waiting", "erasing")
WHO = {"subject": "the person", "parent": "a parent", "agent": "an agent"}
NEXT = {
    "link_subject": "Nobody is known by the details that were given. Find the person by an e-mail address; or answer that"
    " nothing is held.",
    "record_identity": "Nothing is answered or closed before it is clear who asks. Record how it was checked, or ask for a"
    " proof: then the clock rests.",
    "answer_request": "Do what was asked for, then record it with its evidence; the letter waits in the outbox.",
    "wait for the file": "Access and export are built by the worker; you are asked only where a text may name somebody else.",
    "judge_texts": "Others wrote these texts. Decide below; then the worker makes the file.",
    "remake_export": "What happened stands below. The worker makes the file again.",
    "hand_out_export": "Fetch it through a link that works once, and bring it to the person. Nothing is answered before.",
    "answer_export": "The file was fetched. When the person has it, say so: the letter goes out and the clock stops.",
    "answer_right": "It is in force already. The letter says what it means, and for how long.",
    "restrict_now": "It takes effect with the click and ends by itself when the request turns out to be nobody's.",
    "enter_correction": "Write old and new value as the person did; a second officer compares them.",
    "confirm_correction": "You did not enter it: compare old and new value with what the person wrote.",
    "answer_guardian": "Name and address of a parent or guardian, and nothing else, are theirs. What you do here is the answer.",
    "close_account": "Closing is reversible: the student can come back for {days} days. A second person then approves the plan.",
    "open_plan": "You may approve: you neither filed, own nor closed this request. Look at the plan first.",
    "approve_deletion": "The erasure then runs on {ends}. Until then the student can reactivate.",
    "wait for the person": "The clock rests since {paused}. When they answer, record what came out.",
    "wait for the grace period": "On {ends} the worker erases. Until then the student can reactivate.",
    "wait for the worker": "The steps below are done one by one; nothing can be taken back.",
    "nothing": "This request is closed.",
}
# what an erasure waits for → where people see to it: button, page
STUCK = {
    "by hand": ("Manual steps", "manual_steps"),
    "letter": ("Letters", "letters"),
    "hold": ("Holds", "holds"),
    "request": ("Requests", "requests"),
    "audit": ("Audit", "audit"),
    "many": ("Requests", "requests"),
    "clock": ("Requests", "requests"),
    "finding": ("Findings", "quarantine"),
}
WAITS_FOR = {
    "wait for the person": "the person's",
    "wait for the grace period": "the worker's",
    "wait for the worker": "the worker's",
    "wait for the file": "the worker's",
}


def wanted() -> uuid.UUID | None:
    """The id in the address, if it is one."""
    try:
        return uuid.UUID(st.query_params.get("id", ""))
    except ValueError:
        return None


def back() -> None:
    """Draw the way back to the desk, as it was."""
    if st.button("Requests", type="tertiary", icon=":material/arrow_back:", key="back"):
        st.switch_page(DESK, query_params=st.session_state.get("desk_params", {}))


def title_row(found: RequestPage) -> None:
    """Draw title, state and the rare actions; below them who asked, when and how."""
    row = found.row
    with st.container(horizontal=True, vertical_alignment="center"):
        st.title(f"{desk.TITLES[row.kind]} {row.number}", anchor=False, width="content")
        word, color, icon = (
            desk.STATES["waiting"] if row.state == "to approve" and found.account_closed_at else desk.state_of(row)
        )
        st.badge(word, color=color, icon=f":material/{icon}:")  # type: ignore[arg-type]
        if row.state == "to approve":
            st.badge("needs a second person", color="violet", icon=":material/group:")
        if row.early:
            st.badge("early deletion", color="red", icon=":material/warning:")
        if found.subject_is_staff:
            st.badge("works here", color="orange", icon=":material/badge:")
        st.space("stretch")
        if row.closed_at is None and found.person_id is not None and not revealed(found):
            st.button("Reveal identity", icon=":material/visibility:", key="reveal", on_click=reveal, args=(row.id,),
                      help="Shows who this is and what they wrote. It is recorded in the audit.")  # fmt: skip
        more(found)
    st.caption(told(found))


def told(found: RequestPage) -> str:
    """Who asked when, how it came to us, and in whose hands it is."""
    parts = [f"Asked by {WHO[found.requester]} on {day(found.row.received_at)} by {found.channel}"]
    if found.identity == "confirmed":
        parts.append(f"identity checked {day(found.identity_at)}")
    if found.filed_by:
        parts.append(f"filed by {literal(found.filed_by)}")
    owner = "you" if found.row.mine else literal(found.row.owner) if found.row.owner else "nobody"
    return " · ".join([*parts, f"owner: {owner}"])


def revealed(found: RequestPage) -> bool:
    """Whether the person is shown in this tab."""
    return bool(st.session_state.get("revealed_request") == found.row.id)


def reveal(request_id: uuid.UUID) -> None:
    """Show the person of this request from now on."""
    st.session_state["revealed_request"] = request_id


def more(found: RequestPage) -> None:
    """Draw the rare actions that this state allows."""
    options = rare(found)
    if options:
        st.menu_button("More", list(options), icon=":material/more_horiz:", key="more", on_click=pick,
                       args=(options, found.row.id, found.row.version))  # fmt: skip


def rare(found: RequestPage) -> dict[str, str]:
    """What may be done besides the next action: words → name of a dialog."""
    row = found.row
    if row.closed_at is not None or found.own_record:
        return {}
    fresh, known = row.state in DECIDED, found.person_id is not None
    options: dict[str, str] = {}
    if not row.mine and not fresh:
        options["Take it over"] = "take"
    if known and row.state == "received":
        options["Ask for proof of identity"] = "ask"
    if known and row.state in ("received", "checking"):
        options["Record the identity check"] = "identity"
    if row.state == "checking":
        options["Let the clock run on" if row.paused else "Let the clock rest"] = "resume" if row.paused else "pause"
    if found.can_extend:
        options["Extend the answer"] = "extend"
    guardians = row.person == "guardian" and row.kind in ("correct", "delete")
    if (
        (not fresh and not guardians and row.kind not in ("delete", "restrict", "opt_out", "object")) or not known
    ) and by_hand_is_possible(found):
        options["Record the answer"] = "answer"
    options |= {"Write a letter": "letter", "Add a note": "note"}
    if known and row.person != "guardian":
        options["Place a hold"] = "hold"
    if not fresh:
        options |= {"Refuse": "refuse", "Record a withdrawal": "withdraw"}
    elif row.state == "to approve":
        if not found.closed_by_student:
            options["Send the plan back"] = request_dialogs.SEND_BACK
        options["Refuse"] = request_dialogs.FRESH_REFUSAL
    if row.state == "waiting":
        options["Take the approval back"] = request_dialogs.TAKE_BACK
    if row.state in ("to approve", "waiting"):
        student = row.person == "student"
        options |= (
            {"Reactivate the account": request_dialogs.REACTIVATE}
            if student
            else {"Record a withdrawal": request_dialogs.FRESH_WITHDRAWAL}
        )
    return options


def by_hand_is_possible(found: RequestPage) -> bool:
    """Access and export are answered by their file, by hand only where none could be made."""
    return found.export is None or found.person_id is None or found.export.stage == "failed"


def pick(options: dict[str, str], request_id: uuid.UUID, version: int) -> None:
    """Open what was picked from the menu."""
    name = options.get(str(st.session_state.get("more")), "")
    start(name, request_id, version)


def start(name: str, request_id: uuid.UUID, version: int) -> None:
    """Begin an action on the request as it is drawn now."""
    if name == "restrict_now":
        desk.decide(privacy_actions.restrict_now, request_id=request_id, version=version)
    elif name == correcting.ENTER:
        desk.open_dialog(name, version)
    elif name == "take":
        desk.decide(privacy_actions.take_request, request_id=request_id, version=version)
    elif name == "hold":
        begin_hold(request_id)
    elif name == exporting.HAND_OUT:
        confirm.open_danger(name)
    elif name == "remake export":
        exporting.remake(request_id)
    elif name == "plan":
        if desk.decide(
            privacy_actions.open_plan, done="You have opened the plan. It is recorded.", request_id=request_id
        ):
            st.session_state["desk_plan"] = request_id
    elif name in request_dialogs.DIALOGS or name == "letter":
        desk.open_dialog(name, version)
    elif name:
        request_dialogs.ask(name, version)


def clocks(found: RequestPage, hands: tuple[Step, ...], moment: datetime) -> None:
    """Draw the two clocks and the next action."""
    grid = st.grid(3, min_column_width=295, border=True)
    with grid.cell():
        answer_clock(found, moment)
    with grid.cell():
        if found.row.kind == "delete":
            erasure_clock(found, moment)
        else:
            identity(found)
    with grid.cell():
        next_action(found, hands, moment)


ANSWER_HELP = (
    "Clause 7: answered within one calendar month of receipt, once longer by up to two more with a reason. The clock rests while "
    "the person's identity is being checked. All times are UTC."
)


def answer_clock(found: RequestPage, moment: datetime) -> None:
    """Draw when the answer is due, or when it was given."""
    clock, due = found.clock, found.clock.due(moment)
    st.markdown(":material/mail: **Answer to the person**", help=ANSWER_HELP)
    if clock.stopped_at:
        late = clock.overdue(moment)
        words = f":orange[:material/schedule: Given late, on {day(clock.stopped_at)}]" if late else f":green[:material/check_circle: Given on {day(clock.stopped_at)}]"  # fmt: skip
    elif clock.paused_at:
        words = ":gray[:material/pause_circle: The clock rests]"
    elif clock.overdue(moment):
        words = f":red[:material/warning: Overdue {desk.span(moment - due)}]"
    else:
        left = (
            desk.time_left(found.row, moment)[0] if found.row.what_is_due == "answer" else f"{desk.span(due - moment)}"
        )
        words = f"{'Due ' if left in ('today', 'tomorrow') else 'Due in '}{left}"
        words = f":orange[:material/schedule: {words}]" if found.row.due_soon else f":material/schedule: {words}"
    st.markdown(f"#### {words}", anchors=False)
    whole = max(1, round((due - clock.started_at - clock.paused) / timedelta(days=1)))
    used = min(1.0, clock.used(moment))
    st.progress(used, text=f"Day {min(whole, max(1, round(used * whole)))} of {whole}")
    extended = f" · extended by {clock.extended_months} month{'s' if clock.extended_months > 1 else ''}" if clock.extended_months else ""  # fmt: skip
    st.caption(f"Received {day(clock.started_at)} · due {desk.instant(due)}{extended}")


ERASURE_HELP = (
    "Clause 8: a closed account stays for 30 times 24 hours, and can be reactivated until then. It is erased after that, and "
    "never before a second person has approved the plan."
)


def erasure_clock(found: RequestPage, moment: datetime) -> None:
    """Draw how far the grace period is."""
    st.markdown(":material/auto_delete: **Erasure**", help=ERASURE_HELP)
    closed, ends = found.account_closed_at, found.grace_ends_at
    if found.row.state in ("erased", "reactivated", "refused", "withdrawn"):
        st.markdown(f"#### {found.row.state_words}", anchors=False)
        st.caption(f"{desk.instant(found.row.closed_at)} · {found.row.outcome or '–'}")
        return
    if ends is None:
        st.markdown("#### Not decided", anchors=False)
        days = found.parameters.grace_days
        st.caption(f"{days} days run from the day on which the account is closed; until then nothing is planned.")
        return
    if found.row.state == "erasing" and found.erasure:
        running(found.erasure)
        return
    left, held = ends - moment, found.row.state == "to approve"
    if left > timedelta():
        st.markdown(f"#### :material/hourglass_top: In {desk.in_words(left)}", anchors=False)
    elif held:
        st.markdown("#### :orange[:material/group: Waits for approval]", anchors=False)
    else:
        st.markdown("#### :material/hourglass_bottom: Is due", anchors=False)
    if closed:
        whole = max(1, round((ends - closed) / timedelta(days=1)))
        share = min(1.0, max(0.0, (moment - closed) / (ends - closed)))
        st.progress(share, text=f"Day {min(whole, int(share * whole) + 1)} of {whole}")
        st.caption(f"Closed {day(closed)} · erases {desk.instant(ends)}{', once approved' if held else ''}")
    else:
        st.caption("A visitor has no account: no grace period runs.")
    if found.erasure and (why := erasing.waits(found.erasure)):
        st.caption(f":orange[:material/hourglass_top: {why}]")


def running(found: ErasureRead) -> None:
    """Draw how far an erasure is, and for what it waits."""
    why = erasing.waits(found)
    st.markdown("#### :orange[:material/hourglass_top: Waits]" if why else "#### :material/delete: Runs", anchors=False)
    total = max(1, len(found.steps))
    st.progress(found.settled / total, text=f"{found.settled} of {total} steps proven")
    st.caption(why or f"Begun {desk.instant(found.begun_at)}; each step is read back before it counts.")


def identity(found: RequestPage) -> None:
    """Draw how the person's identity stands."""
    st.markdown(":material/badge: **Identity**", help="Nothing is answered before it is clear who asks.")
    words = {
        "confirmed": ":green[:material/check_circle: Confirmed]",
        "failed": ":red[:material/cancel: Not confirmed]",
        "asked": ":gray[:material/hourglass_top: Asked for]",
        "not checked": ":material/help: Not checked",
    }
    st.markdown(f"#### {words[found.identity]}", anchors=False)
    if found.identity_at:
        by = f" by {literal(found.identity_by)}" if found.identity_by else ""
        st.caption(f"{desk.instant(found.identity_at)}{by} · {found.identity_method}")
    elif found.person_id is None:
        st.caption("Nobody is known by the details that were given.")
    else:
        st.caption("How it is checked, by whom and with what result is recorded; a copy of a document never is.")


def next_by_hand(found: RequestPage, hands: tuple[Step, ...]) -> bool:
    """Draw that people are next while the grace period runs; return whether that is so. (What an erasure waits for it says itself.)"""
    if found.own_record or found.row.next.code != "wait for the grace period":
        return False
    to_do = sum(step.state == "open" for step in hands)
    mine = sum(step.state == "attested" and (not step.mine or found.single_officer) for step in hands)
    if not (to_do or mine):
        return False
    st.markdown(":material/bolt: **Next action: yours**")
    st.markdown(f"#### {to_do + mine} {'step' if to_do + mine == 1 else 'steps'} by hand", anchors=False)
    parts = [f"{to_do} to do" if to_do else "", f"{mine} to confirm as the second person" if mine else ""]
    st.caption(f"{', '.join(part for part in parts if part)}; they stand below. The grace period runs meanwhile.")
    return True


def next_action(found: RequestPage, hands: tuple[Step, ...], moment: datetime) -> None:
    """Draw what is next, who does it, and the button for it."""
    row, action = found.row, found.row.next
    if next_by_hand(found, hands):
        draw_buttons(found)
        return
    waits = erasing.waits(found.erasure) if found.erasure and row.closed_at is None else ""
    whose = (
        "somebody's"
        if waits
        else "yours"
        if action.mine
        else WAITS_FOR.get(action.code) or ("nobody's" if row.closed_at else "another officer's")
    )
    st.markdown(f":material/bolt: **Next action: {whose}**")
    approving = action.code in ("open_plan", "approve_deletion") and not action.mine
    stuck = STUCK.get(found.erasure.waits_code) if waits and found.erasure else None
    st.markdown(f"#### {'A second person approves the plan' if approving else action.words}", anchors=False)
    if waits:
        st.caption(waits)
        if stuck and st.button(stuck[0], key="see_to_it", icon=":material/arrow_forward:", icon_position="right"):
            st.switch_page(ROOT / "pages" / f"{stuck[1]}.py")
        return
    ends = (
        day(found.grace_ends_at) if found.grace_ends_at and found.grace_ends_at > moment else "the worker's next round"
    )
    sentence = NEXT[action.code].format(
        days=found.parameters.grace_days, ends=ends, paused=day(found.clock.paused_at)
    )  # fmt: skip
    if row.closed_at is not None:
        sentence = f"{row.state_words} on {day(row.closed_at)}. A closed request does not change any more."
    st.caption(action.why_not or sentence)
    draw_buttons(found)


def draw_buttons(found: RequestPage) -> None:
    """Draw the buttons of the next action."""
    with st.container(horizontal=True):
        for label, name, primary in buttons(found):
            st.button(label, key=f"do_{name}", type="primary" if primary else "secondary", on_click=start,
                      args=(name, found.row.id, found.row.version))  # fmt: skip


def buttons(found: RequestPage) -> list[tuple[str, str, bool]]:
    """The buttons of the next action: label, what it begins, whether it is the main one."""
    row, action = found.row, found.row.next
    if row.closed_at is not None or found.own_record:
        return []
    if not action.mine and action.code not in WAITS:
        return [("Reactivate", request_dialogs.REACTIVATE, False)] if row.person == "student" else []
    many: dict[str, list[tuple[str, str, bool]]] = {
        "link_subject": [("Find the person", "link", True), ("Answer", "answer", False)],
        "record_identity": [("Record the check", "identity", True)]
        + ([("Ask for proof", "ask", False)] if row.state == "received" else [("Refuse", "refuse", False)]),
        "answer_request": [("Record the answer", "answer", True)],
        "remake_export": [("Try again now" if found.export and found.export.stage == "failed" else "Make it anew", "remake export", True)],
        "hand_out_export": [("Hand it out", exporting.HAND_OUT, True)],
        "answer_export": [("The person has it", "answer export", True)],
        "answer_right": [("Answer", "answer right", True)] + ([("Refuse", "refuse", False)] if row.kind == "object" else []),
        "restrict_now": [("Restrict at once", "restrict_now", True), ("Record the check", "identity", False)],
        "enter_correction": [("Enter the correction", correcting.ENTER, True), ("Answer", "answer", False)],
        "confirm_correction": [("Compare and confirm", correcting.CONFIRM, True)],
        "close_account": [("Close the account" if row.person == "student" else "Prepare the deletion",
                           request_dialogs.CLOSE, True)],
        "answer_guardian": [("Correct", request_dialogs.CORRECT_GUARDIAN, True)] if row.kind == "correct"
        else [("Erase the guardian", request_dialogs.ERASE_GUARDIAN, True)],
        "open_plan": [("Open the plan", "plan", True), ("Send back", request_dialogs.SEND_BACK, False)],
        "approve_deletion": [("Review and approve", request_dialogs.APPROVE, True),
                             ("Send back", request_dialogs.SEND_BACK, False)],
        "wait for the person": [("Record the check", "identity", True)],
        "wait for the grace period": [("Reactivate", request_dialogs.REACTIVATE, False)],
    }  # fmt: skip
    found_buttons = many.get(action.code, [])
    if found.closed_by_student:
        found_buttons = [("Reactivate", request_dialogs.REACTIVATE, False) if each[1] == request_dialogs.SEND_BACK else each
                         for each in found_buttons]  # fmt: skip
    if row.person != "student":
        found_buttons = [each for each in found_buttons if each[1] != request_dialogs.REACTIVATE]
    return found_buttons


def plan(found: RequestPage, moment: datetime) -> None:
    """Draw what goes and what stays: the plan that counts, or what it would be."""
    if (
        found.row.kind != "delete"
        or found.person_id is None
        or found.row.closed_at is not None
        or found.row.person == "guardian"
    ):
        return
    st.subheader("Plan: what goes, what stays", anchor=False, help=PLAN_HELP)
    kept = found.plan
    if kept is None:
        shown = act(privacy_actions.preview_deletion, request_id=found.row.id)
        plans.table(shown.document)
        st.caption(
            f"A preview, {plans.policy(shown.policy_version)}, computed {moment:%H:%M} UTC. The plan is made when the account is"
            " closed, and a second person approves exactly that one."
        )
        return
    if found.row.next.code == "open_plan" and found.row.next.mine:
        with st.container(border=True):
            st.markdown(
                "You have not opened this plan yet. Nobody approves what they have not seen; opening it is recorded."
            )
            st.button(
                "Open the plan", key="open_plan_here", on_click=start, args=("plan", found.row.id, found.row.version)
            )
        return
    plans.table(kept.document)
    for problem in kept.document.get("problems", []):
        st.error(f"Nobody can approve this plan: {literal(problem)}.", icon=":material/cancel:")
    holds = ", ".join(sorted({each["number"] for each in kept.document.get("holds", [])}))
    approved = f" · approved by {', '.join(map(literal, kept.approved_by))}" if kept.approved_by else ""
    approved += f" · approved by rule: {literal(kept.by_rule)}" if kept.by_rule else ""
    st.caption(
        f"Plan {plans.short(kept.fingerprint)} · {plans.policy(kept.policy_version)} ·"
        f" {f'held by {holds}' if holds else 'no hold'} · made {desk.instant(kept.made_at)}{approved}"
    )


PLAN_HELP = (
    "Made from the labels of every column: what happens to each table, at which processors, and what the law keeps. It holds no "
    "numbers of rows, because they move during the grace period. A plan that changes comes back for approval."
)


def steps(found: RequestPage, moment: datetime) -> None:
    """Draw what was done and what is still to come, with who did it when."""
    st.subheader("Steps and evidence", anchor=False)
    for label, detail, state, body in step_list(found, moment):
        icon = {"done": ":material/check_circle:", "now": ":material/pending:", "failed": ":material/cancel:"}.get(
            state
        )
        with st.expander(
            f"{label} :gray[:small[{detail}]]", expanded=state == "now" and bool(body), type="step", icon=icon
        ):
            if body:
                st.markdown(body)
    if found.erasure and not found.own_record:
        for step in erasing.failed(found.erasure):
            st.button(f"Try again now: {literal(step.place)}", key=f"retry_{step.id}", icon=":material/refresh:", on_click=try_again,
                      args=(step.id,), help="It is tried once an hour anyway. From now on you see to it.")  # fmt: skip
        proof(found)


def proof(found: RequestPage) -> None:
    """Draw the ways to what an erasure left: findings to judge, and its certificate."""
    if read(STAFF, queries.open_findings, request_id=found.row.id) and st.button(
        "Judge what was found", icon=":material/search:"
    ):
        st.switch_page(QUARANTINE, query_params={"view": "findings"})
    if found.row.state == "erased" and st.button("Open the certificate", icon=":material/workspace_premium:"):
        st.switch_page(CERTIFICATES, query_params={"number": found.row.number})


def try_again(step_id: uuid.UUID) -> None:
    """Give a failed step its attempts again."""
    desk.decide(privacy_actions.retry_erasure_step, done="The worker tries it again now.", step_id=step_id)


def step_list(found: RequestPage, moment: datetime) -> list[tuple[str, str, str, str]]:
    """The steps of this kind of request: label, when and by whom, "done", "now", "later" or "failed", and what to say."""
    row = found.row
    lines = [("Received and filed", stamp(found.filed_at or row.received_at, found.filed_by), "done", "")]
    order = ["received", "checking", "verified", "to approve", "waiting", "erasing", "erased"]
    at = order.index(row.state) if row.state in order else len(order)
    if found.identity in ("confirmed", "failed"):
        state = "done" if found.identity == "confirmed" else "failed"
        lines.append(("Identity checked" if state == "done" else "Identity not confirmed",
                      stamp(found.identity_at, found.identity_by), state, ""))  # fmt: skip
    elif row.closed_at is None:
        lines.append(("Check the identity", "now", "now", ""))
    if row.kind != "delete":
        lines += file_steps(found)
        lines.append(answered(found))
        return lines
    lines.append(
        ("Account closed", stamp(found.account_closed_at, None), "done", "")
        if found.account_closed_at
        else ("Close the account", "" if at != 2 else "now", "now" if at == 2 else "later", "")
    )
    if row.closed_at is not None and row.state != "erased":
        return [each for each in lines if each[2] != "later"] + [
            (row.state_words, f"{desk.instant(row.closed_at)} · {row.outcome or '–'}", "done", "")
        ]
    lines.append(approval(found, at))
    if found.erasure and found.erasure.begun_at:
        return [*lines, *erasing.lines(found.erasure)]
    erases = day(found.grace_ends_at) if found.grace_ends_at else "after the grace period"
    later = [("Erase at the processors", erases), ("Erase in the platform database", erases),
             ("Read back and scan for residue", erases), ("Certificate of erasure", erases)]  # fmt: skip
    state = "done" if row.state == "erased" else "now" if row.state == "erasing" else "later"
    return lines + [(label, "after approval" if at < 4 else when, state, "") for label, when in later]


def file_steps(found: RequestPage) -> list[tuple[str, str, str, str]]:
    """The steps of a file: made, fetched."""
    file = found.export
    if file is None or found.person_id is None or (found.row.closed_at and file.built_at is None):
        return []
    made = (
        ("File made", f"{desk.instant(file.built_at)} · {file.total:,} records", "done", "")
        if file.built_at
        else (
            "Make the file",
            "now" if found.row.state == "verified" else "",
            "now" if found.row.state == "verified" else "later",
            "",
        )
    )
    fetched = (
        ("File handed out", stamp(file.fetched_at, file.handed_by), "done", "")
        if file.fetched_at
        else ("Hand the file out", "", "now" if file.stage in ("ready", "linked") else "later", "")
    )
    return [made] if found.row.closed_at and not file.fetched_at else [made, fetched]


def answered(found: RequestPage) -> tuple[str, str, str, str]:
    """The last step of a request that is not a deletion."""
    if found.row.closed_at is not None:
        return (found.row.state_words, f"{desk.instant(found.row.closed_at)} · {found.row.outcome or '–'}", "done", "")
    now_ = found.row.state == "verified" and (found.export is None or found.export.stage == "handed out")
    return ("Answer the request", "now" if now_ else "", "now" if now_ else "later", "")


def approval(found: RequestPage, at: int) -> tuple[str, str, str, str]:
    """The step of the second person, as whoever looks has to read it."""
    if at >= 4:
        by = ", ".join(map(literal, found.plan.approved_by)) if found.plan and found.plan.approved_by else "a rule"
        return ("Second person approved the plan", by, "done", "")
    if at < 3 or found.plan is None:
        return ("Second person approves the plan", "later", "later", "")
    action, given = found.row.next, len(found.plan.approved_by)
    needed = f"{given} of {found.plan.needed} approvals are given. " if found.plan.needed > 1 else ""
    if action.mine:
        return ("Second person approves the plan", "waits for you", "now",
                f"{needed}You may approve: you did not file, close or own this request.")  # fmt: skip
    return ("Second person approves the plan", "waits for another officer", "now", f"{needed}{action.why_not}")


def stamp(at: datetime | None, by: str | None) -> str:
    """When, and by whom."""
    when = f"{at.day} {at:%b, %H:%M}" if at else ""
    return " · ".join(part for part in (when, literal(by) if by else "") if part)


def holds_of(found: RequestPage) -> tuple[Hold, ...]:
    """The holds on this request's person; none once the person is gone."""
    if found.person_id is None or found.row.person == "guardian":
        return ()
    return read(STAFF, queries.holds_of, **{f"{found.row.person}_id": found.person_id})


def begin_hold(request_id: uuid.UUID) -> None:
    """Open the form of a new hold."""
    holding.forget()
    st.session_state["hold_for"] = request_id


def holds(found: RequestPage, rows: tuple[Hold, ...]) -> None:
    """Draw what may not be erased of this person, and the way to hold more or to release it."""
    opened = st.session_state.get("hold_for") == found.row.id and found.row.closed_at is None and not found.own_record
    if not rows and not opened:
        return
    st.subheader(
        "Holds",
        anchor=False,
        help="What the law needs stays until somebody releases it; the rest of a deletion goes on.",
    )
    with st.container(border=True):
        for hold in rows:
            one_hold(hold, own=found.own_record)
        if opened:
            new_hold(found)
        elif found.row.closed_at is None and not found.own_record:
            st.button(
                "Place a hold",
                icon=":material/lock:",
                key="hold_begin",
                type="tertiary",
                on_click=begin_hold,
                args=(found.row.id,),
            )


def one_hold(hold: Hold, *, own: bool) -> None:
    """Draw one hold: what it keeps, why, until when; a released one says that what it held goes on."""
    stands = hold.released_at is None
    with st.container(horizontal=True, vertical_alignment="center"):
        icon = ":violet[:material/gavel:]" if stands else ":gray[:material/lock_open:]"
        detail = (f"{hold.basis} · {literal(hold.reference or '–')} · review by {day(hold.review_on)} · {literal(hold.owner)}" if stands else
                  f"released {day(hold.released_at)} by {literal(hold.released_by or '–')} ({hold.release_reason}): what it held goes on")  # fmt: skip
        st.markdown(f"{icon} **{hold.number}** keeps {literal(hold.scope)}  \n:gray[:small[{detail}]]", width="stretch")
        if stands and not own and st.button("Release", key=f"release_{hold.number}", type="tertiary"):
            confirm.open_danger(holding.release_key(hold))
    if stands:
        holding.release_dialog(hold)


def new_hold(found: RequestPage) -> None:
    """Draw the form of a new hold on this request's person; opening it shows who they are, which is recorded."""
    act(privacy_actions.record_request_view, request_id=found.row.id)
    assert found.person_id is not None
    who = FoundPerson(found.row.person or "student", found.person_id, found.row.who or "–", found.email or "–")
    with st.container(horizontal=True, vertical_alignment="center"):
        st.text(isolated(who.name), width="stretch")
        st.button("Cancel", key="hold_cancel", type="tertiary", on_click=holding.forget)
    holding.form(who)


def person(found: RequestPage) -> None:
    """Draw who this is and what they wrote, once revealed; every showing is recorded."""
    st.subheader("The person", anchor=False)
    if found.row.closed_at is not None:
        st.caption("The request is closed: identity and words are not open any more.")
        return
    if not revealed(found):
        if found.person_id is None and not found.texts:
            st.caption("Nobody is known, and nothing was written.")
        else:
            with st.container(border=True):
                st.markdown("Hidden until you need it; showing it is recorded.")
                st.button("Reveal identity and words", icon=":material/visibility:", key="reveal_here", on_click=reveal,
                          args=(found.row.id,))  # fmt: skip
        return
    act(privacy_actions.record_request_view, request_id=found.row.id)
    with st.container(border=True):
        if found.row.who:
            st.text(isolated(found.row.who))
        if found.email:
            st.text(found.email)
        if found.account_status:
            st.caption(f"{found.row.person or 'person'} · account {found.account_status}")
        for each in found.texts:
            by = f" · {literal(each.by)}" if each.by else ""
            st.caption(f"{TEXTS[each.what]} · {desk.instant(each.written_at)}{by}")
            st.text(each.body)
        st.caption("Shown in this tab · recorded in the audit")


TEXTS = {
    "words": "In their words", "contact": "As it was given to us", "note": "Note", "reason": "Reason", "evidence": "Evidence",
}  # fmt: skip


def letters(found: RequestPage) -> None:
    """Draw the letters: what waits, what was sent; the text once the person is revealed."""
    st.subheader("Letters", anchor=False)
    if not found.letters:
        st.caption("None." if found.row.closed_at else "None yet. “Write a letter” is under More.")
        return
    for letter in found.letters:
        with st.expander(
            f"{letter.kind.capitalize()} :gray[:small[{of_letter(letter)}]]", icon=f":material/{ICONS[letter.state]}:"
        ):
            if not revealed(found):
                st.caption("Reveal the identity to read it.")
            else:
                st.text(letter.subject)
                st.code(letter.body, language=None, wrap_lines=True)
                if letter.address:
                    st.text(f"To {letter.address}")
            if letter.sendable and not found.own_record:
                with st.container(horizontal=True):
                    st.button("Mark as sent by hand", key=f"sent_{letter.id}", on_click=mark_sent, args=(letter.id,))
                    st.button("Cancel the letter", key=f"cancel_{letter.id}", type="tertiary", on_click=cancel,
                              args=(letter.id,))  # fmt: skip


ICONS = {"waiting": "schedule_send", "sent": "mark_email_read", "failed": "error", "canceled": "block"}


def of_letter(letter: LetterRow) -> str:
    """How a letter stands."""
    if letter.state == "sent":
        return f"sent {desk.instant(letter.sent_at)} {letter.sent_how or ''}"
    if letter.state in ("waiting", "failed"):
        failed = f"failed {letter.attempts} times, " if letter.state == "failed" else ""
        return f"{failed}waits to be sent" if letter.sendable else f"for {day(letter.not_before)}"
    return letter.state


def mark_sent(letter_id: uuid.UUID) -> None:
    """Record that a letter was sent by hand."""
    desk.decide(privacy_actions.mark_sent_by_hand, letter_id=letter_id)


def cancel(letter_id: uuid.UUID) -> None:
    """Take a letter out of the outbox."""
    desk.decide(privacy_actions.cancel_letter, letter_id=letter_id)


def timeline(found: RequestPage) -> None:
    """Draw what happened, newest first."""
    st.subheader("Timeline", anchor=False)
    with st.container(border=True, gap="xsmall"):
        for event in reversed(found.timeline):
            by = f" · {literal(event.by)}" if event.by else ""
            when, what = st.columns([2, 5], gap="small")
            when.caption(f"{event.at.day} {event.at:%b, %H:%M}")
            what.markdown(f":small[{literal(event.words)}{by}]")


def danger(found: RequestPage) -> None:
    """Draw the danger zone: early deletion, for a closed account whose plan is not approved yet."""
    row = found.row
    if row.kind != "delete" or row.person != "student" or row.state != "to approve" or row.early or found.own_record:
        return
    with st.container(border=True):
        st.badge("Danger zone", color="red", icon=":material/warning:")
        st.markdown(
            "**Erase before the grace period ends.** Takes away the student's right to reactivate. Needs the student's own words"
            + (
                ", and your approval alone: single-officer mode is declared (at risk)."
                if found.single_officer
                else " and two approvers."
            )
        )
        st.button(":red[:material/delete_forever: Ask for early deletion]", key="early", width="stretch",
                  on_click=request_dialogs.ask, args=(request_dialogs.EARLY, row.version))  # fmt: skip


def notices(found: RequestPage, held: tuple[Hold, ...]) -> None:
    """Say what is out of the ordinary."""
    in_force = [hold for hold in held if hold.released_at is None]
    if found.row.kind == "delete" and found.row.closed_at is None and in_force:
        whole = next((hold for hold in in_force if hold.table is None), None)
        numbers = ", ".join(hold.number for hold in in_force)
        st.info(f"**{whole.number} keeps everything about this person**: nothing is erased until it is released." if whole else
                f"**{numbers}** {'keeps' if len(in_force) == 1 else 'keep'} part of this person's data; the rest of the deletion goes on."
                " A release resumes what was held.", icon=":material/gavel:")  # fmt: skip
    if found.own_record:
        st.warning("This is your own record. Another privacy officer decides.", icon=":material/person_off:")
    elif found.subject_is_staff and found.row.closed_at is None:
        st.info(
            "This person works here too. Their staff account is not touched by this request.", icon=":material/badge:"
        )
    if found.single_officer and found.row.state == "to approve":
        st.warning("Single-officer mode is declared: you may approve what you closed. The Policy page shows it as at risk.",
                   icon=":material/group_off:")  # fmt: skip


def page(moment: datetime) -> None:
    """Draw the request, or say that there is none: one answer for an unknown id and somebody else's."""
    back()
    request_id = wanted()
    try:
        if request_id is None:
            raise NotFound("There is no such request, or it is not open to you.")
        found = read(STAFF, queries.request_page, request_id, now=moment)
    except NotFound as error:
        states.state("No such request", error.sentence, icon="search_off", key="no_request")
        return
    title_row(found)
    if desk.OPEN not in st.session_state:  # a dialog says it itself
        desk.say()
    held, hands = holds_of(found), read(STAFF, queries.manual_steps, request_id=found.row.id, waiting=False)
    notices(found, held)
    clocks(found, hands, moment)
    grid = st.grid(3, min_column_width=295)
    with grid.cell(column_span=2):
        decided = found.row.state in ("waiting", "erasing") or found.row.closed_at is not None
        correcting.card(found, revealed=revealed(found))
        standing.card(STAFF, found)
        if decided:  # what waits for people and what is done; before that, what is to be decided on
            elsewhere.draw(found.steps, hands, moment, alone=found.single_officer)
            steps(found, moment)
        exporting.card(found)
        holds(found, held)
        plan(found, moment)
        if not decided:
            steps(found, moment)
            elsewhere.draw(found.steps, hands, moment, alone=found.single_officer)
    with grid.cell():
        timeline(found)
        person(found)
        letters(found)
        danger(found)
    request_dialogs.draw(found)


page(now())
