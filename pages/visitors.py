"""Visitors: who left their details, who waits for an answer, who follows them up, and who became a student."""

import uuid
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from typing import Any

import streamlit as st

from core import privacy_actions, queries
from core.errors import AdminError, BadInput, NotFound
from core.models.platform import EXPERIENCE_LEVELS, VISITOR_STATUS
from core.privacy_actions import Staff, VisitorContact
from core.queries import (
    LEAD_AGES,
    MARKS,
    SHORTEST_SEARCH,
    VISITOR_SORTS,
    FollowUpStep,
    TeamMember,
    VisitorCard,
    VisitorFigures,
    VisitorFilter,
    VisitorRow,
)
from core.settings import ROOT
from core.words import isolated
from ui import export, guards, links, paging, standing, states, theme
from ui.actions import act
from ui.cached import catalog, conversion, read
from ui.clock import now
from ui.tables import capitalized, chips, day, literal, status_column

STAFF = guards.require("program_staff", what="Visitors")
STUDENT = ROOT / "pages" / "student.py"
ALL_PROGRAMS, NO_PROGRAM, ALL_LEVELS, ANY_AGE = "All programs", "No program named", "All levels", "Any age"
OWNERS = {"All owners": None, "Mine": "mine", "Nobody": "nobody"}
DUE = {"Any follow-up": None, "Waiting too long": "waiting", "Contact due": "due"}
BECAME = {"Students or not": None, "Converted": True, "Not converted": False}
ORDERS = {label: name for name, label in VISITOR_SORTS.items()}
CLEARED: dict[str, object] = {
    "program": ALL_PROGRAMS,
    "level": ALL_LEVELS,
    "age": ANY_AGE,
    "became": "Students or not",
    "due": "Any follow-up",
    "status": [],
    "owner": "All owners",
    "sort": "Newest first",
    "q": "",
    "kept_visitor_search": "",
}
HEADER = (
    "Visitor",
    "Contact (masked)",
    "Interest",
    "Experience",
    "Asked",
    "Status",
    "Owner",
    "Next contact",
    "Known as",
)
WIDTHS = {"Visitor": 150, "Contact": 150, "Interest": 95, "Asked": 88, "Owner": 85, "Next contact": 122}
NOBODY = "nobody"
AFTER_CONTACT = ("in contact", "answered", "lost")
KNOWN_HELP = (
    "Converted: a student with this e-mail enrolled after asking. Student already: the account existed before they asked. "
    "Asked again: other forms carry the same e-mail. Do not contact: they asked the privacy desk for peace, a restriction or "
    "a deletion. All four are derived, other spellings included."
)


# --- key figures -------------------------------------------------------------------------------------------------------


def figures(moment: datetime) -> None:
    """Draw what needs somebody, each figure with the way to its list."""
    found, rate = read(STAFF, queries.visitor_figures, now=moment), conversion(STAFF)
    with st.grid(4, min_column_width=190):
        figure(
            "Waiting too long",
            number(found.waiting),
            oldest_line(found, moment),
            "Nobody answered within 2 working days (Monday to Friday, UTC), which is what visitors are promised. Live.",
            due="Waiting too long",
            sort="Oldest first",
        )
        figure(
            "Without an owner",
            number(found.unowned),
            "new or in contact, not converted",
            "Visitors who are new or in contact, did not become students, and whom nobody follows up. Live.",
            owner="Nobody",
            status=["new", "in contact"],
            became="Not converted",
        )
        figure(
            "Contact due",
            number(found.due),
            f"{number(found.overdue)} overdue",
            "The planned day of the next contact is today (UTC) or has passed. Live.",
            due="Contact due",
            sort="Next contact first",
        )
        figure(
            "Converted, 90 days",
            f"{rate.converted:,}",
            f"{rate.percent}% of {rate.asked:,} who asked" if rate.percent is not None else "nobody asked",
            "Of the people who asked within the last 90 days, those who enrolled afterwards. Recognized from enrollments by "
            "e-mail; a person who asked twice counts once. At most a minute old.",
            became="Converted",
        )


def figure(label: str, value: str, detail: str, help: str, **filters: Any) -> None:
    """Draw one figure and the button to what it counts."""
    with st.container(border=True, height="stretch", gap="xsmall"):
        st.metric(label, value, detail, delta_arrow="off", delta_color="off", help=help)
        st.button(
            "Show list",
            key=f"show_{label}",
            type="tertiary",
            icon=":material/arrow_forward:",
            icon_position="right",
            on_click=filter_by,
            kwargs=filters,
        )


def number(total: queries.Total) -> str:
    """A count as a figure: ``1,284``, or ``10,000+`` when counting stopped there."""
    return f"{total.count:,}{'+' if total.capped else ''}"


def oldest_line(found: VisitorFigures, moment: datetime) -> str:
    """How long the oldest one has waited."""
    return "nobody waits" if found.oldest is None else f"oldest asked {ago(found.oldest, moment)}"


def ago(then: datetime, moment: datetime) -> str:
    """A past instant in days: ``today``, ``yesterday``, ``12 days ago``."""
    days = (moment.date() - then.date()).days
    return "today" if days <= 0 else "yesterday" if days == 1 else f"{days:,} days ago"


def filter_by(**filters: object) -> None:
    """Set some filters and put all others back: show exactly what a figure counts. Widgets that stand in the address are set
    by their values, not by it."""
    for name, value in (CLEARED | filters).items():
        st.session_state[name] = value


# --- filters -----------------------------------------------------------------------------------------------------------


def choice(label: str, options: list[str], *, key: str, width: int) -> str:
    """Draw one select box that explains itself and stands in the address."""
    return st.selectbox(label, options, key=key, bind="query-params", width=width, label_visibility="collapsed")


def filter_rows() -> VisitorFilter:
    """Draw the filters, bound to the address (but the search), and return what they say."""
    titles = {title: each for each, title in catalog(STAFF).programs.items()}
    with st.container(horizontal=True, vertical_alignment="center"):
        program = choice("Program of interest", [ALL_PROGRAMS, *titles, NO_PROGRAM], key="program", width=190)
        level = choice("Experience", [ALL_LEVELS, *EXPERIENCE_LEVELS], key="level", width=150)
        age = choice("Age of the lead", [ANY_AGE, *LEAD_AGES], key="age", width=180)
        became = choice("Became a student", list(BECAME), key="became", width=170)
        due = choice("Follow-up", list(DUE), key="due", width=170)
    with st.container(horizontal=True, vertical_alignment="center"):
        search = st.text_input(
            "Search by part of a name or e-mail",
            key="q",  # not in the address: what is typed here names persons
            value=st.session_state.get("kept_visitor_search", ""),
            placeholder="Part of a name or e-mail",
            icon=":material/search:",
            width=260,
            label_visibility="collapsed",
            type="search",
        )
        st.session_state["kept_visitor_search"] = search or ""
        statuses = st.pills(
            "Status",
            VISITOR_STATUS,
            selection_mode="multi",
            key="status",
            bind="query-params",
            label_visibility="collapsed",
        )
        owner = st.segmented_control(
            "Owner",
            list(OWNERS),
            key="owner",
            bind="query-params",
            default="All owners",
            required=True,
            label_visibility="collapsed",
        )
    return VisitorFilter(
        search=search or "",
        program_id=titles.get(program),
        no_program=program == NO_PROGRAM,
        level=None if level == ALL_LEVELS else level,
        statuses=tuple(statuses or ()),
        age=None if age == ANY_AGE else age,
        owner=OWNERS.get(owner or ""),
        due=DUE.get(due),
        converted=BECAME.get(became),
    )


# --- the list ----------------------------------------------------------------------------------------------------------


@guards.part(STAFF)
def people(moment: datetime) -> None:
    """Draw the list with its filters; touching them leaves the figures above as they are."""
    wanted = filter_rows()
    try:
        listing(wanted, moment)
    except BadInput as error:
        st.warning(error.sentence)


def listing(wanted: VisitorFilter, moment: datetime) -> None:
    """Draw the list: title with its number, order, contacts, file; then one page."""
    with states.loading(height=400):
        total = read(STAFF, queries.visitor_total, wanted, now=moment)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader(capitalized(total.of("visitor")), anchor=False, width="stretch")
        order = st.selectbox(
            "Order", list(ORDERS), key="sort", bind="query-params", width=180, label_visibility="collapsed"
        )
        reveal = st.toggle(
            "Reveal contacts",
            key="reveal_visitors",
            help="Shows the whole addresses of this page. Each person is recorded in the audit.",
        )
        beside = st.container(width="content")
    if 0 < len(wanted.search.strip()) < SHORTEST_SEARCH:
        st.caption(f"Type at least {SHORTEST_SEARCH} characters to search.")
    standing.left_out(read(STAFF, queries.left_out).visitors, "visitor")
    if not total.count:
        nothing(wanted)
        return
    sort = ORDERS[order]
    cursors = paging.cursors_of((wanted, sort))
    found = read(STAFF, queries.visitor_page, wanted, now=moment, sort=sort, after=cursors[-1])
    ids = sorted(row.id for row in found.rows)
    contacts = act(privacy_actions.reveal_visitors, visitor_ids=ids, purpose="visitor list") if reveal else {}
    table(found.rows, contacts, moment, page=len(cursors))
    paging.footer(
        len(found.rows), found.next, cursors, total, hint="select a row to follow a visitor up; opening is logged"
    )
    with beside:
        export.offer("visitors", HEADER, map(export_row, found.rows))


def nothing(wanted: VisitorFilter) -> None:
    """Say why the list is empty."""
    if wanted == VisitorFilter():
        states.empty("No visitor yet", "People who leave their details in a form of the platform appear here.")
        return
    states.nothing_found(
        "No visitor matches",
        "No visitor matches these filters. Clear them, or choose another age.",
        clear=filter_by,
    )


def table(
    rows: tuple[VisitorRow, ...], contacts: dict[uuid.UUID, VisitorContact], moment: datetime, *, page: int
) -> None:
    """Draw one page; a selected row opens the visitor beside it."""
    times_opened = st.session_state.get("visitors_opened", 0)
    chosen = st.dataframe(
        {
            "Visitor": [row.name for row in rows],
            "Contact": [contacts[row.id].email if row.id in contacts else row.contact for row in rows],
            "Interest": [row.program or "–" for row in rows],
            "Asked": [day(row.asked_at) for row in rows],
            "Status": [[row.status] for row in rows],
            "Owner": [row.owner or NOBODY for row in rows],
            "Next contact": [next_contact(row.next_contact_on, moment) for row in rows],
            "Known as": [list(row.marks) for row in rows],
            **links.column([row.link for row in rows]),
        },
        hide_index=True,
        row_height=36,
        height="content",
        on_select="rerun",
        selection_mode="single-row",
        key=f"visitors_{page}_{times_opened}_{hash(rows) % 10**8}",
        column_config={
            "Status": status_column(VISITOR_STATUS),
            "Known as": chips("Known as", MARKS, width=185, help=KNOWN_HELP),
            **{title: st.column_config.TextColumn(title, width=width) for title, width in WIDTHS.items()},
            **links.config(),
        },
        alt=f"Table of {len(rows)} visitors with masked contact, interest, status, owner and next contact.",
    )
    if chosen["selection"]["rows"]:
        st.session_state["visitors_opened"] = times_opened + 1  # another key: closing leaves no row selected
        st.query_params["id"] = str(rows[chosen["selection"]["rows"][0]].id)
        st.rerun()  # the drawer belongs to the page, not to the list


def next_contact(on: date | None, moment: datetime) -> str:
    """The planned day, and whether it has come."""
    if on is None:
        return "–"
    days = (on - moment.date()).days
    return f"{day(on)}{' · overdue' if days < 0 else ' · today' if days == 0 else ''}"


def export_row(row: VisitorRow) -> tuple[object, ...]:
    """One line of the file."""
    return (
        row.name,
        row.contact,
        row.program,
        row.level,
        row.asked_at.date(),
        row.status,
        row.owner,
        row.next_contact_on,
        row.marks,
    )


# --- one visitor -------------------------------------------------------------------------------------------------------


def wanted_id() -> uuid.UUID | None:
    """The id in the address, if it is one."""
    try:
        return uuid.UUID(st.query_params.get("id", ""))
    except ValueError:
        return None


def close() -> None:
    """Close the visitor: the address names nobody any more."""
    st.query_params.pop("id", None)
    st.session_state.pop("revealed_visitor", None)


@st.dialog("Visitor", width="medium", position="right", icon=":material/contact_mail:", on_dismiss=close)
def one_visitor(visitor_id: uuid.UUID | None) -> None:
    """Draw one visitor beside the list: who, what they asked, what became of them, the follow-up."""
    staff = guards.require("program_staff", what="Visitors")  # a drawer runs alone, without the page above it
    try:
        if visitor_id is None:
            raise NotFound("The address names no visitor.")
        card = read(staff, queries.visitor_card, visitor_id)
    except NotFound as error:
        if not standing.closed(staff, visitor_id=visitor_id):
            st.markdown(error.sentence)
        return
    if st.session_state.pop("visitor_changed", False):
        st.rerun()  # the list behind the drawer, too
    act(privacy_actions.record_visitor_view, visitor_id=card.id, purpose="visitor")
    told()
    moment = now()
    identity(card, moment)
    became(card)
    other_forms(card)
    follow_up(staff, card, moment)
    history(card)


def told() -> None:
    """Say what came of the last click."""
    if problem := st.session_state.pop("visitor_problem", ""):
        st.error(literal(problem), icon=":material/error:")
    if done := st.session_state.pop("visitor_done", ""):
        st.toast(done)


def identity(card: VisitorCard, moment: datetime) -> None:
    """Draw who they are, how they stand and what they wrote."""
    st.text(isolated(card.name))  # the one element that reads no markdown
    interest = literal(card.program) if card.program else "no program named"
    st.caption(
        f"Asked {day(card.asked_at)}, {ago(card.asked_at, moment)} · {interest} · experience: {card.level} · this view is logged"
    )
    with st.container(horizontal=True, gap="small"):
        for word in (card.status, *card.marks):
            st.badge(word, color=theme.STATUS_COLORS[word])  # type: ignore[arg-type]
    if card.quiet:
        st.markdown(
            ":red[:material/do_not_disturb_on: **Not to be contacted for now**]  \n:gray[:small[No contact is planned, and the "
            "address stays masked. A privacy officer knows more.]]"
        )
    contact(card)
    with st.container(border=True):
        st.caption("Message")
        st.text(card.message or "No message.")


def contact(card: VisitorCard) -> None:
    """Draw the address: masked until somebody asks for it, which is recorded."""
    with st.container(horizontal=True, vertical_alignment="center"):
        shown = st.session_state.get("revealed_visitor") == card.id and not card.quiet
        if (
            not shown
            and not card.quiet
            and st.button("Reveal contact", icon=":material/visibility:", key="reveal_visitor")
        ):
            st.session_state["revealed_visitor"] = card.id
            shown = True
        whole = None
        if shown:
            found = act(privacy_actions.reveal_visitors, visitor_ids=[card.id], purpose="visitor")
            whole = found.get(card.id)
        st.text(whole.email if whole else card.contact)
        if whole and whole.phone:
            st.text(whole.phone)
        elif card.has_phone:
            st.caption("and a phone number")
        links.button(card.link, key="visitor_platform")


def became(card: VisitorCard) -> None:
    """Draw the student behind the address: that they enrolled, never how it goes."""
    known = card.student
    if known is None:
        return
    with st.container(border=True):
        st.caption("Became a student" if known.enrollments else "Has an account on the platform")
        if known.before:
            st.markdown(
                f":violet[:material/person:] The account existed before they asked: since {day(known.registered_at)}."
            )
        else:
            st.markdown(
                f":green[:material/person_add:] Account opened on {day(known.registered_at)}, after they asked."
            )
        for each in known.enrollments:
            st.markdown(
                f":material/school: {literal(each.program)}, {literal(each.cohort)}: {each.status}, enrolled {day(each.enrolled_at)}"
            )
        if not known.enrollments:
            st.caption("No enrollment began after they asked.")
        if st.button("Open student", icon=":material/arrow_forward:", key="open_student"):
            st.switch_page(STUDENT, query_params={"id": str(known.id)})


def other_forms(card: VisitorCard) -> None:
    """Draw the other times the same person left their details."""
    if not card.other_forms:
        return
    with st.container(border=True, gap="xsmall"):
        st.caption(f"The same e-mail asked {len(card.other_forms) + 1} times")
        for form in card.other_forms:
            st.button(
                f"{day(form.asked_at)} · {literal(form.program or 'no program')} · {form.status}",
                key=f"form_{form.id}",
                type="tertiary",
                icon=":material/contact_mail:",
                on_click=show_visitor,
                args=(form.id,),
            )


def show_visitor(visitor_id: uuid.UUID) -> None:
    """Open another visitor in the place of this one."""
    close()
    st.query_params["id"] = str(visitor_id)
    st.rerun()


# --- the follow-up -----------------------------------------------------------------------------------------------------


def follow_up(staff: Staff, card: VisitorCard, moment: datetime) -> None:
    """Draw how the visitor is followed up, and what can be done."""
    st.subheader("Follow-up", anchor=False)
    owner = literal(card.owner) if card.owner else NOBODY
    planned = next_contact(card.next_contact_on, moment)
    st.markdown(f"Owner: **{owner}** · next contact: **{planned}**")
    if card.unowned:
        st.button(
            "Take this visitor",
            type="primary",
            icon=":material/person_raised_hand:",
            key="take",
            on_click=take,
            args=(staff, card),
        )
    what = st.segmented_control(
        "What do you want to note?",
        [kind for kind in FORMS if kind != "Next contact" or not card.quiet],
        key="follow_up_kind",
        default="Contact made",
        required=True,
        label_visibility="collapsed",
    )
    FORMS[what or "Contact made"](staff, card, moment)


def take(staff: Staff, card: VisitorCard) -> None:
    """Take the visitor oneself."""
    change(privacy_actions.assign_visitor, card, owner_id=staff.id)


def contact_form(_staff: Staff, card: VisitorCard, moment: datetime) -> None:
    """Note that contact was made."""
    with st.form("contact_made", border=True, enter_to_submit=False):
        st.text_area(
            "What was said",
            key="contact_note",
            max_chars=privacy_actions.LONGEST_NOTE,
            height=90,
            help="A few words for colleagues. The visitor can ask for them: they are part of their export.",
        )
        with st.container(horizontal=True):
            st.selectbox("How they stand now", AFTER_CONTACT, key="contact_status", width=170)
            st.date_input(
                "Next contact", value=None, min_value=moment.date(), key="contact_next", format="YYYY-MM-DD", width=170
            )
        st.form_submit_button("Note the contact", icon=":material/check:", on_click=noted, args=(card,))


def noted(card: VisitorCard) -> None:
    """Note the contact as the form says; what was typed stays when it does not work."""
    state = st.session_state
    done = change(
        privacy_actions.note_contact,
        card,
        note=state["contact_note"],
        status=state["contact_status"],
        next_contact_on=state["contact_next"],
    )
    if done:
        for name in ("contact_note", "contact_status", "contact_next"):
            del state[name]


def plan_form(_staff: Staff, card: VisitorCard, moment: datetime) -> None:
    """Plan the next contact; tomorrow is proposed when none is planned or the day has passed."""
    today = moment.date()
    planned_on = card.next_contact_on if card.next_contact_on and card.next_contact_on >= today else None
    with st.form("plan", border=True, enter_to_submit=False):
        st.date_input(
            "Next contact (empty: none)",
            value=planned_on or today + timedelta(days=1),
            min_value=today,
            key=f"plan_{card.step}",
            format="YYYY-MM-DD",
            width=200,
        )
        st.form_submit_button("Set the next contact", icon=":material/event:", on_click=planned, args=(card,))


def planned(card: VisitorCard) -> None:
    """Plan the next contact as the form says."""
    change(privacy_actions.set_next_contact, card, on=st.session_state[f"plan_{card.step}"])


def status_form(_staff: Staff, card: VisitorCard, _moment: datetime) -> None:
    """Say how the visitor stands."""
    possible = [s for s in VISITOR_STATUS if s != "new" or card.answered_at is None]
    with st.form("status", border=True, enter_to_submit=False):
        st.selectbox("Status", possible, index=possible.index(card.status), key=f"status_{card.step}", width=200)
        st.form_submit_button("Set the status", icon=":material/flag:", on_click=stood, args=(card,))


def stood(card: VisitorCard) -> None:
    """Set the status as the form says."""
    change(privacy_actions.set_visitor_status, card, status=st.session_state[f"status_{card.step}"])


def owner_form(staff: Staff, card: VisitorCard, _moment: datetime) -> None:
    """Give the visitor to somebody, or to nobody."""
    team = [member for member in read(staff, queries.program_team) if member.works]
    options: list[TeamMember | str] = [NOBODY, *team]
    place = next((n for n, each in enumerate(team, start=1) if each.id == card.owner_id), 0)
    with st.form("owner_form", border=True, enter_to_submit=False):
        st.selectbox("Owner", options, index=place, format_func=owner_name, key=f"owner_{card.step}", width=240)
        st.form_submit_button("Set the owner", icon=":material/person:", on_click=given, args=(card,))


def owner_name(owner: TeamMember | str) -> str:
    """How an owner is offered."""
    return owner if isinstance(owner, str) else owner.name


def given(card: VisitorCard) -> None:
    """Give the visitor as the form says."""
    owner: TeamMember | str = st.session_state[f"owner_{card.step}"]
    change(privacy_actions.assign_visitor, card, owner_id=None if isinstance(owner, str) else owner.id)


FORMS: dict[str, Callable[[Staff, VisitorCard, datetime], None]] = {
    "Contact made": contact_form,
    "Next contact": plan_form,
    "Status": status_form,
    "Owner": owner_form,
}


def change(verb: Callable[..., None], card: VisitorCard, **arguments: Any) -> bool:
    """Do one verb to what the screen showed; keep what came of it for the next run. Return whether it was done."""
    st.session_state["visitor_changed"] = True
    try:
        act(verb, visitor_id=card.id, seen=card.step, **arguments)
    except AdminError as error:
        st.session_state["visitor_problem"] = error.sentence
        return False
    st.session_state["visitor_done"] = "Noted."
    return True


def history(card: VisitorCard) -> None:
    """Draw the steps of the follow-up, newest first."""
    if not card.history:
        return
    st.subheader("History", anchor=False)
    for step in card.history:
        with st.container(border=True, gap=None):
            st.markdown(f"{literal(step.by)} {step_line(step)}")
            if step.note:
                st.text(step.note)
            st.caption(f"{day(step.at)}, {step.at:%H:%M} UTC")


def step_line(step: FollowUpStep) -> str:
    """One step in words, behind the name of who did it."""
    return " · ".join(step_words(step))


def step_words(step: FollowUpStep) -> Iterator[str]:
    """The parts of one step."""
    if step.kind == "owner set":
        yield (
            "took this visitor" if step.owner == step.by else f"gave this visitor to {literal(step.owner or 'nobody')}"
        )
    elif step.kind == "next contact set":
        yield (
            f"planned the next contact for {day(step.next_contact_on)}"
            if step.next_contact_on
            else "planned no next contact"
        )
    elif step.kind == "status set":
        yield f"set the status to {step.status}"
    else:
        yield f"made contact: {step.status}"
        if step.next_contact_on:
            yield f"next contact {day(step.next_contact_on)}"


# --- the page ----------------------------------------------------------------------------------------------------------


def page(moment: datetime) -> None:
    """Draw the page."""
    st.title("Visitors", anchor=False)
    st.caption(f"All who left their details · as of {moment:%H:%M} UTC")
    figures(moment)
    people(moment)
    if "id" in st.query_params:
        one_visitor(wanted_id())


page(now())
