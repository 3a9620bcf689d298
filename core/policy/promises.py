"""The ledger: every promise of the published policy, in our words, with the place where it is kept and who has to vouch for what.

One row a promise. ``core.policy.checks`` holds the check behind each id; a test compares both. What no program of ours can see
(the platform's own forms, an encrypted disk) is attested by a person, in the places of ``attested``: owner, date and expiry stand
in ``privacy.attestation``. A version of the policy may say a promise in other words (``promises:`` of its document); a promise
there that this program does not know is shown as not proven.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CLAUSES = {
    "1": "What we collect",
    "2": "How we use it",
    "3": "Security",
    "4": "Learning data",
    "5": "Processors",
    "6": "Cookies",
    "7": "Your rights",
    "8": "How long we keep it",
    "9": "Age",
    "10": "Changes",
    "contact": "Contact",
}
PLATFORM = "platform"
ATTESTED_DAYS = 365  # an attestation holds for a year at most
WARNING_DAYS = 30  # and is at risk this long before it lapses


@dataclass(frozen=True)
class Promise:
    """One promise. ``looks`` is the place that its check looks at; ``attested`` is place → what somebody has to vouch for."""

    id: str
    clause: str
    text: str
    looks: str
    attested: Mapping[str, str]


def _row(id: str, clause: str, text: str, *, looks: str = "dashboard", **attested: str) -> Promise:
    return Promise(id, clause, text, looks, {place.replace("_", " "): what for place, what in attested.items()})


_FORMS = "The platform's forms and database ask for and keep nothing else of this kind"
LEDGER: tuple[Promise, ...] = (
    _row("COL-ACCOUNT", "1", "Of a student's account we keep name, contact and dates only", platform=_FORMS),
    _row("COL-PROFILE", "1", "Of a student's profile we keep what they enter themselves", platform=_FORMS),
    _row("COL-LEARNING", "1", "Of learning we keep progress, work, reviews and certificates", platform=_FORMS),
    _row("COL-USAGE", "1", "Of usage we keep what was done on the platform, counted", platform=_FORMS),
    _row("COL-CONTACT", "1", "Of visitors we keep the contact they left in a form", platform=_FORMS),
    _row("COL-INTEREST", "1", "Of visitors we keep what they are interested in", platform=_FORMS),
    _row("COL-DEVICE", "1", "Of a visitor's device we keep browser and address", platform=_FORMS),
    _row("USE-MANAGE", "2", "Enrollments, progress and certificates are managed"),
    _row("USE-MAIL", "2", "Only transactional and important mail is sent"),
    _row("USE-IMPROVE", "2", "Usage patterns improve the platform, anonymized",
         platform="The platform evaluates usage of single people nowhere else"),
    _row("USE-ABUSE", "2", "Fraud, abuse and threats are watched, and device data serves nothing else",
         platform="The platform watches sign-ins, and uses device data for nothing else"),
    _row("USE-NOSALE", "2", "Data is never sold, and learning data serves no advertising",
         platform="The platform sells no data and shows no advertising based on learning"),
    _row("SEC-ENCRYPT", "3", "Storage is encrypted",
         host="The disks of the database server, of its backups and of this machine are encrypted",
         platform="The platform's database and file stores are encrypted at rest"),
    _row("SEC-BCRYPT", "3", "Passwords are kept as bcrypt hashes only",
         platform="The platform keeps students' passwords as bcrypt hashes only; they are never copied here"),
    _row("SEC-TLS", "3", "Traffic is encrypted", platform="The platform answers over HTTPS only, also between its own parts"),
    _row("SEC-ACCESS", "3", "Production data is limited to authorized people",
         platform="Access to the platform's production data was reviewed"),
    _row("SEC-REVIEW", "3", "Security is reviewed regularly, and dependencies are current",
         dependencies="Known weaknesses in the dependencies were looked up (pip-audit) and mended"),
    _row("LRN-PRIVATE", "4", "Learning data is seen by the student and assigned mentors only",
         platform="On the platform, too, only the student and assigned mentors and instructors see learning data"),
    _row("PRC-MONGODB", "5", "MongoDB Atlas just keeps the platform's database", looks="MongoDB Atlas"),
    _row("PRC-CLOUDINARY", "5", "Cloudinary just keeps pictures and files", looks="Cloudinary"),
    _row("PRC-VERCEL", "5", "Vercel just hosts the platform", looks="Vercel"),
    _row("PRC-SMTP", "5", "The mail service just delivers mail", looks="SMTP"),
    _row("PRC-PAYMENTS", "5", "The payment gateway just takes payments", looks="payment gateway"),
    _row("PRC-MINIMUM", "5", "Each processor gets the minimum it needs",
         platform="What the platform itself sends to processors was compared with what they need"),
    _row("COO-ESSENTIAL", "6", "Only essential cookies, and no tracking",
         platform="The platform sets essential cookies only and asks no third party for anything"),
    _row("RGT-ACCESS", "7", "You can see your data"),
    _row("RGT-UPDATE", "7", "You can correct your data"),
    _row("RGT-DELETE", "7", "You can have your data deleted"),
    _row("RGT-EXPORT", "7", "You can take your data with you"),
    _row("RGT-OPTOUT", "7", "You can opt out of mail, and object"),
    _row("RET-GRACE", "8", "A closed account can be reopened for 30 days, then it is gone for good"),
    _row("RET-ACTIVE", "8", "Data is kept while the subscription is active"),
    _row("RET-MAIL90", "8", "E-mail logs are gone after 90 days",
         SMTP="The mail provider's own logs are deleted after at most the same time"),
    _row("RET-ANON", "8", "What stays longer is anonymized"),
    _row("AGE-16", "9", "Nobody under 16 has an account", platform="The platform's sign-up asks for the age and refuses who is too young"),
    _row("AGE-PARENT", "9", "Under 18, a parent or guardian has consented"),
    _row("CHG-NOTICE", "10", "Significant changes are announced to everybody",
         ),
    _row("CHG-DATE", "10", "The date on the policy is that of its latest revision",
         platform="The published page shows the date of the version in force, word for word"),
    _row("CON-CHANNEL", "contact", "There is a way to reach us", platform="The published page names this channel, and somebody reads it"),
)  # fmt: skip
BY_ID = {promise.id: promise for promise in LEDGER}

# What the text of the policy itself leaves open; shown beside the promises, because no check can close it.
OPEN_POINTS: tuple[tuple[str, str, str], ...] = (
    ("contact", "No contact is named", "The text ends with a heading and no address. Name a mailbox that somebody reads."),
    ("1–10", "Nobody is named as the controller", "Name the company, its seat and its representative (GDPR article 13(1)(a))."),
    ("2", "No legal bases", "Say for each purpose on which basis of article 6 it stands."),
    ("7", "No right to complain, to restrict or to object", "The dashboard answers such requests anyway; the text should name them."),
    ("5", "No word about transfers to other countries", "Processors outside the EU need a basis of chapter V; the register holds it."),
    ("1, 9", "Age is needed but not listed", "Clause 9 needs an age that clause 1 does not list. It is kept in the consent record only."),
    ("1, 5", "Payments are processed but not listed", "Clause 5 names gateways; clause 1 lists no payment data."),
    ("8", "Visitors' data have no period", "Clause 8 speaks of students only. How long a form is kept is decided here, not promised."),
    ("7, 8", "“Permanently deleted” against legal retention", "Tax law keeps payments for years. They lose every link to the person."),
    ("5", "This dashboard is not named", "Its own database, its backups and its host keep the same data."),
    ("9", "16 to 18 is a contractual age", "Article 8 asks for consent of parents below 16 only; consent up to 18 is a promise of ours."),
)  # fmt: skip


def promises_of(document: Mapping[str, Any] | None) -> tuple[Promise, ...]:
    """Return the promises of a version of the policy, in the order of the clauses.

    A document without ``promises`` (the first one) makes all of the ledger. One that has them is a list of ``id`` and, where it
    says them in other words or adds one, ``clause`` and ``text``.
    """
    told = (document or {}).get("promises")
    if not told:
        return LEDGER
    order = list(CLAUSES)
    found = [_told(each) for each in told]
    return tuple(sorted(found, key=lambda promise: order.index(promise.clause) if promise.clause in order else 99))


def _told(each: Mapping[str, Any]) -> Promise:
    known = BY_ID.get(str(each["id"]))
    if known is None:
        text = str(each.get("text") or each["id"])
        return Promise(str(each["id"]), str(each.get("clause", "contact")), text, "dashboard", {})
    clause, text = str(each.get("clause", known.clause)), str(each.get("text") or known.text)
    return Promise(known.id, clause, text, known.looks, known.attested)


def ledger_table() -> str:
    """Return the ledger as the table of docs/privacy.md."""
    lines = ["| Promise | Clause | In our words | Checked in | Attested by people |", "|---|---|---|---|---|"]
    for each in LEDGER:
        attested = "; ".join(f"{place}: {what[0].lower()}{what[1:]}" for place, what in each.attested.items())
        lines.append(f"| {each.id} | {each.clause} | {each.text} | {each.looks} | {attested} |")
    return "\n".join(lines) + "\n"
