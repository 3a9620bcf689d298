"""The check behind each promise: a plain function of the database at an instant, ``(session, now) -> Evidence``.

collected.py   clause 1: labels against the live database
used.py        clause 2: mail log, releases, device data, what processors are for
secured.py     clause 3: hashes, connections, rights, reviews
learning.py    clause 4: the live probe as members of each role
processors.py  clause 5: the register, and what leaves for whom
cookies.py     clause 6: what our own server sets and allows
rights.py      clause 7: the clocks of requests
kept.py        clauses 7 and 8: grace, subscriptions, mail logs, releases
ages.py        clause 9
changes.py     clause 10 and the contact
canaries.py    what synthetic people show about promises to erase, beside the check of each

They run as the worker, read only, each within a statement timeout; they name no person; what they cannot see is "not proven" with
the reason in words. A new promise is a row of ``core.policy.promises``, a function here, its line in ``CHECKS`` and its two worlds in
``tests/core/policy/test_checks.py``.
"""

from collections.abc import Callable
from datetime import datetime

from sqlalchemy.orm import Session

from core.policy.checks import ages, changes, collected, cookies, kept, learning, processors, rights, secured, used
from core.policy.evidence import Evidence

Check = Callable[[Session, datetime], Evidence]

CHECKS: dict[str, Check] = {
    **collected.CHECKS,
    "USE-MANAGE": used.managed,
    "USE-MAIL": used.mail,
    "USE-IMPROVE": used.improved,
    "USE-ABUSE": used.abuse,
    "USE-NOSALE": used.no_sale,
    "SEC-ENCRYPT": secured.encrypted,
    "SEC-BCRYPT": secured.hashed,
    "SEC-TLS": secured.in_transit,
    "SEC-ACCESS": secured.access,
    "SEC-REVIEW": secured.reviewed,
    "LRN-PRIVATE": learning.private,
    **processors.CHECKS,
    "PRC-MINIMUM": processors.minimum,
    "COO-ESSENTIAL": cookies.essential,
    **rights.CHECKS,
    "RET-GRACE": kept.grace,
    "RET-ACTIVE": kept.active,
    "RET-MAIL90": kept.mail_logs,
    "RET-ANON": kept.anonymized,
    "AGE-16": ages.old_enough,
    "AGE-PARENT": ages.consented,
    "CHG-NOTICE": changes.announced,
    "CHG-DATE": changes.dated,
    "CON-CHANNEL": changes.reachable,
}

__all__ = ["CHECKS", "Check"]
