"""Clause 5: each processor does just its job, under contract, and gets the minimum."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.models.data_map import data_map
from core.policy import in_force
from core.policy.checks.asking import day, many, one, rows
from core.policy.evidence import Evidence, Link, State, judged
from core.processors.registry import configured

OF_PROMISE = {
    "PRC-MONGODB": "MongoDB Atlas",
    "PRC-CLOUDINARY": "Cloudinary",
    "PRC-VERCEL": "Vercel",
    "PRC-SMTP": "SMTP",
    "PRC-PAYMENTS": "payment gateway",
}
TECHNICAL = frozenset({"id", "key", "e-mail", "address", "platform id", "reference", "letter", "subject"})
WORK = """
select (select count(*) from privacy.manual_step m where m.processor = :name and m.confirmed_at is null and m.state <> 'canceled'
        and m.due_on < cast(:now as date) and not coalesce(m.request_id = any(privacy.requests_of_canaries()), false)) as overdue,
    (select count(*) from privacy.manual_step m where m.processor = :name and m.confirmed_at is null and m.state <> 'canceled'
        and not coalesce(m.request_id = any(privacy.requests_of_canaries()), false)) as open,
    (select max(m.confirmed_at) from privacy.manual_step m where m.processor = :name) as confirmed,
    (select max(s.proven_at) from privacy.erasure_step s where s.what = 'processor' and s.place = :name) as proven,
    (select count(*) from privacy.erasure_step s where s.what = 'processor' and s.place = :name and s.state = 'failed') as failed"""

REGISTER = """
select legal_basis, contract_on, review_by, sub_processors, transfer_basis
from privacy.processor_record where name = :name order by version desc limit 1"""


def policy_processors(session: Session, version: str) -> dict[str, str]:
    """Return name → purpose of the processors of a version of the policy."""
    listed = session.scalar(
        text("select document -> 'processors' from privacy.policy_version where version = :v"), {"v": version}
    )
    return {str(each["name"]): str(each.get("purpose", "")) for each in listed or ()}


def outgoing(listed: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Return name → every field that ever leaves for it from here; those done by hand get none."""
    return {name: configured(name).payload for name in listed}


def just_its_job(session: Session, now: datetime, *, name: str) -> Evidence:
    """It is on the list of the policy, its contract is on file, and what it was asked to do is done and read back."""
    listed = policy_processors(session, in_force(session, now).version)
    row = one(session, WORK, name=name, now=now)
    by_hand = not configured(name).capabilities
    figures: dict[str, int | str] = {"purpose": listed.get(name, "not listed"), "connected": "no, by hand" if by_hand else "yes",
                                     "steps by hand open": row.open, "of them overdue": row.overdue, "steps that failed": row.failed,
                                     "last read back": day(row.proven or row.confirmed) if row.proven or row.confirmed else "never"}  # fmt: skip
    links = (Link("Manual steps", "manual_steps", {"view": "to do"}), Link("Processors", "processors"))
    if name not in listed:
        return judged(
            True,
            False,
            f"{name} receives data and is not on the list of the policy in force.",
            figures=figures,
            query=WORK,
            links=links,
        )
    if row.overdue or row.failed:
        sentence = (
            f"{many(row.overdue, 'step')} there overdue, {row.failed:,} failed: something asked for was not done."
        )
        return judged(True, False, sentence, figures=figures, query=WORK, links=links)
    return _contract(session, now, name, figures, "done by hand" if by_hand else "connected")


def _contract(session: Session, now: datetime, name: str, figures: dict[str, int | str], how: str) -> Evidence:
    """What the register says: a contract, until when it is looked at again, and what allows data to leave."""
    links = (Link("The register", "processors"),)
    record = next(iter(rows(session, REGISTER, name=name)), None)
    query = WORK + ";" + REGISTER
    if record is None or record.contract_on is None:
        return Evidence(State.NOT_PROVEN, f"{how.capitalize()}; no contract is on file.", figures, query.strip(), links)
    missing = [
        what
        for what, there in (
            ("a legal basis", record.legal_basis),
            ("a transfer basis", record.transfer_basis),
            ("a day of review", record.review_by),
        )
        if not there
    ]
    figures |= {"contract of": day(record.contract_on), "looked at again by": day(record.review_by) if record.review_by else "–",
                "transfer": record.transfer_basis or "–", "sub-processors": len(record.sub_processors)}  # fmt: skip
    today = now.astimezone(UTC).date()
    if missing:
        return Evidence(
            State.NOT_PROVEN,
            f"Contract of {day(record.contract_on)}; the register lacks {' and '.join(missing)}.",
            figures,
            query.strip(),
            links,
        )
    late, soon = record.review_by < today, record.review_by < today + timedelta(days=30)
    sentence = f"Contract of {day(record.contract_on)}, {'to be reviewed since' if late else 'reviewed again by'} {day(record.review_by)}; {how}."
    return judged(late, soon, sentence, figures=figures, query=query, links=links)


def minimum(session: Session, now: datetime) -> Evidence:
    """What leaves for a processor is what the labels say it receives, and no more."""
    listed = policy_processors(session, in_force(session, now).version)
    declared: dict[str, set[str]] = {name: set(TECHNICAL) for name in listed}
    for label in data_map():
        for processor in label.processors:
            declared.setdefault(str(processor), set(TECHNICAL)).add(label.export)
    sent = outgoing(listed)
    more = {name: sorted(set(fields) - declared[name]) for name, fields in sent.items()}
    beyond = {name: fields for name, fields in more.items() if fields}
    connected = sum(bool(configured(name).capabilities) for name in listed)
    figures: dict[str, int | str] = {"processors": len(listed), "connected": connected, "fields that leave": sum(map(len, sent.values())),
                                     "of them not declared": sum(map(len, beyond.values()))}  # fmt: skip
    if beyond:
        name, fields = next(iter(beyond.items()))
        return judged(True, False, f"{name} is sent what no label declares: {', '.join(fields)}.", figures=figures)
    if not connected:
        return judged(
            False,
            False,
            "No processor is connected: nothing leaves from here but what people do by hand.",
            figures=figures,
        )
    return judged(
        False,
        False,
        f"{sum(map(len, sent.values()))} fields leave for {many(connected, 'processor')}, each of them declared.",
        figures=figures,
    )


CHECKS = {promise: partial(just_its_job, name=name) for promise, name in OF_PROMISE.items()}
