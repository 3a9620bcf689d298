"""Requests: the privacy desk. What is overdue, what waits for whom, and the way into each request."""

from datetime import datetime

import streamlit as st

from core import privacy_actions, queries
from core.models.requests import REQUEST_KINDS
from core.policy.machine import DONE_BY_PEOPLE
from core.queries import DeskCounts, QueueCursor, QueueFilter, QueuePage, QueueRow
from core.settings import ROOT
from ui import confirm, desk, erasing, export, filters, guards, states
from ui.cached import read
from ui.clock import now
from ui.tables import day

STAFF = guards.require("privacy_officer", what="Requests")
REQUEST, HAND_ON = ROOT / "pages" / "request.py", ROOT / "pages" / "hand_on.py"
ALL_KINDS = "All kinds"
NEXT = {
    "link_subject": "Find out who this is",
    "record_identity": "Check the identity",
    "answer_request": "Send the answer",
    "answer_right": "Send the answer",
    "restrict_now": "Restrict at once",
    "enter_correction": "Enter the correction",
    "confirm_correction": "Confirm the correction",
    "answer_guardian": "Correct or erase a guardian",
    "judge_texts": "Judge texts of the file",
    "hand_out_export": "Hand the file out",
    "answer_export": "Say they have it",
    "remake_export": "Make the file anew",
    "wait for the file": "None: file is made",
    "close_account": "Close the account",
    "open_plan": "Approve the plan",
    "approve_deletion": "Approve the plan",
    "wait for the person": "None: clock rests",
    "wait for the worker": "None: the worker erases",
    "nothing": "None",
}
BULK = "approve several"
HEADER = (
    "Request",
    "Kind",
    "State",
    "Received",
    "Due",
    "What is due",
    "Time left",
    "Month used",
    "Next action",
    "Owner",
)


def figures(counts: DeskCounts, first: QueueRow | None, soon: QueueRow | None, moment: datetime) -> None:
    """Draw the key figures."""
    answers = read(STAFF, queries.answer_days, now=moment)
    with st.grid(4, min_column_width=190):
        worst = f"{desk.span(-first.left)} at most" if counts.overdue and first and first.left else "none"
        st.metric(
            f"{':red[:material/warning:] ' if counts.overdue else ''}Overdue", counts.overdue, worst, delta_arrow="off",
            delta_color="red" if counts.overdue else "off", border=True, height="stretch",
            help="Open requests whose answer was due before now, pauses left out. Clause 7: one month from receipt. Live.",
        )  # fmt: skip
        next_one = f"next: {desk.time_left(soon, moment)[0]}" if counts.due_soon and soon else "none"
        st.metric(
            "Due within 7 days", counts.due_soon, next_one, delta_arrow="off",
            delta_color="orange" if counts.due_soon else "off", border=True, height="stretch",
            help="Open requests whose answer is due within the next 7 days. Live.",
        )  # fmt: skip
        st.metric(
            "Waiting for a second person", counts.to_approve, f"{counts.mine_to_approve} for you to approve",
            delta_arrow="off", delta_color="violet" if counts.mine_to_approve else "off", border=True, height="stretch",
            help="Deletions whose plan nobody has approved yet. Whoever filed, owns or closed one cannot approve it. Live.",
        )  # fmt: skip
        change = None if None in (answers.median, answers.before) else round(answers.median - answers.before)  # type: ignore[operator]
        st.metric(
            "Median days to answer", "–" if answers.median is None else round(answers.median), change, delta_color="inverse",
            delta_description="vs. quarter before" if change is not None else None, border=True, height="stretch",
            help="Half of the requests answered in the last 90 days took longer, from receipt to answer. Live.",
        )  # fmt: skip


def filter_row(counts: DeskCounts) -> QueueFilter:
    """Draw the segments with their counts and the choice of a kind; both stand in the address."""
    labels = {
        "open": f"Open {counts.open}",
        "mine": f"Mine {counts.mine}",
        "to approve": f"To approve {counts.to_approve}",
        "waiting for the person": f"Waiting for the student {counts.waiting_for_person}",
        "closed": "Closed",
    }
    with st.container(horizontal=True, vertical_alignment="center"):
        asked = st.query_params.get("view", "open")
        view = st.segmented_control(
            "Which requests", list(labels), format_func=labels.__getitem__, required=True, key="view",
            default=asked if asked in labels else "open", label_visibility="collapsed",
        )  # fmt: skip
        st.query_params["view"] = view or "open"
        st.space("stretch")
        words = {desk.KINDS[kind]: kind for kind in REQUEST_KINDS}
        kind = st.selectbox(
            "Kind", [ALL_KINDS, *words], key="kind", bind="query-params", width=150, label_visibility="collapsed"
        )
    return QueueFilter(view or "open", (words[kind],) if kind in words else ())


def clear_filters() -> None:
    """Show all open requests."""
    show("open")


def show_closed() -> None:
    """Show the closed ones."""
    show("closed")


def show(view: str) -> None:
    """Show one view of all kinds."""
    st.session_state.pop("view", None)
    st.query_params["view"] = view
    filters.put_back({"kind": ALL_KINDS})


def nothing(wanted: QueueFilter, counts: DeskCounts) -> None:
    """Say why there is nothing, and what there is instead."""
    if wanted.kinds:
        kind = desk.KINDS[wanted.kinds[0]]
        states.nothing_found(
            "No request matches", f"None of these requests is about “{kind}”. Choose another kind.", clear=clear_filters
        )
    elif wanted.view == "closed":
        states.empty(
            "No request is closed yet", "A request appears here once it is answered, refused, withdrawn or erased."
        )
    elif wanted.view == "open":
        states.state(
            "No request is open", "Whoever hears of one hands it on; new ones appear here at once.", icon="inbox",
            button="Show closed requests", act=show_closed, key="show_closed",
        )  # fmt: skip
    else:
        sentence = {
            "mine": f"You own no open request. {counts.unowned} {'is' if counts.unowned == 1 else 'are'} nobody's.",
            "to approve": "No deletion waits for approval.",
            "waiting for the person": "No clock rests: nobody is asked for a proof of identity now.",
        }[wanted.view]
        states.state("Nothing here", sentence, icon="inbox", button="Show all open requests", act=clear_filters,
                     key="show_open")  # fmt: skip


def cursors_of(wanted: QueueFilter) -> list[QueueCursor | None]:
    """The cursors of the pages seen so far; another view begins at its first page."""
    if st.session_state.get("desk_view") != wanted:
        st.session_state["desk_view"], st.session_state["desk_cursors"] = wanted, [None]
    cursors: list[QueueCursor | None] = st.session_state["desk_cursors"]
    return cursors


def queue(wanted: QueueFilter, counts: DeskCounts, moment: datetime) -> QueuePage:
    """Draw one page of the queue."""
    cursors = cursors_of(wanted)
    found = read(STAFF, queries.request_queue, wanted, now=moment, after=cursors[-1])
    if not found.rows:
        nothing(wanted, counts)
        return found
    several = wanted.view == "to approve" and counts.mine_to_approve > 1 and st.toggle(
        "Select several", key="several", help="To approve several plans at once. Each plan must have been opened by you."
    )  # fmt: skip
    chosen = table(found.rows, moment, closed=wanted.view == "closed", several=bool(several), page=len(cursors))
    footer(found, cursors, wanted, counts)
    if several:
        approve_several(chosen)
    elif chosen:
        st.session_state["desk_params"] = dict(st.query_params)
        st.switch_page(REQUEST, query_params={"id": str(chosen[0].id)})
    return found


def table(rows: tuple[QueueRow, ...], moment: datetime, *, closed: bool, several: bool, page: int) -> list[QueueRow]:
    """Draw the rows; return those that are selected."""
    left = [desk.time_left(row, moment) for row in rows]
    shown = [desk.state_of(row)[:2] for row in rows]
    columns: dict[str, list[object]] = {
        "Request": [row.number for row in rows],
        "Kind": [desk.KINDS[row.kind] for row in rows],
    }
    if closed:
        columns |= {
            "State": [[word] for word, _ in shown],
            "Received": [day(row.received_at) for row in rows],
            "Closed": [day(row.closed_at) for row in rows],
            "Outcome": [row.outcome or "–" for row in rows],
        }
    else:
        columns |= {
            "Time left": [[words] for words, _ in left],
            "Month used": [round(100 * row.used) if row.what_is_due == "answer" else None for row in rows],
            "Due": [due(row) for row in rows],
            "State": [[word] for word, _ in shown],
            "Next action": [next_words(row) for row in rows],
        }
    columns["Owner"] = [owner(row) for row in rows]
    key = f"queue_{page}_{several}_{hash(tuple((row.id, row.version) for row in rows)) % 10**8}"
    chosen = st.dataframe(
        columns, hide_index=True, row_height=36, height="content", on_select="rerun", key=key,
        selection_mode="multi-row" if several else "single-row",
        column_config={
            "Request": st.column_config.TextColumn(width=75),
            "Kind": st.column_config.TextColumn(width=70),
            "Time left": desk.chips("Time left", left, width=120),
            "Month used": st.column_config.ProgressColumn(format="%d%%", min_value=0, max_value=100, color="blue", width=115),
            "Due": st.column_config.TextColumn(width=150),
            "State": desk.chips("State", shown, width=140),
            "Next action": st.column_config.TextColumn(width=195),
        },
        alt=f"Table of {len(rows)} requests with kind, time left, due date, state, next action and owner.",
    )  # fmt: skip
    return [rows[place] for place in chosen["selection"]["rows"]]


def due(row: QueueRow) -> str:
    """The day that counts now, and what happens on it unless it is the answer."""
    if row.deadline is None:
        return "–"
    told = f"{row.deadline:%a} {row.deadline.day} {row.deadline:%b}"
    return {"answer": told, "approval": f"{told} · grace ends", "erasure": f"{told} · erases"}[
        row.what_is_due or "answer"
    ]


def next_words(row: QueueRow) -> str:
    """What is next, short enough for a column; who may not do it reads whose it is."""
    if row.next.code == "wait for the grace period":
        return f"None: erases {row.deadline.day} {row.deadline:%b}" if row.deadline else "None"
    if row.next.words in DONE_BY_PEOPLE.values():
        return row.next.words
    return NEXT[row.next.code]


def owner(row: QueueRow) -> str:
    """Whose request it is."""
    return "You" if row.mine else row.owner or "nobody"


def footer(found: QueuePage, cursors: list[QueueCursor | None], wanted: QueueFilter, counts: DeskCounts) -> None:
    """Draw where we are, and the way on and back."""
    first = (len(cursors) - 1) * queries.PAGE_SIZE + 1
    totals = {"open": counts.open, "mine": counts.mine, "to approve": counts.to_approve,
              "waiting for the person": counts.waiting_for_person}  # fmt: skip
    of = f" of {totals[wanted.view]:,}" if wanted.view in totals and not wanted.kinds else ""
    order = "newest first" if wanted.view == "closed" else "soonest due first, resting ones last"
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(f"{first:,} to {first + len(found.rows) - 1:,}{of}, {order} · select a row to open the request",
                   width="stretch")  # fmt: skip
        if len(cursors) > 1 or found.after is not None:
            st.button("Previous", key="previous", icon=":material/chevron_left:", disabled=len(cursors) == 1,
                      on_click=turn_back)  # fmt: skip
            st.button("Next", key="next", icon=":material/chevron_right:", icon_position="right",
                      disabled=found.after is None, on_click=cursors.append, args=(found.after,))  # fmt: skip


def turn_back() -> None:
    """Go to the page before."""
    st.session_state["desk_cursors"].pop()


def approve_several(chosen: list[QueueRow]) -> None:
    """Offer to approve the selected plans at once."""
    with st.container(horizontal=True, horizontal_alignment="right"):
        if st.button(f":red[:material/group: Approve {len(chosen)} deletions …]", key="bulk", disabled=not chosen):
            st.session_state["bulk_items"] = [
                (row.id, row.version, row.plan_fingerprint or "", row.number) for row in chosen
            ]
            confirm.open_danger(BULK)
    items = st.session_state.get("bulk_items", [])
    if not items:
        return
    numbers = ", ".join(number for *_, number in items[:12]) + (" …" if len(items) > 12 else "")
    confirm.danger_dialog(
        BULK,
        title=f"Approve {len(items)} permanent deletions",
        consequence=f"After its grace period **each of these accounts is erased**, and nobody can bring it back: {numbers}.",
        facts=":material/fact_check: What has changed, was not opened by you, or is yours is left out and named; the rest"
        " goes through. More than 20 at once need one more person.",
        word=str(len(items)),
        button="Approve permanent deletions",
        keep="Do not approve",
        nothing="Nothing was approved.",
        reasons=privacy_actions.APPROVALS,
        verb=privacy_actions.approve_deletions,
        arguments={"items": [item[:3] for item in items], "confirmation": str(len(items))},
        then=lambda receipt: st.session_state.update(bulk_outcome=receipt, bulk_items=[]),
        icon="group",
    )


def outcome_of_bulk() -> None:
    """Say what became of each selected request."""
    receipt = st.session_state.get("bulk_outcome")
    if receipt is None:
        return
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.subheader(f"{len(receipt.done)} approved, {len(receipt.refused)} not", anchor=False, width="stretch")
            st.button("Close", key="bulk_close", type="tertiary", on_click=st.session_state.pop, args=("bulk_outcome",))
        lines = [
            (each.number, "approved" if each.state == "waiting" else "not yet", each.sentence) for each in receipt.done
        ]
        lines += [(number, "left out", sentence) for number, sentence in receipt.refused]
        shown = {
            "Request": [a for a, _, _ in lines],
            "Outcome": [[b] for _, b, _ in lines],
            "Why": [c for *_, c in lines],
        }
        st.dataframe(
            shown,
            hide_index=True, row_height=36, height="content",
            column_config={
                "Request": st.column_config.TextColumn(width=85),
                "Outcome": desk.chips("Outcome", [("approved", "green"), ("not yet", "violet"), ("left out", "orange")], width=110),
            },
            alt=f"Table of {len(lines)} requests with what became of each.",
        )  # fmt: skip
        export.columns("approvals", shown)


def page(moment: datetime) -> None:
    """Draw the desk."""
    counts = read(STAFF, queries.desk_counts, now=moment)
    top = st.container(horizontal=True, vertical_alignment="bottom")
    with top, st.container():
        st.title("Requests", anchor=False)
        st.caption(f"Privacy desk · as of {moment:%H:%M} UTC")
    desk.say()
    confirm.tell()
    erasing.question(
        tuple(each for each in read(STAFF, queries.brakes_on) if each.kind not in erasing.OF_RETENTION), moment
    )
    with states.loading(height=110):
        ahead = read(STAFF, queries.request_queue, QueueFilter(), now=moment).rows
    late = next((row for row in ahead if row.overdue and row.what_is_due == "answer"), None)
    figures(counts, late, next((row for row in ahead if row.due_soon and row.what_is_due == "answer"), None), moment)
    outcome_of_bulk()
    erasing.stuck(read(STAFF, queries.stuck_erasures, now=moment), moment)
    wanted = filter_row(counts)
    found = queue(wanted, counts, moment)
    with top:
        rows = [
            (row.number, desk.KINDS[row.kind], desk.state_of(row)[0], row.received_at, row.deadline, row.what_is_due,
             desk.time_left(row, moment)[0], f"{row.used:.0%}", next_words(row), owner(row))
            for row in found.rows
        ]  # fmt: skip
        export.offer("requests", HEADER, rows)
        if st.button("Hand on a request", type="primary", icon=":material/add:", key="hand_on"):
            st.switch_page(HAND_ON)


page(now())
