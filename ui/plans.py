"""The plan of a deletion as a table to be read: what goes, what stays, until when, where and why."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import streamlit as st

from ui.tables import day, literal

# Table → what a person calls it. Tables with one word become one row where their fate is the same.
DATA = {
    "platform.student": "Account and profile",
    "platform.student_profile": "Account and profile",
    "platform.visitor": "Contact details",
    "platform.visitor_device": "Device details",
    "platform.enrollment": "Enrollments",
    "platform.subscription": "Subscription",
    "platform.module_progress": "Progress, submissions, code reviews",
    "platform.submission": "Progress, submissions, code reviews",
    "platform.code_review": "Progress, submissions, code reviews",
    "platform.review_claim": "Progress, submissions, code reviews",
    "platform.help_note": "Notes of instructors",
    "platform.follow_up": "Notes of program staff",
    "platform.result": "Results and certificates",
    "platform.certificate": "Results and certificates",
    "platform.usage_event": "Usage events",
    "platform.analytics_contribution": "Share in releases",
    "platform.email_log": "E-mail log",
    "platform.payment": "Payments",
    "privacy.consent": "Age and consent",
    "privacy.guardian": "Age and consent",
    "privacy.consent_step": "Age and consent",
    "privacy.lapse": "Subscription",
    "platform.held_mail": "E-mail log",
    "privacy.incident_person": "Notices and incidents",
    "privacy.restriction": "Restriction, objection, opt-out",
    "privacy.objection": "Restriction, objection, opt-out",
    "privacy.opt_out": "Restriction, objection, opt-out",
    "privacy.artifact": "Exports and evidence",
    "privacy.artifact_part": "Exports and evidence",
    "privacy.outbox": "Letters and notes of requests",
    "privacy.request_text": "Letters and notes of requests",
    "privacy.manual_step": "Steps done by hand",
    "privacy.correction": "Corrections: old and new values",
    "privacy.campaign_recipient": "Notices: who was told",
    "privacy.legal_hold": "Legal holds",
    "privacy.request": "Record of requests",
    "privacy.export_text": "Exports and evidence",
}
HERE = {"platform": "Platform", "privacy": "Privacy", "staff": "Staff", "anon": "Releases"}
CHIPS = {
    "keep": ":gray-badge[:material/lock_clock: stays]",
    "blank": ":orange-badge[:material/ink_eraser: emptied]",
    "hold": ":violet-badge[:material/gavel: held]",
}
GOES = ":orange-badge[:material/delete: goes]"


@dataclass(frozen=True)
class Line:
    """One row of the table that is read."""

    data: str
    action: str
    until: str
    where: str
    why: str


def table(document: dict[str, Any]) -> None:
    """Draw the plan; nothing in it is about one person."""
    lines = lines_of(document)
    st.table(
        {
            "Data": [literal(line.data) for line in lines],
            "Plan": [chip(line.action) for line in lines],
            "Stays until": [literal(line.until) or "–" for line in lines],
            "Where": [literal(line.where) for line in lines],
            "Why or what": [literal(line.why) for line in lines],
        },
        border="horizontal",
        hide_index=True,
        alt=f"Table of {len(lines)} kinds of data with what happens to each, until when it stays, where and why.",
    )


def lines_of(document: dict[str, Any]) -> list[Line]:
    """The plan in words: what goes, then what processors do, then what is held or stays, then what no erasure reaches."""
    processors = document.get("processors", [])
    lines = [*_tables(document), *map(_processor, processors)]
    lines += [Line(f"Records at {row['place']}", "keep", row["until"], row["place"], row["reason"])
              for row in processors if row.get("reason") and not row.get("held")]  # fmt: skip
    lines.sort(key=lambda line: (line.action in ("keep", "hold"), line.data.startswith("Copies")))
    return lines + [
        Line(_begun(each["what"]), "keep", each["until"], "–", each["why"]) for each in document.get("remains", [])
    ]


def _tables(document: dict[str, Any]) -> Iterator[Line]:
    """One line for tables of one word and one fate."""
    found: dict[tuple[str, str, str, str, str], list[dict[str, Any]]] = {}
    for row in document.get("rows", []):
        word = DATA.get(row["table"], _begun(row["table"].split(".")[-1].replace("_", " ")))
        held = ", ".join(row.get("held", []))
        found.setdefault((word, row["action"], row.get("until", ""), row.get("reason", ""), held), []).append(row)
    order = {word: place for place, word in enumerate(dict.fromkeys(DATA.values()))}
    for key in sorted(found, key=lambda key: (order.get(key[0], 99), key)):
        word, action, until, reason, held = key
        why = f"{'kept' if action == 'hold' else 'some of it is kept'} by {held}" if held else reason
        yield Line(word, action, until, where(found[key]), why or what(found[key]))


def _processor(row: dict[str, Any]) -> Line:
    """What a processor does, and whether a machine or a person sees to it."""
    held = ", ".join(row.get("held", []))
    how = (
        f"kept by {held}"
        if held
        else "by hand, attested by a person"
        if row["action"] == "by hand"
        else "by itself, read back"
    )
    return Line(f"Copies at {row['place']}", "hold" if held else "goes", "", row["place"], how)


def _begun(words: str) -> str:
    """The words with a capital at their beginning."""
    return words[:1].upper() + words[1:]


def where(rows: list[dict[str, Any]]) -> str:
    """The places in this database."""
    return ", ".join(dict.fromkeys(HERE.get(row["table"].split(".")[0], row["table"]) for row in rows))


def what(rows: list[dict[str, Any]]) -> str:
    """How much of it: a table, or several."""
    return "1 table" if len(rows) == 1 else f"{len(rows)} tables"


def chip(action: str) -> str:
    """The fate as a badge with icon and word."""
    return CHIPS.get(action, GOES)


def reach(document: dict[str, Any]) -> tuple[int, int]:
    """In how many tables something goes, and at how many processors."""
    gone = sum(row["action"] not in ("keep", "hold") for row in document.get("rows", []))
    return gone, len(document.get("processors", []))


def policy(version: str) -> str:
    """A version of the policy as people read it: ``policy of 20 Apr 2026``."""
    try:
        return f"policy of {day(date.fromisoformat(version))}"
    except ValueError:
        return f"policy {version}"


def short(fingerprint: str) -> str:
    """A fingerprint as people compare it: ``7f3a·c21e``."""
    return f"{fingerprint[:4]}·{fingerprint[4:8]}"
