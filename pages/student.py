"""One student, for each role just its columns. Opening the record is recorded, and so is the attempt to open a closed one.

Program staff: contact (masked until revealed) and enrollments, never how it went. Those who teach: name, e-mail and the timeline
of the cohorts assigned to them. Privacy officers: the identity behind an open request, and who looked at the record.
"""

import uuid

import streamlit as st

from core import privacy_actions, queries
from core.errors import NotFound
from core.models.platform import ENROLLMENT_STATUS
from core.models.staff import TEACHING_ROLES
from core.queries import LearningRecord, Look, StudentRecord, TimelineEntry
from core.settings import ROOT
from core.words import isolated
from ui import charts, export, guards, learning, links, standing, states
from ui.actions import act
from ui.cached import read
from ui.clock import now
from ui.learning import many
from ui.learning_charts import timeline_chart
from ui.tables import day, status_column

STAFF = guards.require("program_staff", "instructor", "mentor", "privacy_officer", what="Student")
ENROLLMENTS, PROGRESS = ROOT / "pages" / "enrollments.py", ROOT / "pages" / "progress.py"
PAGE_LOOKS = 50
NO_STUDENT = "There is no such student, or the record is not open to you."


def wanted() -> uuid.UUID | None:
    """The id in the address, if it is one."""
    try:
        return uuid.UUID(st.query_params.get("id", ""))
    except ValueError:
        return None


def back() -> None:
    """Draw the way back to the list one comes from."""
    if STAFF.role == "program_staff" and st.button("Enrollments", type="tertiary", icon=":material/arrow_back:"):
        st.switch_page(ENROLLMENTS, query_params=st.session_state.get("enrollments_view", {}))
    if STAFF.role in TEACHING_ROLES and st.button("Progress", type="tertiary", icon=":material/arrow_back:"):
        code = st.query_params.get("cohort")
        st.switch_page(PROGRESS, query_params={"cohort": code} if code else {})


def page() -> None:
    """Draw the student for the role, or one answer for everybody who is not there or not open."""
    learning.say()
    back()
    student_id = wanted()
    view = {"program_staff": for_program_staff, "privacy_officer": for_officer}.get(STAFF.role, for_teaching)
    try:
        if student_id is None:
            raise NotFound(NO_STUDENT)
        view(student_id)
    except NotFound:
        act(privacy_actions.record_closed, kind="student", subject_id=student_id or uuid.UUID(int=0))
        if standing.closed(STAFF, student_id=student_id):
            return
        states.state("No such student", f"{NO_STUDENT} This attempt was logged.", icon="search_off", key="no_student")


def head(name: str, line: str) -> None:
    """Draw whose record this is."""
    st.title("Student", anchor=False)
    st.text(isolated(name))  # the one element that reads no markdown: st.metric and headings do
    st.caption(f"{line} · this view is logged")


def for_program_staff(student_id: uuid.UUID) -> None:
    """Contact and enrollments."""
    card = read(STAFF, queries.student_card, student_id)
    act(privacy_actions.record_view, student_id=card.id, purpose="student page")
    head(card.name, f"Account {card.account_status} · since {day(card.registered_at)} · experience: {card.level}")
    contact(card)
    enrollments(card)


def for_officer(student_id: uuid.UUID) -> None:
    """The identity behind an open request, and who looked at the record."""
    card = read(STAFF, queries.student_card, student_id)
    act(privacy_actions.record_view, student_id=card.id, purpose="request")
    head(card.name, f"Account {card.account_status} · since {day(card.registered_at)} · open because of a request")
    contact(card)
    st.subheader(
        "What stands",
        anchor=False,
        help="Restrictions, objections and opt-outs of this person: since when, by whom, how they ended.",
    )
    standing.history(read(STAFF, queries.standing_of, student_id=card.id))
    who_looked(card.id)


def contact(card: queries.StudentCard) -> None:
    """Draw the address: masked until somebody asks for it, which is recorded."""
    with st.container(horizontal=True, vertical_alignment="center"):
        shown = st.session_state.get("revealed_student") == card.id
        if not shown and st.button("Reveal contact", icon=":material/visibility:", key="reveal"):
            st.session_state["revealed_student"] = card.id
            shown = True
        address = card.contact
        if shown:
            found = act(privacy_actions.reveal_contacts, student_ids=[card.id], purpose="student page")
            address = found.get(card.id, card.contact)
        st.text(address)
        links.button(card.link)


def enrollments(card: queries.StudentCard) -> None:
    """Draw the enrollments: status and dates, never how it went."""
    st.subheader("Enrollments", anchor=False)
    if not card.enrollments:
        states.empty("No enrollment", "This student has an account and is not enrolled.")
        return
    rows = card.enrollments
    shown_columns = {
        "Program": [e.program for e in rows],
        "Cohort": [e.cohort for e in rows],
        "Status": [[e.status] for e in rows],
        "Enrolled": [day(e.enrolled_at) for e in rows],
        "Cohort starts": [day(e.starts_on) for e in rows],
        "Cohort ends": [day(e.ends_on) for e in rows],
        "Withdrawn": [day(e.withdrawn_at) for e in rows],
        "Confirmation": [day(e.confirmed_at) for e in rows],
    }
    st.dataframe(
        shown_columns,
        hide_index=True,
        row_height=36,
        height="content",
        column_config={"Status": status_column(ENROLLMENT_STATUS)},
        alt=f"Table of {len(rows)} enrollments of this student.",
    )
    export.columns("enrollments-of-a-student", shown_columns)


def who_looked(student_id: uuid.UUID) -> None:
    """Draw who saw the record, newest first."""
    trail: list[int | None] = st.session_state.setdefault(f"looks_{student_id}", [None])
    looks = read(STAFF, queries.who_looked, student_id, before=trail[-1], limit=PAGE_LOOKS + 1)
    shown = looks[:PAGE_LOOKS]
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader(
            "Who looked at this record", anchor=False, width="stretch",
            help="From the audit: each session, person and purpose once in 15 minutes. A cohort's progress shows everybody in it.",
        )  # fmt: skip
        export.offer("who-looked", ("When (UTC)", "Who", "Role", "What", "Purpose"), [look_row(look) for look in shown])
    if not looks:
        states.empty("Nobody has looked", "Views are recorded from the first day of this dashboard on.")
        return
    rows = [look_row(look) for look in shown]
    st.dataframe(
        {name: [str(row[place]) for row in rows] for place, name in enumerate(("When (UTC)", "Who", "Role", "What", "Purpose"))},
        hide_index=True, row_height=36, height="content", alt=f"Table of {many(len(rows), 'view')} of this record.",
    )  # fmt: skip
    if len(trail) > 1 or len(looks) > PAGE_LOOKS:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(f"{len(shown)} of them", width="stretch")
            st.button(
                "Previous",
                icon=":material/chevron_left:",
                disabled=len(trail) == 1,
                on_click=turn_back,
                args=(student_id,),
            )
            st.button("Next", icon=":material/chevron_right:", icon_position="right", disabled=len(looks) <= PAGE_LOOKS,
                      on_click=trail.append, args=(shown[-1].seq,))  # fmt: skip


def turn_back(student_id: uuid.UUID) -> None:
    """Go to the page of views before."""
    st.session_state[f"looks_{student_id}"].pop()


def look_row(look: Look) -> list[object]:
    """One view as the table and the file show it."""
    what = {"person viewed": "saw the record", "refused": "was refused", "cohort viewed": "saw the whole cohort"}[
        look.action
    ]
    role = guards.ROLE_NAMES.get(look.role or "", look.role or "–").lower()
    return [
        f"{day(look.at)}, {look.at:%H:%M}",
        look.name,
        role,
        f"{what} {look.cohort}" if look.cohort else what,
        look.purpose or "–",
    ]


def for_teaching(student_id: uuid.UUID) -> None:
    """Name, e-mail, and the timeline of one enrollment in an assigned cohort."""
    found = read(STAFF, queries.student_record, student_id, now=now())
    act(privacy_actions.record_view, student_id=found.id, purpose="timeline")
    record = learning.newest_record(found, st.query_params.get("cohort"))
    top = st.container(horizontal=True, vertical_alignment="bottom")
    with top, st.container():
        head(found.name, enrollment_line(record, found))
    with top:
        st.link_button("Write to student", learning.mail_to(found.email), type="primary", icon=":material/mail:")
        links.button(found.link)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.text(found.email)
        if len(found.records) > 1:
            choose_record(found, record)
    timeline(found, record)


def enrollment_line(record: LearningRecord, found: StudentRecord) -> str:
    """The enrollment in words."""
    cohort = record.cohort
    parts = [cohort_name(record), f"{record.done} of {many(cohort.modules, 'module')} done"]
    parts.append(f"last active {day(record.last_active)}" if record.last_active else "not active yet")
    if record.withdrawn_at:
        parts.append(f"withdrew {day(record.withdrawn_at)}")
    return " · ".join(parts)


def cohort_name(record: LearningRecord) -> str:
    """A cohort as captions, which read markdown, can show it."""
    return learning.plain(learning.cohort_label(record.cohort))


def choose_record(found: StudentRecord, record: LearningRecord) -> None:
    """Draw the choice between the enrollments that are open."""
    codes = {each.cohort.code: learning.cohort_label(each.cohort) for each in found.records}
    st.session_state["record"] = record.cohort.code
    st.segmented_control("Cohort", list(codes), format_func=codes.__getitem__, key="record", required=True, label_visibility="collapsed",
                         on_change=lambda: st.query_params.update(cohort=st.session_state["record"]))  # fmt: skip


def timeline(found: StudentRecord, record: LearningRecord) -> None:
    """Draw the enrollment: reasons and weeks right, modules over time and everything that happened left."""
    stand = read(STAFF, queries.cohort_stand, record.cohort)
    needs = read(STAFF, queries.who_needs_help, (record.cohort,), now=now(), enrollment_id=record.enrollment_id)
    names = read(STAFF, queries.teachers)
    grid = st.grid(3, min_column_width=295)
    with grid.cell(column_span=2):
        st.subheader("Modules over time", anchor=False, help="Bars: from begun to done. Marks: what was handed in, and when it was due. Shade: "
                     "no activity for longer than the cohort's limit. Dotted: the cohort's day.")  # fmt: skip
        if stand.modules:
            charts.show(
                timeline_chart(record, stand.modules),
                key="timeline",
                alt=f"Bars over time: {record.done} of {len(stand.modules)} modules done.",
            )
        else:
            states.empty("No modules", "The program of this cohort has no modules.")
        happened(record, names)
    with grid.cell(), st.container(border=True, gap="small"):
        row = needs.rows[0] if needs.rows else None
        if read(STAFF, queries.objects, found.id):
            st.markdown(
                ":material/front_hand: **Not ordered by need of help**  \n:gray[:small[The student objects; no reasons are worked out.]]"
            )
        elif row:
            st.markdown("**Why this student needs help**")
            learning.reasons(row)
        else:
            st.markdown(
                ":green[:material/check_circle:] **Needs no help now**  \n:gray[:small[No reason reached its limit.]]"
            )
        learning.weeks_metric(record)
        if row:
            learning.handled_form(STAFF, row)


def happened(record: LearningRecord, names: dict[uuid.UUID, str]) -> None:
    """Draw everything that happened, newest first."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader("What happened", anchor=False, width="stretch")
        rows = [event_row(event, names) for event in record.events]
        export.offer("timeline", ("Day", "What", "Module", "Details", "By", "Link"), rows, note="This timeline")
    st.dataframe(
        {
            "Day": [day(event.at) for event in record.events],
            "What": [row[1] for row in rows],
            "Module": [row[2] for row in rows],
            "Details": [row[3] for row in rows],
            "By": [row[4] for row in rows],
            "Link": [event.link for event in record.events],
        },
        hide_index=True, row_height=36, height="content" if len(rows) <= 20 else 36 * 20 + 38,
        placeholder="",
        column_config={
            "Day": st.column_config.TextColumn(width=90),
            "What": st.column_config.TextColumn(width=105),
            "Module": st.column_config.TextColumn(width=110),
            "Details": st.column_config.TextColumn(width=230),
            "By": st.column_config.TextColumn(width=85),
            "Link": st.column_config.LinkColumn(display_text="Open", width=50),
        },
        alt=f"Table of {many(len(rows), 'event')}, newest first.",
    )  # fmt: skip
    if record.more:
        st.caption(f"The newest {len(record.events)} events.")


def event_row(event: TimelineEntry, names: dict[uuid.UUID, str]) -> list[object]:
    """One event in words."""
    by = names.get(event.by, "a colleague") if event.by else ""
    return [event.at.date(), TOLD.get(event.kind, event.kind), event.what, details(event), by, event.link]


TOLD = {
    "gap": "No activity", "submitted": "Handed in", "reviewed": "Code review", "noted": "Noted", "enrolled": "Enrolled", "withdrew": "Withdrew",
    "module begun": "Module begun", "module done": "Module done", "module failed": "Module failed", "result": "Result", "certificate": "Certificate",
}  # fmt: skip


def details(event: TimelineEntry) -> str:
    """What there is to say about an event."""
    if event.kind == "gap":
        return f"{many(event.days or 0, 'day')} without activity"
    if event.kind == "noted":
        until = f"handled until {day(event.until)}" if event.until else "put back on the list"
        return f"{until}: {event.words}" if event.words else until
    parts = [f"attempt {event.attempt}" if event.attempt and event.attempt > 1 else "", event.state]
    parts += [f"score {event.score:.0f}" if event.score is not None else "", event.words]
    return ", ".join(part for part in parts if part)


page()
