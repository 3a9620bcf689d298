"""Audit: who did or saw what, and whether that can be proved. Admins see the proof, not the lines."""

import json
import uuid
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import streamlit as st

from core import privacy_actions, queries
from core.models.privacy import SEAL_REASONS
from core.privacy_actions import Action
from core.queries import AuditFilter, AuditLine, AuditState, Break, Colleague
from ui import confirm, filters, guards, states
from ui.actions import act
from ui.cached import read
from ui.clock import now
from ui.tables import csv_bytes, day, literal

STAFF = guards.require("privacy_officer", "auditor", "admin", what="Audit")
READERS, SEALERS = ("privacy_officer", "auditor"), ("privacy_officer", "admin")
PROPOSE, CONFIRM = "put up a break", "acknowledge a break"
EVERYTHING, EVERYBODY = "Every kind of line", "Everybody"
OTHERS = {"the system (worker, command line)": "system", "nobody (before a sign-in)": "nobody"}
PERIODS = {"Today": 0, "7 days": 6, "30 days": 29, "All time": None, "Dates": None}
MOST_EXPORTED = 5_000
HEADER = ("Line", "At (UTC)", "Who", "What", "About", "Id", "Details", "Session", "Previous hash", "Hash")
PROOF_HELP = (
    "Every line is bound to the one before by a hash. A check recomputes all of them and compares the end with checkpoints "
    "that are signed outside the database. It runs at every start and every day; while it fails, guarded actions are closed."
)


def proof(state: AuditState, moment: datetime, lines: int | None) -> None:
    """Draw what the last check found."""
    with st.grid(4, min_column_width=190):
        icon, word = verdict(state, moment)
        st.metric(f"{icon} State", word, border=True, height="stretch", help=PROOF_HELP)
        if lines is None:
            st.metric("Lines proved", state.lines, border=True, height="stretch", format="localized",
                      help="Lines that the last check found as they were written.")  # fmt: skip
        else:
            st.metric("Lines", lines, lines - state.lines, delta_color="off", delta_arrow="off",
                      delta_description="since the last check",
                      border=True, height="stretch", format="localized",
                      help="Lines in the log now. None is ever removed; the next check proves the new ones.")  # fmt: skip
        st.metric("Last check", ago(state.checked_at, moment), instant(state.checked_at), delta_color="off",
                  delta_arrow="off", border=True, height="stretch",
                  help="When the whole log was last recomputed. A check that is older than 26 hours is overdue.")  # fmt: skip
        st.metric("Signed checkpoints", state.checkpoints, f"last on {instant(state.signed_at)}" if state.signed_at else "none yet", delta_color="off",
                  delta_arrow="off", border=True, height="stretch", format="localized",
                  help="Signed statements about the end of the log, kept outside the database; as of the last check.")  # fmt: skip
    if state.broken:
        st.error(
            f"The last check failed: {literal(state.problem)}. Change nothing, and follow “The audit is broken” in the runbook.",
            icon=":material/cancel:",
        )
    elif state.stale(moment):
        st.warning(
            "The daily check is overdue. It is the worker's job; or run `python -m core audit verify`.",
            icon=":material/schedule:",
        )


def breaks(state: AuditState, names: dict[uuid.UUID, str]) -> None:
    """Draw the breaks that two people acknowledged, for ever, and the way out of the one that stands now."""
    found = read(STAFF, queries.audit_breaks)
    for each in found:
        if each.confirmed_at:
            by = " and ".join(literal(names.get(who, "–")) for who in (each.proposed_by, each.confirmed_by) if who)
            st.warning(f"**Not proved: {each.words}** ({literal(each.problem)}). Acknowledged on {instant(each.confirmed_at)} by {by}:"
                       f" {each.reason}. It stays named for good.", icon=":material/link_off:")  # fmt: skip
    if state.broken and any(each.current and each.confirmed_at for each in found):
        st.info(
            "The worker checks the log again within a minute, and opens guarded actions.",
            icon=":material/hourglass_top:",
        )
    elif state.broken and STAFF.role in SEALERS:
        acknowledge(state, [each for each in found if each.current and not each.confirmed_at], names)


def acknowledge(state: AuditState, waiting: list[Break], names: dict[uuid.UUID, str]) -> None:
    """Draw what one person puts up and another one acknowledges, where no backup mends the log."""
    with st.container(border=True):
        st.badge("two people", color="violet", icon=":material/group:")
        st.markdown(f"**Where no backup mends it: acknowledge the break.** {stretch(state)} No line is repaired or removed; every later"
                    " check, this page and every export name it. The next check, within a minute, opens guarded actions again.")  # fmt: skip
        others = [each for each in waiting if not each.mine]
        if any(each.mine for each in waiting):
            st.info(
                "You put this break up. Another privacy officer or admin has to acknowledge it.",
                icon=":material/group:",
            )
        for each in others:
            st.markdown(
                f"Put up by {literal(names.get(each.proposed_by, '–'))} on {instant(each.proposed_at)}: {each.reason}."
            )
            if st.button(":red[:material/link_off: Acknowledge the break]", key="confirm_seal"):
                confirm.open_danger(CONFIRM)
            seal_dialog(CONFIRM, privacy_actions.confirm_seal, {"seal_id": each.id}, None, state)
            break
        if not waiting and st.button(
            "Put the break up for acknowledgement", key="propose_seal", icon=":material/link_off:"
        ):
            confirm.open_danger(PROPOSE)
    seal_dialog(PROPOSE, privacy_actions.propose_seal, {"check_number": state.check_number}, SEAL_REASONS, state)


def stretch(state: AuditState) -> str:
    """What is not proved, in a sentence."""
    if state.broken_at is None:
        return "Signed checkpoints are missing; the lines themselves follow from each other."
    end = max(state.last_line or state.broken_at, state.lost_until or 0)
    many = end - state.broken_at + 1
    return f"{'Line' if many == 1 else 'Lines'} {state.broken_at:,}{f' to {end:,}' if many > 1 else ''} cannot be proved; the lines after follow from each other."


def seal_dialog(
    key: str, verb: Callable[..., Any], arguments: dict[str, Any], reasons: tuple[str, ...] | None, state: AuditState
) -> None:
    """Draw the last step of either person."""
    putting_up = key == PROPOSE
    confirm.danger_dialog(
        key,
        title="Put the break up for acknowledgement" if putting_up else "Acknowledge the break",
        consequence=f"{stretch(state)} You say that you have looked for a backup that mends it and that there is none."
        + ("" if putting_up else " **Nobody can take this back**, and it is shown for good, with both names."),
        facts=f":material/fact_check: {literal(state.problem)}",
        word="not proved",
        button="Put it up" if putting_up else "Acknowledge the break",
        verb=verb,
        arguments=arguments,
        reasons=reasons,
        nothing="Nothing was acknowledged.",
        done="Put up. Another privacy officer or admin acknowledges it."
        if putting_up
        else "Acknowledged. The next check opens guarded actions.",
        icon="link_off",
    )


def verdict(state: AuditState, moment: datetime) -> tuple[str, str]:
    """The state as icon and word."""
    if state.broken:
        return ":red[:material/cancel:]", "Broken"
    if state.stale(moment):
        return ":gray[:material/help:]", "Not proved"
    return ":green[:material/check_circle:]", "Sound"


def ago(at: datetime | None, moment: datetime) -> str:
    """How long ago, in the largest unit that says enough."""
    if at is None:
        return "never"
    minutes = max(0, int((moment - at).total_seconds() // 60))
    if minutes < 60:
        return f"{minutes} min ago"
    return f"{minutes // 60} h ago" if minutes < 48 * 60 else f"{minutes // 1440} days ago"


def instant(at: datetime | None) -> str:
    """An instant as people read it, with its minute."""
    return f"{day(at)}, {at:%H:%M} UTC" if at else "–"


def filter_row(people: Sequence[Colleague], moment: datetime) -> tuple[AuditFilter, str]:
    """Draw the filters, bound to the address; return what they say, and what is wrong with them."""
    with st.container(horizontal=True, vertical_alignment="center"):
        action = st.selectbox(
            "Kind of line", [EVERYTHING, *Action], key="action", bind="query-params", width=170,
            label_visibility="collapsed", format_func=str,
        )  # fmt: skip
        labels = labeled(people)
        actor = st.selectbox(
            "Who", [EVERYBODY, *OTHERS, *labels], key="actor", bind="query-params", width=190,
            label_visibility="collapsed",
        )  # fmt: skip
        typed = st.text_input(
            "Id of a person, request or account", key="subject", bind="query-params", width=215, max_chars=60,
            placeholder="Id of person or request", label_visibility="collapsed",
            icon=":material/fingerprint:",
        )  # fmt: skip
        period = st.segmented_control(
            "Period", list(PERIODS), key="period", bind="query-params", default="7 days", required=True,
            label_visibility="collapsed",
        )  # fmt: skip
        first, last = dates(moment) if period == "Dates" else (first_day(period, moment), None)
    subject, problem = parsed(typed or "")
    who = OTHERS.get(actor or "", "")
    kind = "" if action in (None, EVERYTHING) else str(action)
    return AuditFilter(kind, who, labels.get(actor or ""), subject, first, last), problem


def labeled(people: Sequence[Colleague]) -> dict[str, uuid.UUID]:
    """Names with roles; two of one name and role are told apart by the end of their id."""
    found: dict[str, uuid.UUID] = {}
    for each in people:
        label = f"{each.name} · {guards.ROLE_NAMES[each.role].lower()}{' (disabled)' if each.disabled else ''}"
        found[f"{label} · {str(each.id)[-4:]}" if label in found else label] = each.id
    return found


def parsed(typed: str) -> tuple[uuid.UUID | None, str]:
    """The id that was typed, or a sentence."""
    if not typed.strip():
        return None, ""
    try:
        return uuid.UUID(typed.strip()), ""
    except ValueError:
        return None, "That is no id. An id has 32 letters and digits, like 0199a8f2-6c1e-7d35-9b1a-3f2c7f1f0c11."


def first_day(period: str | None, moment: datetime) -> date | None:
    """The first day (UTC) of a period that ends today."""
    days = PERIODS.get(period or "")
    return None if days is None else moment.date() - timedelta(days=days)


def dates(moment: datetime) -> tuple[date | None, date | None]:
    """Draw the choice of a first and a last day, and return what is chosen so far."""
    today = moment.date()
    chosen = st.date_input(
        "First and last day", value=(today - timedelta(days=6), today), max_value=today, key="dates", bind="query-params",
        format="YYYY-MM-DD", width=240, label_visibility="collapsed",
    )  # fmt: skip
    days = list(chosen) if isinstance(chosen, tuple) else [chosen]
    return (days[0] if days else None), (days[1] if len(days) > 1 else None)


def clear_filters() -> None:
    """Put every filter back."""
    filters.put_back({"action": EVERYTHING, "actor": EVERYBODY, "subject": "", "period": "All time"})


def listing(wanted: AuditFilter, names: dict[uuid.UUID, str], lines: int) -> None:
    """Draw one page of lines, and the line that is selected."""
    if not lines:
        states.empty("The log is empty", "Lines appear here as soon as somebody signs in.")
        return
    total = read(STAFF, queries.audit_total, wanted)
    if not total.count:
        states.nothing_found(
            "No line matches", "No line of the log matches these filters. Widen the period or clear them.", clear=clear_filters
        )  # fmt: skip
        return
    befores = pages_of(wanted)
    found = read(STAFF, queries.audit_page, wanted, before=befores[-1])
    place = st.container()  # above the table: the last of fifty lines is below the screen
    chosen = table(found.lines, names, page=len(befores))
    footer(found, befores, f"More than {total.count:,}" if total.capped else f"{total.count:,}")
    if chosen is not None:
        with place:
            one(chosen, names)


def pages_of(wanted: AuditFilter) -> list[int | None]:
    """Where the pages seen so far begin; another filter begins at the end of the log."""
    if st.session_state.get("audit_view") != wanted:
        st.session_state["audit_view"], st.session_state["audit_befores"] = wanted, [None]
    befores: list[int | None] = st.session_state["audit_befores"]
    return befores


def table(lines: tuple[AuditLine, ...], names: dict[uuid.UUID, str], *, page: int) -> AuditLine | None:
    """Draw the lines; return the selected one."""
    chosen = st.dataframe(
        {
            "Line": [line.seq for line in lines],
            "At (UTC)": [f"{day(line.at)}, {line.at:%H:%M:%S}" for line in lines],
            "Who": [line.who for line in lines],
            "What": [[line.action] for line in lines],
            "About": [about(line, names) for line in lines],
            "Details": [told(line) for line in lines],
        },
        hide_index=True, row_height=36, height="content", on_select="rerun", selection_mode="single-row",
        key=f"audit_{page}_{lines[0].seq}_{lines[-1].seq}",
        column_config={
            "Line": st.column_config.NumberColumn(format="localized", width=80),
            "At (UTC)": st.column_config.TextColumn(width=160),
            "Who": st.column_config.TextColumn(width=150),
            "What": st.column_config.MultiselectColumn(options=[*map(str, Action)], color=[*map(color, Action)], width=165),
            "About": st.column_config.TextColumn(width=190),
        },
        alt=f"Table of {len(lines)} lines of the audit with number, time, who, what, about whom and details.",
    )  # fmt: skip
    rows = chosen["selection"]["rows"]
    return lines[rows[0]] if rows else None


def color(action: Action) -> str:
    """The color of a kind of line: what was refused, what went wrong, what gives rights, the rest."""
    if "fail" in action or "refused" in action or "broken" in action:
        return "red" if "broken" in action else "orange"
    if action.startswith(("staff", "role", "cohort", "policy")):
        return "violet"
    return "blue" if "view" in action or "export" in action or "opened" in action else "gray"


def about(line: AuditLine, names: dict[uuid.UUID, str]) -> str:
    """Whom or what a line is about: a colleague by name, everybody else by the ends of an id."""
    if line.subject_id is None:
        return "–"
    if line.subject_kind == "staff" and line.subject_id in names:
        return names[line.subject_id]
    return f"{line.subject_kind or ''} {short(line.subject_id)}"


def told(line: AuditLine) -> str:
    """The details in one line."""
    return " · ".join(f"{name.replace('_', ' ')}: {short(value)}" for name, value in line.details.items()) or "–"


def short(value: object) -> str:
    """A detail in the table: an id by its ends."""
    text = str(value)
    return f"{text[:8]}…{text[-4:]}" if len(text) == 36 and text.count("-") == 4 else text.replace("_", " ")


def footer(found: queries.AuditPage, befores: list[int | None], total: str) -> None:
    """Draw where we are, and the way on and back."""
    first = (len(befores) - 1) * queries.PAGE_SIZE + 1
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(
            f"{first:,} to {first + len(found.lines) - 1:,} of {total}, newest first · select a row to see the whole line",
            width="stretch",
        )
        st.button(
            "Previous", key="previous", icon=":material/chevron_left:", disabled=len(befores) == 1, on_click=turn_back
        )
        st.button(
            "Next", key="next", icon=":material/chevron_right:", icon_position="right", disabled=found.next is None,
            on_click=befores.append, args=(found.next,),
        )  # fmt: skip


def turn_back() -> None:
    """Go to the page before."""
    st.session_state["audit_befores"].pop()


def one(line: AuditLine, names: dict[uuid.UUID, str]) -> None:
    """Draw a whole line: what its kind means, and every field of it."""
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.subheader(f"Line {line.seq:,}", anchor=False, width="stretch")
            st.button("Lines by the same", icon=":material/person:", type="tertiary",
                      on_click=only, kwargs={"actor": line.actor_id}, disabled=line.actor_id not in names)  # fmt: skip
            st.button("Lines about the same", icon=":material/fingerprint:", type="tertiary",
                      on_click=only, kwargs={"subject": line.subject_id}, disabled=line.subject_id is None)  # fmt: skip
        st.caption(meaning(line.action))
        st.code(
            json.dumps(
                {
                    "seq": line.seq, "at": f"{line.at:%Y-%m-%dT%H:%M:%S.%fZ}", "who": line.who, "actor_id": word(line.actor_id),
                    "session_id": word(line.session_id), "action": line.action, "subject_kind": line.subject_kind,
                    "subject_id": word(line.subject_id), "details": line.details, "previous": line.previous,
                    "hash": line.hash,
                },
                indent=2, ensure_ascii=False,
            ),
            language=None, wrap_lines=True,
        )  # fmt: skip


def meaning(action: str) -> str:
    """When a kind of line is written; a kind that this program does not know is said to be one."""
    known = {str(each): each.when for each in Action}
    return known.get(action, "This program does not know this kind of line.")


def word(id: uuid.UUID | None) -> str | None:
    """An id as text."""
    return str(id) if id else None


def only(*, actor: uuid.UUID | None = None, subject: uuid.UUID | None = None) -> None:
    """Show the lines of one actor, or about one subject, in all time."""
    people = labeled(read(STAFF, queries.colleagues))
    clear_filters()
    st.session_state["subject"] = str(subject or "")
    st.session_state["actor"] = next((label for label, each in people.items() if each == actor), EVERYBODY)


def export_button(wanted: AuditFilter, names: dict[uuid.UUID, str]) -> None:
    """Offer the lines that match as a file: recorded, one link, once; open also while the audit is broken."""
    with st.popover("Export CSV", icon=":material/download:"):
        st.markdown(
            f"The newest {MOST_EXPORTED:,} lines that match. The export is recorded; the link works once, for you, within"
            " 15 minutes. `python -m core audit export` writes files of any length that prove themselves.",
            width=320,
        )
        if st.button("Make the file", key="make_file"):
            st.session_state["file_link"] = exported(wanted, names)
        if link := st.session_state.pop("file_link", None):
            st.link_button("Download audit.csv", link, type="primary", icon=":material/download:")


def exported(wanted: AuditFilter, names: dict[uuid.UUID, str]) -> str:
    """Make the file and return its one-time address."""
    lines = read(STAFF, queries.audit_page, wanted, size=MOST_EXPORTED).lines
    rows = [
        (n.seq, f"{n.at:%Y-%m-%dT%H:%M:%S.%fZ}", n.who, n.action, about(n, names), n.subject_id, told(n), n.session_id,
         n.previous, n.hash)
        for n in lines
    ]  # fmt: skip
    return f"files/{act(privacy_actions.export_audit, content=csv_bytes(HEADER, rows), rows=len(rows))}"


def page(moment: datetime) -> None:
    """Draw the proof, then the lines for those whom they are open to."""
    state = read(STAFF, queries.audit_state)
    top = st.container(horizontal=True, vertical_alignment="bottom")
    with top, st.container():
        st.title("Audit", anchor=False)
        st.caption(f"Who did or saw what · as of {moment:%H:%M} UTC")
    people = read(STAFF, queries.colleagues)
    names = {each.id: each.name for each in people}
    if STAFF.role not in READERS:
        proof(state, moment, None)
        breaks(state, names)
        st.caption("The lines are open to privacy officers and auditors; admins see the proof.")
        return
    lines = read(STAFF, queries.audit_total, AuditFilter()).count
    proof(state, moment, lines)
    breaks(state, names)
    wanted, problem = filter_row(people, moment)
    if problem:
        st.error(problem)
        return
    listing(wanted, names, lines)
    with top:
        export_button(wanted, names)


page(now())
