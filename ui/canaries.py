"""How the canaries fare: a line for those who look after the machinery, a table and the last looks for those who oversee promises."""

from collections.abc import Sequence

import streamlit as st

from core.queries import CanaryRow
from ui import export
from ui.desk import instant
from ui.tables import day, literal

HELP = (
    "Synthetic people, one a week, in every table and at every connected processor. Each closes its account, waits out the grace period and is "
    "erased as everybody is; then somebody looks for it who shares no code with what erased it. They are counted nowhere else."
)
STAGES = {
    "lives": "lives, in every store", "in grace": "account closed, grace period", "erasing": "being erased", "gone": "erased",
    "found": "erased, and still found",
}  # fmt: skip


def line(found: Sequence[CanaryRow]) -> None:
    """Draw the state as a caption."""
    if not found:
        st.caption("Canaries: none yet; a worker plants one a week", help=HELP)
        return
    left = [each for each in found if each.stage == "found"]
    gone = [each for each in found if each.looked_at]
    told = (
        f"{len(left)} erased and still found"
        if left
        else f"{len(gone)} erased, nothing left of any"
        if gone
        else "none was due to be erased yet"
    )
    last = max((each.looked_at for each in gone if each.looked_at), default=None)
    looked = f" · last looked for {instant(last)}" if last else ""
    st.caption(f"Canaries: {len(found) - len(gone)} on their way, {told}{looked}", help=HELP)


def table(found: Sequence[CanaryRow]) -> None:
    """Draw every canary with its stage and what was seen, and below what was read for the newest one that is gone."""
    st.subheader("Canaries", anchor=False, help=HELP)
    line(found)
    if not found:
        return
    shown = {
        "Canary": [f"Synthetic, week {each.week:%V of %G}" for each in found],
        "Stage": [STAGES[each.stage] for each in found],
        "Planted": [day(each.planted_at) for each in found],
        "Closed": [day(each.closed_at) for each in found],
        "Erased": [day(each.gone_at) for each in found],
        "Deletion": [each.request or "–" for each in found],
        "Places": [", ".join(each.places) for each in found],
        "Looked for": [day(each.looked_at) for each in found],
        "Seen": [each.verdict for each in found],
    }
    st.dataframe(shown, hide_index=True, row_height=36, height="content", alt=f"Table of {len(found)} canaries.")
    export.columns("canaries", shown)
    for each in [row for row in found if row.stage == "found"]:
        for look in each.looks:
            if look.stage == "erased" and look.found:
                where = "; ".join(f"{place} ({count})" for place, count in sorted(look.found.items()))
                st.error(f"**{literal(look.place)}**, week {each.week:%V}: {literal(where)}. Somebody who is erased would be there too.",
                         icon=":material/flutter_dash:")  # fmt: skip


def printed(found: Sequence[CanaryRow]) -> list[tuple[str, ...]]:
    """The rows of the report."""
    return [
        (f"{each.week:%G-W%V}", STAGES[each.stage], day(each.planted_at), day(each.gone_at), ", ".join(each.places), each.verdict)
        for each in found
    ]  # fmt: skip


PRINTED = ("Canary", "Stage", "Planted", "Erased", "Places", "Seen")
