"""Policy: the promises as people read them, clause by clause, each with its state and its proof, as of any day."""

import uuid
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import streamlit as st

from core import privacy_actions, queries
from core.errors import AdminError
from core.policy.evidence import State
from core.policy.promises import ATTESTED_DAYS, CLAUSES, LEDGER, OPEN_POINTS, Promise
from core.queries import AttestationRow, Board, PromiseRow
from ui import canaries, confirm, desk, export, guards, printing, promises, states
from ui.actions import act
from ui.cached import read
from ui.clock import now
from ui.tables import day, literal

STAFF = guards.require(*guards.ROLE_NAMES, what="Policy")
OVERSEERS = ("privacy_officer", "admin", "auditor")
KEEPERS = ("privacy_officer", "admin")
ALL = "all"
HEADER = ("Clause", "Id", "Promise", "State", "Evidence", "Checked")


def text_only(moment: datetime) -> None:
    """What everybody on the staff reads: the promises in force."""
    found = read(STAFF, queries.policy_text, at=moment)
    st.title("Policy", anchor=False)
    if found is None:
        states.empty("No policy is in force", "An admin publishes the first version: python -m core policy load.")
        return
    version, effective, told = found
    st.caption(f"Privacy policy of {day(effective)} · version {literal(version)} · what we promise, in our own words")
    for number in CLAUSES:
        mine = [each for each in told if each.clause == number]
        if mine:
            with st.container(border=True):
                st.subheader(promises.clause(number), anchor=False)
                for each in mine:
                    st.markdown(f"{literal(each.text)}  \n:gray[:small[{literal(each.id)}]]")


def as_of(moment: datetime) -> tuple[datetime, bool]:
    """Draw the choice of a day; return the instant it means, and whether it is now."""
    chosen: Any = st.date_input(
        "As of", value=moment.date(), max_value=moment.date(), key="at", bind="query-params", format="YYYY-MM-DD",
        width=150, label_visibility="collapsed", help="The board as it stood at the end of a day (UTC).",
    )  # fmt: skip
    if not isinstance(chosen, date) or chosen >= moment.date():
        return moment, True
    return datetime.combine(chosen + timedelta(days=1), time.min, UTC) - timedelta(seconds=1), False


def state_filter(board: Board) -> State | None:
    """Draw the filter by state, with counts; the address holds the bare word."""
    options = [ALL, *[str(state) for state in State if board.counts[state]]]
    if st.session_state.setdefault("state", st.query_params.get("state", ALL)) not in options:
        st.session_state["state"] = ALL
    chosen = st.segmented_control(
        "State", options, key="state", required=True, label_visibility="collapsed", on_change=keep_state,
        format_func=lambda name: f"All {len(board.rows)}" if name == ALL else f"{name} {board.counts[State(name)]}",
    )  # fmt: skip
    return None if chosen in (None, ALL) else State(str(chosen))


def keep_state() -> None:
    """Put the chosen state into the address."""
    chosen = st.session_state.get("state") or ALL
    if chosen == ALL:
        st.query_params.pop("state", None)
    else:
        st.query_params["state"] = chosen


def open_promise(promise: str) -> None:
    """Open the proof of one promise."""
    st.query_params["promise"] = promise


def close_promise() -> None:
    """Back to the board."""
    st.query_params.pop("promise", None)


def ask_check() -> None:
    """Order a run of all checks."""
    try:
        fresh = act(privacy_actions.ask_check)
    except AdminError as error:
        st.session_state[confirm.DONE] = error.sentence
        return
    st.session_state[confirm.DONE] = (
        "Ordered: the worker checks within a minute." if fresh else "A check is ordered already."
    )


def broken_banner(board: Board) -> None:
    """Say on top what is broken."""
    broken = [row for row in board.rows if row.state is State.BROKEN]
    if not broken:
        return
    first = broken[0]
    when = f" since {day(first.since)[:-5]}" if first.since else ""
    more = f" So {'is' if len(broken) == 2 else 'are'} {len(broken) - 1} more." if len(broken) > 1 else ""
    with st.container(horizontal=True, vertical_alignment="center"):
        with st.container(width="stretch"):
            st.error(
                f"**{literal(first.promise.id)} is broken{when}.** {literal(first.told.sentence)}{more}",
                icon=":material/cancel:",
            )
        st.button("Look at the proof", key="first_broken", icon=":material/arrow_forward:", icon_position="right",
                  on_click=open_promise, args=(first.promise.id,))  # fmt: skip


def clauses(rows: Sequence[PromiseRow], moment: datetime) -> None:
    """Draw the promises, a card for each clause."""
    numbers = [*CLAUSES, *sorted({row.promise.clause for row in rows} - set(CLAUSES))]
    for number in numbers:
        mine = [row for row in rows if row.promise.clause == number]
        if mine:
            with st.container(border=True, gap="xsmall"):
                st.subheader(literal(promises.clause(number)), anchor=False)
                for row in mine:
                    promises.line(row, now=moment, open_it=open_promise)


def print_button(board: Board, at: datetime, moment: datetime) -> None:
    """Offer the board as a page to print."""
    with st.popover("Print", icon=":material/print:"):
        st.markdown("Every promise with its evidence as one page that any browser prints. It is recorded; the link works once, for you, within"
                    " 15 minutes.", width=320)  # fmt: skip
        if st.button("Make the page", key="make_page"):
            rows = promises.printed_rows(board.rows)
            said = f"Privacy policy of {day(board.effective_at)}, as of {desk.instant(at)}; last check {desk.instant(board.checked_at)}."
            counts = ", ".join(f"{count} {state}" for state in State if (count := board.counts[state]))
            content = printing.document("Promises of the privacy policy", said, [
                (f"{len(rows)} promises: {counts}", HEADER, rows),
                ("Canaries", canaries.PRINTED, canaries.printed(read(STAFF, queries.canaries, at=at))),
                ("What the text leaves open", ("Clause", "Open", "Why it matters"), OPEN_POINTS),
            ], made=moment)  # fmt: skip
            st.session_state["policy_link"] = act(privacy_actions.export_policy, name=f"policy-{at:%Y-%m-%d}.html", content=content,
                                                  rows=len(rows))  # fmt: skip
        if link := st.session_state.pop("policy_link", None):
            st.link_button("Open the page", f"files/{link}", type="primary", icon=":material/open_in_new:")


def leaves_open() -> None:
    """Draw what the text of the policy itself leaves open."""
    st.subheader(
        "What the text leaves open",
        anchor=False,
        help="No check can close these: the policy does not say it. Its next version can.",
    )
    columns = {
        name: [point[place] for point in OPEN_POINTS] for place, name in enumerate(("Clause", "Open", "Why it matters"))
    }
    st.table({name: [literal(cell) for cell in cells] for name, cells in columns.items()}, border="horizontal", hide_index=True,
             alt=f"Table of {len(OPEN_POINTS)} points that the policy leaves open.")  # fmt: skip


def attestation_table(found: Sequence[AttestationRow], moment: datetime) -> None:
    """Draw the attestations that stand: who answers for which, until when."""
    standing = [each for each in found if each.standing]
    needed = sum(len(each.attested) for each in LEDGER)
    st.subheader("Attestations", anchor=False, help="What no program can see is vouched for by a person, for a year at most. At risk from 30 days before it lapses.")  # fmt: skip
    if not standing:
        st.caption(f"None stands; {needed} places need one. Open a promise to attest it.")
        return
    shown = {
        "Promise": [each.promise for each in standing],
        "Place": [each.place for each in standing],
        "Answers for it": [each.owner for each in standing],
        "Given": [day(each.given_at) for each in standing],
        "Until": [day(each.expires_on) for each in standing],
    }
    st.dataframe(
        shown, hide_index=True, row_height=36, height="content", alt=f"Table of {len(standing)} standing attestations."
    )
    export.columns("attestations", shown, caption=f"{len(standing)} of {needed} places attested")


def alert_table() -> None:
    """Draw the last alerts."""
    found = read(STAFF, queries.promise_alerts)
    st.subheader("Alerts", anchor=False, help="Told once when a promise breaks, and once when it is kept again; receivers stand in the settings of this machine.")  # fmt: skip
    if not found:
        st.caption("No alert was sent. Receivers are set by RESOCODE_ALERT_MAIL and RESOCODE_ALERT_WEBHOOK.")
        return
    shown = {
        "Promise": [each.promise for each in found],
        "What": [each.kind for each in found],
        "By": [each.channel for each in found],
        "State": [each.state for each in found],
        "Made": [desk.instant(each.made_at) for each in found],
        "Told": [desk.instant(each.sent_at) for each in found],
        "Trouble": [each.error or "" for each in found],
    }
    st.dataframe(shown, hide_index=True, row_height=36, height="content", alt=f"Table of the last {len(found)} alerts.")
    export.columns("alerts", shown)


def board_page(moment: datetime) -> None:
    """Draw the board."""
    top = st.container(horizontal=True, vertical_alignment="bottom")
    filters = st.container(horizontal=True, vertical_alignment="center")
    with filters:
        left = st.container(width="content")
        st.space("stretch")
        at, live = as_of(moment)
    board = read(STAFF, queries.policy_board, at=at, now=moment)
    with top, st.container(width="stretch"):
        st.title("Policy", anchor=False, help=promises.STATE_HELP)
        if board:
            checked = f"last check {desk.instant(board.checked_at)}" if board.checked_at else "not checked yet"
            waits = " · a check is ordered" if board.asked_at else ""
            st.caption(
                f"Privacy policy of {day(board.effective_at)} · {len(board.rows)} promises · {'' if live else f'as of {day(at)} · '}{checked}{waits}"
            )
    if board is None:
        states.empty(
            "No policy was in force", "Choose a later day, or publish the first version: python -m core policy load."
        )
        return
    with top:
        print_button(board, at, moment)
        if live and STAFF.role in KEEPERS:
            st.button(
                "Check now",
                icon=":material/refresh:",
                key="check_now",
                on_click=ask_check,
                disabled=board.asked_at is not None,
            )
    with left:
        state = state_filter(board)
    broken_banner(board)
    clauses([row for row in board.rows if state in (None, row.state)], moment)
    leaves_open()
    canaries.table(read(STAFF, queries.canaries, at=at))
    attestation_table(read(STAFF, queries.attestations, now=moment), moment)
    alert_table()


def proof_page(promise: str, moment: datetime) -> None:
    """Draw everything about one promise."""
    st.button("Policy", type="tertiary", icon=":material/arrow_back:", key="back", on_click=close_promise)
    with st.container(horizontal=True, vertical_alignment="center"):
        head = st.container(width="stretch")
        at, live = as_of(moment)
    board = read(STAFF, queries.policy_board, at=at, now=moment)
    row = next((each for each in board.rows if each.promise.id == promise), None) if board else None
    with head:
        if row is None or board is None:
            states.state(
                "No such promise",
                "The policy of that day has no promise with this id.",
                icon="search_off",
                key="no_promise",
            )
            return
        with st.container(horizontal=True, vertical_alignment="center"):
            st.title(literal(row.promise.text), anchor=False, width="content")
            promises.badge(row.state)
        proven = f" · last seen to hold {desk.instant(row.proven_at)}" if row.proven_at else ""
        st.caption(
            f"{literal(row.promise.id)} · {literal(promises.clause(row.promise.clause))} · {promises.since(row)} · checked {desk.instant(row.checked_at)}{proven}"
        )
    given = read(STAFF, queries.attestations, now=moment)
    for place, found in enumerate(row.evidence):
        with st.container(border=True):
            promises.evidence(found, role=STAFF.role, key=f"way_{place}", live=live)
            if found.place in row.promise.attested:
                attested(row.promise, found.place, given, live=live)
    history(promise, at)


def attested(promise: Promise, place: str, given: Sequence[AttestationRow], *, live: bool) -> None:
    """Draw who vouches for a promise in one place, and the way to vouch or to take it back."""
    mine = [each for each in given if (each.promise, each.place) == (promise.id, place)]
    standing = next((each for each in mine if each.standing), None)
    if standing:
        st.caption(
            f"{literal(standing.owner)} answers for it until {day(standing.expires_on)}; given by {literal(standing.given_by)} on {day(standing.given_at)}."
        )
        st.text(standing.statement)
    if STAFF.role in KEEPERS and live:
        with st.container(horizontal=True):
            st.button("Renew" if standing else "Attest", key=f"attest_{place}", icon=":material/verified:", on_click=confirm.open_danger,
                      args=(f"attest {place}",))  # fmt: skip
            if standing:
                st.button("Withdraw", key=f"withdraw_{place}", type="tertiary", icon=":material/undo:", on_click=confirm.open_danger,
                          args=(f"withdraw {place}",))  # fmt: skip
    earlier = [each for each in mine if each is not standing]
    if earlier:
        st.caption("Earlier: " + "; ".join(f"{literal(each.owner)}, {day(each.given_at)} to {day(each.withdrawn_at or each.expires_on)}"
                                           f"{' (withdrawn)' if each.withdrawn_at else ''}" for each in earlier[:5]))  # fmt: skip
    confirm.danger_dialog(
        f"attest {place}", title="Attest a promise", word=None, reasons=None, button="Attest it", red=False, icon="verified",
        consequence=f"You say, in your name, that this is so: **{literal(promise.attested[place])}**. It counts until the day you choose; whoever"
        " answers for it renews it before.",
        verb=privacy_actions.attest, fields=lambda: attest_fields(promise, place), nothing="Nothing was attested.",
        done="Attested. The board has it after the next check.",
    )  # fmt: skip
    if standing:
        confirm.danger_dialog(
            f"withdraw {place}", title="Withdraw an attestation", word=None, reasons=None, button="Withdraw it", red=False, icon="undo",
            consequence="The promise is not proven in this place any more, until somebody attests it again. What was attested stays on record.",
            verb=privacy_actions.withdraw_attestation, arguments={"attestation_id": standing.id}, done="Withdrawn.",
        )  # fmt: skip


def attest_fields(promise: Promise, place: str) -> dict[str, object]:
    """Draw the fields of an attestation."""
    same = [each.id for each in LEDGER if place in each.attested]
    chosen = st.multiselect("Promises", same, default=[promise.id] if promise.id in same else [],
                            help="One look can answer for several promises in the same place.")  # fmt: skip
    statement = st.text_area("What was looked at, by whom, with what result", max_chars=2000, height=100,
                             help="20 characters or more. No names of students or visitors.")  # fmt: skip
    owners = read(STAFF, queries.attestation_owners)
    owner = st.selectbox("Who answers for it", list(owners), index=list(owners).index(STAFF.id) if STAFF.id in owners else 0,
                         format_func=lambda found: owners[found])  # fmt: skip
    today = now().date()
    until = st.date_input("Until", value=today + timedelta(days=180), min_value=today + timedelta(days=1),
                          max_value=today + timedelta(days=ATTESTED_DAYS), format="YYYY-MM-DD")  # fmt: skip
    return {
        "places": [(each, place) for each in chosen],
        "statement": statement,
        "owner_id": owner or uuid.UUID(int=0),
        "expires_on": until,
    }


def history(promise: str, at: datetime) -> None:
    """Draw how the promise stood before."""
    st.subheader(
        "History", anchor=False, help="Every change of a state in any place, with the evidence of that moment."
    )
    told = read(STAFF, queries.promise_history, promise, at=at)
    if not told:
        st.caption("No check is on record until then.")
        return
    for change in told:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f":gray[{desk.instant(change.at)}]", width=190)
            with st.container(width=104):
                promises.badge(State(change.state))
            worst = next((each for each in change.evidence if str(each.state) == change.state), change.evidence[0])
            st.caption(literal(f"{worst.place}: {worst.sentence}"), width="stretch")


def page(moment: datetime) -> None:
    """Draw what whoever is signed in may see."""
    if STAFF.role not in OVERSEERS:
        text_only(moment)
    elif promise := st.query_params.get("promise"):
        proof_page(promise, moment)
    else:
        board_page(moment)


page(now())
