"""A certificate of erasure as people read it: on the screen and as a page to print. It names nobody, and nor does anything here."""

from datetime import datetime
from typing import Any

import streamlit as st

from core.queries import Certificate
from ui import desk, printing
from ui.plans import DATA
from ui.tables import capitalized, literal

HEADER = ("Place", "What became of it", "When", "Records")
VERIFY = "python3 bin/verify-certificate {number}.json --key {key}"


def places(document: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """What was erased where, one row each."""
    return [_place(each) for each in document["places"]]


def remains(document: dict[str, Any]) -> list[tuple[str, str, str]]:
    """What stays: what, why, until when; first what the law keeps, then what lies elsewhere."""
    kept = [(_data(each["table"]), each["why"], each["until"]) for each in document["kept"]]
    kept += [(f"Records at {each['place']}", each["why"], each["until"]) for each in document.get("kept_elsewhere", [])]
    return kept + [(capitalized(each["what"]), each["why"], each["until"]) for each in document["remains"]]


def said(document: dict[str, Any]) -> str:
    """The certificate in one sentence."""
    erasure, request = document["erasure"], document["request"]
    return (
        f"The {erasure['person']} of request {request['number']} was erased. The erasure began on {_moment(erasure['begun_at'])} under "
        f"policy {document['plan']['policy']}, approved by {request['approved_by']}. What is called erased was looked for afterwards, and was gone."
    )


def residue(document: dict[str, Any]) -> str:
    """What the residue scan looked at and found."""
    found = document["residue"]
    judged = sum(found["judged"].values())
    told = (
        "nothing was found"
        if not judged
        else f"{judged} place{'s' if judged > 1 else ''} found, each settled by a person or gone"
    )
    return f"On {_moment(found['searched_at'])}, {found['columns']} columns of {found['tables']} tables were searched for what is left: {told}."


def draw(made: Certificate, *, genuine: bool) -> None:
    """Draw a certificate."""
    document = made.document
    with st.container(border=True, key="certificate"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.subheader(f"Certificate of erasure {made.number}", anchor=False)
            if genuine:
                st.badge("genuine", color="green", icon=":material/verified:")
            else:
                st.badge("not genuine", color="red", icon=":material/gpp_bad:")
        st.text(said(document))
        st.table(dict(zip(HEADER, zip(*places(document), strict=True), strict=True)), border="horizontal", hide_index=True,
                 alt=f"Table of {len(document['places'])} places with what became of the data there.")  # fmt: skip
        st.text(residue(document))
        st.markdown("**What remains (where there was any), and until when**")
        rows = remains(document)
        st.table({"What": [row[0] for row in rows], "Why": [row[1] for row in rows], "Until": [row[2] for row in rows]},
                 border="horizontal", hide_index=True, alt=f"Table of {len(rows)} things that remain, why and until when.")  # fmt: skip
        st.caption(
            f"Issued {desk.instant(made.issued_at)} · SHA-256 `{made.sha256[:16]}…` · signed with `{made.public_key[:16]}…`"
        )
    with st.expander("How anybody can check this certificate", icon=":material/fact_check:"):
        st.markdown(
            "Save the file and run the script of this product beside it, on any machine with Python and the package `cryptography`; it"
            " needs neither this dashboard nor its database. Compare the key with the one your company has published."
        )
        st.code(VERIFY.format(number=made.number, key=made.public_key), language="bash", wrap_lines=True)


def printed(made: Certificate, *, now: datetime) -> bytes:
    """Return the certificate as a page to print."""
    document = made.document
    notes = [
        residue(document),
        "What remains, where there was any:",
        *(f"{what}: {why}; until {until}." for what, why, until in remains(document)),
        f"SHA-256 of the signed document: {made.sha256}",
        f"Public key (Ed25519): {made.public_key}",
        f"Signature: {made.signature}",
    ]
    return printing.page(
        f"Certificate of erasure {made.number}", said(document), HEADER, places(document), notes, made=now
    )


def _place(each: dict[str, Any]) -> tuple[str, str, str, str]:
    if each["state"] == "proven":
        became, when = "sent" if each["what"] == "letter" else "erased, and read back", _moment(each["proven_at"])
    else:
        became, when = f"not needed: {each['why']}", "–"
    many = sum(each["counts"].values())
    return capitalized(each["place"]), became, when, f"{many:,}" if many else "–"


def _data(table: str) -> str:
    return DATA.get(table, table.rpartition(".")[2].replace("_", " "))


def _moment(told: str) -> str:
    return desk.instant(datetime.fromisoformat(told)) if told else "–"


def title(made: Certificate) -> str:
    """The certificate in a list."""
    return literal(f"{made.number} · request {made.document['request']['number']}")
