"""Certificates of erasure: what was erased and proven, what remains until when; to be printed, and checked by anybody."""

from datetime import datetime

import streamlit as st

from core import privacy_actions, queries
from core.queries import Certificate
from ui import certificates, desk, export, guards, paging, states
from ui.actions import act
from ui.cached import read
from ui.clock import now

STAFF = guards.require("privacy_officer", "auditor", what="Certificates")
HEADER = ("Certificate", "Request", "Erased a", "Issued", "Policy", "SHA-256")
HELP = (
    "One for each erasure, issued when every place was read back. It names nobody, says what remains and until when, is signed, "
    "never changes, and can be checked without this dashboard."
)


def cells(made: Certificate) -> tuple[object, ...]:
    """One certificate as a row."""
    told = made.document
    return (
        made.number,
        told["request"]["number"],
        told["erasure"]["person"],
        made.issued_at,
        told["plan"]["policy"],
        made.sha256,
    )


def listing() -> tuple[tuple[Certificate, ...], Certificate | None]:
    """Draw one page of certificates; return it, and the one that is selected."""
    afters = paging.afters_of("certificates")
    found = read(STAFF, queries.certificate_page, after=afters[-1])
    rows = [cells(each) for each in found.rows]
    chosen = st.dataframe(
        {
            "Certificate": [row[0] for row in rows],
            "Request": [row[1] for row in rows],
            "Erased a": [row[2] for row in rows],
            "Issued": [desk.instant(each.issued_at) for each in found.rows],
            "Policy": [row[4] for row in rows],
        },
        hide_index=True, row_height=36, height="content", on_select="rerun", selection_mode="single-row",
        key=f"certificates_{len(afters)}_{rows[0][0] if rows else ''}",
        alt=f"Table of {len(rows)} certificates of erasure with request, kind of person, day of issue and policy.",
    )  # fmt: skip
    paging.turn("Newest first · select a row to read it", afters, found.after)
    picked = chosen["selection"]["rows"]
    return found.rows, found.rows[picked[0]] if picked else None


def files(made: Certificate, moment: datetime) -> None:
    """Offer the certificate as a page to print, and as the file that proves itself."""
    with st.container(horizontal=True):
        for name, label, icon, content in (
            (f"{made.number}.html", "Print", "print", certificates.printed(made, now=moment)),
            (f"{made.number}.json", "Signed file", "verified_user", made.file.encode()),
        ):
            with st.popover(label, icon=f":material/{icon}:", key=f"popover_{label}"):
                st.markdown("It is recorded; the link works once, for you, within 15 minutes.", width=300)
                if st.button("Make the file", key=f"make_{label}"):
                    st.session_state[f"link_{label}"] = act(
                        privacy_actions.export_certificate, name=name, content=content
                    )
                if link := st.session_state.pop(f"link_{label}", None):
                    st.link_button(f"Open {name}", f"files/{link}", type="primary", icon=":material/open_in_new:")


def named() -> Certificate | None:
    """The certificate that the address names, by its number or that of its request."""
    asked = st.query_params.get("number", "")
    return read(STAFF, queries.erasure_certificate, asked) if asked else None


def page(moment: datetime) -> None:
    """Draw the list, and the certificate that is meant."""
    top = st.container(horizontal=True, vertical_alignment="bottom")
    with top, st.container():
        st.title("Certificates", anchor=False, help=HELP)
        st.caption(f"Proof of erasures, without a name · as of {moment:%H:%M} UTC")
    counts = read(STAFF, queries.proof_counts)
    if not counts.certificates:
        states.empty("No certificate yet", "One is issued for every erasure, as soon as everything in it is proven.")
        return
    place = st.container()
    rows, chosen = listing()
    made = chosen or named()
    if chosen:
        st.query_params["number"] = chosen.number
    with place:
        if made:
            certificates.draw(made, genuine=privacy_actions.is_genuine(made))
            files(made, moment)
        elif st.query_params.get("number"):
            st.info("There is no certificate with this number.", icon=":material/search_off:")
    with top:
        export.offer("certificates", HEADER, [cells(each) for each in rows], note="The certificates of this page")


page(now())
