"""One incident: its clock, whom it concerns, the two decisions, what was filed, and its closing by two people."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta

import streamlit as st

from core import privacy_actions, queries
from core.privacy_actions import Staff
from core.queries import IncidentRow
from core.settings import ROOT
from ui import confirm, desk, export, notices
from ui.cached import catalog, read
from ui.tables import literal

NOTICES = ROOT / "pages" / "notices.py"
NATURES = {
    "confidentiality": "somebody saw or took data",
    "integrity": "data was changed",
    "availability": "data was lost or cannot be reached",
}
AUTHORITY = {"undecided": "undecided", "notify": "to be notified", "not needed": "not needed"}
NOTES = ("note", "report of a processor", "correspondence")


def clock(row: IncidentRow, moment: datetime) -> tuple[str, str]:
    """How the 72 hours stand: words and color."""
    if row.clock == "stopped":
        late = row.notified_at is not None and row.notified_at > row.due_at
        return ("notified late", "red") if late else ("notified", "green") if row.notified_at else ("no need", "gray")
    if row.clock == "overdue":
        return f"overdue {desk.span(moment - row.due_at)}", "red"
    return f"{desk.span(row.due_at - moment)} left", "orange" if row.clock == "48 hours" else "blue"


def authority(row: IncidentRow) -> str:
    """What was decided about the authority."""
    return "notified" if row.notified_at else AUTHORITY[row.authority]


def next_step(row: IncidentRow) -> str:
    """What is to be done next, in words."""
    if row.closed_at:
        return "closed"
    if row.has_scope and row.counted_at is None:
        return "the worker counts"
    return row.left[0] if row.left else "close it, as the second" if row.close_asked_at else "close it"


def record_dialog(moment: datetime, then: Callable[[uuid.UUID], None]) -> None:
    """The form for a new incident, when it is open."""
    opened = desk.opened("incident")
    if opened is None:
        return

    @st.dialog("Record an incident", width="medium", on_dismiss=desk.close_dialog)
    def dialog() -> None:
        with st.form("incident", border=False, enter_to_submit=False):
            title = st.text_input("Title", max_chars=200, placeholder="Export of a cohort sent to a wrong address")
            nature = st.selectbox("What was lost", list(NATURES), format_func=lambda each: f"{each}: {NATURES[each]}")
            place = st.selectbox("Where", privacy_actions.INCIDENT_PLACES)
            summary = st.text_area(
                "What happened", height=120, help="Without names: whom it concerns is found by a query."
            )
            left, right = st.columns(2)
            day = left.date_input("Known since (UTC)", value=moment.date(), max_value=moment.date())
            hour = right.time_input("at", value=time(moment.hour, moment.minute), step=60)
            desk.problem_in_dialog()
            with st.container(horizontal=True, horizontal_alignment="right"):
                if st.form_submit_button("Record it", type="primary"):
                    made = desk.decide(
                        privacy_actions.open_incident, done="Recorded. The 72 hours run.", title=title, nature=nature, place=place, summary=summary,
                        aware_at=min(datetime.combine(day, hour, UTC), moment), form_key=opened[1],
                    )  # fmt: skip
                    if made is not None:
                        then(made)
                        desk.close_dialog()
                    st.rerun()

    dialog()


def one(staff: Staff, row: IncidentRow, moment: datetime) -> None:
    """Draw one incident: its clock, what is next, whom it concerns; what happened; the two decisions; what was filed."""
    officer = staff.role == "privacy_officer" and row.closed_at is None
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.subheader(f"{row.number} · {literal(row.title)}", anchor=False, width="stretch")
            if row.closed_at:
                st.badge("closed", color="gray")
            elif row.close_asked_at:
                st.badge("needs a second officer", icon=":material/group:", color="violet")
        st.caption(f"{row.nature.capitalize()} ({NATURES[row.nature]}) · {literal(row.place)}"
                   f" · recorded by {literal(row.opened_by or 'somebody')} on {desk.instant(row.opened_at)}")  # fmt: skip
        cells = st.grid(3, min_column_width=270)
        with cells, st.container(border=True, height="stretch", gap="xsmall"):
            _clock(row, moment)
        with cells, st.container(border=True, height="stretch", gap="xsmall"):
            _next(row, officer, moment)
        with cells, st.container(border=True, height="stretch", gap="xsmall"):
            _scope(staff, row, officer)
        st.text(row.summary)
        halves = st.grid(2, min_column_width=340)
        with halves, st.container(border=True, height="stretch", gap="xsmall"):
            _authority(row, officer)
        with halves, st.container(border=True, height="stretch", gap="xsmall"):
            _people(staff, row, officer)
        if staff.role == "privacy_officer":
            _notes(staff, row, officer)
    if officer:
        _dialogs(row)


def _clock(row: IncidentRow, moment: datetime) -> None:
    """The 72 hours as a clock."""
    st.markdown(
        "**72 hours**", help="From when anybody here knew (GDPR article 33): until then the authority is notified."
    )
    if row.clock == "stopped":
        word, color = clock(row, moment)
        icon = {"green": "check_circle", "red": "warning", "gray": "do_not_disturb_on"}[color]
        st.markdown(f"### :{color}[:material/{icon}:] {word.capitalize()}", anchors=False)
        ended = row.notified_at or row.authority_at
        if ended:
            took = max(ended - row.aware_at, timedelta())
            st.caption(
                f"{'Notified' if row.notified_at else 'Decided'} after {desk.in_words(took)}, on {desk.instant(ended)}"
            )
    else:
        late, passed = row.clock == "overdue", moment - row.aware_at
        left = f":red[:material/warning: Overdue {desk.in_words(moment - row.due_at)}]" if late else f"{desk.in_words(row.due_at - moment)} left"  # fmt: skip
        if row.clock == "48 hours":
            left = f":orange[:material/schedule: {left}]"
        st.markdown(f"### {left}", anchors=False)
        st.progress(
            min(passed / timedelta(hours=72), 1.0), text=f"Hour {int(passed.total_seconds() // 3600) + 1} of 72"
        )
    st.caption(f"Known since {desk.instant(row.aware_at)} · authority until {desk.instant(row.due_at)}")


def _next(row: IncidentRow, officer: bool, moment: datetime) -> None:
    """What is to be done now, with its button."""
    st.markdown(f":material/bolt: **Next{': yours' if officer and not row.asked_by_me else ''}**")
    step = next_step(row)
    if row.closed_at:
        st.markdown("### Nothing", anchors=False)
        st.caption(f":material/group: Closed by {literal(row.close_asked_by or 'somebody')} and {literal(row.closed_by or 'somebody')} on"
                   f" {desk.instant(row.closed_at)}")  # fmt: skip
        return
    st.markdown(f"### {step[0].upper()}{step[1:]}", anchors=False)
    if row.close_asked_at:
        st.caption(f":material/group: {literal(row.close_asked_by or 'Somebody')} asked to close it on {desk.instant(row.close_asked_at)}"
                   + (": another officer closes it." if row.asked_by_me else "."))  # fmt: skip
    if len(row.left) > 1:
        st.caption("Then: " + ", ".join(row.left[1:]) + ".")
    if officer:
        _next_button(row, step, moment)


def _next_button(row: IncidentRow, step: str, moment: datetime) -> None:
    if step == "say whom it concerns":
        st.caption("Set the scope beside this; the worker counts.")
    elif step in ("decide about the authority", "decide about the people"):
        who = "authority" if step.endswith("authority") else "people"
        if st.button("Decide", key=f"{who}_{row.id}", type="primary"):
            confirm.open_danger(f"{who} {row.id}")
    elif step == "notify the authority":
        _notified(row, moment)
    elif step == "tell the people":
        if st.button("Tell them", key=f"tell_{row.id}", type="primary", disabled=not row.affected, help=None if row.affected else "It concerns nobody."):  # fmt: skip
            confirm.open_danger(f"tell {row.id}")
    elif not row.left and not row.asked_by_me:
        label = "Close it as the second officer" if row.close_asked_at else "Ask to close it"
        if st.button(label, key=f"close_{row.id}", type="primary"):
            confirm.open_danger(f"close {row.id}")


def _notified(row: IncidentRow, moment: datetime) -> None:
    with st.popover("It was notified", key=f"notified_{row.id}", type="primary"):
        reference = st.text_input("Their reference", key=f"reference_{row.id}", max_chars=200)
        left, right = st.columns(2)
        day = left.date_input("On (UTC)", value=moment.date(), max_value=moment.date(), key=f"notified_on_{row.id}")
        hour = right.time_input("at", value=time(moment.hour, moment.minute), step=60, key=f"notified_at_{row.id}")
        if st.button("Record", key=f"notified_go_{row.id}", type="primary"):
            told_at = min(datetime.combine(day, hour, UTC), moment)
            if told_at == moment.replace(second=0, microsecond=0):
                told_at = moment
            desk.decide(
                privacy_actions.record_notification,
                done="Recorded.",
                incident_id=row.id,
                told_at=told_at,
                reference=reference,
            )
            st.rerun()


def _scope(staff: Staff, row: IncidentRow, officer: bool) -> None:
    st.markdown(
        "**Whom it concerns**",
        help="Students with data of this scope, found by the worker and kept: exactly these are told.",
    )
    named = {cohort.id: cohort.title for cohort in catalog(staff).cohorts}
    if row.has_scope and row.counted_at is None:
        st.caption(":material/hourglass_top: The worker looks whom it concerns …")
    elif row.counted_at:
        st.markdown(f"### {row.affected:,} {'person' if row.affected == 1 else 'people'}", anchors=False)
    else:
        st.markdown("### Not known yet", anchors=False)
    if row.has_scope:
        parts = [*row.categories, *row.processors] or ["all data"]
        which = ", ".join(named.get(each, "a cohort") for each in row.cohorts) or "all cohorts"
        st.caption(f"{literal(', '.join(parts))} · {literal(which)}")
    with st.container(horizontal=True):
        if officer and row.campaign_id is None:
            _scope_form(row, named)
        if row.counted_at:
            _records(row)


def _scope_form(row: IncidentRow, named: dict[uuid.UUID, str]) -> None:
    with st.popover("Set the scope" if not row.has_scope else "Change the scope", key=f"scope_{row.id}",
                    type="secondary" if row.has_scope else "primary"):  # fmt: skip
        categories = st.multiselect("Kinds of data", privacy_actions.INCIDENT_CATEGORIES, default=list(row.categories), key=f"categories_{row.id}")  # fmt: skip
        processors = st.multiselect("At these third parties", privacy_actions.INCIDENT_PLACES[2:], default=list(row.processors), key=f"processors_{row.id}")  # fmt: skip
        cohorts = st.multiselect("Only of these cohorts", list(named), default=[each for each in row.cohorts if each in named],
                                 format_func=lambda each: named[each], key=f"cohorts_{row.id}", help="None: of all.")  # fmt: skip
        if st.button("Count whom it concerns", key=f"count_{row.id}", type="primary"):
            desk.decide(privacy_actions.set_scope, done="The worker counts.", incident_id=row.id, categories=categories, processors=processors,
                        cohorts=cohorts)  # fmt: skip
            st.rerun()


def _records(row: IncidentRow) -> None:
    shown = {
        "Table": [table.removeprefix("platform.").replace("_", " ") for table in row.counted],
        "Rows": [f"{many:,}" for many in row.counted.values()],
    }
    with st.popover("Records by table", type="tertiary", key=f"records_{row.id}"):
        st.table(shown, border="horizontal", hide_index=True, alt="Table of the records concerned.")
        export.columns("incident_records", shown, caption=f"Counted {desk.instant(row.counted_at)}, for the authority")


def _authority(row: IncidentRow, officer: bool) -> None:
    st.markdown("**The authority**")
    if row.authority == "undecided":
        st.caption("Not decided yet. It is notified unless a risk to people is unlikely (article 33).")
        return
    what = "It is notified" if row.authority == "notify" else "It is not notified"
    st.caption(f"{what} · decided by {literal(row.authority_by or 'somebody')} on {desk.instant(row.authority_at)}")
    st.text(row.authority_reason)
    if row.notified_at:
        late = row.notified_at > row.due_at
        st.caption(f"{':red[:material/warning:] Late' if late else ':green[:material/check_circle:] In time'}: notified on"
                   f" {desk.instant(row.notified_at)} · {literal(row.notified_reference)}")  # fmt: skip
    elif officer and st.button("Decide anew", key=f"authority_{row.id}", type="tertiary"):
        confirm.open_danger(f"authority {row.id}")


def _people(staff: Staff, row: IncidentRow, officer: bool) -> None:
    st.markdown("**The people concerned**")
    if row.people == "undecided":
        st.caption("Not decided yet. They are told when the risk to them is high (article 34).")
        return
    what = "They are told" if row.people == "tell" else "They are not told"
    st.caption(f"{what} · decided by {literal(row.people_by or 'somebody')} on {desk.instant(row.people_at)}")
    st.text(row.people_reason)
    if row.campaign_id is not None:
        told = next((each for each in read(staff, queries.campaign_list) if each.id == row.campaign_id), None)
        if told is not None:
            counts = {word: told.counts.get(state, 0) for word, state in (("told", "sent"), ("came back", "bounced"), ("not reached", "not reached"), ("on their way", "queued"), ("waiting", "waiting"))}  # fmt: skip
            st.caption(
                " · ".join(f"{many:,} {word}" for word, many in counts.items() if many)
                + f" · of {notices.people(told):,}"
            )
        if st.button("Whom the notice reached", key=f"notice_{row.id}", icon=":material/campaign:"):
            st.switch_page(NOTICES, query_params={"id": str(row.campaign_id)})
    elif officer and st.button("Decide anew", key=f"people_{row.id}", type="tertiary"):
        confirm.open_danger(f"people {row.id}")


def _notes(staff: Staff, row: IncidentRow, officer: bool) -> None:
    notes = read(staff, queries.incident_notes, row.id)
    with st.expander(f"Filed with it: {len(notes)}", expanded=bool(notes)):
        for note in notes:
            parts = [
                note.kind,
                note.sender,
                note.reference,
                f"{desk.instant(note.filed_at)} by {note.filed_by or 'somebody'}",
            ]
            st.caption(literal(" · ".join(part for part in parts if part)))
            st.text(note.body)
        if officer:
            with st.form(f"note_{row.id}_{len(notes)}", border=True, enter_to_submit=False):
                left, middle, right = st.columns(3)
                kind = left.selectbox("What it is", NOTES)
                sender = middle.selectbox(
                    "From", ["", *privacy_actions.INCIDENT_PLACES[2:]], format_func=lambda each: each or "–"
                )
                reference = right.text_input("Reference", max_chars=200)
                body = st.text_area("Text", height=80)
                if st.form_submit_button("File it"):
                    desk.decide(privacy_actions.file_note, done="Filed.", incident_id=row.id, kind=kind, sender=sender, reference=reference, body=body,
                                form_key=uuid.uuid5(row.id, f"{len(notes)} {body}"))  # fmt: skip
                    st.rerun()


def _dialogs(row: IncidentRow) -> None:
    def decision(options: dict[str, str]) -> dict[str, str]:
        chosen = st.radio("Decision", list(options), format_func=options.__getitem__, index=None)
        return {"decision": chosen or ""}

    confirm.danger_dialog(
        f"authority {row.id}", title=f"{row.number}: notify the authority?", button="Keep the decision", word=None,
        consequence="It is notified within 72 hours, unless a risk to people is unlikely. The reason is kept either way.",
        fields=lambda: decision({"notify": "It is notified", "not needed": "It is not notified"}), verb=privacy_actions.decide_authority,
        arguments={"incident_id": row.id}, done="Decided.",
    )  # fmt: skip
    confirm.danger_dialog(
        f"people {row.id}", title=f"{row.number}: tell the people?", button="Keep the decision", word=None,
        consequence="They are told without delay when the risk to them is high. The reason is kept either way.",
        fields=lambda: decision({"tell": "They are told", "not needed": "They are not told"}), verb=privacy_actions.decide_people,
        arguments={"incident_id": row.id}, done="Decided.",
    )  # fmt: skip
    confirm.danger_dialog(
        f"tell {row.id}", title=f"{row.number}: tell {row.affected or 0:,} people", button="Tell them", word=row.number, reasons=None,
        consequence="What left cannot be called back. Everybody concerned gets the wording “security notice” with your words.",
        fields=lambda: {"words": st.text_area("What happened, what it may mean, what was done, what they can do", height=160)},
        verb=privacy_actions.tell_people, arguments={"incident_id": row.id}, done="The worker tells them.",
    )  # fmt: skip
    confirm.danger_dialog(
        f"close {row.id}", title=f"Close {row.number}", button="Close it" if row.close_asked_at else "Ask to close it", word=None, reasons=None,
        consequence="Two officers close an incident; afterwards it does not change any more.", verb=privacy_actions.close_incident,
        arguments={"incident_id": row.id}, done="Recorded.",
    )  # fmt: skip
