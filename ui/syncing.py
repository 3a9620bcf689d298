"""The sync with the platform as people see it: how far each collection is, what was set aside and why, what nobody mapped."""

from collections.abc import Sequence
from datetime import datetime

import streamlit as st

from core import queries
from core.privacy_actions import Staff
from core.queries import Gap, Misfit, SyncedCollection, SyncState
from ui import desk, export, paging, states
from ui.cached import read
from ui.tables import day, literal

HELP = (
    "The platform keeps its records in MongoDB. The worker brings in what changed there every five minutes, and compares all ids once"
    " a day. Erasures, exports and changes go back the same way."
)
STATES = {"up to date": "green", "reading": "blue", "waits": "gray", "failed": "red"}
COLLECTION_HEADER = (
    "Collection",
    "Becomes",
    "State",
    "Read up to",
    "Last pass",
    "Compared",
    "Documents",
    "Per second",
    "Set aside",
    "Gaps",
    "Why",
)
MISFIT_HEADER = ("Collection", "Why", "Field", "Document", "Changed there", "Set aside", "Tries")
GAP_HEADER = ("Collection", "Field", "Kind", "Seems to hold", "Documents", "First seen", "Last seen")
WHY = {
    "parent missing": "what it belongs to is not here; it is tried again at every pass",
    "there already": "another document is about the same",
    "address taken": "two accounts have one e-mail address",
    "address of an erased person": "an account took an address that was erased",
    "looks like a secret": "a password hash, a token or a key stands in a field that is mapped",
    "missing": "a value that must be there is not",
}
ACCEPT = "python -m core sync mongodb --sweep --accept-deletions"


def figures(state: SyncState, gaps: Sequence[Gap], *, mender: bool) -> None:
    """Draw the key figures."""
    failed = sum(each.state == "failed" for each in state.collections)
    with st.grid(4, min_column_width=170):
        st.metric(
            f"{':red[:material/cloud_off:] ' if failed else ''}Last whole pass",
            f"{state.ended_at:%H:%M} UTC" if state.ended_at else "–", day(state.ended_at) if state.ended_at else None,
            delta_arrow="off", delta_color="off", border=True, height="stretch",
            help="When every collection was read to its end: the oldest of their last passes. Live.",
        )  # fmt: skip
        st.metric("Documents read", f"{sum(each.documents for each in state.collections):,}", border=True, height="stretch",
                  help="In all passes together; one that was read twice counts twice. Live.")  # fmt: skip
        st.metric("Set aside", f"{state.misfits:,}" if mender else "–", border=True, height="stretch",
                  help="Documents that do not fit. They stay out until they do; the others go on. Live.")  # fmt: skip
        st.metric("Gaps", f"{len(gaps):,}", border=True, height="stretch",
                  help="Fields and collections that no line of the mapping mentions. They stop nothing, and belong into the data map. Live.")  # fmt: skip


def warnings(state: SyncState, gaps: Sequence[Gap]) -> None:
    """Say first what needs somebody."""
    for each in state.collections:
        if each.stopped:
            st.warning(
                f"**{literal(each.name)}: {each.stopped:,} rows are gone there.** That is many at once, so nothing was removed here. Look"
                f" at the platform first; if it is right, run `{ACCEPT}`.", icon=":material/front_hand:",
            )  # fmt: skip
    for code, names in state.failures.items():
        st.error(
            f"**The platform's database could not be read: {literal(code)}.** {literal(', '.join(names))}. What was read is kept; it is"
            " tried again in five minutes.", icon=":material/cloud_off:",
        )  # fmt: skip
    unmapped = [each.collection for each in gaps if each.kind == "collection"]
    if unmapped:
        st.warning(
            f"**{len(unmapped)} {'collection is' if len(unmapped) == 1 else 'collections are'} in no mapping:** {literal(', '.join(unmapped[:8]))}."
            " Nobody can search there for a person: map it, or ignore it with a reason.", icon=":material/database_search:",
        )  # fmt: skip


def collections(found: Sequence[SyncedCollection], *, mender: bool) -> None:
    """Draw how far each collection is."""
    st.dataframe(
        {
            "Collection": [each.name for each in found],
            "Becomes": [", ".join(each.tables) for each in found],
            "State": [[each.state] for each in found],
            "Read up to": [short(each.seen_until) for each in found],
            "Last pass": [short(each.ended_at) for each in found],
            "Documents": [each.documents for each in found],
            "Per second": [round(each.per_second) if each.per_second else None for each in found],
            **({"Set aside": [each.misfits for each in found]} if mender else {}),
            "Gaps": [each.gaps for each in found],
        },
        hide_index=True, row_height=36, height="content", alt=f"Table of {len(found)} collections with how far each was read.",
        column_config={
            "State": st.column_config.MultiselectColumn("State", options=list(STATES), color=list(STATES.values()), width=110),
            "Read up to": st.column_config.TextColumn(help="The newest date of change among what was read (UTC)."),
            "Documents": st.column_config.NumberColumn(format="localized", help="Read in all passes."),
            "Per second": st.column_config.NumberColumn(format="localized", help="Documents in the last pass that read any."),
            "Collection": st.column_config.TextColumn(width=110), "Becomes": st.column_config.TextColumn(width=190),
        },
    )  # fmt: skip


def misfits(staff: Staff, collections: Sequence[str]) -> Sequence[Misfit]:
    """Draw why documents were set aside, and which; returns those of this page."""
    reasons = read(staff, queries.misfit_reasons)
    if not reasons:
        states.empty(
            "No document is set aside", "What does not fit comes here with its reason, and goes as soon as it fits."
        )
        return ()
    with st.container(horizontal=True, vertical_alignment="center"):
        codes = sorted({code for _, code, _, _ in reasons})
        collection = st.selectbox("Collection", ["", *collections], format_func=lambda it: it or "All collections", key="collection",
                                  bind="query-params", label_visibility="collapsed", width=200)  # fmt: skip
        code = st.selectbox("Why", ["", *codes], format_func=lambda it: it or "All reasons", key="code", bind="query-params",
                            label_visibility="collapsed", width=260)  # fmt: skip
    view = (collection, code)
    afters = paging.afters_of("misfits", view)
    found = read(staff, queries.misfit_page, collection=collection or "", code=code or "", after=afters[-1])
    if not found.rows:
        states.nothing_found(
            "No document matches", "No document of this collection was set aside for this reason.", clear=clear
        )
        return ()
    st.dataframe(
        {
            "Collection": [row.collection for row in found.rows],
            "Why": [row.code for row in found.rows],
            "Field": [row.field for row in found.rows],
            "Document": [row.document for row in found.rows],
            "Changed there": [short(row.changed_at) for row in found.rows],
            "Set aside": [short(row.found_at) for row in found.rows],
            "Tries": [row.tries for row in found.rows],
        },
        hide_index=True, row_height=36, height="content", alt=f"Table of {len(found.rows)} documents that were set aside, with why.",
        column_config={"Document": st.column_config.TextColumn(help="The document's own id on the platform.", width=210),
                       "Field": st.column_config.TextColumn(help="The field that does not fit. Its value is not kept."),
                       "Why": st.column_config.TextColumn(width=210)},
    )  # fmt: skip
    told = [f"{literal(each)}: {WHY[each]}" for each in dict.fromkeys(row.code for row in found.rows) if each in WHY]
    paging.turn(
        " · ".join([f"Newest first, {sum(row[3] for row in reasons):,} in all", *told]),
        afters,
        found.after,
        prefix="misfits_",
    )
    return found.rows


def clear() -> None:
    """Show all that is set aside."""
    st.session_state["collection"] = st.session_state["code"] = ""


def gaps_table(gaps: Sequence[Gap]) -> None:
    """Draw what no line of the mapping mentions."""
    if not gaps:
        states.empty(
            "The mapping knows everything",
            "Fields and collections that nobody mapped are listed here as soon as they are seen.",
        )
        return
    kinds = {"field": "field", "collection": "whole collection", "undated": "documents without a date of change"}
    st.dataframe(
        {
            "Collection": [each.collection for each in gaps],
            "Field": [each.path or "–" for each in gaps],
            "Kind": [f"{each.documents:,} {kinds[each.kind]}" if each.kind == "undated" else kinds[each.kind] for each in gaps],
            "Seems to hold": [each.looks_like or "–" for each in gaps],
            "First seen": [short(each.first_at) for each in gaps],
        },
        hide_index=True, row_height=36, height="content", alt=f"Table of {len(gaps)} gaps in the mapping.",
    )  # fmt: skip
    st.caption(
        "A gap stops nothing: whole documents are erased, with all their fields. Map a field, or ignore it with a reason, in the mapping file."
    )


def body(staff: Staff, state: SyncState, moment: datetime) -> None:
    """Draw everything below the title."""
    mender = staff.role in ("admin", "privacy_officer")
    if state.problem:
        states.state("The mapping cannot be used", literal(state.problem), icon="rule_settings", key="mapping_problem")
        return
    known = any(each.documents or each.error for each in state.collections)
    if not state.connected and not known:
        states.empty(
            "The platform's database is not connected",
            "Set RESOCODE_MONGODB_URI, then run `python -m core sync mongodb --check`. Until then what has to happen there is a manual step.",
        )
        return
    gaps = read(staff, queries.sync_gaps)
    if not state.connected:
        st.info("The platform's database is not connected any more; this is how it was.", icon=":material/link_off:")
    warnings(state, gaps)
    figures(state, gaps, mender=mender)
    labels = {"collections": f"Collections {len(state.collections)}"}
    labels |= {"aside": f"Set aside {state.misfits:,}"} if mender else {}
    labels |= {"gaps": f"Gaps {len(gaps):,}"}
    asked = st.query_params.get("view", "")
    view = st.segmented_control("What", list(labels), format_func=labels.__getitem__, required=True, key="view", label_visibility="collapsed",
                                default=asked if asked in labels else "collections")  # fmt: skip
    st.query_params["view"] = view or "collections"
    if view == "aside":
        rows = misfits(staff, [each.name for each in state.collections])
        export.offer("set-aside-documents", MISFIT_HEADER, [(r.collection, r.code, r.field, r.document, r.changed_at, r.found_at, r.tries) for r in rows],
                     note="The documents of this page, by id and reason", quiet=True)  # fmt: skip
    elif view == "gaps":
        gaps_table(gaps)
        export.offer("sync-gaps", GAP_HEADER, [(g.collection, g.path, g.kind, g.looks_like, g.documents, g.first_at, g.last_at) for g in gaps],
                     note="All gaps", quiet=True)  # fmt: skip
    else:
        collections(state.collections, mender=mender)
        export.offer("sync-collections", COLLECTION_HEADER, [
            (c.name, ", ".join(c.tables), c.state, c.seen_until, c.ended_at, c.swept_at, c.documents, c.per_second and round(c.per_second), c.misfits, c.gaps, c.error)
            for c in state.collections], note="All collections", quiet=True)  # fmt: skip


def short(at: datetime | None) -> str:
    """``24 Nov 2026, 12:00 UTC``, or a dash."""
    return desk.instant(at)
