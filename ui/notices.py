"""One notice to many as a card: its text, how far it is, why some were not reached, and what can be done."""

import uuid
from datetime import datetime

import streamlit as st

from core import privacy_actions, queries
from core.privacy_actions import Staff
from core.queries import CampaignRow
from ui import confirm, desk, export, guards
from ui.cached import read
from ui.tables import day, literal

STATES = {
    "gathering": ("writing down whom", "blue"),
    "running": ("on its way", "blue"),
    "paused": ("paused", "orange"),
    "done": ("done", "green"),
    "canceled": ("ended early", "gray"),
}
WORDS = {
    "sent": "Told",
    "bounced": "Came back",
    "not reached": "Not reached",
    "queued": "In the outbox",
    "waiting": "To be told",
}
OVER = ("done", "canceled")
TELLERS = ("privacy_officer", "admin")


def state_of(row: CampaignRow) -> tuple[str, str]:
    """How a notice stands: word and color."""
    return STATES[row.state]


def people(row: CampaignRow) -> int:
    """How many people it is for, as far as they are written down."""
    return sum(row.counts.values()) if row.reduced_at is None else row.recipients


def about(row: CampaignRow) -> str:
    """What it is about, in words."""
    return f"version {row.about}" if row.kind == "policy notice" else row.about or "–"


def one(staff: Staff, campaign_id: uuid.UUID, moment: datetime) -> None:
    """Draw one notice; it draws itself anew while it is on its way."""
    found = read(staff, queries.campaign, campaign_id)
    if found is None:
        return
    live = found.state in ("gathering", "running")
    guards.part(staff, every="3s" if live else None)(_card)(staff, campaign_id, moment)
    _dialogs(found)


def _card(staff: Staff, campaign_id: uuid.UUID, moment: datetime) -> None:
    row = read(staff, queries.campaign, campaign_id)
    if row is None:
        return
    with st.container(border=True):
        word, color = state_of(row)
        with st.container(horizontal=True, vertical_alignment="center"):
            st.subheader(f"{row.kind.capitalize()} · {literal(about(row))}", anchor=False, width="stretch")
            st.badge(word, color=color)  # type: ignore[arg-type]
        by = f" by {literal(row.begun_by)}" if row.begun_by else ""
        st.caption(f"To {literal(privacy_actions.AUDIENCES[row.audience][0])} · begun {desk.instant(row.begun_at)}{by}"
                   f" · to be done by {day(row.deadline)}")  # fmt: skip
        _progress(row)
        _figures(row)
        _why(row)
        if staff.role in TELLERS:
            _buttons(row)
        with st.expander("The text as it was sent" if row.channel == "mail" else "The text that is shown"):
            st.text(row.subject)
            st.code(row.body, language=None, wrap_lines=True)
        if staff.role == "privacy_officer" and row.reduced_at is None:
            _recipients(staff, row)
        if row.reduced_at is not None:
            st.caption(
                f"Who was told was erased on {day(row.reduced_at)}, after the period of the mail log; the counts stay."
            )


def _progress(row: CampaignRow) -> None:
    whole, open_ones = people(row), row.counts.get("waiting", 0) + row.counts.get("queued", 0)
    if row.state in OVER or not whole:
        return
    if row.state == "gathering":
        st.progress(0, f"{whole:,} people written down so far")
    elif row.channel == "platform" and row.shown_at is None:
        st.info("Put the text on the platform, where its recipients see it after signing in. Then attest it here.",
                icon=":material/web:")  # fmt: skip
    else:
        st.progress((whole - open_ones) / whole, f"{whole - open_ones:,} of {whole:,} people settled")


def _figures(row: CampaignRow) -> None:
    with st.grid(4, min_column_width=130):
        st.metric("People", people(row), border=True, format="localized", height="stretch",
                  help="Everybody of the audience when the notice was begun. Who was erased since is not counted any more.")  # fmt: skip
        st.metric("Told", row.counts.get("sent", 0), f"{row.unclear} perhaps twice" if row.unclear else None, delta_arrow="off",
                  delta_color="off", border=True, format="localized", height="stretch",
                  help="The mail server took it, or it was shown. “Perhaps twice”: a worker or the server broke off while this mail was"
                  " under way, so it was sent again under the same Message-ID.")  # fmt: skip
        st.metric("Came back", row.counts.get("bounced", 0), border=True, format="localized", height="stretch",
                  help="Refused for good, or reported as undelivered.")  # fmt: skip
        st.metric("Not reached", row.counts.get("not reached", 0), border=True, format="localized", height="stretch",
                  help="The account was closed, the server could not take it until the deadline, or the notice was ended early.")  # fmt: skip


def in_words(code: str) -> str:
    """What a code of the mail server means: ``refused for good (550)``; our own codes are words already."""
    if not code[:1].isdigit():
        return code
    return f"{'refused for good' if code.startswith('5') else 'not taken until the last day'} ({code})"


def _why(row: CampaignRow) -> None:
    if row.codes:
        told = " · ".join(
            f"{many:,} {literal(in_words(code))}" for code, many in sorted(row.codes.items(), key=lambda it: -it[1])[:6]
        )
        st.caption(f"Why not: {told}")
    if row.shown_at:
        st.caption(f"Shown on the platform since {desk.instant(row.shown_at)}: {literal(row.shown_where)}")


def _buttons(row: CampaignRow) -> None:
    with st.container(horizontal=True, horizontal_alignment="right"):
        if row.state not in OVER:
            if st.button("End it early", key="end_notice", type="tertiary"):
                confirm.open_danger(f"end {row.id}")
                st.rerun()
            if row.state == "paused":
                st.button(
                    "Go on", key="resume_notice", type="primary", on_click=_decide, args=("resume_campaign", row.id)
                )
            else:
                st.button(
                    "Pause",
                    key="pause_notice",
                    icon=":material/pause:",
                    on_click=_decide,
                    args=("pause_campaign", row.id),
                )
            if row.channel == "platform" and row.shown_at is None and row.state != "paused":
                where = st.text_input(
                    "Where it stands on the platform",
                    key="shown_where",
                    placeholder="banner after sign-in",
                    max_chars=200,
                )
                if st.button("It is shown", key="attest_notice", type="primary"):
                    desk.decide(privacy_actions.attest_shown, campaign_id=row.id, where=where)
                    st.rerun()
        missed = row.counts.get("bounced", 0) + row.counts.get("not reached", 0)
        told = "Begins the same notice, shown on the platform, to those whom this one did not reach."
        if row.state in OVER and row.reduced_at is None and missed:
            st.button(f"Tell {missed:,} of them on the platform", key="follow_notice", icon=":material/web:", help=told,
                      on_click=_decide, args=("follow_up_campaign", row.id))  # fmt: skip


def _decide(verb: str, campaign_id: uuid.UUID) -> None:
    desk.decide(getattr(privacy_actions, verb), campaign_id=campaign_id)


def _recipients(staff: Staff, row: CampaignRow) -> None:
    states = [state for state in ("bounced", "not reached", "sent", "queued", "waiting") if row.counts.get(state)]
    if not states:
        return
    with st.expander("Recipients", on_change="rerun", key=f"recipients_{row.id}") as shown:
        if not shown.open:
            return
        state = st.segmented_control("State", states, format_func=lambda each: f"{WORDS[each]} {row.counts[each]:,}", required=True,
                                     default=states[0], key=f"state_{row.id}", label_visibility="collapsed") or states[0]  # fmt: skip
        found = read(staff, queries.campaign_recipients, row.id, state=state)
        columns = {
            "Letter": [str(each.id) for each in found],
            "Told": [desk.instant(each.told_at) for each in found],
            "Why": [each.code or "–" for each in found],
            "Perhaps twice": ["yes" if each.unclear else "" for each in found],
        }
        st.dataframe(
            columns,
            hide_index=True,
            row_height=36,
            height="content",
            alt=f"Table of {len(found)} recipients without names.",
        )
        export.columns(
            "recipients",
            columns,
            caption=f"The first {len(found)}, without names: the number is that of the mail's Message-ID",
        )


def _dialogs(row: CampaignRow) -> None:
    confirm.danger_dialog(
        f"end {row.id}", title="End this notice early", button="End the notice", word=None, reasons=None,
        consequence="Nothing more leaves. Those who were told stay told; the others are counted as not reached.",
        verb=privacy_actions.cancel_campaign, arguments={"campaign_id": row.id}, done="Ended.",
    )  # fmt: skip
