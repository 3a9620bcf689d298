"""Every kind of mail that leaves from here by rule, with its wording. There is no kind for marketing, and no way to add one.

Danger: an officer's tool becomes a newsletter. Principle: what may be sent is this list: mail that belongs to an enrollment, and
important notices. Mechanism: a kind that is not in :data:`NOTICES` cannot be queued; whoever opted out of mail or is restricted
gets only what is ``important``. The wording of letters of requests stands in core.privacy.letters, that of letters about ages in
core.privacy.age_letters; :func:`allowed` knows all of them, and what the platform itself sends. The promise that nothing else is
sent is checked against it.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Notice:
    """One kind: its wording as it comes with the product, what may be filled in, when it is sent, whether it goes to everybody
    (``important``) or not to those who opted out or are restricted, and whether also to ``closed`` accounts, which are here until
    they are erased: a breach is theirs, too (GDPR article 34)."""

    subject: str
    body: str
    placeholders: dict[str, str]
    when: str
    important: bool = True
    closed: bool = False


_PERSON = {"name": "the person's name"}
_PROGRAM = _PERSON | {"program": "the program", "cohort": "the cohort", "starts_on": "its first day"}
_CLOSING = "You get this mail because it belongs to your account; it is not advertising."

NOTICES: dict[str, Notice] = {
    "enrollment confirmation": Notice(
        "You are enrolled: {program}",
        "Dear {name},\n\nyou are enrolled in {program}, {cohort}. It starts on {starts_on}.\n\nIf you did not enroll, please tell us.\n\n"
        + _CLOSING,
        _PROGRAM,
        "when an enrollment has no confirmation yet",
    ),
    "certificate notice": Notice(
        "Your certificate is there: {program}",
        "Dear {name},\n\nyour certificate for {program} was issued. You find it in your account on the platform.\n\n"
        + _CLOSING,
        _PERSON | {"program": "the program"},
        "when a certificate was issued",
    ),
    "program start": Notice(
        "{program} starts on {starts_on}",
        "Dear {name},\n\n{program}, {cohort}, starts on {starts_on}. You find the first module in your account that day.\n\nYou can turn"
        " reminders like this one off in your account.",
        _PROGRAM,
        "a week before a cohort begins, to those who did not opt out",
        important=False,
    ),
    "policy notice": Notice(
        "Our privacy policy changes on {effective_on}",
        "Dear {name},\n\nfrom {effective_on} on, version {version} of our privacy policy holds. What changes:\n\n{changes}\n\nYou find the"
        " whole text on the platform. If you do not agree, you can close your account or object at any time.\n\nYou get this mail"
        " because the change is significant; it is not advertising.",
        _PERSON | {"version": "the new version", "effective_on": "the day from which it holds", "changes": "what changes, in words"},
        "when a significant change of the policy was approved",
    ),
    "security notice": Notice(
        "About the security of your data",
        "Dear {name},\n\nthere was an incident that concerns your personal data.\n\n{words}\n\nYou reach us by answering this mail. You can"
        " also complain to a data protection authority.",
        _PERSON | {"words": "what happened, what it may mean for the person, what was done, what they can do"},
        "when it was decided to tell people about an incident",
        closed=True,
    ),
}  # fmt: skip

# What answers somebody who asked for a right, or tells them what was done about their account.
REQUEST_LETTERS = frozenset({
    "acknowledgement", "identity", "extension", "refusal", "closing", "reminder", "reactivated", "reopened", "answer", "export", "corrected",
    "address changed", "restricted", "restriction ends", "opted out", "objection", "completion", "subscription ended", "subscription renewed",
    "subscription closing", "subscription completion",
})  # fmt: skip
# What the platform sends about an account, learning and money, by the words of its own log. Anything else is marketing, whatever it
# calls itself.
OF_PLATFORM = frozenset({
    "confirmation", "account", "password reset", "security", "sign-in code", "review", "certificate", "submission", "reminder", "receipt",
    "invoice", "subscription", "consent", "request", "incident",
})  # fmt: skip


def allowed() -> frozenset[str]:
    """Return every kind of mail that the policy allows: transactional, or important."""
    from core.privacy.age_letters import AGE_LETTERS  # made of notices, as they are defined here

    return OF_PLATFORM | REQUEST_LETTERS | NOTICES.keys() | AGE_LETTERS.keys()
