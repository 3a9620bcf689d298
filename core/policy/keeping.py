"""How long what is kept: every rule as data, with its source, its period, where the age is read, and how it goes.

A rule of this list is due by the age of the data alone. Functions of the database count it, core.privacy.retention does
what is due; a rule whose ``by`` names another job of the worker is only shown beside it. What the policy's text leaves open
is this company's own, declared choice (``open_choice``), and said to be one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from core.policy.clock import add_months
from core.policy.versions import Parameters

BY_RETENTION = "retention"  # who keeps a rule; also the source of deletions that nobody asked for
SILENT_AFTER = timedelta(hours=26)
DAY = timedelta(days=1)
PROOF_MONTHS = 36
Before = Callable[[Parameters, datetime], datetime]


@dataclass(frozen=True)
class Rule:
    """One kind of data and its end. ``before``: what is older is due; None: its end is not an age alone, or far ahead.

    ``ends``: when a record of this age is due, where that is not as far ahead as ``before`` lies back.

    ``by``: "retention", another job of the worker, or "" where nothing goes by itself. ``help`` explains it in one sentence.
    """

    name: str
    what: str
    clause: str
    age: str
    goes: str
    by: str
    period: Callable[[Parameters], str]
    help: str
    before: Before | None = None
    open_choice: bool = False
    ends: Callable[[datetime], datetime] | None = None


def mail_before(rules: Parameters, now: datetime) -> datetime:
    """Return the instant before which an e-mail log is past its period."""
    return now - timedelta(days=rules.email_log_days)


def visitors_before(rules: Parameters, now: datetime) -> datetime:
    """Return the instant before which a last contact with a visitor is too long ago."""
    return add_months(now, -rules.visitor_months)


def proof_before(_rules: Parameters, now: datetime) -> datetime:
    """Return the instant before which the end of what is kept as proof is past its period."""
    return add_months(now, -PROOF_MONTHS)


def day_begins(now: datetime) -> datetime:
    """Return the begin of the day (UTC). A rule becomes due when a whole day is past its period, so that it runs once a day."""
    return now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


RULES: tuple[Rule, ...] = (
    Rule(
        "e-mail logs", "Mails that were sent or tried, with their address and delivery", "8", "sent at",
        "whole months are dropped, the edge goes in parts; what a legal hold keeps is moved aside before", BY_RETENTION,
        lambda p: f"{p.email_log_days} days",
        "The policy promises that e-mail logs are gone after this time. Rows that a legal hold keeps stand apart and go with its release.",
        mail_before,
    ),
    Rule(
        "visitors", "What visitors left in forms, follow-up and device", "open", "last contact (form, answer, follow-up, planned contact)",
        "erased, all forms with one address together; never while a request is open or a hold stands", BY_RETENTION,
        lambda p: f"{p.visitor_months} months after the last contact",
        "The policy's text leaves the period of visitors' data open. This is the company's own choice until a version of the policy says another.",
        visitors_before, open_choice=True,
    ),
    Rule(
        "visitors, on the platform", "Documents there of visitors who were erased here", "open", "erased here",
        "deleted there and counted; until they are, the sync keeps them out", BY_RETENTION, lambda _p: "at once",
        "A visitor who goes here by the calendar goes from the platform's database, too. Waits while it is not connected or does not answer.",
        open_choice=True,
    ),
    Rule(
        "lapsed subscriptions", "Accounts whose last subscription ended", "8", "end of the last subscription",
        "notice with the offer of an export, then the account is closed, then grace, then erased; a renewal cancels it", BY_RETENTION,
        lambda p: f"notice at once, closed {p.lapse_notice_days} days after it was sent, erased {p.grace_days} days later",
        "The policy keeps active data while the subscription is active. How long the notice is, is the company's own choice.",
        open_choice=True,
    ),
    Rule(
        "exports and evidence", "Files made for a person, encrypted", "7, 9", "its own end date", "key destroyed first, then the content", BY_RETENTION,
        lambda _p: "exports 7 days; evidence until it is decided about", "What is left of the content opens to nobody without its key.",
    ),
    Rule(
        "closed accounts", "Everything about a student whose account is closed", "7, 8", "account closed at",
        "erased by the eraser, with approval, proof and certificate", "erasures",
        lambda p: f"{p.grace_days} × 24 hours of grace",
        "The person can have the account back until then. One that is left later waits for an approval, a hold or a processor: see its request.",
        lambda p, now: now - p.grace_days * DAY,
    ),
    Rule(
        "words of unknown people", "Texts and letters of closed requests of people whom nobody found", "8", "request closed at",
        "erased; codes and instants stay as proof", "words of unknown people", lambda p: f"{p.email_log_days} days",
        "What belongs to no person goes by the calendar, as e-mail logs do.", mail_before,
    ),
    Rule(
        "notice results", "Whom a notice to many reached, by person", "8", "notice over at", "becomes counts", "notices over",
        lambda p: f"{p.email_log_days} days", "The policy keeps the results of notices as long as e-mail logs; the counts stay.", mail_before,
    ),
    Rule(
        "suppression list", "Keyed hashes that keep old records of erased people out", "open", "its own end date", "deleted", "suppression list",
        lambda p: f"{p.suppression_years} years after the erasure",
        "No name stands in it. After this time no old list is likely to bring the person back.", open_choice=True,
    ),
    Rule(
        "quarantine", "Records that came back and may be of erased people", "open", "its own end date", "emptied, and refused", "suppression list",
        lambda _p: "30 days", "Nobody decided, so the record does not come in.", open_choice=True,
    ),
    Rule(
        "backups", "Encrypted copies of the whole database", "open", "its own end date", "file removed; erased people in it stay erased after a restore", "backups",
        lambda p: f"{p.backup_days} days", "The policy's text does not name backups. This counts those that this dashboard made and knows.",
        open_choice=True,
    ),
    Rule(
        "sessions", "Sessions of staff that ended", "–", "ended at", "deleted; the audit keeps who was signed in when", "tidying",
        lambda _p: "30 days", "About staff only.", lambda _p, now: now - 30 * DAY,
    ),
    Rule(
        "sign-in failures", "Failed sign-ins by a hash of the name", "–", "last failure at", "deleted", "tidying", lambda _p: "30 days",
        "They slow guessing down, and serve nothing else.", lambda _p, now: now - 30 * DAY,
    ),
    Rule(
        "jobs", "What the worker did", "–", "finished at", "deleted; failed ones stay until somebody saw to them", "tidying",
        lambda _p: "90 days", "Keys and counts, no person.", lambda _p, now: now - 90 * DAY,
    ),
    Rule(
        "usage events", "What students did on the platform, by day", "8", "at", "goes with the account", "erasures",
        lambda _p: "as long as the account", "Active data: it has no period of its own, and is erased with its student.",
    ),
    Rule(
        "audit", "Lines of the audit: codes and opaque ids", "open", "at", "kept; nothing removes lines", "",
        lambda _p: "3 years, as proof that promises were kept", "Lines hold no text about a person, and each proves the one before: none goes by itself.",
        proof_before, open_choice=True,
    ),
    Rule(
        "closed requests", "That something was asked and answered, in codes", "open", "closed at",
        "removed with all that hangs on it: moves, plan, approvals, steps, evidence, letters", BY_RETENTION,
        lambda _p: "3 years, as proof", "Without the person once erased. Stays while a hold stands on the person, a decision that follows from it is"
        " in force or kept with the person, or anything about it is open. Of an erasure its opaque id stays, for the ledger.",
        proof_before, open_choice=True,
    ),
    Rule(
        "certificates of erasure", "Signed certificates, without the person", "open", "issued at", "removed", BY_RETENTION,
        lambda _p: "3 years, as proof", "They name no person. Whoever was handed one keeps it, and can still verify it.", proof_before, open_choice=True,
    ),
    Rule(
        "released holds", "That something was held, why, and who released it", "open", "released at", "removed", BY_RETENTION,
        lambda _p: "3 years, as proof", "A hold that stands has no end of its own: it is reviewed.", proof_before, open_choice=True,
    ),
    Rule(
        "payments", "Payments, for the books", "law", "paid at", "kept; after an erasure they point to nobody", "",
        lambda _p: "10 years after the end of the year", "Commercial and tax law; the policy names the gateways, not the period.",
        lambda _p, now: now.replace(year=now.year - 10, month=1, day=1),
        ends=lambda at: datetime(at.year + 11, 1, 1, tzinfo=UTC),
    ),
)  # fmt: skip
