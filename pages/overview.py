"""Today: what needs whoever is signed in, by role."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime

import streamlit as st

from core import queries
from core.policy import in_force
from core.policy.evidence import State
from core.privacy_actions import Staff
from core.queries import CohortStart, PromiseCounts, TaughtCohort
from core.settings import ROOT
from ui import (
    canaries,
    charts,
    erasing,
    export,
    guards,
    learning,
    links,
    oversight,
    promises,
    standing,
    states,
    watching,
    workers,
)
from ui.cached import catalog, following, read
from ui.clock import now
from ui.tables import day, literal

STAFF = guards.require(*guards.ROLE_NAMES, what="Today")
Item = tuple[str, str, str, tuple[str, dict[str, str]] | None]  # icon, thing, reason, page and filters of its list


def headline(title: str, moment: datetime, scope: str = "") -> None:
    """Draw the title row."""
    st.title(title, anchor=False)
    st.caption(f"{moment:%A}, {day(moment)} · {scope + ' · ' if scope else ''}figures as of {moment:%H:%M} UTC")


def needs(items: Sequence[Item], *, title: str = "Needs you today", help: str | None = None) -> None:
    """Draw what needs somebody: icon and thing, reason, and a button when there is a list behind it."""
    st.subheader(title, anchor=False, help=help)
    with st.container(border=True, height="stretch"):
        if not items:
            st.markdown(
                ":green[:material/check_circle:] **Nothing waits for you**  \n:gray[:small[New things appear here at once.]]"
            )
        for place, (icon, thing, reason, link) in enumerate(items):
            with st.container(horizontal=True, vertical_alignment="center"):
                st.markdown(f"{icon} **{thing}**  \n:gray[:small[{reason}]]", width="stretch")
                if link is not None and st.button(
                    "Open" if link[0] in ("staff", "access_review", "policy", "retention") else "Show list",
                    key=f"need_{place}",
                    type="tertiary",
                    icon=":material/arrow_forward:",
                    icon_position="right",
                ):
                    page, filters = link
                    st.switch_page(ROOT / "pages" / f"{page}.py", query_params=filters)


def program_staff(staff: Staff, moment: datetime) -> None:
    """Visitors, starting cohorts and confirmations; then the last weeks."""
    found = read(staff, queries.program_day, now=moment)
    headline("Today", moment)
    items: list[Item] = []
    waiting, due = found.waiting_visitors, found.due_visitors
    if waiting.count and found.oldest_visitor:
        waited = (moment - found.oldest_visitor).days
        items.append((
            ":orange[:material/schedule:]",
            f"{waiting.of('visitor')} {'waits' if waiting.count == 1 else 'wait'} longer than 2 working days",
            f"Oldest: {many(waited, 'day')}. Promise to visitors: 2 working days.",
            ("visitors", {"due": "Waiting too long", "sort": "Oldest first"}),
        ))  # fmt: skip
    if due.count:
        items.append((
            ":blue[:material/call:]",
            f"{due.of('visitor')} to contact today",
            "The day that was planned for the next contact is today or has passed.",
            ("visitors", {"due": "Contact due", "sort": "Next contact first"}),
        ))  # fmt: skip
    soon = [c for c in found.under_filled if (c.starts_on - moment.date()).days <= 14]
    if soon:
        names = ", ".join(literal(c.title) for c in soon)
        items.append(
            (
                ":blue[:material/event_seat:]",
                f"{many(len(soon), 'cohort')} {'starts' if len(soon) == 1 else 'start'} within 14 days under 60% full",
                names,
                ("enrollments", {"cohort": soon[0].title, "period": "All time"}),
            )
        )
    if found.unconfirmed.count:
        items.append((
            ":orange[:material/forward_to_inbox:]",
            f"{found.unconfirmed.of('enrollment')} of the last 30 days without a confirmation mail",
            "The mail bounced or was never sent. Check the address with the student.",
            ("enrollments", {"period": "30 days", "mail": "Not confirmed"}),
        ))  # fmt: skip
    grid = st.grid(3, min_column_width=295)
    with grid.cell(column_span=2):
        needs(items)
    with grid.cell():
        st.subheader("Cohorts starting next", anchor=False)
        starting(found.starting, catalog(staff).links)
    st.subheader("Now", anchor=False)
    states.counted(found.counted)
    weekly_figures(found)


def weekly_figures(found: queries.ProgramDay) -> None:
    """Draw the key figures, each with its weeks."""
    this, last = found.weeks[-1], found.weeks[-2]
    with st.grid(4, min_column_width=190):
        st.metric("Active enrollments", found.active, border=True, height="stretch", format="localized",
                  help="Enrollments whose cohort is running and who have not withdrawn. Counted by the worker as they change.")  # fmt: skip
        st.metric("Registered, not started", found.registered, border=True, height="stretch", format="localized",
                  help="Enrollments whose cohort has not begun. Counted by the worker as they change.")  # fmt: skip
        for label, now_, before, what in (
            ("New enrollments, this week", this.enrolled, last.enrolled, "began"),
            (
                "Withdrawn, this week",
                this.withdrawn,
                last.withdrawn,
                "were withdrawn",
            ),
        ):
            st.metric(
                label, now_, now_ - before, delta_color="blue", delta_description="vs. last week", border=True, height="stretch",
                format="localized", help=f"Enrollments that {what} since Monday (UTC). The current week is not complete.",
            )  # fmt: skip
    if not any(w.enrolled or w.withdrawn or w.visitors for w in found.weeks):
        return
    st.subheader("Per week", anchor=False, help="Monday to Sunday (UTC). The current week is not complete.")
    alt = f"Lines of 12 weeks: {sum(w.enrolled for w in found.weeks)} new enrollments, {sum(w.visitors for w in found.weeks)} new visitors, {sum(w.withdrawn for w in found.weeks)} withdrawn."
    charts.show(charts.weekly_chart(found.weeks), key="weeks", alt=alt)


def starting(cohorts: tuple[CohortStart, ...], known: Mapping[uuid.UUID, str | None]) -> None:
    """Draw the next cohorts with their places."""
    if not cohorts:
        states.empty("No cohort starts soon", "None begins within the next 60 days.")
        return
    shown_columns = {
        "Cohort": [c.title for c in cohorts],
        "Starts": [day(c.starts_on)[:-5] for c in cohorts],
        "Filled": [c.filled_percent for c in cohorts],
        "Seats": [f"{c.taken} of {c.seats}" if c.seats else str(c.taken) for c in cohorts],
        **links.column([known.get(c.id) for c in cohorts]),
    }
    st.dataframe(
        shown_columns,
        hide_index=True,
        row_height=36,
        height="content",
        column_config={
            "Filled": st.column_config.ProgressColumn(
                format="%d%%", min_value=0, max_value=100, color="blue", width=92
            ),
            **links.config(),
        },
        alt=f"Table of {len(cohorts)} cohorts that start within 60 days, with places taken.",
    )
    export.columns("starting-cohorts", shown_columns)


def teaching(staff: Staff, moment: datetime) -> None:
    """Whom to help first in all assigned cohorts, what waits for a review, certificates that are due."""
    learning.say()
    cohorts = read(staff, queries.taught_cohorts, now=moment)
    running = tuple(cohort for cohort in cohorts if cohort.running)
    headline("Your cohorts today", moment, teaching_scope(cohorts, running))
    if not cohorts:
        states.empty("No cohort is assigned to you", learning.NO_COHORT)
        return
    with states.loading(height=420):
        found = read(staff, queries.who_needs_help, running, now=moment, limit=20)
        counts = read(staff, queries.review_counts, now=moment)
        due = read(staff, queries.certificates_due, cohorts, now=moment)
    teaching_figures(found, counts, moment)
    grid = st.grid(3, min_column_width=295)
    known = {cohort.id: cohort for cohort in cohorts}
    with grid.cell(column_span=2):
        chosen = help_today(staff, found, running, moment)
        standing.objecting(found.objecting)
    with grid.cell():
        if chosen is not None:
            st.subheader("Student", anchor=False)
            learning.student_card(staff, chosen, known[chosen.cohort_id], purpose="today")
        else:
            teaching_items(counts, due, known, moment)
    st.subheader("Your cohorts", anchor=False)
    taught_table(cohorts, catalog(staff).links)


def teaching_scope(cohorts: Sequence[TaughtCohort], running: Sequence[TaughtCohort]) -> str:
    """The running cohorts by name, and how many students they have."""
    names = [learning.plain(cohort.title) for cohort in running[:3]] + (["…"] if len(running) > 3 else [])
    if not running:
        return f"{many(len(cohorts), 'cohort')} assigned to you, none of them runs today"
    return f"{', '.join(names)} · {many(sum(c.students for c in running), 'student')} in running cohorts"


def teaching_figures(found: queries.HelpList, counts: queries.ReviewCounts, moment: datetime) -> None:
    """Draw the four key figures."""
    oldest = f"oldest {many((moment - counts.oldest).days, 'day')}" if counts.oldest else "nothing waits"
    on_plan = f"{round(100 * found.on_plan / found.students)}%" if found.students else "–"
    with st.grid(4, min_column_width=190):
        st.metric("Need help", found.total, f"{found.handled:,} handled", delta_color="off", delta_arrow="off", format="localized", border=True, height="stretch",
                  help="Students of your running cohorts in whom a reason reached its limit, without those who are handled. Live.")  # fmt: skip
        st.metric("Submissions to review", counts.all, oldest, delta_color="off", delta_arrow="off", format="localized", border=True, height="stretch",
                  help="Handed in, not reviewed, in all your cohorts; without students who withdrew. Live.")  # fmt: skip
        st.metric("Reviewed, last 7 days", counts.reviewed, counts.reviewed - counts.reviewed_before, delta_color="blue", border=True,
                  delta_description="vs. week before", height="stretch", help="Code reviews written in your cohorts, by anybody. Live.")  # fmt: skip
        st.metric("On plan", f"{found.on_plan:,} of {found.students:,}", on_plan, delta_color="off", delta_arrow="off", border=True,
                  height="stretch", help="Students of your running cohorts who have done as many modules as were due. Live.")  # fmt: skip


def help_today(
    staff: Staff, found: queries.HelpList, running: tuple[TaughtCohort, ...], moment: datetime
) -> queries.NeedsHelp | None:
    """Draw whom to help first, over all running cohorts; return who is selected."""
    st.subheader("Who needs help", anchor=False, help=learning.POINTS_HELP)
    if not found.total:
        told = (
            f"{many(found.handled, 'student')} handled until a later day."
            if found.handled
            else "No reason reached its limit in a running cohort."
        )
        st.markdown(f":green[:material/check_circle:] **Nobody needs help now**  \n:gray[:small[{told}]]")
        return None
    kind = learning.kinds_filter(found, key="reason")
    if kind:
        found = read(staff, queries.who_needs_help, running, now=moment, kind=kind, limit=20)
    rows = [row for row in found.rows if not row.is_handled]
    caption = learning.help_caption(
        len(rows), found.by_kind[kind] if kind else found.total, others=", more on Progress"
    )
    titles = {cohort.id: cohort.title for cohort in running}
    return learning.help_table(rows, key="today", caption=caption, cohorts=titles)


def teaching_items(
    counts: queries.ReviewCounts,
    due: Sequence[queries.CertificateDue],
    known: dict[uuid.UUID, TaughtCohort],
    moment: datetime,
) -> None:
    """Draw what else needs somebody: reviews and certificates, each with the way to its list."""
    items: list[Item] = []
    if counts.free and counts.oldest:
        thing = f"{many(counts.free, 'submission')} nobody has taken"
        items.append(
            (
                ":violet[:material/rate_review:]",
                thing,
                f"Oldest: {many((moment - counts.oldest).days, 'day')}.",
                ("reviews", {}),
            )
        )
    if counts.mine:
        items.append(
            (
                ":blue[:material/edit_note:]",
                f"{many(counts.mine, 'review')} you have taken",
                "Written on the platform.",
                ("reviews", {"whose": "mine"}),
            )
        )
    for cohort_id in dict.fromkeys(row.cohort_id for row in due):
        number = sum(row.cohort_id == cohort_id for row in due)
        thing = f"{many(number, 'certificate')} due in {literal(known[cohort_id].title)}"
        items.append(
            (
                ":orange[:material/workspace_premium:]",
                thing,
                "Passed, and no certificate is issued.",
                ("progress", {"cohort": known[cohort_id].code}),
            )
        )
    needs(items)


def taught_table(cohorts: Sequence[TaughtCohort], known: Mapping[uuid.UUID, str | None]) -> None:
    """Draw the assigned cohorts; a selected row leads to its progress."""
    shown_columns = {
        "Cohort": [c.title for c in cohorts],
        "Program": [c.program for c in cohorts],
        "State": [["runs" if c.running else "ended" if c.ended else "to come"] for c in cohorts],
        "From": [day(c.starts_on) for c in cohorts],
        "To": [day(c.ends_on) for c in cohorts],
        "Students": [c.students for c in cohorts],
        "To review": [c.waiting for c in cohorts],
        **links.column([known.get(c.id) for c in cohorts]),
    }
    chosen = st.dataframe(
        shown_columns,
        hide_index=True, row_height=36, height="content", on_select="rerun", selection_mode="single-row", key="taught",
        column_config={"State": st.column_config.MultiselectColumn(options=["runs", "ended", "to come"], color=["blue", "gray", "orange"], width=80), **links.config()},
        alt=f"Table of your {len(cohorts)} cohorts.",
    )  # fmt: skip
    export.columns("my-cohorts", shown_columns, caption="Select a row to open its progress.")
    if chosen["selection"]["rows"]:
        st.switch_page(learning.PROGRESS, query_params={"cohort": cohorts[chosen["selection"]["rows"][0]].code})


def privacy_officer(staff: Staff, moment: datetime) -> None:
    """Requests and clocks, in counts."""
    counts = promise_numbers(staff, moment)
    headline("Today", moment, "privacy desk")
    items: list[Item] = []
    desk = read(staff, queries.desk_counts, now=moment)
    for number, icon, thing, reason, link in (
        (desk.overdue, ":red[:material/warning:]", "{} overdue",
         "An answer is due within one month of receipt (clause 7).", ("requests", {"view": "open"})),
        (desk.due_soon, ":orange[:material/schedule:]", "{} due within 7 days",
         "Answer, or extend with a reason.", ("requests", {"view": "open"})),
        (desk.mine_to_approve, ":violet[:material/group:]", "{} to approve as the second person",
         f"{many(desk.grace_ends_soon, 'grace period')} of them end within 7 days." if desk.grace_ends_soon else
         "Open the plan, then approve it or send it back.", ("requests", {"view": "to approve"})),
        (desk.unowned, ":blue[:material/bolt:]", "{} nobody has taken", "Take one over, or begin with its identity check.",
         ("requests", {"view": "open"})),
    ):  # fmt: skip
        if number:
            items.append((icon, thing.format(many(number, "request")), reason, link))
    items = incident_alarms(staff, moment) + items
    items[:0] = stopped(staff)
    if stuck := read(staff, queries.stuck_erasures, now=moment):
        reason = f"Longest: {stuck[0].number}, for {literal(stuck[0].waits_for)}."
        items.append((":orange[:material/hourglass_top:]", f"{many(len(stuck), 'erasure')} waiting for somebody", reason,
                      ("requests", {"view": "open"})))  # fmt: skip
    if desk.letters_waiting:
        items.append((":blue[:material/mail:]", f"{many(desk.letters_waiting, 'letter')} to send by hand",
                      "Copy it, send it, then mark it as sent.", ("letters", {"show": "To be sent"})))  # fmt: skip
    items += by_hand(staff, moment) + set_aside(staff)
    if counts.closed_past_grace:
        items.append(
            (
                ":red[:material/delete:]",
                f"{counts.closed_past_grace.of('closed account')} past the days of grace",
                "Clause 8: gone for good after the grace period.",
                ("retention", {}),
            )
        )
    items += consents(staff, moment)
    if counts.old_mail_logs:
        items.append(
            (
                ":orange[:material/mail:]",
                f"{counts.old_mail_logs.of('row')} of the e-mail log past {'its' if counts.old_mail_logs.count == 1 else 'their'} period",
                "Clause 8: gone after 90 days. They go with the next run of the day.",
                ("retention", {}),
            )
        )
    if overdue := read(staff, queries.hold_counts, now=moment).overdue:
        thing = f"{many(overdue, 'legal hold')} past the day of review"
        items.append(
            (":orange[:material/lock_clock:]", thing, "Say on the page Holds whether they are still needed.", None)
        )
    machinery = read(staff, queries.worker_state, now=moment)
    review = read(staff, queries.oversight, now=moment)
    waiting = oversight.review_needs(review, moment) if review.review_open else []
    alarm = watching.needs(read(staff, queries.retention_alarm, now=moment))
    needs(
        [
            *how_promises_stand(staff, moment),
            *alarm,
            *items,
            *oversight.mode(review),
            *waiting,
            *workers.needs(machinery),
        ]
    )
    promise_figures(counts)
    workers.line(machinery)


def stopped(staff: Staff) -> list[Item]:
    """What has stopped the eraser, or a rule of retention, until an officer answers."""
    on = {brake.kind for brake in read(staff, queries.brakes_on)}
    items: list[Item] = []
    if on - set(erasing.OF_RETENTION):
        why = "Too many people are due at once, or a clock cannot be right. Nothing goes on until an officer answers."
        items.append((":red[:material/pan_tool:]", "Erasures are stopped", why, ("requests", {"view": "open"})))
    if on & set(erasing.OF_RETENTION):
        why = "More than usual would go at once. Nothing of it goes until an officer answers."
        items.append((":red[:material/pan_tool:]", "Retention asks", why, ("retention", {})))
    return items


def incident_alarms(staff: Staff, moment: datetime) -> list[Item]:
    """Incidents whose 72 hours run, with the hours that are left."""
    items: list[Item] = []
    for alarm in read(staff, queries.incident_alarms, now=moment):
        hours = round(abs((alarm.due_at - moment).total_seconds()) / 3600)
        color = {"running": "blue", "48 hours": "orange", "overdue": "red"}[alarm.clock]
        left = f"{many(hours, 'hour')} {'past the 72' if alarm.clock == 'overdue' else 'left of 72'}"
        items.append((f":{color}[:material/crisis_alert:]", f"Incident {alarm.number}: {left}",
                      "Decide whether the authority is notified, and notify it.", ("incidents", {"id": str(alarm.id)})))  # fmt: skip
    return items


def by_hand(staff: Staff, moment: datetime) -> list[Item]:
    """What is to be done at processors by people, and what waits for whoever looks to confirm it."""
    steps = read(staff, queries.step_counts, now=moment)
    items: list[Item] = []
    if steps.to_do:
        late = f", {steps.overdue:,} of them overdue" if steps.overdue else ""
        items.append((f"{':red' if steps.overdue else ':blue'}[:material/checklist:]", f"{many(steps.to_do, 'manual step')} to do{late}",
                      "Do it at the processor, then attest it with evidence.", ("manual_steps", {"view": "to do"})))  # fmt: skip
    if steps.mine_to_confirm:
        items.append((":violet[:material/group:]", f"{many(steps.mine_to_confirm, 'manual step')} to confirm as the second person",
                      "Read the evidence; confirm it or return it.", ("manual_steps", {"view": "to confirm"})))  # fmt: skip
    return items


def consents(staff: Staff, moment: datetime) -> list[Item]:
    """Whose age or guardian's consent needs somebody today."""
    cases = read(staff, queries.consent_counts, now=moment)
    items: list[Item] = []
    for number, icon, thing, reason, view in (
        (cases.of("below"), ":red[:material/warning:]", f"{cases.of('below').of('student')} below the minimum age",
         "The worker closes and erases the account. If a date is wrong, record the right one at once.", "to do"),
        (cases.mine_to_verify, ":violet[:material/group:]", f"{many(cases.mine_to_verify, 'consent')} to verify as the second person",
         "Look at the evidence; verify it or refuse it.", "to do"),
        (cases.of("missing"), ":orange[:material/family_restroom:]", f"{cases.of('missing').of('minor')} whose guardian is to be asked",
         "Clause 9: a guardian's consent below 18. Until it is verified the account is restricted.", "to do"),
        (cases.of("silent"), ":orange[:material/schedule:]", f"{cases.of('silent').of('guardian')} silent for a week",
         "Remind them, all at once.", "to do"),
        (cases.of("not answered"), ":orange[:material/cake:]", f"{cases.of('not answered').of('student')} did not say how old they are",
         "Restricted since the deadline, until they answer.", "waiting"),
    ):  # fmt: skip
        if number:
            items.append((icon, thing, reason, ("consent", {"view": view})))
    return items


def set_aside(staff: Staff) -> list[Item]:
    """What may be of erased people, and waits for a decision."""
    found = read(staff, queries.proof_counts)
    items: list[Item] = []
    if found.findings:
        items.append((":orange[:material/search:]", f"{many(found.findings, 'finding')} of the residue scan to judge",
                      "The erasure waits until every place is clean or judged.", ("quarantine", {"view": "findings"})))  # fmt: skip
    if found.waiting:
        items.append((":blue[:material/shield_person:]", f"{many(found.waiting, 'record')} in quarantine",
                      "An import brought them; they may be of people who were erased. Let them in, or discard them.",
                      ("quarantine", {"view": "waiting"})))  # fmt: skip
    return items


def promise_numbers(staff: Staff, moment: datetime) -> PromiseCounts:
    """The counts behind the promises, with the policy in force."""
    return read(
        staff, lambda session: queries.promise_counts(session, now=moment, parameters=in_force(session, moment))
    )


def how_promises_stand(staff: Staff, moment: datetime) -> list[Item]:
    """The worst state of all promises, with the way to its proof; good news too."""
    found = read(staff, queries.worst_promise, now=moment)
    if found is None:
        return []
    worst, counts, first = found
    told = ", ".join(f"{count} {state}" for state in State if (count := counts.get(state, 0)))
    if first is None or worst is State.HOLDS:
        return [(":green[:material/check_circle:]", "Every promise of the policy holds", told, ("policy", {}))]
    color, icon = promises.LOOKS[worst]
    number = counts[worst]
    thing = f"{many(number, 'promise')} of the policy {'is' if number == 1 else 'are'} {worst}"
    reason = f"{first.promise.id}: {promises.short(first.told.sentence, 120)} ({told})"
    filters = {"promise": first.promise.id} if number == 1 else {"state": str(worst)}
    return [(f":{color}[:material/{icon}:]", thing, literal(reason), ("policy", filters))]


def promise_figures(counts: PromiseCounts) -> None:
    """Draw the counts; nobody's rows are behind them."""
    with st.grid(4, min_column_width=190):
        st.metric(
            "Open requests",
            counts.open_requests,
            border=True,
            help="Received and not closed, of all seven kinds. Live.",
        )
        st.metric(
            "Accounts in grace",
            str(counts.closed_in_grace),
            border=True,
            help="Closed less than 30 times 24 hours ago: can be reactivated. Live.",
        )
        st.metric(
            "Minors without consent",
            str(counts.minors_without_consent),
            border=True,
            help="Students below 18 without verified parental consent. Live, counted up to 1,000.",
        )
        st.metric(
            "Ages not declared",
            str(counts.ages_not_declared),
            border=True,
            help="Students without a birth date or declaration of age. Live, counted up to 1,000; the proof of AGE-PARENT counts all.",
        )


def admin(staff: Staff, moment: datetime) -> None:
    """Accounts and machinery; no person."""
    found = read(staff, queries.house, now=moment)
    headline("Today", moment, "accounts and machinery")
    items: list[Item] = []
    if found.running_without_teacher:
        names = ", ".join(map(literal, found.running_without_teacher[:4])) + (
            " …" if len(found.running_without_teacher) > 4 else ""
        )
        verb = "has" if len(found.running_without_teacher) == 1 else "have"
        items.append(
            (
                ":orange[:material/school:]",
                f"{many(len(found.running_without_teacher), 'running cohort')} {verb} nobody assigned",
                names,
                ("assignments", {}),
            )
        )
    if found.demo_accounts:
        items.append(
            (
                ":blue[:material/science:]",
                f"{many(found.demo_accounts, 'demo account')} can sign in",
                "This is a demonstration on synthetic records.",
                None,
            )
        )
    machinery = read(staff, queries.worker_state, now=moment)
    alarm = watching.needs(read(staff, queries.retention_alarm, now=moment))
    needs(
        [
            *how_promises_stand(staff, moment),
            *incident_alarms(staff, moment),
            *alarm,
            *workers.needs(machinery),
            *workers.replica_needs(following()),
            *oversight.needs(read(staff, queries.oversight, now=moment), moment),
            *items,
        ]
    )
    with st.grid(4, min_column_width=190):
        st.metric("Staff accounts", found.enabled, border=True, help="Accounts that can sign in. Live.")
        st.metric("Disabled accounts", found.disabled, border=True, help="Accounts that cannot sign in. Live.")
        st.metric("Live sessions", found.sessions, border=True, help="Signed in and not ended. Live.")
        workers.figure(machinery)
    workers.replica_line(following())
    canaries.line(read(staff, queries.canaries, at=moment))
    workers.table(machinery)


def auditor(staff: Staff, moment: datetime) -> None:
    """What can be checked: the policy in force and its counts."""
    headline("Today", moment, "promises")
    rules = read(staff, in_force, moment)
    counts = promise_numbers(staff, moment)
    st.markdown(
        f"Policy of **{rules.version}** is in force: answers within {many(rules.answer_months, 'month')}, {rules.grace_days} days of grace, "
        f"e-mail logs for {rules.email_log_days} days, users from {rules.minimum_age}, parental consent below {rules.consent_age}."
    )
    alarm = watching.needs(read(staff, queries.retention_alarm, now=moment))
    needs(
        [
            *how_promises_stand(staff, moment),
            *alarm,
            *oversight.told(read(staff, queries.oversight, now=moment), moment),
        ],
        title="Promises, and who watches over rights",
        help="How the promises stand by their last check; declared modes and the access review, live. The lines of the audit have who decided what.",
    )
    promise_figures(counts)
    with st.grid(4, min_column_width=190):
        st.metric(
            "Overdue requests",
            counts.overdue_requests,
            border=True,
            help="Open, and past the day on which the answer was due.",
        )
        st.metric(
            "Closed accounts past grace", str(counts.closed_past_grace), border=True, help="Should be 0: clause 8."
        )
        st.metric(
            "Oldest e-mail log",
            day(counts.oldest_mail_log),
            border=True,
            help="Should be less than 90 days old: clause 8.",
        )
        st.metric(
            "E-mail logs past 90 days",
            str(counts.old_mail_logs),
            border=True,
            help="Should be 0: clause 8.",
        )


def many(number: int, thing: str) -> str:
    """A number with its thing: ``1 request``, ``1,284 requests``."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


BY_ROLE = {
    "program_staff": program_staff,
    "instructor": teaching,
    "mentor": teaching,
    "privacy_officer": privacy_officer,
    "admin": admin,
    "auditor": auditor,
}
BY_ROLE[STAFF.role](STAFF, now())
