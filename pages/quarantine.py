"""Quarantine: records that came back and may be of erased people; places where something of an erased person may be left."""

from collections.abc import Sequence
from datetime import datetime

import streamlit as st

from core import privacy_actions as verbs
from core import queries
from core.queries import OpenFinding, ProofCounts, SetAsideRecord
from core.settings import ROOT
from ui import confirm, desk, export, guards, paging, states
from ui.actions import act
from ui.cached import read
from ui.clock import now
from ui.tables import day

STAFF = guards.require("privacy_officer", what="Quarantine")
REQUEST = ROOT / "pages" / "request.py"
HEADER = ("Kind", "Why", "Source", "Signed up", "Erased", "Came", "Until", "Decision", "Reason", "Decided", "By")
WHY = {
    "no date": "the record does not say when they signed up",
    "same day": "signed up on the day of the erasure",
    "same account, later date": "the erased account itself, with a later date",
}
HELP = (
    "Old records of erased people are refused; who signs up later is somebody new and enters. What cannot be told waits here for 30 "
    "days, then it expires. The record is emptied with the decision."
)
TRACES = {"e-mail": "an e-mail address", "phone": "a telephone number", "id": "an id", "name": "a name"}


def figures(counts: ProofCounts) -> None:
    """Draw the key figures."""
    ends = f"next ends {day(counts.next_end)}" if counts.next_end else "none ends"
    with st.grid(3, min_column_width=190):
        st.metric("Records waiting", counts.waiting, border=True, height="stretch", help=HELP + " Live.")
        st.metric("Findings to judge", counts.findings, border=True, height="stretch",
                  help="Places where the residue scan found something that may be about an erased person. The erasure waits. Live.")  # fmt: skip
        st.metric("Suppression entries", f"{counts.entries:,}", ends, delta_arrow="off", delta_color="off", border=True,
                  height="stretch", help="Keyed hashes that keep old records of erased people out, three years each. No name. Live.")  # fmt: skip


def chosen_view(counts: ProofCounts) -> str:
    """Draw the segments with their counts; the choice stands in the address."""
    labels = {
        "waiting": f"Records {counts.waiting}",
        "findings": f"Findings {counts.findings}",
        "decided": f"Decided {counts.decided}",
        "kept out": "Kept out",
    }
    asked = st.query_params.get("view", "")
    first = asked if asked in labels else "findings" if counts.findings and not counts.waiting else "waiting"
    view = st.segmented_control("What", list(labels), format_func=labels.__getitem__, required=True, key="view", default=first,
                                label_visibility="collapsed")  # fmt: skip
    st.query_params["view"] = view or "waiting"
    return view or "waiting"


def records(view: str) -> tuple[SetAsideRecord, ...]:
    """Draw one page of records, and above it the one that is selected."""
    afters = paging.afters_of("quarantine", view)
    found = read(STAFF, queries.set_aside_page, view, after=afters[-1])
    if not found.rows:
        states.empty(
            "No record waits" if view == "waiting" else "Nothing was decided yet",
            "Imports meet the suppression list by themselves; only what cannot be told comes here.",
        )
        return ()
    place = st.container()
    picked = table(found.rows, view, page=len(afters))
    order = "Oldest first · select a row to decide" if view == "waiting" else "Newest decision first"
    paging.turn(order, afters, found.after)
    if picked and view == "waiting":
        with place:
            one(picked)
    return found.rows


def table(rows: Sequence[SetAsideRecord], view: str, *, page: int) -> SetAsideRecord | None:
    """Draw the rows; return the one that is selected."""
    shown: dict[str, list[str]] = {
        "Kind": [row.person for row in rows],
        "Why": [WHY[row.why] for row in rows],
        "From": [row.source for row in rows],
        "Came": [day(row.found_at) for row in rows],
    }
    if view == "waiting":
        shown |= {"Expires": [day(row.until) for row in rows]}
    else:
        shown |= {
            "Decision": [f"{row.decision}: {row.reason}" for row in rows],
            "By": [row.decided_by or "the worker" for row in rows],
            "On": [day(row.decided_at) for row in rows],
        }
    chosen = st.dataframe(
        shown, hide_index=True, row_height=36, height="content", on_select="rerun", selection_mode="single-row",
        key=f"quarantine_{view}_{page}_{hash(tuple(row.id for row in rows)) % 10**8}",
        alt=f"Table of {len(rows)} records that were set aside, with why, where from and when.",
    )  # fmt: skip
    picked = chosen["selection"]["rows"]
    return rows[picked[0]] if picked else None


def one(row: SetAsideRecord) -> None:
    """Draw the selected record with its decision. That it was looked at is recorded."""
    act(verbs.open_quarantined, record_id=row.id)
    with st.container(border=True, key="record"):
        st.markdown(f"**Is this {row.person} somebody new?**  \n:gray[:small[{WHY[row.why].capitalize()}.]]")
        told = row.record or {}
        facts = [
            ("Name", str(told.get("name") or "–")), ("E-mail", str(told.get("email") or "–")), ("From", row.source),
            ("Signed up, by the record", desk.instant(row.dated_at)), ("Erased with this address or id", desk.instant(row.erased_at)),
            ("Expires", day(row.until)),
        ]  # fmt: skip
        with st.grid(3, min_column_width=200):
            for label, value in facts:
                with st.container(gap=None):
                    st.caption(label)
                    st.text(value)
        with st.container(horizontal=True):
            st.button(
                "Discard", key="discard", icon=":material/delete:", on_click=confirm.open_danger, args=("discard",)
            )
            st.button("Let in", key="let_in", icon=":material/login:", on_click=confirm.open_danger, args=("let in",))
    confirm.danger_dialog(
        "let in", title="Let this record in", word=None, button="Let in", verb=verbs.let_in, arguments={"record_id": row.id},
        reasons=verbs.LET_IN_REASONS, red=False, done="The record was let in.",
        consequence=f"The {row.person} enters as somebody new. What else the import knew of them comes with the next import.",
    )  # fmt: skip
    confirm.danger_dialog(
        "discard", title="Discard this record", word=None, button="Discard", verb=verbs.discard, arguments={"record_id": row.id},
        reasons=verbs.DISCARD_REASONS, red=False, done="The record was discarded.",
        consequence="The record is emptied, and refused when it comes again.",
    )  # fmt: skip


def findings() -> None:
    """Draw what the residue scan found, each with its judgment."""
    found = read(STAFF, queries.open_findings)
    if not found:
        states.empty(
            "No finding waits", "When a scan finds something that may be about an erased person, it is judged here."
        )
    for each in found:
        finding(each)


def finding(each: OpenFinding) -> None:
    """Draw one finding: the place, never the content."""
    key = f"judge {each.id}"
    with st.container(border=True, key=f"finding_{each.id}"):
        sure = "surely about the person" if each.sure else "may be about somebody else"
        st.markdown(f"**{TRACES[each.trace].capitalize()} in {each.table.replace('_', ' ')}, {each.column.replace('_', ' ')}**  \n"
                    f":gray[:small[Row `{each.row}` · {sure} · found {desk.instant(each.found_at)}]]")  # fmt: skip
        with st.container(horizontal=True):
            if st.button(
                f"Open {each.request}", key=f"open_{each.id}", type="tertiary", icon=":material/arrow_forward:"
            ):
                st.switch_page(REQUEST, query_params={"id": str(each.request_id)})
            st.button(
                "Judge", key=f"judge_{each.id}", icon=":material/gavel:", on_click=confirm.open_danger, args=(key,)
            )
    confirm.danger_dialog(
        key, title=f"Judge a finding of {each.request}", word=None, button="Judge", verb=verbs.judge_finding,
        arguments={"finding_id": each.id}, reasons=None, red=False, done="The scan looks again.",
        fields=lambda: {"verdict": st.selectbox("What is it?", verbs.VERDICTS, key="verdict")},
        consequence="Have the place looked at where it is kept, and removed what is about the person. The scan looks again: what was"
        " said to be removed and is still there comes back.",
    )  # fmt: skip


def kept_out() -> list[Sequence[object]]:
    """Draw what the suppression list holds, erasure by erasure: codes and days, nobody's hash."""
    afters = paging.afters_of("kept out")
    found, following = read(STAFF, queries.suppression_entries, after=afters[-1])
    if not found:
        states.empty(
            "Nobody is kept out",
            "Every erasure adds keyed hashes here, so that old records of the person do not come back.",
        )
        return []
    st.dataframe(
        {
            "Request": [each.request for each in found],
            "Kept out by": [", ".join(each.kinds) for each in found],
            "Basis": [each.basis for each in found],
            "Erased": [day(each.erased_at) for each in found],
            "Until": [day(each.until) for each in found],
        },
        hide_index=True, row_height=36, height="content", alt=f"Table of {len(found)} erasures whose old records are kept out, with basis and end.",
    )  # fmt: skip
    paging.turn(
        "Those that end first. Hashes are keyed and never shown; nobody can be found from here.",
        afters,
        following,
        prefix="kept_",
    )
    return [(each.request, ", ".join(each.kinds), each.basis, each.erased_at, each.until) for each in found]


def page(moment: datetime) -> None:
    """Draw the figures, and what waits."""
    top = st.container(horizontal=True, vertical_alignment="bottom")
    with top, st.container():
        st.title("Quarantine", anchor=False, help=HELP)
        st.caption(f"What may be of erased people, for an officer to decide · as of {moment:%H:%M} UTC")
    counts = read(STAFF, queries.proof_counts)
    figures(counts)
    view = chosen_view(counts)
    if view == "findings":
        findings()
        return
    if view == "kept out":
        entries = kept_out()
        with top:
            export.offer(
                "suppression",
                ("Request", "Kept out by", "Basis", "Erased", "Until"),
                entries,
                note="The entries of this page",
            )
        return
    rows = records(view)
    with top:
        export.offer("quarantine", HEADER, [
            (row.person, row.why, row.source, row.dated_at, row.erased_at, row.found_at, row.until, row.decision, row.reason,
             row.decided_at, row.decided_by) for row in rows
        ], note="The records of this page, without what they say of persons")  # fmt: skip


page(now())
