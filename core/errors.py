"""The one root of every error that this product raises on purpose.

An error holds its facts as attributes and a sentence that a member of staff can read and act on. Whatever is
not an ``AdminError`` is a defect: the screens then show a code, never the text.
"""


class AdminError(Exception):
    """Something a person can understand and mend; ``sentence`` says what happened and what to do next."""

    def __init__(self, sentence: str, **facts: object) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.facts = facts


class SettingsError(AdminError):
    """A setting is missing, contradictory or unsafe."""


class DatabaseError(AdminError):
    """The database cannot be used as it is (unreachable, not migrated, wrong role)."""


class Refused(AdminError):
    """The acting staff member may not do or see this; the attempt is recorded by the caller."""


class NotFresh(Refused):
    """The last proof of who acts is too old for a dangerous verb: ask for password and code again, then repeat."""


class NotFound(AdminError):
    """There is no such thing, or it is not visible to the person who asks: both give the same answer."""


class BadInput(AdminError):
    """A person typed or uploaded something that cannot be used; nothing was changed."""


class Stale(AdminError):
    """Somebody changed this since the screen was drawn; nothing was changed now. Look at it again, then decide."""
