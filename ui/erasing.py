"""How an erasure is shown: its steps with their evidence, what it waits for, and the question that has stopped all of them.

Words here are for officers; there is no person in any of them.
"""

from datetime import datetime

import streamlit as st

from core import privacy_actions as verbs
from core.queries import BrakeRow, ErasureRead, ErasureStepRow, StuckErasure
from core.settings import ROOT
from ui import confirm, desk
from ui.plans import DATA
from ui.tables import literal

Line = tuple[str, str, str, str]  # label, when and how, "done" | "now" | "later" | "failed", what to say
BRAKE = "answer brake"
# What stops one rule of retention: what would go, and why that is asked.
OF_RETENTION = {
    "mail": ("{due:,} of {of:,} e-mail logs are past their period. Is that right?",
             "More than three quarters of the whole log in one run: a clock or a parameter of the policy may be wrong."),
    "visitors": ("{due:,} of {of:,} visitors would be erased in one run. Is that right?",
                 "More than 20 people, and more than 2 % of all, is more than usual: a clock or the chosen period may be wrong."),
    "lapses": ("{due:,} of {of:,} students would be told, or closed, because their subscription ended. Is that right?",
               "More than 20 people, and more than 2 % of all, is more than usual: an import of subscriptions may be incomplete."),
}  # fmt: skip
SHOWN = 5
AFTER = {
    "mail": "Mails that a hold keeps are moved aside; the others do not come back.",
    "visitors": "What is erased does not come back. Whoever has an open request, or whom a hold keeps, is left out.",
    "lapses": "Letters that have left do not come back; a closed account can be opened again for its days of grace.",
}
TITLES = {
    "ledger": "Written into the erasure ledger",
    "letter": "Last letter to the person",
    "database": "Erased in the platform database",
    "residue": "Scanned for residue",
    "certificate": "Certificate of erasure",
}
CLOCKS = {
    "clocks differ": "The clock of the worker's machine and that of the database are more than 5 minutes apart.",
    "clock went back": "The database's clock shows an earlier time than the last sign of life of a worker.",
    "clock jumped": "The clock of a worker's machine jumped by more than 5 minutes while it ran.",
    "silent too long": "No worker has run for more than 7 days, or the clock jumped ahead while none ran.",
}


def lines(found: ErasureRead) -> list[Line]:
    """The steps as lines of the request: nothing counts as done before it was read back."""
    return [_line(step) for step in found.steps]


def waits(found: ErasureRead) -> str:
    """What an erasure waits for, as a sentence; "" when it goes on by itself."""
    if not found.waits_for or found.waits_since is None:
        return ""
    return f"Waits for {literal(found.waits_for)}, since {desk.instant(found.waits_since)}."


def failed(found: ErasureRead) -> list[ErasureStepRow]:
    """The steps that an officer may try again at once."""
    return [step for step in found.steps if step.state == "failed"]


def _line(step: ErasureStepRow) -> Line:
    label = TITLES.get(step.what) or f"Erased at {literal(step.place)}"
    if step.state == "proven":
        return label, f"proven {desk.instant(step.proven_at)}", "done", _body(step)
    if step.state == "exempt":
        return label, f"not needed: {literal(step.error)}", "done", _body(step)
    if step.state == "failed":
        owner = f"{literal(step.owner)} sees to it" if step.owner else "nobody sees to it yet"
        return label, f"failed {step.attempts} times, {owner}", "failed", _body(step)
    if step.waits_for:
        return label, f"waits for {literal(step.waits_for)}", "now", _body(step)
    words = {"called": "called; what came of it is read back", "erased": "done; to be read back"}
    return (
        (label, words[step.state], "now", _body(step))
        if step.state in words
        else (label, "to come", "later", _body(step))
    )


def _body(step: ErasureStepRow) -> str:
    """Counts and evidence, newest last."""
    told = [
        f"- {each.at:%-d %b, %H:%M} UTC · {literal(each.words)}{_detail(each.counts, each.reference)}"
        for each in step.evidence
    ]
    if len(told) > SHOWN + 1:
        told = [told[0], f"- … {len(told) - SHOWN} more", *told[1 - SHOWN :]]
    total = _records(step.counts)
    return "\n".join([total, "", *told] if total else told)


def _records(counts: dict[str, int]) -> str:
    """What went, or was looked through, by kind."""
    kinds: dict[str, int] = {}
    for place, many in counts.items():
        word = DATA.get(place, place.rpartition(".")[2].replace("_", " "))
        kinds[word] = kinds.get(word, 0) + many
    return " · ".join(f"{literal(word)}: {many:,}" for word, many in kinds.items())


def _detail(counts: dict[str, int], reference: str) -> str:
    many = sum(counts.values())
    parts = [f"{many:,} record{'' if many == 1 else 's'}"] if many else []
    parts += [f"`{reference[:24].replace('`', '')}`"] if reference else []
    return f" ({', '.join(parts)})" if parts else ""


def question(brakes: tuple[BrakeRow, ...], moment: datetime) -> None:
    """Draw what has stopped every erasure, with the way to answer it."""
    for brake in brakes:
        many, told = brake.kind != "clock", OF_RETENTION.get(brake.kind)
        title, why = _asked(brake)
        stopped, go_on = ("retention", "Let it go") if told else ("erasures", "Let the erasures go on")
        with st.container(border=True, key=f"brake_{brake.kind}"):
            st.badge(f"{stopped} stopped", color="red", icon=":material/pan_tool:")
            st.markdown(f"**{title}**  \n:gray[:small[{why} Stopped {desk.instant(brake.raised_at)}.]]")
            st.button(f"Look, and let {'it' if told else 'them'} go on", key=f"answer_{brake.kind}", icon=":material/play_arrow:",
                      on_click=confirm.open_danger, args=(f"{BRAKE} {brake.kind}",))  # fmt: skip
        confirm.danger_dialog(
            f"{BRAKE} {brake.kind}",
            title=go_on,
            consequence=(
                f"For 24 hours, up to {brake.due:,} go without another question. {AFTER[brake.kind]}"
                if told
                else f"For 24 hours, up to {brake.due:,} people are erased without another question. Look first at the"
                " requests whose erasure is due: are these the right ones?"
                if many
                else f"{why} Compare with a clock you trust. If the time now shown below is right, erasures go on for 24 hours."
            ),
            facts="" if many else f"The dashboard's time: **{desk.instant(moment)}**",
            word=brake.confirm,
            button="Let it go on" if told else "Let them go on",
            verb=verbs.answer_brake,
            arguments={"brake_id": brake.id, "confirmation": brake.confirm},
            reasons=verbs.BRAKE_REASONS[:1] if many else verbs.BRAKE_REASONS[1:],
            keep="Leave it stopped" if told else "Leave them stopped",
            nothing="Nothing goes on.",
            done="Retention goes on." if told else "Erasures go on.",
        )


def _asked(brake: BrakeRow) -> tuple[str, str]:
    """The question, and why it is asked."""
    if told := OF_RETENTION.get(brake.kind):
        return told[0].format(due=brake.due, of=brake.people), told[1]
    if brake.kind == "clock":
        return "The time may be wrong, so nothing is erased.", CLOCKS.get(brake.why, brake.why)
    return (
        f"{brake.due:,} people would be erased in one day, of {brake.people:,}. Is that right?",
        "More than 20 people, and more than 2 % of all, is more than usual: no erasure begins until an officer has answered.",
    )


def stuck(found: tuple[StuckErasure, ...], moment: datetime) -> None:
    """Draw the erasures that have waited for more than a day, each with the way to its request."""
    if not found:
        return
    with st.expander(f"{len(found)} erasure{' waits' if len(found) == 1 else 's wait'} for somebody", icon=":material/hourglass_top:",
                     expanded=len(found) <= SHOWN):  # fmt: skip
        for each in found:
            with st.container(horizontal=True, vertical_alignment="center"):
                st.markdown(f"**{each.number}** waits for {literal(each.waits_for)}"
                            f"  \n:gray[:small[for {desk.span(moment - each.since)}]]", width="stretch")  # fmt: skip
                if st.button("Open", key=f"stuck_{each.request_id}", type="tertiary", icon=":material/arrow_forward:",
                             icon_position="right"):  # fmt: skip
                    st.switch_page(ROOT / "pages" / "request.py", query_params={"id": str(each.request_id)})
