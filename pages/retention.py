"""Retention: what is kept how long, what is due when, what went, and whether anything is late."""

from collections.abc import Sequence
from datetime import datetime

import streamlit as st

from core import queries
from core.queries import Retention, RetentionRow, RuleState
from ui import desk, erasing, export, guards, paging, states, watching
from ui.cached import read
from ui.clock import now
from ui.tables import capitalized, chips, day, literal

STAFF = guards.require("privacy_officer", "admin", "auditor", what="Retention")
HELP = (
    "What is past its period goes by itself. When something is due follows from the age of the data, never from when a job last"
    " ran: a worker that was off for days finds everything due. Each rule is looked at once a day, and every run leaves a row and a"
    " line in the audit."
)
VIEWS = {"rules": "Rules", "runs": "Runs", "kept": "What stays, and why"}
RULE_HEADER = (
    "Data", "What", "Clause", "Period", "Own choice", "Age read at", "How it goes", "By", "Oldest", "Oldest is due", "Would go now",
    "Kept by holds", "State", "Waits for", "Last run",
)  # fmt: skip
RUN_HEADER = ("Begun", "Ended", "Rule", "Older than", "Went", "Waits for", "Oldest left")
ALL = "All rules"


def figures(found: Retention, moment: datetime) -> None:
    """Draw the key figures."""
    late = sum(each.state in ("late", "waits") for each in found.rules)
    ran = found.alarm.ran_at
    own = [each for each in found.rules if each.rule.by == "retention"]
    with st.grid(4, min_column_width=190):
        st.metric(f"{':red[:material/warning:] ' if found.alarm.silent_since else ''}Last run",
                  ago(ran, moment), border=True, height="stretch",
                  help="When a run of any rule last ended. No run for 26 hours rings an alarm here, on Today and in `python -m core status`.")  # fmt: skip
        st.metric(f"{':red[:material/warning:] ' if late else ''}Late, or waiting", late, border=True, height="stretch",
                  help="Rules with something that has been due for more than 26 hours, or whose run waits. Live.")  # fmt: skip
        due = sum(each.state == "due" for each in own)
        st.metric("Rules with something due", due, border=True, height="stretch",
                  help="What goes with the next run of the worker, which looks every minute and runs each rule once a day. Live.")  # fmt: skip
        st.metric("Mails kept by holds", sum(each.held for each in own if each.rule.name == "e-mail logs"), border=True, format="localized",
                  height="stretch", help="Past their period, moved aside before their month was dropped; they go when the hold is released. Live.")  # fmt: skip


def ago(at: datetime | None, moment: datetime) -> str:
    """How long ago, short enough for a figure."""
    if at is None:
        return "never"
    return "just now" if (moment - at).total_seconds() < 60 else f"{desk.span(moment - at)} ago"


def dry_run(found: Retention) -> None:
    """Draw what a run would take now."""
    told = [each for each in found.rules if each.rule.by == "retention"]
    with st.container(border=True, key="dry_run"):
        st.markdown(
            "**A run would take now**  \n:gray[:small[Counted a moment ago by what a run itself asks. Nothing was changed.]]"
        )
        with st.grid(4, min_column_width=190):
            for each in told:
                with st.container(gap=None):
                    st.caption(capitalized(each.rule.name))
                    st.markdown(f"**{each.due or 0}**{f' · {each.held:,} held' if each.held else ''}")
        lapses = found.lapses
        st.caption(f"Lapsed subscriptions: {lapses.to_tell} to be told, {lapses.to_close:,} to be closed.")


def rules(found: Retention) -> None:
    """Draw the rules; the selected one explains itself."""
    shown = {
        "Data": [capitalized(each.rule.name) for each in found.rules],
        "State": [[each.state] for each in found.rules],
        "Period": [f"{each.period} *" if each.rule.open_choice else each.period for each in found.rules],
        "Oldest": [day(each.oldest) for each in found.rules],
        "Oldest is due": [day(each.due_at) for each in found.rules],
        "Would go now": ["–" if each.due is None else str(each.due) for each in found.rules],
        "Clause": [each.rule.clause for each in found.rules],
        "Last run": [f"{each.ran_at.day} {each.ran_at:%b, %H:%M}" if each.ran_at else "–" for each in found.rules],
    }
    place = st.container()
    chosen = st.dataframe(
        shown, hide_index=True, row_height=36, height="content", on_select="rerun", selection_mode="single-row", key="rules",
        column_config={
            "State": chips("State", watching.RULE_STATES, width=100, help="Due: goes with the next run. Late: due for more than 26 hours."),
            "Period": st.column_config.TextColumn(help="* left open by the policy's text: the company's own choice", width="medium"),
            "Oldest": st.column_config.TextColumn(width=95),
            "Would go now": st.column_config.TextColumn(help="–: not counted. “Dry run” counts it.", width=100),
        },
        alt=f"Table of {len(found.rules)} rules with period, oldest record, when it is due, and the last run.",
    )  # fmt: skip
    st.caption(
        "\\* The policy's text leaves this open: it is the company's own, declared choice · select a row to read its rule"
    )
    picked = chosen["selection"]["rows"]
    if picked:
        with place:
            one(found.rules[picked[0]], found)


def one(state: RuleState, found: Retention) -> None:
    """Draw one rule in full."""
    rule = state.rule
    with st.container(border=True, key="rule"):
        st.markdown(f"**{capitalized(rule.name)}**  \n:gray[:small[{literal(rule.help)}]]")
        if state.waits_for:
            st.warning(
                f"Waits for {state.waits_for}, since {desk.instant(state.waits_since)}.",
                icon=":material/hourglass_top:",
            )
        clause = {
            "open": "left open by the policy",
            "law": "the law, not the policy",
            "–": "none: about staff or machines",
        }
        facts = [
            ("What", rule.what), ("Period", state.period), ("Age is read at", rule.age), ("How it goes", rule.goes),
            ("Clause", clause.get(rule.clause, rule.clause)), ("Done by", BY.get(rule.by, f"the worker's job “{rule.by}”")),
        ]  # fmt: skip
        if rule.name == "lapsed subscriptions":
            told = found.lapses
            facts.append(("Where they stand", f"{told.to_tell} to be told · {told.not_sent:,} notices not sent yet · {told.told:,} told and"
                          f" waiting · {told.to_close:,} to be closed"))  # fmt: skip
        if state.held:
            facts.append(("Kept by legal holds", f"{state.held:,}"))
        with st.grid(3, min_column_width=260):
            for label, value in facts:
                with st.container(gap=None):
                    st.caption(label)
                    st.text(value)


def runs() -> Sequence[RetentionRow]:
    """Draw one page of runs, newest first."""
    names = [
        ALL,
        *dict.fromkeys(
            each.rule.name for each in read(STAFF, queries.retention, now=now()).rules if each.rule.by == "retention"
        ),
    ]
    asked = st.query_params.get("rule", ALL)
    rule = st.selectbox(
        "Rule",
        names,
        index=names.index(asked) if asked in names else 0,
        key="rule_filter",
        width=260,
        label_visibility="collapsed",
    )
    st.query_params["rule"] = rule
    afters = paging.afters_of("runs", rule)
    found = read(STAFF, queries.retention_runs, rule=None if rule == ALL else rule, after=afters[-1])
    if not found.rows:
        states.empty("No run yet", "The worker runs every rule once a day: python -m core worker")
        return ()
    st.dataframe(
        {
            "Begun": [desk.instant(row.begun_at) for row in found.rows],
            "Rule": [capitalized(row.rule) for row in found.rows],
            "Went": [went(row) for row in found.rows],
            "Older than": [desk.instant(row.before) if row.before else "–" for row in found.rows],
            "Ended": [desk.instant(row.ended_at) if row.ended_at else f"waits for {row.waits_for}" if row.waits_for else "goes on"
                      for row in found.rows],
            "Oldest left": [day(row.oldest_left) for row in found.rows],
        },
        hide_index=True, row_height=36, height="content", alt=f"Table of {len(found.rows)} runs, newest first.",
    )  # fmt: skip
    paging.turn("Newest first. A run that found nothing is proof, too.", afters, found.after)
    return found.rows


def went(row: RetentionRow) -> str:
    """What a run did, in words."""
    return ", ".join(f"{number:,} {name}" for name, number in row.counts.items()) or (
        "nothing was due" if row.ended_at else "nothing yet"
    )


def kept() -> None:
    """Draw what stays after an erasure, by the labels of the columns."""
    found = queries.kept_by_label()
    shown = {
        "Why it stays": [capitalized(each.reason) for each in found],
        "Until": [each.until for each in found],
        "Tables": [", ".join(each.tables) for each in found],
    }
    st.dataframe(shown, hide_index=True, row_height=36, height="content", column_config={"Tables": st.column_config.TextColumn(width="large")},
                 alt=f"Table of {len(found)} reasons for which records stay after an erasure.")  # fmt: skip
    export.columns(
        "kept",
        shown,
        caption="From the privacy labels of the columns; what could name a person in them is emptied by an erasure.",
    )


def page(moment: datetime) -> None:
    """Draw the alarm, the figures and the chosen view."""
    top = st.container(horizontal=True, vertical_alignment="bottom")
    with top, st.container():
        st.title("Retention", anchor=False, help=HELP)
        st.caption(f"What is kept how long, and what went · figures as of {moment:%H:%M} UTC")
    counted = bool(st.session_state.get("retention_counted"))
    found = read(STAFF, queries.retention, now=moment, exact=counted)
    watching.banner(found.alarm)
    if STAFF.role == "privacy_officer":
        erasing.question(
            tuple(each for each in read(STAFF, queries.brakes_on) if each.kind in erasing.OF_RETENTION), moment
        )
    figures(found, moment)
    with st.container(horizontal=True, vertical_alignment="center"):
        asked = st.query_params.get("view", "")
        view = st.segmented_control("What", list(VIEWS), format_func=VIEWS.__getitem__, required=True, key="view",
                                    default=asked if asked in VIEWS else "rules", label_visibility="collapsed")  # fmt: skip
        st.query_params["view"] = view or "rules"
        st.space("stretch")
        if view == "rules":
            st.button("Dry run", key="dry", icon=":material/science:", on_click=st.session_state.update, args=({"retention_counted": True},),
                      help="Counts exactly what a run would take now, and changes nothing.")  # fmt: skip
    if view == "rules":
        if counted:
            dry_run(found)
        rules(found)
        rows: list[Sequence[object]] = [rule_cells(each) for each in found.rules]
        header: Sequence[str] = RULE_HEADER
        name = "retention-rules"
    elif view == "runs":
        rows = [
            (row.begun_at, row.ended_at, row.rule, row.before, went(row), row.waits_for, row.oldest_left)
            for row in runs()
        ]
        header, name = RUN_HEADER, "retention-runs"
    else:
        kept()
        return
    with top:
        export.offer(name, header, rows, note="The rows of this page")


def rule_cells(each: RuleState) -> Sequence[object]:
    """One rule as a row of the file."""
    rule = each.rule
    due = str(each.due) if each.due and each.due.capped else each.due and each.due.count
    return (rule.name, rule.what, rule.clause, each.period, "yes" if rule.open_choice else "no", rule.age, rule.goes, rule.by or "nobody",
            each.oldest, each.due_at, due, each.held, each.state, each.waits_for, each.ran_at)  # fmt: skip


BY = {"retention": "retention, once a day", "": "nothing: it stays", "erasures": "the eraser, by request"}
page(now())
