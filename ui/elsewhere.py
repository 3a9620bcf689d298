"""What has to follow at processors, on a request's page: by a connection, or by a person; each with its proof when it is done."""

from datetime import datetime

import streamlit as st

from core.queries import Step, StepRow
from ui import by_hand, desk
from ui.tables import day, literal

HELP = (
    "What has to follow at processors from the decisions on this request. A connection does it and answers; where there is none, "
    "one person does it by hand and another one confirms. Failed attempts are repeated, after five days a person is asked, too."
)
PROOFS = {"answered": "the processor answered that it did", "by hand": "by hand, confirmed by {by}", "recorded": "recorded by {by}"}  # fmt: skip


def draw(steps: tuple[StepRow, ...], hands: tuple[Step, ...], moment: datetime, *, alone: bool) -> None:
    """Draw everything that is passed on, and every manual step of the request, as one list. ``alone``: single-officer mode."""
    rows = [step for step in steps if step.state != "canceled"]
    cards = {hand.id: hand for hand in hands if hand.state != "canceled"}
    own = [card for card in cards.values() if card.id not in {row.hand for row in rows}]
    if not rows and not own:
        return
    left = sum(row.state != "done" for row in rows) + sum(card.state != "confirmed" for card in own)
    st.subheader(f"Elsewhere: {left} of {len(rows) + len(own)} left" if left else "Elsewhere", anchor=False, help=HELP)
    for row in rows:
        _passed_on(row, cards.get(row.hand) if row.hand else None, moment, alone=alone)
    for card in own:
        _by_hand(card, moment, alone=alone)


def detail(step: StepRow) -> str:
    """How something that has to follow stands, in a few words."""
    if step.state == "done":
        return f"{desk.instant(step.done_at)} · {PROOFS[step.proof].format(by=literal(step.by or '–'))}"
    if step.error == "manual":
        return "waits for a person"
    if step.error:
        tried = f"tried {step.attempts} time{'s' if step.attempts != 1 else ''} · " if step.attempts else ""
        again = f" · again {desk.instant(step.next_at)}" if step.next_at else ""
        return f"{tried}{literal(step.error)}{again}"
    return (
        "called; the answer is awaited"
        if step.state == "called"
        else f"planned {day(step.planned_at)}, the worker is next"
    )


def _passed_on(step: StepRow, card: Step | None, moment: datetime, *, alone: bool) -> None:
    if card is not None and step.state != "done":
        _by_hand(card, moment, alone=alone, more="" if step.error == "manual" else detail(step))
        return
    if step.state == "done":
        icon = ":green[:material/check_circle:]"
    else:
        icon = ":orange[:material/sync_problem:]" if step.error else ":gray[:material/hourglass_top:]"
    with st.container(border=True):
        st.markdown(f"{icon} {literal(step.what)} · {literal(step.processor)}  \n:gray[:small[{detail(step)}]]")


def _by_hand(card: Step, moment: datetime, *, alone: bool, more: str = "") -> None:
    word, _, icon = by_hand.state_of(card, moment)
    with st.expander(f"{literal(card.title)} :gray[:small[by hand · {word} · due {day(card.due_on)}]]", icon=f":material/{icon}:",
                     expanded=card.state == "attested" and not card.mine):  # fmt: skip
        if more:
            st.caption(f"The connection: {more}. Whichever works first ends it.")
        by_hand.card(card, moment, alone=alone, of_request=True)
