"""The record of processing, made from the labels: what kinds of data are kept of whom, what for, who receives them, how long.

Purposes are the sentences of clause 2 of the policy, in our own words, by category; everything else follows from the labels of
the columns and the parameters in force. A new labeled column is in it without a change here.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from core.models.data_map import data_map
from core.models.labels import Category, Erasure, Label
from core.models.ways import ways_to
from core.policy.versions import Parameters

NO_PERSON = (Category.NOBODY, Category.STAFF)
TITLES = {
    Category.ACCOUNT: "Account",
    Category.PROFILE: "Profile",
    Category.LEARNING: "Learning",
    Category.USAGE: "Use of the platform",
    Category.CONTACT: "Contact form",
    Category.INTEREST: "Interest in a program",
    Category.DEVICE: "Device",
    Category.OUTSIDE: "Other records",
}
# Clause 2, in our own words.
PURPOSES: dict[Category, tuple[str, ...]] = {
    Category.ACCOUNT: ("to manage your account and enrollments", "to send you mail that belongs to them"),
    Category.PROFILE: ("to fit programs to what you know already",),
    Category.LEARNING: ("to manage your progress, reviews and certificates", "to let those who teach you help you"),
    Category.USAGE: ("to see where somebody needs help", "to improve the platform, from figures about nobody"),
    Category.CONTACT: ("to answer what you asked us",),
    Category.INTEREST: ("to tell you about the program that you asked for",),
    Category.DEVICE: ("to recognize fraud, abuse and threats, and for nothing else",),
}
MAIL_LOG = "platform.email_log"


@dataclass(frozen=True)
class Entry:
    """One line of the record: a ``category`` of the policy's list, or one reason outside it.

    ``fields`` are the names of the columns as people read them, ``places`` the tables; ``recipients`` the third parties;
    ``periods`` how long each kind of row is kept, in words. ``reason`` says why it is kept although no list names it.
    """

    category: str
    title: str
    reason: str
    purposes: tuple[str, ...]
    fields: tuple[str, ...]
    places: tuple[str, ...]
    recipients: tuple[str, ...]
    periods: tuple[str, ...]


def processing_record(rules: Parameters, *, person: str | None = None) -> tuple[Entry, ...]:
    """Return the record, by category; ``person`` ("student" or "visitor") leaves only what can be about one."""
    near = None if person is None else set(ways_to(person))
    labels = [
        label for label in data_map() if label.category not in NO_PERSON and (near is None or label.table in near)
    ]
    keys = sorted({(list(Category).index(label.category), label.because) for label in labels})
    return tuple(
        _entry(list(Category)[order], because, [x for x in labels if (list(Category).index(x.category), x.because) == (order, because)], rules)
        for order, because in keys
    )  # fmt: skip


def period(label: Label, rules: Parameters) -> str:
    """Return how long a column's rows are kept, in words."""
    if label.table == MAIL_LOG:
        return f"{rules.email_log_days} days after the mail was sent (clause 8)"
    if label.erasure is Erasure.KEEP:
        return f"{label.until}: {label.reason}"
    if label.category in (Category.CONTACT, Category.INTEREST, Category.DEVICE) or label.reaches == "visitor_id":
        return "until you ask us to erase it; the policy names no period"
    return f"while the account is active, then {rules.grace_days} days from its closing (clauses 7 and 8)"


def _entry(category: Category, because: str, labels: list[Label], rules: Parameters) -> Entry:
    return Entry(
        category=str(category),
        title=TITLES[category],
        reason=because,
        purposes=PURPOSES.get(category, (because,)),
        fields=_each(label.export or label.column.replace("_", " ") for label in labels),
        places=_each(label.table for label in labels),
        recipients=tuple(sorted({str(each) for label in labels for each in label.processors})),
        periods=_each(period(label, rules) for label in labels),
    )


def _each(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words))
